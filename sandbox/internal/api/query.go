package api

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// maxParams is PHP's max_input_vars: what comes after is dropped.
const maxParams = 1000

// params is a query string as PHP understands it:
//
//   - of name=a&name=b only the last counts;
//   - name[]=a&name[]=b and name[0]=a&name[1]=b make an array;
//   - name[key]=a makes an object.
//
// Values are trimmed, and an empty one is the same as none, as Laravel's global
// middleware has it.
type params struct {
	text  string
	array bool
	keys  []string
	items []*params
}

func parseQuery(raw string) *params {
	root := &params{array: true}
	for n := 0; raw != "" && n < maxParams; n++ {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = strings.TrimLeft(unescape(name), " ")
		if i := strings.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		if name == "" || name[0] == '[' {
			continue
		}
		root.set(name, strings.TrimSpace(unescape(value)))
	}
	return root
}

// unescape leaves bad percent signs as they are, as PHP does.
func unescape(s string) string {
	if t, err := url.QueryUnescape(s); err == nil {
		return t
	}
	return s
}

func (p *params) set(name, value string) {
	base, rest := name, ""
	if i := strings.IndexByte(name, '['); i > 0 && strings.IndexByte(name[i:], ']') > 0 {
		base, rest = name[:i], name[i:]
	}
	// PHP's variables have no dots, spaces or lone brackets in their names.
	at := p.child(variable.Replace(base))
	for depth := 0; depth < 8 && len(rest) > 1 && rest[0] == '['; depth++ {
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			break
		}
		key := rest[1:end]
		rest = rest[end+1:]
		if !at.array {
			*at = params{array: true}
		}
		if key == "" {
			key = strconv.Itoa(at.next())
		}
		at = at.child(key)
	}
	*at = params{text: value}
}

var variable = strings.NewReplacer(".", "_", " ", "_", "[", "_")

// next is the number that [] stands for: one more than the largest so far.
func (p *params) next() int {
	n := 0
	for _, k := range p.keys {
		if i, err := strconv.Atoi(k); err == nil && i >= n && i < math.MaxInt32 {
			n = i + 1
		}
	}
	return n
}

func (p *params) child(key string) *params {
	for i, k := range p.keys {
		if k == key {
			return p.items[i]
		}
	}
	c := &params{}
	p.keys = append(p.keys, key)
	p.items = append(p.items, c)
	return c
}

func (p *params) get(key string) *params {
	if p == nil {
		return nil
	}
	for i, k := range p.keys {
		if k == key {
			return p.items[i]
		}
	}
	return nil
}

// scalar returns a single value; absent and empty are the same.
func (p *params) scalar(key string) string {
	if v := p.get(key); v != nil && !v.array {
		return v.text
	}
	return ""
}

// list returns an array, or a scalar as an array of one.
func (p *params) list(key string) []string {
	v := p.get(key)
	switch {
	case v == nil:
		return nil
	case !v.array:
		if v.text == "" {
			return nil
		}
		return []string{v.text}
	}
	var out []string
	for _, item := range v.items {
		if !item.array && item.text != "" {
			out = append(out, item.text)
		}
	}
	return out
}

// form reads parameters and collects their faults.
type form struct {
	*params
	faults faults
}

func (x *exchange) form() *form { return &form{params: x.query, faults: faults{}} }

// integer reads a whole number between lo and hi.
func (f *form) integer(field string, lo, hi, fallback int) int {
	v := f.get(field)
	if v == nil || !v.array && v.text == "" {
		return fallback
	}
	n, err := strconv.Atoi(v.text)
	switch {
	case v.array || err != nil:
		f.faults.add(field, fmt.Sprintf("The %s field must be an integer.", label(field)))
	case n < lo:
		f.faults.add(field, fmt.Sprintf("The %s field must be at least %d.", label(field), lo))
	case n > hi:
		f.faults.add(field, fmt.Sprintf("The %s field must not be greater than %d.", label(field), hi))
	default:
		return n
	}
	return fallback
}

// date reads a day. Date-times are taken too: NeonPanel declares `format: date`
// but its examples are date-times, so both are in use.
func (f *form) date(field string, fallback ledger.Date) ledger.Date {
	s := f.scalar(field)
	if s == "" {
		return fallback
	}
	d, err := ledger.ParseDate(s)
	if err != nil {
		f.faults.add(field, fmt.Sprintf("The %s field must be a valid date.", label(field)))
		return fallback
	}
	return d
}

func (f *form) required(field string) {
	if f.scalar(field) == "" {
		f.faults.add(field, fmt.Sprintf("The %s field is required.", label(field)))
	}
}

// span reads start_date (required) and end_date (default today).
func (f *form) span(today ledger.Date) (start, end ledger.Date) {
	f.required("start_date")
	start, end = f.date("start_date", 0), f.date("end_date", today)
	if len(f.faults) == 0 && f.scalar("end_date") != "" && end < start {
		f.faults.add("end_date", "The end date field must be a date after or equal to start date.")
	}
	return start, end
}

// limits are the page sizes of a list.
type limits struct{ min, max, def int }

// The core lists declare 10 to 60 rows a page. The lists of documents declare no
// page parameters at all, though they are paged; their examples show 15 rows,
// payment requests say 20, vendors and services 100. For those, sizes from 1 to
// 100 are taken.
var (
	coreList     = limits{10, 60, 30}
	documentList = limits{1, 100, 15}
	paymentList  = limits{1, 100, 20}
	directory    = limits{1, 100, 100}
)

// paging is the head of every paged answer: at the top level, beside data.
type paging struct {
	CurrentPage int `json:"current_page"`
	PerPage     int `json:"per_page"`
	LastPage    int `json:"last_page"`
}

func (f *form) page(l limits) paging {
	return paging{CurrentPage: f.integer("page", 1, 1<<31-1, 1), PerPage: f.integer("per_page", l.min, l.max, l.def)}
}

// cut returns the page's rows and fills in the last page, which is 1 for none.
func cut[T any](p *paging, all []T) []T {
	p.LastPage = max(1, (len(all)+p.PerPage-1)/p.PerPage)
	if p.CurrentPage > p.LastPage {
		return nil
	}
	from := (p.CurrentPage - 1) * p.PerPage
	return all[from:min(from+p.PerPage, len(all))]
}

// each renders rows; never nil, so that no rows are [] and not null.
func each[T, V any](rows []T, render func(T) V) []V {
	out := make([]V, 0, len(rows))
	for _, row := range rows {
		out = append(out, render(row))
	}
	return out
}

// orNull makes an empty string null.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
