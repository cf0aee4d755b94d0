package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// BenchmarkToolsCall compares the edge with a bare server of the SDK that has
// one tool.
func BenchmarkToolsCall(b *testing.B) {
	bare := mcp.NewServer(&mcp.Implementation{Name: "bare", Version: "1"}, nil)
	bare.AddTool(&mcp.Tool{Name: "echo", InputSchema: object}, bareEcho)
	handlers := map[string]http.Handler{
		"edge": newEdge(b).handler,
		"bare": mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return bare }, &mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true}),
	}
	for _, name := range []string{"edge", "bare"} {
		for era, body := range map[string]string{"legacy": call(1, "echo"), "modern": modernCall("echo")} {
			b.Run(name+"/"+era, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					r := httptest.NewRequest("POST", "/mcp", strings.NewReader(body))
					r.Header.Set("Content-Type", "application/json")
					r.Header.Set("Accept", "application/json, text/event-stream")
					alice.inject(r.Header)
					if era == "modern" {
						r.Header.Set("Mcp-Protocol-Version", modern)
						r.Header.Set("Mcp-Method", "tools/call")
						r.Header.Set("Mcp-Name", "echo")
					}
					w := httptest.NewRecorder()
					handlers[name].ServeHTTP(w, r)
					if w.Code != 200 {
						b.Fatalf("status %d: %s", w.Code, w.Body)
					}
				}
			})
		}
	}
}
