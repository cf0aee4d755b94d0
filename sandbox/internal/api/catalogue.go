package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// Changes to the catalogue: inventory items, products and listings.

// noContent is the answer to a deletion.
func noContent() *answer { return &answer{status: http.StatusNoContent} }

// kept is the answer to a deletion that was not made. Its status is that of a
// refusal, its body has a field of its own.
func kept(message string) *answer {
	return &answer{status: http.StatusForbidden, body: struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
	}{false, message}}
}

func (s *server) createInventoryItem(x *exchange) (any, error) {
	return s.saveItem(x, nil)
}

func (s *server) updateInventoryItem(x *exchange) (any, error) {
	i, err := x.item()
	if err != nil {
		return nil, err
	}
	return s.saveItem(x, i)
}

// saveItem creates an item or changes the fields that are there. NeonPanel's
// document calls no field required; an item of no product or no marketplace would
// be none, so these two are.
func (s *server) saveItem(x *exchange, old *ledger.Item) (any, error) {
	p, err := x.input()
	if err != nil {
		return nil, err
	}
	c := x.company
	next := ledger.Item{Source: "manual"}
	if old != nil {
		next = *old
	}
	for _, field := range []string{"country_code", "product_id"} {
		if old == nil || p.has(field) {
			p.required(field)
		}
	}
	s.setMarket(p, "country_code", &next.Country)
	p.setText("source", &next.Source)
	p.setText("fnsku", &next.FNSKU)
	p.setText("variation", &next.Variation)
	setRef(p, "product_id", &next.Product, func(id int64) *ledger.Product {
		return find(c.Products, func(v *ledger.Product) bool { return v.ID == id })
	})
	setRef(p, "listing_id", &next.Listing, func(id int64) *ledger.Listing {
		return find(c.Listings, func(v *ledger.Listing) bool { return v.ID == id })
	})
	setRef(p, "manager_id", &next.Manager, func(id int64) *ledger.User {
		if c.Manager.ID == id {
			return c.Manager
		}
		return nil
	})
	if p.has("restock_data") {
		switch fields := p.fields["restock_data"].(type) {
		case map[string]any:
			patchRestock(&payload{"restock_data.", fields, p.faults}, &next.Restock)
		case nil:
		default:
			p.fault("restock_data", "The %s field must be an object.")
		}
	}
	if next.FNSKU != "" && slices.ContainsFunc(c.Items, func(i *ledger.Item) bool { return i != old && strings.EqualFold(i.FNSKU, next.FNSKU) }) {
		p.fault("fnsku", "The %s has already been taken.")
	}
	if err := p.faults.err(); err != nil {
		return nil, err
	}
	i, err := s.books.SaveItem(c, x.author(), old, next)
	if err != nil {
		return nil, refused(err, nil)
	}
	return renderFullItem(i), nil
}

func patchRestock(p *payload, r *ledger.Restock) {
	for field, to := range map[string]*ledger.Decimal{
		"daily_sales_target": &r.DailySalesTarget, "unit_vendor_price": &r.UnitVendorPrice, "unit_landed_cost": &r.UnitLandedCost,
		"estimated_daily_sales": &r.EstimatedDailySales, "estimated_price": &r.EstimatedPrice, "lead_time_days": &r.LeadTimeDays,
		"safety_stock_days": &r.SafetyStockDays, "fba_lead_time_days": &r.FBALeadTimeDays, "fba_safety_stock_days": &r.FBASafetyStockDays,
		"target_fba_fee": &r.TargetFBAFee, "target_price": &r.TargetPrice, "target_referral_percentage": &r.TargetReferral,
		"daily_unit_sales_target": &r.DailyUnitSalesTarget,
	} {
		p.setDecimal(field, to)
	}
}

// deleteInventoryItem: an item that documents name stays, or their figures would
// no longer add up.
func (s *server) deleteInventoryItem(x *exchange) (any, error) {
	i, err := x.item()
	if err != nil {
		return nil, err
	}
	if !s.books.DeleteItem(x.company, i) {
		return kept("Inventory item has not been deleted: documents or assemblies use it."), nil
	}
	return noContent(), nil
}

// product finds the product of the path.
func (x *exchange) product() (*ledger.Product, error) {
	id, err := strconv.ParseInt(x.r.PathValue("productId"), 10, 64)
	if err != nil {
		return nil, routeNotFound(x.r)
	}
	if v := find(x.company.Products, func(v *ledger.Product) bool { return v.ID == id }); v != nil {
		return v, nil
	}
	return nil, notFound("Product is not found.")
}

func (s *server) createProduct(x *exchange) (any, error) { return s.saveProduct(x, nil) }

func (s *server) updateProduct(x *exchange) (any, error) {
	v, err := x.product()
	if err != nil {
		return nil, err
	}
	return s.saveProduct(x, v)
}

// saveProduct takes the fields that a product has; NeonPanel's document describes
// no body at all.
func (s *server) saveProduct(x *exchange, old *ledger.Product) (any, error) {
	p, err := x.input()
	if err != nil {
		return nil, err
	}
	var next ledger.Product
	if old != nil {
		next = *old
	}
	for _, field := range []string{"sku", "name"} {
		if old == nil || p.has(field) {
			p.required(field)
		}
	}
	p.setText("sku", &next.SKU)
	p.setText("parent_sku", &next.ParentSKU)
	p.setText("name", &next.Name)
	p.setURL("image", &next.Image)
	for field, to := range map[string]*ledger.Decimal{"weight": &next.Weight, "length": &next.Length, "height": &next.Height, "depth": &next.Depth} {
		p.setDecimal(field, to)
		if *to > ledger.Int(maxMeasure) {
			p.fault(field, "The %s field must not be greater than "+strconv.Itoa(maxMeasure)+".")
		}
	}
	if slices.ContainsFunc(x.company.Products, func(v *ledger.Product) bool { return v != old && strings.EqualFold(v.SKU, next.SKU) }) && next.SKU != "" {
		p.fault("sku", "The %s has already been taken.")
	}
	if err := p.faults.err(); err != nil {
		return nil, err
	}
	v, err := s.books.SaveProduct(x.company, old, next)
	if err != nil {
		return nil, refused(err, nil)
	}
	return renderProduct(v), nil
}

// maxMeasure bounds the pounds and inches of a product: freight goes by weight.
const maxMeasure = 100_000

// deleteProduct leaves the items that the product grouped.
func (s *server) deleteProduct(x *exchange) (any, error) {
	v, err := x.product()
	if err != nil {
		return nil, err
	}
	if !s.books.DeleteProduct(x.company, v) {
		return kept("Product has not been deleted: an assembly makes it."), nil
	}
	return noContent(), nil
}

// syncListing is POST …/listings/{listingId}/sync.
func (s *server) syncListing(x *exchange) (any, error) {
	id, err := strconv.ParseInt(x.r.PathValue("listingId"), 10, 64)
	if err != nil {
		return nil, routeNotFound(x.r)
	}
	l := find(x.company.Listings, func(v *ledger.Listing) bool { return v.ID == id })
	if l == nil {
		return nil, notFound("Listing is not found.")
	}
	s.books.Sync(x.company, l)
	return renderListing(l), nil
}
