package toolcall

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// checker checks values against schemas and collects the faults.
type checker struct {
	faults []string
	// anyPageSize takes every size of pages that could be meant: it only says how
	// many rows are wanted.
	anyPageSize bool
	// content is the argument that holds a file: how large it may be is said of the
	// file, not of its spelling.
	content string
}

const maxFaults = 20

func (c *checker) fault(path, format string, arguments ...any) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, path+" "+fmt.Sprintf(format, arguments...))
	}
}

// argument checks one argument, after the conversions that change no meaning:
// models send numbers as strings, one value or object for a list, a time for a date.
// What needs no conversion comes back byte for byte.
func (c *checker) argument(p *catalogue.Parameter, raw json.RawMessage) json.RawMessage {
	raw = convertArgument(p, bytes.TrimSpace(raw))
	value, ok := decode(raw)
	if !ok {
		c.fault(p.Argument, "is not JSON")
		return nil
	}
	before := len(c.faults)
	schema := p.Schema
	if c.anyPageSize && p.Unlisted && p.Argument == catalogue.PerPageArgument {
		one := 1.0
		schema = &catalogue.Schema{Type: schema.Type, Minimum: &one}
	}
	if p.In == catalogue.InUpload && p.Argument == c.content {
		schema = &catalogue.Schema{Type: schema.Type}
	}
	c.value(schema, value, p.Argument)
	switch {
	case len(c.faults) > before:
		// A name or a uuid where a number is wanted: say where numbers are.
		if p.Schema.Description != "" && wantsNumber(p.Schema) && holdsText(value) {
			c.faults[len(c.faults)-1] += " (" + p.Argument + ": " + describe(p.Schema) + ")"
		}
	case p.Names == catalogue.Companies:
		c.company(p, raw)
	case p.Uniform != "":
		c.uniform(p, value)
	case p.In == catalogue.InPath && !neonpanel.ValidPathArgument(text(raw)):
		c.fault(p.Argument, "must be 1 to 128 letters, digits and . _ : ~ - only, beginning with a letter or digit; %s", describe(p.Schema))
	}
	return raw
}

func wantsNumber(s *catalogue.Schema) bool {
	return s.Type == "integer" || s.Type == "array" && s.Items != nil && s.Items.Type == "integer"
}

func holdsText(value any) bool {
	switch v := value.(type) {
	case string:
		return true
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { _, ok := item.(string); return ok })
	}
	return false
}

// uniform refuses entries that differ where the API would drop all but those
// like the first, without a word.
func (c *checker) uniform(p *catalogue.Parameter, value any) {
	entries, _ := value.([]any)
	var first any
	for i, entry := range entries {
		object, _ := entry.(map[string]any)
		if i == 0 {
			first = object[p.Uniform]
		} else if !equal(object[p.Uniform], first) {
			c.fault(p.Argument, "must have the same %s in every entry; NeonPanel would drop the others", p.Uniform)
			return
		}
	}
}

// company refuses what neither is a company's uuid or id nor can be its name.
func (c *checker) company(p *catalogue.Parameter, raw json.RawMessage) {
	var items []json.RawMessage
	if raw[0] != '[' {
		items = append(items, raw)
	} else {
		// It was checked before.
		_ = json.Unmarshal(raw, &items)
	}
	for _, item := range items {
		if !plausible(text(item)) {
			c.fault(p.Argument, `must be 1 to 128 characters and hold no control character — %s`, describe(p.Schema))
			return
		}
	}
}

func describe(s *catalogue.Schema) string {
	if s.Description != "" {
		return strings.TrimSuffix(s.Description, ".")
	}
	return "copy it from the answer that holds it"
}

// decode reads a value; numbers keep their digits.
func decode(raw json.RawMessage) (any, bool) {
	// Most arguments are short and plain, and need no decoder of their own. They
	// have been through one as part of the whole.
	switch {
	case len(raw) == 0:
		return nil, false
	case raw[0] == '"' && plain(raw):
		return string(raw[1 : len(raw)-1]), true
	case integer.Match(raw):
		return json.Number(raw), true
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return nil, false
	}
	_, err := decoder.Token()
	return value, err == io.EOF
}

// plain says that raw is a string of ASCII without escapes.
func plain(raw json.RawMessage) bool {
	if len(raw) < 2 {
		return false
	}
	for _, c := range raw[1 : len(raw)-1] {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return raw[len(raw)-1] == '"'
}

var (
	integer = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,18})$`)
	number  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
)

// convertArgument makes them for one argument. A company's id is a number, which
// some write as 106.0.
func convertArgument(p *catalogue.Parameter, raw json.RawMessage) json.RawMessage {
	if p.Names == catalogue.Companies && p.Schema.Type == "string" && number.Match(raw) {
		if digits := asInteger(string(raw)); digits != "" {
			raw = json.RawMessage(digits)
		}
	}
	return convert(p.Schema, raw)
}

// convert makes the conversions of [checker.argument], in entries and members
// too.
func convert(s *catalogue.Schema, raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || string(raw) == "null" {
		return raw
	}
	isString := len(raw) > 1 && raw[0] == '"'
	var given string
	if isString {
		given = text(raw)
	}
	trimmed := strings.TrimSpace(given)
	switch s.Type {
	case "integer":
		if !isString {
			trimmed = string(raw)
		}
		if digits := asInteger(trimmed); digits != "" {
			return json.RawMessage(digits)
		}
	case "number":
		if isString && number.MatchString(trimmed) {
			return json.RawMessage(trimmed)
		}
	case "boolean":
		if isString && (strings.EqualFold(trimmed, "true") || strings.EqualFold(trimmed, "false")) {
			return json.RawMessage(strings.ToLower(trimmed))
		}
	case "string":
		if !isString {
			if number.Match(raw) {
				return marshal(string(raw))
			}
			return raw
		}
		if s.Format == "date" && len(given) > 10 && given[10] == 'T' && isTime(given) {
			return marshal(given[:10])
		}
		for _, option := range s.Enum {
			if strings.EqualFold(text(option), trimmed) {
				return option
			}
		}
	case "array":
		switch {
		case raw[0] == '[':
			if s.Items == nil {
				return raw
			}
			var items []json.RawMessage
			if json.Unmarshal(raw, &items) != nil {
				return raw
			}
			changed := false
			for i, item := range items {
				items[i] = convert(s.Items, item)
				changed = changed || !bytes.Equal(item, items[i])
			}
			if changed {
				return join(items)
			}
		case isString && strings.HasPrefix(trimmed, "[") && json.Valid([]byte(trimmed)):
			return convert(s, json.RawMessage(trimmed))
		case isString && s.Items != nil && (s.Items.Type == "string" || s.Items.Type == "integer"):
			var items []json.RawMessage
			for part := range strings.SplitSeq(trimmed, ",") {
				if part = strings.TrimSpace(part); part != "" {
					items = append(items, convert(s.Items, marshal(part)))
				}
			}
			return join(items)
		case isString && s.Items != nil && s.Items.Type == "object" && strings.HasPrefix(trimmed, "{") && json.Valid([]byte(trimmed)):
			return join([]json.RawMessage{convert(s.Items, json.RawMessage(trimmed))})
		case !isString && s.Items != nil && (raw[0] != '{' || s.Items.Type == "object"):
			return join([]json.RawMessage{convert(s.Items, raw)})
		}
	case "object":
		switch {
		case isString && strings.HasPrefix(trimmed, "{") && json.Valid([]byte(trimmed)):
			return convertMembers(s, json.RawMessage(trimmed))
		case raw[0] == '{':
			return convertMembers(s, raw)
		}
	}
	return raw
}

// convertMembers converts the members that the schema knows.
func convertMembers(s *catalogue.Schema, raw json.RawMessage) json.RawMessage {
	var compact bytes.Buffer
	if len(s.Properties) == 0 || json.Compact(&compact, raw) != nil {
		return raw
	}
	changed := false
	w := writer{}
	w.begin()
	for name, value := range members(compact.Bytes()) {
		converted := json.RawMessage(value)
		if i := slices.IndexFunc(s.Properties, func(p catalogue.Property) bool { return p.Name == text(name) }); i >= 0 {
			converted = convert(s.Properties[i].Schema, value)
		}
		changed = changed || !bytes.Equal(value, converted)
		w.raw(name, converted)
	}
	if !changed {
		return raw
	}
	return w.close()
}

// asInteger gives the digits of a number that is an integer, such as 12, 12.0 and
// 1.2e1, which are the same in JSON Schema but not for the API; or "". No digit
// is lost, however large the number.
func asInteger(given string) string {
	if integer.MatchString(given) {
		return given
	}
	if !number.MatchString(given) {
		return ""
	}
	mantissa, exponent, shift := given, "", 0
	if i := strings.IndexAny(given, "eE"); i >= 0 {
		mantissa, exponent = given[:i], given[i+1:]
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil || shift < -mostShift || shift > mostShift {
			return ""
		}
	}
	digits, negative := strings.CutPrefix(mantissa, "-")
	digits, fraction, _ := strings.Cut(digits, ".")
	shift -= len(fraction)
	digits = strings.TrimLeft(digits+fraction, "0")
	for shift < 0 && strings.HasSuffix(digits, "0") {
		digits, shift = digits[:len(digits)-1], shift+1
	}
	switch {
	case digits == "":
		return "0"
	case shift < 0:
		return ""
	}
	digits += strings.Repeat("0", shift)
	if negative {
		digits = "-" + digits
	}
	if !integer.MatchString(digits) {
		return ""
	}
	return digits
}

// mostShift is beyond what an exponent can be for in an integer.
const mostShift = 100

func join(items []json.RawMessage) json.RawMessage {
	return slices.Concat([]byte("["), bytes.Join(rawSlices(items), []byte(",")), []byte("]"))
}

func rawSlices(items []json.RawMessage) [][]byte {
	out := make([][]byte, len(items))
	for i, item := range items {
		out[i] = item
	}
	return out
}

func marshal(value string) json.RawMessage {
	// A string always has a JSON form.
	raw, _ := json.Marshal(value)
	return raw
}

// text is the plain form of a JSON scalar.
func text(raw json.RawMessage) string {
	if len(raw) > 1 && raw[0] == '"' {
		if plain(raw) {
			return string(raw[1 : len(raw)-1])
		}
		var s string
		_ = json.Unmarshal(raw, &s)
		return s
	}
	return string(raw)
}

// isTime says that a value is a time, with its zone or without.
func isTime(value string) bool {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15:04Z07:00"} {
		if _, err := time.Parse(layout, value); err == nil {
			return true
		}
	}
	return false
}

func isDate(value string) bool {
	_, err := time.Parse(time.DateOnly, value)
	return err == nil
}

func (c *checker) value(s *catalogue.Schema, value any, path string) {
	if value == nil && s.Nullable {
		return
	}
	if len(s.AnyOf) > 0 && !slices.ContainsFunc(s.AnyOf, func(alternative *catalogue.Schema) bool {
		attempt := checker{}
		attempt.value(alternative, value, path)
		return len(attempt.faults) == 0
	}) {
		c.fault(path, "has none of the forms that are allowed; %s", describe(s))
		return
	}
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(option json.RawMessage) bool {
		allowed, _ := decode(option)
		return equal(allowed, value)
	}) {
		c.fault(path, "must be %s%s", oneOf(s.Enum), got(value))
		return
	}
	switch s.Type {
	case "":
		return
	case "string":
		given, ok := value.(string)
		if !ok {
			c.fault(path, "must be a string%s", got(value))
			return
		}
		c.text(s, given, path)
	case "integer", "number":
		given, ok := value.(json.Number)
		if !ok || s.Type == "integer" && !integer.MatchString(given.String()) {
			c.fault(path, "must be %s%s", numeric(s), got(value))
			return
		}
		f, err := given.Float64()
		if err != nil || outside(s, f) {
			c.fault(path, "must be %s%s", numeric(s), got(value))
		}
	case "boolean":
		if _, ok := value.(bool); !ok {
			c.fault(path, "must be true or false%s", got(value))
		}
	case "array":
		given, ok := value.([]any)
		if !ok {
			c.fault(path, "must be a list%s", got(value))
			return
		}
		if s.MinItems != nil && int64(len(given)) < *s.MinItems || s.MaxItems != nil && int64(len(given)) > *s.MaxItems {
			c.fault(path, "must have %s entries, not %d", between(s.MinItems, s.MaxItems), len(given))
		}
		if s.UniqueItems {
			for i := range given {
				if slices.ContainsFunc(given[:i], func(other any) bool { return equal(other, given[i]) }) {
					c.fault(path, "must not hold an entry twice")
					break
				}
			}
		}
		if s.Items != nil {
			for i, item := range given {
				c.value(s.Items, item, path+"["+strconv.Itoa(i)+"]")
			}
		}
	case "object":
		given, ok := value.(map[string]any)
		if !ok {
			c.fault(path, "must be an object%s", got(value))
			return
		}
		for _, property := range s.Properties {
			member, present := given[property.Name]
			switch {
			case present:
				c.value(property.Schema, member, path+"."+property.Name)
			case property.Required:
				c.fault(path+"."+property.Name, "is required")
			}
		}
		if s.Closed {
			names := make([]string, 0, len(given))
			for name := range given {
				if !slices.ContainsFunc(s.Properties, func(p catalogue.Property) bool { return p.Name == name }) {
					names = append(names, show(name))
				}
			}
			if slices.Sort(names); len(names) > 0 {
				c.fault(path, "has no member %s", strings.Join(names[:min(len(names), 10)], ", "))
			}
		}
	}
}

func (c *checker) text(s *catalogue.Schema, given, path string) {
	length := int64(utf8.RuneCountInString(given))
	if s.MinLength != nil && length < *s.MinLength || s.MaxLength != nil && length > *s.MaxLength {
		c.fault(path, "must have %s characters, not %d", between(s.MinLength, s.MaxLength), length)
		return
	}
	if s.Pattern != nil && !s.Pattern.MatchString(given) {
		c.fault(path, "must match %s%s", s.Pattern, got(given))
		return
	}
	switch s.Format {
	case "date":
		if !isDate(given) {
			c.fault(path, "must be a date as YYYY-MM-DD%s", got(given))
		}
	case "date-time":
		if _, err := time.Parse(time.RFC3339, given); err != nil {
			c.fault(path, "must be a time as YYYY-MM-DDThh:mm:ssZ%s", got(given))
		}
	}
}

func outside(s *catalogue.Schema, f float64) bool {
	return s.Minimum != nil && f < *s.Minimum || s.Maximum != nil && f > *s.Maximum ||
		s.ExclusiveMinimum != nil && f <= *s.ExclusiveMinimum || s.ExclusiveMaximum != nil && f >= *s.ExclusiveMaximum
}

func numeric(s *catalogue.Schema) string {
	noun := "a number"
	if s.Type == "integer" {
		noun = "an integer"
	}
	show := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		return noun + " from " + show(*s.Minimum) + " to " + show(*s.Maximum)
	case s.Minimum != nil:
		return noun + " of at least " + show(*s.Minimum)
	case s.Maximum != nil:
		return noun + " of at most " + show(*s.Maximum)
	case s.ExclusiveMinimum != nil:
		return noun + " above " + show(*s.ExclusiveMinimum)
	case s.ExclusiveMaximum != nil:
		return noun + " below " + show(*s.ExclusiveMaximum)
	}
	return noun
}

func between(low, high *int64) string {
	switch {
	case low != nil && high != nil && *low == *high:
		return strconv.FormatInt(*low, 10)
	case low != nil && high != nil:
		return fmt.Sprintf("%d to %d", *low, *high)
	case low != nil:
		return fmt.Sprintf("at least %d", *low)
	default:
		return fmt.Sprintf("at most %d", *high)
	}
}

func oneOf(options []json.RawMessage) string {
	if len(options) == 1 {
		return string(options[0])
	}
	return "one of " + string(bytes.Join(rawSlices(options), []byte(", ")))
}

// got says what was sent instead, when that is short and plain.
func got(value any) string {
	switch v := value.(type) {
	case nil:
		return ", not null"
	case bool:
		return ", not " + strconv.FormatBool(v)
	case json.Number:
		if len(v) > 30 {
			return ""
		}
		return ", not " + v.String()
	case string:
		if shown := show(v); shown[0] == '"' {
			return ", not " + shown
		}
		return ", not this text"
	case []any:
		return ", not a list"
	default:
		return ", not an object"
	}
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		if !ok {
			return false
		}
		if a == b {
			return true
		}
		x, errX := a.Float64()
		y, errY := b.Float64()
		return errX == nil && errY == nil && x == y
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, member := range a {
			other, present := b[name]
			if !present || !equal(member, other) {
				return false
			}
		}
		return true
	default:
		// What is left is comparable: null, booleans and strings.
		switch b.(type) {
		case []any, map[string]any:
			return false
		}
		return a == b
	}
}
