package composite

import (
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

func TestFetchHasTheShapeThatChatGPTExpects(t *testing.T) {
	t.Parallel()
	a := &api{answer: answers(map[string]string{
		"listCompanies": list(acme, birch),
		"bills.read": `{"id":51,"ref_number":"B-51","name":null,"date":"2026-01-02","amount":12.50,"currency":"EUR","link":"https://my.neonpanel.com/app/b",` +
			`"vendor":{"id":3,"name":"Blue & Co"},"documents":[],"details":[{"service_name":"Freight","rate":12.500,"quantity":1},{"service_name":"Two\nlines","amount":0}]}`,
	})}
	r := run(t.Context(), t, a, "fetch", `{"id":"bill:aaaa:51"}`)
	got := decoded[fetched](t, r)
	want := "id: 51\nref_number: B-51\ndate: 2026-01-02\namount: 12.50\ncurrency: EUR\nlink: https://my.neonpanel.com/app/b\n" +
		"vendor:\n  id: 3\n  name: Blue & Co\ndetails:\n  1:\n    service_name: Freight\n    rate: 12.500\n    quantity: 1\n  2:\n    service_name: Two\n      lines\n    amount: 0"
	if got.Text != want {
		t.Errorf("%s\nwant\n%s", got.Text, want)
	}
	if got.ID != "bill:aaaa:51" || got.Title != "Bill B-51: Blue & Co, 2026-01-02, 12.50 EUR (Acme Toys)" || got.URL != "https://my.neonpanel.com/app/b" {
		t.Errorf("%+v", got)
	}
	for name, want := range map[string]string{"type": "bill", "company": "Acme Toys", "company_id": "1", "date": "2026-01-02", "amount": "12.50", "currency": "EUR"} {
		if got.Metadata[name] != want {
			t.Errorf("%s is %q", name, got.Metadata[name])
		}
	}
	if asked := a.asked("bills.read"); len(asked) != 1 || asked[0] != "/api/v1/companies/aaaa/bills/51?" {
		t.Errorf("%v", asked)
	}
}

func TestFetchReadsEveryKind(t *testing.T) {
	t.Parallel()
	for id, operation := range map[string]string{
		"item:aaaa:7": "getInventoryItemFullData", "order:aaaa:7": "inventoryOrders.read", "bill:aaaa:7": "bills.read", "invoice:aaaa:7": "invoices.read",
		"shipment:aaaa:7": "shipments.read", "report:7": "getReportData",
	} {
		a := &api{answer: answers(map[string]string{"listCompanies": list(acme), operation: `{"id":7,"name":"seven"}`})}
		got := decoded[fetched](t, run(t.Context(), t, a, "fetch", `{"id":"`+id+`"}`))
		if got.ID != id || !strings.Contains(got.Text, "name: seven") || len(a.asked(operation)) != 1 {
			t.Errorf("%s: %+v", id, got)
		}
	}
}

// The first server's search and fetch had more arguments; saved prompts still
// send them.
func TestArgumentsOfTheEarlierServerAreTaken(t *testing.T) {
	t.Parallel()
	bill := map[string]string{"listCompanies": list(acme, birch), "bills.read": `{"id":51,"ref_number":"B-51"}`, "getReportData": `{"id":12,"title":"Stock"}`}
	for arguments, want := range map[string]string{
		`{"id":"51","type":"bill","companyUuid":"bbbb"}`: "bill:bbbb:51",
		`{"id":51,"type":"Bills","company":"birch"}`:     "bill:bbbb:51",
		`{"id":"12","type":"report"}`:                    "report:12",
		`{"id":"bill:aaaa:51","type":"x","company":"y"}`: "bill:aaaa:51",
	} {
		got := decoded[fetched](t, run(t.Context(), t, &api{answer: answers(bill)}, "fetch", arguments))
		if got.ID != want {
			t.Errorf("%s: %s, want %s", arguments, got.ID, want)
		}
	}
	for _, arguments := range []string{`{"id":"51"}`, `{"id":"51","type":"bill order","company":"birch"}`, `{"id":"x","type":"bill","company":"birch"}`, `{"id":"51","type":"thing"}`} {
		if r := run(t.Context(), t, &api{answer: answers(bill)}, "fetch", arguments); r.Failure == nil || r.Failure.Kind != toolcall.InvalidArguments {
			t.Errorf("%s: %+v", arguments, r)
		}
	}
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme, birch), "bills.list": list(`{"id":1}`)})}
	searched(t, run(t.Context(), t, a, "search", `{"query":"freight","type":"bill","companyUuid":"bbbb"}`))
	if asked := a.asked("bills.list"); len(a.requests) != 2 || len(asked) != 1 || !strings.Contains(asked[0], "/bbbb/bills?search=freight&") {
		t.Errorf("%v", asked)
	}
}

func TestFetchFindsAVendorPagesAway(t *testing.T) {
	t.Parallel()
	a := &api{answer: func(_ ctx, r neonpanel.Request) (string, error) {
		switch {
		case r.Operation == "listCompanies":
			return list(acme), nil
		case queryOf(r, "page") == "3":
			return pageOf(3, 4, `{"id":6,"name":"Six"}`, `{"id":7,"name":"Seven","code":"SE"}`), nil
		}
		return pageOf(1, 4, `{"id":1,"name":"One"}`), nil
	}}
	got := decoded[fetched](t, run(t.Context(), t, a, "fetch", `{"id":"vendor:aaaa:7"}`))
	if got.Title != "Vendor Seven: SE (Acme Toys)" || len(a.asked("vendors.list")) != 3 {
		t.Errorf("%+v after %v", got, a.asked("vendors.list"))
	}
	if r := run(t.Context(), t, a, "fetch", `{"id":"vendor:aaaa:99"}`); r.Failure == nil || r.Failure.Kind != toolcall.NotFound {
		t.Errorf("%+v", r)
	}
	endless := &api{answer: func(_ ctx, r neonpanel.Request) (string, error) {
		if r.Operation == "listCompanies" {
			return list(acme), nil
		}
		return pageOf(1, 99, `{"id":1,"name":"One"}`), nil
	}}
	if r := run(t.Context(), t, endless, "fetch", `{"id":"vendor:aaaa:99"}`); r.Failure == nil || r.Failure.Kind == toolcall.NotFound || len(endless.asked("vendors.list")) != maxVendorPages {
		t.Errorf("%+v", r)
	}
}

func TestFetchSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	a := &api{answer: failing("inventoryBalances", &neonpanel.Error{Class: neonpanel.Unavailable}, answers(map[string]string{
		"listCompanies": list(acme), "getInventoryItemFullData": `{"id":7,"product":{"sku":"A-1","name":"Thing"}}`,
	}))}
	got := decoded[fetched](t, run(t.Context(), t, a, "fetch", `{"id":"item:aaaa:7"}`))
	if !strings.Contains(got.Text, "[missing here: the item's stock: NeonPanel has a problem") || !strings.Contains(got.Metadata["incomplete"], "the item's stock") {
		t.Errorf("%+v", got)
	}
}

func TestFetchWithoutTheRecordFails(t *testing.T) {
	t.Parallel()
	for class, want := range map[neonpanel.Class]toolcall.FailureKind{
		neonpanel.NotFound: toolcall.NotFound, neonpanel.Forbidden: toolcall.Forbidden, neonpanel.Unauthenticated: toolcall.Unauthenticated, neonpanel.Unavailable: toolcall.Unavailable,
	} {
		a := &api{answer: failing("getInventoryItemFullData", &neonpanel.Error{Class: class}, answers(map[string]string{"listCompanies": list(acme), "inventoryBalances": `{}`}))}
		if r := run(t.Context(), t, a, "fetch", `{"id":"item:aaaa:7"}`); r.Failure == nil || r.Failure.Kind != want || r.Structured != nil {
			t.Errorf("%s: %+v", class, r)
		}
	}
	a := &api{answer: answers(nil)}
	if r := run(t.Context(), t, a, "fetch", `{"id":"bill:../x:7"}`); r.Failure == nil || r.Failure.Kind != toolcall.InvalidArguments || len(a.requests) > 0 {
		t.Errorf("%+v after %d calls", r, len(a.requests))
	}
}

func TestFetchCutsWhatIsTooLongAndSaysSo(t *testing.T) {
	t.Parallel()
	lines := strings.Repeat(`{"sku":"ABCDEFGHIJ","name":"Ünder"},`, 3000)
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme), "invoices.read": `{"id":7,"details":[` + strings.TrimSuffix(lines, ",") + `]}`})}
	got := decoded[fetched](t, run(t.Context(), t, a, "fetch", `{"id":"invoice:aaaa:7"}`))
	if len(got.Text) > maxText+100 || !strings.Contains(got.Text, "\n[cut here: ") || got.Metadata["truncated"] != "true" {
		t.Errorf("%d bytes, ending in %q", len(got.Text), got.Text[len(got.Text)-80:])
	}
}

func FuzzOutline(f *testing.F) {
	for _, s := range []string{`{}`, `[1,[2,{"a":null}]]`, `{"a":{"b":[{"c":"d\ne"}]},"f":1.50}`, `"x"`, strings.Repeat("[", 50) + strings.Repeat("]", 50), `{"a":`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		o := outline{}
		o.value([]byte(raw), "", 0)
		if len(o.String()) > 100*(len(raw)+1) {
			t.Errorf("%d bytes from %d", len(o.String()), len(raw))
		}
	})
}
