package introspection

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

const (
	// maxFailures calls in a row without a verdict make the gateway ask a question
	// of its own.
	maxFailures = 5
	// moment is how long a verdict says that the server serves.
	moment = time.Second
	// After a question that found the server down no call is made for a pause, or
	// for as long as the server asked for (RFC 9110 §10.2.3), within reason.
	pause    = 5 * time.Second
	maxPause = time.Minute
)

var errDown = errors.New("circuit breaker is open")

// health is whether the server serves. What becomes of a client's token never
// decides that: a firewall may drop what one client sends, and that client sends
// it again. Failures only give reason to ask a question of the gateway's own, and
// its outcome alone stops the calls or lets them go on.
type health struct {
	// question fails if the server gave no verdict about a token that no client
	// chose.
	question func(context.Context) error

	mu       sync.Mutex
	failures int       // in a row, that count against the server
	answered time.Time // when it last gave a verdict
	until    time.Time // no call is made before; zero unless the server is down
	asking   bool
}

// ready returns nil when calls may be made. After the pause the first who comes
// asks the question.
func (h *health) ready(ctx context.Context) error {
	h.mu.Lock()
	down, first := !h.until.IsZero(), !h.asking && !time.Now().Before(h.until)
	if down && first {
		h.asking = true
	}
	h.mu.Unlock()
	switch {
	case !down:
		return nil
	case !first:
		return errDown
	}
	return h.ask(ctx)
}

// ask asks the question; the caller has set asking.
func (h *health) ask(ctx context.Context) error {
	err := h.outcome(context.WithoutCancel(ctx))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asking, h.failures, h.until = false, 0, time.Time{}
	now := time.Now()
	switch {
	case err == nil:
		h.answered = now
	case down(err):
		wait := pause
		var answer *upstream.StatusError
		if errors.As(err, &answer) {
			wait = min(max(wait, answer.RetryAfter), maxPause)
		}
		h.until = now.Add(wait)
		return errDown
	}
	return nil
}

// outcome is that of the question. It may be asked outside of all that recovers
// from a panic, and must always have one.
func (h *health) outcome(ctx context.Context) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("panic while asking")
		}
	}()
	return h.question(ctx)
}

// served notes a verdict.
func (h *health) served() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures, h.answered = 0, time.Now()
}

// failed notes a call without a verdict. It reports whether that speaks against
// the token: whether the server gave a verdict about another one meanwhile, or just
// before. Else it counts against the server.
func (h *health) failed(ctx context.Context, began time.Time) (suspect bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if began.Sub(h.answered) < moment {
		return true
	}
	h.failures++
	if h.failures >= maxFailures && !h.asking && h.until.IsZero() {
		h.asking = true
		// Whose call was the last in the row has no reason to wait for it.
		go func() { _ = h.ask(ctx) }()
	}
	return false
}
