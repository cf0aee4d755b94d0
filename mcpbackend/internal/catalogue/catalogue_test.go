package catalogue

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
	"go.yaml.in/yaml/v4"
)

func load(t testing.TB, options Options) *Catalogue {
	t.Helper()
	c, err := Load(openapi.Document(), openapi.Overlay(), options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var whole = sync.OnceValues(func() (*Catalogue, error) {
	return Load(openapi.Document(), openapi.Overlay(), Options{Toolsets: []string{AllTools}})
})

// loadAll is every tool of the embedded document, loaded once for all tests.
func loadAll(t testing.TB) *Catalogue {
	t.Helper()
	c, err := whole()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryOperationHasItsPlaceInTheOverlay(t *testing.T) {
	t.Parallel()
	c := loadAll(t)
	if w := c.Warnings(); len(w) != 0 {
		t.Errorf("warnings: %s", strings.Join(w, "\n"))
	}
	if got, want := len(c.Tools()), bytes.Count(openapi.Document(), []byte("operationId: ")); got != want {
		t.Errorf("%d tools for %d operations", got, want)
	}
	for _, tool := range c.Tools() {
		if tool.Toolset == OtherTools {
			t.Errorf("%s is in no toolset", tool.Name)
		}
		if tool.Name != snake(tool.Operation.ID) {
			t.Errorf("%s is not %s in snake case", tool.Name, tool.Operation.ID)
		}
		if len(tool.Description) < 20 || len(tool.Description) > 700 || strings.Contains(tool.Description, "\n") {
			t.Errorf("%s: description of %d bytes", tool.Name, len(tool.Description))
		}
		if tool.Title == "" || len(tool.Title) > 60 {
			t.Errorf("%s: title %q", tool.Name, tool.Title)
		}
		for _, p := range tool.Operation.Parameters {
			if p.Schema.Description == "" {
				t.Errorf("%s: nothing is said of %s", tool.Name, p.Argument)
			}
		}
	}
}

// A misspelt key in the overlay would be passed over in silence.
func TestOverlayHasNoUnknownKeys(t *testing.T) {
	t.Parallel()
	type action struct {
		Target string
		Update struct {
			OperationID string `yaml:"operationId"`
			Tool        hint   `yaml:"x-mcp"`
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(openapi.Overlay()))
	decoder.KnownFields(true)
	var overlay struct {
		Overlay string
		Info    struct{ Title, Version string }
		Tools   struct {
			Arguments map[string]argumentHint
		} `yaml:"x-mcp"`
		Actions []action
	}
	if err := decoder.Decode(&overlay); err != nil {
		t.Fatal(err)
	}
	for _, a := range overlay.Actions {
		if a.Update.OperationID == "" || a.Update.Tool.Scopes == nil || a.Update.Tool.Toolset == "" {
			t.Errorf("%s: operationId, scopes and toolset must be stated", a.Target)
		}
	}
}

func TestTextsNameOnlyToolsThatExist(t *testing.T) {
	t.Parallel()
	c := loadAll(t)
	known := map[string]bool{}
	var texts func(*Schema) string
	texts = func(s *Schema) string {
		all := s.Description
		for _, p := range s.Properties {
			known[p.Name] = true
			all += " " + texts(p.Schema)
		}
		if s.Items != nil {
			all += " " + texts(s.Items)
		}
		return all
	}
	described := map[string]string{}
	for _, tool := range c.Tools() {
		described[tool.Name] = tool.Description
		for _, p := range tool.Operation.Parameters {
			known[p.Argument] = true
			described[tool.Name] += " " + texts(p.Schema)
		}
	}
	// Members of answers that descriptions speak of.
	for _, name := range []string{"short_name", "revenue_amount", "cogs_amount", "due_date", "request_id", "next_cursor"} {
		known[name] = true
	}
	word := regexp.MustCompile(`\b(?:[a-z]+(_[a-z]+)+|[a-z]+[A-Z][A-Za-z]*|[a-zA-Z]+[.](list|read|create|update))\b`)
	for tool, text := range described {
		for _, name := range word.FindAllString(text, -1) {
			if _, ok := c.Lookup(name); !ok && !known[name] {
				t.Errorf("%s speaks of %s, which is neither a tool nor an argument", tool, name)
			}
		}
	}
}

func TestToolsAreAnnotatedTruthfully(t *testing.T) {
	t.Parallel()
	c := loadAll(t)
	for _, tool := range c.Tools() {
		if safe := tool.Operation.Method == "GET"; tool.ReadOnly != safe {
			t.Errorf("%s: readOnly %v for %s", tool.Name, tool.ReadOnly, tool.Operation.Method)
		}
		if tool.ReadOnly && (tool.Destructive || !tool.Idempotent || tool.OpenWorld) {
			t.Errorf("%s reads, but is annotated %+v", tool.Name, tool)
		}
	}
	tests := []struct {
		name                                         string
		readOnly, destructive, idempotent, openWorld bool
		scopes                                       string
	}{
		{"list_companies", true, false, true, false, "read:companies"},
		{"revenue_and_cogs_summary", true, false, true, false, "read:cogs read:revenue"},
		{"list_inventory_cogs", true, false, true, false, "read:cogs"},
		{"list_inventory_landed_costs", true, false, true, false, "read:landed-cost"},
		{"get_import_instructions", true, false, true, false, ""},
		{"create_documents", false, false, false, false, "write:import"},
		{"create_documents_by_pdf", false, false, false, true, "write:import"},
		{"bills_list", true, false, true, false, "read:landed-cost"},
		{"create_inventory_item", false, false, false, false, "write:import"},
		{"update_inventory_item", false, true, true, false, "write:import"},
		{"delete_inventory_item", false, true, true, false, "write:import"},
		{"create_product", false, false, false, false, "write:import"},
		{"update_product", false, true, true, false, "write:import"},
		{"delete_product", false, true, true, false, "write:import"},
		{"sync_listing", false, true, true, true, "write:import"},
		{"update_company_forecasting_settings", false, true, true, false, "write:import"},
		{"inventory_orders_create", false, false, false, false, "write:import"},
		{"inventory_orders_update", false, true, true, false, "write:import"},
		{"bills_create", false, false, false, false, "write:import"},
		{"bills_update", false, true, true, false, "write:import"},
		{"payment_requests_update", false, true, true, false, "write:import"},
		{"invoices_create", false, false, false, false, "write:import"},
		{"invoices_update", false, true, true, false, "write:import"},
		{"shipments_create", false, false, false, false, "write:import"},
		{"shipments_update", false, true, true, false, "write:import"},
		{"assembly_orders_create", false, false, false, false, "write:import"},
		{"assembly_orders_update", false, true, true, false, "write:import"},
		{"adjustments_create", false, false, false, false, "write:import"},
		{"adjustments_update", false, true, true, false, "write:import"},
	}
	judged := map[string]bool{}
	for _, test := range tests {
		judged[test.name] = true
		tool, ok := c.Lookup(test.name)
		if !ok {
			t.Errorf("no tool %s", test.name)
			continue
		}
		got := fmt.Sprint(tool.ReadOnly, tool.Destructive, tool.Idempotent, tool.OpenWorld, strings.Join(tool.Scopes, " "))
		want := fmt.Sprint(test.readOnly, test.destructive, test.idempotent, test.openWorld, test.scopes)
		if got != want {
			t.Errorf("%s: %s, want %s", test.name, got, want)
		}
	}
	for _, tool := range c.Tools() {
		if !tool.ReadOnly && !judged[tool.Name] {
			t.Errorf("nobody has judged the annotations of %s", tool.Name)
		}
	}
}

func TestInputSchemasAreFlatAndInline(t *testing.T) {
	t.Parallel()
	for _, tool := range loadAll(t).Tools() {
		var schema map[string]any
		if err := json.Unmarshal(tool.InputSchema, &schema); err != nil {
			t.Fatalf("%s: %v", tool.Name, err)
		}
		if schema["type"] != "object" || schema["additionalProperties"] != false || schema["properties"] == nil {
			t.Errorf("%s: not a closed object: %s", tool.Name, tool.InputSchema)
		}
		for _, keyword := range []string{"$ref", "$defs", "anyOf", "oneOf", "allOf", "definitions", `"format":"uuid"`} {
			if bytes.Contains(tool.InputSchema, []byte(keyword)) {
				t.Errorf("%s holds %s: %s", tool.Name, keyword, tool.InputSchema)
			}
		}
		// The schema must be one by the book, and its defaults must fit it.
		var parsed jsonschema.Schema
		if err := json.Unmarshal(tool.InputSchema, &parsed); err != nil {
			t.Fatalf("%s: %v", tool.Name, err)
		}
		if _, err := parsed.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true}); err != nil {
			t.Errorf("%s: %v", tool.Name, err)
		}
	}
}

// The names of the tools of earlier servers, those that had a counterpart in the
// API.
var oldNames = map[string]string{
	"get_inventory_items": "list_inventory_items", "get_item_cogs": "list_inventory_cogs",
	"get_item_landed_cost": "list_inventory_landed_costs", "get_revenue_and_cogs": "revenue_and_cogs_summary",

	"neonpanel.listCompanies": "list_companies", "neonpanel.listReports": "list_reports",
	"neonpanel.listInventoryItems": "list_inventory_items", "neonpanel.listWarehouses": "list_warehouses",
	"neonpanel.getWarehouseBalances": "warehouse_balances", "neonpanel.getInventoryDetails": "inventory_balances",
	"neonpanel.getInventoryLandedCost": "list_inventory_landed_costs", "neonpanel.getInventoryCogs": "list_inventory_cogs",
	"neonpanel.getImportInstructions": "get_import_instructions", "neonpanel.createDocuments": "create_documents",
	"neonpanel.createDocumentsByPdf": "create_documents_by_pdf", "neonpanel.checkImportStatus": "check_import_processing",
	"neonpanel.getRevenueAndCogs": "revenue_and_cogs_summary",

	"account_list_companies": "list_companies", "account_list_reports": "list_reports", "account_get_report_details": "get_report_data",
	"account_get_companies_with_permission": "list_companies_with_permission", "account_list_permissions": "list_permissions",
	"inventory_list_items": "list_inventory_items", "inventory_get_listing_details_by_asin": "get_listings",
	"forecasting_get_company_settings": "get_company_forecasting_settings", "forecasting_update_company_settings": "update_company_forecasting_settings",
	"inventory_list_warehouses": "list_warehouses", "inventory_get_warehouse_balances": "warehouse_balances", "inventory_get_details": "inventory_balances",
	"cogs_get_inventory_landed_cost": "list_inventory_landed_costs", "cogs_get_inventory_cogs": "list_inventory_cogs",
	"import_get_instructions": "get_import_instructions", "import_create_documents": "create_documents",
	"import_create_documents_by_pdf": "create_documents_by_pdf", "import_check_status": "check_import_processing",
	"financials_get_revenue_and_cogs": "revenue_and_cogs_summary",

	"project_management_list_inventory_orders": "inventory_orders_list", "project_management_get_inventory_order": "inventory_orders_read",
	"project_management_create_inventory_order": "inventory_orders_create", "project_management_update_inventory_order": "inventory_orders_update",
	"project_management_list_bills": "bills_list", "project_management_get_bill": "bills_read",
	"project_management_create_bill": "bills_create", "project_management_update_bill": "bills_update",
	"project_management_list_invoices": "invoices_list", "project_management_get_invoice": "invoices_read",
	"project_management_create_invoice": "invoices_create", "project_management_update_invoice": "invoices_update",
	"project_management_list_adjustments": "adjustments_list", "project_management_get_adjustment": "adjustments_read",
	"project_management_create_adjustment": "adjustments_create", "project_management_update_adjustment": "adjustments_update",
	"project_management_list_assembly_orders": "assembly_orders_list", "project_management_get_assembly_order": "assembly_orders_read",
	"project_management_create_assembly_order": "assembly_orders_create", "project_management_update_assembly_order": "assembly_orders_update",
	"project_management_list_shipments": "shipments_list", "project_management_get_shipment": "shipments_read",
	"project_management_create_shipment": "shipments_create", "project_management_update_shipment": "shipments_update",
	"project_management_list_payment_requests": "payment_requests_list", "project_management_update_payment_request": "payment_requests_update",
	"project_management_record_payment": "payment_requests_update", "project_management_list_vendors": "vendors_list",
	"project_management_list_services": "services_list", "project_management_list_payment_terms": "payment_terms_list",
	"project_management_list_sales_channels": "sales_channels_list",
}

func TestOldNamesAreAcceptedAndNotListed(t *testing.T) {
	t.Parallel()
	c, listed := loadAll(t), map[string]bool{}
	aliases := 0
	for _, tool := range c.Tools() {
		listed[tool.Name] = true
		aliases += len(tool.Aliases)
	}
	tried := 0
	for old, now := range oldNames {
		names := []string{old}
		if rest, dotted := strings.CutPrefix(old, "neonpanel."); dotted {
			names = append(names, "neonpanel_"+rest) // they were renamed so once
		}
		for _, name := range names {
			tried++
			tool, ok := c.Lookup(name)
			if !ok || tool.Name != now || listed[name] {
				t.Errorf("%s: %v %q, listed %v; want %s", name, ok, tool.Name, listed[name], now)
			}
		}
	}
	if tried != aliases {
		t.Errorf("the overlay has %d aliases, of which this test knows %d", aliases, tried)
	}
	readOnly := load(t, Options{Toolsets: []string{AllTools}, ReadOnly: true})
	if _, ok := readOnly.Lookup("project_management_create_bill"); ok {
		t.Error("an alias gets around read-only mode")
	}
}

func TestAnAliasBelongsToOneTool(t *testing.T) {
	t.Parallel()
	overlay := strings.Replace(string(openapi.Overlay()), "aliases: [account_list_permissions]", "aliases: [account_list_permissions, account_get_report_details]", 1)
	if _, err := Load(openapi.Document(), []byte(overlay), Options{}); err == nil || !strings.Contains(err.Error(), "account_get_report_details") {
		t.Errorf("error %v", err)
	}
	for name, bad := range map[string]string{
		"aliases: [account_list_permissions]": "aliases: ['no name']",
		"names: company":                      "names: galaxy",
	} {
		overlay := strings.Replace(string(openapi.Overlay()), name, bad, 1)
		c, err := Load(openapi.Document(), []byte(overlay), Options{})
		if err == nil && len(c.Warnings()) == 0 {
			t.Errorf("%s was taken in silence", bad)
		}
	}
}

func TestCompaniesGoByName(t *testing.T) {
	t.Parallel()
	c, named := loadAll(t), 0
	list, _ := c.Lookup("list_companies")
	for _, tool := range c.Tools() {
		for _, p := range tool.Operation.Parameters {
			isCompany := p.Name == "companyUuid" || p.Name == "company_uuids"
			if (p.Names == Companies) != isCompany || isCompany && !slices.Equal(p.NameScopes, list.Scopes) {
				t.Errorf("%s of %s: names %q, scopes %v", p.Name, tool.Name, p.Names, p.NameScopes)
			}
			if isCompany {
				named++
			}
		}
	}
	if named < 45 {
		t.Errorf("%d arguments name a company", named)
	}
}

func TestToolsAreSortedByName(t *testing.T) {
	t.Parallel()
	if !slices.IsSortedFunc(loadAll(t).Tools(), func(a, b Tool) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("tools are not sorted")
	}
}

func TestWholeListStaysSmall(t *testing.T) {
	t.Parallel()
	type scheme struct {
		Type   string   `json:"type"`
		Scopes []string `json:"scopes"`
	}
	type entry struct {
		Name            string          `json:"name"`
		Title           string          `json:"title"`
		Description     string          `json:"description"`
		InputSchema     json.RawMessage `json:"inputSchema"`
		Annotations     map[string]any  `json:"annotations"`
		SecuritySchemes []scheme        `json:"securitySchemes"`
		Meta            map[string]any  `json:"_meta"`
	}
	for _, limit := range []struct {
		tools []Tool
		bytes int
	}{{load(t, Options{}).Tools(), 60_000}, {loadAll(t).Tools(), 110_000}} {
		var list []entry
		for _, tool := range limit.tools {
			security := []scheme{{"oauth2", tool.Scopes}}
			list = append(list, entry{
				tool.Name, tool.Title, tool.Description, tool.InputSchema,
				map[string]any{"title": tool.Title, "readOnlyHint": tool.ReadOnly, "destructiveHint": tool.Destructive, "idempotentHint": tool.Idempotent, "openWorldHint": tool.OpenWorld},
				security, map[string]any{"securitySchemes": security},
			})
		}
		whole, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d tools, %d bytes", len(list), len(whole))
		if len(whole) >= limit.bytes {
			t.Errorf("the list of %d tools has %d bytes", len(list), len(whole))
		}
	}
}

func TestLoadingTwiceGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	dump := func() string {
		c := load(t, Options{Toolsets: []string{AllTools}, APIURL: "https://api.example.com"})
		var b strings.Builder
		for _, tool := range c.Tools() {
			fmt.Fprintf(&b, "%s %s %s %s\n", tool.Name, tool.Description, tool.InputSchema, tool.Scopes)
		}
		b.Write(c.DocumentJSON())
		b.Write(c.DocumentYAML())
		return b.String()
	}
	if first, second := dump(), dump(); first != second {
		t.Error("two loads differ")
	}
}

func TestPublishedDocumentIsValidAndNamesTheServer(t *testing.T) {
	t.Parallel()
	c := load(t, Options{APIURL: "https://api.example.com"})
	var fromJSON, fromYAML any
	if err := json.Unmarshal(c.DocumentJSON(), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(c.DocumentYAML(), &fromYAML); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	var reread any
	_ = json.Unmarshal(again, &reread)
	if fmt.Sprint(fromJSON) != fmt.Sprint(reread) {
		t.Error("the two forms differ")
	}
	servers := fmt.Sprint(fromJSON.(map[string]any)["servers"])
	if servers != "[map[url:https://api.example.com]]" {
		t.Errorf("servers %s", servers)
	}
	if bytes.Contains(c.DocumentJSON(), []byte(extension)) {
		t.Error("the overlay shows in the published document")
	}
	for _, form := range [][]byte{c.DocumentJSON(), c.DocumentYAML()} {
		again, err := Load(form, openapi.Overlay(), Options{APIURL: "https://api.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		if w := again.Warnings(); len(w) > 0 {
			t.Errorf("warnings %q", w)
		}
		for i, tool := range again.Tools() {
			if !reflect.DeepEqual(tool, c.Tools()[i]) {
				t.Errorf("the published document gives another tool: %+v %s\n%+v %s", tool, tool.InputSchema, c.Tools()[i], c.Tools()[i].InputSchema)
			}
		}
	}
	if c.Title() != "NeonPanel API" || c.Version() == "" {
		t.Errorf("title %q, version %q", c.Title(), c.Version())
	}
}

func TestServerIsSetInDocumentsOfAnyForm(t *testing.T) {
	t.Parallel()
	const paths = `"paths":{"/a":{"get":{"operationId":"a","parameters":[{"name":"x","in":"query","schema":{"$ref":"http://elsewhere/x"}}]}}}`
	for name, document := range map[string]string{
		"JSON":                   `{"openapi":"3.1.0","info":{"title":"T","version":"1"},"servers":[{"url":"https://old"}],` + strings.Replace(paths, "http://elsewhere/x", "#/components/schemas/X", 1) + `,"components":{"schemas":{"X":{"type":"string"}}}}`,
		"no servers":             `{"openapi":"3.1.0","info":{"title":"T","version":"1"},` + paths + `}`,
		"servers last":           "openapi: 3.1.0\ninfo: {title: T, version: '1'}\npaths: {/a: {get: {operationId: a}}}\nservers:\n  - url: https://old\n",
		"servers in the middle":  "openapi: 3.1.0\nservers:\n  - url: https://old\n  # another\n  - url: https://older\ninfo: {title: T, version: '1'}\npaths: {/a: {get: {operationId: a}}}\n",
		"reference that is gone": "openapi: 3.1.0\nservers:\n  - url: https://old\ninfo: {title: T, version: '1'}\npaths: {/a: {get: {operationId: a, parameters: [{name: x, in: query, schema: {$ref: 'http://elsewhere/x'}}]}}}\n",
	} {
		c, err := Load([]byte(document), []byte(emptyOverlay), Options{APIURL: "https://new.example.com"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var fromJSON, fromYAML struct {
			OpenAPI string
			Servers []struct{ URL string }
			Paths   map[string]any
		}
		if err := json.Unmarshal(c.DocumentJSON(), &fromJSON); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := yaml.Unmarshal(c.DocumentYAML(), &fromYAML); err != nil {
			t.Errorf("%s: %v: %s", name, err, c.DocumentYAML())
		}
		for _, got := range []string{fmt.Sprint(fromJSON.Servers), fmt.Sprint(fromYAML.Servers)} {
			if got != "[{https://new.example.com}]" {
				t.Errorf("%s: servers %s", name, got)
			}
		}
		if len(fromJSON.Paths) != 1 || len(fromYAML.Paths) != 1 || bytes.Contains(c.DocumentYAML(), []byte("elsewhere")) {
			t.Errorf("%s: %s", name, c.DocumentYAML())
		}
	}
}

// What a deployment does not offer still has a name, so that a client that wants
// to do without it is not told that it made a mistake.
func TestNamesAreKnownWhetherOfferedOrNot(t *testing.T) {
	t.Parallel()
	ours, err := embedded()
	if err != nil {
		t.Fatal(err)
	}
	some := Options{Toolsets: []string{"sales"}}
	live := Options{Toolsets: []string{"sales"}, Live: []byte(`{"openapi":"3.1.0","info":{"title":"t","version":"1"},"paths":{"/api/v1/companies":{"get":{"operationId":"listCompanies","responses":{"200":{"description":"ok"}}}}}}`)}
	for name, options := range map[string]Options{"built in": some, "live": live} {
		c, err := ours.Load(options)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, tool := range []string{"list_companies", "bills_read", "get_inventory_items"} {
			if _, offered := c.Lookup(tool); offered || !c.Known(tool) {
				t.Errorf("%s: %s: offered %t, known %t", name, tool, offered, c.Known(tool))
			}
		}
		if !c.KnownToolset("purchasing") || c.KnownToolset("nonsense") || c.Known("nonsense") {
			t.Errorf("%s: toolsets or tools are known that are not there, or not known", name)
		}
	}
}

func TestToolsetsAndReadOnlyModeAreHardLimits(t *testing.T) {
	t.Parallel()
	document := added(`
  /api/v1/companies/{companyUuid}/things/{thingId}:
    delete:
      operationId: deleteThing
      parameters:
        - {name: companyUuid, in: path, required: true, schema: {type: string}}
        - {name: thingId, in: path, required: true, schema: {type: integer}}
      responses: {'204': {description: Gone}}
`)
	tests := []struct {
		name          string
		options       Options
		with, without []string
	}{
		{"default", Options{}, []string{"list_companies", "create_documents", "bills_list"}, []string{"delete_thing"}},
		{"all", Options{Toolsets: []string{"all"}}, []string{"list_companies", "create_documents", "delete_thing"}, nil},
		{"one", Options{Toolsets: []string{"inventory"}}, []string{"list_inventory_items"}, []string{"list_companies", "create_documents", "delete_thing"}},
		{"other", Options{Toolsets: []string{"other"}}, []string{"delete_thing"}, []string{"list_companies"}},
		{"reads", Options{Toolsets: []string{"reads"}}, []string{"list_companies", "get_import_instructions"}, []string{"create_documents", "delete_thing"}},
		{"read-only", Options{Toolsets: []string{"all"}, ReadOnly: true}, []string{"list_companies", "check_import_processing"}, []string{"create_documents", "delete_thing"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(document, openapi.Overlay(), test.options)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range test.with {
				if _, ok := c.Lookup(name); !ok {
					t.Errorf("no %s", name)
				}
			}
			for _, name := range test.without {
				if _, ok := c.Lookup(name); ok {
					t.Errorf("%s is there", name)
				}
			}
			for _, tool := range c.Tools() {
				if next := tool.Operation.Next; next != nil {
					if _, ok := c.Lookup(next.Tool); !ok {
						t.Errorf("%s goes on with %s, which is switched off", tool.Name, next.Tool)
					}
				}
			}
		})
	}
	if _, err := Load(document, openapi.Overlay(), Options{Toolsets: []string{"inventry"}}); err == nil || !strings.Contains(err.Error(), "inventory") {
		t.Errorf("a misspelt toolset: %v", err)
	}
}

// added is the embedded document with more paths.
func added(paths string) []byte {
	return bytes.Replace(openapi.Document(), []byte("\npaths:\n"), []byte("\npaths:"+paths), 1)
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := Load(openapi.Document(), openapi.Overlay(), Options{APIURL: "https://api.example.com"}); err != nil {
			b.Fatal(err)
		}
	}
}
