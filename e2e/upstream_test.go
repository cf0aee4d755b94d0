package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// leaks are what no answer may show of the servers behind it.
var leaks = []string{
	"<html", "<!doctype", "127.0.0.1", "localhost", "http://", "/var/www", ".php", "ErrorException", "$secretHash",
	"EOF", "dial", "goroutine", "connection reset", "unexpected", "Bearer ey", "read tcp", ".sock", "panic",
}

func checkNoLeak(t *testing.T, token, text string) {
	t.Helper()
	for _, leak := range append(leaks, token) {
		if strings.Contains(strings.ToLower(text), strings.ToLower(leak)) {
			t.Errorf("%q leaks: %s", leak, text)
		}
	}
}

// attempts counts the requests for a path that the API has seen.
func (g *gateway) attempts(t *testing.T, path string) int {
	t.Helper()
	journal, err := g.Sandbox.Journal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range journal {
		if e.Path == path {
			n++
		}
	}
	return n
}

func (g *gateway) fault(t *testing.T, f stack.Fault) {
	t.Helper()
	if err := g.Sandbox.AddFault(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Sandbox.ClearFaults(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

func (g *gateway) plainCall(t *testing.T, token, tool string, arguments map[string]any) reply {
	t.Helper()
	body, err := json.Marshal(map[string]any{"name": tool, "arguments": arguments})
	if err != nil {
		t.Fatal(err)
	}
	return g.send(t, http.MethodPost, "/mcp/tools/call", string(body), append([]string{"Content-Type", "application/json"}, bearer(token)...)...)
}

// However NeonPanel misbehaves, a model is told what happened and what to do,
// programs get the right status, and nobody sees anything of the servers.
func TestEveryUpstreamErrorIsToldInWords(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{})
	token := g.token(t, sellerOne)
	company := g.companies(t, token)[0].UUID
	inCompany := "/api/v1/companies/" + company + "/"

	var elsewhere atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		fmt.Fprint(w, `{"data":[]}`)
	}))
	defer thief.Close()

	// Each on an operation of its own: one that fails again and again is not
	// called for a while.
	for _, c := range []struct {
		name, tool, path string
		fault            stack.Fault
		says             []string
		// attempts is how often the API is called by one call of the tool, plain
		// the status for programs; 0 where the second call would meet the open
		// circuit.
		attempts, plain int
	}{
		{"403", "bills_list", inCompany + "bills", stack.Fault{Kind: "status", Status: 403}, []string{"refused", "list_permissions_by_company"}, 1, 403},
		{"404", "list_warehouses", inCompany + "warehouses", stack.Fault{Kind: "status", Status: 404}, []string{"found nothing", "Check companyUuid"}, 1, 404},
		{"422", "shipments_list", inCompany + "shipments", stack.Fault{Kind: "status", Status: 422}, []string{"rejected the input", "Correct the input"}, 1, 422},
		{"429, a long wait", "services_list", inCompany + "services", stack.Fault{Kind: "retry_after", Status: 429, RetryAfter: "77"}, []string{"limits the number of calls", "Try again in 77 seconds"}, 1, 429},
		{"500 as HTML", "list_reports", "/api/v1/reports", stack.Fault{Kind: "html", Status: 500}, []string{"has a problem", "Try again"}, 1, 502},
		{"200 as HTML", "sales_channels_list", "/api/v1/sales-channels", stack.Fault{Kind: "html"}, []string{"has a problem", "Try again"}, 1, 502},
		{"100 MB", "invoices_list", inCompany + "invoices", stack.Fault{Kind: "large"}, []string{"too large", "Ask for less"}, 1, 502},
		{"redirect to another host", "vendors_list", inCompany + "vendors", stack.Fault{Kind: "redirect", Location: thief.URL + "/steal"}, []string{"has a problem", "Try again"}, 1, 502},
		{"redirect with 307", "payment_terms_list", inCompany + "payment-terms", stack.Fault{Kind: "redirect", Status: 307, Location: thief.URL + "/steal"}, []string{"has a problem"}, 1, 502},
		{"503", "list_permissions", "/api/v1/permissions", stack.Fault{Kind: "status", Status: 503}, []string{"has a problem", "Try again"}, 3, 0},
		{"502 as HTML", "get_products", inCompany + "products", stack.Fault{Kind: "html", Status: 502}, []string{"has a problem", "Try again"}, 3, 0},
		{"cut off", "list_inventory_items", inCompany + "inventory-items", stack.Fault{Kind: "truncate"}, []string{"connection to NeonPanel failed", "Try again"}, 3, 0},
		{"reset", "adjustments_list", inCompany + "adjustments", stack.Fault{Kind: "reset"}, []string{"connection to NeonPanel failed", "Try again"}, 3, 0},
		{"closed without a word", "assembly_orders_list", inCompany + "assembly-orders", stack.Fault{Kind: "down"}, []string{"connection to NeonPanel failed", "Try again"}, 3, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.fault.Path = c.path
			g.fault(t, c.fault)
			arguments := map[string]any{}
			if strings.HasPrefix(c.path, inCompany) {
				arguments["companyUuid"] = company
			}
			before := g.attempts(t, c.path)
			r := g.call(t, modern, token, c.tool, arguments)
			if !r.IsError || r.Structured != nil {
				t.Errorf("isError %v, structuredContent %.100s", r.IsError, r.Structured)
			}
			for _, want := range c.says {
				if !strings.Contains(r.text(), want) {
					t.Errorf("%q lacks %q", r.text(), want)
				}
			}
			checkNoLeak(t, token, r.text())
			eventually(t, 60*time.Second, func() string {
				if n := g.attempts(t, c.path) - before; n != c.attempts {
					return fmt.Sprintf("the API was called %d times, want %d", n, c.attempts)
				}
				return ""
			})
			if c.plain == 0 {
				return
			}
			p := g.plainCall(t, token, c.tool, arguments)
			if p.Status != c.plain || !strings.Contains(p.Body, c.says[0]) {
				t.Errorf("a plain call: %d %s", p.Status, p.Body)
			}
			if c.fault.RetryAfter != "" && p.Header.Get("Retry-After") != c.fault.RetryAfter {
				t.Errorf("a plain call: Retry-After %q", p.Header.Get("Retry-After"))
			}
			checkNoLeak(t, token, p.Body)
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}

	t.Run("401", func(t *testing.T) {
		g.fault(t, stack.Fault{Path: "/api/v1/companies", Kind: "status", Status: 401})
		for _, version := range []string{modern, legacy} {
			r := g.rpc(t, version, token, "tools/call", "list_companies", map[string]any{"name": "list_companies", "arguments": map[string]any{}})
			challenge := r.Header.Get("WWW-Authenticate")
			if r.Status != 401 || !strings.Contains(challenge, `error="invalid_token"`) || !strings.Contains(challenge, "resource_metadata=") {
				t.Errorf("%s: %d %q", version, r.Status, challenge)
			}
			var result struct {
				IsError bool `json:"isError"`
				Meta    struct {
					Challenges []string `json:"mcp/www_authenticate"`
				} `json:"_meta"`
			}
			if err := json.Unmarshal(r.Result, &result); err != nil || !result.IsError || len(result.Meta.Challenges) != 1 || result.Meta.Challenges[0] != challenge {
				t.Errorf("%s: %v %s", version, err, r.Body)
			}
			checkNoLeak(t, token, strings.ReplaceAll(r.Body, g.URL, ""))
		}
		s := g.stream(t, "/sse", token)
		g.initialize(t, s, token)
		if r := g.streamCall(t, s, token, "list_companies", map[string]any{}); !r.IsError || !strings.Contains(r.text(), "gain") {
			t.Errorf("legacy SSE: %+v", r)
		}
	})

	t.Run("slow", func(t *testing.T) {
		g.fault(t, stack.Fault{Path: "/api/v1/companies", Kind: "slow", Delay: "2s"})
		if r := g.call(t, modern, token, "list_companies", nil); r.IsError {
			t.Error(r.text())
		}
	})

	t.Run("429, a short wait", func(t *testing.T) {
		before := g.attempts(t, "/api/v1/companies")
		g.fault(t, stack.Fault{Path: "/api/v1/companies", Kind: "retry_after", RetryAfter: "1", Times: 1})
		begin := time.Now()
		r := g.call(t, modern, token, "list_companies", nil)
		if took := time.Since(begin); r.IsError || took < time.Second {
			t.Errorf("after %s: %s", took, r.text())
		}
		if n := g.attempts(t, "/api/v1/companies") - before; n != 2 {
			t.Errorf("%d attempts", n)
		}
	})

	t.Run("a failure that passes is never seen", func(t *testing.T) {
		for _, kind := range []stack.Fault{{Kind: "reset"}, {Kind: "status", Status: 502}, {Kind: "truncate"}} {
			kind.Path, kind.Times = "/api/v1/companies", 2
			g.fault(t, kind)
			if r := g.call(t, modern, token, "list_companies", nil); r.IsError {
				t.Errorf("%s: %s", kind.Kind, r.text())
			}
		}
	})

	t.Run("a write that fails is not repeated", func(t *testing.T) {
		path := inCompany + "create/bill"
		for i, f := range []stack.Fault{{Kind: "status", Status: 503, RetryAfter: "1"}, {Kind: "reset"}, {Kind: "html", Status: 500}} {
			f.Path = path
			g.fault(t, f)
			r := g.call(t, modern, token, "create_documents", map[string]any{"companyUuid": company, "data": map[string]any{"ref_number": fmt.Sprint("U-", i)}})
			if !r.IsError || !strings.Contains(r.text(), "not known whether the change was made") {
				t.Errorf("%s: %s", f.Kind, r.text())
			}
			checkNoLeak(t, token, r.text())
			eventually(t, 60*time.Second, func() string {
				if n := g.attempts(t, path); n != i+1 {
					return fmt.Sprintf("%d attempts after %d calls", n, i+1)
				}
				return ""
			})
			if err := g.Sandbox.ClearFaults(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// An operation that fails again and again rests for a while: others do not, and
// it recovers by itself.
func TestAnOperationThatKeepsFailingRests(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{})
	token := g.token(t, sellerOne)
	const path = "/api/v1/reports"
	g.fault(t, stack.Fault{Path: path, Kind: "status", Status: 503})
	rested := false
	for range 4 {
		r := g.call(t, modern, token, "list_reports", nil)
		if !r.IsError {
			t.Fatal(r.text())
		}
		rested = strings.Contains(r.text(), "several times in a row")
	}
	if n := g.attempts(t, path); !rested || n != 5 {
		t.Errorf("rested: %v, after %d attempts", rested, n)
	}
	if r := g.call(t, modern, token, "list_companies", nil); r.IsError {
		t.Errorf("another operation rests too: %s", r.text())
	}
	if err := g.Sandbox.ClearFaults(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, func() string {
		if r := g.call(t, modern, token, "list_reports", nil); r.IsError {
			return r.text()
		}
		return ""
	})

	// Refusals and answers that are no JSON say nothing about how it is.
	for i, f := range []stack.Fault{{Kind: "status", Status: 422}, {Kind: "html"}, {Kind: "status", Status: 500}} {
		f.Path = "/api/v1/sales-channels"
		g.fault(t, f)
		for range 8 {
			g.call(t, modern, token, "sales_channels_list", nil)
		}
		if n := g.attempts(t, f.Path); n != 8*(i+1) {
			t.Errorf("%s %d: %d attempts after %d calls", f.Kind, f.Status, n, 8*(i+1))
		}
	}
}
