package mcpserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/fixtures"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/rpc"
)

// MaxBody is the largest request body.
const MaxBody = 4 << 20

const (
	// bodyTimeout is how long a request body may take to arrive, writeTimeout how
	// long a client may take to read one piece of an answer.
	bodyTimeout  = 30 * time.Second
	writeTimeout = 30 * time.Second
)

// Heartbeat is the interval of the comments that keep a stream alive through
// proxies.
const Heartbeat = 15 * time.Second

// Handler serves MCP over streamable HTTP. It refuses bad requests with the
// right status before the SDK sees them, and mends what the SDK answers where
// it falls short.
type Handler struct {
	calls *invocation.Service
	// The SDK fixes the form of the answer per handler. JSON answers cannot
	// carry progress, so a call that asks for it is answered with a stream.
	json, stream http.Handler
	direct       *direct
	versions     []string
}

// NewHandler returns the handler of /mcp for a server that [New] made with the
// same options; it needs requests that passed [identity.Middleware].
func NewHandler(server *mcp.Server, o Options) *Handler {
	make := func(jsonResponse bool) http.Handler {
		return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{
			Stateless:    true,
			JSONResponse: jsonResponse,
			// For 2026-07-28 a lost connection is a cancelled call; Call.Done
			// does it for the versions before.
			PropagateRequestCancellation: true,
			MaxRequestBodyBytes:          MaxBody,
			// The gateway has judged Host and Origin; here both are the public ones.
			DisableLocalhostProtection: true,
		})
	}
	return &Handler{
		calls: o.Calls, json: make(true), stream: make(false), direct: newDirect(o.Calls, o.info()), versions: mcp.SupportedProtocolVersions(),
	}
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	caller, ok := identity.From(r.Context())
	if !ok {
		http.Error(w, "no caller", http.StatusInternalServerError) // a route without identity: fail closed
		return
	}
	if r.Method != http.MethodPost {
		denial.MethodNotAllowed(http.MethodPost, "This server keeps no sessions: send each JSON-RPC message with POST.").Write(w)
		return
	}
	body, d := ReadJSON(w, r)
	if d != nil {
		d.Write(w)
		return
	}
	takesJSON, takesStream := accepts(r.Header.Values("Accept"))
	if !takesJSON && !takesStream {
		(denial.Denial{
			Status: http.StatusNotAcceptable, Code: "not_acceptable",
			Description: "Send 'Accept: application/json, text/event-stream'.",
		}).Write(w)
		return
	}
	version := r.Header.Get("Mcp-Protocol-Version")
	msg, err := rpc.Peek(body)
	if err != nil {
		status := http.StatusBadRequest
		if errors.Is(err, rpc.ErrParams) && version < Modern {
			status = http.StatusOK // an answer to a message that arrived in good order
		}
		rpc.Write(w, status, rpc.FromPeek(err).Body(msg.ID))
		return
	}
	Tell(w.Header(), h.calls, msg)
	if version != "" && !slices.Contains(h.versions, version) {
		rpc.Write(w, http.StatusBadRequest, (&rpc.Error{
			Code: rpc.CodeUnsupportedVersion, Message: "Unsupported protocol version.",
			Data: map[string]any{"supported": h.versions, "requested": clip(version)},
		}).Body(msg.ID))
		return
	}
	if msg.Call() && version < Modern && !known(msg.Method) {
		rpc.Write(w, http.StatusOK, (&rpc.Error{Code: rpc.CodeMethodNotFound, Message: "Method not found."}).Body(msg.ID))
		return
	}
	if !h.authorize(w, caller, msg, version) {
		return
	}
	if fault := CheckParams(msg); fault != nil {
		status := http.StatusBadRequest
		if version < Modern {
			status = http.StatusOK // an answer to a message that arrived in good order
		}
		rpc.Write(w, status, fault.Body(msg.ID))
		return
	}

	if msg.ID == nil && !msg.Response && version < Modern && !known(msg.Method) {
		// A notification is never answered, not even an unknown one (JSON-RPC 2.0
		// §4.1); the SDK refuses it.
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusAccepted)
		return
	}

	// Streams cannot be resumed here, and clients that try must not fail for it.
	r.Header.Del("Last-Event-Id")
	r.Header["Accept"] = []string{"application/json, text/event-stream"}
	decodeName(r.Header)
	if takesJSON && h.direct != nil {
		if p, ok := h.direct.plain(r, caller, msg, version); ok {
			h.direct.answer(w, r, caller, msg, version, p)
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))

	call := &Call{Caller: caller, Done: r.Context(), modern: version >= Modern}
	streamed := takesStream && (msg.Progress || !takesJSON || fixtures.Tool(msg.Tool))
	if streamed {
		ctx, cancel := context.WithDeadlineCause(r.Context(), caller.Expires, ErrExpired)
		defer cancel()
		if !caller.Anonymous {
			call.Done = ctx
		}
	}
	out := newResponse(w, call, msg.ID, version)
	defer out.finish()
	next := h.json
	if streamed {
		next = h.stream
		call.started = func() { out.beat(Heartbeat) }
	}
	next.ServeHTTP(out, r.WithContext(withCall(r.Context(), call)))
}

// Refuse answers a request that cannot be carried out for a reason outside of its
// message. It is a JSON-RPC error with the id of the request: of others, clients
// show no more than that there was one.
func (h *Handler) Refuse(w http.ResponseWriter, r *http.Request, message string) {
	if r.Method != http.MethodPost {
		denial.Invalid(http.StatusBadRequest, message).Write(w)
		return
	}
	body, d := ReadJSON(w, r)
	if d != nil {
		d.Write(w)
		return
	}
	msg, err := rpc.Peek(body)
	if err != nil {
		rpc.Write(w, http.StatusBadRequest, rpc.FromPeek(err).Body(msg.ID))
		return
	}
	rpc.Write(w, http.StatusBadRequest, (&rpc.Error{Code: rpc.CodeInvalidRequest, Message: "Invalid request: " + message}).Body(msg.ID))
}

// authorize answers the requests whose caller may not do what they ask.
func (h *Handler) authorize(w http.ResponseWriter, c identity.Caller, msg rpc.Message, version string) bool {
	if c.Anonymous && !anonymousMay(msg.Method) {
		d := denial.Unauthenticated(c.Challenge, denial.None, denial.SignIn, c.InForce)
		// A JSON-RPC body too: some clients look for the challenge in there.
		meta := map[string][]string{denial.MetaKey: {denial.Challenge(c.Challenge, denial.InvalidToken, denial.SignIn, c.InForce)}}
		var body []byte
		if msg.Method == rpc.ToolsCall {
			h.calls.Denied(c, invocation.Streamable, msg.Tool)
			body = refused(msg, version, d.Description, meta)
		} else {
			body = (&rpc.Error{Code: rpc.CodeAuth, Message: d.Description, Data: map[string]any{"_meta": meta}}).Body(msg.ID)
		}
		d.Header(w.Header())
		rpc.Write(w, d.Status, body)
		return false
	}
	if msg.Method == rpc.ToolsCall {
		if d := h.calls.Authorize(c, msg.Tool); d != nil {
			h.calls.Denied(c, invocation.Streamable, msg.Tool)
			d.Header(w.Header())
			rpc.Write(w, d.Status, refused(msg, version, d.Description, map[string][]string{denial.MetaKey: {d.Challenge}}))
			return false
		}
	}
	return true
}

// refused is a tool result with a challenge: some clients look for it there, and
// not at the status.
func refused(msg rpc.Message, version, description string, meta map[string][]string) []byte {
	result := map[string]any{
		"content": []map[string]string{{"type": "text", "text": description}}, "isError": true, "_meta": meta,
	}
	if version >= Modern {
		result["resultType"] = "complete"
	}
	return rpc.ResultBody(msg.ID, result)
}

// ReadJSON reads the body of a request that must hold JSON.
func ReadJSON(w http.ResponseWriter, r *http.Request) ([]byte, *denial.Denial) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return nil, &denial.Denial{
			Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type",
			Description: "Send the body as JSON, with 'Content-Type: application/json'.",
		}
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		// RFC 8259 §8.1: JSON is UTF-8.
		return nil, &denial.Denial{
			Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type",
			Description: "Send the body in UTF-8, with 'Content-Type: application/json'.",
		}
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, &denial.Denial{
			Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type",
			Description: "Send the body without Content-Encoding.",
		}
	}
	var buf bytes.Buffer
	if n := r.ContentLength; n > 0 && n <= MaxBody {
		buf.Grow(int(n) + bytes.MinRead)
	}
	// A body that trickles in must not hold a connection for ever. The deadline
	// has to go before the call runs: it would look like a disconnect then.
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(bodyTimeout)) // a writer without a connection has none
	_, err = buf.ReadFrom(http.MaxBytesReader(w, r.Body, MaxBody))
	_ = deadline.SetReadDeadline(time.Time{})
	if err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return nil, &denial.Denial{
				Status: http.StatusRequestEntityTooLarge, Code: "payload_too_large",
				Description: "The body is larger than 4 MiB.",
			}
		}
		d := denial.Invalid(http.StatusBadRequest, "The body could not be read.")
		return nil, &d
	}
	return buf.Bytes(), nil
}

// accepts says which forms of answer the client takes; without an Accept
// header it takes both (RFC 9110 §12.5.1).
func accepts(values []string) (json, stream bool) {
	if len(values) == 0 {
		return true, true
	}
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			media, params, _ := strings.Cut(part, ";")
			if q := strings.ReplaceAll(params, " ", ""); q == "q=0" {
				continue
			}
			switch strings.ToLower(strings.TrimSpace(media)) {
			case "application/json", "application/*":
				json = true
			case "text/event-stream", "text/*":
				stream = true
			case "*/*":
				json, stream = true, true
			}
		}
	}
	return json, stream
}

// known says whether MCP before 2026-07-28 has the method. The SDK answers the
// others with a plain text that clients take for a broken connection.
func known(method string) bool {
	switch method {
	case rpc.Initialize, rpc.Ping, rpc.ToolsList, rpc.ToolsCall, rpc.Discover,
		"resources/list", "resources/templates/list", "resources/read", "resources/subscribe", "resources/unsubscribe",
		"prompts/list", "prompts/get", "completion/complete", "logging/setLevel",
		rpc.Initialized, "notifications/cancelled", "notifications/progress", "notifications/roots/list_changed":
		return true
	}
	return false
}

// clip bounds what is repeated of a client's own words.
func clip(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.ToValidUTF8(s, "")
}
