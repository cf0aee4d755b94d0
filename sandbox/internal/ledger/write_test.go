package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func by(b *Books) Author { return Author{User: b.User(SellerOne), At: noon} }

// consistent holds one company's books against its documents: units, value and
// revenue must agree to the last one, whatever was written.
func consistent(t *testing.T, b *Books, c *Company) {
	t.Helper()
	moved := movements(c)
	last := b.Today + 400
	for _, i := range c.Items {
		for _, w := range c.Warehouses {
			days := []Date{b.closed - 1, b.Today, last}
			for _, m := range moved[i][w] {
				if m.date >= b.closed {
					days = append(days, m.date)
				}
			}
			for _, d := range days {
				var want int64
				for _, m := range moved[i][w] {
					if m.date <= d {
						want += m.units
					}
				}
				if got := i.Balance(w, d); got != want || got < 0 {
					t.Fatalf("item %d in %s on %s: balance %d, documents say %d", i.ID, w.Name, d, got, want)
				}
			}
		}
		for k := 1; k < len(i.Sales); k++ {
			if i.Sales[k].Invoice.Date < i.Sales[k-1].Invoice.Date {
				t.Fatalf("item %d: sales out of order", i.ID)
			}
		}
	}

	// Value: what came in is what went out and what is left.
	var in, out Decimal
	for _, o := range c.Orders {
		if o.Received != 0 && o.Warehouse != nil {
			in += o.Total
		}
	}
	for _, v := range c.Bills {
		in += borne(b, c, v)
	}
	for _, a := range c.Adjustments {
		for _, l := range a.Lines {
			if l.Quantity < 0 {
				in -= l.Amount
			}
		}
	}
	for _, i := range c.Items {
		for _, s := range i.Sales {
			out += s.COGS
			var parts Decimal
			for _, p := range s.Parts {
				parts += p.Amount
			}
			if parts != s.COGS {
				t.Fatalf("item %d in %s: COGS %s of parts %s", i.ID, s.Invoice.Ref, s.COGS, parts)
			}
		}
		for _, l := range i.Losses {
			out += l.Amount
		}
		for k := range i.shelves {
			for j := range i.shelves[k].lots {
				out += i.shelves[k].lots[j].value()
			}
		}
	}
	for _, s := range c.Shipments {
		for _, lots := range s.cargo {
			for j := range lots {
				out += lots[j].value()
			}
		}
	}
	if in != out {
		t.Fatalf("%s came in, %s went out or is there", in, out)
	}

	// Revenue by month: kept summary, items and documents.
	first := b.Epoch
	rows := make(map[string]figure)
	for _, r := range Summarize([]*Company{c}, nil, Grouping{Country: true}, Monthly, first, last) {
		rows[r.Start.String()[:7]+r.Country] = figure{r.Revenue, r.COGS}
	}
	audit := c.AuditMonths(first, last)
	if len(audit) != len(rows) {
		t.Fatalf("%d months × markets, the audit has %d", len(rows), len(audit))
	}
	var revenue, cogs Decimal
	for _, m := range audit {
		if got := rows[m.Month.String()[:7]+m.Country]; got != (figure{m.Revenue, m.COGS}) {
			t.Fatalf("%s in %s: summary %v, audit %s, %s", m.Month, m.Country, got, m.Revenue, m.COGS)
		}
		revenue += m.Revenue
		cogs += m.COGS
	}
	for _, a := range c.AuditItems(first, last) {
		revenue -= a.Revenue
		cogs -= a.COGS
		if a.OnHand != a.Item.OnHand() {
			t.Fatalf("item %d: %d on hand, the audit says %d", a.Item.ID, a.Item.OnHand(), a.OnHand)
		}
	}
	if revenue != 0 || cogs != 0 {
		t.Fatalf("items lack revenue of %s and COGS of %s", revenue, cogs)
	}

	// Documents: totals and instalments.
	for _, o := range c.Orders {
		paid(t, o.Ref, o.Total, o.Payments)
	}
	for _, v := range c.Bills {
		paid(t, v.Ref, v.Total, v.Payments)
	}
}

func paid(t *testing.T, ref string, total Decimal, payments []*Payment) {
	t.Helper()
	for _, p := range payments {
		total -= p.Due
	}
	if payments != nil && total != 0 {
		t.Fatalf("%s: instalments lack %s", ref, total)
	}
}

// borne is how much of a bill is in the cost of goods.
func borne(b *Books, c *Company, v *Bill) (sum Decimal) {
	bearing := slices.DeleteFunc(slices.Clone(v.Documents), func(d *Document) bool { return d.Type == "Invoice" })
	if v.Currency != c.Currency {
		return 0
	}
	for n, d := range bearing {
		var counts bool
		var at Date
		for _, o := range c.Orders {
			if &o.Document == d {
				counts, at = o.Received != 0 && o.Warehouse != nil && len(o.Lines) > 0, o.Received
			}
		}
		for _, s := range c.Shipments {
			if &s.Document == d {
				counts, at = s.Arrived != 0 && s.From != nil && s.To != nil && len(s.Lines) > 0, s.Arrived
			}
		}
		for _, a := range c.Assemblies {
			if &a.Document == d {
				counts, at = a.Date != 0 && a.Warehouse != nil && len(a.Lines) > 0, a.Date
			}
		}
		// Of what came in before the closing only the bills of then are borne.
		if !counts || at < b.closed && (v.Date == 0 || v.Date >= b.closed) {
			continue
		}
		for _, l := range v.Lines {
			even := make([]int64, len(bearing))
			for i := range even {
				even[i] = 1
			}
			sum += allocate(l.Amount, even)[n]
		}
	}
	return sum
}

// Random changes, good and bad, in any order and dated on any day: after them the
// books agree with the documents, and a refused one leaves nothing.
func TestBooksStayConsistentWhateverIsWritten(t *testing.T) {
	t.Parallel()
	b := open(t, noon)
	c := b.Companies[2]
	rng := rand.New(rand.NewPCG(7, 8))
	pick := func(n int) int { return rng.IntN(n) }
	day := func() Date {
		if pick(6) == 0 {
			return 0
		}
		if pick(25) == 0 {
			return b.closed - 1 - Date(pick(300))
		}
		return b.closed + Date(pick(int(b.Today-b.closed)+20))
	}
	place := func() *Warehouse {
		if pick(8) == 0 {
			return nil
		}
		return c.Warehouses[pick(len(c.Warehouses))]
	}
	units := func() int64 { return 1 + int64(pick(30))*int64(pick(30)) }
	price := func() Decimal { return Decimal(pick(1_000_000)) }
	item := func() *Item { return c.Items[pick(len(c.Items))] }
	some := func(add func()) {
		for n := pick(4); n >= 0; n-- {
			add()
		}
	}
	// Those that may still be changed, and those that are made.
	orders, bills, shipments := still(b, c.Orders), still(b, c.Bills), still(b, c.Shipments)
	invoices, assemblies, adjustments := still(b, c.Invoices), still(b, c.Assemblies), still(b, c.Adjustments)
	if len(orders) == 0 || len(bills) == 0 || len(shipments) == 0 || len(invoices) == 0 || len(assemblies) == 0 {
		t.Fatal("the seeds have nothing that is open:", len(orders), len(bills), len(shipments), len(invoices), len(assemblies))
	}
	outcomes := make(map[string]int)
	const changes = 200
	for n := range changes {
		var err error
		ref := fmt.Sprint("R", n)
		switch pick(7) {
		case 0:
			next := Order{Placed: day(), Received: day(), Vendor: c.Vendors[0], Term: c.Terms[pick(len(c.Terms))], Warehouse: place()}
			some(func() { next.Lines = append(next.Lines, OrderLine{item(), units(), price()}) })
			err = write(&orders, pick, &next, &next.Document, ref, func(old *Order) (*Order, error) { return b.SaveOrder(c, by(b), old, next) })
		case 1, 2:
			next := Bill{Currency: []string{c.Currency, c.Currency, "USD"}[pick(3)], Term: c.Terms[pick(len(c.Terms))]}
			next.Date = day()
			for d := range c.Documents() {
				if (d.Creator != nil || pick(300) == 0) && d.Type != "Bill" && d.Type != "Adjustment" && pick(6) == 0 {
					next.Documents = append(next.Documents, d)
				}
			}
			some(func() {
				l := BillLine{Service: c.Services[pick(len(c.Services))], Quantity: units(), Rate: price()}
				l.Amount = Decimal(l.Quantity) * l.Rate
				next.Lines = append(next.Lines, l)
			})
			err = write(&bills, pick, &next, &next.Document, ref, func(old *Bill) (*Bill, error) { return b.SaveBill(c, by(b), old, next) })
		case 3:
			next := Shipment{Source: "Manual", Sent: day(), From: place(), To: place()}
			if next.Sent != 0 && pick(3) > 0 {
				next.Arrived = next.Sent + Date(pick(9))
			}
			some(func() {
				l := ShipmentLine{Item: item(), Shipped: units()}
				l.Received = 1 + rng.Int64N(l.Shipped)
				next.Lines = append(next.Lines, l)
			})
			err = write(&shipments, pick, &next, &next.Document, ref, func(old *Shipment) (*Shipment, error) { return b.SaveShipment(c, by(b), old, next) })
		case 4:
			next := Invoice{Source: "manual", Country: "GB", Warehouse: place()}
			next.Date = day()
			some(func() {
				l := InvoiceLine{item(), c.Services[0], units(), price()}
				if pick(5) == 0 {
					l.Quantity = -l.Quantity
				}
				if pick(5) == 0 {
					l.Item = nil
				}
				next.Lines = append(next.Lines, l)
			})
			err = write(&invoices, pick, &next, &next.Document, ref, func(old *Invoice) (*Invoice, error) { return b.SaveInvoice(c, by(b), old, next) })
		case 5:
			next := Assembly{Warehouse: place()}
			next.Date = day()
			some(func() { next.Lines = append(next.Lines, AssemblyLine{c.Kits[pick(len(c.Kits))], units()}) })
			err = write(&assemblies, pick, &next, &next.Document, ref, func(old *Assembly) (*Assembly, error) { return b.SaveAssembly(c, by(b), old, next) })
		case 6:
			next := Adjustment{Warehouse: place(), Reason: "Damaged"}
			next.Date = day()
			some(func() {
				next.Lines = append(next.Lines, AdjustmentLine{item(), c.Services[0], units(), price()})
			})
			err = write(&adjustments, pick, &next, &next.Document, ref, func(old *Adjustment) (*Adjustment, error) { return b.SaveAdjustment(c, by(b), old, next) })
		}
		var short *Shortage
		switch {
		case err == nil:
			outcomes["done"]++
		case errors.As(err, &short):
			outcomes["short"]++
		case errors.Is(err, ErrLocked):
			outcomes["locked"]++
		default:
			t.Fatal(err)
		}
		if n%16 == 0 || n > changes-4 {
			consistent(t, b, c)
		}
	}
	for _, o := range []string{"done", "short", "locked"} {
		if outcomes[o] < 5 {
			t.Errorf("%d changes were %s: %v", outcomes[o], o, outcomes)
		}
	}
	// What was written can be taken away again: drafts move no stock. Only returns
	// whose goods have gone on have to stay.
	var short *Shortage
	for _, v := range slices.Backward(invoices) {
		next := *v
		next.Date = 0
		if _, err := b.SaveInvoice(c, by(b), v, next); err != nil && !errors.As(err, &short) {
			t.Fatal(err)
		}
	}
	consistent(t, b, c)
}

// still returns the seeded documents whose accounts are not closed.
func still[T interface{ head() *Document }](b *Books, all []T) []T {
	return slices.DeleteFunc(slices.Clone(all), func(v T) bool { return v.head().Date != 0 && v.head().Date < b.closed })
}

// write makes a document or changes one of those made before.
func write[T any](made *[]*T, pick func(int) int, next *T, head *Document, ref string, save func(*T) (*T, error)) error {
	var old *T
	head.Ref = ref
	if len(*made) > 0 && pick(3) == 0 {
		old = (*made)[pick(len(*made))]
	}
	v, err := save(old)
	if err == nil && old == nil {
		*made = append(*made, v)
	}
	return err
}

func TestRefusedChangesLeaveNothing(t *testing.T) {
	t.Parallel()
	b := open(t, noon)
	c := b.Companies[0]
	before := len(c.Invoices)
	i, w := c.Items[0], c.Warehouses[1]
	held := i.Balance(w, b.Today)
	next := Invoice{Source: "manual", Warehouse: w, Lines: []InvoiceLine{{i, c.Services[0], held + 1, Int(1)}}}
	next.Date = b.Today
	_, err := b.SaveInvoice(c, by(b), nil, next)
	var short *Shortage
	if !errors.As(err, &short) || short.Item != i || short.Warehouse != w || short.Wanted != held+1 || short.Held != held || short.Error() == "" {
		t.Fatalf("%v", err)
	}
	if len(c.Invoices) != before || c.written != 0 || i.Balance(w, b.Today) != held {
		t.Errorf("%d invoices, was %d; balance %d, was %d", len(c.Invoices), before, i.Balance(w, b.Today), held)
	}
	next.Lines[0].Quantity = held
	made, err := b.SaveInvoice(c, by(b), nil, next)
	if err != nil || i.Balance(w, b.Today) != 0 || made.Creator != b.User(SellerOne) || made.Completed != noon || made.COGS <= 0 {
		t.Fatalf("%v, %+v", err, made)
	}
	bad := *made
	bad.Lines = []InvoiceLine{{i, c.Services[0], held + 1, Int(1)}}
	if _, err := b.SaveInvoice(c, by(b), made, bad); !errors.As(err, &short) || made.Lines[0].Quantity != held || i.Balance(w, b.Today) != 0 {
		t.Errorf("%v; %d units, balance %d", err, made.Lines[0].Quantity, i.Balance(w, b.Today))
	}
	// The day before the accounts were closed; a closed document; one too many.
	early := next
	early.Date = b.closed - 1
	if _, err := b.SaveInvoice(c, by(b), nil, early); !errors.Is(err, ErrLocked) {
		t.Errorf("too early: %v", err)
	}
	if _, err := b.SaveInvoice(c, by(b), c.Invoices[0], next); !errors.Is(err, ErrLocked) {
		t.Errorf("closed: %v", err)
	}
	c.written = maxWritten
	if _, err := b.SaveBill(c, by(b), nil, Bill{}); !errors.Is(err, ErrFull) {
		t.Errorf("full: %v", err)
	}
	if _, err := b.SaveItem(c, by(b), nil, Item{}); !errors.Is(err, ErrFull) {
		t.Errorf("full: %v", err)
	}
	if _, err := b.SaveProduct(c, nil, Product{}); !errors.Is(err, ErrFull) {
		t.Errorf("full: %v", err)
	}
	if len(c.Invoices) != before+1 {
		t.Errorf("%d invoices, want %d", len(c.Invoices), before+1)
	}
}

// A share of a large amount does not overflow, and shares always add up.
func TestAllocateIsExact(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 9))
	for range 2000 {
		amount := Decimal(rng.Int64N(1<<52)) - 1<<51
		weights := make([]int64, 1+rng.IntN(6))
		for i := range weights {
			weights[i] = rng.Int64N(1 << rng.IntN(45))
		}
		var sum Decimal
		for _, s := range allocate(amount, weights) {
			if amount >= 0 && s < 0 || amount <= 0 && s > 0 {
				t.Fatalf("%s by %v: a share is %s", amount, weights, s)
			}
			sum += s
		}
		if sum != amount {
			t.Fatalf("%s by %v: shares make %s", amount, weights, sum)
		}
	}
	if got := fmt.Sprint(allocate(Cents(100), []int64{1, 1, 1})); got != "[0.33 0.34 0.33]" {
		t.Errorf("a third each: %s", got)
	}
}
