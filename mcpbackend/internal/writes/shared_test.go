//go:build redis

package writes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/redistest"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/replicas"
)

// pod is the part of a replica that remembers changes.
type pod struct {
	*Shared
	redis *replicas.Redis
	// end ends it without a word to anybody.
	end func()
}

func pods(t *testing.T, server *redistest.Server, n int) []*pod {
	t.Helper()
	var all []*pod
	for range n {
		r, err := replicas.NewRedis(replicas.Options{Address: server.Address, Timeout: 30 * time.Second, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		p := &pod{Shared: NewShared(r, replicas.NewKeys([]byte("a secret of thirty-two bytes or so")), slog.New(slog.DiscardHandler), time.Now), redis: r}
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { p.Run(ctx) })
		p.end = sync.OnceFunc(func() { cancel(); running.Wait(); _ = r.Close() })
		t.Cleanup(p.end)
		all = append(all, p)
	}
	return all
}

func replacing(request string) Write {
	return Write{Subject: "46", Tool: "bills_update", Request: []byte(request), Target: "/bills/7", Replaces: true}
}

// dump is everything that Redis holds, as anybody could read it there.
func dump(t *testing.T, p *pod) []byte {
	t.Helper()
	names, err := redis.Strings(p.redis.Do(t.Context(), "KEYS", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for _, name := range names {
		fmt.Fprintln(&all, name)
		if values, err := redis.ByteSlices(p.redis.Do(t.Context(), "HGETALL", name)); err == nil {
			all.Write(bytes.Join(values, []byte("\n")))
		} else if value, err := redis.Bytes(p.redis.Do(t.Context(), "GET", name)); err == nil {
			all.Write(value)
		}
		fmt.Fprintln(&all)
	}
	return all.Bytes()
}

func TestNoReplicaMakesAChangeThatAnotherHasMade(t *testing.T) {
	t.Parallel()
	all := pods(t, redistest.Start(t), 2)
	a, b, s := all[0], all[1], &sender{}
	first := a.Do(t.Context(), change("46", "secret-arguments"), false, s.send)
	if first.Err != nil || first.First {
		t.Fatalf("%+v", first)
	}
	second := b.Do(t.Context(), change("46", "secret-arguments"), false, s.send)
	if second.Err != nil || !second.First || string(second.Response.Body) != string(first.Response.Body) || second.Ago < 0 || second.Ago > Keep || s.n.Load() != 1 {
		t.Errorf("%+v, sent %d times", second, s.n.Load())
	}
	if other := b.Do(t.Context(), change("47", "secret-arguments"), false, s.send); other.First || s.n.Load() != 2 {
		t.Errorf("another caller got %+v", other)
	}
	if third := b.Do(t.Context(), change("46", "secret-arguments"), true, s.send); third.First || s.n.Load() != 3 {
		t.Errorf("it cannot be repeated on purpose: %+v", third)
	}
	if held := dump(t, a); bytes.Contains(held, []byte("secret")) || bytes.Contains(held, first.Response.Body) {
		t.Errorf("Redis can read %s", held)
	}
}

func TestHowAChangeEndedIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, test := range map[string]struct {
		err    error
		undone bool
	}{
		"refused":   {&neonpanel.Error{Class: neonpanel.Rejected, Status: 422, Message: "no"}, true},
		"timeout":   {&neonpanel.Error{Class: neonpanel.Timeout, Reason: neonpanel.ReasonConnection}, false},
		"a failure": {&neonpanel.Error{Class: neonpanel.Unavailable, Status: 502, Reason: neonpanel.ReasonStatus}, false},
		"no idea":   {errors.New("x"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := pods(t, server, 2)
			s := &sender{err: test.err}
			all[0].Do(t.Context(), change(name, "a"), false, s.send)
			s.err = nil
			second := all[1].Do(t.Context(), change(name, "a"), false, s.send)
			if second.First == test.undone || (second.Err == nil) != test.undone {
				t.Errorf("%+v", second)
			}
			if want := new(neonpanel.Error); errors.As(test.err, &want) && !test.undone {
				if got := new(neonpanel.Error); !errors.As(second.Err, &got) || got.Class != want.Class || got.Status != want.Status {
					t.Errorf("%v, want %v", second.Err, want)
				}
			}
		})
	}
}

func TestAChangeUnderWayElsewhereIsWaitedFor(t *testing.T) {
	t.Parallel()
	all := pods(t, redistest.Start(t), 3)
	release, started := make(chan struct{}), make(chan struct{}, 20)
	var sent atomic.Int32
	slow := func() (*neonpanel.Response, error) {
		sent.Add(1)
		started <- struct{}{}
		<-release
		return &neonpanel.Response{Body: []byte("done")}, nil
	}
	answers := make(chan Answer, 20)
	for i := range 20 {
		go func() { answers <- all[i%3].Do(context.Background(), change("46", "a"), false, slow) }()
	}
	<-started
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if a := all[1].Do(gone, change("46", "a"), false, slow); a.Err == nil || a.First {
		t.Errorf("a caller who has gone got %+v", a)
	}
	close(release)
	firsts := 0
	for range 20 {
		a := <-answers
		if a.Err != nil || string(a.Response.Body) != "done" {
			t.Errorf("%+v", a)
		}
		if !a.First {
			firsts++
		}
	}
	if firsts != 1 || sent.Load() != 1 {
		t.Errorf("%d were first, sent %d times", firsts, sent.Load())
	}
}

func TestAnUpdateIsMadeAgainAfterAnotherOneElsewhere(t *testing.T) {
	t.Parallel()
	all, s := pods(t, redistest.Start(t), 2), &sender{}
	for i, step := range []struct {
		w     Write
		first bool
	}{
		{replacing("red"), false}, {replacing("red"), true}, {replacing("blue"), false}, {replacing("red"), false}, {replacing("red"), true},
		{change("46", "a"), false}, {Write{Subject: "46", Tool: "x", Request: []byte("x"), Target: "/bills", Replaces: true}, false}, {change("46", "a"), true},
	} {
		if a := all[i%2].Do(t.Context(), step.w, false, s.send); a.Err != nil || a.First != step.first {
			t.Errorf("step %d: %+v", i, a)
		}
	}
}

func TestWithoutRedisNothingIsSentButWhatIsWantedInAnyCase(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	all, s := pods(t, server, 2), &sender{}
	all[0].Do(t.Context(), change("46", "before"), false, s.send)
	server.Kill()
	for _, request := range []string{"before", "new"} {
		a := all[1].Do(t.Context(), change("46", request), false, s.send)
		if unchecked := new(Unchecked); !errors.As(a.Err, &unchecked) || !Undone(a.Err) || s.n.Load() != 1 {
			t.Errorf("%s: %+v, sent %d times", request, a, s.n.Load())
		}
	}
	if a := all[1].Do(t.Context(), change("46", "new"), true, s.send); a.Err != nil || a.First || s.n.Load() != 2 {
		t.Errorf("repeat: %+v", a)
	}
	// Back, with nothing of what it held: the replicas know it still.
	server.Again()
	for _, request := range []string{"before", "new"} {
		for i, p := range all {
			if a := eventually(t, p, request, s); !a.First || a.Err != nil {
				t.Errorf("replica %d, %s: %+v", i, request, a)
			}
		}
	}
	if s.n.Load() != 2 {
		t.Errorf("sent %d times", s.n.Load())
	}
}

// eventually asks until Redis answers again.
func eventually(t *testing.T, p *pod, request string, s *sender) Answer {
	t.Helper()
	for {
		a := p.Do(t.Context(), change("46", request), false, s.send)
		if unchecked := new(Unchecked); !errors.As(a.Err, &unchecked) {
			return a
		}
		if t.Context().Err() != nil {
			return a
		}
	}
}

func TestAChangeThatRanWhileRedisDiedIsNotMadeTwice(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	all := pods(t, server, 2)
	var sent atomic.Int32
	a := all[0].Do(t.Context(), change("46", "a"), false, func() (*neonpanel.Response, error) {
		sent.Add(1)
		server.Kill()
		return &neonpanel.Response{Body: []byte("made")}, nil
	})
	if a.Err != nil || a.First || string(a.Response.Body) != "made" {
		t.Fatalf("the caller was not given the answer: %+v", a)
	}
	server.Again()
	s := &sender{}
	if a := eventually(t, all[1], "a", s); !a.First || a.Err != nil || string(a.Response.Body) != "made" || s.n.Load() != 0 {
		t.Errorf("%+v, sent %d times more", a, s.n.Load())
	}
}

func TestWhatRedisIsToldByOthersIsNotBelieved(t *testing.T) {
	t.Parallel()
	all, s := pods(t, redistest.Start(t), 2), &sender{}
	all[0].Do(t.Context(), change("46", "a"), false, s.send)
	all[0].Do(t.Context(), change("46", "b"), false, s.send)
	names, err := redis.Strings(all[0].redis.Do(t.Context(), "KEYS", "neonpanel:mcp:write:*"))
	if err != nil || len(names) != 2 {
		t.Fatalf("%v %v", names, err)
	}
	// The answer to one change in the place of the other, and one made up.
	other, err := redis.Bytes(all[0].redis.Do(t.Context(), "HGET", names[0], "sealed:"+attempt(t, all[0], names[0])))
	if err != nil {
		t.Fatal(err)
	}
	for _, sealed := range [][]byte{other, []byte(`{"response":{"Body":"eA=="}}`), nil} {
		if _, err := all[0].redis.Do(t.Context(), "HSET", names[1], "sealed:"+attempt(t, all[0], names[1]), sealed); err != nil {
			t.Fatal(err)
		}
		refused := 0
		for _, request := range []string{"a", "b"} {
			a := all[1].Do(t.Context(), change("46", request), false, s.send)
			if unchecked := new(Unchecked); errors.As(a.Err, &unchecked) && strings.Contains(a.Err.Error(), "not sealed") {
				refused++
			}
		}
		if refused != 1 || s.n.Load() != 2 {
			t.Errorf("%q: %d refused, sent %d times", sealed, refused, s.n.Load())
		}
	}
}

// TestADeadReplicasChangeIsOfUnknownOutcome: the time that it takes to count as
// dead is taken off what Redis holds, so that nobody waits for it.
func TestADeadReplicasChangeIsOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	all := pods(t, redistest.Start(t), 2)
	s := &sender{}
	all[0].Do(t.Context(), change("46", "warm"), false, s.send)
	started, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		all[0].Do(context.Background(), change("46", "a"), false, func() (*neonpanel.Response, error) {
			close(started)
			<-release
			return &neonpanel.Response{}, nil
		})
	}()
	<-started
	all[0].redis.Close()
	names, err := redis.Strings(all[1].redis.Do(t.Context(), "KEYS", "neonpanel:mcp:write:*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		n := attempt(t, all[1], name)
		if state, _ := redis.String(all[1].redis.Do(t.Context(), "HGET", name, "state:"+n)); state == running {
			end := time.Now().Add(Keep - time.Second).UnixMilli()
			if _, err := all[1].redis.Do(t.Context(), "HSET", name, "until:"+n, end); err != nil {
				t.Fatal(err)
			}
		}
	}
	if a := all[1].Do(t.Context(), change("46", "a"), false, s.send); !a.First || a.Err == nil || Undone(a.Err) || s.n.Load() != 1 {
		t.Errorf("%+v", a)
	}
	close(release)
	<-ended
}

// attempt is the only one at a change that Redis knows of.
func attempt(t *testing.T, p *pod, name string) string {
	t.Helper()
	nonce, err := redis.String(p.redis.Do(t.Context(), "HGET", name, "chain"))
	if err != nil || nonce == "" || strings.Contains(nonce, ",") {
		t.Fatalf("%q: %v", nonce, err)
	}
	return nonce
}

func TestARepetitionElsewhereThatWasNotMadeLeavesWhatItRepeatsInForce(t *testing.T) {
	t.Parallel()
	all := pods(t, redistest.Start(t), 2)
	for name, first := range map[string]error{"made": nil, "perhaps made": unknown} {
		for kind, w := range map[string]Write{"creates": change("46", name), "replaces": replacing(name)} {
			s := &sender{err: first}
			all[0].Do(t.Context(), w, false, s.send)
			for i := range 4 {
				s.err = refused
				if a := all[i%2].Do(t.Context(), w, true, s.send); !errors.As(a.Err, new(*neonpanel.Error)) || !Undone(a.Err) || a.First {
					t.Fatalf("%s, %s: the repetition: %+v", name, kind, a)
				}
				s.err = nil
				if a := all[(i+1)/2%2].Do(t.Context(), w, false, s.send); !a.First || (a.Err == nil) != (first == nil) {
					t.Errorf("%s, %s: %+v", name, kind, a)
				}
			}
			if s.n.Load() != 5 {
				t.Errorf("%s, %s: sent %d times", name, kind, s.n.Load())
			}
			if a := all[1].Do(t.Context(), w, true, s.send); a.Err != nil || a.First {
				t.Errorf("%s, %s: %+v", name, kind, a)
			}
			if a := all[0].Do(t.Context(), w, false, s.send); !a.First || a.Err != nil || string(a.Response.Body) != `{"n":6}` {
				t.Errorf("%s, %s: the repetition that was made does not count: %+v", name, kind, a)
			}
		}
	}
}

func TestRepetitionsBesideEachOtherElsewhere(t *testing.T) {
	t.Parallel()
	all := pods(t, redistest.Start(t), 2)
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		for made := range 8 {
			for _, w := range []Write{change("46", fmt.Sprint(order, made)), {Subject: "46", Tool: "bills_update", Request: []byte("x"), Target: fmt.Sprint(order, made), Replaces: true}} {
				w.Request = fmt.Append(w.Request, order, made)
				var release, ended [3]chan struct{}
				for i := range release {
					release[i], ended[i] = make(chan struct{}), make(chan struct{})
					started := make(chan struct{})
					go func() {
						defer close(ended[i])
						all[i%2].Do(context.Background(), w, i > 0, func() (*neonpanel.Response, error) {
							close(started)
							<-release[i]
							if made&(1<<i) == 0 {
								return nil, refused
							}
							return &neonpanel.Response{Body: []byte("made")}, nil
						})
					}()
					<-started
				}
				for _, i := range order {
					close(release[i])
					<-ended[i]
				}
				s := &sender{}
				if a := all[1].Do(t.Context(), w, false, s.send); a.First != (made != 0) || a.Err != nil {
					t.Errorf("%v, %03b, %v: %+v", order, made, w.Replaces, a)
				}
			}
		}
	}
}

func TestAConsentIsUsedOnceByAllReplicas(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	all, s := pods(t, server, 2), &sender{}
	all[0].Do(t.Context(), change("46", "warm"), false, s.send)
	asked := time.Now()
	take := func(p *pod, id string) bool {
		ok, err := p.Take(t.Context(), id, asked, asked.Add(10*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !take(all[0], "a") || take(all[1], "a") || take(all[0], "a") || !take(all[1], "b") {
		t.Error("a consent was used twice, or not at all")
	}
	server.Kill()
	if ok, err := all[0].Take(t.Context(), "c", asked, asked.Add(time.Minute)); ok || err == nil {
		t.Error("a consent counts though nobody knows whether it was used")
	}
	server.Again()
	eventually(t, all[0], "warm", s)
	if take(all[0], "a") || take(all[0], "c") {
		t.Error("a consent from before the loss of the data counts")
	}
	asked = time.Now()
	if !take(all[0], "d") {
		t.Error("a new consent does not count")
	}
}
