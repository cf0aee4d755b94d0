package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// The documents that clients create and change. A change applies the fields that
// are there and keeps the others; lines that are there replace all of the old
// ones. The reference number is fixed when the document is created: later ones
// are ignored.

func (x *exchange) author() ledger.Author { return ledger.Author{User: x.user, At: x.now} }

// refused turns the ledger's refusal into NeonPanel's. NeonPanel's document does
// not say what becomes of a document that takes more stock than there is. Here it
// is a fault of the line, or of whatever would leave another document short.
func refused(err error, field func(*ledger.Shortage) string) error {
	var short *ledger.Shortage
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ledger.ErrLocked):
		return badRequest("Document date is earlier than the Entry Locked Date.")
	case errors.Is(err, ledger.ErrFull):
		return &problem{status: http.StatusServiceUnavailable, Message: "This sandbox holds as many records of the company as it can. Start it anew."}
	case errors.As(err, &short) && field != nil:
		f := faults{}
		f.add(field(short), fmt.Sprintf("Not enough stock of %s in %s on %s: %d wanted by %s, %d available.",
			short.Item.Name(), short.Warehouse.Name, short.Date, short.Wanted, cmp.Or(short.Document.Ref, short.Document.Name, short.Document.Type), short.Held))
		return f.err()
	}
	return err
}

// shortOf names the field of a shortage: the line of the item, or all of them.
func shortOf[L any](field, quantity string, lines []L, item func(L) *ledger.Item) func(*ledger.Shortage) string {
	return func(s *ledger.Shortage) string {
		if i := slices.IndexFunc(lines, func(l L) bool { return item(l) == s.Item }); i >= 0 {
			return indexed(field, i) + "." + quantity
		}
		return field
	}
}

// changed finds the document of the path, or none for a new one, and the input.
func changed[T any](x *exchange, name string, all []*T, id func(*T) int64) (old *T, p *payload, err error) {
	if name != "" {
		if old, err = readDocument(x, name, all, id); err != nil {
			return nil, nil, err
		}
	}
	p, err = x.input()
	return old, p, err
}

// reference reads the reference number of a new document.
func (p *payload) reference(old bool, required bool, to *string) {
	if !old {
		*to = p.text("ref_number", required, 1, 255)
	}
}

func (s *server) setMarket(p *payload, field string, to *string) {
	p.setCode(field, 2, to, s.books.KnownMarket)
}

// setCurrency takes the company's currency only, for documents that move stock:
// the books are kept in it and the sandbox knows no rates of exchange.
func (x *exchange) setCurrency(p *payload) {
	var code string
	p.setCode("currency", 3, &code, func(c string) bool { return c == x.company.Currency })
}

func (x *exchange) setWarehouse(p *payload, field string, to **ledger.Warehouse) {
	setRef(p, field, to, func(id int64) *ledger.Warehouse {
		for _, w := range x.company.Warehouses {
			if w.ID == id {
				return w
			}
		}
		return nil
	})
}

// itemOf reads the inventory id of a line.
func (x *exchange) itemOf(p *payload, field string, required bool) *ledger.Item {
	id, ok := p.integer(field, required, 1)
	if !ok {
		return nil
	}
	i := x.company.Item(id)
	if i == nil {
		p.fault(field, invalid)
	}
	return i
}

func (x *exchange) serviceOf(p *payload) *ledger.Service {
	id, ok := p.integer("service_id", true, 1)
	if !ok {
		return nil
	}
	s := x.company.Service(id)
	if s == nil {
		p.fault("service_id", invalid)
	}
	return s
}

// times is quantity × rate, or a fault of the rate.
func (p *payload) times(field string, rate ledger.Decimal, n int64) ledger.Decimal {
	amount, ok := rate.Times(n)
	if !ok {
		p.fault(field, "The %s field is too large.")
	}
	return amount
}

func (s *server) createOrder(x *exchange) (any, error) { return s.saveOrder(x, "") }
func (s *server) updateOrder(x *exchange) (any, error) { return s.saveOrder(x, "orderId") }

func (s *server) saveOrder(x *exchange, id string) (any, error) {
	c := x.company
	old, p, err := changed(x, id, c.Orders, func(o *ledger.Order) int64 { return o.ID })
	if err != nil {
		return nil, err
	}
	var next ledger.Order
	if old != nil {
		next = *old
	}
	p.reference(old != nil, false, &next.Ref)
	p.setText("name", &next.Name)
	p.setDate("date_order_placed", &next.Placed)
	p.setDate("date_manufacturing_completed", &next.Received)
	s.setMarket(p, "market", &next.Country)
	x.setCurrency(p)
	setRef(p, "vendor_id", &next.Vendor, c.Vendor)
	x.setWarehouse(p, "warehouse_id", &next.Warehouse)
	setRef(p, "payment_term_id", &next.Term, c.Term)
	if p.has("details") {
		next.Lines = nil
		p.lines("details", func(o *payload) {
			var l ledger.OrderLine
			id, ok := o.integer("inventory_id", true, 1)
			if ok {
				l.Item = c.Item(id)
			}
			foreign := ok && l.Item == nil && s.books.Item(id) != nil
			if ok && l.Item == nil && !foreign {
				o.fault("inventory_id", invalid)
			}
			l.Quantity = o.units("quantity", 1)
			l.Price = o.decimal("price", true, false)
			o.times("price", l.Price, l.Quantity)
			// An item of another company is skipped without a word.
			if !foreign {
				next.Lines = append(next.Lines, l)
			}
		})
	}
	if err := p.faults.err(); err != nil {
		return nil, err
	}
	o, err := s.books.SaveOrder(c, x.author(), old, next)
	if err != nil {
		return nil, refused(err, shortOf("details", "quantity", next.Lines, func(l ledger.OrderLine) *ledger.Item { return l.Item }))
	}
	s.forget(&o.Document)
	return renderOrder(c.Currency)(o), nil
}

// forget drops what was rendered of a document before.
func (s *server) forget(d *ledger.Document) { delete(s.citations, d) }

func (s *server) createBill(x *exchange) (any, error) { return s.saveBill(x, "") }
func (s *server) updateBill(x *exchange) (any, error) { return s.saveBill(x, "billId") }

func (s *server) saveBill(x *exchange, id string) (any, error) {
	c := x.company
	old, p, err := changed(x, id, c.Bills, func(b *ledger.Bill) int64 { return b.ID })
	if err != nil {
		return nil, err
	}
	next := ledger.Bill{Currency: c.Currency}
	if old != nil {
		next = *old
	}
	p.reference(old != nil, false, &next.Ref)
	s.patchBill(x, p, &next)
	if next.Currency == "" {
		next.Currency = c.Currency
	}
	if old != nil && p.has("documents") {
		// Entries of another type than the first are dropped without a word.
		next.Documents = filter(next.Documents, func(d *ledger.Document) bool { return d.Type == next.Documents[0].Type })
	}
	if err := p.faults.err(); err != nil {
		return nil, err
	}
	b, err := s.books.SaveBill(c, x.author(), old, next)
	if err != nil {
		return nil, refused(err, nil)
	}
	s.forget(&b.Document)
	return renderBill(b), nil
}

// patchBill reads what bills and the import of bills have in common.
func (s *server) patchBill(x *exchange, p *payload, next *ledger.Bill) {
	c := x.company
	p.setText("name", &next.Name)
	p.setDate("date", &next.Date)
	s.setMarket(p, "market", &next.Country)
	p.setCode("currency", 3, &next.Currency, func(string) bool { return true })
	setRef(p, "vendor_id", &next.Vendor, c.Vendor)
	setRef(p, "payment_term_id", &next.Term, c.Term)
	if p.has("documents") {
		next.Documents = nil
		p.lines("documents", func(o *payload) {
			kind := o.text("type", true, 1, 40)
			id, ok := o.integer("id", true, 1)
			if kind == "" || !ok {
				return
			}
			switch kind {
			case "InventoryOrder", "AssemblyOrder", "Shipment", "Invoice":
				d := c.Document(kind, id)
				if d == nil {
					o.fault("id", invalid)
				} else if !slices.Contains(next.Documents, d) {
					next.Documents = append(next.Documents, d)
				}
			default:
				o.fault("type", invalid)
			}
		})
	}
	if p.has("details") {
		next.Lines = nil
		p.lines("details", func(o *payload) {
			l := ledger.BillLine{Service: x.serviceOf(o)}
			l.Quantity = o.units("quantity", 1)
			l.Rate = o.decimal("rate", true, false)
			l.Amount = o.times("rate", l.Rate, l.Quantity)
			next.Lines = append(next.Lines, l)
		})
	}
}

func (s *server) createShipment(x *exchange) (any, error) { return s.saveShipment(x, "") }
func (s *server) updateShipment(x *exchange) (any, error) { return s.saveShipment(x, "shipmentId") }

func (s *server) saveShipment(x *exchange, id string) (any, error) {
	c := x.company
	old, p, err := changed(x, id, c.Shipments, func(v *ledger.Shipment) int64 { return v.ID })
	if err != nil {
		return nil, err
	}
	next := ledger.Shipment{Source: "Manual"}
	if old != nil {
		next = *old
	}
	if next.Source != "Manual" {
		return nil, badRequest("Only manual shipments can be changed.")
	}
	p.reference(old != nil, true, &next.Ref)
	p.setText("name", &next.Name)
	p.setDate("date_shipment_sent", &next.Sent)
	p.setDate("date_shipment_arrived", &next.Arrived)
	s.setMarket(p, "origin_market", &next.FromMarket)
	s.setMarket(p, "destination_market", &next.ToMarket)
	x.setWarehouse(p, "origin_warehouse_id", &next.From)
	x.setWarehouse(p, "destination_warehouse_id", &next.To)
	p.setText("tracking_number", &next.Tracking)
	p.setOneOf("shipment_method", &next.Method, "LTL", "FTL", "SPD")
	if p.has("items") {
		next.Lines = nil
		p.lines("items", func(o *payload) {
			l := ledger.ShipmentLine{Item: x.itemOf(o, "origin_inventory_id", true)}
			l.Shipped = o.units("quantity_shipped", 1)
			l.Received = o.units("quantity_received", 1)
			if l.Shipped > 0 && l.Received > l.Shipped {
				o.fault("quantity_received", "The %s field must not be greater than "+strconv.FormatInt(l.Shipped, 10)+".")
			}
			next.Lines = append(next.Lines, l)
		})
	}
	if next.Arrived != 0 && next.Sent == 0 && !p.faulty("date_shipment_sent") {
		p.fault("date_shipment_sent", "The %s field is required when date shipment arrived is present.")
	}
	if next.Arrived != 0 && next.Arrived < next.Sent {
		p.fault("date_shipment_arrived", "The %s field must be a date after or equal to date shipment sent.")
	}
	if next.From != nil && next.From == next.To {
		p.fault("destination_warehouse_id", "The %s field and origin warehouse id must be different.")
	}
	if err := p.faults.err(); err != nil {
		return nil, err
	}
	v, err := s.books.SaveShipment(c, x.author(), old, next)
	if err != nil {
		return nil, refused(err, shortOf("items", "quantity_shipped", next.Lines, func(l ledger.ShipmentLine) *ledger.Item { return l.Item }))
	}
	s.forget(&v.Document)
	return renderShipment(v), nil
}

func (s *server) createInvoice(x *exchange) (any, error) { return s.saveInvoice(x, "") }
func (s *server) updateInvoice(x *exchange) (any, error) { return s.saveInvoice(x, "invoiceId") }

func (s *server) saveInvoice(x *exchange, id string) (any, error) {
	c := x.company
	old, p, err := changed(x, id, c.Invoices, func(v *ledger.Invoice) int64 { return v.ID })
	if err != nil {
		return nil, err
	}
	next := ledger.Invoice{Source: "manual"}
	if old != nil {
		next = *old
	}
	if next.Source != "manual" {
		return nil, badRequest("Only manual invoices can be changed.")
	}
	p.reference(old != nil, true, &next.Ref)
	p.setText("name", &next.Name)
	p.setDate("transaction_date", &next.Date)
	s.setMarket(p, "market", &next.Country)
	x.setCurrency(p)
	x.setWarehouse(p, "warehouse_id", &next.Warehouse)
	setRef(p, "customer_id", &next.Customer, func(id int64) *ledger.Customer {
		return find(c.Customers, func(v *ledger.Customer) bool { return v.ID == id })
	})
	setRef(p, "sales_channel_id", &next.Channel, func(id int64) *ledger.SalesChannel {
		return find(s.books.Channels, func(v *ledger.SalesChannel) bool { return v.ID == id })
	})
	if p.has("details") {
		next.Lines = nil
		p.lines("details", func(o *payload) {
			l := ledger.InvoiceLine{Item: x.itemOf(o, "inventory_id", false), Service: x.serviceOf(o)}
			l.Quantity = o.units("quantity", -maxUnits)
			l.Amount = o.decimal("amount", true, true)
			next.Lines = append(next.Lines, l)
		})
	}
	if err := p.faults.err(); err != nil {
		return nil, err
	}
	v, err := s.books.SaveInvoice(c, x.author(), old, next)
	if err != nil {
		return nil, refused(err, shortOf("details", "quantity", next.Lines, func(l ledger.InvoiceLine) *ledger.Item { return l.Item }))
	}
	s.forget(&v.Document)
	return renderInvoice(c.Currency)(v), nil
}

func find[T any](all []*T, is func(*T) bool) *T {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i]
	}
	return nil
}

func (s *server) createAssembly(x *exchange) (any, error) { return s.saveAssembly(x, "") }
func (s *server) updateAssembly(x *exchange) (any, error) { return s.saveAssembly(x, "orderId") }

func (s *server) saveAssembly(x *exchange, id string) (any, error) {
	c := x.company
	old, p, err := changed(x, id, c.Assemblies, func(v *ledger.Assembly) int64 { return v.ID })
	if err != nil {
		return nil, err
	}
	var next ledger.Assembly
	if old != nil {
		next = *old
	}
	p.reference(old != nil, true, &next.Ref)
	p.setText("name", &next.Name)
	p.setDate("date_order_assembled", &next.Date)
	s.setMarket(p, "market", &next.Country)
	x.setWarehouse(p, "warehouse_id", &next.Warehouse)
	if p.has("items") {
		next.Lines = nil
		p.lines("items", func(o *payload) {
			var l ledger.AssemblyLine
			if id, ok := o.integer("assembly_id", true, 1); ok {
				if l.Kit = find(c.Kits, func(k *ledger.Kit) bool { return k.ID == id }); l.Kit == nil {
					o.fault("assembly_id", invalid)
				}
			}
			l.Quantity = o.units("quantity", 1)
			next.Lines = append(next.Lines, l)
		})
	}
	if err := p.faults.err(); err != nil {
		return nil, err
	}
	v, err := s.books.SaveAssembly(c, x.author(), old, next)
	if err != nil {
		return nil, refused(err, func(short *ledger.Shortage) string {
			if i := slices.IndexFunc(next.Lines, func(l ledger.AssemblyLine) bool { return l.Kit.Uses(short.Item) }); i >= 0 {
				return indexed("items", i) + ".quantity"
			}
			return "items"
		})
	}
	s.forget(&v.Document)
	return renderAssembly(v), nil
}

func (s *server) createAdjustment(x *exchange) (any, error) { return s.saveAdjustment(x, "") }
func (s *server) updateAdjustment(x *exchange) (any, error) {
	return s.saveAdjustment(x, "adjustmentId")
}

func (s *server) saveAdjustment(x *exchange, id string) (any, error) {
	c := x.company
	old, p, err := changed(x, id, c.Adjustments, func(v *ledger.Adjustment) int64 { return v.ID })
	if err != nil {
		return nil, err
	}
	var next ledger.Adjustment
	if old != nil {
		next = *old
	}
	p.reference(old != nil, true, &next.Ref)
	p.setText("name", &next.Name)
	p.setDate("date", &next.Date)
	s.setMarket(p, "market", &next.Country)
	x.setCurrency(p)
	// More reasons may come: any text will do.
	p.setText("reason", &next.Reason)
	x.setWarehouse(p, "warehouse_id", &next.Warehouse)
	if p.has("details") {
		next.Lines = nil
		p.lines("details", func(o *payload) {
			l := ledger.AdjustmentLine{Item: x.itemOf(o, "inventory_id", true), Service: x.serviceOf(o)}
			// The text speaks of negative quantities, the schema starts at 1.
			l.Quantity = o.units("quantity", 1)
			l.Amount = o.times("rate", o.decimal("rate", true, false), l.Quantity)
			next.Lines = append(next.Lines, l)
		})
	}
	if err := p.faults.err(); err != nil {
		return nil, err
	}
	v, err := s.books.SaveAdjustment(c, x.author(), old, next)
	if err != nil {
		return nil, refused(err, shortOf("details", "quantity", next.Lines, func(l ledger.AdjustmentLine) *ledger.Item { return l.Item }))
	}
	s.forget(&v.Document)
	return renderAdjustment(c.Currency)(v), nil
}

// updatePayment is PUT …/payment-requests/{paymentId}.
func (s *server) updatePayment(x *exchange) (any, error) {
	id, err := strconv.ParseInt(x.r.PathValue("paymentId"), 10, 64)
	if err != nil {
		return nil, badRequest("The paymentId parameter must be an integer.")
	}
	all := x.payments()
	i := slices.IndexFunc(all, func(v payment) bool { return v.ID == id })
	if i < 0 {
		return nil, notFound("Document is not found.")
	}
	p, err := x.input()
	if err != nil {
		return nil, err
	}
	next := *all[i].Payment
	p.setDecimal("paid_amount", &next.Paid)
	p.setDate("payment_date", &next.PaidDate)
	p.setText("transaction_number", &next.Transaction)
	p.setText("memo", &next.Memo)
	if err := p.faults.err(); err != nil {
		return nil, err
	}
	s.books.SavePayment(x.company, x.author(), all[i].Payment, next)
	s.forget(next.Document)
	return renderPaymentOf(all[i]), nil
}
