package ledger

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// appURL is where NeonPanel's pages live; links in the data point there.
const appURL = "https://my.neonpanel.com/app"

// counters hand out ids that are unique over all companies, as in NeonPanel's
// database: an id of another company exists, but not under mine.
type counters struct {
	mu   sync.Mutex
	next map[string]int64
}

func newCounters() *counters {
	return &counters{next: map[string]int64{
		"item": 18_400, "product": 7_210, "listing": 31_050, "warehouse": 61, "vendor": 410, "customer": 95, "service": 50,
		"InventoryOrder": 2_300, "Bill": 5_100, "Shipment": 1_700, "Invoice": 40_200, "AssemblyOrder": 300, "Adjustment": 880,
		"payment": 9_000, "term": 100, "kit": 70,
	}}
}

func (c *counters) take(kind string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next[kind]++
	return c.next[kind]
}

func hexID(parts ...string) string {
	sum := sha1.Sum([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

func taskID(section string, id int64) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/%s/%d", appURL, section, id)).String()
}

type companySeed struct {
	id        int64
	owner     string
	name      string
	short     string
	currency  string
	timezone  string
	bookkeep  string
	locales   map[string]string // language tag by country
	brand     string
	prefix    string
	growth    float64 // per month
	seasons   [12]float64
	markets   []marketSeed
	warehouse []warehouseSeed
	suppliers []string
	forwarder string
	products  []productSeed
	kits      []kitSeed
	wholesale []string
	channel   string // the shop beside Amazon
	random    uint64
}

type marketSeed struct {
	country string
	volume  float64 // relative to the products' weekly units
	price   float64
	take    int // the first n products are sold here
}

type warehouseSeed struct{ name, kind, country string }

type productSeed struct {
	code, name, variation string
	cost, price           int64 // cents
	weekly                float64
	weight                int64 // hundredths of a pound
	length, height, depth int64 // hundredths of an inch
	supplier              int
}

type kitSeed struct {
	code, name, description string
	price                   int64
	weekly                  float64
	parts                   []string
	quantities              []int64
}

var permissionKeys = []string{
	"view:pages.dashboard",
	"view:pages.catalog.inventory",
	"edit:pages.catalog.inventory",
	"view:pages.catalog.products",
	"edit:pages.catalog.products",
	"view:pages.catalog.listings",
	"edit:pages.catalog.listings",
	"view:pages.warehouses",
	"view:pages.processes.inventory-orders",
	"edit:pages.processes.inventory-orders",
	"view:pages.processes.bills-and-expenses",
	"edit:pages.processes.bills-and-expenses",
	"view:pages.processes.inventory-shipments",
	"edit:pages.processes.inventory-shipments",
	"view:pages.processes.invoicing",
	"edit:pages.processes.invoicing",
	"view:pages.processes.assembly-orders",
	"edit:pages.processes.assembly-orders",
	"view:pages.processes.adjustments",
	"edit:pages.processes.adjustments",
	"view:pages.payments",
	"edit:pages.payments",
	"view:pages.reports",
	"view:pages.reports.restock-plan",
	"view:pages.settings.forecasts",
	"edit:pages.settings.forecasts",
	"edit:pages.settings.users",
}

func (b *Books) seedDirectories() {
	b.Permissions = permissionKeys
	b.Channels = []*SalesChannel{{1, "Amazon"}, {2, "Shopify"}, {3, "TikTok Shop"}, {4, "Wholesale"}, {5, "Walmart"}}
	b.Terms = []*PaymentTerm{
		{ID: 1, System: true, Name: "Due on receipt", Instalments: []Instalment{{"date", 0, 100}}},
		{ID: 2, System: true, Document: "InventoryOrder", Name: "30/70 Net 30", Instalments: []Instalment{{"date_order_placed", 0, 30}, {"date_order_received", 30, 70}}},
		{ID: 3, System: true, Document: "Bill", Name: "Net 30", Instalments: []Instalment{{"date", 30, 100}}},
		{ID: 4, System: true, Document: "InventoryOrder", Name: "50/50", Instalments: []Instalment{{"date_order_placed", 0, 50}, {"date_order_received", 0, 50}}},
	}
	brand := Parameter{"brand", "Brand", "Dropdown", true}
	start, end := Parameter{"start-date", "Start date", "DateTimePicker", false}, Parameter{"end-date", "End date", "DateTimePicker", false}
	sku := Parameter{"sku", "SKU", "TextField", false}
	country := Parameter{"country", "Country", "Dropdown", true}
	report := func(id int64, group, groupSlug, slug, title, description string, sheets ...Sheet) {
		b.Reports = append(b.Reports, &Report{ID: id, Title: title, Group: group, Description: description, Link: appURL + "/reports/" + groupSlug + "/" + slug, Permission: "view:pages.reports", Sheets: sheets})
	}
	report(12, "Inventory", "inventory", "stock-on-hand", "Stock on hand", "Units and value held in every warehouse on a day.",
		Sheet{"by-warehouse", "By warehouse", "One row per warehouse and item.", []Parameter{{"date", "Date", "DateTimePicker", false}, country, sku}},
		Sheet{"by-item", "By item", "", []Parameter{{"date", "Date", "DateTimePicker", false}, sku, brand}})
	report(15, "Inventory", "inventory", "inventory-transactions", "Inventory transactions", "Every movement of stock with its document and cost.",
		Sheet{"transaction-list", "Transactions", "All movements in order of date.", []Parameter{start, end, sku, country}},
		Sheet{"summary", "Summary", "Opening balance, movements and closing balance.", []Parameter{start, end}})
	report(21, "Finance", "finance", "profit-and-loss", "Profit and loss", "Revenue, cost of goods sold and expenses by month.",
		Sheet{"monthly", "Monthly", "", []Parameter{start, end, country}},
		Sheet{"by-brand", "By brand", "", []Parameter{start, end, brand}})
	report(22, "Finance", "finance", "landed-cost", "Landed cost", "What a unit costs by the time it can be sold, by kind of cost.",
		Sheet{"batches", "Batches", "", []Parameter{sku, {"minimum-quantity", "Minimum quantity", "Slider", false}}})
	report(30, "Finance", "finance", "payments-due", "Payments due", "Open instalments of orders and bills by due date.",
		Sheet{"calendar", "Calendar", "", []Parameter{{"period", "Period", "DateTimeRangePicker", false}}})
	report(34, "Sales", "sales", "sales-by-market", "Sales by market", "Units and revenue per marketplace, with the period before.",
		Sheet{"units", "Units", "", []Parameter{start, end, country, sku}},
		Sheet{"revenue", "Revenue", "", []Parameter{start, end, country, {"note", "Note to print", "TextArea", false}}})
	report(38, "Forecasting", "forecasting", "restock-plan", "Restock plan", "What to order and to send in, and when.",
		Sheet{"orders", "Orders to place", "", []Parameter{{"vendor", "Vendor", "Dropdown", true}}},
		Sheet{"shipments", "Shipments to FBA", "", []Parameter{country}})
	b.Reports[len(b.Reports)-1].Permission = "view:pages.reports.restock-plan"
}

func (b *Books) seedUsers(now time.Time) {
	add := func(subject string, id int64, name, email string) *User {
		u := &User{ID: id, Name: name, Email: email, Avatar: fmt.Sprintf("https://my.neonpanel.com/images/avatars/%d.png", id),
			Verified:  b.Epoch.Time().Add(9 * time.Hour),
			LastLogin: DateOf(now).Time()}
		b.users[subject] = u
		return u
	}
	owners := map[string]*User{
		SellerOne: add(SellerOne, 46, "Dana Whitlock", "seller-one@example.com"),
		SellerTwo: add(SellerTwo, 47, "Tomasz Hale", "seller-two@example.com"),
	}
	for i, c := range b.Companies {
		owner := owners[companySeeds[i].owner]
		// The first seller owns the first company and keeps the accounts of the
		// second; the other may not see the restock plan. So lists by permission differ from
		// the list of companies, and one report is closed to one of them.
		var permissions []string
		for _, p := range permissionKeys {
			accountant := i == 1 && strings.HasPrefix(p, "edit:pages.settings.")
			closed := i == 2 && p == "view:pages.reports.restock-plan"
			if !accountant && !closed {
				permissions = append(permissions, p)
			}
		}
		owner.Roles = append(owner.Roles, Role{c, permissions})
		c.Manager = owner
	}
}

// open sets up a company before its first day of business.
func (b *Books) open(seed *companySeed) *Company {
	rng := rand.New(rand.NewPCG(seed.random, 1))
	c := &Company{
		ID: seed.id, UUID: hexID("company", seed.name), Name: seed.name, ShortName: seed.short,
		Currency: seed.currency, Timezone: seed.timezone,
		itemByID: make(map[int64]*Item), warehouseBy: make(map[string]*Warehouse),
		serviceByKey: make(map[string]*Service), vendorByKey: make(map[string]*Vendor),
	}
	for _, m := range seed.markets {
		c.Countries = append(c.Countries, m.country)
		c.languages = append(c.languages, seed.locales[m.country])
	}
	for i, w := range seed.warehouse {
		warehouse := &Warehouse{ID: b.ids.take("warehouse"), UUID: hexID("warehouse", seed.name, w.name), Name: w.name, Type: w.kind, Country: w.country, index: i}
		c.Warehouses = append(c.Warehouses, warehouse)
		c.warehouseBy[warehouse.UUID] = warehouse
	}
	for _, s := range [][2]string{
		{"Product Sales", "Sales"}, {"Shipping Income", "Sales"},
		{"Ocean Freight", "Logistics"}, {"Customs Duty", "Logistics"}, {"FBA Inbound Transport", "Logistics"}, {"Kitting Labour", "Logistics"},
		{"3PL Storage", "Warehousing"}, {"Advertising", "Marketing"}, {"Product Photography", "Marketing"}, {"Software Subscription", "Office"}, {"Bookkeeping", "Office"},
		{"Inventory Adjustment", "Inventory"}, {"Other", ""},
	} {
		service := &Service{ID: b.ids.take("service"), Name: s[0], Group: s[1]}
		c.Services = append(c.Services, service)
		c.serviceByKey[s[0]] = service
	}
	own := &PaymentTerm{ID: b.ids.take("term"), Document: "InventoryOrder", Name: "20/80 " + seed.short, Instalments: []Instalment{{"date_order_placed", 7, 20}, {"date_order_received", 45, 80}}}
	c.Terms = append(append(c.Terms, b.Terms...), own)
	vendor := func(key, name string, term *PaymentTerm) *Vendor {
		v := &Vendor{ID: b.ids.take("vendor"), Name: name, Code: code(name), BKType: seed.bookkeep, Term: term}
		v.BKID = fmt.Sprintf("%s-contact-%s", seed.bookkeep, hexID("vendor", seed.name, name)[:10])
		c.Vendors = append(c.Vendors, v)
		c.vendorByKey[key] = v
		return v
	}
	for i, name := range seed.suppliers {
		term := b.Terms[1]
		if i%3 == 1 {
			term = b.Terms[3]
		} else if i%3 == 2 {
			term = own
		}
		vendor(fmt.Sprint("supplier", i), name, term)
	}
	vendor("forwarder", seed.forwarder, b.Terms[2])
	vendor("storage", seed.warehouse[0].name, b.Terms[2])
	vendor("ads", "Amazon Advertising", b.Terms[0])
	vendor("software", "Ledgerline Software", nil).BKID = ""
	vendor("books", "Okafor & Reyes Accounting", b.Terms[2])

	customer := func(name string) {
		cu := &Customer{ID: b.ids.take("customer"), Name: name, Code: code(name), BKType: seed.bookkeep}
		cu.BKID = fmt.Sprintf("%s-contact-%s", seed.bookkeep, hexID("customer", seed.name, name)[:10])
		c.Customers = append(c.Customers, cu)
	}
	customer("Amazon customers")
	customer(seed.channel + " customers")
	for _, name := range seed.wholesale {
		customer(name)
	}

	items := make(map[string]*Item) // by code and country
	family := make(map[string]string)
	addProduct := func(p productSeed) (*Product, *Listing) {
		parent := p.code
		if i := strings.LastIndexByte(p.code, '-'); i > 0 {
			parent = p.code[:i]
		}
		id := b.ids.take("product")
		product := &Product{
			ID: id, SKU: seed.prefix + "-" + p.code, ParentSKU: seed.prefix + "-" + parent,
			Name: p.name, Variation: p.variation, Image: fmt.Sprintf("https://my.neonpanel.com/images/products/%d.jpg", id),
			Weight: Cents(p.weight), Length: Cents(p.length), Height: Cents(p.height), Depth: Cents(p.depth),
		}
		if id%9 == 0 {
			product.Image = "" // not every product has a picture
		}
		if family[parent] == "" {
			family[parent] = asin(rng)
		}
		listing := &Listing{
			ID: b.ids.take("listing"), ASIN: asin(rng), ParentASIN: family[parent],
			Title: seed.brand + " " + p.name, Brand: seed.brand, Color: p.variation, Image: product.Image,
		}
		if id%7 != 0 {
			listing.Bullets = make(map[string][]string)
			for _, m := range seed.markets {
				listing.Bullets[seed.locales[m.country]] = []string{p.name, "Brand: " + seed.brand, "Item weight: " + product.Weight.String() + " lb"}
			}
		}
		c.Products = append(c.Products, product)
		c.Listings = append(c.Listings, listing)
		return product, listing
	}
	addItem := func(p productSeed, product *Product, listing *Listing, m marketSeed) *Item {
		item := &Item{
			ID: b.ids.take("item"), Company: c, Product: product, Listing: listing,
			FNSKU: "X00" + letters(rng, 7), Country: m.country, Source: "amazon",
			Created: b.Epoch.Time().Add(time.Duration(rng.IntN(9*60))*time.Minute).AddDate(0, 0, -90),
			Account: newAccount(c), Variation: product.Variation,
		}
		supplier := fmt.Sprint("supplier", p.supplier)
		item.plan = plan{
			vendor: c.vendorByKey[supplier], cost: Cents(p.cost),
			price:  Cents(int64(float64(p.price)*m.price/10)*10 + 9),
			weekly: p.weekly * m.volume,
		}
		c.Items = append(c.Items, item)
		c.itemByID[item.ID] = item
		items[p.code+"/"+m.country] = item
		return item
	}
	for i, p := range seed.products {
		product, listing := addProduct(p)
		for _, m := range seed.markets {
			if i < m.take {
				addItem(p, product, listing, m)
			}
		}
	}
	for _, k := range seed.kits {
		p := productSeed{code: k.code, name: k.name, variation: "Set", price: k.price, weekly: k.weekly, weight: 450, length: 1400, height: 600, depth: 900}
		product, listing := addProduct(p)
		home := seed.markets[0]
		item := addItem(p, product, listing, home)
		item.plan.vendor = nil // made, not bought
		kit := &Kit{ID: b.ids.take("kit"), Item: item, Name: k.name, Description: k.description}
		for j, part := range k.parts {
			kit.parts = append(kit.parts, kitPart{items[part+"/"+home.country], k.quantities[j]})
		}
		c.Kits = append(c.Kits, kit)
	}

	days := func(n int64) *int64 { return &n }
	c.Forecast = ForecastSettings{
		Status: "active", Seasonality: seasonality(seed.seasons), LeadTime: days(45), SafetyStock: days(21), FBALeadTime: days(9),
		POFrequency: 30, FBAFrequency: 14,
		SafetyClass:  [4]Decimal{12_000, 10_000, 6_000, 5_000},
		RevenueClass: [3]Decimal{100_000, 30_000, 5_000},
		ParetoClass:  [3]Decimal{800_000, 150_000, 50_000},
	}
	if seed.owner == SellerOne {
		c.Forecast.FBASafetyStock = days(14)
	}
	return c
}

func seasonality(s [12]float64) string {
	parts := make([]string, 12)
	for i, f := range s {
		parts[i] = Decimal(f*float64(one) + 0.5).String()
	}
	return strings.Join(parts, ";")
}

// code makes a short vendor code: the first letters of the words.
func code(name string) string {
	var b strings.Builder
	for _, word := range strings.Fields(name) {
		if letters := []rune(strings.ToUpper(word)); len(letters) > 1 && b.Len() < 6 {
			b.WriteString(string(letters[:2]))
		}
	}
	return b.String()
}

const alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"

func letters(rng *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return string(b)
}

func asin(rng *rand.Rand) string { return "B0" + letters(rng, 8) }
