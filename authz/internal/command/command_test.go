package command

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/explain"
)

func TestHealthcheckAsksTheFirstLocalListener(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ops.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 8)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		if r.URL.Path == "/readyz" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)

	c := Healthcheck{OpsListen: "192.0.2.1:9101, unix:" + path + ",127.0.0.1:1", Timeout: 10 * time.Second}
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("not ready: %v", err)
	}
	c.Live = true
	if err := c.Run(t.Context()); err != nil {
		t.Errorf("alive: %v", err)
	}
	if first, second := <-asked, <-asked; first != "/readyz" || second != "/healthz" {
		t.Errorf("asked %s, then %s", first, second)
	}
	for _, none := range []string{"0.0.0.0:9101", "192.0.2.1:9101,[::]:9101", "nowhere", ","} {
		c.OpsListen = none
		if err := c.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "AUTHZ_OPS_LISTEN: ") {
			t.Errorf("%s: %v", none, err)
		}
	}
}

// coded is an error with an exit status, as the doctor's.
type coded int

func (c coded) Error() string { return "coded" }
func (c coded) ExitCode() int { return int(c) }

func TestStatus(t *testing.T) {
	t.Parallel()
	plain := errors.New("plain")
	for name, c := range map[string]struct {
		err    error
		status int
		left   error
	}{
		"an error":              {plain, 1, plain},
		"a verdict":             {explain.Status{Code: explain.StatusRefused}, 1, nil},
		"a verdict with reason": {fmt.Errorf("x: %w", explain.Status{Code: explain.StatusUsage, Err: plain}), 3, plain},
		"a coded error":         {coded(7), 7, coded(7)},
	} {
		if status, left := Status(c.err); status != c.status || left != c.left {
			t.Errorf("%s: %d, %v", name, status, left)
		}
	}
}
