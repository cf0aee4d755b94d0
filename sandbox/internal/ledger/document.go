package ledger

import (
	"fmt"
	"slices"
)

// Times multiplies by a quantity; ok is false when the product is too large.
func (d Decimal) Times(n int64) (product Decimal, ok bool) {
	if d == 0 || n == 0 {
		return 0, true
	}
	p := int64(d) * n
	if p/n != int64(d) || Decimal(p) > maxDecimal || Decimal(p) < -maxDecimal {
		return 0, false
	}
	return Decimal(p), true
}

// KnownMarket tells whether any company sells in the country.
func (b *Books) KnownMarket(country string) bool {
	return slices.ContainsFunc(b.Companies, func(c *Company) bool { return slices.Contains(c.Countries, country) })
}

// Document returns the company's document of the type with the id, or nil.
func (c *Company) Document(kind string, id int64) *Document {
	for d := range c.Documents() {
		if d.Type == kind && d.ID == id {
			return d
		}
	}
	return nil
}

func (d *Document) head() *Document { return d }

// anchors are the dates that payment terms count from.
func (o *Order) anchors() map[string]Date {
	return map[string]Date{"date_order_placed": o.Placed, "date_order_received": o.Received, "date": o.Placed}
}

func (v *Bill) anchors() map[string]Date { return map[string]Date{"date": v.Date} }

// schedule applies a payment term to a document's total. Instalments that there
// are and that the term calls for stay, with all that was written on them; those
// it does not call for go.
func (b *Books) schedule(t *PaymentTerm, doc *Document, total Decimal, dates map[string]Date, have []*Payment) []*Payment {
	if t == nil {
		return nil
	}
	left := total
	var out []*Payment
	for k, in := range t.Instalments {
		due := left
		if k < len(t.Instalments)-1 {
			due = share(total, int64(in.Percentage), 100)
		}
		left -= due
		var p *Payment
		if i := slices.IndexFunc(have, func(p *Payment) bool { return p.instalment == in && !slices.Contains(out, p) }); i >= 0 {
			kept := *have[i] // a copy, so that a change can be undone
			p = &kept
		} else {
			p = &Payment{ID: b.ids.take("payment"), Document: doc, Description: fmt.Sprintf("%d%% balance", in.Percentage), Classification: "balance", instalment: in}
			switch {
			case len(t.Instalments) == 1:
				p.Description, p.Classification = "Full payment", "payment"
			case k == 0:
				p.Description, p.Classification = fmt.Sprintf("%d%% deposit", in.Percentage), "deposit"
			}
		}
		p.Due, p.DueDate = due, 0
		if d := dates[in.Anchor]; d != 0 {
			p.DueDate = d + Date(in.DaysOffset)
		}
		out = append(out, p)
	}
	return out
}

// ASIN is the item's in its marketplace, or empty.
func (i *Item) ASIN() string {
	if i.Listing == nil {
		return ""
	}
	return i.Listing.ASIN
}

// Name is what the item is called in messages.
func (i *Item) Name() string { return i.Product.SKU }

// Uses tells whether the bundle is made of the item.
func (k *Kit) Uses(i *Item) bool {
	return slices.ContainsFunc(k.parts, func(p kitPart) bool { return p.item == i })
}

// Item returns the item of any company with the id, or nil.
func (b *Books) Item(id int64) *Item {
	for _, c := range b.Companies {
		if i := c.itemByID[id]; i != nil {
			return i
		}
	}
	return nil
}
