package server_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

var everyTool = sync.OnceValues(func() (*catalogue.Catalogue, error) {
	return catalogue.Load(openapi.Document(), openapi.Overlay(), catalogue.Options{Toolsets: []string{catalogue.AllTools}})
})

// api is a NeonPanel of one answer, which remembers what it was asked.
type api struct {
	answer http.HandlerFunc

	mu    sync.Mutex
	asked []string // method, URI and body
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.asked = append(a.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if a.answer != nil {
		a.answer(w, r)
		return
	}
	_, _ = io.WriteString(w, `{"id":7}`)
}

func (a *api) calls() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.asked...)
}

// newWhole is the whole service with every tool of the API, which is a.
func newWhole(t *testing.T, a *api) *edge {
	t.Helper()
	upstream := httptest.NewServer(a)
	t.Cleanup(upstream.Close)
	client, err := neonpanel.New(neonpanel.Options{BaseURL: upstream.URL, Timeout: 2 * time.Minute, AttemptTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	tools, err := everyTool()
	if err != nil {
		t.Fatal(err)
	}
	return newEdgeOf(t, tools, toolcall.New(client, toolcall.Options{}))
}

var keeper = caller{
	subject: "46", client: "app", token: "writer-token",
	scopes:  "read:cogs read:companies read:inventory write:import",
	inForce: "read:cogs read:companies read:inventory write:import",
}

// acme is the uuid of a company.
const acme = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"

// sessions are a client's ways in.
func (e *edge) sessions(t *testing.T, c caller, options *mcp.ClientOptions) map[string]*mcp.ClientSession {
	t.Helper()
	client := e.start(t)(c)
	out := map[string]*mcp.ClientSession{}
	for _, version := range []string{"2026-07-28", "2025-11-25", "2024-11-05"} {
		var transport mcp.Transport = &mcp.StreamableClientTransport{Endpoint: "http://backend/mcp", HTTPClient: client, DisableStandaloneSSE: true}
		if version == "2024-11-05" {
			transport = &mcp.SSEClientTransport{Endpoint: "http://backend/sse", HTTPClient: &http.Client{Transport: client.Transport}}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		t.Cleanup(cancel)
		session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, options).
			Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: version})
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		t.Cleanup(func() { _ = session.Close() })
		out[version] = session
	}
	return out
}

func text(r *mcp.CallToolResult) string {
	if r == nil || len(r.Content) == 0 {
		return ""
	}
	c, _ := r.Content[0].(*mcp.TextContent)
	return c.Text
}

// TestOldNamesWorkOnEveryTransport: a family of old names at a time, with the
// arguments of old.
func TestOldNamesWorkOnEveryTransport(t *testing.T) {
	t.Parallel()
	const c = "/api/v1/companies/" + acme
	for _, test := range []struct{ name, arguments, asked string }{
		{"get_inventory_items", `{"companyUuid":"` + acme + `","page":2,"per_page":20,"sku":"A"}`, "GET " + c + "/inventory-items?page=2&per_page=20&sku=A"},
		{"get_item_cogs", `{"company_uuid":"` + acme + `","inventory_id":5,"warehouse_uuid":"w","start_date":"2026-01-01"}`, "GET " + c + "/inventory-items/5/cogs?start_date=2026-01-01&page=1&per_page=30"},
		{"neonpanel.getInventoryDetails", `{"companyUuid":"` + acme + `","inventoryId":5}`, "GET " + c + "/inventory-items/5/balances"},
		{"neonpanel_listCompanies", `{}`, "GET /api/v1/companies?page=1&per_page=30"},
		{"account_get_companies_with_permission", `{"permission":"p","companyUuids":["` + acme + `"]}`, "GET /api/v1/permissions/p/companies?company_uuids%5B%5D=" + acme},
		{"inventory_get_listing_details_by_asin", `{"companyUuid":"` + acme + `","asin":"B0","sync":false}`, "GET " + c + "/listings?page=1&per_page=30&asin=B0"},
		{"cogs_get_inventory_cogs", `{"params":{"company_id":"` + acme + `","inventoryId":"5","start_date":"2026-01-01"}}`, "GET " + c + "/inventory-items/5/cogs?start_date=2026-01-01&page=1&per_page=30"},
		{"financials_get_revenue_and_cogs", `{"start_date":"2026-01-01","grouping":"company"}`, "GET /api/v1/revenue-and-cogs?start_date=2026-01-01&periodicity=total&grouping%5B%5D=company"},
		{"forecasting_get_company_settings", `{"companyUuid":"` + acme + `"}`, "GET " + c + "/settings/forecasts"},
		{"import_check_status", `{"companyUuid":"` + acme + `","type":"bill","request_id":"r-1"}`, "GET " + c + "/import/bill/status/r-1"},
		{"project_management_record_payment", `{"companyUuid":"` + acme + `","payment_id":3,"paid_amount":1.50}`, "PUT " + c + `/payment-requests/3 {"paid_amount":1.50}`},
		{"project_management_get_assembly_order", `{"companyUuid":"` + acme + `","order_id":3}`, "GET " + c + "/assembly-orders/3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := &api{}
			e := newWhole(t, a)
			anybody := keeper
			anybody.mode = "off"
			for version, session := range e.sessions(t, anybody, nil) {
				result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: test.name, Arguments: json.RawMessage(test.arguments)})
				if err != nil || result.IsError {
					t.Errorf("%s: %v %s", version, err, text(result))
				}
			}
			body := `{"name":"` + test.name + `","arguments":` + test.arguments + `}`
			if w := e.do(anybody, http.MethodPost, "/mcp/tools/call", body); w.Code != http.StatusOK {
				t.Errorf("plain: %d %s", w.Code, w.Body)
			}
			for _, asked := range a.calls() {
				if asked != test.asked {
					t.Errorf("asked %s\nwant  %s", asked, test.asked)
				}
			}
			if len(a.calls()) == 0 {
				t.Error("nothing was asked")
			}
			if strings.Contains(e.log.String(), test.name) {
				t.Errorf("the audit names the alias: %s", e.log)
			}
		})
	}
}

// modernCall is a tools/call of MCP 2026-07-28 from a client that can show forms.
func (e *edge) modernCall(c caller, tool, arguments, more string) *httptest.ResponseRecorder {
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + arguments + more +
		`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}}}`
	return e.do(c, http.MethodPost, "/mcp", body, "MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", tool)
}

func TestDeletesAndUpdatesAreConfirmedWhereTheClientCanAsk(t *testing.T) {
	t.Parallel()
	const arguments = `{"companyUuid":"` + acme + `","productId":7}`
	for _, action := range []string{"accept", "decline", "cancel", "cannot"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var questions []string
			options := &mcp.ClientOptions{}
			if action != "cannot" {
				options.ElicitationHandler = func(_ context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
					mu.Lock()
					defer mu.Unlock()
					questions = append(questions, r.Params.Message)
					return &mcp.ElicitResult{Action: action}, nil
				}
			}
			for _, version := range []string{"2026-07-28", "2025-11-25", "2024-11-05"} {
				a := &api{}
				e := newWhole(t, a)
				session := e.sessions(t, keeper, options)[version]
				questions = nil
				result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "delete_product", Arguments: json.RawMessage(arguments)})
				if err != nil {
					t.Fatalf("%s: %v", version, err)
				}
				// Without a session, an older client cannot be asked, and is not held up.
				asked := action != "cannot" && version != "2025-11-25"
				if asked != (len(questions) == 1) || asked && (!strings.Contains(questions[0], "Delete a product in NeonPanel?") || !strings.Contains(questions[0], "productId: 7")) {
					t.Errorf("%s: asked %q", version, questions)
				}
				want := !asked || action == "accept"
				if done := len(a.calls()) == 1; done != want || result.IsError == want {
					t.Errorf("%s: the API was asked %v: %s", version, a.calls(), text(result))
				}
				if !want && !strings.Contains(text(result), "declined") {
					t.Errorf("%s: %s", version, text(result))
				}
				if strings.Contains(e.log.String(), `"outcome":"unconfirmed"`) != asked {
					t.Errorf("%s: %s", version, e.log)
				}
			}
		})
	}
	t.Run("what only adds is not asked about", func(t *testing.T) {
		t.Parallel()
		a := &api{}
		w := newWhole(t, a).modernCall(keeper, "create_product", `{"companyUuid":"`+acme+`","sku":"A","name":"A"}`, "")
		if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "inputRequests") || len(a.calls()) != 1 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// TestAConsentIsForOneRequestOfOneCaller: what a client sends back must be what
// it was asked.
func TestAConsentIsForOneRequestOfOneCaller(t *testing.T) {
	t.Parallel()
	arguments := func(product string) string { return `{"companyUuid":"` + acme + `","productId":` + product + `}` }
	a := &api{}
	e := newWhole(t, a)
	first := e.modernCall(keeper, "delete_product", arguments("7"), "")
	var asked struct {
		Result struct {
			ResultType, RequestState string
			InputRequests            map[string]struct {
				Method string
				Params struct{ Mode, Message string }
			}
			Content []any
		}
	}
	if err := json.Unmarshal(first.Body.Bytes(), &asked); err != nil {
		t.Fatal(err)
	}
	question := asked.Result.InputRequests["confirm"]
	if first.Code != http.StatusOK || asked.Result.ResultType != "input_required" || question.Method != "elicitation/create" ||
		question.Params.Mode != "form" || question.Params.Message == "" || asked.Result.Content != nil || len(a.calls()) > 0 {
		t.Fatalf("%d %s", first.Code, first.Body)
	}
	state := asked.Result.RequestState
	answer := func(state, action string) string {
		return `,"requestState":"` + state + `","inputResponses":{"confirm":{"action":"` + action + `"}}`
	}
	other, fresher := keeper, keeper
	other.subject = "47"
	fresher.token = "a-fresher-token"
	for name, w := range map[string]*httptest.ResponseRecorder{
		"other arguments": e.modernCall(keeper, "delete_product", arguments("8"), answer(state, "accept")),
		"another tool":    e.modernCall(keeper, "delete_inventory_item", `{"companyUuid":"`+acme+`","inventoryId":7}`, answer(state, "accept")),
		"another user":    e.modernCall(other, "delete_product", arguments("7"), answer(state, "accept")),
		"another token":   e.modernCall(fresher, "delete_product", arguments("7"), answer(state, "accept")),
		"no state":        e.modernCall(keeper, "delete_product", arguments("7"), answer("", "accept")),
		"a broken state":  e.modernCall(keeper, "delete_product", arguments("7"), answer(strings.ToUpper(state), "accept")),
		"no answer":       e.modernCall(keeper, "delete_product", arguments("7"), `,"requestState":"`+state+`"`),
	} {
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"input_required"`) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if len(a.calls()) > 0 {
		t.Fatalf("the API was asked %v", a.calls())
	}
	if w := e.modernCall(keeper, "delete_product", arguments("7"), answer(state, "accept")); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "isError") || len(a.calls()) != 1 {
		t.Errorf("%d %s; asked %v", w.Code, w.Body, a.calls())
	}
	if w := e.modernCall(keeper, "project_management_update_bill", `{"companyUuid":"`+acme+`","billId":7,"name":"x"}`, ""); !strings.Contains(w.Body.String(), `"input_required"`) {
		t.Errorf("an alias was not asked about: %d %s", w.Code, w.Body)
	}
}

// TestAConsentIsForOneChange: one agreement, one change; and one to a change is
// none to its repetition.
func TestAConsentIsForOneChange(t *testing.T) {
	t.Parallel()
	a := &api{}
	e := newWhole(t, a)
	const once = `{"companyUuid":"` + acme + `","billId":7,"name":"x"}`
	const again = `{"companyUuid":"` + acme + `","billId":7,"name":"x","repeat":true}`
	state := func(w *httptest.ResponseRecorder) string {
		t.Helper()
		var asked struct {
			Result struct{ ResultType, RequestState string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &asked); err != nil || asked.Result.ResultType != "input_required" {
			t.Fatalf("nobody was asked: %d %s", w.Code, w.Body)
		}
		return `,"requestState":"` + asked.Result.RequestState + `","inputResponses":{"confirm":{"action":"accept"}}`
	}
	made := func() (n int) {
		for _, call := range a.calls() {
			if strings.HasPrefix(call, "PUT ") {
				n++
			}
		}
		return n
	}
	first := state(e.modernCall(keeper, "bills_update", once, ""))
	state(e.modernCall(keeper, "bills_update", again, first))
	e.modernCall(keeper, "bills_update", once, first)
	if made() != 1 {
		t.Fatalf("asked %v", a.calls())
	}
	// Without repeat it is the first result, and needs no consent.
	if w := e.modernCall(keeper, "bills_update", once, first); !strings.Contains(w.Body.String(), "_first_result") || made() != 1 {
		t.Errorf("%s", w.Body)
	}
	second := state(e.modernCall(keeper, "bills_update", again, ""))
	e.modernCall(keeper, "bills_update", again, second)
	if made() != 2 {
		t.Fatalf("asked %v", a.calls())
	}
	state(e.modernCall(keeper, "bills_update", again, second))
	if made() != 2 {
		t.Errorf("one consent, two changes: %v", a.calls())
	}
}
