package e2e

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// Both sellers come from one address, as users of ChatGPT do.
func TestAUserWhoFloodsIsSlowedDownAlone(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{Env: map[string][]string{"envoyconf": {"EDGE_SUBJECT_RATE=1", "EDGE_SUBJECT_BURST=3"}}})
	one, two := g.token(t, sellerOne), g.token(t, sellerTwo)
	body, headers := message(modern, "tools/list", "", nil)
	list := func(token string) reply {
		return g.send(t, "POST", "/mcp", body, append(append(headers, "Origin", "https://chatgpt.com"), bearer(token)...)...)
	}
	limited := reply{}
	for i := 0; limited.Status != 429; i++ {
		if limited = list(one); i == 200 || limited.Status != 200 && limited.Status != 429 {
			t.Fatalf("request %d: %d %s", i, limited.Status, limited.Body)
		}
	}
	var told map[string]string
	if err := json.Unmarshal([]byte(limited.Body), &told); err != nil || told["error"] != "too_many_requests" || told["request_id"] == "" || told["request_id"] != limited.Header.Get("X-Request-Id") {
		t.Errorf("%v: %s", err, limited.Body)
	}
	if seconds, err := strconv.Atoi(limited.Header.Get("Retry-After")); err != nil || seconds < 1 {
		t.Errorf("Retry-After: %q", limited.Header.Get("Retry-After"))
	}
	if limited.Header.Get("Access-Control-Allow-Origin") == "" {
		t.Error("a page cannot read it")
	}
	if r := list(two); r.Status != 200 {
		t.Errorf("the other user: %d %s", r.Status, r.Body)
	}
	// A fresh token is the same user.
	for i := 0; ; i++ {
		if r := list(g.token(t, sellerOne)); r.Status == 429 {
			break
		} else if i == 200 {
			t.Fatal("fresh tokens are not counted together")
		}
	}
}

func TestTheLogNamesWhatWasCalled(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.token(t, sellerOne)
	for name, c := range map[string]struct {
		version, method, tool string
		want                  map[string]any
	}{
		"a call of 2026-07-28": {modern, "tools/call", "list_companies", map[string]any{"mcp_method": "tools/call", "mcp_tool": "list_companies"}},
		"a call of 2025-11-25": {legacy, "tools/call", "list_companies", map[string]any{"mcp_method": "tools/call", "mcp_tool": "list_companies"}},
		"a call of no tool":    {legacy, "tools/call", "made_up_by_somebody", map[string]any{"mcp_method": "tools/call", "mcp_tool": "other"}},
		"another method":       {modern, "tools/list", "", map[string]any{"mcp_method": "tools/list", "mcp_tool": nil}},
	} {
		params := map[string]any{}
		if c.tool != "" {
			params = map[string]any{"name": c.tool, "arguments": map[string]any{}}
		}
		r := g.rpc(t, c.version, token, c.method, c.tool, params)
		line := g.logged(t, r.Header.Get("X-Request-Id"))
		for field, want := range c.want {
			if line[field] != want {
				t.Errorf("%s: the log's %s is %v, want %v", name, field, line[field], want)
			}
		}
		if line["decision"] != "allow" || line["subject"] == nil || line["client_id"] == nil {
			t.Errorf("%s: the log does not say who: %v", name, line)
		}
	}
}

// logged waits for the line about a request in Envoy's log.
func (g *gateway) logged(t *testing.T, id string) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(g.LogFile(stack.Envoy))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if id == "" || !strings.Contains(line, id) || !strings.HasSuffix(line, "\n") {
				continue
			}
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			return fields
		}
	}
	t.Fatalf("no line about %q", id)
	return nil
}
