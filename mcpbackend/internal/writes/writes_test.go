package writes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// sender makes changes and counts them.
type sender struct {
	n   atomic.Int32
	err error
}

func (s *sender) send() (*neonpanel.Response, error) {
	n := s.n.Add(1)
	if s.err != nil {
		return nil, s.err
	}
	return &neonpanel.Response{Status: 200, Body: fmt.Appendf(nil, `{"n":%d}`, n)}, nil
}

func change(subject, request string) Write {
	return Write{Subject: subject, Tool: "bills_create", Request: []byte(request), Target: "/bills"}
}

func TestTheSameChangeIsMadeOnce(t *testing.T) {
	t.Parallel()
	base := change("46", "a")
	for name, test := range map[string]struct {
		second Write
		wait   time.Duration
		repeat bool
		sent   int32
	}{
		"at once":               {base, 0, false, 1},
		"just before the end":   {base, Keep - time.Second, false, 1},
		"after two minutes":     {base, Keep, false, 2},
		"on purpose":            {base, 0, true, 2},
		"another request":       {change("46", "b"), 0, false, 2},
		"another user":          {change("47", "a"), 0, false, 2},
		"another tool":          {Write{"46", "invoices_create", []byte("a"), "/bills", false}, 0, false, 2},
		"parts moved about":     {Write{"46b", "ills_create", []byte("a"), "/bills", false}, 0, false, 2},
		"a target is no matter": {Write{"46", "bills_create", []byte("a"), "/elsewhere", false}, 0, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &clock{now: time.Unix(1_800_000_000, 0)}
			m := New(Options{Now: c.Now})
			s := &sender{}
			first := m.Do(t.Context(), base, false, s.send)
			c.add(test.wait)
			second := m.Do(t.Context(), test.second, test.repeat, s.send)
			if s.n.Load() != test.sent || first.First || second.First != (test.sent == 1) {
				t.Errorf("sent %d times, want %d: %+v, %+v", s.n.Load(), test.sent, first, second)
			}
			want := fmt.Sprintf(`{"n":%d}`, test.sent)
			if string(second.Response.Body) != want {
				t.Errorf("answer %s, want %s", second.Response.Body, want)
			}
			if second.First && second.Ago != test.wait {
				t.Errorf("%v ago, want %v", second.Ago, test.wait)
			}
		})
	}
}

func TestWhatMayHaveHappenedIsRememberedAndWhatDidNotIsNot(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err    *neonpanel.Error
		undone bool
	}{
		"refused":           {&neonpanel.Error{Class: neonpanel.Rejected, Status: 422}, true},
		"forbidden":         {&neonpanel.Error{Class: neonpanel.Forbidden, Status: 403}, true},
		"unauthenticated":   {&neonpanel.Error{Class: neonpanel.Unauthenticated, Status: 401}, true},
		"rate limited":      {&neonpanel.Error{Class: neonpanel.RateLimited, Status: 429}, true},
		"never sent":        {&neonpanel.Error{Class: neonpanel.Unavailable, Reason: neonpanel.ReasonCircuitOpen}, true},
		"no address":        {&neonpanel.Error{Class: neonpanel.BadRequest}, true},
		"timeout":           {&neonpanel.Error{Class: neonpanel.Timeout}, false},
		"reset":             {&neonpanel.Error{Class: neonpanel.Unavailable, Reason: neonpanel.ReasonConnection}, false},
		"cancelled":         {&neonpanel.Error{Class: neonpanel.Canceled}, false},
		"server error":      {&neonpanel.Error{Class: neonpanel.Unavailable, Status: 500}, false},
		"gateway timeout":   {&neonpanel.Error{Class: neonpanel.Unavailable, Status: 504}, false},
		"request timeout":   {&neonpanel.Error{Class: neonpanel.Unavailable, Status: 408}, false},
		"redirect":          {&neonpanel.Error{Class: neonpanel.Unavailable, Status: 302}, false},
		"unreadable answer": {&neonpanel.Error{Class: neonpanel.Unavailable, Reason: neonpanel.ReasonNotJSON, Status: 200}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := New(Options{})
			s := &sender{err: test.err}
			first := m.Do(t.Context(), change("46", "a"), false, s.send)
			s.err = nil
			second := m.Do(t.Context(), change("46", "a"), false, s.send)
			if !errors.Is(first.Err, test.err) || Undone(first.Err) != test.undone {
				t.Errorf("first %+v", first)
			}
			if test.undone {
				if second.First || second.Err != nil || s.n.Load() != 2 {
					t.Errorf("it was not tried again: %+v", second)
				}
				return
			}
			if !second.First || !errors.Is(second.Err, test.err) || s.n.Load() != 1 {
				t.Errorf("it was tried again: %+v", second)
			}
			if third := m.Do(t.Context(), change("46", "a"), true, s.send); third.Err != nil || third.First || s.n.Load() != 2 {
				t.Errorf("it cannot be repeated on purpose: %+v", third)
			}
			if fourth := m.Do(t.Context(), change("46", "a"), false, s.send); fourth.Err != nil || !fourth.First {
				t.Errorf("the repetition is not what is remembered: %+v", fourth)
			}
		})
	}
}

func TestAConnectionThatWasNeverMadeChangedNothing(t *testing.T) {
	t.Parallel()
	client, err := neonpanel.New(neonpanel.Options{BaseURL: "http://127.0.0.1:1", Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Do(t.Context(), neonpanel.Request{Operation: "x", Method: "POST", Path: "/x", Bearer: "t"})
	if err == nil || !Undone(err) {
		t.Errorf("%v is not undone", err)
	}
	for _, other := range []error{nil, context.Canceled, &net.OpError{Op: "read"}, &tls.CertificateVerificationError{}} {
		if Undone(other) {
			t.Errorf("%v is undone", other)
		}
	}
}

func TestAChangeUnderWayIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		release := make(chan struct{})
		var sent atomic.Int32
		slow := func() (*neonpanel.Response, error) {
			sent.Add(1)
			<-release
			return &neonpanel.Response{Body: []byte("done")}, nil
		}
		answers := make(chan Answer, 20)
		for range 20 {
			go func() { answers <- m.Do(context.Background(), change("46", "a"), false, slow) }()
		}
		synctest.Wait()
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		if a := m.Do(gone, change("46", "a"), false, slow); a.Err == nil || a.First {
			t.Errorf("a caller who has gone got %+v", a)
		}
		close(release)
		first := 0
		for range 20 {
			a := <-answers
			if a.Err != nil || string(a.Response.Body) != "done" {
				t.Errorf("%+v", a)
			}
			if !a.First {
				first++
			}
		}
		if first != 1 || sent.Load() != 1 {
			t.Errorf("%d were first, sent %d times", first, sent.Load())
		}
	})
}

func TestAWaitingCallIsMadeWhenTheFirstWasRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		release := make(chan struct{})
		go m.Do(context.Background(), change("46", "a"), false, func() (*neonpanel.Response, error) {
			<-release
			return nil, &neonpanel.Error{Class: neonpanel.Unauthenticated, Status: 401}
		})
		synctest.Wait()
		s := &sender{}
		done := make(chan Answer)
		go func() { done <- m.Do(context.Background(), change("46", "a"), false, s.send) }()
		synctest.Wait()
		close(release)
		if a := <-done; a.Err != nil || a.First || s.n.Load() != 1 {
			t.Errorf("%+v", a)
		}
	})
}

func TestAnUpdateIsMadeAgainAfterAnotherOne(t *testing.T) {
	t.Parallel()
	put := func(request string) Write {
		return Write{Subject: "46", Tool: "bills_update", Request: []byte(request), Target: "/bills/7", Replaces: true}
	}
	m, s := New(Options{}), &sender{}
	for i, step := range []struct {
		w     Write
		first bool
	}{
		{put("red"), false}, {put("red"), true}, {put("blue"), false}, {put("red"), false}, {put("red"), true},
		// What is created is no state that another change ends.
		{change("46", "a"), false}, {Write{Subject: "46", Tool: "x", Request: []byte("x"), Target: "/bills", Replaces: true}, false}, {change("46", "a"), true},
	} {
		if a := m.Do(t.Context(), step.w, false, s.send); a.First != step.first {
			t.Errorf("step %d: %+v", i, a)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		release := make(chan struct{})
		ended := make(chan struct{})
		go func() {
			m.Do(context.Background(), put("red"), false, func() (*neonpanel.Response, error) { <-release; return &neonpanel.Response{}, nil })
			close(ended)
		}()
		synctest.Wait()
		s := &sender{}
		m.Do(context.Background(), put("blue"), false, s.send)
		close(release)
		<-ended
		if a := m.Do(context.Background(), put("red"), false, s.send); a.First {
			t.Error("an update that ran beside another one is remembered")
		}
	})
}

func TestAPanicLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	m := New(Options{})
	func() {
		defer func() { _ = recover() }()
		m.Do(t.Context(), change("46", "a"), false, func() (*neonpanel.Response, error) { panic("x") })
	}()
	s := &sender{}
	if a := m.Do(t.Context(), change("46", "a"), false, s.send); !a.First || a.Err == nil || s.n.Load() != 0 {
		t.Errorf("%+v", a)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := New(Options{Entries: 100, PerCaller: 10, Bytes: 1000})
	body := strings.Repeat("x", 100)
	send := func() (*neonpanel.Response, error) { return &neonpanel.Response{Body: []byte(body)}, nil }
	for i := range 1000 {
		m.Do(t.Context(), change(fmt.Sprint(i%50), fmt.Sprint(i)), false, send)
	}
	if len(m.entries) != 100 || m.kept.Len() != 100 || m.bytes > 1000 || len(m.owned) > 100 {
		t.Errorf("%d entries, %d kept, %d bytes, %d callers", len(m.entries), m.kept.Len(), m.bytes, len(m.owned))
	}
	// The answer was dropped, the fact was not.
	if a := m.Do(t.Context(), change("0", "950"), false, send); !a.First || a.Response != nil || a.Err != nil {
		t.Errorf("%+v", a)
	}
	for i := range 100 {
		m.Do(t.Context(), change("busy", fmt.Sprint(i)), false, send)
	}
	if n := m.owned[m.hash("owner", "busy")]; n != 10 {
		t.Errorf("one caller holds %d", n)
	}
	if a := m.Do(t.Context(), change("49", "999"), false, send); !a.First {
		t.Error("a busy caller made another's change forgotten")
	}
	c := &clock{now: time.Now()}
	m = New(Options{Now: c.Now})
	m.Do(t.Context(), change("46", "a"), false, send)
	c.add(Keep)
	m.Do(t.Context(), change("46", "b"), false, send)
	if len(m.entries) != 1 || m.bytes != 100 {
		t.Errorf("%d entries, %d bytes after the time", len(m.entries), m.bytes)
	}
}

func TestNothingOfARequestIsKeptInClear(t *testing.T) {
	t.Parallel()
	m, s := New(Options{}), &sender{}
	w := Write{Subject: "subject-46", Tool: "tool", Request: []byte("secret-arguments"), Target: "/secret-path"}
	m.Do(t.Context(), w, false, s.send)
	for _, e := range m.entries {
		kept := fmt.Sprintf("%+v %x", *e, e.id)
		for _, secret := range []string{"secret", "subject-46"} {
			if strings.Contains(kept, secret) {
				t.Errorf("%s is kept: %s", secret, kept)
			}
		}
	}
	other := New(Options{})
	if m.hash("x") == other.hash("x") {
		t.Error("the hash has no key")
	}
}

// refused and unknown are how a change can end that was not, or may have been, made.
var (
	refused = &neonpanel.Error{Class: neonpanel.RateLimited, Status: 429}
	unknown = &neonpanel.Error{Class: neonpanel.Unavailable, Status: 503}
)

func TestARepetitionThatWasNotMadeLeavesWhatItRepeatsInForce(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]error{"made": nil, "perhaps made": unknown} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for kind, w := range map[string]Write{
				"creates":  change("46", "a"),
				"replaces": {Subject: "46", Tool: "bills_update", Request: []byte("a"), Target: "/bills/7", Replaces: true},
			} {
				c := &clock{now: time.Unix(1_800_000_000, 0)}
				m, s := New(Options{Now: c.Now}), &sender{err: first}
				m.Do(t.Context(), w, false, s.send)
				c.add(time.Minute)
				for range 2 {
					s.err = refused
					if a := m.Do(t.Context(), w, true, s.send); !errors.Is(a.Err, refused) || a.First {
						t.Fatalf("%s: the repetition: %+v", kind, a)
					}
					s.err = nil
					if a := m.Do(t.Context(), w, false, s.send); !a.First || !errors.Is(a.Err, first) || a.Ago != time.Minute {
						t.Errorf("%s: %+v", kind, a)
					}
				}
				if s.n.Load() != 3 {
					t.Errorf("%s: sent %d times", kind, s.n.Load())
				}
				// Its time is its own.
				c.add(Keep - time.Minute)
				if a := m.Do(t.Context(), w, false, s.send); a.First || s.n.Load() != 4 || len(m.entries) != 1 || m.kept.Len() != 1 {
					t.Errorf("%s: after its time: %+v, %d entries", kind, a, len(m.entries))
				}
			}
		})
	}
}

// Attempts at the same change beside each other, ended in every order: what counts
// is the last one that may have been made.
func TestRepetitionsBesideEachOther(t *testing.T) {
	t.Parallel()
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		for made := range 8 {
			t.Run(fmt.Sprintf("%v %03b", order, made), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					m := New(Options{})
					var release, ended [3]chan struct{}
					for i := range release {
						release[i], ended[i] = make(chan struct{}), make(chan struct{})
						go func() {
							m.Do(context.Background(), change("46", "a"), i > 0, func() (*neonpanel.Response, error) {
								<-release[i]
								if made&(1<<i) == 0 {
									return nil, refused
								}
								return &neonpanel.Response{Body: []byte("made")}, nil
							})
							close(ended[i])
						}()
						synctest.Wait()
					}
					for _, i := range order {
						close(release[i])
						<-ended[i]
					}
					s := &sender{}
					if a := m.Do(context.Background(), change("46", "a"), false, s.send); a.First != (made != 0) || a.Err != nil {
						t.Errorf("%+v", a)
					}
					time.Sleep(Keep)
					m.Do(context.Background(), change("46", "b"), false, s.send)
					if len(m.entries) != 1 || m.kept.Len() != 1 || m.bytes != len(`{"n":1}`) || len(m.owned) != 1 {
						t.Errorf("%d entries, %d kept, %d bytes", len(m.entries), m.kept.Len(), m.bytes)
					}
				})
			})
		}
	}
}

func TestAConsentIsUsedOnce(t *testing.T) {
	t.Parallel()
	c := &clock{now: time.Unix(1_800_000_000, 0)}
	consents := NewConsents(c.Now)
	take := func(id string) bool {
		ok, err := consents.Take(t.Context(), id, c.Now(), c.Now().Add(10*time.Minute))
		return ok && err == nil
	}
	if !take("a") || take("a") || !take("b") || take("b") {
		t.Error("a consent was used twice, or not at all")
	}
	for i := range mostConsents - 2 {
		take(fmt.Sprint(i))
	}
	if take("one too many") || take("a") {
		t.Error("a consent that is still good was forgotten")
	}
	c.add(10 * time.Minute)
	if !take("the next") || len(consents.used) != 1 {
		t.Errorf("%d are remembered after their time", len(consents.used))
	}
}
