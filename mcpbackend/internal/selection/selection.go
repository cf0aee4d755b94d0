// Package selection is what a client wants to see less of. A request may ask for
// some of the toolsets, some of the tools, or none that change anything; it never
// gets more than the deployment offers, whatever it asks for.
package selection

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
)

// The headers by which a client selects. The first four are those that other MCP
// servers have.
const (
	// HeaderToolsets names the toolsets whose tools are wanted.
	HeaderToolsets = "X-Mcp-Toolsets"
	// HeaderTools names single tools that are wanted, besides those toolsets.
	HeaderTools = "X-Mcp-Tools"
	// HeaderExclude names tools that are not wanted, whatever the two above say.
	HeaderExclude = "X-Mcp-Exclude-Tools"
	// HeaderReadOnly leaves out every tool that changes something.
	HeaderReadOnly = "X-Mcp-Readonly"
	// HeaderGranted lists only what the caller's scopes allow. It does not bear on
	// calls, which the scopes themselves do.
	HeaderGranted = "X-Mcp-Granted"
	// HeaderDynamic lists a few tools that find, describe and call the others.
	HeaderDynamic = "X-Mcp-Dynamic"
)

// Selection is what is wanted. Nil is everything that the deployment offers.
type Selection struct {
	toolsets []string // nil for no choice
	tools    []string // nil for no choice
	exclude  []string
	readOnly bool
	granted  bool
	dynamic  bool
	// also has to allow what this one does.
	also *Selection
}

// encoded is a selection on its way to another replica.
type encoded struct {
	Toolsets []string   `json:"toolsets"`
	Tools    []string   `json:"tools"`
	Exclude  []string   `json:"exclude"`
	ReadOnly bool       `json:"read_only"`
	Granted  bool       `json:"granted"`
	Dynamic  bool       `json:"dynamic"`
	Also     *Selection `json:"also"`
}

// MarshalJSON implements [json.Marshaler].
func (s *Selection) MarshalJSON() ([]byte, error) {
	if s == nil {
		return []byte("null"), nil
	}
	return json.Marshal(encoded{s.toolsets, s.tools, s.exclude, s.readOnly, s.granted, s.dynamic, s.also})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Selection) UnmarshalJSON(text []byte) error {
	var e encoded
	if err := json.Unmarshal(text, &e); err != nil {
		return err
	}
	*s = Selection{e.Toolsets, e.Tools, e.Exclude, e.ReadOnly, e.Granted, e.Dynamic, e.Also}
	return nil
}

// Form is how the list looks to a client that does not say.
type Form string

// The forms.
const (
	// Full lists every tool that is selected.
	Full Form = "full"
	// Granted lists those that the caller's scopes allow.
	Granted Form = "granted"
	// Directory lists a few tools that find, describe and call the others.
	Directory Form = "directory"
)

// Selection is what a client has that selects nothing.
func (f Form) Selection() *Selection {
	switch f {
	case Granted:
		return &Selection{granted: true}
	case Directory:
		return &Selection{dynamic: true}
	}
	return nil
}

// Tools is the catalogue.
type Tools interface {
	Tools() []catalogue.Tool
	Lookup(name string) (catalogue.Tool, bool)
	// Known and KnownToolset say whether there is such a name, offered or not.
	Known(tool string) bool
	KnownToolset(name string) bool
}

// most is the largest number of names in a header, longest the length of one.
const (
	most    = 200
	longest = 64
)

// Of reads what a request selects; otherwise is for what it does not say. An
// error is the client's, and says what to do.
func Of(h http.Header, tools Tools, otherwise *Selection) (*Selection, error) {
	if !asks(h) {
		return otherwise, nil
	}
	s := &Selection{}
	var err error
	if s.toolsets, err = names(h, HeaderToolsets); err != nil {
		return nil, err
	}
	for _, name := range s.toolsets {
		if name != catalogue.AllTools && name != catalogue.ReadTools && !tools.KnownToolset(name) {
			return nil, fmt.Errorf("%s: there is no toolset %q. Choose from %s", spelt(HeaderToolsets), name, strings.Join(toolsets(tools), ", "))
		}
	}
	if s.tools, err = toolNames(h, HeaderTools, tools); err != nil {
		return nil, err
	}
	if s.exclude, err = toolNames(h, HeaderExclude, tools); err != nil {
		return nil, err
	}
	if s.readOnly, err = boolean(h, HeaderReadOnly); err != nil {
		return nil, err
	}
	if s.granted, err = boolean(h, HeaderGranted); err != nil {
		return nil, err
	}
	if s.dynamic, err = boolean(h, HeaderDynamic); err != nil {
		return nil, err
	}
	// The form is taste and no limit: what the client says replaces it.
	if h[HeaderGranted] == nil && h[HeaderDynamic] == nil {
		s.granted, s.dynamic = otherwise.Granted(), otherwise.Dynamic()
	}
	if !slices.ContainsFunc(tools.Tools(), func(t catalogue.Tool) bool { return s.Allows(&t) }) {
		return nil, fmt.Errorf("the X-MCP headers leave no tool. This server offers the toolsets %s; GET /mcp/capabilities lists the tools", strings.Join(toolsets(tools), ", "))
	}
	return s, nil
}

func asks(h http.Header) bool {
	return h[HeaderToolsets] != nil || h[HeaderTools] != nil || h[HeaderExclude] != nil ||
		h[HeaderReadOnly] != nil || h[HeaderGranted] != nil || h[HeaderDynamic] != nil
}

// names reads a comma-separated list, which may come in several lines (RFC 9110
// §5.3); nil when the header is not there. One that is there and empty is a
// fault: whoever meant to select must not be shown everything.
func names(h http.Header, header string) ([]string, error) {
	lines, there := h[header]
	if !there {
		return nil, nil
	}
	var list []string
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.Trim(name, " \t")
			switch {
			case name == "": // RFC 9110 §5.6.1.2: empty elements are ignored
			case len(name) > longest || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }):
				return nil, fmt.Errorf("%s holds what is no name. Separate names with commas", spelt(header))
			default:
				list = append(list, name)
			}
		}
	}
	switch {
	case len(list) == 0:
		return nil, fmt.Errorf("%s is empty: name at least one, or leave the header out", spelt(header))
	case len(list) > most:
		return nil, fmt.Errorf("%s names more than %d", spelt(header), most)
	}
	return list, nil
}

// toolNames gives tools by their present names. One that this deployment does
// not offer is none that could be shown, or has to be hidden.
func toolNames(h http.Header, header string, tools Tools) ([]string, error) {
	given, err := names(h, header)
	if err != nil {
		return nil, err
	}
	for i, name := range given {
		if t, offered := tools.Lookup(name); offered {
			given[i] = t.Name
		} else if !tools.Known(name) {
			return nil, fmt.Errorf("%s: there is no tool %q. GET /mcp/capabilities lists the tools", spelt(header), name)
		}
	}
	return given, nil
}

// boolean is true when any line of a header says so.
func boolean(h http.Header, header string) (bool, error) {
	on := false
	for _, line := range h[header] {
		for value := range strings.SplitSeq(line, ",") {
			b, err := strconv.ParseBool(strings.ToLower(strings.Trim(value, " \t")))
			if err != nil {
				return false, fmt.Errorf("%s must be true or false", spelt(header))
			}
			on = on || b
		}
	}
	return on, nil
}

// spelt is a header's name as people write it.
func spelt(header string) string { return "X-MCP-" + strings.TrimPrefix(header, "X-Mcp-") }

// toolsets are those of the tools that are offered, sorted.
func toolsets(tools Tools) []string {
	var list []string
	for _, t := range tools.Tools() {
		list = append(list, t.Toolset)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Allows says whether a tool is selected.
func (s *Selection) Allows(t *catalogue.Tool) bool {
	switch {
	case s == nil:
		return true
	case s.readOnly && !t.ReadOnly, slices.Contains(s.exclude, t.Name), !s.also.Allows(t):
		return false
	case s.toolsets == nil && s.tools == nil:
		return true
	}
	return slices.Contains(s.toolsets, t.Toolset) || slices.Contains(s.toolsets, catalogue.AllTools) ||
		t.ReadOnly && slices.Contains(s.toolsets, catalogue.ReadTools) || slices.Contains(s.tools, t.Name)
}

// Of keeps the selected ones of those tools.
func (s *Selection) Of(tools []catalogue.Tool) []catalogue.Tool {
	if s == nil {
		return tools
	}
	kept := make([]catalogue.Tool, 0, len(tools))
	for i := range tools {
		if s.Allows(&tools[i]) {
			kept = append(kept, tools[i])
		}
	}
	return kept
}

// And selects what both do.
func (s *Selection) And(other *Selection) *Selection {
	switch {
	case s == nil:
		return other
	case other == nil:
		return s
	}
	both := *s
	both.also = other.And(s.also)
	return &both
}

// Granted says whether only tools are to be listed that the scopes allow.
func (s *Selection) Granted() bool { return s != nil && (s.granted || s.also.Granted()) }

// Dynamic says whether the tools are to be found rather than listed.
func (s *Selection) Dynamic() bool { return s != nil && (s.dynamic || s.also.Dynamic()) }
