package directory_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/directory"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

var tools = []catalogue.Tool{
	{Name: "bills_create", Title: "Create a bill", Toolset: "purchasing", Description: "Creates it.", InputSchema: json.RawMessage(`{}`)},
	{Name: "bills_list", Title: "Bills", Toolset: "purchasing", Description: "Bills <of> vendors, with landed cost.", ReadOnly: true, Aliases: []string{"get_bills"}, InputSchema: json.RawMessage(`{"type":"object"}`)},
	{Name: "items_list", Title: "Items", Toolset: "inventory", Description: "Stock and landed cost.", ReadOnly: true, InputSchema: json.RawMessage(`{}`)},
}

func lookup(name string) (catalogue.Tool, bool) {
	for _, t := range tools {
		if t.Name == name || len(t.Aliases) > 0 && t.Aliases[0] == name {
			return t, true
		}
	}
	return catalogue.Tool{}, false
}

func own(t *testing.T, name string) catalogue.Tool {
	t.Helper()
	for _, tool := range directory.Tools() {
		if tool.Name == name {
			return tool
		}
	}
	t.Fatalf("no tool %s", name)
	return catalogue.Tool{}
}

func TestToolsAreFoundByToolsetAndWords(t *testing.T) {
	t.Parallel()
	for arguments, want := range map[string]string{
		``:                        `{"toolsets":[{"toolset":"inventory","tools":[{"name":"items_list","title":"Items"}]},{"toolset":"purchasing","tools":[{"name":"bills_create","title":"Create a bill","writes":true},{"name":"bills_list","title":"Bills"}]}]}`,
		`{"toolset":"inventory"}`: `{"toolsets":[{"toolset":"inventory","tools":[{"name":"items_list","title":"Items"}]}]}`,
		// The tools that speak of most of the words.
		`{"query":"landed COST"}`:            `{"toolsets":[{"toolset":"inventory","tools":[{"name":"items_list","title":"Items"}]},{"toolset":"purchasing","tools":[{"name":"bills_list","title":"Bills"}]}]}`,
		`{"query":"landed cost of vendors"}`: `{"toolsets":[{"toolset":"purchasing","tools":[{"name":"bills_list","title":"Bills"}]},{"toolset":"inventory","tools":[{"name":"items_list","title":"Items"}]}]}`,
		// What a tool is called counts for more than how it is described.
		`{"query":"Creates a bill?"}`:                        `{"toolsets":[{"toolset":"purchasing","tools":[{"name":"bills_create","title":"Create a bill","writes":true},{"name":"bills_list","title":"Bills"}]}]}`,
		`{"query":"show me the stock"}`:                      `{"toolsets":[{"toolset":"inventory","tools":[{"name":"items_list","title":"Items"}]}]}`,
		`{"query":"of the"}`:                                 `{"toolsets":[{"toolset":"inventory","tools":[{"name":"items_list","title":"Items"}]},{"toolset":"purchasing","tools":[{"name":"bills_create","title":"Create a bill","writes":true},{"name":"bills_list","title":"Bills"}]}]}`,
		`{"query":"landed cost","toolset":"purchasing"}`:     `{"toolsets":[{"toolset":"purchasing","tools":[{"name":"bills_list","title":"Bills"}]}]}`,
		`{"query":"weather"}`:                                `{"toolsets":[],"note":"No tool speaks of that. Without query, all are listed."}`,
		`{"params":{"toolset":"inventory","query":"stock"}}`: `{"toolsets":[{"toolset":"inventory","tools":[{"name":"items_list","title":"Items"}]}]}`,
		`"{\"toolset\":\"inventory\"}"`:                      `{"toolsets":[{"toolset":"inventory","tools":[{"name":"items_list","title":"Items"}]}]}`,
	} {
		r := directory.Answer(own(t, directory.List), json.RawMessage(arguments), tools, lookup)
		if r.Failure != nil || string(r.Structured) != want || r.Text != want {
			t.Errorf("%s: %+v\nwant %s", arguments, r, want)
		}
	}
}

func TestToolsAreDescribed(t *testing.T) {
	t.Parallel()
	r := directory.Answer(own(t, directory.Describe), json.RawMessage(`{"names":["get_bills","bills_create"]}`), tools, lookup)
	const want = `{"tools":[{"name":"bills_list","title":"Bills","toolset":"purchasing","description":"Bills <of> vendors, with landed cost.","call_with":"call_read_tool","read_only":true,"destructive":false,"idempotent":false,"input_schema":{"type":"object"}},` +
		`{"name":"bills_create","title":"Create a bill","toolset":"purchasing","description":"Creates it.","call_with":"call_write_tool","read_only":false,"destructive":false,"idempotent":false,"input_schema":{}}]}`
	if r.Failure != nil || string(r.Structured) != want {
		t.Errorf("%+v", r)
	}
}

func TestOneUnknownNameDoesNotHideTheKnownTools(t *testing.T) {
	t.Parallel()
	r := directory.Answer(own(t, directory.Describe), json.RawMessage(`{"names":["nonsense","bills_list"]}`), tools, lookup)
	var got struct {
		Tools   []struct{ Name string }
		Unknown []string
		Note    string
	}
	if r.Failure != nil || json.Unmarshal(r.Structured, &got) != nil || len(got.Tools) != 1 || got.Tools[0].Name != "bills_list" || len(got.Unknown) != 1 || got.Unknown[0] != "nonsense" ||
		got.Note != `There is no tool "nonsense". list_tools names those there are.` {
		t.Errorf("%+v", r)
	}
}

// The arguments reach the tool as they were sent.
func TestACallIsUnwrapped(t *testing.T) {
	t.Parallel()
	for arguments, want := range map[string]directory.Call{
		`{"name":"bills_list","arguments":{"amount":1.10,"id":12345678901234567890}}`: {"bills_list", json.RawMessage(`{"amount":1.10,"id":12345678901234567890}`)},
		`{"name":" get_bills "}`:                                  {"get_bills", nil},
		`{"params":{"name":"bills_list","arguments":{"a":null}}}`: {"bills_list", json.RawMessage(`{"a":null}`)},
	} {
		got, failure := directory.Unwrap(own(t, directory.Read), json.RawMessage(arguments), lookup)
		if failure != nil || got.Name != want.Name || string(got.Arguments) != string(want.Arguments) {
			t.Errorf("%s: %s %s %+v", arguments, got.Name, got.Arguments, failure)
		}
	}
	if got, failure := directory.Unwrap(own(t, directory.Write), json.RawMessage(`{"name":"bills_create","arguments":{}}`), lookup); failure != nil || got.Name != "bills_create" {
		t.Errorf("%+v %+v", got, failure)
	}
}

func TestWhatTheDirectoryCannotDoIsExplained(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tool, arguments, says string
		kind                  toolcall.FailureKind
	}{
		{directory.Read, `{"name":"bills_create"}`, "bills_create changes data: call it with call_write_tool", toolcall.InvalidArguments},
		{directory.Read, `{"name":"nonsense"}`, `no tool "nonsense"`, toolcall.NotFound},
		{directory.Read, `{"name":"list_tools"}`, "no tool", toolcall.NotFound},
		{directory.Read, `{}`, "name", toolcall.InvalidArguments},
		{directory.Read, `[]`, "JSON object", toolcall.InvalidArguments},
		{directory.Write, `{"name":"nonsense","arguments":[1]}`, "arguments", toolcall.InvalidArguments},
		{directory.List, `{"toolset":"stocks"}`, "Choose from inventory, purchasing", toolcall.InvalidArguments},
		{directory.List, `{"toolsets":"inventory","x":1}`, "toolset", toolcall.InvalidArguments},
		{directory.Describe, `{"names":[]}`, "names", toolcall.InvalidArguments},
		{directory.Describe, `{"names":["nonsense"]}`, `no tool "nonsense"`, toolcall.NotFound},
		{directory.Describe, `{"names":["nonsense","rubbish"]}`, `no tool "nonsense", "rubbish"`, toolcall.NotFound},
		{directory.Describe, `{"names":["a","b","c","d","e","f","g","h","i","j","k"]}`, "names", toolcall.InvalidArguments},
	} {
		tool := own(t, c.tool)
		var failure *toolcall.Failure
		if c.tool == directory.Read || c.tool == directory.Write {
			_, failure = directory.Unwrap(tool, json.RawMessage(c.arguments), lookup)
		} else {
			failure = directory.Answer(tool, json.RawMessage(c.arguments), tools, lookup).Failure
		}
		if failure == nil || failure.Kind != c.kind || !strings.Contains(failure.Message, c.says) {
			t.Errorf("%s %s: %+v", c.tool, c.arguments, failure)
		}
	}
}
