package server_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAnUnknownToolIsAnsweredWithTheNearestName: on every way in, and never with
// a tool that the client has left out.
func TestAnUnknownToolIsAnsweredWithTheNearestName(t *testing.T) {
	t.Parallel()
	a := &api{}
	e := newWhole(t, a)
	for name, test := range map[string]struct {
		want, not string
		headers   []string
	}{
		"List_Companies": {"Did you mean list_companies?", "", nil},
		"list-companies": {"Did you mean list_companies?", "", nil},
		"get_bill":       {"Did you mean bills_read", "", nil},
		"bills-update":   {"Did you mean bills_update?", "", nil},
		"bill-update":    {"Did you mean bills_list", "bills_update", []string{"X-MCP-Readonly", "true"}},
		"send_email":     {"no such tool. GET|Unknown tool \\\"send_email\\\". tools/list", "Did you mean", nil},
	} {
		call := `"params":{"name":"` + name + `","arguments":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
		for way, w := range map[string]*httptest.ResponseRecorder{
			"modern": e.do(keeper, http.MethodPost, "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call",`+call,
				append([]string{"MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", name}, test.headers...)...),
			"plain": e.do(keeper, http.MethodPost, "/mcp/tools/call", `{"name":"`+name+`","arguments":{}}`, test.headers...),
		} {
			found := false
			for want := range strings.SplitSeq(test.want, "|") {
				found = found || strings.Contains(w.Body.String(), want)
			}
			if !found || test.not != "" && strings.Contains(w.Body.String(), test.not) || w.Code < 400 || w.Code > 404 {
				t.Errorf("%s, %s: %d %s", way, name, w.Code, w.Body)
			}
		}
	}
	if len(a.calls()) > 0 {
		t.Errorf("the API was asked %v", a.calls())
	}
}
