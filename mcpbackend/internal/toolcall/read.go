package toolcall

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

const (
	// maxPages is how many pages of the API one call reads at most, and
	// pagesWithin how long it goes on to another: clients wait for about a minute.
	maxPages    = 4
	pagesWithin = 10 * time.Second
	// reserve is room for the members that say what is left.
	reserve = 512
	// maxJudged is from how many rows the names of fields are taken.
	maxJudged = 20
	// small is the size up to which a member stays in what is too large.
	small = 2000
)

// Members of an answer that say what is left. Those of the gateway alone begin
// with an underscore, which the API's own never do.
const (
	cursorMember    = "next_cursor"
	totalMember     = "total"
	atMostMember    = "total_at_most"
	nextMember      = "_next"
	truncatedMember = "_truncated"
	omittedMember   = "_omitted"
)

// reading is one call of a tool that reads: which part of which list is wanted.
type reading struct {
	tool  *catalogue.Tool
	given values
	// page and perPage are the places of the API's paging arguments; -1 for none.
	page, perPage int
	// firstPage is what an old client asked for; 0 when it did not.
	firstPage int64
	from      cursor
	continued bool
	limit     int64
	fields    *selection
}

// plan reads the arguments that shape the answer.
func plan(t *catalogue.Tool, given values) (*reading, []string) {
	r := &reading{tool: t, given: given, page: -1, perPage: -1}
	var cursorText string
	var faults []string
	for i := range t.Operation.Parameters {
		p := &t.Operation.Parameters[i]
		switch {
		case p.In == catalogue.InGateway && given[i] != nil:
			switch p.Argument {
			case catalogue.CursorArgument:
				cursorText = text(given[i])
			case catalogue.LimitArgument:
				r.limit = whole(given[i])
			case catalogue.FieldsArgument:
				var fault string
				if r.fields, fault = parseFields(given[i], t.Operation.List); fault != "" {
					faults = append(faults, fault)
				}
			}
		case p.Unlisted && p.Argument == catalogue.PageArgument:
			r.page = i
			r.firstPage = whole(given[i])
		case p.Unlisted && p.Argument == catalogue.PerPageArgument:
			r.perPage = i
			r.from.size = whole(given[i])
		}
	}
	if r.perPage >= 0 && r.limit == 0 && r.from.size > 0 && r.from.size != within(t.Operation.Parameters[r.perPage].Schema, r.from.size) {
		// Pages of a size that the API does not have: so many rows are wanted.
		size := min(r.from.size, catalogue.MaxLimit)
		r.limit = size
		if r.firstPage > 1 {
			r.from.index = (r.firstPage - 1) * size
			r.firstPage = 0
		}
	}
	if r.page >= 0 && r.perPage >= 0 && r.limit > 0 {
		r.from.size = within(r.tool.Operation.Parameters[r.perPage].Schema, r.limit)
	}
	if r.firstPage > 1 && r.from.size > 0 {
		r.from.index = (r.firstPage - 1) * r.from.size
		r.firstPage = 0
	}
	if cursorText != "" {
		c, err := decodeCursor(cursorText, bindingOf(t, given))
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s is none of %s with these arguments: send next_cursor of its last answer unchanged, with the same other arguments, or no cursor to begin at the start",
				catalogue.CursorArgument, t.Name))
		}
		r.from, r.continued, r.firstPage = c, true, 0
	}
	if r.from.list == "" {
		r.from.list = t.Operation.List
	}
	return r, faults
}

// whole reads a checked integer; 0 for none.
func whole(raw json.RawMessage) int64 {
	if raw == nil {
		return 0
	}
	n, _ := strconv.ParseInt(text(raw), 10, 64)
	return max(n, 0)
}

// within moves a number into the bounds of a schema.
func within(s *catalogue.Schema, n int64) int64 {
	if s.Minimum != nil {
		n = max(n, int64(*s.Minimum))
	}
	if s.Maximum != nil {
		n = min(n, int64(*s.Maximum))
	}
	return n
}

// read calls the API until the rows that are wanted are there, or there is no
// room for more. Every cut leaves a cursor that goes on exactly there.
func (r *runner) read(ctx context.Context, t *catalogue.Tool, given values, c Caller) Result {
	want, faults := plan(t, given)
	if len(faults) > 0 {
		return failed(Failure{Kind: InvalidArguments, Message: listFaults(t, faults)})
	}
	out := &collection{reading: want, max: r.maxBytes, index: want.from.index, size: want.from.size}
	begin := r.now()
	for out.calls < maxPages && (out.calls == 0 || r.now().Sub(begin) < pagesWithin) {
		response, failure := r.fetch(ctx, want, out, c)
		if failure != nil {
			if out.calls == 0 {
				return failed(*failure)
			}
			// What is there already is good, and the cursor leads to the rest.
			out.note("NeonPanel failed on the rest: " + failure.Message)
			break
		}
		if t.Operation.Next != nil && response.Status == http.StatusAccepted {
			return r.follow(ctx, t, given, response, c)
		}
		body, ok := object(response)
		if ok && out.calls == 0 && t.Operation.List != "" && empty(response) {
			// To show it would say that there are no rows, which nobody knows.
			return failed(Failure{Kind: Unavailable, Message: "NeonPanel's answer is empty where a list should be. " + again(t)})
		}
		if !ok {
			if out.calls == 0 {
				return failed(Failure{Kind: Unavailable, Message: "NeonPanel's answer cannot be read. " + again(t)})
			}
			out.note("NeonPanel's answer for the rest cannot be read.")
			break
		}
		if !out.take(body) {
			break
		}
	}
	return out.result()
}

// fetch asks for the page that holds the next row.
func (r *runner) fetch(ctx context.Context, want *reading, out *collection, c Caller) (*neonpanel.Response, *Failure) {
	if want.page >= 0 {
		page := max(want.firstPage, 1)
		if out.size > 0 {
			page = out.index/out.size + 1
			if want.perPage >= 0 {
				size := within(want.tool.Operation.Parameters[want.perPage].Schema, out.size)
				want.given[want.perPage] = strconv.AppendInt(nil, size, 10)
			}
		}
		want.given[want.page] = strconv.AppendInt(nil, page, 10)
	}
	request, faults := buildRequest(want.tool, want.given)
	if len(faults) > 0 {
		return nil, &Failure{Kind: InvalidArguments, Message: listFaults(want.tool, faults)}
	}
	request.Bearer = c.Bearer
	response, err := r.api.Do(ctx, request)
	if err != nil {
		failure := explain(want.tool, err)
		return nil, &failure
	}
	return response, nil
}

// collection grows from the pages that are read.
type collection struct {
	*reading
	max   int
	calls int
	// body is the first page, whose members around the list are kept; path leads
	// to its list, which is nil when the answer is one thing.
	body []byte
	path []string
	list []byte
	room int

	rows  []byte
	count int64
	// index is that of the next row, size the size of pages; 0 when there are none.
	index, size int64
	begin       int64
	total       int64
	exact       bool
	more        bool
	cut         bool
	omitted     []string
	notes       []string
	names       []string // of the fields that were seen
}

func (a *collection) note(text string) { a.notes = append(a.notes, text) }

// take adds a page; it says whether another one is wanted.
func (a *collection) take(body []byte) bool {
	first := a.calls == 0
	a.calls++
	path, list := a.locate(body)
	if first {
		a.body, a.path, a.list = body, path, list
		if list == nil {
			return false
		}
		a.room = a.max - reserve - a.around()
	} else if list == nil {
		a.note("NeonPanel's answer for the rest has no list.")
		return false
	}
	skip := a.index
	last := true
	if at, ok := position(body); ok && a.page >= 0 {
		asked := whole(a.given[a.page])
		if at.current != asked {
			// Not the page that was asked for: to go on would repeat rows.
			a.more, a.begin = false, a.index
			return false
		}
		last = asked >= at.last
		before := a.size
		if a.size = firstSize(at.size, a.size, count(list)); a.firstPage > 1 {
			a.index, a.firstPage = (a.firstPage-1)*a.size, 0
		} else if before > 0 && a.index/a.size+1 != asked {
			// The API took another size, so the next row is on another page.
			a.more, a.begin = true, a.index
			return true
		}
		skip = a.index - (asked-1)*a.size
		a.total, a.exact = at.last*a.size, asked == max(at.last, 1)
		if a.exact {
			a.total = (asked-1)*a.size + count(list)
		}
		if a.limit == 0 {
			a.limit = a.size // a page, as the API itself would give
		}
	} else {
		a.size = 0
		a.total, a.exact = count(list), true
	}
	if a.count == 0 {
		a.begin = a.index
	}
	a.more = !last
	position := int64(-1)
	for element := range elements(list) {
		if position++; position < skip {
			continue
		}
		if a.limit > 0 && a.count >= a.limit {
			a.more = true
			return false
		}
		if !a.add(element) {
			a.more, a.cut = true, true
			return false
		}
	}
	return a.more && (a.limit == 0 || a.count < a.limit)
}

// firstSize is the first size of a page that is known.
func firstSize(sizes ...int64) int64 {
	for _, size := range sizes {
		if size > 0 {
			return size
		}
	}
	return 1
}

// add adds a row if there is room; the first one always gets some.
func (a *collection) add(element []byte) bool {
	before := len(a.rows)
	if a.fields != nil && a.count < maxJudged {
		a.names = known(a.names, "", element)
	}
	if before > 0 {
		a.rows = append(a.rows, ',')
	}
	a.rows = a.fields.apply(a.rows, element)
	if len(a.rows) > a.room {
		if before > 0 {
			a.rows = a.rows[:before]
			return false
		}
		a.rows = shrink(a.rows[:0:0], a.rows, max(a.room, small))
		a.note("One row is too large by itself: only its small members are shown. Ask for the others by fields.")
	}
	a.index++
	a.count++
	return true
}

// locate finds the list of a page.
func (a *collection) locate(body []byte) ([]string, []byte) {
	if name := a.from.list; name != "" {
		path := strings.Split(name, ".")
		if list := descend(body, path); list != nil && list[0] == '[' {
			return path, list
		}
	}
	if a.calls > 1 || a.continued || len(body) <= a.max {
		return nil, nil
	}
	path, list := largestList(body, nil)
	return path, list
}

// around is the size of what stands around the rows; what is too large of it is
// left out, and named.
func (a *collection) around() int {
	size := len(a.body) - len(a.list)
	if size > a.max/2 {
		a.body, a.omitted = withoutLarge(a.body, a.path)
		a.list = descend(a.body, a.path)
		size = len(a.body) - len(a.list)
	}
	return size
}

// result writes the answer.
func (a *collection) result() Result {
	if a.path == nil {
		return a.single()
	}
	if fault := a.faults(a.count > 0); fault != nil {
		return *fault
	}
	rows := append(append(make([]byte, 0, len(a.rows)+2), '['), a.rows...)
	rows = append(rows, ']')
	w := writer{b: make([]byte, 0, len(a.body)-len(a.list)+len(rows)+reserve)}
	w.begin()
	paged := a.page >= 0 && a.size > 0
	for name, value := range members(a.body) {
		switch plainName(name) {
		case cursorMember, truncatedMember, omittedMember:
			continue
		case "current_page", "per_page", "last_page":
			// They are about the API's pages, which these rows need not be.
			if paged {
				continue
			}
		}
		w.name(name)
		w.b = replace(w.b, name, value, a.path, rows)
	}
	if descend(a.body, []string{totalMember}) == nil {
		if a.exact {
			w.member(totalMember, strconv.AppendInt(nil, a.total, 10))
		} else if a.total > 0 {
			w.member(atMostMember, strconv.AppendInt(nil, a.total, 10))
		}
	}
	next := ""
	if a.more {
		next = a.cursor()
		w.member(cursorMember, marshal(next))
		a.notes = append([]string{a.left(next)}, a.notes...)
	} else if a.tool.Operation.List != "" {
		w.member(cursorMember, []byte("null"))
	}
	if a.cut {
		t := writer{}
		t.member("list", marshal(strings.Join(a.path, ".")))
		t.member("shown", strconv.AppendInt(nil, a.count, 10))
		w.member(truncatedMember, t.close())
	}
	if a.omitted != nil {
		w.member(omittedMember, marshalNames(a.omitted))
		a.note("Too large to be shown: " + strings.Join(a.omitted, ", ") + ".")
	}
	return shown(w.close(), a.notes)
}

func (a *collection) cursor() string {
	c := cursor{index: a.index, size: a.size}
	if list := strings.Join(a.path, "."); list != a.tool.Operation.List {
		c.list = list
	}
	return c.encode(bindingOf(a.tool, a.given))
}

// left says which rows these are and how to get the next.
func (a *collection) left(next string) string {
	of := fmt.Sprintf("of %d", a.total)
	if !a.exact {
		of = fmt.Sprintf("of at most %d", a.total)
	}
	rows := fmt.Sprintf("Rows %d to %d %s", a.begin+1, a.begin+a.count, of)
	if a.count == 0 {
		rows = "No rows so far"
	}
	if a.cut {
		rows = "Cut for size: " + strings.ToLower(rows[:1]) + rows[1:]
	}
	advice := fmt.Sprintf(" For more, call %s again with the same arguments and cursor=%q.", a.tool.Name, next)
	if a.cut {
		advice += " With fields more rows fit."
	}
	return rows + "." + advice
}

// single is an answer that is one thing.
func (a *collection) single() Result {
	body := a.body
	if a.continued {
		return failed(Failure{Kind: InvalidArguments, Message: fmt.Sprintf("What %s was in the middle of is no longer there. Call it again without cursor.", a.tool.Name)})
	}
	if a.fields != nil {
		a.names = known(nil, "", body)
		body = a.fields.apply(make([]byte, 0, len(body)), body)
		if fault := a.faults(true); fault != nil {
			return *fault
		}
	}
	if len(body) > a.max {
		body = shrink(nil, body, a.max-reserve)
		a.note("Cut for size: only the small members are shown. Ask for others by fields, or for less.")
	}
	return shown(body, a.notes)
}

// faults are the fields that were asked for and that no row has. What goes on
// with a cursor was asked before, and other rows had them.
func (a *collection) faults(judged bool) *Result {
	if a.fields == nil || !judged || a.continued {
		return nil
	}
	missing := a.fields.unknown()
	if a.path != nil {
		// Members beside the list are shown in any case.
		kept := missing[:0]
		for _, name := range missing {
			if descend(a.body, strings.Split(name, ".")) == nil {
				kept = append(kept, name)
			}
		}
		missing = kept
	}
	if len(missing) == 0 {
		return nil
	}
	message := unknownFields(missing, a.names)
	r := failed(Failure{Kind: InvalidArguments, Message: fmt.Sprintf("%s: %s. Correct fields and call it again.", a.tool.Name, message)})
	return &r
}

// shown is a result with its text.
func shown(body []byte, notes []string) Result {
	text := string(body)
	if len(notes) > 0 {
		text += "\n\n" + strings.Join(notes, "\n")
	}
	return Result{Structured: body, Text: text}
}

func marshalNames(names []string) []byte {
	b := []byte{'['}
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, marshal(name)...)
	}
	return append(b, ']')
}
