package mcpserver

import (
	"bytes"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/rpc"
)

// response mends what the SDK writes:
//   - a refused token or a missing scope gets its HTTP status and challenge;
//   - errors in plain text become JSON-RPC errors;
//   - errors without a code get one;
//   - JSON answers get a length, streams get heartbeats;
//   - nothing is stored by caches.
//
// The header is held back until the first byte of the body.
type response struct {
	w       http.ResponseWriter
	call    *Call
	id      []byte
	version string

	mu     sync.Mutex
	status int
	sent   bool
	done   bool
	timer  *time.Timer
}

func newResponse(w http.ResponseWriter, call *Call, id []byte, version string) *response {
	return &response{w: w, call: call, id: id, version: version}
}

func (r *response) Header() http.Header { return r.w.Header() }

func (r *response) WriteHeader(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status == 0 {
		r.status = status
	}
}

func (r *response) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return 0, http.ErrHandlerTimeout
	}
	h := r.w.Header()
	out := p
	stream := strings.HasPrefix(h.Get("Content-Type"), "text/event-stream")
	switch {
	case r.sent:
		if stream && r.status >= 400 {
			// A heartbeat went out before this error: frame it as an event.
			out = frame(p)
		}
	case r.status >= 400 && strings.HasPrefix(h.Get("Content-Type"), "text/plain"):
		out = r.plain(p)
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(out)))
	case !stream:
		out = r.coded(p)
		h.Set("Content-Length", strconv.Itoa(len(out)))
	}
	r.send()
	if err := r.write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// write writes a piece, and gives up on clients that do not read; the caller
// holds the lock. net/http lifts the deadline after the request.
func (r *response) write(p []byte) error {
	_ = http.NewResponseController(r.w).SetWriteDeadline(time.Now().Add(writeTimeout)) // a writer without a connection has none
	_, err := r.w.Write(p)
	return err
}

// send writes the header; the caller holds the lock.
func (r *response) send() {
	if r.sent {
		return
	}
	r.sent = true
	h := r.w.Header()
	h.Del("Connection")
	h.Set("Cache-Control", "no-store")
	if strings.HasPrefix(h.Get("Content-Type"), "text/event-stream") {
		h.Set("Cache-Control", "no-store, no-transform")
		h.Set("X-Accel-Buffering", "no")
	}
	status := r.status
	if status == 0 {
		status = http.StatusOK
	}
	if d := r.call.denial.Load(); d != nil {
		status = d.Status
		d.Header(h)
	}
	r.w.WriteHeader(status)
}

// plain turns an error that the SDK wrote as text into a JSON-RPC error.
func (r *response) plain(text []byte) []byte {
	message := strings.TrimSpace(strings.ToValidUTF8(string(text), ""))
	if len(message) > 300 {
		message = strings.ToValidUTF8(message[:300], "")
	}
	code := rpc.CodeInvalidRequest
	if undecoded := Undecoded(message); undecoded != "" {
		code, message = rpc.CodeInvalidParams, undecoded
	}
	if r.status >= 500 {
		code, message = rpc.CodeInternal, "Internal error."
	}
	return (&rpc.Error{Code: code, Message: message}).Body(r.id)
}

// uncoded matches a JSON-RPC error whose code is 0, which the SDK writes when
// the params of a message cannot be decoded.
var uncoded = regexp.MustCompile(`^\{"jsonrpc":"2\.0","id":(?:-?[0-9.eE+-]+|"(?:[^"\\]|\\.)*"),"error":(\{"code":0),`)

// coded gives such an error the code of invalid parameters.
func (r *response) coded(p []byte) []byte {
	head := p[:min(len(p), 64+len(r.id))]
	if bytes.Contains(head, []byte(`"error":{"code":`)) && !bytes.Contains(head, []byte(`"result":`)) {
		if undecoded := Undecoded(string(p)); undecoded != "" {
			p = (&rpc.Error{Message: undecoded}).Body(r.id)
		}
	}
	if !bytes.Contains(head, []byte(`"error":{"code":0,`)) {
		return p
	}
	at := uncoded.FindSubmatchIndex(p)
	if at == nil {
		return p
	}
	if r.version >= Modern && r.status == 0 {
		r.status = http.StatusBadRequest
	}
	return bytes.Join([][]byte{p[:at[2]], []byte(`{"code":-32602`), p[at[3]:]}, nil)
}

func frame(p []byte) []byte {
	return bytes.Join([][]byte{[]byte("event: message\ndata: "), p, []byte("\n\n")}, nil)
}

// Flush sends what there is to the client.
func (r *response) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sent && !r.done {
		_ = http.NewResponseController(r.w).Flush() // best effort
	}
}

// beat sends a comment in every interval in which a stream stays open. It must
// not be called before the SDK has set the header.
func (r *response) beat(every time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(every, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.done || !strings.HasPrefix(r.w.Header().Get("Content-Type"), "text/event-stream") {
			return
		}
		r.send()
		if r.write([]byte(": keep-alive\n\n")) != nil {
			return
		}
		_ = http.NewResponseController(r.w).Flush() // best effort
		r.timer.Reset(every)
	})
}

// finish ends the response; nothing is written after it.
func (r *response) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = true
	if r.timer != nil {
		r.timer.Stop()
	}
	if r.status != 0 && !r.sent {
		r.send() // an answer without a body, such as 202
	}
}
