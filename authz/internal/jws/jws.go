// Package jws takes apart and verifies JWS compact serialisations
// (RFC 7515 §3.1) with asymmetric signatures. It is stricter than the RFC
// where leniency would let one signature vouch for several spellings of a
// token.
package jws

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
)

// Token is a JWS whose signature has not been verified yet.
type Token struct {
	// Algorithm is `alg` (RFC 7515 §4.1.1).
	Algorithm string
	// KeyID is `kid` (RFC 7515 §4.1.4); empty if absent.
	KeyID string
	// Type is `typ` (RFC 7515 §4.1.9); empty if absent.
	Type string
	// Payload is decoded; nothing vouches for it before Verify.
	Payload []byte

	signed    []byte
	signature []byte
}

// encoding refuses padding and stray bits in the last character
// (RFC 7515 §2, RFC 4648 §3.5). It skips line breaks, which Parse refuses.
var encoding = base64.RawURLEncoding.Strict()

// Looks reports whether raw has the form of a JWS: three parts of which the
// first begins a JSON object. It is deliberately lenient, so that a damaged
// JWT is judged as a JWT.
func Looks(raw string) bool {
	header, rest, found := strings.Cut(raw, ".")
	if !found || strings.Count(rest, ".") != 1 {
		return false
	}
	var bytes [3]byte
	for len(header) > 1 {
		n := min(len(header), 4)
		decoded, err := base64.RawURLEncoding.Decode(bytes[:], []byte(header[:n]))
		if rest := strings.TrimLeft(string(bytes[:decoded]), " \t\r\n"); rest != "" || err != nil {
			return strings.HasPrefix(rest, "{")
		}
		header = header[n:]
	}
	return false
}

// HasHeader reports whether raw Looks like a JWS and its first part is a whole
// JSON object in base64url. What the object says, and how it is spelt, is not
// judged: a JWT with a bad header is a bad JWT, and no opaque token.
func HasHeader(raw string) bool {
	if !Looks(raw) {
		return false
	}
	header, _, _ := strings.Cut(raw, ".")
	header = strings.TrimRight(header, "=")
	// Most headers fit here, and then nothing is allocated.
	var text, object [256]byte
	decoded, err := base64.RawURLEncoding.AppendDecode(object[:0], append(text[:0], header...))
	return err == nil && json.Valid(decoded)
}

// Parse takes a compact serialisation apart. Its errors are *token.Error.
func Parse(raw string) (Token, error) { return Examine(raw, nil) }

// Examine is Parse with a record, if t is not nil: then a part that cannot be
// read does not keep the others from being read, and is left empty.
func Examine(raw string, t *trail.Trail) (Token, error) {
	first := strings.IndexByte(raw, '.')
	last := strings.LastIndexByte(raw, '.')
	if first < 0 || first == last || strings.IndexByte(raw[first+1:last], '.') >= 0 || strings.ContainsAny(raw, "\r\n") {
		return Token{}, t.Fail(trail.Form, token.Undecodable, errors.New("not three parts"))
	}
	text := []byte(raw)
	decoded := make([]byte, 0, encoding.DecodedLen(len(text)))
	header, decoded, err := decode(decoded, text[:first])
	if err != nil {
		if err := t.Fail(trail.Header, token.Undecodable, fmt.Errorf("header: %w", err)); err != nil {
			return Token{}, err
		}
	}
	payload, decoded, err := decode(decoded, text[first+1:last])
	if err != nil {
		if err := t.Fail(trail.Payload, token.Undecodable, fmt.Errorf("payload: %w", err)); err != nil {
			return Token{}, err
		}
	}
	signature, _, err := decode(decoded, text[last+1:])
	if err != nil {
		if err := t.Fail(trail.Signature, token.Undecodable, fmt.Errorf("signature: %w", err)); err != nil {
			return Token{}, err
		}
	}
	parsed := Token{Payload: payload, signed: text[:last], signature: signature}
	if t.Failed(trail.Header) {
		return parsed, nil
	}
	if err := parsed.readHeader(header); err != nil {
		return parsed, t.FailWith(trail.Header, err)
	}
	return parsed, nil
}

// decode appends the decoded segment to buffer and returns it and the buffer.
func decode(buffer, segment []byte) (part, grown []byte, err error) {
	at := len(buffer)
	grown, err = encoding.AppendDecode(buffer, segment)
	if err != nil {
		return nil, buffer, err
	}
	return grown[at:len(grown):len(grown)], grown, nil
}

// readHeader reads the members that matter. `jku`, `jwk`, `x5u` and `x5c`
// (RFC 7515 §4.1.2-6) are never looked at: a token does not choose the key it
// is verified with.
func (t *Token) readHeader(header []byte) error {
	object, err := strictjson.ParseObject(header)
	if err != nil {
		return token.Refuse(token.Undecodable, fmt.Errorf("header: %w", err))
	}
	for _, member := range object {
		switch member.Name {
		case "alg":
			t.Algorithm, err = member.Value.Text()
		case "kid":
			t.KeyID, err = member.Value.Text()
		case "typ":
			if t.Type, err = member.Value.Text(); err == nil && t.Type == "" {
				err = errors.New("empty")
			}
		case "crit", "b64", "enc", "zip":
			// No extension is understood, so every critical one must be refused
			// (RFC 7515 §4.1.11); b64 (RFC 7797) would change what is signed;
			// enc and zip belong to JWE.
			return token.Refuse(token.HeaderRefused, errors.New(member.Name))
		case "cty":
			// A nested JWT (RFC 7519 §5.2) holds no claims of its own.
			if content, bad := member.Value.Text(); bad != nil || strings.EqualFold(content, "JWT") {
				return token.Refuse(token.HeaderRefused, errors.New("cty"))
			}
		}
		if err != nil {
			return token.Refuse(token.HeaderRefused, fmt.Errorf("%s: %w", member.Name, err))
		}
	}
	if t.Algorithm == "" {
		return token.Refuse(token.HeaderRefused, errors.New("alg missing"))
	}
	return nil
}
