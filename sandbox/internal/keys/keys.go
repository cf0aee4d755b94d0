// Package keys holds the sandbox's signing keys and publishes their public
// halves as a JSON Web Key Set (RFC 7517).
package keys

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// Mode says how a rotation treats the keys that are there.
type Mode string

// The rotations that a verifier has to live with.
const (
	// Next signs with a new key and goes on publishing the old ones.
	Next Mode = "next"
	// Replace signs with a new key and withdraws all others at once.
	Replace Mode = "replace"
	// SameKid replaces the key material but keeps the key id, as a server
	// restored from a wrong backup would.
	SameKid Mode = "same_kid"
	// Retire withdraws every key but the one that signs now.
	Retire Mode = "retire"
)

// maxKeys bounds the published set: the oldest key goes first.
const maxKeys = 4

const bits = 2048

// Ring is the set of keys. The last one signs.
type Ring struct {
	mu   sync.RWMutex
	keys []jose.JSONWebKey // private, oldest first
	jwks []byte
}

// New returns a ring with one fresh key.
func New() (*Ring, error) {
	r := &Ring{}
	if err := r.Rotate(Replace); err != nil {
		return nil, err
	}
	return r, nil
}

// Rotate changes the keys.
func (r *Ring) Rotate(mode Mode) error {
	var fresh jose.JSONWebKey
	switch mode {
	case Next, Replace, SameKid:
		// Made outside the lock: it takes a while and nobody needs to wait.
		var err error
		if fresh, err = generate(); err != nil {
			return err
		}
	case Retire:
	default:
		return fmt.Errorf("unknown rotation %q: want next, replace, same_kid or retire", mode)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := r.keys
	switch mode {
	case Next:
		keys = append(append([]jose.JSONWebKey(nil), keys...), fresh)
		if len(keys) > maxKeys {
			keys = keys[len(keys)-maxKeys:]
		}
	case Replace:
		keys = []jose.JSONWebKey{fresh}
	case SameKid:
		fresh.KeyID = keys[len(keys)-1].KeyID
		keys = append(append([]jose.JSONWebKey(nil), keys[:len(keys)-1]...), fresh)
	case Retire:
		keys = keys[len(keys)-1:]
	}
	public := jose.JSONWebKeySet{}
	for _, k := range keys {
		public.Keys = append(public.Keys, k.Public())
	}
	jwks, err := json.Marshal(public)
	if err != nil {
		return fmt.Errorf("encode the key set: %w", err)
	}
	r.keys, r.jwks = keys, jwks
	return nil
}

func generate() (jose.JSONWebKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("generate a signing key: %w", err)
	}
	id := make([]byte, 12)
	if _, err := rand.Read(id); err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("generate a key id: %w", err)
	}
	return jose.JSONWebKey{
		Key:       private,
		KeyID:     base64.RawURLEncoding.EncodeToString(id),
		Algorithm: string(jose.RS256),
		Use:       "sig",
	}, nil
}

// JWKS is the published document.
func (r *Ring) JWKS() []byte {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.jwks
}

// Sign makes a compact JWS (RFC 7515) over claims with the current key. With
// no key id the header names none, as Laravel Passport leaves it out.
func (r *Ring) Sign(typ string, withKeyID bool, claims any) (string, error) {
	r.mu.RLock()
	key := r.keys[len(r.keys)-1]
	r.mu.RUnlock()
	if !withKeyID {
		key.KeyID = ""
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", fmt.Errorf("make a signer: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode the claims: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return jws.CompactSerialize()
}

// ErrSignature is returned for a token that no published key has signed.
var ErrSignature = errors.New("no published key made this signature")

// Verify returns the payload of a compact JWS signed with RS256 by one of the
// published keys, and the `typ` of its header. No other algorithm is looked
// at: neither `none` nor a MAC made with a public key (RFC 8725 §3.1).
func (r *Ring) Verify(compact string) (payload []byte, typ string, err error) {
	jws, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, "", fmt.Errorf("parse: %w", err)
	}
	header := jws.Signatures[0].Header
	typ, _ = header.ExtraHeaders[jose.HeaderType].(string)
	r.mu.RLock()
	keys := r.keys
	r.mu.RUnlock()
	for i := range keys {
		if header.KeyID != "" && header.KeyID != keys[i].KeyID {
			continue
		}
		if payload, err := jws.Verify(keys[i].Public()); err == nil {
			return payload, typ, nil
		}
	}
	return nil, "", ErrSignature
}
