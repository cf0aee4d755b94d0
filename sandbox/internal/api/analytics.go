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

type revenueBody struct {
	Start    midnight        `json:"start_date"`
	End      midnight        `json:"end_date"`
	Revenue  ledger.Decimal  `json:"revenue_amount"`
	COGS     ledger.Decimal  `json:"cogs_amount"`
	Currency string          `json:"currency"`
	Company  *companyBody    `json:"company"`
	Country  *string         `json:"country_code"`
	Invoice  json.RawMessage `json:"invoice"`
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
	return struct {
		Filters revenueFilters `json:"filters"`
		Data    []revenueBody  `json:"data"`
	}{filters, each(rows, s.renderRevenue)}, nil
}

func (s *server) renderRevenue(r ledger.Row) revenueBody {
	b := revenueBody{Start: midnight(r.Start), End: midnight(r.End), Revenue: r.Revenue, COGS: r.COGS, Currency: r.Currency, Country: orNull(r.Country)}
	if r.Company != nil {
		c := renderCompany(r.Company)
		b.Company = &c
	}
	if r.Invoice != nil {
		b.Invoice = s.cite(&r.Invoice.Document)
	}
	return b
}

type costFilters struct {
	Country   string   `json:"country_code"`
	Warehouse string   `json:"warehouse_uuid,omitempty"`
	Start     midnight `json:"start_date"`
	End       midnight `json:"end_date"`
}

type costDetail struct {
	Type     string          `json:"type"`
	Batch    json.RawMessage `json:"batch,omitempty"` // in COGS only
	Document json.RawMessage `json:"document"`
	Currency string          `json:"currency"`
	Amount   ledger.Decimal  `json:"amount"`
	Quantity int64           `json:"quantity"`
}

type landedBatch struct {
	Batch    json.RawMessage `json:"batch"`
	Currency string          `json:"currency"`
	Amount   ledger.Decimal  `json:"amount"`
	Quantity int64           `json:"quantity"`
	Details  []costDetail    `json:"details"`
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
	return struct {
		paging
		Filters   costFilters    `json:"filters"`
		Company   companyBody    `json:"company"`
		Inventory itemBody       `json:"inventory"`
		Warehouse warehouseBody  `json:"warehouse"`
		Currency  string         `json:"currency"`
		Amount    ledger.Decimal `json:"amount"`
		Quantity  int64          `json:"quantity"`
		Data      []landedBatch  `json:"data"`
	}{
		p, costFilters{i.Country, w.UUID, midnight(start), midnight(end)},
		renderCompany(x.company), renderItem(i), renderWarehouse(w), currency, amount, quantity,
		each(rows, func(r ledger.Receipt) landedBatch {
			return landedBatch{s.cite(r.Batch), currency, r.Amount(), r.Quantity, each(r.Costs, func(c ledger.Cost) costDetail {
				return costDetail{Type: c.Kind, Document: s.cite(c.Document), Currency: currency, Amount: c.Amount, Quantity: r.Quantity}
			})}
		}),
	}, nil
}

type soldRow struct {
	Document json.RawMessage `json:"document"`
	Currency string          `json:"currency"`
	Amount   ledger.Decimal  `json:"amount"`
	Quantity int64           `json:"quantity"`
	Details  []costDetail    `json:"details"`
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
	return struct {
		paging
		Filters   costFilters    `json:"filters"`
		Company   companyBody    `json:"company"`
		Inventory itemBody       `json:"inventory"`
		Currency  string         `json:"currency"`
		Amount    ledger.Decimal `json:"amount"`
		Lost      ledger.Decimal `json:"lost_amount"`
		Total     ledger.Decimal `json:"total_amount"`
		Quantity  int64          `json:"quantity"`
		Details   []soldRow      `json:"details"`
	}{
		p, costFilters{Country: i.Country, Start: midnight(start), End: midnight(end)},
		renderCompany(x.company), renderItem(i), currency, amount, lost, amount + lost, quantity,
		each(rows, func(sale ledger.Sale) soldRow {
			return soldRow{s.cite(&sale.Invoice.Document), currency, sale.COGS, sale.Quantity, each(sale.Parts, func(part ledger.Part) costDetail {
				return costDetail{part.Kind, s.cite(part.Batch), s.cite(part.Document), currency, part.Amount, part.Quantity}
			})}
		}),
	}, nil
}
