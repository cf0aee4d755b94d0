package toolcall

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
)

// reserve is room for the members that say what was cut.
const reserve = 512

// truncate cuts the largest list of an answer so that the whole fits, and says
// what was left out and how to get it.
func (r *runner) truncate(t *catalogue.Tool, answer json.RawMessage) (json.RawMessage, string) {
	name, list := largestList(answer)
	if list == nil {
		return r.tooLarge(answer)
	}
	budget := r.maxBytes - reserve - (len(answer) - len(list))
	kept, total, end := 0, 0, 1
	position, isPaged := position(answer)
	// A page that is cut can only be continued where a smaller page begins.
	var ends []int
	for element := range elements(list) {
		total++
		size := len(element)
		if total > 1 {
			size++
		}
		if end+size+1 <= budget {
			end += size
			kept = total
			ends = append(ends, end)
		} else {
			// Nothing after the first that does not fit is kept.
			budget = 0
		}
	}
	if kept == 0 {
		return r.tooLarge(answer)
	}
	note := writer{}
	note.member("list", name)
	var advice string
	// A list that is longer than a page is not the one that the pages are of.
	isPaged = isPaged && int64(total) <= position.size
	if smaller := smallerPage(t, position, kept); isPaged && smaller > 0 && takes(t, "page") {
		kept = smaller
		next := (position.current-1)*position.size/int64(smaller) + 2
		advice = fmt.Sprintf("For the rest, call %s again with per_page=%d and page=%d.", t.Name, smaller, next)
		note.member("next", fmt.Appendf(nil, `{"per_page":%d,"page":%d}`, smaller, next))
	} else {
		advice = "To see the rest, ask for less: a shorter period, or more filters."
	}
	note.member("shown", strconv.AppendInt(nil, int64(kept), 10))
	note.member("of", strconv.AppendInt(nil, int64(total), 10))
	shortened := slices.Concat(list[:ends[kept-1]], []byte("]"))
	w := writer{}
	for member, value := range members(answer) {
		if string(member) == string(name) {
			value = shortened
		}
		w.raw(member, value)
	}
	w.member(truncatedMember, note.close())
	return w.close(), fmt.Sprintf("Cut for size: %d of %d entries of %s are shown. %s", kept, total, name, advice)
}

// smallerPage is the largest size of page that holds at most kept entries and
// for which a page begins where this one did, so that none is lost or repeated;
// 0 when there is none.
func smallerPage(t *catalogue.Tool, p page, kept int) int {
	for i := range t.Operation.Parameters {
		parameter := &t.Operation.Parameters[i]
		if parameter.Argument != "per_page" {
			continue
		}
		least := 1
		if minimum := parameter.Schema.Minimum; minimum != nil {
			least = max(least, int(*minimum))
		}
		before := (p.current - 1) * p.size
		for size := kept; size >= least; size-- {
			if before%int64(size) == 0 {
				return size
			}
		}
	}
	return 0
}

// tooLarge is an answer that cannot be cut at a list.
func (r *runner) tooLarge(answer json.RawMessage) (json.RawMessage, string) {
	w := writer{}
	for member, value := range members(answer) {
		if len(value) <= 2000 && len(w.b)+len(member)+len(value) < r.maxBytes-reserve {
			w.raw(member, value)
		}
	}
	w.member(truncatedMember, []byte(`{"list":null}`))
	return w.close(), "Cut for size: only the small members are shown. Ask for less: a shorter period, a smaller per_page, or more filters."
}

func (w *writer) raw(name, value []byte) {
	if w.b == nil {
		w.b = append(w.b, '{')
	} else {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, name...)
	w.b = append(w.b, ':')
	w.b = append(w.b, value...)
}

func largestList(answer []byte) (name, list []byte) {
	for member, value := range members(answer) {
		if value[0] == '[' && len(value) > len(list) {
			name, list = member, value
		}
	}
	return name, list
}

// members walks the members of a compact, valid JSON object, without decoding:
// names come with their quotes.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i := 1; i < len(object)-1; {
			end := skip(object, i)
			name := object[i:end]
			i = end + 1
			end = skip(object, i)
			if !yield(name, object[i:end]) {
				return
			}
			i = end + 1
		}
	}
}

// elements walks the elements of a compact, valid JSON list.
func elements(list []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := 1; i < len(list)-1; {
			end := skip(list, i)
			if !yield(list[i:end]) {
				return
			}
			i = end + 1
		}
	}
}

// skip gives the end of the JSON value that begins at i.
func skip(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			i++
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
			if depth == 0 {
				return i + 1
			}
		case ',', ':':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
