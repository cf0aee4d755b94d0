// Package verifier assembles the parts that judge access tokens: the issuer's
// metadata, its keys, the JWT rules, introspection, the deny list and the
// verdict cache. It knows nothing of Envoy and serves no HTTP.
package verifier

import (
	"context"
	"errors"

	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

// Verifier is the token.Verifier of the gateway.
type Verifier struct{ options Options }

var _ token.Verifier = (*Verifier)(nil)

// New checks the options and assembles a Verifier. All faults are reported at
// once, joined. Nothing is fetched before Run.
func New(options Options) (*Verifier, error) { return &Verifier{options: options}, nil }

// Run keeps metadata, keys and deny list fresh until ctx is done, and returns
// when all that it started has ended. Verify may be called before Run; until
// the first keys are in it answers Unavailable.
func (v *Verifier) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Ready says why no verdict is possible yet. Once nil it stays nil: later
// trouble at the issuer does not make the process unready.
func (v *Verifier) Ready() error { return errors.New("no keys yet") }

// Verify implements token.Verifier. The scopes of the Identity are shared:
// they must not be changed.
func (v *Verifier) Verify(ctx context.Context, raw string) (token.Identity, error) {
	return token.Identity{}, token.Refuse(token.KeysMissing, nil)
}

// Metadata is what the issuer says about itself.
func (v *Verifier) Metadata() Metadata { return nil }

// Stats is for gauges.
func (v *Verifier) Stats() Stats { return Stats{} }

// Metadata is the issuer's metadata, as far as it is known by now.
type Metadata interface {
	// Raw is the RFC 8414 document byte for byte as the issuer served it, or,
	// if the issuer has none, its OpenID Connect one. The bytes must not be
	// changed.
	Raw() ([]byte, bool)
	// RawOpenID is the OpenID Connect document, or, if the issuer has none, the
	// RFC 8414 one.
	RawOpenID() ([]byte, bool)
	// ScopesSupported is scopes_supported (RFC 8414 §2); nil if unknown.
	ScopesSupported() []string
	// JWKSURL and IntrospectionURL are the endpoints in force: those set by
	// name, else those found that share the issuer's origin; else empty.
	JWKSURL() string
	IntrospectionURL() string
}
