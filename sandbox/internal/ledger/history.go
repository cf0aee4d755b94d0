package ledger

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// plan is what the simulation knows about an item.
type plan struct {
	vendor  *Vendor
	cost    Decimal // of the vendor, at the epoch
	price   Decimal // on Amazon
	weekly  float64 // units a week at the epoch, before seasons
	ordered int64   // not yet received
	moving  int64   // in transit to a sales warehouse
}

// history plays a company's business day by day.
type history struct {
	books *Books
	c     *Company
	seed  *companySeed
	rng   *rand.Rand
	today Date
	day   Date

	post *poster
	hub  *Warehouse            // the 3PL, where purchases arrive
	own  *Warehouse            // serves the shop beside Amazon
	fba  map[string]*Warehouse // by country
	due  map[Date][]*Order
	dock map[Date][]*Shipment
}

func newHistory(b *Books, c *Company, seed *companySeed) *history {
	h := &history{
		books: b, c: c, seed: seed, today: b.Today,
		rng: rand.New(rand.NewPCG(seed.random, 2)), post: newPoster(c),
		fba: make(map[string]*Warehouse), due: make(map[Date][]*Order), dock: make(map[Date][]*Shipment),
	}
	for _, w := range c.Warehouses {
		switch w.Type {
		case "3PL":
			h.hub = w
		case "FBA":
			h.fba[w.Country] = w
		default:
			h.own = w
		}
	}
	return h
}

func (h *history) play() {
	h.openingOrders()
	for h.day = h.books.Epoch; h.day <= h.today; h.day++ {
		if h.day == h.books.closed {
			h.c.closing = h.post.close(h.day)
		}
		for _, o := range h.due[h.day] {
			h.receive(o)
		}
		for _, s := range h.dock[h.day] {
			h.unload(s)
		}
		_, _, dom := h.day.Time().Date()
		lastOfMonth := h.day+1 == h.day.MonthStart(1)
		switch dom {
		case 1:
			h.overheads()
		case 2, 16:
			h.replenish()
		case 4:
			h.order()
		case 11:
			h.assemble()
		case 18:
			h.wholesale()
		case 24:
			h.adjust()
		}
		if dom == 7 || dom == 14 || dom == 21 || lastOfMonth {
			h.sellOnAmazon()
		}
		if dom == 10 || dom == 25 {
			h.sellInShop()
		}
	}
	h.finish()
}

func (h *history) document(kind, ref string, d Date, status string) Document {
	id := h.books.ids.take(kind)
	doc := Document{ID: id, Type: kind, Ref: fmt.Sprintf(ref, id), Date: d, Status: status, Task: taskID(sections[kind], id)}
	if d != 0 {
		doc.Completed = h.hour()
	}
	return doc
}

// hour is some time in the working hours of the day, but never after now.
func (h *history) hour() time.Time {
	at := h.day.Time().Add(time.Duration(8*3600+h.rng.IntN(9*3600)) * time.Second)
	if at.After(h.books.opened) {
		return h.books.opened
	}
	return at
}

// season is the demand on a day relative to the epoch's average.
func (h *history) season(d Date) float64 {
	months := float64(d-h.books.Epoch) / 30.4
	return h.seed.seasons[d.Time().Month()-1] * math.Pow(1+h.seed.growth, months)
}

func (h *history) stock(i *Item, w *Warehouse) *shelf { return &i.shelves[w.index] }

func (h *history) onHand(i *Item) int64 {
	var n int64
	for k := range i.shelves {
		n += i.shelves[k].total
	}
	return n
}

// openingOrders were placed before the first day, so that there is stock to sell.
func (h *history) openingOrders() {
	h.day = h.books.Epoch - 55
	h.placeOrders(func(i *Item) int64 { return int64(i.plan.weekly * 20) }, func(int) Date { return h.books.Epoch })
}

func (h *history) order() {
	h.placeOrders(func(i *Item) int64 {
		weekly := i.plan.weekly * h.season(h.day+60)
		position := h.onHand(i) + i.plan.ordered + i.plan.moving
		if position >= int64(weekly*16) {
			return 0
		}
		return int64(weekly*26) - position
	}, func(int) Date { return h.day + Date(36+h.rng.IntN(17)) })
}

// placeOrders writes one purchase order per vendor, in whole cartons.
func (h *history) placeOrders(need func(*Item) int64, arrival func(vendor int) Date) {
	const carton = 12
	kitUse := make(map[*Item]float64)
	for _, k := range h.c.Kits {
		for _, p := range k.parts {
			kitUse[p.item] += k.Item.plan.weekly * float64(p.quantity)
		}
	}
	for vi := range h.seed.suppliers {
		vendor := h.c.vendorByKey[fmt.Sprint("supplier", vi)]
		var lines []OrderLine
		var total Decimal
		for _, i := range h.c.Items {
			if i.plan.vendor != vendor {
				continue
			}
			weekly := i.plan.weekly
			i.plan.weekly += kitUse[i]
			n := need(i)
			i.plan.weekly = weekly
			if n <= 0 {
				continue
			}
			n = (n + carton - 1) / carton * carton
			years := float64(max(0, h.day-h.books.Epoch)) / 365
			price := Cents(int64(float64(i.plan.cost/cent) * (1 + 0.025*years)))
			lines = append(lines, OrderLine{i, n, price})
			total += Decimal(n) * price
			i.plan.ordered += n
		}
		if lines == nil {
			continue
		}
		o := &Order{
			Document: h.document("InventoryOrder", h.seed.short+"-PO-%d", h.day, "In Production"),
			Placed:   h.day, Country: h.seed.markets[0].country, Vendor: vendor, Warehouse: h.hub, Term: vendor.Term, Lines: lines, Total: total,
		}
		o.Name = fmt.Sprintf("%s %s", vendor.Code, h.day.Time().Format("January 2006"))
		o.Date, o.Completed = 0, time.Time{} // open until received
		h.c.Orders = append(h.c.Orders, o)
		at := arrival(vi)
		h.due[at] = append(h.due[at], o)
	}
}

// receive puts an order on the hub's shelves and bills freight and duty.
func (h *history) receive(o *Order) {
	o.Received, o.Date, o.Status = h.day, h.day, "Completed"
	o.Completed = h.hour()
	var weight int64
	for _, l := range o.Lines {
		weight += l.Quantity * int64(l.Item.Product.Weight/cent)
	}
	freight := Cents(weight * int64(55+h.rng.IntN(30)) / 100) // 0.55 to 0.84 a pound
	duty := share(o.Total, int64(40+h.rng.IntN(35)), 1000)
	h.bill("forwarder", "Freight "+o.Ref, &o.Document,
		BillLine{h.service("Ocean Freight"), 1, freight, freight},
		BillLine{h.service("Customs Duty"), 1, duty, duty})
	for _, l := range o.Lines {
		l.Item.plan.ordered -= l.Quantity
	}
	h.must(h.post.receive(o))
}

// must stops on what cannot happen: the history takes no more than there is.
func (h *history) must(err error) {
	if err != nil {
		panic(err)
	}
}

func (h *history) service(name string) *Service { return h.c.serviceByKey[name] }

func (h *history) bill(vendor, name string, about *Document, lines ...BillLine) *Bill {
	v := h.c.vendorByKey[vendor]
	b := &Bill{
		Document: h.document("Bill", h.seed.short+"-BILL-%d", h.day, "Completed"),
		Country:  h.seed.markets[0].country, Currency: h.c.Currency, Vendor: v, Term: v.Term, Lines: lines,
	}
	b.Name = name
	if about != nil {
		b.Documents = []*Document{about}
		h.post.bills[about] = append(h.post.bills[about], charge{b, 1, 0})
	}
	for _, l := range lines {
		b.Total += l.Amount
	}
	h.c.Bills = append(h.c.Bills, b)
	return b
}

// replenish ships from the hub to Amazon's warehouses and to our own.
func (h *history) replenish() {
	for mi, m := range h.seed.markets {
		w := h.fba[m.country]
		h.ship(w, m.country, func(i *Item) int64 {
			if i.Country != m.country {
				return 0
			}
			weekly := i.plan.weekly * h.season(h.day+14)
			have := h.stock(i, w).total + i.plan.moving
			if have >= int64(weekly*5) {
				return 0
			}
			return int64(weekly*8) - have
		})
		if mi == 0 && h.day.Time().Day() == 2 {
			h.ship(h.own, m.country, func(i *Item) int64 {
				if i.Country != m.country || i.ID%3 != 0 {
					return 0
				}
				return int64(i.plan.weekly*h.season(h.day+14)*0.8) - h.stock(i, h.own).total
			})
		}
	}
}

func (h *history) ship(to *Warehouse, market string, need func(*Item) int64) {
	var s *Shipment
	for _, i := range h.c.Items {
		n := min(need(i), h.stock(i, h.hub).total)
		if n <= 0 {
			continue
		}
		if s == nil {
			s = h.dispatch(to, market)
		}
		received := n
		if n > 20 && h.rng.IntN(40) == 0 {
			received -= 1 + int64(h.rng.IntN(2)) // lost on the way
		}
		s.arriving = append(s.arriving, received)
		s.Lines = append(s.Lines, ShipmentLine{Item: i, Shipped: n})
		i.plan.moving += n
	}
	if s == nil {
		return
	}
	h.must(h.post.dispatch(s))
	h.c.Shipments = append(h.c.Shipments, s)
	h.dock[s.due] = append(h.dock[s.due], s)
}

func (h *history) dispatch(to *Warehouse, market string) *Shipment {
	s := &Shipment{Sent: h.day, From: h.hub, To: to, FromMarket: h.hub.Country, ToMarket: market, due: h.day + Date(4+h.rng.IntN(6))}
	if to.Type == "FBA" {
		s.Document = h.document("Shipment", "FBA"+letters(h.rng, 6)+"%d", h.day, "In Transit")
		s.Source, s.Method, s.Carrier = "Amazon FBA", []string{"SPD", "LTL"}[h.rng.IntN(2)], "Amazon Partnered Carrier"
		s.Name = "FBA " + market + " " + h.day.Time().Format("2 January 2006")
	} else {
		s.Document = h.document("Shipment", h.seed.short+"-SHP-%d", h.day, "In Transit")
		s.Source, s.Method, s.Carrier = "Manual", "LTL", "Corvid Haulage"
		s.Name = to.Name + " " + h.day.Time().Format("2 January 2006")
	}
	s.Completed = time.Time{}
	s.Tracking = "1Z" + letters(h.rng, 16)
	return s
}

// unload books a shipment in, with its transport bill; what is missing is lost.
func (h *history) unload(s *Shipment) {
	s.Arrived, s.Status = h.day, "Completed"
	s.Completed = h.hour()
	var weight int64
	for k, received := range s.arriving {
		l := &s.Lines[k]
		l.Received = received
		l.Item.plan.moving -= l.Shipped
		weight += received * int64(l.Item.Product.Weight/cent)
	}
	transport := Cents(weight*int64(22+h.rng.IntN(14))/100 + 900)
	h.bill("forwarder", "Inbound "+s.Ref, &s.Document, BillLine{h.service("FBA Inbound Transport"), 1, transport, transport})
	h.must(h.post.arrive(s))
}

// assemble makes bundles at the hub from what lies there.
func (h *history) assemble() {
	var a *Assembly
	for _, k := range h.c.Kits {
		want := int64(k.Item.plan.weekly*8*h.season(h.day)) - h.onHand(k.Item) - k.Item.plan.moving
		for _, p := range k.parts {
			want = min(want, h.stock(p.item, h.hub).total/p.quantity)
		}
		if want <= 0 {
			continue
		}
		if a == nil {
			a = &Assembly{Document: h.document("AssemblyOrder", h.seed.short+"-ASM-%d", h.day, "Completed"), Country: k.Item.Country, Warehouse: h.hub}
			a.Name = "Assembly " + h.day.Time().Format("January 2006")
			h.c.Assemblies = append(h.c.Assemblies, a)
		}
		a.Lines = append(a.Lines, AssemblyLine{k, want})
		labour := Decimal(want) * Cents(65)
		h.bill("storage", "Kitting "+a.Ref, &a.Document, BillLine{h.service("Kitting Labour"), want, Cents(65), labour}).only = k.Item
		h.must(h.post.assemble(a, len(a.Lines)-1))
	}
}

// demand is a noisy share of a week's sales.
func (h *history) demand(i *Item, weeks float64) int64 {
	x := i.plan.weekly * weeks * h.season(h.day) * (0.75 + h.rng.Float64()*0.5)
	return int64(x + h.rng.Float64())
}

func (h *history) invoice(source, country string, w *Warehouse, customer *Customer, channel *SalesChannel, ref string) *Invoice {
	return &Invoice{
		Document: h.document("Invoice", ref, h.day, "Completed"),
		Source:   source, Country: country, Warehouse: w, Customer: customer, Channel: channel,
	}
}

// sell adds a line that moves stock and books its cost.
func (h *history) sell(inv *Invoice, i *Item, want int64, price Decimal) {
	n := min(want, h.stock(i, inv.Warehouse).total)
	if n <= 0 {
		return
	}
	line := InvoiceLine{i, h.service("Product Sales"), n, Decimal(n) * price}
	h.must(h.post.sell(inv, line))
	inv.Total += line.Amount
	inv.Lines = append(inv.Lines, line)
}

func (h *history) close(inv *Invoice) {
	if inv.Lines != nil {
		h.c.Invoices = append(h.c.Invoices, inv)
	}
}

func (h *history) sellOnAmazon() {
	dom := h.day.Time().Day()
	weeks := 1.0
	if dom > 21 {
		weeks = float64(dom-21) / 7
	}
	for _, m := range h.seed.markets {
		inv := h.invoice("amazon", m.country, h.fba[m.country], h.c.Customers[0], h.books.Channels[0], "AMZ-"+m.country+"-%d")
		inv.Name = "Amazon " + m.country + " to " + h.day.String()
		for _, i := range h.c.Items {
			if i.Country != m.country {
				continue
			}
			price, lift := i.plan.price, 1.0
			if h.rng.IntN(12) == 0 { // a deal
				price, lift = price/cent*9/10*cent, 1.4
			}
			h.sell(inv, i, h.demand(i, weeks*lift), price)
		}
		h.close(inv)
	}
}

func (h *history) sellInShop() {
	source, channel := "shopify", h.books.Channels[1]
	if h.seed.channel == "TikTok Shop" {
		source, channel = "tiktok", h.books.Channels[2]
	}
	country := h.seed.markets[0].country
	inv := h.invoice(source, country, h.own, h.c.Customers[1], channel, strings.ToUpper(source[:3])+"-%d")
	inv.Name = h.seed.channel + " payout " + h.day.String()
	for _, i := range h.c.Items {
		if i.Country == country && i.ID%3 == 0 {
			h.sell(inv, i, h.demand(i, 0.3), i.plan.price)
		}
	}
	h.close(inv)
}

// wholesale is an invoice written by hand, with a line that moves no stock.
func (h *history) wholesale() {
	customer := h.c.Customers[2+h.rng.IntN(len(h.seed.wholesale))]
	country := h.seed.markets[0].country
	inv := h.invoice("manual", country, h.hub, customer, h.books.Channels[3], h.seed.short+"-INV-%d")
	inv.Name = customer.Name + " " + h.day.Time().Format("January 2006")
	for n := 3 + h.rng.IntN(3); n > 0; n-- {
		i := h.c.Items[h.rng.IntN(len(h.c.Items))]
		if i.Country == country && !slices.ContainsFunc(inv.Lines, func(l InvoiceLine) bool { return l.Item == i }) {
			h.sell(inv, i, int64(6+6*h.rng.IntN(4)), i.plan.price/cent*6/10*cent)
		}
	}
	if inv.Lines == nil {
		return
	}
	delivery := Cents(int64(2500 + 100*h.rng.IntN(40)))
	inv.Lines = append(inv.Lines, InvoiceLine{nil, h.service("Shipping Income"), 1, delivery})
	inv.Total += delivery
	h.close(inv)
}

func (h *history) adjust() {
	w := h.fba[h.seed.markets[h.rng.IntN(len(h.seed.markets))].country]
	if h.rng.IntN(4) == 0 {
		w = h.hub
	}
	a := &Adjustment{Reason: []string{"Damaged", "Misplaced", "Administrative Errors"}[h.rng.IntN(3)], Country: w.Country, Warehouse: w}
	found := a.Reason == "Administrative Errors"
	service := h.service("Inventory Adjustment")
	for n := 1 + h.rng.IntN(3); n > 0; n-- {
		i := h.c.Items[h.rng.IntN(len(h.c.Items))]
		s := h.stock(i, w)
		if s.total < 10 || slices.ContainsFunc(a.Lines, func(l AdjustmentLine) bool { return l.Item == i }) {
			continue
		}
		if a.ID == 0 {
			a.Document = h.document("Adjustment", h.seed.short+"-ADJ-%d", h.day, "Completed")
			a.Name = a.Reason + " " + h.day.String()
		}
		units := int64(1 + h.rng.IntN(3))
		line := AdjustmentLine{Item: i, Service: service, Quantity: units}
		if found {
			// Found units come in at the cost of the oldest ones beside them.
			value := s.lots[0].value()
			line.Quantity = -units
			line.Amount = -share(value, units, s.lots[0].quantity)
			h.must(h.post.adjust(a, line))
		} else {
			h.must(h.post.adjust(a, line))
			line.Amount = i.Losses[len(i.Losses)-1].Amount
		}
		a.Total += line.Amount
		a.Lines = append(a.Lines, line)
	}
	if a.Lines != nil {
		h.c.Adjustments = append(h.c.Adjustments, a)
	}
}

// overheads are bills that touch no stock.
func (h *history) overheads() {
	var units int64
	for _, i := range h.c.Items {
		units += h.stock(i, h.hub).total
	}
	month := h.day.MonthStart(-1).Time().Format("January 2006")
	storage := Decimal(units) * Cents(6)
	h.bill("storage", "Storage "+month, nil, BillLine{h.service("3PL Storage"), max(units, 1), Cents(6), storage})
	ads := Cents(int64(90_000*h.season(h.day)) + int64(h.rng.IntN(20_000)))
	h.bill("ads", "Sponsored Products "+month, nil, BillLine{h.service("Advertising"), 1, ads, ads})
	h.bill("software", "Subscription "+month, nil, BillLine{h.service("Software Subscription"), 3, Cents(4900), Cents(3 * 4900)})
	if h.day.Time().Month()%3 == 1 {
		h.bill("books", "Bookkeeping "+month, nil,
			BillLine{h.service("Bookkeeping"), 12, Cents(8500), Cents(12 * 8500)},
			BillLine{h.service("Other"), 1, Cents(1250), Cents(1250)})
	}
}

// finish makes the instalments and the advice from the final state.
func (h *history) finish() {
	h.c.index()
	for s, cargo := range h.post.cargo {
		s.cargo = cargo
	}
	for _, o := range h.c.Orders {
		o.Payments = h.books.schedule(o.Term, &o.Document, o.Total, o.anchors(), nil)
		h.settle(o.Payments)
	}
	for _, b := range h.c.Bills {
		b.Payments = h.books.schedule(b.Term, &b.Document, b.Total, b.anchors(), nil)
		h.settle(b.Payments)
	}
	for _, i := range h.c.Items {
		h.advise(i)
	}
}

// settle pays what fell due.
func (h *history) settle(payments []*Payment) {
	for _, p := range payments {
		paid := p.DueDate - Date(h.rng.IntN(4))
		if p.DueDate == 0 || paid > h.today {
			continue
		}
		p.Paid, p.PaidDate = p.Due, paid
		p.Transaction = fmt.Sprintf("TXN-%08d", h.rng.IntN(100_000_000))
		p.Memo = p.Description + " " + p.Document.Ref
	}
}

func (h *history) advise(i *Item) {
	var units, held int64
	var value Decimal
	for k := len(i.Sales) - 1; k >= 0 && i.Sales[k].Invoice.Date > h.today-56; k-- {
		units += i.Sales[k].Quantity
	}
	for k := range i.shelves {
		for _, l := range i.shelves[k].lots {
			held += l.quantity
			value += l.value()
		}
	}
	daily := per(Int(units), 56)
	f := h.c.Forecast
	orZero := func(n *int64) Decimal {
		if n == nil {
			return 0
		}
		return Int(*n)
	}
	i.Restock = Restock{
		DailySalesTarget:     (daily*i.plan.price/one + 50) / cent * cent,
		UnitVendorPrice:      i.plan.cost,
		UnitLandedCost:       per(value, held),
		EstimatedDailySales:  daily,
		EstimatedPrice:       i.plan.price,
		LeadTimeDays:         orZero(f.LeadTime),
		SafetyStockDays:      orZero(f.SafetyStock),
		FBALeadTimeDays:      orZero(f.FBALeadTime),
		FBASafetyStockDays:   orZero(f.FBASafetyStock),
		TargetFBAFee:         Cents(320) + i.Product.Weight/cent*40/100*cent/2,
		TargetPrice:          i.plan.price,
		TargetReferral:       Int(15),
		DailyUnitSalesTarget: daily,
	}
	if i.plan.vendor == nil {
		i.Restock.UnitVendorPrice = 0
	}
}
