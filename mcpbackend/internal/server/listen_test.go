package server_test

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/config"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/ops"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/server"
)

func TestListenReplacesAStaleSocketOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	at := config.Address{Network: "unix", Address: path}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if _, err := server.Listen(at); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a live socket was taken: %v", err)
	}
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := server.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("mode %v, %v, want a socket with 0660", info.Mode(), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Listen(at); err == nil {
		t.Error("a file was replaced")
	}
	if _, err := server.Listen(config.Address{Network: "unix", Address: filepath.Join(path, "none", "s")}); err == nil {
		t.Error("a directory that is not there was accepted")
	}
}

func TestRunStopsBothServersAndAskSeesReadiness(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listen := func(name string) net.Listener {
		l, err := server.Listen(config.Address{Network: "unix", Address: filepath.Join(dir, name)})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	var ready ops.Ready
	metrics := ops.NewMetrics("v1", "abc")
	log := slog.New(slog.DiscardHandler)
	main := server.NewServer(listen("main"), http.NotFoundHandler(), log)
	operations := server.NewServer(listen("ops"), ops.Handler(metrics, &ready), log)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, main, operations) }()

	if err := ops.Ask(ctx, "unix", filepath.Join(dir, "ops")); err == nil {
		t.Error("ready before it is")
	}
	ready.Store(true)
	if err := ops.Ask(ctx, "unix", filepath.Join(dir, "ops")); err != nil {
		t.Errorf("not ready: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stopping: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestMetricsHaveClosedLabels(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	for _, tool := range []string{"echo", "made-up-1", "made-up-2", "import"} {
		e.do(alice, "POST", "/mcp/tools/call", `{"name":"`+tool+`"}`)
	}
	e.do(alice, "GET", "/nonsense-path", "")
	w := newRecorder()
	r, err := http.NewRequestWithContext(context.Background(), "GET", "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	ops.Handler(e.metrics, &ops.Ready{}).ServeHTTP(w, r)
	text := w.Body.String()
	for _, want := range []string{
		`mcpbackend_tool_calls_total{outcome="ok",tool="echo",transport="plain"} 1`,
		`mcpbackend_tool_calls_total{outcome="unknown_tool",tool="other",transport="plain"} 2`,
		`mcpbackend_tool_calls_total{outcome="insufficient_scope",tool="import",transport="plain"} 1`,
		`mcpbackend_http_requests_total{route="other",status="4xx"} 1`,
		`mcpbackend_build_info{commit="abcdef"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	for _, never := range []string{"made-up", "nonsense", "alice"} {
		if strings.Contains(text, never) {
			t.Errorf("the metrics hold %q", never)
		}
	}
}
