package mcpserver

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

const (
	// confirmID is the name of our one question in the answer to a call.
	confirmID = "confirm"
	// consentTime is how long a consent is good for.
	consentTime = 10 * time.Minute
	nonceSize   = 16
)

// Consents remembers which consents were used; see [writes.Consents].
type Consents interface {
	// Take is false for a consent that was used before.
	Take(ctx context.Context, id string, asked, expires time.Time) (bool, error)
}

// confirmation asks the person at the client before something is replaced or
// deleted. Since 2026-07-28 the question is the result of the call, and the
// client calls again with the answer (multi round-trip requests); on the legacy
// stream the SDK asks with elicitation/create and calls the handler again. Over
// streamable HTTP without sessions, older clients cannot be asked: they show the
// call themselves, by its annotations.
type confirmation struct {
	ctx      context.Context
	consents Consents
	log      *slog.Logger
	caller   identity.Caller
	req      *mcp.CallToolRequest
	via      invocation.Transport
	now      time.Time
	// pending is set when the client has to ask; asked is the question then.
	pending *toolcall.Question
	asked   string
}

func (c *confirmation) ask(q toolcall.Question) toolcall.Consent {
	if !c.possible() {
		return toolcall.Given
	}
	again := func() toolcall.Consent {
		c.pending, c.asked = &q, q.Text()
		return toolcall.Pending
	}
	answer, _ := c.req.Params.InputResponses[confirmID].(*mcp.ElicitResult)
	state, expires, valid := c.valid(c.req.Params.RequestState, q)
	if answer == nil || !valid {
		return again()
	}
	// A question has one answer: an agreement is for one change, and not to be had
	// from a question that was declined.
	first, err := c.consents.Take(c.ctx, string(state[8:8+nonceSize]), expires.Add(-consentTime), expires)
	switch {
	case answer.Action != "accept":
		return toolcall.Declined
	case err != nil:
		c.log.Error("a change was not sent, for used consents cannot be looked up", "error", err.Error())
		return toolcall.Unseen
	case !first:
		return again()
	default:
		return toolcall.Given
	}
}

// possible says whether the client can show a form, and be asked to.
func (c *confirmation) possible() bool {
	if c.via != invocation.SSE && c.req.ProtocolVersion() < Modern {
		return false
	}
	capabilities := c.req.ClientCapabilities()
	if capabilities == nil || capabilities.Elicitation == nil {
		return false
	}
	// An empty capability means forms.
	e := capabilities.Elicitation
	return e.Form != nil || e.URL == nil
}

// result is the answer to a call that somebody has to agree to.
func (c *confirmation) result() *mcp.CallToolResult {
	return &mcp.CallToolResult{
		InputRequests: mcp.InputRequestMap{confirmID: &mcp.ElicitParams{
			Mode: "form", Message: c.asked, RequestedSchema: json.RawMessage(`{"type":"object","properties":{}}`),
		}},
		RequestState: c.state(*c.pending, c.now.Add(consentTime)),
	}
}

// state binds a consent to the request it was given for: any replica can check
// it, and it is worth nothing to anybody else, since the caller's token is the
// key. The nonce in it tells the questions about equal requests apart.
func (c *confirmation) state(q toolcall.Question, expires time.Time) string {
	state := binary.BigEndian.AppendUint64(nil, uint64(expires.Unix()))
	state = append(state, make([]byte, nonceSize)...)
	_, _ = rand.Read(state[8:]) // it never fails
	return base64.RawURLEncoding.EncodeToString(c.sign(q, state))
}

func (c *confirmation) sign(q toolcall.Question, state []byte) []byte {
	mac := hmac.New(sha256.New, []byte(c.caller.Token))
	mac.Write([]byte("consent\x00" + c.caller.Subject + "\x00" + c.req.Params.Name + "\x00"))
	mac.Write(q.Digest[:])
	mac.Write(state)
	return mac.Sum(slices.Clip(state))
}

func (c *confirmation) valid(state string, q toolcall.Question) (raw []byte, expires time.Time, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(state)
	if err != nil || len(raw) != 8+nonceSize+sha256.Size {
		return nil, expires, false
	}
	expires = time.Unix(int64(binary.BigEndian.Uint64(raw)), 0)
	return raw, expires, c.now.Before(expires) && hmac.Equal(raw, c.sign(q, raw[:8+nonceSize]))
}
