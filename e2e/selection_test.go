package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/clients"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// A client that was not written here, whose user has set a header, finds its way
// from the URL alone and gets less, on the list and on calls.
func TestHeadersOfAClientNarrowWhatItGets(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	client, ok := python(t).(*clients.Python)
	if !ok {
		t.Fatal("another client")
	}
	t.Run("fewer tools", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		narrow := client.With(map[string]string{"X-MCP-Toolsets": "companies,import", "X-MCP-Readonly": "true"})
		session, err := narrow.Open(ctx, g.URL+"/mcp", clients.Modern, user(sellerOne))
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		if tools := session.Tools(); !slices.Contains(tools, "list_companies") || slices.Contains(tools, "create_documents") || slices.Contains(tools, "bills_list") {
			t.Errorf("it is offered %v", tools)
		}
		if r, err := session.Call(ctx, "list_companies", nil); err != nil || r.IsError || !strings.Contains(r.Text(), "Trailhead Outfitters LLC") {
			t.Errorf("what is selected: %v %+v", err, r)
		}
		for _, tool := range []string{"bills_list", "create_documents"} {
			if _, err := session.Call(ctx, tool, map[string]any{}); err == nil || !strings.Contains(err.Error(), "left out by the X-MCP headers") {
				t.Errorf("%s: %v", tool, err)
			}
		}
	})
	t.Run("a directory", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		session, err := client.With(map[string]string{"X-MCP-Dynamic": "true"}).Open(ctx, g.URL+"/mcp", clients.Modern, user(sellerOne))
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		if got := strings.Join(session.Tools(), " "); got != "call_read_tool call_write_tool describe_tools list_tools" {
			t.Errorf("it is offered %s", got)
		}
		for _, step := range []struct {
			tool, says string
			arguments  map[string]any
		}{
			{"list_tools", `"name":"list_companies"`, map[string]any{"toolset": "companies"}},
			{"describe_tools", `"call_with":"call_read_tool"`, map[string]any{"names": []string{"list_companies"}}},
			{"call_read_tool", "Trailhead Outfitters LLC", map[string]any{"name": "list_companies", "arguments": map[string]any{"limit": 5}}},
		} {
			if r, err := session.Call(ctx, step.tool, step.arguments); err != nil || r.IsError || !strings.Contains(r.Text(), step.says) {
				t.Errorf("%s: %v %s", step.tool, err, r.Text())
			}
		}
	})
}

// Nothing that a client sends gets it more than the deployment offers, and what
// it sends wrongly is a 400 that says so, through Envoy as well.
func TestHeadersOfAClientCannotWidenWhatIsOffered(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Backend: {"MCPBACKEND_TOOLSETS=companies,purchasing", "MCPBACKEND_READ_ONLY=true", "MCPBACKEND_LIST=directory"}}})
	token := g.token(t, sellerOne)
	list := func(headers ...string) (reply, string) {
		body, own := message(modern, "tools/list", "", nil)
		r := g.send(t, http.MethodPost, "/mcp", body, slices.Concat(own, bearer(token), headers)...)
		var result struct{ Tools []struct{ Name string } }
		_ = json.Unmarshal(decodeRPC(t, r).Result, &result)
		var names []string
		for _, tool := range result.Tools {
			names = append(names, tool.Name)
		}
		return r, strings.Join(names, " ")
	}
	if _, got := list(); got != "call_read_tool describe_tools list_tools" {
		t.Errorf("a deployment that offers a directory lists %s", got)
	}
	full := []string{"X-MCP-Dynamic", "false"}
	_, offered := list(full...)
	if offered == "" || strings.Contains(offered, "create") {
		t.Fatalf("offered: %s", offered)
	}
	for _, wish := range [][]string{
		{"X-MCP-Toolsets", "all"}, {"X-MCP-Toolsets", "companies,purchasing,inventory", "X-MCP-Tools", "bills_update,list_inventory_items"},
		{"X-MCP-Readonly", "false"}, {"X-MCP-Granted", "false"},
	} {
		wish = append(wish, full...)
		if _, got := list(wish...); got != offered {
			t.Errorf("%v: %s, want %s", wish, got, offered)
		}
		body, own := message(modern, "tools/call", "bills_update", map[string]any{"name": "bills_update", "arguments": map[string]any{}})
		if r := decodeRPC(t, g.send(t, http.MethodPost, "/mcp", body, slices.Concat(own, bearer(token), wish)...)); r.Error.Code != -32602 {
			t.Errorf("%v: %d %s", wish, r.Status, r.Body)
		}
	}
	r, _ := list("X-MCP-Toolsets", "nonsense")
	// In the form that clients show to people.
	if r.Status != http.StatusBadRequest || !strings.Contains(decodeRPC(t, r).Error.Message, "Choose from companies, purchasing") {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	// A token is asked for first: the header is nothing to try names with.
	body, own := message(modern, "tools/list", "", nil)
	if r := g.send(t, http.MethodPost, "/mcp", body, append(own, "X-MCP-Toolsets", "nonsense")...); r.Status != http.StatusUnauthorized {
		t.Errorf("without a token: %d %s", r.Status, r.Body)
	}
}
