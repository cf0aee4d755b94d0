package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	libjson "github.com/pb33f/libopenapi/json"
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
		target := top
		for name := range strings.SplitSeq(strings.TrimPrefix(reference, "#/"), "/") {
			// RFC 6901 §4.
			name = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
			if target = member(target, name); target == nil {
				return false
			}
		}
		next := member(target, "$ref")
		if next == nil || next.Kind != yaml.ScalarNode {
			return true
		}
		reference = next.Value
	}
	return false
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

// publish is the document as it is served, with its server set.
func publish(root *yaml.Node, apiURL string) (asYAML, asJSON []byte, err error) {
	defer rescue(&err)
	if apiURL != "" {
		root = withServer(root, apiURL)
	}
	if asYAML, err = yaml.Marshal(root); err != nil {
		return nil, nil, err
	}
	asJSON, err = compact(root)
	return asYAML, asJSON, err
}

// withServer replaces the servers of a document; the document itself stays.
func withServer(root *yaml.Node, url string) *yaml.Node {
	text := func(value string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
	}
	servers := &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{
		{Kind: yaml.MappingNode, Content: []*yaml.Node{text("url"), text(url)}},
	}}
	outer, top := *root, *root.Content[0]
	outer.Content = []*yaml.Node{&top}
	top.Content = append([]*yaml.Node(nil), top.Content...)
	for i := 0; i+1 < len(top.Content); i += 2 {
		if top.Content[i].Value == "servers" {
			top.Content[i+1] = servers
			return &outer
		}
	}
	top.Content = append(top.Content, text("servers"), servers)
	return &outer
}

// compact is a YAML value as compact JSON.
func compact(node *yaml.Node) (json.RawMessage, error) {
	indented, err := libjson.YAMLNodeToJSON(node, "")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, indented); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// rescue turns a panic into an error: documents come from outside the program.
func rescue(err *error) {
	if fault := recover(); fault != nil {
		*err = fmt.Errorf("the OpenAPI document cannot be read: %v", fault)
	}
}
