package mcpserver

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

func TestAConsentRunsOut(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	question := toolcall.Question{Digest: [32]byte{1}}
	c := confirmation{
		caller: identity.Caller{Subject: "46", Token: "t"}, now: now, pending: &question,
		req: &mcp.CallToolRequest{Params: &mcp.CallToolParamsRaw{Name: "delete_product"}},
	}
	state := c.result().RequestState
	for later, want := range map[time.Duration]bool{0: true, consentTime - time.Second: true, consentTime: false, time.Hour: false} {
		c.now = now.Add(later)
		if _, _, ok := c.valid(state, question); ok != want {
			t.Errorf("after %v: %v", later, !want)
		}
	}
	// Whoever makes an expiry of his own has no key.
	forged := confirmation{caller: identity.Caller{Subject: "46", Token: "other"}, req: c.req, now: now}
	c.now = now
	for _, state := range []string{forged.state(question, now.Add(time.Hour)), "", "!", state + "A", state[:len(state)-1]} {
		if _, _, ok := c.valid(state, question); ok {
			t.Errorf("%q is valid", state)
		}
	}
}

// used knows what was used, or fails.
type used struct {
	ids map[string]bool
	err error
}

func (u *used) Take(_ context.Context, id string, asked, expires time.Time) (bool, error) {
	if u.err != nil || expires.Sub(asked) != consentTime {
		return false, u.err
	}
	first := !u.ids[id]
	u.ids[id] = true
	return first, nil
}

func TestAQuestionHasOneAnswer(t *testing.T) {
	t.Parallel()
	question := toolcall.Question{Digest: [32]byte{1}, Text: func() string { return "Delete it?" }}
	type step struct {
		action string
		want   toolcall.Consent
	}
	for name, test := range map[string]struct {
		steps []step
		err   error
	}{
		"agreed to twice":      {[]step{{"accept", toolcall.Given}, {"accept", toolcall.Pending}, {"decline", toolcall.Declined}}, nil},
		"declined, agreed to":  {[]step{{"decline", toolcall.Declined}, {"accept", toolcall.Pending}}, nil},
		"cancelled, agreed to": {[]step{{"cancel", toolcall.Declined}, {"accept", toolcall.Pending}}, nil},
		"nobody knows":         {[]step{{"accept", toolcall.Unseen}, {"decline", toolcall.Declined}}, errors.New("no Redis")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			meta := mcp.Meta{mcp.MetaKeyProtocolVersion: Modern, mcp.MetaKeyClientCapabilities: map[string]any{"elicitation": map[string]any{}}}
			params := &mcp.CallToolParamsRaw{Meta: meta, Name: "delete_product"}
			c := confirmation{
				ctx: t.Context(), consents: &used{map[string]bool{}, test.err}, log: slog.New(slog.DiscardHandler),
				caller: identity.Caller{Subject: "46", Token: "t"}, now: time.Unix(1_800_000_000, 0),
				via: invocation.Streamable, req: &mcp.CallToolRequest{Params: params},
			}
			if c.ask(question) != toolcall.Pending || c.asked != "Delete it?" {
				t.Fatal("nobody was asked")
			}
			first := c.result().RequestState
			if another := c.result().RequestState; another == first {
				t.Error("two questions have one state")
			}
			for i, step := range test.steps {
				params.RequestState = first
				params.InputResponses = mcp.InputResponseMap{confirmID: &mcp.ElicitResult{Action: step.action}}
				if got := c.ask(question); got != step.want {
					t.Errorf("step %d: %v, want %v", i, got, step.want)
				}
			}
		})
	}
}

func TestOnlyClientsThatCanShowAFormAreAsked(t *testing.T) {
	t.Parallel()
	meta := func(version string, elicitation any) mcp.Meta {
		capabilities := map[string]any{}
		if elicitation != nil {
			capabilities["elicitation"] = elicitation
		}
		return mcp.Meta{mcp.MetaKeyProtocolVersion: version, mcp.MetaKeyClientCapabilities: capabilities}
	}
	for name, tc := range map[string]struct {
		meta mcp.Meta
		via  invocation.Transport
		want bool
	}{
		"any form":               {meta(Modern, map[string]any{}), invocation.Streamable, true},
		"forms":                  {meta(Modern, map[string]any{"form": map[string]any{}}), invocation.Streamable, true},
		"forms and links":        {meta(Modern, map[string]any{"form": map[string]any{}, "url": map[string]any{}}), invocation.Streamable, true},
		"links alone":            {meta(Modern, map[string]any{"url": map[string]any{}}), invocation.Streamable, false},
		"nothing":                {meta(Modern, nil), invocation.Streamable, false},
		"an older client":        {meta("2025-11-25", map[string]any{}), invocation.Streamable, false},
		"an older one, a stream": {meta("2025-11-25", map[string]any{}), invocation.SSE, true},
		"says nothing":           {nil, invocation.SSE, false},
	} {
		c := confirmation{via: tc.via, req: &mcp.CallToolRequest{Params: &mcp.CallToolParamsRaw{Meta: tc.meta}}}
		if c.possible() != tc.want {
			t.Errorf("%s: %v", name, !tc.want)
		}
	}
}
