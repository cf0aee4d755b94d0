package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// components is where every reference of a document leads.
const components = "#/components/"

// longestChain is how many references may lead to one another.
const longestChain = 20

// readTree parses a document and makes it safe to walk: it is of bounded depth,
// it has no aliases and no member twice. References that leave the components,
// or that lead to themselves, are taken out; changed reports whether there were
// any.
func readTree(document []byte) (root *yaml.Node, changed bool, err error) {
	defer rescue(&err)
	if trimmed := bytes.TrimSpace(document); len(trimmed) == 0 || trimmed[0] == '<' {
		return nil, false, errors.New("the OpenAPI document is empty or a web page")
	}
	root = &yaml.Node{}
	if err := yaml.Unmarshal(document, root); err != nil {
		return nil, false, fmt.Errorf("the OpenAPI document cannot be read: %w", err)
	}
	if len(root.Content) != 1 || root.Content[0].Kind != yaml.MappingNode {
		return nil, false, errors.New("the OpenAPI document cannot be read: it is not an object")
	}
	top := root.Content[0]
	if version := member(top, "openapi"); version == nil || !strings.HasPrefix(version.Value, "3.") {
		return nil, false, errors.New("the OpenAPI document is not of version 3")
	}
	if info := member(top, "info"); info == nil || info.Kind != yaml.MappingNode {
		return nil, false, errors.New("the OpenAPI document has no info")
	}
	if paths := member(top, "paths"); paths == nil || paths.Kind != yaml.MappingNode {
		return nil, false, errors.New("the OpenAPI document has no paths")
	}
	changed, err = newTree(top).cleanReferences(top, 0)
	return root, changed, err
}

func (d *tree) cleanReferences(node *yaml.Node, depth int) (changed bool, err error) {
	const deepest = 200
	if depth > deepest {
		return false, errors.New("the OpenAPI document is nested too deeply")
	}
	if node.Kind == yaml.AliasNode {
		return false, errors.New("the OpenAPI document uses YAML aliases, which can blow up; write the values out")
	}
	if node.Kind == yaml.MappingNode {
		seen := make(map[string]struct{}, len(node.Content)/2)
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			if key.Kind != yaml.ScalarNode {
				return false, errors.New("the OpenAPI document has a key that is not text")
			}
			// Of two values, two readers may take one each.
			if _, twice := seen[key.Value]; twice {
				return false, fmt.Errorf("the OpenAPI document has the member %.60q twice in one object, on line %d", key.Value, key.Line)
			}
			seen[key.Value] = struct{}{}
			// A property may be called $ref; then its value is a schema.
			if key.Value == "$ref" && value.Kind == yaml.ScalarNode && !d.leadsSomewhere(value.Value) {
				node.Content = append(node.Content[:i:i], node.Content[i+2:]...)
				changed = true
				i -= 2
			}
		}
	}
	for _, child := range node.Content {
		below, err := d.cleanReferences(child, depth+1)
		if err != nil {
			return false, err
		}
		changed = changed || below
	}
	return changed, nil
}

// leadsSomewhere follows a chain of references to a value.
func (d *tree) leadsSomewhere(to string) bool {
	for range longestChain {
		target := d.resolve(to)
		if target == nil {
			return false
		}
		if to = reference(target); to == "" {
			return true
		}
	}
	return false
}

// reference is where a node refers to; empty when it is a value itself. A
// property may be called $ref; then its value is a schema.
func reference(node *yaml.Node) string { return word(node, "$ref") }

// unescape reads one part of a JSON Pointer (RFC 6901 §4).
func unescape(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
}

// tree is a document that [readTree] has made safe to walk.
type tree struct {
	top *yaml.Node
	// components are all of them, by kind and name.
	components map[component]*yaml.Node
	// left, when set, is how many parts all schemas together may still have.
	left *int
}

type component struct{ kind, name string }

func newTree(top *yaml.Node) *tree {
	d := &tree{top: top, components: map[component]*yaml.Node{}}
	for kind, all := range members(member(top, "components")) {
		for name, value := range members(all) {
			d.components[component{kind, name}] = value
		}
	}
	return d
}

// resolve finds the component that a reference points at, or nil.
func (d *tree) resolve(reference string) *yaml.Node {
	key, ok := componentOf(reference)
	if !ok {
		return nil
	}
	return d.components[key]
}

func componentOf(reference string) (component, bool) {
	rest, within := strings.CutPrefix(reference, components)
	kind, name, named := strings.Cut(rest, "/")
	return component{unescape(kind), unescape(name)}, within && named && !strings.Contains(name, "/")
}

// follow is the value that a node is or refers to; nil if there is none.
func (d *tree) follow(node *yaml.Node) *yaml.Node {
	for range longestChain {
		to := reference(node)
		if to == "" {
			return node
		}
		if node = d.resolve(to); node == nil {
			return nil
		}
	}
	return nil
}

// member is a member of an object, or nil.
func member(node *yaml.Node, name string) *yaml.Node {
	for key, value := range members(node) {
		if key == name {
			return value
		}
	}
	return nil
}

// members are the members of an object, in their order; anything else has none.
func members(node *yaml.Node) iter.Seq2[string, *yaml.Node] {
	return func(yield func(string, *yaml.Node) bool) {
		if node == nil || node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if !yield(node.Content[i].Value, node.Content[i+1]) {
				return
			}
		}
	}
}

// elements are the elements of a list; anything else has none.
func elements(node *yaml.Node) []*yaml.Node {
	if node == nil || node.Kind != yaml.SequenceNode {
		return nil
	}
	return node.Content
}

// word is the text of a member; empty if it has none.
func word(node *yaml.Node, name string) string {
	value := member(node, name)
	if value == nil || value.Kind != yaml.ScalarNode || value.ShortTag() == "!!null" {
		return ""
	}
	return value.Value
}

// words are the texts of a list, or the only one.
func words(node *yaml.Node) []string {
	if node == nil {
		return nil
	}
	if node.Kind == yaml.ScalarNode {
		return []string{node.Value}
	}
	var all []string
	for _, element := range elements(node) {
		if element.Kind == yaml.ScalarNode {
			all = append(all, element.Value)
		}
	}
	return all
}

func truth(node *yaml.Node, name string) bool {
	value := member(node, name)
	return value != nil && value.ShortTag() == "!!bool" && strings.EqualFold(value.Value, "true")
}

// without copies a mapping and leaves out some of its members.
func without(node *yaml.Node, names ...string) *yaml.Node {
	if node.Kind != yaml.MappingNode {
		return node
	}
	copied := &yaml.Node{Kind: yaml.MappingNode, Content: make([]*yaml.Node, 0, len(node.Content))}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if !slices.Contains(names, node.Content[i].Value) {
			copied.Content = append(copied.Content, node.Content[i], node.Content[i+1])
		}
	}
	return copied
}

func scalar(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}

// publish is the document as it is served, with its server set. A document
// that was written by hand keeps its layout and comments.
func publish(document []byte, root *yaml.Node, changed bool, apiURL string) (asYAML, asJSON []byte, err error) {
	defer rescue(&err)
	var first, after int
	if apiURL != "" {
		root, first, after = withServer(root, apiURL)
	}
	if asJSON, err = appendJSON(make([]byte, 0, len(document)), root); err != nil {
		return nil, nil, err
	}
	switch {
	case changed || apiURL != "" && first == 0:
		// A copy: writing a tree takes the tags off it.
		asYAML, err = yaml.Marshal(clone(root))
	case first > 0:
		asYAML = replaceLines(document, first, after, "servers:\n  - url: "+string(quote(apiURL))+"\n")
	default:
		asYAML = document
	}
	return asYAML, asJSON, err
}

// withServer replaces the servers of a document, which itself stays. When they
// stand on lines of their own, first is the first of these lines and after the
// first beyond them; both count from 1.
func withServer(root *yaml.Node, url string) (_ *yaml.Node, first, after int) {
	servers := &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{
		{Kind: yaml.MappingNode, Content: []*yaml.Node{scalar("url"), scalar(url)}},
	}}
	outer, top := *root, *root.Content[0]
	outer.Content = []*yaml.Node{&top}
	top.Content = append([]*yaml.Node(nil), top.Content...)
	for i := 0; i+1 < len(top.Content); i += 2 {
		if top.Content[i].Value != "servers" {
			continue
		}
		top.Content[i+1] = servers
		if i+2 < len(top.Content) && top.Style&yaml.FlowStyle == 0 {
			return &outer, top.Content[i].Line, top.Content[i+2].Line
		}
		return &outer, 0, 0
	}
	top.Content = append(top.Content, scalar("servers"), servers)
	return &outer, 0, 0
}

func replaceLines(document []byte, first, after int, text string) []byte {
	lines := bytes.SplitAfter(document, []byte("\n"))
	return bytes.Join([][]byte{bytes.Join(lines[:first-1], nil), []byte(text), bytes.Join(lines[after-1:], nil)}, nil)
}

// compact is a YAML value as compact JSON.
func compact(node *yaml.Node) (json.RawMessage, error) {
	return appendJSON(nil, node)
}

// appendJSON writes a YAML value as compact JSON and keeps the order of its
// members.
func appendJSON(b []byte, node *yaml.Node) ([]byte, error) {
	var err error
	switch node.Kind {
	case yaml.DocumentNode:
		return appendJSON(b, node.Content[0])
	case yaml.MappingNode:
		b = append(b, '{')
		for i := 0; i+1 < len(node.Content); i += 2 {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(b, quote(node.Content[i].Value)...), ':')
			if b, err = appendJSON(b, node.Content[i+1]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, child := range node.Content {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendJSON(b, child); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case yaml.ScalarNode:
		switch tag := node.ShortTag(); {
		case tag == "!!null":
			return append(b, "null"...), nil
		case tag == "!!bool":
			return append(b, strings.ToLower(node.Value)...), nil
		case (tag == "!!int" || tag == "!!float") && json.Valid([]byte(node.Value)):
			return append(b, node.Value...), nil
		default:
			return append(b, quote(node.Value)...), nil
		}
	default:
		return nil, fmt.Errorf("line %d: not a value", node.Line)
	}
}

// rescue turns a panic into an error: documents come from outside the program.
func rescue(err *error) {
	if fault := recover(); fault != nil {
		*err = fmt.Errorf("the OpenAPI document cannot be read: %v", fault)
	}
}
