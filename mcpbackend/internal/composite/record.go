package composite

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
)

// kind is a kind of record that can be searched and fetched.
type kind struct {
	// name begins the ids of its records; title is the word for people.
	name, title string
	// words in a query that ask for this kind.
	words []string
	// list and read are operationIds; read is empty where the API reads none.
	list, read string
	// argument is the path parameter of read.
	argument string
	// size is the page size of a search.
	size int
}

// The kinds in the order in which equal hits are shown.
var kinds = []kind{
	{"item", "Item", []string{"item", "items", "sku", "skus", "product", "products"}, "listInventoryItems", "getInventoryItemFullData", "inventoryId", 10},
	{"order", "Order", []string{"order", "orders", "po", "pos"}, "inventoryOrders.list", "inventoryOrders.read", "orderId", 10},
	{"bill", "Bill", []string{"bill", "bills"}, "bills.list", "bills.read", "billId", 10},
	{"invoice", "Invoice", []string{"invoice", "invoices"}, "invoices.list", "invoices.read", "invoiceId", 10},
	{"shipment", "Shipment", []string{"shipment", "shipments"}, "shipments.list", "shipments.read", "shipmentId", 10},
	{"vendor", "Vendor", []string{"vendor", "vendors", "supplier", "suppliers"}, "vendors.list", "", "", 10},
}

const reportKind = "report"

var reportWords = []string{"report", "reports"}

// reading is the operation that a record of the kind is read with.
func (k kind) reading() string { return cmp.Or(k.read, k.list) }

// kindParts are all kinds, each with the operation that it takes.
func kindParts(operation func(kind) string, reports string) []part {
	parts := make([]part, 0, len(kinds)+1)
	for _, k := range kinds {
		parts = append(parts, part{strings.ToLower(k.title) + "s", []string{operation(k)}})
	}
	return append(parts, part{"reports", []string{reports}})
}

func kindOf(name string) (kind, bool) {
	for _, k := range kinds {
		if k.name == name {
			return k, true
		}
	}
	return kind{}, false
}

// record is what the answers of the lists have in common, and what a title is
// made of.
type record struct {
	ID       text    `json:"id"`
	Name     text    `json:"name"`
	Ref      text    `json:"ref_number"`
	Link     text    `json:"link"`
	SKU      text    `json:"sku"`
	ASIN     text    `json:"asin"`
	FNSKU    text    `json:"fnsku"`
	Country  text    `json:"country_code"`
	Date     text    `json:"date"`
	Traded   text    `json:"transaction_date"`
	Placed   text    `json:"date_order_placed"`
	Received text    `json:"date_manufacturing_completed"`
	Sent     text    `json:"date_shipment_sent"`
	Arrived  text    `json:"date_shipment_arrived"`
	Amount   decimal `json:"amount"`
	Total    decimal `json:"total_amount"`
	Currency text    `json:"currency"`
	Code     text    `json:"code"`
	Vendor   struct {
		Name text `json:"name"`
	} `json:"vendor"`
	Customer struct {
		Name text `json:"name"`
	} `json:"customer"`
	Product struct {
		SKU  text `json:"sku"`
		Name text `json:"name"`
	} `json:"product"`
	Listing struct {
		Title text `json:"title"`
		ASIN  text `json:"asin"`
	} `json:"listing"`

	// Of reports.
	Title       text `json:"title"`
	Group       text `json:"group"`
	Description text `json:"description"`
}

func (r record) date() text { return cmp.Or(r.Date, r.Traded, r.Placed, r.Sent) }

func (r record) amount() decimal {
	if r.Amount.known() {
		return r.Amount
	}
	return r.Total
}

// label is the number of a document, the SKU of an item, the name of a vendor.
func (r record) label() string {
	return string(cmp.Or(r.Ref, r.SKU, r.Product.SKU, r.Title, r.Name, r.ID))
}

// headline is the title of a record in a list of results.
func (r record) headline(k string, c company) string {
	var facts []string
	note := func(values ...text) {
		for _, v := range values {
			if v != "" && string(v) != r.label() {
				facts = append(facts, string(v))
				return
			}
		}
	}
	switch k {
	case "item":
		note(r.Name, r.Product.Name, r.Listing.Title)
		note(r.ASIN, r.Listing.ASIN)
		note(r.Country)
	case reportKind:
		note(r.Group)
	case "vendor":
		note(r.Code)
	default:
		note(r.Name)
		note(r.Vendor.Name, r.Customer.Name)
		note(r.date())
		if a := r.amount(); a.known() {
			facts = append(facts, strings.TrimSpace(a.String()+" "+string(cmp.Or(r.Currency, c.Currency))))
		}
	}
	title := titleOf(k) + " " + r.label()
	if len(facts) > 0 {
		title += ": " + strings.Join(facts, ", ")
	}
	if c.Name != "" {
		title += " (" + string(c.Name) + ")"
	}
	return title
}

func titleOf(name string) string {
	if k, ok := kindOf(name); ok {
		return k.title
	}
	return "Report"
}

// texts are what a record is found by.
func (r record) texts() []text {
	return []text{r.Ref, r.SKU, r.ASIN, r.FNSKU, r.ID, r.Name, r.Code, r.Vendor.Name, r.Customer.Name, r.Title, r.Group, r.Description}
}

// rank says how well a record fits: 0 is best.
func (r record) rank(phrase string) int {
	best := 3
	for _, t := range r.texts() {
		s, p := strings.ToLower(string(t)), strings.ToLower(phrase)
		switch {
		case s == "":
		case s == p:
			return 0
		case strings.HasPrefix(s, p):
			best = min(best, 1)
		case strings.Contains(s, p):
			best = min(best, 2)
		}
	}
	return best
}

// address is where a record is: its kind, its company and its id.
type address struct{ kind, company, id string }

// The form of the ids that search gives and fetch takes. A company's uuid is
// hexadecimal in some answers and RFC 4122 in others.
var addressForm = regexp.MustCompile(`^(?:(report):([0-9]{1,18})|(item|order|bill|invoice|shipment|vendor):([A-Za-z0-9][A-Za-z0-9_-]{0,99}):([0-9]{1,18}))$`)

func parseAddress(id string) (address, bool) {
	m := addressForm.FindStringSubmatch(strings.TrimSpace(id))
	switch {
	case m == nil:
		return address{}, false
	case m[1] != "":
		return address{kind: m[1], id: m[2]}, true
	}
	return address{kind: m[3], company: m[4], id: m[5]}, true
}

func (a address) String() string {
	if a.kind == reportKind {
		return fmt.Sprintf("%s:%s", a.kind, a.id)
	}
	return fmt.Sprintf("%s:%s:%s", a.kind, a.company, a.id)
}
