package catalogue

import (
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
)

// pair composes a tool of two operations, the second of which may be missing.
func pair(second string) func(func(string) (Tool, bool)) []Tool {
	return func(operation func(string) (Tool, bool)) []Tool {
		a, ok := operation("listCompanies")
		b, also := operation(second)
		if !ok || !also {
			return nil
		}
		t := Tool{Name: "both", Toolset: InsightTools, ReadOnly: true, Parts: map[string]Tool{"listCompanies": a, second: b}}
		t.InputSchema = Arguments(nil)
		return []Tool{t}
	}
}

func TestComposedToolsObeyTheChoicesOfTheDeployment(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options Options
		want    bool
	}{
		"default":                   {Options{Compose: pair("bills.list")}, true},
		"the toolset alone":         {Options{Compose: pair("bills.list"), Toolsets: []string{InsightTools}}, true},
		"another toolset":           {Options{Compose: pair("bills.list"), Toolsets: []string{"import"}}, false},
		"all":                       {Options{Compose: pair("bills.list"), Toolsets: []string{AllTools}}, true},
		"read-only":                 {Options{Compose: pair("bills.list"), ReadOnly: true}, true},
		"an operation is not there": {Options{Compose: pair("noSuchOperation")}, false},
		"none":                      {Options{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tools, err := Load(openapi.Document(), openapi.Overlay(), c.options)
			if err != nil {
				t.Fatal(err)
			}
			tool, ok := tools.Lookup("both")
			if ok != c.want {
				t.Fatalf("offered: %v", ok)
			}
			if ok && tool.Parts["bills.list"].Operation.Path != "/api/v1/companies/{companyUuid}/bills" {
				t.Errorf("its parts are %+v", tool.Parts)
			}
			_, single := tools.Lookup("bills_list")
			if wanted := c.options.Toolsets == nil || c.options.Toolsets[0] == AllTools; single != wanted {
				t.Errorf("its operation is offered by itself: %v", single)
			}
		})
	}
}

func TestComposedToolCannotTakeTheNameOfAnOperation(t *testing.T) {
	t.Parallel()
	_, err := Load(openapi.Document(), openapi.Overlay(), Options{Compose: func(func(string) (Tool, bool)) []Tool {
		return []Tool{{Name: "bills_list", Toolset: InsightTools, ReadOnly: true}}
	}})
	if err == nil {
		t.Error("two tools have one name")
	}
}
