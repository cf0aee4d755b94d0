// Package jwt judges what a token says: the claims of a JWT (RFC 7519,
// RFC 9068) and, by the same rules, those of an introspection response
// (RFC 7662).
package jwt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
)

// Rules are what the claims are judged by.
type Rules struct {
	// Issuer is the one `iss` accepted.
	Issuer string
	// AllowMissingIssuer accepts claims without `iss`.
	AllowMissingIssuer bool
	// Audiences are the accepted `aud` values.
	Audiences []string
	// AnyAudience: only audiences that are URIs must match.
	AnyAudience bool
	// ClientIDs are accepted in `aud` as well.
	ClientIDs []string
	// ReportAudience: what the audience rules refuse is only noted in the
	// Judgement.
	ReportAudience bool
	// Leeway is for `nbf`.
	Leeway time.Duration
}

const (
	maxSubject  = 255 // OpenID Connect Core §2
	maxClientID = 512
	maxID       = 512
)

// claims is what was read, before it is judged.
type claims struct {
	issuer    string
	subject   string
	clientID  string
	azp       string
	id        string
	audience  []string
	scopes    []string
	hasScopes bool
	issuedAt  time.Time
	notBefore time.Time
	expires   time.Time
}

// Judgement is what acceptable claims amount to.
type Judgement struct {
	Identity token.Identity
	// Audience is the reason for which the audience rules would refuse the
	// token, were they enforced; else empty.
	Audience token.Reason
	// Claims are what was judged.
	Claims strictjson.Object
	// Asked is when the issuer said so to another replica; zero when it was asked
	// just now, or not at all.
	Asked time.Time
}

// Judge judges claims. Its errors are *token.Error. With a record, if t is not
// nil, every claim is judged and the faults are in the record alone.
func (r *Rules) Judge(object strictjson.Object, now time.Time, t *trail.Trail) (Judgement, error) {
	t.Judge(object)
	var c claims
	if err := c.read(object, t); err != nil {
		return Judgement{}, err
	}
	if err := r.judge(&c, now, t); err != nil {
		return Judgement{}, err
	}
	audience := r.audience(&c)
	if audience != "" && !r.ReportAudience {
		if err := t.Fail(trail.Audience, audience, nil); err != nil {
			return Judgement{}, err
		}
	}
	if t != nil {
		r.record(object, &c, now, audience, t)
	}
	return Judgement{Claims: object, Audience: audience, Identity: token.Identity{
		Subject:  c.subject,
		ClientID: r.client(&c),
		ID:       c.id,
		Scopes:   c.scopes,
		IssuedAt: c.issuedAt,
		Expires:  c.expires,
	}}, nil
}

func (c *claims) read(object strictjson.Object, t *trail.Trail) error {
	for _, member := range object {
		var err error
		value := member.Value
		switch member.Name {
		case "iss":
			c.issuer, err = text(value, 2048)
		case "sub":
			c.subject, err = name(value, maxSubject)
		case "client_id":
			c.clientID, err = name(value, maxClientID)
		case "azp":
			c.azp, err = name(value, maxClientID)
		case "jti":
			c.id, err = text(value, maxID)
		case "aud":
			// One string or an array of them (RFC 7519 §4.1.3).
			if value.IsString() {
				var one string
				one, err = value.Text()
				c.audience = []string{one}
			} else {
				c.audience, err = value.Texts()
			}
		case "exp":
			c.expires, err = value.Date()
		case "nbf":
			c.notBefore, err = value.Date()
		case "iat":
			c.issuedAt, err = value.Date()
		case "scope", "scp", "scopes":
			if bad := c.addScopes(value); bad != nil {
				if err := t.Fail(trail.Scopes, token.ScopeInvalid, fmt.Errorf("%s: %w", member.Name, bad)); err != nil {
					return err
				}
			}
		case "nonce", "at_hash", "c_hash":
			// OpenID Connect Core §2, §3.3.2.11: only ID tokens carry these.
			if err := t.Fail(trail.IDToken, token.IDToken, errors.New(member.Name)); err != nil {
				return err
			}
		case "events":
			// RFC 8417 §2.2: a security event, such as a logout token.
			if err := t.Fail(trail.Use, token.NotAccessToken, errors.New(member.Name)); err != nil {
				return err
			}
		case "cnf":
			// RFC 7800, RFC 9449, RFC 8705: bound to a key whose possession
			// nobody has proved to this gateway.
			if err := t.Fail(trail.Confirmation, token.SenderBound, nil); err != nil {
				return err
			}
		case "token_use", "token_type":
			use, bad := value.Text()
			if bad != nil || !oneOf(use, "access", "access_token") && (member.Name == "token_use" || !oneOf(use, "bearer")) {
				if err := t.Fail(trail.Use, token.NotAccessToken, errors.New(member.Name)); err != nil {
					return err
				}
			}
		case "typ":
			use, bad := value.Text()
			if bad != nil || oneOf(use, "refresh", "offline", "id", "logout", "refresh_token", "id_token") {
				if err := t.Fail(trail.Use, token.NotAccessToken, errors.New(member.Name)); err != nil {
					return err
				}
			}
		}
		if err != nil {
			if err := t.Fail(checkOf(member.Name), token.ClaimInvalid, fmt.Errorf("%s: %w", member.Name, err)); err != nil {
				return err
			}
		}
	}
	slices.Sort(c.scopes)
	c.scopes = slices.Compact(c.scopes)
	return nil
}

func oneOf(s string, list ...string) bool {
	return slices.ContainsFunc(list, func(item string) bool { return strings.EqualFold(s, item) })
}

// name reads a string that becomes a header value: ASCII (RFC 9110 §5.5).
func name(value strictjson.Value, longest int) (string, error) {
	s, err := text(value, longest)
	if err != nil {
		return "", err
	}
	return s, checkASCII(s)
}

func checkASCII(s string) error {
	for i := 0; i < len(s); i++ {
		if s[i] > '~' {
			return errors.New("not ASCII")
		}
	}
	return nil
}

// text reads a string without control bytes, and without spaces at its ends,
// which HTTP would cut off and so make two names one (RFC 9110 §5.5).
func text(value strictjson.Value, longest int) (string, error) {
	s, err := value.Text()
	if err != nil {
		return "", err
	}
	return checkText(s, longest)
}

func checkText(s string, longest int) (string, error) {
	if s == "" {
		return "", errors.New("empty")
	}
	if len(s) > longest {
		return "", errors.New("too long")
	}
	if s[0] == ' ' || s[len(s)-1] == ' ' {
		return "", errors.New("space at an end")
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] == 0x7f {
			return "", errors.New("control byte")
		}
	}
	return s, nil
}

// addScopes reads a space-delimited string (RFC 6749 §3.3) or an array of
// scope-tokens. An element with a space in it is refused rather than split: it
// would grant what the issuer may not have meant.
func (c *claims) addScopes(value strictjson.Value) error {
	c.hasScopes = true
	var elements []string
	if value.IsArray() {
		var err error
		if elements, err = value.Texts(); err != nil {
			return err
		}
	} else {
		list, err := value.Text()
		if err != nil {
			return err
		}
		if list == "" {
			return nil
		}
		elements = strings.Split(list, " ")
	}
	for _, element := range elements {
		if !token.IsScopeToken(element) {
			return errors.New("an element is not a scope-token")
		}
	}
	if c.scopes == nil {
		c.scopes = elements
	} else {
		c.scopes = append(c.scopes, elements...)
	}
	return nil
}

func (r *Rules) judge(c *claims, now time.Time, t *trail.Trail) error {
	if reason := r.issuer(c); reason != "" {
		if err := t.Fail(trail.Issuer, reason, nil); err != nil {
			return err
		}
	}
	if reason := expiry(c, now); reason != "" {
		if err := t.Fail(trail.Expiry, reason, nil); err != nil {
			return err
		}
	}
	// RFC 7519 §4.1.5.
	if now.Add(r.Leeway).Before(c.notBefore) {
		if err := t.Fail(trail.NotBefore, token.NotYetValid, nil); err != nil {
			return err
		}
	}
	if c.subject == "" {
		return t.Fail(trail.Subject, token.SubjectMissing, nil)
	}
	return nil
}

// issuer judges `iss` (RFC 7519 §4.1.1, RFC 9068 §4), to the byte.
func (r *Rules) issuer(c *claims) token.Reason {
	switch {
	case c.issuer == "" && !r.AllowMissingIssuer:
		return token.IssuerMissing
	case c.issuer != "" && c.issuer != r.Issuer:
		return token.IssuerMismatch
	}
	return ""
}

// expiry judges `exp` (RFC 7519 §4.1.4): not on or after it; our clock and the
// issuer's differ by less than it matters, so there is no leeway.
func expiry(c *claims, now time.Time) token.Reason {
	switch {
	case c.expires.IsZero():
		return token.ExpiryMissing
	case !now.Before(c.expires):
		return token.Expired
	}
	return ""
}

// audience judges `aud` (RFC 7519 §4.1.3, RFC 8707 §2): empty, or the reason
// to refuse.
func (r *Rules) audience(c *claims) token.Reason {
	if slices.ContainsFunc(c.audience, func(a string) bool { return slices.Contains(r.Audiences, a) }) {
		return ""
	}
	named := slices.ContainsFunc(c.audience, func(a string) bool { return slices.Contains(r.ClientIDs, a) })
	// A URI names a resource server, and this is not the one.
	elsewhere := slices.ContainsFunc(c.audience, NamesResource)
	switch {
	case named || r.AnyAudience && !elsewhere:
		// An ID token's audience is a client too; what tells an access token
		// apart is that it speaks of scopes.
		if !c.hasScopes {
			return token.ScopeClaimMissing
		}
		return ""
	case len(c.audience) == 0:
		return token.AudienceMissing
	}
	return token.AudienceMismatch
}

// NamesResource reports whether an audience is meant as the name of a resource: an
// absolute URI (RFC 8707 §2, RFC 3986 §4.3), be it a URL, urn:example:api or
// api://id. Whether it is a proper one does not matter: what begins like a URI is no
// client's id, and must be one that is accepted by name.
func NamesResource(audience string) bool {
	scheme, _, found := strings.Cut(audience, ":")
	if !found {
		return false
	}
	// RFC 3986 §3.1.
	for i := range len(scheme) {
		switch c := scheme[i] | 0x20; {
		case c >= 'a' && c <= 'z':
		case i > 0 && (c >= '0' && c <= '9' || scheme[i] == '+' || scheme[i] == '-' || scheme[i] == '.'):
		default:
			return strings.Contains(audience, "://")
		}
	}
	return scheme != "" || strings.HasPrefix(audience, "://")
}

// client is the OAuth client: client_id (RFC 9068 §2.2), azp (OpenID Connect
// Core §2), or the one audience that is no URI, as Laravel Passport has it.
func (r *Rules) client(c *claims) string {
	switch {
	case c.clientID != "":
		return c.clientID
	case c.azp != "":
		return c.azp
	}
	if len(c.audience) == 1 && !NamesResource(c.audience[0]) && !slices.Contains(r.Audiences, c.audience[0]) {
		if client, err := checkText(c.audience[0], maxClientID); err == nil && checkASCII(client) == nil {
			return client
		}
	}
	return ""
}
