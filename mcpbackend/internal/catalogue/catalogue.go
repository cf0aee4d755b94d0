package catalogue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
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
	// Live, when set, is the document that the API serves at the moment. It says
	// which of the operations and arguments that the overlay knows there are, and
	// of what types; nothing else is taken from it.
	Live []byte
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
	known    vocabulary
	yaml     []byte
	json     []byte
	title    string
	version  string
	warnings []string
}

// vocabulary are the names of tools and toolsets that there are, offered or not.
type vocabulary struct{ tools, toolsets map[string]bool }

func (v *vocabulary) add(tools []Tool) {
	if v.tools == nil {
		v.tools, v.toolsets = map[string]bool{}, map[string]bool{}
	}
	for _, t := range tools {
		v.tools[t.Name], v.toolsets[t.Toolset] = true, true
		for _, name := range t.Aliases {
			v.tools[name] = true
		}
	}
}

// Known says whether there is a tool of that name, whether or not it is switched
// on, or in the live document.
func (c *Catalogue) Known(tool string) bool { return c.known.tools[tool] }

// KnownToolset says the same of a toolset.
func (c *Catalogue) KnownToolset(name string) bool { return c.known.toolsets[name] }

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

// Source is an OpenAPI document with its overlay, read once for any number of
// catalogues.
type Source struct {
	// root is the document as it was given, but for what readTree changed.
	document []byte
	root     *yaml.Node
	changed  bool
	// tree is the document as the overlay changed it.
	tree    *tree
	common  map[string]argumentHint
	missing []string
}

// Read reads an OpenAPI 3.0 or 3.1 document and an Overlay 1.0 document. Nothing
// outside the two is read: no file, no URL.
func Read(document, overlay []byte) (_ *Source, err error) {
	defer rescue(&err)
	s := &Source{document: document}
	if s.root, s.changed, err = readTree(document); err != nil {
		return nil, err
	}
	described, err := readOverlay(overlay)
	if err != nil {
		return nil, err
	}
	s.common = described.Tools.Arguments
	top := clone(s.root.Content[0])
	if s.missing, err = described.apply(top); err != nil {
		return nil, err
	}
	s.tree = newTree(top)
	return s, nil
}

// Load makes a catalogue of two documents; see [Read] and [Source.Load].
func Load(document, overlay []byte, options Options) (*Catalogue, error) {
	s, err := Read(document, overlay)
	if err != nil {
		return nil, err
	}
	return s.Load(options)
}

// Load makes a catalogue. An operation that the overlay does not know becomes a
// tool too, named after its operationId, with what its method says about safety;
// but not with a live document.
func (s *Source) Load(options Options) (_ *Catalogue, err error) {
	defer rescue(&err)
	c, from := &Catalogue{}, s.tree
	for _, target := range s.missing {
		c.warnings = append(c.warnings, fmt.Sprintf("the overlay finds no %s in the document: no tool for it", target))
	}
	var called map[string]string
	if options.Live == nil {
		c.yaml, c.json, err = publish(s.document, s.root, s.changed, options.APIURL)
	} else {
		live, unfit := readLive(options.Live)
		if unfit != nil {
			return nil, unfit
		}
		called = s.tree.toolNames()
		var findings []string
		from, findings = s.tree.adopt(live, s.common)
		c.warnings = append(c.warnings, findings...)
		// Of a document that others write, only what was taken is published.
		c.yaml, c.json, err = publish(nil, from.published(), true, options.APIURL)
	}
	if err != nil {
		return nil, err
	}
	parsed, err := from.parse(s.common, called)
	if err != nil {
		return nil, err
	}
	c.title, c.version = parsed.title, parsed.version
	c.warnings = append(c.warnings, parsed.warnings...)
	tools := options.composed(parsed.tools)
	c.known.add(tools)
	if options.Live != nil {
		own, err := s.tree.parse(s.common, nil)
		if err != nil {
			return nil, err
		}
		c.known.add(options.composed(own.tools))
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
	nameIDs(tools)
	c.tools = tools
	return c, nil
}

// composed adds to the tools of single operations those that consist of several.
func (o Options) composed(tools []Tool) []Tool {
	if o.Compose == nil {
		return tools
	}
	return slices.Concat(tools, o.Compose(func(id string) (Tool, bool) {
		i := slices.IndexFunc(tools, func(t Tool) bool { return t.Operation.ID == id })
		if i < 0 {
			return Tool{}, false
		}
		return tools[i], true
	}))
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
	// A live document may have nothing left of a toolset that there is.
	if unknown != nil && options.Live == nil {
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
