package api

import (
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// getCompanyForecastingSettings is GET …/settings/forecasts.
func (s *server) getCompanyForecastingSettings(x *exchange) (any, error) {
	f := x.company.Forecast
	return struct {
		Status         string         `json:"status"`
		Seasonality    string         `json:"default_seasonality"`
		Scenario       *int64         `json:"default_scenario_id"`
		LeadTime       *int64         `json:"default_lead_time_days"`
		SafetyStock    *int64         `json:"default_safety_stock_days"`
		FBALeadTime    *int64         `json:"default_fba_lead_time"`
		FBASafetyStock *int64         `json:"default_fba_safety_stock"`
		POFrequency    int64          `json:"default_planned_po_frequency"`
		FBAFrequency   int64          `json:"default_fba_replenishment_frequency"`
		SafetyA        ledger.Decimal `json:"default_safety_stock_multiplicator_class_a"`
		SafetyB        ledger.Decimal `json:"default_safety_stock_multiplicator_class_b"`
		SafetyC        ledger.Decimal `json:"default_safety_stock_multiplicator_class_c"`
		SafetyD        ledger.Decimal `json:"default_safety_stock_multiplicator_class_d"`
		RevenueA       ledger.Decimal `json:"default_revenue_class_a"`
		RevenueB       ledger.Decimal `json:"default_revenue_class_b"`
		RevenueC       ledger.Decimal `json:"default_revenue_class_c"`
		ParetoA        ledger.Decimal `json:"default_pareto_class_a"`
		ParetoB        ledger.Decimal `json:"default_pareto_class_b"`
		ParetoC        ledger.Decimal `json:"default_pareto_class_c"`
	}{
		f.Status, f.Seasonality, f.Scenario, f.LeadTime, f.SafetyStock, f.FBALeadTime, f.FBASafetyStock, f.POFrequency, f.FBAFrequency,
		f.SafetyClass[0], f.SafetyClass[1], f.SafetyClass[2], f.SafetyClass[3],
		f.RevenueClass[0], f.RevenueClass[1], f.RevenueClass[2],
		f.ParetoClass[0], f.ParetoClass[1], f.ParetoClass[2],
	}, nil
}

// updateCompanyForecastingSettings is PUT …/settings/forecasts. Like its siblings
// it changes what is there; unlike them it does not show the outcome.
func (s *server) updateCompanyForecastingSettings(x *exchange) (any, error) {
	p, err := x.input()
	if err != nil {
		return nil, err
	}
	f := x.company.Forecast
	if p.has("status") {
		p.required("status")
	}
	p.setOneOf("status", &f.Status, "active", "trial", "inactive")
	p.setText("default_seasonality", &f.Seasonality)
	if p.has("default_seasonality") && !p.faulty("default_seasonality") && !seasonality(f.Seasonality) {
		p.fault("default_seasonality", "The %s field must be 12 multipliers separated by semicolons.")
	}
	for field, to := range map[string]**int64{
		"default_scenario_id": &f.Scenario, "default_lead_time_days": &f.LeadTime, "default_safety_stock_days": &f.SafetyStock,
		"default_fba_lead_time": &f.FBALeadTime, "default_fba_safety_stock": &f.FBASafetyStock,
	} {
		if p.has(field) {
			*to = nil
			if n, ok := p.integer(field, false, 0); ok {
				*to = &n
			}
		}
	}
	for field, to := range map[string]*int64{"default_planned_po_frequency": &f.POFrequency, "default_fba_replenishment_frequency": &f.FBAFrequency} {
		if p.has(field) {
			*to, _ = p.integer(field, true, 1)
		}
	}
	for field, to := range map[string]*ledger.Decimal{
		"default_safety_stock_multiplicator_class_a": &f.SafetyClass[0], "default_safety_stock_multiplicator_class_b": &f.SafetyClass[1],
		"default_safety_stock_multiplicator_class_c": &f.SafetyClass[2], "default_safety_stock_multiplicator_class_d": &f.SafetyClass[3],
		"default_revenue_class_a": &f.RevenueClass[0], "default_revenue_class_b": &f.RevenueClass[1], "default_revenue_class_c": &f.RevenueClass[2],
		"default_pareto_class_a": &f.ParetoClass[0], "default_pareto_class_b": &f.ParetoClass[1], "default_pareto_class_c": &f.ParetoClass[2],
	} {
		if p.has(field) {
			*to = p.decimal(field, true, false)
		}
	}
	if err := p.faults.err(); err != nil {
		return nil, err
	}
	x.company.Forecast = f
	return struct {
		Success bool `json:"success"`
	}{true}, nil
}

// seasonality tells whether a text has a multiplier for every month.
func seasonality(s string) bool {
	months := strings.Split(s, ";")
	for _, m := range months {
		if d, err := ledger.ParseDecimal(strings.TrimSpace(m)); err != nil || d < 0 {
			return false
		}
	}
	return len(months) == 12
}

type reportBody struct {
	ID          int64  `json:"id"`
	Title       string `json:"title"`
	Group       string `json:"group"`
	Description string `json:"description"`
	Link        string `json:"link"`
}

func renderReport(r *ledger.Report) reportBody {
	return reportBody{r.ID, r.Title, r.Group, r.Description, r.Link}
}

// listReports is GET /reports. It is not paged.
func (s *server) listReports(x *exchange) (any, error) {
	open := filter(s.books.Reports, x.user.CanOpen)
	return struct {
		Count int          `json:"count"`
		Data  []reportBody `json:"data"`
	}{len(open), each(open, renderReport)}, nil
}

// getReportData is GET /reports/{reportId}. Its link takes company=, a list of
// the numeric ids of GET /companies: neither uuid nor, as an older document had
// it, short_name.
func (s *server) getReportData(x *exchange) (any, error) {
	id, err := strconv.ParseInt(x.r.PathValue("reportId"), 10, 64)
	if err != nil {
		return nil, routeNotFound(x.r)
	}
	for _, r := range s.books.Reports {
		if r.ID != id {
			continue
		}
		if !x.user.CanOpen(r) {
			return nil, forbidden
		}
		return renderFullReport(r), nil
	}
	return nil, notFound("Report is not found.")
}

type parameterBody struct {
	Slug        string `json:"slug"`
	Title       string `json:"title"`
	Type        string `json:"type"`
	Multiselect bool   `json:"multiselect"`
}

type sheetBody struct {
	Slug        string          `json:"slug"`
	Title       string          `json:"title"`
	Description *string         `json:"description"`
	Parameters  []parameterBody `json:"parameters"`
}

func renderFullReport(r *ledger.Report) any {
	return struct {
		reportBody
		Sheets []sheetBody `json:"sheets"`
	}{renderReport(r), each(r.Sheets, func(s ledger.Sheet) sheetBody {
		return sheetBody{s.Slug, s.Title, orNull(s.Description), each(s.Parameters, func(p ledger.Parameter) parameterBody { return parameterBody(p) })}
	})}
}
