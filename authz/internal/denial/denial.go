// Package denial holds the one table of refusals: what went wrong, and the
// status, headers and body that say so (RFC 6750 §3, RFC 9728 §5.1). Nothing
// that a client sent is ever part of an answer.
package denial

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Code is the error code of a body, and where one belongs, of a challenge.
type Code string

// The codes of RFC 6750 §3.1, and two for answers that carry no challenge.
const (
	InvalidRequest         Code = "invalid_request"
	InvalidToken           Code = "invalid_token"
	InsufficientScope      Code = "insufficient_scope"
	TooManyRequests        Code = "too_many_requests"
	TemporarilyUnavailable Code = "temporarily_unavailable"
)

// The closed list of descriptions that the edge itself uses. Those of token
// errors are a closed list of their own.
const (
	UnsupportedHeader = "Unsupported authorization header. Use 'Authorization: Bearer <token>'."
	MultipleTokens    = "More than one access token was sent. Send one, in one Authorization header."
	MissingScope      = "The access token lacks a scope that this request needs; sign in again to grant it."
	SlowDown          = "Too many refused requests from this address. Try again later."
)

// Header is one header of an answer.
type Header struct{ Name, Value string }

// Denial is a whole refusal.
type Denial struct {
	Status  int
	Headers []Header
	Body    string
}

// Case is what went wrong, in terms of the table.
type Case struct {
	Code        Code
	Description string
	// Bare leaves the error attributes out of the challenge: a request without
	// any credential is not told of an error (RFC 6750 §3.1).
	Bare bool
	// Scope is what a token for this request needs; empty is left out.
	Scope string
	// RetryAfter counts for TooManyRequests and TemporarilyUnavailable.
	RetryAfter time.Duration
}

// status maps a code to its HTTP status (RFC 6750 §3.1; RFC 6585 §4; RFC 9110
// §15.6.4). An unknown code fails closed, as an outage of ours.
func (c Code) status() int {
	switch c {
	case InvalidRequest:
		return 400
	case InvalidToken:
		return 401
	case InsufficientScope:
		return 403
	case TooManyRequests:
		return 429
	}
	return 503
}

// New builds the refusal of one case. The base is what every challenge for this
// resource starts with, see Base.
func New(base string, c Case) Denial {
	d := Denial{Status: c.Code.status(), Headers: make([]Header, 0, 4)}
	switch d.Status {
	case 429, 503:
		d.Headers = append(d.Headers, Header{"retry-after", retryAfter(c.RetryAfter)})
	default:
		d.Headers = append(d.Headers, Header{"www-authenticate", challenge(base, c)})
	}
	d.Headers = append(d.Headers,
		Header{"content-type", "application/json"},
		// The answer depends on Authorization, and so on who asks (RFC 9111 §3.5).
		Header{"cache-control", "no-store"},
	)
	d.Body = body(c)
	return d
}

// Base is the part of a challenge that every refusal for one resource shares:
// the realm (RFC 9110 §11.5) and the metadata document (RFC 9728 §5.1).
func Base(metadataURL string) string {
	return `realm="mcp", resource_metadata="` + quotable(metadataURL) + `"`
}

func challenge(base string, c Case) string {
	var b strings.Builder
	b.Grow(len("Bearer ") + len(base) + len(c.Scope) + len(c.Description) + 64)
	b.WriteString("Bearer ")
	b.WriteString(base)
	if !c.Bare {
		attribute(&b, "error", string(c.Code))
		attribute(&b, "error_description", c.Description)
	}
	attribute(&b, "scope", c.Scope)
	return b.String()
}

// attribute adds one auth-param; an empty one is left out.
func attribute(b *strings.Builder, name, value string) {
	if value = quotable(value); value == "" {
		return
	}
	b.WriteString(", ")
	b.WriteString(name)
	b.WriteString(`="`)
	b.WriteString(value)
	b.WriteByte('"')
}

// quotable keeps only what RFC 6750 §3 allows inside the quotes of an attribute:
// %x20-21 / %x23-5B / %x5D-7E. What we put there has no other bytes; this makes
// sure of it.
func quotable(s string) string {
	allowed := func(r rune) bool { return r >= 0x20 && r <= 0x7E && r != '"' && r != '\\' }
	if strings.IndexFunc(s, func(r rune) bool { return !allowed(r) }) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if allowed(r) {
			return r
		}
		return -1
	}, s)
}

// retryAfter writes delay-seconds (RFC 9110 §10.2.3), rounded up, at least 1.
func retryAfter(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}

func body(c Case) string {
	// Two plain strings cannot fail to be encoded.
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(struct {
		Error       Code   `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{c.Code, c.Description})
	return strings.TrimSuffix(b.String(), "\n")
}
