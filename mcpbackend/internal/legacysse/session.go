package legacysse

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.opentelemetry.io/otel/trace"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mcpserver"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/rpc"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/selection"
)

const (
	// queue is how many messages, and queueBytes how much, may wait for a
	// client that reads slowly.
	queue      = 64
	queueBytes = 16 << 20
	// maxCalls is how many calls of one session may run at a time.
	maxCalls = 32
)

// session is one stream: the SDK's transport and its connection.
type session struct {
	id        string
	owner     identity.Owner
	selection *selection.Selection

	in       chan jsonrpc.Message
	out      chan []byte
	overflow chan struct{} // closed when the client reads too slowly
	failed   chan struct{} // closed when the SDK gave up
	idle     chan struct{} // has an element when the stream is to end and no call runs
	closed   chan struct{}
	// calls ends all calls of the session.
	calls  context.Context
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	expires  time.Time
	inFlight map[jsonrpc.ID]bool // whether the client cancelled the call
	guests   map[string]*guest   // calls that run in another replica, by their handle
	server   *mcp.ServerSession  // once there is one
	waiting  int                 // bytes in out
	ending   bool
	once     struct{ overflow, failed, closed sync.Once }
}

func newSession(id string, owner identity.Owner, expires time.Time) *session {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &session{
		id: id, owner: owner, expires: expires,
		in: make(chan jsonrpc.Message), out: make(chan []byte, queue),
		overflow: make(chan struct{}), failed: make(chan struct{}), idle: make(chan struct{}, 1), closed: make(chan struct{}),
		calls: ctx, cancel: cancel, inFlight: map[jsonrpc.ID]bool{},
	}
}

// Connect implements [mcp.Transport].
func (s *session) Connect(context.Context) (mcp.Connection, error) { return s, nil }

// SessionID implements [mcp.Connection]; the id stays out of the SDK's logs.
func (s *session) SessionID() string { return "" }

// Read implements [mcp.Connection].
func (s *session) Read(ctx context.Context) (jsonrpc.Message, error) {
	select {
	case m := <-s.in:
		return m, nil
	case <-s.closed:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Write implements [mcp.Connection]. It never waits for the client: a call
// must not hang on a slow reader.
func (s *session) Write(_ context.Context, m jsonrpc.Message) error {
	response, isResponse := m.(*jsonrpc.Response)
	if isResponse {
		defer s.answered(response.ID)
		if s.cancelled(response.ID) {
			return nil
		}
		mend(response)
	}
	data, err := jsonrpc.EncodeMessage(m)
	if err != nil {
		return err
	}
	return s.enqueue(data)
}

// mend gives the SDK's errors a code and words for those who sent the request.
func mend(response *jsonrpc.Response) {
	if response.Error == nil {
		return
	}
	if wire := new(jsonrpc.Error); !errors.As(response.Error, &wire) || wire.Code == 0 {
		// The SDK gives no code when it cannot decode params.
		response.Error = &jsonrpc.Error{Code: rpc.CodeInvalidParams, Message: response.Error.Error()}
	}
	if undecoded := mcpserver.Undecoded(response.Error.Error()); undecoded != "" {
		response.Error = &jsonrpc.Error{Code: rpc.CodeInvalidParams, Message: undecoded}
	}
}

// enqueue puts a message into the queue of the stream.
func (s *session) enqueue(data []byte) error {
	select {
	case <-s.closed:
		return io.ErrClosedPipe
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting+len(data) <= queueBytes || s.waiting == 0 {
		select {
		case s.out <- data:
			s.waiting += len(data)
			return nil
		default:
		}
	}
	s.once.overflow.Do(func() { close(s.overflow) })
	return io.ErrShortWrite
}

// Close implements [mcp.Connection].
func (s *session) Close() error {
	s.once.failed.Do(func() { close(s.failed) })
	s.close()
	return nil
}

// close ends the session and the calls that still run.
func (s *session) close() {
	s.once.closed.Do(func() {
		s.cancel(context.Canceled)
		close(s.closed)
	})
}

// written says that a message has left the queue.
func (s *session) written(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting -= n
}

// left is the time until the latest expiry that was verified for the session.
func (s *session) left(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expires.Sub(now)
}

// extend keeps the stream for as long as a fresher token allows.
func (s *session) extend(expires time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if expires.After(s.expires) {
		s.expires = expires
	}
}

// drain makes the stream end once no call runs.
func (s *session) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	if len(s.inFlight) == 0 {
		s.signalLocked()
	}
}

// expire cancels the calls and makes the stream end after their answers.
func (s *session) expire() {
	s.cancel(mcpserver.ErrExpired)
	s.drain()
}

func (s *session) answered(id jsonrpc.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inFlight, id)
	if s.ending && len(s.inFlight) == 0 {
		s.signalLocked()
	}
}

func (s *session) signal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signalLocked()
}

func (s *session) signalLocked() {
	select {
	case s.idle <- struct{}{}:
	default:
	}
}

// cancelCall notes that the client does not want the answer to a call any
// more: it gets none (MCP 2024-11-05, Cancellation). The SDK ends the call.
func (s *session) cancelCall(raw json.RawMessage) {
	var params map[string]any
	if json.Unmarshal(raw, &params) != nil {
		return // the SDK ignores it too
	}
	id, err := jsonrpc.MakeID(params["requestId"])
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, runs := s.inFlight[id]; runs {
		s.inFlight[id] = true
	}
}

func (s *session) cancelled(id jsonrpc.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inFlight[id]
}

// begin counts a call, or says why it cannot start.
func (s *session) begin(id jsonrpc.ID) *denial.Denial {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ending:
		return &denial.Denial{
			Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable",
			Description: "This stream is ending. Open another with GET /sse.", RetryAfter: time.Second,
		}
	case len(s.inFlight) >= maxCalls:
		return &denial.Denial{
			Status: http.StatusTooManyRequests, Code: "too_many_requests",
			Description: "Too many calls of this session are running. Wait for their answers.", RetryAfter: time.Second,
		}
	}
	if _, twice := s.inFlight[id]; twice {
		d := denial.Invalid(http.StatusBadRequest, "A call with this id is still running. Give every call an id of its own.")
		return &d
	}
	s.inFlight[id] = false
	return nil
}

// deliver hands a message to the SDK as sent by the caller, whose token and
// scopes then hold for this message alone. A call with a fault is answered on
// the stream at once: clients look for all answers there.
func (s *session) deliver(ctx context.Context, c identity.Caller, body []byte, fault *rpc.Error) *denial.Denial {
	message, err := jsonrpc.DecodeMessage(body)
	if err != nil {
		d := denial.Invalid(http.StatusBadRequest, "The body is not a JSON-RPC 2.0 message.")
		return &d
	}
	request, _ := message.(*jsonrpc.Request)
	if request != nil {
		request.Extra = mcpserver.Extra(&mcpserver.Call{Caller: c, Done: s.calls, Trace: trace.SpanContextFromContext(ctx)})
	}
	counted := request != nil && request.IsCall()
	if counted {
		if d := s.begin(request.ID); d != nil {
			return d
		}
	}
	if request != nil && !counted && request.Method == "notifications/cancelled" {
		s.cancelCall(request.Params)
	}
	if counted && fault != nil {
		// An error is of a stream that ends, for which there is nobody to tell.
		_ = s.Write(ctx, &jsonrpc.Response{ID: request.ID, Error: &jsonrpc.Error{Code: int64(fault.Code), Message: fault.Message}})
		return nil
	}
	select {
	case s.in <- message:
		return nil
	case <-s.closed:
	case <-ctx.Done():
	}
	if counted {
		s.answered(request.ID)
	}
	d := denial.Denial{
		Status: http.StatusNotFound, Code: "unknown_session",
		Description: "The session has ended. Open another stream with GET /sse.",
	}
	return &d
}
