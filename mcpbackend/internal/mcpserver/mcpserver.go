// Package mcpserver speaks MCP: it offers the catalogue's tools through the
// official SDK, over streamable HTTP without sessions, for MCP 2026-07-28 and
// every older version.
package mcpserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.opentelemetry.io/otel/trace"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/directory"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/fixtures"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/resources"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/rpc"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/selection"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/writes"
)

// Modern is the first version without handshake and sessions.
const Modern = "2026-07-28"

// listTTL is how long a client may keep a list of tools.
const listTTL = 5 * time.Minute

// instructions is all that many clients show a model before the first call, so
// it stands by itself and stays under 512 characters.
const instructions = "NeonPanel holds the books and the stock of Amazon and other marketplace sellers. " +
	"%sMost tools need a company: its name, or its uuid from list_companies. " +
	"An answer with next_cursor has more: call again with it as cursor until you have enough. " +
	"Dates are YYYY-MM-DD. Figures are exactly as NeonPanel holds them: do not round or guess. " +
	"Ask the user before a tool that writes."

// insights is the part of the instructions about tools that may be switched off.
const insights = "company_overview, inventory_health and profit_summary answer whole questions in one call; search finds records. "

// directed is that part for clients that are not shown the tools themselves.
const directed = "list_tools finds tools, describe_tools shows their arguments, and the tools that begin with call_ call them. "

func instruct(tools Tools, dynamic bool) string {
	if dynamic {
		return fmt.Sprintf(instructions, directed)
	}
	for _, name := range []string{"company_overview", "inventory_health", "profit_summary", "search"} {
		if !slices.ContainsFunc(tools.Tools(), func(t catalogue.Tool) bool { return t.Name == name }) {
			return fmt.Sprintf(instructions, "")
		}
	}
	return fmt.Sprintf(instructions, insights)
}

// Tools is the catalogue.
type Tools interface {
	Tools() []catalogue.Tool
}

// Options are what a server is made of.
type Options struct {
	Version string
	// PublicURL is the gateway's origin.
	PublicURL string
	Tools     Tools
	// OnChange, when set, is given what is to be told of every change of the
	// tools.
	OnChange func(changed func(*catalogue.Catalogue))
	Calls    *invocation.Service
	// Via labels the calls of this server.
	Via invocation.Transport
	// Link, when set, is given the traceparent that a client put into a call (the
	// _meta of SEP-414).
	Link func(ctx context.Context, traceparent string) context.Context
	// Consents remembers which consents were used; nil means a memory of this
	// server alone.
	Consents Consents
	// Legacy leaves out the versions that only streamable HTTP can carry.
	Legacy bool
}

// New returns an SDK server. Each transport gets one of its own, since the SDK
// scans all sessions of a server at the end of each.
func New(o Options) (*mcp.Server, error) {
	if o.Consents == nil {
		o.Consents = writes.NewConsents(o.Calls.Now)
	}
	l := &library{resources: resources.New(o.Tools, o.Calls, o.Via), tools: o.Tools, calls: o.Calls}
	opts := &mcp.ServerOptions{
		Instructions: instruct(o.Tools, false),
		// The SDK's own messages may hold what a client sent.
		Logger: slog.New(slog.DiscardHandler),
		// Neither logging nor listChanged nor subscribe, for which clients would
		// hold streams open.
		Capabilities: &mcp.ServerCapabilities{
			Tools: &mcp.ToolCapabilities{}, Resources: &mcp.ResourceCapabilities{}, Prompts: &mcp.PromptCapabilities{},
			Completions: &mcp.CompletionCapabilities{},
		},
		CompletionHandler: l.complete,
		SetCacheable: func(_ context.Context, req mcp.Request, c *mcp.Cacheable) {
			// What is listed may depend on who asks; the SDK's default is public.
			c.CacheScope, c.TTLMs = "private", int(listTTL/time.Millisecond)
			switch req.(type) {
			case *mcp.ReadResourceRequest, *mcp.ListResourcesRequest:
				c.TTLMs = 0 // data, which change at any time
			}
		},
	}
	if o.Legacy {
		opts.SupportedProtocolVersions = slices.DeleteFunc(mcp.SupportedProtocolVersions(), func(v string) bool { return v >= Modern })
	}
	fixtures.Offer(opts)
	server := mcp.NewServer(o.info(), opts)
	h := handler{consents: o.Consents, calls: o.Calls, via: o.Via, tools: o.Tools, link: o.Link, directory: map[string]catalogue.Tool{}}
	for _, t := range directory.Tools() {
		h.directory[t.Name] = t
		server.AddTool(describe(t), h.call)
	}
	list := &lister{server: server, call: h.call, directory: h.directory}
	if err := list.offer(o.Tools.Tools()); err != nil {
		return nil, err
	}
	if o.OnChange != nil {
		o.OnChange(func(c *catalogue.Catalogue) {
			if err := list.offer(c.Tools()); err != nil {
				o.Calls.Log.Error("the list of tools stays as it was", "error", err.Error())
			}
		})
	}
	l.add(server)
	fixtures.Add(server)
	// The first of these is the outermost: nothing comes before it.
	server.AddReceivingMiddleware(discoverOnly, h.offered, list.middleware)
	return server, nil
}

// info is how the server names itself.
func (o Options) info() *mcp.Implementation {
	return &mcp.Implementation{Name: "neonpanel-mcp", Title: "NeonPanel", Version: o.Version, WebsiteURL: o.PublicURL}
}

func describe(t catalogue.Tool) *mcp.Tool {
	tool := &mcp.Tool{
		Name: t.Name, Title: t.Title, Description: t.Description, InputSchema: t.InputSchema,
		Annotations: &mcp.ToolAnnotations{
			Title: t.Title, ReadOnlyHint: t.ReadOnly, DestructiveHint: &t.Destructive,
			IdempotentHint: t.Idempotent, OpenWorldHint: &t.OpenWorld,
		},
	}
	if t.OutputSchema != nil {
		tool.OutputSchema = t.OutputSchema
	}
	return tool
}

// Call is what a transport knows of the HTTP request that carries a message.
type Call struct {
	Caller identity.Caller
	// Done ends the call: the SDK cancels a handler only for some versions.
	Done context.Context
	// Trace is the request's place in its trace, where the handler's context does
	// not come from the request; else it is invalid.
	Trace trace.SpanContext
	// modern is true for versions from [Modern] on.
	modern bool
	// started, when set, is told that a tool has begun its work.
	started func()
	// alias is the name that the client called the tool by, where it is not the
	// tool's own.
	alias string
	// denial is set when the answer calls for an HTTP status of its own.
	denial atomic.Pointer[denial.Denial]
}

type callKey struct{}

// withCall puts a call where the SDK's handlers find it.
func withCall(ctx context.Context, c *Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// extraKey is where a transport of our own puts a [Call] in the Extra of a
// request's token info, since its handlers do not inherit the context of the
// HTTP request.
const extraKey = "neonpanel.call"

// Extra carries a call to the SDK's handlers for transports of our own.
func Extra(c *Call) *mcp.RequestExtra {
	return &mcp.RequestExtra{TokenInfo: &auth.TokenInfo{Extra: map[string]any{extraKey: c}}}
}

// callOf returns the call that a request of the SDK belongs to.
func callOf(ctx context.Context, extra *mcp.RequestExtra) *Call {
	if c, ok := ctx.Value(callKey{}).(*Call); ok {
		return c
	}
	if extra != nil && extra.TokenInfo != nil {
		c, _ := extra.TokenInfo.Extra[extraKey].(*Call)
		return c
	}
	return nil
}

// errNoCaller is a fault of ours; it fails closed.
var errNoCaller = &jsonrpc.Error{Code: rpc.CodeInternal, Message: "Internal error: the request has no caller."}

// ErrExpired is the cause of a context that ended with its token.
var ErrExpired = errors.New("the access token expired")

type handler struct {
	calls    *invocation.Service
	consents Consents
	via      invocation.Transport
	tools    Tools
	link     func(ctx context.Context, traceparent string) context.Context
	// directory are the tools that stand in for the others.
	directory map[string]catalogue.Tool
}

// stands finds a tool that stands in for others, for callers that asked for it.
func (h handler) stands(c identity.Caller, name string) (t catalogue.Tool, ok bool) {
	if c.Selection.Dynamic() {
		t, ok = h.directory[name]
	}
	return t, ok
}

func (h handler) call(ctx context.Context, req *mcp.CallToolRequest) (result *mcp.CallToolResult, err error) {
	// A panic here would be on a goroutine of the SDK and end the process.
	defer func() {
		if v := recover(); v != nil {
			h.calls.Log.Error("panic in a handler", "type", fmt.Sprintf("%T", v))
			result, err = nil, &jsonrpc.Error{Code: rpc.CodeInternal, Message: "Internal error."}
		}
	}()
	call := callOf(ctx, req.Extra)
	if call == nil {
		return nil, errNoCaller
	}
	if call.started != nil {
		call.started()
	}
	if call.Trace.IsValid() {
		ctx = trace.ContextWithSpanContext(ctx, call.Trace)
	}
	if h.link != nil {
		if from, ok := req.Params.Meta["traceparent"].(string); ok {
			ctx = h.link(ctx, from)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(call.Done, func() { cancel(context.Cause(call.Done)) })
	defer stop()

	if token := req.Params.GetProgressToken(); token != nil {
		ctx = toolcall.WithProgress(ctx, progress(ctx, req.Session, token))
	}
	name, arguments := cmp.Or(call.alias, req.Params.Name), req.Params.Arguments
	if t, ok := h.stands(call.Caller, name); ok {
		var answer *mcp.CallToolResult
		if name, arguments, answer = h.find(call.Caller, t, arguments); answer != nil {
			return answer, nil
		}
	}
	confirm := &confirmation{ctx: ctx, consents: h.consents, log: h.calls.Log, caller: call.Caller, req: req, via: h.via, now: h.calls.Now()}
	out := h.calls.Call(toolcall.WithAsk(ctx, confirm.ask), call.Caller, h.via, name, arguments)
	if confirm.pending != nil {
		return confirm.result(), nil
	}
	d := out.Denial
	if out.Failure != nil && errors.Is(context.Cause(ctx), ErrExpired) {
		e := denial.Unauthenticated(call.Caller.Challenge, denial.InvalidToken, denial.Expired, nil)
		d = &e
		out.Text, out.Failure.Message = e.Description, e.Description
	}
	if d != nil {
		call.denial.Store(d)
	}
	return Result(out, d), nil
}

// find carries out a tool of the directory: it gives the call that the tool stands
// for, or the answer.
func (h handler) find(c identity.Caller, t catalogue.Tool, arguments json.RawMessage) (name string, inner json.RawMessage, _ *mcp.CallToolResult) {
	lookup := func(name string) (catalogue.Tool, bool) { return h.calls.Lookup(c, name) }
	if t.Name == directory.Read || t.Name == directory.Write {
		call, failure := directory.Unwrap(t, arguments, lookup)
		if failure == nil {
			return call.Name, call.Arguments, nil
		}
		if failure.Kind == toolcall.NotFound {
			failure.Message += h.calls.Meant(c, call.Name)
		}
		return "", nil, Result(h.calls.Own(c, h.via, t.Name, func() toolcall.Result {
			return toolcall.Result{Text: failure.Message, Failure: failure}
		}), nil)
	}
	return "", nil, Result(h.calls.Own(c, h.via, t.Name, func() toolcall.Result {
		listed := slices.Clone(h.tools.Tools())
		listed = slices.DeleteFunc(listed, func(t catalogue.Tool) bool { return !c.Lists(&t) })
		return directory.Answer(t, arguments, listed, lookup)
	}), nil)
}

// progress tells a client that asked for it how its call is getting on.
func progress(ctx context.Context, session *mcp.ServerSession, token any) toolcall.Progress {
	// Progress must grow with every notification, whatever the clock says.
	last := 0.0
	return func(after, of time.Duration, message string) {
		last = max(after.Seconds(), last+0.001)
		// The call goes on when the client cannot be told.
		_ = session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
			ProgressToken: token, Message: message, Progress: last, Total: max(of.Seconds(), last),
		})
	}
}

// Result is a tool result for a model.
func Result(out invocation.Outcome, d *denial.Denial) *mcp.CallToolResult {
	r := &mcp.CallToolResult{}
	if f := out.Failure; f != nil {
		r.IsError = true
		r.Content = []mcp.Content{&mcp.TextContent{Text: FailureText(out)}}
	} else {
		r.Content = []mcp.Content{&mcp.TextContent{Text: out.Text}}
		if out.Structured != nil {
			r.StructuredContent = out.Structured
		}
	}
	if len(out.Meta) > 0 {
		r.Meta = maps.Clone(out.Meta)
	}
	if d != nil {
		r.Meta = mcp.Meta{denial.MetaKey: []string{d.Challenge}}
	}
	return r
}

// FailureText says what went wrong and when to try again.
func FailureText(out invocation.Outcome) string {
	text := out.Failure.Message
	if text == "" {
		text = out.Text
	}
	if s := out.Failure.RetryAfter; s > 0 && !strings.Contains(text, strconv.Itoa(int(s.Seconds()))) {
		text += " Try again in " + strconv.Itoa(max(1, int(s.Round(time.Second).Seconds()))) + " s."
	}
	return text
}

// discoverOnly holds anonymous callers to discovery, by the message that is
// dispatched.
func discoverOnly(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		call := callOf(ctx, req.GetExtra())
		if call == nil {
			return nil, errNoCaller
		}
		if call.Caller.Anonymous && !anonymousMay(method) {
			d := denial.Unauthenticated(call.Caller.Challenge, denial.None, denial.SignIn, call.Caller.InForce)
			call.denial.Store(&d)
			return nil, &jsonrpc.Error{Code: rpc.CodeAuth, Message: d.Description}
		}
		return next(ctx, method, req)
	}
}

func anonymousMay(method string) bool {
	switch method {
	case rpc.Initialize, rpc.Initialized, rpc.Ping, rpc.Discover, rpc.ToolsList:
		return true
	}
	return false
}

// offered refuses what this server does not have. A client that asks for a
// subscription would otherwise hold a stream on which nothing ever comes.
func (h handler) offered(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		switch method {
		case rpc.Listen:
			return nil, &jsonrpc.Error{Code: rpc.CodeMethodNotFound, Message: "There is nothing to subscribe to."}
		case rpc.ToolsCall:
			p, ok := req.GetParams().(*mcp.CallToolParamsRaw)
			if !ok {
				break
			}
			call := callOf(ctx, req.GetExtra())
			if call == nil {
				return nil, errNoCaller
			}
			if _, ok := h.stands(call.Caller, p.Name); ok {
				break
			}
			t, known := h.calls.Lookup(call.Caller, p.Name)
			switch {
			case fixtures.Tool(p.Name):
			case !known:
				h.calls.Unknown(call.Caller, h.via)
				message := "Unknown tool %q." + h.calls.Meant(call.Caller, p.Name) + " tools/list names the tools."
				if h.calls.LeftOut(call.Caller, p.Name) {
					message = "The tool %q is left out by the X-MCP headers of this client. tools/list names the tools."
				}
				return nil, &jsonrpc.Error{Code: rpc.CodeInvalidParams, Message: fmt.Sprintf(message, clip(p.Name))}
			case t.Name != p.Name:
				// The SDK knows tools by the names that it lists.
				call.alias, p.Name = p.Name, t.Name
			}
		}
		return next(ctx, method, req)
	}
}

// lister holds the SDK's list of tools to the catalogue's, and adds to each
// listed tool how to be allowed to call it. That depends on the scopes in force,
// which come with the request.
type lister struct {
	server *mcp.Server
	call   mcp.ToolHandler

	// changing keeps a request from seeing a list that is half changed.
	changing sync.RWMutex
	tools    map[string]catalogue.Tool
	// directory are the tools that stand in for them.
	directory map[string]catalogue.Tool
	// last is the list for the scopes in force that came last; they change only
	// when the deployment does.
	last atomic.Pointer[described]
}

type described struct {
	scopes  string
	schemes map[string][]scheme
}

// tool adds the member that ChatGPT reads to the SDK's tool.
type tool struct {
	*mcp.Tool
	SecuritySchemes []scheme `json:"securitySchemes"`
}

// scheme is a security scheme of the OpenAI Apps SDK.
type scheme struct {
	Type   string   `json:"type"`
	Scopes []string `json:"scopes"`
}

// listed is a list of tools whose tools are ours.
type listed struct {
	*mcp.ListToolsResult
	Tools []*tool `json:"tools"`
}

// offer puts tools in the place of those before.
func (l *lister) offer(tools []catalogue.Tool) error {
	next := make(map[string]catalogue.Tool, len(tools))
	for _, t := range tools {
		if _, ours := l.directory[t.Name]; ours {
			return fmt.Errorf("tool %s: a tool of the server's own has that name", t.Name)
		}
		if !json.Valid(t.InputSchema) || (t.OutputSchema != nil && !json.Valid(t.OutputSchema)) {
			return fmt.Errorf("tool %s: its schema is not JSON", t.Name)
		}
		next[t.Name] = t
	}
	l.changing.Lock()
	defer l.changing.Unlock()
	var gone []string
	for name := range l.tools {
		if _, stays := next[name]; !stays {
			gone = append(gone, name)
		}
	}
	l.server.RemoveTools(gone...)
	for _, t := range tools {
		l.server.AddTool(describe(t), l.call)
	}
	l.tools = next
	l.last.Store(nil)
	return nil
}

func (l *lister) middleware(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		if method == rpc.ToolsList {
			l.changing.RLock()
			defer l.changing.RUnlock()
		}
		result, err := next(ctx, method, req)
		if wire := new(jsonrpc.Error); errors.As(err, &wire) && wire.Code == rpc.CodeInvalidParams && strings.HasSuffix(method, "/list") {
			// The SDK does not say that it is the cursor.
			return nil, &jsonrpc.Error{
				Code: rpc.CodeInvalidParams, Message: `Invalid params: "cursor" is none of this server's. Send the nextCursor of the answer before, or no cursor to begin at the start.`,
			}
		}
		list, ok := result.(*mcp.ListToolsResult)
		if err != nil || !ok {
			return result, err
		}
		call := callOf(ctx, req.GetExtra())
		if call == nil {
			return nil, errNoCaller
		}
		schemes := l.schemes(call.Caller)
		out := listed{ListToolsResult: list, Tools: make([]*tool, 0, len(list.Tools))}
		for _, t := range list.Tools {
			if !l.shows(call.Caller, t.Name) {
				continue
			}
			own := *t // the SDK's is shared
			own.Meta = mcp.Meta{"securitySchemes": schemes[t.Name]}
			out.Tools = append(out.Tools, &tool{&own, schemes[t.Name]})
		}
		return out, nil
	}
}

// shows says whether a caller's list has a tool.
func (l *lister) shows(c identity.Caller, name string) bool {
	_, directs := l.directory[name]
	if c.Selection == nil {
		return !directs
	}
	t, ours := l.tools[name]
	switch s := c.Selection; {
	case directs && name == directory.Write:
		return s.Dynamic() && l.writes(s)
	case directs || s.Dynamic():
		return directs && s.Dynamic()
	case !ours: // a fixture
		return true
	}
	return c.Lists(&t)
}

// writes says whether a tool is selected that changes something.
func (l *lister) writes(s *selection.Selection) bool {
	for _, t := range l.tools {
		if !t.ReadOnly && s.Allows(&t) {
			return true
		}
	}
	return false
}

func (l *lister) schemes(c identity.Caller) map[string][]scheme {
	key := strings.Join(c.InForce, " ")
	if d := l.last.Load(); d != nil && d.scopes == key {
		return d.schemes
	}
	d := &described{scopes: key, schemes: make(map[string][]scheme, len(l.tools)+len(l.directory))}
	for _, tools := range []map[string]catalogue.Tool{l.tools, l.directory} {
		for name, t := range tools {
			d.schemes[name] = []scheme{{Type: "oauth2", Scopes: append([]string{}, c.Required(t.Scopes)...)}}
		}
	}
	l.last.Store(d)
	return d.schemes
}
