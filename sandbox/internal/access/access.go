// Package access is the API's own check of the bearer token (RFC 6750): the
// NeonPanel API trusts nobody in front of it.
package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

// Grant is what a valid token allows.
type Grant struct {
	Subject  string
	ClientID string
	Scopes   []string
}

// The reasons a request is refused. Callers answer 401 to each.
var (
	ErrMissing  = errors.New("no bearer token")
	ErrInvalid  = errors.New("not a token of this server")
	ErrExpired  = errors.New("the token has expired or is not valid yet")
	ErrIssuer   = errors.New("the token has another issuer")
	ErrAudience = errors.New("the token is for another resource")
	ErrRevoked  = errors.New("the token was revoked")
)

// Reason names an error of Verify in a word or two, for logs.
func Reason(err error) string {
	for _, r := range []struct {
		err  error
		name string
	}{
		{ErrMissing, "missing"}, {ErrExpired, "expired"}, {ErrIssuer, "issuer"},
		{ErrAudience, "audience"}, {ErrRevoked, "revoked"},
	} {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	return "invalid"
}

// Options configure a Verifier.
type Options struct {
	Issuer string
	// Audiences are the resources of this API; its own origin and the
	// gateway's URLs.
	Audiences []string
	// KnownClient says whether a client id is registered: Passport tokens
	// carry the client as audience.
	KnownClient func(id string) bool
	// Signatures returns the payload and `typ` of a JWT signed by this server.
	Signatures func(compact string) (payload []byte, typ string, err error)
	// Lookup finds a token this server has issued.
	Lookup func(token.Hash) (r token.Record, known, revoked bool)
	Now    func() time.Time
}

// Verifier decides whether a request may pass.
type Verifier struct{ o Options }

// New returns a Verifier.
func New(o Options) (*Verifier, error) {
	if o.Issuer == "" || len(o.Audiences) == 0 || o.KnownClient == nil || o.Signatures == nil || o.Lookup == nil || o.Now == nil {
		return nil, errors.New("access: every option is needed")
	}
	return &Verifier{o: o}, nil
}

// Bearer returns the token of the Authorization header (RFC 6750 §2.1). The
// other two ways of §2 are not accepted.
func Bearer(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, raw, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(raw)
}

// Verify checks the bearer token of a request.
func (v *Verifier) Verify(r *http.Request) (Grant, error) {
	raw := Bearer(r)
	if raw == "" {
		return Grant{}, ErrMissing
	}
	return v.Token(raw)
}

// Token checks a token.
func (v *Verifier) Token(raw string) (Grant, error) {
	record, known, revoked := v.o.Lookup(token.HashOf(raw))
	if strings.Count(raw, ".") == 2 {
		payload, typ, err := v.o.Signatures(raw)
		if err != nil {
			return Grant{}, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if record, err = v.claims(payload, typ); err != nil {
			return Grant{}, err
		}
	} else if !known {
		return Grant{}, ErrInvalid
	}
	if revoked {
		return Grant{}, ErrRevoked
	}
	now := v.o.Now()
	if !now.Before(record.Expires) || now.Before(record.Issued.Add(-leeway)) {
		return Grant{}, ErrExpired
	}
	if err := v.audience(record); err != nil {
		return Grant{}, err
	}
	if record.Subject == "" {
		return Grant{}, ErrInvalid
	}
	return Grant{Subject: record.Subject, ClientID: record.ClientID, Scopes: record.Scopes}, nil
}

// leeway is for `nbf` only: clocks drift, expiry does not.
const leeway = 30 * time.Second

func (v *Verifier) audience(r token.Record) error {
	if r.Kind == token.Passport {
		if len(r.Audience) == 1 && v.o.KnownClient(r.Audience[0]) {
			return nil
		}
		return ErrAudience
	}
	for _, aud := range r.Audience {
		if slices.Contains(v.o.Audiences, aud) {
			return nil
		}
	}
	return ErrAudience
}

type claims struct {
	Issuer    *string  `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	ClientID  string   `json:"client_id"`
	NotBefore float64  `json:"nbf"`
	Expires   float64  `json:"exp"`
	Scope     string   `json:"scope"`
	Scopes    []string `json:"scopes"`
}

// audience is a string or an array of them (RFC 7519 §4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// claims reads a payload whose signature is good. The header's `typ` tells
// the two kinds of JWT apart, and an ID token from both (RFC 9068 §4).
func (v *Verifier) claims(payload []byte, typ string) (token.Record, error) {
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return token.Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	r := token.Record{
		Subject:  c.Subject,
		ClientID: c.ClientID,
		Audience: c.Audience,
		Issued:   date(c.NotBefore),
		Expires:  date(c.Expires),
	}
	switch {
	case strings.EqualFold(typ, "at+jwt"):
		r.Kind, r.Scopes = token.JWT, strings.Fields(c.Scope)
		if c.Issuer == nil || *c.Issuer != v.o.Issuer {
			return r, ErrIssuer
		}
	case c.Issuer == nil && c.Scopes != nil:
		r.Kind, r.Scopes = token.Passport, c.Scopes
		if len(c.Audience) == 1 {
			r.ClientID = c.Audience[0]
		}
	default:
		return r, ErrInvalid
	}
	return r, nil
}

func date(seconds float64) time.Time {
	if seconds < 0 || seconds > 1<<40 || math.IsNaN(seconds) {
		return time.Time{}
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9))
}
