package neonpanel

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const token = "secret-token-of-the-caller"

func newClient(t testing.TB, base string, change func(*Options)) *Client {
	t.Helper()
	options := Options{
		BaseURL: base, Timeout: 2 * time.Minute, AttemptTimeout: time.Minute,
		Backoff: time.Millisecond, MaxBytes: 64 << 10, BreakerPause: time.Hour,
	}
	if change != nil {
		change(&options)
	}
	c, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func get(path string) Request {
	return Request{Operation: "op", Method: "GET", Path: path, Bearer: token}
}

func respond(status int, mediaType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// reset closes the connection without an answer.
func reset(w http.ResponseWriter, _ *http.Request) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_ = connection.(*net.TCPConn).SetLinger(0)
	_ = connection.Close()
}

func TestFailuresAreClassified(t *testing.T) {
	t.Parallel()
	const page = `<!DOCTYPE html><title>Whoops</title> ErrorException in /var/www/app/Http/Kernel.php`
	tests := []struct {
		name    string
		handler http.HandlerFunc
		class   Class
		reason  Reason
		// calls is how often a GET reaches the API.
		calls   int32
		message string
	}{
		{"401", respond(401, "application/json", `{"message":"Unauthenticated."}`), Unauthenticated, ReasonStatus, 1, ""},
		{"403", respond(403, "application/json", `{"message":"No access to this company."}`), Forbidden, ReasonStatus, 1, "No access to this company."},
		{"404", respond(404, "application/json", `{"message":"Not here"}`), NotFound, ReasonStatus, 1, "Not here"},
		{"404 with internals", respond(404, "application/json", `{"message":"No query results for model [App\\Models\\Bill] 7"}`), NotFound, ReasonStatus, 1, ""},
		{"404 as HTML", respond(404, "text/html", page), NotFound, ReasonStatus, 1, ""},
		{"400", respond(400, "application/json", `{"message":"Date is before the entry lock."}`), Rejected, ReasonStatus, 1, "Date is before the entry lock."},
		{"415", respond(415, "application/json", `{"message":"Unsupported Media Type"}`), Rejected, ReasonStatus, 1, "Unsupported Media Type"},
		{"409", respond(409, "application/json", `{"message":"Exists already"}`), Rejected, ReasonStatus, 1, "Exists already"},
		{"413", respond(413, "application/json", `{"message":"Too large"}`), Rejected, ReasonStatus, 1, "Too large"},
		{"422", respond(422, "application/json", `{"message":"Invalid."}`), Rejected, ReasonStatus, 1, "Invalid."},
		{"402", respond(402, "application/json", `{"message":"Pay first"}`), Unavailable, ReasonUnexpected, 1, "Pay first"},
		{"418", respond(418, "application/json", `{}`), Unavailable, ReasonUnexpected, 1, ""},
		{"451", respond(451, "text/html", page), Unavailable, ReasonUnexpected, 1, ""},
		{"429 without a time", respond(429, "application/json", `{}`), RateLimited, ReasonStatus, 1, ""},
		{"500 as HTML", respond(500, "text/html", page), Unavailable, ReasonStatus, 1, ""},
		{"500 as JSON", respond(500, "application/json", `{"message":"Undefined array key","trace":[]}`), Unavailable, ReasonStatus, 1, ""},
		{"502", respond(502, "text/html", page), Unavailable, ReasonStatus, 3, ""},
		{"503", respond(503, "application/json", `{}`), Unavailable, ReasonStatus, 3, ""},
		{"504", respond(504, "application/json", `{}`), Unavailable, ReasonStatus, 3, ""},
		{"200 as HTML", respond(200, "text/html; charset=utf-8", page), Unavailable, ReasonNotJSON, 1, ""},
		{"200 as HTML that claims to be JSON", respond(200, "application/json", page), Unavailable, ReasonNotJSON, 1, ""},
		{"reset", reset, Unavailable, ReasonConnection, 3, ""},
		{"cut short", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"data":[`)
			_ = http.NewResponseController(w).Flush()
			reset(w, r)
		}, Unavailable, ReasonConnection, 3, ""},
		{"oversize, announced", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000000")
		}, Unavailable, ReasonOversize, 1, ""},
		{"oversize, streamed", func(w http.ResponseWriter, _ *http.Request) {
			chunk := bytes.Repeat([]byte(" "), 1024)
			for range 200 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
			}
		}, Unavailable, ReasonOversize, 1, ""},
		{"oversize, packed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(make([]byte, 5<<20))
			_ = z.Close()
		}, Unavailable, ReasonOversize, 1, ""},
		{"hung", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, Timeout, ReasonConnection, 3, ""},
		{"hung in mid-answer", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"data":`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, Timeout, ReasonConnection, 3, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				test.handler(w, r)
			}))
			defer server.Close()
			attempts := int32(0)
			c := newClient(t, server.URL, func(o *Options) {
				o.Observe = func(Attempt) { attempts++ }
				if test.class == Timeout {
					o.AttemptTimeout = 50 * time.Millisecond
				}
			})
			_, err := c.Do(t.Context(), get("/api/v1/companies"))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if e.Class != test.class || e.Reason != test.reason || e.Message != test.message {
				t.Errorf("got %s, %s, %q", e.Class, e.Reason, e.Message)
			}
			// An attempt that is given up so soon may not have got to the server.
			if n := calls.Load(); attempts != test.calls || n > attempts || n < attempts && test.class != Timeout {
				t.Errorf("%d attempts and %d calls, want %d", attempts, n, test.calls)
			}
			if text := e.Error(); strings.Contains(text, token) || strings.Contains(text, "127.0.0.1") || strings.Contains(text, "Whoops") {
				t.Errorf("the error shows too much: %s", text)
			}
		})
	}
}

func TestFieldFaultsAreRead(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(respond(422, "application/json",
		`{"message":"The given data was invalid.","errors":{"start_date":["Required.","Must be a date."],"ids.0":"Unknown","x\" onload":["no"],"sql":["SQLSTATE[42000]: syntax"]}}`))
	defer server.Close()
	_, err := newClient(t, server.URL, nil).Do(t.Context(), get("/x"))
	var e *Error
	if !errors.As(err, &e) || e.Class != Rejected {
		t.Fatal(err)
	}
	want := "[{ids.0 Unknown} {start_date Required.} {start_date Must be a date.}]"
	if got := fmt.Sprint(e.Fields); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/steal", status)
		}))
		_, err := newClient(t, server.URL, nil).Do(t.Context(), get("/x"))
		server.Close()
		var e *Error
		if !errors.As(err, &e) || e.Class != Unavailable || e.Reason != ReasonRedirect {
			t.Errorf("%d: %v", status, err)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the other host was called %d times", n)
	}
}

func TestTokenGoesIntoTheHeaderOnly(t *testing.T) {
	t.Parallel()
	var failures atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token || strings.Contains(r.URL.String(), "secret") || r.Header.Get("Cookie") != "" {
			failures.Add(1)
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "other-user"})
		respond(200, "application/json", `{}`)(w, r)
	}))
	defer server.Close()
	c := newClient(t, server.URL, nil)
	for range 2 {
		if _, err := c.Do(t.Context(), get("/x")); err != nil {
			t.Fatal(err)
		}
	}
	if failures.Load() != 0 {
		t.Error("a header or the URL is wrong")
	}
}

func TestWritesAreNeverRepeated(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"503": respond(503, "application/json", `{}`), "reset": reset,
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"429": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "0")
			respond(429, "application/json", `{}`)(w, r)
		},
	} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			t.Run(name+" "+method, func(t *testing.T) {
				t.Parallel()
				var calls atomic.Int32
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					calls.Add(1)
					_, _ = io.Copy(io.Discard, r.Body)
					handler(w, r)
				}))
				defer server.Close()
				attempts := 0
				c := newClient(t, server.URL, func(o *Options) {
					o.Observe = func(Attempt) { attempts++ }
					if name == "no answer" {
						o.AttemptTimeout = time.Second
					}
				})
				_, err := c.Do(t.Context(), Request{Operation: "op", Method: method, Path: "/x", Body: []byte("{}"), ContentType: "application/json", Bearer: token})
				// One that is given up soon may not have got to the server.
				if n := calls.Load(); err == nil || attempts != 1 || n > 1 || n == 0 && name != "no answer" {
					t.Errorf("%d attempts and %d calls, error %v", attempts, n, err)
				}
			})
		}
	}
}

func TestReadsRecoverFromTransientFailures(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]http.HandlerFunc{
		"503": respond(503, "application/json", `{}`), "reset": reset,
		"429 with a time": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "1")
			respond(429, "application/json", `{}`)(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 1 {
					first(w, r)
					return
				}
				respond(200, "application/json", `{"ok":1}`)(w, r)
			}))
			defer server.Close()
			begin := time.Now()
			response, err := newClient(t, server.URL, nil).Do(t.Context(), get("/x"))
			if err != nil || string(response.Body) != `{"ok":1}` {
				t.Fatal(response, err)
			}
			if strings.HasPrefix(name, "429") && time.Since(begin) < time.Second {
				t.Error("Retry-After was not waited for")
			}
		})
	}
}

func TestRetryAfterIsWaitedForOnceAndNotLong(t *testing.T) {
	t.Parallel()
	for after, want := range map[string]int32{"1": 2, "6": 1} {
		for _, status := range []int{429, 503} {
			t.Run(after+" "+strconv.Itoa(status), func(t *testing.T) {
				t.Parallel()
				var calls atomic.Int32
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					calls.Add(1)
					w.Header().Set("Retry-After", after)
					respond(status, "application/json", `{}`)(w, r)
				}))
				defer server.Close()
				c := newClient(t, server.URL, func(o *Options) { o.Timeout = 100 * time.Second })
				_, err := c.Do(t.Context(), get("/x"))
				var e *Error
				if !errors.As(err, &e) || strconv.Itoa(int(e.RetryAfter.Seconds())) != after || calls.Load() != want {
					t.Errorf("%v after %d calls, want %d", err, calls.Load(), want)
				}
			})
		}
	}
}

// TestTheTokenIsTakenOutOfAnswers: what the API repeats of it reaches nobody.
func TestTheTokenIsTakenOutOfAnswers(t *testing.T) {
	t.Parallel()
	for bearer, body := range map[string]string{
		"abc.def-1": `{"message":"[abc.def-1] and [abc.def-1]"}`,
		"ab/cd+e==": `{"message":"[ab/cd+e==] and [ab\/cd+e==]"}`,
	} {
		for _, status := range []int{200, 422} {
			server := httptest.NewServer(respond(status, "application/json", body))
			request := get("/x")
			request.Bearer = bearer
			response, err := newClient(t, server.URL, nil).Do(t.Context(), request)
			server.Close()
			const want = "[[redacted]] and [[redacted]]"
			var e *Error
			switch {
			case errors.As(err, &e):
				if e.Message != want {
					t.Errorf("%d: %q", status, e.Message)
				}
			case string(response.Body) != `{"message":"`+want+`"}`:
				t.Errorf("%d: %s", status, response.Body)
			}
		}
	}
}

func TestRetryAfterBeyondTheDeadlineIsHandedBack(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Retry-After", "120")
		respond(429, "application/json", `{}`)(w, r)
	}))
	defer server.Close()
	// Waiting would take longer than the call may.
	c := newClient(t, server.URL, func(o *Options) { o.Timeout = 100 * time.Second })
	_, err := c.Do(t.Context(), get("/x"))
	var e *Error
	if !errors.As(err, &e) || e.RetryAfter != 2*time.Minute || calls.Load() != 1 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

func TestCancellationReachesTheAPI(t *testing.T) {
	t.Parallel()
	arrived, gone := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(gone)
	}))
	defer server.Close()
	c := newClient(t, server.URL, func(o *Options) { o.AttemptTimeout = time.Minute; o.Timeout = time.Minute })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	_, err := c.Do(ctx, get("/x"))
	var e *Error
	if !errors.As(err, &e) || e.Class != Canceled {
		t.Errorf("error %v", err)
	}
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("the API never learned of it")
	}
}

func TestCircuitOpensPerOperation(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		handler http.HandlerFunc
		opens   bool
	}{
		{"503 counts", respond(503, "application/json", `{}`), true},
		{"resets count", reset, true},
		{"500 does not", respond(500, "text/html", "<p>"), false},
		{"404 does not", respond(404, "application/json", `{}`), false},
		{"401 does not", respond(401, "application/json", `{}`), false},
		{"HTML does not", respond(200, "text/html", "<p>"), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/healthy" {
					respond(200, "application/json", `{}`)(w, r)
					return
				}
				calls.Add(1)
				test.handler(w, r)
			}))
			defer server.Close()
			c := newClient(t, server.URL, func(o *Options) { o.Attempts = 1 })
			var last error
			for range 8 {
				_, last = c.Do(t.Context(), get("/x"))
			}
			var e *Error
			if !errors.As(last, &e) {
				t.Fatal(last)
			}
			if open := e.Reason == ReasonCircuitOpen; open != test.opens {
				t.Errorf("open: %v, after %d calls: %v", open, calls.Load(), last)
			}
			if test.opens && (calls.Load() != 5 || e.RetryAfter == 0) {
				t.Errorf("%d calls, retry after %s", calls.Load(), e.RetryAfter)
			}
			other := get("/healthy")
			other.Operation = "another"
			if _, err := c.Do(t.Context(), other); err != nil {
				t.Errorf("another operation suffers: %v", err)
			}
		})
	}
	t.Run("callers who give up do not count, and it closes again", func(t *testing.T) {
		t.Parallel()
		var broken atomic.Bool
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if broken.Load() {
				respond(503, "application/json", `{}`)(w, r)
				return
			}
			respond(200, "application/json", `{}`)(w, r)
		}))
		defer server.Close()
		c := newClient(t, server.URL, func(o *Options) { o.Attempts = 1; o.BreakerPause = 50 * time.Millisecond })
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		for range 10 {
			_, _ = c.Do(canceled, get("/x"))
		}
		if _, err := c.Do(t.Context(), get("/x")); err != nil {
			t.Fatalf("callers who gave up have opened it: %v", err)
		}
		broken.Store(true)
		for range 6 {
			_, _ = c.Do(t.Context(), get("/x"))
		}
		broken.Store(false)
		deadline := time.Now().Add(time.Minute)
		for {
			if _, err := c.Do(t.Context(), get("/x")); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("it stays open")
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

func TestPathArgumentsCannotLeadElsewhere(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	var path atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		path.Store(r.URL.EscapedPath())
		respond(200, "application/json", `{}`)(w, r)
	}))
	defer server.Close()
	c := newClient(t, server.URL+"/prefix/", nil)
	const template = "/api/v1/companies/{companyUuid}/warehouses"
	for _, bad := range []string{"", ".", "..", "...", "%2e%2e", "%2E%2E", "..%2f", "a/b", "a\\b", "x?y", "x;y", "x#y", "x%y", "-1", " x", "x ", "x\n", "x\x00", "ü", "~x", strings.Repeat("a", 129)} {
		r := get(template)
		r.PathArguments = map[string]string{"companyUuid": bad}
		_, err := c.Do(t.Context(), r)
		var e *Error
		if !errors.As(err, &e) || e.Class != BadRequest {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if calls.Load() != 0 {
		t.Fatalf("%d calls were made", calls.Load())
	}
	for _, good := range []string{"7", "da39a3ee5e6b4b0d3255bfef95601890afd80709", "550e8400-e29b-41d4-a716-446655440000", "view:pages.processes", "a..b", "a~b", strings.Repeat("a", 128)} {
		r := get(template)
		r.PathArguments = map[string]string{"companyUuid": good}
		if _, err := c.Do(t.Context(), r); err != nil {
			t.Errorf("%q: %v", good, err)
			continue
		}
		if got, want := path.Load(), "/prefix/api/v1/companies/"+good+"/warehouses"; got != want {
			t.Errorf("called %s, want %s", got, want)
		}
	}
	for _, template := range []string{"x", "/a/../b", "/a/%2e%2e", "/a b", "/{missing}"} {
		if _, err := c.Do(t.Context(), get(template)); err == nil {
			t.Errorf("template %q was called", template)
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, seed := range []string{"..", "%2e%2e", "a/b", "x?y", "x;y", `x\y`, "7", "a:b"} {
		f.Add(seed)
	}
	c, err := New(Options{BaseURL: "https://api.example.com/base"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		target, err := c.target("/api/v1/companies/{id}/bills", map[string]string{"id": value}, []Pair{{"search", value}})
		if err != nil {
			return
		}
		parsed, reparse := target.Parse(target.String())
		if reparse != nil || parsed.Host != "api.example.com" || parsed.EscapedPath() != "/base/api/v1/companies/"+value+"/bills" || parsed.Query().Get("search") != value {
			t.Errorf("%q led to %s", value, target)
		}
	})
}

func TestQueryKeepsOrderAndAllValues(t *testing.T) {
	t.Parallel()
	got := encode([]Pair{{ArrayName("company_uuids"), "b"}, {ArrayName("company_uuids"), "a"}, {"search", "x & y=z"}, {ArrayName("c[]"), "1"}})
	if want := "company_uuids%5B%5D=b&company_uuids%5B%5D=a&search=x+%26+y%3Dz&c%5B%5D=1"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string]Options{
		"no URL":          {},
		"no scheme":       {BaseURL: "my.neonpanel.com"},
		"clear text":      {BaseURL: "http://my.neonpanel.com"},
		"disguised":       {BaseURL: "http://localhost.example.com"},
		"user":            {BaseURL: "https://user:pass@my.neonpanel.com"},
		"query":           {BaseURL: "https://my.neonpanel.com?x=1"},
		"other scheme":    {BaseURL: "ftp://my.neonpanel.com"},
		"proxy":           {BaseURL: "https://my.neonpanel.com", Proxy: "socks://x"},
		"missing CA file": {BaseURL: "https://my.neonpanel.com", CAFile: empty + "x"},
		"empty CA file":   {BaseURL: "https://my.neonpanel.com", CAFile: empty},
	} {
		if _, err := New(options); err == nil {
			t.Errorf("%s was taken", name)
		} else if strings.Contains(err.Error(), "pass@") {
			t.Errorf("%s: the error shows a password", name)
		}
	}
}

func TestProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	// Not parallel: it sets the environment.
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	c := newClient(t, "https://api.example.com", nil)
	if c.transport.Proxy != nil {
		t.Error("the transport asks for a proxy")
	}
}

func TestConfiguredProxyIsUsed(t *testing.T) {
	t.Parallel()
	var asked atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.String())
		respond(200, "application/json", `{}`)(w, r)
	}))
	defer proxy.Close()
	c := newClient(t, "http://127.0.0.1:9", func(o *Options) { o.Proxy = proxy.URL })
	if _, err := c.Do(t.Context(), get("/x")); err != nil || asked.Load() != "http://127.0.0.1:9/x" {
		t.Errorf("%v, %v", asked.Load(), err)
	}
}

func TestCertificateOfTheAPIIsVerified(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(respond(200, "application/json", `{}`))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	if _, err := newClient(t, server.URL, nil).Do(t.Context(), get("/x")); err == nil {
		t.Error("an unknown certificate was taken")
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, server.URL, func(o *Options) { o.CAFile = file })
	if _, err := c.Do(t.Context(), get("/x")); err != nil {
		t.Error(errors.Unwrap(err))
	}
}

func TestRetryAfterIsRead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "15": 15 * time.Second, " 2 ": 2 * time.Second, "-3": 0, "soon": 0,
		"99999999999999": 24 * time.Hour, "Sun, 01 Nov 2026 12:00:30 GMT": 30 * time.Second,
		"Sun, 01 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := parseRetryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func TestAttemptsAreObserved(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(respond(503, "application/json", `{}`))
	defer server.Close()
	var seen []Attempt
	c := newClient(t, server.URL, func(o *Options) { o.Observe = func(a Attempt) { seen = append(seen, a) } })
	_, _ = c.Do(t.Context(), get("/x"))
	if len(seen) != 3 || seen[0].Operation != "op" || seen[0].Status != 503 || seen[0].Class != Unavailable {
		t.Errorf("%+v", seen)
	}
}
