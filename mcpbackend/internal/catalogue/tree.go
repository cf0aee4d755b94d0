package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// components is where every reference of a document leads.
const components = "#/components/"

// readTree parses a document and makes it safe for the OpenAPI library, which
// follows references from goroutines of its own, where a panic or an endless
// chain would end the process. References that leave the components, or that
// lead to themselves, are taken out; changed reports whether there were any.
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
	if paths := member(top, "paths"); paths == nil || paths.Kind != yaml.MappingNode {
		return nil, false, errors.New("the OpenAPI document has no paths")
	}
	changed, err = cleanReferences(top, top, 0)
	return root, changed, err
}

func cleanReferences(top, node *yaml.Node, depth int) (changed bool, err error) {
	const deepest = 200
	if depth > deepest {
		return false, errors.New("the OpenAPI document is nested too deeply")
	}
	if node.Kind == yaml.AliasNode {
		return false, errors.New("the OpenAPI document uses YAML aliases, which can blow up; write the values out")
	}
	if node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			if key.Kind != yaml.ScalarNode {
				return false, errors.New("the OpenAPI document has a key that is not text")
			}
			// A property may be called $ref; then its value is a schema.
			if key.Value == "$ref" && value.Kind == yaml.ScalarNode && !leadsSomewhere(top, value.Value) {
				node.Content = append(node.Content[:i:i], node.Content[i+2:]...)
				changed = true
				i -= 2
			}
		}
	}
	for _, child := range node.Content {
		below, err := cleanReferences(top, child, depth+1)
		if err != nil {
			return false, err
		}
		changed = changed || below
	}
	return changed, nil
}

// leadsSomewhere follows a chain of references to a value.
func leadsSomewhere(top *yaml.Node, reference string) bool {
	const longest = 20
	for range longest {
		if !strings.HasPrefix(reference, components) || strings.Count(reference, "/") != 3 {
			return false
		}
		target := resolve(top, reference)
		if target == nil {
			return false
		}
		next := member(target, "$ref")
		if next == nil || next.Kind != yaml.ScalarNode {
			return true
		}
		reference = next.Value
	}
	return false
}

// resolve finds what a reference within the document points at.
func resolve(top *yaml.Node, reference string) *yaml.Node {
	target := top
	for name := range strings.SplitSeq(strings.TrimPrefix(reference, "#/"), "/") {
		if target = member(target, unescape(name)); target == nil {
			return nil
		}
	}
	return target
}

// unescape reads one part of a JSON Pointer (RFC 6901 §4).
func unescape(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
}

func member(node *yaml.Node, name string) *yaml.Node {
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}

// requestsOnly is the part of a document that tools are made of: operations with
// their arguments, and the components that these refer to. Answers are most of a
// document, and reading them several times over is most of a start.
func requestsOnly(top *yaml.Node) *yaml.Node {
	pruned := without(top, "paths", "components", "servers", "webhooks", "tags", "security")
	paths := &yaml.Node{Kind: yaml.MappingNode}
	if all := member(top, "paths"); all != nil {
		for i := 0; i+1 < len(all.Content); i += 2 {
			item := without(all.Content[i+1], "servers")
			for j := 1; j < len(item.Content); j += 2 {
				item.Content[j] = without(item.Content[j], "responses", "callbacks", "servers")
			}
			paths.Content = append(paths.Content, all.Content[i], item)
		}
	}
	kinds := map[string]*yaml.Node{}
	components := &yaml.Node{Kind: yaml.MappingNode}
	taken := map[string]bool{}
	var take func(node *yaml.Node)
	take = func(node *yaml.Node) {
		if reference := member(node, "$ref"); reference != nil && reference.Kind == yaml.ScalarNode && !taken[reference.Value] {
			taken[reference.Value] = true
			// Every reference has been followed before.
			parts := strings.Split(strings.TrimPrefix(reference.Value, "#/"), "/")
			if target := resolve(top, reference.Value); target != nil && len(parts) == 3 {
				kind := kinds[parts[1]]
				if kind == nil {
					kind = &yaml.Node{Kind: yaml.MappingNode}
					kinds[parts[1]] = kind
					components.Content = append(components.Content, scalar(parts[1]), kind)
				}
				kind.Content = append(kind.Content, scalar(unescape(parts[2])), target)
				take(target)
			}
		}
		for _, child := range node.Content {
			take(child)
		}
	}
	take(paths)
	pruned.Content = append(pruned.Content, scalar("paths"), paths)
	if len(components.Content) > 0 {
		pruned.Content = append(pruned.Content, scalar("components"), components)
	}
	return pruned
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
		asYAML, err = yaml.Marshal(root)
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
