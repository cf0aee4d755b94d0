package toolcall

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

const bills = `{"current_page":1,"per_page":15,"last_page":1,"filters":{"search":null},"data":[` +
	`{"id":1,"amount":10.50,"vendor":{"id":3,"name":"A \"b\""},"details":[{"rate":1.10,"quantity":2},{"rate":0.30,"quantity":1}],"memo":null},` +
	`{"id":2,"amount":1e-7,"vendor":null,"details":[],"note":"only here"}]}`

func TestFieldsAreProjected(t *testing.T) {
	t.Parallel()
	s := newStage(t, answer(200, "application/json", bills))
	const head, tail = `{"filters":{"search":null},"data":[`, `],"total":2,"next_cursor":null}`
	for name, test := range map[string]struct{ fields, want string }{
		"one":                    {`["id"]`, `{"id":1},{"id":2}`},
		"as text":                {`"id"`, `{"id":1},{"id":2}`},
		"with commas":            {`"id, amount"`, `{"id":1,"amount":10.50},{"id":2,"amount":1e-7}`},
		"below an object":        {`["vendor.name"]`, `{"vendor":{"name":"A \"b\""}},{"vendor":null}`},
		"below a list":           {`["details.rate","id"]`, `{"id":1,"details":[{"rate":1.10},{"rate":0.30}]},{"id":2,"details":[]}`},
		"whole and part":         {`["vendor.name","vendor"]`, `{"vendor":{"id":3,"name":"A \"b\""}},{"vendor":null}`},
		"with the list's name":   {`["data.id"]`, `{"id":1},{"id":2}`},
		"with brackets":          {`["details[].quantity"]`, `{"details":[{"quantity":2},{"quantity":1}]},{"details":[]}`},
		"in one row only":        {`["note"]`, `{},{"note":"only here"}`},
		"beside the list":        {`["id","filters"]`, `{"id":1},{"id":2}`},
		"none means all":         {`[]`, strings.TrimSuffix(strings.SplitN(bills, `"data":[`, 2)[1], "]}")},
		"the order is the API's": {`["memo","id"]`, `{"id":1,"memo":null},{"id":2}`},
	} {
		result := s.call(t, "bills_list", `{"companyUuid":"a","fields":`+test.fields+`}`)
		if want := head + test.want + tail; string(result.Structured) != want || result.Text != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, result.Text, want)
		}
	}
}

func TestUnknownFieldsAreNamedWithThoseThereAre(t *testing.T) {
	t.Parallel()
	s := newStage(t, answer(200, "application/json", bills))
	for fields, want := range map[string]string{
		`["colour"]`:          `no field is named "colour"; there are id, amount, vendor, vendor.id, vendor.name, details, details.rate, details.quantity, memo, note`,
		`["id","vendor.nam"]`: `no field is named "vendor.nam"`,
		`["id.x","b","a"]`:    `no field is named "a", "b", "id.x"`,
		`["a..b"]`:            `fields must be names such as id or vendor.name, not "a..b"`,
		`[""]`:                `fields must be names`,
		`["<script>"]`:        `no field is named (one not shown)`,
		`[1,{}]`:              `fields`,
		`["x` + strings.Repeat(`","x`, 100) + `"]`: `fields must have at most 100 entries, not 101`,
	} {
		result := s.call(t, "bills_list", `{"companyUuid":"a","fields":`+fields+`}`)
		if result.Failure == nil || result.Failure.Kind != InvalidArguments || !strings.Contains(result.Text, want) {
			t.Errorf("%.60s: %.400s", fields, result.Text)
		}
	}
	empty := newStage(t, answer(200, "application/json", `{"current_page":1,"per_page":15,"last_page":1,"data":[]}`))
	if result := empty.call(t, "bills_list", `{"companyUuid":"a","fields":["anything"]}`); result.Failure != nil {
		t.Errorf("a list without rows knows no fields: %s", result.Text)
	}
}

func TestFieldsOfOneThing(t *testing.T) {
	t.Parallel()
	s := newStage(t, answer(200, "application/json", `{"id":7,"vendor":{"id":1,"name":"x"},"details":[{"rate":1.10,"a":1}]}`))
	result := s.call(t, "bills_read", `{"companyUuid":"a","billId":7,"fields":["details.rate","vendor.id"]}`)
	if want := `{"vendor":{"id":1},"details":[{"rate":1.10}]}`; result.Text != want {
		t.Errorf("got %s", result.Text)
	}
	if result := s.call(t, "bills_read", `{"companyUuid":"a","billId":7,"fields":["foo"]}`); result.Failure == nil || !strings.Contains(result.Text, "there are id, vendor, vendor.id") {
		t.Errorf("got %s", result.Text)
	}
}

// With fields, more rows fit into an answer.
func TestFieldsMakeRoom(t *testing.T) {
	t.Parallel()
	s := newStage(t, rows(200, 3000))
	ids, answers := s.readAll(t, "list_inventory_items", map[string]any{"companyUuid": "a", "limit": 200, "fields": []string{"id"}}, nil)
	checkRows(t, ids, 200)
	if len(answers) != 1 {
		t.Errorf("%d answers", len(answers))
	}
}

// What a projection keeps is what a real decoder finds under the same names.
func FuzzFields(f *testing.F) {
	f.Add(`{"a":1.50,"b":{"c":[{"d":null},{"d":"]}"}]}}`, "b.c.d")
	f.Add(`{"a\u0062":2}`, "ab")
	f.Fuzz(func(t *testing.T, text, name string) {
		var decoded map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &decoded) != nil || decoded == nil {
			return
		}
		body := compact(t, text)
		names, _ := json.Marshal([]string{name})
		s, fault := parseFields(names, "")
		if fault != "" || s == nil {
			return
		}
		projected := s.apply(nil, body)
		var kept map[string]json.RawMessage
		if err := json.Unmarshal(projected, &kept); err != nil {
			t.Fatalf("%s of %s: %s", name, text, projected)
		}
		top, _, below := strings.Cut(strings.TrimSpace(name), ".")
		top = strings.TrimSuffix(strings.TrimSuffix(top, "[]"), "[*]")
		for key, value := range kept {
			if key != top || !below && !slices.Equal(value, compact(t, string(decoded[key]))) {
				t.Fatalf("%s of %s: %s", name, text, projected)
			}
		}
		if _, there := decoded[top]; there && len(kept) != 1 {
			t.Fatalf("%s of %s: %s", name, text, projected)
		}
	})
}

func compact(t *testing.T, text string) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
