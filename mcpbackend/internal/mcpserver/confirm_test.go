package mcpserver

import (
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
		if c.valid(state, question) != want {
			t.Errorf("after %v: %v", later, !want)
		}
	}
	// Whoever makes an expiry of his own has no key.
	forged := confirmation{caller: identity.Caller{Subject: "46", Token: "other"}, req: c.req, now: now}
	if c.now = now; c.valid(forged.state(question, now.Add(time.Hour)), question) || c.valid("", question) || c.valid("!", question) {
		t.Error("a forged state is valid")
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
