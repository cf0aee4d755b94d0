package ledger

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)

func open(t testing.TB, now time.Time) *Books {
	t.Helper()
	b, err := New(now)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Most tests only read, and one set of books serves them all.
var books = sync.OnceValue(func() *Books {
	b, err := New(noon)
	if err != nil {
		panic(err)
	}
	return b
})

func TestEverySellerHasCompaniesOfTheirOwn(t *testing.T) {
	t.Parallel()
	b := books()
	one, two := b.User(SellerOne), b.User(SellerTwo)
	if len(one.Roles) != 2 || len(two.Roles) != 1 {
		t.Fatalf("seller one has %d companies, seller two %d; want 2 and 1", len(one.Roles), len(two.Roles))
	}
	if one.Email != "seller-one@example.com" || two.Email != "seller-two@example.com" {
		t.Errorf("emails: %s, %s", one.Email, two.Email)
	}
	for _, r := range two.Roles {
		if _, ok := one.Role(r.Company); ok {
			t.Errorf("both have %s", r.Company.Name)
		}
	}
	if b.User("45") != nil {
		t.Error("subject 45 is a user")
	}
	items := 0
	uuid := regexp.MustCompile(`^[0-9a-f]{40}$`)
	for i, c := range b.Companies {
		if !uuid.MatchString(c.UUID) || b.Company(c.UUID) != c {
			t.Errorf("%s: uuid %q", c.Name, c.UUID)
		}
		if i == 0 && len(c.Items) <= 60 {
			t.Errorf("%s has %d items; paging at 60 a page needs more", c.Name, len(c.Items))
		}
		items += len(c.Items)
		kinds := make(map[string]bool)
		for _, w := range c.Warehouses {
			kinds[w.Type] = true
			if !uuid.MatchString(w.UUID) {
				t.Errorf("warehouse %s: uuid %q", w.Name, w.UUID)
			}
		}
		if !kinds["FBA"] || !kinds["3PL"] || !kinds["Asset"] {
			t.Errorf("%s lacks a kind of warehouse: %v", c.Name, kinds)
		}
	}
	if items < 100 {
		t.Errorf("%d items in all, want some hundred", items)
	}
}

func TestIDsAndCodesAreUniqueOverAllCompanies(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	once := func(kind string, id any, where string) {
		key := fmt.Sprint(kind, " ", id)
		if other, dup := seen[key]; dup {
			t.Errorf("%s is in %s and in %s", key, other, where)
		}
		seen[key] = where
	}
	for _, c := range books().Companies {
		once("company", c.ID, c.Name)
		once("company", c.UUID, c.Name)
		for _, v := range c.Items {
			once("item", v.ID, c.Name)
			once("fnsku", v.FNSKU, c.Name)
			if c.Item(v.ID) != v || v.Company != c {
				t.Errorf("item %d is not found by its id", v.ID)
			}
		}
		for _, v := range c.Products {
			once("product", v.ID, c.Name)
			once("sku", v.SKU, c.Name)
		}
		for _, v := range c.Listings {
			once("listing", v.ID, c.Name)
			once("asin", v.ASIN, c.Name)
		}
		for _, v := range c.Warehouses {
			once("warehouse", v.ID, c.Name)
			once("warehouse", v.UUID, c.Name)
		}
		for _, v := range c.Vendors {
			once("vendor", v.ID, c.Name)
		}
		for d := range c.Documents() {
			once(d.Type, d.ID, c.Name)
			once("reference", d.Ref, c.Name)
			once("task", d.Task, c.Name)
		}
	}
}

// The value that came in is the value that went out plus the value still there,
// to the last cent.
func TestBooksBalance(t *testing.T) {
	t.Parallel()
	for _, c := range books().Companies {
		var bought, services, found Decimal
		for _, o := range c.Orders {
			if o.Received != 0 {
				bought += o.Total
			}
		}
		for _, b := range c.Bills {
			if len(b.Documents) > 0 { // the others are overheads
				services += b.Total
			}
		}
		for _, a := range c.Adjustments {
			for _, l := range a.Lines {
				if l.Quantity < 0 {
					found -= l.Amount
				}
			}
		}
		var sold, lost, held Decimal
		for _, i := range c.Items {
			for _, s := range i.Sales {
				sold += s.COGS
			}
			for _, l := range i.Losses {
				lost += l.Amount
			}
			for k := range i.shelves {
				for j := range i.shelves[k].lots {
					held += i.shelves[k].lots[j].value()
				}
			}
		}
		var moving Decimal
		for _, s := range c.Shipments {
			for _, lots := range s.cargo {
				for j := range lots {
					moving += lots[j].value()
				}
			}
		}
		in, out := bought+services+found, sold+lost+held+moving
		if in != out {
			t.Errorf("%s: bought %s + services %s + found %s = %s, but sold %s + lost %s + held %s + moving %s = %s",
				c.Name, bought, services, found, in, sold, lost, held, moving, out)
		}
		for name, v := range map[string]Decimal{"bought": bought, "services": services, "sold": sold, "lost": lost, "held": held} {
			if v <= 0 {
				t.Errorf("%s: %s is %s", c.Name, name, v)
			}
		}
	}
}

// movement is a change of stock as the documents tell it.
type movement struct {
	date  Date
	units int64
}

// movements adds up the documents of a company, without the simulation's shelves.
func movements(c *Company) map[*Item]map[*Warehouse][]movement {
	out := make(map[*Item]map[*Warehouse][]movement)
	move := func(i *Item, w *Warehouse, d Date, units int64) {
		if w == nil || d == 0 {
			return
		}
		if out[i] == nil {
			out[i] = make(map[*Warehouse][]movement)
		}
		out[i][w] = append(out[i][w], movement{d, units})
	}
	for _, o := range c.Orders {
		for _, l := range o.Lines {
			if o.Received != 0 {
				move(l.Item, o.Warehouse, o.Received, l.Quantity)
			}
		}
	}
	for _, s := range c.Shipments {
		if s.From == nil || s.To == nil || s.Sent == 0 {
			continue
		}
		for _, l := range s.Lines {
			move(l.Item, s.From, s.Sent, -l.Shipped)
			if s.Arrived != 0 {
				move(l.Item, s.To, s.Arrived, l.Received)
			}
		}
	}
	for _, v := range c.Invoices {
		for _, l := range v.Lines {
			if l.Item != nil {
				move(l.Item, v.Warehouse, v.Date, -l.Quantity)
			}
		}
	}
	for _, a := range c.Assemblies {
		for _, l := range a.Lines {
			move(l.Kit.Item, a.Warehouse, a.Date, l.Quantity)
			for _, p := range l.Kit.parts {
				move(p.item, a.Warehouse, a.Date, -l.Quantity*p.quantity)
			}
		}
	}
	for _, a := range c.Adjustments {
		for _, l := range a.Lines {
			move(l.Item, a.Warehouse, a.Date, -l.Quantity)
		}
	}
	return out
}

func TestBalancesArePurchasesMinusSalesOnEveryDay(t *testing.T) {
	t.Parallel()
	b := books()
	for _, c := range b.Companies {
		moved := movements(c)
		for _, i := range c.Items {
			for _, w := range c.Warehouses {
				for d := b.Epoch - 1; d <= b.Today; d += 29 {
					var want int64
					for _, m := range moved[i][w] {
						if m.date <= d {
							want += m.units
						}
					}
					if got := i.Balance(w, d); got != want || got < 0 {
						t.Fatalf("%s, item %d in %s on %s: balance %d, documents say %d", c.Name, i.ID, w.Name, d, got, want)
					}
				}
			}
		}
	}
}

func TestLandedCostsAddUpToTheBillsTheyCite(t *testing.T) {
	t.Parallel()
	for _, c := range books().Companies {
		received := make(map[*Document]map[*Warehouse]Decimal) // by costing document and place
		for _, i := range c.Items {
			for _, r := range i.Receipts {
				for _, cost := range r.Costs {
					if received[cost.Document] == nil {
						received[cost.Document] = make(map[*Warehouse]Decimal)
					}
					// A bundle brings its components' costs along, which were
					// counted when the components came in.
					carried := r.Batch.Type == "AssemblyOrder" && r.Warehouse == c.Warehouses[0] && cost.Kind != "Kitting Labour"
					if !carried {
						received[cost.Document][r.Warehouse] += cost.Amount
					}
				}
			}
		}
		linked := 0
		for _, b := range c.Bills {
			for _, d := range b.Documents {
				place := c.Warehouses[0] // where purchases and bundles arrive
				if d.Type == "Shipment" {
					for _, s := range c.Shipments {
						if s.ID == d.ID {
							place = s.To
						}
					}
				}
				linked++
				if got := received[&b.Document][place]; got != b.Total {
					t.Errorf("%s bill %s for %s: landed costs cite %s of %s", c.Name, b.Ref, d.Ref, got, b.Total)
				}
			}
		}
		for _, o := range c.Orders {
			if o.Received == 0 {
				continue
			}
			if got := received[&o.Document][o.Warehouse]; got != o.Total {
				t.Errorf("%s order %s: landed costs cite %s of %s", c.Name, o.Ref, got, o.Total)
			}
		}
		if linked < 50 {
			t.Errorf("%s: only %d bills are linked to documents", c.Name, linked)
		}
	}
}

func TestDocumentsAddUp(t *testing.T) {
	t.Parallel()
	b := books()
	sum := func(t *testing.T, ref string, want Decimal, amounts ...Decimal) {
		t.Helper()
		var got Decimal
		for _, a := range amounts {
			got += a
		}
		if got != want {
			t.Errorf("%s: parts make %s, total is %s", ref, got, want)
		}
	}
	for _, c := range b.Companies {
		instalments := func(ref string, total Decimal, payments []*Payment) {
			if payments == nil {
				return
			}
			var due []Decimal
			for _, p := range payments {
				due = append(due, p.Due)
				if p.PaidDate > b.Today || p.PaidDate != 0 && p.Paid != p.Due {
					t.Errorf("%s: instalment %d paid %s on %s", ref, p.ID, p.Paid, p.PaidDate)
				}
			}
			sum(t, ref+" instalments", total, due...)
		}
		for _, o := range c.Orders {
			var lines []Decimal
			for _, l := range o.Lines {
				lines = append(lines, Decimal(l.Quantity)*l.Price)
			}
			sum(t, o.Ref, o.Total, lines...)
			instalments(o.Ref, o.Total, o.Payments)
			if o.Received != 0 && o.Received <= o.Placed {
				t.Errorf("%s: received %s, placed %s", o.Ref, o.Received, o.Placed)
			}
		}
		for _, v := range c.Bills {
			var lines []Decimal
			for _, l := range v.Lines {
				if amount, ok := l.Rate.Times(l.Quantity); !ok || amount != l.Amount {
					t.Errorf("%s: %d × %s is not %s", v.Ref, l.Quantity, l.Rate, l.Amount)
				}
				lines = append(lines, l.Amount)
			}
			sum(t, v.Ref, v.Total, lines...)
			instalments(v.Ref, v.Total, v.Payments)
		}
		for _, v := range c.Invoices {
			var lines, goods []Decimal
			for _, l := range v.Lines {
				lines = append(lines, l.Amount)
				if l.Item != nil {
					goods = append(goods, l.Amount)
				}
			}
			sum(t, v.Ref, v.Total, lines...)
			sum(t, v.Ref+" revenue", v.Revenue, goods...)
		}
		for _, v := range c.Adjustments {
			var lines []Decimal
			for _, l := range v.Lines {
				lines = append(lines, l.Amount)
			}
			sum(t, v.Ref, v.Total, lines...)
		}
		for _, i := range c.Items {
			for _, s := range i.Sales {
				var parts []Decimal
				units := make(map[*Document]int64)
				for _, p := range s.Parts {
					parts = append(parts, p.Amount)
					units[p.Batch] = p.Quantity
				}
				sum(t, fmt.Sprintf("item %d in %s", i.ID, s.Invoice.Ref), s.COGS, parts...)
				var n int64
				for _, u := range units {
					n += u
				}
				if n > s.Quantity {
					t.Errorf("item %d in %s: batches gave %d units, %d were sold", i.ID, s.Invoice.Ref, n, s.Quantity)
				}
			}
		}
		for name, n := range map[string]int{"orders": len(c.Orders), "bills": len(c.Bills), "shipments": len(c.Shipments), "invoices": len(c.Invoices), "assemblies": len(c.Assemblies), "adjustments": len(c.Adjustments)} {
			if n < 10 {
				t.Errorf("%s has %d %s", c.Name, n, name)
			}
		}
	}
}

// The summary is added up from invoices; here it is compared with the items'
// own ledgers, for every grouping and period and for random ranges and filters.
func TestSummaryEqualsTheSumOverTheItems(t *testing.T) {
	t.Parallel()
	b := books()
	rng := rand.New(rand.NewPCG(5, 6))
	for n := range 160 {
		companies := b.Companies
		if n%3 == 0 {
			companies = companies[n%len(companies):][:1]
		}
		var countries []string
		if n%4 == 1 {
			countries = companies[0].Countries[:1+n%2]
		}
		by := Grouping{Company: n&1 != 0, Country: n&2 != 0, Invoice: n&4 != 0 && n%5 == 0}
		every := []Periodicity{Total, Yearly, Quarterly, Monthly}[n/8%4]
		start := b.Epoch + Date(rng.IntN(int(b.Today-b.Epoch)))
		end := start + Date(rng.IntN(500))
		type key struct {
			period, company, country, invoice, currency string
		}
		name := func(d Date) string {
			at := d.Time()
			switch every {
			case Yearly:
				return at.Format("2006")
			case Quarterly:
				return fmt.Sprint(at.Year(), "Q", (at.Month()+2)/3)
			case Monthly:
				return at.Format("2006-01")
			}
			return "all"
		}
		want := make(map[key]figure)
		for _, c := range companies {
			for _, i := range c.Items {
				if countries != nil && i.Country != countries[0] && i.Country != countries[len(countries)-1] {
					continue
				}
				for _, s := range i.Sales {
					if s.Invoice.Date < start || s.Invoice.Date > end {
						continue
					}
					k := key{period: name(s.Invoice.Date), currency: c.Currency}
					if by.Company {
						k.company = c.UUID
					}
					if by.Country {
						k.country = i.Country
					}
					if by.Invoice {
						k.invoice, k.company, k.country = s.Invoice.Ref, "", ""
					}
					f := want[k]
					want[k] = figure{f.revenue + s.Revenue, f.cogs + s.COGS}
				}
			}
		}
		got := make(map[key]figure)
		for _, r := range Summarize(companies, countries, by, every, start, end) {
			if r.Start < start || r.End > end || r.Start > r.End || name(r.Start) != name(r.End) {
				t.Fatalf("row from %s to %s of %s to %s by %s", r.Start, r.End, start, end, every)
			}
			k := key{period: name(r.Start), currency: r.Currency, country: r.Country}
			if r.Company != nil {
				k.company = r.Company.UUID
			}
			if r.Invoice != nil {
				k.invoice, k.company, k.country = r.Invoice.Ref, "", ""
			}
			if _, dup := got[k]; dup {
				t.Fatalf("two rows for %+v", k)
			}
			got[k] = figure{r.Revenue, r.COGS}
		}
		if len(got) != len(want) {
			t.Fatalf("case %d: %d rows, want %d", n, len(got), len(want))
		}
		for k, f := range want {
			if got[k] != f {
				t.Fatalf("case %d %+v: got %v, the items say %v", n, k, got[k], f)
			}
		}
	}
}

func TestLastTwelveMonthsHaveSalesWhateverTheClock(t *testing.T) {
	t.Parallel()
	for _, now := range []time.Time{
		noon,
		time.Date(2026, time.December, 1, 0, 0, 1, 0, time.UTC),
		time.Date(2027, time.March, 31, 23, 59, 0, 0, time.UTC),
		time.Date(2019, time.June, 15, 8, 0, 0, 0, time.UTC),
		time.Date(2024, time.February, 29, 8, 0, 0, 0, time.UTC),
		time.Date(2038, time.January, 20, 8, 0, 0, 0, time.UTC),
	} {
		b := open(t, now)
		last := b.Today.MonthStart(0)
		for _, c := range b.Companies {
			rows := Summarize([]*Company{c}, nil, Grouping{Country: true}, Monthly, last.MonthStart(-12), last-1)
			if want := 12 * len(c.Countries); len(rows) != want {
				t.Errorf("at %s, %s has %d months × countries, want %d", b.Today, c.Name, len(rows), want)
			}
			for _, r := range rows {
				if r.Revenue <= r.COGS || r.COGS <= 0 {
					t.Errorf("at %s, %s in %s from %s: revenue %s, COGS %s", b.Today, c.Name, r.Country, r.Start, r.Revenue, r.COGS)
				}
			}
			for d := range c.Documents() {
				if d.Date > b.Today || d.Completed.After(now) {
					t.Errorf("at %s, %s is of %s, completed at %s", b.Today, d.Ref, d.Date, d.Completed)
				}
				if d.Completed.IsZero() == (d.Status == "Completed") {
					t.Errorf("%s is %s, completed at %s", d.Ref, d.Status, d.Completed)
				}
			}
		}
	}
	if _, err := New(time.Unix(0, 0)); err == nil {
		t.Error("books of 1970 open")
	}
}

func TestPastFiguresStayWhenTimeGoesOn(t *testing.T) {
	t.Parallel()
	figures := func(b *Books) []string {
		var out []string
		for _, c := range b.Companies {
			for _, r := range Summarize([]*Company{c}, nil, Grouping{Company: true, Country: true}, Monthly, Day(2024, time.January, 1), Day(2025, time.December, 31)) {
				out = append(out, fmt.Sprint(r.Company.UUID, r.Country, r.Start, r.Revenue, r.COGS))
			}
			out = append(out, c.Items[0].FNSKU, fmt.Sprint(c.Items[0].ID), c.Warehouses[0].UUID)
		}
		return out
	}
	a, b := figures(open(t, noon)), figures(open(t, noon.AddDate(0, 5, 3)))
	if len(a) != len(b) {
		t.Fatalf("%d figures, later %d", len(a), len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("was %s, five months later %s", a[i], b[i])
		}
	}
}

func TestEntryLockedDateMovesForward(t *testing.T) {
	t.Parallel()
	if got := EntryLockedDate(Day(2026, time.November, 22)).String(); got != "2026-09-01" {
		t.Errorf("in November: %s", got)
	}
	if got := EntryLockedDate(Day(2027, time.January, 1)).String(); got != "2026-11-01" {
		t.Errorf("in January: %s", got)
	}
}

// BenchmarkNew prints what the books cost at start.
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		open(b, noon)
	}
}
