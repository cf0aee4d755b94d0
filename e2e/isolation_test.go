package e2e

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// callers are the ways to call a tool.
func callers(g *gateway) map[string]func(t *testing.T, token, tool string, arguments map[string]any) toolResult {
	return map[string]func(t *testing.T, token, tool string, arguments map[string]any) toolResult{
		"MCP 2026-07-28": func(t *testing.T, token, tool string, arguments map[string]any) toolResult {
			return g.call(t, modern, token, tool, arguments)
		},
		"MCP 2025-11-25": func(t *testing.T, token, tool string, arguments map[string]any) toolResult {
			return g.call(t, legacy, token, tool, arguments)
		},
		"legacy SSE": func(t *testing.T, token, tool string, arguments map[string]any) toolResult {
			s := g.stream(t, "/sse", token)
			defer s.cancel()
			g.initialize(t, s, token)
			return g.streamCall(t, s, token, tool, arguments)
		},
	}
}

func TestSellersSeeTheirOwnDataOnly(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	one, two := g.token(t, sellerOne), g.token(t, sellerTwo)
	ones, twos := g.companies(t, one), g.companies(t, two)
	for _, c := range ones {
		if slices.Contains(twos, c) {
			t.Fatalf("the sellers share %s: this test proves nothing", c.Name)
		}
	}
	for transport, call := range callers(g) {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			// Interleaved, so that what is kept for one could reach the other.
			for range 3 {
				for _, c := range []struct {
					token   string
					want    []company
					foreign company
				}{{one, ones, twos[0]}, {two, twos, ones[0]}} {
					result := call(t, c.token, "list_companies", nil)
					if got := companiesIn(t, result.Structured); !slices.Equal(got, c.want) {
						t.Errorf("companies %v, want %v", got, c.want)
					}
					refused := call(t, c.token, "list_inventory_items", map[string]any{"companyUuid": c.foreign.UUID})
					if !refused.IsError || strings.Contains(refused.text(), c.foreign.Name) {
						t.Errorf("the other's company: isError %v, %s", refused.IsError, refused.text())
					}
				}
			}
		})
	}
}

func TestPlainCallSeesTheCallersDataOnly(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	one, two := g.token(t, sellerOne), g.token(t, sellerTwo)
	for _, c := range []struct{ token, name, foreign string }{
		{one, g.companies(t, one)[0].Name, g.companies(t, two)[0].Name},
		{two, g.companies(t, two)[0].Name, g.companies(t, one)[0].Name},
	} {
		r := g.send(t, http.MethodPost, "/mcp/tools/call", `{"name":"list_companies","arguments":{}}`,
			"Content-Type", "application/json", "Authorization", "Bearer "+c.token)
		if r.Status != 200 || !strings.Contains(r.Body, c.name) || strings.Contains(r.Body, c.foreign) {
			t.Errorf("%d %s", r.Status, r.Body)
		}
	}
}

func TestForeignSessionIsNotFound(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	one, two := g.token(t, sellerOne), g.token(t, sellerTwo)
	s := g.stream(t, "/sse", one)
	g.initialize(t, s, one)
	body := `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"list_companies","arguments":{}}}`

	foreign := g.post(t, s, two, body)
	// An id of the same shape that nobody has.
	unknown := g.send(t, http.MethodPost, s.Endpoint[:len(s.Endpoint)-6]+"000000", body,
		append([]string{"Content-Type", "application/json"}, bearer(two)...)...)
	if foreign.Status != http.StatusNotFound {
		t.Errorf("a foreign session: %d %s", foreign.Status, foreign.Body)
	}
	if foreign.Status != unknown.Status || foreign.Body != unknown.Body {
		t.Errorf("a foreign session (%d %s) can be told from an unknown one (%d %s)",
			foreign.Status, foreign.Body, unknown.Status, unknown.Body)
	}
	// A client of the same subject, but another OAuth client, is foreign too.
	other := g.mint(t, stack.TokenRequest{Account: sellerOne, ClientID: "another-client"})
	if r := g.post(t, s, other, body); r.Status != http.StatusNotFound {
		t.Errorf("another client of the same user: %d %s", r.Status, r.Body)
	}
	select {
	case m := <-s.events:
		t.Errorf("the owner's stream got %s", m.Body)
	case <-time.After(200 * time.Millisecond):
	}
	// The owner goes on undisturbed.
	if r := g.streamCall(t, s, one, "list_companies", nil); r.IsError {
		t.Error(r.text())
	}
}

// Many calls of both sellers at once, over both eras, on one connection pool.
func TestConcurrentSellersStayApart(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	sellers := []struct {
		token     string
		companies []company
	}{{token: g.token(t, sellerOne)}, {token: g.token(t, sellerTwo)}}
	for i := range sellers {
		sellers[i].companies = g.companies(t, sellers[i].token)
	}
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			seller := sellers[worker%2]
			body, headers := message([]string{modern, legacy}[worker/2%2], "tools/call", "list_companies",
				map[string]any{"name": "list_companies", "arguments": map[string]any{}})
			for range 20 {
				r, err := g.trySend(context.Background(), http.MethodPost, "/mcp", body, append(headers, bearer(seller.token)...)...)
				if err != nil || r.Status != 200 {
					t.Errorf("%d %s %v", r.Status, r.Body, err)
					return
				}
				for _, own := range seller.companies {
					if !strings.Contains(r.Body, own.UUID) {
						t.Errorf("%s is missing: %s", own.Name, r.Body)
					}
				}
				for _, foreign := range sellers[1-worker%2].companies {
					if strings.Contains(r.Body, foreign.UUID) {
						t.Errorf("%s is the other seller's: %s", foreign.Name, r.Body)
					}
				}
			}
		})
	}
	all.Wait()
}
