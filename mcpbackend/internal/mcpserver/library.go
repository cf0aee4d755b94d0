package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/prompts"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/resources"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/rpc"
)

// The methods of resources, prompts and completion.
const (
	resourcesList = "resources/list"
	templatesList = "resources/templates/list"
	resourcesRead = "resources/read"
	promptsList   = "prompts/list"
)

// codeNotFound is what versions before 2026-07-28 answer for a resource that is
// not there; the newer ones, and the SDK for all, say invalid params.
const codeNotFound = -32002

// library offers resources and prompts, and completes their arguments.
type library struct {
	resources *resources.Library
	tools     Tools
	calls     *invocation.Service
}

// add tells the server what there is. What rests on a tool that is switched off
// is hidden by the middleware, since the tools may change.
func (l *library) add(server *mcp.Server) {
	for _, t := range resources.Templates() {
		server.AddResourceTemplate(&mcp.ResourceTemplate{
			URITemplate: t.URI, Name: t.Name, Title: t.Title, Description: t.Description, MIMEType: resources.MIMEType,
		}, l.read)
	}
	for _, p := range prompts.All() {
		prompt := &mcp.Prompt{Name: p.Name, Title: p.Title, Description: p.Description}
		for _, a := range p.Arguments {
			prompt.Arguments = append(prompt.Arguments, &mcp.PromptArgument{Name: a.Name, Title: a.Title, Description: a.Description})
		}
		server.AddPrompt(prompt, l.prompt)
	}
	server.AddReceivingMiddleware(l.middleware)
}

// within runs f for the call that a request belongs to, until that call ends. A
// panic would be on a goroutine of the SDK and end the process.
func (l *library) within(ctx context.Context, extra *mcp.RequestExtra, f func(context.Context, *Call) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			l.calls.Log.Error("panic in a handler", "type", fmt.Sprintf("%T", v))
			err = &jsonrpc.Error{Code: rpc.CodeInternal, Message: "Internal error."}
		}
	}()
	call := callOf(ctx, extra)
	if call == nil {
		return errNoCaller
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(call.Done, func() { cancel(context.Cause(call.Done)) })
	defer stop()
	return f(ctx, call)
}

// refuse turns a fault into an error of JSON-RPC, and into an HTTP status where
// the caller has to sign in or obtain a scope.
func refuse(call *Call, fault *resources.Fault, uri string) error {
	switch {
	case fault.Denial != nil:
		call.denial.Store(fault.Denial)
		data, err := json.Marshal(map[string]any{"_meta": map[string][]string{denial.MetaKey: {fault.Denial.Challenge}}})
		if err != nil {
			return errNoCaller
		}
		return &jsonrpc.Error{Code: rpc.CodeAuth, Message: fault.Message, Data: data}
	case fault.NotFound:
		return mcp.ResourceNotFoundError(uri)
	}
	return &jsonrpc.Error{Code: rpc.CodeInternal, Message: fault.Message}
}

func (l *library) read(ctx context.Context, req *mcp.ReadResourceRequest) (result *mcp.ReadResourceResult, err error) {
	err = l.within(ctx, req.Extra, func(ctx context.Context, call *Call) error {
		answer, fault := l.resources.Read(ctx, call.Caller, req.Params.URI)
		if fault != nil {
			return refuse(call, fault, req.Params.URI)
		}
		result = &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: req.Params.URI, MIMEType: resources.MIMEType, Text: string(answer)}}}
		return nil
	})
	return result, err
}

func (l *library) prompt(ctx context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
	now := l.now(callOf(ctx, req.Extra))
	p, ok := offeredPrompt(now, req.Params.Name)
	if !ok {
		return nil, &jsonrpc.Error{Code: rpc.CodeInvalidParams, Message: fmt.Sprintf("Unknown prompt %q. prompts/list names the prompts.", clip(req.Params.Name))}
	}
	text, err := p.Text(now, req.Params.Arguments)
	if err != nil {
		return nil, &jsonrpc.Error{Code: rpc.CodeInvalidParams, Message: "Invalid params: " + err.Error() + "."}
	}
	return &mcp.GetPromptResult{
		Description: p.Description,
		Messages:    []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: text}}},
	}, nil
}

// asOf are the tools of one moment: what is answered rests on one catalogue,
// though another may come meanwhile.
type asOf []catalogue.Tool

func (a asOf) Tools() []catalogue.Tool { return a }

func (l *library) now(c *Call) asOf {
	if c == nil {
		return l.tools.Tools()
	}
	return c.Caller.Selection.Of(l.tools.Tools())
}

func (l *library) instruct(c *Call) string {
	return instruct(l.now(c), c != nil && c.Caller.Selection.Dynamic())
}

func offeredPrompt(tools asOf, name string) (prompts.Prompt, bool) {
	all := prompts.All()
	i := slices.IndexFunc(all, func(p prompts.Prompt) bool { return p.Name == name && p.Offered(tools) })
	if i < 0 {
		return prompts.Prompt{}, false
	}
	return all[i], true
}

// complete completes an argument. People see it while they type, so what cannot
// be completed now is no error, unless the token is refused.
func (l *library) complete(ctx context.Context, req *mcp.CompleteRequest) (result *mcp.CompleteResult, err error) {
	err = l.within(ctx, req.Extra, func(ctx context.Context, call *Call) error {
		var found resources.Completion
		var fault *resources.Fault
		p := req.Params
		switch p.Ref.Type {
		case "ref/resource":
			var given map[string]string
			if p.Context != nil {
				given = p.Context.Arguments
			}
			found, fault = l.resources.Complete(ctx, call.Caller, p.Ref.URI, p.Argument.Name, p.Argument.Value, given)
		case "ref/prompt":
			prompt, ok := offeredPrompt(l.now(call), p.Ref.Name)
			if !ok || !slices.ContainsFunc(prompt.Arguments, func(a prompts.Argument) bool { return a.Name == p.Argument.Name }) {
				fault = &resources.Fault{NotFound: true}
			} else if p.Argument.Name == prompts.CompanyArgument {
				found, fault = l.resources.CompanyNames(ctx, call.Caller, p.Argument.Value)
			}
		default:
			fault = &resources.Fault{NotFound: true}
		}
		switch {
		case fault == nil:
		case fault.NotFound:
			return &jsonrpc.Error{Code: rpc.CodeInvalidParams, Message: "Invalid params: there is no such prompt, template or argument. prompts/list and resources/templates/list name them."}
		case fault.Denial != nil && fault.Denial.Code == string(denial.InvalidToken):
			return refuse(call, fault, "")
		}
		if found.Values == nil {
			found.Values = []string{}
		}
		result = &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: found.Values, HasMore: found.More}}
		return nil
	})
	return result, err
}

// middleware leaves out what rests on tools that are switched off, now that they
// may have changed, and puts the caller's companies into the list of resources.
func (l *library) middleware(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		result, err := next(ctx, method, req)
		switch out := result.(type) {
		case *mcp.InitializeResult:
			if err == nil {
				out.Instructions = l.instruct(callOf(ctx, req.GetExtra()))
			}
		case *mcp.DiscoverResult:
			if err == nil {
				out.Instructions = l.instruct(callOf(ctx, req.GetExtra()))
			}
		case *mcp.ListResourcesResult:
			if err != nil || method != resourcesList {
				return result, err
			}
			return result, l.within(ctx, req.GetExtra(), func(ctx context.Context, call *Call) error {
				companies, fault := l.resources.Companies(ctx, call.Caller)
				if fault != nil {
					return refuse(call, fault, "")
				}
				for _, c := range companies {
					out.Resources = append(out.Resources, &mcp.Resource{URI: c.URI, Name: c.Name, Title: c.Title, MIMEType: resources.MIMEType})
				}
				return nil
			})
		case *mcp.ListResourceTemplatesResult:
			if err == nil && method == templatesList {
				now := l.now(callOf(ctx, req.GetExtra()))
				out.ResourceTemplates = slices.DeleteFunc(out.ResourceTemplates, func(t *mcp.ResourceTemplate) bool { return !resources.Offered(now, t.URITemplate) })
			}
		case *mcp.ListPromptsResult:
			if err == nil && method == promptsList {
				now := l.now(callOf(ctx, req.GetExtra()))
				out.Prompts = slices.DeleteFunc(out.Prompts, func(p *mcp.Prompt) bool { _, ok := offeredPrompt(now, p.Name); return !ok })
			}
		}
		if wire := new(jsonrpc.Error); method == resourcesRead && errors.As(err, &wire) && wire.Code == rpc.CodeInvalidParams {
			if call := callOf(ctx, req.GetExtra()); call != nil && !call.modern {
				return nil, &jsonrpc.Error{Code: codeNotFound, Message: wire.Message, Data: wire.Data}
			}
		}
		return result, err
	}
}
