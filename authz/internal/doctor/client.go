package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

// maxBody caps what is read of any answer.
const maxBody = 8 << 20

// client sends requests the way a connector does, except that it follows no
// redirect: it shows them.
type client struct {
	http    *http.Client
	timeout time.Duration
	now     func() time.Time
}

// newTransport makes a transport for slow networks too: what is bounded is the
// whole request.
func newTransport(o Options) (*http.Transport, error) {
	var proxy func() (*url.URL, error)
	if o.Proxy != "" {
		u, err := upstream.ParseProxy(o.Proxy)
		if err != nil {
			return nil, fmt.Errorf("the proxy must be %w", err)
		}
		proxy = func() (*url.URL, error) { return u, nil }
	}
	t, err := upstream.NewTransport(proxy, o.CAFile)
	if err != nil {
		return nil, err
	}
	t.DialContext = (&net.Dialer{Timeout: o.Timeout}).DialContext
	t.TLSHandshakeTimeout = o.Timeout
	return t, nil
}

func newClient(t http.RoundTripper, o Options) *client {
	return &client{timeout: o.Timeout, now: o.Now, http: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response that has been read, or why there is none.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
	// at is the middle of the time that the request took.
	at time.Time
}

// request is what is sent. A header named Host sets the host.
type request struct {
	method, address string
	header          http.Header
	body            string
}

func (c *client) do(ctx context.Context, r request) answer {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	sent := c.now()
	response, err := c.open(ctx, r)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	at := sent.Add(c.now().Sub(sent) / 2)
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("longer than %d bytes", maxBody)
	}
	if isEventStream(response.Header) && errors.Is(err, context.DeadlineExceeded) {
		// A stream need not end to have answered.
		err = nil
	}
	return answer{status: response.StatusCode, header: response.Header, body: body, err: err, at: at}
}

// open sends a request and returns the response unread.
func (c *client) open(ctx context.Context, r request) (*http.Response, error) {
	out, err := http.NewRequestWithContext(ctx, r.method, r.address, strings.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	if r.body == "" {
		out.Body, out.ContentLength = http.NoBody, 0
	}
	for name, values := range r.header {
		if name == "Host" {
			out.Host = values[0]
			continue
		}
		out.Header[name] = values
	}
	out.Header.Set("User-Agent", "authz-doctor")
	response, err := c.http.Do(out)
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		// The address is in the line already.
		err = wrapped.Err
	}
	return response, err
}

func (c *client) get(ctx context.Context, address string, header ...string) answer {
	return c.do(ctx, request{method: http.MethodGet, address: address, header: headers(header...)})
}

// headers makes a header of pairs of name and value.
func headers(pairs ...string) http.Header {
	h := make(http.Header, len(pairs)/2+1)
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// String says what an unwanted answer is.
func (a answer) String() string {
	switch {
	case errors.Is(a.err, context.DeadlineExceeded):
		return "no answer in time"
	case a.err != nil:
		return "no answer: " + a.err.Error()
	case a.status >= 300 && a.status < 400:
		return fmt.Sprintf("%d, a redirect to %.200q, which is not followed", a.status, a.header.Get("Location"))
	}
	text := fmt.Sprintf("%d", a.status)
	var said struct {
		Description string `json:"error_description"`
	}
	if a.status >= 400 && json.Unmarshal(a.body, &said) == nil && said.Description != "" {
		text += fmt.Sprintf(" %.200q", said.Description)
	}
	return text
}

// object reads the answer as one JSON document with status 200.
func (a answer) object() (strictjson.Object, error) {
	if a.err != nil || a.status != http.StatusOK {
		return nil, errors.New(a.String())
	}
	mediaType, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || (mediaType != "application/json" && !strings.HasSuffix(mediaType, "+json")) {
		return nil, fmt.Errorf("Content-Type %.100q, not application/json", a.header.Get("Content-Type"))
	}
	object, err := strictjson.ParseObject(bytes.TrimSpace(a.body))
	if err != nil {
		return nil, fmt.Errorf("not a JSON document: %w", err)
	}
	return object, nil
}

func isEventStream(h http.Header) bool {
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && mediaType == "text/event-stream"
}

// lists reports whether a comma-separated header holds an element, without
// regard to case.
func lists(h http.Header, name, element string) bool {
	for _, value := range h.Values(name) {
		for one := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(one), element) {
				return true
			}
		}
	}
	return false
}

// readable reports whether a page of the origin may read an answer.
func readable(h http.Header, origin string) bool {
	allowed := h.Values("Access-Control-Allow-Origin")
	return len(allowed) == 1 && (allowed[0] == "*" || allowed[0] == origin)
}
