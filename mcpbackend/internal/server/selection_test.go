package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/directory"
)

// asks sends a message of 2025-11-25 with further headers.
func (e *edge) asks(t *testing.T, c caller, method, params string, header ...string) (int, reply) {
	t.Helper()
	w := e.do(c, "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":`+params+`}`, header...)
	return w.Code, decode[reply](t, w.Body.Bytes())
}

// listed are the names in tools/list.
func (e *edge) listed(t *testing.T, c caller, header ...string) []string {
	t.Helper()
	status, r := e.asks(t, c, "tools/list", `{}`, header...)
	if status != http.StatusOK || r.Result == nil {
		t.Fatalf("%v: %d %+v", header, status, r)
	}
	var names []string
	for _, tool := range r.Result.Tools {
		names = append(names, tool["name"].(string))
	}
	return names
}

var every = catalogue.Options{Toolsets: []string{catalogue.AllTools}}

func TestASelectionIsAHardLimitOnEveryTransport(t *testing.T) {
	t.Parallel()
	e, books := newLibrary(t, every)
	bill := `{"name":"bills_read","arguments":{"companyUuid":"ALICE","billId":51}}`
	sales := []string{"X-MCP-Toolsets", "sales,companies", "X-MCP-Readonly", "true"}

	tools, err := everyTool()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range e.listed(t, alicesBooks, sales...) {
		tool, _ := tools.Lookup(name)
		if !tool.ReadOnly || tool.Toolset != "sales" && tool.Toolset != "companies" {
			t.Errorf("%s of %s is listed", name, tool.Toolset)
		}
	}
	if all, some := len(e.listed(t, alicesBooks)), len(e.listed(t, alicesBooks, sales...)); some == 0 || some >= all {
		t.Errorf("%d of %d tools", some, all)
	}

	if _, r := e.asks(t, alicesBooks, "tools/call", bill, sales...); r.Error == nil || r.Error.Code != -32602 || !strings.Contains(r.Error.Message, "left out by the X-MCP headers") {
		t.Errorf("a call of what is left out: %+v", r)
	}
	if w := e.do(alicesBooks, "POST", "/mcp/tools/call", bill, sales...); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "X-MCP headers") {
		t.Errorf("a plain call of what is left out: %d %s", w.Code, w.Body)
	}
	if _, r := e.asks(t, alicesBooks, "resources/read", `{"uri":"neonpanel://companies/uuid-alice/bills/51"}`, sales...); r.Error == nil {
		t.Errorf("what is left out is read as a resource: %+v", r)
	}
	for method, gone := range map[string]string{"prompts/list": "bill_intake", "resources/templates/list": "bills/"} {
		body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{}}`
		if with, without := e.do(alicesBooks, "POST", "/mcp", body).Body.String(), e.do(alicesBooks, "POST", "/mcp", body, sales...).Body.String(); !strings.Contains(with, gone) || strings.Contains(without, gone) {
			t.Errorf("%s: %s and %s", method, with, without)
		}
	}
	if got := e.do(alicesBooks, "POST", "/mcp", initialize, sales...).Body.String(); strings.Contains(got, "company_overview") {
		t.Errorf("the instructions speak of what is left out: %s", got)
	}
	if seen := books.seen(); len(seen) != 0 {
		t.Errorf("the API was asked: %v", seen)
	}

	// The companies are still selected, by every name they go by.
	for _, params := range []string{`{"name":"list_companies"}`, `{"name":"account_list_companies"}`} {
		if _, r := e.asks(t, alicesBooks, "tools/call", params, sales...); params == `{"name":"list_companies"}` && (r.Result == nil || r.Result.IsError) {
			t.Errorf("%s: %+v", params, r)
		}
	}
	if w := e.do(alicesBooks, "POST", "/mcp/tools/call", bill); w.Code != http.StatusOK {
		t.Errorf("without headers: %d %s", w.Code, w.Body)
	}
}

func TestAFaultyHeaderIsRefusedOnEveryBearerRoute(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	const description = `X-MCP-Toolsets: there is no toolset "nonsense". Choose from tests.`
	w := e.do(alice, "POST", "/mcp", call(7, "echo"), "X-MCP-Toolsets", "nonsense")
	if got := decode[reply](t, w.Body.Bytes()); w.Code != http.StatusBadRequest || got.ID != 7.0 || got.Error == nil || got.Error.Code != -32600 || got.Error.Message != "Invalid request: "+description {
		t.Errorf("/mcp: %d %s", w.Code, w.Body)
	}
	if w := e.do(alice, "POST", "/mcp", "{", "X-MCP-Toolsets", "nonsense"); w.Code != http.StatusBadRequest || decode[reply](t, w.Body.Bytes()).Error.Code != -32700 {
		t.Errorf("/mcp: %d %s", w.Code, w.Body)
	}
	for path, method := range map[string]string{"/mcp": "GET", "/mcp/tools/call": "POST", "/sse": "GET", "/sse/": "GET", "/messages": "POST"} {
		w := e.do(alice, method, path, call(1, "echo"), "X-MCP-Toolsets", "nonsense")
		if got := decode[map[string]string](t, w.Body.Bytes()); w.Code != http.StatusBadRequest || got["error"] != "invalid_request" ||
			got["error_description"] != description {
			t.Errorf("%s: %d %v", path, w.Code, got)
		}
	}
	if w := e.do(alice, "GET", "/mcp/capabilities", "", "X-MCP-Toolsets", "nonsense"); w.Code != http.StatusOK {
		t.Errorf("a document depends on the header: %d", w.Code)
	}
	if len(e.runner.seen()) != 0 {
		t.Errorf("calls: %v", e.runner.seen())
	}
}

// onGET adds a header to what opens a stream, and to nothing else.
type onGET struct {
	name, value string
	next        http.RoundTripper
}

func (o onGET) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		r = r.Clone(r.Context())
		r.Header.Set(o.name, o.value)
	}
	return o.next.RoundTrip(r)
}

// A stream stays as narrow as it was opened, whatever its messages say.
func TestALegacyStreamStaysNarrow(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	client := e.start(t)(alice)
	s := openStream(t, &http.Client{Transport: onGET{"X-Mcp-Exclude-Tools", "echo", client.Transport}})
	ask := func(body string, header ...string) string {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, "http://backend"+s.endpoint, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		got, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = got.Body.Close()
		if got.StatusCode != http.StatusAccepted {
			t.Fatalf("%s: %d", body, got.StatusCode)
		}
		return s.next(t, "message")
	}
	ask(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	for body, want := range map[string]string{
		call(2, "echo"):  `"code":-32602`,
		call(3, "block"): `"code":-32602`,
		call(4, "fail"):  `"result":`,
		`{"jsonrpc":"2.0","id":5,"method":"tools/list"}`: `"name":"fail"`,
	} {
		got := ask(body, "X-MCP-Tools", "echo,fail")
		if !strings.Contains(got, want) || strings.Contains(got, `"name":"echo"`) {
			t.Errorf("%s: %s", body, got)
		}
	}
}

func TestTheListCanBeHeldToWhatIsGranted(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	const granted = "block echo fail panic refused unknown_scope"
	for name, tc := range map[string]struct {
		caller caller
		header []string
		want   string
	}{
		"unasked":         {alice, nil, "block echo fail import panic refused unknown_scope"},
		"asked":           {alice, []string{"X-MCP-Granted", "true"}, granted},
		"off":             {caller{subject: "a", scopes: "read:companies", inForce: alice.inForce, mode: "off", token: "t"}, []string{"X-MCP-Granted", "true"}, "block echo fail import panic refused unknown_scope"},
		"nothing granted": {caller{subject: "a", inForce: alice.inForce, token: "t"}, []string{"X-MCP-Granted", "true"}, "fail panic unknown_scope"},
	} {
		if got := strings.Join(e.listed(t, tc.caller, tc.header...), " "); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
	// A call still gets the challenge that leads to the scope.
	if w := e.do(alice, "POST", "/mcp", call(1, "import"), "X-MCP-Granted", "true"); w.Code != http.StatusForbidden || !strings.Contains(w.Header().Get("WWW-Authenticate"), "write:import") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestAListIsTheSameBytesForTheSameHeaders(t *testing.T) {
	t.Parallel()
	e, _ := newLibrary(t, every)
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`
	for _, header := range [][]string{
		nil, {"X-MCP-Toolsets", "sales,inventory"}, {"X-MCP-Toolsets", "inventory, sales"}, {"X-MCP-Readonly", "true"}, {"X-MCP-Dynamic", "true"},
	} {
		first := e.do(alicesBooks, "POST", "/mcp", body, header...).Body.String()
		for range 3 {
			if again := e.do(alicesBooks, "POST", "/mcp", body, header...).Body.String(); again != first {
				t.Errorf("%v: the list changes", header)
			}
		}
	}
	sales := e.do(alicesBooks, "POST", "/mcp", body, "X-MCP-Toolsets", "sales,inventory").Body.String()
	if other := e.do(alicesBooks, "POST", "/mcp", body, "X-MCP-Toolsets", "inventory, sales").Body.String(); other != sales {
		t.Error("the order of the names changes the list")
	}
}

// directoryBudget is what the directory may cost a model that has little room.
const directoryBudget = 4_000

func TestADirectoryStandsForAllTools(t *testing.T) {
	t.Parallel()
	e, books := newLibrary(t, every)
	dynamic := []string{"X-MCP-Dynamic", "true"}
	if got := strings.Join(e.listed(t, alicesBooks, dynamic...), " "); got != "call_read_tool call_write_tool describe_tools list_tools" {
		t.Errorf("listed: %s", got)
	}
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`
	if n := e.do(alicesBooks, "POST", "/mcp", body, dynamic...).Body.Len(); n > directoryBudget {
		t.Errorf("%d bytes, want at most %d", n, directoryBudget)
	}
	for _, name := range e.listed(t, alicesBooks) {
		for _, t2 := range directory.Tools() {
			if name == t2.Name {
				t.Errorf("%s is in the full list", name)
			}
		}
	}
	if _, r := e.asks(t, alicesBooks, "tools/call", `{"name":"list_tools"}`); r.Error == nil || r.Error.Code != -32602 {
		t.Errorf("the directory answers who did not ask for it: %+v", r)
	}
	instructions := decode[struct{ Result struct{ Instructions string } }](t, e.do(alicesBooks, "POST", "/mcp", initialize, dynamic...).Body.Bytes()).Result.Instructions
	if len(instructions) > 512 || !strings.Contains(instructions, "list_tools") || strings.Contains(instructions, "profit_summary") {
		t.Errorf("%d bytes of instructions: %s", len(instructions), instructions)
	}

	find := func(params string, header ...string) *struct{ Text, Structured string } {
		t.Helper()
		_, r := e.asks(t, alicesBooks, "tools/call", params, append(dynamic, header...)...)
		if r.Result == nil {
			t.Fatalf("%s: %+v", params, r)
		}
		return &struct{ Text, Structured string }{r.Result.Content[0].Text, string(r.Result.StructuredContent)}
	}
	found := find(`{"name":"list_tools","arguments":{"query":"bill","toolset":"purchasing"}}`)
	if !strings.Contains(found.Structured, `{"name":"bills_read","title":`) || strings.Contains(found.Structured, "companies") || found.Text != found.Structured {
		t.Errorf("%+v", found)
	}
	shown := decode[struct {
		Tools []struct {
			Name, CallWith string
			InputSchema    json.RawMessage `json:"input_schema"`
		}
	}](t, []byte(find(`{"name":"describe_tools","arguments":{"names":["bills_read"]}}`).Structured))
	if len(shown.Tools) != 1 || !strings.Contains(string(shown.Tools[0].InputSchema), "billId") {
		t.Errorf("%+v", shown)
	}
	if got := find(`{"name":"call_read_tool","arguments":{"name":"bills_read","arguments":{"companyUuid":"ALICE","billId":51}}}`); got.Structured != `{"id":51,"amount":12.50}` {
		t.Errorf("%+v", got)
	}
	if seen := books.seen(); len(seen) != 1 || seen[0] != `bills_read {"companyUuid":"ALICE","billId":51} alice-token` {
		t.Errorf("the API saw %v", seen)
	}
	if !strings.Contains(e.log.String(), `"tool":"bills_read"`) || !strings.Contains(e.log.String(), `"tool":"describe_tools"`) {
		t.Errorf("the audit does not name the tools: %s", e.log)
	}
	// What one reads with writes nothing, and what is left out is left out here too.
	for params, says := range map[string]string{
		`{"name":"call_read_tool","arguments":{"name":"bills_update","arguments":{}}}`: "call_write_tool",
		`{"name":"call_read_tool","arguments":{"name":"bill_read"}}`:                   "Did you mean bills_read",
		`{"name":"call_read_tool","arguments":{"name":"nonsense"}}`:                    "no tool",
		`{"name":"call_read_tool","arguments":{"name":"call_write_tool"}}`:             "no tool",
		`{"name":"call_read_tool","arguments":{}}`:                                     "name",
		`{"name":"describe_tools","arguments":{"names":["nonsense"]}}`:                 "no tool",
		`{"name":"describe_tools","arguments":{}}`:                                     "names",
		`{"name":"list_tools","arguments":{"toolset":"nonsense"}}`:                     "purchasing",
	} {
		_, r := e.asks(t, alicesBooks, "tools/call", params, dynamic...)
		if r.Result == nil || !r.Result.IsError || !strings.Contains(r.Result.Content[0].Text, says) {
			t.Errorf("%s: %+v", params, r.Result)
		}
	}
	reads := []string{"X-MCP-Readonly", "true", "X-MCP-Toolsets", "sales"}
	if got := strings.Join(e.listed(t, alicesBooks, append(dynamic, reads...)...), " "); got != "call_read_tool describe_tools list_tools" {
		t.Errorf("read-only: %s", got)
	}
	if got := find(`{"name":"list_tools"}`, reads...); strings.Contains(got.Structured, "bills_read") || strings.Contains(got.Structured, `"writes"`) {
		t.Errorf("%+v", got)
	}
	if got := find(`{"name":"call_write_tool","arguments":{"name":"bills_read","arguments":{}}}`, reads...); !strings.Contains(got.Text, "no tool") {
		t.Errorf("%+v", got)
	}
	if len(books.seen()) != 1 {
		t.Errorf("the API saw %v", books.seen())
	}
}

// A call through the directory needs the scopes of the tool it ends at.
func TestTheDirectoryAsksForTheScopesOfTheTool(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	w := e.do(alice, "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"call_read_tool","arguments":{"name":"import","arguments":{}}}}`, "X-MCP-Dynamic", "true")
	r := decode[reply](t, w.Body.Bytes())
	if w.Code != http.StatusForbidden || !strings.Contains(w.Header().Get("WWW-Authenticate"), `scope="write:import"`) || r.Result == nil || r.Result.Meta["mcp/www_authenticate"] == nil {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if len(e.runner.seen()) != 0 {
		t.Errorf("called: %v", e.runner.seen())
	}
	// Nobody who has not signed in gets that far.
	if w := e.do(caller{anonymous: true, inForce: alice.inForce}, "POST", "/mcp", call(1, "list_tools"), "X-MCP-Dynamic", "true"); w.Code != http.StatusUnauthorized {
		t.Errorf("anonymous: %d %s", w.Code, w.Body)
	}
}

// The annotations of the directory hold for every tool that it can call.
func TestTheDirectoryIsAnnotatedTruthfully(t *testing.T) {
	t.Parallel()
	tools, err := everyTool()
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]catalogue.Tool{}
	for _, t := range directory.Tools() {
		own[t.Name] = t
	}
	for _, tool := range tools.Tools() {
		by := own[directory.Write]
		if tool.ReadOnly {
			by = own[directory.Read]
		}
		if by.ReadOnly && !tool.ReadOnly || !by.Destructive && tool.Destructive || by.Idempotent && !tool.Idempotent || !by.OpenWorld && tool.OpenWorld {
			t.Errorf("%s promises more than %s keeps", by.Name, tool.Name)
		}
	}
}

func TestAClientsTraceIsHandedOn(t *testing.T) {
	t.Parallel()
	var got []string
	e := newLinkedEdge(t, testTools(), newRunner(), func(ctx context.Context, traceparent string) context.Context {
		got = append(got, traceparent)
		return ctx
	})
	for _, meta := range []string{`"_meta":{"traceparent":"00-a-b-01"}`, `"_meta":{"traceparent":7}`, `"_meta":{}`} {
		if w := e.do(alice, "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{},`+meta+`}}`); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", meta, w.Code, w.Body)
		}
	}
	if len(got) != 1 || got[0] != "00-a-b-01" {
		t.Errorf("%q", got)
	}
}
