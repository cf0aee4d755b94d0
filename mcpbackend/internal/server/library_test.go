package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/composite"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// books answer the real tools for two people who own a company each.
type books struct {
	mu    sync.Mutex
	calls []string
	fails toolcall.FailureKind
}

func (b *books) Run(_ context.Context, t catalogue.Tool, arguments json.RawMessage, c toolcall.Caller) toolcall.Result {
	b.mu.Lock()
	b.calls = append(b.calls, t.Name+" "+string(arguments)+" "+c.Bearer)
	b.mu.Unlock()
	var a struct {
		Company string `json:"companyUuid"`
		Bill    int    `json:"billId"`
		Search  string `json:"search"`
	}
	_ = json.Unmarshal(arguments, &a)
	answer := func(text string) toolcall.Result {
		return toolcall.Result{Structured: json.RawMessage(text), Text: text}
	}
	failed := func(kind toolcall.FailureKind) toolcall.Result {
		return toolcall.Result{Text: "NeonPanel said no.", Failure: &toolcall.Failure{Kind: kind, Message: "NeonPanel said no."}}
	}
	owner := strings.TrimSuffix(c.Bearer, "-token")
	switch {
	case b.fails != "":
		return failed(b.fails)
	case t.Name == "list_companies":
		return answer(fmt.Sprintf(`{"data":[{"id":7,"uuid":"uuid-%s","name":"Company of %s","short_name":"%s"},{"id":8,"uuid":"u8","name":"Other","short_name":"not plain!"}]}`, owner, owner, strings.ToUpper(owner)))
	case a.Company != "uuid-"+owner && !strings.EqualFold(a.Company, owner):
		return failed(toolcall.Forbidden)
	case t.Name == "bills_read" && a.Bill == 51:
		return answer(`{"id":51,"amount":12.50}`)
	case t.Name == "bills_list" && a.Search == "freight":
		return answer(`{"data":[{"id":51},{"id":49}]}`)
	case t.Name == "bills_list":
		return answer(`{"data":[{"id":51},{"id":52},{"id":61}]}`)
	}
	return failed(toolcall.NotFound)
}

func (b *books) seen() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

var alicesBooks = caller{
	subject: "alice", client: "app", token: "alice-token",
	scopes: "read:companies read:landed-cost", inForce: "read:companies read:inventory read:landed-cost read:revenue",
}

// description is read once: under the race detector that takes a second.
var description = sync.OnceValues(func() (*catalogue.Source, error) {
	return catalogue.Read(openapi.Document(), openapi.Overlay())
})

func newLibrary(t *testing.T, options catalogue.Options) (*edge, *books) {
	t.Helper()
	source, err := description()
	if err != nil {
		t.Fatal(err)
	}
	options.Compose = composite.Tools
	tools, err := source.Load(options)
	if err != nil {
		t.Fatal(err)
	}
	b := &books{}
	return newEdgeOf(t, tools, b), b
}

// ask sends a request in one of the eras.
func (e *edge) ask(c caller, version, method, params string) (status int, header http.Header, result, fault json.RawMessage) {
	headers := []string{"Mcp-Protocol-Version", version}
	if version == modern {
		params = strings.Replace(strings.Replace(params, "{", "{"+meta+",", 1), ",}", "}", 1)
		headers = append(headers, "Mcp-Method", method)
		var p struct{ URI, Name string }
		_ = json.Unmarshal([]byte(params), &p)
		if name := p.URI + p.Name; name != "" && method != "completion/complete" {
			headers = append(headers, "Mcp-Name", name)
		}
	}
	w := e.do(c, "POST", "/mcp", fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params), headers...)
	var r struct{ Result, Error json.RawMessage }
	_ = json.Unmarshal(w.Body.Bytes(), &r)
	return w.Code, w.Header(), r.Result, r.Error
}

var bothEras = []string{modern, "2025-11-25"}

func TestResourcesAreReadAsTheCaller(t *testing.T) {
	t.Parallel()
	for _, version := range bothEras {
		e, b := newLibrary(t, catalogue.Options{})
		status, _, result, fault := e.ask(alicesBooks, version, "resources/read", `{"uri":"neonpanel://companies/uuid-alice/bills/51"}`)
		if status != 200 || fault != nil {
			t.Fatalf("%s: %d %s", version, status, fault)
		}
		var got struct {
			ResultType, CacheScope string
			TTLMs                  *int
			Contents               []struct{ URI, MIMEType, Text string }
		}
		if err := json.Unmarshal(result, &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Contents) != 1 || got.Contents[0].Text != `{"id":51,"amount":12.50}` || got.Contents[0].MIMEType != "application/json" ||
			got.Contents[0].URI != "neonpanel://companies/uuid-alice/bills/51" {
			t.Errorf("%s: %s", version, result)
		}
		if version == modern && (got.CacheScope != "private" || got.TTLMs == nil || *got.TTLMs != 0 || got.ResultType != "complete") {
			t.Errorf("%s: %s", version, result)
		}
		if seen := b.seen(); len(seen) != 1 || seen[0] != `bills_read {"billId":51,"companyUuid":"uuid-alice"} alice-token` {
			t.Errorf("%v", seen)
		}
		if !strings.Contains(e.log.String(), `"tool":"bills_read"`) {
			t.Error("the audit knows nothing of it")
		}
		status, _, result, _ = e.ask(alicesBooks, version, "resources/read", `{"uri":"neonpanel://companies/ALICE"}`)
		if status != 200 || !strings.Contains(string(result), `\"uuid\":\"uuid-alice\"`) {
			t.Errorf("a company by its short name: %d %s", status, result)
		}
	}
}

func TestResourceThatIsNotThere(t *testing.T) {
	t.Parallel()
	e, b := newLibrary(t, catalogue.Options{})
	for _, uri := range []string{
		"neonpanel://companies/uuid-alice/bills/99",    // no such bill
		"neonpanel://companies/uuid-bob/bills/51",      // somebody else's
		"neonpanel://companies/uuid-bob",               //
		"neonpanel://companies/uuid-alice/payments/51", // no such template
		"neonpanel://companies/uuid-alice/bills/..",
		"neonpanel://companies/uuid-alice/bills/5x",
		"neonpanel://companies/../bills/51",
		"neonpanel://companies/%2e%2e/bills/51",
		"neonpanel://companies/a%2Fb/bills/51",
		"neonpanel://companies//bills/51",
		"neonpanel://companies/uuid-alice/bills/51?x=1",
		"neonpanel://companies/uuid-alice/bills/51#x",
		"file:///etc/passwd", "x",
	} {
		for _, version := range bothEras {
			status, _, result, fault := e.ask(alicesBooks, version, "resources/read", fmt.Sprintf(`{"uri":%q}`, uri))
			wantStatus, wantCode := 200, -32002
			if version == modern {
				wantStatus, wantCode = 400, -32602
			}
			var got struct {
				Code    int
				Message string
				Data    struct{ URI string }
			}
			if err := json.Unmarshal(fault, &got); err != nil || status != wantStatus || got.Code != wantCode || got.Message != "Resource not found" || got.Data.URI != uri {
				t.Errorf("%s %s: %d %s %s", version, uri, status, result, fault)
			}
		}
	}
	for _, call := range b.seen() {
		if strings.Contains(call, "..") || strings.Contains(call, "a/b") || strings.Contains(call, "?x") {
			t.Errorf("it reached a tool: %s", call)
		}
	}
}

func TestResourceWithoutItsScopeIsAStepUp(t *testing.T) {
	t.Parallel()
	e, b := newLibrary(t, catalogue.Options{})
	for _, version := range bothEras {
		status, header, _, fault := e.ask(alicesBooks, version, "resources/read", `{"uri":"neonpanel://companies/uuid-alice/invoices/1"}`)
		challenge := header.Get("WWW-Authenticate")
		if status != http.StatusForbidden || !strings.Contains(challenge, `error="insufficient_scope"`) || !strings.Contains(challenge, `scope="read:revenue"`) {
			t.Errorf("%s: %d %s", version, status, challenge)
		}
		if !strings.Contains(string(fault), `"mcp/www_authenticate"`) {
			t.Errorf("%s: %s", version, fault)
		}
	}
	if len(b.seen()) > 0 {
		t.Errorf("%v", b.seen())
	}
}

func TestRefusedTokenOnAResourceIsAChallenge(t *testing.T) {
	t.Parallel()
	e, b := newLibrary(t, catalogue.Options{})
	b.fails = toolcall.Unauthenticated
	for method, params := range map[string]string{
		"resources/read":      `{"uri":"neonpanel://companies/uuid-alice/bills/51"}`,
		"resources/list":      `{}`,
		"completion/complete": `{"ref":{"type":"ref/prompt","name":"restock_plan"},"argument":{"name":"company","value":""}}`,
	} {
		status, header, _, fault := e.ask(alicesBooks, "2025-11-25", method, params)
		if status != http.StatusUnauthorized || !strings.Contains(header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%s: %d %s %s", method, status, header, fault)
		}
	}
}

func TestFailureOfNeonPanelIsNoMissingResource(t *testing.T) {
	t.Parallel()
	e, b := newLibrary(t, catalogue.Options{})
	b.fails = toolcall.Unavailable
	_, _, _, fault := e.ask(alicesBooks, "2025-11-25", "resources/read", `{"uri":"neonpanel://companies/uuid-alice/bills/51"}`)
	if !strings.Contains(string(fault), `-32603`) || !strings.Contains(string(fault), "NeonPanel said no.") {
		t.Errorf("%s", fault)
	}
	// While they type, people see no error.
	_, _, result, _ := e.ask(alicesBooks, "2025-11-25", "completion/complete", `{"ref":{"type":"ref/prompt","name":"restock_plan"},"argument":{"name":"company","value":""}}`)
	if string(result) != `{"completion":{"values":[]}}` {
		t.Errorf("%s", result)
	}
}

func TestCompaniesAreListedAsResources(t *testing.T) {
	t.Parallel()
	for _, version := range bothEras {
		e, _ := newLibrary(t, catalogue.Options{})
		_, _, result, _ := e.ask(alicesBooks, version, "resources/list", `{}`)
		var got struct {
			ResultType, CacheScope string
			Resources              []struct{ URI, Name, Title string }
		}
		if err := json.Unmarshal(result, &got); err != nil || len(got.Resources) != 2 || got.Resources[0].URI != "neonpanel://companies/uuid-alice" ||
			got.Resources[0].Name != "ALICE" || got.Resources[0].Title != "Company of alice" {
			t.Fatalf("%s: %s", version, result)
		}
		if version == modern && (got.ResultType != "complete" || got.CacheScope != "private") {
			t.Errorf("%s", result)
		}
		// What is listed can be read.
		if status, _, _, fault := e.ask(alicesBooks, version, "resources/read", fmt.Sprintf(`{"uri":%q}`, got.Resources[0].URI)); status != 200 || fault != nil {
			t.Errorf("%s: %d %s", version, status, fault)
		}
	}
	// Clients ask for the list unasked: a missing scope is no reason for a login.
	e, b := newLibrary(t, catalogue.Options{})
	poor := alicesBooks
	poor.scopes = "read:landed-cost"
	if status, _, result, _ := e.ask(poor, "2025-11-25", "resources/list", `{}`); status != 200 || !strings.Contains(string(result), `"resources":[]`) || len(b.seen()) > 0 {
		t.Errorf("%d %s", status, result)
	}
}

func TestLibraryFollowsTheCatalogue(t *testing.T) {
	t.Parallel()
	count := func(e *edge, method, member string) int {
		_, _, result, fault := e.ask(alicesBooks, "2025-11-25", method, `{}`)
		var got map[string]json.RawMessage
		var list []any
		if json.Unmarshal(result, &got) != nil || json.Unmarshal(got[member], &list) != nil {
			t.Fatalf("%s: %s %s", method, result, fault)
		}
		return len(list)
	}
	for name, c := range map[string]struct {
		options            catalogue.Options
		templates, prompts int
	}{
		"default":        {catalogue.Options{}, 6, 3},
		"read-only":      {catalogue.Options{ReadOnly: true}, 6, 2},
		"sales alone":    {catalogue.Options{Toolsets: []string{"sales"}}, 1, 0},
		"insights alone": {catalogue.Options{Toolsets: []string{"insights"}}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, _ := newLibrary(t, c.options)
			if n := count(e, "resources/templates/list", "resourceTemplates"); n != c.templates {
				t.Errorf("%d templates, want %d", n, c.templates)
			}
			if n := count(e, "prompts/list", "prompts"); n != c.prompts {
				t.Errorf("%d prompts, want %d", n, c.prompts)
			}
			_, _, _, fault := e.ask(alicesBooks, "2025-11-25", "prompts/get", `{"name":"bill_intake"}`)
			if offered := c.prompts == 3; offered != (fault == nil) {
				t.Errorf("bill_intake: %s", fault)
			}
			if !slices.Contains(c.options.Toolsets, "sales") {
				return
			}
			if _, _, _, fault := e.ask(alicesBooks, "2025-11-25", "resources/read", `{"uri":"neonpanel://companies/uuid-alice/bills/51"}`); !strings.Contains(string(fault), "-32002") {
				t.Errorf("a bill is read though its tool is off: %s", fault)
			}
		})
	}
}

// The instructions speak of the tools that there are.
func TestInstructionsFollowTheCatalogue(t *testing.T) {
	t.Parallel()
	for toolsets, want := range map[string]bool{"": true, "sales": false} {
		options := catalogue.Options{}
		if toolsets != "" {
			options.Toolsets = []string{toolsets}
		}
		e, _ := newLibrary(t, options)
		w := e.do(alicesBooks, "POST", "/mcp", initialize)
		got := decode[struct{ Result struct{ Instructions string } }](t, w.Body.Bytes()).Result.Instructions
		if strings.Contains(got, "company_overview") != want || len(got) == 0 || len(got) > 512 || strings.Contains(got, "%") {
			t.Errorf("%q: %d bytes, %s", toolsets, len(got), got)
		}
	}
}

func TestArgumentsAreCompleted(t *testing.T) {
	t.Parallel()
	e, _ := newLibrary(t, catalogue.Options{})
	bill := `{"type":"ref/resource","uri":"neonpanel://companies/{company}/bills/{bill}"}`
	for _, c := range []struct{ ref, argument, typed, context, want string }{
		{bill, "company", "", "", `["ALICE","u8"]`},
		{bill, "company", "company of", "", `["ALICE"]`},
		{bill, "company", "u8", "", `["u8"]`},
		{bill, "company", "nobody", "", `[]`},
		{bill, "bill", "", `{"company":"ALICE"}`, `["51","52","61"]`},
		{bill, "bill", "5", `{"company":"uuid-alice"}`, `["51","52"]`},
		{bill, "bill", "freight", `{"company":"uuid-alice"}`, `["51","49"]`},
		{bill, "bill", "5", "", `[]`},
		{bill, "bill", "5", `{"company":"uuid-bob"}`, "-32602"},
		{bill, "item", "", `{"company":"ALICE"}`, "-32602"},
		{`{"type":"ref/resource","uri":"neonpanel://nothing/{x}"}`, "x", "", "", "-32602"},
		{`{"type":"ref/prompt","name":"month_end_review"}`, "company", "of al", "", `["Company of alice"]`},
		{`{"type":"ref/prompt","name":"month_end_review"}`, "month", "2026", "", `[]`},
		{`{"type":"ref/prompt","name":"month_end_review"}`, "year", "2026", "", "-32602"},
		{`{"type":"ref/prompt","name":"nothing"}`, "company", "", "", "-32602"},
	} {
		params := fmt.Sprintf(`{"ref":%s,"argument":{"name":%q,"value":%q}`, c.ref, c.argument, c.typed)
		if c.context != "" {
			params += `,"context":{"arguments":` + c.context + `}`
		}
		for _, version := range bothEras {
			_, _, result, fault := e.ask(alicesBooks, version, "completion/complete", params+"}")
			if c.want == "-32602" {
				if !strings.Contains(string(fault), c.want) {
					t.Errorf("%s %s: %s %s", version, params, result, fault)
				}
				continue
			}
			if !strings.Contains(string(result), `"values":`+c.want) {
				t.Errorf("%s %s: %s %s, want %s", version, params, result, fault, c.want)
			}
		}
	}
}

func TestPromptsAreTextForAModel(t *testing.T) {
	t.Parallel()
	e, _ := newLibrary(t, catalogue.Options{})
	for _, version := range bothEras {
		_, _, result, fault := e.ask(alicesBooks, version, "prompts/get", `{"name":"month_end_review","arguments":{"company":"Acme","month":"2026-02"}}`)
		var got struct {
			Messages []struct {
				Role    string
				Content struct{ Type, Text string }
			}
		}
		if err := json.Unmarshal(result, &got); err != nil || len(got.Messages) != 1 || got.Messages[0].Role != "user" || got.Messages[0].Content.Type != "text" {
			t.Fatalf("%s: %s %s", version, result, fault)
		}
		for _, part := range []string{`Company: "Acme".`, "start_date 2026-02-01, end_date 2026-02-28", "profit_summary for the month", "payment_requests_list"} {
			if !strings.Contains(got.Messages[0].Content.Text, part) {
				t.Errorf("%s: no %q in %s", version, part, got.Messages[0].Content.Text)
			}
		}
		if _, _, _, fault := e.ask(alicesBooks, version, "prompts/get", `{"name":"month_end_review","arguments":{"month":"May"}}`); !strings.Contains(string(fault), "month must be YYYY-MM") {
			t.Errorf("%s: %s", version, fault)
		}
	}
}

// Discovery without a token shows tools, and nothing of anybody's data.
func TestAnonymousCallersGetNoResourcesOrPrompts(t *testing.T) {
	t.Parallel()
	e, b := newLibrary(t, catalogue.Options{})
	nobody := caller{anonymous: true, inForce: "read:companies"}
	for method, params := range map[string]string{
		"resources/list": `{}`, "resources/templates/list": `{}`, "resources/read": `{"uri":"neonpanel://companies/uuid-alice"}`,
		"prompts/list": `{}`, "prompts/get": `{"name":"restock_plan"}`,
		"completion/complete": `{"ref":{"type":"ref/prompt","name":"restock_plan"},"argument":{"name":"company","value":""}}`,
	} {
		for _, version := range bothEras {
			status, header, result, _ := e.ask(nobody, version, method, params)
			if status != http.StatusUnauthorized || header.Get("WWW-Authenticate") == "" || result != nil {
				t.Errorf("%s %s: %d %s", version, method, status, result)
			}
		}
	}
	if len(b.seen()) > 0 {
		t.Errorf("%v", b.seen())
	}
}

func TestSDKClientReadsCompletesAndPrompts(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2026-07-28", "2025-11-25", "legacy SSE"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			e, _ := newLibrary(t, catalogue.Options{})
			client := e.start(t)(alicesBooks)
			var transport mcp.Transport = &mcp.StreamableClientTransport{Endpoint: "http://backend/mcp", HTTPClient: client, DisableStandaloneSSE: true}
			spoken := version
			if version == "legacy SSE" {
				spoken = "2024-11-05"
				transport = &mcp.SSEClientTransport{Endpoint: "http://backend/sse", HTTPClient: &http.Client{Transport: client.Transport}}
			}
			session := connect(t, transport, spoken)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			templates, err := session.ListResourceTemplates(ctx, nil)
			if err != nil || len(templates.ResourceTemplates) != 6 {
				t.Fatalf("%+v %v", templates, err)
			}
			read, err := session.ReadResource(ctx, &mcp.ReadResourceParams{URI: "neonpanel://companies/ALICE/bills/51"})
			if err != nil || len(read.Contents) != 1 || read.Contents[0].Text != `{"id":51,"amount":12.50}` {
				t.Errorf("%+v %v", read, err)
			}
			if _, err := session.ReadResource(ctx, &mcp.ReadResourceParams{URI: "neonpanel://companies/bob/bills/51"}); err == nil {
				t.Error("somebody else's bill was read")
			}
			completed, err := session.Complete(ctx, &mcp.CompleteParams{
				Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "bill_intake"}, Argument: mcp.CompleteParamsArgument{Name: "company", Value: "ali"},
			})
			if err != nil || !slices.Equal(completed.Completion.Values, []string{"Company of alice"}) {
				t.Errorf("%+v %v", completed, err)
			}
			prompt, err := session.GetPrompt(ctx, &mcp.GetPromptParams{Name: "bill_intake", Arguments: map[string]string{"link": "https://x.example/a.pdf"}})
			if err != nil || len(prompt.Messages) != 1 {
				t.Errorf("%+v %v", prompt, err)
			}
		})
	}
}
