// Package identity reads who is calling from the headers that the gateway puts
// on every bearer route. It verifies no signature: it trusts these headers
// because nothing but the gateway can reach this process, and it refuses a
// request whose headers are not exactly as the contract says.
package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/selection"
)

// The headers of the contract.
const (
	HeaderAuth            = "X-Neonpanel-Auth"
	HeaderSubject         = "X-Neonpanel-Subject"
	HeaderClientID        = "X-Neonpanel-Client-Id"
	HeaderScopes          = "X-Neonpanel-Scopes"
	HeaderScopesSupported = "X-Neonpanel-Scopes-Supported"
	HeaderScopeMode       = "X-Neonpanel-Scope-Mode"
	HeaderExpires         = "X-Neonpanel-Expires"
	HeaderChallenge       = "X-Neonpanel-Challenge"
)

// ScopeMode says what happens to a call that lacks a scope.
type ScopeMode string

// The scope modes. The zero value is not one of them.
const (
	Enforce ScopeMode = "enforce"
	Report  ScopeMode = "report"
	Off     ScopeMode = "off"
)

// Caller is who sent a request.
type Caller struct {
	// Anonymous callers have no token; they may only discover.
	Anonymous bool
	// Subject is the stable user id; empty for the anonymous.
	Subject string
	// ClientID is the OAuth client; it may be empty.
	ClientID string
	// Scopes are those that were granted.
	Scopes []string
	// InForce are the scopes that anybody can obtain; a scope that is not among
	// them is neither advertised nor asked for.
	InForce []string
	// ScopeMode says whether missing scopes matter.
	ScopeMode ScopeMode
	// Expires is when streams of this caller end; zero for the anonymous.
	Expires time.Time
	// Challenge holds the auth-params of a challenge for the path that was
	// asked for (RFC 9110 §11.2): realm and resource_metadata.
	Challenge string
	// Selection is what the caller wants to see less of; nil for nothing.
	Selection *selection.Selection
	// Token is the access token, for the NeonPanel API and nothing else.
	Token string `json:"-"`
}

// Owner is what a session belongs to.
type Owner struct{ Subject, ClientID string }

// Owner returns what a session of this caller belongs to.
func (c Caller) Owner() Owner { return Owner{c.Subject, c.ClientID} }

// String keeps the token out of whatever prints a caller.
func (c Caller) String() string { return fmt.Sprintf("caller %q of client %q", c.Subject, c.ClientID) }

// GoString keeps the token out of %#v too.
func (c Caller) GoString() string { return c.String() }

// Missing returns the scopes in force that an operation needs and the caller
// lacks, in the order of needed; nil when the scopes suffice.
func (c Caller) Missing(needed []string) []string {
	var missing []string
	for _, s := range needed {
		if slices.Contains(c.InForce, s) && !slices.Contains(c.Scopes, s) {
			missing = append(missing, s)
		}
	}
	return missing
}

// Required returns those of the needed scopes that are in force.
func (c Caller) Required(needed []string) []string {
	var required []string
	for _, s := range needed {
		if slices.Contains(c.InForce, s) {
			required = append(required, s)
		}
	}
	return required
}

// Lists says whether a list of tools for this caller has the tool.
func (c Caller) Lists(t *catalogue.Tool) bool {
	if !c.Selection.Allows(t) {
		return false
	}
	return !c.Selection.Granted() || c.ScopeMode != Enforce || c.Missing(t.Scopes) == nil
}

// FromRequest reads the caller. An error means that the gateway broke the
// contract; its text names the header, never a value.
func FromRequest(h http.Header, now time.Time) (Caller, error) {
	auth, err := single(h, HeaderAuth)
	if err != nil {
		return Caller{}, err
	}
	var c Caller
	switch auth {
	case "bearer":
	case "anonymous":
		c.Anonymous = true
	case "":
		return Caller{}, fmt.Errorf("%s is missing", HeaderAuth)
	default:
		return Caller{}, fmt.Errorf("%s is neither bearer nor anonymous", HeaderAuth)
	}

	var faults []error
	value := func(name string) string {
		v, err := single(h, name)
		if err != nil {
			faults = append(faults, err)
		}
		return v
	}
	c.Subject = value(HeaderSubject)
	c.ClientID = value(HeaderClientID)
	c.Scopes = strings.Fields(value(HeaderScopes))
	c.InForce = strings.Fields(value(HeaderScopesSupported))
	c.Challenge = value(HeaderChallenge)
	switch mode := ScopeMode(value(HeaderScopeMode)); mode {
	case "":
		c.ScopeMode = Enforce
	case Enforce, Report, Off:
		c.ScopeMode = mode
	default:
		faults = append(faults, fmt.Errorf("%s is none of enforce, report and off", HeaderScopeMode))
	}
	expires := value(HeaderExpires)

	if c.Anonymous {
		// Nothing that a token would prove is taken from a request without one.
		c.Subject, c.ClientID, c.Scopes = "", "", nil
		return c, errors.Join(faults...)
	}
	if c.Subject == "" {
		faults = append(faults, fmt.Errorf("%s is missing", HeaderSubject))
	}
	if seconds, err := strconv.ParseInt(expires, 10, 64); err != nil {
		faults = append(faults, fmt.Errorf("%s is not a Unix time", HeaderExpires))
	} else if c.Expires = time.Unix(seconds, 0); !c.Expires.After(now) {
		faults = append(faults, fmt.Errorf("%s is not in the future", HeaderExpires))
	}
	if c.Token, err = bearer(h); err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return Caller{}, errors.Join(faults...)
	}
	return c, nil
}

// single returns the only value of a header, or "" when there is none.
func single(h http.Header, name string) (string, error) {
	switch values := h[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return strings.TrimSpace(values[0]), nil
	default:
		return "", fmt.Errorf("%s is there more than once", name)
	}
}

// bearer returns the credentials of an Authorization header; the scheme is
// case-insensitive (RFC 6750 §2.1, RFC 9110 §11.1).
func bearer(h http.Header) (string, error) {
	v, err := single(h, "Authorization")
	if err != nil {
		return "", err
	}
	scheme, token, ok := strings.Cut(v, " ")
	token = strings.Trim(token, " ")
	if !ok || !strings.EqualFold(scheme, "bearer") || token == "" || strings.ContainsAny(token, " \t,") {
		return "", errors.New("the Authorization header holds no bearer token")
	}
	return token, nil
}

type contextKey struct{}

// With returns a context that carries the caller.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// From returns the caller of a request that passed [Middleware].
func From(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(contextKey{}).(Caller)
	return c, ok
}

// Middleware lets through only requests that meet the contract; the others go
// to refuse, which must answer them.
func Middleware(next http.Handler, now func() time.Time, refuse func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := FromRequest(r.Header, now())
		if err != nil {
			refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(With(r.Context(), c)))
	})
}
