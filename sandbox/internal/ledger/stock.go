package ledger

import (
	"slices"
	"sort"
)

// Account is what the books know about one item's stock.
type Account struct {
	Receipts []Receipt
	Sales    []Sale
	Losses   []Loss

	shelves []shelf // by warehouse index
}

func newAccount(c *Company) Account { return Account{shelves: make([]shelf, len(c.Warehouses))} }

// clone copies what booking changes in place; the rest only grows.
func (a *Account) clone() Account {
	out := Account{slices.Clip(a.Receipts), slices.Clip(a.Sales), slices.Clip(a.Losses), slices.Clone(a.shelves)}
	for i := range out.shelves {
		s := &out.shelves[i]
		s.lots, s.levels = slices.Clone(s.lots), slices.Clip(s.levels)
	}
	return out
}

// OnHand is how many units all warehouses hold.
func (a *Account) OnHand() (units int64) {
	for i := range a.shelves {
		units += a.shelves[i].total
	}
	return units
}

// lot is units of one batch on a shelf, with what they have cost so far.
type lot struct {
	batch    *Document
	quantity int64
	costs    []Cost
}

func (l *lot) value() Decimal {
	var v Decimal
	for _, c := range l.costs {
		v += c.Amount
	}
	return v
}

// shelf is the stock of one item in one warehouse, oldest lot first.
type shelf struct {
	lots   []lot
	total  int64
	levels []level
}

// level is the balance at the end of a day on which it changed.
type level struct {
	date    Date
	balance int64
}

func (s *shelf) record(d Date) {
	if n := len(s.levels); n > 0 && s.levels[n-1].date == d {
		s.levels[n-1].balance = s.total
		return
	}
	s.levels = append(s.levels, level{d, s.total})
}

func (s *shelf) put(d Date, l lot) {
	s.lots = append(s.lots, l)
	s.total += l.quantity
	s.record(d)
}

// take removes up to n units, first in, first out, with their share of the cost.
func (s *shelf) take(d Date, n int64) []lot {
	var out []lot
	for n > 0 && len(s.lots) > 0 {
		first := &s.lots[0]
		if first.quantity <= n {
			out = append(out, *first)
			n -= first.quantity
			s.total -= first.quantity
			s.lots = s.lots[1:]
			continue
		}
		out = append(out, first.split(n))
		s.total -= n
		n = 0
	}
	if out != nil {
		s.record(d)
	}
	return out
}

// split takes n of the lot's units, and their share of each cost, out of it.
func (l *lot) split(n int64) lot {
	part := lot{batch: l.batch, quantity: n, costs: make([]Cost, len(l.costs))}
	rest := make([]Cost, len(l.costs))
	for i, c := range l.costs {
		amount := share(c.Amount, n, l.quantity)
		part.costs[i] = Cost{c.Kind, c.Document, amount}
		rest[i] = Cost{c.Kind, c.Document, c.Amount - amount}
	}
	l.quantity -= n
	l.costs = rest
	return part
}

func (s *shelf) at(d Date) int64 {
	i := sort.Search(len(s.levels), func(i int) bool { return s.levels[i].date > d })
	if i == 0 {
		return 0
	}
	return s.levels[i-1].balance
}

// Balance returns how many units the warehouse held at the end of the day.
func (i *Item) Balance(w *Warehouse, d Date) int64 { return i.shelves[w.index].at(d) }

// Stocked tells whether the warehouse ever held the item up to the day.
func (i *Item) Stocked(w *Warehouse, d Date) bool {
	l := i.shelves[w.index].levels
	return len(l) > 0 && l[0].date <= d
}
