// Package legacysse serves the HTTP+SSE transport of MCP 2024-11-05 for old
// clients. The transport is our own: the SDK's knows neither who posted a
// message nor with which token, and any caller could post into any session.
package legacysse

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/identity"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mcpserver"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/rpc"
)

// The paths of the transport.
const (
	StreamPath  = "/sse"
	MessagePath = "/messages"
)

const (
	// writeTimeout is how long a client may take to read what is sent.
	writeTimeout = 30 * time.Second
	// lastWords is how long calls get to end once their stream has expired.
	lastWords = 2 * time.Second
	// retryAfter is suggested when there is no room for another stream.
	retryAfter = 30 * time.Second
)

// Observer counts streams.
type Observer interface {
	StreamOpened()
	StreamEnded(reason string)
}

// The reasons for which a stream ends; metric labels.
const (
	reasonClient   = "client"
	reasonExpired  = "expired"
	reasonShutdown = "shutdown"
	reasonSlow     = "slow"
	reasonFailed   = "failed"
)

// Options are what the transport is made of.
type Options struct {
	// Server must serve nothing else: the SDK scans its sessions.
	Server *mcp.Server
	// Calls knows the tools.
	Calls *invocation.Service
	// MaxStreams and MaxPerOwner bound how many streams are open, in all and
	// for one user with one client.
	MaxStreams, MaxPerOwner int
	// Post, when set, lets a message arrive at another replica than its stream.
	Post     Post
	Observer Observer
	Log      *slog.Logger
	Now      func() time.Time
}

// Transport holds the open streams.
type Transport struct {
	o Options

	mu       sync.Mutex
	sessions map[string]*session
	owned    map[identity.Owner]int
	draining bool
	errands  map[string]*errand   // by handle
	never    map[string]time.Time // handles of errands that never began

	background sync.WaitGroup
}

// New returns a transport without streams.
func New(o Options) *Transport {
	t := &Transport{
		o: o, sessions: map[string]*session{}, owned: map[identity.Owner]int{},
		errands: map[string]*errand{}, never: map[string]time.Time{},
	}
	if o.Post != nil {
		t.answerOthers(o.Post)
	}
	return t
}

// Drain ends the streams without calls at once and the others after their
// last call; new ones are refused.
func (t *Transport) Drain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draining = true
	for _, s := range t.sessions {
		s.drain()
	}
}

// open registers a stream, or says why not.
func (t *Transport) open(c identity.Caller) (*session, *denial.Denial) {
	t.mu.Lock()
	defer t.mu.Unlock()
	owner := c.Owner()
	switch {
	case t.draining:
		return nil, &denial.Denial{
			Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable",
			Description: "This server is stopping. Connect again.", RetryAfter: time.Second,
		}
	case len(t.sessions) >= t.o.MaxStreams:
		return nil, &denial.Denial{
			Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable",
			Description: "Too many streams are open. Try again later, or use /mcp, which needs none.", RetryAfter: retryAfter,
		}
	case t.owned[owner] >= t.o.MaxPerOwner:
		return nil, &denial.Denial{
			Status: http.StatusTooManyRequests, Code: "too_many_requests",
			Description: "You have too many streams open. Close some, or use /mcp, which needs none.", RetryAfter: retryAfter,
		}
	}
	id := newID()
	if t.o.Post != nil {
		id = t.o.Post.Name() + id // where the stream is, for the other replicas
	}
	s := newSession(id, owner, c.Expires)
	s.selection = c.Selection
	t.sessions[s.id] = s
	t.owned[owner]++
	return s, nil
}

func (t *Transport) remove(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.sessions, s.id)
	if t.owned[s.owner]--; t.owned[s.owner] == 0 {
		delete(t.owned, s.owner)
	}
}

// find returns the caller's own session of that id. It does not tell a foreign
// session from one that does not exist.
func (t *Transport) find(id string, owner identity.Owner) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.sessions[id]; s != nil && s.owner == owner {
		return s
	}
	return nil
}

func (t *Transport) byID(id string) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sessions[id]
}

// idLength is that of an id in hex.
const idLength = 32

// newID returns 128 random bits.
func newID() string {
	var b [idLength / 2]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// Stream serves GET /sse. It needs requests that passed [identity.Middleware].
func (t *Transport) Stream(w http.ResponseWriter, r *http.Request) {
	caller, ok := identity.From(r.Context())
	switch {
	case !ok:
		http.Error(w, "no caller", http.StatusInternalServerError) // a route without identity: fail closed
		return
	case r.Method != http.MethodGet:
		denial.MethodNotAllowed(http.MethodGet, "Open the stream with GET; send messages to the URL in its first event. New clients use /mcp.").Write(w)
		return
	case caller.Anonymous:
		denial.Unauthenticated(caller.Challenge, denial.None, denial.SignIn, caller.InForce).Write(w)
		return
	}
	s, d := t.open(caller)
	if d != nil {
		d.Write(w)
		return
	}
	t.o.Observer.StreamOpened()
	reason := t.serve(w, r, s)
	// Nobody finds the session any more, then what still runs is cancelled.
	t.remove(s)
	t.dismiss(s, false)
	s.close()
	t.o.Observer.StreamEnded(reason)
	t.o.Log.Debug("stream ended", "subject", caller.Subject, "client_id", caller.ClientID, "reason", reason)
}

// serve writes the stream until it ends, and says why it did.
func (t *Transport) serve(w http.ResponseWriter, r *http.Request, s *session) string {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
	out := http.NewResponseController(w)
	write := func(parts ...[]byte) bool {
		// A client that reads nothing must not hold the stream for ever.
		_ = out.SetWriteDeadline(time.Now().Add(writeTimeout)) // a test's writer may have none
		for _, p := range parts {
			if _, err := w.Write(p); err != nil {
				return false
			}
		}
		return out.Flush() == nil
	}
	// The endpoint comes at once; clients wait for it. It is relative to the
	// origin, whatever that is to the client.
	if !write([]byte("event: endpoint\ndata: " + MessagePath + "?sessionId=" + s.id + "\n\n")) {
		return reasonClient
	}
	ss, err := t.o.Server.Connect(context.WithoutCancel(r.Context()), s, nil)
	if err != nil {
		t.o.Log.Error("connecting a stream", "error", err.Error())
		return reasonFailed
	}
	s.connected(ss)
	defer func() {
		s.close() // cancels the calls that run; Close waits for them
		_ = ss.Close()
	}()

	beat := time.NewTicker(mcpserver.Heartbeat)
	defer beat.Stop()
	expiry := time.NewTimer(s.left(t.o.Now()))
	defer expiry.Stop()
	var expired bool
	for {
		select {
		case data := <-s.out:
			ok := write([]byte("event: message\ndata: "), data, []byte("\n\n"))
			s.written(len(data))
			if !ok {
				return reasonClient
			}
		case <-beat.C:
			if !write([]byte(": keep-alive\n\n")) {
				return reasonClient
			}
		case <-expiry.C:
			if expired {
				return reasonExpired
			}
			if left := s.left(t.o.Now()); left > 0 { // a fresher token came meanwhile
				expiry.Reset(left)
				continue
			}
			// Calls under way learn that the token expired, and their answers
			// still go out.
			expired = true
			s.expire()
			t.dismiss(s, true)
			expiry.Reset(lastWords)
		case <-s.idle:
			// All calls are answered, and the stream is to end.
			if len(s.out) > 0 {
				s.signal()
				continue
			}
			if expired {
				return reasonExpired
			}
			write([]byte(": this server is stopping, connect again\n\n"))
			return reasonShutdown
		case <-s.overflow:
			return reasonSlow
		case <-s.failed:
			select {
			case <-s.overflow: // that is why
				return reasonSlow
			default:
				return reasonFailed
			}
		case <-r.Context().Done():
			return reasonClient
		}
	}
}

// Message serves POST /messages. It needs requests that passed
// [identity.Middleware].
func (t *Transport) Message(w http.ResponseWriter, r *http.Request) {
	caller, ok := identity.From(r.Context())
	switch {
	case !ok:
		http.Error(w, "no caller", http.StatusInternalServerError) // a route without identity: fail closed
		return
	case r.Method != http.MethodPost:
		denial.MethodNotAllowed(http.MethodPost, "Open a stream with GET /sse first, then POST to the URL in its first event.").Write(w)
		return
	case caller.Anonymous:
		denial.Unauthenticated(caller.Challenge, denial.None, denial.SignIn, caller.InForce).Write(w)
		return
	}
	id := r.URL.Query().Get("sessionId")
	if id == "" {
		denial.Invalid(http.StatusBadRequest, "sessionId is missing: open a stream with GET /sse and POST to the URL in its first event.").Write(w)
		return
	}
	body, d := mcpserver.ReadJSON(w, r)
	if d != nil {
		d.Write(w)
		return
	}
	home := t.home(id)
	s := t.find(id, caller.Owner())
	if s == nil && home == "" {
		unknownSession.Write(w)
		return
	}
	msg, err := rpc.Peek(body)
	if err != nil {
		rpc.Write(w, http.StatusBadRequest, rpc.FromPeek(err).Body(msg.ID))
		return
	}
	mcpserver.Tell(w.Header(), t.o.Calls, msg)
	if s != nil {
		d = t.deliver(r.Context(), s, caller, body, msg)
	} else {
		d = t.elsewhere(r, caller, home, id, body, msg)
	}
	if d != nil {
		d.Write(w)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusAccepted)
}
