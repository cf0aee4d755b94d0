// Package doctor examines a running gateway from outside, the way a connector
// meets it: it knows nothing but the URL that a user types, and with a token
// what that user may do.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/resource"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

// Options are what an examination is made of.
type Options struct {
	// URL is what a user types into a connector.
	URL string
	// Token, if set, is an access token; it is sent to the gateway alone.
	Token string
	// StreamTime is how long a stream is held open; 0 leaves that check out.
	StreamTime time.Duration
	// Timeout bounds one request, Limit all of them but the stream's time.
	Timeout, Limit time.Duration
	// CAFile holds further certificate authorities, Proxy is the HTTP proxy to use.
	CAFile, Proxy string
	Now           func() time.Time
	// Found, if set, is told of each finding as it is made.
	Found func(Finding)
}

// examination is what is known so far. Each check looks at one property only,
// so that one fault is one line; what it needs of others it names.
type examination struct {
	Options
	client *client
	// base is the origin of the gateway, typed the resource that the URL names.
	base     string
	loopback bool
	typed    resource.Resource

	results map[string]Result

	tls       tlsState
	documents []protectedDocument
	issuer    string
	metadata  []issuerDocument
	issuerAt  answer
	keys      []jsonWebKey
	refusals  []refusal
	tool      string
	called    answer
}

// check is one line of the report.
type check struct {
	name string
	// needs are checks without which this one would say the same again, or
	// nothing.
	needs []string
	// token means that the check is made with a token.
	token bool
	run   func(*examination, context.Context) Finding
}

// secure are the checks that come before anything is sent.
var secure = []string{"HTTPS", "TLS certificate", "TLS dates", "TLS version"}

// checks are all of them, in their order.
func checks() []check {
	all := []check{
		{name: "HTTPS", run: (*examination).checkScheme},
		{name: "TLS certificate", needs: secure[:1], run: (*examination).checkCertificate},
		{name: "TLS dates", needs: secure[:1], run: (*examination).checkDates},
		{name: "TLS version", needs: secure[:1], run: (*examination).checkVersion},
	}
	for _, c := range []check{
		{name: "public routes", run: (*examination).checkPublic},
		{name: "resource documents", run: (*examination).checkDocuments},
		{name: "resource identifiers", needs: []string{"resource documents"}, run: (*examination).checkIdentifiers},
		{name: "authorization server", needs: []string{"resource documents"}, run: (*examination).checkServers},
		{name: "document CORS", needs: []string{"resource documents"}, run: (*examination).checkDocumentCORS},
		{name: "issuer metadata", needs: []string{"authorization server"}, run: (*examination).checkMetadata},
		{name: "issuer identifier", needs: []string{"issuer metadata"}, run: (*examination).checkIssuer},
		{name: "issuer PKCE", needs: []string{"issuer metadata"}, run: (*examination).checkPKCE},
		{name: "issuer registration", needs: []string{"issuer metadata"}, run: (*examination).checkRegistration},
		{name: "metadata copies", needs: []string{"issuer metadata"}, run: (*examination).checkCopies},
		{name: "scopes", needs: []string{"issuer metadata"}, run: (*examination).checkScopes},
		{name: "keys", needs: []string{"issuer metadata"}, run: (*examination).checkKeys},
		{name: "key strength", needs: []string{"keys"}, run: (*examination).checkKeyStrength},
		{name: "key ids", needs: []string{"keys"}, run: (*examination).checkKeyIDs},
		{name: "refusal", run: (*examination).checkRefusal},
		{name: "challenge", needs: []string{"refusal"}, run: (*examination).checkChallenge},
		{name: "challenge metadata", needs: []string{"challenge", "resource identifiers"}, run: (*examination).checkChallengeMetadata},
		{name: "challenge CORS", needs: []string{"refusal"}, run: (*examination).checkChallengeCORS},
		{name: "clock", needs: []string{"refusal", "issuer metadata"}, run: (*examination).checkClock},
		{name: "invalid token", needs: []string{"refusal"}, run: (*examination).checkInvalidToken},
		{name: "preflight chatgpt.com", run: preflightFrom("https://chatgpt.com")},
		{name: "preflight claude.ai", run: preflightFrom("https://claude.ai")},
		{name: "wrong host", run: (*examination).checkHost},
		{name: "forged identity", needs: []string{"refusal"}, run: (*examination).checkForged},
		{name: "tools/list", token: true, run: (*examination).checkTools},
		{name: "read call", needs: []string{"tools/list"}, token: true, run: (*examination).checkCall},
		{name: "forged with token", needs: []string{"read call"}, token: true, run: (*examination).checkForgedWithToken},
		{name: "stream", needs: []string{"tools/list"}, token: true, run: (*examination).checkStream},
	} {
		c.needs = append(slices.Clone(secure), c.needs...)
		all = append(all, c)
	}
	return all
}

// Run examines a gateway. The error means that it could not; what is wrong with
// the gateway is in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &examination{Options: o, results: map[string]Result{}}
	if err := e.parseURL(o.URL); err != nil {
		return nil, err
	}
	transport, err := newTransport(o)
	if err != nil {
		return nil, err
	}
	defer transport.CloseIdleConnections()
	e.client = newClient(transport, o)
	limited, cancel := context.WithTimeout(ctx, o.Limit+o.StreamTime)
	defer cancel()
	if err := e.reach(limited); err != nil {
		return nil, err
	}
	report := &Report{URL: o.URL, Counts: map[Result]int{OK: 0, Warn: 0, Fail: 0, Skip: 0}}
	for _, c := range checks() {
		f := e.examine(limited, c)
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		f.Check = c.name
		f.Seen, f.Fix = printable(f.Seen, o.Token), printable(f.Fix, o.Token)
		e.results[c.name] = f.Result
		report.Counts[f.Result]++
		report.Checks = append(report.Checks, f)
		if o.Found != nil {
			o.Found(f)
		}
	}
	report.Issuer = printable(e.issuer, o.Token)
	return report, nil
}

// examine makes one check, unless there is a reason not to.
func (e *examination) examine(ctx context.Context, c check) Finding {
	if c.token && e.Token == "" {
		return Finding{Result: Skip, Seen: "needs a token: --token-file or --token-stdin"}
	}
	for _, name := range c.needs {
		if result := e.results[name]; result == Fail || (result == Skip && !e.plain(name)) {
			return Finding{Result: Skip, Seen: "needs " + name}
		}
	}
	if ctx.Err() != nil {
		return Finding{Result: Fail, Seen: "there was no time left for it", Fix: "see what answered slowly; --limit gives more time"}
	}
	return c.run(e, ctx)
}

// plain reports whether a skipped check is one of TLS that HTTP on loopback has
// no need of.
func (e *examination) plain(name string) bool {
	return strings.HasPrefix(e.base, "http://") && e.loopback && slices.Contains(secure, name)
}

// parseURL reads the URL as a connector does, which writes scheme and host in
// lower case and leaves out the default port (WHATWG URL).
func (e *examination) parseURL(typed string) error {
	u, err := url.Parse(typed)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return fmt.Errorf("URL: %q; allowed: https://host/mcp, or http://127.0.0.1:8080/mcp", typed)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(typed, "#"):
		return errors.New("URL: user information, a query and a fragment are not part of a gateway's URL")
	}
	path := u.EscapedPath()
	if path == "/" {
		path = ""
	}
	if !slices.Contains(resource.All[:], resource.Resource(path)) {
		return fmt.Errorf("URL: path %q; allowed: /mcp, /sse, /sse/, or none", path)
	}
	host := strings.ToLower(u.Host)
	if u.Port() == map[string]string{"https": "443", "http": "80"}[u.Scheme] || strings.HasSuffix(host, ":") {
		host = strings.TrimSuffix(host, ":"+u.Port())
	}
	e.base, e.typed = u.Scheme+"://"+host, resource.Resource(path)
	// The one other thing that an address of this kind may be is HTTP.
	_, err = upstream.ParseURL("http://" + host)
	e.loopback = err == nil
	return nil
}

// send makes a request of the gateway. This and the stream are the only places
// that the token leaves from.
func (e *examination) send(ctx context.Context, withToken bool, r request) answer {
	return e.client.do(ctx, e.authorize(withToken, r))
}

func (e *examination) authorize(withToken bool, r request) request {
	r.address = e.base + r.address
	if r.header == nil {
		r.header = http.Header{}
	}
	if withToken {
		r.header.Set("Authorization", "Bearer "+e.Token)
	}
	return r
}

func ok(format string, args ...any) Finding {
	return Finding{Result: OK, Seen: fmt.Sprintf(format, args...)}
}

func skip(format string, args ...any) Finding {
	return Finding{Result: Skip, Seen: fmt.Sprintf(format, args...)}
}

func warn(fix, format string, args ...any) Finding {
	return Finding{Result: Warn, Seen: fmt.Sprintf(format, args...), Fix: fix}
}

func fail(fix, format string, args ...any) Finding {
	return Finding{Result: Fail, Seen: fmt.Sprintf(format, args...), Fix: fix}
}
