package composite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// maxText bounds the text of a fetched record.
const maxText = 60_000

// fetched has the members that ChatGPT knows, and no others.
type fetched struct {
	ID       string            `json:"id"`
	Title    string            `json:"title"`
	Text     string            `json:"text"`
	URL      string            `json:"url"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// maxVendorPages is how far a vendor is looked for, maxOutline how deep a record
// is taken apart.
const (
	maxVendorPages = 10
	maxOutline     = 10
)

// fetch gives one record as text, by an id that search gave.
func fetch(s *session, a arguments) (any, *toolcall.Failure) {
	if strings.TrimSpace(a.text("id")) == noteID {
		return fetched{
			ID: noteID, Title: "A note of search, not a record", URL: s.links.page("", noteID),
			Text: "The last result of a search says in its title what the search left out: what could not be read, or that there are more hits than were shown. There is no record behind it. Search again, for something more exact if there were too many.",
		}, nil
	}
	at, ok := parseAddress(a.text("id"))
	if !ok {
		// An earlier server's ids were numbers, beside a type and a company.
		var failure *toolcall.Failure
		if at, ok, failure = s.plainAddress(a); failure != nil {
			return nil, failure
		}
	}
	if !ok {
		return nil, &toolcall.Failure{Kind: toolcall.InvalidArguments, Message: "fetch was not called: id must be one that search gave, such as bill:COMPANY_UUID:5101 or report:12."}
	}
	if operation := reading(at.kind); !s.has(operation) {
		f := absent()
		f.Message = fmt.Sprintf("fetch cannot read a %s. %s", strings.ToLower(titleOf(at.kind)), f.Message)
		return nil, f
	}
	var owner company
	if at.kind != reportKind {
		s.about = []string{at.company}
		s.part("the company's name and currency", func() *toolcall.Failure {
			list, failure := s.companies()
			if failure != nil {
				return failure
			}
			for _, c := range list {
				if string(c.UUID) == at.company {
					owner = c
				}
			}
			return nil
		})
	}
	var main, stock json.RawMessage
	var failed *toolcall.Failure
	s.part("the record", func() *toolcall.Failure {
		main, failed = s.record(at)
		return failed
	})
	if at.kind == "item" {
		s.part("the item's stock", func() (failure *toolcall.Failure) {
			stock, failure = s.raw(query{operation: "inventoryBalances", path: map[string]string{"companyUuid": at.company, "inventoryId": at.id}})
			return failure
		})
	}
	failure := s.wait()
	if failed != nil { // without the record itself the rest is nothing
		failure = failed
	}
	if failure != nil {
		return nil, failure
	}

	var r record
	_ = json.Unmarshal(main, &r) // what does not fit stays empty
	if r.ID == "" {
		r.ID = text(at.id)
	}
	out := fetched{ID: at.String(), Title: r.headline(at.kind, owner), URL: s.links.page(r.Link, at.String()), Metadata: map[string]string{"type": at.kind}}
	note := func(name string, value text) {
		if value != "" {
			out.Metadata[name] = string(value)
		}
	}
	note("company", owner.Name)
	note("company_id", owner.ID)
	note("date", r.date())
	if amount := r.amount(); amount.known() {
		note("amount", text(amount.String()))
	}
	currency := r.Currency
	if currency == "" {
		currency = owner.Currency
	}
	note("currency", currency)

	t := outline{}
	t.value(main, "", 0)
	if stock != nil {
		var balances struct {
			Data json.RawMessage `json:"balances_data"`
		}
		if json.Unmarshal(stock, &balances) == nil && balances.Data != nil {
			t.line(0, "stock:")
			t.value(balances.Data, "", 1)
		}
	}
	out.Text = t.String()
	if cut := len(out.Text) - maxText; cut > 0 {
		kept := strings.ToValidUTF8(out.Text[:maxText], "")
		if end := strings.LastIndexByte(kept, '\n'); end > 0 {
			kept = kept[:end]
		}
		out.Text = kept + fmt.Sprintf("\n[cut here: %d of %d bytes are shown]", len(kept), len(out.Text))
		note("truncated", "true")
	}
	for _, m := range s.incomplete() {
		missing := strings.Join(m.Parts, ", ") + ": " + m.Reason
		out.Text += "\n[missing here: " + missing + "]"
		note("incomplete", text(strings.TrimPrefix(out.Metadata["incomplete"]+"; "+missing, "; ")))
	}
	return out, nil
}

// reading is the operation that reads a kind.
func reading(name string) string {
	if k, ok := kindOf(name); ok {
		return k.reading()
	}
	return "getReportData"
}

// plainAddress puts an address together from a number, a type and a company.
func (s *session) plainAddress(a arguments) (address, bool, *toolcall.Failure) {
	wanted, reports, rest := asked(a.text("type"))
	at := address{kind: reportKind, id: strings.TrimSpace(a.text("id"))}
	if rest != "" || len(wanted) > 1 || reports == (len(wanted) == 1) {
		return address{}, false, nil
	}
	if len(wanted) == 1 {
		at.kind = wanted[0].name
		c, failure := s.company("companyUuid", a.text("companyUuid"))
		if failure != nil {
			return address{}, false, failure
		}
		at.company = string(c.UUID)
	}
	_, ok := parseAddress(at.String())
	return at, ok, nil
}

// record reads the record itself.
func (s *session) record(at address) (json.RawMessage, *toolcall.Failure) {
	raw, failure := s.read(at)
	if failure != nil && failure.Kind == toolcall.NotFound {
		return nil, &toolcall.Failure{Kind: toolcall.NotFound, Message: "NeonPanel has no such record. Take the id from search."}
	}
	return raw, failure
}

func (s *session) read(at address) (json.RawMessage, *toolcall.Failure) {
	if at.kind == reportKind {
		return s.raw(query{operation: "getReportData", path: map[string]string{"reportId": at.id}})
	}
	k, _ := kindOf(at.kind)
	path := map[string]string{"companyUuid": at.company}
	if k.read != "" {
		path[k.argument] = at.id
		return s.raw(query{operation: k.read, path: path})
	}
	// The API reads no single vendor.
	for n := 1; ; n++ {
		var found page[json.RawMessage]
		q := query{operation: k.list, path: path}.with("per_page", fmt.Sprint(s.allowed(k.list, 100))).with("page", fmt.Sprint(n))
		if failure := s.get(q, &found); failure != nil {
			return nil, failure
		}
		for _, raw := range found.Data {
			var v record
			if json.Unmarshal(raw, &v); string(v.ID) == at.id {
				return raw, nil
			}
		}
		switch {
		case n >= found.last():
			return nil, &toolcall.Failure{Kind: toolcall.NotFound}
		case n >= maxVendorPages:
			return nil, &toolcall.Failure{Kind: toolcall.Unavailable, Message: fmt.Sprintf(
				"The vendor is not among the first %d pages of %d, and the API reads no single vendor. Find it by name with the tool that lists vendors.", n, found.last())}
		}
	}
}

// outline writes JSON as lines that people and models read: one member per line,
// indented, numbers as they stand. What is null or empty is left out.
type outline struct{ b strings.Builder }

func (o *outline) String() string { return strings.TrimSuffix(o.b.String(), "\n") }

func (o *outline) line(depth int, text string) {
	o.b.WriteString(strings.Repeat("  ", depth))
	o.b.WriteString(text)
	o.b.WriteByte('\n')
}

func (o *outline) value(raw json.RawMessage, label string, depth int) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return
	}
	if depth > maxOutline && (raw[0] == '{' || raw[0] == '[') {
		o.line(depth, label+": "+string(raw))
		return
	}
	switch raw[0] {
	case '{':
		if string(raw) == "{}" {
			return
		}
		if label != "" {
			o.line(depth, label+":")
			depth++
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		_, _ = d.Token()
		for d.More() {
			name, err := d.Token()
			var member json.RawMessage
			if err != nil || d.Decode(&member) != nil {
				return
			}
			o.value(member, fmt.Sprint(name), depth)
		}
	case '[':
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil || len(items) == 0 {
			return
		}
		if label != "" {
			o.line(depth, label+":")
			depth++
		}
		for i, item := range items {
			o.value(item, fmt.Sprintf("%d", i+1), depth)
		}
	case 'n':
	default:
		var s text
		if json.Unmarshal(raw, &s) != nil || s == "" {
			return
		}
		plain := strings.ToValidUTF8(string(s), string(utf8.RuneError))
		o.line(depth, label+": "+strings.ReplaceAll(plain, "\n", "\n"+strings.Repeat("  ", depth+1)))
	}
}
