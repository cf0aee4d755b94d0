package ledger

import (
	"cmp"
	"maps"
	"slices"
)

// closing is the stock at the start of the Entry Locked Date. Nothing that is
// booked later changes it.
type closing struct {
	date     Date
	accounts map[*Item]Account
	cargo    map[*Shipment][][]lot
}

func (p *poster) close(d Date) *closing {
	out := &closing{d, make(map[*Item]Account, len(p.c.Items)), maps.Clone(p.cargo)}
	for _, i := range p.c.Items {
		out.accounts[i] = i.Account.clone()
	}
	return out
}

// entry is one thing that happens to stock. On one day goods come in first and are
// sold last.
type entry struct {
	date  Date
	phase phase
	id    int64
	post  func() error
}

type phase int

const (
	receiving phase = iota
	arriving
	adjusting
	assembling
	dispatching
	passing // a shipment that arrives on the day it was sent
	selling
)

// rebook books all open documents again, from the closing on. It changes the books
// only if every document finds the stock that it takes.
func (c *Company) rebook() error {
	accounts := make(map[*Item]*Account)
	figures := make(map[*Invoice]figure)
	p := &poster{
		c: c, bills: c.charges(), cargo: maps.Clone(c.closing.cargo),
		account: func(i *Item) *Account {
			a := accounts[i]
			if a == nil {
				a = c.opening(i)
				accounts[i] = a
			}
			return a
		},
		figure: func(v *Invoice, f figure) {
			have := figures[v]
			figures[v] = figure{have.revenue + f.revenue, have.cogs + f.cogs}
		},
	}
	for _, e := range c.entries(p) {
		if err := e.post(); err != nil {
			return err
		}
	}
	for _, i := range c.Items {
		a := accounts[i]
		if a == nil {
			a = c.opening(i)
		}
		i.Account = *a
	}
	for _, v := range c.Invoices {
		if v.Date == 0 || v.Date >= c.closing.date {
			f := figures[v]
			v.Revenue, v.COGS = f.revenue, f.cogs
		}
	}
	for _, s := range c.Shipments {
		s.cargo = p.cargo[s]
	}
	c.index()
	return nil
}

// opening is a copy of the item's account at the closing.
func (c *Company) opening(i *Item) *Account {
	a, ok := c.closing.accounts[i]
	if !ok { // it is younger
		a = newAccount(c)
	}
	a = a.clone()
	return &a
}

// charges are the bills in the company's currency by the documents they are for.
// Only documents that move goods bear costs.
func (c *Company) charges() map[*Document][]charge {
	out := make(map[*Document][]charge)
	for _, b := range c.Bills {
		if len(b.Documents) == 0 || b.Currency != c.Currency {
			continue
		}
		bearing := make([]*Document, 0, len(b.Documents))
		for _, d := range b.Documents {
			if d.Type != "Invoice" {
				bearing = append(bearing, d)
			}
		}
		for i, d := range bearing {
			out[d] = append(out[d], charge{b, int64(len(bearing)), i})
		}
	}
	return out
}

// entries are what happened to stock since the closing, in order.
func (c *Company) entries(p *poster) []entry {
	var out []entry
	open := func(d Date, ph phase, id int64, post func() error) {
		if d != 0 && d >= c.closing.date {
			out = append(out, entry{d, ph, id, post})
		}
	}
	for _, o := range c.Orders {
		if o.Warehouse != nil {
			open(o.Received, receiving, o.ID, func() error { return p.receive(o) })
		}
	}
	for _, s := range c.Shipments {
		if s.From == nil || s.To == nil || s.Sent == 0 {
			continue
		}
		open(s.Sent, dispatching, s.ID, func() error { return p.dispatch(s) })
		ph := arriving
		if s.Arrived == s.Sent {
			ph = passing
		}
		open(s.Arrived, ph, s.ID, func() error { return p.arrive(s) })
	}
	for _, a := range c.Adjustments {
		if a.Warehouse == nil {
			continue
		}
		open(a.Date, adjusting, a.ID, func() error {
			for _, l := range a.Lines {
				if err := p.adjust(a, l); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for _, a := range c.Assemblies {
		if a.Warehouse == nil {
			continue
		}
		open(a.Date, assembling, a.ID, func() error {
			for i := range a.Lines {
				if err := p.assemble(a, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for _, v := range c.Invoices {
		open(v.Date, selling, v.ID, func() error {
			for _, l := range v.Lines {
				if err := p.sell(v, l); err != nil {
					return err
				}
			}
			return nil
		})
	}
	slices.SortStableFunc(out, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.date, b.date), cmp.Compare(a.phase, b.phase), cmp.Compare(a.id, b.id))
	})
	return out
}

// index puts the invoices in order of date for summaries.
func (c *Company) index() {
	c.sales = c.sales[:0]
	for _, v := range c.Invoices {
		if v.Date != 0 {
			c.sales = append(c.sales, v)
		}
	}
	slices.SortStableFunc(c.sales, func(a, b *Invoice) int { return cmp.Or(cmp.Compare(a.Date, b.Date), cmp.Compare(a.ID, b.ID)) })
}
