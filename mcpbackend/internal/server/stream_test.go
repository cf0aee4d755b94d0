package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mcpserver"
)

func TestLegacyStreamCarriesEachMessagesOwnCaller(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	as := e.start(t)
	s := openStream(t, as(alice))
	if !strings.HasPrefix(s.endpoint, "/messages?sessionId=") || len(s.endpoint) != len("/messages?sessionId=")+32 {
		t.Errorf("endpoint %q, want /messages?sessionId= and 128 bits", s.endpoint)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Cache-Control": "no-store, no-transform",
	} {
		if got := s.response.Header.Get(name); got != want {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
	if status, body := post(t, as(alice), s.endpoint, initialize); status != 202 || body != "" {
		t.Errorf("POST gave %d %q, want 202", status, body)
	}
	s.next(t, "message")

	fresh := alice
	fresh.token, fresh.scopes = "fresh-token", "read:companies write:import"
	for id, c := range []caller{alice, fresh} {
		post(t, as(c), s.endpoint, call(id+1, "import"))
		data := s.next(t, "message")
		r := decode[reply](t, []byte(data))
		if r.Result == nil || r.Result.IsError != (id == 0) {
			t.Errorf("call %d: %s", id, data)
		}
		if id == 0 && r.Result.Meta[denial.MetaKey] == nil {
			t.Errorf("no challenge for the missing scope: %s", data)
		}
		if id == 1 && !strings.Contains(data, "fresh-token") {
			t.Errorf("the call did not use the token of its own POST: %s", data)
		}
	}
}

func TestForeignAndUnknownSessionsLookAlike(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	as := e.start(t)
	s := openStream(t, as(alice))
	mallory, otherApp := alice, alice
	mallory.subject, otherApp.client = "mallory", "other-app"
	_, unknown := post(t, as(alice), "/messages?sessionId=00000000000000000000000000000000", call(1, "echo"))
	for name, c := range map[string]caller{"another subject": mallory, "another client": otherApp} {
		status, body := post(t, as(c), s.endpoint, call(1, "echo"))
		if status != 404 || body != unknown {
			t.Errorf("%s: %d %q, want 404 %q", name, status, body, unknown)
		}
	}
	if seen := e.runner.seen(); len(seen) != 0 {
		t.Errorf("foreign messages were dispatched: %v", seen)
	}
}

func TestLegacyMessagesAnswerBadInput(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	as := e.start(t)
	s := openStream(t, as(alice))
	for _, tc := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"malformed", "{", 400, "-32700"},
		{"batch", "[" + call(1, "echo") + "]", 400, "-32600"},
		{"no method", `{"jsonrpc":"2.0","id":1}`, 400, "-32600"},
		{"id that no int64 holds", `{"jsonrpc":"2.0","id":9223372036854775808,"method":"ping"}`, 400, `"id":9223372036854775808,"error":{"code":-32600`},
		{"id with a fraction", `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, 400, `"id":1.5,"error":{"code":-32600`},
		{"id is null", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, 400, "-32600"},
		{"call without name", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`, 400, "-32602"},
	} {
		if status, body := post(t, as(alice), s.endpoint, tc.body); status != tc.status || !strings.Contains(body, tc.says) {
			t.Errorf("%s: %d %s, want %d with %s", tc.name, status, body, tc.status, tc.says)
		}
	}
	// What only the SDK finds wrong is answered on the stream.
	post(t, as(alice), s.endpoint, initialize)
	s.next(t, "message")
	for i, tc := range []struct {
		body string
		code int
	}{
		{`{"jsonrpc":"2.0","id":9,"method":"nonsense"}`, -32601},
		{`{"jsonrpc":"2.0","id":9,"method":"tools/list","params":{"cursor":5}}`, -32602},
		{call(9, "nonsense"), -32602},
	} {
		post(t, as(alice), s.endpoint, tc.body)
		data := s.next(t, "message")
		if r := decode[reply](t, []byte(data)); r.Error == nil || r.Error.Code != tc.code {
			t.Errorf("%d: %s, want the error %d", i, data, tc.code)
		}
	}
	for target, want := range map[string]int{"/messages": 400, "/messages?sessionId=": 400} {
		if w := e.do(alice, "POST", target, call(1, "echo")); w.Code != want {
			t.Errorf("%s: status %d, want %d", target, w.Code, want)
		}
	}
	if w := e.do(alice, "GET", "/messages?sessionId=x", ""); w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET /messages: status %d", w.Code)
	}
	if w := e.do(alice, "POST", "/sse", call(1, "echo")); w.Code != 405 || w.Header().Get("Allow") != "GET" {
		t.Errorf("POST /sse: status %d", w.Code)
	}
}

// TestErrorsSayWhatToSend holds every error on both transports against words
// that only programmers of this server know.
func TestErrorsSayWhatToSend(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	as := e.start(t)
	s := openStream(t, as(alice))
	post(t, as(alice), s.endpoint, initialize)
	s.next(t, "message")
	for _, tc := range []struct{ method, params, says string }{
		{`"tools/list"`, `{"cursor":5}`, `nextCursor`},
		{`"tools/list"`, `{"cursor":"zzz"}`, `\"cursor\" is none of this server's`},
		{`"tools/list"`, `{"_meta":5}`, `must be like {}`},
		{`"tools/list"`, `[]`, `\"params\" must be a JSON object`},
		{`"tools/list"`, `null`, `\"params\" must be a JSON object`},
		{`"tools/call"`, `[]`, `params of tools/call must be {`},
		{`"tools/call"`, `null`, `params of tools/call must be {`},
		{`"tools/call"`, `"x"`, `params of tools/call must be {`},
		{`"tools/call"`, `{"name":7}`, `params of tools/call must be {`},
		{`"tools/call"`, `{"name":"echo","_meta":[]}`, `params of tools/call must be {`},
		{`"tools/call"`, `{"name":"echo","requestState":7}`, `params of tools/call must be like {`},
		{`"tools/call"`, `{"name":"echo","inputResponses":7}`, `params of tools/call must be like {`},
		{`"initialize"`, `{"protocolVersion":7}`, `clientInfo`},
		{`"initialize"`, `{"capabilities":7}`, ``},
		{`"initialize"`, `{"capabilities":{"roots":7}}`, ``},
		{`"prompts/list"`, `{"cursor":5}`, `nextCursor`},
		{`"prompts/get"`, `{"name":5}`, `prompts/get must be like`},
		{`"resources/read"`, `{"uri":5}`, `resources/read must be like`},
		{`"logging/setLevel"`, `{"level":5}`, `logging/setLevel must be like`},
		{`"completion/complete"`, `{"ref":5}`, `completion/complete must be like`},
		{`"completion/complete"`, `{"ref":{"type":"x"}}`, ``},
		{`"ping"`, `{"_meta":5}`, `ping must be like`},
		{`7`, `{}`, `\"method\" must be a string`},
	} {
		body := `{"jsonrpc":"2.0","id":9,"method":` + tc.method + `,"params":` + tc.params + `}`
		_, onStream := post(t, as(alice), s.endpoint, body)
		if onStream == "" {
			onStream = s.next(t, "message")
		}
		modernBody := strings.Replace(body, `"params":{`, `"params":{`+meta+`,`, 1)
		for where, text := range map[string]string{
			"/messages":         onStream,
			"/mcp":              e.do(alice, "POST", "/mcp", body).Body.String(),
			"/mcp, as a stream": e.do(alice, "POST", "/mcp", body, "Accept", "text/event-stream").Body.String(),
			"/mcp, modern": e.do(alice, "POST", "/mcp", strings.Replace(modernBody, meta+`,}`, meta+`}`, 1), "Mcp-Protocol-Version", modern,
				"Mcp-Method", strings.Trim(tc.method, `"`), "Mcp-Name", "echo").Body.String(),
		} {
			if !strings.Contains(text, `"error":{"code":-32`) {
				t.Errorf("%s: %s: no error: %s", where, body, text)
			}
			if where != "/mcp, modern" && !strings.Contains(text, tc.says) {
				t.Errorf("%s: %s does not say %q: %s", where, body, tc.says, text)
			}
			for _, leak := range []string{"Go struct", "*mcp.", "unmarshal", "json:"} {
				if strings.Contains(text, leak) {
					t.Errorf("%s: %s says %q: %s", where, body, leak, text)
				}
			}
		}
	}
}

func TestStreamsAreBoundedPerUserAndInAll(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	as := e.start(t)
	status := func(c caller) int { return openStream(t, as(c)).response.StatusCode }
	bob, carol := alice, alice
	bob.subject, carol.subject = "bob", "carol"
	var got []int
	for _, c := range []caller{alice, alice, alice, bob, bob, carol} {
		got = append(got, status(c))
	}
	if want := []int{200, 200, 429, 200, 200, 503}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("statuses %v, want %v", got, want)
	}
}

func TestADisconnectCancelsTheCall(t *testing.T) {
	t.Parallel()
	headers := map[string][2]string{"modern": {"Mcp-Protocol-Version", modern}, "legacy": {"Mcp-Protocol-Version", "2025-11-25"}, "stream": {}, "plain": {}}
	for name, header := range headers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t)
			client := e.start(t)(alice)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			path, body := "/mcp", call(1, "block")
			switch name {
			case "modern":
				body = modernCall("block")
			case "stream":
				body = strings.Replace(body, `"arguments"`, `"_meta":{"progressToken":1},"arguments"`, 1)
			case "plain":
				path, body = "/mcp/tools/call", `{"name":"block"}`
			}
			r, err := http.NewRequestWithContext(ctx, "POST", "http://backend"+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			if header[0] != "" {
				r.Header.Set(header[0], header[1])
			}
			if name == "modern" {
				r.Header.Set("Mcp-Method", "tools/call")
				r.Header.Set("Mcp-Name", "block")
			}
			var done sync.WaitGroup
			done.Go(func() {
				if r, err := client.Do(r); err == nil {
					_ = r.Body.Close()
				}
			})
			<-e.runner.started
			cancel()
			select {
			case err := <-e.runner.ended:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("the call ended with %v", err)
				}
			case <-time.After(time.Minute):
				t.Error("the call went on without its client")
				close(e.runner.release)
			}
			done.Wait()
		})
	}
}

func TestClosingALegacyStreamCancelsItsCalls(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	as := e.start(t)
	s := openStream(t, as(alice))
	post(t, as(alice), s.endpoint, initialize)
	s.next(t, "message")
	post(t, as(alice), s.endpoint, call(1, "block"))
	<-e.runner.started
	if err := s.response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.runner.ended:
	case <-time.After(time.Minute):
		t.Fatal("the call went on without its stream")
	}
	if status, _ := post(t, as(alice), s.endpoint, call(2, "echo")); status != 404 {
		t.Errorf("status %d after the stream ended, want 404", status)
	}
}

func TestALegacyClientCanCancelACall(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	as := e.start(t)
	s := openStream(t, as(alice))
	post(t, as(alice), s.endpoint, initialize)
	s.next(t, "message")
	post(t, as(alice), s.endpoint, call(7, "block"))
	<-e.runner.started
	if status, body := post(t, as(alice), s.endpoint, call(7, "echo")); status != 400 || !strings.Contains(body, "still running") {
		t.Errorf("a second call with the same id gave %d %s, want 400", status, body)
	}
	post(t, as(alice), s.endpoint, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
	select {
	case <-e.runner.ended:
	case <-time.After(time.Minute):
		t.Fatal("the call went on")
	}
	// Once its id is free, the call has ended, without an answer.
	for deadline := time.Now().Add(time.Minute); ; {
		status, body := post(t, as(alice), s.endpoint, call(7, "echo"))
		if status == 202 {
			break
		}
		if status != 400 || time.Now().After(deadline) {
			t.Fatalf("the id is not free again: %d %s", status, body)
		}
	}
	if data := s.next(t, "message"); !strings.Contains(data, `"id":7`) || strings.Contains(data, "isError") {
		t.Errorf("the first message after the cancellation: %s", data)
	}
}

func TestShutdownEndsIdleStreamsAndLetsCallsFinish(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	as := e.start(t)
	idle, busy := openStream(t, as(alice)), openStream(t, as(alice))
	post(t, as(alice), busy.endpoint, initialize)
	busy.next(t, "message")
	post(t, as(alice), busy.endpoint, call(1, "block"))
	<-e.runner.started

	e.sse.Drain()
	idle.end(t)
	if status, _ := post(t, as(alice), busy.endpoint, call(2, "echo")); status != 503 {
		t.Errorf("a new call while stopping gave %d, want 503", status)
	}
	if s := openStream(t, as(alice)); s.response.StatusCode != 503 || s.response.Header.Get("Retry-After") == "" {
		t.Errorf("a new stream while stopping gave %d, want 503 with Retry-After", s.response.StatusCode)
	}
	close(e.runner.release)
	if data := busy.next(t, "message"); !strings.Contains(data, "released") {
		t.Errorf("the call under way gave %s", data)
	}
	busy.end(t)
}

func TestStoppingLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	as, stop := e.run(t)
	var answers sync.WaitGroup
	for path, body := range map[string]string{"/mcp": call(1, "block"), "/mcp/tools/call": `{"name":"block"}`} {
		answers.Go(func() {
			r, err := as(alice).Post("http://backend"+path, "application/json", strings.NewReader(body))
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			defer func() { _ = r.Body.Close() }()
			data, err := io.ReadAll(r.Body)
			if err != nil || r.StatusCode != 200 || !strings.Contains(string(data), "released") {
				t.Errorf("%s: %d %s, %v", path, r.StatusCode, data, err)
			}
		})
		<-e.runner.started
	}
	idle := openStream(t, as(alice))
	stop()
	idle.end(t)
	close(e.runner.release)
	answers.Wait()
}

// writer is a client's end of a stream, without a network: time can be faked.
type writer struct {
	mu     sync.Mutex
	header http.Header
	status int
	body   strings.Builder
	block  chan struct{} // writes wait for it, when set
}

func (w *writer) Header() http.Header              { return w.header }
func (w *writer) WriteHeader(status int)           { w.status = status }
func (w *writer) Flush()                           {}
func (w *writer) SetWriteDeadline(time.Time) error { return nil }
func (w *writer) String() string                   { w.mu.Lock(); defer w.mu.Unlock(); return w.body.String() }
func (w *writer) Write(p []byte) (n int, err error) {
	if w.block != nil {
		<-w.block
		return 0, io.ErrClosedPipe
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.body.Write(p)
}

// serve runs a request until the handler returns; done is closed then.
func (e *edge) serve(c caller, method, target, body string, header ...string) (*writer, context.CancelFunc, chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	r := httptest.NewRequest(method, target, strings.NewReader(body)).WithContext(ctx)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	c.inject(r.Header)
	w := &writer{header: http.Header{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.handler.ServeHTTP(w, r)
	}()
	return w, cancel, done
}

func (w *writer) endpoint(t *testing.T) string {
	t.Helper()
	_, rest, ok := strings.Cut(w.String(), "data: ")
	if !ok {
		t.Fatalf("no endpoint in %q", w.String())
	}
	endpoint, _, _ := strings.Cut(rest, "\n")
	return endpoint
}

func ended(done chan struct{}) bool {
	synctest.Wait()
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func TestLegacyStreamLastsAsLongAsItsFreshestToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t)
		c := alice
		c.expires = 100 * time.Second
		w, cancel, done := e.serve(c, "GET", "/sse", "")
		defer cancel()
		synctest.Wait()
		if n := strings.Count(w.String(), "\n: ") + strings.Count(w.String(), "\n\n: "); n != 0 {
			t.Errorf("heartbeats at once: %q", w)
		}
		time.Sleep(46 * time.Second)
		synctest.Wait()
		if n := strings.Count(w.String(), ": keep-alive\n\n"); n != 3 {
			t.Errorf("%d heartbeats in 46 s, want 3", n)
		}
		if strings.Contains(w.String(), "event: ping") || strings.Contains(w.String(), "data: {") {
			t.Errorf("heartbeats are not comments: %q", w)
		}
		fresh := c
		fresh.expires = 100 * time.Second // from now: 46 s more
		if r := e.do(fresh, "POST", w.endpoint(t), initialize); r.Code != 202 {
			t.Fatalf("status %d", r.Code)
		}
		stale := c
		stale.expires = 10 * time.Second // an older token does not shorten it
		if r := e.do(stale, "POST", w.endpoint(t), `{"jsonrpc":"2.0","method":"notifications/initialized"}`); r.Code != 202 {
			t.Fatalf("status %d", r.Code)
		}
		time.Sleep(60 * time.Second)
		if ended(done) {
			t.Error("the stream ended though a fresher token had come")
		}
		time.Sleep(41 * time.Second)
		if !ended(done) {
			t.Error("the stream outlived its tokens")
		}
	})
}

func TestExpiryTellsTheCallsThatRun(t *testing.T) {
	t.Parallel()
	progress := strings.Replace(call(5, "block"), `"arguments"`, `"_meta":{"progressToken":1},"arguments"`, 1)
	t.Run("legacy SSE", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			e := newEdge(t)
			c := alice
			c.expires = 30 * time.Second
			w, cancel, done := e.serve(c, "GET", "/sse", "")
			defer cancel()
			synctest.Wait()
			e.do(c, "POST", w.endpoint(t), initialize)
			e.do(c, "POST", w.endpoint(t), call(5, "block"))
			synctest.Wait()
			time.Sleep(31 * time.Second)
			if !ended(done) {
				t.Error("the stream outlived its token")
			}
			if !strings.Contains(w.String(), string(denial.Expired)) || !strings.Contains(w.String(), `error=\"invalid_token\"`) {
				t.Errorf("the call was not told: %q", w)
			}
		})
	})
	t.Run("streamable", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			e := newEdge(t)
			c := alice
			c.expires = 40 * time.Second
			w, cancel, done := e.serve(c, "POST", "/mcp", progress)
			defer cancel()
			time.Sleep(39 * time.Second)
			if ended(done) {
				t.Fatalf("the stream ended early: %q", w)
			}
			if n := strings.Count(w.String(), ": keep-alive\n\n"); n != 2 {
				t.Errorf("%d heartbeats in 39 s, want 2", n)
			}
			if w.header.Get("X-Accel-Buffering") != "no" {
				t.Error("no X-Accel-Buffering")
			}
			time.Sleep(2 * time.Second)
			if !ended(done) {
				t.Error("the stream outlived its token")
			}
			if !strings.Contains(w.String(), string(denial.Expired)) {
				t.Errorf("the call was not told: %q", w)
			}
		})
	})
	t.Run("streamable before the first heartbeat", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			e := newEdge(t)
			c := alice
			c.expires = 5 * time.Second
			w, cancel, done := e.serve(c, "POST", "/mcp", progress)
			defer cancel()
			time.Sleep(6 * time.Second)
			if !ended(done) || w.status != 401 || w.header.Get("WWW-Authenticate") == "" {
				t.Errorf("status %d, want 401 with a challenge: %q", w.status, w)
			}
		})
	})
}

func TestASlowReaderIsDroppedAndBlocksNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t)
		w, cancel, done := e.serve(alice, "GET", "/sse", "")
		defer cancel()
		synctest.Wait()
		endpoint := w.endpoint(t)
		e.do(alice, "POST", endpoint, initialize)
		synctest.Wait()
		block := make(chan struct{})
		w.block = block // from here on the client reads nothing
		for i := range 200 {
			r := e.do(alice, "POST", endpoint, call(100+i, "echo"))
			synctest.Wait()
			if r.Code == 404 {
				break
			}
			if r.Code != 202 {
				t.Fatalf("call %d: status %d", i, r.Code)
			}
		}
		other, stop, otherDone := e.serve(alice, "GET", "/sse", "")
		synctest.Wait()
		e.do(alice, "POST", other.endpoint(t), initialize)
		synctest.Wait()
		if !strings.Contains(other.String(), "serverInfo") {
			t.Error("another stream was held up")
		}
		close(block)
		if !ended(done) {
			t.Error("the stream of the slow reader is still open")
		}
		stop()
		<-otherDone
	})
}

func TestHeartbeatsAreShorterThanTheIdleTimeoutsOfProxies(t *testing.T) {
	t.Parallel()
	if mcpserver.Heartbeat > 15*time.Second {
		t.Errorf("a heartbeat every %s, want 15 s at most", mcpserver.Heartbeat)
	}
}
