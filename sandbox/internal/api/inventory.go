package api

import (
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

func indexed(field string, i int) string { return field + "." + strconv.Itoa(i) }

// warehouseBody is a warehouse in the lists: it has no integer id, though
// documents are written with one.
type warehouseBody struct {
	UUID    string  `json:"uuid"`
	Name    string  `json:"name"`
	Type    *string `json:"type"`
	Country *string `json:"country_code"`
}

func renderWarehouse(w *ledger.Warehouse) warehouseBody {
	return warehouseBody{w.UUID, w.Name, orNull(w.Type), orNull(w.Country)}
}

// listWarehouses is GET /companies/{companyUuid}/warehouses.
func (s *server) listWarehouses(x *exchange) (any, error) {
	f := x.form()
	p := f.page(coreList)
	search := strings.ToLower(f.scalar("search"))
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	all := filter(x.company.Warehouses, func(w *ledger.Warehouse) bool {
		return search == "" || strings.Contains(strings.ToLower(w.Name), search)
	})
	rows := cut(&p, all)
	return struct {
		paging
		Data []warehouseBody `json:"data"`
	}{p, each(rows, renderWarehouse)}, nil
}

func filter[T any](all []T, keep func(T) bool) []T {
	out := make([]T, 0, len(all))
	for _, v := range all {
		if keep(v) {
			out = append(out, v)
		}
	}
	return out
}

type itemBody struct {
	ID      int64          `json:"id"`
	Name    string         `json:"name"`
	FNSKU   string         `json:"fnsku"`
	ASIN    string         `json:"asin"`
	SKU     string         `json:"sku"`
	Image   *string        `json:"image"`
	Country string         `json:"country_code"`
	Weight  ledger.Decimal `json:"weight"`
	Length  ledger.Decimal `json:"length"`
	Height  ledger.Decimal `json:"height"`
	Depth   ledger.Decimal `json:"depth"`
}

func renderItem(i *ledger.Item) itemBody {
	p := i.Product
	return itemBody{i.ID, p.Name, i.FNSKU, i.ASIN(), p.SKU, orNull(p.Image), i.Country, p.Weight, p.Length, p.Height, p.Depth}
}

type itemFilters struct {
	Country string `json:"country_code,omitempty"`
	Search  string `json:"search,omitempty"`
	FNSKU   string `json:"fnsku,omitempty"`
	ASIN    string `json:"asin,omitempty"`
	SKU     string `json:"sku,omitempty"`
}

// listInventoryItems is GET /companies/{companyUuid}/inventory-items.
func (s *server) listInventoryItems(x *exchange) (any, error) {
	f := x.form()
	p := f.page(coreList)
	want := itemFilters{f.scalar("country_code"), f.scalar("search"), f.scalar("fnsku"), f.scalar("asin"), f.scalar("sku")}
	if want.Country != "" && len(want.Country) != 2 {
		f.faults.add("country_code", "The country code field must be 2 characters.")
	}
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	rows := cut(&p, filter(x.company.Items, want.match()))
	return struct {
		paging
		Filters itemFilters `json:"filters"`
		Data    []itemBody  `json:"data"`
	}{p, want, each(rows, renderItem)}, nil
}

// match compares without regard to case, as MySQL's default collation does.
func (w itemFilters) match() func(*ledger.Item) bool {
	search := strings.ToLower(w.Search)
	is := func(want, have string) bool { return want == "" || strings.EqualFold(want, have) }
	return func(i *ledger.Item) bool {
		return is(w.Country, i.Country) && is(w.FNSKU, i.FNSKU) && is(w.ASIN, i.ASIN()) && is(w.SKU, i.Product.SKU) &&
			(search == "" || contains(search, i.Product.SKU, i.ASIN(), i.FNSKU, i.Product.Name) || search == strconv.FormatInt(i.ID, 10))
	}
}

// contains tells whether any text contains the lower-case needle.
func contains(needle string, texts ...string) bool {
	for _, t := range texts {
		if strings.Contains(strings.ToLower(t), needle) {
			return true
		}
	}
	return false
}
