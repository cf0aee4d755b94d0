package selection_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/selection"
)

// offered are tools, of which off is known and not offered.
type offered []catalogue.Tool

const off, offToolset = "bills_delete", "deletes"

func (o offered) Tools() []catalogue.Tool { return o }
func (o offered) Lookup(name string) (catalogue.Tool, bool) {
	i := slices.IndexFunc(o, func(t catalogue.Tool) bool { return t.Name == name || slices.Contains(t.Aliases, name) })
	if i < 0 {
		return catalogue.Tool{}, false
	}
	return o[i], true
}
func (o offered) Known(name string) bool { _, ok := o.Lookup(name); return ok || name == off }
func (o offered) KnownToolset(name string) bool {
	return name == offToolset || slices.ContainsFunc(o, func(t catalogue.Tool) bool { return t.Toolset == name })
}

var tools = offered{
	{Name: "bills_create", Toolset: "purchasing"},
	{Name: "bills_list", Toolset: "purchasing", ReadOnly: true, Aliases: []string{"get_bills"}},
	{Name: "companies_list", Toolset: "companies", ReadOnly: true},
	{Name: "import_pdf", Toolset: "import"},
	{Name: "items_list", Toolset: "inventory", ReadOnly: true},
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func names(tools []catalogue.Tool) string {
	var list []string
	for _, t := range tools {
		list = append(list, t.Name)
	}
	return strings.Join(list, " ")
}

func TestHeadersSelectTools(t *testing.T) {
	t.Parallel()
	const all = "bills_create bills_list companies_list import_pdf items_list"
	for name, c := range map[string]struct {
		header http.Header
		want   string
	}{
		"nothing":                         {header(), all},
		"a toolset":                       {header("X-MCP-Toolsets", "inventory"), "items_list"},
		"two toolsets":                    {header("X-MCP-Toolsets", " inventory ,,companies"), "companies_list items_list"},
		"two lines":                       {header("X-MCP-Toolsets", "inventory", "X-MCP-Toolsets", "companies"), "companies_list items_list"},
		"all":                             {header("X-MCP-Toolsets", "all"), all},
		"reads":                           {header("X-MCP-Toolsets", "reads"), "bills_list companies_list items_list"},
		"read-only":                       {header("X-MCP-Readonly", "true"), "bills_list companies_list items_list"},
		"read-only, in capitals":          {header("X-MCP-Readonly", "TRUE"), "bills_list companies_list items_list"},
		"not read-only":                   {header("X-MCP-Readonly", "false"), all},
		"the stricter of two":             {header("X-MCP-Readonly", "true", "X-MCP-Readonly", "false"), "bills_list companies_list items_list"},
		"read-only of a toolset":          {header("X-MCP-Toolsets", "purchasing", "X-MCP-Readonly", "1"), "bills_list"},
		"a tool":                          {header("X-MCP-Tools", "items_list"), "items_list"},
		"a tool by an old name":           {header("X-MCP-Tools", "get_bills"), "bills_list"},
		"a toolset and a tool":            {header("X-MCP-Toolsets", "purchasing", "X-MCP-Tools", "items_list"), "bills_create bills_list items_list"},
		"without a tool":                  {header("X-MCP-Exclude-Tools", "bills_create,get_bills"), "companies_list import_pdf items_list"},
		"excluding is stronger":           {header("X-MCP-Tools", "items_list,bills_list", "X-MCP-Exclude-Tools", "bills_list"), "items_list"},
		"read-only is stronger":           {header("X-MCP-Tools", "import_pdf,bills_list", "X-MCP-Readonly", "true"), "bills_list"},
		"what is off stays off":           {header("X-MCP-Toolsets", "deletes,companies", "X-MCP-Tools", off), "companies_list"},
		"without what is off anyway":      {header("X-MCP-Exclude-Tools", off), all},
		"granted does not bear on calls":  {header("X-MCP-Granted", "true"), all},
		"dynamic does not bear on calls":  {header("X-MCP-Dynamic", "true"), all},
		"a header that is none of theirs": {header("X-MCP-Lockdown", "true"), all},
	} {
		s, err := selection.Of(c.header, tools, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := names(s.Of(tools)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestAFaultyHeaderIsNoWishForEverything(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header http.Header
		says   string
	}{
		"unknown toolset":       {header("X-MCP-Toolsets", "inventory,stocks"), `X-MCP-Toolsets: there is no toolset "stocks". Choose from companies, import, inventory, purchasing`},
		"capitals":              {header("X-MCP-Toolsets", "Inventory"), `no toolset "Inventory"`},
		"empty":                 {header("X-MCP-Toolsets", ""), "X-MCP-Toolsets is empty"},
		"only commas":           {header("X-MCP-Exclude-Tools", " , ,"), "X-MCP-Exclude-Tools is empty"},
		"unknown tool":          {header("X-MCP-Tools", "items_lists"), `X-MCP-Tools: there is no tool "items_lists"`},
		"unknown tool excluded": {header("X-MCP-Exclude-Tools", "bills_craete"), `X-MCP-Exclude-Tools: there is no tool "bills_craete"`},
		"no boolean":            {header("X-MCP-Readonly", "yes please"), "X-MCP-Readonly must be true or false"},
		"empty boolean":         {header("X-MCP-Readonly", ""), "X-MCP-Readonly must be true or false"},
		"half a boolean":        {header("X-MCP-Readonly", "false,"), "X-MCP-Readonly must be true or false"},
		"dynamic":               {header("X-MCP-Dynamic", "maybe"), "X-MCP-Dynamic must be true or false"},
		"granted":               {header("X-MCP-Granted", "2"), "X-MCP-Granted must be true or false"},
		"a space":               {header("X-MCP-Toolsets", "inventory companies"), "X-MCP-Toolsets holds what is no name"},
		"long":                  {header("X-MCP-Toolsets", strings.Repeat("x", 65)), "X-MCP-Toolsets holds what is no name"},
		"many":                  {header("X-MCP-Tools", strings.Repeat("items_list,", 201)), "X-MCP-Tools names more than 200"},
		"nothing left":          {header("X-MCP-Toolsets", "import", "X-MCP-Readonly", "true"), "leave no tool. This server offers the toolsets companies, import, inventory, purchasing"},
		"all of it is off":      {header("X-MCP-Toolsets", "deletes"), "leave no tool"},
	} {
		s, err := selection.Of(c.header, tools, nil)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if s != nil {
			t.Errorf("%s: a selection in spite of the fault", name)
		}
	}
}

func TestTwoSelectionsLeaveWhatBothDo(t *testing.T) {
	t.Parallel()
	of := func(pairs ...string) *selection.Selection {
		s, err := selection.Of(header(pairs...), tools, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	reads, purchasing := of("X-MCP-Readonly", "true"), of("X-MCP-Toolsets", "purchasing", "X-MCP-Dynamic", "true")
	for name, c := range map[string]struct {
		both *selection.Selection
		want string
	}{
		"none":     {of().And(nil), names(tools)},
		"first":    {reads.And(nil), "bills_list companies_list items_list"},
		"second":   {of().And(reads), "bills_list companies_list items_list"},
		"both":     {reads.And(purchasing), "bills_list"},
		"reversed": {purchasing.And(reads), "bills_list"},
		"three":    {purchasing.And(of("X-MCP-Exclude-Tools", "bills_list")).And(reads), ""},
	} {
		if got := names(c.both.Of(tools)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if !reads.And(purchasing).Dynamic() || !purchasing.And(reads).Dynamic() || reads.Dynamic() || reads.Granted() {
		t.Error("the form of the list is lost on the way, or comes from nowhere")
	}
}

func TestTheFormOfTheListIsTheClientsToChoose(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header           http.Header
		otherwise        selection.Form
		granted, dynamic bool
	}{
		"nothing said, full":        {header(), selection.Full, false, false},
		"nothing said, granted":     {header(), selection.Granted, true, false},
		"nothing said, a directory": {header(), selection.Directory, false, true},
		"said otherwise":            {header("X-MCP-Dynamic", "false"), selection.Directory, false, false},
		"said something else":       {header("X-MCP-Granted", "true"), selection.Directory, true, false},
		"said only which tools":     {header("X-MCP-Readonly", "true"), selection.Directory, false, true},
	} {
		s, err := selection.Of(c.header, tools, c.otherwise.Selection())
		if err != nil || s.Granted() != c.granted || s.Dynamic() != c.dynamic {
			t.Errorf("%s: granted %t, dynamic %t, %v", name, s.Granted(), s.Dynamic(), err)
		}
	}
}

// FuzzOf: whatever a client sends, it never gets more than there is, and never a
// tool that it said it does not want.
func FuzzOf(f *testing.F) {
	f.Add("inventory", "bills_list", "bills_create", "true")
	f.Add("all,reads", "", ",", "1")
	f.Add(" a\tb ,", "\x00", "get_bills", "TRUE,false")
	f.Fuzz(func(t *testing.T, toolsets, some, exclude, readOnly string) {
		h := header("X-MCP-Toolsets", toolsets, "X-MCP-Tools", some, "X-MCP-Exclude-Tools", exclude, "X-MCP-Readonly", readOnly)
		for name, values := range h {
			if values[0] == "-" {
				h.Del(name)
			}
		}
		s, err := selection.Of(h, tools, nil)
		if err != nil {
			if len(err.Error()) > 400 {
				t.Errorf("%d bytes of fault", len(err.Error()))
			}
			return
		}
		kept := s.Of(tools)
		if len(h) > 0 && (s == nil || len(kept) == 0) {
			t.Errorf("%v selects nothing", h)
		}
		for _, tool := range kept {
			if !slices.ContainsFunc(tools, func(t catalogue.Tool) bool { return t.Name == tool.Name }) {
				t.Errorf("%s is not offered", tool.Name)
			}
			if strings.Contains(strings.ToLower(readOnly), "true") && !tool.ReadOnly {
				t.Errorf("%s changes data", tool.Name)
			}
			if slices.Contains(strings.Split(exclude, ","), tool.Name) {
				t.Errorf("%s was excluded", tool.Name)
			}
		}
	})
}

// TestASelectionTravels: another replica holds to it just the same.
func TestASelectionTravels(t *testing.T) {
	t.Parallel()
	of := func(pairs ...string) *selection.Selection {
		s, err := selection.Of(header(pairs...), tools, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, s := range map[string]*selection.Selection{
		"none": nil,
		"each": of("X-Mcp-Toolsets", "purchasing,inventory", "X-Mcp-Tools", "import_pdf", "X-Mcp-Exclude-Tools", "bills_list", "X-Mcp-Readonly", "true", "X-Mcp-Granted", "true", "X-Mcp-Dynamic", "true"),
		"both": of("X-Mcp-Toolsets", "purchasing").And(of("X-Mcp-Readonly", "true")),
	} {
		sent, err := json.Marshal(struct{ S *selection.Selection }{s})
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ S *selection.Selection }
		if err := json.Unmarshal(sent, &got); err != nil || !reflect.DeepEqual(got.S, s) {
			t.Errorf("%s: %s came as %+v, %v", name, sent, got.S, err)
		}
	}
}
