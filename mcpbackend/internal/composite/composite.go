// Package composite holds the tools that consist of several operations of the
// NeonPanel API: what a model would otherwise need many calls for. They read
// only, run as the caller, a few calls at a time until one deadline, and say
// what they could not get. Figures are computed with exact decimals, and what
// is not known is null.
package composite

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// definition is one composite tool.
type definition struct {
	name, title, description string
	parameters               []catalogue.Parameter
	// output is nil where it would only cost room.
	output json.RawMessage
	// operations are those that it is nothing without; optional are further ones,
	// by what they give, of which one is enough: the tool says what is missing.
	operations []string
	optional   []part
	run        func(*session, arguments) (any, *toolcall.Failure)
}

// part is what an operation gives a tool that can do without it.
type part struct {
	gives string
	// operations are all needed for it.
	operations []string
}

func parameter(name, description string, s catalogue.Schema) catalogue.Parameter {
	s.Description = description
	return catalogue.Parameter{Argument: name, Name: name, In: catalogue.Nowhere, Schema: &s}
}

func required(p catalogue.Parameter) catalogue.Parameter {
	p.Required = true
	return p
}

func between(low, high float64, otherwise string) catalogue.Schema {
	return catalogue.Schema{Type: "integer", Minimum: &low, Maximum: &high, Default: json.RawMessage(otherwise)}
}

func definitions() []definition {
	date := catalogue.Schema{Type: "string", Format: "date"}
	two := int64(2)
	bounded := func(least, most int64) catalogue.Schema {
		return catalogue.Schema{Type: "string", MinLength: &least, MaxLength: &most}
	}
	mostCountries := int64(50)
	countries := catalogue.Schema{Type: "array", MaxItems: &mostCountries, Items: &catalogue.Schema{Type: "string", MinLength: &two, MaxLength: &two}}
	company := func(description string) catalogue.Parameter {
		p := parameter("company", "Name, short name, id or uuid; "+description, bounded(1, 128))
		// As the operations name it.
		p.Aliases = []string{"companyUuid", "company_id", "company_name"}
		p.Names = catalogue.Companies
		return p
	}
	oneCompany := company("needed when the user has several companies")
	// An earlier server's search and fetch took these too.
	earlier := []catalogue.Parameter{
		parameter("type", "", bounded(0, 128)),
		parameter("companyUuid", "", bounded(0, 128)),
	}
	for i := range earlier {
		earlier[i].Unlisted = true
	}
	earlier[1].Aliases = []string{"company", "company_id"}
	earlier[1].Names = catalogue.Companies
	aliased := func(p catalogue.Parameter, names ...string) catalogue.Parameter {
		p.Aliases = names
		return p
	}
	return []definition{
		{
			name: "search", title: "Search NeonPanel",
			description: "Finds inventory items, orders, bills, invoices, shipments, vendors and reports in all companies of the user. " +
				"Give a SKU, ASIN, document number, vendor or product name; the word for a kind (bills, orders, …) or the name of a company narrows it. " +
				"Pass an id to fetch. For figures use company_overview, inventory_health or profit_summary.",
			parameters: append([]catalogue.Parameter{required(aliased(parameter("query", "What to look for", bounded(1, maxQuery)), "q", "search", "text"))}, earlier...),
			output:     searchOutput,
			operations: []string{"listCompanies"},
			optional:   kindParts(func(k kind) string { return k.list }, "listReports"),
			run:        search,
		},
		{
			name: "fetch", title: "Fetch a search result",
			description: "The whole record behind an id that search gave: every field and line as text, with its link. An inventory item comes with its stock.",
			parameters:  append([]catalogue.Parameter{required(parameter("id", "An id from search", bounded(1, 200)))}, earlier...),
			output:      fetchOutput,
			operations:  []string{"listCompanies"},
			optional:    append(kindParts(kind.reading, "getReportData"), part{"stock of items", []string{"inventoryBalances"}}),
			run:         fetch,
		},
		{
			name: "company_overview", title: "Company overview",
			description: "How a company stands today, in one call: revenue, COGS and margin this month and last month, units in each warehouse, " +
				"open orders, shipments on their way, payments overdue (fell due within the last year) and due in 30 days. Amounts name their currency; null is unknown.",
			parameters: []catalogue.Parameter{oneCompany},
			operations: []string{"listCompanies"},
			optional: []part{
				{"sales", []string{"revenueAndCogsSummary"}}, {"stock", []string{"listWarehouses", "warehouseBalances"}},
				{"open orders", []string{"inventoryOrders.list"}}, {"shipments in transit", []string{"shipments.list"}}, {"payments", []string{"paymentRequests.list"}},
			},
			run: overview,
		},
		{
			name: "inventory_health", title: "Inventory health",
			description: "Stock, days of cover, landed cost and stock value of a company's items: what runs out within its lead time, and what moves too slowly. " +
				"Days of cover are units in all warehouses divided by NeonPanel's estimated units sold a day; null where nothing sells.",
			parameters: []catalogue.Parameter{
				oneCompany,
				parameter("search", "Only items with this text in SKU, ASIN, FNSKU or name", bounded(1, maxQuery)),
				parameter("country_code", "Only items of this marketplace country (ISO 3166-1 alpha-2)", catalogue.Schema{Type: "string", MinLength: &two, MaxLength: &two}),
				parameter("slow_after_days", "Stock for more days than this is slow", between(1, 3650, "180")),
				parameter("limit", "Items in each list", between(1, 100, "15")),
			},
			operations: []string{"listCompanies", "listInventoryItems", "listWarehouses", "warehouseBalances", "inventoryBalances"},
			run:        inventory,
		},
		{
			name: "profit_summary", title: "Profit summary",
			description: "Revenue, COGS, gross margin and margin percent of one or all companies: in total, by period and by market, compared with the period before. " +
				"Whole months are compared with as many whole months, other periods with as many days before. Each company keeps its own currency: do not add them up.",
			parameters: []catalogue.Parameter{
				company("all companies if left out"),
				aliased(parameter("start_date", "First day; with end_date left out too, last month", date), "from", "from_date", "date_from"),
				aliased(parameter("end_date", "Last day; today if only start_date is given", date), "to", "to_date", "date_to"),
				parameter("periodicity", "Length of the periods", catalogue.Schema{
					Type: "string", Enum: []json.RawMessage{[]byte(`"total"`), []byte(`"monthly"`), []byte(`"quarterly"`), []byte(`"yearly"`)}, Default: json.RawMessage(`"monthly"`),
				}),
				parameter("country_codes", "Only these marketplace countries (ISO 3166-1 alpha-2)", countries),
			},
			operations: []string{"listCompanies", "revenueAndCogsSummary"},
			run:        profit,
		},
	}
}

// The shapes of search and fetch are OpenAI's.
var (
	searchOutput = json.RawMessage(`{"type":"object","properties":{"results":{"type":"array","items":{"type":"object","properties":{` +
		`"id":{"type":"string"},"title":{"type":"string"},"url":{"type":"string"}},"required":["id","title","url"],"additionalProperties":false}}},"required":["results"],"additionalProperties":false}`)
	fetchOutput = json.RawMessage(`{"type":"object","properties":{"id":{"type":"string"},"title":{"type":"string"},"text":{"type":"string"},` +
		`"url":{"type":"string"},"metadata":{"type":"object","additionalProperties":{"type":"string"}}},"required":["id","title","text","url"],"additionalProperties":false}`)
)

// Tools makes those composite tools whose operations are there.
func Tools(operation func(id string) (catalogue.Tool, bool)) []catalogue.Tool {
	var tools []catalogue.Tool
	for _, d := range definitions() {
		t := catalogue.Tool{
			Name: d.name, Title: d.title, Description: d.description, Toolset: catalogue.InsightTools,
			InputSchema: catalogue.Arguments(d.parameters), OutputSchema: d.output,
			ReadOnly: true, Idempotent: true,
			Operation: catalogue.Operation{Parameters: d.parameters},
			Parts:     make(map[string]catalogue.Tool, len(d.operations)),
		}
		// One that the overlay does not pin could be anything under that name.
		take := func(ids []string) bool {
			for _, id := range ids {
				part, ok := operation(id)
				if !ok || !part.ReadOnly || part.Toolset == catalogue.OtherTools {
					return false
				}
			}
			for _, id := range ids {
				part, _ := operation(id)
				t.Parts[id] = part
				t.Scopes = append(t.Scopes, part.Scopes...)
			}
			return true
		}
		if !take(d.operations) {
			continue
		}
		var absent []string
		for _, part := range d.optional {
			if !take(part.operations) {
				absent = append(absent, part.gives)
			}
		}
		if len(absent) > 0 && len(absent) == len(d.optional) {
			continue
		}
		if len(absent) > 0 {
			t.Description += " At present NeonPanel's API lacks " + strings.Join(absent, ", ") + ", and so does this."
		}
		slices.Sort(t.Scopes)
		t.Scopes = slices.Compact(t.Scopes)
		tools = append(tools, t)
	}
	return tools
}

// Options are the settings of [New].
type Options struct {
	// APIURL is the base of the REST API; NeonPanel's pages are on the same site.
	APIURL string
	// Timeout bounds a call with all that it asks for; 22 s, so that there is an
	// answer within 25.
	Timeout time.Duration
	// Parallel is how many calls of the API one call makes at a time; 4.
	Parallel int
	Logger   *slog.Logger
	Now      func() time.Time
}

// annotated is an answer with what its own form has no room for.
type annotated struct {
	answer any
	meta   map[string]any
}

type runner struct {
	next    toolcall.Runner
	api     toolcall.API
	options Options
	links   links
	runs    map[string]func(*session, arguments) (any, *toolcall.Failure)
}

// New makes a Runner that runs composite tools on api and leaves all others to
// next.
func New(next toolcall.Runner, api toolcall.API, options Options) (toolcall.Runner, error) {
	links, err := newLinks(options.APIURL)
	if err != nil {
		return nil, err
	}
	if options.Timeout <= 0 {
		options.Timeout = 22 * time.Second
	}
	if options.Parallel <= 0 {
		options.Parallel = 4
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	r := &runner{next: next, api: api, options: options, links: links, runs: map[string]func(*session, arguments) (any, *toolcall.Failure){}}
	for _, d := range definitions() {
		r.runs[d.name] = d.run
	}
	return r, nil
}

func (r *runner) Run(ctx context.Context, t catalogue.Tool, given json.RawMessage, c toolcall.Caller) toolcall.Result {
	run, ok := r.runs[t.Name]
	if t.Parts == nil || !ok {
		return r.next.Run(ctx, t, given, c)
	}
	a, others, failure := toolcall.ReadNames(&t, given)
	if failure != nil {
		return failed(failure)
	}
	bounded, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	s := &session{
		api: r.api, tool: &t, bearer: c.Bearer, log: r.options.Logger, now: r.options.Now(), links: r.links,
		parent: ctx, ctx: bounded, cancel: cancel, budget: r.options.Timeout, slots: make(chan struct{}, r.options.Parallel),
	}
	// No call may outlive its answer, not even when this goroutine panics.
	defer s.work.Wait()
	defer cancel()
	var answer any
	if failure = s.agree(arguments(a), others); failure == nil {
		answer, failure = run(s, arguments(a))
	}
	if failure != nil {
		out := failed(failure)
		out.Companies = s.about
		return out
	}
	var meta map[string]any
	if noted, ok := answer.(annotated); ok {
		answer, meta = noted.answer, noted.meta
	}
	out, err := encode(answer)
	if err != nil {
		r.options.Logger.Error("an answer has no JSON form", "tool", t.Name, "error", err.Error())
		return failed(&toolcall.Failure{Kind: toolcall.Internal, Message: "The gateway failed on this call. Try again later."})
	}
	return s.tell(toolcall.Result{Structured: out, Text: string(out), Companies: s.about, Meta: meta})
}

// The companies that were taken, as the tools that are one operation have them,
// and in the metadata of the answers whose form has no room for it.
const (
	takenMember = "_company_taken"
	takenMeta   = "com.neonpanel/company_taken"
)

// tell says in an answer which companies were taken for a part of a name.
func (s *session) tell(r toolcall.Result) toolcall.Result {
	if len(s.guesses) == 0 {
		return r
	}
	if s.tool.OutputSchema != nil {
		if r.Meta == nil {
			r.Meta = map[string]any{}
		}
		r.Meta[takenMeta] = s.guesses
		return r
	}
	taken, err := encode(s.guesses)
	if err != nil {
		return r
	}
	// The answers are objects, and none is empty.
	r.Structured = slices.Concat(r.Structured[:len(r.Structured)-1], []byte(`,"`+takenMember+`":`), taken, []byte("}"))
	for _, g := range s.guesses {
		r.Text += "\n\n" + g.String()
	}
	return r
}

func failed(f *toolcall.Failure) toolcall.Result {
	return toolcall.Result{Text: f.Message, Failure: f}
}

// arguments are checked against the schema already.
type arguments map[string]json.RawMessage

func (a arguments) text(name string) string {
	var s text
	_ = json.Unmarshal(orNull(a[name]), &s)
	return string(s)
}

func (a arguments) integer(name string) int {
	n, _ := strconv.Atoi(string(a[name]))
	return n
}

func (a arguments) texts(name string) []string {
	var s []string
	_ = json.Unmarshal(orNull(a[name]), &s)
	return s
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}
