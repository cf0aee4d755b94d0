package ops_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/authz/internal/listen"
	"github.com/neonpanel/mcp-gateway/authz/internal/ops"
)

func TestQuestions(t *testing.T) {
	t.Parallel()
	var trouble error
	h := ops.Handler(func() error { return trouble }, http.NotFoundHandler())
	ask := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	for _, step := range []struct {
		trouble error
		path    string
		code    int
		body    string
	}{
		{nil, "/readyz", 200, `{"status":"ok"}`},
		{errors.New("no keys"), "/readyz", 503, `{"reason":"no keys","status":"not ready"}`},
		{errors.New("no keys"), "/healthz", 200, `{"status":"ok"}`},
	} {
		trouble = step.trouble
		if code, body := ask(step.path); code != step.code || body != step.body {
			t.Errorf("%s with %v: %d %s, want %d %s", step.path, step.trouble, code, body, step.code, step.body)
		}
	}
}

func TestCPUProfileIsTheOnlyProfile(t *testing.T) {
	t.Parallel()
	h := ops.Handler(func() error { return nil }, http.NotFoundHandler())
	ask := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	// A profile is compressed (RFC 1952 §2.3.1).
	if w := ask("/debug/pprof/profile?seconds=1"); w.Code != 200 || !strings.HasPrefix(w.Body.String(), "\x1f\x8b") {
		t.Errorf("CPU profile: %d %.40q", w.Code, w.Body)
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine", "/debug/pprof/cmdline", "/debug/pprof/trace"} {
		if w := ask(path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestAskTellsWhy(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ops.sock")
	at, err := listen.Parse("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if err := ops.Ask(t.Context(), at, "/readyz"); err == nil || !strings.Contains(err.Error(), at.String()) {
		t.Errorf("with nothing there: %v", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: ops.Handler(func() error { return errors.New("no keys") }, http.NotFoundHandler())}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	if err := ops.Ask(t.Context(), at, "/readyz"); err == nil || !strings.Contains(err.Error(), "no keys") {
		t.Errorf("not ready: %v, want the reason", err)
	}
	if err := ops.Ask(t.Context(), at, "/healthz"); err != nil {
		t.Errorf("alive: %v", err)
	}
}
