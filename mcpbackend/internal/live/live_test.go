package live

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// origin answers requests without a network.
type origin func(*http.Request) (*http.Response, error)

func (o origin) RoundTrip(r *http.Request) (*http.Response, error) { return o(r) }

func answer(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, ContentLength: -1, Body: io.NopCloser(strings.NewReader(body))}
}

// follower takes documents that begin with "good".
type follower struct {
	used     []string
	outcomes []Outcome
	logs     bytes.Buffer
}

func (f *follower) source(transport http.RoundTripper, at string) *Source {
	u, err := url.Parse(at)
	if err != nil {
		panic(err)
	}
	return New(Options{
		URL: u, Transport: transport, UserAgent: "test", Interval: 10 * time.Minute, MaxBytes: 100,
		Use: func(document []byte) error {
			f.used = append(f.used, string(document))
			switch {
			case bytes.HasPrefix(document, []byte("panic")):
				panic("evil")
			case !bytes.HasPrefix(document, []byte("good")):
				return errors.New("it is not good")
			}
			return nil
		},
		Observe: func(o Outcome) { f.outcomes = append(f.outcomes, o) },
		Log:     slog.New(slog.NewTextHandler(&f.logs, nil)), Now: time.Now,
	})
}

const at = "https://api.example.com/openapi?key=hidden"

func TestLastGoodDocumentStays(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer *http.Response
		err    error
		want   Outcome
	}{
		{"no connection", nil, errors.New("connection refused"), Unreachable},
		{"an error page", answer(502, "<html>"), nil, Refused},
		{"a redirect", answer(302, "", "Location", "https://evil.example/"), nil, Refused},
		{"no content", answer(204, ""), nil, Refused},
		{"a web page with status 200", answer(200, "<html>sorry</html>", "ETag", `"new"`), nil, Invalid},
		{"nothing", answer(200, ""), nil, Invalid},
		{"half a document", &http.Response{StatusCode: 200, Body: io.NopCloser(io.MultiReader(strings.NewReader("good"), broken{}))}, nil, Unreachable},
		{"too much", answer(200, "good"+strings.Repeat("x", 100)), nil, TooLarge},
		{"too much, announced", &http.Response{StatusCode: 200, ContentLength: 1 << 40, Body: io.NopCloser(strings.NewReader("good"))}, nil, TooLarge},
		{"a document that breaks its reader", answer(200, "panic"), nil, Invalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			first := true
			f := &follower{}
			var asked []string
			s := f.source(origin(func(r *http.Request) (*http.Response, error) {
				asked = append(asked, r.Header.Get("If-None-Match"))
				if first {
					first = false
					return answer(200, "good 1", "ETag", `"one"`), nil
				}
				return test.answer, test.err
			}), at)
			if err := s.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := s.Status()
			if before.Confirmed.IsZero() || before.Last != Replaced || before.Failing() {
				t.Errorf("status %+v", before)
			}
			if err := s.Refresh(t.Context()); err == nil {
				t.Error("no error")
			}
			after := s.Status()
			if after.Confirmed != before.Confirmed || after.Last != test.want || !after.Failing() {
				t.Errorf("status %+v, want %s", after, test.want)
			}
			if !strings.Contains(f.logs.String(), "outcome="+string(test.want)) || !strings.Contains(f.logs.String(), "age=") {
				t.Errorf("the log does not say what happened and how old the document is:\n%s", f.logs.String())
			}
			if strings.Contains(f.logs.String(), "hidden") {
				t.Error("the log holds the URL's query")
			}
			// What was not taken must not be asked for by its ETag.
			_ = s.Refresh(t.Context())
			if want := []string{"", `"one"`, `"one"`}; fmt.Sprint(asked) != fmt.Sprint(want) {
				t.Errorf("asked with %q, want %q", asked, want)
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestDocumentIsUsedOnceForAsLongAsItStays(t *testing.T) {
	t.Parallel()
	steps := []struct {
		answer *http.Response
		sent   string // If-None-Match
		want   Outcome
		used   int // documents that were handed on, so far
	}{
		{answer(304, ""), "", Refused, 0}, // nobody asked for that
		{answer(200, "bad", "ETag", `"bad"`), "", Invalid, 1},
		{answer(200, "bad", "ETag", `"bad"`), "", Invalid, 1}, // not read a second time
		{answer(200, "good 1", "ETag", `W/"1"`), "", Replaced, 2},
		{answer(304, ""), `W/"1"`, Unchanged, 2},
		{answer(200, "good 1", "ETag", `"again"`), `W/"1"`, Unchanged, 2},
		{answer(200, "bad"), `"again"`, Invalid, 2},
		{answer(304, ""), `"again"`, Unchanged, 2},
		{answer(200, "good 2", "ETag", "no tag"), `"again"`, Replaced, 3},
		{answer(200, "good 2"), "", Unchanged, 3},
		{answer(200, "good 3", "ETag", `"`+strings.Repeat("x", 300)+`"`), "", Replaced, 4},
		{answer(200, "good 1"), "", Replaced, 5},
	}
	f := &follower{}
	var sent string
	step := 0
	s := f.source(origin(func(r *http.Request) (*http.Response, error) {
		sent = r.Header.Get("If-None-Match")
		return steps[step].answer, nil
	}), at)
	for i, want := range steps {
		step = i
		_ = s.Refresh(t.Context())
		if sent != want.sent || s.Status().Last != want.want || len(f.used) != want.used {
			t.Errorf("step %d: asked with %q, %s, %d documents; want %+v", i, sent, s.Status().Last, len(f.used), want)
		}
	}
	if len(f.outcomes) != len(steps) {
		t.Errorf("observed %v", f.outcomes)
	}
}

func TestRequestCarriesNothingOfAnybodyAndFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	var header http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		http.Redirect(w, r, other.URL, http.StatusFound)
	}))
	defer server.Close()
	f := &follower{}
	s := f.source(server.Client().Transport, server.URL)
	for range 2 {
		if err := s.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "redirects are not followed") {
			t.Errorf("error %v", err)
		}
	}
	if elsewhere.Load() != 0 {
		t.Error("the redirect was followed")
	}
	for _, name := range []string{"Authorization", "Cookie", "Proxy-Authorization"} {
		if header.Get(name) != "" {
			t.Errorf("it sent %s", name)
		}
	}
}

func TestCompressedDocumentsAreBoundedBySizeUnpacked(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	if _, err := io.Copy(w, strings.NewReader("good"+strings.Repeat("x", 1<<20))); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}))
	defer server.Close()
	f := &follower{}
	s := f.source(server.Client().Transport, server.URL)
	if err := s.Refresh(t.Context()); err == nil || s.Status().Last != TooLarge {
		t.Errorf("%v, %+v", err, s.Status())
	}
}

// TestPauses: fetches that fail come again soon, and then less and less often.
func TestPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var mu sync.Mutex
		var at []time.Duration
		up := false
		f := &follower{}
		s := f.source(origin(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Since(begin))
			if !up {
				return nil, errors.New("down")
			}
			return answer(200, "good"), nil
		}), "https://api.example.com/openapi")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.Run(ctx) }()
		time.Sleep(time.Hour)
		mu.Lock()
		for i, pause := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 600, 600} {
			if got := at[i+1] - at[i]; got < pause*time.Second || got > pause*time.Second*11/10+1 {
				t.Errorf("pause %d is %v", i, got)
			}
		}
		up, at = true, nil
		mu.Unlock()
		time.Sleep(time.Hour)
		cancel()
		<-done
		if n := len(at); n < 5 || n > 6 {
			t.Errorf("%d fetches in an hour: %v", n, at)
		}
		if s.Status().Failing() || !strings.Contains(f.logs.String(), "can be used again") {
			t.Errorf("%+v\n%s", s.Status(), f.logs.String())
		}
	})
}

func TestAnOriginThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &follower{}
		s := f.source(origin(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}), "https://api.example.com/openapi")
		begin := time.Now()
		if err := s.Refresh(t.Context()); err == nil || s.Status().Last != Unreachable {
			t.Errorf("%v, %+v", err, s.Status())
		}
		if took := time.Since(begin); took != 30*time.Second {
			t.Errorf("it took %v", took)
		}
		// The end of the program is no fault of the API.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Refresh(ctx); err == nil || len(f.outcomes) != 1 {
			t.Errorf("%v, %v", err, f.outcomes)
		}
	})
}
