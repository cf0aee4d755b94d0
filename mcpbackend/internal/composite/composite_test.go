package composite

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestToolsAreReadsWithTheScopesOfTheirOperations(t *testing.T) {
	t.Parallel()
	scopes := map[string][]string{
		"search":           {"read:companies", "read:inventory", "read:landed-cost", "read:reports", "read:revenue"},
		"fetch":            {"read:companies", "read:inventory", "read:landed-cost", "read:reports", "read:revenue"},
		"company_overview": {"read:cogs", "read:companies", "read:inventory", "read:landed-cost", "read:revenue", "read:warehouses"},
		"inventory_health": {"read:companies", "read:inventory", "read:warehouses"},
		"profit_summary":   {"read:cogs", "read:companies", "read:revenue"},
	}
	for name, want := range scopes {
		tool, ok := tools(t).Lookup(name)
		if !ok {
			t.Errorf("%s is not offered by default", name)
			continue
		}
		if !tool.ReadOnly || tool.Destructive || !tool.Idempotent || tool.OpenWorld || tool.Toolset != catalogue.InsightTools {
			t.Errorf("%s: %+v", name, tool)
		}
		if !slices.Equal(tool.Scopes, want) {
			t.Errorf("%s needs %v, want %v", name, tool.Scopes, want)
		}
		var schema struct {
			Type       string
			Properties map[string]map[string]any
			Required   []string
			Closed     *bool `json:"additionalProperties"`
		}
		if err := json.Unmarshal(tool.InputSchema, &schema); err != nil || schema.Type != "object" || schema.Closed == nil {
			t.Errorf("%s: %s (%v)", name, tool.InputSchema, err)
		}
		for argument, property := range schema.Properties {
			if property["type"] == nil || property["description"] == nil || property["$ref"] != nil {
				t.Errorf("%s.%s: %v", name, argument, property)
			}
			if !isBounded(property) {
				t.Errorf("%s.%s has no bounds: %v", name, argument, property)
			}
		}
	}
}

// isBounded says that a schema says how long, large or many.
func isBounded(property map[string]any) bool {
	has := func(keywords ...string) bool {
		return !slices.ContainsFunc(keywords, func(k string) bool { return property[k] == nil })
	}
	switch property["type"] {
	case "string":
		return has("minLength", "maxLength") || has("enum") || has("format")
	case "integer":
		return has("minimum", "maximum")
	case "array":
		items, _ := property["items"].(map[string]any)
		return has("maxItems") && isBounded(items)
	}
	return false
}

// The two schemas are what ChatGPT expects, to the member.
func TestSearchAndFetchTakeOneString(t *testing.T) {
	t.Parallel()
	for name, argument := range map[string]string{"search": "query", "fetch": "id"} {
		tool, _ := tools(t).Lookup(name)
		var schema map[string]any
		if err := json.Unmarshal(tool.InputSchema, &schema); err != nil {
			t.Fatal(err)
		}
		properties := schema["properties"].(map[string]any)
		property, _ := properties[argument].(map[string]any)
		if len(properties) != 1 || property["type"] != "string" || property["minLength"] != 1.0 || property["maxLength"] == nil || fmt.Sprint(schema["required"]) != "["+argument+"]" {
			t.Errorf("%s takes %s", name, tool.InputSchema)
		}
	}
}

func TestToolIsNotOfferedWithoutItsOperations(t *testing.T) {
	t.Parallel()
	document := strings.Replace(string(openapi.Document()), "/api/v1/revenue-and-cogs:", "/api/v1/revenue-and-costs:", 1)
	if document == string(openapi.Document()) {
		t.Fatal("the document has no such path: this test proves nothing")
	}
	c, err := catalogue.Load([]byte(document), openapi.Overlay(), catalogue.Options{Compose: Tools})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"profit_summary": false, "company_overview": true, "search": true, "fetch": true, "inventory_health": true} {
		if _, ok := c.Lookup(name); ok != want {
			t.Errorf("%s is offered: %v", name, ok)
		}
	}
}

// other notes that it was asked.
type other struct{ asked string }

func (o *other) Run(_ context.Context, t catalogue.Tool, _ json.RawMessage, _ toolcall.Caller) toolcall.Result {
	o.asked = t.Name
	return toolcall.Result{Text: "other"}
}

func TestOperationsAreLeftToTheirOwnRunner(t *testing.T) {
	t.Parallel()
	next := &other{}
	r, err := New(next, &api{}, Options{APIURL: "https://my.neonpanel.com"})
	if err != nil {
		t.Fatal(err)
	}
	tool, _ := tools(t).Lookup("list_companies")
	if out := r.Run(t.Context(), tool, nil, toolcall.Caller{}); out.Text != "other" || next.asked != "list_companies" {
		t.Errorf("%+v", out)
	}
	// A tool of the document that has the name of a composite one is its own.
	tool.Name = "search"
	if r.Run(t.Context(), tool, nil, toolcall.Caller{}); next.asked != "search" {
		t.Error("an operation was taken for the composite tool of that name")
	}
}

func TestEveryCallIsTheCallersAndFitsItsOperation(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string]string{
		"search": `{"query":"x"}`, "fetch": `{"id":"item:aaaa:7"}`, "company_overview": `{"company":"acme"}`,
		"inventory_health": `{"company":"1"}`, "profit_summary": `{}`,
	} {
		a := &api{answer: answers(map[string]string{
			"listCompanies": list(acme, birch), "listInventoryItems": list(`{"id":7,"sku":"A-1"}`), "listWarehouses": list(`{"uuid":"wwww","name":"Main"}`),
		})}
		run(t.Context(), t, a, name, arguments)
		tool, _ := tools(t).Lookup(name)
		if len(a.requests) == 0 {
			t.Errorf("%s asked nothing", name)
		}
		for _, r := range a.requests {
			part, ok := tool.Parts[r.Operation]
			if !ok || r.Method != "GET" || r.Path != part.Operation.Path || r.Bearer != "secret-token" || r.Body != nil {
				t.Errorf("%s calls %s %s", name, r.Method, r.Path)
			}
			for _, p := range part.Operation.Parameters {
				if p.In == catalogue.InPath && r.PathArguments[p.Name] == "" {
					t.Errorf("%s: %s lacks %s", name, r.Operation, p.Name)
				}
			}
			for _, p := range r.Query {
				if !slices.ContainsFunc(part.Operation.Parameters, func(known catalogue.Parameter) bool {
					return known.In == catalogue.InQuery && (p.Name == known.Name || p.Name == neonpanel.ArrayName(known.Name))
				}) {
					t.Errorf("%s: %s has no parameter %s", name, r.Operation, p.Name)
				}
			}
		}
	}
}

// Every size of page must be one that the document allows.
func TestPageSizesAreAllowed(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string]string{
		"search": `{"query":"x"}`, "fetch": `{"id":"vendor:aaaa:7"}`, "company_overview": `{"company":"acme"}`, "inventory_health": `{"company":"1"}`,
	} {
		a := &api{answer: answers(map[string]string{"listCompanies": list(acme), "listWarehouses": list(`{"uuid":"wwww","name":"Main"}`)})}
		run(t.Context(), t, a, name, arguments)
		tool, _ := tools(t).Lookup(name)
		for _, r := range a.requests {
			for _, p := range tool.Parts[r.Operation].Operation.Parameters {
				if given := queryOf(r, p.Name); p.Name == "per_page" && given != "" {
					if n := parseDecimal(given); n.compare(integer(int64(*p.Schema.Minimum))) < 0 || n.compare(integer(int64(*p.Schema.Maximum))) > 0 {
						t.Errorf("%s asks %s for pages of %s", name, r.Operation, given)
					}
				}
			}
		}
	}
}

func TestPageSizesFollowTheDocument(t *testing.T) {
	t.Parallel()
	narrowed := strings.Replace(string(openapi.Document()), "maximum: 60, default: 30", "maximum: 25, default: 20", 1)
	if narrowed == string(openapi.Document()) {
		t.Fatal("the document has no such bound: this test proves nothing")
	}
	c, err := catalogue.Load([]byte(narrowed), openapi.Overlay(), catalogue.Options{Compose: Tools})
	if err != nil {
		t.Fatal(err)
	}
	tool, _ := c.Lookup("inventory_health")
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme)})}
	r, err := New(nil, a, Options{APIURL: "https://my.neonpanel.com"})
	if err != nil {
		t.Fatal(err)
	}
	r.Run(t.Context(), tool, nil, toolcall.Caller{})
	if asked := a.asked("listInventoryItems"); len(asked) != 1 || !strings.Contains(asked[0], "per_page=25&") {
		t.Errorf("%v", asked)
	}
}

func TestNoMoreThanFourCallsAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		var items []string
		for i := range 50 {
			items = append(items, fmt.Sprintf(`{"id":%d,"sku":"A-%d"}`, i+1, i+1))
		}
		otherwise := answers(map[string]string{"listCompanies": list(acme), "listInventoryItems": list(items...)})
		a := &api{answer: func(ctx context.Context, r neonpanel.Request) (string, error) {
			n := now.Add(1)
			defer now.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			time.Sleep(100 * time.Millisecond) // of the bubble's clock
			return otherwise(ctx, r)
		}}
		if r := run(t.Context(), t, a, "inventory_health", `{}`); r.Failure != nil {
			t.Fatal(r.Failure.Message)
		}
		if most.Load() != 4 {
			t.Errorf("%d calls at a time", most.Load())
		}
	})
}

func TestSlowPartsAreGivenUpWithinTheBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		otherwise := answers(map[string]string{"listCompanies": list(acme)})
		a := &api{answer: func(ctx context.Context, r neonpanel.Request) (string, error) {
			if r.Operation == "bills.list" {
				<-ctx.Done()
				return "", &neonpanel.Error{Class: neonpanel.Timeout}
			}
			return otherwise(ctx, r)
		}}
		got := searched(t, run(t.Context(), t, a, "search", `{"query":"x"}`))
		if took := time.Since(start); took >= 25*time.Second {
			t.Errorf("it took %s", took)
		}
		if len(got.incomplete) != 1 || fmt.Sprint(got.incomplete[0].Parts) != "[Bills of Acme Toys]" || !strings.Contains(got.incomplete[0].Reason, "22 seconds") {
			t.Errorf("%+v", got.incomplete)
		}
	})
}

func TestCallThatIsLateAltogetherFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{answer: func(ctx context.Context, _ neonpanel.Request) (string, error) {
			<-ctx.Done()
			return "", &neonpanel.Error{Class: neonpanel.Timeout}
		}}
		r := run(t.Context(), t, a, "profit_summary", `{}`)
		if r.Failure == nil || r.Failure.Kind != toolcall.Timeout {
			t.Errorf("%+v", r)
		}
	})
}

func TestCancelledCallEndsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		a := &api{answer: func(c context.Context, r neonpanel.Request) (string, error) {
			if r.Operation == "listCompanies" {
				return list(acme), nil
			}
			time.AfterFunc(time.Second, cancel)
			<-c.Done()
			return "", &neonpanel.Error{Class: neonpanel.Canceled}
		}}
		r := run(ctx, t, a, "company_overview", `{}`)
		if r.Failure == nil || r.Failure.Kind != toolcall.Canceled || time.Since(start) != time.Second {
			t.Errorf("%+v after %s", r.Failure, time.Since(start))
		}
	})
}

func TestRefusedTokenIsNoPartialResult(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"search", "company_overview"} {
		a := &api{answer: failing("bills.list", &neonpanel.Error{Class: neonpanel.Unauthenticated},
			failing("shipments.list", &neonpanel.Error{Class: neonpanel.Unauthenticated}, answers(map[string]string{"listCompanies": list(acme)})))}
		arguments := `{}`
		if name == "search" {
			arguments = `{"query":"x"}`
		}
		if r := run(t.Context(), t, a, name, arguments); r.Failure == nil || r.Failure.Kind != toolcall.Unauthenticated || r.Structured != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestPanicInAPartIsAMissingPart(t *testing.T) {
	t.Parallel()
	otherwise := answers(map[string]string{"listCompanies": list(acme)})
	a := &api{answer: func(ctx context.Context, r neonpanel.Request) (string, error) {
		if r.Operation == "vendors.list" {
			panic("a fault of the gateway")
		}
		return otherwise(ctx, r)
	}}
	got := searched(t, run(t.Context(), t, a, "search", `{"query":"x"}`))
	if len(got.incomplete) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestAnswerThatFitsNothingIsUnknownNotAFault(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"data":[{"start_date":5,"revenue_amount":"x","cogs_amount":{},"currency":"USD","country_code":["US"]}]}`: "null",
		`{"data":[{"revenue_amount":NaN,"cogs_amount":1,"currency":"USD"}]}`:                                       "null",
		`{"data":"none"}`: "0",
		`{"data":[]}`:     "0",
		`{"data":[{"revenue_amount":"10.50","cogs_amount":4,"currency":"USD"}]}`: "10.50",
	} {
		a := &api{answer: answers(map[string]string{"listCompanies": list(acme), "revenueAndCogsSummary": body})}
		r := run(t.Context(), t, a, "profit_summary", `{}`)
		if r.Failure != nil {
			t.Errorf("%s: %s", body, r.Failure.Message)
			continue
		}
		if got := regexp.MustCompile(`"revenue":([^,]+)`).FindStringSubmatch(r.Text); got == nil || got[1] != want {
			t.Errorf("%s gives %v", body, got)
		}
	}
}

func TestCompanyByNameOrID(t *testing.T) {
	t.Parallel()
	list := []company{
		{ID: "1", UUID: "aaaa", Name: "Acme Toys", ShortName: "ACME"}, {ID: "2", UUID: "bbbb", Name: "Acme Tools", ShortName: "TOOLS"},
		{ID: "3", UUID: "cccc", Name: "Birch & Söhne", ShortName: "BIRCH"},
		{ID: "4", UUID: "dddd", Name: "Trailhead 24 Outfitters LLC", ShortName: "TRAIL"},
	}
	for given, want := range map[string]string{
		"aaaa": "aaaa", "2": "bbbb", "acme toys": "aaaa", "ACME": "aaaa", "tools": "bbbb", "söhne": "cccc",
		" birch ": "cccc", "acme t": "aaaa bbbb", "nobody": "", "": "",
		// As for all tools: no middle of a word, and no digits but an id.
		"öhne": "", "cme": "", "24": "", "head 24": "", "trailhead 24": "dddd",
	} {
		var got []string
		fits, _ := match(list, given)
		for _, c := range fits {
			got = append(got, string(c.UUID))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q gives %v, want %s", given, got, want)
		}
	}
}

func TestCompanyThatIsNotClearIsAskedFor(t *testing.T) {
	t.Parallel()
	for arguments, part := range map[string]string{
		`{}`:                "company is required",
		`{"company":"zzz"}`: "no company of this user",
		`{"company":"i"}`:   "no company of this user",
		`{"company":"sp"}`:  "fits several",
		`{"company":"Birch","companyUuid":"bbbb"}`: "is given twice with different values",
		`{"compnay":"acme"}`:                       "no argument is named",
		`{"company":["acme"]}`:                     "must be a string",
		`{"company":"acme","x":1}`:                 "no argument is named",
	} {
		a := &api{answer: answers(map[string]string{"listCompanies": list(
			`{"id":1,"uuid":"aaaa","name":"Birch","short_name":"Space"}`, `{"id":2,"uuid":"bbbb","name":"Spirit","short_name":"BB"}`)})}
		r := run(t.Context(), t, a, "company_overview", arguments)
		if r.Failure == nil || r.Failure.Kind != toolcall.InvalidArguments || !strings.Contains(r.Failure.Message, part) {
			t.Errorf("%s: %+v", arguments, r.Failure)
		}
		if strings.Contains(part, "several") && !strings.Contains(r.Failure.Message, `"Birch" (id 1)`) {
			t.Errorf("the choice is not named: %s", r.Failure.Message)
		}
	}
}

// The audit names the companies of a call, and nothing else of its arguments.
func TestResultNamesItsCompanies(t *testing.T) {
	t.Parallel()
	for call, want := range map[[2]string]string{
		{"company_overview", `{"company":"acme"}`}:   "[aaaa]",
		{"inventory_health", `{"company_id":2}`}:     "[bbbb]",
		{"profit_summary", `{}`}:                     "[aaaa bbbb]",
		{"profit_summary", `{"companyUuid":"bbbb"}`}: "[bbbb]",
		{"search", `{"query":"x"}`}:                  "[aaaa bbbb]",
		{"fetch", `{"id":"bill:aaaa:1"}`}:            "[aaaa]",
		{"fetch", `{"id":"report:1"}`}:               "[]",
		{"company_overview", `{"company":"nobody"}`}: "[]",
	} {
		a := &api{answer: answers(map[string]string{"listCompanies": list(acme, birch)})}
		if got := run(t.Context(), t, a, call[0], call[1]).Companies; fmt.Sprint(got) != want {
			t.Errorf("%s %s: %v, want %s", call[0], call[1], got, want)
		}
	}
}

func TestACompanyThatIsGivenTwiceIsOne(t *testing.T) {
	t.Parallel()
	for call, agree := range map[[2]string]bool{
		{"company_overview", `{"companyUuid":"aaaa","company":"Acme"}`}:               true,
		{"company_overview", `{"company_id":1,"company":"Acme"}`}:                     true,
		{"company_overview", `{"params":{"company":"aaaa"},"company_name":"nobody"}`}: false,
		{"inventory_health", `{"companyUuid":"bbbb","company":"Acme"}`}:               false,
		{"profit_summary", `{"companyUuid":"bbbb","company":"Acme"}`}:                 false,
		{"search", `{"query":"x","companyUuid":"bbbb","company":"Acme"}`}:             false,
		{"search", `{"query":"x","companyUuid":"aaaa","company":"Acme"}`}:             true,
		{"inventory_health", `{"company":"aaaa","limit":7,"LIMIT":"8"}`}:              false,
	} {
		a := &api{answer: answers(map[string]string{"listCompanies": list(acme, birch)})}
		r := run(t.Context(), t, a, call[0], call[1])
		refused := r.Failure != nil && r.Failure.Kind == toolcall.InvalidArguments && strings.Contains(r.Text, "is given twice with different values, as ")
		if refused == agree {
			t.Errorf("%s %s: %.300s", call[0], call[1], r.Text)
		}
		if refused {
			for _, request := range a.requests {
				if request.Operation != "listCompanies" {
					t.Errorf("%s %s: asked for %s", call[0], call[1], request.Operation)
				}
			}
		}
	}
}

func TestACompanyTakenForAPartOfItsNameIsTold(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string]string{"company_overview": `{"company":"toys"}`, "inventory_health": `{"companyUuid":"toys"}`, "profit_summary": `{"company_name":"toys"}`} {
		a := &api{answer: answers(map[string]string{"listCompanies": list(acme, birch)})}
		r := run(t.Context(), t, a, name, arguments)
		const member = `,"_company_taken":[{"argument":"company","given":"toys","name":"Acme Toys","uuid":"aaaa"}]}`
		if r.Failure != nil || !json.Valid(r.Structured) || !strings.HasSuffix(string(r.Structured), member) || !strings.HasSuffix(r.Text, "\n\n"+`company "toys" was taken for Acme Toys (uuid aaaa), the only company that it fits.`) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// The form of search has no room for it but in its note.
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme, birch), "vendors.list": list(`{"id":3,"name":"Blue"}`)})}
	r := run(t.Context(), t, a, "search", `{"query":"blue","company":"toys"}`)
	if got := searched(t, r); len(got.Results) != 1 || !strings.Contains(got.note, `companyUuid "toys" was taken for Acme Toys`) || r.Meta[takenMeta] == nil {
		t.Errorf("%+v", r)
	}
}

func TestArgumentsMayBeWrapped(t *testing.T) {
	t.Parallel()
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme, birch)})}
	if r := run(t.Context(), t, a, "company_overview", `{"params":{"Company":"birch"}}`); r.Failure != nil || !strings.Contains(r.Text, "Birch GmbH") {
		t.Errorf("%+v", r)
	}
}

func TestDaysAreTheCompanys(t *testing.T) {
	t.Parallel()
	denver := company{Timezone: "America/Denver"}.zone()
	for value, want := range map[text]text{
		"2026-01-31":                "2026-01-31",
		"2026-01-31T00:00:00.000Z":  "2026-01-31", // how the analytics write a day
		"2026-01-31T00:00:00+00:00": "2026-01-31",
		"2026-01-31T04:30:00Z":      "2026-01-30", // a moment
		"2026-01-31T23:00:00-07:00": "2026-01-31",
		"":                          "", "soon": "", "2026-02-30": "", "2026/02/01": "",
	} {
		if got := day(value, denver); got != want {
			t.Errorf("%q is %q, want %q", value, got, want)
		}
	}
	for _, zone := range []text{"", "Local", "Mars/Olympus", "../../etc/passwd"} {
		if got := (company{Timezone: zone}).zone(); got != time.UTC {
			t.Errorf("%q is %s", zone, got)
		}
	}
}

func FuzzDay(f *testing.F) {
	for _, s := range []string{"2026-01-31", "2026-01-31T00:00:00.000Z", "2026-01-31T04:30:00Z", "0000-00-00", "9999-12-31T23:59:59+23:59", "x"} {
		f.Add(s)
	}
	denver := company{Timezone: "America/Denver"}.zone()
	f.Fuzz(func(t *testing.T, value string) {
		got := day(text(value), denver)
		if got == "" {
			return
		}
		if _, err := time.Parse(time.DateOnly, string(got)); err != nil || day(got, denver) != got {
			t.Errorf("%q is %q: %v", value, got, err)
		}
	})
}

func TestPagesOfPeopleAreNeonPanelsOwn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		api   string
		named text
		want  string
	}{
		{"https://my.neonpanel.com", "https://my.neonpanel.com/app/x?a=1", "https://my.neonpanel.com/app/x?a=1"},
		{"https://my.neonpanel.com/base", "/app/reports/x", "https://my.neonpanel.com/app/reports/x"},
		{"https://my.neonpanel.com", "", "https://my.neonpanel.com/#bill-aaaa-1"},
		{"https://my.neonpanel.com", "https://evil.example/app", "https://my.neonpanel.com/#bill-aaaa-1"},
		{"https://my.neonpanel.com", "http://my.neonpanel.com/app", "https://my.neonpanel.com/#bill-aaaa-1"},
		{"https://my.neonpanel.com", "https://u:p@my.neonpanel.com/app", "https://my.neonpanel.com/#bill-aaaa-1"},
		{"https://my.neonpanel.com", "javascript:alert(1)", "https://my.neonpanel.com/#bill-aaaa-1"},
		{"http://127.0.0.1:9090", "https://my.neonpanel.com/app/x", "https://my.neonpanel.com/app/x"},
		{"http://127.0.0.1:9090", "ftp://my.neonpanel.com/app/x", "http://127.0.0.1:9090/#bill-aaaa-1"},
	} {
		l, err := newLinks(c.api)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.page(c.named, "bill:aaaa:1"); got != c.want {
			t.Errorf("%s names %q: %s, want %s", c.api, c.named, got, c.want)
		}
	}
	if _, err := New(nil, nil, Options{APIURL: "my.neonpanel.com"}); err == nil {
		t.Error("an API URL without scheme was taken")
	}
}

// Many callers at once must not see each other's answers.
func TestCallersDoNotMix(t *testing.T) {
	t.Parallel()
	a := &api{answer: func(_ context.Context, r neonpanel.Request) (string, error) {
		if r.Operation == "listCompanies" {
			return list(fmt.Sprintf(`{"id":1,"uuid":"u%s","name":"Company of %s","currency":"USD"}`, r.Bearer, r.Bearer)), nil
		}
		if r.PathArguments["companyUuid"] != "" && r.PathArguments["companyUuid"] != "u"+r.Bearer {
			return "", &neonpanel.Error{Class: neonpanel.Forbidden}
		}
		return list(), nil
	}}
	r, err := New(nil, a, Options{APIURL: "https://my.neonpanel.com"})
	if err != nil {
		t.Fatal(err)
	}
	tool, _ := tools(t).Lookup("company_overview")
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			bearer := fmt.Sprint("t", i)
			out := r.Run(t.Context(), tool, nil, toolcall.Caller{Bearer: bearer})
			if out.Failure != nil || !strings.Contains(out.Text, `"Company of `+bearer+`"`) || strings.Contains(out.Text, "incomplete") {
				t.Errorf("%s: %+v", bearer, out)
			}
		})
	}
	wait.Wait()
}
