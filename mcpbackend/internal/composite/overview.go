package composite

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// maxDocumentPages is how far lists of documents are read, newest first.
const maxDocumentPages = 10

// maxShown is how many documents of a kind are named.
const maxShown = 5

type stockOverview struct {
	Units      decimal          `json:"units"`
	Warehouses []warehouseStock `json:"warehouses"`
}

type money struct {
	Currency text    `json:"currency"`
	Amount   decimal `json:"amount"`
}

type openOrder struct {
	ID     decimal `json:"id"`
	Ref    text    `json:"ref_number"`
	Vendor text    `json:"vendor"`
	Placed text    `json:"date_order_placed"`
	Amount decimal `json:"amount"`
	// The currency of the order.
	Currency text   `json:"currency"`
	URL      string `json:"url"`
}

// openOrders has null for what a missing page may change.
type openOrders struct {
	Count   decimal     `json:"count"`
	AtLeast int         `json:"count_at_least,omitempty"`
	Amounts []money     `json:"amounts"`
	Oldest  []openOrder `json:"oldest"`
	Some    []openOrder `json:"oldest_of_those_read,omitempty"`
}

type movingShipment struct {
	ID    decimal `json:"id"`
	Ref   text    `json:"ref_number"`
	To    text    `json:"destination_warehouse"`
	Sent  text    `json:"date_shipment_sent"`
	Units decimal `json:"units"`
	URL   string  `json:"url"`
}

type movingShipments struct {
	Count   decimal          `json:"count"`
	AtLeast int              `json:"count_at_least,omitempty"`
	Units   decimal          `json:"units"`
	Oldest  []movingShipment `json:"oldest"`
	Some    []movingShipment `json:"oldest_of_those_read,omitempty"`
}

type duePayments struct {
	Count   decimal `json:"count"`
	AtLeast int     `json:"count_at_least,omitempty"`
	Amounts []money `json:"amounts"`
}

type paymentOverview struct {
	Overdue duePayments `json:"overdue"`
	DueSoon duePayments `json:"due_in_30_days"`
}

// companyOverview has null for a part that could not be read.
type companyOverview struct {
	Company   named            `json:"company"`
	Today     text             `json:"today"`
	Currency  text             `json:"currency"`
	ThisMonth *datedFigures    `json:"month_to_date"`
	LastMonth *datedFigures    `json:"last_month"`
	Stock     *stockOverview   `json:"stock"`
	Orders    *openOrders      `json:"open_orders"`
	Shipments *movingShipments `json:"shipments_in_transit"`
	Payments  *paymentOverview `json:"payments"`
	// Incomplete is there only when something is missing.
	Incomplete []missing `json:"incomplete,omitempty"`
}

// overview says how a company stands today.
func overview(s *session, a arguments) (any, *toolcall.Failure) {
	c, failure := s.company("company", a.text("company"))
	if failure != nil {
		return nil, failure
	}
	today := s.today(c)
	out := companyOverview{Company: c.named(), Today: text(today.Format(time.DateOnly)), Currency: c.Currency}

	toDate := month(today)
	toDate.End = out.Today
	for name, p := range map[string]struct {
		span span
		to   **datedFigures
	}{
		"sales of this month": {toDate, &out.ThisMonth},
		"sales of last month": {month(today.AddDate(0, 0, -today.Day())), &out.LastMonth},
	} {
		s.part(name, func() *toolcall.Failure {
			rows, failure := s.sales(c, p.span, "total", nil)
			if failure != nil {
				return failure
			}
			in := func(r sales) bool { return r.Currency == c.Currency }
			if slices.ContainsFunc(rows, func(r sales) bool { return !in(r) }) {
				s.left(name, "Sales in other currencies than the company's are left out; profit_summary has them.")
			}
			*p.to = &datedFigures{p.span, sum(rows, in)}
			return nil
		})
	}
	s.part("stock", func() *toolcall.Failure {
		stock, whole, failure := s.stock(c, out.Today)
		if failure != nil {
			return failure
		}
		o := &stockOverview{Warehouses: shown(stock, nil)}
		if whole {
			o.Units = integer(0)
			for _, h := range stock {
				o.Units = o.Units.add(h.Units)
			}
		}
		out.Stock = o
		return nil
	})
	s.part("open orders", func() (failure *toolcall.Failure) {
		out.Orders, failure = s.openOrders(c)
		return failure
	})
	s.part("shipments in transit", func() (failure *toolcall.Failure) {
		out.Shipments, failure = s.moving(c)
		return failure
	})
	s.part("payments", func() (failure *toolcall.Failure) {
		out.Payments, failure = s.payments(c, today)
		return failure
	})
	if failure := s.wait(); failure != nil {
		return nil, failure
	}
	out.Incomplete = s.incomplete()
	return out, nil
}

// newest reads a list of documents, newest first, and says how far.
func newest[T any](s *session, c company, part, operation string) (listed[T], *toolcall.Failure) {
	found, failure := all[T](s, part, query{operation: operation, path: c.path()}, pageSize, maxDocumentPages)
	if failure == nil && found.pages > maxDocumentPages {
		s.left(part, fmt.Sprintf("Only the newest %d were looked at, %d pages of %d.", len(found.rows), maxDocumentPages, found.pages))
	}
	return found, failure
}

// counted is a number of rows, or what it is at least when rows are missing.
func counted(n int, whole bool) (count decimal, atLeast int) {
	if whole {
		return integer(int64(n)), 0
	}
	return decimal{}, n
}

func (s *session) openOrders(c company) (*openOrders, *toolcall.Failure) {
	found, failure := newest[record](s, c, "open orders", "inventoryOrders.list")
	if failure != nil {
		return nil, failure
	}
	out := &openOrders{Amounts: []money{}, Oldest: []openOrder{}}
	for _, r := range found.rows {
		if r.Received != "" {
			continue
		}
		currency := cmp.Or(r.Currency, c.Currency)
		out.Amounts = pay(out.Amounts, currency, r.amount())
		out.Oldest = append(out.Oldest, openOrder{
			parseDecimal(string(r.ID)), r.Ref, r.Vendor.Name, r.Placed, r.amount(), currency,
			s.links.page(r.Link, address{"order", string(c.UUID), string(r.ID)}.String()),
		})
	}
	slices.SortStableFunc(out.Oldest, func(a, b openOrder) int { return cmp.Compare(a.Placed, b.Placed) })
	out.Count, out.AtLeast = counted(len(out.Oldest), found.whole)
	out.Oldest = out.Oldest[:min(len(out.Oldest), maxShown)]
	if !found.whole {
		out.Amounts, out.Oldest, out.Some = nil, nil, out.Oldest
	}
	return out, nil
}

func (s *session) moving(c company) (*movingShipments, *toolcall.Failure) {
	type shipment struct {
		record
		To struct {
			Name text `json:"name"`
		} `json:"destination_warehouse"`
		Items []struct {
			Shipped decimal `json:"quantity_shipped"`
		} `json:"items"`
	}
	found, failure := newest[shipment](s, c, "shipments in transit", "shipments.list")
	if failure != nil {
		return nil, failure
	}
	out := &movingShipments{Units: integer(0), Oldest: []movingShipment{}}
	for _, r := range found.rows {
		if r.Arrived != "" || r.Sent == "" {
			continue
		}
		units := integer(0)
		for _, i := range r.Items {
			units = units.add(i.Shipped)
		}
		out.Units = out.Units.add(units)
		out.Oldest = append(out.Oldest, movingShipment{
			parseDecimal(string(r.ID)), r.Ref, r.To.Name, r.Sent, units,
			s.links.page(r.Link, address{"shipment", string(c.UUID), string(r.ID)}.String()),
		})
	}
	slices.SortStableFunc(out.Oldest, func(a, b movingShipment) int { return cmp.Compare(a.Sent, b.Sent) })
	out.Count, out.AtLeast = counted(len(out.Oldest), found.whole)
	out.Oldest = out.Oldest[:min(len(out.Oldest), maxShown)]
	if !found.whole {
		out.Units, out.Oldest, out.Some = decimal{}, nil, out.Oldest
	}
	return out, nil
}

// payments adds up what is still owed of the instalments: of those due before
// today, in the last year, and of those due in the next 30 days.
func (s *session) payments(c company, today time.Time) (*paymentOverview, *toolcall.Failure) {
	type payment struct {
		Due      decimal `json:"amount_due"`
		Paid     decimal `json:"paid_amount"`
		DueDate  text    `json:"due_date"`
		PaidDate text    `json:"payment_date"`
		Currency text    `json:"currency"`
	}
	q := query{operation: "paymentRequests.list", path: c.path()}.
		with("start_date", today.AddDate(-1, 0, 0).Format(time.DateOnly)).with("end_date", today.AddDate(0, 0, 30).Format(time.DateOnly))
	found, failure := all[payment](s, "payments", q, pageSize, maxDocumentPages)
	if failure != nil {
		return nil, failure
	}
	if found.pages > maxDocumentPages {
		s.left("payments", fmt.Sprintf("Only %d payments of the last year were looked at, %d pages of %d.", len(found.rows), maxDocumentPages, found.pages))
	}
	overdue, soon := 0, 0
	out := &paymentOverview{duePayments{Amounts: []money{}}, duePayments{Amounts: []money{}}}
	for _, p := range found.rows {
		at := day(p.DueDate, c.zone())
		open := p.Due
		if p.Paid.known() {
			open = open.sub(p.Paid)
		}
		switch {
		case at == "":
			continue
		case p.PaidDate != "" && (p.Paid.sign() == 0 || !open.known()):
			// A date without an amount means that all was paid; with an amount, a
			// part may still be owed.
			continue
		case open.known() && open.sign() <= 0:
			continue
		}
		to, count := &out.DueSoon, &soon
		if string(at) < today.Format(time.DateOnly) {
			to, count = &out.Overdue, &overdue
		}
		*count++
		to.Amounts = pay(to.Amounts, cmp.Or(p.Currency, c.Currency), open)
	}
	out.Overdue.Count, out.Overdue.AtLeast = counted(overdue, found.whole)
	out.DueSoon.Count, out.DueSoon.AtLeast = counted(soon, found.whole)
	if !found.whole {
		out.Overdue.Amounts, out.DueSoon.Amounts = nil, nil
	}
	return out, nil
}

// pay adds an amount to those of its currency.
func pay(amounts []money, currency text, amount decimal) []money {
	i := slices.IndexFunc(amounts, func(m money) bool { return m.Currency == currency })
	if i < 0 {
		amounts = append(amounts, money{currency, integer(0)})
		i = len(amounts) - 1
	}
	amounts[i].Amount = amounts[i].Amount.add(amount)
	slices.SortFunc(amounts, func(a, b money) int { return cmp.Compare(a.Currency, b.Currency) })
	return amounts
}
