package api

import (
	"strconv"

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
