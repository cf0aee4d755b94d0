// Package neonpanel calls the NeonPanel REST API as the user whose token it is
// given. It has no credential of its own, follows no redirect, and sends a
// token to the API's origin and nowhere else.
package neonpanel

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Options are the settings of a [Client]. Zero values mean the defaults.
type Options struct {
	// BaseURL is the API's origin, with a path prefix if it has one.
	BaseURL string
	// Proxy is the URL of an HTTP proxy; proxy variables of the environment
	// are ignored.
	Proxy string
	// CAFile holds PEM certificates that are trusted besides the system's.
	CAFile string

	// Timeout bounds a call with all its attempts, AttemptTimeout each attempt.
	// 28 s and 15 s.
	Timeout, AttemptTimeout time.Duration
	// Attempts is the most that a GET is tried. 3.
	Attempts int
	// Backoff is the pause before the second attempt; it doubles, and half of
	// it is random. 200 ms.
	Backoff time.Duration
	// MaxBytes is the largest answer that is read. 8 MiB.
	MaxBytes int64
	// BreakerPause is how long an operation rests after it has failed several
	// times in a row. 10 s.
	BreakerPause time.Duration

	// UserAgent names this program to the API.
	UserAgent string
	// Observe is told of every attempt; it must be quick.
	Observe func(Attempt)
	// Trace is told when an attempt begins, and may add to its header; what it
	// returns is told how it ended.
	Trace func(context.Context, Request, http.Header) func(Attempt)
}

// Attempt is what [Options.Observe] is told: nothing in it is about the user.
type Attempt struct {
	Operation string
	// Status is zero when there was no answer.
	Status int
	// Class is empty for success.
	Class    Class
	Duration time.Duration
}

// Client calls the API. It is safe for concurrent use.
type Client struct {
	options   Options
	base      *url.URL
	transport *http.Transport

	mu       sync.RWMutex
	breakers map[string]*gobreaker.TwoStepCircuitBreaker[struct{}]
}

// New makes a client; it makes no connection.
func New(options Options) (*Client, error) {
	base, err := parseBase(options.BaseURL)
	if err != nil {
		return nil, err
	}
	def(&options.Timeout, 28*time.Second)
	def(&options.AttemptTimeout, 15*time.Second)
	def(&options.Attempts, 3)
	def(&options.Backoff, 200*time.Millisecond)
	def(&options.MaxBytes, 8<<20)
	def(&options.BreakerPause, 10*time.Second)
	def(&options.UserAgent, "neonpanel-mcp-gateway")
	transport, err := NewTransport(options.Proxy, options.CAFile)
	if err != nil {
		return nil, err
	}
	return &Client{
		options: options, base: base, transport: transport,
		breakers: map[string]*gobreaker.TwoStepCircuitBreaker[struct{}]{},
	}, nil
}

// NewTransport reaches NeonPanel as the deployment says: by a proxy, if proxyURL
// is not empty, and trusting the certificates in caFile besides the system's, if
// that is not.
func NewTransport(proxyURL, caFile string) (*http.Transport, error) {
	t := &http.Transport{
		// Proxy stays nil unless configured: http.ProxyFromEnvironment would
		// let the environment decide where tokens go.
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		// A connection that died without a word is found by a ping, not by
		// the calls that wait on it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
	}
	if proxyURL != "" {
		proxy, err := url.Parse(proxyURL)
		if err != nil || proxy.Host == "" || proxy.Scheme != "http" && proxy.Scheme != "https" {
			// The value may hold a password: it is not repeated.
			return nil, errors.New("the upstream proxy must be an http or https URL")
		}
		t.Proxy = http.ProxyURL(proxy)
	}
	if caFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("the upstream CA file cannot be read: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the upstream CA file %s holds no certificate", caFile)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return t, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

func def[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

func parseBase(raw string) (*url.URL, error) {
	base, err := url.Parse(raw)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("the API URL %q is not an absolute URL", raw)
	}
	if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("the API URL must have no user, query or fragment")
	}
	switch base.Scheme {
	case "https":
	case "http":
		ip := net.ParseIP(base.Hostname())
		if base.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, fmt.Errorf("the API URL %q must use https: tokens would travel in clear", raw)
		}
	default:
		return nil, fmt.Errorf("the API URL %q must use https", raw)
	}
	base.Path = strings.TrimRight(base.Path, "/")
	return base, nil
}

// Request is one call of the API.
type Request struct {
	// Operation names the call for metrics and the circuit breaker; it comes
	// from a closed set.
	Operation string
	Method    string
	// Path is a template whose parameters fill whole segments.
	Path string
	// PathArguments fill the template, by name.
	PathArguments map[string]string
	// Query is sent in order; a name may repeat.
	Query []Pair
	// Body and its ContentType; nil for none.
	Body        []byte
	ContentType string
	// Bearer is the caller's access token.
	Bearer string
}

// Pair is a query parameter.
type Pair struct{ Name, Value string }

// Response is an answer with a status of 2xx.
type Response struct {
	Status int
	// MediaType has no parameters and is in lower case.
	MediaType string
	// RetryAfter is zero when the API does not say.
	RetryAfter time.Duration
	RequestID  string
	Body       []byte
}

// longestWait is the longest Retry-After that is waited for, once per call: the
// caller can plan with a time to come back, but not with a call that hangs.
const longestWait = 5 * time.Second

// Do makes the call. Every error is an [*Error]. A GET is tried again after a
// timeout, a reset, 502 to 504, and once after a short Retry-After; nothing
// else is, since the API takes no idempotency key.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	target, err := c.target(r.Path, r.PathArguments, r.Query)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	repeatable := r.Method == http.MethodGet || r.Method == http.MethodHead
	waited := false
	for attempt := 1; ; attempt++ {
		response, failure := c.attempt(ctx, r, target)
		if failure == nil {
			return response, nil
		}
		if !repeatable || attempt >= c.options.Attempts || !failure.transient || ctx.Err() != nil {
			return nil, failure
		}
		if failure.RetryAfter > 0 {
			if waited || failure.RetryAfter > longestWait {
				return nil, failure
			}
			waited = true
		}
		pause := c.options.Backoff << (attempt - 1)
		pause = pause/2 + rand.N(pause/2+1)
		pause = max(pause, failure.RetryAfter)
		// An attempt that could not finish is not begun.
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause+c.options.Backoff {
			return nil, failure
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, failure
		}
	}
}

func (c *Client) attempt(ctx context.Context, r Request, target *url.URL) (response *Response, failure *Error) {
	done, err := c.breaker(r.Operation).Allow()
	if err != nil {
		return nil, &Error{Class: Unavailable, Reason: ReasonCircuitOpen, RetryAfter: c.options.BreakerPause}
	}
	begin := time.Now()
	status := 0
	var traced func(Attempt)
	defer func() {
		if failure == nil {
			done(nil)
		} else {
			done(failure)
		}
		a := Attempt{Operation: r.Operation, Status: status, Duration: time.Since(begin)}
		if failure != nil {
			a.Class = failure.Class
		}
		if c.options.Observe != nil {
			c.options.Observe(a)
		}
		if traced != nil {
			traced(a)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, c.options.AttemptTimeout)
	defer cancel()

	request := (&http.Request{
		Method: r.Method,
		URL:    target,
		Host:   target.Host,
		Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Authorization": {"Bearer " + r.Bearer},
			"Accept":        {"application/json"},
			"User-Agent":    {c.options.UserAgent},
		},
	}).WithContext(ctx)
	if c.options.Trace != nil {
		traced = c.options.Trace(ctx, r, request.Header)
	}
	if r.Body != nil {
		// With GetBody the transport can move a call to a fresh connection when
		// an idle one turns out closed before anything was written.
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.Body)), nil }
		request.Body, _ = request.GetBody()
		request.ContentLength = int64(len(r.Body))
		request.Header["Content-Type"] = []string{r.ContentType}
	}
	// The transport itself: unlike http.Client it follows no redirects, keeps no
	// cookies and puts no URL into its errors.
	answer, err := c.transport.RoundTrip(request)
	if err != nil {
		return nil, transportError(ctx, err)
	}
	defer answer.Body.Close()
	status = answer.StatusCode
	if answer.ContentLength > c.options.MaxBytes {
		return nil, &Error{Class: Unavailable, Reason: ReasonOversize, Status: status}
	}
	content, err := readAll(answer.Body, answer.ContentLength, c.options.MaxBytes)
	if err != nil {
		return nil, transportError(ctx, err)
	}
	if int64(len(content)) > c.options.MaxBytes {
		return nil, &Error{Class: Unavailable, Reason: ReasonOversize, Status: status}
	}
	content = redact(content, r.Bearer)
	retryAfter := parseRetryAfter(answer.Header.Get("Retry-After"), begin)
	mediaType, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	if status < 200 || status > 299 {
		return nil, statusError(status, retryAfter, mediaType, content)
	}
	// Error pages have come with status 200 from behind a CDN.
	if mediaType == "text/html" || isMarkup(content) {
		return nil, &Error{Class: Unavailable, Reason: ReasonNotJSON, Status: status}
	}
	return &Response{
		Status: status, MediaType: mediaType, RetryAfter: retryAfter,
		RequestID: answer.Header.Get("X-Request-Id"), Body: content,
	}, nil
}

// readAll reads at most limit+1 bytes, into a buffer of the announced size.
func readAll(r io.Reader, announced, limit int64) ([]byte, error) {
	size := int64(4 << 10)
	if announced > 0 {
		size = announced + 1
	}
	content := make([]byte, 0, size)
	r = io.LimitReader(r, limit+1)
	for {
		if len(content) == cap(content) {
			content = append(content, 0)[:len(content)]
		}
		n, err := r.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		if errors.Is(err, io.EOF) {
			return content, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// redact takes the caller's token out of an answer: an API that repeats it must
// not show it to a model.
func redact(content []byte, bearer string) []byte {
	replace := func(form string) {
		if bytes.Contains(content, []byte(form)) {
			content = bytes.ReplaceAll(content, []byte(form), []byte("[redacted]"))
		}
	}
	if bearer == "" {
		return content
	}
	replace(bearer)
	if strings.Contains(bearer, "/") {
		replace(strings.ReplaceAll(bearer, "/", `\/`)) // many encoders of JSON escape the solidus
	}
	return content
}

func isMarkup(content []byte) bool {
	content = bytes.TrimLeft(content, " \t\r\n\ufeff")
	return len(content) > 0 && content[0] == '<'
}

// parseRetryAfter reads RFC 9110 §10.2.3: seconds or a date.
func parseRetryAfter(value string, now time.Time) time.Duration {
	const longest = 24 * time.Hour
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
		if seconds < 0 {
			return 0
		}
		return time.Duration(min(seconds, int64(longest/time.Second))) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(date.Sub(now), 0), longest)
	}
	return 0
}

// breaker is the circuit breaker of one operation.
func (c *Client) breaker(operation string) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	c.mu.RLock()
	b := c.breakers[operation]
	c.mu.RUnlock()
	if b != nil {
		return b
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if b = c.breakers[operation]; b == nil {
		b = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
			Name:        operation,
			MaxRequests: 1,
			Interval:    30 * time.Second,
			Timeout:     c.options.BreakerPause,
			ReadyToTrip: func(counts gobreaker.Counts) bool {
				return counts.ConsecutiveFailures >= 5 ||
					counts.Requests >= 20 && counts.TotalFailures*2 >= counts.Requests
			},
			IsSuccessful: func(err error) bool {
				var e *Error
				return !errors.As(err, &e) || !e.counts
			},
			// A caller who hangs up says nothing about the API.
			IsExcluded: func(err error) bool {
				var e *Error
				return errors.As(err, &e) && e.Class == Canceled
			},
		})
		c.breakers[operation] = b
	}
	return b
}
