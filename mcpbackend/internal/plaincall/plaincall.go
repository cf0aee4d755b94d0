// Package plaincall serves tool calls in plain JSON over HTTP, for programs
// that do not speak MCP.
package plaincall

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mcpserver"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/rpc"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// Handler serves POST /mcp/tools/call; it needs requests that passed
// [identity.Middleware].
type Handler struct {
	Calls *invocation.Service
}

type request struct {
	Name      *string         `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

type answer struct {
	Content    []text          `json:"content"`
	Structured json.RawMessage `json:"structuredContent,omitempty"`
	IsError    bool            `json:"isError"`
	Meta       map[string]any  `json:"_meta,omitempty"`
}

type text struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	caller, ok := identity.From(r.Context())
	if !ok {
		http.Error(w, "no caller", http.StatusInternalServerError) // a route without identity: fail closed
		return
	}
	if r.Method != http.MethodPost {
		denial.MethodNotAllowed(http.MethodPost, `POST {"name":"…","arguments":{…}} here; GET /mcp/capabilities lists the tools.`).Write(w)
		return
	}
	if caller.Anonymous {
		denial.Unauthenticated(caller.Challenge, denial.None, denial.SignIn, caller.InForce).Write(w)
		return
	}
	body, d := mcpserver.ReadJSON(w, r)
	if d != nil {
		d.Write(w)
		return
	}
	name, arguments, fault := parse(body)
	if fault != "" {
		denial.Invalid(http.StatusBadRequest, fault).Write(w)
		return
	}
	mcpserver.Tell(w.Header(), h.Calls, rpc.Message{Method: rpc.ToolsCall, Tool: name})
	if d := h.Calls.Authorize(caller, name); d != nil {
		h.Calls.Denied(caller, invocation.Plain, name)
		d.Write(w)
		return
	}
	out := h.Calls.Call(r.Context(), caller, invocation.Plain, name, arguments)
	switch {
	case !out.Known:
		description := "There is no such tool." + h.Calls.Meant(caller, name) + " GET /mcp/capabilities lists the tools."
		if h.Calls.LeftOut(caller, name) {
			description = "The X-MCP headers of this request leave that tool out."
		}
		(denial.Denial{Status: http.StatusNotFound, Code: "unknown_tool", Description: description}).Write(w)
	case out.Denial != nil:
		out.Denial.Write(w)
	default:
		write(w, out)
	}
}

// parse reads the body of a call; fault says what is wrong with it.
func parse(body []byte) (name string, arguments json.RawMessage, fault string) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return "", nil, "The body is not valid JSON in UTF-8."
	}
	var q request
	if err := json.Unmarshal(body, &q); err != nil {
		return "", nil, `Send a JSON object: {"name":"list_companies","arguments":{}}.`
	}
	if q.Name == nil || *q.Name == "" {
		return "", nil, `"name" is missing: name the tool. GET /mcp/capabilities lists the tools.`
	}
	return *q.Name, q.Arguments, ""
}

func write(w http.ResponseWriter, out invocation.Outcome) {
	a := answer{Content: []text{{"text", out.Text}}, Structured: out.Structured, Meta: out.Meta}
	if out.Failure != nil {
		a = answer{Content: []text{{"text", mcpserver.FailureText(out)}}, IsError: true}
	}
	data, err := json.Marshal(a)
	if err != nil {
		(denial.Denial{Status: http.StatusInternalServerError, Code: "server_error", Description: "The answer could not be written."}).Write(w)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("Cache-Control", "no-store")
	if out.Failure != nil {
		if wait := out.Failure.RetryAfter; wait > 0 {
			// RFC 9110 §10.2.3: whole seconds, never too early.
			h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		}
		w.WriteHeader(status(out.Failure.Kind))
	}
	_, _ = w.Write(data) // the client may be gone
}

// status tells programs that look at nothing else how a call failed.
func status(kind toolcall.FailureKind) int {
	switch kind {
	case toolcall.InvalidArguments:
		return http.StatusBadRequest
	case toolcall.Forbidden:
		return http.StatusForbidden
	case toolcall.NotFound:
		return http.StatusNotFound
	case toolcall.Rejected:
		return http.StatusUnprocessableEntity
	case toolcall.RateLimited:
		return http.StatusTooManyRequests
	case toolcall.Unavailable:
		return http.StatusBadGateway
	case toolcall.Timeout, toolcall.Canceled:
		// Of a cancelled call somebody may ask again: there is no outcome to tell.
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}
