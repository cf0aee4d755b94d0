package ledger

import (
	"fmt"
	"slices"
)

// poster books documents into the accounts of the items they move. It is the only
// code that does: the history of the seeds and every later change go through it.
type poster struct {
	c       *Company
	bills   map[*Document][]charge // what a document has cost
	account func(*Item) *Account   // the account to write to
	figure  func(*Invoice, figure) // adds to an invoice's figures
	cargo   map[*Shipment][][]lot  // on the way, by line
}

// figure is revenue and COGS.
type figure struct{ revenue, cogs Decimal }

// charge is a bill, of which the document bears one part in so many.
type charge struct {
	bill  *Bill
	parts int64
	part  int
}

// newPoster returns a poster that writes to the books themselves.
func newPoster(c *Company) *poster {
	return &poster{
		c: c, bills: make(map[*Document][]charge), cargo: make(map[*Shipment][][]lot),
		account: func(i *Item) *Account { return &i.Account },
		figure:  func(v *Invoice, f figure) { v.Revenue += f.revenue; v.COGS += f.cogs },
	}
}

// Shortage is a document that takes more than the warehouse holds on its day.
type Shortage struct {
	Document  *Document
	Item      *Item
	Warehouse *Warehouse
	Date      Date
	Wanted    int64
	Held      int64
}

func (s *Shortage) Error() string {
	return fmt.Sprintf("%s takes %d of item %d from %s on %s, which then holds %d", s.Document.Ref, s.Wanted, s.Item.ID, s.Warehouse.Name, s.Date, s.Held)
}

func (p *poster) take(d *Document, day Date, i *Item, w *Warehouse, n int64) ([]lot, error) {
	s := &p.account(i).shelves[w.index]
	if s.total < n {
		return nil, &Shortage{d, i, w, day, n, s.total}
	}
	return s.take(day, n), nil
}

func (p *poster) put(day Date, i *Item, w *Warehouse, l lot) {
	a := p.account(i)
	a.shelves[w.index].put(day, l)
	a.Receipts = append(a.Receipts, Receipt{day, w, l.batch, l.quantity, l.costs})
}

// costs spreads the bills of a document over its parts by their weights; those of
// customs by value, if values are given; those for one bundle over the parts that
// make it.
func (p *poster) costs(d *Document, weights, values []int64, makes []*Item) [][]Cost {
	out := make([][]Cost, len(weights))
	for _, c := range p.bills[d] {
		for _, l := range c.bill.Lines {
			by := weights
			if values != nil && l.Service.Name == "Customs Duty" {
				by = values
			}
			if slices.Contains(makes, c.bill.only) {
				by = make([]int64, len(weights))
				for i, item := range makes {
					if item == c.bill.only {
						by[i] = weights[i]
					}
				}
			}
			amount := l.Amount
			if c.parts > 1 {
				even := slices.Repeat([]int64{1}, int(c.parts))
				amount = allocate(amount, even)[c.part]
			}
			for i, share := range allocate(amount, by) {
				if share != 0 || by[i] != 0 {
					out[i] = append(out[i], Cost{l.Service.Name, &c.bill.Document, share})
				}
			}
		}
	}
	return out
}

// receive puts an order on the shelves, with what its bills add to the price.
func (p *poster) receive(o *Order) error {
	weights, values := make([]int64, len(o.Lines)), make([]int64, len(o.Lines))
	for i, l := range o.Lines {
		weights[i] = l.Quantity * int64(l.Item.Product.Weight/cent)
		values[i] = int64(Decimal(l.Quantity) * l.Price / cent)
	}
	costs := p.costs(&o.Document, weights, values, nil)
	for i, l := range o.Lines {
		price := Cost{"Purchase Price", &o.Document, Decimal(l.Quantity) * l.Price}
		p.put(o.Received, l.Item, o.Warehouse, lot{batch: &o.Document, quantity: l.Quantity, costs: append([]Cost{price}, costs[i]...)})
	}
	return nil
}

// dispatch takes a shipment's goods off the shelves.
func (p *poster) dispatch(s *Shipment) error {
	cargo := make([][]lot, len(s.Lines))
	for i, l := range s.Lines {
		lots, err := p.take(&s.Document, s.Sent, l.Item, s.From, l.Shipped)
		if err != nil {
			return err
		}
		cargo[i] = lots
	}
	p.cargo[s] = cargo
	return nil
}

// arrive puts what has come of a shipment on the shelves; what is missing is lost.
// Its bills are spread over the units that are there.
func (p *poster) arrive(s *Shipment) error {
	type load struct {
		item *Item
		lot  lot
	}
	var loads []load
	var weights []int64
	for k, lots := range p.cargo[s] {
		l := s.Lines[k]
		missing := l.Shipped - l.Received
		for _, v := range lots {
			if missing > 0 {
				n := min(missing, v.quantity)
				gone := v.split(n)
				a := p.account(l.Item)
				a.Losses = append(a.Losses, Loss{s.Arrived, &s.Document, n, gone.value()})
				missing -= n
				if v.quantity == 0 {
					continue
				}
			}
			loads = append(loads, load{l.Item, v})
			weights = append(weights, v.quantity)
		}
	}
	delete(p.cargo, s)
	for i, costs := range p.costs(&s.Document, weights, nil, nil) {
		l := loads[i].lot
		l.costs = append(append([]Cost(nil), l.costs...), costs...)
		p.put(s.Arrived, loads[i].item, s.To, l)
	}
	return nil
}

// assemble makes the bundles of one line out of what lies in the warehouse.
func (p *poster) assemble(a *Assembly, line int) error {
	l := a.Lines[line]
	made := lot{batch: &a.Document, quantity: l.Quantity}
	for _, part := range l.Kit.parts {
		lots, err := p.take(&a.Document, a.Date, part.item, a.Warehouse, l.Quantity*part.quantity)
		if err != nil {
			return err
		}
		for _, v := range lots {
			for _, cost := range v.costs {
				made.add(cost)
			}
		}
	}
	weights, makes := make([]int64, len(a.Lines)), make([]*Item, len(a.Lines))
	for i, l := range a.Lines {
		weights[i], makes[i] = l.Quantity, l.Kit.Item
	}
	for _, cost := range p.costs(&a.Document, weights, nil, makes)[line] {
		made.add(cost)
	}
	p.put(a.Date, l.Kit.Item, a.Warehouse, made)
	return nil
}

// add merges a cost into the lot's.
func (l *lot) add(c Cost) {
	for i := range l.costs {
		if l.costs[i].Kind == c.Kind && l.costs[i].Document == c.Document {
			l.costs[i].Amount += c.Amount
			return
		}
	}
	l.costs = append(l.costs, c)
}

// sell books one line of an invoice: revenue, and what the units have cost. A
// negative quantity comes back, at the cost of the units it lies beside.
func (p *poster) sell(v *Invoice, l InvoiceLine) error {
	if l.Item == nil {
		return nil
	}
	sale := Sale{Invoice: v, Quantity: l.Quantity, Revenue: l.Amount}
	switch {
	case v.Warehouse == nil || l.Quantity == 0:
	case l.Quantity > 0:
		lots, err := p.take(&v.Document, v.Date, l.Item, v.Warehouse, l.Quantity)
		if err != nil {
			return err
		}
		n := 0
		for _, v := range lots {
			n += len(v.costs)
		}
		sale.Parts = make([]Part, 0, n)
		for _, v := range lots {
			for _, c := range v.costs {
				sale.COGS += c.Amount
				sale.Parts = append(sale.Parts, Part{c.Kind, v.batch, c.Document, v.quantity, c.Amount})
			}
		}
	default:
		value := p.worth(l.Item, v.Warehouse, -l.Quantity)
		sale.COGS = -value
		sale.Parts = []Part{{"Return", &v.Document, &v.Document, l.Quantity, -value}}
		p.put(v.Date, l.Item, v.Warehouse, lot{batch: &v.Document, quantity: -l.Quantity, costs: []Cost{{"Return", &v.Document, value}}})
	}
	a := p.account(l.Item)
	a.Sales = append(a.Sales, sale)
	p.figure(v, figure{sale.Revenue, sale.COGS})
	return nil
}

// worth is what n more units beside those in the warehouse are worth: as much as
// the oldest there, or else as the last that came in anywhere.
func (p *poster) worth(i *Item, w *Warehouse, n int64) Decimal {
	a := p.account(i)
	value, units := Decimal(0), int64(0)
	if lots := a.shelves[w.index].lots; len(lots) > 0 {
		value, units = lots[0].value(), lots[0].quantity
	} else if k := len(a.Receipts); k > 0 {
		value, units = a.Receipts[k-1].Amount(), a.Receipts[k-1].Quantity
	}
	if units == 0 {
		return 0
	}
	unit := per(value, units)
	worth, _ := unit.Times(n)
	return worth
}

// adjust books one line of an adjustment. Units that go are written off at cost,
// whatever the line says they are worth; units that come in are worth what it says.
func (p *poster) adjust(a *Adjustment, l AdjustmentLine) error {
	if l.Quantity < 0 {
		p.put(a.Date, l.Item, a.Warehouse, lot{batch: &a.Document, quantity: -l.Quantity, costs: []Cost{{"Adjustment", &a.Document, -l.Amount}}})
		return nil
	}
	lots, err := p.take(&a.Document, a.Date, l.Item, a.Warehouse, l.Quantity)
	if err != nil {
		return err
	}
	var value Decimal
	for i := range lots {
		value += lots[i].value()
	}
	account := p.account(l.Item)
	account.Losses = append(account.Losses, Loss{a.Date, &a.Document, l.Quantity, value})
	return nil
}
