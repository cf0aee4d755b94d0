package invocation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

type one struct{ tool catalogue.Tool }

func (o one) Lookup(name string) (catalogue.Tool, bool) { return o.tool, name == o.tool.Name }

func (o one) Tools() []catalogue.Tool { return []catalogue.Tool{o.tool} }

type answer func() toolcall.Result

func (a answer) Run(context.Context, catalogue.Tool, json.RawMessage, toolcall.Caller) toolcall.Result {
	return a()
}

// tally remembers what it is told.
type tally struct{ calls, reported, refused []string }

func (c *tally) ToolCall(tool, transport, outcome string, _ time.Duration) {
	c.calls = append(c.calls, tool+" "+transport+" "+outcome)
}
func (c *tally) ScopeReported(tool string) { c.reported = append(c.reported, tool) }
func (c *tally) TokenRefused()             { c.refused = append(c.refused, "x") }

func TestCall(t *testing.T) {
	t.Parallel()
	fails := func(k toolcall.FailureKind) answer {
		return func() toolcall.Result { return toolcall.Result{Failure: &toolcall.Failure{Kind: k}} }
	}
	ok := answer(func() toolcall.Result { return toolcall.Result{Text: "fine", Companies: []string{"c-1", "c-2"}} })
	caller := identity.Caller{Subject: "s", ClientID: "c", InForce: []string{"a", "b"}, Scopes: []string{"a"}, ScopeMode: identity.Enforce, Token: "secret-token"}
	for _, tc := range []struct {
		name, tool, scope string
		mode              identity.ScopeMode
		run               answer
		counted           string
		denied            int
		reported, refused int
		challenge         string
	}{
		{name: "ok", tool: "t", scope: "a", run: ok, counted: "t plain ok"},
		{name: "unknown", tool: "x", run: ok, counted: "other plain unknown_tool"},
		{name: "scope", tool: "t", scope: "b", run: ok, counted: "t plain insufficient_scope", denied: 403},
		{name: "scope reported", tool: "t", scope: "b", mode: identity.Report, run: ok, counted: "t plain ok", reported: 1},
		{name: "scope off", tool: "t", scope: "b", mode: identity.Off, run: ok, counted: "t plain ok"},
		{name: "refused", tool: "t", scope: "a", run: fails(toolcall.Unauthenticated), counted: "t plain unauthenticated", denied: 401, refused: 1},
		{name: "timeout", tool: "t", run: fails(toolcall.Timeout), counted: "t plain timeout"},
		{name: "scope for an argument", tool: "t", scope: "a", run: func() toolcall.Result {
			return toolcall.Result{Failure: &toolcall.Failure{Kind: toolcall.Forbidden, Scopes: []string{"b", "a"}}}
		}, counted: "t plain insufficient_scope", denied: 403, challenge: `error="insufficient_scope", error_description="The access token lacks a scope that this tool needs.", scope="a b"`},
		{name: "dry run", tool: "t", run: func() toolcall.Result { return toolcall.Result{Outcome: toolcall.DryRun} }, counted: "t plain dry_run"},
		{name: "panic", tool: "t", run: func() toolcall.Result { panic(errors.New("secret value")) }, counted: "t plain internal"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var log strings.Builder
			var count tally
			s := Service{
				Tools: one{catalogue.Tool{Name: "t", Scopes: strings.Fields(tc.scope)}}, Runner: tc.run, Observer: &count,
				Log: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelError})), Now: time.Now,
			}
			c := caller
			if tc.mode != "" {
				c.ScopeMode = tc.mode
			}
			out := s.Call(context.Background(), c, Plain, tc.tool, json.RawMessage(`{"companyUuid":"c-1","x":"secret argument"}`))
			if len(count.calls) != 1 || count.calls[0] != tc.counted || len(count.reported) != tc.reported || len(count.refused) != tc.refused {
				t.Errorf("counted %+v, want %s", count, tc.counted)
			}
			switch {
			case tc.denied == 0 && out.Denial != nil, tc.denied != 0 && (out.Denial == nil || out.Denial.Status != tc.denied):
				t.Errorf("denial %+v, want %d", out.Denial, tc.denied)
			case tc.denied != 0 && (out.Failure == nil || out.Denial.Challenge == ""):
				t.Errorf("outcome %+v", out)
			}
			if tc.challenge != "" && !strings.HasSuffix(out.Denial.Challenge, tc.challenge) {
				t.Errorf("challenge %s", out.Denial.Challenge)
			}
			if out.Known != (tc.tool == "t") {
				t.Errorf("known %v", out.Known)
			}
			if strings.Contains(log.String(), "secret") {
				t.Errorf("the log holds a secret: %s", log.String())
			}
			_, outcome, _ := strings.Cut(strings.TrimPrefix(count.calls[0], "other "), "plain ")
			for _, want := range []string{`"msg":"audit"`, `"subject":"s"`, `"client_id":"c"`, `"outcome":"` + outcome + `"`, `"duration_ms":`} {
				if strings.Count(log.String(), want) != 1 {
					t.Errorf("the audit does not have %s once: %s", want, log.String())
				}
			}
			if named := strings.Contains(log.String(), `"company":"c-1 c-2"`); named != (tc.run != nil && tc.counted == "t plain ok") {
				t.Errorf("the audit names the companies: %v: %s", named, log.String())
			}
		})
	}
}

func TestTheChallengeForAScopeNamesAllThatTheToolNeeds(t *testing.T) {
	t.Parallel()
	s := Service{Tools: one{catalogue.Tool{Name: "t", Scopes: []string{"a", "b", "nobody"}}}}
	d := s.Authorize(identity.Caller{InForce: []string{"a", "b"}, Scopes: []string{"a"}, ScopeMode: identity.Enforce}, "t")
	if d == nil || d.Code != string(denial.InsufficientScope) || !strings.HasSuffix(d.Challenge, `, scope="a b"`) {
		t.Errorf("denial %+v", d)
	}
}

// asCaller keeps whom the tool ran for.
type asCaller struct{ caller toolcall.Caller }

func (a *asCaller) Run(_ context.Context, _ catalogue.Tool, _ json.RawMessage, c toolcall.Caller) toolcall.Result {
	a.caller = c
	return toolcall.Result{Text: "fine"}
}

func TestARunnerLearnsWhoCallsAndWhatElseTheyMay(t *testing.T) {
	t.Parallel()
	for mode, want := range map[identity.ScopeMode]string{
		identity.Enforce: "true false true", identity.Report: "true true true", identity.Off: "true true true",
	} {
		run := &asCaller{}
		s := Service{Tools: one{catalogue.Tool{Name: "t"}}, Runner: run, Observer: &tally{}, Log: slog.New(slog.DiscardHandler), Now: time.Now}
		s.Call(context.Background(), identity.Caller{
			Subject: "46", ClientID: "app", Token: "token", Scopes: []string{"a"}, InForce: []string{"a", "b"}, ScopeMode: mode,
		}, Plain, "t", nil)
		c := run.caller
		if c.Bearer != "token" || c.Subject != "46" || c.ClientID != "app" || strings.Join(c.Scopes, " ") != "a" {
			t.Errorf("%s: %v", mode, c)
		}
		// A scope that is not in force nobody could have.
		if got := fmt.Sprint(c.May([]string{"a"}), c.May([]string{"a", "b"}), c.May([]string{"nobody"})); got != want {
			t.Errorf("%s: may %s, want %s", mode, got, want)
		}
	}
}
