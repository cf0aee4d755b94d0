package server_test

import (
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mcpserver"
)

func TestTheEdgeIsToldWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	for name, c := range map[string]struct {
		caller       caller
		path, body   string
		method, tool string
	}{
		"a call":                    {alice, "/mcp", call(1, "echo"), "tools/call", "echo"},
		"a call that is refused":    {alice, "/mcp", call(1, "import"), "tools/call", "import"},
		"a call of no tool":         {alice, "/mcp", call(1, "x\nsecret"), "tools/call", "other"},
		"another method":            {alice, "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, "tools/list", ""},
		"a notification":            {alice, "/mcp", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "notifications/initialized", ""},
		"an unknown method":         {alice, "/mcp", `{"jsonrpc":"2.0","id":1,"method":"secret"}`, "other", ""},
		"no message":                {alice, "/mcp", `{`, "", ""},
		"an answer":                 {alice, "/mcp", `{"jsonrpc":"2.0","id":1,"result":{}}`, "", ""},
		"an anonymous call":         {caller{anonymous: true}, "/mcp", call(1, "echo"), "tools/call", "echo"},
		"a plain call":              {alice, "/mcp/tools/call", `{"name":"echo","arguments":{}}`, "tools/call", "echo"},
		"a plain call of no tool":   {alice, "/mcp/tools/call", `{"name":"secret"}`, "tools/call", "other"},
		"a plain call without name": {alice, "/mcp/tools/call", `{}`, "", ""},
	} {
		h := e.do(c.caller, "POST", c.path, c.body).Header()
		if method, tool := h.Get(mcpserver.ToldMethod), h.Get(mcpserver.ToldTool); method != c.method || tool != c.tool {
			t.Errorf("%s: told %q and %q, want %q and %q", name, method, tool, c.method, c.tool)
		}
	}

	as := e.start(t)
	s := openStream(t, as(alice))
	r, err := as(alice).Post("http://backend"+s.endpoint, "application/json", strings.NewReader(call(1, "echo")))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Body.Close(); err != nil {
		t.Error(err)
	}
	if method, tool := r.Header.Get(mcpserver.ToldMethod), r.Header.Get(mcpserver.ToldTool); r.StatusCode != 202 || method != "tools/call" || tool != "echo" {
		t.Errorf("a message to a stream: %d, told %q and %q", r.StatusCode, method, tool)
	}
}
