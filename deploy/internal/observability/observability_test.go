package observability

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const exposed = `
# TYPE requests_total counter
requests_total{code="200",route="/mcp"} 3
requests_total{code="500",route="/mcp"} 0
# TYPE streams gauge
streams 2
# TYPE seconds histogram
seconds_bucket{route="/mcp",le="0.5"} 1
seconds_bucket{route="/mcp",le="+Inf"} 1
seconds_sum{route="/mcp"} 0.1
seconds_count{route="/mcp"} 1
`

func small(t *testing.T) *Truth {
	t.Helper()
	truth := NewTruth()
	if err := truth.Scraped(strings.NewReader(exposed)); err != nil {
		t.Fatal(err)
	}
	return truth
}

func TestQueriesAreJudged(t *testing.T) {
	t.Parallel()
	for query, fault := range map[string]string{
		`streams`:          "",
		`up{job="x"} == 0`: "",
		`sum by (code) (rate(requests_total[5m]))`:                                                                         "",
		`rate(requests_total{code=~"200|500"}[5m])`:                                                                        "",
		`rate(requests_total{code=~"5.."}[5m])`:                                                                            "",
		`rate(requests_total{code!="200"}[5m])`:                                                                            "",
		`rate(requests_total{instance="any"}[5m])`:                                                                         "",
		`histogram_quantile(0.9, sum by (le) (rate(seconds_bucket{le="0.5"}[5m])))`:                                        "",
		`sum by (route) (rate(seconds_sum[5m])) / sum by (route) (rate(seconds_count[5m]))`:                                "",
		`sum(streams) / sum(rate(requests_total[5m]))`:                                                                     "",
		`sum by (code, route) (rate(requests_total[5m])) / on (route) group_left sum by (route) (rate(seconds_count[5m]))`: "",
		`absent(streams == 1)`:                                                                                             "",
		`max_over_time(streams[1d])`:                                                                                       "",
		`topk(3, streams)`:                                                                                                 "",
		`streams > 1 or up == 0`:                                                                                           "",
		`stream`:                                                                                                           "no metric stream",
		`seconds`:                                                                                                          "no metric seconds",
		`{code="200"}`:                                                                                                     "names no metric",
		`requests_total{cod="200"}`:                                                                                        "no label cod",
		`requests_total{code="201"}`:                                                                                       `no code="201"`,
		`requests_total{code!="201"}`:                                                                                      `no code="201"`,
		`requests_total{code=~"200|201"}`:                                                                                  `no code="201"`,
		`requests_total{code=~"4.."}`:                                                                                      "no code of requests_total matches",
		`seconds_bucket{le="0.7"}`:                                                                                         `no le="0.7"`,
		`sum by (user) (streams)`:                                                                                          "no label user to group by",
		`sum by (code) (sum by (route) (requests_total))`:                                                                  "no label code to group by",
		`rate(streams[5m])`:                                                                                                "can fall",
		`histogram_quantile(0.9, sum by (route) (rate(seconds_bucket[5m])))`:                                               "label le is gone",
		`sum by (code) (requests_total) / sum by (route) (requests_total)`:                                                 "never match",
		`sum by (code) (requests_total) / on (route) sum by (route) (streams)`:                                             "no label route",
		`sum by (code (requests_total)`:                                                                                    "parse error",
	} {
		_, err := small(t).Query(query)
		if fault == "" && err != nil {
			t.Errorf("%s: %v", query, err)
		}
		if fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
			t.Errorf("%s: %v, and not %q", query, err, fault)
		}
	}
}

func TestRulesAreJudged(t *testing.T) {
	t.Parallel()
	const good = `
groups:
  - name: g
    rules:
      - {record: "route:requests:rate5m", expr: "sum by (route) (rate(requests_total[5m]))"}
      - alert: A
        expr: route:requests:rate5m > 1
        labels: {severity: page}
        annotations: {summary: It is bad., description: "It is bad at {{ $labels.route }}.", runbook_url: "https://x/r#what-to-do"}
`
	const tests = `
tests:
  - input_series: [{series: 'requests_total{code="200"}', values: 1}]
    alert_rule_test:
      - {eval_time: 1m, alertname: A, exp_alerts: [{}]}
      - {eval_time: 2m, alertname: A, exp_alerts: []}
`
	for what, c := range map[string]struct{ from, to, fault string }{
		"as it is":                 {},
		"an unknown metric":        {"rate(requests_total", "rate(request_total", "no metric request_total"},
		"an unknown record":        {"expr: route:requests:rate5m", "expr: route:requests:rate1m", "no metric route:requests:rate1m"},
		"a label that is gone":     {"$labels.route", "$labels.code", "shows the label code"},
		"another severity":         {"page", "panic", "severity"},
		"no summary":               {"summary: It is bad.,", "", "no summary"},
		"a runbook that is gone":   {"#what-to-do", "#what-else", "no heading"},
		"no test that sees it":     {"exp_alerts: [{}]", "exp_alerts: []", "sees A fire"},
		"no test of silence":       {"exp_alerts: []", "exp_alerts: [{}]", "stay silent"},
		"a test of another one":    {"{eval_time: 2m, alertname: A", "{eval_time: 2m, alertname: B", "no alert"},
		"a test of another metric": {"series: 'requests_total", "series: 'request_total", "no metric request_total"},
		"a field that is unknown":  {"labels: {severity", "label: {severity", "field label not found"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range map[string]string{"rules.yaml": good, "test.yaml": tests} {
				if c.from != "" {
					text = strings.ReplaceAll(text, c.from, c.to)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var found strings.Builder
			say := func(err error) {
				if err != nil {
					found.WriteString(err.Error() + "\n")
				}
			}
			if rules, err := Rules(filepath.Join(dir, "rules.yaml")); err != nil {
				say(err)
			} else {
				truth := small(t)
				_, err := truth.Record(rules)
				say(err)
				say(truth.Tested(rules, filepath.Join(dir, "test.yaml")))
				say(Conventions(rules, "https://x/r", []string{"what-to-do"}))
			}
			if c.fault == "" && found.Len() > 0 {
				t.Error(found.String())
			}
			if !strings.Contains(found.String(), c.fault) {
				t.Errorf("%q, and not %q", found.String(), c.fault)
			}
		})
	}
}

func TestDashboardsAreJudged(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile("../../observability/dashboards/users.json")
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		spoil func(*Dashboard)
		fault string
	}{
		"as it is":           {func(*Dashboard) {}, ""},
		"an id twice":        {func(d *Dashboard) { d.Panels[2].ID = d.Panels[1].ID }, "its id"},
		"a title twice":      {func(d *Dashboard) { d.Panels[2].Title = d.Panels[1].Title }, "its title"},
		"on each other":      {func(d *Dashboard) { d.Panels[2].GridPos = d.Panels[1].GridPos }, "it lies on"},
		"beside the grid":    {func(d *Dashboard) { d.Panels[2].GridPos.X = 23 }, "not on the grid"},
		"no description":     {func(d *Dashboard) { d.Panels[1].Description = "" }, "no description"},
		"no unit":            {func(d *Dashboard) { d.Panels[1].FieldConfig.Defaults.Unit = "" }, "no unit"},
		"one data source":    {func(d *Dashboard) { d.Panels[1].Datasource.UID = "P1809F7CD0C75ACF3" }, "does not ask"},
		"no query":           {func(d *Dashboard) { d.Panels[1].Targets = nil }, "asks nothing"},
		"another panel":      {func(d *Dashboard) { d.Panels[1].Type = "graph" }, "no panel of type"},
		"no choice":          {func(d *Dashboard) { d.Templating.List = d.Templating.List[1:] }, "does not choose"},
		"an unknown metric":  {func(d *Dashboard) { d.Panels[1].Targets[0].Expr = "sum(nothing)" }, "no metric nothing"},
		"an unknown legend":  {func(d *Dashboard) { d.Panels[1].Targets[0].LegendFormat = "{{user}}" }, "shows the label user"},
		"an unknown choice":  {func(d *Dashboard) { d.Panels[1].Targets[0].Expr = `streams{job="$where"}` }, "no variable where"},
		"a variable of none": {func(d *Dashboard) { d.Templating.List[1].Query = "label_values(streams, user)" }, "has no label user"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d, err := parseDashboard(good)
			if err != nil {
				t.Fatal(err)
			}
			// Only the spoilt panel's names matter here.
			for i := range d.Panels {
				for j := range d.Panels[i].Targets {
					d.Panels[i].Targets[j].Expr, d.Panels[i].Targets[j].LegendFormat = "streams", ""
				}
			}
			d.Templating.List[1].Query = "label_values(streams, namespace)"
			c.spoil(d)
			found := ""
			if err := d.Check(); err != nil {
				found += err.Error()
			}
			if _, err := small(t).Dashboard(d); err != nil {
				found += err.Error()
			}
			if c.fault == "" && found != "" {
				t.Error(found)
			}
			if !strings.Contains(found, c.fault) {
				t.Errorf("%q, and not %q", found, c.fault)
			}
		})
	}
	var loose map[string]any
	if err := json.Unmarshal(good, &loose); err != nil {
		t.Fatal(err)
	}
	loose["pannels"] = 1
	text, err := json.Marshal(loose)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseDashboard(text); err == nil {
		t.Error("an unknown field was read")
	}
}
