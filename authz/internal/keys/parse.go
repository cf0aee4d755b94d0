package keys

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
)

const (
	// maxKeys bounds what a token without kid can cost.
	maxKeys = 50
	// minRSABits is RFC 7518 §3.3; maxRSABits bounds the cost of a signature.
	minRSABits = 2048
	maxRSABits = 8192
)

// Thumbprint is the SHA-256 JWK thumbprint of a key (RFC 7638), and of a key that
// is restricted to an algorithm, a hash of both: restricted to another one it is
// another key, and a verdict that rests on it ends.
type Thumbprint [32]byte

// Key is one public key of the issuer.
type Key struct {
	// ID is `kid`; empty if the key has none.
	ID string
	// Algorithm is `alg`; empty if the key does not restrict it.
	Algorithm string
	Public    crypto.PublicKey
	Print     Thumbprint
}

// usable reports whether the key may verify signatures of an algorithm.
func (k *Key) usable(algorithm string) bool {
	return (k.Algorithm == "" || k.Algorithm == algorithm) && jws.Fits(algorithm, k.Public)
}

// Parse reads a JWK Set (RFC 7517 §5). Keys that cannot be used for any of the
// algorithms are left out and returned as skipped, since §5 wants unknown ones
// ignored. A set without one usable key is an error: it may never replace a
// good one.
func Parse(data []byte, algorithms []string) (usable []*Key, skipped []error, err error) {
	object, err := strictjson.ParseObject(data)
	if err != nil {
		return nil, nil, err
	}
	elements, err := strictjson.ParseArray(object.Get("keys"))
	if err != nil {
		return nil, nil, fmt.Errorf("keys: %w", err)
	}
	if len(elements) > maxKeys {
		return nil, nil, fmt.Errorf("%d keys, more than %d", len(elements), maxKeys)
	}
	for i, element := range elements {
		key, err := parseKey(element, algorithms)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		if !slices.ContainsFunc(usable, func(k *Key) bool { return k.ID == key.ID && k.Print == key.Print }) {
			usable = append(usable, key)
		}
	}
	if len(usable) == 0 {
		return nil, skipped, errors.Join(append([]error{errors.New("no usable key")}, skipped...)...)
	}
	return usable, skipped, nil
}

func parseKey(data []byte, algorithms []string) (*Key, error) {
	object, err := strictjson.ParseObject(data)
	if err != nil {
		return nil, err
	}
	key := new(Key)
	// Only the members that make the public key are handed on (RFC 7518 §6):
	// certificates and their thumbprints are not what trust rests on here.
	public := make(map[string]string, 4)
	for _, member := range object {
		switch member.Name {
		case "kty", "n", "e", "crv", "x", "y":
			public[member.Name], err = member.Value.Text()
		case "kid":
			key.ID, err = member.Value.Text()
		case "alg":
			if key.Algorithm, err = member.Value.Text(); err == nil && !slices.Contains(algorithms, key.Algorithm) {
				err = errors.New("not an accepted algorithm")
			}
		case "use":
			// RFC 7517 §4.2.
			var use string
			if use, err = member.Value.Text(); err == nil && use != "sig" {
				err = errors.New("not for signatures")
			}
		case "key_ops":
			// RFC 7517 §4.3.
			var operations []string
			if operations, err = member.Value.Texts(); err == nil && !slices.Contains(operations, "verify") {
				err = errors.New("not for verifying")
			}
		case "d", "p", "q", "dp", "dq", "qi", "k":
			// A key whose private part is published signs for anybody.
			err = errors.New("private or symmetric key material")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", member.Name, err)
		}
	}
	minimal, err := json.Marshal(public)
	if err != nil {
		return nil, err
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(minimal); err != nil {
		return nil, err
	}
	if !jwk.Valid() || !jwk.IsPublic() {
		return nil, errors.New("not a valid public key")
	}
	if k, is := jwk.Key.(*rsa.PublicKey); is {
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("RSA key of %d bits", bits)
		}
		if k.E < 3 || k.E%2 == 0 {
			return nil, errors.New("RSA exponent")
		}
	}
	key.Public = jwk.Key
	if !slices.ContainsFunc(algorithms, key.usable) {
		return nil, errors.New("fits no accepted algorithm")
	}
	print, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	copy(key.Print[:], print)
	if key.Algorithm != "" {
		key.Print = sha256.Sum256(append(print, key.Algorithm...))
	}
	return key, nil
}
