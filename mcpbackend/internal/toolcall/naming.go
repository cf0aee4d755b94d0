package toolcall

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

const (
	// naming is how long a question to a person may wait for the names of what it
	// is about.
	naming = 1500 * time.Millisecond
	// mostNamed bounds the calls that are made for the names of one question.
	mostNamed = 4
	// mostPages is how far a list is read for the name of one of its records, of
	// which NeonPanel reads none by its id.
	mostPages = 5
	// longestName bounds one of them, in characters.
	longestName = 120
)

// nameIDs gives the names of what the ids among the arguments of a change stand
// for, by argument: a person who is asked to agree knows no ids. It asks the API
// as the caller, only for what the caller may read, all at once, and for a
// bounded time; what is not found in it keeps its id.
func (r *runner) nameIDs(ctx context.Context, t *catalogue.Tool, given values, c Caller) map[string]string {
	// Not a deadline: to give up early says nothing about the API, and must not
	// count as its timeout.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(naming, cancel).Stop()

	var mu sync.Mutex
	names := map[string]string{}
	// The first name of an argument stays.
	note := func(argument, name string) {
		if name = presentable(name, longestName); name == "" {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if names[argument] == "" {
			names[argument] = name
		}
	}
	var work sync.WaitGroup
	calls := 0
	look := func(f func()) {
		if calls++; calls <= mostNamed {
			work.Go(func() {
				defer func() {
					if recover() != nil {
						r.logger.Error("a name for a question could not be looked up", "tool", t.Name)
					}
				}()
				f()
			})
		}
	}
	for i, raw := range given {
		p := &t.Operation.Parameters[i]
		switch {
		case raw == nil || p.Hidden || raw[0] == '[' || raw[0] == '{':
		case p.Names == catalogue.Companies:
			if r.companies != nil && (c.May == nil || c.May(p.NameScopes)) {
				look(func() { note(p.Argument, r.companies.Name(ctx, c, text(raw))) })
			}
		case p.NamedBy != "" && r.tools != nil:
			by, ok := r.tools.Lookup(p.NamedBy)
			if !ok || !by.ReadOnly || c.May != nil && !c.May(by.Scopes) {
				continue
			}
			look(func() {
				record := r.row(ctx, &by, t, given, text(raw), c)
				if record == nil {
					return
				}
				note(p.Argument, label(record))
				if p.In == catalogue.InPath {
					// What is to be changed names what it refers to.
					for j, raw := range given {
						q := &t.Operation.Parameters[j]
						if member, ok := strings.CutSuffix(q.Name, "_id"); ok && raw != nil && q.In == catalogue.InBody {
							if inner := descend(record, []string{member}); inner != nil && scalar(inner, "id") == text(raw) {
								note(q.Argument, label(inner))
							}
						}
					}
				}
			})
		}
	}
	done := make(chan struct{})
	go func() {
		work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	found := make(map[string]string, len(names))
	for argument, name := range names {
		found[argument] = name
	}
	return found
}

// row is the record with an id, as the tool by shows it: as its one answer, or
// among the rows of its first pages. It is nil when it is not there.
func (r *runner) row(ctx context.Context, by, t *catalogue.Tool, given values, id string, c Caller) []byte {
	request := neonpanel.Request{
		Operation: by.Operation.ID, Method: by.Operation.Method, Path: by.Operation.Path,
		Bearer: c.Bearer, PathArguments: map[string]string{},
	}
	pages := -1 // where the number of the page is in the query
	for i := range by.Operation.Parameters {
		p := &by.Operation.Parameters[i]
		switch {
		case p.In == catalogue.InPath:
			j := argumentInPath(t, p.Name)
			if j < 0 || given[j] == nil {
				return nil
			}
			request.PathArguments[p.Name] = text(given[j])
		case p.In == catalogue.InQuery && p.Name == catalogue.PageArgument:
			pages = len(request.Query)
			request.Query = append(request.Query, neonpanel.Pair{Name: p.Name, Value: "1"})
		case p.In == catalogue.InQuery && p.Name == catalogue.PerPageArgument && p.Schema.Maximum != nil:
			request.Query = append(request.Query, neonpanel.Pair{Name: p.Name, Value: strconv.Itoa(int(min(*p.Schema.Maximum, 100)))})
		case p.Required && p.In != catalogue.InGateway:
			return nil
		}
	}
	for page := 1; page <= mostPages && ctx.Err() == nil; page++ {
		if page > 1 {
			// A request that was sent may still be read.
			request.Query = slices.Clone(request.Query)
			request.Query[pages].Value = strconv.Itoa(page)
		}
		response, err := r.api.Do(ctx, request)
		if err != nil {
			return nil
		}
		body, ok := object(response)
		if !ok {
			return nil
		}
		if by.Operation.List == "" {
			return body
		}
		list := descend(body, strings.Split(by.Operation.List, "."))
		if list == nil || list[0] != '[' {
			return nil
		}
		for row := range elements(list) {
			if scalar(row, "id") == id || scalar(row, "uuid") == id {
				return row
			}
		}
		if last, err := strconv.Atoi(scalar(body, "last_page")); pages < 0 || err != nil || page >= last {
			return nil
		}
	}
	return nil
}

func argumentInPath(t *catalogue.Tool, name string) int {
	for i := range t.Operation.Parameters {
		if p := &t.Operation.Parameters[i]; p.In == catalogue.InPath && p.Name == name {
			return i
		}
	}
	return -1
}

// labelled are the members that tell a person which record it is, in groups of
// which the first that there is counts.
var labelled = [][]string{
	{"ref_number", "sku", "product.sku", "document.ref_number"},
	{"name", "product.name", "title", "listing.title", "description"},
	{"vendor.name", "customer.name"},
	{"asin", "listing.asin"},
	{"country_code"},
	{"due_date", "date", "transaction_date", "date_order_placed", "date_shipment_sent", "date_order_assembled"},
	{"amount", "total_amount", "amount_due"},
}

// label names a record.
func label(record []byte) string {
	if record == nil {
		return ""
	}
	var parts []string
	for _, group := range labelled {
		for _, member := range group {
			value := scalar(record, member)
			if value == "" {
				continue
			}
			if group[0] == "amount" {
				value = strings.TrimSpace(value + " " + scalar(record, "currency"))
			}
			parts = append(parts, presentable(value, longestName/2))
			break
		}
	}
	return strings.Join(parts, ", ")
}

// scalar is a member as text; empty when there is none, or null.
func scalar(record []byte, member string) string {
	if len(record) == 0 {
		return ""
	}
	value := descend(record, strings.Split(member, "."))
	if len(value) == 0 || value[0] == '{' || value[0] == '[' || string(value) == "null" {
		return ""
	}
	return strings.TrimSpace(text(json.RawMessage(value)))
}

// presentable makes one short line of what others wrote, which a person is to
// read and trust: no control characters, and none that turn the direction of
// what follows.
func presentable(value string, longest int) string {
	runes := []rune(strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\r', r == 0x2028, r == 0x2029:
			return ' '
		case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, value)))
	if len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return string(runes)
}
