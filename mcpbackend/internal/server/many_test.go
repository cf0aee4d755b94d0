package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/legacysse"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mcpserver"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/server"
)

// withStreams replaces the edge's legacy transport by one with room for so many
// streams.
func (e *edge) withStreams(t testing.TB, most int) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	calls := &invocation.Service{Tools: testTools(), Runner: e.runner, Log: log, Observer: e.metrics, Now: time.Now}
	legacy, err := mcpserver.New(mcpserver.Options{
		Version: "v1.2.3", PublicURL: publicURL, Tools: testTools(), Calls: calls, Via: invocation.SSE, Legacy: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	e.sse = legacysse.New(legacysse.Options{
		Server: legacy, Calls: calls, MaxStreams: most, MaxPerOwner: 2, Observer: e.metrics, Log: log, Now: time.Now,
	})
	e.handler = server.New(server.Routes{
		MCP: e.handler, Plain: e.handler, SSE: http.HandlerFunc(e.sse.Stream), Messages: http.HandlerFunc(e.sse.Message),
	}, e.metrics, log, time.Now)
}

// Two thousand users hold a stream each: every one is kept alive, gets the
// answers to its own calls, and ends in good order.
func TestTwoThousandStreams(t *testing.T) {
	t.Parallel()
	const streams, busy = 2000, 20
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t)
		e.withStreams(t, streams)
		type stream struct {
			caller caller
			out    *writer
			cancel context.CancelFunc
			done   chan struct{}
		}
		open := make([]stream, streams)
		for i := range open {
			c := alice
			c.subject, c.token = fmt.Sprintf("user-%d", i), fmt.Sprintf("token-%d-", i)
			w, cancel, done := e.serve(c, "GET", "/sse", "")
			open[i] = stream{c, w, cancel, done}
			defer cancel()
		}
		synctest.Wait()
		if w := e.do(alice, "GET", "/sse", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("one more stream: %d %s", w.Code, w.Body)
		}
		// Some of them are busy.
		for i := 0; i < streams; i += busy {
			s := open[i]
			if w := e.do(s.caller, "POST", s.out.endpoint(t), initialize); w.Code != 202 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		synctest.Wait()
		for i := 0; i < streams; i += busy {
			s := open[i]
			if w := e.do(s.caller, "POST", s.out.endpoint(t), call(1, "echo")); w.Code != 202 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		time.Sleep(mcpserver.Heartbeat + time.Second)
		synctest.Wait()
		for i, s := range open {
			text := s.out.String()
			answers := 0
			if i%busy == 0 {
				answers = 2
			}
			if strings.Count(text, s.caller.token) != answers || strings.Count(text, "token-") != answers {
				t.Fatalf("stream %d has not its own answer alone: %s", i, text) // in both forms of it
			}
			if strings.Count(text, ": keep-alive\n\n") != 1 {
				t.Fatalf("stream %d is not kept alive: %s", i, text)
			}
		}
		e.sse.Drain()
		synctest.Wait()
		for i, s := range open {
			select {
			case <-s.done:
			default:
				t.Fatalf("stream %d goes on", i)
			}
		}
	})
}
