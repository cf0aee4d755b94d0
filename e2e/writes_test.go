package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// writable is a gateway on which every tool is switched on.
func writable(t *testing.T) *gateway {
	t.Helper()
	return ownGateway(t, stack.Options{Env: map[string][]string{stack.Backend: {"MCPBACKEND_TOOLSETS=all"}}})
}

// writesTo counts the changes that the API was asked for on a path.
func (g *gateway) writesTo(t *testing.T, path string) int {
	t.Helper()
	journal, err := g.Sandbox.Journal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range journal {
		if e.Path == path && e.Method != http.MethodGet {
			n++
		}
	}
	return n
}

// TestEveryDocumentIsCreatedReadAndChanged: what was given arrives, what was not
// given stays, and lines are replaced as the tools say.
func TestEveryDocumentIsCreatedReadAndChanged(t *testing.T) {
	t.Parallel()
	g := writable(t)
	token := g.token(t, sellerOne)
	company := g.companies(t, token)[0].UUID
	inCompany := "/api/v1/companies/" + company + "/"
	service := first[ided](t, g.api(t, token, inCompany+"services")).ID
	vendor := first[ided](t, g.api(t, token, inCompany+"vendors")).ID
	item := first[ided](t, g.api(t, token, inCompany+"inventory-items?per_page=10")).ID
	channel := first[ided](t, g.api(t, token, "/api/v1/sales-channels")).ID
	order := first[struct {
		Warehouse struct{ ID int } `json:"warehouse"`
	}](t, g.api(t, token, inCompany+"inventory-orders"))
	assembly := first[struct {
		Items []struct {
			ID int `json:"assembly_id"`
		}
	}](t, g.api(t, token, inCompany+"assembly-orders"))
	today := time.Now().UTC().Format(time.DateOnly)

	for _, doc := range []struct {
		family, path, id string
		create           map[string]any
		lines            string // the member that holds them
		change           []any
	}{
		{"inventory_orders", "inventory-orders", "orderId", map[string]any{
			"date_order_placed": today, "market": "US", "currency": "USD", "vendor_id": vendor, "warehouse_id": order.Warehouse.ID,
			"details": []any{map[string]any{"inventory_id": item, "quantity": 3, "price": json.Number("4.25")}},
		}, "details", []any{map[string]any{"inventory_id": item, "quantity": 5, "price": json.Number("4.50")}}},
		{"bills", "bills", "billId", map[string]any{
			"date": today, "currency": "USD", "vendor_id": vendor, "details": []any{map[string]any{"service_id": service, "quantity": 2, "rate": json.Number("10.50")}},
		}, "details", []any{map[string]any{"service_id": service, "quantity": 1, "rate": json.Number("9.99")}, map[string]any{"service_id": service, "quantity": 4, "rate": 1}}},
		{"invoices", "invoices", "invoiceId", map[string]any{
			"transaction_date": today, "market": "US", "currency": "USD", "sales_channel_id": channel,
			"details": []any{map[string]any{"service_id": service, "quantity": 1, "amount": json.Number("19.90")}},
		}, "details", []any{map[string]any{"service_id": service, "quantity": 2, "amount": json.Number("39.80")}}},
		{"shipments", "shipments", "shipmentId", map[string]any{
			"date_shipment_sent": today, "origin_warehouse_id": order.Warehouse.ID, "shipment_method": "SPD", "tracking_number": "1Z-1",
			"items": []any{map[string]any{"origin_inventory_id": item, "quantity_shipped": 2, "quantity_received": 2}},
		}, "items", []any{map[string]any{"origin_inventory_id": item, "quantity_shipped": 4, "quantity_received": 3}}},
		{"assembly_orders", "assembly-orders", "orderId", map[string]any{
			"date_order_assembled": today, "warehouse_id": order.Warehouse.ID,
			"items": []any{map[string]any{"assembly_id": assembly.Items[0].ID, "quantity": 1}},
		}, "items", []any{map[string]any{"assembly_id": assembly.Items[0].ID, "quantity": 2}}},
		{"adjustments", "adjustments", "adjustmentId", map[string]any{
			"date": today, "market": "US", "currency": "USD", "reason": "Damaged", "warehouse_id": order.Warehouse.ID,
			"details": []any{map[string]any{"inventory_id": item, "service_id": service, "quantity": 1, "rate": json.Number("2.5")}},
		}, "details", []any{map[string]any{"inventory_id": item, "service_id": service, "quantity": 2, "rate": json.Number("2.5")}}},
	} {
		t.Run(doc.family, func(t *testing.T) {
			ref := fmt.Sprintf("E2E-%s-%d", doc.path, time.Now().UnixNano())
			doc.create["companyUuid"], doc.create["ref_number"], doc.create["name"] = company, ref, "Made by a test"

			doc.create["dry_run"] = true
			if r := g.call(t, modern, token, doc.family+"_create", doc.create); r.IsError || !strings.Contains(r.text(), "Nothing was sent") {
				t.Fatalf("a dry run: %s", r.text())
			}
			delete(doc.create, "dry_run")
			if n := g.writesTo(t, inCompany+doc.path); n != 0 {
				t.Fatalf("a dry run made %d calls", n)
			}
			created := structured[ided](t, g.call(t, modern, token, doc.family+"_create", doc.create))
			again := g.call(t, legacy, token, doc.family+"_create", doc.create)
			if second := structured[ided](t, again); second.ID != created.ID || !strings.Contains(again.text(), "Nothing was sent") {
				t.Errorf("the same call made %d, then %d: %s", created.ID, second.ID, again.text())
			}
			if n := g.writesTo(t, inCompany+doc.path); n != 1 {
				t.Errorf("%d calls for two", n)
			}

			at := fmt.Sprintf("%s%s/%d", inCompany, doc.path, created.ID)
			before := object(t, string(g.api(t, token, at)))
			if before["ref_number"] != ref || before["name"] != "Made by a test" || len(before[doc.lines].([]any)) != 1 {
				t.Errorf("it became %v", before)
			}
			read := structured[map[string]any](t, g.call(t, modern, token, doc.family+"_read", map[string]any{"companyUuid": company, doc.id: created.ID}))
			if !reflect.DeepEqual(read, before) {
				t.Errorf("the tool reads %v, the API has %v", read, before)
			}

			// A model that sends null for what it leaves alone must not wipe it.
			if r := g.call(t, modern, token, doc.family+"_update", map[string]any{"companyUuid": company, doc.id: created.ID, doc.lines: doc.change, "name": nil}); r.IsError {
				t.Fatal(r.text())
			}
			after := object(t, string(g.api(t, token, at)))
			if after["name"] != before["name"] || after["ref_number"] != ref || len(after[doc.lines].([]any)) != len(doc.change) || reflect.DeepEqual(after, before) {
				t.Errorf("it changed from %v\nto %v", before, after)
			}
			if r := g.call(t, modern, token, doc.family+"_update", map[string]any{"companyUuid": company, doc.id: created.ID, "ref_number": "x"}); !r.IsError || !strings.Contains(r.text(), "ref_number") {
				t.Errorf("a reference number was changed: %s", r.text())
			}
			if r := g.call(t, modern, token, doc.family+"_update", map[string]any{"companyUuid": company, doc.id: created.ID, "clear": []string{"name"}}); r.IsError {
				t.Fatal(r.text())
			}
			if got := object(t, string(g.api(t, token, at))); got["name"] != nil && got["name"] != "" || got["ref_number"] != ref {
				t.Errorf("a name that was emptied is %v", got["name"])
			}
			two := g.token(t, sellerTwo)
			if r := g.call(t, modern, two, doc.family+"_update", map[string]any{"companyUuid": company, doc.id: created.ID, "name": "mine now"}); !r.IsError {
				t.Errorf("another seller changed it: %s", r.text())
			}
		})
	}
}

type ided struct {
	ID int `json:"id"`
}

// first is the first row of a list.
func first[T any](t *testing.T, list json.RawMessage) (v T) {
	t.Helper()
	var page struct{ Data []T }
	if err := json.Unmarshal(list, &page); err != nil || len(page.Data) == 0 {
		t.Fatalf("%v: %.300s", err, list)
	}
	return page.Data[0]
}

func TestProductsItemsListingsSettingsAndPayments(t *testing.T) {
	t.Parallel()
	g := writable(t)
	token := g.token(t, sellerOne)
	owned := g.companies(t, token)
	company := owned[0].UUID
	inCompany := "/api/v1/companies/" + company + "/"
	sku := fmt.Sprintf("E2E-%d", time.Now().UnixNano())

	// By the company's name, as people say it.
	product := structured[ided](t, g.call(t, modern, token, "create_product", map[string]any{"company": strings.ToLower(owned[0].Name), "sku": sku, "name": "A lamp", "weight": json.Number("1.25")}))
	if r := g.call(t, modern, token, "create_product", map[string]any{"company": "No such company", "sku": sku, "name": "A lamp"}); !r.IsError || !strings.Contains(r.text(), owned[0].Name) {
		t.Errorf("a company that there is not: %s", r.text())
	}
	find := func() []any {
		data, _ := object(t, string(g.api(t, token, inCompany+"products?page=1&per_page=10&sku="+sku)))["data"].([]any)
		return data
	}
	if rows := find(); len(rows) != 1 || rows[0].(map[string]any)["name"] != "A lamp" || fmt.Sprint(rows[0].(map[string]any)["weight"]) != "1.25" {
		t.Fatalf("the API has %v", rows)
	}
	structured[ided](t, g.call(t, modern, token, "update_product", map[string]any{"companyUuid": company, "productId": product.ID, "name": "A better lamp"}))
	if rows := find(); len(rows) != 1 || rows[0].(map[string]any)["name"] != "A better lamp" || rows[0].(map[string]any)["sku"] != sku {
		t.Errorf("the API has %v", rows)
	}

	item := structured[ided](t, g.call(t, modern, token, "create_inventory_item", map[string]any{
		"companyUuid": company, "country_code": "US", "source": "amazon", "fnsku": "X" + sku[4:12], "product_id": product.ID, "restock_data": map[string]any{"lead_time_days": 30},
	}))
	at := fmt.Sprintf("%sinventory-items/%d", inCompany, item.ID)
	structured[ided](t, g.call(t, modern, token, "update_inventory_item", map[string]any{"companyUuid": company, "inventoryId": item.ID, "variation": "Blue"}))
	if got := object(t, string(g.api(t, token, at))); got["variation"] != "Blue" || got["country_code"] != "US" {
		t.Errorf("the API has %v", got)
	}
	for _, tool := range []string{"delete_inventory_item", "delete_product"} {
		id := map[string]any{"companyUuid": company, "inventoryId": item.ID}
		if tool == "delete_product" {
			id = map[string]any{"companyUuid": company, "productId": product.ID}
		}
		if r := g.call(t, modern, token, tool, id); r.IsError {
			t.Errorf("%s: %s", tool, r.text())
		}
		if r := g.call(t, modern, token, tool, id); r.IsError || !strings.Contains(r.text(), "Nothing was sent") {
			t.Errorf("%s again: %s", tool, r.text())
		}
		id["repeat"] = true
		if r := g.call(t, modern, token, tool, id); !r.IsError || !strings.Contains(r.text(), "found nothing") {
			t.Errorf("%s of what is gone: %s", tool, r.text())
		}
	}
	if rows := find(); len(rows) != 0 {
		t.Errorf("the API still has %v", rows)
	}

	listing := first[ided](t, g.api(t, token, inCompany+"listings?page=1&per_page=10")).ID
	if got := structured[ided](t, g.call(t, modern, token, "sync_listing", map[string]any{"companyUuid": company, "listingId": listing})); got.ID != listing {
		t.Errorf("synchronised %d, want %d", got.ID, listing)
	}
	if r := g.call(t, modern, token, "update_company_forecasting_settings", map[string]any{"companyUuid": company, "default_lead_time_days": 41}); r.IsError {
		t.Error(r.text())
	}
	if got := object(t, string(g.api(t, token, inCompany+"settings/forecasts"))); fmt.Sprint(got["default_lead_time_days"]) != "41" || got["default_seasonality"] == nil {
		t.Errorf("the settings are %v", got)
	}
	if r := g.call(t, modern, token, "update_company_forecasting_settings", map[string]any{"companyUuid": company, "default_seasonality": "1;2;3"}); !r.IsError || !strings.Contains(r.text(), "default_seasonality") {
		t.Errorf("three months: %s", r.text())
	}
	due := first[ided](t, g.api(t, token, inCompany+"payment-requests")).ID
	if got := structured[map[string]any](t, g.call(t, modern, token, "project_management_record_payment", map[string]any{
		"company_id": company, "payment_id": due, "paid_amount": json.Number("12.34"), "transaction_number": "T-1",
	})); fmt.Sprint(got["paid_amount"]) != "12.34" || got["transaction_number"] != "T-1" {
		t.Errorf("the payment is %v", got)
	}
}

// Incident: a create that timed out, was tried again, and was made twice.
func TestAWriteWhoseOutcomeIsUnknownIsNotSentTwice(t *testing.T) {
	t.Parallel()
	g := writable(t)
	token := g.token(t, sellerOne)
	company := g.companies(t, token)[0].UUID
	path := "/api/v1/companies/" + company + "/products"
	for _, kind := range []string{"reset", "truncate", "html"} {
		g.fault(t, stack.Fault{Path: path, Method: http.MethodPost, Kind: kind, Status: map[string]int{"html": 500}[kind], Times: 1})
		arguments := map[string]any{"companyUuid": company, "name": "A lamp", "sku": fmt.Sprintf("E2E-%s-%d", kind, time.Now().UnixNano())}
		before := g.writesTo(t, path)
		for _, says := range []string{"not known whether", "repeat set to true"} {
			if r := g.call(t, modern, token, "create_product", arguments); !r.IsError || !strings.Contains(r.text(), says) {
				t.Errorf("%s: %s", kind, r.text())
			} else {
				checkNoLeak(t, token, r.text())
			}
		}
		if n := g.writesTo(t, path) - before; n != 1 {
			t.Errorf("%s: sent %d times", kind, n)
		}
		arguments["repeat"] = true
		// The answer that was cut off was of a product that had been created.
		if r := g.call(t, modern, token, "create_product", arguments); r.IsError != (kind == "truncate") || r.IsError && !strings.Contains(r.text(), "already been taken") {
			t.Errorf("%s, repeated on purpose: %s", kind, r.text())
		}
	}
}

func TestEveryWriteIsAuditedWithoutItsArguments(t *testing.T) {
	t.Parallel()
	g := writable(t)
	token := g.token(t, sellerOne)
	company := g.companies(t, token)[0]
	const secret = "name-of-a-secret-product"
	for _, more := range []map[string]any{{"dry_run": true}, {}, {}, {"weight": "heavy"}} {
		arguments := map[string]any{"company": company.Name, "sku": secret, "name": secret}
		for name, value := range more {
			arguments[name] = value
		}
		g.call(t, modern, token, "create_product", arguments)
	}
	var outcomes []string
	eventually(t, 60*time.Second, func() string {
		outcomes = nil
		data, err := os.ReadFile(g.LogFile(stack.Backend))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), secret) || strings.Contains(string(data), token) {
			t.Fatal("the log holds an argument or a token")
		}
		for line := range strings.Lines(string(data)) {
			var audit struct{ Msg, Subject, Tool, Company, Outcome string }
			if json.Unmarshal([]byte(line), &audit) != nil || audit.Msg != "audit" || audit.Tool != "create_product" {
				continue
			}
			if audit.Subject == "" || audit.Company != company.UUID && audit.Outcome != "invalid_arguments" {
				t.Fatalf("audit %s", line)
			}
			outcomes = append(outcomes, audit.Outcome)
		}
		if len(outcomes) < 4 {
			return fmt.Sprintf("audited %v", outcomes)
		}
		return ""
	})
	if want := []string{"dry_run", "ok", "first_result", "invalid_arguments"}; !slices.Equal(outcomes, want) {
		t.Errorf("audited %v, want %v", outcomes, want)
	}
}

// TestTheListOfAllTools: small, the same bytes each time, and readable by the
// strictest of clients.
func TestTheListOfAllTools(t *testing.T) {
	t.Parallel()
	g := writable(t)
	token := g.token(t, sellerOne)
	for _, tc := range []struct {
		g     *gateway
		limit int
	}{{sharedGateway(t), 60_000}, {g, 110_000}} {
		token := tc.g.token(t, sellerOne)
		for _, version := range []string{modern, legacy} {
			one := tc.g.rpc(t, version, token, "tools/list", "", nil)
			two := tc.g.rpc(t, version, tc.g.token(t, sellerTwo), "tools/list", "", nil)
			if string(one.Result) != string(two.Result) {
				t.Errorf("%s: two lists differ", version)
			}
			if len(one.Body) >= tc.limit {
				t.Errorf("%s: %d bytes, the limit is %d", version, len(one.Body), tc.limit)
			}
		}
	}
	tools := g.tools(t, modern, token)
	if len(tools) < 59 {
		t.Errorf("%d tools", len(tools))
	}
	name := regexp.MustCompile(`^[a-z0-9_]{1,50}$`)
	for _, tool := range tools {
		var schema map[string]any
		if err := json.Unmarshal(tool.InputSchema, &schema); err != nil {
			t.Fatal(err)
		}
		if !name.MatchString(tool.Name) || schema["type"] != "object" || schema["anyOf"] != nil || schema["oneOf"] != nil || schema["allOf"] != nil || strings.Contains(string(tool.InputSchema), "$ref") {
			t.Errorf("%s: %s", tool.Name, tool.InputSchema)
		}
		for _, hint := range []string{"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"} {
			if _, ok := tool.Annotations[hint].(bool); !ok {
				t.Errorf("%s has no %s", tool.Name, hint)
			}
		}
	}
	readOnly := ownGateway(t, stack.Options{Env: map[string][]string{stack.Backend: {"MCPBACKEND_TOOLSETS=all", "MCPBACKEND_READ_ONLY=true"}}})
	for _, tool := range readOnly.tools(t, modern, readOnly.token(t, sellerOne)) {
		if tool.Annotations["readOnlyHint"] != true {
			t.Errorf("read-only mode lists %s", tool.Name)
		}
	}
	for _, forbidden := range []string{"delete_product", "create_documents", "project_management_create_bill"} {
		if r := readOnly.plainCall(t, readOnly.token(t, sellerOne), forbidden, nil); r.Status != http.StatusNotFound {
			t.Errorf("read-only mode answers %s with %d", forbidden, r.Status)
		}
	}
}
