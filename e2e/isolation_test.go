package e2e

import (
	"context"
	"encoding/json"
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
					checkForbidden(t, "list_inventory_items", refused, c.foreign)
				}
			}
		})
	}
}

// checkForbidden checks that NeonPanel itself has refused: a fault of the
// gateway, or a timeout, hides data as well, but proves nothing.
func checkForbidden(t *testing.T, tool string, r toolResult, foreign company) {
	t.Helper()
	if text := r.text(); !r.IsError || len(r.Structured) > 0 || !strings.HasPrefix(text, `NeonPanel refused this ("This action is unauthorized")`) ||
		strings.Contains(text, foreign.Name) {
		t.Errorf("%s of the other's company: isError %v, %s %s", tool, r.IsError, text, r.Structured)
	}
}

// foreignArguments are those that a tool needs, with the company of another;
// nil when the tool has nothing to do with one company.
func foreignArguments(t *testing.T, schema map[string]any, foreign company) map[string]any {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	arguments := map[string]any{}
	if properties["companyUuid"] != nil {
		arguments["companyUuid"] = foreign.UUID
	}
	if properties["company_uuids"] != nil {
		arguments["company_uuids"] = []string{foreign.UUID}
	}
	if len(arguments) == 0 {
		return nil
	}
	for _, name := range stringsIn(schema["required"]) {
		if arguments[name] != nil {
			continue
		}
		property, _ := properties[name].(map[string]any)
		switch {
		case property["type"] == "integer":
			arguments[name] = 1
		case property["format"] == "date":
			arguments[name] = "2026-01-01"
		case name == "permission":
			arguments[name] = "view:pages.reports"
		case property["type"] == "string":
			arguments[name] = foreign.UUID
		default:
			t.Fatalf("%s is %v: teach this test what to send", name, property)
		}
	}
	return arguments
}

func TestNoToolReadsTheOthersCompany(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	one, two := g.token(t, sellerOne), g.token(t, sellerTwo)
	cases := []struct {
		account, token string
		foreign        company
	}{{sellerOne, one, g.companies(t, two)[0]}, {sellerTwo, two, g.companies(t, one)[0]}}
	tools := g.tools(t, modern, one)
	for _, c := range cases {
		t.Run(c.account, func(t *testing.T) {
			t.Parallel()
			arguments := map[string]map[string]any{}
			for _, tool := range tools {
				if tool.Annotations["readOnlyHint"] != true {
					continue
				}
				if a := foreignArguments(t, object(t, string(tool.InputSchema)), c.foreign); a != nil {
					arguments[tool.Name] = a
				}
			}
			if len(arguments) < 25 {
				t.Errorf("only %d tools read a company: this test proves little", len(arguments))
			}
			for tool, a := range arguments {
				for _, version := range []string{modern, legacy} {
					checkForbidden(t, tool+" "+version, g.call(t, version, c.token, tool, a), c.foreign)
				}
			}
			few := []string{"list_inventory_items", "bills_list", "revenue_and_cogs_summary", "warehouse_balances"}
			stream := g.stream(t, "/sse", c.token)
			defer stream.cancel()
			g.initialize(t, stream, c.token)
			for _, tool := range few {
				checkForbidden(t, tool+" legacy SSE", g.streamCall(t, stream, c.token, tool, arguments[tool]), c.foreign)

				body, err := json.Marshal(map[string]any{"name": tool, "arguments": arguments[tool]})
				if err != nil {
					t.Fatal(err)
				}
				r := g.send(t, http.MethodPost, "/mcp/tools/call", string(body), append([]string{"Content-Type", "application/json"}, bearer(c.token)...)...)
				var result toolResult
				if err := json.Unmarshal([]byte(r.Body), &result); err != nil || r.Status != http.StatusForbidden {
					t.Errorf("%s on /mcp/tools/call: %d %s (%v)", tool, r.Status, r.Body, err)
				}
				checkForbidden(t, tool+" /mcp/tools/call", result, c.foreign)
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
