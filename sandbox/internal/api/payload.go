package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// body reads the request's body up to a limit.
func (x *exchange) body(limit int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(nil, x.r.Body, limit))
	return b, bodyError(err)
}

func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return &problem{status: http.StatusRequestEntityTooLarge, Message: "The request body is too large."}
	}
	return badRequest("The request body could not be read.")
}

// object decodes the body of a change, numbers as they were written.
func (x *exchange) object() (map[string]any, error) {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(x.raw))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil || d.Decode(new(any)) != io.EOF || fields == nil {
		return nil, badRequest("The request body must be a JSON object.")
	}
	return fields, nil
}

// input is the body of a change as a payload. No body is no fields.
func (x *exchange) input() (*payload, error) {
	if len(bytes.TrimSpace(x.raw)) == 0 {
		return &payload{"", map[string]any{}, faults{}}, nil
	}
	fields, err := x.object()
	return &payload{"", fields, faults{}}, err
}

// payload is a JSON object with the path that leads to it, for messages.
type payload struct {
	path   string
	fields map[string]any
	faults faults
}

// fault notes what is wrong with a field; its name goes where format has %s.
// Laravel spells the names of nested fields as they are, the others in words.
func (p *payload) fault(field, format string) {
	name := p.path + field
	if p.path == "" {
		name = label(field)
	}
	p.faults.add(p.path+field, fmt.Sprintf(format, name))
}

func (p *payload) faulty(field string) bool { return p.faults[p.path+field] != nil }

// has tells whether the field is there, be it null: a change applies to what is
// there and leaves the rest.
func (p *payload) has(field string) bool { _, ok := p.fields[field]; return ok }

func (p *payload) required(field string) {
	if v := p.fields[field]; v == nil || v == "" {
		p.fault(field, "The %s field is required.")
	}
}

// text reads a string without the space around it; null and absent are the same
// as an empty one.
func (p *payload) text(field string, required bool, least, most int) string {
	switch v := p.fields[field].(type) {
	case string:
		v = strings.TrimSpace(v)
		switch n := len([]rune(v)); {
		case n == 0 && required:
		case n > 0 && n < least || n > most:
			if least == most {
				p.fault(field, "The %s field must be "+strconv.Itoa(most)+" characters.")
			} else {
				p.fault(field, "The %s field must not be greater than "+strconv.Itoa(most)+" characters.")
			}
			return ""
		default:
			return v
		}
	case nil:
		if !required {
			return ""
		}
	default:
		p.fault(field, "The %s field must be a string.")
		return ""
	}
	p.fault(field, "The %s field is required.")
	return ""
}

// setText changes a text if the field is there.
func (p *payload) setText(field string, to *string) {
	if p.has(field) {
		*to = p.text(field, false, 1, 255)
	}
}

// setCode changes a code of so many letters if the field is there.
func (p *payload) setCode(field string, letters int, to *string, known func(string) bool) {
	if !p.has(field) {
		return
	}
	code := strings.ToUpper(p.text(field, false, letters, letters))
	if code != "" && !known(code) {
		p.fault(field, invalid)
	}
	*to = code
}

// setOneOf changes a text to one of some.
func (p *payload) setOneOf(field string, to *string, values ...string) {
	if !p.has(field) {
		return
	}
	*to = p.text(field, false, 1, 255)
	for _, v := range values {
		if v == *to {
			return
		}
	}
	if *to != "" {
		p.fault(field, invalid)
	}
}

// setURL changes a link if the field is there.
func (p *payload) setURL(field string, to *string) {
	if !p.has(field) {
		return
	}
	*to = p.text(field, false, 1, 2048)
	if u, err := url.Parse(*to); *to != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		p.fault(field, "The %s field must be a valid URL.")
	}
}

// setDate changes a date if the field is there.
func (p *payload) setDate(field string, to *ledger.Date) {
	if !p.has(field) {
		return
	}
	*to = 0
	text := p.text(field, false, 1, 40)
	if text == "" {
		return
	}
	d, err := ledger.ParseDate(text)
	if err != nil || d == 0 {
		p.fault(field, "The %s field must be a valid date.")
		return
	}
	*to = d
}

// integer reads a whole number; null and absent are the same.
func (p *payload) integer(field string, required bool, least int64) (int64, bool) {
	v, present := p.fields[field]
	if !present || v == nil {
		if required {
			p.fault(field, "The %s field is required.")
		}
		return 0, false
	}
	n, ok := v.(json.Number)
	if !ok {
		p.fault(field, "The %s field must be an integer.")
		return 0, false
	}
	i, err := n.Int64()
	switch {
	case err != nil || i > math.MaxInt32 || i < -math.MaxInt32:
		p.fault(field, "The %s field must be an integer.")
	case i < least:
		p.fault(field, "The %s field must be at least "+strconv.FormatInt(least, 10)+".")
	default:
		return i, true
	}
	return 0, false
}

// maxUnits bounds a quantity, so that no sum of products overflows.
const maxUnits = 10_000_000

// units reads a required quantity.
func (p *payload) units(field string, least int64) int64 {
	n, _ := p.integer(field, true, least)
	if n > maxUnits {
		p.fault(field, "The %s field must not be greater than "+strconv.Itoa(maxUnits)+".")
	}
	return n
}

// decimal reads an exact number of zero or more; null and absent are the same.
func (p *payload) decimal(field string, required, negative bool) ledger.Decimal {
	switch v := p.fields[field].(type) {
	case json.Number:
		d, err := ledger.ParseDecimal(v.String())
		if err != nil {
			p.fault(field, "The %s field must have 0-4 decimal places.")
		} else if d < 0 && !negative {
			p.fault(field, "The %s field must be at least 0.")
		}
		return d
	case nil:
		if required {
			p.fault(field, "The %s field is required.")
		}
	default:
		p.fault(field, "The %s field must be a number.")
	}
	return 0
}

// setDecimal changes a number if the field is there.
func (p *payload) setDecimal(field string, to *ledger.Decimal) {
	if p.has(field) {
		*to = p.decimal(field, false, false)
	}
}

// setRef changes what the id in the field refers to, if the field is there.
func setRef[T any](p *payload, field string, to **T, find func(int64) *T) {
	if !p.has(field) {
		return
	}
	*to = nil
	if id, ok := p.integer(field, false, 1); ok {
		if *to = find(id); *to == nil {
			p.fault(field, invalid)
		}
	}
}

func (p *payload) list(field string) []any {
	switch v := p.fields[field].(type) {
	case nil:
	case []any:
		return v
	default:
		p.fault(field, "The %s field must be an array.")
	}
	return nil
}

// lines calls row for every object of an array, within bounds.
func (p *payload) lines(field string, row func(*payload)) {
	all := p.list(field)
	if len(all) > maxLines {
		p.fault(field, "The %s field must not have more than "+strconv.Itoa(maxLines)+" items.")
		return
	}
	for i, v := range all {
		if o, ok := p.object(field, i, v); ok {
			row(o)
		}
	}
}

func (p *payload) object(field string, i int, v any) (*payload, bool) {
	at := indexed(field, i)
	fields, ok := v.(map[string]any)
	if !ok {
		p.fault(at, "The %s field must be an object.")
	}
	return &payload{p.path + at + ".", fields, p.faults}, ok
}

const invalid = "The selected %s is invalid."

// maxLines bounds a document.
const maxLines = 500
