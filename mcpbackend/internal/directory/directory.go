// Package directory stands in for a long list of tools: a few tools by which a
// model finds, describes and calls the others. Clients with little room for tools
// ask for it.
package directory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// The names of the tools. Reading and writing are called by tools of their own,
// since a client goes by a tool's annotations when it asks its user.
const (
	List     = "list_tools"
	Describe = "describe_tools"
	Read     = "call_read_tool"
	Write    = "call_write_tool"
)

// mostDescribed bounds an answer of Describe.
const mostDescribed = 10

// Tools are those of the directory, sorted by name.
func Tools() []catalogue.Tool {
	parameter := func(name, description string, required bool, s catalogue.Schema) catalogue.Parameter {
		s.Description = description
		return catalogue.Parameter{Argument: name, Name: name, Required: required, Schema: &s}
	}
	one, most := int64(1), int64(mostDescribed)
	name := parameter("name", "Name of the tool, from "+List, true, catalogue.Schema{Type: "string", MinLength: &one})
	arguments := parameter("arguments", "Its arguments, as "+Describe+" shows them", false, catalogue.Schema{Type: "object"})
	tools := []catalogue.Tool{
		{
			Name: Read, Title: "Call a tool that reads", ReadOnly: true, Idempotent: true,
			Description: "Calls a tool of NeonPanel that changes nothing. Describe it first with " + Describe + ".",
			Operation:   catalogue.Operation{Parameters: []catalogue.Parameter{name, arguments}},
		},
		{
			Name: Write, Title: "Call a tool that writes", Destructive: true, OpenWorld: true,
			Description: "Calls a tool of NeonPanel that creates, changes or deletes. Describe it first with " + Describe + ", and ask the user.",
			Operation:   catalogue.Operation{Parameters: []catalogue.Parameter{name, arguments}},
		},
		{
			Name: Describe, Title: "Describe tools", ReadOnly: true, Idempotent: true,
			Description: "What tools do and which arguments they take.",
			Operation: catalogue.Operation{Parameters: []catalogue.Parameter{
				parameter("names", "Names from "+List, true, catalogue.Schema{
					Type: "array", MinItems: &one, MaxItems: &most, Items: &catalogue.Schema{Type: "string"},
				}),
			}},
		},
		{
			Name: List, Title: "List tools", ReadOnly: true, Idempotent: true,
			Description: "The tools of NeonPanel by toolset, each with what it is for: companies, inventory, warehouses, revenue, COGS, orders, bills, shipments, imports.",
			Operation: catalogue.Operation{Parameters: []catalogue.Parameter{
				parameter("query", "Only tools that speak of these words, such as 'landed cost'", false, catalogue.Schema{Type: "string"}),
				parameter("toolset", "Only tools of this toolset", false, catalogue.Schema{Type: "string"}),
			}},
		},
	}
	for i := range tools {
		tools[i].InputSchema = catalogue.Arguments(tools[i].Operation.Parameters)
	}
	return tools
}

// Lookup finds one of the caller's tools.
type Lookup func(name string) (catalogue.Tool, bool)

// Call is a call that one of the directory stands for.
type Call struct {
	Name      string
	Arguments json.RawMessage
}

// Unwrap gives the call that a Read or Write stands for; of one that failed at
// least the name, if there was one.
func Unwrap(t catalogue.Tool, arguments json.RawMessage, lookup Lookup) (Call, *toolcall.Failure) {
	given, failure := toolcall.ReadArguments(&t, arguments)
	if failure != nil {
		return Call{}, failure
	}
	name := text(given["name"])
	inner, ok := lookup(name)
	switch {
	case !ok:
		return Call{Name: name}, fault(toolcall.NotFound, "There is no tool %q. %s names those there are.", clip(name), List)
	case t.Name == Read && !inner.ReadOnly:
		return Call{}, fault(toolcall.InvalidArguments, "%s changes data: call it with %s.", inner.Name, Write)
	}
	return Call{name, given["arguments"]}, nil
}

// Answer answers a List or Describe about these tools.
func Answer(t catalogue.Tool, arguments json.RawMessage, tools []catalogue.Tool, lookup Lookup) toolcall.Result {
	given, failure := toolcall.ReadArguments(&t, arguments)
	if failure != nil {
		return failed(failure)
	}
	var answer any
	if t.Name == List {
		answer, failure = list(tools, text(given["toolset"]), text(given["query"]))
	} else {
		answer, failure = describe(given["names"], lookup)
	}
	if failure != nil {
		return failed(failure)
	}
	data, err := compact(answer)
	if err != nil {
		return failed(fault(toolcall.Internal, "The tools could not be described."))
	}
	return toolcall.Result{Structured: data, Text: string(data)}
}

type set struct {
	Toolset string   `json:"toolset"`
	Tools   []listed `json:"tools"`
}

type listed struct {
	Name   string `json:"name"`
	Title  string `json:"title"`
	Writes bool   `json:"writes,omitempty"`
}

type listing struct {
	Toolsets []set  `json:"toolsets"`
	Note     string `json:"note,omitempty"`
}

// list gives the tools by toolset, by name. With a query they are those that
// speak of any of its words, and those that speak of most of them come first.
func list(tools []catalogue.Tool, toolset, query string) (listing, *toolcall.Failure) {
	names := toolsets(tools)
	if toolset != "" && !slices.Contains(names, toolset) {
		return listing{}, fault(toolcall.InvalidArguments, "There is no toolset %q. Choose from %s, or leave it out.", clip(toolset), strings.Join(names, ", "))
	}
	words := telling(query)
	out := listing{Toolsets: []set{}}
	best := map[string]int{}
	for _, name := range names {
		if toolset != "" && toolset != name {
			continue
		}
		type scored struct {
			listed
			score int
		}
		var found []scored
		for _, t := range tools {
			if t.Toolset != name {
				continue
			}
			if n := score(t, words); n > 0 || len(words) == 0 {
				found = append(found, scored{listed{t.Name, t.Title, !t.ReadOnly}, n})
			}
		}
		if found == nil {
			continue
		}
		slices.SortStableFunc(found, func(a, b scored) int { return b.score - a.score })
		s := set{Toolset: name}
		for _, f := range found {
			s.Tools = append(s.Tools, f.listed)
		}
		best[name] = found[0].score
		out.Toolsets = append(out.Toolsets, s)
	}
	slices.SortStableFunc(out.Toolsets, func(a, b set) int { return best[b.Toolset] - best[a.Toolset] })
	if len(out.Toolsets) == 0 {
		out.Note = "No tool speaks of that. Without query, all are listed."
	}
	return out, nil
}

// telling are the words of a query that say something, in the singular.
func telling(query string) (words []string) {
	for _, w := range strings.Fields(strings.ToLower(query)) {
		w = strings.Trim(w, ",.;:?!\"'")
		if w == "" || slices.Contains(stopWords, w) {
			continue
		}
		if len(w) > 3 && strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") {
			w = w[:len(w)-1]
		}
		words = append(words, w)
	}
	return words
}

// stopWords are in any description, or in none for what they mean.
var stopWords = []string{
	"a", "an", "the", "of", "for", "from", "to", "in", "on", "by", "with", "and", "or", "at", "as", "is", "are", "be", "it", "its", "my", "our", "me", "i", "we", "you",
	"what", "which", "where", "how", "who", "that", "this", "these", "those", "do", "does", "can", "all", "any", "some", "show", "please", "want", "need",
	"tool", "tools", "about",
}

// score says how much a tool speaks of the words: each counts for more in what the
// tool is called than in how it is described.
func score(t catalogue.Tool, words []string) (n int) {
	called, described := strings.ToLower(t.Name+" "+t.Title+" "+t.Toolset), strings.ToLower(t.Description)
	for _, w := range words {
		switch {
		case strings.Contains(called, w):
			n += 2*weight + 1
		case strings.Contains(described, w):
			n += 2 * weight
		}
	}
	return n
}

// weight is more than the words of any query, so that a name never counts for
// more than another word.
const weight = 100

func toolsets(tools []catalogue.Tool) []string {
	var names []string
	for _, t := range tools {
		names = append(names, t.Toolset)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

type described struct {
	Name        string          `json:"name"`
	Title       string          `json:"title"`
	Toolset     string          `json:"toolset"`
	Description string          `json:"description"`
	CallWith    string          `json:"call_with"`
	ReadOnly    bool            `json:"read_only"`
	Destructive bool            `json:"destructive"`
	Idempotent  bool            `json:"idempotent"`
	InputSchema json.RawMessage `json:"input_schema"`
}

func describe(raw json.RawMessage, lookup Lookup) (any, *toolcall.Failure) {
	var names []string
	if json.Unmarshal(raw, &names) != nil {
		return nil, fault(toolcall.InvalidArguments, "names must be a list of names.")
	}
	tools := []described{}
	var unknown []string
	for _, name := range names {
		t, ok := lookup(strings.TrimSpace(name))
		if !ok {
			unknown = append(unknown, clip(name))
			continue
		}
		with := Read
		if !t.ReadOnly {
			with = Write
		}
		tools = append(tools, described{t.Name, t.Title, t.Toolset, t.Description, with, t.ReadOnly, t.Destructive, t.Idempotent, t.InputSchema})
	}
	none := fmt.Sprintf("There is no tool %s. %s names those there are.", quoted(unknown), List)
	switch {
	case len(tools) == 0:
		return nil, fault(toolcall.NotFound, "%s", none)
	case unknown != nil:
		return description{tools, unknown, none}, nil
	}
	return description{Tools: tools}, nil
}

// description names what there is not beside what there is.
type description struct {
	Tools   []described `json:"tools"`
	Unknown []string    `json:"unknown,omitempty"`
	Note    string      `json:"note,omitempty"`
}

func quoted(names []string) string {
	var out []string
	for _, name := range names {
		out = append(out, fmt.Sprintf("%q", name))
	}
	return strings.Join(out, ", ")
}

func fault(kind toolcall.FailureKind, format string, args ...any) *toolcall.Failure {
	return &toolcall.Failure{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func failed(f *toolcall.Failure) toolcall.Result {
	return toolcall.Result{Text: f.Message, Failure: f}
}

// text is the string that a checked argument holds; empty when it is not there.
func text(raw json.RawMessage) (s string) {
	if raw != nil {
		_ = json.Unmarshal(raw, &s) // it was checked
	}
	return strings.TrimSpace(s)
}

func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// clip bounds what is repeated of a client's own words.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), 64)], "")
}
