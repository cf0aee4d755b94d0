package legacysse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.opentelemetry.io/otel/trace"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mcpserver"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/rpc"
)

// errand is a call that runs here for a stream that another replica holds. It is
// the SDK's transport and its connection, for this one call.
type errand struct {
	handle, session, home string

	in     chan jsonrpc.Message
	out    chan parcel
	closed chan struct{}
	once   sync.Once
	// calls ends the call.
	calls  context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	asked time.Time // when the home last asked after it
}

// parcel is something for the client; the final one is the answer to the call.
type parcel struct {
	data  []byte
	final bool
}

// Connect implements [mcp.Transport].
func (e *errand) Connect(context.Context) (mcp.Connection, error) { return e, nil }

// SessionID implements [mcp.Connection].
func (e *errand) SessionID() string { return "" }

// Read implements [mcp.Connection].
func (e *errand) Read(ctx context.Context) (jsonrpc.Message, error) {
	select {
	case m := <-e.in:
		return m, nil
	case <-e.closed:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Write implements [mcp.Connection].
func (e *errand) Write(ctx context.Context, m jsonrpc.Message) error {
	_, final := m.(*jsonrpc.Response)
	switch sent := m.(type) {
	case *jsonrpc.Response:
		mend(sent)
	case *jsonrpc.Request:
		if !sent.IsCall() {
			break
		}
		// The SDK counts from 1 in every connection; the client must be able to
		// tell the questions of all replicas apart, and we its answers.
		id, err := jsonrpc.MakeID(e.handle + "." + fmt.Sprint(sent.ID.Raw()))
		if err != nil {
			return err
		}
		m = &jsonrpc.Request{ID: id, Method: sent.Method, Params: sent.Params}
	}
	data, err := jsonrpc.EncodeMessage(m)
	if err != nil {
		return err
	}
	p := parcel{data, final}
	select {
	case e.out <- p:
		return nil
	case <-e.closed:
		return io.ErrClosedPipe
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close implements [mcp.Connection].
func (e *errand) Close() error {
	e.close(context.Canceled)
	return nil
}

func (e *errand) close(cause error) {
	e.once.Do(func() {
		e.cancel(cause)
		close(e.closed)
	})
}

// take gives the SDK what the client sent about the call.
func (e *errand) take(ctx context.Context, m jsonrpc.Message) bool {
	select {
	case e.in <- m:
		return true
	case <-e.closed:
	case <-ctx.Done():
	}
	return false
}

// elsewhere handles a message for a stream that another replica holds.
func (t *Transport) elsewhere(r *http.Request, c identity.Caller, home, id string, body []byte, msg rpc.Message) *denial.Denial {
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	if !needsToken(msg) {
		answer, err := ask[reply](ctx, t.o.Post, home, kindMessage, passed{id, c, body})
		if err != nil {
			return unreachable(err)
		}
		return answer.Refusal
	}
	message, err := jsonrpc.DecodeMessage(body)
	request, ok := message.(*jsonrpc.Request)
	if err != nil || !ok {
		d := denial.Invalid(http.StatusBadRequest, "The body is not a JSON-RPC 2.0 message.")
		return &d
	}
	calls, end := context.WithCancelCause(context.Background())
	e := &errand{
		handle: newID()[:16], session: id, home: home,
		in: make(chan jsonrpc.Message), out: make(chan parcel, queue), closed: make(chan struct{}),
		calls: calls, cancel: end, asked: t.o.Now(),
	}
	// It is known here before the home is told, which then may ask after it.
	t.mu.Lock()
	t.errands[e.handle] = e
	t.mu.Unlock()
	answer, err := ask[begun](ctx, t.o.Post, home, kindBegin, begin{id, c.Owner(), c.Expires, msg.ID, e.handle, t.o.Post.Name()})
	if err != nil || answer.Refusal != nil {
		e.close(context.Canceled)
		t.mu.Lock()
		delete(t.errands, e.handle)
		if err != nil {
			// The home may have heard it all the same.
			t.never[e.handle] = t.o.Now()
		}
		t.mu.Unlock()
		if err != nil {
			return unreachable(err)
		}
		return answer.Refusal
	}
	// What the stream was opened with holds for all of it.
	c.Selection = answer.Selection.And(c.Selection)
	request.Extra = mcpserver.Extra(&mcpserver.Call{Caller: c, Done: calls, Trace: trace.SpanContextFromContext(r.Context())})
	fault := mcpserver.CheckParams(msg)
	t.background.Go(func() { t.run(e, request, answer.Init, fault) })
	return nil
}

// run carries out an errand and hands what comes of it to its home.
func (t *Transport) run(e *errand, request *jsonrpc.Request, init *mcp.InitializeParams, fault *rpc.Error) {
	defer func() {
		t.mu.Lock()
		delete(t.errands, e.handle)
		t.mu.Unlock()
	}()
	defer e.close(context.Canceled)
	if fault != nil {
		_ = e.Write(e.calls, &jsonrpc.Response{ID: request.ID, Error: &jsonrpc.Error{Code: int64(fault.Code), Message: fault.Message}})
	} else {
		state := &mcp.ServerSessionState{InitializeParams: init}
		if init != nil {
			state.InitializedParams = new(mcp.InitializedParams)
		}
		ss, err := t.o.Server.Connect(context.Background(), e, &mcp.ServerSessionOptions{State: state})
		if err != nil {
			t.o.Log.Error("connecting an errand", "error", err.Error())
			return
		}
		defer func() {
			e.close(context.Canceled) // cancels the call if it runs; Close waits for it
			_ = ss.Close()
		}()
		if !e.take(e.calls, request) {
			return
		}
	}
	for {
		var p parcel
		select {
		case p = <-e.out:
		case <-e.closed:
			return
		}
		// Nothing is sent before what came first has arrived, so that the order
		// stays.
		ctx, cancel := context.WithTimeout(context.Background(), emitTime)
		answer, err := ask[reply](ctx, t.o.Post, e.home, kindEmit, emitted{e.session, e.handle, p.data, p.final})
		cancel()
		if err != nil {
			// Its home has told the client so, or has gone with the stream.
			t.o.Log.Warn("the answer to a call could not be handed to the replica that holds its stream", "error", err.Error())
			return
		}
		if p.final || answer.Gone {
			return
		}
	}
}

// injected takes what the client sent about an errand.
func (t *Transport) injected(ctx context.Context, q injected) reply {
	e := t.errand(q.Handle)
	if e == nil {
		return reply{Gone: true}
	}
	m, err := jsonrpc.DecodeMessage(q.Body)
	if err != nil {
		return reply{Gone: true}
	}
	if response, ok := m.(*jsonrpc.Response); ok {
		// Back to the number that the SDK gave its question.
		text, _ := response.ID.Raw().(string)
		n, err := strconv.ParseInt(strings.TrimPrefix(text, e.handle+"."), 10, 64)
		if err != nil {
			return reply{Gone: true}
		}
		if response.ID, err = jsonrpc.MakeID(float64(n)); err != nil {
			return reply{Gone: true}
		}
	}
	return reply{Gone: !e.take(ctx, m)}
}

func (t *Transport) ended(_ context.Context, q ended) reply {
	e := t.errand(q.Handle)
	if e == nil {
		return reply{Gone: true}
	}
	if q.Expired {
		e.cancel(mcpserver.ErrExpired) // its last words still go out
	} else {
		e.close(context.Canceled)
	}
	return reply{}
}

func (t *Transport) alive(_ context.Context, q alive) (answer state) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, handle := range q.Handles {
		e := t.errands[handle]
		_, never := t.never[handle]
		switch {
		case e != nil:
			e.mu.Lock()
			e.asked = t.o.Now()
			e.mu.Unlock()
		case never:
			answer.Never = append(answer.Never, handle)
		default:
			answer.Lost = append(answer.Lost, handle)
		}
	}
	return answer
}

func (t *Transport) errand(handle string) *errand {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.errands[handle]
}

// endOrphans ends the errands whose home does not ask after them.
func (t *Transport) endOrphans() {
	now := t.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for handle, at := range t.never {
		if now.Sub(at) > 4*orphaned {
			delete(t.never, handle)
		}
	}
	for _, e := range t.errands {
		e.mu.Lock()
		orphan := now.Sub(e.asked) > orphaned
		e.mu.Unlock()
		if orphan {
			e.close(errors.New("nobody waits for the call"))
		}
	}
}

// Finish waits for the errands, and ends those that still run when the context
// does.
func (t *Transport) Finish(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		t.background.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	t.mu.Lock()
	for _, e := range t.errands {
		e.close(context.Canceled)
	}
	t.mu.Unlock()
}

// deliver hands a message to a session of ours: to the SDK here, or where the
// call runs that it is about.
func (t *Transport) deliver(ctx context.Context, s *session, c identity.Caller, body []byte, msg rpc.Message) *denial.Denial {
	s.extend(c.Expires)
	if t.o.Post != nil {
		if g := s.about(body, msg); g != nil {
			return t.toGuest(ctx, g, body)
		}
	}
	// What the stream was opened with holds for all of it.
	c.Selection = s.selection.And(c.Selection)
	return s.deliver(ctx, c, body, mcpserver.CheckParams(msg))
}

// about finds the call that runs elsewhere that a message of the client is for:
// an answer to its question, or the wish to end it.
func (s *session) about(body []byte, msg rpc.Message) *guest {
	switch {
	case msg.Response:
		var id string
		if json.Unmarshal(msg.ID, &id) != nil {
			return nil
		}
		handle, _, _ := strings.Cut(id, ".")
		return s.guest(handle)
	case msg.Method == "notifications/cancelled":
		var params struct {
			RequestID any `json:"requestId"`
		}
		if json.Unmarshal(msg.Params, &params) != nil {
			return nil
		}
		id, err := jsonrpc.MakeID(params.RequestID)
		if err != nil {
			return nil
		}
		g := s.guestOf(id)
		if g != nil {
			s.cancelCall(msg.Params)
		}
		return g
	}
	return nil
}
