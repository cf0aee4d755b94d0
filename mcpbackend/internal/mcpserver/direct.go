package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/fixtures"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/rpc"
)

// direct answers the plain calls of tools, which nearly all requests are, without
// the SDK: it makes a session for each message, and decodes the message about ten
// times, each time with a new buffer of 32 KiB. Whatever is not plain (a call that
// is faulty, asks for progress or a question, answers one, or stands for another)
// is the SDK's, so that there is one answer to each; a test holds the two to the
// same answers.
type direct struct {
	calls *invocation.Service
	// about is the _meta member in which a server names itself.
	about []byte
}

// plainCall is a call that needs nothing of the SDK.
type plainCall struct {
	Arguments json.RawMessage `json:"arguments"`
	Meta      struct {
		Version      json.RawMessage `json:"io.modelcontextprotocol/protocolVersion"`
		Capabilities json.RawMessage `json:"io.modelcontextprotocol/clientCapabilities"`
		Client       json.RawMessage `json:"io.modelcontextprotocol/clientInfo"`
		Traceparent  json.RawMessage `json:"traceparent"`
	} `json:"_meta"`
}

// plain reads a call, if it is one that this can answer.
func (d *direct) plain(r *http.Request, c identity.Caller, msg rpc.Message, version string) (plainCall, bool) {
	var p plainCall
	switch {
	case msg.Method != rpc.ToolsCall, !msg.Call(), !msg.Checked, msg.Progress, fixtures.Tool(msg.Tool), version == "":
		return p, false
	case c.Anonymous, c.Selection.Dynamic(), r.Header.Get("Mcp-Session-Id") != "":
		return p, false
	}
	t, known := d.calls.Lookup(c, msg.Tool)
	if !known || rpc.Decode(msg.Params, &p) != nil || p.Meta.Traceparent != nil {
		return p, false
	}
	if version < Modern {
		return p, p.Meta.Version == nil
	}
	// What MCP 2026-07-28 has a request say twice, and of whom it comes.
	var stated string
	var client *mcp.Implementation
	var able *mcp.ClientCapabilities
	switch {
	case r.Header.Get("Mcp-Method") != rpc.ToolsCall, r.Header.Get("Mcp-Name") != msg.Tool:
		return p, false
	case rpc.Decode(p.Meta.Version, &stated) != nil || stated != version:
		return p, false
	case p.Meta.Client != nil && (rpc.Decode(p.Meta.Client, &client) != nil || client == nil):
		return p, false
	case rpc.Decode(p.Meta.Capabilities, &able) != nil || able == nil:
		return p, false
	case t.Destructive && able.Elicitation != nil:
		return p, false // the person may have to be asked
	}
	return p, true
}

// answer runs the call and writes its result.
func (d *direct) answer(w http.ResponseWriter, r *http.Request, c identity.Caller, msg rpc.Message, version string, p plainCall) {
	// As without it, a panic costs one answer and not the connection.
	defer func() {
		if v := recover(); v != nil {
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			d.calls.Log.Error("panic in a handler", "type", fmt.Sprintf("%T", v))
			rpc.Write(w, http.StatusOK, (&rpc.Error{Code: rpc.CodeInternal, Message: "Internal error."}).Body(msg.ID))
		}
	}()
	ctx, cancel := context.WithCancel(r.Context())
	out := d.calls.Call(ctx, c, invocation.Streamable, msg.Tool, p.Arguments)
	cancel()
	status := http.StatusOK
	if denied := out.Denial; denied != nil {
		status = denied.Status
		denied.Header(w.Header())
	}
	body := d.result(out, msg.ID, version >= Modern)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // a writer without a connection has none
	rpc.Write(w, status, body)
}

// result is a response with the result that [Result] makes of an outcome.
func (d *direct) result(out invocation.Outcome, id []byte, modern bool) []byte {
	text := out.Text
	if out.Failure != nil {
		text = FailureText(out)
	}
	b := make([]byte, 0, 256+len(id)+len(text)+len(text)/8+len(out.Structured))
	b = append(append(append(b, `{"jsonrpc":"2.0","id":`...), id...), `,"result":{`...)
	meta := out.Meta
	if out.Denial != nil {
		meta = map[string]any{denial.MetaKey: []string{out.Denial.Challenge}}
	}
	if modern || len(meta) > 0 {
		b = append(b, `"_meta":{`...)
		if modern {
			b = append(b, d.about...)
		}
		for name, value := range meta {
			if b[len(b)-1] != '{' {
				b = append(b, ',')
			}
			b = rpc.Append(append(rpc.Append(b, name), ':'), value)
		}
		b = append(b, `},`...)
	}
	b = append(rpc.Append(append(b, `"content":[{"type":"text","text":`...), text), `}]`...)
	switch {
	case out.Failure != nil:
		b = append(b, `,"isError":true`...)
	case out.Structured != nil:
		b = append(append(b, `,"structuredContent":`...), out.Structured...)
	}
	if modern {
		b = append(b, `,"resultType":"complete"`...)
	}
	return append(b, `}}`...)
}

// newDirect returns what answers as the server info names.
func newDirect(calls *invocation.Service, info *mcp.Implementation) *direct {
	about := rpc.Append(append(rpc.Append(nil, mcp.MetaKeyServerInfo), ':'), info)
	return &direct{calls: calls, about: about}
}
