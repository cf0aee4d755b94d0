package resources

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
)

// maxValues is the most that MCP allows in one completion.
const maxValues = 100

// completions is how many records are looked at for one completion: lists come
// with all lines of their documents.
const completions = 20

// Completion are values that fit what was typed so far.
type Completion struct {
	Values []string
	More   bool
}

// plain short names need no escapes in a URI.
var plain = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]{0,63}$`)

// Complete completes a variable of a template. given are the variables that are
// set already.
func (l *Library) Complete(ctx context.Context, c identity.Caller, uri, variable, typed string, given map[string]string) (Completion, *Fault) {
	i := slices.IndexFunc(templates, func(t Template) bool { return t.URI == uri })
	if i < 0 || !Offered(c.Selection.Of(l.tools.Tools()), uri) {
		return Completion{}, notFound
	}
	t := templates[i]
	switch {
	case variable == company:
		rows, fault := l.typed(ctx, c, typed)
		if fault != nil {
			return Completion{}, fault
		}
		var values []string
		for _, r := range rows {
			// A short name, if it names this company alone, is easier on the eye.
			if plain.MatchString(r.ShortName) && !digits.MatchString(r.ShortName) && unique(rows, r) {
				values = append(values, r.ShortName)
			} else if r.UUID != "" {
				values = append(values, r.UUID)
			}
		}
		return bounded(values, false), nil
	case variable == t.variable && t.variable != "":
		return l.records(ctx, c, t, typed, given[company])
	}
	return Completion{}, notFound
}

func unique(rows []row, r row) bool {
	n := 0
	for _, other := range rows {
		if strings.EqualFold(other.ShortName, r.ShortName) {
			n++
		}
	}
	return n == 1
}

// CompanyNames completes the name of a company.
func (l *Library) CompanyNames(ctx context.Context, c identity.Caller, typed string) (Completion, *Fault) {
	rows, fault := l.typed(ctx, c, typed)
	if fault != nil {
		return Completion{}, fault
	}
	var values []string
	for _, r := range rows {
		if r.Name != "" {
			values = append(values, r.Name)
		}
	}
	return bounded(values, false), nil
}

// typed are the companies that what was typed fits.
func (l *Library) typed(ctx context.Context, c identity.Caller, typed string) ([]row, *Fault) {
	rows, fault := l.companies(ctx, c)
	if fault != nil {
		return nil, fault
	}
	return slices.DeleteFunc(rows, func(r row) bool {
		return !contains(r.Name, typed) && !contains(r.ShortName, typed) &&
			!strings.HasPrefix(r.UUID, typed) && !strings.HasPrefix(r.ID.String(), typed)
	}), nil
}

func contains(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

// records completes the id of a record: by the id's first digits among the
// newest, or by any text that the API finds it by.
func (l *Library) records(ctx context.Context, c identity.Caller, t Template, typed, owner string) (Completion, *Fault) {
	if owner == "" {
		return Completion{}, nil // whose?
	}
	typed = strings.TrimSpace(typed)
	arguments := map[string]any{"companyUuid": owner, "per_page": completions}
	if !digits.MatchString(typed) && typed != "" {
		arguments["search"] = typed
	}
	rows, fault := l.rows(ctx, c, t.list, arguments)
	if fault != nil {
		return Completion{}, fault
	}
	var values []string
	for _, r := range rows {
		id := r.ID.String()
		if digits.MatchString(id) && (arguments["search"] != nil || strings.HasPrefix(id, typed)) {
			values = append(values, id)
		}
	}
	return bounded(values, len(rows) >= completions), nil
}

func bounded(values []string, more bool) Completion {
	if values == nil {
		values = []string{}
	}
	return Completion{values[:min(len(values), maxValues)], more || len(values) > maxValues}
}
