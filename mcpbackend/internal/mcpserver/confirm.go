package mcpserver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
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
)

// confirmation asks the person at the client before something is replaced or
// deleted. Since 2026-07-28 the question is the result of the call, and the
// client calls again with the answer (multi round-trip requests); on the legacy
// stream the SDK asks with elicitation/create and calls the handler again. Over
// streamable HTTP without sessions, older clients cannot be asked: they show the
// call themselves, by its annotations.
type confirmation struct {
	caller identity.Caller
	req    *mcp.CallToolRequest
	via    invocation.Transport
	now    time.Time
	// pending is set when the client has to ask; asked is the question then.
	pending *toolcall.Question
	asked   string
}

func (c *confirmation) ask(q toolcall.Question) toolcall.Consent {
	if !c.possible() {
		return toolcall.Given
	}
	answer, _ := c.req.Params.InputResponses[confirmID].(*mcp.ElicitResult)
	switch {
	case answer == nil || !c.valid(c.req.Params.RequestState, q):
		c.pending, c.asked = &q, q.Text()
		return toolcall.Pending
	case answer.Action == "accept":
		return toolcall.Given
	default:
		return toolcall.Declined
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
// key.
func (c *confirmation) state(q toolcall.Question, expires time.Time) string {
	state := binary.BigEndian.AppendUint64(nil, uint64(expires.Unix()))
	mac := hmac.New(sha256.New, []byte(c.caller.Token))
	mac.Write([]byte("consent\x00" + c.caller.Subject + "\x00" + c.req.Params.Name + "\x00"))
	mac.Write(q.Digest[:])
	mac.Write(state)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(state))
}

func (c *confirmation) valid(state string, q toolcall.Question) bool {
	raw, err := base64.RawURLEncoding.DecodeString(state)
	if err != nil || len(raw) != 8+sha256.Size {
		return false
	}
	expires := time.Unix(int64(binary.BigEndian.Uint64(raw)), 0)
	return c.now.Before(expires) && hmac.Equal([]byte(state), []byte(c.state(q, expires)))
}
