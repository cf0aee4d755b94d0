// Package keys holds the issuer's public keys and keeps them fresh.
//
// Its promises: the last good set survives an outage up to a stated age, and
// is refused beyond it; a broken or empty set never replaces a good one; a key
// that the issuer removed is trusted no longer than until the next refresh;
// bad tokens cause at most one fetch per cool-down, and never delay a token
// that a key in the set verifies.
package keys

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

// Config is what a Set is made from; every duration must be positive.
type Config struct {
	// Fetch gets the JWK Set document. It must end when its context does.
	Fetch func(ctx context.Context) ([]byte, error)
	// Algorithms are the accepted values of `alg`.
	Algorithms []string
	// Refresh is the time between two background fetches.
	Refresh time.Duration
	// MaxStale is how old the last good set may get.
	MaxStale time.Duration
	// Cooldown is the least time between two fetches that tokens can cause.
	Cooldown time.Duration
	// Wait is how long a token of an unknown key waits for a fetch.
	Wait time.Duration
	// Waiting bounds the tokens that wait at once, and so what a flood of bad
	// ones can hold.
	Waiting int
	// Timeout bounds one fetch.
	Timeout time.Duration
	// Fetched, if set, is told how each fetch ended, and which keys of a good
	// set could not be used.
	Fetched func(took time.Duration, skipped []error, err error)
}

// Set is the issuer's key set. It implements oidc.KeySet.
type Set struct {
	config  Config
	current atomic.Pointer[snapshot]
	fault   atomic.Pointer[error] // of the last fetch; nil if it was good
	wake    chan struct{}
	waiting atomic.Int32 // tokens that wait for a fetch

	mu      sync.Mutex
	running context.Context // nil while Run is not
	flight  *flight
	tried   time.Time // start of the last fetch, good or bad
	flights sync.WaitGroup
}

var _ oidc.KeySet = (*Set)(nil)

// snapshot is one good set, never changed.
type snapshot struct {
	version  uint64
	asked    time.Time // when its fetch began
	all      []*Key
	byID     map[string][]*Key
	nameless []*Key
	prints   map[Thumbprint]struct{}
}

type flight struct {
	began time.Time
	done  chan struct{}
	err   error // to be read when done is closed
}

// New makes an empty Set; Run fills it.
func New(config Config) *Set {
	return &Set{config: config, wake: make(chan struct{}, 1)}
}

// Run fetches at once and then keeps the set fresh until ctx is done. It
// returns when no fetch is under way any more.
func (s *Set) Run(ctx context.Context) error {
	s.mu.Lock()
	s.running = ctx
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running = nil
		s.mu.Unlock()
		s.flights.Wait()
	}()

	const firstRetry, lastRetry = 250 * time.Millisecond, 30 * time.Second
	retry := firstRetry
	for {
		f := s.fetch(true)
		if f == nil {
			return nil
		}
		<-f.done
		// Jitter keeps a fleet of gateways from asking in step.
		delay := s.config.Refresh
		if f.err != nil {
			delay = min(retry, s.config.Refresh)
			retry = min(2*retry, lastRetry)
		} else {
			retry = firstRetry
		}
		timer := time.NewTimer(delay - rand.N(delay/10+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// Refresh asks for a background fetch now.
func (s *Set) Refresh() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// fetch joins the fetch under way or begins one; nil if the cool-down, which a
// background fetch does not heed, or the end of Run forbids it.
func (s *Set) fetch(background bool) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight
	}
	now := time.Now()
	if s.running == nil || s.running.Err() != nil || !background && now.Sub(s.tried) < s.config.Cooldown {
		return nil
	}
	f := &flight{began: now, done: make(chan struct{})}
	s.flight, s.tried = f, now
	s.flights.Add(1)
	go s.fly(s.running, f)
	return f
}

func (s *Set) fly(ctx context.Context, f *flight) {
	defer s.flights.Done()
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	skipped, err := s.load(ctx, f.began)
	f.err = err
	if err == nil {
		s.fault.Store(nil)
	} else if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		s.fault.Store(&err)
	}
	if s.config.Fetched != nil {
		s.config.Fetched(time.Since(f.began), skipped, err)
	}
	s.mu.Lock()
	s.flight = nil
	s.mu.Unlock()
	close(f.done)
}

func (s *Set) load(ctx context.Context, began time.Time) (skipped []error, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	data, err := s.config.Fetch(ctx)
	if err != nil {
		return nil, err
	}
	all, skipped, err := Parse(data, s.config.Algorithms)
	if err != nil {
		return skipped, err
	}
	next := &snapshot{version: s.Version() + 1, asked: began, all: all, byID: make(map[string][]*Key, len(all)), prints: make(map[Thumbprint]struct{}, len(all))}
	for _, key := range all {
		next.prints[key.Print] = struct{}{}
		if key.ID == "" {
			next.nameless = append(next.nameless, key)
		} else {
			next.byID[key.ID] = append(next.byID[key.ID], key)
		}
	}
	s.current.Store(next)
	return skipped, nil
}

// Loaded reports how many keys are held and when they were asked for; the time
// is zero if there never were any.
func (s *Set) Loaded() (count int, asked time.Time) {
	if now := s.current.Load(); now != nil {
		return len(now.all), now.asked
	}
	return 0, time.Time{}
}

// Fault is why the last fetch failed; nil if it was good, or there was none.
func (s *Set) Fault() error {
	if fault := s.fault.Load(); fault != nil {
		return *fault
	}
	return nil
}

// Names lists the `kid`s of the keys that are held, and when they were asked
// for; a key without one has an empty name.
func (s *Set) Names() (names []string, asked time.Time) {
	set := s.current.Load()
	if set == nil {
		return nil, time.Time{}
	}
	for _, key := range set.all {
		names = append(names, key.ID)
	}
	return names, set.asked
}

// Version identifies the set in force: it is another one after each good
// fetch. A verdict that depends on a key being absent holds for one Version.
func (s *Set) Version() uint64 {
	if set := s.current.Load(); set != nil {
		return set.version
	}
	return 0
}

// Trusts reports whether a key is still in the set and the set is not too
// old: empty, or the reason why not.
func (s *Set) Trusts(print Thumbprint, now time.Time) token.Reason {
	set := s.current.Load()
	switch {
	case set == nil:
		return token.KeysMissing
	case now.Sub(set.asked) > s.config.MaxStale:
		return token.KeysStale
	}
	if _, trusted := set.prints[print]; !trusted {
		return token.KeyUnknown
	}
	return ""
}

// ErrCooldown is the cause of a refusal that the cool-down alone decided: the
// first fetch after it may undo it.
var ErrCooldown = errors.New("the keys were fetched a moment ago")

// Verify verifies a signature and returns the thumbprint of its key. issuedAt
// is the token's `iat`, zero if unknown: it tells whether a fetch could have
// seen the token's key. Its errors are *token.Error.
func (s *Set) Verify(ctx context.Context, t jws.Token, issuedAt time.Time) (Thumbprint, error) {
	print, reason := s.try(t)
	if reason == "" {
		return print, nil
	}
	if final, cause := s.final(reason, issuedAt); final {
		s.fetch(false)
		return Thumbprint{}, token.Refuse(reason, cause)
	}

	came := time.Now()
	f := s.fetch(false)
	if f == nil {
		return Thumbprint{}, token.Refuse(pending(reason), nil)
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > int32(s.config.Waiting) {
		return Thumbprint{}, token.Refuse(pending(reason), errors.New("too many tokens wait for the keys"))
	}
	timer := time.NewTimer(s.config.Wait)
	defer timer.Stop()
	for {
		select {
		case <-f.done:
		case <-timer.C:
			return Thumbprint{}, token.Refuse(pending(reason), errors.New("no answer in time"))
		case <-ctx.Done():
			return Thumbprint{}, token.Refuse(token.Interrupted, ctx.Err())
		}
		if f.err != nil {
			return Thumbprint{}, token.Refuse(pending(reason), f.err)
		}
		if print, reason = s.try(t); reason == "" {
			return print, nil
		}
		if !f.began.Before(came) {
			return Thumbprint{}, token.Refuse(reason, nil)
		}
		// The fetch was under way when the token came, which may be newer.
		if final, cause := s.final(reason, issuedAt); final {
			return Thumbprint{}, token.Refuse(reason, cause)
		}
		if f = s.fetch(false); f == nil {
			return Thumbprint{}, token.Refuse(pending(reason), nil)
		}
	}
}

// final reports whether a refusal stands without another fetch: the set in force
// was asked for after the token was issued, or within the cool-down, which is
// then the cause, and no fetch failed since.
func (s *Set) final(reason token.Reason, issuedAt time.Time) (bool, error) {
	switch reason {
	case token.KeyUnknown, token.SignatureInvalid, token.AlgorithmRefused:
		// The key may be new, under a kid of its own or under an old one.
	default:
		return false, nil
	}
	asked := s.current.Load().asked
	// NumericDates are often cut to whole seconds, hence one second more.
	if !issuedAt.IsZero() && asked.Sub(issuedAt) >= time.Second {
		return true, nil
	}
	return s.Fault() == nil && time.Since(asked) < s.config.Cooldown, ErrCooldown
}

// pending is the reason given while a fetch that could tell has not succeeded: it
// is not known yet that the key is unknown, nor that the key of this kid is still
// the one that is held.
func pending(reason token.Reason) token.Reason {
	switch reason {
	case token.KeyUnknown:
		return token.KeyPending
	case token.SignatureInvalid, token.AlgorithmRefused:
		return token.SignaturePending
	}
	return reason
}

// try verifies with the set in force.
func (s *Set) try(t jws.Token) (Thumbprint, token.Reason) {
	set := s.current.Load()
	if set == nil {
		return Thumbprint{}, token.KeysMissing
	}
	if time.Since(set.asked) > s.config.MaxStale {
		return Thumbprint{}, token.KeysStale
	}
	named := set.byID[t.KeyID]
	candidates := named
	switch {
	case t.KeyID == "":
		candidates = set.all
	case len(named) == 0:
		// kid is a hint (RFC 7515 §4.1.4): keys that carry none may be meant.
		candidates = set.nameless
	}
	fitting := false
	for _, key := range candidates {
		if !key.usable(t.Algorithm) {
			continue
		}
		fitting = true
		if t.Verify(key.Public) == nil {
			return key.Print, ""
		}
	}
	switch {
	case len(named) == 0:
		return Thumbprint{}, token.KeyUnknown
	case !fitting:
		return Thumbprint{}, token.AlgorithmRefused
	}
	return Thumbprint{}, token.SignatureInvalid
}

// VerifySignature implements oidc.KeySet.
func (s *Set) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	t, err := jws.Parse(raw)
	if err != nil {
		return nil, err
	}
	if _, err := s.Verify(ctx, t, time.Time{}); err != nil {
		return nil, err
	}
	return t.Payload, nil
}
