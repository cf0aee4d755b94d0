// Package fault makes the sandbox misbehave on request, as a NeonPanel in
// trouble would: slow, hung, broken, limiting, cut off.
package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind is a way to misbehave.
type Kind string

// The kinds of trouble.
const (
	Slow       Kind = "slow"        // wait, then answer as usual
	Hang       Kind = "hang"        // never answer; ends when the client leaves
	Status     Kind = "status"      // a JSON error
	HTML       Kind = "html"        // an HTML page, by default with status 200
	RetryAfter Kind = "retry_after" // 429 with Retry-After
	Reset      Kind = "reset"       // reset the connection
	Truncate   Kind = "truncate"    // the real answer, cut in half
	Redirect   Kind = "redirect"    // 302 elsewhere
	Large      Kind = "large"       // a very big answer
	Down       Kind = "down"        // close the connection without an answer
)

// largeBytes is the size of a Large answer unless the fault gives one.
const largeBytes = 100 << 20

// Limits of what a caller may ask for.
const (
	maxFaults = 100
	maxDelay  = 10 * time.Minute
	maxBytes  = 1 << 30
)

// Fault is one rule. Of several that match, the last one added counts.
type Fault struct {
	Path       string `json:"path"` // exact, or a prefix that ends in *
	Method     string `json:"method,omitempty"`
	Kind       Kind   `json:"kind"`
	Delay      string `json:"delay,omitempty"`
	Status     int    `json:"status,omitempty"`
	RetryAfter string `json:"retry_after,omitempty"`
	Location   string `json:"location,omitempty"`
	Bytes      int    `json:"bytes,omitempty"` // of a large answer
	Times      int    `json:"times,omitempty"` // 0 = until cleared

	// After lets the request do its work first; only then comes the trouble, in
	// place of the answer. So a write has happened though its caller cannot know.
	// Truncate always works so.
	After bool `json:"after,omitempty"`

	// Taken is how many requests the fault has met, those included that it holds
	// at the moment. It is told, never given.
	Taken int `json:"taken,omitempty"`

	delay time.Duration
}

func (f *Fault) validate() error {
	if f.Path != "*" && !strings.HasPrefix(f.Path, "/") {
		return fmt.Errorf("path must start with / or be *: %q", f.Path)
	}
	if i := strings.IndexByte(f.Path, '*'); i >= 0 && i != len(f.Path)-1 {
		return fmt.Errorf("path may have one * and only at its end: %q", f.Path)
	}
	if f.Times < 0 {
		return fmt.Errorf("times must not be negative: %d", f.Times)
	}
	if f.Taken != 0 {
		return fmt.Errorf("taken counts the requests that the fault has met: leave it out")
	}
	if f.Delay != "" {
		d, err := time.ParseDuration(f.Delay)
		if err != nil || d < 0 || d > maxDelay {
			return fmt.Errorf("delay must be a duration such as 2s, at most %s: %q", maxDelay, f.Delay)
		}
		f.delay = d
	}
	if f.Bytes < 0 || f.Bytes > maxBytes {
		return fmt.Errorf("bytes must be 0 to %d: %d", maxBytes, f.Bytes)
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("status must be 200 to 599: %d", f.Status)
	}
	switch f.Kind {
	case Slow:
		if f.delay == 0 {
			return fmt.Errorf("slow needs a delay")
		}
	case Redirect:
		if f.Location == "" {
			return fmt.Errorf("redirect needs a location")
		}
	case Hang, Status, HTML, RetryAfter, Reset, Truncate, Large, Down:
	default:
		return fmt.Errorf("unknown kind %q: want slow, hang, status, html, retry_after, reset, truncate, redirect, large or down", f.Kind)
	}
	return nil
}

func (f *Fault) matches(r *http.Request) bool {
	if f.Method != "" && !strings.EqualFold(f.Method, r.Method) {
		return false
	}
	if prefix, ok := strings.CutSuffix(f.Path, "*"); ok {
		return strings.HasPrefix(r.URL.Path, prefix)
	}
	return r.URL.Path == f.Path
}

// Set is the faults in force.
type Set struct {
	mu     sync.Mutex
	faults []Fault
}

// Add puts a fault in force.
func (s *Set) Add(f Fault) error {
	if err := f.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) >= maxFaults {
		return fmt.Errorf("there are %d faults already: clear them first", maxFaults)
	}
	s.faults = append(s.faults, f)
	return nil
}

// List returns the faults in force, oldest first.
func (s *Set) List() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Fault{}, s.faults...)
}

// Clear ends all faults.
func (s *Set) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// take returns the fault for a request and counts it.
func (s *Set) take(r *http.Request) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.faults) - 1; i >= 0; i-- {
		if !s.faults[i].matches(r) {
			continue
		}
		s.faults[i].Taken++
		f := s.faults[i]
		if f.Times > 0 {
			if s.faults[i].Times--; s.faults[i].Times == 0 {
				s.faults = append(s.faults[:i], s.faults[i+1:]...)
			}
		}
		return f, true
	}
	return Fault{}, false
}

// Handler applies the faults before next.
func (s *Set) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := s.take(r)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		f.serve(w, r, next)
	})
}

func (f Fault) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if f.Kind == Slow || f.Kind == Hang || f.delay > 0 {
		// net/http notices that a client has left only once the request body
		// is read, so read it; a later handler gets it back.
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<20))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	var answer *buffered
	if f.After || f.Kind == Truncate {
		answer = &buffered{header: http.Header{}, status: http.StatusOK}
		next.ServeHTTP(answer, r)
	}
	if f.delay > 0 {
		timer := time.NewTimer(f.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	switch f.Kind {
	case Slow:
		if answer != nil {
			answer.send(w, 1)
			return
		}
		next.ServeHTTP(w, r)
	case Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case Status:
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		writeMessage(w, or(f.Status, http.StatusServiceUnavailable))
	case RetryAfter:
		after := f.RetryAfter
		if after == "" {
			after = "3"
		}
		w.Header().Set("Retry-After", after)
		writeMessage(w, or(f.Status, http.StatusTooManyRequests))
	case HTML:
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(or(f.Status, http.StatusOK))
		io.WriteString(w, htmlPage)
	case Redirect:
		w.Header().Set("Location", f.Location)
		w.WriteHeader(or(f.Status, http.StatusFound))
	case Large:
		large(w, or(f.Bytes, largeBytes))
	case Truncate:
		answer.send(w, 2)
	case Reset:
		cut(w, true)
	case Down:
		cut(w, false)
	}
}

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// writeMessage is an error in the shape of the NeonPanel API.
func writeMessage(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	text := http.StatusText(status)
	if status == http.StatusTooManyRequests {
		text = "Too Many Attempts."
	}
	json.NewEncoder(w).Encode(map[string]string{"message": text})
}

// htmlPage is the sort of page that a CDN or a PHP framework sends where JSON
// was asked for, file paths included.
const htmlPage = `<!DOCTYPE html>
<html lang="en"><head><title>Server Error</title></head>
<body><h1>ErrorException</h1>
<p>Undefined variable $secretHash in <code>/var/www/app/Http/Controllers/Controller.php</code> on line 118</p>
</body></html>
`

// large streams a JSON document that never gets interesting.
func large(w http.ResponseWriter, size int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(size))
	const head, tail = `{"data":["`, `"]}`
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	left := size - len(head) - len(tail)
	io.WriteString(w, head)
	for left > 0 {
		n, err := w.Write(chunk[:min(left, len(chunk))])
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		left -= n
	}
	io.WriteString(w, tail)
}

// send promises the whole answer and sends one part in so many of it.
func (b *buffered) send(w http.ResponseWriter, parts int) {
	for k, v := range b.header {
		w.Header()[k] = v
	}
	body := b.body.Bytes()
	switch {
	case !bodyless(b.status):
		w.Header().Set("Content-Length", strconv.Itoa(max(len(body), parts-1)))
	case parts > 1:
		panic(http.ErrAbortHandler) // there is nothing to cut but the head
	}
	w.WriteHeader(b.status)
	w.Write(body[:len(body)/parts])
	if parts > 1 {
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// bodyless tells whether answers with the status have no body (RFC 9110 §6.4.1).
func bodyless(status int) bool {
	return status < 200 || status == http.StatusNoContent || status == http.StatusNotModified
}

type buffered struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
}

func (b *buffered) Header() http.Header { return b.header }

func (b *buffered) WriteHeader(status int) {
	if !b.wrote && status >= 200 {
		b.status, b.wrote = status, true
	}
}

func (b *buffered) Write(p []byte) (int, error) {
	b.wrote = true
	return b.body.Write(p)
}

// cut ends the connection without an answer; hard means by TCP reset.
func cut(w http.ResponseWriter, hard bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok && hard {
		tcp.SetLinger(0)
	}
	conn.Close()
}
