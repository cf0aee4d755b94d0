package e2e

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// Figures are compared as exact numbers with what the sandbox's books say. What
// is computed from them here is computed in another way than in mcpbackend.

// rat is an exact number of JSON; nil when it is null.
func rat(t testing.TB, n *json.Number) *big.Rat {
	t.Helper()
	if n == nil {
		return nil
	}
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		t.Fatalf("%q is no number", n.String())
	}
	return r
}

func num(t testing.TB, n json.Number) *big.Rat { t.Helper(); return rat(t, &n) }

func sameNumber(t testing.TB, name string, got *json.Number, want *big.Rat) {
	t.Helper()
	switch g := rat(t, got); {
	case g == nil && want == nil:
	case g == nil || want == nil || g.Cmp(want) != 0:
		text := "null"
		if want != nil {
			text = want.FloatString(6)
		}
		shown := "null"
		if got != nil {
			shown = got.String()
		}
		t.Errorf("%s is %s, the books say %s", name, shown, text)
	}
}

// rounded is n to places digits, half away from zero.
func rounded(n *big.Rat, places int) *big.Rat {
	r, _ := new(big.Rat).SetString(n.FloatString(places))
	return r
}

// share is part of whole in percent, to two digits; nil of nothing.
func share(part, whole *big.Rat) *big.Rat {
	if whole.Sign() == 0 {
		return nil
	}
	q := new(big.Rat).Quo(part, whole)
	return rounded(q.Mul(q, big.NewRat(100, 1)), 2)
}

func (g *gateway) ledger(t testing.TB, out any, path string, query ...string) {
	t.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		values.Set(query[i], query[i+1])
	}
	if len(values) > 0 {
		path += "?" + values.Encode()
	}
	if err := g.Sandbox.Ledger(t.Context(), path, out); err != nil {
		t.Fatal(err)
	}
}

// owner is a company as its owner's token sees it.
type owner struct {
	company
	token    string
	Currency string `json:"currency"`
	Timezone string `json:"timezone"`
}

// today is the company's own.
func (o owner) today(t testing.TB) time.Time {
	t.Helper()
	zone, err := time.LoadLocation(o.Timezone)
	if err != nil {
		t.Fatal(err)
	}
	y, m, d := time.Now().In(zone).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// TestFiguresAgreeWithTheBooks has a gateway of its own: others write into the
// books of the shared one.
func TestFiguresAgreeWithTheBooks(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{})
	everyCompany(t, g, func(t *testing.T, o owner) {
		t.Run("profit_summary", func(t *testing.T) { t.Parallel(); checkProfit(t, g, o) })
		t.Run("inventory_health", func(t *testing.T) { t.Parallel(); checkInventory(t, g, o) })
		t.Run("company_overview", func(t *testing.T) { t.Parallel(); checkOverview(t, g, o) })
	})
}

// everyCompany runs a test for the companies of both sellers.
func everyCompany(t *testing.T, g *gateway, test func(t *testing.T, o owner)) {
	t.Helper()
	for _, account := range []string{sellerOne, sellerTwo} {
		token := g.token(t, account)
		var page struct {
			Data []owner `json:"data"`
		}
		if err := json.Unmarshal(g.api(t, token, "/api/v1/companies"), &page); err != nil || len(page.Data) == 0 {
			t.Fatalf("%v", err)
		}
		for _, o := range page.Data {
			o.token = token
			t.Run(o.Name, func(t *testing.T) {
				t.Parallel()
				test(t, o)
			})
		}
	}
}

func (g *gateway) insight(t *testing.T, token, tool string, arguments map[string]any, out any) toolResult {
	t.Helper()
	r := g.call(t, modern, token, tool, arguments)
	if r.IsError {
		t.Fatalf("%s: %s", tool, r.text())
	}
	if !sameJSON(t, r.Structured, json.RawMessage(r.text())) {
		t.Errorf("%s: the text is not the structured content", tool)
	}
	if err := json.Unmarshal(r.Structured, out); err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	return r
}

type figures struct {
	Start   string       `json:"start_date"`
	End     string       `json:"end_date"`
	Country string       `json:"country_code"`
	Revenue *json.Number `json:"revenue"`
	COGS    *json.Number `json:"cogs"`
	Margin  *json.Number `json:"gross_margin"`
	Percent *json.Number `json:"margin_percent"`
}

type gap struct {
	Missing []string `json:"missing"`
	Reason  string   `json:"reason"`
}

// ledgerMonth is a month's sales in one market, by the books.
type ledgerMonth struct {
	Month   string      `json:"month"`
	Country string      `json:"country_code"`
	Revenue json.Number `json:"revenue"`
	COGS    json.Number `json:"cogs"`
}

func (g *gateway) months(t testing.TB, o owner, from, to string) []ledgerMonth {
	t.Helper()
	var books struct {
		Months []ledgerMonth `json:"months"`
	}
	g.ledger(t, &books, "companies/"+o.UUID+"/months", "from", from, "to", to)
	return books.Months
}

// sold adds up what the books say of some months and markets.
func sold(t testing.TB, months []ledgerMonth, fits func(ledgerMonth) bool) (revenue, cogs *big.Rat) {
	t.Helper()
	revenue, cogs = new(big.Rat), new(big.Rat)
	for _, m := range months {
		if fits(m) {
			revenue.Add(revenue, num(t, m.Revenue))
			cogs.Add(cogs, num(t, m.COGS))
		}
	}
	return revenue, cogs
}

func checkFigures(t testing.TB, name string, got figures, revenue, cogs *big.Rat) {
	t.Helper()
	margin := new(big.Rat).Sub(revenue, cogs)
	sameNumber(t, name+": revenue", got.Revenue, revenue)
	sameNumber(t, name+": cogs", got.COGS, cogs)
	sameNumber(t, name+": margin", got.Margin, margin)
	sameNumber(t, name+": margin in percent", got.Percent, share(margin, revenue))
}

func checkProfit(t *testing.T, g *gateway, o owner) {
	every := func(ledgerMonth) bool { return true }
	first := o.today(t).AddDate(0, 0, 1-o.today(t).Day())
	// Three whole months before this one, and the three before those.
	start, end := first.AddDate(0, -3, 0), first.AddDate(0, 0, -1)
	before := start.AddDate(0, -3, 0)
	day := func(d time.Time) string { return d.Format(time.DateOnly) }
	var got struct {
		Companies []struct {
			Company  company `json:"company"`
			Currency string  `json:"currency"`
			Total    figures `json:"total"`
			Previous figures `json:"previous"`
			Change   struct {
				Revenue *json.Number `json:"revenue"`
				Percent *json.Number `json:"revenue_percent"`
				Margin  *json.Number `json:"gross_margin"`
			} `json:"change"`
			Periods []figures `json:"periods"`
			Markets []struct {
				figures
				Previous figures `json:"previous"`
			} `json:"markets"`
		} `json:"companies"`
		Incomplete []gap `json:"incomplete"`
	}
	g.insight(t, o.token, "profit_summary", map[string]any{"company": o.Name, "start_date": day(start), "end_date": day(end)}, &got)
	if len(got.Companies) != 1 || got.Incomplete != nil {
		t.Fatalf("%+v", got)
	}
	c := got.Companies[0]
	if c.Company.UUID != o.UUID || c.Currency != o.Currency || c.Total.Start != day(start) || c.Total.End != day(end) ||
		c.Previous.Start != day(before) || c.Previous.End != day(start.AddDate(0, 0, -1)) {
		t.Errorf("%+v", c)
	}
	now, then := g.months(t, o, day(start), day(end)), g.months(t, o, day(before), day(start.AddDate(0, 0, -1)))
	revenue, cogs := sold(t, now, every)
	if revenue.Sign() <= 0 {
		t.Fatal("nothing was sold: this test proves nothing")
	}
	checkFigures(t, "total", c.Total, revenue, cogs)
	revenueThen, cogsThen := sold(t, then, every)
	checkFigures(t, "before", c.Previous, revenueThen, cogsThen)
	difference := new(big.Rat).Sub(revenue, revenueThen)
	sameNumber(t, "change", c.Change.Revenue, difference)
	sameNumber(t, "change in percent", c.Change.Percent, share(difference, revenueThen))

	if len(c.Periods) != 3 {
		t.Errorf("%d periods", len(c.Periods))
	}
	for _, p := range c.Periods {
		revenue, cogs := sold(t, now, func(m ledgerMonth) bool { return strings.HasPrefix(p.Start, m.Month) })
		checkFigures(t, p.Start, p, revenue, cogs)
	}
	countries := map[string]bool{}
	for _, m := range now {
		countries[m.Country] = true
	}
	for _, m := range c.Markets {
		delete(countries, m.Country)
		here := func(b ledgerMonth) bool { return b.Country == m.Country }
		revenue, cogs := sold(t, now, here)
		checkFigures(t, m.Country, m.figures, revenue, cogs)
		revenue, cogs = sold(t, then, here)
		checkFigures(t, m.Country+" before", m.Previous, revenue, cogs)
	}
	if len(countries) > 0 || len(c.Markets) == 0 {
		t.Errorf("markets are missing: %v", countries)
	}
}

type ledgerItem struct {
	ID       int64       `json:"id"`
	SKU      string      `json:"sku"`
	OnHand   int64       `json:"on_hand"`
	UnitCost json.Number `json:"unit_cost"`
	Sales    json.Number `json:"daily_sales"`
	Stock    []struct {
		Name  string `json:"warehouse_name"`
		Units int64  `json:"units"`
	} `json:"stock"`
}

func (g *gateway) ledgerItems(t testing.TB, o owner, query ...string) []ledgerItem {
	t.Helper()
	var books struct {
		Items []ledgerItem `json:"items"`
	}
	g.ledger(t, &books, "companies/"+o.UUID+"/items", query...)
	if len(books.Items) == 0 {
		t.Fatal("the books have no items: this test proves nothing")
	}
	return books.Items
}

type itemRow struct {
	ID    int64        `json:"id"`
	SKU   string       `json:"sku"`
	Units *json.Number `json:"units"`
	Sales *json.Number `json:"units_sold_per_day"`
	Cover *json.Number `json:"days_of_cover"`
	Cost  *json.Number `json:"unit_landed_cost"`
	Value *json.Number `json:"stock_value"`
}

func checkInventory(t *testing.T, g *gateway, o owner) {
	const slowAfter = 120
	var got struct {
		Date     string `json:"date"`
		Currency string `json:"currency"`
		Totals   struct {
			Items      int         `json:"items"`
			InStock    int         `json:"items_in_stock"`
			OutOfStock int         `json:"items_out_of_stock"`
			Units      json.Number `json:"units"`
			Value      json.Number `json:"stock_value_at_landed_cost"`
		} `json:"totals"`
		Warehouses []struct {
			Name  string       `json:"name"`
			Units *json.Number `json:"units"`
		} `json:"warehouses"`
		RunningOut []itemRow `json:"running_out"`
		Slow       []itemRow `json:"slow_movers"`
		Incomplete []gap     `json:"incomplete"`
	}
	g.insight(t, o.token, "inventory_health", map[string]any{"company": o.UUID, "slow_after_days": slowAfter, "limit": 100}, &got)
	if got.Incomplete != nil || got.Date != o.today(t).Format(time.DateOnly) || got.Currency != o.Currency {
		t.Errorf("%+v", got)
	}
	// The stock of the company's day; sales are those of the last eight weeks.
	stock, sales := g.ledgerItems(t, o, "to", got.Date), g.ledgerItems(t, o, "days", "56")
	var settings struct {
		Lead   int64 `json:"default_lead_time_days"`
		Safety int64 `json:"default_safety_stock_days"`
	}
	if err := json.Unmarshal(g.api(t, o.token, "/api/v1/companies/"+o.UUID+"/settings/forecasts"), &settings); err != nil || settings.Lead == 0 {
		t.Fatalf("%+v %v", settings, err)
	}

	units, value, inStock := new(big.Rat), new(big.Rat), 0
	warehouses := map[string]int64{}
	var runningOut, slow []int64
	byID := map[int64]ledgerItem{}
	for i, item := range stock {
		item.Sales, item.UnitCost = sales[i].Sales, sales[i].UnitCost
		byID[item.ID] = item
		onHand, sold := new(big.Rat).SetInt64(item.OnHand), num(t, item.Sales)
		units.Add(units, onHand)
		if item.OnHand > 0 {
			inStock++
			value.Add(value, new(big.Rat).Mul(onHand, num(t, item.UnitCost)))
		}
		for _, s := range item.Stock {
			warehouses[s.Name] += s.Units
		}
		days := func(n int64) *big.Rat { return new(big.Rat).Mul(sold, new(big.Rat).SetInt64(n)) }
		if sold.Sign() > 0 && onHand.Cmp(days(settings.Lead+settings.Safety)) < 0 {
			runningOut = append(runningOut, item.ID)
		}
		if item.OnHand > 0 && (sold.Sign() == 0 || onHand.Cmp(days(slowAfter)) > 0) {
			slow = append(slow, item.ID)
		}
	}
	sameNumber(t, "units", &got.Totals.Units, units)
	sameNumber(t, "value", &got.Totals.Value, value)
	if got.Totals.Items != len(stock) || got.Totals.InStock != inStock || got.Totals.OutOfStock != len(stock)-inStock {
		t.Errorf("%+v, the books have %d items, %d in stock", got.Totals, len(stock), inStock)
	}
	for _, w := range got.Warehouses {
		sameNumber(t, "stock of "+w.Name, w.Units, new(big.Rat).SetInt64(warehouses[w.Name]))
		delete(warehouses, w.Name)
	}
	for name, n := range warehouses {
		if n != 0 {
			t.Errorf("%s is missing, with %d units", name, n)
		}
	}
	if len(slow) == 0 {
		t.Error("nothing is slow: this test proves little")
	}
	for name, c := range map[string]struct {
		got  []itemRow
		want []int64
	}{"running out": {got.RunningOut, runningOut}, "slow": {got.Slow, slow}} {
		var ids []int64
		for _, row := range c.got {
			ids = append(ids, row.ID)
			want := byID[row.ID]
			onHand, sold := new(big.Rat).SetInt64(want.OnHand), num(t, want.Sales)
			sameNumber(t, row.SKU+": units", row.Units, onHand)
			sameNumber(t, row.SKU+": units sold per day", row.Sales, sold)
			sameNumber(t, row.SKU+": landed cost", row.Cost, num(t, want.UnitCost))
			sameNumber(t, row.SKU+": value", row.Value, new(big.Rat).Mul(onHand, num(t, want.UnitCost)))
			var cover *big.Rat
			if sold.Sign() > 0 {
				cover = rounded(new(big.Rat).Quo(onHand, sold), 1)
			}
			sameNumber(t, row.SKU+": days of cover", row.Cover, cover)
		}
		slices.Sort(ids)
		if !slices.Equal(ids, c.want) {
			t.Errorf("%s: %v, the books say %v", name, ids, c.want)
		}
	}
}

type ledgerDocument struct {
	ID     int64  `json:"id"`
	Type   string `json:"type"`
	Ref    string `json:"ref_number"`
	Status string `json:"status"`
}

func (g *gateway) ledgerDocuments(t testing.TB, o owner, kind string) []ledgerDocument {
	t.Helper()
	var books struct {
		Documents []ledgerDocument `json:"documents"`
	}
	g.ledger(t, &books, "companies/"+o.UUID+"/documents", "type", kind)
	return books.Documents
}

func checkOverview(t *testing.T, g *gateway, o owner) {
	type documents struct {
		Count  int `json:"count"`
		Oldest []struct {
			ID  int64  `json:"id"`
			Ref string `json:"ref_number"`
			URL string `json:"url"`
		} `json:"oldest"`
	}
	type due struct {
		Count   int `json:"count"`
		Amounts []struct {
			Currency string      `json:"currency"`
			Amount   json.Number `json:"amount"`
		} `json:"amounts"`
	}
	var got struct {
		Today     string  `json:"today"`
		ThisMonth figures `json:"month_to_date"`
		LastMonth figures `json:"last_month"`
		Stock     struct {
			Units json.Number `json:"units"`
		} `json:"stock"`
		Orders    documents `json:"open_orders"`
		Shipments documents `json:"shipments_in_transit"`
		Payments  struct {
			Overdue due `json:"overdue"`
			DueSoon due `json:"due_in_30_days"`
		} `json:"payments"`
		Incomplete []gap `json:"incomplete"`
	}
	g.insight(t, o.token, "company_overview", map[string]any{"company": o.Name}, &got)
	today := o.today(t)
	if got.Today != today.Format(time.DateOnly) || got.Incomplete != nil {
		t.Errorf("%+v", got)
	}
	every := func(ledgerMonth) bool { return true }
	first := today.AddDate(0, 0, 1-today.Day())
	for name, c := range map[string]struct {
		got      figures
		from, to time.Time
	}{
		"this month": {got.ThisMonth, first, today}, "last month": {got.LastMonth, first.AddDate(0, -1, 0), first.AddDate(0, 0, -1)},
	} {
		from, to := c.from.Format(time.DateOnly), c.to.Format(time.DateOnly)
		if c.got.Start != from || c.got.End != to {
			t.Errorf("%s: %s to %s", name, c.got.Start, c.got.End)
		}
		revenue, cogs := sold(t, g.months(t, o, from, to), every)
		checkFigures(t, name, c.got, revenue, cogs)
	}
	units := new(big.Rat)
	for _, item := range g.ledgerItems(t, o, "to", got.Today) {
		units.Add(units, new(big.Rat).SetInt64(item.OnHand))
	}
	sameNumber(t, "units", &got.Stock.Units, units)

	for name, c := range map[string]struct {
		got          documents
		kind, status string
	}{"open orders": {got.Orders, "InventoryOrder", "In Production"}, "shipments": {got.Shipments, "Shipment", "In Transit"}} {
		open := map[int64]string{}
		for _, d := range g.ledgerDocuments(t, o, c.kind) {
			if d.Status == c.status {
				open[d.ID] = d.Ref
			}
		}
		if c.got.Count != len(open) {
			t.Errorf("%d %s, the books have %d", c.got.Count, name, len(open))
		}
		for _, d := range c.got.Oldest {
			if open[d.ID] != d.Ref || !strings.HasPrefix(d.URL, "https://my.neonpanel.com/app/processes/") {
				t.Errorf("%s: %+v is not in the books", name, d)
			}
		}
	}

	var books struct {
		Payments []struct {
			Currency string      `json:"currency"`
			Open     json.Number `json:"open_amount"`
			Overdue  json.Number `json:"overdue_amount"`
		} `json:"payments"`
	}
	g.ledger(t, &books, "companies/"+o.UUID+"/payments", "to", got.Today)
	for _, p := range books.Payments {
		total := func(d due) *big.Rat {
			sum := new(big.Rat)
			for _, a := range d.Amounts {
				if a.Currency == p.Currency {
					sum.Add(sum, num(t, a.Amount))
				}
			}
			return sum
		}
		if overdue := total(got.Payments.Overdue); overdue.Cmp(num(t, p.Overdue)) != 0 {
			t.Errorf("overdue in %s: %s, the books say %s", p.Currency, overdue.FloatString(4), p.Overdue)
		}
		// What is due later, or at no known time yet, is open too.
		if soon := total(got.Payments.DueSoon); soon.Cmp(num(t, p.Open)) > 0 {
			t.Errorf("due in %s: %s, the books say that %s is open", p.Currency, soon.FloatString(4), p.Open)
		}
	}
}

type found struct {
	Results []struct {
		ID    string `json:"id"`
		Title string `json:"title"`
		URL   string `json:"url"`
	} `json:"results"`
}

// note is what search says of what it left out: the title of its last result.
func (f found) note() string {
	if n := len(f.Results); n > 0 && f.Results[n-1].ID == "note:search" {
		return f.Results[n-1].Title
	}
	return ""
}

// Every document of the books is found by its number by its owner, and by
// nobody else; fetch gives it back.
func TestSearchFindsTheOwnersDocumentsOnly(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	others := map[string]string{g.companies(t, g.token(t, sellerOne))[0].UUID: g.token(t, sellerTwo)}
	for _, c := range g.companies(t, g.token(t, sellerOne)) {
		others[c.UUID] = g.token(t, sellerTwo)
	}
	for _, c := range g.companies(t, g.token(t, sellerTwo)) {
		others[c.UUID] = g.token(t, sellerOne)
	}
	everyCompany(t, g, func(t *testing.T, o owner) {
		for kind, word := range map[string]string{"InventoryOrder": "order", "Bill": "bill", "Invoice": "invoice", "Shipment": "shipment"} {
			all := g.ledgerDocuments(t, o, kind)
			for _, d := range []ledgerDocument{all[0], all[len(all)/2], all[len(all)-1]} {
				want := fmt.Sprintf("%s:%s:%d", word, o.UUID, d.ID)
				var got found
				g.insight(t, o.token, "search", map[string]any{"query": d.Ref}, &got)
				if len(got.Results) == 0 || got.Results[0].ID != want || !strings.Contains(got.Results[0].Title, d.Ref) || strings.Contains(got.note(), "Not searched") {
					t.Errorf("%s %s: %+v", kind, d.Ref, got)
					continue
				}
				if u, err := url.Parse(got.Results[0].URL); err != nil || u.Scheme != "https" || u.Host != "my.neonpanel.com" {
					t.Errorf("%s leads to %s", d.Ref, got.Results[0].URL)
				}
				var record struct {
					ID, Title, Text, URL string
					Metadata             map[string]string
				}
				g.insight(t, o.token, "fetch", map[string]any{"id": want}, &record)
				if record.ID != want || record.URL != got.Results[0].URL || !strings.Contains(record.Text, "ref_number: "+d.Ref) || record.Metadata["company"] != o.Name {
					t.Errorf("%+v", record)
				}

				stranger := others[o.UUID]
				r := g.call(t, modern, stranger, "search", map[string]any{"query": d.Ref})
				if r.IsError || strings.Contains(r.text(), o.UUID) || strings.Contains(r.text(), o.Name) || strings.Contains(r.text(), want) {
					t.Errorf("the other seller's search for %s: %s", d.Ref, r.text())
				}
				refused := g.call(t, modern, stranger, "fetch", map[string]any{"id": want})
				if !refused.IsError || strings.Contains(refused.text(), d.Ref) || strings.Contains(refused.text(), o.Name) {
					t.Errorf("the other seller fetched %s: %s", want, refused.text())
				}
			}
		}
		var items found
		sku := g.ledgerItems(t, o)[3].SKU
		g.insight(t, o.token, "search", map[string]any{"query": sku}, &items)
		if len(items.Results) == 0 || !strings.HasPrefix(items.Results[0].ID, "item:"+o.UUID+":") || !strings.Contains(items.Results[0].Title, sku) {
			t.Errorf("%s: %+v", sku, items)
		}
	})
}

// The shapes are ChatGPT's, to the member.
func TestSearchAndFetchHaveChatGPTsShape(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	for _, account := range []string{sellerOne, sellerTwo} {
		token := g.token(t, account)
		for _, version := range []string{modern, legacy} {
			members := func(raw json.RawMessage) []string {
				var object map[string]json.RawMessage
				if err := json.Unmarshal(raw, &object); err != nil {
					t.Fatalf("%s: %v", raw, err)
				}
				var out []string
				for name := range object {
					out = append(out, name)
				}
				slices.Sort(out)
				return out
			}
			r := g.call(t, version, token, "search", map[string]any{"query": "reports"})
			if got := members(r.Structured); !slices.Equal(got, []string{"results"}) {
				t.Errorf("search answers %v", got)
			}
			var list struct{ Results []json.RawMessage }
			if err := json.Unmarshal(r.Structured, &list); err != nil || len(list.Results) < 5 {
				t.Fatalf("%s %v", r.Structured, err)
			}
			for _, result := range list.Results {
				if got := members(result); !slices.Equal(got, []string{"id", "title", "url"}) {
					t.Errorf("a result has %v", got)
				}
			}
			var first struct{ ID string }
			if err := json.Unmarshal(list.Results[0], &first); err != nil {
				t.Fatal(err)
			}
			record := g.call(t, version, token, "fetch", map[string]any{"id": first.ID})
			if got := members(record.Structured); record.IsError || !slices.Equal(got, []string{"id", "metadata", "text", "title", "url"}) || !sameJSON(t, record.Structured, json.RawMessage(record.text())) {
				t.Errorf("fetch answers %v: %s", got, record.text())
			}
		}
	}
}

func TestCompositeAnswersSayWhatFailed(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{})
	token := g.token(t, sellerTwo)
	c := g.companies(t, token)[0]
	path := "/api/v1/companies/" + c.UUID
	for name, test := range map[string]struct {
		fault     stack.Fault
		tool      string
		arguments map[string]any
		missing   string
		there     string
	}{
		"overview": {
			stack.Fault{Path: path + "/payment-requests", Kind: "html"}, "company_overview", nil, "payments", `"payments":null`,
		},
		"inventory": {
			stack.Fault{Path: path + "/warehouses", Kind: "truncate"}, "inventory_health", nil, "warehouses", `"items_in_stock":`,
		},
		"a redirect to another host": {
			stack.Fault{Path: path + "/shipments", Kind: "redirect", Location: "https://evil.example/"}, "company_overview", nil, "shipments in transit", `"shipments_in_transit":null`,
		},
	} {
		// One after the other: faults are of the whole sandbox.
		t.Run(name, func(t *testing.T) {
			g.fault(t, test.fault)
			var got struct {
				Incomplete []gap `json:"incomplete"`
			}
			r := g.insight(t, token, test.tool, test.arguments, &got)
			if len(got.Incomplete) != 1 || !slices.Equal(got.Incomplete[0].Missing, []string{test.missing}) || got.Incomplete[0].Reason == "" {
				t.Errorf("%+v", got.Incomplete)
			}
			if !strings.Contains(r.text(), test.there) {
				t.Errorf("no %s in %s", test.there, r.text())
			}
			if strings.Contains(r.text(), token) || strings.Contains(r.text(), "evil.example") {
				t.Errorf("it leaks: %s", r.text())
			}
		})
	}
	t.Run("what is not read is not nought", func(t *testing.T) {
		g.fault(t, stack.Fault{Path: path + "/inventory-items/*", Kind: "status", Status: 500})
		var got struct {
			Date    string                  `json:"date"`
			Totals  map[string]*json.Number `json:"totals"`
			Running *[]itemRow              `json:"running_out"`
		}
		r := g.insight(t, token, "inventory_health", nil, &got)
		o := owner{company: c, token: token}
		items, inStock, units := 0, int64(0), int64(0)
		for _, item := range g.ledgerItems(t, o, "to", got.Date) {
			items++
			units += item.OnHand
			if item.OnHand > 0 {
				inStock++
			}
		}
		for name, want := range map[string]int64{"items": int64(items), "items_in_stock": inStock, "items_out_of_stock": int64(items) - inStock, "units": units} {
			if n := got.Totals[name]; n == nil || n.String() != fmt.Sprint(want) {
				t.Errorf("%s is not %d, as the books say: %.600s", name, want, r.text())
			}
		}
		for _, name := range []string{"stock_value_at_landed_cost", "items_in_stock_without_landed_cost", "items_running_out", "slow_items"} {
			if n, there := got.Totals[name]; !there || n != nil {
				t.Errorf("%s is %v: %.600s", name, n, r.text())
			}
		}
		if got.Running != nil {
			t.Errorf("running out: %v", *got.Running)
		}
	})
	t.Run("search", func(t *testing.T) {
		g.fault(t, stack.Fault{Path: path + "/bills", Kind: "status", Status: 500})
		var got found
		r := g.insight(t, token, "search", map[string]any{"query": "a"}, &got)
		want := "Bills of " + c.Name
		if !strings.HasPrefix(got.note(), "Note, not a record: Not searched: "+want+" (") || !strings.Contains(r.text(), `"vendor:`) {
			t.Errorf("%q at the end of %s", got.note(), r.text())
		}
		// Programs find it in the metadata, since the shape is ChatGPT's.
		meta := g.rpc(t, modern, token, "tools/call", "search", map[string]any{"name": "search", "arguments": map[string]any{"query": "a"}})
		if !strings.Contains(meta.Body, `"com.neonpanel/incomplete":[{"missing":["`+want+`"]`) {
			t.Errorf("%s", meta.Body)
		}
	})
	t.Run("a refused token is a challenge, not a part", func(t *testing.T) {
		g.fault(t, stack.Fault{Path: path + "/invoices", Kind: "status", Status: 401})
		r := g.rpc(t, modern, token, "tools/call", "search", map[string]any{"name": "search", "arguments": map[string]any{"query": "a"}})
		if r.Status != http.StatusUnauthorized || !strings.Contains(r.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%d %s %s", r.Status, r.Header.Get("WWW-Authenticate"), r.Body)
		}
	})
}

func TestCompositeToolsStepUp(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.mint(t, stack.TokenRequest{Account: sellerOne, Scope: "read:companies read:revenue"})
	r := g.rpc(t, modern, token, "tools/call", "profit_summary", map[string]any{"name": "profit_summary", "arguments": map[string]any{}})
	challenge := r.Header.Get("WWW-Authenticate")
	if r.Status != http.StatusForbidden || !strings.Contains(challenge, `error="insufficient_scope"`) || !strings.Contains(challenge, `scope="read:cogs read:companies read:revenue"`) {
		t.Errorf("%d %s", r.Status, challenge)
	}
}

func TestToolListStaysSmall(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	r := g.rpc(t, modern, g.token(t, sellerOne), "tools/list", "", nil)
	if len(r.Body) < 20_000 || len(r.Body) >= 60_000 {
		t.Errorf("the default tools/list has %d bytes", len(r.Body))
	}
	for _, name := range composites {
		if !strings.Contains(r.Body, `"name":"`+name+`"`) {
			t.Errorf("no %s", name)
		}
	}
}

func TestResourcesAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	everyCompany(t, g, func(t *testing.T, o owner) {
		stranger := sellerTwo
		if slices.ContainsFunc(g.companies(t, g.token(t, sellerTwo)), func(c company) bool { return c.UUID == o.UUID }) {
			stranger = sellerOne
		}
		read := func(version, token, uri string) rpcReply {
			return g.rpc(t, version, token, "resources/read", uri, map[string]any{"uri": uri})
		}
		bills := g.ledgerDocuments(t, o, "Bill")
		bill := bills[len(bills)-1]
		truth := g.api(t, o.token, fmt.Sprintf("/api/v1/companies/%s/bills/%d", o.UUID, bill.ID))
		for version, code := range map[string]int{modern: -32602, legacy: -32002} {
			for _, uri := range []string{"neonpanel://companies/" + o.UUID, fmt.Sprintf("neonpanel://companies/%s/bills/%d", o.UUID, bill.ID)} {
				mine := read(version, o.token, uri)
				var got struct {
					CacheScope string
					Contents   []struct{ URI, MIMEType, Text string }
				}
				if err := json.Unmarshal(mine.Result, &got); err != nil || len(got.Contents) != 1 || got.Contents[0].URI != uri || got.CacheScope != "private" {
					t.Fatalf("%s: %d %s", uri, mine.Status, mine.Body)
				}
				if strings.Contains(uri, "/bills/") && !sameJSON(t, json.RawMessage(got.Contents[0].Text), truth) {
					t.Errorf("%s: %s, the API says %s", uri, got.Contents[0].Text, truth)
				}
				foreign := read(version, g.token(t, stranger), uri)
				if foreign.Result != nil || foreign.Error.Code != code || foreign.Error.Message != "Resource not found" {
					t.Errorf("%s by the other seller: %d %s", uri, foreign.Status, foreign.Body)
				}
			}
			list := g.rpc(t, version, o.token, "resources/list", "", nil)
			if !strings.Contains(list.Body, o.UUID) {
				t.Errorf("resources/list: %s", list.Body)
			}
			if other := g.rpc(t, version, g.token(t, stranger), "resources/list", "", nil); strings.Contains(other.Body, o.UUID) || !strings.Contains(other.Body, "neonpanel://companies/") {
				t.Errorf("resources/list of the other seller: %s", other.Body)
			}
			params := func() map[string]any {
				return map[string]any{
					"ref":      map[string]any{"type": "ref/resource", "uri": "neonpanel://companies/{company}/bills/{bill}"},
					"argument": map[string]any{"name": "bill", "value": bill.Ref}, "context": map[string]any{"arguments": map[string]any{"company": o.UUID}},
				}
			}
			if r := g.rpc(t, version, o.token, "completion/complete", "", params()); !strings.Contains(r.Body, fmt.Sprintf(`"values":["%d"]`, bill.ID)) {
				t.Errorf("completion: %s", r.Body)
			}
			if r := g.rpc(t, version, g.token(t, stranger), "completion/complete", "", params()); strings.Contains(r.Body, fmt.Sprint(bill.ID)) {
				t.Errorf("completion for the other seller: %s", r.Body)
			}
		}
	})
}

// What a token is needed for stays closed when discovery is open to all.
func TestAnonymousDiscoveryOpensNoResources(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Authz: {"AUTHZ_ANONYMOUS_DISCOVERY=true"}}})
	ask := func(version, method, name string, params map[string]any) reply {
		body, headers := message(version, method, name, params)
		return g.send(t, http.MethodPost, "/mcp", body, headers...)
	}
	uri := "neonpanel://companies/" + g.companies(t, g.token(t, sellerOne))[0].UUID
	for _, version := range []string{modern, legacy} {
		if r := ask(version, "tools/list", "", nil); r.Status != http.StatusOK || !strings.Contains(r.Body, "company_overview") {
			t.Errorf("tools/list: %d", r.Status)
		}
		for method, c := range map[string]struct {
			name   string
			params map[string]any
		}{
			"resources/list": {}, "resources/templates/list": {}, "prompts/list": {},
			"resources/read": {uri, map[string]any{"uri": uri}},
			"prompts/get":    {"restock_plan", map[string]any{"name": "restock_plan"}},
			"completion/complete": {"", map[string]any{
				"ref": map[string]any{"type": "ref/prompt", "name": "restock_plan"}, "argument": map[string]any{"name": "company", "value": ""},
			}},
			"tools/call": {"company_overview", map[string]any{"name": "company_overview", "arguments": map[string]any{}}},
		} {
			if r := ask(version, method, c.name, c.params); r.Status != http.StatusUnauthorized || r.Header.Get("WWW-Authenticate") == "" || strings.Contains(r.Body, "Trailhead") {
				t.Errorf("%s %s: %d %s", version, method, r.Status, r.Body)
			}
		}
	}
}

// What rests on an operation goes with it and comes back with it: composite
// tools, resource templates, prompts and the words about them.
func TestInsightsFollowTheLiveDocument(t *testing.T) {
	t.Parallel()
	document := read(t, "mcpbackend/internal/openapi/neonpanel.yaml")
	shrunk := strings.NewReplacer("/api/v1/revenue-and-cogs:", "/api/v1/revenue:", "/bills/{billId}:", "/notes/{billId}:").Replace(document)
	if len(shrunk) > len(document)-5 {
		t.Fatal("the document has no such operations: this test proves nothing")
	}
	origin := &published{status: http.StatusOK, document: document}
	server := httptest.NewServer(origin)
	defer server.Close()
	g := ownGateway(t, stack.Options{Env: map[string][]string{
		stack.Backend: {"MCPBACKEND_OPENAPI_URL=" + server.URL + "/api/v1/openapi", "MCPBACKEND_OPENAPI_REFRESH=1s"},
	}})
	token := g.token(t, sellerOne)
	all := map[string][]string{ // what is in each answer, while the operations are there
		"tools/list":               {`"name":"profit_summary"`},
		"resources/templates/list": {"/bills/{bill}"},
		"prompts/list":             {`"name":"month_end_review"`, `"name":"bill_intake"`},
		"server/discover":          {"company_overview"},
	}
	stays := []string{`"name":"inventory_health"`, `"name":"company_overview"`, `"name":"search"`, `"name":"fetch"`}
	// Those that can do without say so.
	less := []string{"API lacks sales, and so does this", "API lacks bills, and so does this"}
	shows := func(want bool) string {
		for method, parts := range all {
			r := g.rpc(t, modern, token, method, "", nil)
			for _, part := range parts {
				if r.Status != http.StatusOK || strings.Contains(r.Body, part) != want {
					return fmt.Sprintf("%s: %s is there: %v (%d)", method, part, !want, r.Status)
				}
			}
			if method != "tools/list" {
				continue
			}
			for _, part := range stays {
				if !strings.Contains(r.Body, part) {
					return part + " is gone"
				}
			}
			for _, part := range less {
				if strings.Contains(r.Body, part) == want {
					return fmt.Sprintf("%q is said: %v", part, want)
				}
			}
		}
		return ""
	}
	eventually(t, 60*time.Second, func() string { return shows(true) })
	origin.put(http.StatusOK, shrunk)
	eventually(t, 60*time.Second, func() string { return shows(false) })
	if r := g.plainCall(t, token, "profit_summary", nil); r.Status == http.StatusOK {
		t.Errorf("profit_summary is called: %s", r.Body)
	}
	if r := g.plainCall(t, token, "fetch", map[string]any{"id": "bill:" + g.companies(t, token)[0].UUID + ":1"}); r.Status != http.StatusBadGateway || !strings.Contains(r.Body, "fetch cannot read a bill") {
		t.Errorf("a bill is fetched: %d %s", r.Status, r.Body)
	}
	var today struct {
		Month      json.RawMessage `json:"month_to_date"`
		Stock      json.RawMessage `json:"stock"`
		Incomplete []gap           `json:"incomplete"`
	}
	g.insight(t, token, "company_overview", map[string]any{"company": g.companies(t, token)[0].Name}, &today)
	if string(today.Month) != "null" || string(today.Stock) == "null" || len(today.Incomplete) != 1 {
		t.Errorf("the overview without sales: %+v", today)
	}
	if r := g.plainCall(t, token, "search", map[string]any{"query": "lamp"}); r.Status != http.StatusOK {
		t.Errorf("search: %d %s", r.Status, r.Body)
	}
	if r := g.rpc(t, modern, token, "prompts/get", "month_end_review", map[string]any{"name": "month_end_review"}); r.Error.Code != -32602 {
		t.Errorf("month_end_review: %s", r.Body)
	}
	origin.put(http.StatusOK, document)
	eventually(t, 60*time.Second, func() string { return shows(true) })
}
