package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// The oddities of NeonPanel's API, one test each, as callers have met them.

func TestQuirk1DetailsPathIsGoneBalancesIsThere(t *testing.T) {
	t.Parallel()
	p := shared()
	item := fmt.Sprintf("%s/inventory-items/%d", p.company(0), p.books.Companies[0].Items[0].ID)
	m := p.get(t, "46", item+"/details").want(t, 404)["message"]
	if want := "The route api/v1" + item + "/details could not be found."; m != want {
		t.Errorf("message %q, want %q", m, want)
	}
	p.get(t, "46", item+"/balances").want(t, 200)
}

func TestQuirk2ProductsAndListingsNeedPerPageInTheQuery(t *testing.T) {
	t.Parallel()
	p := shared()
	for _, path := range []string{"/products", "/listings"} {
		path = p.company(0) + path
		o := p.get(t, "46", path).want(t, 500)
		if o["message"] != `Undefined array key "per_page"` || o["exception"] != "ErrorException" {
			t.Errorf("%s without per_page: %v", path, o)
		}
		for _, bad := range []string{"ten", "1.5", "25abc"} {
			o = p.get(t, "46", path+"?per_page="+bad).want(t, 500)
			if !strings.Contains(o["message"].(string), "Argument #4 ($perPage) must be of type int, string given") || o["exception"] != "TypeError" {
				t.Errorf("%s?per_page=%s: %v", path, bad, o)
			}
		}
		if o = p.get(t, "46", path+"?per_page=").want(t, 500); !strings.Contains(o["message"].(string), "null given") {
			t.Errorf("%s with an empty per_page: %v", path, o)
		}
		if o = p.get(t, "46", path+"?per_page[]=5").want(t, 500); !strings.Contains(o["message"].(string), "array given") {
			t.Errorf("%s with an array: %v", path, o)
		}
		// The form that callers settled on.
		if o = p.get(t, "46", path+"?per_page=25&page=1").want(t, 200); fmt.Sprint(o["per_page"], "/", o["current_page"]) != "25/1" {
			t.Errorf("%s?per_page=25&page=1: %v, %v", path, o["per_page"], o["current_page"])
		}
	}
}

func TestQuirk2BodyOfAGetIsIgnored(t *testing.T) {
	t.Parallel()
	p := shared()
	sku := p.books.Companies[0].Products[0].SKU
	path := p.company(0) + "/products"
	p.do(t, "46", http.MethodGet, path, strings.NewReader(`{"per_page":25}`), "Content-Type", "application/json").want(t, 500)
	o := p.do(t, "46", http.MethodGet, path+"?per_page=60", strings.NewReader(`{"sku":"`+sku+`"}`), "Content-Type", "application/json").want(t, 200)
	if n := len(rows(t, o, "data")); n != len(p.books.Companies[0].Products) {
		t.Errorf("a filter in the body left %d products", n)
	}
}

func TestQuirk3PHPKeepsTheLastOfRepeatedNames(t *testing.T) {
	t.Parallel()
	p := shared()
	a, b := p.books.Companies[0].UUID, p.books.Companies[1].UUID
	for query, want := range map[string]string{
		"company_uuids=" + a + "&company_uuids=" + b:                       "[" + b + "]",
		"company_uuids=" + b + "&company_uuids=" + a:                       "[" + a + "]",
		"company_uuids[]=" + a + "&company_uuids[]=" + b:                   "[" + a + " " + b + "]",
		"company_uuids%5B%5D=" + a + "&company_uuids%5B%5D=" + b:           "[" + a + " " + b + "]",
		"company_uuids[0]=" + b + "&company_uuids[1]=" + a:                 "[" + b + " " + a + "]",
		"company_uuids=" + a + "," + b:                                     "", // no list of NeonPanel's
		"company_uuids[]=" + a + "&company_uuids=" + b:                     "[" + b + "]",
		"company_uuids=" + a + "&company_uuids[]=" + b:                     "[" + b + "]",
		"company_uuids[]=":                                                 "[" + a + " " + b + "]",
		"company_uuids[]=" + a + "&company_uuids[]=" + a:                   "[" + a + "]",
		"company_uuids[]=" + a + "&grouping=country&grouping=company&page": "[" + a + "]",
	} {
		r := p.get(t, "46", "/revenue-and-cogs?start_date=2026-01-01&"+query)
		if want == "" {
			r.want(t, 422)
			continue
		}
		o := r.want(t, 200)
		if got := fmt.Sprint(o["filters"].(map[string]any)["company_uuids"]); got != want {
			t.Errorf("%s is understood as %s, want %s", query, got, want)
		}
	}
	o := p.get(t, "46", "/revenue-and-cogs?start_date=2026-01-01&grouping=country&grouping=company").want(t, 200)
	if got := fmt.Sprint(o["filters"].(map[string]any)["grouping"]); got != "[company]" {
		t.Errorf("grouping twice is understood as %s", got)
	}
}

func TestQuirk4ReportLinksTakeTheNumericCompanyID(t *testing.T) {
	t.Parallel()
	p := shared()
	link := p.get(t, "46", "/reports/15").want(t, 200)["link"].(string)
	if strings.ContainsAny(link, "?#") || !strings.HasPrefix(link, "https://my.neonpanel.com/app/reports/") {
		t.Errorf("link %s leaves no room for ?company=", link)
	}
	// Both spellings that documents gave over time are in the list of companies.
	c := rows(t, p.get(t, "46", "/companies").want(t, 200), "data")[0]
	if fmt.Sprint(c["id"]) != "106" || c["short_name"] != "TRAIL" {
		t.Errorf("id %v, short_name %v", c["id"], c["short_name"])
	}
}

func TestQuirk5PaymentTermsHaveTwoPaths(t *testing.T) {
	t.Parallel()
	p := shared()
	names := func(path string) (out []string) {
		for _, term := range rows(t, p.get(t, "46", path).want(t, 200), "data") {
			out = append(out, fmt.Sprint(term["name"], "/", term["system"]))
		}
		return out
	}
	own, all := names(p.company(0)+"/payment-terms"), names("/payment-terms")
	if len(own) != 5 || own[4] != "20/80 TRAIL/false" {
		t.Errorf("of the company: %v", own)
	}
	if len(all) != 6 || all[5] != "20/80 LINDEN/false" {
		t.Errorf("of the user: %v", all)
	}
	if strings.Contains(strings.Join(all, " "), "HOUND") {
		t.Errorf("another seller's terms are among %v", all)
	}
}

func TestQuirk6OldLandedCostPathIsUnknown(t *testing.T) {
	t.Parallel()
	p := shared()
	item := fmt.Sprintf("%s/inventory-items/%d", p.company(0), p.books.Companies[0].Items[0].ID)
	p.get(t, "46", item+"/landed-costs?start_date=2026-01-01").want(t, 404)
}

func TestQuirk7PageSizesAndDatesDifferByOperation(t *testing.T) {
	t.Parallel()
	p := shared()
	p.get(t, "46", p.company(0)+"/inventory-items?per_page=9").want(t, 422)
	p.get(t, "46", p.company(0)+"/products?per_page=9").want(t, 200)

	// `format: date`: asked for in either form, answered in two.
	w := p.books.Companies[0].Warehouses[1].UUID
	for _, date := range []string{"2026-03-05", "2026-03-05T00:00:00.000Z"} {
		o := p.get(t, "46", p.company(0)+"/warehouses/"+w+"/balances?balances_date="+date).want(t, 200)
		if o["balances_date"] != "2026-03-05T00:00:00.000Z" {
			t.Errorf("warehouse balances of %s: %v", date, o["balances_date"])
		}
		i := p.books.Companies[0].Items[0].ID
		o = p.get(t, "46", fmt.Sprintf("%s/inventory-items/%d/balances?balances_date=%s", p.company(0), i, date)).want(t, 200)
		if d := o["balances_data"].(map[string]any)["balances_date"]; d != "2026-03-05" {
			t.Errorf("item balances of %s: %v", date, d)
		}
	}
	// Filters of inventory orders: plain, or under the key `filters`.
	plain := p.get(t, "46", p.company(0)+"/inventory-orders?search=PO-2310&start_date=2024-01-01").want(t, 200)
	nested := p.get(t, "46", p.company(0)+"/inventory-orders?filters[search]=PO-2310&filters[start_date]=2024-01-01").want(t, 200)
	if fmt.Sprint(plain) != fmt.Sprint(nested) || len(rows(t, plain, "data")) != 1 {
		t.Errorf("plain filters find %v, nested %v", plain["data"], nested["data"])
	}
}

func TestQuirk8ImportAndSettingsNeedATokenToo(t *testing.T) {
	t.Parallel()
	p := shared()
	for path, method := range map[string]string{
		"/import/bill/instructions":                 "GET",
		p.company(0) + "/settings/forecasts":        "GET",
		p.company(0) + "/create/bill":               "POST",
		p.company(0) + "/import/bill/pdf":           "POST",
		p.company(0) + "/import/bill/status/nobody": "GET",
	} {
		p.do(t, "", method, path, nil).want(t, 401)
	}
}

func TestQuirk9WarehousesShowTheirIntegerIDInDocumentsOnly(t *testing.T) {
	t.Parallel()
	p := shared()
	for _, w := range rows(t, p.get(t, "46", p.company(0)+"/warehouses").want(t, 200), "data") {
		if _, has := w["id"]; has {
			t.Errorf("the list shows id %v", w["id"])
		}
	}
	order := rows(t, p.get(t, "46", p.company(0)+"/inventory-orders").want(t, 200), "data")[0]
	w := order["warehouse"].(map[string]any)
	if !kinds["int"](w["id"]) || w["uuid"] != p.books.Companies[0].Warehouses[0].UUID {
		t.Errorf("the order's warehouse: %v", w)
	}
}

func TestQuirkCompanyUUIDsAreFortyHexDigits(t *testing.T) {
	t.Parallel()
	p := shared()
	for _, c := range rows(t, p.get(t, "46", "/companies").want(t, 200), "data") {
		if !kinds["hex"](c["uuid"]) || kinds["uuid"](c["uuid"]) {
			t.Errorf("uuid %v", c["uuid"])
		}
	}
}

func TestRoutesAreLaravels(t *testing.T) {
	t.Parallel()
	p := shared()
	for path, message := range map[string]string{
		"/nothing":             "The route api/v1/nothing could not be found.",
		"/companies//x":        "The route api/v1/companies//x could not be found.",
		"/companies/../x":      "The route api/v1/companies/../x could not be found.",
		"/companies/%2e%2e/x":  "The route api/v1/companies/../x could not be found.",
		"/reports/first":       "The route api/v1/reports/first could not be found.",
		"/companies/a/b/c/d/e": "The route api/v1/companies/a/b/c/d/e could not be found.",
		"/api":                 "The route api could not be found.",
	} {
		if m := p.get(t, "46", path).want(t, 404)["message"]; m != message {
			t.Errorf("%s: %q, want %q", path, m, message)
		}
	}
	p.get(t, "46", "/companies/").want(t, 200) // a trailing slash is trimmed
	p.get(t, "46", p.company(0)+"/bills/12x").want(t, 400)
	if m := p.get(t, "46", p.company(0)+"%2Fwarehouses").want(t, 404)["message"]; m != "The route api/v1"+p.company(0)+"/warehouses could not be found." {
		t.Errorf("an escaped slash: %q", m)
	}
	r := p.do(t, "46", http.MethodDelete, "/companies", nil)
	if m := r.want(t, 405)["message"]; m != "The DELETE method is not supported for route api/v1/companies. Supported methods: GET, HEAD." {
		t.Errorf("message %q", m)
	}
	if allow := r.Header().Get("Allow"); allow != "GET, HEAD" {
		t.Errorf("Allow: %s", allow)
	}
	if r := p.do(t, "46", http.MethodHead, "/companies", nil); r.Code != 200 {
		t.Errorf("HEAD: %d", r.Code)
	}
}

func TestParseQueryAsPHPDoes(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"a=1&a=2":               "a:2",
		"a[]=1&a[]=2":           "a:[0:1 1:2]",
		"a[x]=1&a[y][]=2":       "a:[x:1 y:[0:2]]",
		"a=1&a[]=2":             "a:[0:2]",
		"a[]=1&a=2":             "a:2",
		"a[5]=x&a[]=y":          "a:[5:x 6:y]",
		"a.b=1&c%20d=2":         "a_b:1 c_d:2",
		"a=%zz&b=+x+":           "a:%zz b:x",
		"=1&[]=2&&a":            "a:",
		"a[=1":                  "a_:1",
		"a=b=c":                 "a:b=c",
		"a%5B%5D=1":             "a:[0:1]",
		"a[b][c][d]=1":          "a:[b:[c:[d:1]]]",
		"a[]x=1":                "a:[0:1]",
		"p%00q=1":               "p:1",
		"a[0]=1&a[0]=2":         "a:[0:2]",
		"a[-1]=1":               "a:[-1:1]",
		strings.Repeat("a&", 9): "a:",
	} {
		if got := parseQuery(raw).String(); got != want {
			t.Errorf("%s is %s, want %s", raw, got, want)
		}
	}
}

// String renders params for comparison.
func (p *params) String() string {
	var out []string
	for i, k := range p.keys {
		v := p.items[i].text
		if p.items[i].array {
			v = "[" + p.items[i].String() + "]"
		}
		out = append(out, k+":"+v)
	}
	return strings.Join(out, " ")
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"a=1&a=2", "a[]=1&a[b][c]=2", "[=&]=", "a[[b]]=%5", "%00=%00", "a[" + strings.Repeat("x]", 50)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q := parseQuery(raw)
		x := &form{params: q, faults: faults{}}
		for _, name := range q.keys {
			if name == "" {
				t.Fatalf("%q has a parameter without a name", raw)
			}
			q.scalar(name)
			for _, v := range q.list(name) {
				if v == "" || v != strings.TrimSpace(v) {
					t.Fatalf("%q: list %s has %q", raw, name, v)
				}
			}
			x.integer(name, 1, 60, 30)
			x.date(name, 0)
			x.ids(name)
		}
	})
}
