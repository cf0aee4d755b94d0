package observability

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Dashboard is Grafana's JSON model, as far as this project uses it; anything
// else in a file is an error.
type Dashboard struct {
	UID           string     `json:"uid"`
	Title         string     `json:"title"`
	Description   string     `json:"description"`
	Tags          []string   `json:"tags"`
	SchemaVersion int        `json:"schemaVersion"`
	Version       int        `json:"version"`
	Editable      bool       `json:"editable"`
	GraphTooltip  int        `json:"graphTooltip"`
	Refresh       string     `json:"refresh"`
	Timezone      string     `json:"timezone"`
	Time          Span       `json:"time"`
	Templating    Templating `json:"templating"`
	Links         []Link     `json:"links"`
	Panels        []Panel    `json:"panels"`
}

// Span is the time that is shown at first.
type Span struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Templating holds the variables.
type Templating struct {
	List []Variable `json:"list"`
}

// Variable is one choice at the top of the dashboard.
type Variable struct {
	Name       string      `json:"name"`
	Label      string      `json:"label"`
	Type       string      `json:"type"`
	Query      string      `json:"query"`
	Datasource *Datasource `json:"datasource,omitempty"`
	Refresh    int         `json:"refresh"`
	IncludeAll bool        `json:"includeAll,omitempty"`
	AllValue   string      `json:"allValue,omitempty"`
	Multi      bool        `json:"multi,omitempty"`
	Sort       int         `json:"sort,omitempty"`
}

// Datasource says who answers queries.
type Datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Link leads to other dashboards.
type Link struct {
	Title       string   `json:"title"`
	Type        string   `json:"type"`
	Tags        []string `json:"tags"`
	KeepTime    bool     `json:"keepTime"`
	IncludeVars bool     `json:"includeVars"`
	AsDropdown  bool     `json:"asDropdown"`
}

// Panel is one chart, or the heading of a row.
type Panel struct {
	ID          int             `json:"id"`
	Type        string          `json:"type"`
	Title       string          `json:"title"`
	Description string          `json:"description,omitempty"`
	GridPos     GridPos         `json:"gridPos"`
	Datasource  *Datasource     `json:"datasource,omitempty"`
	FieldConfig *FieldConfig    `json:"fieldConfig,omitempty"`
	Options     json.RawMessage `json:"options,omitempty"`
	Targets     []Target        `json:"targets,omitempty"`
	Collapsed   *bool           `json:"collapsed,omitempty"`
}

// GridPos is a place on a grid that is 24 wide.
type GridPos struct {
	X int `json:"x"`
	Y int `json:"y"`
	W int `json:"w"`
	H int `json:"h"`
}

// FieldConfig says how values look.
type FieldConfig struct {
	Defaults struct {
		Unit       string          `json:"unit"`
		Decimals   *int            `json:"decimals,omitempty"`
		Min        *float64        `json:"min,omitempty"`
		Max        *float64        `json:"max,omitempty"`
		NoValue    string          `json:"noValue,omitempty"`
		Thresholds json.RawMessage `json:"thresholds,omitempty"`
		Custom     json.RawMessage `json:"custom,omitempty"`
		Mappings   json.RawMessage `json:"mappings,omitempty"`
	} `json:"defaults"`
	Overrides []json.RawMessage `json:"overrides"`
}

// Target is one query of a panel.
type Target struct {
	RefID        string     `json:"refId"`
	Datasource   Datasource `json:"datasource"`
	Expr         string     `json:"expr"`
	LegendFormat string     `json:"legendFormat"`
	Instant      bool       `json:"instant,omitempty"`
	Range        bool       `json:"range,omitempty"`
	Format       string     `json:"format,omitempty"`
}

// ReadDashboard reads a file strictly.
func ReadDashboard(path string) (*Dashboard, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseDashboard(text)
}

func parseDashboard(text []byte) (*Dashboard, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var d Dashboard
	if err := decoder.Decode(&d); err != nil {
		return nil, err
	}
	return &d, nil
}

// The variable that chooses the Prometheus, so that a dashboard can be imported
// anywhere.
const chosen = "${datasource}"

// Units of Grafana that this project uses.
var units = []string{"reqps", "ops", "percentunit", "s", "ms", "short", "none", "bytes", "cores", "dtdurations", "d", "bool_yes_no", "string"}

// Check finds what Grafana would show badly or not at all.
func (d *Dashboard) Check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !regexp.MustCompile(`^[a-z0-9-]{1,40}$`).MatchString(d.UID) || d.Title == "" || d.Description == "" || d.SchemaVersion < 36 || d.Time.From == "" || d.Time.To == "" {
		fault("the dashboard lacks a uid of up to 40 small letters, a title, a description, a schema version or a time")
	}
	if len(d.Templating.List) == 0 || d.Templating.List[0].Name != "datasource" || d.Templating.List[0].Type != "datasource" || d.Templating.List[0].Query != "prometheus" {
		fault("the first variable does not choose a Prometheus")
	}
	for _, v := range d.Templating.List[min(1, len(d.Templating.List)):] {
		if v.Datasource == nil || v.Datasource.UID != chosen {
			fault("variable %s does not ask %s", v.Name, chosen)
		}
	}
	ids, titles := map[int]bool{}, map[string]bool{}
	grid := map[[2]int]string{}
	for _, p := range d.Panels {
		in := func(format string, args ...any) { fault("panel %q: %s", p.Title, fmt.Sprintf(format, args...)) }
		if p.ID < 1 || ids[p.ID] {
			in("its id %d is not its own", p.ID)
		}
		ids[p.ID] = true
		if p.Title == "" || titles[p.Title] {
			in("its title is not its own")
		}
		titles[p.Title] = true
		if p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X < 0 || p.GridPos.Y < 0 || p.GridPos.X+p.GridPos.W > 24 {
			in("it is not on the grid")
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := grid[[2]int{x, y}]; ok {
					in("it lies on %q", other)
					x = 24
					break
				}
				grid[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			if len(p.Targets) > 0 || p.GridPos.W != 24 || p.GridPos.H != 1 {
				in("a row is as wide as the grid, one high, and asks nothing")
			}
			continue
		}
		if !slices.Contains([]string{"timeseries", "stat", "bargauge", "table"}, p.Type) {
			in("there is no panel of type %q here", p.Type)
		}
		if len(p.Description) < 20 || !strings.HasSuffix(p.Description, ".") {
			in("it has no description")
		}
		if p.FieldConfig == nil || !slices.Contains(units, p.FieldConfig.Defaults.Unit) {
			in("it has no unit")
		}
		if p.Datasource == nil || p.Datasource.UID != chosen {
			in("it does not ask %s", chosen)
		}
		if len(p.Targets) == 0 {
			in("it asks nothing")
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if target.RefID == "" || refs[target.RefID] {
				in("refId %q is not its own", target.RefID)
			}
			refs[target.RefID] = true
			if target.Datasource.UID != chosen || target.Datasource.Type != "prometheus" {
				in("query %s does not ask %s", target.RefID, chosen)
			}
			if target.Instant == target.Range {
				in("query %s is either instant or a range", target.RefID)
			}
		}
	}
	return errors.Join(faults...)
}

// Grafana fills these in. What they are replaced by has the same type.
var macros = strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h", "$__interval", "1m")

var (
	variable = regexp.MustCompile(`\$\{?([a-z]+)\}?`)
	legend   = regexp.MustCompile(`\{\{\s*([a-zA-Z_]+)\s*\}\}`)
	values   = regexp.MustCompile(`^label_values\((.+), *([a-z_]+)\)$`)
)

// Dashboard judges all queries, and returns the names that they read.
func (t *Truth) Dashboard(d *Dashboard) (read []string, err error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	known := map[string]bool{}
	query := func(where, text string) Query {
		for _, found := range variable.FindAllStringSubmatch(macros.Replace(text), -1) {
			if !known[found[1]] {
				fault("%s: there is no variable %s", where, found[1])
			}
		}
		q, err := t.Query(macros.Replace(text))
		if err != nil {
			fault("%s: %w", where, err)
		}
		read = append(read, q.Names...)
		return q
	}
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			found := values.FindStringSubmatch(v.Query)
			if found == nil {
				fault("variable %s: %q is not understood", v.Name, v.Query)
			} else if q := query("variable "+v.Name, found[1]); !slices.Contains(q.Labels, found[2]) {
				fault("variable %s: %s has no label %s", v.Name, found[1], found[2])
			}
		}
		known[v.Name] = true
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			q := query(fmt.Sprintf("panel %q", p.Title), target.Expr)
			for _, found := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(q.Labels, found[1]) {
					fault("panel %q: its legend shows the label %s, which its series lack", p.Title, found[1])
				}
			}
		}
	}
	return read, errors.Join(faults...)
}
