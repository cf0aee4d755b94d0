package companies

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

const acme = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"

// api is a NeonPanel with these companies.
type api struct {
	companies []Company
	err       error
	wait      chan struct{}

	mu    sync.Mutex
	calls []string // bearer, path and query
}

func (a *api) Do(ctx context.Context, r neonpanel.Request) (*neonpanel.Response, error) {
	a.mu.Lock()
	a.calls = append(a.calls, fmt.Sprint(r.Bearer, " ", r.Method, " ", r.Path, " ", r.PathArguments, r.Query))
	err := a.err
	a.mu.Unlock()
	if r.Path != "/api/v1/companies" {
		return &neonpanel.Response{Status: 200, Body: []byte(`{}`)}, nil
	}
	if a.wait != nil {
		select {
		case <-a.wait:
		case <-ctx.Done():
			return nil, &neonpanel.Error{Class: neonpanel.Canceled}
		}
	}
	if err != nil {
		return nil, err
	}
	var page int
	_, _ = fmt.Sscan(r.Query[0].Value, &page)
	last := max(1, (len(a.companies)+pageSize-1)/pageSize)
	part := a.companies[min(len(a.companies), (page-1)*pageSize):min(len(a.companies), page*pageSize)]
	body, err := json.Marshal(map[string]any{"current_page": page, "last_page": last, "data": part})
	return &neonpanel.Response{Status: 200, MediaType: "application/json", Body: body}, err
}

func (a *api) asked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.calls...)
}

func some() []Company {
	return []Company{
		{"46", acme, "Acme GmbH", "ACME"},
		{"47", "0000000000000000000000000000000000000047", "Twin", "T1"},
		{"48", "0000000000000000000000000000000000000048", "twin", "T2"},
		{"49", "0000000000000000000000000000000000000049", "46", "number"},
		{"50", "short", "Äpfel & Birnen", "AB"},
		{"51", "a/b", "Broken", "BR"},
		{"52", "0000000000000000000000000000000000000052", `Møller A/S; 50% #1 \ Co`, "S?S"},
	}
}

func TestACompanyIsFoundByAnyOfItsNames(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]struct{ uuid, fault string }{
		"Acme GmbH":           {acme, ""},
		" acme gmbh ":         {acme, ""},
		"ACME":                {acme, ""},
		"47":                  {"0000000000000000000000000000000000000047", ""},
		"t2":                  {"0000000000000000000000000000000000000048", ""},
		"äpfel & birnen":      {"short", ""},
		"short":               {"short", ""},
		"TWIN":                {"", "fits several companies"},
		"46":                  {"", "fits several companies"},
		"Acme":                {acme, ""},
		"Acm":                 {"", "is no company's whole name"},
		strings.ToUpper(acme): {acme, ""},
		"unknown-" + acme:     {"", "names no company of the user"},
	} {
		t.Run(given, func(t *testing.T) {
			t.Parallel()
			m, fault, err := New(&api{companies: some()}, time.Now).Find(t.Context(), toolcall.Caller{}, given, true)
			if err != nil || m.UUID != want.uuid || m.Guessed || !strings.HasPrefix(fault, want.fault) || (fault == "") != (want.fault == "") {
				t.Errorf("%+v %q %v", m, fault, err)
			}
			if strings.HasPrefix(fault, "fits") && (strings.Count(fault, "uuid 0") == 0 || strings.Contains(fault, "Broken")) {
				t.Errorf("the candidates: %s", fault)
			}
		})
	}
}

// A read takes what is clear; a change takes whole names only, and both name the
// candidates of what is not clear.
func TestAPartOfANameIsEnoughToReadWhereItIsClear(t *testing.T) {
	t.Parallel()
	list := []Company{
		{"1", "u1", "Trailhead Outdoor Gear", "TRAIL"}, {"2", "u2", "Trailblazer Outdoor", "TB"},
		{"3", "u3", "Nordlicht Küche GmbH", "NK"}, {"4", "u4", "4711 Perfumes", "KÖLN"}, {"5", "u5", "Gear", "G5"},
	}
	for given, want := range map[string]struct{ uuid, fault, names string }{
		"trailhead":          {"u1", "", ""},
		"TRAILH":             {"u1", "", ""},
		"trail":              {"u1", "", ""}, // its short name
		"Trailb":             {"u2", "", ""},
		"trai":               {"", "fits several", "Trailhead Outdoor Gear, Trailblazer Outdoor"},
		"outdoor":            {"", "fits several", "Trailhead Outdoor Gear, Trailblazer Outdoor"},
		"outdoor gear":       {"u1", "", ""},
		"Outdoor-Gear":       {"u1", "", ""},
		"küche":              {"u3", "", ""},
		"nordlicht gm":       {"u3", "", ""},
		"KÜC":                {"u3", "", ""},
		"üche":               {"", "names no company", "Trailhead"}, // the middle of a word
		"gear":               {"u5", "", ""},                        // all of a name comes first
		"47":                 {"", "names no company", "Trailhead"}, // a number is an id
		"4711 p":             {"u4", "", ""},
		"n":                  {"", "names no company", "Trailhead"},
		"-":                  {"", "names no company", "Trailhead"},
		"trailhead gmbh":     {"", "names no company", "Trailhead"},
		"Trailhead  Outdoor": {"u1", "", ""},
	} {
		t.Run(given, func(t *testing.T) {
			t.Parallel()
			d := New(&api{companies: list}, time.Now)
			m, fault, err := d.Find(t.Context(), toolcall.Caller{}, given, false)
			if err != nil || m.UUID != want.uuid || !strings.HasPrefix(fault, want.fault) || (fault == "") != (want.fault == "") {
				t.Errorf("%+v %q %v", m, fault, err)
			}
			for candidate := range strings.SplitSeq(want.names, ", ") {
				if candidate != "" && !strings.Contains(fault, candidate+" (id") && !strings.Contains(fault, candidate) {
					t.Errorf("%q does not name %q", fault, candidate)
				}
			}
			m, fault, err = d.Find(t.Context(), toolcall.Caller{}, given, true)
			switch whole := given == "gear" || given == "trail"; {
			case err != nil:
				t.Error(err)
			case whole != (m.UUID != "") || whole != (fault == "") || m.Guessed:
				t.Errorf("a change: %+v %q", m, fault)
			case !whole && want.uuid != "" && (!strings.HasPrefix(fault, "is no company's whole name, which a change needs") || !strings.Contains(fault, "uuid "+want.uuid)):
				t.Errorf("a change: %q", fault)
			}
		})
	}
}

func FuzzFitOf(f *testing.F) {
	for _, s := range []string{"trailhead", "", "İstanbul", "\xff", "a-b c", "46", "ǅ"} {
		f.Add(s, "Trailhead Outdoor Gear")
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, given, name string) {
		fit := FitOf(given, "1", "u1", name, "")
		if strings.TrimSpace(given) != "" && strings.EqualFold(strings.TrimSpace(given), strings.TrimSpace(name)) && fit != Exact {
			t.Errorf("%q is not all of %q", given, name)
		}
		if strings.TrimSpace(given) == "" && fit != None {
			t.Errorf("nothing fits %q", name)
		}
	})
}

func TestAUUIDIsKnownByItsForm(t *testing.T) {
	t.Parallel()
	d := New(&api{}, time.Now)
	for value, want := range map[string]bool{
		acme: true, "550e8400-e29b-41d4-a716-446655440000": true, strings.ToUpper(acme): true,
		"46": false, "Acme": false, "deadbeef": false, "g" + acme[1:]: false, acme + acme: false,
	} {
		if d.IsUUID(value) != want {
			t.Errorf("%s: %v", value, !want)
		}
	}
}

// Incident: a search that stops at the first page of sixty companies.
func TestTheHundredAndFiftiethCompanyIsFound(t *testing.T) {
	t.Parallel()
	a := &api{}
	for i := range 150 {
		a.companies = append(a.companies, Company{json.Number(fmt.Sprint(i)), fmt.Sprintf("%040d", i), fmt.Sprintf("Company %d", i), ""})
	}
	d := New(a, time.Now)
	if found, fault, err := d.Find(t.Context(), toolcall.Caller{}, "Company 149", true); err != nil || found.UUID != fmt.Sprintf("%040d", 149) {
		t.Errorf("%+v %s %v", found, fault, err)
	}
	if len(a.asked()) != 3 {
		t.Errorf("asked %v", a.asked())
	}
	if _, fault, _ := d.Find(t.Context(), toolcall.Caller{}, "None", true); len(fault) > 4000 || !strings.Contains(fault, "and 130 more") {
		t.Errorf("%d bytes: %s", len(fault), fault)
	}
}

func TestListsAreKeptApartAndForAMinute(t *testing.T) {
	t.Parallel()
	a := &api{companies: some()}
	now := time.Unix(1_800_000_000, 0)
	d := New(a, func() time.Time { return now })
	one := toolcall.Caller{Bearer: "t1", Subject: "46", ClientID: "a", Scopes: []string{"x", "y"}}
	for i, step := range []struct {
		c     toolcall.Caller
		later time.Duration
		asks  int
	}{
		{one, 0, 1}, {one, 59 * time.Second, 0},
		{toolcall.Caller{Bearer: "t2", Subject: "46", ClientID: "a", Scopes: []string{"x", "y"}}, 0, 0},
		{toolcall.Caller{Bearer: "t3", Subject: "47", ClientID: "a", Scopes: []string{"x", "y"}}, 0, 1},
		{toolcall.Caller{Bearer: "t4", Subject: "46", ClientID: "b", Scopes: []string{"x", "y"}}, 0, 1},
		{toolcall.Caller{Bearer: "t5", Subject: "46", ClientID: "a", Scopes: []string{"x"}}, 0, 1},
		{one, 2 * time.Second, 1},
	} {
		now = now.Add(step.later)
		before := len(a.asked())
		if _, _, err := d.Find(t.Context(), step.c, "ACME", true); err != nil {
			t.Fatal(err)
		}
		asked := a.asked()[before:]
		if len(asked) != step.asks || step.asks == 1 && !strings.HasPrefix(asked[0], step.c.Bearer+" ") {
			t.Errorf("step %d asked %v", i, asked)
		}
	}
	for i := range 3 * callers {
		_, _, _ = d.Find(t.Context(), toolcall.Caller{Subject: fmt.Sprint(i)}, "ACME", true)
	}
	if len(d.known) > callers {
		t.Errorf("%d lists", len(d.known))
	}
	for key, known := range d.known {
		if strings.Contains(fmt.Sprint(key, known), "t1") {
			t.Error("a token is kept")
		}
	}
}

func TestFailuresAreNotKept(t *testing.T) {
	t.Parallel()
	a := &api{companies: some(), err: &neonpanel.Error{Class: neonpanel.Timeout}}
	d := New(a, time.Now)
	if _, _, err := d.Find(t.Context(), toolcall.Caller{}, "ACME", true); err == nil {
		t.Error("no error")
	}
	a.err = nil
	if found, _, err := d.Find(t.Context(), toolcall.Caller{}, "ACME", true); err != nil || found.UUID != acme {
		t.Errorf("%+v %v", found, err)
	}
}

func TestSimultaneousSearchesAreOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{companies: some(), wait: make(chan struct{})}
		d := New(a, time.Now)
		first, leave := context.WithCancel(context.Background())
		left := make(chan error)
		go func() {
			_, _, err := d.Find(first, toolcall.Caller{}, "ACME", true)
			left <- err
		}()
		synctest.Wait()
		found := make(chan string)
		for range 5 {
			go func() {
				m, _, _ := d.Find(context.Background(), toolcall.Caller{}, "ACME", true)
				found <- m.UUID
			}()
		}
		synctest.Wait()
		leave()
		if err := <-left; err == nil {
			t.Error("who left got an answer")
		}
		close(a.wait)
		for range 5 {
			if uuid := <-found; uuid != acme {
				t.Errorf("found %q", uuid)
			}
		}
		if len(a.asked()) != 1 {
			t.Errorf("asked %v", a.asked())
		}
	})
}

// TestToolsTakeNames: in paths, in lists, and in what the tool is told about
// what went wrong.
func TestToolsTakeNames(t *testing.T) {
	t.Parallel()
	tools, err := catalogue.Load(openapi.Document(), openapi.Overlay(), catalogue.Options{Toolsets: []string{catalogue.AllTools}})
	if err != nil {
		t.Fatal(err)
	}
	forbidden := &neonpanel.Error{Class: neonpanel.Forbidden, Status: 403}
	for name, test := range map[string]struct {
		tool, arguments string
		err             error
		asked, fails    string // the last call, or the failure
		companies       string
	}{
		"in the path":                     {"list_warehouses", `{"companyUuid":"Acme GmbH"}`, nil, "map[companyUuid:" + acme + "]", "", acme},
		"by number":                       {"list_warehouses", `{"company_id":47}`, nil, "map[companyUuid:0000000000000000000000000000000000000047]", "", "0000000000000000000000000000000000000047"},
		"by number, with a fraction":      {"list_warehouses", `{"companyUuid":47.0}`, nil, "map[companyUuid:0000000000000000000000000000000000000047]", "", "0000000000000000000000000000000000000047"},
		"with signs of paths":             {"list_warehouses", `{"companyUuid":"møller A/S; 50% #1 \\ Co"}`, nil, "map[companyUuid:0000000000000000000000000000000000000052]", "", "0000000000000000000000000000000000000052"},
		"with a sign, of a write":         {"create_product", `{"companyUuid":"S?S","sku":"A","name":"A"}`, nil, "map[companyUuid:0000000000000000000000000000000000000052]", "", "0000000000000000000000000000000000000052"},
		"a path":                          {"list_warehouses", `{"companyUuid":"../../admin"}`, nil, "", "names no company", ""},
		"twice the same":                  {"list_warehouses", `{"companyUuid":"` + acme + `","company":"acme gmbh"}`, nil, "map[companyUuid:" + acme + "]", "", acme},
		"twice the same, of a write":      {"create_product", `{"params":{"companyUuid":"` + acme + `","sku":"A","name":"A"},"company":"ACME"}`, nil, "POST /api/v1/companies/{companyUuid}/products map[companyUuid:" + acme + "]", "", acme},
		"twice, two companies":            {"list_warehouses", `{"companyUuid":"` + acme + `","company_id":47}`, nil, "", `companyUuid is given twice with different values, as "companyUuid" and as "company_id"; give it once`, ""},
		"twice, two companies of a write": {"create_product", `{"params":{"companyUuid":"` + acme + `","sku":"A","name":"A"},"company":"S?S"}`, nil, "", `as "company" and as "companyUuid" in params; give it once`, ""},
		"twice, one nobody's":             {"create_product", `{"companyUuid":"` + acme + `","sku":"A","name":"A","company":"Other"}`, nil, "", `names no company of the user`, ""},
		"twice in a list":                 {"revenue_and_cogs_summary", `{"start_date":"2026-01-01","company_uuids":["T1"],"companyUuids":["T2"]}`, nil, "", `company_uuids is given twice`, ""},
		"by the older name":               {"list_warehouses", `{"company":"acme"}`, nil, "map[companyUuid:" + acme + "]", "", acme},
		"a part, for a read":              {"list_warehouses", `{"companyUuid":"äpfel"}`, nil, "map[companyUuid:short]", "", "short"},
		"a part, of a write":              {"create_product", `{"companyUuid":"acme gm","sku":"A","name":"A"}`, nil, "", "companyUuid is no company's whole name, which a change needs. Give the uuid, name or id of the one that is meant: Acme GmbH (id 46, uuid " + acme + ")", ""},
		"in a list":                       {"revenue_and_cogs_summary", `{"start_date":"2026-01-01","company_uuids":["T1","` + acme + `"]}`, nil, "{company_uuids[] 0000000000000000000000000000000000000047} {company_uuids[] " + acme + "}", "", "0000000000000000000000000000000000000047 " + acme},
		"of a write":                      {"create_product", `{"companyUuid":"ACME","sku":"A","name":"A"}`, nil, "POST /api/v1/companies/{companyUuid}/products map[companyUuid:" + acme + "]", "", acme},
		"ambiguous":                       {"list_warehouses", `{"companyUuid":"twin"}`, nil, "", "companyUuid fits several companies", ""},
		"nobody's":                        {"list_warehouses", `{"companyUuid":"Nobody"}`, nil, "", "Acme GmbH (id 46, uuid " + acme + ")", ""},
		"two faults":                      {"revenue_and_cogs_summary", `{"start_date":"2026-01-01","company_uuids":["twin","Nobody"]}`, nil, "", "2 arguments are wrong", ""},
		"a broken uuid":                   {"list_warehouses", `{"companyUuid":"BR"}`, nil, "", "must be the uuid", ""},
		"not allowed":                     {"list_warehouses", `{"companyUuid":"ACME"}`, forbidden, "", "companyUuid must be a uuid", ""},
		"not found, refused":              {"list_warehouses", `{"companyUuid":"ACME"}`, &neonpanel.Error{Class: neonpanel.Unauthenticated, Status: 401}, "", "Connect to NeonPanel again", ""},
		"an outage":                       {"create_product", `{"companyUuid":"ACME","sku":"A","name":"A"}`, &neonpanel.Error{Class: neonpanel.Timeout}, "", "was not called", ""},
		"a foreign uuid":                  {"list_warehouses", `{"companyUuid":"1111111111111111111111111111111111111111"}`, forbidden, "map[companyUuid:1111111111111111111111111111111111111111]", "", "1111111111111111111111111111111111111111"},
		"no scope":                        {"list_warehouses", `{"companyUuid":"Nobody"}`, nil, "", "companyUuid must be a uuid", ""},
		"faults come first":               {"create_product", `{"companyUuid":"ACME"}`, errors.New("asked"), "", "sku is required", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &api{companies: some(), err: test.err}
			tool, _ := tools.Lookup(test.tool)
			caller := toolcall.Caller{Bearer: "t", May: func(scopes []string) bool { return name != "no scope" || strings.Join(scopes, " ") != "read:companies" }}
			r := toolcall.New(a, toolcall.Options{Companies: New(a, time.Now)}).Run(t.Context(), tool, json.RawMessage(test.arguments), caller)
			asked := a.asked()
			if test.fails != "" {
				if r.Failure == nil || !strings.Contains(r.Text, test.fails) || strings.Contains(r.Text, "not known whether") {
					t.Errorf("%+v", r)
				}
				if name == "no scope" && len(asked) > 0 {
					t.Errorf("asked %v", asked)
				}
				if r.Failure != nil && (strings.Join(r.Failure.Scopes, " ") == "read:companies") != (name == "no scope") {
					t.Errorf("needs %v", r.Failure.Scopes)
				}
				for _, call := range asked {
					if !strings.Contains(call, "/api/v1/companies map") {
						t.Errorf("called %s", call)
					}
				}
				return
			}
			if r.Failure != nil || !strings.Contains(asked[len(asked)-1], test.asked) || strings.Join(r.Companies, " ") != test.companies {
				t.Errorf("asked %v: %+v", asked, r)
			}
			// What was guessed is told, to programs and to models.
			const taken = `"_company_taken":[{"argument":"companyUuid","given":"äpfel","name":"Äpfel & Birnen","uuid":"short"}]`
			if guessed := strings.HasPrefix(name, "a part"); guessed != strings.Contains(string(r.Structured), taken) ||
				guessed != strings.Contains(r.Text, "was taken for Äpfel & Birnen (uuid short), the only company that it fits") {
				t.Errorf("%s %s", r.Structured, r.Text)
			}
		})
	}
}
