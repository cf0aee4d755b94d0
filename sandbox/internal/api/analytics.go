package api

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

type revenueFilters struct {
	CompanyUUIDs []string           `json:"company_uuids"`
	CountryCodes []string           `json:"country_codes"`
	Periodicity  ledger.Periodicity `json:"periodicity"`
	Grouping     []string           `json:"grouping"`
	Start        midnight           `json:"start_date"`
	End          midnight           `json:"end_date"`
}

// revenueAndCogsSummary is GET /revenue-and-cogs. It is not paged.
func (s *server) revenueAndCogsSummary(x *exchange) (any, error) {
	companies, uuids, err := s.chosenCompanies(x)
	if err != nil {
		return nil, err
	}
	f := x.form()
	start, end := f.span(x.today)
	filters := revenueFilters{CompanyUUIDs: uuids, Start: midnight(start), End: midnight(end)}

	filters.Periodicity = ledger.Periodicity(f.scalar("periodicity"))
	switch filters.Periodicity {
	case "":
		filters.Periodicity = ledger.Total
	case ledger.Total, ledger.Yearly, ledger.Quarterly, ledger.Monthly:
	default:
		f.faults.add("periodicity", "The selected periodicity is invalid.")
	}
	var by ledger.Grouping
	filters.Grouping = f.list("grouping")
	if filters.Grouping == nil {
		filters.Grouping = []string{"company"}
	}
	for i, g := range filters.Grouping {
		switch g {
		case "company":
			by.Company = true
		case "country":
			by.Country = true
		case "invoice":
			by.Invoice = true
		default:
			f.faults.add(indexed("grouping", i), "The selected "+indexed("grouping", i)+" is invalid.")
		}
	}
	filters.CountryCodes = []string{}
	for i, code := range f.list("country_codes") {
		if len(code) != 2 {
			f.faults.add(indexed("country_codes", i), "The "+indexed("country_codes", i)+" field must be 2 characters.")
			continue
		}
		filters.CountryCodes = append(filters.CountryCodes, strings.ToUpper(code))
	}
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	countries := filters.CountryCodes
	if len(countries) == 0 {
		for _, c := range companies {
			for _, code := range c.Countries {
				if !slices.Contains(filters.CountryCodes, code) {
					filters.CountryCodes = append(filters.CountryCodes, code)
				}
			}
		}
	}
	rows := ledger.Summarize(companies, countries, by, filters.Periodicity, start, end)
	rendered := make(map[*ledger.Company]json.RawMessage, len(companies))
	for _, c := range companies {
		if rendered[c], err = json.Marshal(renderCompany(c)); err != nil {
			return nil, err
		}
	}
	head := struct {
		Filters revenueFilters `json:"filters"`
	}{filters}
	return newLong(head, "data", rows, s.appendRevenue(rendered)), nil
}

type costFilters struct {
	Country   string   `json:"country_code"`
	Warehouse string   `json:"warehouse_uuid,omitempty"`
	Start     midnight `json:"start_date"`
	End       midnight `json:"end_date"`
}

// listInventoryLandedCosts is GET …/inventory-items/{inventoryId}/landed-cost:
// the batches that came into the warehouse in the period, with all they had cost
// by then. The totals are of the whole period, not of the page.
func (s *server) listInventoryLandedCosts(x *exchange) (any, error) {
	i, err := x.item()
	if err != nil {
		return nil, err
	}
	f := x.form()
	p := f.page(coreList)
	f.required("warehouse_uuid")
	start, end := f.span(x.today)
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	w := x.company.Warehouse(f.scalar("warehouse_uuid"))
	if w == nil {
		return nil, notFound("Warehouse is not found.")
	}
	var amount ledger.Decimal
	var quantity int64
	in := filter(i.Receipts, func(r ledger.Receipt) bool { return r.Warehouse == w && r.Date >= start && r.Date <= end })
	for _, r := range in {
		amount += r.Amount()
		quantity += r.Quantity
	}
	currency := x.company.Currency
	rows := cut(&p, in)
	head := struct {
		paging
		Filters   costFilters    `json:"filters"`
		Company   companyBody    `json:"company"`
		Inventory itemBody       `json:"inventory"`
		Warehouse warehouseBody  `json:"warehouse"`
		Currency  string         `json:"currency"`
		Amount    ledger.Decimal `json:"amount"`
		Quantity  int64          `json:"quantity"`
	}{
		p, costFilters{i.Country, w.UUID, midnight(start), midnight(end)},
		renderCompany(x.company), renderItem(i), renderWarehouse(w), currency, amount, quantity,
	}
	return newLong(head, "data", rows, s.appendReceipt(currency)), nil
}

// listInventoryCogs is GET …/inventory-items/{inventoryId}/cogs. Its rows are
// under details, not data. The totals are of the whole period.
func (s *server) listInventoryCogs(x *exchange) (any, error) {
	i, err := x.item()
	if err != nil {
		return nil, err
	}
	f := x.form()
	p := f.page(coreList)
	start, end := f.span(x.today)
	if err := f.faults.err(); err != nil {
		return nil, err
	}
	var amount, lost ledger.Decimal
	var quantity int64
	sold := i.SalesBetween(start, end)
	for _, sale := range sold {
		amount += sale.COGS
		quantity += sale.Quantity
	}
	for _, l := range i.Losses {
		if l.Date >= start && l.Date <= end {
			lost += l.Amount
		}
	}
	currency := x.company.Currency
	rows := cut(&p, sold)
	head := struct {
		paging
		Filters   costFilters    `json:"filters"`
		Company   companyBody    `json:"company"`
		Inventory itemBody       `json:"inventory"`
		Currency  string         `json:"currency"`
		Amount    ledger.Decimal `json:"amount"`
		Lost      ledger.Decimal `json:"lost_amount"`
		Total     ledger.Decimal `json:"total_amount"`
		Quantity  int64          `json:"quantity"`
	}{
		p, costFilters{Country: i.Country, Start: midnight(start), End: midnight(end)},
		renderCompany(x.company), renderItem(i), currency, amount, lost, amount + lost, quantity,
	}
	return newLong(head, "details", rows, s.appendSale(currency)), nil
}
