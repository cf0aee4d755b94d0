// Package upstream is the HTTP client for the issuer. What it may be led to by
// a document or a redirect is bounded: one origin, a capped size and a capped
// time.
package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Client talks to the issuer.
type Client struct{ http *http.Client }

// maxRedirects bounds how often a GET is sent on within one origin.
const maxRedirects = 3

// NewTransport makes the transport. Only the given proxy is used, never one
// of the environment; loopback is always reached directly. The proxy, which may be
// nil, is asked for before each request, so that it can change.
func NewTransport(proxy func() (*url.URL, error), caFile string) (*http.Transport, error) {
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    2 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if proxy != nil {
		t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
			if answer.StatusCode != http.StatusOK {
				// It says nothing of the server, so that this is no StatusError.
				return failure{fmt.Sprintf("the proxy answered with status %d", answer.StatusCode), errors.New("CONNECT refused")}
			}
			return nil
		}
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if isLoopback(r.URL.Hostname()) {
				return nil, nil
			}
			return proxy()
		}
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", caFile)
		}
		t.TLSClientConfig.RootCAs = roots
	}
	return t, nil
}

// ParseProxy reads the address of a proxy. Its error does not hold what was given,
// in which there may be a password.
func ParseProxy(given string) (*url.URL, error) {
	u, err := url.Parse(given)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("an http or https URL of a proxy, such as http://proxy.internal:3128")
	}
	return u, nil
}

// New makes a Client.
func New(transport http.RoundTripper) *Client {
	return &Client{http: &http.Client{
		Transport: transport,
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			switch {
			case via[0].Method != http.MethodGet:
				// A POST carries a credential and a token: they go to the one
				// address that was configured or found.
				return redirectError{"redirect of a POST refused"}
			case len(via) > maxRedirects:
				return redirectError{"too many redirects"}
			case Origin(next.URL) != Origin(via[0].URL):
				return redirectError{"redirect to another origin refused"}
			}
			return nil
		},
	}}
}

// CloseIdle closes idle connections.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// StatusError is an answer other than 200.
type StatusError struct {
	Status int
	// RetryAfter is zero unless the answer named a number of seconds (RFC 9110
	// §10.2.3).
	RetryAfter time.Duration
}

func (e *StatusError) Error() string { return fmt.Sprintf("answered with status %d", e.Status) }

// redirectError is a redirect that is not followed.
type redirectError struct{ what string }

func (e redirectError) Error() string { return e.what }

// brokenError is a connection that failed before the whole answer was there.
type brokenError struct{ error }

func (e brokenError) Unwrap() error { return e.error }

// failure says of an error what may be shown of it.
type failure struct {
	what string
	err  error
}

func (e failure) Error() string { return e.what }
func (e failure) Unwrap() error { return e.err }

// classify keeps the text of what this machine found out. The errors of net/http
// also quote what the server sent, such as a Location that repeats the token which
// it was asked about, and the URL with its query: of those, the kind remains.
func classify(err error) error {
	var (
		redirect redirectError
		shown    failure
		network  *net.OpError
		record   tls.RecordHeaderError
		mistrust *tls.CertificateVerificationError
		late     net.Error
	)
	switch {
	case errors.As(err, &redirect):
		return failure{redirect.what, err}
	case errors.As(err, &shown):
		return failure{shown.what, err}
	case errors.Is(err, context.Canceled):
		return failure{context.Canceled.Error(), err}
	case errors.As(err, &network):
		return failure{network.Error(), err}
	case errors.As(err, &late) && late.Timeout():
		return failure{"no answer in time", err}
	case errors.As(err, &mistrust):
		return failure{mistrust.Error(), err}
	case errors.As(err, &record):
		return failure{"the server does not speak TLS", err}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return failure{"the server closed the connection before the answer was there", err}
	}
	return failure{"the answer is not what HTTP allows", err}
}

func broken(err error) error {
	var late net.Error
	if errors.As(err, new(redirectError)) || errors.As(err, &late) && late.Timeout() || errors.Is(err, context.Canceled) {
		return classify(err)
	}
	return brokenError{classify(err)}
}

// Shown is an address as it may be logged: without its query, which may hold a key.
func Shown(address string) string {
	at := strings.IndexByte(address, '?')
	if at < 0 {
		return address
	}
	return address[:at] + "?…"
}

// Broken reports that a connection failed before the whole answer was there: no
// time ran out, and it is not known what became of the request.
func Broken(err error) bool { return errors.As(err, new(brokenError)) }

// Get fetches a JSON document of at most limit bytes.
func (c *Client) Get(ctx context.Context, address string, limit int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return c.do(request, limit)
}

// PostForm sends a form, with HTTP Basic credentials unless the user is empty,
// and returns the JSON document of at most limit bytes that comes back.
func (c *Client) PostForm(ctx context.Context, address string, form url.Values, user, password string, limit int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if user != "" {
		// RFC 6749 §2.3.1: both parts are form-encoded first.
		request.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(password))
	}
	// Nothing is sent for an empty list, but it tells the transport that the
	// form may be sent again on a new connection when a kept-alive one turns
	// out to be dead.
	request.Header["Idempotency-Key"] = []string{}
	body, err := c.do(request, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Shown(address), err)
	}
	return body, nil
}

func (c *Client) do(request *http.Request, limit int64) ([]byte, error) {
	request.Header.Set("Accept", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, broken(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		// A short rest is read so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, response.Body, 4<<10)
		// Cut off at 29 bits, which overflow no duration; 0 if it is no number.
		seconds, _ := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 29)
		return nil, &StatusError{Status: response.StatusCode, RetryAfter: time.Duration(seconds) * time.Second}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, broken(err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("answer longer than %d bytes", limit)
	}
	return body, nil
}

// ParseURL reads an address that tokens or trust depend on: HTTPS, or HTTP on
// loopback; without user information and fragment.
func ParseURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("not an absolute URL")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return nil, errors.New("must be https, or http on loopback")
	case u.User != nil:
		return nil, errors.New("must not hold user information")
	case u.Fragment != "" || strings.Contains(address, "#"):
		return nil, errors.New("must not hold a fragment")
	}
	return u, nil
}

// Origin is the scheme, host and port of a URL (RFC 6454 §4).
func Origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}
