// Package decision decides on one request: let it through as whom, or refuse it
// how. It knows nothing of Envoy, gRPC or net/http.
package decision

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/bearer"
	"github.com/neonpanel/mcp-gateway/authz/internal/denial"
	"github.com/neonpanel/mcp-gateway/authz/internal/limit"
	"github.com/neonpanel/mcp-gateway/authz/internal/resource"
	"github.com/neonpanel/mcp-gateway/authz/internal/scopes"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

// Request is what a decision depends on, and all of it.
type Request struct {
	// Path has no query.
	Path string
	// Authorization are the values of all Authorization headers.
	Authorization []string
	// Client is the address that the request came from; it may be unknown.
	Client netip.Addr
}

// Response is the whole answer. It is allowed if and only if Status is 0.
type Response struct {
	Status  int
	Headers []denial.Header
	Body    string
	Facts   Facts
	// Cause is for the operator's log only.
	Cause error
}

// Allowed reports whether the request goes on.
func (r *Response) Allowed() bool { return r.Status == 0 }

// Facts say what was decided about whom, for logs and per-subject limits. Empty
// ones are unknown.
type Facts struct {
	Reason, Auth, Subject, ClientID, Scopes, Expires string
}

// The reasons that the edge itself gives; a token.Error brings its own.
const (
	ReasonOK                = "ok"
	ReasonAnonymous         = "anonymous"
	ReasonNoCredential      = "no_credential"
	ReasonUnsupportedScheme = "unsupported_scheme"
	ReasonMultiple          = "multiple_credentials"
	ReasonInsufficientScope = "insufficient_scope"
	ReasonScopeReported     = "insufficient_scope_reported"
	ReasonTooManyRequests   = "too_many_requests"
)

// Passes and Refusals list every reason that an answer can have, so that a
// counter can exist before its first event.
func Passes() []string { return []string{ReasonOK, ReasonScopeReported, ReasonAnonymous} }

// Refusals is the other half, see Passes.
func Refusals() []string {
	return append(token.Reasons(), ReasonNoCredential, ReasonUnsupportedScheme, ReasonMultiple, ReasonInsufficientScope, ReasonTooManyRequests)
}

// Names of the headers for mcpbackend.
const (
	headerAuth            = "x-neonpanel-auth"
	headerSubject         = "x-neonpanel-subject"
	headerClientID        = "x-neonpanel-client-id"
	headerScopes          = "x-neonpanel-scopes"
	headerScopesSupported = "x-neonpanel-scopes-supported"
	headerScopeMode       = "x-neonpanel-scope-mode"
	headerExpires         = "x-neonpanel-expires"
	headerChallenge       = "x-neonpanel-challenge"
)

const (
	authBearer    = "bearer"
	authAnonymous = "anonymous"
)

// Options are what decisions rest on.
type Options struct {
	PublicURL string
	Verifier  token.Verifier
	// ScopesSupported are the issuer's; asked for at every decision, because the
	// issuer's metadata may arrive or change at any time.
	ScopesSupported func() []string
	// Scopes, when not nil, are in force instead of the issuer's.
	Scopes             []string
	RequiredScopes     []string
	ScopeMode          scopes.Mode
	StreamMax          time.Duration
	AnonymousDiscovery bool
	// Refused are all requests refused, and limit the answers; Failed are those
	// whose token was no good, and limit what else is spent on an address.
	Refused, Failed *limit.Refused
	Now             func() time.Time
}

// Decider decides. It is safe for concurrent use.
type Decider struct {
	options  Options
	required string
	bases    map[resource.Resource]string
	inForce  atomic.Pointer[inForce]
}

// inForce is the list of scopes in force in the forms that answers need, with
// the issuer's list that it was made from.
type inForce struct {
	supported []string
	joined    string
}

// New returns a Decider; all of Options but Scopes and RequiredScopes is needed.
func New(o Options) (*Decider, error) {
	if o.PublicURL == "" || o.Verifier == nil || o.ScopesSupported == nil || o.Refused == nil || o.Failed == nil || o.Now == nil || o.StreamMax <= 0 {
		return nil, errors.New("decision: an option is missing")
	}
	switch o.ScopeMode {
	case scopes.Enforce, scopes.Report, scopes.Off:
	default:
		return nil, errors.New("decision: unknown scope mode")
	}
	d := &Decider{options: o, required: scopes.Join(o.RequiredScopes), bases: map[resource.Resource]string{}}
	for _, r := range resource.All {
		d.bases[r] = denial.Base(r.MetadataURL(o.PublicURL))
	}
	return d, nil
}

// Decide never fails: what cannot be decided is refused.
func (d *Decider) Decide(ctx context.Context, r Request) Response {
	asked := &asked{Decider: d, base: d.bases[resource.Of(r.Path)], request: r, now: d.options.Now()}
	raw, outcome := bearer.Extract(r.Authorization)
	switch outcome {
	case bearer.Found:
		return asked.verify(ctx, raw)
	case bearer.Absent, bearer.Empty:
		if d.options.AnonymousDiscovery && r.Path == resource.MCP.Path() {
			return asked.anonymous()
		}
		return asked.refuse(ReasonNoCredential, denial.Case{Code: denial.InvalidToken, Description: denial.UnsupportedHeader, Bare: true}, nil)
	case bearer.Unsupported:
		return asked.refuse(ReasonUnsupportedScheme, denial.Case{Code: denial.InvalidToken, Description: denial.UnsupportedHeader, Bare: true}, nil)
	case bearer.Multiple:
		return asked.refuse(ReasonMultiple, denial.Case{Code: denial.InvalidRequest, Description: denial.MultipleTokens}, nil)
	case bearer.Oversize:
		return asked.unverified(token.Refuse(token.Oversize, nil))
	}
	return asked.unverified(token.Refuse(token.CharactersRefused, nil))
}

// Broken is the answer when deciding itself went wrong.
func (d *Decider) Broken(cause error) Response {
	asked := &asked{Decider: d, base: d.bases[resource.Root]}
	return asked.unverified(token.Refuse(token.Internal, cause))
}

// asked is one request on its way to an answer.
type asked struct {
	*Decider
	base    string
	request Request
	now     time.Time
}

func (a *asked) verify(ctx context.Context, raw string) Response {
	if a.options.Failed.Spent(a.now, a.request.Client) {
		ctx = token.Doubt(ctx)
	}
	who, err := a.options.Verifier.Verify(ctx, raw)
	if err != nil {
		return a.unverified(err)
	}
	// A whole second must be left, since the expiry goes on in whole seconds and
	// has to lie in the future there (RFC 7519 §4.1.4: "on or after" is expired).
	if who.Expires.Unix() <= a.now.Unix() {
		return a.unverified(token.Refuse(token.Expired, nil))
	}
	switch {
	case who.Subject == "":
		return a.unverified(token.Refuse(token.SubjectMissing, nil))
	case !headerSafe(who.Subject), !headerSafe(who.ClientID):
		return a.unverified(token.Refuse(token.ClaimInvalid, nil))
	}
	reason := ReasonOK
	if a.options.ScopeMode != scopes.Off && len(who.Missing(a.options.RequiredScopes...)) > 0 {
		if a.options.ScopeMode == scopes.Enforce {
			// Who asks is known and the token good, so it is not counted against
			// the address.
			return a.answer(ReasonInsufficientScope, denial.Case{
				Code: denial.InsufficientScope, Description: denial.MissingScope, Scope: a.required,
			}, nil)
		}
		reason = ReasonScopeReported
	}
	return a.allow(reason, who)
}

// unverified maps a token error to its row of the table.
func (a *asked) unverified(err error) Response {
	var e *token.Error
	if !errors.As(err, &e) {
		e = token.Refuse(token.Internal, err)
	}
	if e.Kind == token.Invalid || e.Suspect {
		a.options.Failed.Take(a.now, a.request.Client)
	}
	switch e.Kind {
	case token.Invalid:
		return a.refuse(e.Reason, denial.Case{Code: denial.InvalidToken, Description: e.Description}, e.Cause)
	case token.Malformed:
		return a.refuse(e.Reason, denial.Case{Code: denial.InvalidRequest, Description: e.Description}, e.Cause)
	}
	// Not known to be the client's fault, so no answers are held back for it.
	return a.answer(e.Reason, denial.Case{
		Code: denial.TemporarilyUnavailable, Description: e.Description, RetryAfter: e.RetryAfter,
	}, e.Cause)
}

// refuse refuses what is the client's fault, and counts it.
func (a *asked) refuse(reason string, c denial.Case, cause error) Response {
	if wait, ok := a.options.Refused.Take(a.now, a.request.Client); !ok {
		return a.tooMany(wait)
	}
	c.Scope = a.scopesInForce()
	return a.answer(reason, c, cause)
}

func (a *asked) tooMany(wait time.Duration) Response {
	return a.answer(ReasonTooManyRequests, denial.Case{Code: denial.TooManyRequests, Description: denial.SlowDown, RetryAfter: wait}, nil)
}

// answer is the one constructor of every refusal.
func (a *asked) answer(reason string, c denial.Case, cause error) Response {
	refusal := denial.New(a.base, c)
	return Response{
		Status: refusal.Status, Headers: refusal.Headers, Body: refusal.Body,
		Facts: Facts{Reason: reason}, Cause: cause,
	}
}

// allow is the one constructor of every pass with a token.
func (a *asked) allow(reason string, who token.Identity) Response {
	expires := who.Expires.Unix()
	if most := a.now.Add(a.options.StreamMax).Unix(); most < expires {
		expires = most
	}
	facts := Facts{
		Reason: reason, Auth: authBearer, Subject: who.Subject, ClientID: who.ClientID,
		Scopes: scopes.Join(who.Scopes), Expires: strconv.FormatInt(expires, 10),
	}
	return a.pass(facts)
}

// anonymous lets a request to list tools through without a token.
func (a *asked) anonymous() Response {
	if wait, ok := a.options.Refused.Take(a.now, a.request.Client); !ok {
		return a.tooMany(wait)
	}
	return a.pass(Facts{Reason: ReasonAnonymous, Auth: authAnonymous})
}

// pass writes the headers for mcpbackend; an empty one is left out.
func (a *asked) pass(facts Facts) Response {
	headers := make([]denial.Header, 0, 8)
	add := func(name, value string) {
		if value != "" {
			headers = append(headers, denial.Header{Name: name, Value: value})
		}
	}
	add(headerAuth, facts.Auth)
	add(headerSubject, facts.Subject)
	add(headerClientID, facts.ClientID)
	add(headerScopes, facts.Scopes)
	add(headerScopesSupported, a.scopesInForce())
	add(headerScopeMode, string(a.options.ScopeMode))
	add(headerExpires, facts.Expires)
	add(headerChallenge, a.base)
	return Response{Headers: headers, Facts: facts}
}

// scopesInForce is the joined list; it is made anew only when the issuer's
// changed.
func (d *Decider) scopesInForce() string {
	supported := d.options.ScopesSupported()
	if current := d.inForce.Load(); current != nil && slices.Equal(current.supported, supported) {
		return current.joined
	}
	fresh := &inForce{supported: slices.Clone(supported), joined: scopes.Join(scopes.InForce(d.options.Scopes, supported))}
	d.inForce.Store(fresh)
	return fresh.joined
}

// headerSafe reports whether a claim can be a header value as it is: visible
// ASCII with inner spaces (RFC 9110 §5.5), of bounded length.
func headerSafe(s string) bool {
	if len(s) > 512 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return s == "" || (s[0] != ' ' && s[len(s)-1] != ' ')
}
