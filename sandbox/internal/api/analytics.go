package api

import (
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
	Start    midnight       `json:"start_date"`
	End      midnight       `json:"end_date"`
	Revenue  ledger.Decimal `json:"revenue_amount"`
	COGS     ledger.Decimal `json:"cogs_amount"`
	Currency string         `json:"currency"`
	Company  *companyBody   `json:"company"`
	Country  *string        `json:"country_code"`
	Invoice  *citation      `json:"invoice"`
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
	}{filters, each(rows, renderRevenue)}, nil
}

func renderRevenue(r ledger.Row) revenueBody {
	b := revenueBody{Start: midnight(r.Start), End: midnight(r.End), Revenue: r.Revenue, COGS: r.COGS, Currency: r.Currency, Country: orNull(r.Country)}
	if r.Company != nil {
		c := renderCompany(r.Company)
		b.Company = &c
	}
	if r.Invoice != nil {
		b.Invoice = cite(&r.Invoice.Document)
	}
	return b
}

// citation is a document as the analytics name it. It has no id.
type citation struct {
	Type      string   `json:"type"`
	Link      string   `json:"link"`
	Status    string   `json:"status"`
	Completed instant  `json:"completed"`
	Ref       *string  `json:"ref_number"`
	Date      midnight `json:"date"`
}

func cite(d *ledger.Document) *citation {
	return &citation{d.Type, d.Link(), d.Status, instant(d.Completed), orNull(d.Ref), midnight(d.Date)}
}
