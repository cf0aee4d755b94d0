package server_test

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/config"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/listen"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/server"
)

// The signal to stop ends also a request that hangs on purpose, and leaves no
// socket behind.
func TestRunStops(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	public, control := filepath.Join(dir, "public"), filepath.Join(dir, "control")
	settings, err := config.Flags{
		Listen: "unix:" + public, ControlListen: "unix:" + control, Issuer: "http://127.0.0.1:9", TokenKind: "jwt", TokenTTL: "1h", ImportDelay: "10s",
	}.Settings()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, settings, slog.New(slog.DiscardHandler)) }()

	remote, base := listen.Client(settings.ControlListen, time.Minute)
	deadline := time.Now().Add(time.Minute)
	for {
		response, err := remote.Get(base + "/healthz")
		if err == nil {
			response.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not come up")
		}
		time.Sleep(5 * time.Millisecond)
	}
	response, err := remote.Post(base+"/faults", "application/json", strings.NewReader(`{"path":"*","kind":"hang"}`))
	if err != nil || response.StatusCode != http.StatusCreated {
		t.Fatal(response, err)
	}
	response.Body.Close()
	hung := make(chan error, 1)
	client, base := listen.Client(settings.Listen, time.Minute)
	go func() {
		response, err := client.Get(base + "/")
		if err == nil {
			response.Body.Close()
		}
		hung <- err
	}()
	// The second server refuses the sockets of the first.
	if err := server.Run(t.Context(), settings, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "SANDBOX_LISTEN") {
		t.Errorf("a second one on the same socket: %v", err)
	}

	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	// Far less than the fault holds a request, far more than a busy machine needs.
	case <-time.After(40 * time.Second):
		t.Fatal("it does not stop")
	}
	if err := <-hung; err == nil {
		t.Error("the hung request was answered")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
