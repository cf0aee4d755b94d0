// Package ledger holds the accounts of the sandbox's two sellers: what they
// bought, moved, sold, lost and still hold. They are computed at start by playing
// through the daily business of every company with first-in first-out costing.
//
// Afterwards documents can be added and changed. Nothing may be dated before the
// Entry Locked Date, so the stock as it was on that day never changes; after each
// change the documents since then are booked again from there, in order of date.
// A change that would make any of them take more stock than there is then is
// refused as a Shortage and leaves no trace. So balances, landed costs, COGS and
// documents agree at all times, whatever was written and in whatever order.
//
// Read and Write lock the books; everything reached through them may be used
// inside the function given to them only.
package ledger

import (
	"fmt"
	"iter"
	"sort"
	"sync"
	"time"
)

// The two sellers, by the subject of their access tokens.
const (
	SellerOne = "46"
	SellerTwo = "47"
)

// Books are the accounts of all companies.
type Books struct {
	Today       Date
	Epoch       Date
	Companies   []*Company
	Permissions []string
	Reports     []*Report
	Channels    []*SalesChannel
	Terms       []*PaymentTerm // shared by all companies

	byUUID map[string]*Company
	users  map[string]*User
	ids    *counters
	opened time.Time
	closed Date // the Entry Locked Date of the day the books were opened

	mu sync.RWMutex
}

// Read runs f while nothing is written.
func (b *Books) Read(f func()) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	f()
}

// Write runs f, which may change the books, alone.
func (b *Books) Write(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// User is a person who can sign in.
type User struct {
	ID        int64
	Name      string
	Email     string
	Avatar    string
	Verified  time.Time
	LastLogin time.Time
	Roles     []Role // in order of company id
}

// Role is what a user may do in a company.
type Role struct {
	Company     *Company
	Permissions []string
}

// Company is one legal entity with its own currency, stock and documents.
type Company struct {
	ID        int64
	UUID      string // 40 hex digits, not an RFC 4122 UUID
	Name      string
	ShortName string
	Currency  string
	Timezone  string
	Countries []string // marketplaces, most important first

	Warehouses  []*Warehouse
	Products    []*Product
	Listings    []*Listing
	Items       []*Item
	Vendors     []*Vendor
	Services    []*Service
	Customers   []*Customer
	Terms       []*PaymentTerm // the shared ones and the company's own
	Kits        []*Kit
	Orders      []*Order
	Bills       []*Bill
	Shipments   []*Shipment
	Invoices    []*Invoice
	Assemblies  []*Assembly
	Adjustments []*Adjustment
	Forecast    ForecastSettings
	Manager     *User

	itemByID     map[int64]*Item
	warehouseBy  map[string]*Warehouse
	serviceByKey map[string]*Service
	vendorByKey  map[string]*Vendor

	closing *closing   // where booking again begins
	sales   []*Invoice // those with a date, oldest first
	written int        // records that were added

	languages []string // of its marketplaces
}

// Warehouse is a place that holds stock.
type Warehouse struct {
	ID      int64
	UUID    string
	Name    string
	Type    string
	Country string

	index int
}

// Product groups the inventory items of one article across marketplaces.
type Product struct {
	ID        int64
	SKU       string
	ParentSKU string
	Name      string
	Variation string
	Image     string
	Weight    Decimal // pounds
	Length    Decimal // inches
	Height    Decimal
	Depth     Decimal
	Deleted   bool // items that it grouped keep their name
}

// Listing is the offer on a marketplace.
type Listing struct {
	ID         int64
	ASIN       string
	ParentASIN string
	Title      string
	Brand      string
	Color      string
	Image      string
	Bullets    map[string][]string // by language tag
}

// Item is an article as stocked for one marketplace.
type Item struct {
	ID      int64
	Company *Company
	Product *Product
	Listing *Listing
	FNSKU   string
	Country string
	Source  string
	Created time.Time
	Restock Restock
	Account

	Variation string
	Manager   *User // nil: the company's

	plan plan
}

// Restock is the advice of the forecasting module.
type Restock struct {
	DailySalesTarget     Decimal
	UnitVendorPrice      Decimal
	UnitLandedCost       Decimal
	EstimatedDailySales  Decimal
	EstimatedPrice       Decimal
	LeadTimeDays         Decimal
	SafetyStockDays      Decimal
	FBALeadTimeDays      Decimal
	FBASafetyStockDays   Decimal
	TargetFBAFee         Decimal
	TargetPrice          Decimal
	TargetReferral       Decimal
	DailyUnitSalesTarget Decimal
}

// Document is what all documents have in common, as other documents cite them.
type Document struct {
	ID        int64
	Type      string // InventoryOrder, Bill, Shipment, Invoice, AssemblyOrder, Adjustment
	Name      string
	Ref       string
	Date      Date // the day it counts in the books; 0 while open
	Status    string
	Completed time.Time // zero while open
	Task      string    // uuid of its project task
	Creator   *User     // who wrote it here; nil for the seeded ones
}

// Cost is a part of the cost of a batch and the document that made it.
type Cost struct {
	Kind     string
	Document *Document
	Amount   Decimal
}

// Receipt is the arrival of units of one batch in a warehouse.
type Receipt struct {
	Date      Date
	Warehouse *Warehouse
	Batch     *Document
	Quantity  int64
	Costs     []Cost
}

// Sale is one invoice line that moved stock.
type Sale struct {
	Invoice  *Invoice
	Quantity int64
	Revenue  Decimal
	COGS     Decimal
	Parts    []Part
}

// Part is what a sale took from one batch, by kind of cost.
type Part struct {
	Kind     string
	Batch    *Document
	Document *Document
	Quantity int64
	Amount   Decimal
}

// Loss is stock written off.
type Loss struct {
	Date     Date
	Document *Document
	Quantity int64
	Amount   Decimal
}

// Order is a purchase order.
type Order struct {
	Document
	Placed    Date
	Received  Date // 0 while in production
	Country   string
	Vendor    *Vendor
	Warehouse *Warehouse
	Term      *PaymentTerm
	Lines     []OrderLine
	Total     Decimal
	Payments  []*Payment
}

// OrderLine is one article ordered.
type OrderLine struct {
	Item     *Item
	Quantity int64
	Price    Decimal
}

// Bill is a vendor's bill for services.
type Bill struct {
	Document
	Country   string
	Currency  string
	Vendor    *Vendor // may be nil
	Term      *PaymentTerm
	Documents []*Document
	Lines     []BillLine
	Total     Decimal
	Payments  []*Payment

	only *Item // the bundle whose assembly it pays for; nil: all of the document
}

// BillLine is one service billed.
type BillLine struct {
	Service  *Service
	Quantity int64
	Rate     Decimal
	Amount   Decimal
}

// Payment is an instalment of an order or a bill.
type Payment struct {
	ID             int64
	Document       *Document
	Due            Decimal
	Paid           Decimal
	DueDate        Date // 0 while the anchor date is open
	PaidDate       Date // 0 = unpaid
	Description    string
	Classification string
	Transaction    string
	Memo           string

	instalment Instalment // of the term that called for it
}

// Shipment moves stock between warehouses.
type Shipment struct {
	Document
	Source        string
	Sent, Arrived Date // Arrived is 0 in transit
	From, To      *Warehouse
	FromMarket    string
	ToMarket      string
	Tracking      string
	Method        string
	Carrier       string
	Lines         []ShipmentLine

	due      Date    // when the history will let it arrive, or did
	arriving []int64 // what will then be there, by line
	cargo    [][]lot // on the way, by line
}

// ShipmentLine is one article shipped.
type ShipmentLine struct {
	Item     *Item
	Shipped  int64
	Received int64 // 0 = not counted yet
}

// Invoice is a sale, or the sales of some days on one channel.
type Invoice struct {
	Document
	Source    string
	Country   string
	Warehouse *Warehouse
	Customer  *Customer
	Channel   *SalesChannel
	Lines     []InvoiceLine
	Total     Decimal

	Revenue Decimal // of the lines that move stock
	COGS    Decimal
}

// InvoiceLine is one line of an invoice; Item is nil for pure services.
type InvoiceLine struct {
	Item     *Item
	Service  *Service
	Quantity int64
	Amount   Decimal
}

// Kit is an assembly: how a bundle is made of other items.
type Kit struct {
	ID          int64
	Item        *Item
	Name        string
	Description string
	parts       []kitPart
}

type kitPart struct {
	item     *Item
	quantity int64
}

// Assembly turns components into bundles.
type Assembly struct {
	Document
	Country   string
	Warehouse *Warehouse
	Lines     []AssemblyLine
}

// AssemblyLine is one bundle assembled.
type AssemblyLine struct {
	Kit      *Kit
	Quantity int64
}

// Adjustment corrects stock.
type Adjustment struct {
	Document
	Reason    string
	Country   string
	Warehouse *Warehouse
	Lines     []AdjustmentLine
	Total     Decimal
}

// AdjustmentLine: a positive quantity left the stock.
type AdjustmentLine struct {
	Item     *Item
	Service  *Service
	Quantity int64
	Amount   Decimal
}

// Vendor, Service, Customer, SalesChannel and PaymentTerm are the directories.
type Vendor struct {
	ID     int64
	Name   string
	Code   string
	BKType string
	BKID   string
	Term   *PaymentTerm
}

// Service is what a bill or invoice line names.
type Service struct {
	ID    int64
	Name  string
	Group string
}

// Customer is who an invoice is issued to.
type Customer struct {
	ID     int64
	Name   string
	Code   string
	BKType string
	BKID   string
}

// SalesChannel is shared by the whole platform.
type SalesChannel struct {
	ID   int64
	Name string
}

// PaymentTerm says when instalments fall due.
type PaymentTerm struct {
	ID          int64
	System      bool
	Document    string // "" = any document
	Name        string
	Instalments []Instalment
}

// Instalment is a share of the total, due some days after a date of the document.
type Instalment struct {
	Anchor     string
	DaysOffset int
	Percentage int
}

// ForecastSettings are a company's defaults for forecasting.
type ForecastSettings struct {
	Status         string
	Seasonality    string
	Scenario       *int64
	LeadTime       *int64
	SafetyStock    *int64
	FBALeadTime    *int64
	FBASafetyStock *int64
	POFrequency    int64
	FBAFrequency   int64
	SafetyClass    [4]Decimal
	RevenueClass   [3]Decimal
	ParetoClass    [3]Decimal
}

// Report is a page of NeonPanel's reporting.
type Report struct {
	ID          int64
	Title       string
	Group       string
	Description string
	Link        string
	Permission  string // needed in one company at least
	Sheets      []Sheet
}

// Sheet is a tab of a report.
type Sheet struct {
	Slug        string
	Title       string
	Description string
	Parameters  []Parameter
}

// Parameter is a filter of a sheet.
type Parameter struct {
	Slug        string
	Title       string
	Type        string
	Multiselect bool
}

// Company returns the company with the uuid, or nil.
func (b *Books) Company(uuid string) *Company { return b.byUUID[uuid] }

// User returns the user with the subject, or nil.
func (b *Books) User(subject string) *User { return b.users[subject] }

// Role returns the user's role in the company; ok is false for an outsider.
func (u *User) Role(c *Company) (role Role, ok bool) {
	for _, r := range u.Roles {
		if r.Company == c {
			return r, true
		}
	}
	return Role{}, false
}

// May tells whether the role has the permission.
func (r Role) May(permission string) bool {
	for _, p := range r.Permissions {
		if p == permission {
			return true
		}
	}
	return false
}

// CanOpen tells whether the user may open the report.
func (u *User) CanOpen(r *Report) bool {
	for _, role := range u.Roles {
		if role.May(r.Permission) {
			return true
		}
	}
	return false
}

// Amount is what the units of the receipt have cost.
func (r *Receipt) Amount() Decimal {
	var sum Decimal
	for _, c := range r.Costs {
		sum += c.Amount
	}
	return sum
}

// SalesBetween returns the item's sales from start to end, both included.
func (i *Item) SalesBetween(start, end Date) []Sale {
	from := sort.Search(len(i.Sales), func(k int) bool { return i.Sales[k].Invoice.Date >= start })
	to := sort.Search(len(i.Sales), func(k int) bool { return i.Sales[k].Invoice.Date > end })
	return i.Sales[from:max(from, to)]
}

// Item returns the company's item with the id, or nil.
func (c *Company) Item(id int64) *Item { return c.itemByID[id] }

// Warehouse returns the company's warehouse with the uuid, or nil.
func (c *Company) Warehouse(uuid string) *Warehouse { return c.warehouseBy[uuid] }

// Service returns the company's service with the id, or nil.
func (c *Company) Service(id int64) *Service {
	for _, s := range c.Services {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// Vendor returns the company's vendor with the id, or nil.
func (c *Company) Vendor(id int64) *Vendor {
	for _, v := range c.Vendors {
		if v.ID == id {
			return v
		}
	}
	return nil
}

// Term returns the payment term with the id that the company can use, or nil.
func (c *Company) Term(id int64) *PaymentTerm {
	for _, t := range c.Terms {
		if t.ID == id {
			return t
		}
	}
	return nil
}

// Documents yields all documents of the company.
func (c *Company) Documents() iter.Seq[*Document] {
	return func(yield func(*Document) bool) {
		for _, v := range c.Orders {
			if !yield(&v.Document) {
				return
			}
		}
		for _, v := range c.Bills {
			if !yield(&v.Document) {
				return
			}
		}
		for _, v := range c.Shipments {
			if !yield(&v.Document) {
				return
			}
		}
		for _, v := range c.Invoices {
			if !yield(&v.Document) {
				return
			}
		}
		for _, v := range c.Assemblies {
			if !yield(&v.Document) {
				return
			}
		}
		for _, v := range c.Adjustments {
			if !yield(&v.Document) {
				return
			}
		}
	}
}

// EntryLockedDate closes the accounts before it: the first day of the month
// before the last one.
func EntryLockedDate(today Date) Date { return today.MonthStart(-2) }

// New plays through the business of every company up to the day of now.
func New(now time.Time) (*Books, error) {
	today := DateOf(now)
	// A fixed first day makes past figures the same on every start. It only
	// moves when the clock is so far off that there would be less than a year of
	// data, or needlessly much.
	epoch := Day(2024, time.January, 1)
	if years := today - epoch; years < 400 || years > 5*366 {
		epoch = today.MonthStart(-24)
	}
	if epoch < Day(1971, time.January, 1) {
		return nil, fmt.Errorf("ledger: the clock says %s; books need a date after 1972", today)
	}
	b := &Books{
		Today:  today,
		Epoch:  epoch,
		byUUID: make(map[string]*Company),
		users:  make(map[string]*User),
		ids:    newCounters(),
		opened: now,
		closed: EntryLockedDate(today),
	}
	b.seedDirectories()
	for i := range companySeeds {
		seed := &companySeeds[i]
		c := b.open(seed)
		newHistory(b, c, seed).play()
		b.Companies = append(b.Companies, c)
		b.byUUID[c.UUID] = c
	}
	b.seedUsers(now)
	return b, nil
}

// sections are the parts of the page paths by type of document.
var sections = map[string]string{
	"InventoryOrder": "inventory-orders",
	"Bill":           "bills-and-expenses",
	"Shipment":       "inventory-shipments",
	"Invoice":        "invoicing",
	"AssemblyOrder":  "assembly-orders",
	"Adjustment":     "adjustments",
}

// Link is the page of the document's project task.
func (d *Document) Link() string {
	return appURL + "/processes/" + sections[d.Type] + "/tasks/" + d.Task
}
