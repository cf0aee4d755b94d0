// Package token holds the plain types that every part of authz speaks: what a
// verified token says about its bearer, and why a token was not accepted. It
// knows nothing of Envoy, gRPC or HTTP.
package token

import (
	"context"
	"fmt"
	"time"
)

// Identity is what a verified access token says about its bearer.
type Identity struct {
	// Subject is the stable id of the user (RFC 7519 §4.1.2).
	Subject string
	// ClientID is the OAuth client that obtained the token (RFC 9068 §2.2); it
	// may be empty.
	ClientID string
	// ID is the token's own identifier (RFC 7519 §4.1.7); it may be empty.
	ID string
	// Scopes are the granted scopes, sorted and without repetition
	// (RFC 6749 §3.3); nil means that none were granted.
	Scopes []string
	// IssuedAt is zero when the token does not say it (RFC 7519 §4.1.6).
	IssuedAt time.Time
	// Expires is the instant from which the token is refused
	// (RFC 7519 §4.1.4); never zero.
	Expires time.Time
}

// Kind says what a refusal means for the caller; it decides the status.
type Kind int

const (
	// Invalid: the token is not acceptable and never will be: 401
	// (RFC 6750 §3.1, invalid_token).
	Invalid Kind = iota
	// Malformed: the request itself is at fault, such as an oversize token: 400
	// (RFC 6750 §3.1, invalid_request).
	Malformed
	// Unavailable: no verdict is possible now, such as an outage of the issuer:
	// 503.
	Unavailable
)

// Error says why a token was not accepted. Neither field ever holds anything
// that the client sent.
type Error struct {
	Kind Kind
	// Reason is a code from a closed set, fit for logs and metric labels.
	Reason string
	// Description is a sentence from a closed set, fit for the
	// error_description of RFC 6750 §3.
	Description string
	// RetryAfter is set for Unavailable.
	RetryAfter time.Duration
	// Suspect: Unavailable, but others got a verdict at the same time.
	Suspect bool
	// Cause is for the log of the operator only.
	Cause error
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Reason
	}
	return fmt.Sprintf("%s: %v", e.Reason, e.Cause)
}

func (e *Error) Unwrap() error { return e.Cause }

type doubt struct{}

// Doubt marks the context of a request that comes from where too many were
// refused: its token is judged like any other, but shares what is scarce with
// the others of its kind only.
func Doubt(ctx context.Context) context.Context { return context.WithValue(ctx, doubt{}, true) }

// Doubted reports that mark.
func Doubted(ctx context.Context) bool { return ctx.Value(doubt{}) != nil }

// Verifier turns an access token into an Identity. Every error it returns is
// an *Error.
type Verifier interface {
	Verify(ctx context.Context, raw string) (Identity, error)
}
