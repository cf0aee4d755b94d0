package composite

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

func TestPeriodBefore(t *testing.T) {
	t.Parallel()
	for given, want := range map[span]span{
		{"2026-03-01", "2026-03-31"}: {"2026-02-01", "2026-02-28"},
		{"2024-03-01", "2024-03-31"}: {"2024-02-01", "2024-02-29"},
		{"2026-01-01", "2026-03-31"}: {"2025-10-01", "2025-12-31"},
		{"2026-01-01", "2026-12-31"}: {"2025-01-01", "2025-12-31"},
		{"2026-03-01", "2026-03-10"}: {"2026-02-19", "2026-02-28"},
		{"2026-03-05", "2026-03-05"}: {"2026-03-04", "2026-03-04"},
		{"2026-03-15", "2026-04-14"}: {"2026-02-12", "2026-03-14"}, // across a change of the clocks
		{"2026-02-01", "2026-02-28"}: {"2026-01-01", "2026-01-31"},
	} {
		if got := given.before(); got != want {
			t.Errorf("before %v: %v, want %v", given, got, want)
		}
	}
}

// What the API answers for Acme in February and January 2026.
func acmeSales(_ ctx, r neonpanel.Request) (string, error) {
	switch {
	case r.Operation == "listCompanies":
		return list(acme, birch), nil
	case queryOf(r, "company_uuids[]") == "bbbb":
		return `{"data":[]}`, nil
	case queryOf(r, "start_date") == "2026-01-01":
		return `{"data":[
			{"start_date":"2026-01-01T00:00:00.000Z","end_date":"2026-01-31T00:00:00.000Z","revenue_amount":100.10,"cogs_amount":40.05,"currency":"USD","country_code":"US"},
			{"start_date":"2026-01-01T00:00:00.000Z","end_date":"2026-01-31T00:00:00.000Z","revenue_amount":50,"cogs_amount":60,"currency":"USD","country_code":"CA"},
			{"start_date":"2026-01-01T00:00:00.000Z","end_date":"2026-01-31T00:00:00.000Z","revenue_amount":0,"cogs_amount":0,"currency":"USD","country_code":"MX"}]}`, nil
	}
	return `{"data":[
		{"start_date":"2026-02-01T00:00:00.000Z","end_date":"2026-02-28T00:00:00.000Z","revenue_amount":0.1,"cogs_amount":0.2,"currency":"USD","country_code":"CA"},
		{"start_date":"2026-02-01T00:00:00.000Z","end_date":"2026-02-28T00:00:00.000Z","revenue_amount":120.20,"cogs_amount":45.15,"currency":"USD","country_code":"US"},
		{"start_date":"2026-02-01T00:00:00.000Z","end_date":"2026-02-28T00:00:00.000Z","revenue_amount":0,"cogs_amount":0,"currency":"USD","country_code":"MX"}]}`, nil
}

func TestProfitIsComparedWithThePeriodBefore(t *testing.T) {
	t.Parallel()
	a := &api{answer: acmeSales}
	r := run(t.Context(), t, a, "profit_summary", `{"company":"acme","start_date":"2026-02-01","end_date":"2026-02-28"}`)
	got := decoded[profitSummary](t, r)
	c := got.Companies[0]
	check := func(name string, got fmt.Stringer, want string) {
		t.Helper()
		if got.String() != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	check("revenue", c.Total.Revenue, "120.30")
	check("cogs", c.Total.COGS, "45.35")
	check("margin", c.Total.Margin, "74.95")
	check("margin percent", c.Total.Percent, "62.30")
	check("revenue before", c.Previous.Revenue, "150.10")
	check("margin before", c.Previous.Margin, "50.05")
	check("margin percent before", c.Previous.Percent, "33.34")
	check("change", c.Change.Revenue, "-29.80")
	check("change in percent", c.Change.RevenuePercent, "-19.85")
	check("change of margin in percent", c.Change.MarginPercent, "49.75")
	check("points", c.Change.Points, "28.96")
	if c.Previous.span != (span{"2026-01-01", "2026-01-31"}) || c.Currency != "USD" || c.Company.Name != "Acme Toys" {
		t.Errorf("%+v", c)
	}
	if len(c.Periods) != 1 || c.Periods[0].span != (span{"2026-02-01", "2026-02-28"}) {
		t.Errorf("periods %+v", c.Periods)
	}
	var markets []string
	for _, m := range c.Markets {
		markets = append(markets, string(m.Country))
	}
	if !slices.Equal(markets, []string{"US", "CA", "MX"}) {
		t.Fatalf("markets %v", markets)
	}
	check("margin of CA", c.Markets[1].Margin, "-0.1")
	check("margin of CA in percent", c.Markets[1].Percent, "-100.00")
	// A loss of 10 that became one of 0.1 is better by 99 percent.
	check("change of the margin of CA", c.Markets[1].Change.MarginPercent, "99.00")
	check("margin of a market without sales", c.Markets[2].Percent, "null")
	check("change from nothing", c.Markets[2].Change.RevenuePercent, "null")
	for _, word := range []string{"Inf", "NaN", "e+"} {
		if strings.Contains(r.Text, word) {
			t.Errorf("%s in %s", word, r.Text)
		}
	}
	if asked := a.asked("revenueAndCogsSummary"); len(asked) != 2 || !strings.Contains(strings.Join(asked, " "),
		"start_date=2026-02-01&end_date=2026-02-28&periodicity=monthly&company_uuids[]=aaaa&grouping[]=country") {
		t.Errorf("%v", asked)
	}
}

// It is 1 March in Berlin, and still 28 February in Denver.
func TestEachCompanyHasItsOwnLastMonth(t *testing.T) {
	t.Parallel()
	a := &api{answer: acmeSales}
	got := decoded[profitSummary](t, run(t.Context(), t, a, "profit_summary", `{}`))
	want := map[text]span{"Acme Toys": {"2026-01-01", "2026-01-31"}, "Birch GmbH": {"2026-02-01", "2026-02-28"}}
	if len(got.Companies) != 2 {
		t.Fatalf("%+v", got)
	}
	for _, c := range got.Companies {
		if c.Total.span != want[c.Company.Name] {
			t.Errorf("%s: %v", c.Company.Name, c.Total.span)
		}
	}
	if b := got.Companies[1]; b.Currency != "EUR" || b.Total.Revenue.String() != "0" || b.Total.Percent.known() || len(b.Markets) != 0 {
		t.Errorf("%+v", b)
	}
}

func TestProfitWithoutThePeriodBeforeSaysSo(t *testing.T) {
	t.Parallel()
	a := &api{answer: func(c ctx, r neonpanel.Request) (string, error) {
		if queryOf(r, "start_date") == "2026-01-01" {
			return "", &neonpanel.Error{Class: neonpanel.Unavailable}
		}
		return acmeSales(c, r)
	}}
	got := decoded[profitSummary](t, run(t.Context(), t, a, "profit_summary", `{"company":"1","start_date":"2026-02-01","end_date":"2026-02-28"}`))
	c := got.Companies[0]
	if c.Total.Revenue.String() != "120.30" || c.Previous != nil || c.Change != nil || c.Markets[0].Previous.Revenue.known() || c.Markets[0].Change.Revenue.known() {
		t.Errorf("%+v", c)
	}
	if len(got.Incomplete) != 1 || got.Incomplete[0].Parts[0] != "the period before of Acme Toys" {
		t.Errorf("%+v", got.Incomplete)
	}
}

func TestLongProfitSummaryKeepsItsTotals(t *testing.T) {
	t.Parallel()
	var companies, rows []string
	for i := range 25 {
		companies = append(companies, fmt.Sprintf(`{"id":%d,"uuid":"u%d","name":"Company %02d","currency":"USD"}`, i, i, i))
	}
	for month := range 60 {
		rows = append(rows, fmt.Sprintf(`{"start_date":"%d-%02d-01","end_date":"%d-%02d-28","revenue_amount":1.25,"cogs_amount":0.5,"currency":"USD","country_code":"US"}`, 2020+month/12, month%12+1, 2020+month/12, month%12+1))
	}
	a := &api{answer: answers(map[string]string{"listCompanies": list(companies...), "revenueAndCogsSummary": `{"data":[` + strings.Join(rows, ",") + `]}`})}
	r := run(t.Context(), t, a, "profit_summary", `{"start_date":"2020-01-01","end_date":"2024-12-31"}`)
	got := decoded[profitSummary](t, r)
	if len(r.Text) > 100_000 || len(got.Companies) != 25 || len(got.Companies[0].Periods) != 60 || got.Companies[24].Periods != nil {
		t.Errorf("%d bytes, %d companies", len(r.Text), len(got.Companies))
	}
	for _, c := range got.Companies {
		if c.Total.Revenue.String() != "75.00" {
			t.Errorf("%s: %s", c.Company.Name, c.Total.Revenue)
		}
	}
	if len(got.Incomplete) != 1 || !slices.Contains(got.Incomplete[0].Parts, "periods and markets of Company 24") {
		t.Errorf("%+v", got.Incomplete)
	}
}

func TestManyMissingPartsAreCounted(t *testing.T) {
	t.Parallel()
	var items []string
	for i := range 50 {
		items = append(items, fmt.Sprintf(`{"id":%d,"sku":"S%02d"}`, i+1, i+1))
	}
	a := &api{answer: failing("inventoryBalances", &neonpanel.Error{Class: neonpanel.Unavailable},
		answers(map[string]string{"listCompanies": list(acme), "listInventoryItems": list(items...)}))}
	got := decoded[inventoryHealth](t, run(t.Context(), t, a, "inventory_health", `{}`))
	if len(got.Incomplete) != 1 || len(got.Incomplete[0].Parts) != maxNamed+1 || got.Incomplete[0].Parts[maxNamed] != "and 30 more like these" {
		t.Errorf("%+v", got.Incomplete)
	}
}

func TestCurrenciesAreNotAddedUp(t *testing.T) {
	t.Parallel()
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme), "revenueAndCogsSummary": `{"data":[
		{"revenue_amount":1,"cogs_amount":0,"currency":"USD","country_code":"US"},{"revenue_amount":2,"cogs_amount":1,"currency":"CAD","country_code":"CA"}]}`})}
	got := decoded[profitSummary](t, run(t.Context(), t, a, "profit_summary", `{}`))
	if len(got.Companies) != 2 || got.Companies[0].Total.Revenue.String() != "1" || got.Companies[1].Total.Revenue.String() != "2" ||
		got.Companies[1].Currency != "CAD" || len(got.Companies[0].Markets) != 1 {
		t.Errorf("%+v", got.Companies)
	}
}

func TestWrongPeriodsAreExplained(t *testing.T) {
	t.Parallel()
	for arguments, part := range map[string]string{
		`{"end_date":"2026-02-28"}`:                           "give start_date too",
		`{"start_date":"2026-03-01","end_date":"2026-02-28"}`: "is before start_date",
		`{"start_date":"March"}`:                              "must be a date",
		`{"periodicity":"weekly"}`:                            "must be one of",
		`{"country_codes":["USA"]}`:                           "must have 2 characters",
	} {
		r := run(t.Context(), t, &api{answer: acmeSales}, "profit_summary", arguments)
		if r.Failure == nil || r.Failure.Kind != toolcall.InvalidArguments || !strings.Contains(r.Failure.Message, part) {
			t.Errorf("%s: %+v", arguments, r.Failure)
		}
	}
}

// stocked is an inventory of five items in two warehouses.
func stocked(_ ctx, r neonpanel.Request) (string, error) {
	restock := map[string]string{
		// sells 2 a day: 30 in stock are 15 days, of 20 that are needed
		"1": `{"estimated_daily_sales":2,"unit_landed_cost":1.25,"lead_time_days":15,"safety_stock_days":5}`,
		// gone, and sells
		"2": `{"estimated_daily_sales":0.5,"unit_landed_cost":10,"lead_time_days":15,"safety_stock_days":null}`,
		// does not sell
		"3": `{"estimated_daily_sales":0,"unit_landed_cost":3.10,"lead_time_days":15}`,
		// slow: 100 at 0.3 a day
		"4": `{"estimated_daily_sales":0.3,"unit_landed_cost":0.1,"lead_time_days":15}`,
		// nothing is known
		"5": `{}`,
	}
	switch r.Operation {
	case "listCompanies":
		return list(acme), nil
	case "listInventoryItems":
		return list(`{"id":1,"sku":"A"}`, `{"id":2,"sku":"B"}`, `{"id":3,"sku":"C"}`, `{"id":4,"sku":"D"}`, `{"id":5,"sku":"E"}`), nil
	case "listWarehouses":
		return list(`{"uuid":"w1","name":"Main","type":"3PL","country_code":"US"}`, `{"uuid":"w2","name":"FBA"}`), nil
	case "warehouseBalances":
		if r.PathArguments["warehouseUuid"] == "w2" {
			return list(`{"inventory":{"id":1},"balance":10}`), nil
		}
		if queryOf(r, "page") == "2" {
			return pageOf(2, 2, `{"inventory":{"id":4},"balance":100}`, `{"inventory":{"id":5},"balance":7}`), nil
		}
		return pageOf(1, 2, `{"inventory":{"id":1},"balance":20}`, `{"inventory":{"id":3},"balance":50}`), nil
	case "inventoryBalances":
		return `{"restock_data":` + restock[r.PathArguments["inventoryId"]] + `,"balances_data":{"balances_list":[{"balance":30}]}}`, nil
	}
	return "", &neonpanel.Error{Class: neonpanel.NotFound}
}

func TestInventoryHealth(t *testing.T) {
	t.Parallel()
	a := &api{answer: stocked}
	r := run(t.Context(), t, a, "inventory_health", `{"slow_after_days":90}`)
	got := decoded[inventoryHealth](t, r)
	want := `"totals":{"items":5,"items_in_stock":4,"items_out_of_stock":1,"units":187,"stock_value_at_landed_cost":202.5,"items_in_stock_without_landed_cost":1,"items_running_out":2,"slow_items":2,"items_without_sales_estimate_or_lead_time":1},` +
		`"warehouses":[{"name":"Main","type":"3PL","country_code":"US","units":177,"items":4},{"name":"FBA","type":null,"country_code":null,"units":10,"items":1}],` +
		`"running_out":[{"id":2,"sku":"B","name":null,"country_code":null,"units":0,"units_sold_per_day":0.5,"days_of_cover":0.0,"lead_time_days":15,"safety_stock_days":null,"unit_landed_cost":10,"stock_value":0},` +
		`{"id":1,"sku":"A","name":null,"country_code":null,"units":30,"units_sold_per_day":2,"days_of_cover":15.0,"lead_time_days":15,"safety_stock_days":5,"unit_landed_cost":1.25,"stock_value":37.5}],` +
		`"slow_after_days":90,"slow_movers":[{"id":3,"sku":"C","name":null,"country_code":null,"units":50,"units_sold_per_day":0,"days_of_cover":null,"lead_time_days":15,"safety_stock_days":null,"unit_landed_cost":3.10,"stock_value":155},` +
		`{"id":4,"sku":"D","name":null,"country_code":null,"units":100,"units_sold_per_day":0.3,"days_of_cover":333.3,"lead_time_days":15,"safety_stock_days":null,"unit_landed_cost":0.1,"stock_value":10}]}`
	if !strings.HasSuffix(r.Text, want) {
		t.Errorf("%s\nwant the end\n%s", r.Text, want)
	}
	if got.Date != "2026-02-28" || got.Currency != "USD" {
		t.Errorf("%+v", got)
	}
	for _, asked := range append(a.asked("warehouseBalances"), a.asked("inventoryBalances")...) {
		if !strings.Contains(asked, "balances_date=2026-02-28") {
			t.Errorf("asked without the company's day: %s", asked)
		}
	}
}

func TestWarehousesHoldOnlyTheItemsThatWereAskedFor(t *testing.T) {
	t.Parallel()
	a := &api{answer: func(x ctx, r neonpanel.Request) (string, error) {
		if r.Operation == "listInventoryItems" {
			return list(`{"id":1,"sku":"A"}`, `{"id":4,"sku":"D"}`), nil
		}
		return stocked(x, r)
	}}
	got := decoded[inventoryHealth](t, run(t.Context(), t, a, "inventory_health", `{"search":"x","country_code":"us"}`))
	if w := got.Warehouses; w[0].Units.String() != "120" || w[0].Items.String() != "2" || w[1].Units.String() != "10" || got.Totals.Units.String() != "130" {
		t.Errorf("%+v %+v", w, got.Totals)
	}
	if asked := a.asked("listInventoryItems"); !strings.Contains(asked[0], "search=x&country_code=US&") {
		t.Errorf("%v", asked)
	}
}

func TestInventoryHealthSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fails func(neonpanel.Request) bool
		part  string
		check func(inventoryHealth) bool
	}{
		"a page of a warehouse": {
			func(r neonpanel.Request) bool { return r.Operation == "warehouseBalances" && queryOf(r, "page") == "2" },
			"stock of Main, page 2 of 2",
			// The items' own stock is taken instead; that of the warehouse is unknown.
			func(h inventoryHealth) bool {
				return !h.Warehouses[0].Units.known() && !h.Warehouses[0].Items.known() && h.Warehouses[1].Units.String() == "10" && h.Totals.Units.String() == "150" && h.Totals.RunningOut.known()
			},
		},
		"all warehouses": {
			func(r neonpanel.Request) bool { return r.Operation == "listWarehouses" }, "warehouses",
			func(h inventoryHealth) bool { return h.Warehouses == nil && h.Totals.Units.String() == "150" },
		},
		"the data of one item": {
			func(r neonpanel.Request) bool { return r.PathArguments["inventoryId"] == "1" }, "sales and landed cost of A",
			func(h inventoryHealth) bool {
				return h.Totals.Units.String() == "187" && h.Totals.InStock.String() == "4" && !h.Totals.Value.known() && !h.Totals.Unpriced.known() &&
					!h.Totals.RunningOut.known() && !h.Totals.Slow.known() && h.Totals.AtLeast["items_running_out"] == 1 && len(h.RunningOut) == 1
			},
		},
	} {
		a := &api{answer: func(x ctx, r neonpanel.Request) (string, error) {
			if c.fails(r) {
				return "", &neonpanel.Error{Class: neonpanel.Unavailable}
			}
			return stocked(x, r)
		}}
		got := decoded[inventoryHealth](t, run(t.Context(), t, a, "inventory_health", `{}`))
		if len(got.Incomplete) != 1 || got.Incomplete[0].Parts[0] != c.part || !c.check(got) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	a := &api{answer: failing("listInventoryItems", &neonpanel.Error{Class: neonpanel.Forbidden}, stocked)}
	if r := run(t.Context(), t, a, "inventory_health", `{}`); r.Failure == nil || r.Failure.Kind != toolcall.Forbidden {
		t.Errorf("%+v", r)
	}
}

func TestLargeInventoryIsExaminedFromBothEnds(t *testing.T) {
	t.Parallel()
	var items, shelves []string
	for i := range 240 {
		items = append(items, fmt.Sprintf(`{"id":%d,"sku":"S%d"}`, i+1, i+1))
		shelves = append(shelves, fmt.Sprintf(`{"inventory":{"id":%d},"balance":%d}`, i+1, i+1))
	}
	a := &api{answer: answers(map[string]string{
		"listCompanies": list(acme), "listInventoryItems": pageOf(1, 1, items...), "listWarehouses": list(`{"uuid":"w1","name":"Main"}`),
		"warehouseBalances": pageOf(1, 1, shelves...), "inventoryBalances": `{"restock_data":{"estimated_daily_sales":1,"unit_landed_cost":1,"lead_time_days":10}}`,
	})}
	got := decoded[inventoryHealth](t, run(t.Context(), t, a, "inventory_health", `{"limit":2}`))
	asked := strings.Join(a.asked("inventoryBalances"), "\n")
	if n := len(a.asked("inventoryBalances")); n != maxExamined || strings.Contains(asked, "/101/") || strings.Contains(asked, "/140/") || !strings.Contains(asked, "/100/") || !strings.Contains(asked, "/141/") {
		t.Errorf("%d items were examined", n)
	}
	// Of those that were not examined none is known to be slow, or not to be.
	if o := got.Totals; o.Items.String() != "240" || o.Units.String() != "28920" || o.InStock.String() != "240" || o.OutOfStock.String() != "0" || o.Unpriced.known() || o.Value.known() ||
		o.RunningOut.known() || o.Slow.known() || fmt.Sprint(o.AtLeast) != "map[items_running_out:9 slow_items:60]" || len(got.Slow) != 2 {
		t.Errorf("%+v, %d slow shown", got.Totals, len(got.Slow))
	}
	if len(got.Incomplete) != 1 || got.Incomplete[0].Parts[0] != "sales and landed cost of 40 items" || !strings.Contains(got.Incomplete[0].Reason, "are null") {
		t.Errorf("%+v", got.Incomplete)
	}
}

// Incident: the 200 items with most stock were examined, and those that had run
// out were not.
func TestWhatIsOutOfStockIsExaminedFirst(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		items, gone, examined int // in all, out of stock, and of those examined
	}{
		"some are gone":        {250, 50, 50},
		"many are gone":        {300, 180, 150},
		"nearly all are gone":  {300, 290, 190},
		"all are gone":         {230, 230, 200},
		"few enough to be all": {200, 160, 160},
	} {
		var items, shelves []string
		for i := range c.items {
			items = append(items, fmt.Sprintf(`{"id":%d,"sku":"S%d"}`, i+1, i+1))
			if i < c.items-c.gone {
				shelves = append(shelves, fmt.Sprintf(`{"inventory":{"id":%d},"balance":1000}`, i+1))
			}
		}
		a := &api{answer: answers(map[string]string{
			"listCompanies": list(acme), "listInventoryItems": pageOf(1, 1, items...), "listWarehouses": list(`{"uuid":"w1","name":"Main"}`),
			"warehouseBalances": pageOf(1, 1, shelves...), "inventoryBalances": `{"restock_data":{"estimated_daily_sales":2,"unit_landed_cost":1,"lead_time_days":45,"safety_stock_days":10}}`,
		})}
		got := decoded[inventoryHealth](t, run(t.Context(), t, a, "inventory_health", `{"limit":100}`))
		found := got.Totals.AtLeast["items_running_out"]
		if got.Totals.RunningOut.known() {
			found = c.gone
		}
		if found != c.examined || len(got.RunningOut) != min(100, c.examined) || got.Totals.RunningOut.known() != (c.items <= maxExamined) || got.Totals.OutOfStock.String() != fmt.Sprint(c.gone) {
			t.Errorf("%s: %+v, %d shown", name, got.Totals, len(got.RunningOut))
		}
	}
}

// Incident: what could not be read was counted as none.
func TestWhatIsNotKnownIsNotNought(t *testing.T) {
	t.Parallel()
	const nothing = `"units":null,"stock_value_at_landed_cost":null,"items_in_stock_without_landed_cost":null,"items_running_out":null,"slow_items":null,"items_without_sales_estimate_or_lead_time":null`
	sold := func(operation string) func(neonpanel.Request) bool {
		return func(r neonpanel.Request) bool { return r.Operation == operation }
	}
	either := func(all ...func(neonpanel.Request) bool) func(neonpanel.Request) bool {
		return func(r neonpanel.Request) bool {
			return slices.ContainsFunc(all, func(f func(neonpanel.Request) bool) bool { return f(r) })
		}
	}
	one := func(r neonpanel.Request) bool { return r.PathArguments["warehouseUuid"] == "w2" }
	pages := func(operation string) func(neonpanel.Request) bool {
		return func(r neonpanel.Request) bool { return r.Operation == operation && queryOf(r, "page") == "2" }
	}
	const unread = `"running_out":null,"slow_after_days":180,"slow_movers":null`
	for name, c := range map[string]struct {
		fails func(neonpanel.Request) bool
		want  []string
	}{
		"all balances": {either(sold("warehouseBalances"), sold("inventoryBalances")),
			[]string{`"totals":{"items":5,"items_in_stock":null,"items_out_of_stock":null,` + nothing + `}`, unread, `{"name":"FBA","type":null,"country_code":null,"units":null,"items":null}`}},
		"restock data": {sold("inventoryBalances"),
			[]string{`"totals":{"items":5,"items_in_stock":4,"items_out_of_stock":1,` + strings.Replace(nothing, `"units":null`, `"units":187`, 1) + `}`, unread}},
		"one warehouse and restock data": {either(one, sold("inventoryBalances")),
			[]string{`"totals":{"items":5,"items_in_stock":null,"items_out_of_stock":null,` + nothing + `}`, unread}},
		"the list of warehouses and restock data": {either(sold("listWarehouses"), sold("inventoryBalances")),
			[]string{`"totals":{"items":5,"items_in_stock":null,"items_out_of_stock":null,` + nothing + `}`, unread, `"warehouses":null`}},
		"a page of items": {pages("listInventoryItems"),
			[]string{`"totals":{"items":null,"items_in_stock":null,"items_out_of_stock":null,` + nothing + `,"at_least":{"items":5,"items_in_stock":4,"items_in_stock_without_landed_cost":1,"items_out_of_stock":1,"items_running_out":2,"items_without_sales_estimate_or_lead_time":1,"slow_items":2}}`,
				`"running_out":[{"id":2,`, `{"name":"FBA","type":null,"country_code":null,"units":null,"items":null}`}},
		"a page of warehouses": {either(pages("listWarehouses"), sold("inventoryBalances")),
			[]string{`"totals":{"items":5,"items_in_stock":null,"items_out_of_stock":null,` + nothing + `}`, unread}},
	} {
		a := &api{answer: func(x ctx, r neonpanel.Request) (string, error) {
			if c.fails(r) {
				return "", &neonpanel.Error{Class: neonpanel.Unavailable}
			}
			body, err := stocked(x, r)
			for _, operation := range []string{"listInventoryItems", "listWarehouses"} {
				if r.Operation == operation && c.fails(neonpanel.Request{Operation: operation, Query: []neonpanel.Pair{{Name: "page", Value: "2"}}}) {
					body = strings.Replace(body, `"last_page":1`, `"last_page":2`, 1)
				}
			}
			return body, err
		}}
		r := run(t.Context(), t, a, "inventory_health", `{}`)
		got := decoded[inventoryHealth](t, r)
		for _, want := range c.want {
			if !strings.Contains(r.Text, want) {
				t.Errorf("%s: %s\nlacks %s", name, r.Text, want)
			}
		}
		if len(got.Incomplete) == 0 {
			t.Errorf("%s: nothing is said to be missing", name)
		}
	}
}

// Incident: the open orders of the first page were given as all of them.
func TestOverviewDoesNotCountPagesForTheWhole(t *testing.T) {
	t.Parallel()
	rows := map[string]string{
		"inventoryOrders.list": `{"id":1,"date_order_placed":"2026-01-01","total_amount":7,"date_manufacturing_completed":null}`,
		"shipments.list":       `{"id":8,"date_shipment_sent":"2026-02-20","date_shipment_arrived":null,"items":[{"quantity_shipped":5}]}`,
		"paymentRequests.list": `{"amount_due":100,"due_date":"2026-02-01","payment_date":null}`,
		"warehouseBalances":    `{"inventory":{"id":1},"balance":10}`,
		"listWarehouses":       `{"uuid":"w1","name":"Main"}`,
	}
	a := &api{answer: func(x ctx, r neonpanel.Request) (string, error) {
		row, ok := rows[r.Operation]
		switch {
		case !ok:
			return answers(map[string]string{"listCompanies": list(acme)})(x, r)
		case r.Operation == "listWarehouses":
			return list(row), nil
		case queryOf(r, "page") == "2":
			return "", &neonpanel.Error{Class: neonpanel.Unavailable}
		}
		return pageOf(1, 2, row), nil
	}}
	r := run(t.Context(), t, a, "company_overview", `{}`)
	got := decoded[companyOverview](t, r)
	for _, want := range []string{
		`"stock":{"units":null,"warehouses":[{"name":"Main","type":null,"country_code":null,"units":null,"items":null}]}`,
		`"open_orders":{"count":null,"count_at_least":1,"amounts":null,"oldest":null,"oldest_of_those_read":[{"id":1,`,
		`"shipments_in_transit":{"count":null,"count_at_least":1,"units":null,"oldest":null,"oldest_of_those_read":[{"id":8,`,
		`"payments":{"overdue":{"count":null,"count_at_least":1,"amounts":null},"due_in_30_days":{"count":null,"amounts":null}}`,
	} {
		if !strings.Contains(r.Text, want) {
			t.Errorf("%s\nlacks %s", r.Text, want)
		}
	}
	if len(got.Incomplete) != 1 || len(got.Incomplete[0].Parts) != 4 {
		t.Errorf("%+v", got.Incomplete)
	}
}

// An answer without a list is no empty list.
func TestAnAnswerWithoutAListIsUnknown(t *testing.T) {
	t.Parallel()
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme), "inventoryOrders.list": `{"data":null}`, "listWarehouses": `{}`})}
	got := decoded[companyOverview](t, run(t.Context(), t, a, "company_overview", `{}`))
	if got.Orders != nil || got.Stock != nil || got.Shipments == nil || len(got.Incomplete) != 1 || fmt.Sprint(got.Incomplete[0].Parts) != "[open orders stock]" {
		t.Errorf("%+v", got)
	}
}

func TestCompanyOverview(t *testing.T) {
	t.Parallel()
	a := &api{answer: func(x ctx, r neonpanel.Request) (string, error) {
		switch r.Operation {
		case "revenueAndCogsSummary":
			return `{"data":[{"start_date":"2026-02-01","end_date":"2026-02-28","revenue_amount":10.50,"cogs_amount":4.25,"currency":"USD","country_code":"US"}]}`, nil
		case "inventoryOrders.list":
			return list(`{"id":3,"ref_number":"PO-3","date_order_placed":"2026-02-03","total_amount":0.10,"currency":"USD","vendor":{"name":"V"},"date_manufacturing_completed":null,"link":"https://my.neonpanel.com/app/o3"}`,
				`{"id":2,"ref_number":"PO-2","date_order_placed":"2026-01-03","total_amount":0.20,"currency":"USD","date_manufacturing_completed":null}`,
				`{"id":1,"ref_number":"PO-1","date_order_placed":"2026-01-01","total_amount":99,"currency":"USD","date_manufacturing_completed":"2026-02-01"}`), nil
		case "shipments.list":
			return list(`{"id":8,"ref_number":"S-8","date_shipment_sent":"2026-02-20","date_shipment_arrived":null,"destination_warehouse":{"name":"FBA"},"items":[{"quantity_shipped":5},{"quantity_shipped":7}]}`,
				`{"id":7,"ref_number":"S-7","date_shipment_sent":"2026-02-01","date_shipment_arrived":"2026-02-09","items":[{"quantity_shipped":100}]}`), nil
		case "paymentRequests.list":
			return list(`{"amount_due":100.10,"paid_amount":40,"due_date":"2026-02-27","payment_date":null,"currency":"USD"}`,
				`{"amount_due":7,"due_date":"2026-02-28","payment_date":null,"currency":"EUR"}`,
				`{"amount_due":8,"due_date":"2026-03-05","payment_date":null,"currency":"USD"}`,
				`{"amount_due":500,"paid_amount":500,"due_date":"2026-02-01","payment_date":"2026-02-01","currency":"USD"}`,
				`{"amount_due":900,"due_date":null,"payment_date":null,"currency":"USD"}`), nil
		}
		return stocked(x, r)
	}}
	r := run(t.Context(), t, a, "company_overview", `{}`)
	decoded[companyOverview](t, r)
	want := `{"company":{"id":1,"uuid":"aaaa","name":"Acme Toys","currency":"USD","timezone":"America/Denver"},"today":"2026-02-28","currency":"USD",` +
		`"month_to_date":{"start_date":"2026-02-01","end_date":"2026-02-28","revenue":10.50,"cogs":4.25,"gross_margin":6.25,"margin_percent":59.52},` +
		`"last_month":{"start_date":"2026-01-01","end_date":"2026-01-31","revenue":10.50,"cogs":4.25,"gross_margin":6.25,"margin_percent":59.52},` +
		`"stock":{"units":187,"warehouses":[{"name":"Main","type":"3PL","country_code":"US","units":177,"items":4},{"name":"FBA","type":null,"country_code":null,"units":10,"items":1}]},` +
		`"open_orders":{"count":2,"amounts":[{"currency":"USD","amount":0.30}],"oldest":[` +
		`{"id":2,"ref_number":"PO-2","vendor":null,"date_order_placed":"2026-01-03","amount":0.20,"currency":"USD","url":"https://my.neonpanel.com/#order-aaaa-2"},` +
		`{"id":3,"ref_number":"PO-3","vendor":"V","date_order_placed":"2026-02-03","amount":0.10,"currency":"USD","url":"https://my.neonpanel.com/app/o3"}]},` +
		`"shipments_in_transit":{"count":1,"units":12,"oldest":[{"id":8,"ref_number":"S-8","destination_warehouse":"FBA","date_shipment_sent":"2026-02-20","units":12,"url":"https://my.neonpanel.com/#shipment-aaaa-8"}]},` +
		`"payments":{"overdue":{"count":1,"amounts":[{"currency":"USD","amount":60.10}]},"due_in_30_days":{"count":2,"amounts":[{"currency":"EUR","amount":7},{"currency":"USD","amount":8}]}}}`
	if r.Text != want {
		t.Errorf("%s\nwant\n%s", r.Text, want)
	}
	if asked := strings.Join(a.asked("paymentRequests.list"), ""); !strings.Contains(asked, "start_date=2025-02-28&end_date=2026-03-30") {
		t.Errorf("payments: %s", asked)
	}
	// Older debts are not in the figures, and a model cannot see that from them.
	if tool, _ := tools(t).Lookup("company_overview"); !strings.Contains(tool.Description, "payments overdue (fell due within the last year)") {
		t.Errorf("the description keeps the bound to itself: %s", tool.Description)
	}
}

func TestOnlyShipmentsThatLeftAreInTransit(t *testing.T) {
	t.Parallel()
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme), "shipments.list": list(
		`{"id":1,"date_shipment_sent":null,"date_shipment_arrived":null,"items":[{"quantity_shipped":100}]}`,
		`{"id":2,"date_shipment_arrived":null,"items":[{"quantity_shipped":200}]}`,
		`{"id":3,"date_shipment_sent":"2026-02-20","date_shipment_arrived":null,"items":[{"quantity_shipped":5}]}`,
		`{"id":4,"date_shipment_sent":"2026-02-21","date_shipment_arrived":"2026-02-22","items":[{"quantity_shipped":400}]}`)})}
	got := decoded[companyOverview](t, run(t.Context(), t, a, "company_overview", `{}`)).Shipments
	if got == nil || got.Count.String() != "1" || got.Units.String() != "5" || len(got.Oldest) != 1 || got.Oldest[0].ID.String() != "3" {
		t.Errorf("%+v", got)
	}
}

func TestOverviewAddsUpTheCompanysCurrencyOnly(t *testing.T) {
	t.Parallel()
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme), "revenueAndCogsSummary": `{"data":[` +
		`{"revenue_amount":10,"cogs_amount":4,"currency":"USD","country_code":"US"},` +
		`{"revenue_amount":700,"cogs_amount":300,"currency":"EUR","country_code":"DE"},` +
		`{"revenue_amount":1,"cogs_amount":1,"currency":null,"country_code":"CA"}]}`})}
	got := decoded[companyOverview](t, run(t.Context(), t, a, "company_overview", `{}`))
	for _, f := range []*datedFigures{got.ThisMonth, got.LastMonth} {
		if f == nil || f.Revenue.String() != "11" || f.COGS.String() != "5" || f.Margin.String() != "6" {
			t.Errorf("%+v", f)
		}
	}
	if m := got.Incomplete; len(m) != 1 || !slices.Equal(m[0].Parts, []string{"sales of last month", "sales of this month"}) || !strings.Contains(m[0].Reason, "other currencies") {
		t.Errorf("%+v", m)
	}
}

func TestOwedIsWhatIsNotPaidYet(t *testing.T) {
	t.Parallel()
	const overdue, soon = `"due_date":"2026-02-01"`, `"due_date":"2026-03-05"`
	const nothing, hundred = `{"count":0,"amounts":[]}`, `{"count":1,"amounts":[{"currency":"USD","amount":100}]}`
	for name, c := range map[string]struct{ payment, overdue, soon string }{
		"nothing paid":                {`{"amount_due":100,` + overdue + `}`, hundred, nothing},
		"a part paid on a date":       {`{"amount_due":100,"paid_amount":30.50,"payment_date":"2026-02-02",` + overdue + `}`, `{"count":1,"amounts":[{"currency":"USD","amount":69.50}]}`, nothing},
		"a part of a later one":       {`{"amount_due":100,"paid_amount":"0.01","payment_date":"2026-02-02",` + soon + `}`, nothing, `{"count":1,"amounts":[{"currency":"USD","amount":99.99}]}`},
		"all paid on a date":          {`{"amount_due":100,"paid_amount":100.00,"payment_date":"2026-02-02",` + overdue + `}`, nothing, nothing},
		"all paid, no date":           {`{"amount_due":100,"paid_amount":100,"payment_date":null,` + overdue + `}`, nothing, nothing},
		"more than all":               {`{"amount_due":100,"paid_amount":101,"payment_date":null,` + soon + `}`, nothing, nothing},
		"a date and no amount":        {`{"amount_due":100,"paid_amount":null,"payment_date":"2026-02-02",` + overdue + `}`, nothing, nothing},
		"a date and nought":           {`{"amount_due":100,"paid_amount":0.00,"payment_date":"2026-02-02",` + soon + `}`, nothing, nothing},
		"nought and no date":          {`{"amount_due":100,"paid_amount":0,"payment_date":null,` + soon + `}`, nothing, hundred},
		"nobody knows how much":       {`{"amount_due":null,"payment_date":null,` + overdue + `}`, `{"count":1,"amounts":[{"currency":"USD","amount":null}]}`, nothing},
		"paid, nobody knows how much": {`{"amount_due":null,"paid_amount":5,"payment_date":"2026-02-02",` + overdue + `}`, nothing, nothing},
	} {
		a := &api{answer: answers(map[string]string{"listCompanies": list(acme), "paymentRequests.list": list(c.payment)})}
		r := run(t.Context(), t, a, "company_overview", `{}`)
		if want := `"payments":{"overdue":` + c.overdue + `,"due_in_30_days":` + c.soon + `}`; !strings.Contains(r.Text, want) {
			t.Errorf("%s: %s\nlacks %s", name, r.Text, want)
		}
	}
}

func TestOverviewHasNullForWhatFailed(t *testing.T) {
	t.Parallel()
	a := &api{answer: failing("paymentRequests.list", &neonpanel.Error{Class: neonpanel.Unavailable},
		failing("listWarehouses", &neonpanel.Error{Class: neonpanel.Forbidden}, answers(map[string]string{"listCompanies": list(acme)})))}
	r := run(t.Context(), t, a, "company_overview", `{}`)
	got := decoded[companyOverview](t, r)
	if !strings.Contains(r.Text, `"stock":null`) || !strings.Contains(r.Text, `"payments":null`) || got.Orders == nil || got.ThisMonth == nil {
		t.Errorf("%s", r.Text)
	}
	var parts []string
	for _, m := range got.Incomplete {
		parts = append(parts, m.Parts...)
	}
	if !slices.Equal(parts, []string{"payments", "stock"}) {
		t.Errorf("%+v", got.Incomplete)
	}
}

func TestLongListsAreReadToABoundAndItIsSaid(t *testing.T) {
	t.Parallel()
	a := &api{answer: func(x ctx, r neonpanel.Request) (string, error) {
		if r.Operation == "inventoryOrders.list" {
			return pageOf(1, 50, `{"id":1,"date_order_placed":"2026-01-01","total_amount":1,"date_manufacturing_completed":null}`), nil
		}
		return answers(map[string]string{"listCompanies": list(acme)})(x, r)
	}}
	got := decoded[companyOverview](t, run(t.Context(), t, a, "company_overview", `{}`))
	if n := len(a.asked("inventoryOrders.list")); n != maxDocumentPages || got.Orders.Count.known() || got.Orders.AtLeast != maxDocumentPages || got.Orders.Amounts != nil || got.Orders.Oldest != nil || len(got.Orders.Some) != maxShown {
		t.Errorf("%d pages were read, %+v", n, got.Orders)
	}
	if len(got.Incomplete) != 1 || got.Incomplete[0].Parts[0] != "open orders" || !strings.Contains(got.Incomplete[0].Reason, "10 pages of 50") {
		t.Errorf("%+v", got.Incomplete)
	}
}
