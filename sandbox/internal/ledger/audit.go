package ledger

import (
	"cmp"
	"slices"
)

// The audit is a second opinion on the books. It reads the documents, one by one,
// and uses neither the balances nor the summaries that are kept for answers, so
// that an answer can be held against it. Only what goods are worth is taken from
// the accounts, since no document states it.

// ItemAudit is what the documents say about one item.
type ItemAudit struct {
	Item      *Item
	Stock     []StockAudit // of the warehouses that documents name, at the end of the last day
	OnHand    int64        // in all of them
	InTransit int64        // sent and not arrived
	Value     Decimal      // what the units on hand have cost; as of now
	UnitCost  Decimal      // that by unit, to four places; 0 without stock

	// From the first day to the last, both included.
	Sold       int64
	DailySales Decimal // by calendar day, to four places
	Revenue    Decimal
	COGS       Decimal
	LastSale   Date // up to the last day, also before the first; 0 = never
}

// StockAudit is a warehouse's part, and what came into it from the first day to
// the last.
type StockAudit struct {
	Warehouse *Warehouse
	Units     int64
	Landed    Decimal // what the units that came in had cost by then
	Received  int64
}

// AuditItems looks at every item of a company from one day to another.
func (c *Company) AuditItems(first, last Date) []ItemAudit {
	out := make([]ItemAudit, len(c.Items))
	at := make(map[*Item]*ItemAudit, len(c.Items))
	for n, i := range c.Items {
		out[n].Item = i
		at[i] = &out[n]
	}
	moved := func(i *Item, w *Warehouse, d Date, units int64) {
		a := at[i]
		if a == nil || w == nil || d == 0 || d > last {
			return
		}
		k := slices.IndexFunc(a.Stock, func(s StockAudit) bool { return s.Warehouse == w })
		if k < 0 {
			k = len(a.Stock)
			a.Stock = append(a.Stock, StockAudit{Warehouse: w})
		}
		a.Stock[k].Units += units
		a.OnHand += units
	}
	for _, o := range c.Orders {
		for _, l := range o.Lines {
			moved(l.Item, o.Warehouse, o.Received, l.Quantity)
		}
	}
	for _, s := range c.Shipments {
		if s.From == nil || s.To == nil {
			continue
		}
		for _, l := range s.Lines {
			moved(l.Item, s.From, s.Sent, -l.Shipped)
			moved(l.Item, s.To, s.Arrived, l.Received)
			if a := at[l.Item]; a != nil && s.Sent != 0 && s.Sent <= last && (s.Arrived == 0 || s.Arrived > last) {
				a.InTransit += l.Shipped
			}
		}
	}
	for _, v := range c.Assemblies {
		for _, l := range v.Lines {
			moved(l.Kit.Item, v.Warehouse, v.Date, l.Quantity)
			for _, p := range l.Kit.parts {
				moved(p.item, v.Warehouse, v.Date, -l.Quantity*p.quantity)
			}
		}
	}
	for _, v := range c.Adjustments {
		for _, l := range v.Lines {
			moved(l.Item, v.Warehouse, v.Date, -l.Quantity)
		}
	}
	for _, v := range c.Invoices {
		for _, l := range v.Lines {
			a := at[l.Item]
			if a == nil || v.Date == 0 || v.Date > last {
				continue
			}
			moved(l.Item, v.Warehouse, v.Date, -l.Quantity)
			a.LastSale = max(a.LastSale, v.Date)
			if v.Date >= first {
				a.Sold += l.Quantity
				a.Revenue += l.Amount
			}
		}
	}
	days := max(1, int64(last-first)+1)
	for n := range out {
		a := &out[n]
		var units int64
		for k := range a.Item.shelves {
			for j := range a.Item.shelves[k].lots {
				l := &a.Item.shelves[k].lots[j]
				units += l.quantity
				a.Value += l.value()
			}
		}
		a.UnitCost = per(a.Value, units)
		a.DailySales = per(Int(a.Sold), days)
		for _, s := range a.Item.Sales {
			if s.Invoice.Date >= first && s.Invoice.Date <= last {
				a.COGS += s.COGS
			}
		}
		for _, r := range a.Item.Receipts {
			if k := slices.IndexFunc(a.Stock, func(s StockAudit) bool { return s.Warehouse == r.Warehouse }); k >= 0 && r.Date >= first && r.Date <= last {
				a.Stock[k].Landed += r.Amount()
				a.Stock[k].Received += r.Quantity
			}
		}
		slices.SortFunc(a.Stock, func(x, y StockAudit) int { return cmp.Compare(x.Warehouse.ID, y.Warehouse.ID) })
	}
	return out
}

// MonthAudit is a month's sales of goods in one market.
type MonthAudit struct {
	Month    Date // its first day
	Country  string
	Currency string
	Units    int64
	Revenue  Decimal
	COGS     Decimal
}

// AuditMonths adds up the sales of a company by month and market, from one day to
// another. Months and markets without a sale are left out.
func (c *Company) AuditMonths(first, last Date) []MonthAudit {
	cogs := make(map[*Invoice]Decimal)
	for _, i := range c.Items {
		for _, s := range i.Sales {
			cogs[s.Invoice] += s.COGS
		}
	}
	var out []MonthAudit
	for _, v := range c.Invoices {
		if v.Date == 0 || v.Date < first || v.Date > last {
			continue
		}
		month := v.Date.MonthStart(0)
		k := slices.IndexFunc(out, func(m MonthAudit) bool { return m.Month == month && m.Country == v.Country })
		if k < 0 {
			k = len(out)
			out = append(out, MonthAudit{Month: month, Country: v.Country, Currency: c.Currency})
		}
		for _, l := range v.Lines {
			if l.Item != nil {
				out[k].Units += l.Quantity
				out[k].Revenue += l.Amount
			}
		}
		out[k].COGS += cogs[v]
	}
	slices.SortFunc(out, func(a, b MonthAudit) int {
		return cmp.Or(cmp.Compare(a.Month, b.Month), cmp.Compare(a.Country, b.Country))
	})
	return out
}

// PaymentAudit is what is owed in one currency.
type PaymentAudit struct {
	Currency string
	Due      Decimal // of all instalments
	Paid     Decimal
	Open     Decimal // of those not paid in full
	Overdue  Decimal // of those that fell due before the day
	Count    int     // of those not paid in full
}

// AuditPayments adds up the instalments of orders and bills by currency.
func (c *Company) AuditPayments(day Date) []PaymentAudit {
	var out []PaymentAudit
	add := func(currency string, payments []*Payment) {
		for _, p := range payments {
			k := slices.IndexFunc(out, func(a PaymentAudit) bool { return a.Currency == currency })
			if k < 0 {
				k = len(out)
				out = append(out, PaymentAudit{Currency: currency})
			}
			out[k].Due += p.Due
			out[k].Paid += p.Paid
			if rest := p.Due - p.Paid; rest > 0 {
				out[k].Open += rest
				out[k].Count++
				if p.DueDate != 0 && p.DueDate < day {
					out[k].Overdue += rest
				}
			}
		}
	}
	for _, o := range c.Orders {
		add(c.Currency, o.Payments)
	}
	for _, b := range c.Bills {
		add(b.Currency, b.Payments)
	}
	slices.SortFunc(out, func(a, b PaymentAudit) int { return cmp.Compare(a.Currency, b.Currency) })
	return out
}
