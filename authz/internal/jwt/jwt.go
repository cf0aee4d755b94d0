package jwt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
	"github.com/neonpanel/mcp-gateway/authz/internal/keys"
	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
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
// vouches for it. Its errors are *token.Error. With a record, if t is not nil,
// all that can be checked is checked, and the faults are in the record alone.
//
// The claims are judged before the signature: that only ever refuses, costs
// little, and spares the issuer a fetch of its keys for every stray token of
// somebody else's.
func (v *Verifier) Verify(ctx context.Context, raw string, t *trail.Trail) (Judgement, keys.Thumbprint, error) {
	parsed, err := jws.Examine(raw, t)
	if err != nil {
		return Judgement{}, keys.Thumbprint{}, err
	}
	if t.Failed(trail.Form) {
		return Judgement{}, keys.Thumbprint{}, nil
	}
	if err := v.header(parsed, t); err != nil {
		return Judgement{}, keys.Thumbprint{}, err
	}
	judgement, err := v.payload(parsed, t)
	if err != nil {
		return Judgement{}, keys.Thumbprint{}, err
	}
	if t != nil && !v.vouchable(t) {
		return judgement, keys.Thumbprint{}, nil
	}
	print, err := v.keys.Verify(ctx, parsed, judgement.Identity.IssuedAt)
	if t != nil {
		return judgement, print, vouched(err, t)
	}
	if err != nil {
		return Judgement{}, keys.Thumbprint{}, err
	}
	return judgement, print, nil
}

// header judges what the JOSE header says.
func (v *Verifier) header(parsed jws.Token, t *trail.Trail) error {
	if t.Failed(trail.Header) {
		t.Skip("the header cannot be read", trail.Algorithm, trail.Type, trail.KeyID)
		return nil
	}
	// RFC 8725 §3.1: the algorithms are ours to choose.
	if !slices.Contains(v.algorithms, parsed.Algorithm) {
		if err := t.Fail(trail.Algorithm, token.AlgorithmRefused, nil); err != nil {
			return err
		}
	}
	// RFC 9068 §4, RFC 8725 §3.11; media types know no case, and
	// "application/" may be left out (RFC 7515 §4.1.9).
	if parsed.Type != "" && !oneOf(parsed.Type, "JWT", "at+jwt", "application/at+jwt") {
		if err := t.Fail(trail.Type, token.TypeRefused, nil); err != nil {
			return err
		}
	}
	if t != nil {
		t.See(trail.Algorithm, quoted(parsed.Algorithm))
		t.See(trail.Type, quoted(parsed.Type))
		t.See(trail.KeyID, quoted(parsed.KeyID))
		t.Pass(trail.Header, trail.Algorithm, trail.Type)
	}
	return nil
}

// payload judges the claims.
func (v *Verifier) payload(parsed jws.Token, t *trail.Trail) (Judgement, error) {
	var object strictjson.Object
	var err error
	if !t.Failed(trail.Payload) {
		if object, err = strictjson.ParseObject(parsed.Payload); err != nil {
			if err := t.Fail(trail.Payload, token.Undecodable, fmt.Errorf("payload: %w", err)); err != nil {
				return Judgement{}, err
			}
		}
	}
	if t.Failed(trail.Payload) {
		t.Skip("the payload cannot be read", trail.Claims...)
		return Judgement{}, nil
	}
	t.Pass(trail.Payload)
	return v.rules.Judge(object, time.Now(), t)
}

// vouchable reports whether it makes sense to look for a key.
func (v *Verifier) vouchable(t *trail.Trail) bool {
	switch {
	case t.Failed(trail.Header):
		t.Skip("the header cannot be read", trail.KeyID, trail.Signature)
	case t.Failed(trail.Algorithm):
		t.Skip("the algorithm is not accepted", trail.KeyID, trail.Signature)
	default:
		return true
	}
	return false
}

// vouched writes down what the keys said.
func vouched(err error, t *trail.Trail) error {
	if err == nil {
		t.Pass(trail.Keys, trail.KeyID, trail.Signature)
		return nil
	}
	at := trail.Keys
	var refusal *token.Error
	if errors.As(err, &refusal) {
		switch refusal.Reason {
		case token.KeyUnknown, token.KeyPending:
			t.Pass(trail.Keys)
			t.Skip("no key of this token is known", trail.Signature)
			at = trail.KeyID
		case token.AlgorithmRefused:
			t.Pass(trail.Keys)
			t.Note(trail.Signature, "the key is for another algorithm")
			at = trail.KeyID
		case token.SignatureInvalid, token.SignaturePending:
			t.Pass(trail.Keys, trail.KeyID)
			at = trail.Signature
		}
	}
	err = t.FailWith(at, err)
	t.Skip("there is no key to check it with", trail.KeyID, trail.Signature)
	return err
}

func quoted(s string) string {
	if s == "" {
		return "absent"
	}
	return strconv.Quote(s)
}
