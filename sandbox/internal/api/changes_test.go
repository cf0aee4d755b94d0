package api

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// change is one operation that writes, with a body that it takes.
type change struct {
	method, path, body string // {company} is the company's path
	status             int
	shape              shape // nil: no body
}

// changes are all operations that write, on a company of the panel.
func changes(p *panel, i int) map[string]change {
	c := p.books.Companies[i]
	service, item := c.Services[11].ID, c.Items[0].ID
	manual := func(kind string, path string) string {
		return fmt.Sprint("{company}/", path, "/", openDocument(c, kind))
	}
	order := fmt.Sprintf(`{"ref_number":"T-1","date_order_placed":"2026-11-01","details":[{"inventory_id":%d,"quantity":5,"price":2.5}]}`, item)
	bill := fmt.Sprintf(`{"ref_number":"T-2","date":"2026-11-01","details":[{"service_id":%d,"quantity":2,"rate":10.25}]}`, service)
	fullItem := shape{
		"id": "int", "country_code": "code", "source": "text", "fnsku": "text", "variation": "text",
		"manager": shape{"id": "int", "name": "text", "email": "text", "avatar_url": "url", "verified_at": "time", "last_login_at": "time"},
		"product": nullable(productShape), "listing": nullable(listingShape), "restock_data": restockShape, "created_at": "time",
	}
	return map[string]change{
		"createInventoryItem":              {"POST", "{company}/inventory-items", fmt.Sprintf(`{"country_code":%q,"product_id":%d}`, c.Countries[0], c.Products[0].ID), 200, fullItem},
		"updateInventoryItem":              {"PUT", fmt.Sprint("{company}/inventory-items/", item), `{"source":"amazon"}`, 200, fullItem},
		"deleteInventoryItem":              {"DELETE", fmt.Sprint("{company}/inventory-items/", item), ``, 403, shape{"success": "bool", "message": "text"}}, // it has sales
		"createProduct":                    {"POST", "{company}/products", `{"sku":"NEW-1","name":"New"}`, 200, productShape},
		"updateProduct":                    {"PUT", fmt.Sprint("{company}/products/", c.Products[1].ID), `{"weight":1.5}`, 200, productShape},
		"deleteProduct":                    {"DELETE", fmt.Sprint("{company}/products/", c.Products[2].ID), ``, 204, nil},
		"syncListing":                      {"POST", fmt.Sprint("{company}/listings/", c.Listings[0].ID, "/sync"), ``, 200, listingShape},
		"updateCompanyForecastingSettings": {"PUT", "{company}/settings/forecasts", `{"default_lead_time_days":50}`, 200, shape{"success": "bool"}},
		"inventoryOrders.create":           {"POST", "{company}/inventory-orders", order, 200, orderShape.with(shape{"warehouse": nullable(placeShape)})},
		"inventoryOrders.update":           {"PUT", manual("InventoryOrder", "inventory-orders"), `{"name":"Renamed"}`, 200, orderShape.with(shape{"warehouse": nullable(placeShape)})},
		"bills.create":                     {"POST", "{company}/bills", bill, 200, billShape},
		"bills.update":                     {"PUT", manual("Bill", "bills"), `{"name":"Renamed"}`, 200, billShape},
		"shipments.create":                 {"POST", "{company}/shipments", `{"ref_number":"T-3"}`, 200, shipmentShape.with(shape{"origin_warehouse": nullable(placeShape), "destination_warehouse": nullable(placeShape)})},
		"shipments.update":                 {"PUT", manual("Shipment", "shipments"), `{"name":"Renamed"}`, 200, shipmentShape.with(shape{"origin_warehouse": nullable(placeShape), "destination_warehouse": nullable(placeShape)})},
		"invoices.create":                  {"POST", "{company}/invoices", `{"ref_number":"T-4"}`, 200, invoiceShape.with(shape{"warehouse": nullable(placeShape)})},
		"invoices.update":                  {"PUT", manual("Invoice", "invoices"), `{"name":"Renamed"}`, 200, invoiceShape.with(shape{"warehouse": nullable(placeShape)})},
		"assemblyOrders.create":            {"POST", "{company}/assembly-orders", `{"ref_number":"T-5"}`, 200, assemblyShape.with(shape{"warehouse": nullable(placeShape)})},
		"assemblyOrders.update":            {"PUT", manual("AssemblyOrder", "assembly-orders"), `{"name":"Renamed"}`, 200, assemblyShape.with(shape{"warehouse": nullable(placeShape)})},
		"adjustments.create":               {"POST", "{company}/adjustments", `{"ref_number":"T-6"}`, 200, adjustmentShape.with(shape{"warehouse": nullable(placeShape)})},
		"adjustments.update":               {"PUT", manual("Adjustment", "adjustments"), `{"name":"Renamed"}`, 200, adjustmentShape.with(shape{"warehouse": nullable(placeShape)})},
		"paymentRequests.update":           {"PUT", fmt.Sprint("{company}/payment-requests/", c.Bills[0].Payments[0].ID), `{"memo":"x"}`, 200, paymentShape.with(shape{"document": referenceShape})},
		"createDocuments":                  {"POST", "{company}/create/bill", `{"data":` + bill + `}`, 200, shape{"request_id": "uuid", "status": "text", "documents": rowsOf(citationShape)}},
		"createDocumentsByPdf":             {"POST", "{company}/import/bill/pdf", `{"file":{"name":"a.pdf","link":"https://files.example/a"}}`, 202, shape{"request_id": "uuid", "status": "text"}},
	}
}

// openDocument is the id of a document of the type that may still be changed.
func openDocument(c *ledger.Company, kind string) int64 {
	last := int64(0)
	for d := range c.Documents() {
		if d.Type == kind && (kind != "Shipment" && kind != "Invoice" || strings.HasPrefix(d.Ref, c.ShortName)) {
			last = d.ID
		}
	}
	return last
}

func (p *panel) send(t testing.TB, subject string, c change, company string) reply {
	t.Helper()
	return p.do(t, subject, c.method, strings.Replace(c.path, "{company}", company, 1), strings.NewReader(c.body), "Content-Type", "application/json")
}

// All 59 operations answer, and in their documented shapes; the reads have tests
// of their own above.
func TestEveryOperationIsServed(t *testing.T) {
	t.Parallel()
	p := newPanel(t)
	served := 0
	for _, op := range operations(p, 0) {
		p.get(t, "46", op.url(p.company(0))).want(t, 200)
		served++
	}
	for name, c := range changes(p, 0) {
		o := p.send(t, "46", c, p.company(0)).want(t, c.status)
		if c.shape != nil {
			c.shape.check(t, name, o)
		}
		served++
	}
	p.get(t, "46", "/import/bill/instructions").want(t, 200)
	id := p.create(t, "46", billJSON(p, "S")).want(t, 200)["request_id"]
	p.get(t, "46", fmt.Sprint(p.company(0), "/import/bill/status/", id)).want(t, 200)
	served += 2
	if served != 59 {
		t.Errorf("%d operations, want 59", served)
	}
}

func TestChangesAreRefusedToOthersAndWhenMalformed(t *testing.T) {
	t.Parallel()
	p := shared() // nothing of this changes anything
	for name, c := range changes(p, 0) {
		p.send(t, "", c, p.company(0)).want(t, 401)
		if m := p.send(t, "47", c, p.company(0)).want(t, 403)["message"]; m != "This action is unauthorized." {
			t.Errorf("%s by a stranger: %v", name, m)
		}
		if m := p.send(t, "46", c, "/companies/nobody").want(t, 404)["message"]; m != "Company is not found." {
			t.Errorf("%s of an unknown company: %v", name, m)
		}
		if c.body == "" || name == "createDocumentsByPdf" {
			continue
		}
		for body, status := range map[string]int{`[]`: 400, `{"a":`: 400, `null`: 400, `{} {}`: 400, "\x00": 400, `{"name":"` + strings.Repeat("x", maxJSON) + `"}`: 413} {
			c := c
			c.body = body
			p.send(t, "46", c, p.company(0)).want(t, status)
		}
	}
	// Seller one keeps the accounts of the second company, and may not touch its settings.
	settings := changes(p, 1)["updateCompanyForecastingSettings"]
	if m := p.send(t, "46", settings, p.company(1)).want(t, 403)["message"]; m != "This action is unauthorized." {
		t.Errorf("settings: %v", m)
	}
}

func TestChangesOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	p := shared()
	foreign := p.books.Companies[1] // also seller one's
	for path, id := range map[string]int64{
		"inventory-orders": foreign.Orders[0].ID, "bills": foreign.Bills[0].ID, "shipments": foreign.Shipments[0].ID, "invoices": foreign.Invoices[0].ID,
		"assembly-orders": foreign.Assemblies[0].ID, "adjustments": foreign.Adjustments[0].ID, "payment-requests": foreign.Bills[0].Payments[0].ID,
	} {
		put := change{method: "PUT", path: fmt.Sprint("{company}/", path, "/", id), body: `{}`}
		if m := p.send(t, "46", put, p.company(0)).want(t, 404)["message"]; m != "Document is not found." {
			t.Errorf("%s: %v", path, m)
		}
		put.path = "{company}/" + path + "/first"
		if m := fmt.Sprint(p.send(t, "46", put, p.company(0)).want(t, 400)["message"]); !strings.HasSuffix(m, "parameter must be an integer.") {
			t.Errorf("%s: %v", path, m)
		}
		if r := p.send(t, "46", change{method: "DELETE", path: fmt.Sprint("{company}/", path, "/1")}, p.company(0)); r.Code != 405 || !strings.Contains(r.Header().Get("Allow"), "PUT") {
			t.Errorf("DELETE %s: %d, Allow %s", path, r.Code, r.Header().Get("Allow"))
		}
	}
	for path, message := range map[string]string{
		fmt.Sprint("inventory-items/", foreign.Items[0].ID):      "Inventory item is not found.",
		fmt.Sprint("products/", foreign.Products[0].ID):          "Product is not found.",
		fmt.Sprint("listings/", foreign.Listings[0].ID, "/sync"): "Listing is not found.",
	} {
		methods := []string{"PUT", "DELETE"}
		if strings.HasSuffix(path, "sync") {
			methods = []string{"POST"}
		}
		for _, m := range methods {
			if got := p.send(t, "46", change{method: m, path: "{company}/" + path, body: "{}"}, p.company(0)).want(t, 404)["message"]; got != message {
				t.Errorf("%s %s: %v", m, path, got)
			}
		}
	}
	for _, path := range []string{"PUT {company}/products/x", "DELETE {company}/inventory-items/x", "POST {company}/listings/x/sync"} {
		method, path, _ := strings.Cut(path, " ")
		if m := fmt.Sprint(p.send(t, "46", change{method: method, path: path}, p.company(0)).want(t, 404)["message"]); !strings.HasPrefix(m, "The route ") {
			t.Errorf("%s %s: %s", method, path, m)
		}
	}
}

// bench is a panel with what the tests below look at.
type bench struct {
	*panel
	t    *testing.T
	base string
	c    *ledger.Company
	n    int
}

func newBench(t *testing.T) *bench {
	p := newPanel(t)
	return &bench{p, t, p.company(0), p.books.Companies[0], 0}
}

func (b *bench) put(path string, body string, args ...any) reply {
	b.t.Helper()
	return b.panel.do(b.t, "46", "PUT", b.base+path, strings.NewReader(fmt.Sprintf(body, args...)))
}

func (b *bench) post(path string, body string, args ...any) reply {
	b.t.Helper()
	return b.panel.do(b.t, "46", "POST", b.base+path, strings.NewReader(fmt.Sprintf(body, args...)))
}

func (b *bench) read(path string, args ...any) map[string]any {
	b.t.Helper()
	return b.panel.get(b.t, "46", b.base+fmt.Sprintf(path, args...)).want(b.t, 200)
}

// balance is what the API says that a warehouse holds today.
func (b *bench) balance(item *ledger.Item, w *ledger.Warehouse) int64 {
	b.t.Helper()
	data := b.read("/inventory-items/%d/balances", item.ID)["balances_data"].(map[string]any)
	for _, row := range rows(b.t, data, "balances_list") {
		if row["warehouse"].(map[string]any)["uuid"] == w.UUID {
			return whole(b.t, row["balance"])
		}
	}
	return 0
}

// sales are the revenue and COGS of November, so far.
func (b *bench) sales() (revenue, cogs ledger.Decimal) {
	b.t.Helper()
	o := b.panel.get(b.t, "46", "/revenue-and-cogs?start_date=2026-11-01&periodicity=monthly&company_uuids[]="+b.c.UUID).want(b.t, 200)
	row := rows(b.t, o, "data")[0]
	return decimal(b.t, row["revenue_amount"]), decimal(b.t, row["cogs_amount"])
}

func (b *bench) audited() {
	b.t.Helper()
	today := ledger.DateOf(noon)
	for _, a := range b.c.AuditItems(today-27, today) {
		if a.OnHand != a.Item.OnHand() {
			b.t.Errorf("item %d: the books hold %d, the documents %d", a.Item.ID, a.Item.OnHand(), a.OnHand)
		}
	}
	var revenue, cogs ledger.Decimal
	for _, m := range b.c.AuditMonths(ledger.Day(2026, 11, 1), today) {
		revenue += m.Revenue
		cogs += m.COGS
	}
	if r, c := b.sales(); r != revenue || c != cogs {
		b.t.Errorf("November: %s and %s, the documents say %s and %s", r, c, revenue, cogs)
	}
}

// spaced joins values as a person would write them.
func spaced(values ...any) string { return strings.TrimSpace(fmt.Sprintln(values...)) }

func whole(t testing.TB, v any) int64 {
	t.Helper()
	n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOrdersAreListedPaidAndReceived(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	i, hub := b.c.Items[0], b.c.Warehouses[0]
	before := b.balance(i, hub)
	o := b.post("/inventory-orders", `{"ref_number":"PO-X","name":"Spring","date_order_placed":"2026-11-02","market":"us","currency":"usd","vendor_id":%d,
		"warehouse_id":%d,"payment_term_id":2,"details":[{"inventory_id":%d,"quantity":12,"price":9.4025},{"inventory_id":%d,"quantity":1,"price":0}]}`,
		b.c.Vendors[0].ID, hub.ID, i.ID, b.c.Items[1].ID).want(t, 200)
	orderShape.check(t, "order", o)
	if o["ref_number"] != "PO-X" || o["market"] != "US" || fmt.Sprint(o["total_amount"]) != "112.83" || o["date_manufacturing_completed"] != nil {
		t.Errorf("%v", o)
	}
	if pr := rows(t, o, "payment_requests"); len(pr) != 2 || spaced(pr[0]["amount_due"], pr[1]["amount_due"]) != "33.85 78.98" || pr[0]["due_date"] != "2026-11-02" || pr[1]["due_date"] != nil {
		t.Errorf("instalments %v", pr)
	}
	if first := rows(t, b.read("/inventory-orders?search=po-x"), "data"); len(first) != 1 || fmt.Sprint(first[0]) != fmt.Sprint(o) {
		t.Errorf("listed: %v", first)
	}
	path := fmt.Sprint("/inventory-orders/", o["id"])
	if got := b.read("%s", path); fmt.Sprint(got) != fmt.Sprint(o) {
		t.Errorf("read: %v", got)
	}
	if got := b.balance(i, hub); got != before {
		t.Errorf("an order in production holds %d units", got-before)
	}

	// Received: the stock is there, at its price and the freight that is billed.
	o = b.put(path, `{"date_manufacturing_completed":"2026-11-20","ref_number":"IGNORED"}`).want(t, 200)
	if o["ref_number"] != "PO-X" || o["name"] != "Spring" || rows(t, o, "payment_requests")[1]["due_date"] != "2026-12-20" {
		t.Errorf("%v", o)
	}
	if got := b.balance(i, hub); got != before+12 {
		t.Errorf("balance %d, was %d", got, before)
	}
	b.post("/bills", `{"ref_number":"FR","date":"2026-11-21","documents":[{"type":"InventoryOrder","id":%v}],"details":[{"service_id":%d,"quantity":1,"rate":30}]}`,
		o["id"], b.c.Services[2].ID).want(t, 200)
	landed := b.read("/inventory-items/%d/landed-cost?start_date=2026-11-20&warehouse_uuid=%s", i.ID, hub.UUID)
	batch := rows(t, landed, "data")[0]
	var kinds []string
	var sum ledger.Decimal
	for _, d := range rows(t, batch, "details") {
		kinds = append(kinds, fmt.Sprint(d["type"]))
		sum += decimal(t, d["amount"])
	}
	if strings.Join(kinds, ",") != "Purchase Price,Ocean Freight" || sum != decimal(t, batch["amount"]) || fmt.Sprint(batch["quantity"]) != "12" || batch["document"] != nil && batch["batch"].(map[string]any)["ref_number"] != "PO-X" {
		t.Errorf("batch: %v", batch)
	}

	// Lines are replaced, all of them; then the receipt is taken back.
	o = b.put(path, `{"details":[{"inventory_id":%d,"quantity":3,"price":10}]}`, i.ID).want(t, 200)
	if len(rows(t, o, "details")) != 1 || fmt.Sprint(o["total_amount"]) != "30" || b.balance(i, hub) != before+3 {
		t.Errorf("%v, balance %d", o, b.balance(i, hub))
	}
	b.put(path, `{"date_manufacturing_completed":null}`).want(t, 200)
	if got := b.balance(i, hub); got != before {
		t.Errorf("balance %d, was %d", got, before)
	}
	b.audited()

	// An item of another company is skipped, one of nobody is a fault.
	o = b.post("/inventory-orders", `{"details":[{"inventory_id":%d,"quantity":1,"price":1},{"inventory_id":%d,"quantity":1,"price":2}]}`, b.books.Companies[2].Items[0].ID, i.ID).want(t, 200)
	if d := rows(t, o, "details"); len(d) != 1 || fmt.Sprint(o["total_amount"]) != "2" || o["ref_number"] != nil {
		t.Errorf("%v", o)
	}
	if got := fmt.Sprint(b.post("/inventory-orders", `{"details":[{"inventory_id":1,"quantity":1,"price":1}]}`).want(t, 422)["errors"]); got != "map[details.0.inventory_id:[The selected details.0.inventory_id is invalid.]]" {
		t.Error(got)
	}
}

func TestPaymentsFollowTheTermAndKeepWhatIsWritten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	o := b.post("/inventory-orders", `{"ref_number":"PO-T","date_order_placed":"2026-11-02","payment_term_id":2,"details":[{"inventory_id":%d,"quantity":10,"price":10}]}`, b.c.Items[0].ID).want(t, 200)
	path := fmt.Sprint("/inventory-orders/", o["id"])
	deposit := rows(t, o, "payment_requests")[0]
	pay := fmt.Sprint("/payment-requests/", deposit["id"])
	p := b.put(pay, `{"paid_amount":12.5,"payment_date":"2026-11-03","transaction_number":"TX-1","memo":"half"}`).want(t, 200)
	paymentShape.with(shape{"document": referenceShape}).check(t, "payment", p)
	if spaced(p["paid_amount"], p["payment_date"], p["transaction_number"], p["memo"], p["amount_due"]) != "12.5 2026-11-03 TX-1 half 30" || p["document"].(map[string]any)["ref_number"] != "PO-T" {
		t.Errorf("%v", p)
	}
	if p = b.put(pay, `{"memo":null}`).want(t, 200); p["memo"] != nil || fmt.Sprint(p["paid_amount"]) != "12.5" {
		t.Errorf("only what is sent changes: %v", p)
	}
	ids := func(o map[string]any) string {
		var out []string
		for _, p := range rows(t, o, "payment_requests") {
			out = append(out, fmt.Sprint(whole(t, p["id"])-whole(t, deposit["id"]), "=", p["amount_due"], "/", p["paid_amount"]))
		}
		return strings.Join(out, " ")
	}
	was := ids(b.read("%s", path))
	if got := ids(b.put(path, `{"payment_term_id":2}`).want(t, 200)); got != was {
		t.Errorf("the same term changes %s to %s", was, got)
	}
	// Other lines: the same instalments, of another total.
	if got := ids(b.put(path, `{"details":[{"inventory_id":%d,"quantity":20,"price":10}]}`, b.c.Items[0].ID).want(t, 200)); got != "0=60/12.5 1=140/<nil>" {
		t.Errorf("after other lines: %s", got)
	}
	if got := ids(b.put(path, `{"payment_term_id":1}`).want(t, 200)); !strings.HasSuffix(got, "=200/<nil>") || strings.HasPrefix(got, "0=") {
		t.Errorf("another term: %s", got)
	}
	if got := ids(b.put(path, `{"payment_term_id":null}`).want(t, 200)); got != "" {
		t.Errorf("no term: %s", got)
	}
	b.put(pay, `{}`).want(t, 404)
	for body, want := range map[string]string{
		`{"paid_amount":-1}`:                          "map[paid_amount:[The paid amount field must be at least 0.]]",
		`{"paid_amount":"1"}`:                         "map[paid_amount:[The paid amount field must be a number.]]",
		`{"payment_date":"soon"}`:                     "map[payment_date:[The payment date field must be a valid date.]]",
		`{"memo":7,"paid_amount":[]}`:                 "map[memo:[The memo field must be a string.] paid_amount:[The paid amount field must be a number.]]",
		`{"memo":"` + strings.Repeat("m", 256) + `"}`: "map[memo:[The memo field must not be greater than 255 characters.]]",
	} {
		if got := fmt.Sprint(b.put(fmt.Sprint("/payment-requests/", b.c.Bills[0].Payments[0].ID), "%s", body).want(t, 422)["errors"]); got != want {
			t.Errorf("%.40s: %s", body, got)
		}
	}
}

func TestPaidBillsOweLessAndComplete(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	owed := func() (open ledger.Decimal) {
		for _, a := range b.c.AuditPayments(ledger.DateOf(noon)) {
			open += a.Open
		}
		return open
	}
	before := owed()
	o := b.post("/bills", `{"ref_number":"B-1","date":"2026-11-02","payment_term_id":3,"vendor_id":%d,"details":[{"service_id":%d,"quantity":4,"rate":25.5}]}`, b.c.Vendors[5].ID, b.c.Services[7].ID).want(t, 200)
	if owed()-before != ledger.Int(102) {
		t.Errorf("a new bill owes %s", owed()-before)
	}
	pay := fmt.Sprint("/payment-requests/", rows(t, o, "payment_requests")[0]["id"])
	status := func(body string) string {
		p := b.put(pay, "%s", body).want(t, 200)
		return fmt.Sprint(p["document"].(map[string]any)["status"], " ", owed()-before)
	}
	for _, step := range [][2]string{
		{`{"paid_amount":100}`, "Awaiting Payment 2"},
		{`{"paid_amount":102,"payment_date":"2026-11-20"}`, "Completed 0"},
		{`{"paid_amount":null}`, "Awaiting Payment 102"},
		{`{"paid_amount":102}`, "Completed 0"},
	} {
		if got := status(step[0]); got != step[1] {
			t.Errorf("%s: %s, want %s", step[0], got, step[1])
		}
	}
	list := rows(t, b.read("/payment-requests?start_date=2026-12-02&end_date=2026-12-02"), "data")
	if !slices.ContainsFunc(list, func(p map[string]any) bool { return fmt.Sprint(p["paid_amount"]) == "102" }) {
		t.Errorf("listed: %v", list)
	}
	// Documents of a bill: on update those of another type than the first are dropped.
	path := fmt.Sprint("/bills/", o["id"])
	link := `{"documents":[{"type":"Shipment","id":%d},{"type":"Invoice","id":%d},{"type":"Shipment","id":%d},{"type":"Shipment","id":%[1]d}]}`
	o = b.put(path, link, b.c.Shipments[0].ID, b.c.Invoices[0].ID, b.c.Shipments[1].ID).want(t, 200)
	if d := rows(t, o, "documents"); len(d) != 2 || d[0]["type"] != "Shipment" || d[1]["type"] != "Shipment" {
		t.Errorf("documents: %v", d)
	}
	if o = b.put(path, `{"name":"N"}`).want(t, 200); len(rows(t, o, "documents")) != 2 || o["name"] != "N" {
		t.Errorf("%v", o)
	}
	if o = b.put(path, `{"documents":null,"details":[]}`).want(t, 200); len(rows(t, o, "documents")) != 0 || fmt.Sprint(o["amount"]) != "0" {
		t.Errorf("%v", o)
	}
	if o = b.post("/bills", ``).want(t, 200); o["ref_number"] != nil || o["currency"] != "USD" {
		t.Errorf("nothing is required of a bill: %v", o)
	}
}

func TestAssembliesMoveStock(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	kit, hub := b.c.Kits[0], b.c.Warehouses[0]
	var parts []*ledger.Item
	var most int64 = 1 << 40
	for _, i := range b.c.Items {
		if kit.Uses(i) {
			parts = append(parts, i)
			most = min(most, b.balance(i, hub))
		}
	}
	if len(parts) < 2 || most < 3 {
		t.Fatalf("%d parts, %d sets of them: the seeds have nothing to assemble", len(parts), most)
	}
	made, held := b.balance(kit.Item, hub), b.balance(parts[0], hub)
	assemble := func(n int64) reply {
		return b.post("/assembly-orders", `{"ref_number":"A-%d","date_order_assembled":"2026-11-22","market":"US","warehouse_id":%d,"items":[{"assembly_id":%d,"quantity":%[1]d}]}`, n, hub.ID, kit.ID)
	}
	o := assemble(2).want(t, 200)
	assemblyShape.check(t, "assembly", o)
	if got := b.balance(kit.Item, hub); got != made+2 {
		t.Errorf("%d bundles, was %d", got, made)
	}
	for _, i := range parts {
		if i == parts[0] && b.balance(i, hub) != held-2 {
			t.Errorf("%d parts, was %d", b.balance(i, hub), held)
		}
	}
	// Their cost goes with them.
	landed := b.read("/inventory-items/%d/landed-cost?start_date=2026-11-22&warehouse_uuid=%s", kit.Item.ID, hub.UUID)
	if fmt.Sprint(landed["quantity"]) != "2" || decimal(t, landed["amount"]) <= 0 {
		t.Errorf("landed: %v for %v", landed["amount"], landed["quantity"])
	}
	e := fmt.Sprint(assemble(most).want(t, 422)["errors"])
	if !strings.HasPrefix(e, "map[items.0.quantity:[Not enough stock of ") {
		t.Errorf("too many: %s", e)
	}
	if n := len(rows(t, b.read("/assembly-orders?search=A-%d", most), "data")); n != 0 {
		t.Error("a refused assembly is listed")
	}
	b.put(fmt.Sprint("/assembly-orders/", o["id"]), `{"items":[]}`).want(t, 200)
	if got := b.balance(kit.Item, hub); got != made || b.balance(parts[0], hub) != held {
		t.Errorf("taken apart: %d bundles, was %d", got, made)
	}
	b.audited()
}

func TestAdjustmentsChangeTheBalance(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	i, w := b.c.Items[0], b.c.Warehouses[1]
	before := b.balance(i, w)
	lost := func() ledger.Decimal {
		return decimal(t, b.read("/inventory-items/%d/cogs?start_date=2026-11-22", i.ID)["lost_amount"])
	}
	if before < 5 || lost() != 0 {
		t.Fatalf("balance %d, lost %s", before, lost())
	}
	o := b.post("/adjustments", `{"ref_number":"ADJ","date":"2026-11-22","reason":"Water","market":"US","warehouse_id":%d,"details":[{"inventory_id":%d,"service_id":%d,"quantity":3,"rate":25.25}]}`,
		w.ID, i.ID, b.c.Services[11].ID).want(t, 200)
	adjustmentShape.check(t, "adjustment", o)
	if fmt.Sprint(o["amount"]) != "75.75" || b.balance(i, w) != before-3 || lost() <= 0 {
		t.Errorf("amount %v, balance %d of %d, lost %s", o["amount"], b.balance(i, w), before, lost())
	}
	path := fmt.Sprint("/adjustments/", o["id"])
	b.put(path, `{"details":[{"inventory_id":%d,"service_id":%d,"quantity":1,"rate":25.25}]}`, i.ID, b.c.Services[11].ID).want(t, 200)
	if got := b.balance(i, w); got != before-1 {
		t.Errorf("balance %d of %d", got, before)
	}
	e := b.put(path, `{"details":[{"inventory_id":%d,"service_id":%d,"quantity":%d,"rate":1}]}`, i.ID, b.c.Services[11].ID, before+1).want(t, 422)
	if got := fmt.Sprint(e["errors"]); !strings.HasPrefix(got, "map[details.0.quantity:[Not enough stock of "+i.Name()) || b.balance(i, w) != before-1 {
		t.Errorf("%s; balance %d", got, b.balance(i, w))
	}
	// The schema starts at 1 though the text speaks of negative quantities.
	e = b.put(path, `{"details":[{"inventory_id":%d,"service_id":%d,"quantity":-1,"rate":1}]}`, i.ID, b.c.Services[11].ID).want(t, 422)
	if got := fmt.Sprint(e["errors"]); got != "map[details.0.quantity:[The details.0.quantity field must be at least 1.]]" {
		t.Error(got)
	}
	b.put(path, `{"warehouse_id":null}`).want(t, 200)
	if got := b.balance(i, w); got != before || lost() != 0 {
		t.Errorf("balance %d of %d, lost %s", got, before, lost())
	}
	b.audited()
}

func TestInvoicesAreRevenueAndTakeStock(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	i, w := b.c.Items[0], b.c.Warehouses[1]
	held := b.balance(i, w)
	revenue, cogs := b.sales()
	o := b.post("/invoices", `{"ref_number":"INV","transaction_date":"2026-11-22","market":"US","warehouse_id":%d,"customer_id":%d,"sales_channel_id":4,
		"details":[{"inventory_id":%d,"service_id":%d,"quantity":2,"amount":61.98},{"service_id":%d,"quantity":1,"amount":-4.5}]}`,
		w.ID, b.c.Customers[2].ID, i.ID, b.c.Services[0].ID, b.c.Services[1].ID).want(t, 200)
	invoiceShape.check(t, "invoice", o)
	if o["source"] != "manual" || fmt.Sprint(o["amount"]) != "57.48" || b.balance(i, w) != held-2 {
		t.Errorf("%v; balance %d of %d", o, b.balance(i, w), held)
	}
	r, c := b.sales()
	if r-revenue != ledger.Cents(6198) || c <= cogs {
		t.Errorf("revenue %s more, COGS %s more", r-revenue, c-cogs)
	}
	sold := rows(t, b.read("/inventory-items/%d/cogs?start_date=2026-11-22", i.ID), "details")
	if len(sold) != 1 || decimal(t, sold[0]["amount"]) != c-cogs || sold[0]["document"].(map[string]any)["ref_number"] != "INV" {
		t.Errorf("sold: %v", sold)
	}
	// What comes back is no longer revenue, and is there again.
	path := fmt.Sprint("/invoices/", o["id"])
	b.put(path, `{"details":[{"inventory_id":%d,"service_id":%d,"quantity":-1,"amount":-30.99}]}`, i.ID, b.c.Services[0].ID).want(t, 200)
	if r, c = b.sales(); r-revenue != -ledger.Cents(3099) || c >= cogs || b.balance(i, w) != held+1 {
		t.Errorf("revenue %s more, COGS %s more, balance %d of %d", r-revenue, c-cogs, b.balance(i, w), held)
	}
	b.audited()
	// A draft is not in the figures.
	b.put(path, `{"transaction_date":null}`).want(t, 200)
	if r, c = b.sales(); r != revenue || c != cogs || b.balance(i, w) != held {
		t.Errorf("revenue %s more, COGS %s more, balance %d of %d", r-revenue, c-cogs, b.balance(i, w), held)
	}
	synced := b.c.Invoices[len(b.c.Invoices)-2]
	for k := len(b.c.Invoices) - 1; synced.Source == "manual"; k-- {
		synced = b.c.Invoices[k]
	}
	if m := b.put(fmt.Sprint("/invoices/", synced.ID), `{"name":"x"}`).want(t, 400)["message"]; m != "Only manual invoices can be changed." {
		t.Errorf("an invoice of %s: %v", synced.Source, m)
	}
}

func TestShipmentsMoveStockAndLoseWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hub, own := b.c.Warehouses[0], b.c.Warehouses[4]
	i := b.c.Items[0]
	for _, v := range b.c.Items {
		if v.Balance(hub, ledger.DateOf(noon)) > 20 {
			i = v
		}
	}
	from, to := b.balance(i, hub), b.balance(i, own)
	o := b.post("/shipments", `{"ref_number":"SHP","date_shipment_sent":"2026-11-20","origin_warehouse_id":%d,"destination_warehouse_id":%d,"tracking_number":"1Z","shipment_method":"LTL",
		"items":[{"origin_inventory_id":%d,"quantity_shipped":10,"quantity_received":9}]}`, hub.ID, own.ID, i.ID).want(t, 200)
	shipmentShape.check(t, "shipment", o)
	if o["source_type"] != "Manual" || b.balance(i, hub) != from-10 || b.balance(i, own) != to {
		t.Errorf("%v; %d of %d, %d of %d", o, b.balance(i, hub), from, b.balance(i, own), to)
	}
	path := fmt.Sprint("/shipments/", o["id"])
	b.put(path, `{"date_shipment_arrived":"2026-11-20"}`).want(t, 200)
	if b.balance(i, hub) != from-10 || b.balance(i, own) != to+9 {
		t.Errorf("%d of %d, %d of %d", b.balance(i, hub), from, b.balance(i, own), to)
	}
	if decimal(t, b.read("/inventory-items/%d/cogs?start_date=2026-11-20&end_date=2026-11-20", i.ID)["lost_amount"]) <= 0 {
		t.Error("the missing unit is not lost")
	}
	b.audited()
	for body, want := range map[string]string{
		`{"date_shipment_arrived":"2026-11-19"}`:               "map[date_shipment_arrived:[The date shipment arrived field must be a date after or equal to date shipment sent.]]",
		`{"date_shipment_sent":null}`:                          "map[date_shipment_sent:[The date shipment sent field is required when date shipment arrived is present.]]",
		`{"shipment_method":"AIR"}`:                            "map[shipment_method:[The selected shipment method is invalid.]]",
		fmt.Sprintf(`{"destination_warehouse_id":%d}`, hub.ID): "map[destination_warehouse_id:[The destination warehouse id field and origin warehouse id must be different.]]",
		fmt.Sprintf(`{"items":[{"origin_inventory_id":%d,"quantity_shipped":1,"quantity_received":2},{"quantity_shipped":0}]}`, i.ID): "map[items.0.quantity_received:[The items.0.quantity_received field must not be greater than 1.] " +
			"items.1.origin_inventory_id:[The items.1.origin_inventory_id field is required.] items.1.quantity_received:[The items.1.quantity_received field is required.] items.1.quantity_shipped:[The items.1.quantity_shipped field must be at least 1.]]",
	} {
		if got := fmt.Sprint(b.put(path, "%s", body).want(t, 422)["errors"]); got != want {
			t.Errorf("%s:\n got %s\nwant %s", body, got, want)
		}
	}
	for _, s := range b.c.Shipments {
		if s.Source != "Manual" {
			if m := b.put(fmt.Sprint("/shipments/", s.ID), `{"name":"x"}`).want(t, 400)["message"]; m != "Only manual shipments can be changed." {
				t.Errorf("a shipment of %s: %v", s.Source, m)
			}
			break
		}
	}
}

func TestFaultsOfDocumentsAreNamedAllAtOnce(t *testing.T) {
	t.Parallel()
	p := shared()
	other := p.books.Companies[1]
	foreign := fmt.Sprintf(`"warehouse_id":%d,"market":"JP","currency":"EUR"`, other.Warehouses[0].ID)
	wrong := "currency:[The selected currency is invalid.] %smarket:[The selected market is invalid.] %swarehouse_id:[The selected warehouse id is invalid.]"
	for _, c := range []struct{ path, body, want string }{
		{"shipments", `{}`, "map[ref_number:[The ref number field is required.]]"},
		{"invoices", ``, "map[ref_number:[The ref number field is required.]]"},
		{"assembly-orders", `{"ref_number":" "}`, "map[ref_number:[The ref number field is required.]]"},
		{"adjustments", `{"ref_number":null}`, "map[ref_number:[The ref number field is required.]]"},
		{"inventory-orders", fmt.Sprintf(`{"ref_number":1,"vendor_id":%d,"payment_term_id":"x","details":{},%s}`, other.Vendors[0].ID, foreign),
			"map[currency:[The selected currency is invalid.] details:[The details field must be an array.] market:[The selected market is invalid.] payment_term_id:[The payment term id field must be an integer.] " +
				"ref_number:[The ref number field must be a string.] vendor_id:[The selected vendor id is invalid.] warehouse_id:[The selected warehouse id is invalid.]]"},
		{"invoices", fmt.Sprintf(`{"ref_number":"a","customer_id":%d,"sales_channel_id":99,"details":[{"quantity":1.5,"amount":"1"},{"inventory_id":%d,"service_id":%d}],%s}`, other.Customers[0].ID, other.Items[0].ID, other.Services[0].ID, foreign),
			"map[" + fmt.Sprintf(wrong, "customer_id:[The selected customer id is invalid.] details.0.amount:[The details.0.amount field must be a number.] details.0.quantity:[The details.0.quantity field must be an integer.] "+
				"details.0.service_id:[The details.0.service_id field is required.] details.1.amount:[The details.1.amount field is required.] details.1.inventory_id:[The selected details.1.inventory_id is invalid.] "+
				"details.1.quantity:[The details.1.quantity field is required.] details.1.service_id:[The selected details.1.service_id is invalid.] ", "sales_channel_id:[The selected sales channel id is invalid.] ") + "]"},
		{"adjustments", fmt.Sprintf(`{"ref_number":"a","date":"2026-02-30","details":[{"rate":1e9,"quantity":2}],%s}`, foreign),
			"map[" + fmt.Sprintf(wrong, "date:[The date field must be a valid date.] details.0.inventory_id:[The details.0.inventory_id field is required.] details.0.rate:[The details.0.rate field is too large.] "+
				"details.0.service_id:[The details.0.service_id field is required.] ", "") + "]"},
		{"assembly-orders", fmt.Sprintf(`{"ref_number":"a","items":[{"assembly_id":%d,"quantity":0},{"assembly_id":%d,"quantity":10000001}]}`, other.Kits[0].ID, p.books.Companies[0].Kits[0].ID),
			"map[items.0.assembly_id:[The selected items.0.assembly_id is invalid.] items.0.quantity:[The items.0.quantity field must be at least 1.] items.1.quantity:[The items.1.quantity field must not be greater than 10000000.]]"},
		{"bills", `{"currency":"DOLLAR","documents":[{"type":"Moon","id":1}],"details":[{}]}`,
			"map[currency:[The currency field must be 3 characters.] details.0.quantity:[The details.0.quantity field is required.] details.0.rate:[The details.0.rate field is required.] " +
				"details.0.service_id:[The details.0.service_id field is required.] documents.0.type:[The selected documents.0.type is invalid.]]"},
	} {
		r := p.send(t, "46", change{"POST", "{company}/" + c.path, c.body, 0, nil}, p.company(0))
		o := r.want(t, 422)
		if got := fmt.Sprint(o["errors"]); got != c.want || o["message"] != "The given data was invalid." {
			t.Errorf("%s %s:\n got %s\nwant %s", c.path, c.body, got, c.want)
		}
	}
}

func TestClosedAccountsStayClosed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	locked := func(r reply) {
		t.Helper()
		if m := r.want(t, 400)["message"]; m != "Document date is earlier than the Entry Locked Date." {
			t.Errorf("%v", m)
		}
	}
	for path, field := range map[string]string{
		"/inventory-orders": "date_manufacturing_completed", "/bills": "date", "/shipments": "date_shipment_sent",
		"/invoices": "transaction_date", "/assembly-orders": "date_order_assembled", "/adjustments": "date",
	} {
		locked(b.post(path, `{"ref_number":"L",%q:"2026-08-31"}`, field))
		o := b.post(path, `{"ref_number":"L",%q:"2026-09-01"}`, field).want(t, 200)
		locked(b.put(fmt.Sprint(path, "/", o["id"]), `{%q:"2026-08-31"}`, field))
	}
	// Not even the name of a document of then can be changed, nor can it be moved
	// out of the closed period.
	old := b.c.Assemblies[0]
	locked(b.put(fmt.Sprint("/assembly-orders/", old.ID), `{"name":"x"}`))
	locked(b.put(fmt.Sprint("/assembly-orders/", old.ID), `{"date_order_assembled":"2026-11-01"}`))
	locked(b.put(fmt.Sprint("/bills/", b.c.Bills[0].ID), `{"name":"x"}`))
	// The lock moves on.
	o := b.post("/bills", `{"date":"2026-09-30"}`).want(t, 200)
	b.advance(32 * 24 * 3600 * 1e9)
	locked(b.put(fmt.Sprint("/bills/", o["id"]), `{"name":"x"}`))
}

func TestItemsComeAndGo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	product, listing := b.c.Products[3], b.c.Listings[3]
	o := b.post("/inventory-items", `{"country_code":"us","source":"shopify","fnsku":"X00NEW","variation":"Blue","manager_id":46,"listing_id":%d,"product_id":%d,
		"restock_data":{"target_price":19.9905,"lead_time_days":30}}`, listing.ID, product.ID).want(t, 200)
	restock := o["restock_data"].(map[string]any)
	if spaced(o["country_code"], o["source"], o["fnsku"], o["variation"], restock["target_price"], restock["lead_time_days"], restock["unit_landed_cost"]) != "US shopify X00NEW Blue 19.9905 30 0" ||
		o["created_at"] != "2026-11-22T12:00:00.000Z" || o["product"].(map[string]any)["sku"] != product.SKU || o["listing"].(map[string]any)["asin"] != listing.ASIN {
		t.Errorf("%v", o)
	}
	path := fmt.Sprint("/inventory-items/", o["id"])
	if list := rows(t, b.read("/inventory-items?fnsku=x00new"), "data"); len(list) != 1 {
		t.Errorf("listed: %v", list)
	}
	o = b.put(path, `{"variation":null,"restock_data":{"target_price":5}}`).want(t, 200)
	if restock = o["restock_data"].(map[string]any); o["variation"] != "" || o["fnsku"] != "X00NEW" || spaced(restock["target_price"], restock["lead_time_days"]) != "5 30" {
		t.Errorf("%v", o)
	}
	bare := b.post("/inventory-items", `{"country_code":"CA","product_id":%d}`, product.ID).want(t, 200)
	if bare["listing"] != nil || bare["source"] != "manual" {
		t.Errorf("%v", bare)
	}
	if list := rows(t, b.read("/inventory-items?sku=%s&country_code=CA", product.SKU), "data"); len(list) != 2 || list[1]["asin"] != "" {
		t.Errorf("listed: %v", list)
	}
	for body, want := range map[string]string{
		`{}`: "map[country_code:[The country code field is required.] product_id:[The product id field is required.]]",
		fmt.Sprintf(`{"country_code":"US","product_id":%d,"listing_id":1,"manager_id":47,"fnsku":"x00new","restock_data":{"target_price":-1,"lead_time_days":"x"}}`, b.books.Companies[1].Products[0].ID): "map[fnsku:[The fnsku has already been taken.] " +
			"listing_id:[The selected listing id is invalid.] manager_id:[The selected manager id is invalid.] product_id:[The selected product id is invalid.] restock_data.lead_time_days:[The restock_data.lead_time_days field must be a number.] " +
			"restock_data.target_price:[The restock_data.target_price field must be at least 0.]]",
		`{"country_code":"USA","product_id":null,"restock_data":[]}`: "map[country_code:[The country code field must be 2 characters.] product_id:[The product id field is required.] restock_data:[The restock data field must be an object.]]",
	} {
		if got := fmt.Sprint(b.post("/inventory-items", "%s", body).want(t, 422)["errors"]); got != want {
			t.Errorf("%s:\n got %s\nwant %s", body, got, want)
		}
	}
	// A new item can be bought, and is then kept.
	b.post("/inventory-orders", `{"date_manufacturing_completed":"2026-11-22","warehouse_id":%d,"details":[{"inventory_id":%v,"quantity":7,"price":1}]}`, b.c.Warehouses[0].ID, o["id"]).want(t, 200)
	if got := b.balance(b.c.Item(whole(t, o["id"])), b.c.Warehouses[0]); got != 7 {
		t.Errorf("balance %d", got)
	}
	if e := b.panel.do(t, "46", "DELETE", b.base+path, nil).want(t, 403); e["success"] != false {
		t.Errorf("%v", e)
	}
	r := b.panel.do(t, "46", "DELETE", fmt.Sprint(b.base, "/inventory-items/", bare["id"]), nil)
	if r.Code != 204 || r.Body.Len() != 0 || r.Header().Get("Content-Type") != "" {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	b.panel.get(t, "46", fmt.Sprint(b.base, "/inventory-items/", bare["id"])).want(t, 404)
	b.audited()
}

func TestProductsComeAndGo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	o := b.post("/products", `{"sku":"N-1","parent_sku":"N","name":"Nail","image":"https://img.example/n.jpg","weight":0.25,"length":1,"height":2,"depth":3.125}`).want(t, 200)
	productShape.check(t, "product", o)
	if list := rows(t, b.read("/products?per_page=30&sku=n-1"), "data"); len(list) != 1 || fmt.Sprint(list[0]) != fmt.Sprint(o) {
		t.Errorf("listed: %v", list)
	}
	path := fmt.Sprint("/products/", o["id"])
	if o = b.put(path, `{"name":"Tack","image":null}`).want(t, 200); o["name"] != "Tack" || o["sku"] != "N-1" || o["image"] != nil {
		t.Errorf("%v", o)
	}
	for body, want := range map[string]string{
		``: "map[name:[The name field is required.] sku:[The sku field is required.]]",
		fmt.Sprintf(`{"sku":%q,"name":"x","image":"ftp://x","weight":-1,"depth":100000.5}`, strings.ToLower(b.c.Products[0].SKU)): "map[depth:[The depth field must not be greater than 100000.] image:[The image field must be a valid URL.] sku:[The sku has already been taken.] weight:[The weight field must be at least 0.]]",
	} {
		if got := fmt.Sprint(b.post("/products", "%s", body).want(t, 422)["errors"]); got != want {
			t.Errorf("%s: %s", body, got)
		}
	}
	if got := fmt.Sprint(b.put(path, `{"sku":"","name":"x"}`).want(t, 422)["errors"]); got != "map[sku:[The sku field is required.]]" {
		t.Error(got)
	}
	remove := func(id any) reply { return b.panel.do(t, "46", "DELETE", fmt.Sprint(b.base, "/products/", id), nil) }
	remove(o["id"]).want(t, 204)
	remove(o["id"]).want(t, 404)
	// The items that a product grouped stay; one that an assembly makes stays itself.
	i := b.c.Items[0]
	remove(i.Product.ID).want(t, 204)
	if full := b.read("/inventory-items/%d", i.ID); full["product"] != nil {
		t.Errorf("product %v", full["product"])
	}
	if list := rows(t, b.read("/inventory-items?fnsku=%s", i.FNSKU), "data"); len(list) != 1 || list[0]["sku"] != i.Product.SKU {
		t.Errorf("listed: %v", list)
	}
	if e := remove(b.c.Kits[0].Item.Product.ID).want(t, 403); e["success"] != false || e["message"] == "" {
		t.Errorf("%v", e)
	}
	b.audited()
}

func TestListingsAreSyncedAndSettingsKept(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, l := range b.c.Listings {
		if l.Bullets != nil {
			continue
		}
		o := b.post(fmt.Sprint("/listings/", l.ID, "/sync"), ``).want(t, 200)
		listingShape.check(t, "listing", o)
		if again := rows(t, b.read("/listings?per_page=30&id=%d", l.ID), "data")[0]; o["bullet_points"] == nil || fmt.Sprint(again) != fmt.Sprint(o) {
			t.Errorf("%v, then %v", o, again)
		}
		break
	}

	before := b.read("/settings/forecasts")
	if o := b.put("/settings/forecasts", `{"status":"trial","default_lead_time_days":null,"default_scenario_id":3,"default_planned_po_frequency":14,"default_pareto_class_a":79.5,"default_seasonality":"1;1;1;1;1;1;1;1;1;0.8;1.5;2.5"}`).want(t, 200); o["success"] != true {
		t.Errorf("%v", o)
	}
	after := b.read("/settings/forecasts")
	for field, was := range before {
		want, changed := map[string]string{"status": "trial", "default_lead_time_days": "<nil>", "default_scenario_id": "3", "default_planned_po_frequency": "14", "default_pareto_class_a": "79.5", "default_seasonality": "1;1;1;1;1;1;1;1;1;0.8;1.5;2.5"}[field]
		if !changed {
			want = fmt.Sprint(was)
		}
		if got := fmt.Sprint(after[field]); got != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
	if got := fmt.Sprint(b.put("/settings/forecasts", `{"status":"paused","default_seasonality":"1;2","default_lead_time_days":-1,"default_planned_po_frequency":0,"default_revenue_class_a":null,"default_pareto_class_b":"x"}`).want(t, 422)["errors"]); got != "map["+
		"default_lead_time_days:[The default lead time days field must be at least 0.] default_pareto_class_b:[The default pareto class b field must be a number.] default_planned_po_frequency:[The default planned po frequency field must be at least 1.] "+
		"default_revenue_class_a:[The default revenue class a field is required.] default_seasonality:[The default seasonality field must be 12 multipliers separated by semicolons.] status:[The selected status is invalid.]]" {
		t.Error(got)
	}
	if again := b.read("/settings/forecasts"); fmt.Sprint(again) != fmt.Sprint(after) {
		t.Errorf("a refused change left %v", again)
	}
}

// The API has no key that makes a write idempotent.
func TestTheSameWriteTwiceIsTwoDocuments(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range 2 {
		b.post("/bills", `{"ref_number":"TWICE"}`).want(t, 200)
	}
	if n := len(rows(t, b.read("/bills?search=twice"), "data")); n != 2 {
		t.Errorf("%d bills", n)
	}
}

func TestConcurrentChangesAddUp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.c.Warehouses[1]
	i := find(b.c.Items[1:], func(i *ledger.Item) bool { return i.Balance(w, ledger.DateOf(noon)) >= 16 })
	held := b.balance(i, w)
	revenue, _ := b.sales()
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for k := range 2 {
				r := b.post("/invoices", `{"ref_number":"C-%d-%d","transaction_date":"2026-11-22","warehouse_id":%d,"details":[{"inventory_id":%d,"service_id":%d,"quantity":1,"amount":10}]}`, n, k, w.ID, i.ID, b.c.Services[0].ID)
				if r.Code != http.StatusOK {
					t.Errorf("%d %s", r.Code, r.Body)
				}
				// A reader sees whole changes only.
				o := b.panel.get(t, "46", b.base+fmt.Sprintf("/inventory-items/%d/cogs?start_date=2026-11-22&per_page=60", i.ID))
				var units int64
				for _, row := range rows(t, o.object, "details") {
					units += whole(t, row["quantity"])
				}
				if units != whole(t, o.object["quantity"]) || units < 1 {
					t.Errorf("%d units in rows, %v in the head", units, o.object["quantity"])
				}
			}
		})
	}
	wg.Wait()
	if r, _ := b.sales(); r-revenue != ledger.Int(160) || b.balance(i, w) != held-16 {
		t.Errorf("revenue %s more, balance %d of %d", r-revenue, b.balance(i, w), held)
	}
	b.audited()
}

func FuzzChanges(f *testing.F) {
	p := freshPanel()
	all := changes(p, 0)
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for n, name := range names {
		f.Add(uint8(n), all[name].body)
	}
	f.Add(uint8(0), `{"details":[null,{"quantity":1e400}],"items":[[]],"restock_data":null}`)
	f.Fuzz(func(t *testing.T, n uint8, body string) {
		c := all[names[int(n)%len(names)]]
		c.body = body
		switch r := p.send(t, "46", c, p.company(0)); r.Code {
		case 200, 202, 204, 400, 403, 404, 413, 415, 422, 503:
		default:
			t.Fatalf("%s %s %q: %d %s", c.method, c.path, body, r.Code, r.Body)
		}
	})
}
