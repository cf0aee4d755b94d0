package toolcall

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

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

type cutAnswer struct {
	CurrentPage int `json:"current_page"`
	LastPage    int `json:"last_page"`
	Data        []struct {
		ID int `json:"id"`
	} `json:"data"`
	Note      string `json:"note"`
	Truncated *struct {
		List  string         `json:"list"`
		Shown int            `json:"shown"`
		Of    int            `json:"of"`
		Next  map[string]int `json:"next"`
	} `json:"_truncated"`
}

// Following the advice of every answer gives every row exactly once.
func TestLargeListsCanBeReadToTheEnd(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ total, size, perPage int }{{60, 4000, 60}, {200, 3000, 50}, {100, 7000, 60}, {45, 2500, 45}, {500, 100, 60}} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			t.Parallel()
			s := newStage(t, rows(test.total, test.size))
			next := map[string]int{"page": 1, "per_page": test.perPage}
			seen := map[int]bool{}
			for call := 0; next != nil; call++ {
				if call > 100 {
					t.Fatal("it never ends")
				}
				arguments, _ := json.Marshal(map[string]any{"companyUuid": "a", "page": next["page"], "per_page": next["per_page"]})
				result := s.call(t, "list_inventory_items", string(arguments))
				if result.Failure != nil {
					t.Fatal(result.Text)
				}
				if n := len(result.Structured); n > 100_000 {
					t.Errorf("%d bytes", n)
				}
				var got cutAnswer
				if err := json.Unmarshal(result.Structured, &got); err != nil {
					t.Fatal(err)
				}
				if got.Note != `a, ] " }` {
					t.Errorf("note %q", got.Note)
				}
				for _, row := range got.Data {
					if seen[row.ID] {
						t.Fatalf("row %d twice", row.ID)
					}
					seen[row.ID] = true
				}
				perPage := next["per_page"]
				next = nil
				switch {
				case got.Truncated != nil:
					if got.Truncated.Shown != len(got.Data) || got.Truncated.List != "data" || got.Truncated.Next == nil {
						t.Fatalf("%+v with %d rows", got.Truncated, len(got.Data))
					}
					if want := fmt.Sprintf("per_page=%d and page=%d", got.Truncated.Next["per_page"], got.Truncated.Next["page"]); !strings.Contains(result.Text, want) {
						t.Errorf("the text lacks %q: %s", want, result.Text[len(result.Text)-200:])
					}
					next = got.Truncated.Next
				case got.CurrentPage < got.LastPage:
					next = map[string]int{"page": got.CurrentPage + 1, "per_page": perPage}
				}
			}
			if len(seen) != test.total {
				t.Errorf("%d of %d rows", len(seen), test.total)
			}
		})
	}
}

func TestListsWithoutPagesAreCutWithAdvice(t *testing.T) {
	t.Parallel()
	row := `{"x":"` + strings.Repeat("y", 990) + `"}`
	s := newStage(t, answer(200, "application/json", `{"count":300,"data":[`+strings.Repeat(row+",", 299)+row+`]}`))
	result := s.call(t, "list_reports", `{}`)
	var got cutAnswer
	if err := json.Unmarshal(result.Structured, &got); err != nil {
		t.Fatal(err)
	}
	if got.Truncated == nil || got.Truncated.Of != 300 || got.Truncated.Shown != len(got.Data) || len(got.Data) < 90 || len(result.Structured) > 100_000 {
		t.Errorf("%+v, %d bytes", got.Truncated, len(result.Structured))
	}
	if !strings.Contains(result.Text, "of 300 entries") || !strings.Contains(result.Text, "ask for less") {
		t.Errorf("text %s", result.Text[len(result.Text)-200:])
	}
}

func TestAnswersThatCannotBeCutKeepTheirSmallMembers(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"no list":        `{"id":7,"blob":"` + strings.Repeat("z", 200_000) + `"}`,
		"one huge entry": `{"id":7,"data":["` + strings.Repeat("z", 200_000) + `"]}`,
	} {
		s := newStage(t, answer(200, "application/json", body))
		result := s.call(t, "list_reports", `{}`)
		if string(result.Structured) != `{"id":7,"_truncated":{"list":null}}` || !strings.Contains(result.Text, "Ask for less") {
			t.Errorf("%s: %.200s", name, result.Text)
		}
	}
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
