package ledger

import (
	"reflect"
	"slices"
	"testing"
)

func TestBookingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	b := open(t, noon)
	for n, c := range b.Companies {
		before := books().Companies[n]
		if err := c.rebook(); err != nil {
			t.Fatal(err)
		}
		for k, i := range c.Items {
			same(t, before.Items[k], i)
		}
		for k, v := range c.Invoices {
			if was := before.Invoices[k]; v.Revenue != was.Revenue || v.COGS != was.COGS {
				t.Fatalf("%s: revenue %s, COGS %s; was %s, %s", v.Ref, v.Revenue, v.COGS, was.Revenue, was.COGS)
			}
		}
	}
}

// same compares accounts of two books by value.
func same(t *testing.T, was, is *Item) {
	t.Helper()
	if !slices.EqualFunc(was.Losses, is.Losses, func(a, b Loss) bool { return a.Date == b.Date && a.Quantity == b.Quantity && a.Amount == b.Amount }) || len(was.Receipts) != len(is.Receipts) {
		t.Fatalf("item %d: losses or receipts differ", is.ID)
	}
	for k, r := range is.Receipts {
		w := was.Receipts[k]
		if r.Date != w.Date || r.Quantity != w.Quantity || r.Amount() != w.Amount() || r.Batch.ID != w.Batch.ID || len(r.Costs) != len(w.Costs) {
			t.Fatalf("item %d, receipt %d: %+v, was %+v", is.ID, k, r, w)
		}
		for j := range r.Costs {
			if r.Costs[j].Kind != w.Costs[j].Kind || r.Costs[j].Amount != w.Costs[j].Amount || r.Costs[j].Document.ID != w.Costs[j].Document.ID {
				t.Fatalf("item %d, receipt %d: cost %+v, was %+v", is.ID, k, r.Costs[j], w.Costs[j])
			}
		}
	}
	if len(was.Sales) != len(is.Sales) {
		t.Fatalf("item %d: %d sales, was %d", is.ID, len(is.Sales), len(was.Sales))
	}
	for k, s := range is.Sales {
		w := was.Sales[k]
		if s.Invoice.ID != w.Invoice.ID || s.Quantity != w.Quantity || s.Revenue != w.Revenue || s.COGS != w.COGS || len(s.Parts) != len(w.Parts) {
			t.Fatalf("item %d, sale %d: %+v, was %+v", is.ID, k, s, w)
		}
		for j := range s.Parts {
			if s.Parts[j].Kind != w.Parts[j].Kind || s.Parts[j].Amount != w.Parts[j].Amount || s.Parts[j].Quantity != w.Parts[j].Quantity {
				t.Fatalf("item %d, sale %d: part %+v, was %+v", is.ID, k, s.Parts[j], w.Parts[j])
			}
		}
	}
	for k := range is.shelves {
		a, b := &was.shelves[k], &is.shelves[k]
		if a.total != b.total || len(a.lots) != len(b.lots) || !reflect.DeepEqual(a.levels, b.levels) {
			t.Fatalf("item %d, shelf %d: %d in %d lots, was %d in %d", is.ID, k, b.total, len(b.lots), a.total, len(a.lots))
		}
		for j := range b.lots {
			if a.lots[j].quantity != b.lots[j].quantity || a.lots[j].value() != b.lots[j].value() {
				t.Fatalf("item %d, shelf %d, lot %d differs", is.ID, k, j)
			}
		}
	}
}

// BenchmarkRebook prints what a change costs.
func BenchmarkRebook(b *testing.B) {
	c := open(b, noon).Companies[0]
	b.ReportAllocs()
	for b.Loop() {
		if err := c.rebook(); err != nil {
			b.Fatal(err)
		}
	}
}
