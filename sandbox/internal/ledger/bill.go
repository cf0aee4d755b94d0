package ledger

import (
	"slices"
	"time"
)

// BillInput is a checked bill to be booked.
type BillInput struct {
	Ref, Name string
	Date      Date
	Country   string
	Currency  string
	Vendor    *Vendor
	Term      *PaymentTerm
	Documents []*Document
	Lines     []BillLine
}

// NewBill makes a bill with its own id and instalments. It does not become part
// of the books, which are read only: who created it keeps it.
func (b *Books) NewBill(in BillInput) *Bill {
	id := b.ids.take("Bill")
	bill := &Bill{
		Document: Document{
			ID: id, Type: "Bill", Name: in.Name, Ref: in.Ref, Date: in.Date,
			Status: "Awaiting Payment", Completed: time.Time{}, Task: taskID(sections["Bill"], id),
		},
		Country: in.Country, Currency: in.Currency, Vendor: in.Vendor, Term: in.Term, Documents: in.Documents, Lines: in.Lines,
	}
	for _, l := range in.Lines {
		bill.Total += l.Amount
	}
	bill.Payments = b.Instalments(in.Term, &bill.Document, bill.Total, map[string]Date{"date": in.Date})
	return bill
}

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
