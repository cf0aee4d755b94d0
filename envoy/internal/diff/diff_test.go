package diff_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	_ "github.com/neonpanel/mcp-gateway/envoy/internal/bootstrap" // the types that a bootstrap is made of
	"github.com/neonpanel/mcp-gateway/envoy/internal/diff"
	"github.com/neonpanel/mcp-gateway/envoy/internal/yamlpb"
)

func parse(t *testing.T, text string) *bootstrapv3.Bootstrap {
	t.Helper()
	tree := &bootstrapv3.Bootstrap{}
	if err := yamlpb.Unmarshal([]byte(text), tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

func example(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../bootstrap.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func compare(t *testing.T, a, b string) []string {
	t.Helper()
	lines, err := diff.Compare(parse(t, a), parse(t, b))
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestNothingChanges(t *testing.T) {
	t.Parallel()
	if lines := compare(t, example(t), "# a comment\n"+example(t)); lines != nil {
		t.Errorf("%q", lines)
	}
}

func TestEveryChangeIsToldWithItsPlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, old, new string
		want           []string // the beginnings of the lines
	}{
		{"a value", "            max_request_headers_kb: 32\n", "            max_request_headers_kb: 64\n", nil},
		{"a value in a filter", "timeout: 2s", "timeout: 3s", []string{
			"listeners / edge / 1 / http_filters / envoy.filters.http.ext_authz / grpc_service / timeout: \"2s\" becomes \"3s\"",
		}},
		{"a rule of the edge", "                      validate_mutations: true\n", "                      validate_mutations: true\n                      failure_mode_allow: true\n", []string{
			"breaks the rule authz-fails-closed: ",
			"listeners / edge / 1 / http_filters / envoy.filters.http.ext_authz / failure_mode_allow: added: true",
		}},
		{"a limit", "tokens_per_fill: 80", "tokens_per_fill: 90", []string{
			"listeners / edge / 1 / http_filters / envoy.filters.http.local_ratelimit / descriptors / subject / token_bucket / tokens_per_fill: 80 becomes 90",
		}},
		{"a domain", "                        - mcp.neonpanel.com\n", "                        - mcp.neonpanel.com\n                        - mcp.example.com\n", []string{
			"listeners / edge / 1 / route_config / virtual_hosts / edge / domains / mcp.example.com: added: \"mcp.example.com\"",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := example(t)
			edited := strings.Replace(text, c.old, c.new, 1)
			if edited == text {
				t.Fatalf("the example has no %q", c.old)
			}
			lines := compare(t, text, edited)
			if len(lines) == 0 || c.want != nil && len(lines) != len(c.want) {
				t.Fatalf("%q", lines)
			}
			for i, want := range c.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("line %d: %s\nwant %s", i, lines[i], want)
				}
			}
			back := compare(t, edited, text)
			if len(back) != len(lines) {
				t.Errorf("the way back: %q", back)
			}
		})
	}
}

func TestTheOrderOfFiltersAndRoutesCounts(t *testing.T) {
	t.Parallel()
	const a = "static_resources: {clusters: [{name: a}, {name: b}, {name: c}]}"
	lines := compare(t, a, "static_resources: {clusters: [{name: c}, {name: a}, {name: d}]}")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "the rule ") })
	want := []string{
		`clusters / b: removed (was {"name":"b"})`,
		`clusters / d: added: {"name":"d"}`,
		"clusters: the order becomes c, a",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("%q", lines)
	}
}
