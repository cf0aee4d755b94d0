package ledger

import (
	"errors"
	"slices"
	"time"
)

// maxWritten bounds the records that a company can be given.
const maxWritten = 5_000

// The refusals of a change, beside Shortage.
var (
	ErrLocked = errors.New("the document is dated before the Entry Locked Date")
	ErrFull   = errors.New("the company has as many records as this sandbox keeps")
)

// Author is who changes the books, and when.
type Author struct {
	User *User
	At   time.Time
}

// locked tells whether accounts are closed on any of the dates; 0 is no date.
func (b *Books) locked(by Author, dates ...Date) bool {
	closed := max(EntryLockedDate(DateOf(by.At)), b.closed)
	return slices.ContainsFunc(dates, func(d Date) bool { return d != 0 && d < closed })
}

// save puts a new document into a list or next over an old one. If one of them
// moves stock or bears on its cost, the company is booked again; if that fails,
// everything is as before.
func save[T any, P interface {
	*T
	head() *Document
}](b *Books, c *Company, by Author, list *[]P, old P, next T, moves bool, after func(P)) (P, error) {
	doc := P(&next).head()
	var before T
	if old == nil {
		if b.locked(by, doc.Date) {
			return nil, ErrLocked
		}
		if c.written >= maxWritten {
			return nil, ErrFull
		}
		old = new(T)
		doc.ID = b.ids.take(doc.Type)
		doc.Task = taskID(sections[doc.Type], doc.ID)
		doc.Creator = by.User
		*list = append(*list, old)
		c.written++
		defer func(n int) {
			if (*list)[n-1] == nil {
				*list = (*list)[:n-1]
				c.written--
			}
		}(len(*list))
	} else {
		before = *old
		was := old.head()
		if b.locked(by, doc.Date, was.Date) {
			return nil, ErrLocked
		}
		// What a document keeps for life.
		doc.ID, doc.Ref, doc.Task, doc.Creator = was.ID, was.Ref, was.Task, was.Creator
	}
	switch {
	case doc.Status != "Completed":
		doc.Completed = time.Time{}
	case doc.Completed.IsZero():
		doc.Completed = by.At
	}
	*old = next
	if after != nil {
		after(old)
	}
	if !moves {
		return old, nil
	}
	if err := c.rebook(); err != nil {
		if P(&before).head().ID == 0 {
			(*list)[len(*list)-1] = nil
		} else {
			*old = before
		}
		return nil, err
	}
	return old, nil
}

// SaveOrder adds an order, or replaces old by next.
func (b *Books) SaveOrder(c *Company, by Author, old *Order, next Order) (*Order, error) {
	next.Type, next.Date, next.Status = "InventoryOrder", next.Received, "In Production"
	if next.Received != 0 {
		next.Status = "Completed"
	}
	next.Total = 0
	for _, l := range next.Lines {
		next.Total += Decimal(l.Quantity) * l.Price
	}
	return save(b, c, by, &c.Orders, old, next, next.Received != 0 || old != nil && old.Received != 0, func(o *Order) {
		o.Payments = b.schedule(o.Term, &o.Document, o.Total, o.anchors(), o.Payments)
	})
}

// SaveBill adds a bill, or replaces old by next.
func (b *Books) SaveBill(c *Company, by Author, old *Bill, next Bill) (*Bill, error) {
	next.Type = "Bill"
	next.Total = 0
	for _, l := range next.Lines {
		next.Total += l.Amount
	}
	if old == nil {
		next.Status = "Awaiting Payment"
	} else if !slices.Equal(next.Documents, old.Documents) {
		next.only = nil
	}
	v, err := save(b, c, by, &c.Bills, old, next, c.bear(&next) || old != nil && c.bear(old), func(v *Bill) {
		v.Payments = b.schedule(v.Term, &v.Document, v.Total, v.anchors(), v.Payments)
	})
	if err == nil {
		v.settle(by)
	}
	return v, err
}

// bear tells whether the cost of the bill is in goods that came in since the
// closing, or may get there.
func (c *Company) bear(v *Bill) bool {
	return slices.ContainsFunc(v.Documents, func(d *Document) bool {
		switch d.Type {
		case "Invoice":
			return false
		case "Shipment": // they cost where they arrive
			return slices.ContainsFunc(c.Shipments, func(s *Shipment) bool {
				return &s.Document == d && (s.Arrived == 0 || s.Arrived >= c.closing.date)
			})
		}
		return d.Date == 0 || d.Date >= c.closing.date
	})
}

// settle completes a bill that has been paid in full. Those of the seeds are
// complete from the start.
func (v *Bill) settle(by Author) {
	if v.Creator == nil {
		return
	}
	v.Status, v.Completed = "Awaiting Payment", time.Time{}
	if len(v.Payments) > 0 && !slices.ContainsFunc(v.Payments, func(p *Payment) bool { return p.Paid < p.Due }) {
		v.Status, v.Completed = "Completed", by.At
	}
}

// SaveShipment adds a shipment, or replaces old by next.
func (b *Books) SaveShipment(c *Company, by Author, old *Shipment, next Shipment) (*Shipment, error) {
	next.Type, next.Date, next.cargo = "Shipment", next.Sent, nil
	switch {
	case next.Arrived != 0:
		next.Status = "Completed"
	case next.Sent != 0:
		next.Status = "In Transit"
	default:
		next.Status = "Draft"
	}
	next.Lines = slices.Clone(next.Lines)
	for i := range next.Lines {
		if l := &next.Lines[i]; next.Arrived != 0 && l.Received == 0 {
			l.Received = l.Shipped // arrived uncounted
		}
	}
	return save(b, c, by, &c.Shipments, old, next, next.Date != 0 || old != nil && old.Date != 0, nil)
}

// SaveInvoice adds an invoice, or replaces old by next.
func (b *Books) SaveInvoice(c *Company, by Author, old *Invoice, next Invoice) (*Invoice, error) {
	next.Type, next.Status = "Invoice", dated(next.Date)
	next.Total = 0
	for _, l := range next.Lines {
		next.Total += l.Amount
	}
	return save(b, c, by, &c.Invoices, old, next, next.Date != 0 || old != nil && old.Date != 0, nil)
}

// SaveAssembly adds an assembly order, or replaces old by next.
func (b *Books) SaveAssembly(c *Company, by Author, old *Assembly, next Assembly) (*Assembly, error) {
	next.Type, next.Status = "AssemblyOrder", dated(next.Date)
	return save(b, c, by, &c.Assemblies, old, next, next.Date != 0 || old != nil && old.Date != 0, nil)
}

// SaveAdjustment adds an adjustment, or replaces old by next.
func (b *Books) SaveAdjustment(c *Company, by Author, old *Adjustment, next Adjustment) (*Adjustment, error) {
	next.Type, next.Status = "Adjustment", dated(next.Date)
	next.Total = 0
	for _, l := range next.Lines {
		next.Total += l.Amount
	}
	return save(b, c, by, &c.Adjustments, old, next, next.Date != 0 || old != nil && old.Date != 0, nil)
}

func dated(d Date) string {
	if d == 0 {
		return "Draft"
	}
	return "Completed"
}

// SavePayment changes an instalment; only what was paid, when and how.
func (b *Books) SavePayment(c *Company, by Author, p *Payment, next Payment) {
	p.Paid, p.PaidDate, p.Transaction, p.Memo = next.Paid, next.PaidDate, next.Transaction, next.Memo
	for _, v := range c.Bills {
		if &v.Document == p.Document {
			v.settle(by)
		}
	}
}

// SaveProduct adds a product, or replaces old by next.
func (b *Books) SaveProduct(c *Company, old *Product, next Product) (*Product, error) {
	if old != nil {
		*old = next
		// Costs of freight go by weight.
		return old, c.rebook()
	}
	if c.written >= maxWritten {
		return nil, ErrFull
	}
	c.written++
	next.ID = b.ids.take("product")
	c.Products = append(c.Products, &next)
	return &next, nil
}

// DeleteProduct removes a product, unless a bundle is made by it.
func (b *Books) DeleteProduct(c *Company, p *Product) bool {
	if slices.ContainsFunc(c.Kits, func(k *Kit) bool { return k.Item.Product == p }) {
		return false
	}
	p.Deleted = true
	c.Products = slices.DeleteFunc(slices.Clone(c.Products), func(v *Product) bool { return v == p })
	return true
}

// SaveItem adds an inventory item, or replaces old by next.
func (b *Books) SaveItem(c *Company, by Author, old *Item, next Item) (*Item, error) {
	if old != nil {
		next.Account = old.Account
		*old = next
		return old, c.rebook()
	}
	if c.written >= maxWritten {
		return nil, ErrFull
	}
	c.written++
	next.ID, next.Company, next.Created, next.Account = b.ids.take("item"), c, by.At, newAccount(c)
	c.Items = append(c.Items, &next)
	c.itemByID[next.ID] = &next
	return &next, nil
}

// DeleteItem removes an inventory item, unless a document or a bundle names it.
func (b *Books) DeleteItem(c *Company, i *Item) bool {
	if c.names(i) {
		return false
	}
	c.Items = slices.DeleteFunc(slices.Clone(c.Items), func(v *Item) bool { return v == i })
	delete(c.itemByID, i.ID)
	return true
}

func (c *Company) names(i *Item) bool {
	for _, o := range c.Orders {
		if slices.ContainsFunc(o.Lines, func(l OrderLine) bool { return l.Item == i }) {
			return true
		}
	}
	for _, s := range c.Shipments {
		if slices.ContainsFunc(s.Lines, func(l ShipmentLine) bool { return l.Item == i }) {
			return true
		}
	}
	for _, v := range c.Invoices {
		if slices.ContainsFunc(v.Lines, func(l InvoiceLine) bool { return l.Item == i }) {
			return true
		}
	}
	for _, a := range c.Adjustments {
		if slices.ContainsFunc(a.Lines, func(l AdjustmentLine) bool { return l.Item == i }) {
			return true
		}
	}
	return slices.ContainsFunc(c.Kits, func(k *Kit) bool {
		return k.Item == i || slices.ContainsFunc(k.parts, func(p kitPart) bool { return p.item == i })
	})
}

// Sync brings a listing up to date with the marketplace, which knows its bullet
// points.
func (b *Books) Sync(c *Company, l *Listing) {
	if l.Bullets == nil {
		l.Bullets = make(map[string][]string)
		for _, tag := range c.languages {
			l.Bullets[tag] = []string{l.Title, "Brand: " + l.Brand}
		}
	}
}
