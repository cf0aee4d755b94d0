package api

import (
	"slices"
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// place is a warehouse inside a document. Here, and only here, it shows the
// integer id that document payloads want as warehouse_id.
type place struct {
	ID      int64   `json:"id"`
	UUID    string  `json:"uuid"`
	Name    string  `json:"name"`
	Type    *string `json:"type"`
	Country *string `json:"country_code"`
}

func renderPlace(w *ledger.Warehouse) *place {
	if w == nil {
		return nil
	}
	return &place{w.ID, w.UUID, w.Name, orNull(w.Type), orNull(w.Country)}
}

// named is a snapshot of a vendor or payment term.
type named struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

func namedVendor(v *ledger.Vendor) *named {
	if v == nil {
		return nil
	}
	return &named{v.ID, v.Name}
}

func namedTerm(t *ledger.PaymentTerm) *named {
	if t == nil {
		return nil
	}
	return &named{t.ID, t.Name}
}

// reference is a document as bills and payments name it; unlike in the analytics
// it has an id and a plain date.
type reference struct {
	ID        int64   `json:"id"`
	Type      string  `json:"type"`
	Link      string  `json:"link"`
	Status    string  `json:"status"`
	Completed instant `json:"completed"`
	Ref       *string `json:"ref_number"`
	Date      day     `json:"date"`
}

func refer(d *ledger.Document) reference {
	return reference{d.ID, d.Type, d.Link(), d.Status, instant(d.Completed), orNull(d.Ref), day(d.Date)}
}

type paymentBody struct {
	ID             int64           `json:"id"`
	Due            ledger.Decimal  `json:"amount_due"`
	Paid           *ledger.Decimal `json:"paid_amount"`
	DueDate        day             `json:"due_date"`
	PaidDate       day             `json:"payment_date"`
	Currency       string          `json:"currency"`
	Description    string          `json:"description"`
	Classification string          `json:"classification"`
	Transaction    *string         `json:"transaction_number"`
	Memo           *string         `json:"memo"`
}

func renderPayments(currency string, payments []*ledger.Payment) []paymentBody {
	return each(payments, func(p *ledger.Payment) paymentBody { return renderPayment(currency, p) })
}

func renderPayment(currency string, p *ledger.Payment) paymentBody {
	b := paymentBody{
		ID: p.ID, Due: p.Due, DueDate: day(p.DueDate), PaidDate: day(p.PaidDate), Currency: currency,
		Description: p.Description, Classification: p.Classification, Transaction: orNull(p.Transaction), Memo: orNull(p.Memo),
	}
	if p.PaidDate != 0 || p.Paid != 0 {
		b.Paid = &p.Paid
	}
	return b
}

// documentFilters are the filters of a list of documents and, in the answer, the
// echo of those applied.
type documentFilters struct {
	Search     string  `json:"search,omitempty"`
	Warehouses []int64 `json:"warehouses,omitempty"`
	Vendors    []int64 `json:"vendors,omitempty"`
	Start      *day    `json:"start_date,omitempty"`
	End        *day    `json:"end_date,omitempty"`
}

// which names the filters that a list knows; it ignores the others.
type which struct{ search, warehouses, vendors, dates bool }

func (f *form) documents(w which) documentFilters {
	var d documentFilters
	if w.search {
		d.Search = f.scalar("search")
	}
	if w.warehouses {
		d.Warehouses = f.ids("warehouses")
	}
	if w.vendors {
		d.Vendors = f.ids("vendors")
	}
	if w.dates {
		for field, to := range map[string]**day{"start_date": &d.Start, "end_date": &d.End} {
			if v := f.date(field, -1); v >= 0 {
				v := day(v)
				*to = &v
			}
		}
	}
	return d
}

func (f *form) ids(field string) []int64 {
	var out []int64
	for i, s := range f.list(field) {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			f.faults.add(indexed(field, i), "The "+indexed(field, i)+" field must be an integer.")
			continue
		}
		out = append(out, n)
	}
	return out
}

// found tells whether any text contains what was searched for.
func (d *documentFilters) found(texts ...string) bool {
	return d.Search == "" || contains(strings.ToLower(d.Search), texts...)
}

// within tells whether the dates are in the range; an open date (0) is in no
// range. Shipments give two dates, the others one twice.
func (d *documentFilters) within(from, to ledger.Date) bool {
	return (d.Start == nil || from != 0 && day(from) >= *d.Start) && (d.End == nil || to != 0 && day(to) <= *d.End)
}

func (d *documentFilters) at(warehouses ...*ledger.Warehouse) bool {
	if d.Warehouses == nil {
		return true
	}
	return slices.ContainsFunc(warehouses, func(w *ledger.Warehouse) bool { return w != nil && slices.Contains(d.Warehouses, w.ID) })
}

func (d *documentFilters) from(v *ledger.Vendor) bool {
	return d.Vendors == nil || v != nil && slices.Contains(d.Vendors, v.ID)
}

// documentPage is a list of documents, newest first.
type documentPage[V any] struct {
	paging
	Filters documentFilters `json:"filters"`
	Data    []V             `json:"data"`
}

func listDocuments[T, V any](f *form, w which, size limits, all []T, keep func(*documentFilters, T) bool, render func(T) V) (any, error) {
	p := f.page(size)
	filters := f.documents(w)
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	kept := make([]T, 0, len(all))
	for i := len(all) - 1; i >= 0; i-- {
		if keep(&filters, all[i]) {
			kept = append(kept, all[i])
		}
	}
	rows := cut(&p, kept)
	return documentPage[V]{p, filters, each(rows, render)}, nil
}

// readDocument finds the document of the path among the company's, which are in
// order of id.
func readDocument[T any](x *exchange, name string, all []T, id func(T) int64) (T, error) {
	var none T
	want, err := strconv.ParseInt(x.r.PathValue(name), 10, 64)
	if err != nil {
		return none, badRequest("The " + name + " parameter must be an integer.")
	}
	if i, ok := slices.BinarySearchFunc(all, want, func(v T, id64 int64) int { return int(id(v) - id64) }); ok {
		return all[i], nil
	}
	return none, notFound("Document is not found.")
}

type orderLine struct {
	Item     int64          `json:"inventory_id"`
	SKU      string         `json:"sku"`
	Name     string         `json:"name"`
	Quantity int64          `json:"quantity"`
	Price    ledger.Decimal `json:"price"`
}

type orderBody struct {
	ID        int64          `json:"id"`
	Name      *string        `json:"name"`
	Link      string         `json:"link"`
	Ref       *string        `json:"ref_number"`
	Placed    day            `json:"date_order_placed"`
	Received  day            `json:"date_manufacturing_completed"`
	Market    *string        `json:"market"`
	Total     ledger.Decimal `json:"total_amount"`
	Currency  string         `json:"currency"`
	Vendor    *named         `json:"vendor"`
	Warehouse *place         `json:"warehouse"`
	Term      *named         `json:"payment_term"`
	Details   []orderLine    `json:"details"`
	Payments  []paymentBody  `json:"payment_requests"`
}

func renderOrder(currency string) func(*ledger.Order) orderBody {
	return func(o *ledger.Order) orderBody {
		return orderBody{
			o.ID, orNull(o.Name), o.Link(), orNull(o.Ref), day(o.Placed), day(o.Received), orNull(o.Country), o.Total, currency,
			namedVendor(o.Vendor), renderPlace(o.Warehouse), namedTerm(o.Term),
			each(o.Lines, func(l ledger.OrderLine) orderLine {
				return orderLine{l.Item.ID, l.Item.Product.SKU, l.Item.Product.Name, l.Quantity, l.Price}
			}),
			renderPayments(currency, o.Payments),
		}
	}
}

// listOrders is GET …/inventory-orders. Its text says that filters go under the
// key `filters`, its parameters are plain; both are understood.
func (s *server) listOrders(x *exchange) (any, error) {
	f := x.form()
	if nested := f.get("filters"); nested != nil && nested.array {
		f.params = &params{array: true, keys: slices.Concat(f.keys, nested.keys), items: slices.Concat(f.items, nested.items)}
	}
	return listDocuments(f, which{search: true, warehouses: true, vendors: true, dates: true}, documentList, x.company.Orders,
		func(d *documentFilters, o *ledger.Order) bool {
			vendor := ""
			if o.Vendor != nil {
				vendor = o.Vendor.Name
			}
			return d.found(o.Name, o.Ref, vendor) && d.at(o.Warehouse) && d.from(o.Vendor) && d.within(o.Received, o.Received)
		}, renderOrder(x.company.Currency))
}

func (s *server) readOrder(x *exchange) (any, error) {
	o, err := readDocument(x, "orderId", x.company.Orders, func(o *ledger.Order) int64 { return o.ID })
	if err != nil {
		return nil, err
	}
	return renderOrder(x.company.Currency)(o), nil
}

type billLine struct {
	Service  int64          `json:"service_id"`
	Name     *string        `json:"service_name"`
	Group    *string        `json:"service_group"`
	Quantity int64          `json:"quantity"`
	Rate     ledger.Decimal `json:"rate"`
	Amount   ledger.Decimal `json:"amount"`
}

type billBody struct {
	ID        int64          `json:"id"`
	Name      *string        `json:"name"`
	Link      string         `json:"link"`
	Ref       *string        `json:"ref_number"`
	Date      day            `json:"date"`
	Market    *string        `json:"market"`
	Amount    ledger.Decimal `json:"amount"`
	Currency  string         `json:"currency"`
	Vendor    *named         `json:"vendor"`
	Term      *named         `json:"payment_term"`
	Documents []reference    `json:"documents"`
	Details   []billLine     `json:"details"`
	Payments  []paymentBody  `json:"payment_requests"`
}

func renderBill(b *ledger.Bill) billBody {
	return billBody{
		b.ID, orNull(b.Name), b.Link(), orNull(b.Ref), day(b.Date), orNull(b.Country), b.Total, b.Currency,
		namedVendor(b.Vendor), namedTerm(b.Term), each(b.Documents, refer),
		each(b.Lines, func(l ledger.BillLine) billLine {
			return billLine{l.Service.ID, orNull(l.Service.Name), orNull(l.Service.Group), l.Quantity, l.Rate, l.Amount}
		}),
		renderPayments(b.Currency, b.Payments),
	}
}

func (s *server) listBills(x *exchange) (any, error) {
	return listDocuments(x.form(), which{search: true, vendors: true, dates: true}, documentList, x.company.Bills,
		func(d *documentFilters, b *ledger.Bill) bool {
			vendor := ""
			if b.Vendor != nil {
				vendor = b.Vendor.Name
			}
			return d.found(b.Name, b.Ref, vendor) && d.from(b.Vendor) && d.within(b.Date, b.Date)
		}, renderBill)
}

func (s *server) readBill(x *exchange) (any, error) {
	b, err := readDocument(x, "billId", x.company.Bills, func(b *ledger.Bill) int64 { return b.ID })
	if err != nil {
		return nil, err
	}
	return renderBill(b), nil
}

type shipmentItem struct {
	Origin   itemBody `json:"origin_inventory"`
	Shipped  int64    `json:"quantity_shipped"`
	Received *int64   `json:"quantity_received"`
}

type shipmentBody struct {
	ID         int64          `json:"id"`
	Name       *string        `json:"name"`
	Link       string         `json:"link"`
	Source     string         `json:"source_type"`
	Ref        *string        `json:"ref_number"`
	Sent       day            `json:"date_shipment_sent"`
	Arrived    day            `json:"date_shipment_arrived"`
	FromMarket *string        `json:"origin_market"`
	ToMarket   *string        `json:"destination_market"`
	From       *place         `json:"origin_warehouse"`
	To         *place         `json:"destination_warehouse"`
	Tracking   *string        `json:"tracking_number"`
	Method     *string        `json:"shipment_method"`
	Carrier    *string        `json:"carrier_name"`
	Items      []shipmentItem `json:"items"`
}

func renderShipment(v *ledger.Shipment) shipmentBody {
	return shipmentBody{
		v.ID, orNull(v.Name), v.Link(), v.Source, orNull(v.Ref), day(v.Sent), day(v.Arrived), orNull(v.FromMarket), orNull(v.ToMarket),
		renderPlace(v.From), renderPlace(v.To), orNull(v.Tracking), orNull(v.Method), orNull(v.Carrier),
		each(v.Lines, func(l ledger.ShipmentLine) shipmentItem {
			item := shipmentItem{Origin: renderItem(l.Item), Shipped: l.Shipped}
			if l.Received != 0 {
				item.Received = &l.Received
			}
			return item
		}),
	}
}

// listShipments: start_date is compared with the arrival, end_date with the
// dispatch, as documented.
func (s *server) listShipments(x *exchange) (any, error) {
	return listDocuments(x.form(), which{search: true, warehouses: true, dates: true}, documentList, x.company.Shipments,
		func(d *documentFilters, v *ledger.Shipment) bool {
			return d.found(v.Ref, v.Name) && d.at(v.From, v.To) && d.within(v.Arrived, v.Sent)
		}, renderShipment)
}

func (s *server) readShipment(x *exchange) (any, error) {
	v, err := readDocument(x, "shipmentId", x.company.Shipments, func(v *ledger.Shipment) int64 { return v.ID })
	if err != nil {
		return nil, err
	}
	return renderShipment(v), nil
}

type invoiceLine struct {
	Item     *int64         `json:"inventory_id"`
	Service  int64          `json:"service_id"`
	SKU      *string        `json:"sku"`
	Product  *string        `json:"product_name"`
	Name     string         `json:"service_name"`
	Group    *string        `json:"service_group"`
	Quantity int64          `json:"quantity"`
	Amount   ledger.Decimal `json:"amount"`
}

type customerBody struct {
	ID     int64   `json:"id"`
	BKID   *string `json:"bk_id"`
	BKType *string `json:"bk_type"`
	Name   *string `json:"name"`
	Code   *string `json:"code"`
}

type channelBody struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

type invoiceBody struct {
	ID        int64          `json:"id"`
	Name      *string        `json:"name"`
	Link      string         `json:"link"`
	Source    string         `json:"source"`
	Ref       *string        `json:"ref_number"`
	Date      day            `json:"transaction_date"`
	Market    *string        `json:"market"`
	Amount    ledger.Decimal `json:"amount"`
	Currency  string         `json:"currency"`
	Warehouse *place         `json:"warehouse"`
	Customer  *customerBody  `json:"customer"`
	Channel   *channelBody   `json:"sales_channel"`
	Details   []invoiceLine  `json:"details"`
}

func renderInvoice(currency string) func(*ledger.Invoice) invoiceBody {
	return func(v *ledger.Invoice) invoiceBody {
		b := invoiceBody{
			ID: v.ID, Name: orNull(v.Name), Link: v.Link(), Source: v.Source, Ref: orNull(v.Ref), Date: day(v.Date), Market: orNull(v.Country),
			Amount: v.Total, Currency: currency, Warehouse: renderPlace(v.Warehouse),
		}
		if c := v.Customer; c != nil {
			b.Customer = &customerBody{c.ID, orNull(c.BKID), orNull(c.BKType), orNull(c.Name), orNull(c.Code)}
		}
		if c := v.Channel; c != nil {
			b.Channel = &channelBody{c.ID, c.Name}
		}
		b.Details = each(v.Lines, func(l ledger.InvoiceLine) invoiceLine {
			line := invoiceLine{Service: l.Service.ID, Name: l.Service.Name, Group: orNull(l.Service.Group), Quantity: l.Quantity, Amount: l.Amount}
			if l.Item != nil {
				line.Item, line.SKU, line.Product = &l.Item.ID, &l.Item.Product.SKU, &l.Item.Product.Name
			}
			return line
		})
		return b
	}
}

func (s *server) listInvoices(x *exchange) (any, error) {
	return listDocuments(x.form(), which{search: true, dates: true}, documentList, x.company.Invoices,
		func(d *documentFilters, v *ledger.Invoice) bool {
			customer := ""
			if v.Customer != nil {
				customer = v.Customer.Name
			}
			return d.found(v.Name, v.Ref, customer) && d.within(v.Date, v.Date)
		}, renderInvoice(x.company.Currency))
}

func (s *server) readInvoice(x *exchange) (any, error) {
	v, err := readDocument(x, "invoiceId", x.company.Invoices, func(v *ledger.Invoice) int64 { return v.ID })
	if err != nil {
		return nil, err
	}
	return renderInvoice(x.company.Currency)(v), nil
}

type assemblyItem struct {
	Kit         int64   `json:"assembly_id"`
	SKU         *string `json:"assembly_sku"`
	Name        *string `json:"assembly_name"`
	Description *string `json:"assembly_description"`
	Quantity    int64   `json:"quantity"`
}

type assemblyBody struct {
	ID        int64          `json:"id"`
	Name      *string        `json:"name"`
	Link      string         `json:"link"`
	Ref       *string        `json:"ref_number"`
	Date      day            `json:"date_order_assembled"`
	Market    *string        `json:"market"`
	Warehouse *place         `json:"warehouse"`
	Items     []assemblyItem `json:"items"`
}

func renderAssembly(v *ledger.Assembly) assemblyBody {
	return assemblyBody{
		v.ID, orNull(v.Name), v.Link(), orNull(v.Ref), day(v.Date), orNull(v.Country), renderPlace(v.Warehouse),
		each(v.Lines, func(l ledger.AssemblyLine) assemblyItem {
			return assemblyItem{l.Kit.ID, orNull(l.Kit.Item.Product.SKU), orNull(l.Kit.Name), orNull(l.Kit.Description), l.Quantity}
		}),
	}
}

func (s *server) listAssemblies(x *exchange) (any, error) {
	return listDocuments(x.form(), which{search: true, warehouses: true, dates: true}, documentList, x.company.Assemblies,
		func(d *documentFilters, v *ledger.Assembly) bool {
			return d.found(v.Name, v.Ref) && d.at(v.Warehouse) && d.within(v.Date, v.Date)
		}, renderAssembly)
}

func (s *server) readAssembly(x *exchange) (any, error) {
	v, err := readDocument(x, "orderId", x.company.Assemblies, func(v *ledger.Assembly) int64 { return v.ID })
	if err != nil {
		return nil, err
	}
	return renderAssembly(v), nil
}

type adjustmentLine struct {
	Item     *int64         `json:"inventory_id"`
	Service  *int64         `json:"service_id"`
	SKU      *string        `json:"sku"`
	Product  *string        `json:"product_name"`
	Name     *string        `json:"service_name"`
	Group    *string        `json:"service_group"`
	Quantity int64          `json:"quantity"`
	Amount   ledger.Decimal `json:"amount"`
}

type adjustmentBody struct {
	ID        int64            `json:"id"`
	Name      *string          `json:"name"`
	Link      string           `json:"link"`
	Ref       *string          `json:"ref_number"`
	Reason    *string          `json:"reason"`
	Date      day              `json:"transaction_date"`
	Market    *string          `json:"market"`
	Amount    ledger.Decimal   `json:"amount"`
	Currency  string           `json:"currency"`
	Warehouse *place           `json:"warehouse"`
	Details   []adjustmentLine `json:"details"`
}

func renderAdjustment(currency string) func(*ledger.Adjustment) adjustmentBody {
	return func(v *ledger.Adjustment) adjustmentBody {
		return adjustmentBody{
			v.ID, orNull(v.Name), v.Link(), orNull(v.Ref), orNull(v.Reason), day(v.Date), orNull(v.Country), v.Total, currency, renderPlace(v.Warehouse),
			each(v.Lines, func(l ledger.AdjustmentLine) adjustmentLine {
				p := l.Item.Product
				return adjustmentLine{&l.Item.ID, &l.Service.ID, &p.SKU, &p.Name, &l.Service.Name, orNull(l.Service.Group), l.Quantity, l.Amount}
			}),
		}
	}
}

func (s *server) listAdjustments(x *exchange) (any, error) {
	return listDocuments(x.form(), which{search: true, dates: true}, documentList, x.company.Adjustments,
		func(d *documentFilters, v *ledger.Adjustment) bool {
			return d.found(v.Name, v.Ref, v.Reason) && d.within(v.Date, v.Date)
		}, renderAdjustment(x.company.Currency))
}

func (s *server) readAdjustment(x *exchange) (any, error) {
	v, err := readDocument(x, "adjustmentId", x.company.Adjustments, func(v *ledger.Adjustment) int64 { return v.ID })
	if err != nil {
		return nil, err
	}
	return renderAdjustment(x.company.Currency)(v), nil
}

// payment is an instalment with the currency of its document.
type payment struct {
	*ledger.Payment
	currency string
}

// payments are the instalments of the company's orders and bills.
func (x *exchange) payments() []payment {
	var all []payment
	for _, o := range x.company.Orders {
		for _, p := range o.Payments {
			all = append(all, payment{p, x.company.Currency})
		}
	}
	for _, b := range x.company.Bills {
		for _, p := range b.Payments {
			all = append(all, payment{p, b.Currency})
		}
	}
	return all
}

type paymentOfBody struct {
	paymentBody
	Document reference `json:"document"`
}

func renderPaymentOf(p payment) paymentOfBody {
	return paymentOfBody{renderPayment(p.currency, p.Payment), refer(p.Payment.Document)}
}

// listPayments is GET …/payment-requests.
func (s *server) listPayments(x *exchange) (any, error) {
	return listDocuments(x.form(), which{dates: true}, paymentList, x.payments(),
		func(d *documentFilters, p payment) bool { return d.within(p.DueDate, p.DueDate) }, renderPaymentOf)
}
