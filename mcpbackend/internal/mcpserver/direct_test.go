package mcpserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

var allTools = sync.OnceValues(func() (*catalogue.Catalogue, error) {
	return catalogue.Load(openapi.Document(), openapi.Overlay(), catalogue.Options{Toolsets: []string{catalogue.AllTools}})
})

// outcomes are what tools can answer, by the argument that asks for it.
var outcomes = map[string]toolcall.Result{
	"plain":      {Text: `{"a":1}`, Structured: json.RawMessage(`{"a":1,"b":[1.50,12345678901234567890,null,"<&>\u2028"]}`)},
	"text":       {Text: "no more than text"},
	"signs":      {Text: "<b>&amp;\u2028\u2029\x00\x1f\"\\/ äß 😀 \ufffd", Structured: json.RawMessage(`{"<&>":"\u003c"}`)},
	"broken":     {Text: "a\xffb\xc3"},
	"noted":      {Text: "{}", Structured: json.RawMessage(`{}`), Meta: map[string]any{"com.neonpanel/more": "<more> & more", "com.neonpanel/b": []any{1, map[string]any{"x": nil}}}},
	"invalid":    {Text: "x", Failure: &toolcall.Failure{Kind: toolcall.InvalidArguments, Message: "nothing was called: <fix> it."}},
	"later":      {Text: "x", Failure: &toolcall.Failure{Kind: toolcall.RateLimited, Message: "Too many.", RetryAfter: 7 * time.Second}},
	"refused":    {Text: "x", Failure: &toolcall.Failure{Kind: toolcall.Unauthenticated, Message: "NeonPanel did not accept the sign-in."}},
	"scopes":     {Text: "x", Failure: &toolcall.Failure{Kind: toolcall.Forbidden, Message: "needs more", Scopes: []string{"read:companies"}}},
	"only text":  {Text: "only text", Failure: &toolcall.Failure{Kind: toolcall.Internal}},
	"structured": {Text: "x", Structured: json.RawMessage(`{"a":1}`), Failure: &toolcall.Failure{Kind: toolcall.Unavailable, Message: "half"}},
}

// oracle answers with the outcome that its arguments name.
type oracle struct {
	mu    sync.Mutex
	given []string
}

func (o *oracle) Run(ctx context.Context, t catalogue.Tool, arguments json.RawMessage, c toolcall.Caller) toolcall.Result {
	o.mu.Lock()
	o.given = append(o.given, fmt.Sprintf("%s %s %s", t.Name, arguments, c.Bearer))
	o.mu.Unlock()
	var a struct{ Want string }
	_ = json.Unmarshal(arguments, &a)
	if a.Want == "panic" {
		panic("as wanted")
	}
	if r, ok := outcomes[a.Want]; ok {
		if r.Failure != nil { // it may be added to
			f := *r.Failure
			r.Failure = &f
		}
		return r
	}
	return toolcall.Result{Text: "{}", Structured: json.RawMessage(`{}`)}
}

type deaf struct{}

func (deaf) ToolCall(string, string, string, time.Duration) {}
func (deaf) ScopeReported(string)                           {}
func (deaf) TokenRefused()                                  {}

// both are a handler that answers plain calls directly, and one that leaves all to
// the SDK.
func both(t testing.TB) (quick, sdk *Handler, asked *oracle) {
	t.Helper()
	tools, err := allTools()
	if err != nil {
		t.Fatal(err)
	}
	asked = &oracle{}
	current := catalogue.NewCurrent(tools)
	o := Options{
		Version: "v1.2.3", PublicURL: "https://mcp.example.com", Tools: current, Via: invocation.Streamable,
		Calls: &invocation.Service{Tools: current, Runner: asked, Log: slog.New(slog.DiscardHandler), Observer: deaf{}, Now: time.Now},
	}
	server, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	quick, sdk = NewHandler(server, o), NewHandler(server, o)
	sdk.direct = nil
	return quick, sdk, asked
}

// send makes a request; headers are pairs, and an empty value takes one away.
func send(h http.Handler, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/mcp", strings.NewReader(body))
	for name, value := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream"} {
		r.Header.Set(name, value)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(identity.With(r.Context(), identity.Caller{
		Subject: "46", ClientID: "app", Token: "t", Expires: time.Now().Add(time.Hour), ScopeMode: identity.Enforce,
		Scopes:    []string{"read:inventory", "read:landed-cost", "read:warehouses", "write:import"},
		InForce:   []string{"read:companies", "read:inventory", "read:landed-cost", "read:warehouses", "write:import"},
		Challenge: `realm="mcp", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`,
	})))
	return w
}

const modernMeta = `"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"test","version":"1"}`

func callBody(id, name, arguments, meta, more string) string {
	b := `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"` + name + `"`
	if arguments != "" {
		b += `,"arguments":` + arguments
	}
	if meta != "" {
		b += `,"_meta":{` + meta + `}`
	}
	return b + more + `}}`
}

func modernHeaders(name string) []string {
	return []string{"MCP-Protocol-Version", Modern, "Mcp-Method", "tools/call", "Mcp-Name", name}
}

// TestDirectAnswersAreThoseOfTheSDK: the same status, headers, JSON and calls of
// the tool, whatever is asked and answered, and by whichever way.
func TestDirectAnswersAreThoseOfTheSDK(t *testing.T) {
	t.Parallel()
	type request struct {
		body    string
		headers []string
		direct  bool
	}
	const tool = "list_warehouses"
	requests := map[string]request{}
	for want := range outcomes {
		arguments := `{"Want":"` + want + `"}`
		for _, version := range []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"} {
			requests[want+", "+version] = request{callBody("7", tool, arguments, "", ""), []string{"MCP-Protocol-Version", version}, true}
		}
		requests[want+", modern"] = request{callBody(`"a\"\\<ü>"`, tool, arguments, modernMeta, ""), modernHeaders(tool), true}
		requests[want+", no version"] = request{callBody("7", tool, arguments, "", ""), nil, false}
	}
	legacy := []string{"MCP-Protocol-Version", "2025-11-25"}
	with := func(headers []string, more ...string) []string {
		return append(append([]string{}, headers...), more...)
	}
	for name, r := range map[string]request{
		"a panic":                        {callBody("7", tool, `{"Want":"panic"}`, "", ""), legacy, true},
		"a panic, modern":                {callBody("7", tool, `{"Want":"panic"}`, modernMeta, ""), modernHeaders(tool), true},
		"an old name":                    {callBody("7", "inventory_list_warehouses", `{}`, "", ""), legacy, true},
		"an old name, modern":            {callBody("7", "neonpanel.listWarehouses", `{}`, modernMeta, ""), modernHeaders("neonpanel.listWarehouses"), true},
		"no arguments":                   {callBody("7", tool, "", "", ""), legacy, true},
		"null":                           {callBody("7", tool, "null", "", ""), legacy, true},
		"a string of arguments":          {callBody("7", tool, `"{\"a\":1}"`, "", ""), legacy, true},
		"a list of arguments":            {callBody("7", tool, `[1]`, "", ""), legacy, true},
		"other metadata":                 {callBody("7", tool, `{}`, `"openai/locale":"de","x":{"y":[1]}`, ""), legacy, true},
		"other metadata, modern":         {callBody("7", tool, `{}`, modernMeta+`,"openai/locale":"de"`, ""), modernHeaders(tool), true},
		"other members":                  {callBody("7", tool, `{}`, "", `,"other":{"a":1}`), legacy, true},
		"a negative id":                  {callBody("-7", tool, `{}`, "", ""), legacy, true},
		"an empty id":                    {callBody(`""`, tool, `{}`, "", ""), legacy, true},
		"an escaped id":                  {callBody(`"\u00e4\n"`, tool, `{}`, "", ""), legacy, true},
		"a name in base64":               {callBody("7", tool, `{}`, modernMeta, ""), modernHeaders("=?base64?bGlzdF93YXJlaG91c2Vz?="), true},
		"a client without a name":        {callBody("7", tool, `{}`, strings.Split(modernMeta, `,"io.modelcontextprotocol/clientInfo`)[0], ""), modernHeaders(tool), true},
		"a client that can show forms":   {callBody("7", tool, `{}`, strings.Replace(modernMeta, "{}", `{"elicitation":{}}`, 1), ""), modernHeaders(tool), true},
		"an able client":                 {callBody("7", tool, `{}`, strings.Replace(modernMeta, "{}", `{"roots":{},"sampling":{},"extensions":{"a/b":{}},"x":1}`, 1), ""), modernHeaders(tool), true},
		"JSON alone":                     {callBody("7", tool, `{}`, "", ""), with(legacy, "Accept", "application/json"), true},
		"a change":                       {callBody("7", "bills_update", `{}`, modernMeta, ""), modernHeaders("bills_update"), true},
		"a change by one who can agree":  {callBody("7", "bills_update", `{}`, strings.Replace(modernMeta, "{}", `{"elicitation":{}}`, 1), ""), modernHeaders("bills_update"), false},
		"a stream alone":                 {callBody("7", tool, `{}`, "", ""), with(legacy, "Accept", "text/event-stream"), false},
		"progress":                       {callBody("7", tool, `{}`, `"progressToken":1`, ""), legacy, false},
		"a trace":                        {callBody("7", tool, `{}`, `"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`, ""), legacy, false},
		"an answer to a question":        {callBody("7", tool, `{}`, modernMeta, `,"inputResponses":{},"requestState":"x"`), modernHeaders(tool), false},
		"no such tool":                   {callBody("7", "list_warehouse", `{}`, "", ""), legacy, false},
		"no such tool, modern":           {callBody("7", "list_warehouse", `{}`, modernMeta, ""), modernHeaders("list_warehouse"), false},
		"no scope":                       {callBody("7", "list_companies", `{}`, "", ""), legacy, false},
		"an old session":                 {callBody("7", tool, `{}`, "", ""), with(legacy, "Mcp-Session-Id", "x"), false},
		"a legacy call that says modern": {callBody("7", tool, `{}`, modernMeta, ""), legacy, false},
		"another version in the header":  {callBody("7", tool, `{}`, strings.Replace(modernMeta, "2026-07-28", "2025-11-25", 1), ""), modernHeaders(tool), false},
		"another method in the header":   {callBody("7", tool, `{}`, modernMeta, ""), with(modernHeaders(tool), "Mcp-Method", "tools/list"), false},
		"another name in the header":     {callBody("7", tool, `{}`, modernMeta, ""), modernHeaders("bills_list"), false},
		"no method in the header":        {callBody("7", tool, `{}`, modernMeta, ""), with(modernHeaders(tool), "Mcp-Method", ""), false},
		"no capabilities":                {callBody("7", tool, `{}`, `"io.modelcontextprotocol/protocolVersion":"2026-07-28"`, ""), modernHeaders(tool), false},
		"capabilities that are none":     {callBody("7", tool, `{}`, strings.Replace(modernMeta, "{}", `[]`, 1), ""), modernHeaders(tool), false},
		"capabilities of wrong types":    {callBody("7", tool, `{}`, strings.Replace(modernMeta, "{}", `{"elicitation":5}`, 1), ""), modernHeaders(tool), false},
		"null for capabilities":          {callBody("7", tool, `{}`, strings.Replace(modernMeta, "{}", `null`, 1), ""), modernHeaders(tool), false},
		"a client that is none":          {callBody("7", tool, `{}`, strings.Replace(modernMeta, `{"name":"test","version":"1"}`, `"x"`, 1), ""), modernHeaders(tool), false},
		"a version that is none":         {callBody("7", tool, `{}`, strings.Replace(modernMeta, `"2026-07-28"`, `5`, 1), ""), modernHeaders(tool), false},
		"no metadata":                    {callBody("7", tool, `{}`, "", ""), modernHeaders(tool), false},
		"metadata of a wrong type":       {strings.Replace(callBody("7", tool, `{}`, "x", ""), `{x}`, `5`, 1), legacy, false},
		"null for metadata":              {strings.Replace(callBody("7", tool, `{}`, "x", ""), `{x}`, `null`, 1), legacy, true},
		"a name that is none":            {strings.Replace(callBody("7", tool, `{}`, "", ""), `"`+tool+`"`, "5", 1), legacy, false},
		"a notification":                 {`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"list_warehouses"}}`, legacy, false},
	} {
		requests[name] = r
	}
	quick, sdk, asked := both(t)
	for name, q := range requests {
		t.Run(name, func(t *testing.T) { // one after the other: they share the server
			asked.given = nil
			got := send(quick, q.body, q.headers...)
			gave := asked.given
			asked.given = nil
			want := send(sdk, q.body, q.headers...)
			if got.Code != want.Code || !reflect.DeepEqual(gave, asked.given) {
				t.Errorf("%d after %v: %s\nthe SDK: %d after %v: %s", got.Code, gave, got.Body, want.Code, asked.given, want.Body)
			}
			for _, header := range []string{"Content-Type", "Cache-Control", "Www-Authenticate", "Retry-After", "Mcp-Session-Id", ToldMethod, ToldTool} {
				if !reflect.DeepEqual(got.Header()[header], want.Header()[header]) {
					t.Errorf("%s: %v, the SDK's %v", header, got.Header()[header], want.Header()[header])
				}
			}
			if g, w := value(t, got), value(t, want); !reflect.DeepEqual(g, w) {
				t.Errorf("%s\nthe SDK: %s", got.Body, want.Body)
			}
			// That both are right would prove nothing if both went the same way.
			asked.given = nil
			nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
			alone := *quick
			alone.json, alone.stream = nothing, nothing
			send(&alone, q.body, q.headers...)
			if direct := len(asked.given) > 0; direct != q.direct {
				t.Errorf("answered directly: %v", direct)
			}
		})
	}
}

// value is a body as data, numbers as they stand.
func value(t *testing.T, w *httptest.ResponseRecorder) (v any) {
	t.Helper()
	text := w.Body.Bytes()
	if _, data, ok := bytes.Cut(text, []byte("data: ")); ok && strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
		text = data
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return v
}

// FuzzDirect: whatever is sent, both ways answer the same.
func FuzzDirect(f *testing.F) {
	quick, sdk, asked := both(f)
	for _, body := range []string{
		callBody("7", "list_warehouses", `{"Want":"plain"}`, "", ""), callBody(`"x"`, "list_warehouses", `{"Want":"noted"}`, modernMeta, ""),
		callBody("7", "bills_update", `null`, strings.Replace(modernMeta, "{}", `{"elicitation":{}}`, 1), ""), callBody("1.0", "x", "", `"progressToken":"a"`, `,"name":"list_warehouses"`),
		callBody("7", "list_warehouses", `{"a":1,"a":2}`, modernMeta+`,"io.modelcontextprotocol/protocolVersion":"x"`, ""),
	} {
		f.Add(body, false)
		f.Add(body, true)
	}
	f.Fuzz(func(t *testing.T, body string, modern bool) {
		headers := []string{"MCP-Protocol-Version", "2025-11-25"}
		if modern {
			headers = modernHeaders("list_warehouses")
		}
		// What nobody waits for may still run when the next one begins.
		if strings.Contains(body, "progressToken") || !strings.Contains(body, `"tools/call"`) || !strings.Contains(body, `"id"`) {
			return
		}
		asked.given = nil
		got := send(quick, body, headers...)
		gave := asked.given
		asked.given = nil
		want := send(sdk, body, headers...)
		if got.Code != want.Code || !reflect.DeepEqual(gave, asked.given) || !reflect.DeepEqual(value(t, got), value(t, want)) {
			t.Errorf("%q:\n%d after %q: %s\nthe SDK: %d after %q: %s", body, got.Code, gave, got.Body, want.Code, asked.given, want.Body)
		}
	})
}
