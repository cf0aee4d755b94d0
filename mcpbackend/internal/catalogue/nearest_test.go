package catalogue

import (
	"slices"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
)

func TestTheNearestNameIsSuggested(t *testing.T) {
	t.Parallel()
	c, err := Load(openapi.Document(), openapi.Overlay(), Options{Toolsets: []string{AllTools}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"List_Companies":              "list_companies",
		"list-companies":              "list_companies",
		"listCompanies":               "list_companies",
		"neonpanel.list.companies":    "list_companies",
		"mcp_neonpanel_list_companys": "list_companies",
		"lsit_companies":              "list_companies",
		"bill_list":                   "bills_list",
		"BillsRead":                   "bills_read",
		"get_bill":                    "bills_read",
		"update_bill":                 "bills_update",
		"get_vendors":                 "vendors_list",
		"list_suppliers":              "vendors_list",
		"delete_products":             "delete_product",
		"list_purchase_orders":        "inventory_orders_list",
	} {
		if got := Nearest(c.Tools(), name); len(got) == 0 || got[0] != want || len(got) > 3 {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
	for _, name := range []string{"", "_", "weather", "send_email", "list", "read_data", "<script>", strings.Repeat("bills_list", 10), "\xff\xfe", "ß"} {
		if got := Nearest(c.Tools(), name); got != nil {
			t.Errorf("%q: %v", name, got)
		}
	}
	if got := Nearest(nil, "bills_list"); got != nil {
		t.Errorf("of no tools: %v", got)
	}
}

func FuzzNearest(f *testing.F) {
	c, err := Load(openapi.Document(), openapi.Overlay(), Options{})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"bills-list", "", "___", "\xff", "ListBILLS", "a.b.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := Nearest(c.Tools(), name)
		if len(got) > mostMeant {
			t.Errorf("%q: %v", name, got)
		}
		for i, n := range got {
			if _, ok := c.Lookup(n); !ok || slices.Contains(got[:i], n) {
				t.Errorf("%q: %v", name, got)
			}
		}
		// A name that there is is the nearest to itself.
		if _, ok := c.byName[name]; ok && got[0] != name {
			t.Errorf("%q: %v", name, got)
		}
	})
}
