package server_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/ops"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/server"
)

func TestAPanicInAHandlerIsAnswered(t *testing.T) {
	t.Parallel()
	var log buffer
	boom := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret value") })
	h := server.New(server.Routes{MCP: boom, Plain: boom, SSE: boom, Messages: boom, Public: map[string]http.Handler{"/health": boom}},
		ops.NewMetrics("v1", "abc"), slog.New(slog.NewJSONHandler(&log, nil)), time.Now)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/health", nil))
	if w.Code != 500 || !strings.Contains(w.Body.String(), `"error":"server_error"`) {
		t.Errorf("status %d with %s, want 500", w.Code, w.Body)
	}
	if text := log.String(); strings.Contains(text, "secret") || !strings.Contains(text, `"level":"ERROR"`) {
		t.Errorf("log %s", text)
	}
}
