package catalogue

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pb33f/jsonpath/pkg/jsonpath"
	"github.com/pb33f/jsonpath/pkg/jsonpath/config"
	"go.yaml.in/yaml/v4"
)

// overlayDocument is an Overlay 1.0 document.
type overlayDocument struct {
	Overlay string `yaml:"overlay"`
	// Tools is what holds for arguments of every operation; what an operation
	// says of its own wins.
	Tools struct {
		Arguments map[string]argumentHint `yaml:"arguments"`
	} `yaml:"x-mcp"`
	Actions []overlayAction `yaml:"actions"`
}

type overlayAction struct {
	// Target is a JSONPath (RFC 9535).
	Target string    `yaml:"target"`
	Update yaml.Node `yaml:"update"`
	Remove bool      `yaml:"remove"`
}

func readOverlay(overlay []byte) (*overlayDocument, error) {
	d := &overlayDocument{}
	if err := yaml.Unmarshal(overlay, d); err != nil {
		return nil, fmt.Errorf("the overlay cannot be read: %w", err)
	}
	if d.Overlay == "" || len(d.Actions) == 0 {
		return nil, errors.New("the overlay cannot be read: it has no version or no actions")
	}
	for name, a := range d.Tools.Arguments {
		if a.Names != "" && a.Names != Companies {
			return nil, fmt.Errorf("the overlay names %q by %q, which is nothing", name, a.Names)
		}
	}
	return d, nil
}

// apply changes the document as the overlay says (Overlay 1.0 §4.4.4), and
// returns the targets that the document does not have.
func (d *overlayDocument) apply(top *yaml.Node) (missing []string, err error) {
	for i := range d.Actions {
		action := &d.Actions[i]
		path, err := jsonpath.NewPath(action.Target, config.WithStrictRFC9535())
		if err != nil {
			return nil, fmt.Errorf("the overlay cannot be read: target %q: %w", action.Target, err)
		}
		nodes := path.Query(top)
		switch {
		case len(nodes) == 0:
			missing = append(missing, action.Target)
		case action.Remove:
			remove(top, nodes)
		default:
			for _, node := range nodes {
				update(node, &action.Update)
			}
		}
	}
	return missing, nil
}

// update merges a value into a node: objects by member, lists by appending, and
// anything else takes the new value's place.
func update(node, value *yaml.Node) {
	switch {
	case value.IsZero():
	case node.Kind == yaml.MappingNode && value.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(value.Content); i += 2 {
			if present := member(node, value.Content[i].Value); present != nil {
				update(present, value.Content[i+1])
				continue
			}
			// A copy: the value may go to several places, and be changed in one.
			node.Content = append(node.Content, value.Content[i], clone(value.Content[i+1]))
		}
	case node.Kind == yaml.SequenceNode && value.Kind == yaml.SequenceNode:
		for _, element := range value.Content {
			node.Content = append(node.Content, clone(element))
		}
	case node.Kind == yaml.SequenceNode:
		node.Content = append(node.Content, clone(value))
	default:
		*node = *clone(value)
	}
}

// remove takes nodes out of whatever holds them.
func remove(within *yaml.Node, nodes []*yaml.Node) {
	kept := within.Content[:0]
	for i := 0; i < len(within.Content); i++ {
		switch {
		case within.Kind == yaml.MappingNode && i+1 < len(within.Content):
			if !slices.Contains(nodes, within.Content[i+1]) {
				kept = append(kept, within.Content[i], within.Content[i+1])
			}
			i++
		case !slices.Contains(nodes, within.Content[i]):
			kept = append(kept, within.Content[i])
		}
	}
	within.Content = kept
	for _, child := range within.Content {
		remove(child, nodes)
	}
}

func clone(node *yaml.Node) *yaml.Node {
	copied := *node
	copied.Content = make([]*yaml.Node, len(node.Content))
	for i, child := range node.Content {
		copied.Content[i] = clone(child)
	}
	return &copied
}
