package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mcpserver"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/replicas"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// line is what is between replicas, as Redis is: it keeps nothing.
type line struct {
	mu   sync.Mutex
	subs map[string]func([]byte)
	cut  map[string]bool // channels whose subscriber hears nothing
	down bool
	lose int // every so manieth message is lost
	n    int
	sent [][]byte
}

var errDown = errors.New("down")

func (w *line) Publish(_ context.Context, channel string, message []byte) (int, error) {
	w.mu.Lock()
	w.n++
	w.sent = append(w.sent, message)
	deliver, down, lost := w.subs[channel], w.down, w.lose > 0 && w.n%w.lose == 0
	deaf := w.cut[channel]
	w.mu.Unlock()
	switch {
	case down:
		return 0, errDown
	case deliver == nil:
		return 0, nil
	case !lost && !deaf:
		deliver(message)
	}
	return 1, nil
}

func (w *line) Subscribe(ctx context.Context, channel string, ready func(), deliver func([]byte)) error {
	w.mu.Lock()
	w.subs[channel] = deliver
	w.mu.Unlock()
	ready()
	<-ctx.Done()
	w.mu.Lock()
	delete(w.subs, channel)
	w.mu.Unlock()
	return ctx.Err()
}

func (w *line) set(change func(*line)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

// replica is one of several edges.
type replica struct {
	*edge
	post *replicas.Post
	// kill ends it at once, as a crash does.
	kill func()
}

var secret = []byte("a secret of thirty-two bytes or so")

// newReplicas are edges that share a wire.
func newReplicas(t *testing.T, n int, whole *api) (*line, []*replica) {
	t.Helper()
	w := &line{subs: map[string]func([]byte){}, cut: map[string]bool{}}
	var all []*replica
	for range n {
		post := replicas.NewPost(w, replicas.NewKeys(secret), slog.New(slog.DiscardHandler), time.Now)
		r := newRunner()
		e := &replica{post: post}
		if whole == nil {
			e.edge = newReplica(t, testTools(), r, post)
		} else {
			tools, err := everyTool()
			if err != nil {
				t.Fatal(err)
			}
			e.edge = newReplica(t, tools, toolcall.New(whole, toolcall.Options{}), post)
		}
		e.runner = r
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { post.Run(ctx) })
		running.Go(func() { e.sse.Watch(ctx) })
		e.kill = sync.OnceFunc(func() {
			cancel()
			running.Wait()
			ended, end := context.WithCancel(context.Background())
			end()
			e.sse.Finish(ended)
		})
		t.Cleanup(func() {
			synctest.Wait()
			e.kill()
			e.sse.Finish(context.Background())
		})
		all = append(all, e)
	}
	synctest.Wait()
	return w, all
}

// Do implements [toolcall.API]: it is one that needs no network.
func (a *api) Do(_ context.Context, r neonpanel.Request) (*neonpanel.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, r.Method+" "+r.Path+" "+r.Bearer)
	return &neonpanel.Response{Status: 200, MediaType: "application/json", Body: []byte(`{"id":7}`)}, nil
}

// message waits for the answer to the call of that id on a stream.
func (w *writer) message(t *testing.T, id string) string {
	t.Helper()
	synctest.Wait()
	for line := range strings.SplitSeq(w.String(), "\n") {
		if data, ok := strings.CutPrefix(line, "data: {"); ok && strings.Contains(data, `"id":`+id+`,`) {
			return "{" + data
		}
	}
	return ""
}

func TestAMessageMayArriveAtAnyReplica(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wire, all := newReplicas(t, 3, nil)
		a, b, c := all[0], all[1], all[2]
		w, cancel, done := a.serve(alice, "GET", "/sse", "")
		defer cancel()
		synctest.Wait()
		endpoint := w.endpoint(t)
		for i, step := range []struct {
			at   *replica
			body string
		}{
			{b, initialize}, {c, `{"jsonrpc":"2.0","method":"notifications/initialized"}`},
			{b, call(5, "echo")}, {c, call(6, "echo")}, {a, call(7, "echo")},
			{b, `{"jsonrpc":"2.0","id":8,"method":"tools/list"}`}, {c, `{"jsonrpc":"2.0","id":9,"method":"ping"}`},
			{b, `{"jsonrpc":"2.0","id":10,"method":"nonsense"}`},
			{b, `{"jsonrpc":"2.0","id":11,"method":"tools/list","params":{"cursor":5}}`},
		} {
			who := alice
			who.token = fmt.Sprintf("alice-token-%d", i)
			if r := step.at.do(who, "POST", endpoint, step.body); r.Code != 202 || r.Body.Len() > 0 {
				t.Errorf("%s: %d %s, want 202", step.body, r.Code, r.Body)
			}
			synctest.Wait()
		}
		for id, want := range map[string]string{
			"0": `"protocolVersion":"2024-11-05"`, "5": "alice-token-2", "6": "alice-token-3", "7": "alice-token-4",
			"8": `"name":"echo"`, "9": `"result":{}`, "10": "-32601", "11": "-32602",
		} {
			if got := w.message(t, id); !strings.Contains(got, want) {
				t.Errorf("call %s: %q, want %q", id, got, want)
			}
		}
		// Each call ran where it came, with the token of its own message.
		for i, want := range [][]string{{"echo alice-token-4"}, {"echo alice-token-2"}, {"echo alice-token-3"}} {
			if got := all[i].runner.seen(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("replica %d ran %v, want %v", i, got, want)
			}
		}
		for _, message := range wire.sent {
			for _, secret := range []string{"alice", "echo", "jsonrpc", endpoint[len(endpoint)-32:]} {
				if bytes.Contains(message, []byte(secret)) {
					t.Errorf("%q can be read on the wire", secret)
				}
			}
		}
		if ended(done) {
			t.Error("the stream ended")
		}
	})
}

// TestNoTokenLeavesItsReplica looks into what is sent, past its seal. The API of
// this test gives no token back, as the one of the tests above does.
func TestNoTokenLeavesItsReplica(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wire, all := newReplicas(t, 2, &api{})
		w, cancel, _ := all[0].serve(keeper, "GET", "/sse", "")
		defer cancel()
		synctest.Wait()
		for _, body := range []string{
			initialize, `{"jsonrpc":"2.0","method":"notifications/initialized"}`,
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_product","arguments":{"companyUuid":"` + acme + `","productId":7}}}`,
		} {
			all[1].do(keeper, "POST", w.endpoint(t), body)
			synctest.Wait()
		}
		if w.message(t, "1") == "" {
			t.Fatalf("no answer: %q", w)
		}
		keys, opened := replicas.NewKeys(secret), 0
		for _, message := range wire.sent {
			for _, r := range all {
				text, err := keys.Open("post", "neonpanel:mcp:post:"+r.post.Name(), message)
				if err != nil {
					continue
				}
				opened++
				if bytes.Contains(text, []byte(keeper.token)) {
					t.Errorf("the token was sent: %s", text)
				}
			}
		}
		if opened != len(wire.sent) || opened < 6 {
			t.Errorf("%d of %d messages could be looked into", opened, len(wire.sent))
		}
	})
}

func TestForeignAndUnknownSessionsLookAlikeFromEveryReplica(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, all := newReplicas(t, 2, nil)
		w, cancel, _ := all[0].serve(alice, "GET", "/sse", "")
		defer cancel()
		synctest.Wait()
		endpoint := w.endpoint(t)
		mallory, otherApp := alice, alice
		mallory.subject, otherApp.client = "mallory", "other-app"
		unknown := all[1].do(alice, "POST", "/messages?sessionId="+strings.Repeat("0", 32), call(1, "echo"))
		if unknown.Code != 404 {
			t.Fatalf("%d %s", unknown.Code, unknown.Body)
		}
		for name, test := range map[string]struct {
			who    caller
			target string
		}{
			"another subject":            {mallory, endpoint},
			"another client":             {otherApp, endpoint},
			"another session":            {alice, endpoint[:len(endpoint)-1] + "x"},
			"a replica that has gone":    {alice, "/messages?sessionId=" + strings.Repeat("0", 48)},
			"an id that is none of ours": {alice, "/messages?sessionId=" + strings.Repeat("*", 48)},
		} {
			for _, body := range []string{call(1, "echo"), initialize, `{"jsonrpc":"2.0","method":"notifications/initialized"}`} {
				r := all[1].do(test.who, "POST", test.target, body)
				if r.Code != 404 || r.Body.String() != unknown.Body.String() {
					t.Errorf("%s: %d %s, want 404 %s", name, r.Code, r.Body, unknown.Body)
				}
			}
		}
		for _, r := range all {
			if seen := r.runner.seen(); len(seen) != 0 {
				t.Errorf("foreign messages were dispatched: %v", seen)
			}
		}
	})
}

func TestLostMessagesAreSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wire, all := newReplicas(t, 2, nil)
		w, cancel, _ := all[0].serve(alice, "GET", "/sse", "")
		defer cancel()
		synctest.Wait()
		wire.set(func(w *line) { w.lose = 3 })
		all[1].do(alice, "POST", w.endpoint(t), initialize)
		synctest.Wait()
		for id := range 20 {
			if r := all[1].do(alice, "POST", w.endpoint(t), call(id+1, "echo")); r.Code != 202 {
				t.Errorf("call %d: %d %s", id+1, r.Code, r.Body)
			}
		}
		time.Sleep(10 * time.Second)
		for id := range 20 {
			if n := strings.Count(w.String(), fmt.Sprintf(`"id":%d,`, id+1)); n != 1 {
				t.Errorf("%d answers to call %d", n, id+1)
			}
		}
		if n := len(all[1].runner.seen()); n != 20 {
			t.Errorf("%d calls were made of 20", n)
		}
	})
}

func TestAMessageIsRefusedWhileItsStreamIsOutOfReach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wire, all := newReplicas(t, 2, nil)
		w, cancel, done := all[0].serve(alice, "GET", "/sse", "")
		defer cancel()
		synctest.Wait()
		all[1].do(alice, "POST", w.endpoint(t), initialize)
		synctest.Wait()
		wire.set(func(w *line) { w.down = true })
		r := all[1].do(alice, "POST", w.endpoint(t), call(1, "echo"))
		if r.Code != 503 || r.Header().Get("Retry-After") == "" || !strings.Contains(r.Body.String(), "temporarily_unavailable") {
			t.Errorf("%d %s", r.Code, r.Body)
		}
		// At home the stream works without Redis.
		if r := all[0].do(alice, "POST", w.endpoint(t), call(2, "echo")); r.Code != 202 || w.message(t, "2") == "" {
			t.Errorf("at home: %d %s, %q", r.Code, r.Body, w)
		}
		wire.set(func(w *line) { w.down = false })
		if r := all[1].do(alice, "POST", w.endpoint(t), call(1, "echo")); r.Code != 202 || w.message(t, "1") == "" {
			t.Errorf("afterwards: %d %s, %q", r.Code, r.Body, w)
		}
		if n := len(all[1].runner.seen()); n != 1 {
			t.Errorf("%d calls were made of 1", n)
		}
		if ended(done) {
			t.Error("the stream ended")
		}
	})
}

func TestACallWhoseReplicaDiesIsAnsweredWithAnError(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(*line, *replica){
		"it ends":            func(_ *line, r *replica) { r.kill() },
		"it is out of reach": func(w *line, _ *replica) { w.set(func(w *line) { w.down = true }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				wire, all := newReplicas(t, 2, nil)
				w, cancel, done := all[0].serve(alice, "GET", "/sse", "")
				defer cancel()
				synctest.Wait()
				all[1].do(alice, "POST", w.endpoint(t), initialize)
				synctest.Wait()
				all[1].do(alice, "POST", w.endpoint(t), call(1, "block"))
				<-all[1].runner.started
				time.Sleep(time.Minute) // it may take its time
				if got := w.message(t, "1"); got != "" {
					t.Fatalf("answered while it runs: %s", got)
				}
				kill(wire, all[1])
				time.Sleep(50 * time.Second)
				if got := w.message(t, "1"); !strings.Contains(got, "It is not known whether the call was carried out") {
					t.Errorf("the client was told %q", got)
				}
				select {
				case <-all[1].runner.ended:
				default:
					t.Error("the call goes on though nobody waits for it")
				}
				if ended(done) {
					t.Error("the stream ended")
				}
				// The id can be used again, as after any answer.
				if r := all[0].do(alice, "POST", w.endpoint(t), call(1, "echo")); r.Code != 202 {
					t.Errorf("%d %s", r.Code, r.Body)
				}
			})
		})
	}
}

func TestTheEndOfAStreamEndsItsCallsEverywhere(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(home, at *replica, endpoint string, hangUp func()){
		"the client leaves": func(_, _ *replica, _ string, hangUp func()) { hangUp() },
		"the token expires": func(_, _ *replica, _ string, _ func()) { time.Sleep(70 * time.Second) },
		"the replica of the stream dies": func(home, _ *replica, _ string, _ func()) {
			home.kill()
			time.Sleep(50 * time.Second)
		},
		"the client cancels": func(_, at *replica, endpoint string, _ func()) {
			at.do(alice, "POST", endpoint, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, all := newReplicas(t, 3, nil)
				short := alice
				short.expires = time.Minute
				w, cancel, _ := all[0].serve(short, "GET", "/sse", "")
				defer cancel()
				synctest.Wait()
				endpoint := w.endpoint(t)
				all[1].do(short, "POST", endpoint, initialize)
				synctest.Wait()
				all[1].do(short, "POST", endpoint, call(1, "block"))
				<-all[1].runner.started
				end(all[0], all[2], endpoint, cancel)
				if cause := <-all[1].runner.ended; errors.Is(cause, mcpserver.ErrExpired) != (name == "the token expires") {
					t.Errorf("the call ended for %v", cause)
				}
				synctest.Wait()
				got := w.message(t, "1")
				if expired := strings.Contains(got, "expired"); expired != (name == "the token expires") || got != "" && !expired {
					t.Errorf("the client was told %q", got)
				}
			})
		})
	}
}

func TestAQuestionIsAnsweredThroughAnyReplica(t *testing.T) {
	t.Parallel()
	const ask = `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"delete_product","arguments":{"companyUuid":"` + acme + `","productId":7}}}`
	for action, calls := range map[string]int{"accept": 2, "decline": 0} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{}
				_, all := newReplicas(t, 3, a)
				w, cancel, _ := all[0].serve(keeper, "GET", "/sse", "")
				defer cancel()
				synctest.Wait()
				able := strings.Replace(initialize, `"capabilities":{}`, `"capabilities":{"elicitation":{}}`, 1)
				for _, body := range []string{able, `{"jsonrpc":"2.0","method":"notifications/initialized"}`} {
					all[2].do(keeper, "POST", w.endpoint(t), body)
					synctest.Wait()
				}
				asked := map[string]bool{}
				for id, at := range map[int]*replica{1: all[1], 2: all[2]} {
					if r := at.do(keeper, "POST", w.endpoint(t), fmt.Sprintf(ask, id)); r.Code != 202 {
						t.Fatalf("%d %s", r.Code, r.Body)
					}
					synctest.Wait()
					var question struct {
						ID     string
						Method string
					}
					for line := range strings.SplitSeq(w.String(), "\n") {
						if data, ok := strings.CutPrefix(line, "data: "); ok && strings.Contains(data, "elicitation/create") {
							question = decode[struct {
								ID     string
								Method string
							}](t, []byte(data))
						}
					}
					if question.ID == "" || asked[question.ID] {
						t.Fatalf("no question of its own: %q", w)
					}
					asked[question.ID] = true
					// The answer goes by way of another replica than the call.
					answer, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": question.ID, "result": map[string]any{"action": action, "content": map[string]any{}}})
					if r := all[3-id].do(keeper, "POST", w.endpoint(t), string(answer)); r.Code != 202 {
						t.Fatalf("%d %s", r.Code, r.Body)
					}
					got := w.message(t, fmt.Sprint(id))
					if declined := strings.Contains(got, "declined"); got == "" || declined != (action == "decline") {
						t.Errorf("call %d: %q", id, got)
					}
				}
				if n := len(a.calls()); n != calls {
					t.Errorf("the API was called %d times, want %d", n, calls)
				}
			})
		})
	}
}

func TestWhatAStreamWasOpenedWithHoldsAtEveryReplica(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{}
		_, all := newReplicas(t, 2, a)
		w, cancel, _ := all[0].serve(keeper, "GET", "/sse", "", "X-MCP-Readonly", "true")
		defer cancel()
		synctest.Wait()
		for id, at := range all {
			if id == 0 {
				all[1].do(keeper, "POST", w.endpoint(t), initialize)
				synctest.Wait()
			}
			at.do(keeper, "POST", w.endpoint(t), fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"create_product","arguments":{"companyUuid":"`+acme+`","sku":"A","name":"A"}}}`, id+1))
			at.do(keeper, "POST", w.endpoint(t), fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/list"}`, id+11))
			if got := w.message(t, fmt.Sprint(id+1)); !strings.Contains(got, "create_product") || strings.Contains(got, "structuredContent") {
				t.Errorf("replica %d: %q", id, got)
			}
			if got := w.message(t, fmt.Sprint(id+11)); !strings.Contains(got, "list_companies") || strings.Contains(got, `"create_product"`) {
				t.Errorf("replica %d lists %.300q", id, got)
			}
		}
		if len(a.calls()) > 0 {
			t.Errorf("the API was asked %v", a.calls())
		}
	})
}

func TestOneSessionHasOneSetOfCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, all := newReplicas(t, 3, nil)
		w, cancel, _ := all[0].serve(alice, "GET", "/sse", "")
		defer cancel()
		synctest.Wait()
		all[0].do(alice, "POST", w.endpoint(t), initialize)
		synctest.Wait()
		all[1].do(alice, "POST", w.endpoint(t), call(1, "block"))
		for _, at := range all {
			if r := at.do(alice, "POST", w.endpoint(t), call(1, "echo")); r.Code != 400 || !strings.Contains(r.Body.String(), "still running") {
				t.Errorf("%d %s", r.Code, r.Body)
			}
		}
		for id := range 31 {
			all[id%3].do(alice, "POST", w.endpoint(t), call(id+2, "block"))
		}
		for _, at := range all {
			if r := at.do(alice, "POST", w.endpoint(t), call(99, "block")); r.Code != 429 {
				t.Errorf("%d %s", r.Code, r.Body)
			}
		}
		// A stream that is to end waits for all of them.
		all[0].sse.Drain()
		if r := all[1].do(alice, "POST", w.endpoint(t), call(99, "block")); r.Code != 503 {
			t.Errorf("%d %s", r.Code, r.Body)
		}
		for _, at := range all {
			close(at.runner.release)
		}
		synctest.Wait()
		if n := strings.Count(w.String(), "released"); n != 32 || !strings.Contains(w.String(), "connect again") {
			t.Errorf("%d answers before the end of 32: %q", n, w)
		}
	})
}
