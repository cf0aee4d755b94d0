package toolcall

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
)

const token = "secret-token-of-the-caller"

// stage is a runner whose API is a real HTTP server on loopback.
type stage struct {
	runner    Runner
	client    *neonpanel.Client
	catalogue *catalogue.Catalogue
	calls     atomic.Int32
}

func newStage(t testing.TB, handler http.HandlerFunc) *stage {
	t.Helper()
	s := &stage{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		if handler != nil {
			handler(w, r)
		}
	}))
	t.Cleanup(server.Close)
	client, err := neonpanel.New(neonpanel.Options{
		BaseURL: server.URL, Timeout: 2 * time.Minute, AttemptTimeout: time.Minute,
		Backoff: time.Millisecond, MaxBytes: 1 << 20, Attempts: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s.catalogue, err = loadTools()
	if err != nil {
		t.Fatal(err)
	}
	s.client = client
	now := time.Unix(1_800_000_000, 0)
	s.runner = New(client, Options{Now: func() time.Time { return now }})
	return s
}

var loadTools = sync.OnceValues(func() (*catalogue.Catalogue, error) {
	return catalogue.Load(openapi.Document(), openapi.Overlay(), catalogue.Options{Toolsets: []string{catalogue.AllTools}})
})

func (s *stage) tool(t testing.TB, name string) catalogue.Tool {
	t.Helper()
	tool, ok := s.catalogue.Lookup(name)
	if !ok {
		t.Fatalf("no tool %s", name)
	}
	return tool
}

func (s *stage) call(t testing.TB, name, arguments string) Result {
	t.Helper()
	result := s.runner.Run(t.Context(), s.tool(t, name), json.RawMessage(arguments), Caller{Bearer: token})
	if result.Text == "" {
		t.Error("the result has no text")
	}
	if result.Failure != nil && (strings.Contains(result.Text, token) || strings.Contains(result.Text, "127.0.0.1")) {
		t.Errorf("the failure shows too much: %s", result.Text)
	}
	if result.Structured != nil && !json.Valid(result.Structured) {
		t.Errorf("structured is not JSON: %s", result.Structured)
	}
	return result
}

func answer(status int, mediaType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestAnswerArrivesAsItWasSent(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.URL.RequestURI(), "/api/v1/companies/ab12/warehouses?page=2&per_page=30&search=north+%26+south"; got != want {
			t.Errorf("called %s, want %s", got, want)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer "+token {
			t.Errorf("Authorization %q", got)
		}
		answer(200, "application/json", `{ "current_page": 2, "per_page": 30, "last_page": 2, "filters": {"a": 1.0}, "data": [ {"price": 10.50, "n": 12345678901234567890} ] }`)(w, r)
	})
	result := s.call(t, "list_warehouses", `{"companyUuid":"ab12","page":"2","search":"north & south"}`)
	if result.Failure != nil {
		t.Fatal(result.Failure)
	}
	const want = `{"filters":{"a":1.0},"data":[{"price":10.50,"n":12345678901234567890}],"total":31,"next_cursor":null}`
	if string(result.Structured) != want {
		t.Errorf("structured %s", result.Structured)
	}
	if result.Text != want {
		t.Errorf("text %s", result.Text)
	}
}

func TestArgumentsReachTheAPI(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, tool, arguments, want string }{
		{"none", "list_companies", ``, "/api/v1/companies?page=1&per_page=30"},
		{"null", "list_companies", `null`, "/api/v1/companies?page=1&per_page=30"},
		{"empty string", "list_companies", `""`, "/api/v1/companies?page=1&per_page=30"},
		{"wrapped", "list_companies", `{"params":{"params":{"page":3}}}`, "/api/v1/companies?page=3&per_page=30"},
		{"JSON in a string", "list_companies", `"{\"page\":3}"`, "/api/v1/companies?page=3&per_page=30"},
		{"both", "list_companies", `{"params":"{\"params\":{\"page\":3}}"}`, "/api/v1/companies?page=3&per_page=30"},
		{"some wrapped, others beside", "list_warehouses", `{"params":{"companyUuid":"a","search":"x"},"limit":3}`, "/api/v1/companies/a/warehouses?page=1&per_page=10&search=x"},
		{"some in a string, others beside", "list_warehouses", `{"params":"{\"companyUuid\":\"a\"}","search":"x"}`, "/api/v1/companies/a/warehouses?page=1&per_page=30&search=x"},
		{"some wrapped twice, others beside", "list_warehouses", `{"params":{"params":{"companyUuid":"a"},"search":"x"},"limit":3}`, "/api/v1/companies/a/warehouses?page=1&per_page=10&search=x"},
		{"the same inside and beside", "list_warehouses", `{"params":{"companyUuid":"a","page":2},"companyUuid":"a","page":2.0}`, "/api/v1/companies/a/warehouses?page=2&per_page=30"},
		{"all of it a string with some wrapped", "list_warehouses", `"{\"params\":{\"companyUuid\":\"a\"},\"page\":3}"`, "/api/v1/companies/a/warehouses?page=3&per_page=30"},
		{"an empty wrapping", "list_warehouses", `{"params":{},"companyUuid":"a"}`, "/api/v1/companies/a/warehouses?page=1&per_page=30"},
		{"no wrapping", "list_warehouses", `{"params":null,"companyUuid":"a"}`, "/api/v1/companies/a/warehouses?page=1&per_page=30"},
		{"wrapped under another name", "list_warehouses", `{"arguments":{"companyUuid":"a"}}`, "/api/v1/companies/a/warehouses?page=1&per_page=30"},
		{"a bare id", "bills_read", `{"companyUuid":"a","id":7}`, "/api/v1/companies/a/bills/7"},
		{"a bare id of an item", "inventory_balances", `{"companyUuid":"a","ID":"7"}`, "/api/v1/companies/a/inventory-items/7/balances"},
		{"a bare id of a report", "get_report_data", `{"id":7}`, "/api/v1/reports/7"},
		{"an exact id and a bare one", "bills_read", `{"companyUuid":"a","billId":7,"id":"7"}`, "/api/v1/companies/a/bills/7"},
		{"another word for search", "bills_list", `{"companyUuid":"a","query":"x"}`, "/api/v1/companies/a/bills?page=1&search=x"},
		{"a short word for search", "list_warehouses", `{"companyUuid":"a","q":"x"}`, "/api/v1/companies/a/warehouses?page=1&per_page=30&search=x"},
		{"one vendor", "bills_list", `{"companyUuid":"a","vendor_id":3}`, "/api/v1/companies/a/bills?page=1&vendors%5B%5D=3"},
		{"a company by a word of its own", "list_warehouses", `{"company_name":"a"}`, "/api/v1/companies/a/warehouses?page=1&per_page=30"},
		{"other words for dates", "revenue_and_cogs_summary", `{"from":"2026-01-01","to":"2026-01-31"}`, "/api/v1/revenue-and-cogs?start_date=2026-01-01&end_date=2026-01-31&periodicity=total"},
		{"pages larger than the API's", "list_companies", `{"per_page":100}`, "/api/v1/companies?page=1&per_page=60"},
		{"pages smaller than the API's", "list_companies", `{"per_page":5}`, "/api/v1/companies?page=1&per_page=10"},
		{"integer as float", "list_companies", `{"page":3.0}`, "/api/v1/companies?page=3&per_page=30"},
		{"null and empty mean left out", "list_warehouses", `{"companyUuid":"a","search":"","page":null}`, "/api/v1/companies/a/warehouses?page=1&per_page=30"},
		{"other spelling of a name", "list_warehouses", `{"company_uuid":"a"}`, "/api/v1/companies/a/warehouses?page=1&per_page=30"},
		{"two names, one value", "list_warehouses", `{"company_uuid":"a","companyUuid":"a","page":2.0,"PAGE":"2"}`, "/api/v1/companies/a/warehouses?page=2&per_page=30"},
		{"two names, one left open", "list_warehouses", `{"companyUuid":"","company_uuid":"a","search":null,"q":"x"}`, "/api/v1/companies/a/warehouses?page=1&per_page=30&search=x"},
		{"one name twice, one value", "list_warehouses", `{"companyUuid":"a","companyUuid":"a"}`, "/api/v1/companies/a/warehouses?page=1&per_page=30"},
		{"one value in several forms, wrapped and beside", "bills_list", `{"params":{"companyUuid":"a","vendors":"1,2","limit":"5"},"vendors":[1,2],"limit":5}`, "/api/v1/companies/a/bills?page=1&per_page=5&vendors%5B%5D=1&vendors%5B%5D=2"},
		{"number for text", "list_warehouses", `{"companyUuid":7,"search":42}`, "/api/v1/companies/7/warehouses?page=1&per_page=30&search=42"},
		{"text for number in path", "inventory_balances", `{"companyUuid":"a","inventoryId":"17"}`, "/api/v1/companies/a/inventory-items/17/balances"},
		{"time for date", "inventory_balances", `{"companyUuid":"a","inventoryId":17,"balances_date":"2026-01-31T00:00:00.000Z"}`, "/api/v1/companies/a/inventory-items/17/balances?balances_date=2026-01-31"},
		{"lists keep all values", "revenue_and_cogs_summary", `{"start_date":"2026-01-01","company_uuids":["a","b"],"grouping":["Company","country"]}`,
			"/api/v1/revenue-and-cogs?start_date=2026-01-01&periodicity=total&grouping%5B%5D=company&grouping%5B%5D=country&company_uuids%5B%5D=a&company_uuids%5B%5D=b"},
		{"one value for a list", "revenue_and_cogs_summary", `{"start_date":"2026-01-01","company_uuids":"a","periodicity":"MONTHLY"}`,
			"/api/v1/revenue-and-cogs?start_date=2026-01-01&periodicity=monthly&company_uuids%5B%5D=a"},
		{"list as text", "bills_list", `{"companyUuid":"a","vendors":"[1, 2]"}`, "/api/v1/companies/a/bills?page=1&vendors%5B%5D=1&vendors%5B%5D=2"},
		{"list with commas", "bills_list", `{"companyUuid":"a","vendors":"1, 2"}`, "/api/v1/companies/a/bills?page=1&vendors%5B%5D=1&vendors%5B%5D=2"},
		{"listings always say per_page", "get_listings", `{"companyUuid":"a"}`, "/api/v1/companies/a/listings?page=1&per_page=30"},
		{"products always say per_page", "get_products", `{"companyUuid":"a"}`, "/api/v1/companies/a/products?page=1&per_page=30"},
		{"limit below the API's smallest page", "list_companies", `{"limit":3}`, "/api/v1/companies?page=1&per_page=10"},
		{"limit that is a page", "list_companies", `{"limit":45}`, "/api/v1/companies?page=1&per_page=45"},
		{"limit above the API's largest page", "list_companies", `{"limit":"150"}`, "/api/v1/companies?page=1&per_page=60"},
		{"limit of a list of documents", "bills_list", `{"companyUuid":"a","limit":3}`, "/api/v1/companies/a/bills?page=1&per_page=3"},
		{"limit without pages", "list_reports", `{"limit":3}`, "/api/v1/reports"},
		{"fields are not sent", "list_reports", `{"fields":["id"]}`, "/api/v1/reports"},
		{"default in a path", "get_import_instructions", `{}`, "/api/v1/import/bill/instructions"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
				if got := r.URL.RequestURI(); got != test.want {
					t.Errorf("called %s\nwant   %s", got, test.want)
				}
				if r.Method != "GET" || r.ContentLength > 0 {
					t.Errorf("%s with a body of %d bytes", r.Method, r.ContentLength)
				}
				answer(200, "application/json", `{"id":1}`)(w, r)
			})
			if result := s.call(t, test.tool, test.arguments); result.Failure != nil {
				t.Error(result.Failure.Message)
			}
			if s.calls.Load() != 1 {
				t.Errorf("%d calls", s.calls.Load())
			}
		})
	}
}

func TestBadArgumentsAreNamedAndNothingIsCalled(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	tests := []struct {
		name, tool, arguments string
		wants                 []string
	}{
		{"required", "list_warehouses", `{}`, []string{"companyUuid is required", "list_companies"}},
		{"required, empty", "list_warehouses", `{"companyUuid":""}`, []string{"companyUuid must be"}},
		{"required, null", "list_warehouses", `{"companyUuid":null}`, []string{"companyUuid is required"}},
		{"unknown", "list_companies", `{"colour":5}`, []string{`no argument is named "colour"`, "there are cursor, limit, fields"}},
		{"limit", "list_companies", `{"limit":201}`, []string{"limit must be an integer from 1 to 200, not 201"}},
		{"all at once", "revenue_and_cogs_summary", `{"end_date":"31.01.2026","periodicity":"weekly","grouping":["sku"],"country_codes":["USA"],"colour":1}`,
			[]string{"6 arguments", "start_date is required", "end_date must be a date as YYYY-MM-DD", `periodicity must be one of "total", "yearly", "quarterly", "monthly", not "weekly"`, "grouping[0] must be one of", "country_codes[0] must have 2 characters, not 3", `"colour"`}},
		{"impossible date", "inventory_balances", `{"companyUuid":"a","inventoryId":1,"balances_date":"2026-02-30"}`, []string{"balances_date must be a date"}},
		{"bounds", "list_companies", `{"page":0,"per_page":0}`, []string{"page must be an integer of at least 1, not 0", "per_page must be an integer of at least 1, not 0"}},
		{"wrapped, and beside it something else", "list_warehouses", `{"params":{"companyUuid":"a"},"companyUuid":"b"}`, []string{`companyUuid is given twice with different values, as "companyUuid" and as "companyUuid" in params`}},
		{"wrapped, and beside it another name", "list_warehouses", `{"params":{"companyUuid":"a"},"company":"b"}`, []string{`as "company" and as "companyUuid" in params; give it once`}},
		{"a company twice", "list_warehouses", `{"companyUuid":"a","company_id":296}`, []string{`as "companyUuid" and as "company_id"`}},
		{"an id twice", "bills_read", `{"companyUuid":"a","billId":5634,"bill_id":5635}`, []string{`billId is given twice with different values, as "billId" and as "bill_id"`}},
		{"an exact id and another bare one", "bills_read", `{"companyUuid":"a","billId":5635,"id":5634}`, []string{`as "billId" and as "id"`}},
		{"one name twice", "bills_read", `{"companyUuid":"a","billId":1,"billId":2}`, []string{`as "billId" and as "billId"`}},
		{"a date twice", "revenue_and_cogs_summary", `{"from":"2026-01-01","start_date":"2026-02-01"}`, []string{`start_date is given twice with different values, as "from" and as "start_date"`}},
		{"a write, two amounts", "payment_requests_update", `{"companyUuid":"a","paymentId":2,"paid_amount":1,"paidAmount":5}`, []string{`paid_amount is given twice with different values, as "paid_amount" and as "paidAmount"`}},
		{"a write, two companies", "create_product", `{"params":{"companyUuid":"a","sku":"A","name":"A"},"company":"Other"}`, []string{`companyUuid is given twice with different values`}},
		{"a wrapping that is none", "list_warehouses", `{"params":5,"companyUuid":"b"}`, []string{`no argument is named "params"`}},
		{"another wrapping that is none", "list_warehouses", `{"input":5}`, []string{`no argument is named "input"`, "companyUuid is required"}},
		{"a wrapping with a broken string", "list_warehouses", `{"params":"{","companyUuid":"b"}`, []string{"well formed"}},
		{"wrapped too often, with something beside", "list_companies", `{"limit":1,"params":{"params":{"params":{"params":{"params":{"params":{"page":1}}}}}}}`, []string{"not wrapped more than 5 times"}},
		{"a uuid for a number", "shipments_list", `{"companyUuid":"a","warehouses":["0f3c"]}`, []string{`warehouses[0] must be an integer, not "0f3c" (warehouses: Warehouse ids: the numbers in warehouse.id of documents`, "list_warehouses"}},
		{"a name for a number", "bills_read", `{"companyUuid":"a","billId":"B-77"}`, []string{`billId must be an integer, not "B-77" (billId: Bill id from bills_list)`}},
		{"a bare id that is not clear", "create_product", `{"companyUuid":"a","sku":"A","name":"A","id":7}`, []string{`no argument is named "id"`}},
		{"fraction", "list_companies", `{"page":1.5}`, []string{"page must be an integer of at least 1, not 1.5"}},
		{"boolean", "list_companies", `{"page":true}`, []string{"not true"}},
		{"object for text", "list_warehouses", `{"companyUuid":{"a":1}}`, []string{"companyUuid must be a string, not an object"}},
		{"huge integer", "get_report_data", `{"reportId":99999999999999999999999}`, []string{"reportId must be an integer"}},
		{"list at the top", "list_companies", `[1]`, []string{"must be a JSON object"}},
		{"text at the top", "list_companies", `"hello"`, []string{"must be a JSON object"}},
		{"broken JSON in a string", "list_companies", `"{\"page\":"`, []string{"must be a JSON object"}},
		{"wrapped too often", "list_companies", `{"params":{"params":{"params":{"params":{"params":{"params":{"page":1}}}}}}}`, []string{"not wrapped more than 5 times"}},
		{"data that is no object", "create_documents", `{"companyUuid":"a","data":[1]}`, []string{"data must be an object, not a list"}},
		{"kind of document", "create_documents", `{"companyUuid":"a","type":"invoice","data":{}}`, []string{`type must be "bill", not "invoice"`}},
		{"long text is not shown", "list_companies", `{"page":"` + strings.Repeat("x", 60) + `"}`, []string{"not this text"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			result := s.call(t, test.tool, test.arguments)
			if result.Failure == nil || result.Failure.Kind != InvalidArguments {
				t.Fatalf("got %+v", result)
			}
			for _, want := range test.wants {
				if !strings.Contains(result.Text, want) {
					t.Errorf("%q lacks %q", result.Text, want)
				}
			}
		})
	}
	t.Cleanup(func() {
		if n := s.calls.Load(); n != 0 {
			t.Errorf("%d calls were made", n)
		}
	})
}

func TestPathArgumentsThatClimbAreRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	for _, value := range []string{"..", ".", "%2e%2e", "a/b", "x?y", "x;y", `x\\y`, "x#y", "../../admin", "a%2fb", " a", "a ", "a\\u0000"} {
		for tool, arguments := range map[string]string{
			"list_warehouses":                `{"companyUuid":"` + value + `"}`,
			"warehouse_balances":             `{"companyUuid":"a","warehouseUuid":"` + value + `"}`,
			"check_import_processing":        `{"companyUuid":"a","requestId":"` + value + `"}`,
			"bills_read":                     `{"companyUuid":"a","billId":"` + value + `"}`,
			"list_companies_with_permission": `{"permission":"` + value + `"}`,
		} {
			if result := s.call(t, tool, arguments); result.Failure == nil || result.Failure.Kind != InvalidArguments {
				t.Errorf("%s %s: %+v", tool, arguments, result)
			}
		}
	}
	if n := s.calls.Load(); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

func TestAnswersAreShaped(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		status    int
		mediaType string
		body      string
		want      string
	}{
		{"list", 200, "application/json", `[1, 2]`, `{"data":[1,2],"total":2,"next_cursor":null}`},
		{"scalar", 200, "application/json", `"x"`, `{"value":"x"}`},
		{"plain text", 200, "text/plain; charset=utf-8", "Vendor: the \"name\"\n", `{"text":"Vendor: the \"name\""}`},
		{"byte order mark", 200, "application/json", "\ufeff{\"a\":1}", `{"a":1}`},
		{"numbers that are none", 200, "application/json", `{"a":NaN,"b":[Infinity,-Infinity],"c":"NaN \" Infinity"}`, `{"a":null,"b":[null,null],"c":"NaN \" Infinity"}`},
		{"exact digits", 200, "application/json", `{"a":1.10,"b":1e400,"c":0.1000000000000000055}`, `{"a":1.10,"b":1e400,"c":0.1000000000000000055}`},
		{"broken UTF-8", 200, "application/json", "{\"a\":\"\xff\"}", `{"a":"` + "\ufffd" + `"}`},
		{"vendor media type", 200, "application/problem+json", `{"a":1}`, `{"a":1}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, answer(test.status, test.mediaType, test.body))
			result := s.call(t, "list_reports", `{}`)
			if result.Failure != nil {
				t.Fatal(result.Failure.Message)
			}
			if string(result.Structured) != test.want || result.Text != test.want {
				t.Errorf("got %s / %s", result.Structured, result.Text)
			}
		})
	}
}

func TestFailuresSayWhatToDo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		tool    string
		handler http.HandlerFunc
		kind    FailureKind
		want    string
		retry   time.Duration
	}{
		{"401", "list_reports", answer(401, "application/json", `{"message":"Unauthenticated."}`), Unauthenticated, "Connect to NeonPanel again", 0},
		{"403", "list_warehouses", answer(403, "application/json", `{"message":"This action is unauthorized."}`), Forbidden, `refused this ("This action is unauthorized")`, 0},
		{"404", "list_warehouses", answer(404, "application/json", `{"message":"No query results for model [App\\Models\\Company]"}`), NotFound, "Check companyUuid.", 0},
		{"422", "list_warehouses", answer(422, "application/json", `{"message":"Invalid.","errors":{"search":["Too short."]}}`), Rejected, "- search: Too short.", 0},
		{"418", "list_reports", answer(418, "application/json", `{"message":"I am a teapot."}`), Unavailable, `did not carry out the call: it answered with status 418 ("I am a teapot")`, 0},
		{"429", "list_reports", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "30")
			answer(429, "application/json", `{}`)(w, r)
		}, RateLimited, "Try again in 30 seconds", 30 * time.Second},
		{"500", "list_reports", answer(500, "text/html", `<p>ErrorException in /var/www/x.php`), Unavailable, "has a problem at this moment", 0},
		{"200 as HTML", "list_reports", answer(200, "text/html", `<p>hello`), Unavailable, "has a problem at this moment", 0},
		{"cut JSON", "list_reports", answer(200, "application/json", `{"data":[1,`), Unavailable, "cannot be read", 0},
		{"no JSON", "list_reports", answer(200, "application/json", `hello`), Unavailable, "cannot be read", 0},
		{"oversize", "list_reports", answer(200, "application/json", `"`+strings.Repeat("x", 2<<20)+`"`), Unavailable, "too large", 0},
		{"redirect", "list_reports", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://example.com/", http.StatusFound)
		}, Unavailable, "has a problem", 0},
		{"write that failed", "create_documents", answer(502, "text/html", `<p>`), Unavailable, "not known whether the change was made", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, test.handler)
			arguments := `{"companyUuid":"a","data":{}}`
			switch test.tool {
			case "list_reports":
				arguments = `{}`
			case "list_warehouses":
				arguments = `{"companyUuid":"a"}`
			}
			result := s.call(t, test.tool, arguments)
			if result.Failure == nil || result.Failure.Kind != test.kind || result.Failure.RetryAfter != test.retry {
				t.Fatalf("got %+v", result.Failure)
			}
			if !strings.Contains(result.Text, test.want) {
				t.Errorf("%q lacks %q", result.Text, test.want)
			}
			for _, leak := range []string{"App\\Models", "/var/www", "<p>"} {
				if strings.Contains(result.Text, leak) {
					t.Errorf("%q shows %s", result.Text, leak)
				}
			}
		})
	}
}

func TestCancellationIsItsOwnKind(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	s := newStage(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	result := s.runner.Run(ctx, s.tool(t, "list_reports"), nil, Caller{Bearer: token})
	if result.Failure == nil || result.Failure.Kind != Canceled {
		t.Errorf("got %+v", result)
	}
}

type panicking struct{}

func (panicking) Do(context.Context, neonpanel.Request) (*neonpanel.Response, error) {
	panic("secret: " + token)
}

func TestPanicIsAFailure(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	s.runner = New(panicking{}, Options{})
	if result := s.call(t, "list_reports", `{}`); result.Failure == nil || result.Failure.Kind != Internal {
		t.Errorf("got %+v", result)
	}
}

func TestDocumentsAreCreatedFromExactJSON(t *testing.T) {
	t.Parallel()
	const data = `{"ref_number":"B-1","details":[{"service_id":1,"quantity":2,"rate":10.50}]}`
	s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" || r.URL.RequestURI() != "/api/v1/companies/a/create/bill" || r.Header.Get("Content-Type") != "application/json" || string(body) != `{"data":`+data+`}` {
			t.Errorf("%s %s %s: %s", r.Method, r.URL, r.Header.Get("Content-Type"), body)
		}
		answer(200, "application/json", `{"status":"done"}`)(w, r)
	})
	for _, arguments := range []string{`{"companyUuid":"a","type":"bill","data":` + data + `}`, fmt.Sprintf(`{"companyUuid":"a","data":%q}`, data)} {
		if result := s.call(t, "create_documents", arguments); result.Failure != nil {
			t.Error(result.Text)
		}
	}
}

func TestPDFArrivesAndTheNextCallIsNamed(t *testing.T) {
	t.Parallel()
	pdf := "%PDF-1.7 \x00\xff with bytes, and with more of them than stand in one line of a mail"
	encoded := base64.StdEncoding.EncodeToString([]byte(pdf))
	accept := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "15")
		w.Header().Set("X-Request-Id", "from-the-header")
		answer(202, "application/json", `{"request_id":"r-1","status":"queued"}`)(w, r)
	}
	t.Run("content", func(t *testing.T) {
		t.Parallel()
		for _, content := range []string{encoded, strings.TrimRight(encoded, "="), "data:application/pdf;base64," + encoded, base64.URLEncoding.EncodeToString([]byte(pdf)),
			wrapped(encoded, `\n`), wrapped(encoded, " "), `\r\n` + encoded[:10] + `\t` + encoded[10:], "data:application/pdf;base64," + wrapped(encoded, `\r\n`)} {
			s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if r.Method != "POST" || r.URL.RequestURI() != "/api/v1/companies/a/import/bill/pdf?filename=my+bill.pdf" || r.Header.Get("Content-Type") != "application/pdf" || string(body) != pdf {
					t.Errorf("%s %s %s: %q", r.Method, r.URL, r.Header.Get("Content-Type"), body)
				}
				accept(w, r)
			})
			result := s.call(t, "create_documents_by_pdf", `{"companyUuid":"a","fileName":"my bill.pdf","content":"`+content+`"}`)
			if result.Failure != nil {
				t.Fatal(result.Text)
			}
			const want = `{"request_id":"r-1","status":"queued","_next":{"tool":"check_import_processing","arguments":{"companyUuid":"a","type":"bill","requestId":"r-1"},"after_seconds":15}}`
			if string(result.Structured) != want {
				t.Errorf("structured %s", result.Structured)
			}
			if want := `Wait 15 seconds, then call check_import_processing with {"companyUuid":"a","type":"bill","requestId":"r-1"}.`; !strings.Contains(result.Text, want) {
				t.Errorf("text %s", result.Text)
			}
		}
	})
	t.Run("link", func(t *testing.T) {
		t.Parallel()
		s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.URL.RequestURI() != "/api/v1/companies/a/import/bill/pdf" || r.Header.Get("Content-Type") != "application/json" ||
				string(body) != `{"file":{"name":"b.pdf","link":"https://files.neonpanel.com/b.pdf?sig=1"}}` {
				t.Errorf("%s %s: %s", r.URL, r.Header.Get("Content-Type"), body)
			}
			accept(w, r)
		})
		if result := s.call(t, "create_documents_by_pdf", `{"companyUuid":"a","fileName":"b.pdf","link":"https://files.neonpanel.com/b.pdf?sig=1"}`); result.Failure != nil {
			t.Error(result.Text)
		}
	})
	t.Run("an answer without the id", func(t *testing.T) {
		t.Parallel()
		s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Request-Id", "from-the-header")
			answer(202, "application/json", `{}`)(w, r)
		})
		result := s.call(t, "create_documents_by_pdf", `{"companyUuid":"a","fileName":"b.pdf","link":"https://files.neonpanel.com/b.pdf"}`)
		if !strings.Contains(string(result.Structured), `"requestId":"from-the-header"`) || !strings.Contains(result.Text, "Wait 15 seconds") {
			t.Errorf("got %s", result.Text)
		}
	})
	t.Run("still processing", func(t *testing.T) {
		t.Parallel()
		s := newStage(t, answer(202, "application/json", `{"request_id":"r-1","status":"processing"}`))
		result := s.call(t, "check_import_processing", `{"companyUuid":"a","requestId":"r-1"}`)
		if !strings.Contains(result.Text, `Wait 5 seconds, then call check_import_processing with {"companyUuid":"a","type":"bill","requestId":"r-1"}`) {
			t.Errorf("got %s", result.Text)
		}
	})
	t.Run("finished", func(t *testing.T) {
		t.Parallel()
		s := newStage(t, answer(200, "application/json", `{"request_id":"r-1","status":"done","documents":[]}`))
		if result := s.call(t, "check_import_processing", `{"companyUuid":"a","requestId":"r-1"}`); strings.Contains(result.Text, "Wait") || strings.Contains(result.Text, nextMember) {
			t.Errorf("got %s", result.Text)
		}
	})
}

// wrapped is base64 in lines, as RFC 2045 has it.
func wrapped(encoded, end string) string {
	var b strings.Builder
	for len(encoded) > 76 {
		b.WriteString(encoded[:76] + end)
		encoded = encoded[76:]
	}
	return b.String() + encoded + end
}

// How large a file may be is said of the file, whatever stands around it and
// between its lines.
func TestTheLargestFileIsTakenHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	tool := s.tool(t, "create_documents_by_pdf")
	operation := tool.Operation
	operation.Upload = &catalogue.Upload{MaxBytes: 300, Magic: "%PDF-", LinkArgument: "link", ContentArgument: "content", NameArgument: "fileName"}
	operation.Parameters = slices.Clone(operation.Parameters)
	for i := range operation.Parameters {
		if p := &operation.Parameters[i]; p.Argument == "content" {
			longest := int64(400)
			p.Schema = &catalogue.Schema{Type: "string", MaxLength: &longest}
		}
	}
	tool.Operation = operation
	for size, want := range map[int]string{300: "", 301: "content must be a file of at most 300 bytes; use link for a larger one", 3000: "at most 300 bytes; use link"} {
		pdf := "%PDF-" + strings.Repeat("x", size-5)
		encoded := base64.StdEncoding.EncodeToString([]byte(pdf))
		for name, content := range map[string]string{
			"plain": encoded, "in lines": wrapped(encoded, "\n"), "in lines of others": wrapped(encoded, "\r\n"), "with spaces": " " + wrapped(encoded, " "),
			"a data URL": "data:application/pdf;base64," + encoded, "a data URL in lines": "data:application/pdf;base64," + wrapped(encoded, "\r\n"),
		} {
			arguments, _ := json.Marshal(map[string]string{"companyUuid": "a", "fileName": "b.pdf", "content": content})
			given, _, faults := readArguments(&tool, arguments)
			var body []byte
			if len(faults) == 0 {
				request, wrong := buildRequest(&tool, given)
				body, faults = request.Body, wrong
			}
			if fault := strings.Join(faults, ";"); want == "" && (fault != "" || string(body) != pdf) || !strings.Contains(fault, want) {
				t.Errorf("%d bytes, %s: %q", size, name, fault)
			}
		}
	}
}

func TestBadUploadsAreRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	encode := func(content string) string { return base64.StdEncoding.EncodeToString([]byte(content)) }
	for name, test := range map[string]struct{ arguments, want string }{
		"neither":       {`"fileName":"b.pdf"`, "exactly one of link and content"},
		"both":          {`"fileName":"b.pdf","link":"https://a.example.com/","content":"` + encode("%PDF-1") + `"`, "exactly one"},
		"no name":       {`"content":"` + encode("%PDF-1") + `"`, "fileName is required"},
		"folders":       {`"fileName":"../b.pdf","content":"` + encode("%PDF-1") + `"`, "plain file name"},
		"a folder":      {`"fileName":"..","content":"` + encode("%PDF-1") + `"`, "plain file name"},
		"this folder":   {`"fileName":".","link":"https://files.neonpanel.com/b.pdf"`, "plain file name"},
		"no PDF":        {`"fileName":"b.pdf","content":"` + encode("PK zip") + `"`, "begins with %PDF-"},
		"no base64":     {`"fileName":"b.pdf","content":"%PDF-1.7"`, "must be base64"},
		"no base64 URL": {`"fileName":"b.pdf","content":"data:application/pdf,%PDF"`, "must be base64"},
		"too large":     {`"fileName":"b.pdf","content":"` + encode("%PDF-"+strings.Repeat("x", 3_000_000-4)) + `"`, "content must be a file of at most 3000000 bytes; use link for a larger one"},
		"bad link":      {`"fileName":"b.pdf","link":"http://a.neonpanel.com/"`, "https link"},
	} {
		result := s.call(t, "create_documents_by_pdf", `{"companyUuid":"a",`+test.arguments+`}`)
		if result.Failure == nil || result.Failure.Kind != InvalidArguments || !strings.Contains(result.Text, test.want) {
			t.Errorf("%s: %.300s", name, result.Text)
		}
	}
	if n := s.calls.Load(); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

func TestLinksMustLeadToAPublicHost(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"https://files.neonpanel.com/a.pdf", "https://files.neonpanel.com:443/a", "https://bucket.s3.eu-west-1.amazonaws.com/k?X-Amz-Signature=abc", "https://xn--bcher-kva.com/a", "https://1.files.co/a"} {
		if fault := checkLink(good); fault != "" {
			t.Errorf("%s: %s", good, fault)
		}
	}
	for _, bad := range []string{
		"", "http://files.neonpanel.com/", "ftp://files.neonpanel.com/", "//files.neonpanel.com/", "files.neonpanel.com",
		"https://user@files.neonpanel.com/", "https://user:pass@files.neonpanel.com/", "https://files.neonpanel.com:8443/", "https://files.neonpanel.com:/",
		"https://127.0.0.1/", "https://169.254.169.254/latest", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://2130706433/", "https://127.1/", "https://0x7f.0.0.1/", "https://0177.0.0.1/",
		"https://localhost/", "https://intranet/", "https://db.internal/", "https://printer.local/", "https://a.localhost/", "https://1.0.0.127.in-addr.arpa/",
		"https://a..com/", "https://.com/", "https://a.com./", "https://-a.com/", "https://a_b.com/", "https://ü.com/", "https://a%2ecom/", "https:a.com/x", "https://a.com/x#y", "https://a.com\\@b.com/", "javascript:alert(1)",
	} {
		if checkLink(bad) == "" {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestACallerNeverPrintsItsToken(t *testing.T) {
	t.Parallel()
	c := Caller{Bearer: "secret", Subject: "46", ClientID: "chat"}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v", c, c), string(asJSON)} {
		if strings.Contains(printed, "secret") || !strings.Contains(printed, "46") {
			t.Errorf("printed %s", printed)
		}
	}
}
