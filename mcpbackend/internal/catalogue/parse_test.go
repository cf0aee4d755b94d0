package catalogue

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
)

const emptyOverlay = "overlay: 1.0.0\ninfo: {title: none, version: '1'}\nactions:\n  - {target: $.info, update: {x-none: true}}\n"

func document(paths string) []byte {
	return []byte("openapi: 3.1.0\ninfo: {title: T, version: '1'}\npaths:\n" + paths)
}

func TestUnknownOperationsBecomeToolsWithCare(t *testing.T) {
	t.Parallel()
	c, err := Load(document(`
  /api/v1/widgets/{widgetId}:
    parameters:
      - {name: widgetId, in: path, required: true, schema: {type: integer}}
    get: {operationId: getWidget, summary: One widget, responses: {'200': {description: ok}}}
    put:
      operationId: widgets.replaceAll
      security: [{oauth: [openid, 'write:widgets', 'read:widgets']}]
      requestBody: {required: true, content: {application/json: {schema: {type: object, required: [name], properties: {name: {type: string}, widgetId: {type: integer}}}}}}
      responses: {'200': {description: ok}}
    delete: {operationId: deleteWidget, responses: {'204': {description: gone}}}
  /api/v1/widgets:
    post:
      operationId: createWidgetURL
      requestBody: {required: true, content: {application/json: {schema: {type: array, items: {type: string}}}}}
      responses: {'200': {description: ok}}
`), []byte(emptyOverlay), Options{Toolsets: []string{AllTools}})
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("warnings %v", w)
	}
	const gateway = `,"dry_run":{"type":"boolean","description":"Check the arguments and show the request; change nothing"},"repeat":{"type":"boolean","description":"Do it again, though the same call was made in the last two minutes"}`
	tests := []struct {
		name                                         string
		readOnly, destructive, idempotent, openWorld bool
		scopes, schema                               string
	}{
		{"get_widget", true, false, true, false, "", `{"type":"object","properties":{"widgetId":{"type":"integer"}` + answerProperties + `},"required":["widgetId"],"additionalProperties":false}`},
		{"widgets_replace_all", false, true, true, true, "read:widgets write:widgets", `{"type":"object","properties":{"widgetId":{"type":"integer"},"name":{"type":"string"},"body_widgetId":{"type":"integer"}` + gateway + `},"required":["widgetId","name"],"additionalProperties":false}`},
		{"delete_widget", false, true, true, true, "", `{"type":"object","properties":{"widgetId":{"type":"integer"}` + gateway + `},"required":["widgetId"],"additionalProperties":false}`},
		{"create_widget_url", false, true, false, true, "", `{"type":"object","properties":{"body":{"type":"array","items":{"type":"string"}}` + gateway + `},"required":["body"],"additionalProperties":false}`},
	}
	for _, test := range tests {
		tool, ok := c.Lookup(test.name)
		if !ok {
			t.Errorf("no %s", test.name)
			continue
		}
		if tool.ReadOnly != test.readOnly || tool.Destructive != test.destructive || tool.Idempotent != test.idempotent || tool.OpenWorld != test.openWorld {
			t.Errorf("%s: %v %v %v %v", test.name, tool.ReadOnly, tool.Destructive, tool.Idempotent, tool.OpenWorld)
		}
		if got := strings.Join(tool.Scopes, " "); got != test.scopes {
			t.Errorf("%s: scopes %q", test.name, got)
		}
		if string(tool.InputSchema) != test.schema {
			t.Errorf("%s: %s", test.name, tool.InputSchema)
		}
		if tool.Toolset != OtherTools || tool.Title == "" || tool.Description == "" {
			t.Errorf("%s: %+v", test.name, tool)
		}
	}
}

// answerProperties are the arguments of a tool that reads one thing.
const answerProperties = `,"cursor":{"type":"string","description":"next_cursor of the answer before, to go on there","maxLength":200}` +
	`,"fields":{"type":"array","description":"Return only these, such as id or vendor.name","maxItems":100,"items":{"type":"string"}}`

func TestSchemasAreInlined(t *testing.T) {
	t.Parallel()
	const frame = `
  /x:
    get:
      operationId: x
      parameters:
        - {name: a, in: query, schema: SCHEMA}
      responses: {'200': {description: ok}}
components:
  schemas:
    Colour: {type: string, enum: [red, green], default: red}
    Again: {$ref: '#/components/schemas/Colour'}
    Circle: {$ref: '#/components/schemas/Circle'}
    Base: {type: object, required: [id], properties: {id: {type: integer}}}
    Tree: {type: object, properties: {child: {$ref: '#/components/schemas/Tree'}}}
`
	tests := []struct{ name, schema, want string }{
		{"reference", `{$ref: '#/components/schemas/Colour'}`, `{"type":"string","enum":["red","green"],"default":"red"}`},
		{"nullable of 3.1", `{type: [string, 'null']}`, `{"type":["string","null"]}`},
		{"nullable of 3.0", `{type: string, nullable: true}`, `{"type":["string","null"]}`},
		{"nullable reference", `{allOf: [{$ref: '#/components/schemas/Colour'}], nullable: true}`, `{"type":["string","null"],"enum":["red","green"],"default":"red"}`},
		{"text beside a reference", `{$ref: '#/components/schemas/Colour', description: Which, default: green}`, `{"type":"string","description":"Which","enum":["red","green"],"default":"green"}`},
		{"reference to a reference", `{$ref: '#/components/schemas/Again'}`, `{"type":"string","enum":["red","green"],"default":"red"}`},
		{"reference that turns in a circle", `{$ref: '#/components/schemas/Circle'}`, `{}`},
		{"any of, or null", `{anyOf: [{type: string, maxLength: 3}, {type: 'null'}]}`, `{"type":["string","null"],"maxLength":3}`},
		{"one of two, or null", `{oneOf: [{type: string}, {type: integer}, {type: 'null'}]}`, `{"anyOf":[{"type":["string","null"]},{"type":"integer"}]}`},
		{"only null", `{type: 'null'}`, `{"enum":[null]}`},
		{"a type that there is not", `{type: file}`, `{}`},
		{"true as a schema", `true`, `{}`},
		{"exclusive bounds of 3.0", `{type: integer, minimum: 0, exclusiveMinimum: true, maximum: 9, exclusiveMaximum: false}`, `{"type":"integer","maximum":9,"exclusiveMinimum":0}`},
		{"bounds that are none", `{type: integer, minimum: low, maximum: .inf, minLength: -1}`, `{"type":"integer"}`},
		{"default of null", `{type: string, default: null}`, `{"type":"string"}`},
		{"all of, with bounds", `{allOf: [{type: integer, minimum: 1}, {maximum: 5, minimum: 2}]}`, `{"type":"integer","minimum":1,"maximum":5}`},
		{"two types", `{type: [string, integer]}`, `{"anyOf":[{"type":"integer"},{"type":"string"}]}`},
		{"bounds", `{type: number, minimum: 0.5, exclusiveMaximum: 10}`, `{"type":"number","minimum":0.5,"exclusiveMaximum":10}`},
		{"large bound", `{type: integer, maximum: 9000000}`, `{"type":"integer","maximum":9000000}`},
		{"const", `{const: 3}`, `{"enum":[3]}`},
		{"all of", `{allOf: [{$ref: '#/components/schemas/Base'}, {type: object, properties: {name: {type: string}}}]}`, `{"type":"object","properties":{"id":{"type":"integer"},"name":{"type":"string"}},"required":["id"]}`},
		{"any of, nested", `{anyOf: [{type: integer}, {type: string}]}`, `{"anyOf":[{"type":"integer"},{"type":"string"}]}`},
		{"list", `{type: array, minItems: 1, maxItems: 3, uniqueItems: true, items: {type: string, maxLength: 4}}`, `{"type":"array","minItems":1,"maxItems":3,"uniqueItems":true,"items":{"type":"string","maxLength":4}}`},
		{"pattern", `{type: string, pattern: '^a+$'}`, `{"type":"string","pattern":"^a+$"}`},
		{"pattern that Go cannot read", `{type: string, pattern: '(?=a)b'}`, `{"type":"string"}`},
		{"closed object", `{type: object, additionalProperties: false, properties: {b: {type: boolean}}}`, `{"type":"object","properties":{"b":{"type":"boolean"}},"additionalProperties":false}`},
		{"markup in text", `{type: string, description: 'a < b & c'}`, `{"type":"string","description":"a < b & c"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(document(strings.Replace(frame, "SCHEMA", test.schema, 1)), []byte(emptyOverlay), Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := `{"type":"object","properties":{"a":` + test.want + answerProperties + `},"additionalProperties":false}`
			if len(c.Tools()) != 1 || string(c.Tools()[0].InputSchema) != want {
				t.Errorf("%d tools, %v", len(c.Tools()), c.Warnings())
				t.Errorf("got  %s", c.Tools()[0].InputSchema)
				t.Errorf("want %s", want)
			}
		})
	}
	t.Run("a schema that contains itself ends", func(t *testing.T) {
		t.Parallel()
		c, err := Load(document(strings.Replace(frame, "SCHEMA", "{$ref: '#/components/schemas/Tree'}", 1)), []byte(emptyOverlay), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(c.Tools()[0].InputSchema); n > 2000 {
			t.Errorf("%d bytes", n)
		}
	})
}

func TestBodyOfAGetGoesIntoTheQuery(t *testing.T) {
	t.Parallel()
	c, err := Load(document(`
  /x:
    get:
      operationId: x
      requestBody: {content: {application/json: {schema: {type: object, properties: {per_page: {type: integer}}}}}}
      responses: {'200': {description: ok}}
`), []byte(emptyOverlay), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Tools()[0].Operation.Parameters; p[0].Argument != PerPageArgument || p[0].In != InQuery || p[0].Unlisted {
		t.Errorf("%+v", p)
	}
}

func TestOperationsThatCannotBeToolsAreReported(t *testing.T) {
	t.Parallel()
	const good = `
  /good: {get: {operationId: good, responses: {'200': {description: ok}}}}
`
	tests := []struct{ name, paths, warning string }{
		{"no operationId", `  /x: {get: {responses: {'200': {description: ok}}}}`, "no operationId"},
		{"name too long", `  /x: {get: {operationId: ` + strings.Repeat("long", 20) + `, responses: {'200': {description: ok}}}}`, "is no tool name"},
		{"parameter not described", `  /x/{id}: {get: {operationId: x, responses: {'200': {description: ok}}}}`, "1 parameters, of which 0"},
		{"part of a segment", `  /x/{id}.json: {get: {operationId: x, parameters: [{name: id, in: path, required: true, schema: {type: string}}], responses: {'200': {description: ok}}}}`, "not one whole parameter"},
		{"climbing template", `  /x/../admin: {get: {operationId: x, responses: {'200': {description: ok}}}}`, "not plain text"},
		{"escape in template", `  /x%2f..: {get: {operationId: x, responses: {'200': {description: ok}}}}`, "not plain text"},
		{"required header", `  /x: {get: {operationId: x, parameters: [{name: X-A, in: header, required: true, schema: {type: string}}], responses: {'200': {description: ok}}}}`, "requires the header"},
		{"an argument of the gateway", `  /x: {post: {operationId: x, parameters: [{name: repeat, in: query, schema: {type: integer}}], responses: {'200': {description: ok}}}}`, "an argument \"repeat\" of its own"},
		{"body that is not JSON", `  /x: {post: {operationId: x, requestBody: {content: {text/csv: {schema: {type: string}}}}, responses: {'200': {description: ok}}}}`, "not JSON"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(document(test.paths+good), []byte(emptyOverlay), Options{Toolsets: []string{AllTools}})
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Tools()) != 1 || !strings.Contains(strings.Join(c.Warnings(), "\n"), test.warning) {
				t.Errorf("%d tools, warnings %q", len(c.Tools()), c.Warnings())
			}
		})
	}
}

func TestBadDocumentsAreRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, document, want string }{
		{"empty", "", "empty"},
		{"web page", "<!DOCTYPE html><html><body>Bad gateway</body></html>", "web page"},
		{"not YAML", "openapi: [", "cannot be"},
		{"a list", "[1, 2]", "cannot be"},
		{"Swagger 2", "swagger: '2.0'\ninfo: {title: T, version: '1'}\npaths: {}\n", ""},
		{"no paths", "openapi: 3.1.0\ninfo: {title: T, version: '1'}\n", "no paths"},
		{"no info", "openapi: 3.1.0\npaths: {}\n", "no info"},
		{"a member twice", string(document("  /a: {get: {operationId: x}, get: {operationId: y}}\n")), "twice"},
		{"aliases", string(document("  /a: &a {get: {operationId: x}}\n  /b: *a\n")), "aliases"},
		{"too deep", string(document("  /a: " + strings.Repeat("[", 300) + strings.Repeat("]", 300) + "\n")), "too deeply"},
		{"no operation", "openapi: 3.1.0\ninfo: {title: T, version: '1'}\npaths: {}\n", "no operation"},
		{"an operationId twice", string(document("  /a: {get: {operationId: x, responses: {'200': {description: ok}}}}\n  /b: {get: {operationId: x, responses: {'200': {description: ok}}}}\n")), "twice"},
		{"a tool name twice", string(document("  /a: {get: {operationId: getX, responses: {'200': {description: ok}}}}\n  /b: {get: {operationId: get.x, responses: {'200': {description: ok}}}}\n")), "two operations"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := Load([]byte(test.document), []byte(emptyOverlay), Options{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestBadOverlaysAreRefused(t *testing.T) {
	t.Parallel()
	for name, overlay := range map[string]string{
		"not YAML":                     "overlay: [",
		"no actions":                   "overlay: 1.0.0\nactions: []\n",
		"no overlay":                   "actions: [{target: $.info, update: {}}]\n",
		"a target that is no JSONPath": "overlay: 1.0.0\nactions: [{target: 'info(', update: {}}]\n",
	} {
		if _, err := Load(openapi.Document(), []byte(overlay), Options{}); err == nil || !strings.Contains(err.Error(), "overlay") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Overlay 1.0 §4.4.4.
func TestOverlayUpdatesAndRemoves(t *testing.T) {
	t.Parallel()
	c, err := Load(document(`
  /a:
    get:
      operationId: a
      summary: Old
      parameters: [{name: p, in: query, schema: {type: string}}]
  /b: {get: {operationId: b}, delete: {operationId: dropB}}
  /c: {get: {operationId: c}}
`), []byte(`overlay: 1.0.0
info: {title: T, version: '1'}
actions:
  - target: $.paths['/a'].get
    update: {summary: New, parameters: [{name: q, in: query, schema: {type: integer}}], x-mcp: {toolset: one}}
  - target: $.paths['/a'].get.parameters[0]
    update: {schema: {maxLength: 7}, required: true}
  - target: $.paths.*.get
    update: {x-mcp: {scopes: [read]}}
  - target: $.paths['/a'].get['x-mcp'].scopes
    update: [more]
  - target: $.paths.*.delete
    remove: true
  - target: $.paths['/c']
    remove: true
  - target: $.paths['/nowhere'].get
    update: {summary: None}
`), Options{Toolsets: []string{AllTools}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tool := range c.Tools() {
		got = append(got, fmt.Sprintf("%s %s %s %v %s", tool.Name, tool.Title, tool.Toolset, tool.Scopes, tool.InputSchema))
	}
	want := []string{
		`a New one [more read] {"type":"object","properties":{"p":{"type":"string","maxLength":7},"q":{"type":"integer"}` + answerProperties + `},"required":["p"],"additionalProperties":false}`,
		`b b other [read] {"type":"object","properties":{` + answerProperties[1:] + `},"additionalProperties":false}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "/nowhere") {
		t.Errorf("warnings %q", w)
	}
}

func TestReferencesOutOfTheDocumentAreNotFollowed(t *testing.T) {
	t.Parallel()
	called := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		called <- r.URL.Path
		_, _ = w.Write([]byte("type: string\n"))
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "secret.yaml")
	if err := os.WriteFile(file, []byte("{type: string, description: a secret of the host}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, reference := range []string{server.URL + "/schema.yaml", "file://" + file, file} {
		c, err := Load(document(`
  /x:
    get:
      operationId: x
      parameters: [{name: a, in: query, schema: {$ref: '`+reference+`'}}]
      responses: {'200': {description: ok}}
  /good: {get: {operationId: good, responses: {'200': {description: ok}}}}
`), []byte(emptyOverlay), Options{})
		if err != nil {
			continue
		}
		for _, tool := range c.Tools() {
			if strings.Contains(string(tool.InputSchema), "secret") {
				t.Errorf("%s was read", reference)
			}
		}
	}
	select {
	case path := <-called:
		t.Errorf("%s was fetched", path)
	default:
	}
}

// The overlay decides: a document that calls another operation by a known name
// does not get its text or scopes.
func TestOverlayPinsOperationsToTheirPlace(t *testing.T) {
	t.Parallel()
	hostile := strings.Replace(string(openapi.Document()), "operationId: listWarehouses", "operationId: somethingElse", 1)
	c, err := Load([]byte(hostile), openapi.Overlay(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	tool, ok := c.Lookup("list_warehouses")
	if !ok || tool.Operation.Path != "/api/v1/companies/{companyUuid}/warehouses" || tool.Scopes[0] != "read:warehouses" {
		t.Errorf("%+v", tool)
	}
}

func TestSnakeCase(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"listCompanies":            "list_companies",
		"bills.list":               "bills_list",
		"inventoryOrders.read":     "inventory_orders_read",
		"revenueAndCogsSummary":    "revenue_and_cogs_summary",
		"createDocumentsByPdf":     "create_documents_by_pdf",
		"getURL":                   "get_url",
		"getURLData":               "get_url_data",
		"list_all-things":          "list_all_things",
		"v2Items":                  "v2_items",
		"getInventoryItemFullData": "get_inventory_item_full_data",
		"..x":                      "x",
	} {
		if got := snake(id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(string(openapi.Document()))
	f.Add(string(document("  /x/{a}: {get: {operationId: x, parameters: [{name: a, in: path, required: true, schema: {type: [string, 'null']}}]}}\n")))
	f.Add("openapi: 3.1.0\ninfo: {}\npaths: {/x: {$ref: '#/paths/~1x'}}\n")
	f.Add("openapi: 3.0.3\npaths: {/x: {get: {operationId: [1]}}}\n")
	f.Add(`{"openapi":"3.1.0","info":{"title":"t","version":"1"},"paths":{"/a":{"get":{"operationId":"a","parameters":[{"$ref":"#/none"}]}}}}`)
	f.Fuzz(func(t *testing.T, document string) {
		c, err := Load([]byte(document), openapi.Overlay(), Options{Toolsets: []string{AllTools}})
		if err != nil {
			return
		}
		for _, tool := range c.Tools() {
			if !toolName.MatchString(tool.Name) || !strings.HasPrefix(tool.Operation.Path, "/") {
				t.Errorf("%q %q", tool.Name, tool.Operation.Path)
			}
		}
	})
}
