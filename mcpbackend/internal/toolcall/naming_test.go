package toolcall

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// books is an API of fixed answers, by operation; one without an answer hangs
// until its caller gives up.
type books struct {
	answers map[string]string

	mu     sync.Mutex
	asked  []string
	errors []error
}

func (b *books) Do(ctx context.Context, r neonpanel.Request) (*neonpanel.Response, error) {
	b.mu.Lock()
	b.asked = append(b.asked, r.Operation+" "+path(r))
	answer, ok := b.answers[r.Operation]
	b.mu.Unlock()
	if !ok {
		<-ctx.Done()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.errors = append(b.errors, ctx.Err())
		return nil, &neonpanel.Error{Class: neonpanel.Canceled}
	}
	return &neonpanel.Response{Status: 200, MediaType: "application/json", Body: []byte(answer)}, nil
}

func (b *books) calls() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	slices.Sort(b.asked)
	return b.asked
}

// directory knows one company.
type directory struct{ hangs bool }

func (directory) IsUUID(given string) bool { return given == "ab12" }

func (directory) Find(context.Context, Caller, string, bool) (Match, string, error) {
	return Match{UUID: "ab12"}, "", nil
}

func (d directory) Name(ctx context.Context, _ Caller, uuid string) string {
	if d.hangs {
		<-ctx.Done()
		return ""
	}
	if uuid != "ab12" {
		return ""
	}
	return "Trailhead\nOutdoor \u202eGear"
}

// ask gives the question that a call asks first.
func ask(t *testing.T, api API, companies Companies, tool, arguments string, c Caller) string {
	t.Helper()
	tools, err := loadTools()
	if err != nil {
		t.Fatal(err)
	}
	found, ok := tools.Lookup(tool)
	if !ok {
		t.Fatalf("no tool %s", tool)
	}
	runner := New(api, Options{Tools: tools, Companies: companies})
	question := ""
	ctx := WithAsk(t.Context(), func(q Question) Consent {
		question = q.Text()
		return Declined
	})
	if r := runner.Run(ctx, found, json.RawMessage(arguments), c); r.Failure == nil || r.Failure.Kind != Unconfirmed {
		t.Fatalf("%+v", r)
	}
	return question
}

func TestAQuestionNamesWhatAPersonKnowsByName(t *testing.T) {
	t.Parallel()
	const (
		bill = `{"id":7,"ref_number":"BM-77","name":"Sea freight","date":"2026-03-01","amount":1200.50,"currency":"USD",
			"vendor":{"id":3,"name":"Blue Meridian"},"payment_term":{"id":2,"name":"Net 30"}}`
		vendors = `{"current_page":1,"last_page":1,"data":[{"id":3,"name":"Blue Meridian"},{"id":4,"name":"Red Harbor"}]}`
		terms   = `{"data":[{"id":2,"name":"Net 30"},{"id":5,"name":"Net 60"}]}`
		order   = `{"id":9,"ref_number":"PO-9","vendor":{"id":3,"name":"Blue Meridian"},"warehouse":{"id":12,"uuid":"w","name":"East Hub"}}`
	)
	for name, test := range map[string]struct {
		tool, arguments string
		answers         map[string]string
		want, not       []string
	}{
		"a bill with its vendor, and the new vendor": {
			"bills_update", `{"companyUuid":"ab12","billId":7,"vendor_id":4,"payment_term_id":5}`,
			map[string]string{"bills.read": bill, "vendors.list": vendors, "paymentTerms.list": terms},
			[]string{
				"\ncompanyUuid: Trailhead Outdoor Gear (ab12)", "\nbillId: BM-77, Sea freight, Blue Meridian, 2026-03-01, 1200.50 USD (7)",
				"\nvendor_id: Red Harbor (4)", "\npayment_term_id: Net 60 (5)",
			}, nil,
		},
		"a warehouse that the order already names": {
			"inventory_orders_update", `{"companyUuid":"ab12","orderId":9,"warehouse_id":12}`,
			map[string]string{"inventoryOrders.read": order},
			[]string{"\norderId: PO-9, Blue Meridian (9)", "\nwarehouse_id: East Hub (12)"}, nil,
		},
		"another warehouse has no name that the API tells": {
			"inventory_orders_update", `{"companyUuid":"ab12","orderId":9,"warehouse_id":13}`,
			map[string]string{"inventoryOrders.read": order},
			[]string{"\nwarehouse_id: 13"}, []string{"East Hub"},
		},
		"a product, which only a list has": {
			"delete_product", `{"companyUuid":"ab12","productId":7}`,
			map[string]string{"getProducts": `{"current_page":1,"last_page":9,"data":[{"id":6,"sku":"X"},{"id":7,"sku":"TP-100","name":"Trekking Poles"}]}`},
			[]string{"\nproductId: TP-100, Trekking Poles (7)"}, []string{"X"},
		},
		"one that is on no first page": {
			"delete_product", `{"companyUuid":"ab12","productId":8}`,
			map[string]string{"getProducts": `{"current_page":1,"last_page":9,"data":[{"id":6,"sku":"X"}]}`},
			[]string{"Trailhead", "\nproductId: 8"}, []string{"X"},
		},
		"a record that is not there, beside another id": {
			"bills_update", `{"companyUuid":"ab12","billId":1,"vendor_id":411}`,
			map[string]string{"bills.read": `null`, "vendors.list": vendors},
			[]string{"\nbillId: 1\n", "\nvendor_id: 411\n"}, nil,
		},
		"a listing": {
			"sync_listing", `{"companyUuid":"ab12","listingId":5}`,
			map[string]string{"getListings": `{"data":[{"id":5,"asin":"B0X","title":"Poles, pair"}]}`},
			[]string{"\nlistingId: Poles, pair, B0X (5)"}, nil,
		},
		"an instalment, by its document": {
			"payment_requests_update", `{"companyUuid":"ab12","paymentId":3,"paid_amount":5}`,
			map[string]string{"paymentRequests.list": `{"data":[{"id":3,"amount_due":505.8,"currency":"USD","due_date":"2026-03-01","description":"50% balance","document":{"id":9,"type":"Bill","ref_number":"BM-77"}}]}`},
			[]string{"\npaymentId: BM-77, 50% balance, 2026-03-01, 505.8 USD (3)", "\npaid_amount: 5"}, nil,
		},
		"an answer that is no answer": {
			"bills_update", `{"companyUuid":"ab12","billId":7,"name":"N"}`, map[string]string{"bills.read": `[[`},
			[]string{"Trailhead", "\nbillId: 7", "\nname: N"}, nil,
		},
		"nothing that has an id": {
			"update_company_forecasting_settings", `{"companyUuid":"ab12","default_lead_time_days":9}`, nil,
			[]string{"\ncompanyUuid: Trailhead Outdoor Gear (ab12)", "\ndefault_lead_time_days: 9"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			question := ask(t, &books{answers: test.answers}, directory{}, test.tool, test.arguments, Caller{Bearer: token})
			for _, want := range test.want {
				if !strings.Contains(question+"\n", want) {
					t.Errorf("%q is missing from %q", want, question)
				}
			}
			for _, not := range append(test.not, token, "\u202e") {
				if strings.Contains(question, not) {
					t.Errorf("%q is in %q", not, question)
				}
			}
		})
	}
}

func TestAQuestionDoesNotWaitForNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b := &books{answers: map[string]string{"vendors.list": `{"data":[{"id":4,"name":"Red Harbor"}]}`}}
		question := ask(t, b, directory{hangs: true}, "bills_update", `{"companyUuid":"ab12","billId":7,"vendor_id":4}`, Caller{Bearer: token})
		if took := time.Since(begin); took != naming {
			t.Errorf("the question took %v", took)
		}
		// What there was in time is there.
		for _, want := range []string{"\ncompanyUuid: ab12\n", "\nbillId: 7\n", "\nvendor_id: Red Harbor (4)\n"} {
			if !strings.Contains(question+"\n", want) {
				t.Errorf("%q is missing from %q", want, question)
			}
		}
		synctest.Wait()
		// It was given up, and did not time out, which would count against the API.
		if len(b.errors) != 1 || b.errors[0] != context.Canceled {
			t.Errorf("the call ended with %v", b.errors)
		}
	})
}

func TestANameTellsNothingThatTheCallerMayNotRead(t *testing.T) {
	t.Parallel()
	b := &books{}
	c := Caller{Bearer: token, May: func(scopes []string) bool { return slices.Equal(scopes, []string{"write:import"}) }}
	question := ask(t, b, directory{}, "bills_update", `{"companyUuid":"ab12","billId":7,"vendor_id":4}`, c)
	if !strings.Contains(question, "\ncompanyUuid: ab12\nbillId: 7\nvendor_id: 4") || len(b.calls()) != 0 {
		t.Errorf("%q, asked %v", question, b.calls())
	}
}

func TestNamesAreLookedUpOnlyForAQuestion(t *testing.T) {
	t.Parallel()
	tools, err := loadTools()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		tool, arguments string
		asks            bool
	}{
		"a client that cannot ask": {"bills_update", `{"companyUuid":"ab12","billId":7,"name":"x"}`, false},
		"what only adds":           {"create_product", `{"companyUuid":"ab12","sku":"A","name":"A"}`, true},
		"an answer that is there":  {"bills_update", `{"companyUuid":"ab12","billId":7,"name":"x"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &books{answers: map[string]string{"bills.update": `{}`, "createProduct": `{}`}}
			tool, _ := tools.Lookup(test.tool)
			ctx := t.Context()
			if test.asks {
				ctx = WithAsk(ctx, func(Question) Consent { return Given })
			}
			r := New(b, Options{Tools: tools, Companies: directory{}}).Run(ctx, tool, json.RawMessage(test.arguments), Caller{Bearer: token})
			if r.Failure != nil || len(b.calls()) != 1 {
				t.Errorf("%+v, asked %v", r, b.calls())
			}
		})
	}
}

// Every id of a change is either named by a tool that there is, or known to have
// no name that one call could tell.
func TestIDsOfChangesHaveNames(t *testing.T) {
	t.Parallel()
	nameless := map[string]bool{"warehouse_id": true, "origin_warehouse_id": true, "destination_warehouse_id": true,
		"customer_id": true, "manager_id": true, "default_scenario_id": true}
	for _, tool := range writing(t) {
		for _, p := range tool.Operation.Parameters {
			if !strings.HasSuffix(strings.ToLower(p.Name), "id") || p.Names == catalogue.Companies {
				continue
			}
			if (p.NamedBy == "") != nameless[p.Name] {
				t.Errorf("%s: %s is named by %q", tool.Name, p.Name, p.NamedBy)
			}
			if by, ok := func() (catalogue.Tool, bool) { c, _ := loadTools(); return c.Lookup(p.NamedBy) }(); p.NamedBy != "" && (!ok || !by.ReadOnly) {
				t.Errorf("%s: %s is named by %q, which does not read", tool.Name, p.Name, p.NamedBy)
			}
		}
	}
}
