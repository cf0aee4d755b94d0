package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// ofPeople are the members of answers that tell of people, or of whom a company
// does business with.
var ofPeople = []string{
	"avatar_url", "carrier_name", "customer", "email", "last_login_at", "manager", "memo", "phone", "tracking_number",
	"vendor", "verified_at", "address", "first_name", "last_name", "short_name",
}

// section is the part of a document between a line and the next that begins
// with the same mark.
func section(t *testing.T, document, from, to string) string {
	t.Helper()
	_, after, found := strings.Cut(document, from)
	part, _, ended := strings.Cut(after, to)
	if !found || !ended {
		t.Fatalf("no part from %q to %q", from, to)
	}
	return part
}

// firstCells are the names that stand in the first cells of a table.
func firstCells(text string) map[string]bool {
	names := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+) \\|").FindAllStringSubmatch(text, -1) {
		for _, name := range quoted.FindAllStringSubmatch(row[1], -1) {
			names[name[1]] = true
		}
	}
	return names
}

// What a toolset tells of people is named, and what is named is told.
func TestPrivacyPageNamesWhatToolsTellOfPeople(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Backend: {"MCPBACKEND_TOOLSETS=all"}}})
	var capabilities struct {
		Tools []struct{ Name, Toolset string }
	}
	if err := json.Unmarshal([]byte(g.send(t, http.MethodGet, "/mcp/capabilities", "").Body), &capabilities); err != nil {
		t.Fatal(err)
	}
	toolset := map[string]string{}
	told := map[string]map[string]bool{}
	for _, tool := range capabilities.Tools {
		toolset[tool.Name] = tool.Toolset
		told[tool.Toolset] = map[string]bool{}
	}
	doc := object(t, g.send(t, http.MethodGet, "/openapi.json", "").Body)
	paths, _ := doc["paths"].(map[string]any)
	operations := 0
	for _, item := range paths {
		for _, operation := range item.(map[string]any) {
			o, _ := operation.(map[string]any)
			id, _ := o["operationId"].(string)
			name := strings.ToLower(camel.ReplaceAllString(strings.ReplaceAll(id, ".", "_"), "${1}_$2"))
			if set := toolset[name]; set != "" {
				operations++
				members(doc, o["responses"], told[set], nil)
			}
		}
	}
	if operations < 50 {
		t.Fatalf("only %d operations are tools", operations)
	}
	page := section(t, read(t, "docs/privacy.md"), "## What goes to the AI vendor", "## What goes to NeonPanel")
	rows := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|[^|]*\\|([^|]*)\\|$").FindAllStringSubmatch(page, -1) {
		rows[row[1]] = row[2]
	}
	if got, want := slices.Sorted(maps.Keys(rows)), slices.Sorted(maps.Keys(told)); !slices.Equal(got, want) {
		t.Errorf("the page has the toolsets %v, there are %v", got, want)
	}
	for set, row := range rows {
		named := map[string]bool{}
		for _, name := range quoted.FindAllStringSubmatch(row, -1) {
			named[name[1]] = true
			if !told[set][name[1]] {
				t.Errorf("%s: the page names %s, which no answer has", set, name[1])
			}
		}
		for _, name := range ofPeople {
			if told[set][name] && !named[name] {
				t.Errorf("%s: its answers have %s, and the page does not say so", set, name)
			}
		}
	}
}

// members collects the names of all members that a schema describes.
func members(doc map[string]any, schema any, into map[string]bool, within []string) {
	switch s := schema.(type) {
	case []any:
		for _, v := range s {
			members(doc, v, into, within)
		}
	case map[string]any:
		if ref, ok := s["$ref"].(string); ok {
			if slices.Contains(within, ref) {
				return
			}
			var target any = doc
			for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
				node, _ := target.(map[string]any)
				target = node[part]
			}
			members(doc, target, into, append(within, ref))
		}
		if properties, ok := s["properties"].(map[string]any); ok {
			for name := range properties {
				into[name] = true
			}
		}
		for key, v := range s {
			if key != "example" && key != "examples" {
				members(doc, v, into, within)
			}
		}
	}
}

// A line of a log has the fields that the page names, and no other.
func TestLogsHaveTheFieldsOfThePrivacyPage(t *testing.T) {
	t.Parallel()
	page := section(t, read(t, "docs/privacy.md"), "## What is kept", "## What is not kept")
	documented := map[string]map[string]bool{
		"audit":    firstCells(section(t, page, "**The audit**", "**")),
		"access":   firstCells(section(t, page, "**The access log**", "**")),
		"decision": firstCells(section(t, page, "**Decisions**", "**")),
	}

	// Envoy leaves empty fields out, so that no log shows all of them.
	var bootstrap map[string]any
	must(t, yaml.Unmarshal([]byte(read(t, "envoy/bootstrap.yaml")), &bootstrap))
	formats := accessFormats(bootstrap, false)
	if len(formats) == 0 {
		t.Fatal("no access log in the bootstrap")
	}
	for _, format := range formats {
		if got, want := slices.Sorted(maps.Keys(format)), slices.Sorted(maps.Keys(documented["access"])); !slices.Equal(got, want) {
			t.Errorf("the access log has the fields %v, the page names %v", got, want)
		}
	}
	for _, match := range regexp.MustCompile(`slog\.(?:Bool|Int|String)\("([a-z_]+)"`).FindAllStringSubmatch(section(t, read(t, "authz/internal/check/check.go"), "func (s *Service) record(", "\n}"), -1) {
		if !documented["decision"][match[1]] {
			t.Errorf("authz logs %s of a decision, and the page does not say so", match[1])
		}
	}

	g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Authz: {"AUTHZ_LOG_LEVEL=debug"}}})
	g.rpc(t, modern, g.token(t, sellerOne), "tools/call", "list_companies", map[string]any{"name": "list_companies", "arguments": map[string]any{}})
	g.rpc(t, modern, g.token(t, sellerOne), "tools/call", "list_warehouses", map[string]any{"name": "list_warehouses", "arguments": map[string]any{"companyUuid": "Trailhead Outfitters LLC"}})
	g.send(t, http.MethodPost, "/mcp", "{}", "Authorization", "Bearer not.a.token")
	seen := map[string]map[string]bool{"audit": {}, "access": {}, "decision": {}}
	lines := map[string]int{}
	eventually(t, 30*time.Second, func() string {
		clear(lines)
		for _, part := range []string{stack.Backend, stack.Envoy, stack.Authz} {
			data, err := os.ReadFile(g.LogFile(part))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(data)) {
				fields := map[string]any{}
				if json.Unmarshal([]byte(line), &fields) != nil {
					continue // not yet whole, or Envoy's own words
				}
				kind, _ := fields["msg"].(string)
				if part == stack.Envoy {
					kind = "access"
				}
				if seen[kind] == nil {
					continue
				}
				lines[kind]++
				for field := range fields {
					seen[kind][field] = true
				}
			}
		}
		if lines["audit"] < 2 || lines["access"] < 3 || lines["decision"] < 3 {
			return "not all lines are there"
		}
		return ""
	})
	for kind, fields := range seen {
		for field := range fields {
			if !documented[kind][field] {
				t.Errorf("%s: a line has the field %s, which the page does not name", kind, field)
			}
		}
	}
	// What the page names of the audit is in it.
	for field := range documented["audit"] {
		if !seen["audit"][field] {
			t.Errorf("no line of audit has the field %s", field)
		}
	}
}

// accessFormats finds the JSON formats of access logs in the bootstrap.
func accessFormats(node any, within bool) (found []map[string]any) {
	switch n := node.(type) {
	case []any:
		for _, v := range n {
			found = append(found, accessFormats(v, within)...)
		}
	case map[string]any:
		if format, ok := n["json_format"].(map[string]any); ok && within {
			return append(found, format)
		}
		for key, v := range n {
			found = append(found, accessFormats(v, within || key == "access_log")...)
		}
	}
	return found
}
