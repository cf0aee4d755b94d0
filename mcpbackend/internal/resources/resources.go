// Package resources names records of NeonPanel by URI, so that people can put
// them into a conversation: companies, and their items and documents. Reading
// one is a call of the tool that reads such a record, as the caller, and bound
// by the same toolsets, scopes and audit.
package resources

import (
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// MIMEType is that of every resource.
const MIMEType = "application/json"

// Tools is the catalogue.
type Tools interface {
	Tools() []catalogue.Tool
}

// Calls runs tools.
type Calls interface {
	Call(ctx context.Context, c identity.Caller, via invocation.Transport, name string, arguments json.RawMessage) invocation.Outcome
}

// Template is a kind of resource.
type Template struct {
	// URI is an RFC 6570 template.
	URI                      string
	Name, Title, Description string

	// collection is the part of the path before the record's id.
	collection string
	// variable is the one for the record's id; empty for companies.
	variable string
	// read and list are operationIds, argument is read's for the record's id.
	read, list, argument string
}

const (
	prefix  = "neonpanel://companies/"
	company = "company"
)

var templates = []Template{
	{
		URI: prefix + "{company}", Name: "company", Title: "Company",
		Description: "A company: its currency, time zone and ids. The company is a uuid, an id or a short name.",
		list:        listCompanies,
	},
	{
		URI: prefix + "{company}/items/{item}", Name: "item", Title: "Inventory item", collection: "items", variable: "item",
		Description: "An inventory item with its product, listing and restock data.",
		read:        "getInventoryItemFullData", list: "listInventoryItems", argument: "inventoryId",
	},
	{
		URI: prefix + "{company}/orders/{order}", Name: "order", Title: "Inventory order", collection: "orders", variable: "order",
		Description: "An inventory (purchase) order with its lines, vendor and payments.",
		read:        "inventoryOrders.read", list: "inventoryOrders.list", argument: "orderId",
	},
	{
		URI: prefix + "{company}/bills/{bill}", Name: "bill", Title: "Bill", collection: "bills", variable: "bill",
		Description: "A vendor's bill with its lines and payments.",
		read:        "bills.read", list: "bills.list", argument: "billId",
	},
	{
		URI: prefix + "{company}/invoices/{invoice}", Name: "invoice", Title: "Invoice", collection: "invoices", variable: "invoice",
		Description: "A sales invoice with its lines.",
		read:        "invoices.read", list: "invoices.list", argument: "invoiceId",
	},
	{
		URI: prefix + "{company}/shipments/{shipment}", Name: "shipment", Title: "Shipment", collection: "shipments", variable: "shipment",
		Description: "A shipment between warehouses with its lines and tracking number.",
		read:        "shipments.read", list: "shipments.list", argument: "shipmentId",
	},
}

const listCompanies = "listCompanies"

// Library reads resources for callers of one transport.
type Library struct {
	tools Tools
	calls Calls
	via   invocation.Transport
}

// New returns a library.
func New(tools Tools, calls Calls, via invocation.Transport) *Library {
	return &Library{tools, calls, via}
}

// Templates are all kinds of resources, offered or not.
func Templates() []Template { return slices.Clone(templates) }

// Offered says whether the tool that a template rests on is among those.
func Offered(tools []catalogue.Tool, uri string) bool {
	i := slices.IndexFunc(templates, func(t Template) bool { return t.URI == uri })
	if i < 0 {
		return false
	}
	_, ok := find(tools, templates[i].operation())
	return ok
}

func (t Template) operation() string {
	if t.read == "" {
		return t.list
	}
	return t.read
}

func (l *Library) tool(c identity.Caller, operation string) (catalogue.Tool, bool) {
	t, ok := find(l.tools.Tools(), operation)
	return t, ok && c.Selection.Allows(&t)
}

func find(tools []catalogue.Tool, operation string) (catalogue.Tool, bool) {
	i := slices.IndexFunc(tools, func(t catalogue.Tool) bool { return t.Operation.ID == operation && t.Parts == nil })
	if i < 0 {
		return catalogue.Tool{}, false
	}
	return tools[i], true
}

// Fault is why a resource could not be read.
type Fault struct {
	// NotFound is set when there is no such resource for this caller.
	NotFound bool
	Message  string
	// Denial is set when the caller has to sign in or obtain a scope.
	Denial *denial.Denial
}

var notFound = &Fault{NotFound: true, Message: "Resource not found"}

// Read gives the JSON of a resource.
func (l *Library) Read(ctx context.Context, c identity.Caller, uri string) (json.RawMessage, *Fault) {
	t, owner, id, ok := parse(uri)
	if !ok {
		return nil, notFound
	}
	if t.read == "" {
		list, fault := l.companies(ctx, c)
		if fault != nil {
			return nil, fault
		}
		if i := slices.IndexFunc(list, func(r row) bool { return r.is(owner) }); i >= 0 {
			return list[i].raw, nil
		}
		return nil, notFound
	}
	return l.call(ctx, c, t.read, map[string]any{"companyUuid": owner, t.argument: id})
}

// The parts of a path. A company may be given by a short name, in which other
// characters are percent-encoded.
var digits = regexp.MustCompile(`^[0-9]{1,18}$`)

const maxName = 100

func parse(uri string) (t Template, owner string, id int64, ok bool) {
	rest, ok := strings.CutPrefix(uri, prefix)
	if !ok || len(uri) > 500 {
		return Template{}, "", 0, false
	}
	parts := strings.Split(rest, "/")
	owner, err := url.PathUnescape(parts[0])
	if err != nil || owner == "" || owner == "." || owner == ".." || len(owner) > maxName || strings.ContainsAny(owner, "/\\?#") || strings.ContainsFunc(owner, control) || strings.ContainsAny(parts[0], "?#") {
		return Template{}, "", 0, false
	}
	collection := ""
	switch len(parts) {
	case 1:
	case 3:
		if !digits.MatchString(parts[2]) || parts[1] == "" {
			return Template{}, "", 0, false
		}
		collection = parts[1]
		id, _ = strconv.ParseInt(parts[2], 10, 64) // 18 digits fit
	default:
		return Template{}, "", 0, false
	}
	i := slices.IndexFunc(templates, func(t Template) bool { return t.collection == collection })
	if i < 0 {
		return Template{}, "", 0, false
	}
	return templates[i], owner, id, true
}

func control(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }

// call runs the tool of an operation.
func (l *Library) call(ctx context.Context, c identity.Caller, operation string, arguments map[string]any) (json.RawMessage, *Fault) {
	t, ok := l.tool(c, operation)
	if !ok {
		return nil, notFound
	}
	raw, err := json.Marshal(arguments)
	if err != nil {
		return nil, notFound
	}
	out := l.calls.Call(ctx, c, l.via, t.Name, raw)
	switch f := out.Failure; {
	case out.Denial != nil:
		return nil, &Fault{Message: out.Denial.Description, Denial: out.Denial}
	case f == nil && out.Structured != nil:
		return out.Structured, nil
	case f == nil:
		return nil, notFound
	case f.Kind == toolcall.NotFound, f.Kind == toolcall.InvalidArguments, f.Kind == toolcall.Forbidden, f.Kind == toolcall.Rejected:
		// To a caller who may not see it, it does not exist.
		return nil, notFound
	default:
		return nil, &Fault{Message: f.Message}
	}
}

// row is what the lists have in common.
type row struct {
	ID        json.Number `json:"id"`
	UUID      string      `json:"uuid"`
	Name      string      `json:"name"`
	ShortName string      `json:"short_name"`
	raw       json.RawMessage
}

func (r row) is(company string) bool {
	return company == r.UUID || company == r.ID.String() || strings.EqualFold(company, r.ShortName) || strings.EqualFold(company, r.Name)
}

const (
	pageSize = 60
	maxPages = 5
)

// companies are those that the caller can open, at most a few pages of them.
func (l *Library) companies(ctx context.Context, c identity.Caller) ([]row, *Fault) {
	var out []row
	for page := 1; page <= maxPages; page++ {
		rows, fault := l.rows(ctx, c, listCompanies, map[string]any{"page": page, "per_page": pageSize})
		if fault != nil {
			return nil, fault
		}
		out = append(out, rows...)
		if len(rows) < pageSize {
			break
		}
	}
	return out, nil
}

func (l *Library) rows(ctx context.Context, c identity.Caller, operation string, arguments map[string]any) ([]row, *Fault) {
	answer, fault := l.call(ctx, c, operation, arguments)
	if fault != nil {
		return nil, fault
	}
	var list struct {
		Data []json.RawMessage `json:"data"`
	}
	_ = json.Unmarshal(answer, &list) // what is no list has no rows
	rows := make([]row, 0, len(list.Data))
	for _, raw := range list.Data {
		r := row{raw: raw}
		if json.Unmarshal(raw, &r) == nil {
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// Company is a company as a list of resources names it.
type Company struct{ URI, Name, Title string }

// Companies are those of the caller. One who lacks the scope to see companies
// has none here: clients ask for the list unasked, and nobody should be sent to
// a login for that.
func (l *Library) Companies(ctx context.Context, c identity.Caller) ([]Company, *Fault) {
	if t, ok := l.tool(c, listCompanies); !ok || c.ScopeMode == identity.Enforce && c.Missing(t.Scopes) != nil {
		return nil, nil
	}
	rows, fault := l.companies(ctx, c)
	if fault != nil {
		return nil, fault
	}
	out := make([]Company, 0, len(rows))
	for _, r := range rows {
		if r.UUID != "" {
			out = append(out, Company{prefix + url.PathEscape(r.UUID), firstOf(r.ShortName, r.Name, r.UUID), firstOf(r.Name, r.ShortName)})
		}
	}
	return out, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
