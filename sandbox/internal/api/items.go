package api

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// item finds the inventory item of the path. One of another company is as
// unknown as one that does not exist.
func (x *exchange) item() (*ledger.Item, error) {
	id, err := strconv.ParseInt(x.r.PathValue("inventoryId"), 10, 64)
	if err != nil {
		// Laravel's route takes digits only here, so that other text is no route.
		return nil, routeNotFound(x.r)
	}
	if i := x.company.Item(id); i != nil {
		return i, nil
	}
	return nil, notFound("Inventory item is not found.")
}

type userBody struct {
	ID        int64   `json:"id"`
	Name      string  `json:"name"`
	Email     string  `json:"email"`
	Avatar    string  `json:"avatar_url"`
	Verified  instant `json:"verified_at"`
	LastLogin instant `json:"last_login_at"`
}

type productBody struct {
	ID        int64          `json:"id"`
	SKU       string         `json:"sku"`
	ParentSKU string         `json:"parent_sku"`
	Name      string         `json:"name"`
	Image     string         `json:"image,omitempty"` // declared as never null
	Weight    ledger.Decimal `json:"weight"`
	Length    ledger.Decimal `json:"length"`
	Height    ledger.Decimal `json:"height"`
	Depth     ledger.Decimal `json:"depth"`
}

func renderProduct(p *ledger.Product) productBody {
	return productBody{p.ID, p.SKU, p.ParentSKU, p.Name, p.Image, p.Weight, p.Length, p.Height, p.Depth}
}

type listingBody struct {
	ID         int64               `json:"id"`
	ASIN       string              `json:"asin"`
	ParentASIN string              `json:"parent_asin"`
	Title      string              `json:"title"`
	Brand      string              `json:"brand"`
	Color      string              `json:"color"`
	Image      string              `json:"image,omitempty"`
	Bullets    map[string][]string `json:"bullet_points"`
}

func renderListing(l *ledger.Listing) listingBody {
	return listingBody{l.ID, l.ASIN, l.ParentASIN, l.Title, l.Brand, l.Color, l.Image, l.Bullets}
}

type restockBody struct {
	DailySalesTarget     ledger.Decimal `json:"daily_sales_target"`
	UnitVendorPrice      ledger.Decimal `json:"unit_vendor_price"`
	UnitLandedCost       ledger.Decimal `json:"unit_landed_cost"`
	EstimatedDailySales  ledger.Decimal `json:"estimated_daily_sales"`
	EstimatedPrice       ledger.Decimal `json:"estimated_price"`
	LeadTimeDays         ledger.Decimal `json:"lead_time_days"`
	SafetyStockDays      ledger.Decimal `json:"safety_stock_days"`
	FBALeadTimeDays      ledger.Decimal `json:"fba_lead_time_days"`
	FBASafetyStockDays   ledger.Decimal `json:"fba_safety_stock_days"`
	TargetFBAFee         ledger.Decimal `json:"target_fba_fee"`
	TargetPrice          ledger.Decimal `json:"target_price"`
	TargetReferral       ledger.Decimal `json:"target_referral_percentage"`
	DailyUnitSalesTarget ledger.Decimal `json:"daily_unit_sales_target"`
}

// getInventoryItemFullData is GET …/inventory-items/{inventoryId}.
func (s *server) getInventoryItemFullData(x *exchange) (any, error) {
	i, err := x.item()
	if err != nil {
		return nil, err
	}
	return renderFullItem(i), nil
}

type fullItemBody struct {
	ID        int64        `json:"id"`
	Country   string       `json:"country_code"`
	Source    string       `json:"source"`
	FNSKU     string       `json:"fnsku"`
	Variation string       `json:"variation"`
	Manager   userBody     `json:"manager"`
	Product   *productBody `json:"product"` // null once it was deleted
	Listing   *listingBody `json:"listing"` // null without one
	Restock   restockBody  `json:"restock_data"`
	Created   instant      `json:"created_at"`
}

func renderFullItem(i *ledger.Item) fullItemBody {
	m := i.Manager
	if m == nil {
		m = i.Company.Manager
	}
	b := fullItemBody{
		ID: i.ID, Country: i.Country, Source: i.Source, FNSKU: i.FNSKU, Variation: i.Variation,
		Manager: userBody{m.ID, m.Name, m.Email, m.Avatar, instant(m.Verified), instant(m.LastLogin)},
		Restock: restockBody(i.Restock), Created: instant(i.Created),
	}
	if !i.Product.Deleted {
		p := renderProduct(i.Product)
		b.Product = &p
	}
	if i.Listing != nil {
		l := renderListing(i.Listing)
		b.Listing = &l
	}
	return b
}

// inventoryBalances is GET …/inventory-items/{inventoryId}/balances. Until early
// 2026 it was …/details, which is gone.
func (s *server) inventoryBalances(x *exchange) (any, error) {
	i, err := x.item()
	if err != nil {
		return nil, err
	}
	f := x.form()
	at := f.date("balances_date", x.today)
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	type balance struct {
		Warehouse warehouseBody `json:"warehouse"`
		Balance   int64         `json:"balance"`
	}
	type balances struct {
		// Plain here: this one has no date-time example.
		Date day       `json:"balances_date"`
		List []balance `json:"balances_list"`
	}
	list := []balance{}
	for _, w := range x.company.Warehouses {
		if i.Stocked(w, at) {
			list = append(list, balance{renderWarehouse(w), i.Balance(w, at)})
		}
	}
	return struct {
		Inventory itemBody    `json:"inventory"`
		Restock   restockBody `json:"restock_data"`
		Balances  balances    `json:"balances_data"`
	}{renderItem(i), restockBody(i.Restock), balances{day(at), list}}, nil
}

// warehouseBalances is GET …/warehouses/{warehouseUuid}/balances: what the
// warehouse holds, so items without stock are left out.
func (s *server) warehouseBalances(x *exchange) (any, error) {
	w := x.company.Warehouse(x.r.PathValue("warehouseUuid"))
	if w == nil {
		return nil, notFound("Warehouse is not found.")
	}
	f := x.form()
	p := f.page(coreList)
	at := f.date("balances_date", x.today)
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	type balance struct {
		Inventory itemBody `json:"inventory"`
		Balance   int64    `json:"balance"`
	}
	held := filter(x.company.Items, func(i *ledger.Item) bool { return i.Balance(w, at) > 0 })
	rows := cut(&p, held)
	return struct {
		paging
		Date midnight  `json:"balances_date"`
		Data []balance `json:"data"`
	}{p, midnight(at), each(rows, func(i *ledger.Item) balance { return balance{renderItem(i), i.Balance(w, at)} })}, nil
}

// getProducts is GET …/products. NeonPanel's document puts the filters into the
// body of the GET, its text says query parameters. The query is what counts; a
// body is ignored, as many HTTP stacks on the way drop it.
func (s *server) getProducts(x *exchange) (any, error) {
	p, f, err := x.uncheckedPage("Product")
	if err != nil {
		return nil, err
	}
	id := f.integer("id", 0, math.MaxInt64, 0)
	sku, search := f.scalar("sku"), strings.ToLower(f.scalar("search"))
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	rows := cut(&p, filter(x.company.Products, func(v *ledger.Product) bool {
		return (id == 0 || v.ID == int64(id)) && (sku == "" || strings.EqualFold(v.SKU, sku)) &&
			(search == "" || contains(search, v.SKU, v.Name, v.ParentSKU))
	}))
	return struct {
		paging
		Data []productBody `json:"data"`
	}{p, each(rows, renderProduct)}, nil
}

// getListings is GET …/listings; the same oddities as getProducts.
func (s *server) getListings(x *exchange) (any, error) {
	p, f, err := x.uncheckedPage("Listing")
	if err != nil {
		return nil, err
	}
	id := f.integer("id", 0, math.MaxInt64, 0)
	asin, search := f.scalar("asin"), strings.ToLower(f.scalar("search"))
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	rows := cut(&p, filter(x.company.Listings, func(v *ledger.Listing) bool {
		return (id == 0 || v.ID == int64(id)) && (asin == "" || strings.EqualFold(v.ASIN, asin)) &&
			(search == "" || contains(search, v.ASIN, v.Title))
	}))
	return struct {
		paging
		Data []listingBody `json:"data"`
	}{p, each(rows, renderListing)}, nil
}

// uncheckedPage reads the paging of products and listings, whose controllers
// take per_page from the query without looking: when it is missing, PHP raises a
// warning that Laravel turns into a 500; when it is text that PHP cannot turn
// into an int, the typed argument raises a TypeError, a 500 too. A numeric
// string passes, since the callers that send per_page=25 are served.
// The schema of their page allows 1 to 60 rows, not 10 to 60.
func (x *exchange) uncheckedPage(model string) (paging, *form, error) {
	f := x.form()
	file := "app/Http/Controllers/Api/V1/" + model + "Controller.php"
	switch v := f.get("per_page"); {
	case v == nil:
		return paging{}, nil, exception("ErrorException", `Undefined array key "per_page"`, file, 38)
	case v.array || !numeric(v.text):
		given := "string"
		if v.array {
			given = "array"
		} else if v.text == "" {
			given = "null" // Laravel's middleware turned the empty string into null
		}
		return paging{}, nil, exception("TypeError",
			fmt.Sprintf(`App\Services\%sService::list(): Argument #4 ($perPage) must be of type int, %s given, called in /var/www/html/%s on line 41`, model, given, file),
			"app/Services/"+model+"Service.php", 27)
	}
	return f.page(limits{1, 60, 30}), f, nil
}

func numeric(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}
