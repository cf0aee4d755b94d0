package jwt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
	"github.com/neonpanel/mcp-gateway/authz/internal/keys"
	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

// Keys verifies signatures.
type Keys interface {
	Verify(ctx context.Context, t jws.Token, issuedAt time.Time) (keys.Thumbprint, error)
}

// Verifier verifies JWT access tokens.
type Verifier struct {
	keys       Keys
	rules      Rules
	algorithms []string
}

// New makes a Verifier. Its error names every algorithm that cannot be used.
func New(keys Keys, rules Rules, algorithms []string) (*Verifier, error) {
	var faults []error
	if len(algorithms) == 0 {
		faults = append(faults, errors.New("AUTHZ_ALGORITHMS: at least one is needed"))
	}
	for _, name := range algorithms {
		if !slices.Contains(jws.Algorithms(), name) {
			faults = append(faults, fmt.Errorf("AUTHZ_ALGORITHMS: %q is not one of %s", name, strings.Join(jws.Algorithms(), ", ")))
		}
	}
	return &Verifier{keys: keys, rules: rules, algorithms: algorithms}, errors.Join(faults...)
}

// Verify verifies one token and returns, with the Judgement, the key that
// vouches for it. Its errors are *token.Error.
//
// The claims are judged before the signature: that only ever refuses, costs
// little, and spares the issuer a fetch of its keys for every stray token of
// somebody else's.
func (v *Verifier) Verify(ctx context.Context, raw string) (Judgement, keys.Thumbprint, error) {
	t, err := jws.Parse(raw)
	if err != nil {
		return Judgement{}, keys.Thumbprint{}, err
	}
	// RFC 8725 §3.1: the algorithms are ours to choose.
	if !slices.Contains(v.algorithms, t.Algorithm) {
		return Judgement{}, keys.Thumbprint{}, token.Refuse(token.AlgorithmRefused, nil)
	}
	// RFC 9068 §4, RFC 8725 §3.11; media types know no case, and
	// "application/" may be left out (RFC 7515 §4.1.9).
	if t.Type != "" && !oneOf(t.Type, "JWT", "at+jwt", "application/at+jwt") {
		return Judgement{}, keys.Thumbprint{}, token.Refuse(token.TypeRefused, nil)
	}
	object, err := strictjson.ParseObject(t.Payload)
	if err != nil {
		return Judgement{}, keys.Thumbprint{}, token.Refuse(token.Undecodable, fmt.Errorf("payload: %w", err))
	}
	judgement, err := v.rules.Judge(object, time.Now())
	if err != nil {
		return Judgement{}, keys.Thumbprint{}, err
	}
	print, err := v.keys.Verify(ctx, t, judgement.Identity.IssuedAt)
	if err != nil {
		return Judgement{}, keys.Thumbprint{}, err
	}
	return judgement, print, nil
}
