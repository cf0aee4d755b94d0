package toolcall

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// A tool with every kind of argument, from a document of its own.
const everyKind = `
openapi: 3.1.0
info: {title: T, version: '1'}
paths:
  /api/{id}:
    post:
      operationId: everything
      parameters:
        - {name: id, in: path, required: true, schema: {type: integer, minimum: 1}}
        - {name: flag, in: query, schema: {type: boolean}}
        - {name: ratio, in: query, schema: {type: number, exclusiveMinimum: 0, maximum: 1}}
        - {name: day, in: query, schema: {type: string, format: date}}
        - {name: code, in: query, schema: {type: string, pattern: '^[A-Z]{2}$'}}
        - {name: either, in: query, schema: {anyOf: [{type: integer}, {type: string, enum: [none]}]}}
        - {name: tags, in: query, schema: {type: array, minItems: 1, maxItems: 3, uniqueItems: true, items: {type: string, minLength: 1}}}
      requestBody:
        content:
          application/json:
            schema:
              type: object
              required: [name]
              properties:
                name: {type: [string, 'null'], maxLength: 5}
                when: {type: string, format: date-time}
                lines:
                  type: array
                  items:
                    type: object
                    additionalProperties: false
                    required: [sku]
                    properties: {sku: {type: string}, price: {type: number, minimum: 0}, n: {type: integer}, gift: {type: boolean}, of: {type: object, properties: {ids: {type: array, items: {type: integer}}}}}
      responses: {'200': {description: ok}}
`

const noOverlay = "overlay: 1.0.0\ninfo: {title: none, version: '1'}\nactions:\n  - {target: $.info, update: {x-none: true}}\n"

func everything(t testing.TB) catalogue.Tool {
	t.Helper()
	c, err := catalogue.Load([]byte(everyKind), []byte(noOverlay), catalogue.Options{Toolsets: []string{catalogue.AllTools}})
	if err != nil {
		t.Fatal(err)
	}
	tool, ok := c.Lookup("everything")
	if !ok {
		t.Fatal(c.Warnings())
	}
	return tool
}

// recording is an API that keeps the request.
type recording struct{ request neonpanel.Request }

func (r *recording) Do(_ context.Context, request neonpanel.Request) (*neonpanel.Response, error) {
	r.request = request
	return &neonpanel.Response{Status: 200, MediaType: "application/json", Body: []byte(`{}`)}, nil
}

func TestEveryKindOfArgument(t *testing.T) {
	t.Parallel()
	tool := everything(t)
	tests := []struct{ name, arguments, query, body, fault string }{
		{"all", `{"id":1,"flag":"TRUE","ratio":"0.50","day":"2026-01-02","code":"DE","either":"none","tags":["a"],"name":null,"when":"2026-01-02T03:04:05Z","lines":[{"sku":"s","price":1.50}]}`,
			"flag=1&ratio=0.50&day=2026-01-02&code=DE&either=none&tags[]=a", `{"name":null,"when":"2026-01-02T03:04:05Z","lines":[{"sku":"s","price":1.50}]}`, ""},
		{"false", `{"id":1,"flag":false,"name":"n"}`, "flag=0", `{"name":"n"}`, ""},
		{"pattern", `{"id":1,"name":"n","code":"de"}`, "", "", "code must match"},
		{"above", `{"id":1,"name":"n","ratio":0}`, "", "", "ratio must be a number of at most 1, not 0"},
		{"alternatives", `{"id":1,"name":"n","either":"some"}`, "", "", "either has none of the forms"},
		{"too many", `{"id":1,"name":"n","tags":"a,b,c,d"}`, "", "", "tags must have 1 to 3 entries, not 4"},
		{"twice", `{"id":1,"name":"n","tags":["a","a"]}`, "", "", "tags must not hold an entry twice"},
		{"length", `{"id":1,"name":"äöüßxy"}`, "", "", "name must have at most 5 characters, not 6"},
		{"a time that is none, for a date", `{"id":1,"name":"n","day":"2026-11-20Tgarbage"}`, "", "", "day must be a date as YYYY-MM-DD"},
		{"a time without seconds, for a date", `{"id":1,"name":"n","day":"2026-11-20T10:00"}`, "day=2026-11-20", `{"name":"n"}`, ""},
		{"time", `{"id":1,"name":"n","when":"yesterday"}`, "", "", "when must be a time as"},
		{"nested", `{"id":1,"name":"n","lines":[{"price":-1,"colour":"red"},7]}`, "", "", "lines[0].sku is required"},
		{"numbers in lines", `{"id":1,"name":"n","lines":[{"sku":5,"price":"1.10","n":"51","gift":"True"},{"n":1.0,"sku":"b","price":1.10},{"n":"2.0","sku":"c"}]}`,
			"", `{"name":"n","lines":[{"sku":"5","price":1.10,"n":51,"gift":true},{"n":1,"sku":"b","price":1.10},{"n":2,"sku":"c"}]}`, ""},
		{"every digit", `{"id":1,"name":"n","lines":[{"sku":"a","n":9007199254740993.0,"price":0.12345678901234567890},{"sku":"b","n":"-9007199254740993"},{"sku":"c","n":1.5e1},{"sku":"d","n":-0.0}]}`,
			"", `{"name":"n","lines":[{"sku":"a","n":9007199254740993,"price":0.12345678901234567890},{"sku":"b","n":-9007199254740993},{"sku":"c","n":15},{"sku":"d","n":0}]}`, ""},
		{"lines in a string", `{"id":1,"name":"n","lines":"[ {\"sku\": \"a\", \"n\": \"7\"} ]"}`, "", `{"name":"n","lines":[{"sku":"a","n":7}]}`, ""},
		{"a line in a string", `{"id":1,"name":"n","lines":["{\"sku\": \"a\", \"n\": 7.0}"]}`, "", `{"name":"n","lines":[{"sku":"a","n":7}]}`, ""},
		{"one line for a list", `{"id":1,"name":"n","lines":{"sku":"a","n":"7"}}`, "", `{"name":"n","lines":[{"sku":"a","n":7}]}`, ""},
		{"one line in a string", `{"id":1,"name":"n","lines":" {\"sku\":\"a\",\"n\":\"7\"} "}`, "", `{"name":"n","lines":[{"sku":"a","n":7}]}`, ""},
		{"deeper", `{"id":1,"name":"n","lines":{"sku":"a","of":{"x":"7","ids":"1, 2.0"}}}`, "", `{"name":"n","lines":[{"sku":"a","of":{"x":"7","ids":[1,2]}}]}`, ""},
		{"nothing to convert", `{"id":1,"name":"n","lines":[{ "price" : 1.50, "sku":"\u0061" }]}`, "", `{"name":"n","lines":[{ "price" : 1.50, "sku":"\u0061" }]}`, ""},
		{"no integer", `{"id":1,"name":"n","lines":[{"sku":"a","n":"1.5"}]}`, "", "", `lines[0].n must be an integer, not "1.5"`},
		{"an endless integer", `{"id":1,"name":"n","lines":[{"sku":"a","n":1e999999999}]}`, "", "", `lines[0].n must be an integer`},
		{"null is no list", `{"id":1,"name":"n","lines":[{"sku":"a","of":{"ids":null}}]}`, "", "", "lines[0].of.ids must be a list, not null"},
		{"path", `{"id":0,"name":"n"}`, "", "", "id must be an integer of at least 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			api := &recording{}
			result := New(api, Options{}).Run(t.Context(), tool, json.RawMessage(test.arguments), Caller{Bearer: token})
			if test.fault != "" {
				if result.Failure == nil || !strings.Contains(result.Text, test.fault) {
					t.Errorf("got %s", result.Text)
				}
				return
			}
			if result.Failure != nil {
				t.Fatal(result.Text)
			}
			var query []string
			for _, pair := range api.request.Query {
				query = append(query, pair.Name+"="+pair.Value)
			}
			if got := strings.Join(query, "&"); got != test.query {
				t.Errorf("query %s", got)
			}
			if got := string(api.request.Body); got != test.body {
				t.Errorf("body %s", got)
			}
		})
	}
}

// Whatever is accepted must also be accepted by a real JSON Schema validator,
// after the conversions; and nothing may panic.
func FuzzArguments(f *testing.F) {
	for _, seed := range []string{
		`{"id":1,"name":"n"}`, `{"params":{"id":"7","name":null}}`, `"{\"id\":1,\"name\":\"x\"}"`, `{"id":1.0,"name":"n","tags":"a,b"}`,
		`{"id":1,"name":"n","either":3,"lines":"[{\"sku\":\"a\"}]"}`, `{"ID":1,"na_me":"n"}`, "{ \"id\" :\t1 , \"name\":\"n\" ,\r\n\"name\" : \"n\", \"params\": { \"ID\":1.0 } }", `{ }`, `{"id":1,"Id":2,"name":"n"}`, `[`, `{"id":1e2,"name":"n","ratio":1E-3}`,
		`{"id":1,"name":"n","lines":{"sku":1,"price":"1.10","n":-1.50e1,"of":{"ids":"1,2.0"}}}`,
		`{"id":1,"name":"n","flag":"false","day":"2026-01-02T00:00:00Z"}`, `{"params":{"params":{"params":{"params":{"params":{"params":{}}}}}}}`,
	} {
		f.Add(seed)
	}
	tool := everything(f)
	var schema jsonschema.Schema
	if err := json.Unmarshal(tool.InputSchema, &schema); err != nil {
		f.Fatal(err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, arguments string) {
		given, others, faults := readArguments(&tool, json.RawMessage(arguments))
		if len(others) > 0 {
			t.Error("two companies for a tool that takes none")
		}
		if len(faults) > 0 {
			if listFaults(&tool, faults) == "" {
				t.Error("faults without words")
			}
			return
		}
		converted := map[string]any{}
		for i, raw := range given {
			if raw == nil {
				continue
			}
			var value any
			if err := json.Unmarshal(raw, &value); err != nil {
				if strings.Contains(err.Error(), "cannot unmarshal number") {
					return // beyond float64, which the other validator cannot hold
				}
				t.Fatalf("%s became %s: %v", arguments, raw, err)
			}
			converted[tool.Operation.Parameters[i].Argument] = value
		}
		if err := resolved.Validate(converted); err != nil {
			t.Errorf("%s was taken as %v: %v", arguments, converted, err)
		}
		if _, faults := buildRequest(&tool, given); len(faults) > 0 {
			t.Errorf("%s was taken, and then refused: %v", arguments, faults)
		}
	})
}

// BenchmarkRun is a call without the time of the API.
func BenchmarkRun(b *testing.B) {
	tools, err := loadTools()
	if err != nil {
		b.Fatal(err)
	}
	item := `{"id":1,"name":"Blue mug","fnsku":"X001","asin":"B000000001","sku":"MUG-BLUE","image":null,"country_code":"US","weight":0.4,"length":10,"height":9.5,"depth":9.5}`
	for name, body := range map[string]string{
		"small": `{"current_page":1,"per_page":30,"last_page":1,"data":[` + item + `]}`,
		"page":  `{"current_page":1,"per_page":30,"last_page":4,"data":[` + strings.Repeat(item+",", 29) + item + `]}`,
	} {
		b.Run(name, func(b *testing.B) {
			tool, _ := tools.Lookup("list_inventory_items")
			runner := New(fixed(body), Options{})
			arguments := json.RawMessage(`{"companyUuid":"da39a3ee5e6b4b0d3255bfef95601890afd80709","search":"mug","page":1}`)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if result := runner.Run(b.Context(), tool, arguments, Caller{Bearer: token}); result.Failure != nil {
					b.Fatal(result.Text)
				}
			}
		})
	}
}

type fixed string

func (f fixed) Do(context.Context, neonpanel.Request) (*neonpanel.Response, error) {
	return &neonpanel.Response{Status: 200, MediaType: "application/json", Body: []byte(f)}, nil
}
