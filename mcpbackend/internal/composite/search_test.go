package composite

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

func TestSearchHasTheShapeThatChatGPTExpects(t *testing.T) {
	t.Parallel()
	a := &api{answer: answers(map[string]string{
		"listCompanies": list(acme), "listReports": `{"count":2,"data":[{"id":12,"title":"Stock on hand","link":"https://my.neonpanel.com/app/reports/a"},{"id":9,"title":"Sales"}]}`,
		"bills.list": list(`{"id":51,"ref_number":"B-51","name":"Freight","date":"2026-01-02","amount":12.50,"currency":"USD","vendor":{"name":"Blue & Co"},"link":"https://my.neonpanel.com/app/b"}`),
	})}
	r := run(t.Context(), t, a, "search", `{"query":"stock"}`)
	searched(t, r)
	want := `{"results":[` +
		`{"id":"report:12","title":"Report Stock on hand","url":"https://my.neonpanel.com/app/reports/a"},` +
		`{"id":"bill:aaaa:51","title":"Bill B-51: Freight, Blue & Co, 2026-01-02, 12.50 USD (Acme Toys)","url":"https://my.neonpanel.com/app/b"}]}`
	if r.Text != want {
		t.Errorf("%s\nwant\n%s", r.Text, want)
	}
}

// finding is an answer of search: its records, and apart from them the note, if
// it ends in one, and the metadata.
type finding struct {
	results
	note, more string
	incomplete []missing
}

func searched(t *testing.T, r toolcall.Result) finding {
	t.Helper()
	f := finding{results: decoded[results](t, r)}
	if last := len(f.Results) - 1; last >= 0 && f.Results[last].ID == noteID {
		f.note, f.Results = f.Results[last].Title, f.Results[:last]
	}
	f.more, _ = r.Meta[moreMeta].(string)
	f.incomplete, _ = r.Meta[incompleteMeta].([]missing)
	left := f.incomplete != nil || f.more != "" && len(f.Results) > 0
	if left != (f.note != "") || left && !strings.HasPrefix(f.note, "Note, not a record: ") {
		t.Errorf("incomplete %v, more %q, but the note is %q", f.incomplete, f.more, f.note)
	}
	return f
}

func TestSearchTakesOtherWordsForItsQuery(t *testing.T) {
	t.Parallel()
	for _, arguments := range []string{`{"q":"blue"}`, `{"search":"blue"}`, `{"params":{"Query":"blue"}}`, `"{\"query\":\"blue\"}"`} {
		a := &api{answer: answers(map[string]string{"listCompanies": list(acme), "vendors.list": list(`{"id":3,"name":"Blue"}`)})}
		if got := searched(t, run(t.Context(), t, a, "search", arguments)); len(got.Results) != 1 {
			t.Errorf("%s: %+v", arguments, got)
		}
	}
}

func TestProfitTakesOtherWordsForItsDates(t *testing.T) {
	t.Parallel()
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme)})}
	decoded[json.RawMessage](t, run(t.Context(), t, a, "profit_summary", `{"from":"2026-01-01","to":"2026-01-31"}`))
	if asked := a.asked("revenueAndCogsSummary"); len(asked) == 0 || !strings.Contains(strings.Join(asked, " "), "start_date=2026-01-01&end_date=2026-01-31") {
		t.Errorf("%v", asked)
	}
}

func TestSearchLooksEverywhereInEveryCompany(t *testing.T) {
	t.Parallel()
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme, birch)})}
	searched(t, run(t.Context(), t, a, "search", `{"query":"  blue   meridian "}`))
	for _, operation := range []string{"listInventoryItems", "inventoryOrders.list", "bills.list", "invoices.list", "shipments.list", "vendors.list"} {
		asked := a.asked(operation)
		text := strings.Join(asked, "\n")
		if !strings.Contains(text, "/aaaa/") || !strings.Contains(text, "/bbbb/") || !strings.Contains(text, "search=blue meridian&") {
			t.Errorf("%s was asked %v", operation, asked)
		}
	}
	if len(a.asked("listReports")) == 0 {
		t.Error("no reports")
	}
}

func TestSearchUnderstandsKindsAndCompanies(t *testing.T) {
	t.Parallel()
	for question, want := range map[string]struct {
		operation, asked string
		calls, others    int
	}{
		"bills from Blue Meridian": {"bills.list", "search=Blue Meridian&", 2, 0},
		"acme bills":               {"bills.list", "/aaaa/bills?page=1&", 1, 0},
		// A record of any kind may be called just so.
		"Invoice 4711":         {"invoices.list", "search=4711&", 4, 11},
		"PO TRAIL-PO-2":        {"inventoryOrders.list", "search=TRAIL-PO-2&", 4, 11},
		"orders of Birch GmbH": {"inventoryOrders.list", "/bbbb/inventory-orders?page=1&", 1, 0},
		"vendors":              {"vendors.list", "vendors?page=1&", 2, 0},
	} {
		a := &api{answer: answers(map[string]string{"listCompanies": list(acme, birch), want.operation: list(`{"id":1,"name":"x"}`)})}
		searched(t, run(t.Context(), t, a, "search", fmt.Sprintf(`{"query":%q}`, question)))
		asked := a.asked(want.operation)
		if len(asked) != want.calls || !strings.Contains(strings.Join(asked, "\n")+"&", want.asked) {
			t.Errorf("%q: %s was asked %v", question, want.operation, asked)
		}
		if len(a.requests) != 1+want.calls+want.others {
			t.Errorf("%q asked more than it had to: %d calls", question, len(a.requests))
		}
	}
}

func TestSearchTriesTheLongestWordWhenThePhraseFindsNothing(t *testing.T) {
	t.Parallel()
	otherwise := answers(map[string]string{"listCompanies": list(acme)})
	a := &api{}
	a.answer = func(ctx ctx, r neonpanel.Request) (string, error) {
		if r.Operation == "listInventoryItems" && queryOf(r, "search") == "hammock" {
			return list(`{"id":7,"sku":"HMK","name":"Camping Hammock","country_code":"US"}`), nil
		}
		return otherwise(ctx, r)
	}
	got := searched(t, run(t.Context(), t, a, "search", `{"query":"green hammock big"}`))
	if len(got.Results) != 1 || got.Results[0].ID != "item:aaaa:7" {
		t.Errorf("%+v", got)
	}
}

func TestSearchTriesWithoutStatesAndPluralsWhenThePhraseFindsNothing(t *testing.T) {
	t.Parallel()
	const states = "in any state"
	for question, want := range map[string]struct {
		// The list and the phrase that have a record, and the phrases that were
		// asked for before.
		operation, phrase, before, more string
	}{
		"open orders LINDEN":                 {"inventoryOrders.list", "LINDEN", "[open LINDEN]", states},
		"open orders from LINDEN":            {"inventoryOrders.list", "LINDEN", "[open from LINDEN]", states},
		"unpaid bills":                       {"bills.list", "", "[unpaid]", states},
		"Overdue bills?":                     {"bills.list", "", "[Overdue]", states},
		"orders in transit":                  {"inventoryOrders.list", "", "[transit]", states},
		"shipments under way":                {"shipments.list", "", "[under way]", states},
		"shipments on their way":             {"shipments.list", "", "[their way]", states},
		"pending orders of green hammocks":   {"inventoryOrders.list", "green hammock", "[pending of green hammocks]", states},
		"open bills of Blue Meridian Cargos": {"bills.list", "Meridian", "[open of Blue Meridian Cargos Blue Meridian Cargo Blue Meridian Cargo open bills of Blue Meridian Cargos]", states},
		"hammocks":                           {"listInventoryItems", "hammock", "[hammocks]", ""},
		"Hammocks!":                          {"listInventoryItems", "Hammock", "[Hammocks!]", ""},
		"big hammocks":                       {"listInventoryItems", "hammock", "[big hammocks big hammock]", ""},
	} {
		otherwise := answers(map[string]string{"listCompanies": list(acme)})
		a := &api{}
		a.answer = func(ctx ctx, r neonpanel.Request) (string, error) {
			if r.Operation == want.operation && queryOf(r, "search") == want.phrase {
				return list(`{"id":7,"name":"x"}`), nil
			}
			return otherwise(ctx, r)
		}
		got := searched(t, run(t.Context(), t, a, "search", fmt.Sprintf(`{"query":%q}`, question)))
		var before []string
		for _, r := range a.requests {
			if phrase := queryOf(r, "search"); r.Operation == want.operation && phrase != want.phrase {
				before = append(before, phrase)
			}
		}
		if len(got.Results) != 1 || fmt.Sprint(before) != want.before || (want.more == "") != (got.more == "") || !strings.Contains(got.more, want.more) || !strings.Contains(got.note, want.more) {
			t.Errorf("%q, after %v: %+v", question, before, got)
		}
	}
}

// searching is an API whose lists find what holds the text.
func searching(companies string, rows map[string][]string) func(ctx, neonpanel.Request) (string, error) {
	return func(_ ctx, r neonpanel.Request) (string, error) {
		if r.Operation == "listCompanies" {
			return companies, nil
		}
		var found []string
		for _, row := range rows[r.Operation+" "+r.PathArguments["companyUuid"]] {
			if strings.Contains(strings.ToLower(row), strings.ToLower(queryOf(r, "search"))) {
				found = append(found, row)
			}
		}
		return list(found...), nil
	}
}

// Incident: the word for a kind in the name of a record of another kind hid the
// record.
func TestSearchFindsWhatIsCalledJustSo(t *testing.T) {
	t.Parallel()
	const trail = `{"id":3,"uuid":"cccc","name":"Trailhead Outfitters LLC","short_name":"TRAIL","currency":"USD"}`
	a := func() *api {
		return &api{answer: searching(list(acme, trail), map[string][]string{
			"bills.list aaaa":         {`{"id":1,"ref_number":"Invoice 8825","name":"Order Depot shipment invoice 8825"}`, `{"id":2,"ref_number":"B-2","name":"Glue"}`},
			"bills.list cccc":         {`{"id":3,"ref_number":"B-3","name":"Freight"}`},
			"invoices.list aaaa":      {`{"id":4,"ref_number":"8825-A"}`, `{"id":5,"ref_number":"9000"}`},
			"listInventoryItems aaaa": {`{"id":6,"sku":"LAMP"}`},
			"listInventoryItems cccc": {`{"id":7,"sku":"TENT"}`},
		})}
	}
	const none = ""
	for question, want := range map[string]struct{ ids, note string }{
		"Invoice 8825":                      {"bill:aaaa:1 invoice:aaaa:4", none},
		"Order Depot":                       {"bill:aaaa:1", none},
		"Order Depot shipment invoice 8825": {"bill:aaaa:1", none},
		"invoice 9000":                      {"invoice:aaaa:5", none},
		"shipment of the Order Depot":       {"bill:aaaa:1", "of every kind"},
		"order Glue":                        {"bill:aaaa:2", "of every kind"},
		"trailhead bills":                   {"bill:cccc:3", `"trailhead" was taken for the name of a company: only Trailhead Outfitters LLC was searched`},
		"bills of trailhead":                {"bill:cccc:3", "Trailhead Outfitters LLC"},
		"Trailhead Outfitters":              {"item:cccc:7 bill:cccc:3", "Trailhead Outfitters LLC"},
		"TRAIL":                             {"item:cccc:7 bill:cccc:3", "Trailhead Outfitters LLC"},
		"outfitters tent":                   {"item:cccc:7", "Trailhead Outfitters LLC"},
		"outfitters lamp":                   {"", none}, // not in that company
		"railhead bills":                    {"", none},
		"what bills are overdue?":           {"bill:aaaa:1 bill:aaaa:2 bill:cccc:3", "in any state"},
		"show me overdue bills":             {"bill:aaaa:1 bill:aaaa:2 bill:cccc:3", "in any state"},
		"Which bills of trailhead are due?": {"bill:cccc:3", "in any state"},
		"where is the tent?":                {"item:cccc:7", "in any state"},
		"what bills do we have from Glue?":  {"bill:aaaa:2", none},
	} {
		got := searched(t, run(t.Context(), t, a(), "search", fmt.Sprintf(`{"query":%q}`, question)))
		var ids []string
		for _, r := range got.Results {
			ids = append(ids, r.ID)
		}
		if strings.Join(ids, " ") != want.ids || !strings.Contains(got.note, want.note) || want.note == "" && got.note != "" {
			t.Errorf("%q: %v %q", question, ids, got.note)
		}
	}
	// A type is no preference.
	if got := searched(t, run(t.Context(), t, a(), "search", `{"query":"Glue","type":"invoice"}`)); len(got.Results) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestSearchWithoutStatesStillSaysThatThereAreMore(t *testing.T) {
	t.Parallel()
	a := &api{}
	a.answer = func(ctx ctx, r neonpanel.Request) (string, error) {
		if r.Operation == "bills.list" && queryOf(r, "search") == "" {
			return pageOf(1, 3, `{"id":7,"name":"x"}`), nil
		}
		return answers(map[string]string{"listCompanies": list(acme)})(ctx, r)
	}
	got := searched(t, run(t.Context(), t, a, "search", `{"query":"unpaid bills"}`))
	if !strings.Contains(got.more, "in any state") || !strings.Contains(got.more, "There are more") {
		t.Errorf("%+v", got)
	}
}

func TestSearchAsksOnceWhenThePhraseFindsSomething(t *testing.T) {
	t.Parallel()
	for _, question := range []string{"open orders LINDEN", "orders of hammocks"} {
		a := &api{answer: answers(map[string]string{"listCompanies": list(acme), "inventoryOrders.list": list(`{"id":7,"name":"Open Linden"}`)})}
		got := searched(t, run(t.Context(), t, a, "search", fmt.Sprintf(`{"query":%q}`, question)))
		if len(got.Results) != 1 || got.more != "" || len(a.asked("inventoryOrders.list")) != 1 {
			t.Errorf("%q: %+v", question, got)
		}
	}
}

func TestSearchSaysWhatToTryWhenNothingIsFound(t *testing.T) {
	t.Parallel()
	// With no word but that of a state, and no kind, there is nothing to look for.
	for question, rounds := range map[string]int{"unpaid bills": 2, "overdue": 1, "hammocks": 2, "glass": 1, "AB12S": 1, "blue meridian": 2, "gas": 1} {
		a := &api{answer: answers(map[string]string{"listCompanies": list(acme)})}
		got := searched(t, run(t.Context(), t, a, "search", fmt.Sprintf(`{"query":%q}`, question)))
		if len(got.Results) != 0 || !strings.Contains(got.more, "company_overview") || !strings.HasPrefix(got.more, "Nothing was found") {
			t.Errorf("%q: %+v", question, got)
		}
		if n := len(a.asked("bills.list")); n != rounds {
			t.Errorf("%q: bills were searched %d times", question, n)
		}
	}
}

func TestSearchSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	found := map[string]string{"listCompanies": list(acme, birch), "vendors.list": list(`{"id":3,"name":"Blue"}`)}
	a := &api{answer: failing("bills.list", &neonpanel.Error{Class: neonpanel.Unavailable},
		failing("listReports", &neonpanel.Error{Class: neonpanel.Forbidden}, answers(found)))}
	got := searched(t, run(t.Context(), t, a, "search", `{"query":"blue"}`))
	if len(got.Results) != 2 || len(got.incomplete) != 2 {
		t.Fatalf("%+v", got)
	}
	if m := got.incomplete[0]; fmt.Sprint(m.Parts) != "[Bills of Acme Toys Bills of Birch GmbH]" || !strings.Contains(m.Reason, "has a problem") {
		t.Errorf("%+v", m)
	}
	if m := got.incomplete[1]; fmt.Sprint(m.Parts) != "[Reports]" || !strings.Contains(m.Reason, "refused") {
		t.Errorf("%+v", m)
	}
	if !strings.Contains(got.note, "Not searched: Bills of Acme Toys, Bills of Birch GmbH (NeonPanel has a problem") || !strings.Contains(got.note, "Not searched: Reports (") {
		t.Errorf("%q", got.note)
	}
}

// The answer has the members of ChatGPT's shape and no others, whatever there is
// to say: the note is a result like the others, and fetch explains it.
func TestSearchKeepsItsShapeWhenPartsAreMissing(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(ctx, neonpanel.Request) (string, error){
		"a part failed": failing("bills.list", &neonpanel.Error{Class: neonpanel.Unavailable}, answers(map[string]string{"listCompanies": list(acme), "vendors.list": list(`{"id":3,"name":"a"}`)})),
		"there is more": answers(map[string]string{"listCompanies": list(acme), "vendors.list": pageOf(1, 9, `{"id":3,"name":"a"}`)}),
		"nothing found": answers(map[string]string{"listCompanies": list(acme)}),
		"all and more":  failing("bills.list", &neonpanel.Error{Class: neonpanel.Timeout}, answers(map[string]string{"listCompanies": list(acme), "vendors.list": pageOf(1, 9, `{"id":3,"name":"a"}`)})),
	} {
		r := run(t.Context(), t, &api{answer: answer}, "search", `{"query":"unpaid a"}`)
		var members map[string][]map[string]string
		if err := json.Unmarshal(r.Structured, &members); err != nil || len(members) != 1 || members["results"] == nil || r.Text != string(r.Structured) {
			t.Errorf("%s: %v %s", name, err, r.Structured)
		}
		for _, result := range members["results"] {
			if len(result) != 3 || result["id"] == "" || result["title"] == "" || !strings.HasPrefix(result["url"], "https://my.neonpanel.com/") {
				t.Errorf("%s: %v", name, result)
			}
		}
		if len(r.Meta) == 0 {
			t.Errorf("%s: no metadata", name)
		}
	}
	a := &api{answer: answers(nil)}
	got := decoded[fetched](t, run(t.Context(), t, a, "fetch", `{"id":"note:search"}`))
	if got.ID != "note:search" || !strings.Contains(got.Text, "no record") || len(a.requests) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestTheNoteOfASearchIsShort(t *testing.T) {
	t.Parallel()
	var companies []string
	for i := range 25 {
		companies = append(companies, fmt.Sprintf(`{"id":%d,"uuid":"u%d","name":%q}`, i, i, strings.Repeat("Ü", 90)+fmt.Sprint(i)))
	}
	a := &api{answer: failing("bills.list", &neonpanel.Error{Class: neonpanel.Unavailable}, answers(map[string]string{"listCompanies": list(companies...)}))}
	got := searched(t, run(t.Context(), t, a, "search", `{"query":"a"}`))
	if n := len([]rune(got.note)); n != maxNote || !strings.HasSuffix(got.note, "…") {
		t.Errorf("%d characters: %q", n, got.note)
	}
}

// without is the catalogue of a live document that lacks some of the paths.
func without(t *testing.T, paths ...string) *catalogue.Catalogue {
	t.Helper()
	document := string(openapi.Document())
	for _, path := range paths {
		changed := strings.Replace(document, "\n  "+path+":\n", "\n  /api/v1/gone"+strings.ReplaceAll(path, "/api/v1", "")+":\n", 1)
		if changed == document {
			t.Fatalf("the document has no path %s", path)
		}
		document = changed
	}
	c, err := catalogue.Load(openapi.Document(), openapi.Overlay(), catalogue.Options{Compose: Tools, Live: []byte(document)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const companyPath = "/api/v1/companies/{companyUuid}"

// Incident: a live document that lacked one kind took the whole search away.
func TestSearchAndFetchDoWithoutAKindThatTheDocumentLacks(t *testing.T) {
	t.Parallel()
	c := without(t, companyPath+"/bills", companyPath+"/bills/{billId}")
	answer := answers(map[string]string{"listCompanies": list(acme), "vendors.list": list(`{"id":3,"name":"Blue"}`), "bills.list": list(`{"id":1}`), "bills.read": `{"id":1}`})
	call := func(name, arguments string) (*api, toolcall.Result) {
		tool, ok := c.Lookup(name)
		if !ok {
			t.Fatalf("%s is gone", name)
		}
		if !strings.Contains(tool.Description, "lacks bills, and so does this") {
			t.Errorf("%s is described as %s", name, tool.Description)
		}
		a := &api{answer: answer}
		return a, runTool(t.Context(), t, a, tool, arguments)
	}
	a, r := call("search", `{"query":"blue"}`)
	got := searched(t, r)
	if len(got.Results) != 1 || got.Results[0].ID != "vendor:aaaa:3" || len(a.asked("bills.list")) != 0 {
		t.Errorf("%+v", got)
	}
	if len(got.incomplete) != 1 || fmt.Sprint(got.incomplete[0].Parts) != "[Bills]" || !strings.Contains(got.note, "Not searched: Bills (NeonPanel's API does not offer this") {
		t.Errorf("%+v", got)
	}
	// Whoever asks for nothing else is told the same.
	a, r = call("search", `{"query":"bills from blue"}`)
	if got := searched(t, r); len(got.Results) != 1 || !strings.Contains(got.note, "Not searched: Bills") || !strings.Contains(got.note, "of every kind") || len(a.asked("bills.list")) != 0 {
		t.Errorf("%+v, asked %v", got, a.requests)
	}
	_, r = call("search", `{"query":"vendors blue"}`)
	if got := searched(t, r); len(got.Results) != 1 || got.note != "" {
		t.Errorf("%+v", got)
	}
	a, r = call("fetch", `{"id":"bill:aaaa:51"}`)
	if r.Failure == nil || r.Failure.Kind != toolcall.Unavailable || !strings.Contains(r.Text, "fetch cannot read a bill. NeonPanel's API does not offer this") || len(a.requests) != 0 {
		t.Errorf("%+v", r)
	}
	_, r = call("fetch", `{"id":"vendor:aaaa:3"}`)
	if got := decoded[fetched](t, r); got.ID != "vendor:aaaa:3" {
		t.Errorf("%+v", got)
	}
}

func TestAnItemIsFetchedWithoutItsStockWhereTheDocumentLacksIt(t *testing.T) {
	t.Parallel()
	tool, ok := without(t, companyPath+"/inventory-items/{inventoryId}/balances").Lookup("fetch")
	if !ok {
		t.Fatal("fetch is gone")
	}
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme), "getInventoryItemFullData": `{"id":7,"sku":"A-1"}`})}
	got := decoded[fetched](t, runTool(t.Context(), t, a, tool, `{"id":"item:aaaa:7"}`))
	if !strings.Contains(got.Text, "A-1") || !strings.Contains(got.Metadata["incomplete"], "the item's stock") {
		t.Errorf("%+v", got)
	}
}

func TestACompanyIsOverseenWithoutWhatTheDocumentLacks(t *testing.T) {
	t.Parallel()
	tool, ok := without(t, companyPath+"/payment-requests", "/api/v1/revenue-and-cogs").Lookup("company_overview")
	if !ok {
		t.Fatal("company_overview is gone")
	}
	a := &api{answer: answers(map[string]string{"listCompanies": list(acme)})}
	got := decoded[companyOverview](t, runTool(t.Context(), t, a, tool, `{}`))
	if got.Payments != nil || got.ThisMonth != nil || got.Orders == nil || len(got.Incomplete) != 1 ||
		fmt.Sprint(got.Incomplete[0].Parts) != "[payments sales of last month sales of this month]" {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(tool.Description, "lacks sales, payments, and") || slices.Contains(tool.Scopes, "read:cogs") {
		t.Errorf("%q needs %v", tool.Description, tool.Scopes)
	}
}

func TestSearchFailsWhenEverythingFails(t *testing.T) {
	t.Parallel()
	a := &api{answer: func(_ ctx, r neonpanel.Request) (string, error) {
		if r.Operation == "listCompanies" {
			return list(acme), nil
		}
		return "", &neonpanel.Error{Class: neonpanel.RateLimited, RetryAfter: 7e9}
	}}
	r := run(t.Context(), t, a, "search", `{"query":"blue"}`)
	if r.Failure == nil || r.Failure.Kind != toolcall.RateLimited || r.Failure.RetryAfter != 7e9 {
		t.Errorf("%+v", r)
	}
}

func TestSearchIsBounded(t *testing.T) {
	t.Parallel()
	var companies []string
	for i := range 30 {
		companies = append(companies, fmt.Sprintf(`{"id":%d,"uuid":"u%d","name":"Company %d","currency":"USD"}`, i, i, i))
	}
	a := &api{answer: answers(map[string]string{
		"listCompanies": list(companies...), "invoices.list": pageOf(1, 9, `{"id":1,"name":"a"}`, `{"id":2,"name":"b"}`, `{"id":3,"name":"c"}`),
	})}
	got := searched(t, run(t.Context(), t, a, "search", `{"query":"a"}`))
	if len(got.Results) != maxResults || got.more == "" {
		t.Errorf("%d results, more: %q", len(got.Results), got.more)
	}
	if len(got.incomplete) != 1 || len(got.incomplete[0].Parts) != 30-maxCompanies || !strings.Contains(got.incomplete[0].Reason, "25 companies") {
		t.Errorf("%+v", got.incomplete)
	}
	if n := len(a.asked("invoices.list")); n != maxCompanies {
		t.Errorf("%d companies were searched", n)
	}
}

func TestSearchPutsTheBestFirst(t *testing.T) {
	t.Parallel()
	a := &api{answer: answers(map[string]string{
		"listCompanies":        list(acme),
		"listInventoryItems":   list(`{"id":1,"sku":"A-100-X","name":"contains"}`, `{"id":2,"sku":"zz","name":"by something else"}`, `{"id":3,"sku":"100","name":"exact"}`),
		"inventoryOrders.list": list(`{"id":4,"ref_number":"1001"}`),
	})}
	got := searched(t, run(t.Context(), t, a, "search", `{"query":"100"}`))
	var ids []string
	for _, r := range got.Results {
		ids = append(ids, r.ID)
	}
	if strings.Join(ids, " ") != "item:aaaa:3 order:aaaa:4 item:aaaa:1 item:aaaa:2" {
		t.Errorf("%v", ids)
	}
}

func TestSearchWantsAQuestion(t *testing.T) {
	t.Parallel()
	for _, arguments := range []string{`{}`, `{"query":"  "}`, `{"query":null}`, `{"query":"` + strings.Repeat("x", 301) + `"}`} {
		a := &api{answer: answers(nil)}
		if r := run(t.Context(), t, a, "search", arguments); r.Failure == nil || r.Failure.Kind != toolcall.InvalidArguments || len(a.requests) > 0 {
			t.Errorf("%.40s: %+v", arguments, r)
		}
	}
}

func TestIDsLeadBackToTheirRecord(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]address{
		"report:12":        {"report", "", "12"},
		" bill:aa-_9:51 ":  {"bill", "aa-_9", "51"},
		"vendor:b7344:411": {"vendor", "b7344", "411"},
	} {
		if got, ok := parseAddress(id); !ok || got != want || got.String() != strings.TrimSpace(id) {
			t.Errorf("%q is %+v", id, got)
		}
	}
	for _, id := range []string{
		"", "bill", "bill:51", "bill:aa:", "bill:aa:x", "bill:..:51", "bill:a/b:51", "bill:aa:51:1", "company:aa:1", "report:aa:1", "bill:aa:5.1",
		"bill:%2e%2e:51", "bill:aa:-1", "bill:a?b:1", "bill:aa:1234567890123456789", "BILL:aa:1", "report:12\nx",
	} {
		if got, ok := parseAddress(id); ok {
			t.Errorf("%q is taken for %+v", id, got)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"bill:aa:51", "report:1", "item:..:1", "vendor:a:0", ":::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		a, ok := parseAddress(id)
		if !ok {
			return
		}
		if again, ok := parseAddress(a.String()); !ok || again != a {
			t.Errorf("%q is %+v, which is %+v", id, a, again)
		}
		if a.company != "" && !neonpanel.ValidPathArgument(a.company) || !neonpanel.ValidPathArgument(a.id) {
			t.Errorf("%q gives a path argument that is none: %+v", id, a)
		}
	})
}

func FuzzSearchQuestion(f *testing.F) {
	for _, s := range []string{"bills of Acme Toys", "acme", "ACME TOYS bills", "the", "İ acme toys x", "bill bill", "\xff acme toys \xff", "Reports"} {
		f.Add(s)
	}
	companies := []company{{UUID: "aaaa", Name: "Acme Toys", ShortName: "ACME"}, {UUID: "bbbb", Name: "Ünder İst", ShortName: "İST"}}
	f.Fuzz(func(t *testing.T, question string) {
		question = strings.Join(strings.Fields(question), " ")
		list, rest := namedIn(companies, question)
		if len(list) == 0 || len(rest) > len(question) {
			t.Errorf("%q leaves %d companies and %q", question, len(list), rest)
		}
		wanted, reports, phrase := asked(rest)
		if len(wanted) == 0 && !reports || len(phrase) > len(rest) {
			t.Errorf("%q asks for nothing, phrase %q", question, phrase)
		}
		if simple, _ := simplified(phrase); len(simple) > len(phrase) {
			t.Errorf("%q is simplified to %q", phrase, simple)
		}
	})
}
