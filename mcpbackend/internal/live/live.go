// Package live fetches, again and again, the OpenAPI document that the API
// serves. What it fetches is handed on as it came; whoever takes it judges it.
package live

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Outcome is how a fetch ended; a closed set, and a metric label.
type Outcome string

// The outcomes.
const (
	// Replaced: another document than before, and it was taken.
	Replaced Outcome = "replaced"
	// Unchanged: the one that is in force.
	Unchanged Outcome = "unchanged"
	// Unreachable: no answer, or not a whole one, in time.
	Unreachable Outcome = "unreachable"
	// Refused: an answer other than 200, a redirect too.
	Refused Outcome = "refused"
	// TooLarge: more than [Options.MaxBytes].
	TooLarge Outcome = "too_large"
	// Invalid: not a document that can be used.
	Invalid Outcome = "invalid"
)

// Outcomes are all of them.
func Outcomes() []Outcome {
	return []Outcome{Replaced, Unchanged, Unreachable, Refused, TooLarge, Invalid}
}

// Options are the settings of a [Source].
type Options struct {
	URL       *url.URL
	Transport http.RoundTripper
	UserAgent string
	// Interval is the time between two fetches that end well; after others it is
	// shorter, at first.
	Interval time.Duration
	// Timeout bounds a fetch; 30 s.
	Timeout time.Duration
	// MaxBytes is the largest document.
	MaxBytes int64
	// Use takes a new document; an error leaves the one before in force.
	Use func(document []byte) error
	// Observe is told of every fetch.
	Observe func(Outcome)
	Log     *slog.Logger
	Now     func() time.Time
}

// Status is what is in force.
type Status struct {
	// Confirmed is when the document in force was last seen at the API; zero if
	// none ever came.
	Confirmed time.Time
	// Last is how the last fetch ended; empty before the first.
	Last Outcome
}

// Failing says whether the last fetch brought nothing usable.
func (s Status) Failing() bool { return s.Last != "" && s.Last != Replaced && s.Last != Unchanged }

// Source fetches a document.
type Source struct {
	o Options

	mu     sync.Mutex
	status Status

	// What follows belongs to whoever fetches.

	// etag and taken are of the document in force, rejected is of the last one
	// that was not taken.
	etag            string
	taken, rejected [sha256.Size]byte
	reason          error
	failures        int
}

// firstPause is the pause after a first failure; it doubles up to the interval.
const firstPause = 5 * time.Second

// New returns a source that has fetched nothing yet.
func New(o Options) *Source {
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	return &Source{o: o}
}

// Status says what is in force.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Run fetches until the context ends.
func (s *Source) Run(ctx context.Context) {
	for {
		pause := s.o.Interval
		if err := s.Refresh(ctx); err != nil {
			pause = min(pause, firstPause<<min(s.failures-1, 20))
		}
		// Replicas that started together should not ask together.
		pause += rand.N(pause/10 + 1)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// Refresh fetches once. Calls must not overlap.
func (s *Source) Refresh(ctx context.Context) error {
	outcome, err := s.refresh(ctx)
	if err != nil && ctx.Err() != nil {
		return err // the program stops: that says nothing about the API
	}
	s.mu.Lock()
	before := s.status.Last
	s.status.Last = outcome
	if err == nil {
		s.status.Confirmed = s.o.Now()
	}
	confirmed := s.status.Confirmed
	s.mu.Unlock()
	s.o.Observe(outcome)
	if err != nil {
		s.failures++
		attributes := []any{"outcome", string(outcome), "error", clip(err.Error()), "failures", s.failures}
		if confirmed.IsZero() {
			attributes = append(attributes, "in_force", "the description that the program started with")
		} else {
			attributes = append(attributes, "in_force", "the last good one", "age", s.o.Now().Sub(confirmed).Round(time.Second).String())
		}
		s.o.Log.Warn("the live OpenAPI document cannot be used", attributes...)
		return err
	}
	if s.failures > 0 {
		s.o.Log.Info("the live OpenAPI document can be used again", "outcome", string(outcome), "before", string(before), "failures", s.failures)
	}
	s.failures = 0
	return nil
}

func (s *Source) refresh(ctx context.Context) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.o.URL.String(), nil)
	if err != nil {
		return Unreachable, errors.New("the URL makes no request")
	}
	// Nothing here is anybody's: no token, no cookie.
	request.Header.Set("Accept", "application/json, application/yaml;q=0.9, */*;q=0.1")
	request.Header.Set("User-Agent", s.o.UserAgent)
	if s.etag != "" {
		request.Header.Set("If-None-Match", s.etag)
	}
	// The transport itself: unlike http.Client it follows no redirects, keeps no
	// cookies and puts no URL into its errors.
	answer, err := s.o.Transport.RoundTrip(request)
	if err != nil {
		return Unreachable, fmt.Errorf("no answer: %w", err)
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusNotModified && s.etag != "":
		return Unchanged, nil
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		return Refused, fmt.Errorf("status %d: redirects are not followed", answer.StatusCode)
	case answer.StatusCode != http.StatusOK:
		return Refused, fmt.Errorf("status %d", answer.StatusCode)
	case answer.ContentLength > s.o.MaxBytes:
		return TooLarge, fmt.Errorf("it has %d bytes, and may have %d", answer.ContentLength, s.o.MaxBytes)
	}
	document, err := io.ReadAll(io.LimitReader(answer.Body, s.o.MaxBytes+1))
	switch {
	case err != nil:
		return Unreachable, fmt.Errorf("the answer broke off: %w", err)
	case int64(len(document)) > s.o.MaxBytes:
		return TooLarge, fmt.Errorf("it may have %d bytes, and has more", s.o.MaxBytes)
	}
	sum := sha256.Sum256(document)
	switch sum {
	case s.taken:
		s.etag = etag(answer.Header)
		return Unchanged, nil
	case s.rejected:
		return Invalid, s.reason
	}
	if err := s.use(document); err != nil {
		s.rejected, s.reason = sum, err
		return Invalid, err
	}
	// Only what was taken is asked for by its ETag: anything else has to come
	// again.
	s.taken, s.etag = sum, etag(answer.Header)
	return Replaced, nil
}

// use survives whatever a document does to whoever reads it.
func (s *Source) use(document []byte) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("reading it failed: %v", fault)
		}
	}()
	return s.o.Use(document)
}

// etag is the one of an answer, if it is like one (RFC 9110 §8.8.3).
func etag(h http.Header) string {
	value := h.Get("ETag")
	opaque, quoted := strings.CutPrefix(strings.TrimPrefix(value, "W/"), `"`)
	opaque, closed := strings.CutSuffix(opaque, `"`)
	if !quoted || !closed || len(value) > 256 || strings.ContainsFunc(opaque, func(r rune) bool { return r < '!' || r == '"' || r == 0x7f }) {
		return ""
	}
	return value
}

// clip bounds what a document can bring into a log.
func clip(text string) string {
	const longest = 500
	if len(text) > longest {
		text = text[:longest] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}
