package toolcall

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/writes"
)

// minimal are arguments with which a tool can be called: every required one, and
// one of the body.
func minimal(t catalogue.Tool) map[string]any {
	arguments := map[string]any{}
	given := false
	for _, p := range t.Operation.Parameters {
		inBody := p.In == catalogue.InBody && !given
		if p.Required || inBody || p.Argument == "content" {
			arguments[p.Argument] = sample(p.Schema)
			given = given || p.In == catalogue.InBody
		}
	}
	if _, ok := arguments["content"]; ok {
		arguments["content"] = "JVBERi0x"
	}
	return arguments
}

func sample(s *catalogue.Schema) any {
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Format == "date":
		return "2026-01-31"
	case s.Type == "integer", s.Type == "number":
		return 7
	case s.Type == "boolean":
		return true
	case s.Type == "object":
		members := map[string]any{}
		for _, p := range s.Properties {
			members[p.Name] = sample(p.Schema)
		}
		return members
	case s.Type == "array":
		return []any{sample(s.Items)}
	case s.MaxLength != nil && *s.MaxLength < 7:
		return strings.Repeat("A", int(*s.MaxLength))
	case s.Pattern != nil:
		return "1;1;1;1;1;1;1;1;1;1;1;1"
	}
	return "value-7"
}

func encode(t testing.TB, arguments map[string]any, more ...any) string {
	t.Helper()
	all := map[string]any{}
	for name, value := range arguments {
		all[name] = value
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i].(string)] = more[i+1]
	}
	raw, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// writing are the tools that change something.
func writing(t testing.TB) []catalogue.Tool {
	t.Helper()
	tools, err := loadTools()
	if err != nil {
		t.Fatal(err)
	}
	var out []catalogue.Tool
	for _, tool := range tools.Tools() {
		if !tool.ReadOnly {
			out = append(out, tool)
		}
	}
	if len(out) != 23 {
		t.Errorf("%d tools write", len(out))
	}
	return out
}

// request is what the API was asked, without the caller's token.
func request(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	return r.Method + " " + r.URL.RequestURI() + " " + string(body)
}

func TestEveryWriteReachesTheAPIOnceAndWithoutTheGatewaysArguments(t *testing.T) {
	t.Parallel()
	for _, tool := range writing(t) {
		t.Run(tool.Name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, request(r))
				w.Header().Set("Content-Type", "application/json")
				if r.Method == http.MethodDelete {
					w.WriteHeader(http.StatusNoContent)
					return
				}
				_, _ = fmt.Fprintf(w, `{"id":%d}`, len(asked))
			})
			arguments := minimal(tool)
			preview := s.call(t, tool.Name, encode(t, arguments, "dry_run", true, "repeat", true))
			if preview.Failure != nil || preview.Outcome != DryRun || len(asked) != 0 || !strings.Contains(preview.Text, "Nothing was sent") {
				t.Fatalf("a dry run called %v: %+v", asked, preview)
			}
			first := s.call(t, tool.Name, encode(t, arguments, "dry_run", false, "repeat", false))
			if first.Failure != nil || first.Outcome != "" || len(asked) != 1 {
				t.Fatalf("asked %v: %+v", asked, first)
			}
			if strings.Contains(asked[0], "repeat") || strings.Contains(asked[0], "dry_run") {
				t.Errorf("an argument of the gateway was forwarded: %s", asked[0])
			}
			var shown struct {
				DryRun  bool `json:"dry_run"`
				Request struct {
					Method, Path string
					Body         json.RawMessage
				}
			}
			if err := json.Unmarshal(preview.Structured, &shown); err != nil || !shown.DryRun {
				t.Fatalf("%v %s", err, preview.Structured)
			}
			if !strings.HasPrefix(asked[0], shown.Request.Method+" "+shown.Request.Path) {
				t.Errorf("the dry run showed %s, sent was %s", preview.Structured, asked[0])
			}
			if body := string(shown.Request.Body); tool.Operation.Upload == nil && body != "" && !strings.HasSuffix(asked[0], " "+body) {
				t.Errorf("the dry run showed %s, sent was %s", body, asked[0])
			}
			second := s.call(t, tool.Name, encode(t, arguments))
			if second.Failure != nil || second.Outcome != FirstResult || len(asked) != 1 ||
				!strings.Contains(string(second.Structured), `"_first_result":{"seconds_ago":0}`) || !strings.Contains(second.Text, "Nothing was sent") {
				t.Errorf("a second call: asked %v: %+v", asked, second)
			}
			if third := s.call(t, tool.Name, encode(t, arguments, "repeat", true)); third.Failure != nil || third.Outcome != "" || len(asked) != 2 {
				t.Errorf("a repeated call: asked %v: %+v", asked, third)
			}
			if asked[0] != asked[1] {
				t.Errorf("the repetition differs: %s, %s", asked[0], asked[1])
			}
		})
	}
}

// Incident: a path argument that climbs, or that ends the path.
func TestNoPathArgumentLeavesItsSegment(t *testing.T) {
	t.Parallel()
	tools, err := loadTools()
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t, answer(200, "application/json", `{}`))
	tried := 0
	for _, tool := range tools.Tools() {
		for _, p := range tool.Operation.Parameters {
			if p.In != catalogue.InPath {
				continue
			}
			for _, bad := range []string{"..", ".", "%2e%2e", "%2E%2e", "a/b", "a%2fb", "x?y", "x;y", `x\y`, "x#y", "", " ", "x y", "x\ny", "ä", strings.Repeat("a", 129)} {
				tried++
				for _, more := range [][]any{{}, {"dry_run", true}} {
					if tool.ReadOnly && len(more) > 0 {
						continue
					}
					result := s.call(t, tool.Name, encode(t, minimal(tool), append(more, p.Argument, bad)...))
					if result.Failure == nil && p.Schema.Default != nil && bad == "" {
						continue // left open, and so the default
					}
					if result.Failure == nil || result.Failure.Kind != InvalidArguments || !strings.Contains(result.Text, p.Argument) {
						t.Errorf("%s with %s=%q: %+v", tool.Name, p.Argument, bad, result)
					}
				}
			}
		}
	}
	if n := s.calls.Load(); n > 20 || tried < 500 {
		t.Errorf("%d calls of the API, %d tried", n, tried)
	}
}

func TestSimilarWritesAreTheSameAndOthersAreNot(t *testing.T) {
	t.Parallel()
	const first = `{"companyUuid":"ab12","ref_number":"R-1","details":[{"service_id":1,"quantity":2,"amount":10.50}]}`
	for name, test := range map[string]struct {
		second string
		sent   int32
	}{
		"space and order":      {`{ "details": [ {"amount": 10.5, "quantity": 2, "service_id": 1} ], "ref_number": "R-1", "companyUuid": "ab12" }`, 1},
		"other spelling":       {`{"company_uuid":"ab12","refNumber":"R-1","details":[{"service_id":1,"quantity":2,"amount":10.50}]}`, 1},
		"wrapped":              {`{"params":` + first + `}`, 1},
		"as a string":          {string(marshal(first)), 1},
		"nulls":                {`{"companyUuid":"ab12","ref_number":"R-1","name":null,"market":"","details":[{"service_id":1,"quantity":2,"amount":10.50}]}`, 1},
		"an exponent":          {strings.Replace(first, "10.50", "105e-1", 1), 1},
		"another exponent":     {strings.Replace(first, "10.50", "0.00105E+4", 1), 1},
		"an exponent's amount": {strings.Replace(first, "10.50", "105e-2", 1), 2},
		"another amount":       {strings.Replace(first, "10.50", "10.51", 1), 2},
		"another line":         {strings.Replace(first, "}]", `},{"service_id":1,"quantity":2,"amount":10.50}]`, 1), 2},
		"another company":      {strings.Replace(first, "ab12", "ab13", 1), 2},
		"another argument":     {strings.Replace(first, `"R-1"`, `"R-1","name":"x"`, 1), 2},
		"on purpose":           {strings.Replace(first, `"R-1"`, `"R-1","repeat":"true"`, 1), 2},
		"not even once wanted": {strings.Replace(first, `"R-1"`, `"R-1","dry_run":true`, 1), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, answer(200, "application/json", `{"id":1}`))
			for _, arguments := range []string{first, test.second} {
				if result := s.call(t, "invoices_create", arguments); result.Failure != nil {
					t.Fatal(result.Text)
				}
			}
			if n := s.calls.Load(); n != test.sent {
				t.Errorf("sent %d times, want %d", n, test.sent)
			}
		})
	}
}

func TestWritesAreKeptApartByCaller(t *testing.T) {
	t.Parallel()
	s := newStage(t, answer(200, "application/json", `{"id":1}`))
	tool := s.tool(t, "create_product")
	arguments := json.RawMessage(`{"companyUuid":"ab12","sku":"A","name":"A"}`)
	for i, c := range []Caller{
		{Subject: "46", ClientID: "a"}, {Subject: "47", ClientID: "a"}, {Subject: "48", ClientID: "b"},
		{Subject: "46", ClientID: "a", Bearer: "a fresher token"}, {Subject: "46", ClientID: "another"},
	} {
		result := s.runner.Run(t.Context(), tool, arguments, c)
		if same := i >= 3; result.Failure != nil || (result.Outcome == FirstResult) != same {
			t.Errorf("caller %d: %+v", i, result)
		}
	}
	if n := s.calls.Load(); n != 3 {
		t.Errorf("sent %d times", n)
	}
}

// A repetition that the API refuses changes nothing about what was made before.
func TestARefusedRepetitionDoesNotForgetTheFirst(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first, repeated int
		want            string
	}{
		"made, then rate limited":    {200, 429, "this is the result of the same call"},
		"perhaps made, then refused": {503, 422, "not known whether the change was made"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int32
			s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
				status := []int{test.first, test.repeated, 200}[min(n.Add(1)-1, 2)]
				answer(status, "application/json", `{"id":1}`)(w, r)
			})
			const arguments = `{"companyUuid":"ab12","ref_number":"R-1"}`
			s.call(t, "bills_create", arguments)
			if r := s.call(t, "bills_create", strings.Replace(arguments, "{", `{"repeat":true,`, 1)); r.Failure == nil || n.Load() != 2 {
				t.Fatalf("%+v", r)
			}
			if r := s.call(t, "bills_create", arguments); !strings.Contains(r.Text, test.want) || n.Load() != 2 {
				t.Errorf("sent %d times: %+v", n.Load(), r)
			}
		})
	}
}

func TestNumbersHaveOneForm(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"10.5", "105e-1", "1.05E1", "1.05e+01", "10.50", "0.105e2", "10500e-3"},
		{"0", "-0", "0.0", "0e99999999999999999999", "0E-1"},
		{"100", "1e2", "100.0", "1E+2"},
		{"-0.001", "-1e-3", "-0.0010"},
		{"1e99999999999999999999999", "10e99999999999999999999998", "0.1e100000000000000000000000"},
		{"105"}, {"1.05"}, {"-10.5"}, {"9007199254740993"}, {"9007199254740992"}, {"10.500000000000000000000000000001"}, {"1e-2"},
	} {
		for _, number := range same {
			if got := canonicalNumber(number); got != canonicalNumber(same[0]) {
				t.Errorf("%s is %s, %s is %s", number, got, same[0], canonicalNumber(same[0]))
			}
		}
	}
	seen := map[string]string{}
	for _, number := range []string{"10.5", "0", "100", "-0.001", "105", "1.05", "-10.5", "9007199254740993", "9007199254740992", "10.500000000000000000000000000001", "1e-2", "-100", "1e3"} {
		form := canonicalNumber(number)
		if other, ok := seen[form]; ok {
			t.Errorf("%s and %s are both %s", number, other, form)
		}
		seen[form] = number
	}
}

func TestAWriteIsNeverRetried(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		kind    FailureKind
		unknown bool
	}{
		"500": {answer(500, "text/html", "<html>stack trace</html>"), Unavailable, true},
		"502": {answer(502, "text/html", "<html>"), Unavailable, true},
		"503": {answer(503, "application/json", `{}`), Unavailable, true},
		"503 with a time": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "7")
			answer(503, "application/json", `{}`)(w, r)
		}, Unavailable, true},
		"200 HTML":    {answer(200, "text/html", "<html>"), Unavailable, true},
		"broken JSON": {answer(200, "application/json", `{"id":`), Unavailable, true},
		"too large":   {answer(200, "application/json", `{"x":"`+strings.Repeat("x", 2<<20)+`"}`), Unavailable, true},
		"redirect":    {answer(302, "text/html", ""), Unavailable, true},
		"reset":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Unavailable, true},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
		}, Unavailable, true},
		"unauthorized": {answer(401, "application/json", `{}`), Unauthenticated, false},
		"forbidden":    {answer(403, "application/json", `{"message":"No"}`), Forbidden, false},
		"not found":    {answer(404, "application/json", `{}`), NotFound, false},
		"locked date":  {answer(400, "application/json", `{"message":"The date is in a locked period"}`), Rejected, false},
		"invalid":      {answer(422, "application/json", `{"message":"x","errors":{"details.0.quantity":["too small"]}}`), Rejected, false},
		"rate limited": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "1")
			answer(429, "application/json", `{}`)(w, r)
		}, RateLimited, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, test.answer)
			const arguments = `{"companyUuid":"ab12","ref_number":"R-1"}`
			first := s.call(t, "shipments_create", arguments)
			if first.Failure == nil || first.Failure.Kind != test.kind || s.calls.Load() != 1 {
				t.Fatalf("sent %d times: %+v", s.calls.Load(), first.Failure)
			}
			if strings.Contains(first.Text, "not known whether") != test.unknown || test.unknown && first.Failure.RetryAfter != 0 {
				t.Errorf("the first failure: %+v", first.Failure)
			}
			second := s.call(t, "shipments_create", arguments)
			if second.Failure == nil || second.Failure.Kind != test.kind {
				t.Fatalf("%+v", second)
			}
			want := int32(2)
			if test.unknown {
				want = 1
				if !strings.Contains(second.Text, "repeat") || !strings.Contains(second.Text, "not known whether") {
					t.Errorf("the second failure: %s", second.Text)
				}
			}
			if s.calls.Load() != want {
				t.Errorf("sent %d times, want %d", s.calls.Load(), want)
			}
			s.call(t, "shipments_create", strings.Replace(arguments, "{", `{"repeat":true,`, 1))
			if s.calls.Load() != want+1 {
				t.Errorf("a repetition on purpose was not sent")
			}
		})
	}
}

func TestACancelledWriteIsNotMadeAgainBlindly(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	var n atomic.Int32
	s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			close(arrived)
			<-release
		}
		answer(200, "application/json", `{"id":1}`)(w, r)
	})
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan Result)
	const arguments = `{"companyUuid":"ab12","sku":"A","name":"A"}`
	go func() {
		done <- s.runner.Run(ctx, s.tool(t, "create_product"), json.RawMessage(arguments), Caller{Bearer: token})
	}()
	<-arrived
	cancel()
	if r := <-done; r.Failure == nil || r.Failure.Kind != Canceled || !strings.Contains(r.Text, "not known whether") {
		t.Errorf("%+v", r)
	}
	if r := s.call(t, "create_product", arguments); r.Failure == nil || !strings.Contains(r.Text, "cancelled while it ran") || n.Load() != 1 {
		t.Errorf("%+v", r)
	}
}

func TestSimultaneousWritesAreSentOnce(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		answer(200, "application/json", `{"id":1}`)(w, r)
	})
	var wait sync.WaitGroup
	results := make(chan Result, 8)
	for range 8 {
		wait.Go(func() { results <- s.call(t, "create_product", `{"companyUuid":"ab12","sku":"A","name":"A"}`) })
	}
	<-arrived
	close(release)
	wait.Wait()
	close(results)
	first := 0
	for r := range results {
		if r.Failure != nil || !strings.Contains(string(r.Structured), `"id":1`) {
			t.Errorf("%+v", r)
		}
		if r.Outcome == "" {
			first++
		}
	}
	if first != 1 || s.calls.Load() != 1 {
		t.Errorf("%d were the first, sent %d times", first, s.calls.Load())
	}
}

func TestDescriptionsTellHowLongACallIsKeptAndFollowed(t *testing.T) {
	t.Parallel()
	for _, tool := range writing(t) {
		text := strings.ToLower(tool.Description)
		if strings.Contains(text, "creates a second") && (!strings.Contains(text, "two minutes") || writes.Keep != 2*time.Minute) {
			t.Errorf("%s: %s", tool.Name, tool.Description)
		}
		follows := tool.Operation.Next != nil && tool.Operation.Next.Tool != tool.Name
		if follows != strings.Contains(text, fmt.Sprintf("waits up to %.0f seconds", Followed.Seconds())) || strings.Contains(text, "at once") {
			t.Errorf("%s, which is followed up: %v: %s", tool.Name, follows, tool.Description)
		}
	}
}

func TestAnUpdateMustChangeSomething(t *testing.T) {
	t.Parallel()
	s := newStage(t, answer(200, "application/json", `{}`))
	for _, tool := range writing(t) {
		if tool.Operation.Method != http.MethodPut {
			continue
		}
		arguments := map[string]any{}
		for _, p := range tool.Operation.Parameters {
			switch p.In {
			case catalogue.InPath:
				arguments[p.Argument] = sample(p.Schema)
			case catalogue.InBody:
				arguments[p.Argument] = nil // as models do for what they leave open
			}
		}
		r := s.call(t, tool.Name, encode(t, arguments))
		if r.Failure == nil || r.Failure.Kind != InvalidArguments || !strings.Contains(r.Text, "at least one of") {
			t.Errorf("%s: %+v", tool.Name, r)
		}
	}
	if s.calls.Load() != 0 {
		t.Error("the API was called")
	}
}

func TestAFieldIsEmptiedOnPurposeOnly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ arguments, body, fault string }{
		"null leaves it":     {`"name":null,"tracking_number":"1Z","items":null`, `{"tracking_number":"1Z"}`, ""},
		"one":                {`"clear":["tracking_number"]`, `{"tracking_number":null}`, ""},
		"not as a list":      {`"clear":"tracking_number"`, `{"tracking_number":null}`, ""},
		"beside a change":    {`"name":"x","clear":["date_shipment_arrived"]`, `{"name":"x","date_shipment_arrived":null}`, ""},
		"the empty list":     {`"clear":[]`, "", "at least one of"},
		"both":               {`"name":"x","clear":["name"]`, "", "name is both given and to be emptied"},
		"not a field":        {`"clear":["ref_number"]`, "", "clear[0] must be one of"},
		"lines are replaced": {`"clear":["items"]`, "", "clear[0] must be one of"},
		"all lines":          {`"items":[]`, `{"items":[]}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var body string
			s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
				raw, _ := io.ReadAll(r.Body)
				body = string(raw)
				answer(200, "application/json", `{"id":1}`)(w, r)
			})
			r := s.call(t, "shipments_update", `{"companyUuid":"ab12","shipmentId":3,`+test.arguments+`}`)
			if (r.Failure != nil) != (test.fault != "") || body != test.body || !strings.Contains(r.Text, test.fault) {
				t.Errorf("sent %s: %s", body, r.Text)
			}
		})
	}
	for _, tool := range writing(t) {
		if tool.Operation.Method != http.MethodPut && strings.Contains(string(tool.InputSchema), `"clear"`) {
			t.Errorf("%s has fields to clear", tool.Name)
		}
		if strings.Contains(string(tool.InputSchema), `"null"`) && tool.Operation.Method == http.MethodPut && !strings.Contains(string(tool.InputSchema), `"inventory_id":{"type":["integer","null"]`) {
			t.Errorf("%s offers null: %s", tool.Name, tool.InputSchema)
		}
	}
}

// NeonPanel drops links of another type than the first without an error.
func TestLinksOfABillAreOfOneType(t *testing.T) {
	t.Parallel()
	s := newStage(t, answer(200, "application/json", `{"id":1}`))
	for _, tool := range []string{"bills_create", "bills_update"} {
		for documents, fine := range map[string]bool{
			`[]`:                           true,
			`[{"type":"Shipment","id":1}]`: true,
			`[{"type":"Shipment","id":1},{"type":"Shipment","id":2}]`:       true,
			`[{"type":"Shipment","id":1},{"type":"InventoryOrder","id":2}]`: false,
		} {
			arguments := `{"companyUuid":"ab12","name":"x","documents":` + documents
			if tool == "bills_update" {
				arguments += `,"billId":3`
			}
			r := s.call(t, tool, arguments+"}")
			if (r.Failure == nil) != fine || !fine && !strings.Contains(r.Text, "documents must have the same type") {
				t.Errorf("%s %s: %s", tool, documents, r.Text)
			}
		}
	}
	if n := s.calls.Load(); n != 6 {
		t.Errorf("%d calls", n)
	}
}

func TestEveryFaultOfALineIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t, nil)
	r := s.call(t, "inventory_orders_create", `{"currency":"EURO","date_order_placed":"31.1.2026","vendor":3,
		"details":[{"inventory_id":"x","quantity":0,"price":"cheap","sku":"A"},{"quantity":1}]}`)
	if r.Failure == nil || s.calls.Load() != 0 {
		t.Fatalf("%+v", r)
	}
	for _, want := range []string{
		"companyUuid is required", "currency must have 3 characters, not 4", "date_order_placed must be a date", `no argument is named "vendor"`, "vendor_id",
		"details[0].inventory_id must be an integer", "details[0].quantity must be an integer of at least 1", "details[0].price must be a number",
		`details[0] has no member "sku"`, "details[1].inventory_id is required", "details[1].price is required",
	} {
		if !strings.Contains(r.Text, want) {
			t.Errorf("%q is missing from:\n%s", want, r.Text)
		}
	}
}

func TestDestructiveWritesAskFirstWhereTheyCan(t *testing.T) {
	t.Parallel()
	for _, tool := range writing(t) {
		t.Run(tool.Name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, answer(200, "application/json", `{}`))
			arguments := json.RawMessage(encode(t, minimal(tool)))
			type question struct {
				text   string
				digest [32]byte
			}
			var asked []question
			run := func(consent Consent) Result {
				ctx := WithAsk(t.Context(), func(q Question) Consent {
					asked = append(asked, question{q.Text(), q.Digest})
					return consent
				})
				return s.runner.Run(ctx, tool, arguments, Caller{Bearer: token})
			}
			for _, consent := range []Consent{Pending, Declined} {
				r := run(consent)
				if !tool.Destructive {
					if r.Failure != nil || len(asked) > 0 {
						t.Errorf("asked %v: %+v", asked, r)
					}
					return
				}
				if r.Failure == nil || r.Failure.Kind != Unconfirmed || s.calls.Load() != 0 {
					t.Fatalf("consent %v: %+v", consent, r)
				}
			}
			if r := run(Given); r.Failure != nil || s.calls.Load() != 1 {
				t.Errorf("%+v", r)
			}
			if len(asked) != 3 || asked[0] != asked[2] || !strings.Contains(asked[0].text, tool.Title) || !strings.Contains(asked[0].text, "companyUuid: value-7") {
				t.Errorf("asked %v", asked)
			}
			if strings.Contains(asked[0].text, token) {
				t.Error("the question holds the token")
			}
		})
	}
}

// FuzzCanonicalJSON: equal values have one form, and the form is stable.
func FuzzCanonicalJSON(f *testing.F) {
	for _, s := range []string{`{"b":1.50,"a":[1,2.0,null,"x"]}`, `1e999999999`, `{"a":{"a":{}}}`, `"\u00e4"`, `[1.0000000000000000000000001]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		once := canonicalJSON(raw)
		var indented any
		decoder := json.NewDecoder(strings.NewReader(string(raw)))
		decoder.UseNumber()
		if decoder.Decode(&indented) != nil || decoder.More() {
			return
		}
		spaced, err := json.MarshalIndent(indented, " ", "\t")
		if err != nil {
			return
		}
		if twice := canonicalJSON(spaced); string(once) != string(twice) && json.Valid(raw) {
			t.Errorf("%s and %s", once, twice)
		}
	})
}
