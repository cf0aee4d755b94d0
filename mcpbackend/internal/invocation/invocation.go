// Package invocation carries out a tool call for any transport: it finds the
// tool, judges the caller's scopes, runs the tool, survives its panics, and
// leaves one line of audit and one set of metrics behind.
package invocation

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// Tools is the catalogue as a call sees it.
type Tools interface {
	Tools() []catalogue.Tool
	Lookup(name string) (catalogue.Tool, bool)
}

// Observer counts. Its labels come from closed sets.
type Observer interface {
	// ToolCall is told of every call; tool is "other" when there is no such
	// tool.
	ToolCall(tool, transport, outcome string, took time.Duration)
	// ScopeReported is told of a call that passed only because scopes are not
	// enforced.
	ScopeReported(tool string)
	// TokenRefused is told that the API refused a token that the gateway had
	// accepted: clients then sign in again, perhaps in vain.
	TokenRefused()
}

// Transport is how a call came; a metric label.
type Transport string

// The transports.
const (
	Streamable Transport = "streamable"
	SSE        Transport = "sse"
	Plain      Transport = "plain"
)

// Service runs tool calls.
type Service struct {
	Tools    Tools
	Runner   toolcall.Runner
	Log      *slog.Logger
	Observer Observer
	Now      func() time.Time
}

// Outcome is the end of a call.
type Outcome struct {
	toolcall.Result
	// Known is false when there is no such tool.
	Known bool
	// Denial is set when the caller has to sign in or obtain a scope; Result
	// then says so too.
	Denial *denial.Denial
}

// Outcomes beside the kinds of failure; metric labels.
const (
	outcomeOK           = "ok"
	outcomeUnknown      = "unknown_tool"
	outcomeScope        = "insufficient_scope"
	outcomeAnonymous    = "anonymous"
	otherTool           = "other"
	unauthorizedMessage = "NeonPanel refused the access token. Sign in to NeonPanel again, then repeat the call."
)

// Lookup finds the tool that the caller means, unless the caller selected others.
func (s *Service) Lookup(c identity.Caller, name string) (catalogue.Tool, bool) {
	t, ok := s.Tools.Lookup(name)
	if !ok || c.Selection == nil {
		return t, ok
	}
	if !c.Selection.Allows(&t) {
		return catalogue.Tool{}, false
	}
	if next := t.Operation.Next; next != nil {
		// Nobody is sent after a tool that would then not be there.
		if after, there := s.Tools.Lookup(next.Tool); !there || !c.Selection.Allows(&after) {
			t.Operation.Next = nil
		}
	}
	return t, true
}

// LeftOut says whether there is such a tool, which the caller's selection leaves
// out.
func (s *Service) LeftOut(c identity.Caller, name string) bool {
	t, ok := s.Tools.Lookup(name)
	return ok && !c.Selection.Allows(&t)
}

// Meant asks whether another tool was meant by a name that is none: " Did you
// mean bills_list?", or "" when no name comes near.
func (s *Service) Meant(c identity.Caller, name string) string {
	tools := s.Tools.Tools()
	if c.Selection != nil {
		tools = slices.DeleteFunc(slices.Clone(tools), func(t catalogue.Tool) bool { return !c.Selection.Allows(&t) })
	}
	names := catalogue.Nearest(tools, name)
	switch n := len(names); n {
	case 0:
		return ""
	case 1:
		return " Did you mean " + names[0] + "?"
	default:
		return " Did you mean " + strings.Join(names[:n-1], ", ") + " or " + names[n-1] + "?"
	}
}

// Authorize says whether the caller may call the tool of that name at all; nil
// means yes, or that there is no such tool. It is for transports that can
// refuse before they dispatch; Call judges again.
func (s *Service) Authorize(c identity.Caller, name string) *denial.Denial {
	t, ok := s.Lookup(c, name)
	if !ok && !c.Anonymous {
		return nil
	}
	d, _ := judge(c, t)
	return d
}

// judge returns the denial, and the scopes that are missing though nobody
// insists on them.
func judge(c identity.Caller, t catalogue.Tool) (*denial.Denial, []string) {
	if c.Anonymous {
		d := denial.Unauthenticated(c.Challenge, denial.InvalidToken, denial.SignIn, c.Required(t.Scopes))
		return &d, nil
	}
	missing := c.Missing(t.Scopes)
	switch {
	case missing == nil || c.ScopeMode == identity.Off:
		return nil, nil
	case c.ScopeMode == identity.Report:
		return nil, missing
	}
	// All that the operation needs, in one challenge (RFC 6750 §3.1).
	d := denial.Insufficient(c.Challenge, c.Required(t.Scopes))
	return &d, nil
}

// Unknown records a call of a tool that does not exist.
func (s *Service) Unknown(c identity.Caller, via Transport) {
	s.record(c, via, otherTool, nil, outcomeUnknown, 0)
}

// Denied records a call that a transport refused after [Service.Authorize].
func (s *Service) Denied(c identity.Caller, via Transport, name string) {
	outcome := outcomeScope
	if c.Anonymous {
		outcome = outcomeAnonymous
	}
	label := otherTool
	if t, ok := s.Lookup(c, name); ok {
		label = t.Name // which an alias is not
	}
	s.record(c, via, label, nil, outcome, 0)
}

// Call runs the tool of that name. It never panics. The context ends the call.
func (s *Service) Call(ctx context.Context, c identity.Caller, via Transport, name string, arguments json.RawMessage) Outcome {
	start := s.Now()
	t, ok := s.Lookup(c, name)
	if !ok {
		s.Unknown(c, via)
		if s.LeftOut(c, name) {
			return Outcome{Result: failure(toolcall.NotFound, "The X-MCP headers of this client leave that tool out. tools/list names those there are.")}
		}
		return Outcome{Result: failure(toolcall.NotFound, "There is no such tool."+s.Meant(c, name)+" tools/list names those there are.")}
	}
	d, reported := judge(c, t)
	if d != nil {
		s.Denied(c, via, name)
		kind := toolcall.Forbidden
		if c.Anonymous {
			kind = toolcall.Unauthenticated
		}
		return Outcome{Result: failure(kind, d.Description), Known: true, Denial: d}
	}
	if reported != nil {
		s.Observer.ScopeReported(t.Name)
		s.Log.Warn("scope missing, let through", "subject", c.Subject, "client_id", c.ClientID, "tool", t.Name, "missing", reported)
	}

	out := Outcome{Known: true, Result: s.run(ctx, t, arguments, c)}
	outcome := cmp.Or(out.Outcome, outcomeOK)
	if f := out.Failure; f != nil {
		outcome = string(f.Kind)
		// The token may also have run out while the API was at work.
		if f.Kind == toolcall.Unauthenticated {
			s.Observer.TokenRefused()
			d := denial.Unauthenticated(c.Challenge, denial.InvalidToken, denial.RefusedByAPI, c.Required(t.Scopes))
			out.Denial = &d
			if f.Message == "" {
				f.Message = unauthorizedMessage
			}
		}
		if f.Scopes != nil {
			// Which scopes a call needs can depend on its arguments.
			outcome = outcomeScope
			d := denial.Insufficient(c.Challenge, c.Required(union(t.Scopes, f.Scopes)))
			out.Denial = &d
		}
	}
	s.record(c, via, t.Name, out.Companies, outcome, s.Now().Sub(start))
	return out
}

// Own runs a tool of the gateway's own, which calls nothing.
func (s *Service) Own(c identity.Caller, via Transport, name string, run func() toolcall.Result) Outcome {
	start := s.Now()
	out := Outcome{Known: true, Result: run()}
	outcome := outcomeOK
	if out.Failure != nil {
		outcome = string(out.Failure.Kind)
	}
	s.record(c, via, name, nil, outcome, s.Now().Sub(start))
	return out
}

// union gives the scopes of both, sorted.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// run calls the runner; a panic in a tool is a failed call, not a dead process.
func (s *Service) run(ctx context.Context, t catalogue.Tool, arguments json.RawMessage, c identity.Caller) (r toolcall.Result) {
	defer func() {
		if v := recover(); v != nil {
			// The stack names functions and lines; the value may hold data.
			s.Log.Error("panic in a tool", "tool", t.Name, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			r = failure(toolcall.Internal, "The tool failed by a fault of this server. It was logged; trying again may help.")
		}
	}()
	return s.Runner.Run(ctx, t, arguments, toolcall.Caller{
		Bearer: c.Token, Subject: c.Subject, ClientID: c.ClientID, Scopes: c.Scopes,
		May: func(scopes []string) bool { return c.ScopeMode != identity.Enforce || c.Missing(scopes) == nil },
	})
}

func failure(kind toolcall.FailureKind, message string) toolcall.Result {
	return toolcall.Result{Text: message, Failure: &toolcall.Failure{Kind: kind, Message: message}}
}

// mostCompanies is the most that one line of audit names.
const mostCompanies = 10

// record leaves the audit line and the metrics: who called what, for which
// company, and how it ended; no arguments and no token.
func (s *Service) record(c identity.Caller, via Transport, tool string, companies []string, outcome string, took time.Duration) {
	s.Observer.ToolCall(tool, string(via), outcome, took)
	line := slog.NewRecord(s.Now(), slog.LevelInfo, "audit", 0)
	line.AddAttrs(
		slog.String("subject", c.Subject), slog.String("client_id", c.ClientID), slog.String("tool", tool),
		slog.String("transport", string(via)), slog.String("outcome", outcome),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
	)
	if len(companies) > 0 {
		line.AddAttrs(slog.String("company", strings.Join(companies[:min(len(companies), mostCompanies)], " ")))
	}
	// The handler itself: no log level turns the audit off.
	_ = s.Log.Handler().Handle(context.Background(), line) // there is nobody to tell
}
