package ledger

import (
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestPrint(t *testing.T) {
	s := time.Now()
	b, err := New(noon)
	t.Log(time.Since(s), err)
	for _, c := range b.Companies {
		t.Log(c.Name, len(c.Items), len(c.Orders), len(c.Bills), len(c.Shipments), len(c.Invoices), len(c.Assemblies), len(c.Adjustments))
		for _, r := range Summarize([]*Company{c}, nil, Grouping{}, Yearly, b.Epoch, b.Today) {
			t.Log(r.Start, r.End, r.Currency, r.Revenue, r.COGS)
		}
		for _, i := range c.Items[:6] {
			n := 0
			p := 0
			for _, s := range i.Sales {
				n += int(s.Quantity)
				p += len(s.Parts)
			}
			t.Log(i.Product.Name, i.Country, len(i.Sales), p, n, i.Restock.UnitLandedCost, i.Restock.EstimatedDailySales, i.plan.price, i.shelves[0].total, i.shelves[1].total)
		}
	}
}
