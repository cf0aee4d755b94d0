package toolcall

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// rows answers as the API's lists do: total rows of the given size, in pages.
func rows(total, size int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		number := func(name string, otherwise int) int {
			if n, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil {
				return n
			}
			return otherwise
		}
		page, perPage := number("page", 1), number("per_page", 30)
		var data []string
		for i := (page - 1) * perPage; i < min(page*perPage, total); i++ {
			data = append(data, fmt.Sprintf(`{"id":%d,"text":"%s"}`, i, strings.Repeat("x", size)))
		}
		answer(200, "application/json", fmt.Sprintf(`{"current_page":%d,"per_page":%d,"last_page":%d,"data":[%s],"note":"a, ] \" }"}`,
			page, perPage, (total+perPage-1)/perPage, strings.Join(data, ",")))(w, r)
	}
}

type listed struct {
	Data []struct {
		ID   int    `json:"id"`
		Text string `json:"text"`
	} `json:"data"`
	Note        string  `json:"note"`
	CurrentPage *int    `json:"current_page"`
	Cursor      *string `json:"next_cursor"`
	Total       *int    `json:"total"`
	AtMost      *int    `json:"total_at_most"`
	Truncated   *struct {
		List  string `json:"list"`
		Shown int    `json:"shown"`
	} `json:"_truncated"`
}

// readAll follows the cursors of a list to its end, and returns the ids of its
// rows in the order in which they came.
func (s *stage) readAll(t *testing.T, tool string, arguments map[string]any, limit func(call int) int) (ids []int, answers []listed) {
	t.Helper()
	for call := 0; ; call++ {
		if call > 300 {
			t.Fatal("it never ends")
		}
		if limit != nil {
			delete(arguments, "limit")
			if n := limit(call); n > 0 {
				arguments["limit"] = n
			}
		}
		given, _ := json.Marshal(arguments)
		result := s.call(t, tool, string(given))
		if result.Failure != nil {
			t.Fatal(result.Text)
		}
		if n := len(result.Structured); n > 100_000 {
			t.Errorf("%d bytes", n)
		}
		var got listed
		if err := json.Unmarshal(result.Structured, &got); err != nil {
			t.Fatal(err)
		}
		if n, ok := arguments["limit"].(int); ok && len(got.Data) > n {
			t.Errorf("%d rows for a limit of %d", len(got.Data), n)
		}
		for _, row := range got.Data {
			ids = append(ids, row.ID)
		}
		answers = append(answers, got)
		if (got.Truncated != nil) != strings.Contains(result.Text, "Cut for size") {
			t.Errorf("the text does not say what %+v says", got.Truncated)
		}
		if got.Cursor == nil {
			if strings.Contains(result.Text, "cursor=") {
				t.Error("the text speaks of a cursor at the end")
			}
			return ids, answers
		}
		if len(got.Data) == 0 {
			t.Fatal("an answer without rows goes on")
		}
		if !strings.Contains(result.Text, `cursor="`+*got.Cursor+`"`) {
			t.Errorf("the text does not say how to go on: %.200s", result.Text[len(result.Structured):])
		}
		arguments["cursor"] = *got.Cursor
	}
}

func checkRows(t *testing.T, ids []int, total int) {
	t.Helper()
	for i, id := range ids {
		if id != i {
			t.Fatalf("row %d is %d", i, id)
		}
	}
	if len(ids) != total {
		t.Errorf("%d of %d rows", len(ids), total)
	}
}

// Following the cursor gives every row exactly once, whatever the limit and
// wherever an answer was cut.
func TestListsCanBeReadToTheEnd(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ total, size, limit int }{
		{0, 10, 0}, {1, 10, 0}, {60, 10, 0}, {61, 10, 60}, {500, 100, 7}, {500, 100, 200}, {130, 10, 61}, {25, 10, 1},
		{60, 4000, 60}, {200, 3000, 50}, {100, 7000, 200}, {45, 2500, 45}, {500, 900, 200}, {12, 60_000, 30},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			t.Parallel()
			s := newStage(t, rows(test.total, test.size))
			arguments := map[string]any{"companyUuid": "a"}
			if test.limit > 0 {
				arguments["limit"] = test.limit
			}
			ids, answers := s.readAll(t, "list_inventory_items", arguments, nil)
			checkRows(t, ids, test.total)
			for i, a := range answers {
				if a.CurrentPage != nil || a.Note != `a, ] " }` {
					t.Errorf("answer %d: page %v, note %q", i, a.CurrentPage, a.Note)
				}
				switch {
				case a.Total != nil && *a.Total != test.total, a.AtMost != nil && *a.AtMost < test.total, a.Total == nil && a.AtMost == nil:
					t.Errorf("answer %d: total %v, at most %v", i, a.Total, a.AtMost)
				case i == len(answers)-1 && a.Total == nil:
					t.Error("the last answer does not know the total")
				}
				if a.Truncated != nil && (a.Truncated.Shown != len(a.Data) || a.Truncated.List != "data") {
					t.Errorf("%+v with %d rows", a.Truncated, len(a.Data))
				}
			}
		})
	}
}

func TestLimitsMayChangeOnTheWay(t *testing.T) {
	t.Parallel()
	var handler atomic.Value
	s := newStage(t, func(w http.ResponseWriter, r *http.Request) { handler.Load().(http.HandlerFunc)(w, r) })
	s.runner = New(s.client, Options{MaxResultBytes: 8000})
	rapid.Check(t, func(r *rapid.T) {
		total, size := rapid.IntRange(0, 90).Draw(r, "total"), rapid.SampledFrom([]int{1, 100, 900}).Draw(r, "size")
		handler.Store(rows(total, size))
		ids, _ := s.readAll(t, "list_inventory_items", map[string]any{"companyUuid": "a"}, func(int) int {
			return rapid.IntRange(0, 70).Draw(r, "limit")
		})
		checkRows(t, ids, total)
	})
}

// pagesOf answers in pages of one size, whatever is asked for.
func pagesOf(total, size int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		q.Set("per_page", strconv.Itoa(size))
		r.URL.RawQuery = q.Encode()
		rows(total, 10)(w, r)
	}
}

func TestTheSizeOfPagesIsTheAPIsToChoose(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 7, 15, 100} {
		s := newStage(t, pagesOf(40, size))
		for _, limit := range []int{0, 3, 20, 200} {
			ids, _ := s.readAll(t, "bills_list", map[string]any{"companyUuid": "a"}, func(int) int { return limit })
			checkRows(t, ids, 40)
		}
	}
}

func TestPagesThatChangeTheirSizeLoseNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
		if page := r.URL.Query().Get("page"); page == "1" {
			pagesOf(40, 10)(w, r)
		} else {
			pagesOf(40, 4)(w, r)
		}
	})
	ids, _ := s.readAll(t, "bills_list", map[string]any{"companyUuid": "a"}, func(int) int { return 9 })
	checkRows(t, ids, 40)
}

func TestPageArgumentsOfOldClientsStillCount(t *testing.T) {
	t.Parallel()
	s := newStage(t, rows(100, 10))
	for arguments, want := range map[string][2]int{
		`{"companyUuid":"a","page":2}`:               {30, 30},
		`{"companyUuid":"a","page":2,"per_page":20}`: {20, 20},
		`{"companyUuid":"a","per_page":60}`:          {0, 60},
		`{"companyUuid":"a","page":9}`:               {0, 0},
		// Sizes that the API does not have.
		`{"companyUuid":"a","per_page":5}`:               {0, 5},
		`{"companyUuid":"a","per_page":5,"page":3}`:      {10, 5},
		`{"companyUuid":"a","per_page":"80"}`:            {0, 80},
		`{"companyUuid":"a","per_page":80,"page":2}`:     {80, 20},
		`{"companyUuid":"a","per_page":100000}`:          {0, 100},
		`{"companyUuid":"a","per_page":100000,"page":2}`: {0, 0},
		`{"companyUuid":"a","per_page":100,"limit":7}`:   {0, 7},
	} {
		var got listed
		if err := json.Unmarshal(s.call(t, "list_inventory_items", arguments).Structured, &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Data) != want[1] || len(got.Data) > 0 && got.Data[0].ID != want[0] {
			t.Errorf("%s: %+v", arguments, got)
		}
	}
}

func TestListsWithoutPagesAreContinuedToo(t *testing.T) {
	t.Parallel()
	var data []string
	for i := range 300 {
		data = append(data, fmt.Sprintf(`{"id":%d,"text":"%s"}`, i, strings.Repeat("y", 970)))
	}
	s := newStage(t, answer(200, "application/json", `{"count":300,"data":[`+strings.Join(data, ",")+`]}`))
	for _, limit := range []int{0, 40, 200} {
		ids, answers := s.readAll(t, "list_reports", map[string]any{}, func(int) int { return limit })
		checkRows(t, ids, 300)
		if answers[0].Total == nil || *answers[0].Total != 300 {
			t.Errorf("total %v", answers[0].Total)
		}
	}
}

// A single thing has no rows, but a list inside it may be long.
func TestALongListInsideOneThingIsContinued(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 400 {
		lines = append(lines, fmt.Sprintf(`{"id":%d,"text":"%s"}`, i, strings.Repeat("z", 500)))
	}
	s := newStage(t, answer(200, "application/json", `{"id":7,"a":{"b":{"lines":[`+strings.Join(lines, ",")+`],"c":1}},"tags":["x"]}`))
	arguments := map[string]any{"companyUuid": "a", "billId": 7}
	var ids []int
	for {
		given, _ := json.Marshal(arguments)
		result := s.call(t, "bills_read", string(given))
		if result.Failure != nil {
			t.Fatal(result.Text)
		}
		var got struct {
			A struct {
				B struct {
					Lines []struct{ ID int }
					C     int
				}
			}
			Tags   []string
			Cursor string `json:"next_cursor"`
		}
		if err := json.Unmarshal(result.Structured, &got); err != nil {
			t.Fatal(err)
		}
		if got.A.B.C != 1 || len(got.Tags) != 1 || len(got.A.B.Lines) == 0 {
			t.Fatalf("%.200s", result.Structured)
		}
		for _, line := range got.A.B.Lines {
			ids = append(ids, line.ID)
		}
		if got.Cursor == "" {
			break
		}
		arguments["cursor"] = got.Cursor
	}
	checkRows(t, ids, 400)
}

func TestWhatCannotBeCutKeepsItsSmallMembers(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("z", 200_000)
	for name, test := range map[string]struct{ tool, arguments, body, want string }{
		"no list": {"get_report_data", `{"reportId":1}`, `{"id":7,"blob":"` + huge + `"}`, `{"id":7,"_omitted":["blob"]}`},
		"one huge row": {"list_reports", `{}`, `{"id":7,"data":[{"id":1,"blob":"` + huge + `"},{"id":2}]}`,
			`{"id":7,"data":[{"id":1,"_omitted":["blob"]},{"id":2}],"total":2,"next_cursor":null}`},
		"huge beside the list": {"list_reports", `{}`, `{"blob":"` + huge + `","data":[{"id":2}]}`,
			`{"data":[{"id":2}],"total":1,"next_cursor":null,"_omitted":["blob"]}`},
	} {
		s := newStage(t, answer(200, "application/json", test.body))
		result := s.call(t, test.tool, test.arguments)
		if string(result.Structured) != test.want || len(result.Text) == len(result.Structured) {
			t.Errorf("%s: %.300s", name, result.Text)
		}
	}
}

func TestAPageThatFailsLeavesACursorToIt(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("page") == "2" && broken.Load() {
			answer(500, "text/html", "<p>")(w, r)
			return
		}
		rows(100, 10)(w, r)
	})
	first := s.call(t, "list_inventory_items", `{"companyUuid":"a","limit":100}`)
	var got listed
	if err := json.Unmarshal(first.Structured, &got); err != nil || first.Failure != nil {
		t.Fatal(err, first.Text)
	}
	if len(got.Data) != 60 || got.Cursor == nil || !strings.Contains(first.Text, "NeonPanel failed on the rest") {
		t.Fatalf("%d rows, %.300s", len(got.Data), first.Text[len(first.Structured):])
	}
	broken.Store(false)
	ids, _ := s.readAll(t, "list_inventory_items", map[string]any{"companyUuid": "a", "cursor": *got.Cursor}, nil)
	if len(ids) != 40 || ids[0] != 60 {
		t.Errorf("%v", ids)
	}
}

// A call that takes long goes on to no further page: the cursor leads there.
func TestSlowPagesAreLeftToTheNextCall(t *testing.T) {
	t.Parallel()
	s := newStage(t, rows(150, 10))
	var asked atomic.Int64
	start := time.Unix(1_800_000_000, 0)
	s.runner = New(s.client, Options{Now: func() time.Time { return start.Add(time.Duration(asked.Add(1)) * 6 * time.Second) }})
	ids, answers := s.readAll(t, "list_inventory_items", map[string]any{"companyUuid": "a", "limit": 150}, nil)
	checkRows(t, ids, 150)
	if len(answers) != 2 || len(answers[0].Data) != 120 {
		t.Errorf("%d answers, the first with %d rows", len(answers), len(answers[0].Data))
	}
}

func TestACursorIsOfItsCallAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t, rows(100, 10))
	var got listed
	if err := json.Unmarshal(s.call(t, "list_inventory_items", `{"companyUuid":"a","search":"x"}`).Structured, &got); err != nil || got.Cursor == nil {
		t.Fatal("no cursor", err)
	}
	c := *got.Cursor
	flipped := []byte(c)
	flipped[3] ^= 1
	calls := s.calls.Load()
	for name, arguments := range map[string]string{
		"another company":  `{"companyUuid":"b","search":"x","cursor":"` + c + `"}`,
		"another filter":   `{"companyUuid":"a","search":"y","cursor":"` + c + `"}`,
		"without a filter": `{"companyUuid":"a","cursor":"` + c + `"}`,
		"cut short":        `{"companyUuid":"a","search":"x","cursor":"` + c[:len(c)-2] + `"}`,
		"with more":        `{"companyUuid":"a","search":"x","cursor":"` + c + `AA"}`,
		"padded":           `{"companyUuid":"a","search":"x","cursor":"` + c + `="}`,
		"changed":          `{"companyUuid":"a","search":"x","cursor":"` + string(flipped) + `"}`,
		"made up":          `{"companyUuid":"a","search":"x","cursor":"page2"}`,
		"a number":         `{"companyUuid":"a","search":"x","cursor":2}`,
	} {
		result := s.call(t, "list_inventory_items", arguments)
		if result.Failure == nil || result.Failure.Kind != InvalidArguments || !strings.Contains(result.Text, "next_cursor of its last answer") {
			t.Errorf("%s: %.200s", name, result.Text)
		}
	}
	if result := s.call(t, "list_warehouses", `{"companyUuid":"a","search":"x","cursor":"`+c+`"}`); result.Failure == nil {
		t.Error("another tool took it")
	}
	if n := s.calls.Load(); n != calls {
		t.Errorf("%d calls were made", n-calls)
	}
	for _, arguments := range []string{
		`{"companyUuid":"a","search":"x","limit":3,"fields":["id"],"cursor":"` + c + `"}`,
		`{"search":"x","cursor":"` + c + `","company_uuid":"a"}`,
	} {
		if result := s.call(t, "list_inventory_items", arguments); result.Failure != nil {
			t.Error(result.Text)
		}
	}
}

func FuzzCursor(f *testing.F) {
	binding := []byte("binding")
	f.Add(cursor{index: 90, size: 30}.encode(binding))
	f.Add(cursor{index: 1, list: "a.b"}.encode(binding))
	f.Add("AQAA")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := decodeCursor(text, binding)
		if err != nil {
			return
		}
		if c.index < 0 || c.size < 0 || c.index > maxIndex || c.size > maxPage || c.encode(binding) != text {
			t.Errorf("%q is taken for %+v", text, c)
		}
		if _, err := decodeCursor(text, []byte("other")); err == nil {
			t.Error("it is good for another call too")
		}
	})
}

// members and elements walk without decoding: what they find must be what a
// real decoder finds.
func FuzzWalk(f *testing.F) {
	f.Add(`{"a":1,"b":[1,{"c":"]}\\\""}],"d":{},"e":"x,y:z"}`)
	f.Add(`[[],{},"",null,-1.5e3]`)
	f.Fuzz(func(t *testing.T, text string) {
		result, ok := object(&neonpanel.Response{MediaType: "application/json", Body: []byte(text)})
		if !ok {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(result, &want); err != nil {
			t.Fatalf("%q became %s: %v", text, result, err)
		}
		got := map[string]string{}
		for name, value := range members(result) {
			var key string
			if err := json.Unmarshal(name, &key); err != nil {
				t.Fatalf("name %s of %s", name, result)
			}
			got[key] = string(value)
			if value[0] == '[' {
				var list []json.RawMessage
				_ = json.Unmarshal(value, &list)
				i := 0
				for element := range elements(value) {
					if i >= len(list) || string(list[i]) != string(element) {
						t.Fatalf("element %d of %s: %s", i, value, element)
					}
					i++
				}
				if i != len(list) {
					t.Fatalf("%d of %d elements of %s", i, len(list), value)
				}
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d of %d members of %s", len(got), len(want), result)
		}
		for name, value := range want {
			if got[name] != string(value) {
				t.Fatalf("member %q of %s: %s, want %s", name, result, got[name], value)
			}
		}
	})
}

// canned is an API of one answer.
type canned string

func (c canned) Do(context.Context, neonpanel.Request) (*neonpanel.Response, error) {
	return &neonpanel.Response{Status: 200, MediaType: "application/json", Body: []byte(c)}, nil
}

// Whatever the API answers, a result is valid JSON within the limit, or a
// failure in words; and following its cursor ends.
func FuzzAnswers(f *testing.F) {
	f.Add(`{"current_page":1,"per_page":2,"last_page":3,"data":[{"id":1,"a":{"b":[1,2]}},{"id":2}]}`, "id,a.b")
	f.Add(`{"current_page":1,"per_page":0,"last_page":9223372036854775807,"data":[[],{},null,"x"]}`, "")
	f.Add(`{"data":{"data":[{"x":"`+strings.Repeat("y", 900)+`"},2,3]}}`, "data")
	f.Add(`{"a":{"b":["`+strings.Repeat("z", 900)+`","1"]},"next_cursor":7,"total":"x"}`, "a.b")
	tools, err := loadTools()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body, fields string) {
		const limit = 3000
		run := New(canned(body), Options{MaxResultBytes: limit})
		for _, name := range []string{"bills_list", "list_reports", "get_report_data", "list_inventory_cogs"} {
			tool, _ := tools.Lookup(name)
			arguments := map[string]any{"companyUuid": "a", "inventoryId": 1, "start_date": "2026-01-01"}
			switch name {
			case "list_reports":
				arguments = map[string]any{}
			case "get_report_data":
				arguments = map[string]any{"reportId": 1}
			case "bills_list":
				arguments = map[string]any{"companyUuid": "a", "limit": 3}
			}
			if fields != "" {
				arguments["fields"] = fields
			}
			for range 3 {
				given, err := json.Marshal(arguments)
				if err != nil {
					return
				}
				result := run.Run(t.Context(), tool, given, Caller{})
				if result.Text == "" || result.Failure != nil && result.Failure.Kind == Internal {
					t.Fatalf("%s: %+v", name, result)
				}
				if result.Failure != nil {
					break
				}
				if !json.Valid(result.Structured) || len(result.Structured) > limit+2*small {
					t.Fatalf("%s: %d bytes: %.300s", name, len(result.Structured), result.Structured)
				}
				var next struct {
					Cursor any `json:"next_cursor"`
				}
				if json.Unmarshal(result.Structured, &next) != nil || next.Cursor == nil {
					break
				}
				arguments["cursor"] = next.Cursor
			}
		}
	})
}

// A page alone is a page of the size that the API chooses, on every list.
func TestAPageAloneIsThatPageOfEveryList(t *testing.T) {
	t.Parallel()
	var asked atomic.Value
	s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Query().Get("page"))
		if r.URL.Query().Get("per_page") == "" {
			pagesOf(40, 15)(w, r)
			return
		}
		rows(200, 10)(w, r)
	})
	paged, withoutSize := 0, 0
	for _, tool := range s.catalogue.Tools() {
		page, size := -1, -1
		arguments := map[string]any{"page": 2}
		for i, p := range tool.Operation.Parameters {
			switch {
			case p.Argument == "page" && p.Unlisted:
				page = i
			case p.Argument == "per_page" && p.Unlisted:
				size = i
			case p.Required && !p.Hidden:
				arguments[p.Argument] = example(p.Schema.Type)
			}
		}
		if page < 0 || tool.Operation.List != "data" {
			continue
		}
		paged++
		first := 15
		if size >= 0 && tool.Operation.Parameters[size].Schema.Default != nil {
			first, _ = strconv.Atoi(string(tool.Operation.Parameters[size].Schema.Default))
		} else {
			withoutSize++
		}
		given, _ := json.Marshal(arguments)
		result := s.call(t, tool.Name, string(given))
		var got listed
		if err := json.Unmarshal(result.Structured, &got); err != nil {
			t.Fatalf("%s: %v: %s", tool.Name, err, result.Text)
		}
		if asked.Load() != "2" || len(got.Data) == 0 || got.Data[0].ID != first {
			t.Errorf("%s %s: asked for page %v, got %.200s", tool.Name, given, asked.Load(), result.Text)
		}
	}
	if paged < 10 || withoutSize < 5 {
		t.Errorf("%d lists with pages, %d without a size of their own", paged, withoutSize)
	}
}

func example(kind string) any {
	switch kind {
	case "integer":
		return 7
	case "array":
		return []any{}
	}
	return "2026-01-01"
}

func TestPagesThatAreCountedInStringsAreReadToTheEnd(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(w http.ResponseWriter, r *http.Request) {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		answer(200, "application/json", fmt.Sprintf(`{"current_page":"%d","per_page":"2","last_page":"3","data":[{"id":%d},{"id":%d}]}`, page, 2*page-2, 2*page-1))(w, r)
	})
	ids, _ := s.readAll(t, "bills_list", map[string]any{"companyUuid": "a"}, nil)
	checkRows(t, ids, 6)
}

func TestAListThatIsNotThereIsNoEmptyList(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"204":        answer(204, "", ""),
		"empty body": answer(200, "application/json", ""),
		"space":      answer(200, "application/json", " \n"),
		"null":       answer(200, "application/json", "null"),
	} {
		s := newStage(t, handler)
		if r := s.call(t, "bills_list", `{"companyUuid":"a"}`); r.Failure == nil || r.Failure.Kind != Unavailable || !strings.Contains(r.Text, "empty where a list should be") {
			t.Errorf("%s: %+v", name, r)
		}
		if r := s.call(t, "bills_read", `{"companyUuid":"a","billId":7}`); r.Failure != nil {
			t.Errorf("%s: one thing: %s", name, r.Text)
		}
	}
}
