package catalogue

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// maxDepth ends the inlining of schemas that contain themselves: below it
// anything is accepted, and the API judges. maxSchemas bounds what one argument
// may grow to.
const (
	maxDepth   = 8
	maxSchemas = 500
)

// inline copies a schema without references. It reads those of OpenAPI 3.0 and
// of 3.1; nil is a schema that accepts anything.
func (d *tree) inline(node *yaml.Node) (*Schema, error) {
	in := &inliner{tree: d, left: maxSchemas}
	if d.left != nil {
		in.left = min(in.left, *d.left)
		defer func(before int) { *d.left -= before - in.left }(in.left)
	}
	return in.schema(node, maxDepth)
}

type inliner struct {
	*tree
	left int
}

func (in *inliner) schema(node *yaml.Node, depth int) (*Schema, error) {
	if node == nil || depth == 0 {
		return &Schema{}, nil
	}
	// Long lists count too: a schema may be referred to very often.
	in.left -= 1 + (len(node.Content)+length(node, "enum")+length(node, "required")+length(node, "type"))/40
	if in.left < 0 {
		return nil, fmt.Errorf("its schema has more than %d parts", maxSchemas)
	}
	if target := reference(node); target != "" {
		referred := in.follow(node)
		if referred == nil {
			return nil, fmt.Errorf("%s refers to nothing in this document", target)
		}
		s, err := in.schema(referred, depth)
		if err != nil || len(node.Content) == 2 {
			return s, err
		}
		// Since 3.1 a reference may have members beside it, which then hold too.
		beside, err := in.schema(without(node, "$ref"), depth)
		if err != nil {
			return nil, err
		}
		beside.merge(s)
		return beside, nil
	}
	switch {
	case node.Kind == yaml.ScalarNode && node.ShortTag() == "!!bool": // a schema of 3.1 may be true or false
		return &Schema{}, nil
	case node.Kind != yaml.MappingNode:
		return nil, errors.New("its schema is no object")
	}
	s := &Schema{Description: word(node, "description"), Format: word(node, "format")}
	in.types(s, node)
	if pattern := word(node, "pattern"); pattern != "" {
		// JSON Schema's patterns are ECMAScript's; what Go cannot read is left
		// to the API.
		if compiled, err := regexp.Compile(pattern); err == nil {
			s.Pattern = compiled
		}
	}
	s.Minimum, s.ExclusiveMinimum = bounds(node, "minimum", "exclusiveMinimum")
	s.Maximum, s.ExclusiveMaximum = bounds(node, "maximum", "exclusiveMaximum")
	s.MinLength, s.MaxLength = count(node, "minLength"), count(node, "maxLength")
	s.MinItems, s.MaxItems = count(node, "minItems"), count(node, "maxItems")
	s.UniqueItems = truth(node, "uniqueItems")
	if err := in.values(s, node); err != nil {
		return nil, err
	}
	if err := in.parts(s, node, depth); err != nil {
		return nil, err
	}
	return s, nil
}

// types reads a type or, since 3.1, several. One that JSON Schema does not have
// says nothing.
func (in *inliner) types(s *Schema, node *yaml.Node) {
	null := false
	for _, name := range words(member(node, "type")) {
		switch {
		case name == "null":
			null = true
		case !slices.Contains([]string{"string", "integer", "number", "boolean", "array", "object"}, name):
		case s.Type == "":
			s.Type = name
		default:
			s.AnyOf = append(s.AnyOf, &Schema{Type: name})
		}
	}
	s.Nullable = null || truth(node, "nullable")
	if s.AnyOf != nil {
		s.AnyOf = append(s.AnyOf, &Schema{Type: s.Type, Nullable: s.Nullable})
		s.Type, s.Nullable = "", false
	}
	if null && s.Type == "" && s.AnyOf == nil {
		s.Enum = []json.RawMessage{json.RawMessage("null")}
	}
}

// values reads what a schema says of single values.
func (in *inliner) values(s *Schema, node *yaml.Node) error {
	if list := member(node, "enum"); list != nil && list.Kind == yaml.SequenceNode {
		s.Enum = nil
		for _, option := range list.Content {
			value, err := compact(option)
			if err != nil {
				return err
			}
			s.Enum = append(s.Enum, value)
		}
	}
	if only := member(node, "const"); only != nil {
		value, err := compact(only)
		if err != nil {
			return err
		}
		s.Enum = []json.RawMessage{value}
	}
	// A default of null is none.
	if otherwise := member(node, "default"); otherwise != nil && otherwise.ShortTag() != "!!null" {
		value, err := compact(otherwise)
		if err != nil {
			return err
		}
		s.Default = value
	}
	return nil
}

// parts reads the schemas that a schema is made of.
func (in *inliner) parts(s *Schema, node *yaml.Node, depth int) (err error) {
	if items := member(node, "items"); items != nil {
		if s.Items, err = in.schema(items, depth-1); err != nil {
			return fmt.Errorf("items: %w", err)
		}
	}
	required := words(member(node, "required"))
	for name, property := range members(member(node, "properties")) {
		inlined, err := in.schema(property, depth-1)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.Properties = append(s.Properties, Property{Name: name, Required: slices.Contains(required, name), Schema: inlined})
	}
	if additional := member(node, "additionalProperties"); additional != nil && additional.ShortTag() == "!!bool" {
		s.Closed = !truth(node, "additionalProperties")
	}
	for _, part := range elements(member(node, "allOf")) {
		inlined, err := in.schema(part, depth-1)
		if err != nil {
			return err
		}
		s.merge(inlined)
	}
	var alternatives []*Schema
	null := false
	for _, alternative := range slices.Concat(elements(member(node, "anyOf")), elements(member(node, "oneOf"))) {
		inlined, err := in.schema(alternative, depth-1)
		if err != nil {
			return err
		}
		if inlined.Type == "" && len(inlined.Enum) == 1 && string(inlined.Enum[0]) == "null" {
			null = true
			continue
		}
		alternatives = append(alternatives, inlined)
	}
	switch len(alternatives) {
	case 0:
	case 1: // one form, or null: a type that may be null says the same in less
		s.merge(alternatives[0])
	default:
		alternatives[0].Nullable = alternatives[0].Nullable || null
		s.AnyOf = append(s.AnyOf, alternatives...)
	}
	s.Nullable = s.Nullable || null && len(alternatives) == 1
	return nil
}

// merge adds what a schema that must hold too says; a keyword that is set stays.
func (s *Schema) merge(part *Schema) {
	s.Type = firstOf(s.Type, part.Type)
	s.Description = firstOf(s.Description, part.Description)
	s.Format = firstOf(s.Format, part.Format)
	s.Nullable = s.Nullable || part.Nullable
	s.Pattern = either(s.Pattern, part.Pattern)
	s.Minimum, s.Maximum = either(s.Minimum, part.Minimum), either(s.Maximum, part.Maximum)
	s.ExclusiveMinimum, s.ExclusiveMaximum = either(s.ExclusiveMinimum, part.ExclusiveMinimum), either(s.ExclusiveMaximum, part.ExclusiveMaximum)
	s.MinLength, s.MaxLength = either(s.MinLength, part.MinLength), either(s.MaxLength, part.MaxLength)
	s.MinItems, s.MaxItems = either(s.MinItems, part.MinItems), either(s.MaxItems, part.MaxItems)
	s.UniqueItems = s.UniqueItems || part.UniqueItems
	s.Items = either(s.Items, part.Items)
	if s.Enum == nil {
		s.Enum = part.Enum
	}
	if s.Default == nil {
		s.Default = part.Default
	}
	for _, property := range part.Properties {
		if !slices.ContainsFunc(s.Properties, func(p Property) bool { return p.Name == property.Name }) {
			s.Properties = append(s.Properties, property)
		}
	}
	s.AnyOf = append(s.AnyOf, part.AnyOf...)
}

// bounds reads a limit. In 3.0 the keyword for an exclusive one is a boolean
// beside it, since 3.1 a number of its own.
func bounds(node *yaml.Node, name, exclusiveName string) (inclusive, exclusive *float64) {
	inclusive, exclusive = number(member(node, name)), number(member(node, exclusiveName))
	if truth(node, exclusiveName) {
		return nil, inclusive
	}
	return inclusive, exclusive
}

func length(node *yaml.Node, name string) int { return len(elements(member(node, name))) }

func number(node *yaml.Node) *float64 {
	if node == nil || node.ShortTag() != "!!int" && node.ShortTag() != "!!float" {
		return nil
	}
	f, err := strconv.ParseFloat(node.Value, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

func count(node *yaml.Node, name string) *int64 {
	f := number(member(node, name))
	if f == nil || *f != math.Trunc(*f) || *f < 0 || *f > 1<<53 {
		return nil
	}
	n := int64(*f)
	return &n
}

func either[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}
