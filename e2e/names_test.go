package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// A company's name can only be found by who may list companies: without that
// scope it is a challenge for it, on every way in, and a uuid needs no more than
// the tool itself.
func TestStepUpForACompanysName(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.mint(t, stack.TokenRequest{Account: sellerOne, Scope: "read:warehouses"})
	c := g.companies(t, g.token(t, sellerOne))[0]
	byName := map[string]any{"companyUuid": c.Name}
	if r := g.call(t, modern, token, "list_warehouses", map[string]any{"companyUuid": c.UUID}); r.IsError {
		t.Errorf("by uuid: %s", r.text())
	}
	judge := func(way, challenge string) {
		t.Helper()
		for _, want := range []string{`Bearer realm="mcp"`, `error="insufficient_scope"`, `scope="read:companies read:warehouses"`, `error_description="`, "resource_metadata="} {
			if !strings.Contains(challenge, want) {
				t.Errorf("%s: %q lacks %s", way, challenge, want)
			}
		}
	}
	inside := func(way string, raw json.RawMessage) {
		t.Helper()
		var result struct {
			IsError bool                          `json:"isError"`
			Meta    map[string]json.RawMessage    `json:"_meta"`
			Content []struct{ Type, Text string } `json:"content"`
		}
		var challenges []string
		if err := json.Unmarshal(raw, &result); err != nil || !result.IsError || json.Unmarshal(result.Meta["mcp/www_authenticate"], &challenges) != nil || len(challenges) != 1 {
			t.Fatalf("%s: %s (%v)", way, raw, err)
		}
		judge(way, challenges[0])
		if len(result.Content) != 1 || !strings.Contains(result.Content[0].Text, "read:companies") || strings.Contains(result.Content[0].Text, c.UUID) {
			t.Errorf("%s: %+v", way, result.Content)
		}
	}
	for _, version := range []string{modern, legacy} {
		r := g.rpc(t, version, token, "tools/call", "list_warehouses", map[string]any{"name": "list_warehouses", "arguments": byName})
		if r.Status != http.StatusForbidden {
			t.Errorf("%s: %d %s", version, r.Status, r.Body)
		}
		judge(version, r.Header.Get("WWW-Authenticate"))
		inside(version, r.Result)
	}
	plain := g.plainCall(t, token, "list_warehouses", byName)
	if plain.Status != http.StatusForbidden {
		t.Errorf("plain: %d %s", plain.Status, plain.Body)
	}
	judge("plain", plain.Header.Get("WWW-Authenticate"))

	s := g.stream(t, "/sse", token)
	g.initialize(t, s, token)
	body, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": map[string]any{"name": "list_warehouses", "arguments": byName}})
	if r := g.post(t, s, token, string(body)); r.Status != http.StatusAccepted && r.Status != http.StatusForbidden {
		t.Errorf("stream: %d %s", r.Status, r.Body)
	}
	m, err := s.next()
	if err != nil {
		t.Fatal(err)
	}
	inside("stream", m.Result)

	// With the scope, the name will do.
	wider := g.mint(t, stack.TokenRequest{Account: sellerOne, Scope: "read:companies read:warehouses"})
	if r := g.call(t, modern, wider, "list_warehouses", byName); r.IsError {
		t.Error(r.text())
	}
}

// Part of a name is enough to read, and not to write.
func TestCompaniesByPartOfTheirName(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.token(t, sellerOne)
	for _, c := range g.companies(t, token) {
		first := strings.ToLower(c.Name[:len(c.Name)-1])
		r := g.call(t, modern, token, "list_warehouses", map[string]any{"params": map[string]any{"company": first}, "limit": 1})
		type taken struct{ Argument, Given, Name, UUID string }
		got := structured[struct {
			Taken []taken `json:"_company_taken"`
		}](t, r).Taken
		if want := (taken{"companyUuid", first, c.Name, c.UUID}); len(got) != 1 || got[0] != want || !strings.Contains(r.text(), "was taken for "+c.Name) {
			t.Errorf("%s: %v, %s", first, got, r.text())
		}
		data := map[string]any{"ref_number": "E2E"}
		if r := g.call(t, modern, token, "create_documents", map[string]any{"companyUuid": first, "data": data, "dry_run": true}); !r.IsError || !strings.Contains(r.text(), c.UUID) {
			t.Errorf("a write for %q: %s", first, r.text())
		}
		if r := g.call(t, modern, token, "create_documents", map[string]any{"companyUuid": c.Name, "data": data, "dry_run": true}); r.IsError || !strings.Contains(r.text(), "/companies/"+c.UUID+"/create/bill") {
			t.Errorf("a write for %q: %s", c.Name, r.text())
		}
	}
}

// Documents name warehouses by number, which no list of warehouses has: the call
// that list_warehouses tells of gives them.
func TestNumbersOfWarehousesInOneCall(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	everyCompany(t, g, func(t *testing.T, o owner) {
		type warehouse struct {
			ID   int64
			UUID string
			Name string
		}
		known := map[string]string{}
		for _, w := range structured[struct{ Data []warehouse }](t, g.call(t, modern, o.token, "list_warehouses", map[string]any{"companyUuid": o.UUID, "limit": 200})).Data {
			known[w.UUID] = w.Name
		}
		orders := structured[struct {
			Data []struct{ Warehouse warehouse }
		}](t,
			g.call(t, modern, o.token, "inventory_orders_list", map[string]any{"companyUuid": o.UUID, "fields": []string{"warehouse"}, "limit": 200}))
		numbers := map[int64]string{}
		for _, order := range orders.Data {
			if w := order.Warehouse; w.ID != 0 {
				if known[w.UUID] != w.Name {
					t.Errorf("%+v is %q in the list of warehouses", w, known[w.UUID])
				}
				numbers[w.ID] = w.UUID
			}
		}
		if len(numbers) == 0 {
			t.Fatalf("no numbers in %d orders", len(orders.Data))
		}
		for number, uuid := range numbers {
			r := structured[struct {
				Data []struct{ Warehouse warehouse }
			}](t,
				g.call(t, modern, o.token, "inventory_orders_list", map[string]any{"companyUuid": o.UUID, "warehouse_id": number, "limit": 10}))
			if len(r.Data) == 0 || r.Data[0].Warehouse.UUID != uuid {
				t.Errorf("orders of warehouse %d: %+v", number, r.Data)
			}
			break
		}
		if r := g.call(t, modern, o.token, "inventory_orders_list", map[string]any{"companyUuid": o.UUID, "warehouses": []string{numbers[firstKey(numbers)]}}); !r.IsError || !strings.Contains(r.text(), "list_warehouses") {
			t.Errorf("a uuid for a number: %s", r.text())
		}
	})
}

func firstKey(m map[int64]string) (first int64) {
	for first = range m {
		break
	}
	return first
}

// Whoever is asked to agree sees names, not ids.
func TestTheQuestionBeforeAChangeNamesTheCompany(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Backend: {"MCPBACKEND_TOOLSETS=all"}}})
	token := g.token(t, sellerOne)
	c := g.companies(t, token)[0]
	type bill struct {
		ID     int64
		Ref    string `json:"ref_number"`
		Vendor struct {
			ID   int64
			Name string
		}
	}
	b := structured[struct{ Data []bill }](t, g.call(t, modern, token, "bills_list", map[string]any{"companyUuid": c.UUID, "limit": 1})).Data[0]
	params := map[string]any{"name": "bills_update", "arguments": map[string]any{"companyUuid": c.UUID, "id": b.ID, "vendor_id": b.Vendor.ID}}
	body, headers := message(modern, "tools/call", "bills_update", params)
	body = strings.Replace(body, `"io.modelcontextprotocol/clientCapabilities":{}`, `"io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}`, 1)
	r := decodeRPC(t, g.send(t, http.MethodPost, "/mcp", body, append(headers, bearer(token)...)...))
	var asked struct {
		InputRequests map[string]struct{ Params struct{ Message string } }
	}
	if err := json.Unmarshal(r.Result, &asked); err != nil {
		t.Fatalf("%d %s: %v", r.Status, r.Body, err)
	}
	question := asked.InputRequests["confirm"].Params.Message
	for _, want := range []string{
		"companyUuid: " + c.Name + " (" + c.UUID + ")", "billId: " + b.Ref + ", ", fmt.Sprintf("vendor_id: %s (%d)", b.Vendor.Name, b.Vendor.ID),
	} {
		if !strings.Contains(question, want) {
			t.Errorf("%q is missing from %q", want, question)
		}
	}
}
