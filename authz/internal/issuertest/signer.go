// Package issuertest is an authorization server for tests: it makes keys,
// signs tokens, good and bad, and serves metadata, keys and introspection,
// well or badly, on loopback or in memory.
package issuertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// Signer is a private key with the name and algorithm it signs under.
type Signer struct {
	Algorithm string
	KeyID     string
	Private   crypto.Signer
}

// generate makes each key once per process: RSA keys are slow to make.
var generate = func() func(kind string, n int) crypto.Signer {
	var mu sync.Mutex
	made := make(map[string]crypto.Signer)
	return func(kind string, n int) crypto.Signer {
		mu.Lock()
		defer mu.Unlock()
		name := fmt.Sprint(kind, n)
		if made[name] == nil {
			made[name] = newKey(kind)
		}
		return made[name]
	}
}()

func newKey(kind string) crypto.Signer {
	var key crypto.Signer
	var err error
	switch kind {
	case "RSA":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "P-256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "P-384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "P-521":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "Ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil || key == nil {
		panic(fmt.Sprint("key of kind ", kind, ": ", err))
	}
	return key
}

var kinds = map[string]string{
	"RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
	"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519",
}

// NewSigner returns a signer; the same number gives the same key.
func NewSigner(algorithm, keyID string, number int) *Signer {
	return &Signer{Algorithm: algorithm, KeyID: keyID, Private: generate(kinds[algorithm], number)}
}

// JWK is the public key as a JWK.
func (s *Signer) JWK() map[string]any {
	data, err := json.Marshal(jose.JSONWebKey{Key: s.Private.Public(), KeyID: s.KeyID, Use: "sig"})
	if err != nil {
		panic(err)
	}
	var jwk map[string]any
	if err := json.Unmarshal(data, &jwk); err != nil {
		panic(err)
	}
	return jwk
}

// JWKS is the JWK Set document of some signers.
func JWKS(signers ...*Signer) string {
	keys := make([]map[string]any, 0, len(signers))
	for _, s := range signers {
		keys = append(keys, s.JWK())
	}
	return Encode(map[string]any{"keys": keys})
}

// Encode is JSON without an error.
func Encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// Header is the usual JOSE header of the signer.
func (s *Signer) Header() map[string]any {
	header := map[string]any{"alg": s.Algorithm, "typ": "at+jwt"}
	if s.KeyID != "" {
		header["kid"] = s.KeyID
	}
	return header
}

// Sign makes a token of some claims.
func (s *Signer) Sign(claims map[string]any) string {
	return s.SignText(Encode(s.Header()), Encode(claims))
}

// SignText makes a token of a header and a payload as they are given.
func (s *Signer) SignText(header, payload string) string {
	return s.SignSegments(Base64(header), Base64(payload))
}

// Base64 is base64url without padding.
func Base64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// SignSegments signs two encoded segments as they are given.
func (s *Signer) SignSegments(header, payload string) string {
	signed := header + "." + payload
	return signed + "." + Base64(string(s.Signature(signed)))
}

// Signature is the raw signature.
func (s *Signer) Signature(signed string) []byte {
	var hash crypto.Hash
	switch s.Algorithm[2:] {
	case "256":
		hash = crypto.SHA256
	case "384":
		hash = crypto.SHA384
	case "512":
		hash = crypto.SHA512
	}
	digest := []byte(signed)
	if hash != 0 {
		h := hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	var options crypto.SignerOpts = hash
	if s.Algorithm[:2] == "PS" {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	if key, is := s.Private.(*ecdsa.PrivateKey); is {
		r, t, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			panic(err)
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		return append(fill(r, size), fill(t, size)...)
	}
	signature, err := s.Private.Sign(rand.Reader, digest, options)
	if err != nil {
		panic(err)
	}
	return signature
}

func fill(n *big.Int, size int) []byte { return n.FillBytes(make([]byte, size)) }

// HMAC is the HS256 signature under a secret.
func HMAC(secret []byte, signed string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}
