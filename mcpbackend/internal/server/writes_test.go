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
	client, err := neonpanel.New(neonpanel.Options{BaseURL: upstream.URL, Timeout: 10 * time.Second, AttemptTimeout: 10 * time.Second})
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
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
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
