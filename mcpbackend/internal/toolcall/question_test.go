package toolcall

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// lines are lines of a bill.
func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"service_id":%d,"quantity":2,"rate":10.05}`, i+1)
	}
	return "[" + strings.TrimPrefix(b.String(), ",") + "]"
}

func TestAQuestionShowsAllThatChanges(t *testing.T) {
	t.Parallel()
	api := &books{answers: map[string]string{"bills.read": `{"id":7,"ref_number":"BM-77"}`}}
	question := ask(t, api, directory{}, "bills_update", `{"companyUuid":"ab12","billId":7,"name":"`+strings.Repeat("n", 250)+`","details":`+lines(11)+`}`, Caller{Bearer: token})
	for _, want := range []string{
		"\nname: " + strings.Repeat("n", 250) + "\n", "\ndetails (11):\n  1. service_id: 1, quantity: 2, rate: 10.05\n",
		"\n  11. service_id: 11, quantity: 2, rate: 10.05",
	} {
		if !strings.Contains(question, want) {
			t.Errorf("%q is missing from %q", want, question)
		}
	}
	if strings.Contains(question, "…") {
		t.Errorf("something is cut: %q", question)
	}
}

func TestAQuestionSaysWhatItDoesNotShow(t *testing.T) {
	t.Parallel()
	api := &books{answers: map[string]string{"bills.read": `{"id":7,"ref_number":"BM-77"}`}}
	question := ask(t, api, directory{}, "bills_update", `{"companyUuid":"ab12","billId":7,"name":"`+strings.Repeat("n", 250)+`","details":`+lines(300)+`}`, Caller{Bearer: token})
	if len(question) > longestQuestion+500 || len(question) < longestQuestion-500 {
		t.Errorf("%d bytes", len(question))
	}
	shown := strings.Count(question, "service_id: ")
	rest := 300 - shown
	cents := rest * 2010
	for _, want := range []string{
		"\ndetails (300):\n  1. service_id: 1, ", fmt.Sprintf("\n  %d. service_id: %d, ", shown, shown),
		fmt.Sprintf("\n  … and %d more that are not shown here (%d to 300), in sum quantity %d, quantity × rate %s", rest, shown+1, 2*rest, strings.TrimSuffix(fmt.Sprintf("%d.%02d", cents/100, cents%100), "0")),
		strings.Repeat("n", longestPart) + "… (and 10 more characters that are not shown here)\n",
	} {
		if !strings.Contains(question, want) {
			t.Errorf("%q is missing from %q", want, question)
		}
	}
}

// Whatever is given, a list has its bounds, and no text in it looks like more than
// it is.
func TestALineShowsTextsInQuotes(t *testing.T) {
	t.Parallel()
	list := compacted([]byte(`[{"description":"a, amount: 5\nbillId: 8 \u202e\"","amount":"1.50","note":null,"of":{"x":[1,"b"]}}, {"amount":1e9,"rate":2}]`))
	var b strings.Builder
	table(&b, list, 0, 0)
	if want := "\n  1. description: \"a, amount: 5 billId: 8 \\\"\", amount: \"1.50\", note: empty, of: {x: [1, \"b\"]}\n  2. amount: 1e9, rate: 2"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	b.Reset()
	table(&b, list, 20, 10)
	if want := "\n  … and 2 more that are not shown here (1 to 2), in sum amount 1.5"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	b.Reset()
	table(&b, list, 20, 100)
	if !strings.HasPrefix(b.String(), "\n  1. description: \"a, amo… (and ") || !strings.HasSuffix(b.String(), "more characters that are not shown here)\n  … and 1 more that are not shown here (2 to 2)") {
		t.Errorf("%q", b.String())
	}
}

func TestAnAgreementToAChangeIsNoneToItsRepetition(t *testing.T) {
	t.Parallel()
	tools, err := loadTools()
	if err != nil {
		t.Fatal(err)
	}
	tool, _ := tools.Lookup("bills_update")
	runner := New(&books{answers: map[string]string{"bills.read": `{}`}}, Options{Tools: tools})
	var digests [2][32]byte
	var texts [2]string
	for i, more := range []string{"", `,"repeat":true`} {
		ctx := WithAsk(t.Context(), func(q Question) Consent {
			digests[i], texts[i] = q.Digest, q.Text()
			return Declined
		})
		runner.Run(ctx, tool, json.RawMessage(`{"companyUuid":"ab12","billId":7,"name":"x"`+more+`}`), Caller{Bearer: token})
	}
	if digests[0] == digests[1] || strings.Contains(texts[0], "just before") || !strings.Contains(texts[1], "even if the same was done just before") {
		t.Errorf("%q, %q", texts[0], texts[1])
	}
}

func TestAChangeWhoseConsentMayHaveBeenUsedIsNotSent(t *testing.T) {
	t.Parallel()
	tools, err := loadTools()
	if err != nil {
		t.Fatal(err)
	}
	tool, _ := tools.Lookup("bills_update")
	api := &books{}
	ctx := WithAsk(t.Context(), func(Question) Consent { return Unseen })
	r := New(api, Options{Tools: tools}).Run(ctx, tool, json.RawMessage(`{"companyUuid":"ab12","billId":7,"name":"x","repeat":true}`), Caller{Bearer: token})
	if r.Failure == nil || r.Failure.Kind != Unavailable || r.Failure.RetryAfter == 0 || !strings.Contains(r.Text, "Nothing was sent") || len(api.calls()) != 0 {
		t.Errorf("%+v, asked %v", r, api.calls())
	}
}

// pages is a list of products in pages of one.
type pages struct {
	mu    sync.Mutex
	asked []string
}

func (p *pages) Do(_ context.Context, r neonpanel.Request) (*neonpanel.Response, error) {
	page := "1"
	for _, pair := range r.Query {
		if pair.Name == "page" {
			page = pair.Value
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, page)
	body := fmt.Sprintf(`{"current_page":%s,"last_page":9,"data":[{"id":10%s,"sku":"TP-%s"}]}`, page, page, page)
	return &neonpanel.Response{Status: 200, MediaType: "application/json", Body: []byte(body)}, nil
}

func TestARecordBeyondTheFirstPageHasItsName(t *testing.T) {
	t.Parallel()
	for id, test := range map[string]struct{ want, asked string }{
		"101": {"\nproductId: TP-1 (101)\n", "1"},
		"103": {"\nproductId: TP-3 (103)\n", "1 2 3"},
		"108": {"\nproductId: 108\n", "1 2 3 4 5"},
	} {
		p := &pages{}
		question := ask(t, p, directory{}, "delete_product", `{"companyUuid":"ab12","productId":`+id+`}`, Caller{Bearer: token})
		if asked := strings.Join(p.asked, " "); !strings.Contains(question+"\n", test.want) || asked != test.asked {
			t.Errorf("%s: %q, asked for the pages %s", id, question, asked)
		}
	}
}

// A record that is not there has no members, which is no fault.
func TestARecordThatIsNotThereIsNoFault(t *testing.T) {
	t.Parallel()
	tools, err := loadTools()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	tool, _ := tools.Lookup("bills_update")
	api := &books{answers: map[string]string{"bills.read": `null`, "vendors.list": `{"data":[]}`}}
	ctx := WithAsk(t.Context(), func(q Question) Consent { q.Text(); return Declined })
	New(api, Options{Tools: tools, Logger: slog.New(slog.NewTextHandler(&log, nil))}).
		Run(ctx, tool, json.RawMessage(`{"companyUuid":"ab12","billId":1,"vendor_id":411}`), Caller{Bearer: token})
	if log.Len() > 0 {
		t.Errorf("%s", &log)
	}
}
