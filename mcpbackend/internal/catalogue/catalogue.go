package catalogue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Names of sets that are not toolsets of single tools.
const (
	// AllTools is every tool.
	AllTools = "all"
	// ReadTools is every tool that changes nothing.
	ReadTools = "reads"
	// OtherTools is the toolset of operations that the overlay does not know.
	OtherTools = "other"
	// InsightTools is the toolset of tools that are made of several operations.
	InsightTools = "insights"
)

// DefaultToolsets are in force when none are named: updates and deletes have to
// be asked for.
func DefaultToolsets() []string { return []string{ReadTools, "import"} }

// Options are the choices of a deployment.
type Options struct {
	// APIURL is the base of the REST API: the server that the served document
	// names.
	APIURL string
	// Toolsets are names of toolsets, [ReadTools] or [AllTools]; none means
	// [DefaultToolsets].
	Toolsets []string
	// ReadOnly leaves out every tool that changes something, whatever Toolsets
	// says.
	ReadOnly bool
	// Compose, when set, is given the operations of the document, switched on or
	// not, and makes the tools that consist of several. Those whose operations
	// are not all there it leaves out.
	Compose func(operation func(id string) (Tool, bool)) []Tool
}

// Catalogue holds the tools of one document. It never changes.
type Catalogue struct {
	tools    []Tool
	byName   map[string]int
	aliases  map[string]alias
	yaml     []byte
	json     []byte
	title    string
	version  string
	warnings []string
}

// alias is a name from earlier times.
type alias struct {
	tool    int
	ignored []string
}

// Tools are all tools, sorted by name. Callers must not change the slice.
func (c *Catalogue) Tools() []Tool { return c.tools }

// Lookup finds a tool by its name, or by one of its aliases.
func (c *Catalogue) Lookup(name string) (Tool, bool) {
	if i, ok := c.byName[name]; ok {
		return c.tools[i], true
	}
	if a, ok := c.aliases[name]; ok {
		tool := c.tools[a.tool]
		tool.Ignored = a.ignored
		return tool, true
	}
	return Tool{}, false
}

// DocumentJSON is the OpenAPI document that the tools come from, for
// publication. Callers must not change it.
func (c *Catalogue) DocumentJSON() []byte { return c.json }

// DocumentYAML is the same document as YAML.
func (c *Catalogue) DocumentYAML() []byte { return c.yaml }

// Title is the title of the document.
func (c *Catalogue) Title() string { return c.title }

// Version is the version of the document.
func (c *Catalogue) Version() string { return c.version }

// Warnings are findings of [Load] that cost an operation its tool, or a tool
// some of its text, but not the whole catalogue.
func (c *Catalogue) Warnings() []string { return c.warnings }

// Load makes a catalogue from an OpenAPI 3.1 document and an Overlay 1.0
// document. An operation that the overlay does not know becomes a tool too,
// named after its operationId, with what its method says about safety. Nothing
// outside the two documents is read: no file, no URL.
func Load(document, overlay []byte, options Options) (*Catalogue, error) {
	root, changed, err := readTree(document)
	if err != nil {
		return nil, err
	}
	c := &Catalogue{}
	// First, because the overlay changes the tree.
	if c.yaml, c.json, err = publish(document, root, changed, options.APIURL); err != nil {
		return nil, err
	}
	parsed, err := parse(root.Content[0], overlay)
	if err != nil {
		return nil, err
	}
	c.title, c.version, c.warnings = parsed.title, parsed.version, parsed.warnings
	tools := parsed.tools
	if options.Compose != nil {
		tools = slices.Concat(tools, options.Compose(func(id string) (Tool, bool) {
			i := slices.IndexFunc(parsed.tools, func(t Tool) bool { return t.Operation.ID == id })
			if i < 0 {
				return Tool{}, false
			}
			return parsed.tools[i], true
		}))
	}
	tools, err = choose(tools, options)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(tools, func(a, b Tool) int { return cmp.Compare(a.Name, b.Name) })
	c.byName = make(map[string]int, len(tools))
	for i, tool := range tools {
		if _, taken := c.byName[tool.Name]; taken {
			return nil, fmt.Errorf("two operations give the tool name %q; name one of them in the overlay", tool.Name)
		}
		c.byName[tool.Name] = i
	}
	c.aliases = map[string]alias{}
	for i, tool := range tools {
		for _, name := range tool.Aliases {
			if _, taken := c.byName[name]; taken {
				continue // a tool's own name is stronger
			}
			if other, taken := c.aliases[name]; taken {
				return nil, fmt.Errorf("%q is an alias of both %s and %s", name, tools[other.tool].Name, tool.Name)
			}
			c.aliases[name] = alias{i, parsed.ignored[name]}
		}
	}
	// What comes next must exist, or a model would be sent after a tool that is
	// switched off.
	for i := range tools {
		if next := tools[i].Operation.Next; next != nil {
			if _, ok := c.byName[next.Tool]; !ok {
				tools[i].Operation.Next = nil
			}
		}
	}
	c.tools = tools
	return c, nil
}

// UnknownToolsetsError names the toolsets that do not exist, and those that do.
type UnknownToolsetsError struct{ Unknown, Known []string }

func (e *UnknownToolsetsError) Error() string {
	return fmt.Sprintf("there is no toolset %s; choose from %s", strings.Join(e.Unknown, ", "), strings.Join(e.Known, ", "))
}

// choose keeps the tools that the options switch on.
func choose(tools []Tool, options Options) ([]Tool, error) {
	wanted := options.Toolsets
	if len(wanted) == 0 {
		wanted = DefaultToolsets()
	}
	known := map[string]bool{AllTools: true, ReadTools: true, OtherTools: true, InsightTools: true, "import": true}
	for _, tool := range tools {
		known[tool.Toolset] = true
	}
	on := make(map[string]bool, len(wanted))
	var unknown []string
	for _, name := range wanted {
		if !known[name] {
			unknown = append(unknown, name)
		}
		on[name] = true
	}
	if unknown != nil {
		return nil, &UnknownToolsetsError{Unknown: unknown, Known: slices.Sorted(maps.Keys(known))}
	}
	var chosen []Tool
	for _, tool := range tools {
		if options.ReadOnly && !tool.ReadOnly {
			continue
		}
		if on[AllTools] || on[tool.Toolset] || on[ReadTools] && tool.ReadOnly {
			chosen = append(chosen, tool)
		}
	}
	return chosen, nil
}
