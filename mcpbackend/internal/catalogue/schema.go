package catalogue

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// Schema is the part of JSON Schema 2020-12 that arguments use, inlined: it
// holds no references and no cycles.
type Schema struct {
	// Type is empty when any type will do.
	Type        string
	Nullable    bool
	Description string
	Format      string
	Pattern     *regexp.Regexp
	// Enum and Default are compact JSON.
	Enum    []json.RawMessage
	Default json.RawMessage
	// Examples are compact JSON.
	Examples []json.RawMessage

	Minimum, Maximum, ExclusiveMinimum, ExclusiveMaximum *float64
	MinLength, MaxLength, MinItems, MaxItems             *int64
	UniqueItems                                          bool

	Items      *Schema
	Properties []Property
	// Closed forbids members that are not in Properties.
	Closed bool
	// AnyOf are alternatives, of which one must fit. Only nested schemas have
	// them.
	AnyOf []*Schema
}

// Property is a member of an object.
type Property struct {
	Name     string
	Required bool
	Schema   *Schema
}

// MarshalJSON writes the schema with its keywords in a fixed order, so that
// equal documents give equal bytes.
func (s *Schema) MarshalJSON() ([]byte, error) {
	return s.append(nil), nil
}

func (s *Schema) append(b []byte) []byte {
	w := writer{b: append(b, '{')}
	switch {
	case s.Type != "" && s.Nullable:
		w.key("type").raw(`["` + s.Type + `","null"]`)
	case s.Type != "":
		w.key("type").text(s.Type)
	}
	if s.Description != "" {
		w.key("description").text(s.Description)
	}
	if s.Format != "" {
		w.key("format").text(s.Format)
	}
	if s.Pattern != nil {
		w.key("pattern").text(s.Pattern.String())
	}
	if len(s.Enum) > 0 {
		w.key("enum").list(s.Enum)
	}
	if s.Default != nil {
		w.key("default").raw(string(s.Default))
	}
	w.number("minimum", s.Minimum)
	w.number("maximum", s.Maximum)
	w.number("exclusiveMinimum", s.ExclusiveMinimum)
	w.number("exclusiveMaximum", s.ExclusiveMaximum)
	w.integer("minLength", s.MinLength)
	w.integer("maxLength", s.MaxLength)
	w.integer("minItems", s.MinItems)
	w.integer("maxItems", s.MaxItems)
	if s.UniqueItems {
		w.key("uniqueItems").raw("true")
	}
	if s.Items != nil {
		w.key("items")
		w.b = s.Items.append(w.b)
	}
	// Some clients want the member even where a tool takes no arguments.
	if len(s.Properties) > 0 || s.Closed {
		w.key("properties").raw("{")
		for i, p := range s.Properties {
			if i > 0 {
				w.raw(",")
			}
			w.text(p.Name).raw(":")
			w.b = p.Schema.append(w.b)
		}
		w.raw("}")
		var required []json.RawMessage
		for _, p := range s.Properties {
			if p.Required {
				required = append(required, quote(p.Name))
			}
		}
		if required != nil {
			w.key("required").list(required)
		}
	}
	if s.Closed {
		w.key("additionalProperties").raw("false")
	}
	if len(s.AnyOf) > 0 {
		w.key("anyOf").raw("[")
		for i, alternative := range s.AnyOf {
			if i > 0 {
				w.raw(",")
			}
			w.b = alternative.append(w.b)
		}
		w.raw("]")
	}
	if len(s.Examples) > 0 {
		w.key("examples").list(s.Examples)
	}
	return append(w.b, '}')
}

// writer appends JSON; the object it writes into is already open.
type writer struct {
	b     []byte
	begun bool
}

func (w *writer) key(name string) *writer {
	if w.begun {
		w.b = append(w.b, ',')
	}
	w.begun = true
	return w.text(name).raw(":")
}

func (w *writer) raw(text string) *writer {
	w.b = append(w.b, text...)
	return w
}

func (w *writer) text(value string) *writer {
	w.b = append(w.b, quote(value)...)
	return w
}

func (w *writer) list(values []json.RawMessage) {
	w.raw("[")
	for i, value := range values {
		if i > 0 {
			w.raw(",")
		}
		w.b = append(w.b, value...)
	}
	w.raw("]")
}

func (w *writer) number(name string, value *float64) {
	if value != nil {
		w.key(name).raw(strconv.FormatFloat(*value, 'f', -1, 64))
	}
}

func (w *writer) integer(name string, value *int64) {
	if value != nil {
		w.key(name).raw(strconv.FormatInt(*value, 10))
	}
}

// quote is a JSON string without the HTML escapes of encoding/json: they cost
// bytes in every list of tools and say the same.
func quote(value string) json.RawMessage {
	if !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return json.RawMessage(`"` + value + `"`)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	// A string always has a JSON form.
	_ = encoder.Encode(value)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
