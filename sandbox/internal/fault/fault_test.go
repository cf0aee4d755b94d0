package fault_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/fault"
)

const healthy = `{"data":["healthy"]}`

type serverUnderTest struct {
	*httptest.Server
	faults *fault.Set
	began  chan struct{} // one for each request that has arrived
	ended  chan struct{} // one for each request whose handler has returned
}

func start(t *testing.T) serverUnderTest {
	t.Helper()
	s := serverUnderTest{faults: &fault.Set{}, began: make(chan struct{}, 100), ended: make(chan struct{}, 100)}
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if b, _ := io.ReadAll(r.Body); len(b) > 0 {
			w.Write(b)
			return
		}
		io.WriteString(w, healthy)
	})
	inner := s.faults.Handler(next)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.began <- struct{}{}
		defer func() { s.ended <- struct{}{} }()
		inner.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = nil
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s serverUnderTest) add(t *testing.T, f fault.Fault) {
	t.Helper()
	if err := s.faults.Add(f); err != nil {
		t.Fatal(err)
	}
}

func (s serverUnderTest) do(t *testing.T, ctx context.Context, method, path, body string) (*http.Response, []byte, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := c.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return response, b, err
}

func TestKindsThatAnswer(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, c := range map[string]struct {
		fault  fault.Fault
		status int
		header map[string]string
		body   string // how it begins
	}{
		"status":                   {fault.Fault{Kind: fault.Status}, 503, map[string]string{"Content-Type": "application/json"}, `{"message":"Service Unavailable"}`},
		"status of choice":         {fault.Fault{Kind: fault.Status, Status: 502, RetryAfter: "7"}, 502, map[string]string{"Retry-After": "7"}, `{"message":"Bad Gateway"}`},
		"html":                     {fault.Fault{Kind: fault.HTML}, 200, map[string]string{"Content-Type": "text/html; charset=UTF-8"}, "<!DOCTYPE html>"},
		"html with status":         {fault.Fault{Kind: fault.HTML, Status: 500}, 500, nil, "<!DOCTYPE html>"},
		"retry_after":              {fault.Fault{Kind: fault.RetryAfter}, 429, map[string]string{"Retry-After": "3"}, `{"message":"Too Many Attempts."}`},
		"retry_after as a date":    {fault.Fault{Kind: fault.RetryAfter, RetryAfter: "Wed, 21 Oct 2026 07:28:00 GMT"}, 429, map[string]string{"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, ""},
		"redirect":                 {fault.Fault{Kind: fault.Redirect, Location: "https://elsewhere.example/"}, 302, map[string]string{"Location": "https://elsewhere.example/"}, ""},
		"redirect of choice":       {fault.Fault{Kind: fault.Redirect, Location: "/x", Status: 307}, 307, nil, ""},
		"slow":                     {fault.Fault{Kind: fault.Slow, Delay: "1ms"}, 200, nil, healthy},
		"another kind, slowly":     {fault.Fault{Kind: fault.Status, Delay: "1ms"}, 503, nil, ""},
		"another method, no fault": {fault.Fault{Kind: fault.Status, Method: "POST"}, 200, nil, healthy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.fault.Path = "/" + strings.ReplaceAll(name, " ", "-")
			s.add(t, c.fault)
			r, body, err := s.do(t, t.Context(), http.MethodGet, c.fault.Path, "")
			if err != nil {
				t.Fatal(err)
			}
			if r.StatusCode != c.status || !strings.HasPrefix(string(body), c.body) {
				t.Errorf("%s %s", r.Status, body)
			}
			for k, v := range c.header {
				if got := r.Header.Get(k); got != v {
					t.Errorf("%s: %q, want %q", k, got, v)
				}
			}
		})
	}
}

func TestSlowPassesTheBodyOn(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.add(t, fault.Fault{Path: "*", Kind: fault.Slow, Delay: "1ms"})
	if _, body, err := s.do(t, t.Context(), http.MethodPost, "/", "what was sent"); err != nil || string(body) != "what was sent" {
		t.Errorf("%s, %v", body, err)
	}
}

func TestSlowIsSlow(t *testing.T) {
	t.Parallel()
	s := start(t)
	const delay = 50 * time.Millisecond
	s.add(t, fault.Fault{Path: "*", Kind: fault.Slow, Delay: delay.String()})
	began := time.Now()
	if _, _, err := s.do(t, t.Context(), http.MethodGet, "/", ""); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < delay {
		t.Errorf("it took %s, want at least %s", took, delay)
	}
}

// Nothing is answered, and the handler ends when the client leaves, also when
// the request has a body.
func TestHangEndsWithTheClient(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault.Fault{
		"hang":          {Path: "*", Kind: fault.Hang},
		"a long wait":   {Path: "*", Kind: fault.Slow, Delay: "10m"},
		"hang in a way": {Path: "*", Kind: fault.Hang, Delay: "1ms"},
	} {
		for _, body := range []string{"", strings.Repeat("x", 100_000)} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := start(t)
				s.add(t, f)
				ctx, leave := context.WithCancel(t.Context())
				go func() {
					defer leave()
					<-s.began
					time.Sleep(20 * time.Millisecond) // as a client that waits for a while
				}()
				if r, _, err := s.do(t, ctx, http.MethodPost, "/", body); err == nil {
					t.Errorf("answered %s", r.Status)
				}
				select {
				case <-s.ended:
				case <-time.After(time.Minute):
					t.Error("the handler goes on without its client")
				}
			})
		}
	}
}

func TestKindsThatBreak(t *testing.T) {
	t.Parallel()
	for _, kind := range []fault.Kind{fault.Reset, fault.Down, fault.Truncate} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.add(t, fault.Fault{Path: "*", Kind: kind})
			r, body, err := s.do(t, t.Context(), http.MethodGet, "/", "")
			switch {
			case err == nil:
				t.Errorf("%s %s", r.Status, body)
			case kind == fault.Reset && !strings.Contains(err.Error(), "reset"):
				t.Errorf("want a reset, got %v", err)
			case kind == fault.Down && !strings.Contains(err.Error(), "EOF"):
				t.Errorf("want an end, got %v", err)
			case kind == fault.Truncate && (string(body) != healthy[:len(healthy)/2] || r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json"):
				t.Errorf("got %q, want half of it", body)
			}
		})
	}
}

func TestLargeIsLargeAndJSON(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.add(t, fault.Fault{Path: "*", Kind: fault.Large})
	// As it promises; nobody has to read it all.
	r, err := http.Get(s.URL)
	if err != nil || r.ContentLength != 100<<20 {
		t.Fatalf("%v, %v", r, err)
	}
	r.Body.Close()
	const size = 300_000
	s.add(t, fault.Fault{Path: "*", Kind: fault.Large, Bytes: size})
	_, body, err := s.do(t, t.Context(), http.MethodGet, "/", "")
	if err != nil || len(body) != size {
		t.Fatalf("%d bytes, %v", len(body), err)
	}
	const head, tail = `{"data":["`, `"]}`
	filling := body[len(head) : len(body)-len(tail)]
	if !bytes.HasPrefix(body, []byte(head)) || !bytes.HasSuffix(body, []byte(tail)) || bytes.Count(filling, []byte("x")) != len(filling) {
		t.Errorf("not JSON: %s … %s", body[:40], body[len(body)-40:])
	}
}

// Whatever becomes of the answer, with After the work was done, once; without, it
// was not, but for the kinds that answer as usual.
func TestWritesHappenOnceBeforeTheTroubleOrNotAtAll(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault  fault.Fault
		before int64 // how often the handler ran without After
	}{
		{fault.Fault{Kind: fault.Slow, Delay: "1ms"}, 1},
		{fault.Fault{Kind: fault.Hang}, 0},
		{fault.Fault{Kind: fault.Status}, 0},
		{fault.Fault{Kind: fault.HTML}, 0},
		{fault.Fault{Kind: fault.RetryAfter}, 0},
		{fault.Fault{Kind: fault.Redirect, Location: "/x"}, 0},
		{fault.Fault{Kind: fault.Large, Bytes: 1000}, 0},
		{fault.Fault{Kind: fault.Truncate}, 1},
		{fault.Fault{Kind: fault.Reset}, 0},
		{fault.Fault{Kind: fault.Down}, 0},
	} {
		for _, after := range []bool{false, true} {
			for _, status := range []int{http.StatusOK, http.StatusNoContent} {
				t.Run(fmt.Sprint(c.fault.Kind, after, status), func(t *testing.T) {
					t.Parallel()
					var ran atomic.Int64
					faults := &fault.Set{}
					f := c.fault
					f.Path, f.Method, f.After = "/orders", "PUT", after
					if err := faults.Add(f); err != nil {
						t.Fatal(err)
					}
					ctx, leave := context.WithCancel(t.Context())
					defer leave()
					began := make(chan struct{}, 1)
					inner := faults.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if b, _ := io.ReadAll(r.Body); string(b) != "ordered" {
							t.Errorf("got %q", b)
						}
						ran.Add(1)
						w.WriteHeader(status)
						if status == http.StatusOK {
							io.WriteString(w, healthy)
						}
						began <- struct{}{}
					}))
					srv := httptest.NewUnstartedServer(inner)
					srv.Config.ErrorLog = log.New(io.Discard, "", 0)
					srv.Start()
					defer srv.Close()
					if f.Kind == fault.Hang {
						go func() {
							if after {
								<-began
							}
							leave()
						}()
					}
					r, body, err := serverUnderTest{Server: srv}.do(t, ctx, http.MethodPut, "/orders", "ordered")
					if f.Kind == fault.Slow && (err != nil || r.StatusCode != status || status == 200 && string(body) != healthy) {
						t.Errorf("slow: %v %s, %v", r, body, err)
					}
					cut := f.Kind == fault.Truncate || f.Kind == fault.Reset || f.Kind == fault.Down || f.Kind == fault.Hang
					if cut != (err != nil) {
						t.Errorf("%v, error %v", r, err)
					}
					want := c.before
					if after {
						want = 1
					}
					if got := ran.Load(); got != want {
						t.Errorf("the handler ran %d times, want %d", got, want)
					}
				})
			}
		}
	}
}

func TestWhichFaultApplies(t *testing.T) {
	t.Parallel()
	s := start(t)
	status := func(path string, want int) {
		t.Helper()
		r, _, err := s.do(t, t.Context(), http.MethodGet, path, "")
		if err != nil || r.StatusCode != want {
			t.Errorf("%s: %v, %v, want %d", path, r, err, want)
		}
	}
	s.add(t, fault.Fault{Path: "/api/*", Kind: fault.Status, Status: 500})
	s.add(t, fault.Fault{Path: "/api/one", Kind: fault.Status, Status: 501, Times: 2, Method: "get"})
	status("/api/one", 501)
	status("/api/one", 501)
	status("/api/one", 500)
	status("/api/two", 500)
	status("/api", 200)
	status("/other", 200)
	if got := s.faults.List(); len(got) != 1 || got[0].Path != "/api/*" {
		t.Errorf("a fault that is used up is still listed: %v", got)
	} else if got[0].Taken != 2 {
		t.Errorf("%d requests are counted, the fault has met 2", got[0].Taken)
	}
	s.faults.Clear()
	status("/api/one", 200)
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault.Fault{
		"no path":            {Kind: fault.Hang},
		"relative path":      {Path: "api", Kind: fault.Hang},
		"star in the middle": {Path: "/a*b", Kind: fault.Hang},
		"no kind":            {Path: "/"},
		"unknown kind":       {Path: "/", Kind: "explode"},
		"slow without delay": {Path: "/", Kind: fault.Slow},
		"delay is no time":   {Path: "/", Kind: fault.Slow, Delay: "soon"},
		"negative delay":     {Path: "/", Kind: fault.Slow, Delay: "-1s"},
		"endless delay":      {Path: "/", Kind: fault.Slow, Delay: "11m"},
		"impossible status":  {Path: "/", Kind: fault.Status, Status: 99},
		"negative size":      {Path: "/", Kind: fault.Large, Bytes: -1},
		"size of a disk":     {Path: "/", Kind: fault.Large, Bytes: 2 << 30},
		"negative times":     {Path: "/", Kind: fault.Hang, Times: -1},
		"a count":            {Path: "/", Kind: fault.Hang, Taken: 1},
		"redirect to where":  {Path: "/", Kind: fault.Redirect},
	} {
		if (&fault.Set{}).Add(f) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	full := &fault.Set{}
	for range 100 {
		if err := full.Add(fault.Fault{Path: "*", Kind: fault.Hang}); err != nil {
			t.Fatal(err)
		}
	}
	if full.Add(fault.Fault{Path: "*", Kind: fault.Hang}) == nil {
		t.Error("there is no bound")
	}
}
