package legacysse

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/replicas"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/rpc"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/selection"
)

// A stream is held by one replica, its home, and its messages may arrive at any
// other. A call runs where it arrives, as an errand, with the token of its own
// POST, which goes nowhere else: the home is told of it before, gets all that is
// to be sent to the client, and asks after it, so that a client whose errand is
// lost is told so. Every other message goes home; none of them needs a token.

// Post asks other replicas.
type Post interface {
	Name() string
	Handle(kind string, a replicas.Answer)
	Ask(ctx context.Context, to, kind string, question []byte) ([]byte, error)
}

// What replicas ask each other.
const (
	kindBegin   = "sse begin"   // to the home: a call of this session has come here
	kindMessage = "sse message" // to the home: a message that is no call
	kindEmit    = "sse emit"    // to the home: send this to the client
	kindInject  = "sse inject"  // from the home: the client sent this about an errand
	kindEnd     = "sse end"     // from the home: nobody waits for this errand any more
	kindAlive   = "sse alive"   // from the home: which of these errands still run?
)

const (
	// askTime is how long a POST waits for the home of its stream.
	askTime = 8 * time.Second
	// emitTime is how long the home is looked for, to give it what is to be sent.
	emitTime = 30 * time.Second
	// round is the interval at which the errands of a home are asked after, and
	// lost how long none is heard of before the client is told.
	round = 5 * time.Second
	lost  = 20 * time.Second
	// orphaned is how long nobody asks after an errand before it ends.
	orphaned = 40 * time.Second
)

type (
	begin struct {
		Session string          `json:"session"`
		Owner   identity.Owner  `json:"owner"`
		Expires time.Time       `json:"expires"`
		ID      json.RawMessage `json:"id"`
		Handle  string          `json:"handle"`
		Runs    string          `json:"runs"`
	}
	begun struct {
		Refusal *denial.Denial        `json:"refusal,omitempty"`
		Init    *mcp.InitializeParams `json:"init,omitempty"`
		// Selection is that of the stream.
		Selection *selection.Selection `json:"selection,omitempty"`
	}
	passed struct {
		Session string          `json:"session"`
		Caller  identity.Caller `json:"caller"` // without its token, which is never encoded
		Body    []byte          `json:"body"`
	}
	emitted struct {
		Session string          `json:"session"`
		Handle  string          `json:"handle"`
		Data    json.RawMessage `json:"data"`
		Final   bool            `json:"final,omitempty"`
	}
	injected struct {
		Handle string          `json:"handle"`
		Body   json.RawMessage `json:"body"`
	}
	ended struct {
		Handle  string `json:"handle"`
		Expired bool   `json:"expired"`
	}
	alive struct {
		Handles []string `json:"handles"`
	}
	// state says which of the errands do not run: those that are lost, and those
	// that never began, of which the client knows.
	state struct {
		Lost  []string `json:"lost,omitempty"`
		Never []string `json:"never,omitempty"`
	}
	// reply says that there is no such session or errand, or why not.
	reply struct {
		Gone    bool           `json:"gone,omitempty"`
		Refusal *denial.Denial `json:"refusal,omitempty"`
	}
)

var unknownSession = denial.Denial{
	Status: http.StatusNotFound, Code: "unknown_session",
	Description: "There is no such session. Open a stream with GET /sse and POST to the URL in its first event.",
}

// unreachable says that a message could not be handed to its stream.
func unreachable(err error) *denial.Denial {
	if errors.Is(err, replicas.ErrGone) {
		return &unknownSession
	}
	return &denial.Denial{
		Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable",
		Description: "The replica that holds this stream cannot be reached now. No call was begun. Try again, or use /mcp, which needs no stream.",
		RetryAfter:  2 * time.Second,
	}
}

// ask asks and decodes. An answer that cannot be read is of another version.
func ask[A any](ctx context.Context, p Post, to, kind string, question any) (answer A, err error) {
	text, err := json.Marshal(question)
	if err != nil {
		return answer, err
	}
	if text, err = p.Ask(ctx, to, kind, text); err != nil {
		return answer, err
	}
	return answer, json.Unmarshal(text, &answer)
}

// handle answers questions of a kind; what cannot be read stays unanswered.
func handle[Q, A any](p Post, kind string, answer func(context.Context, Q) A) {
	p.Handle(kind, func(ctx context.Context, text []byte) []byte {
		var q Q
		if json.Unmarshal(text, &q) != nil {
			return nil
		}
		out, err := json.Marshal(answer(ctx, q))
		if err != nil {
			return nil
		}
		return out
	})
}

func (t *Transport) answerOthers(p Post) {
	handle(p, kindBegin, t.begin)
	handle(p, kindMessage, t.passed)
	handle(p, kindEmit, t.emitted)
	handle(p, kindInject, t.injected)
	handle(p, kindEnd, t.ended)
	handle(p, kindAlive, t.alive)
}

// home is the replica that holds a session; empty for this one.
func (t *Transport) home(id string) string {
	if t.o.Post == nil {
		return ""
	}
	own := t.o.Post.Name()
	if len(id) != len(own)+idLength || id[:len(own)] == own {
		return ""
	}
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return id[:len(own)]
}

// guest is a call of a session of ours that runs elsewhere.
type guest struct {
	handle, runs string
	id           jsonrpc.ID
	heard        time.Time
}

func (t *Transport) begin(_ context.Context, q begin) begun {
	s := t.find(q.Session, q.Owner)
	if s == nil {
		return begun{Refusal: &unknownSession}
	}
	var raw any
	if json.Unmarshal(q.ID, &raw) != nil {
		return begun{Refusal: &unknownSession}
	}
	id, err := jsonrpc.MakeID(raw)
	if err != nil {
		return begun{Refusal: &unknownSession}
	}
	s.extend(q.Expires)
	if d := s.host(&guest{q.Handle, q.Runs, id, t.o.Now()}); d != nil {
		return begun{Refusal: d}
	}
	return begun{Init: s.initialized(), Selection: s.selection}
}

// passed takes a message that is no call from where it arrived.
func (t *Transport) passed(ctx context.Context, q passed) reply {
	s := t.find(q.Session, q.Caller.Owner())
	if s == nil {
		return reply{Refusal: &unknownSession}
	}
	msg, err := rpc.Peek(q.Body)
	if err != nil || needsToken(msg) {
		return reply{Refusal: &unknownSession} // it was judged before
	}
	return reply{Refusal: t.deliver(ctx, s, q.Caller, q.Body, msg)}
}

// needsToken is true of every message that cannot go to another replica: of all
// calls but the first one of a session.
func needsToken(m rpc.Message) bool { return m.Call() && m.Method != rpc.Initialize }

func (t *Transport) emitted(_ context.Context, q emitted) reply {
	s := t.byID(q.Session)
	return reply{Gone: s == nil || !s.emit(q, t.o.Now())}
}

// toGuest hands what the client sent about a call to where it runs.
func (t *Transport) toGuest(ctx context.Context, g *guest, body []byte) *denial.Denial {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if _, err := ask[reply](ctx, t.o.Post, g.runs, kindInject, injected{g.handle, body}); err != nil && !errors.Is(err, replicas.ErrGone) {
		return unreachable(err)
	}
	return nil // whether it still runs shows on the stream
}

// dismiss ends the calls of a session that run elsewhere.
func (t *Transport) dismiss(s *session, expired bool) {
	for _, g := range s.guestList() {
		t.background.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), askTime)
			defer cancel()
			// Who does not hear it finds out that nobody asks any more.
			_, _ = ask[reply](ctx, t.o.Post, g.runs, kindEnd, ended{g.handle, expired})
		})
	}
}

// Watch asks after the calls that run elsewhere, and ends those that nobody
// asks after, until the context ends.
func (t *Transport) Watch(ctx context.Context) {
	if t.o.Post == nil {
		return
	}
	ticker := time.NewTicker(round)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			t.askAfter(ctx)
			t.endOrphans()
		}
	}
}

func (t *Transport) askAfter(ctx context.Context) {
	type of struct {
		s *session
		g *guest
	}
	all := map[string]map[string]of{} // by replica and handle
	t.mu.Lock()
	for _, s := range t.sessions {
		for _, g := range s.guestList() {
			if all[g.runs] == nil {
				all[g.runs] = map[string]of{}
			}
			all[g.runs][g.handle] = of{s, g}
		}
	}
	t.mu.Unlock()
	for runs, some := range all {
		t.background.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askTime)
			defer cancel()
			var handles []string
			for handle := range some {
				handles = append(handles, handle)
			}
			answer, err := ask[state](ctx, t.o.Post, runs, kindAlive, alive{handles})
			now := t.o.Now()
			if err == nil {
				for _, handle := range answer.Never {
					if o, ok := some[handle]; ok {
						o.s.part(o.g, nil)
						delete(some, handle)
					}
				}
				for _, handle := range answer.Lost {
					if o, ok := some[handle]; ok {
						o.s.part(o.g, errLost)
						delete(some, handle)
					}
				}
			}
			for _, o := range some {
				switch {
				case err == nil:
					o.s.hear(o.g, now)
				case errors.Is(err, replicas.ErrGone) || o.s.silence(o.g, now) > lost:
					o.s.part(o.g, errLost)
				}
			}
		})
	}
}

// errLost is what a client gets for a call that ran in a replica of which
// nothing is heard any more.
var errLost = &jsonrpc.Error{
	Code: rpc.CodeInternal,
	Message: "The replica of this server that ran the call cannot be reached any more. It is not known whether the call was carried out. " +
		"If it changes something, look whether it did; the same change, called again within two minutes, is not made twice.",
}

// host counts a call that runs elsewhere, or says why it cannot start.
func (s *session) host(g *guest) *denial.Denial {
	if d := s.begin(g.id); d != nil {
		return d
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guests == nil {
		s.guests = map[string]*guest{}
	}
	s.guests[g.handle] = g
	return nil
}

func (s *session) guestList() []*guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*guest
	for _, g := range s.guests {
		all = append(all, g)
	}
	return all
}

// guest finds a call that runs elsewhere by the id of a request that it sent to
// the client.
func (s *session) guest(handle string) *guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.guests[handle]
}

// guestOf finds a call that runs elsewhere by its own id.
func (s *session) guestOf(id jsonrpc.ID) *guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.guests {
		if g.id == id {
			return g
		}
	}
	return nil
}

func (s *session) hear(g *guest, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.After(g.heard) {
		g.heard = now
	}
}

func (s *session) silence(g *guest, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(g.heard)
}

// leave says whether the call was still there; it is not any more.
func (s *session) leave(handle string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.guests[handle]
	delete(s.guests, handle)
	return ok
}

// part ends a call that does not run any more; the client is told of err.
func (s *session) part(g *guest, err *jsonrpc.Error) {
	if !s.leave(g.handle) {
		return // it was answered meanwhile
	}
	if err == nil {
		s.answered(g.id)
		return
	}
	_ = s.Write(context.Background(), &jsonrpc.Response{ID: g.id, Error: err}) // the stream may have ended
}

// emit sends what a call that runs elsewhere has for the client; false when
// nobody waits for it.
func (s *session) emit(q emitted, now time.Time) bool {
	g := s.guest(q.Handle)
	if g == nil {
		return false
	}
	s.hear(g, now)
	if q.Final {
		if !s.leave(q.Handle) {
			return false
		}
		defer s.answered(g.id)
		if s.cancelled(g.id) {
			return true
		}
	}
	return s.enqueue(q.Data) == nil
}

// initialized gives what the client said of itself; nil when it has yet to.
func (s *session) initialized() *mcp.InitializeParams {
	s.mu.Lock()
	ss := s.server
	s.mu.Unlock()
	if ss == nil {
		return nil
	}
	return ss.InitializeParams()
}

func (s *session) connected(ss *mcp.ServerSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = ss
}
