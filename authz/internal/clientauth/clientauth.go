// Package clientauth is how the gateway proves to the issuer which client it is
// (RFC 6749 §2.3, RFC 7523).
package clientauth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Method authenticates one request.
type Method interface {
	// Authenticate adds what the form needs and returns the user and password
	// for HTTP Basic; an empty user means that there is none.
	Authenticate(form url.Values) (user, password string, err error)
}

// Basic is client_secret_basic (RFC 6749 §2.3.1).
type Basic struct {
	ClientID string
	// Secret is asked before each request.
	Secret func() (string, error)
}

// Authenticate implements Method.
func (b Basic) Authenticate(url.Values) (user, password string, err error) {
	secret, err := b.Secret()
	return b.ClientID, secret, err
}

// assertionLife is how long an assertion is good: a call is over long before,
// and clocks may differ.
const assertionLife = time.Minute

// PrivateKeyJWT is private_key_jwt (RFC 7523 §2.2, OpenID Connect Core §9).
type PrivateKeyJWT struct {
	ClientID string
	// Audience is `aud` of the assertion: the issuer's identifier, or what it
	// asks for instead.
	Audience string
	// Key is asked before each request.
	Key func() (*Key, error)
}

// Authenticate implements Method.
func (p PrivateKeyJWT) Authenticate(form url.Values) (user, password string, err error) {
	key, err := p.Key()
	if err != nil {
		return "", "", err
	}
	now := time.Now()
	// RFC 7523 §3: iss and sub are the client; jti makes it usable once.
	claims, err := json.Marshal(map[string]any{
		"iss": p.ClientID, "sub": p.ClientID, "aud": p.Audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return "", "", err
	}
	signed, err := key.signer.Sign(claims)
	if err != nil {
		return "", "", err
	}
	assertion, err := signed.CompactSerialize()
	if err != nil {
		return "", "", err
	}
	form.Set("client_id", p.ClientID)
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", assertion)
	return "", "", nil
}

// Key is a private key of the gateway.
type Key struct{ signer jose.Signer }

// minRSABits is RFC 7518 §3.3.
const minRSABits = 2048

// ParseKey reads a private key: a JWK (RFC 7517), which may name its `kid` and
// `alg`, or PEM (PKCS #8, PKCS #1 or SEC 1).
func ParseKey(data []byte) (*Key, error) {
	jwk := new(jose.JSONWebKey)
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' {
		if err := jwk.UnmarshalJSON(trimmed); err != nil {
			return nil, errors.New("not a JWK")
		}
	} else {
		block, _ := pem.Decode(data)
		if block == nil {
			return nil, errors.New("neither a JWK nor PEM")
		}
		private, err := parsePEM(block)
		if err != nil {
			return nil, err
		}
		jwk.Key = private
	}
	if _, private := jwk.Key.(crypto.Signer); !private || !jwk.Valid() {
		return nil, errors.New("not a private key of RSA, EC or Ed25519")
	}
	algorithm, err := algorithmOf(jwk)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jwk}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("alg %.20q does not fit the key", algorithm)
	}
	return &Key{signer: signer}, nil
}

// parsePEM keeps the cause to itself: it could quote the key.
func parsePEM(block *pem.Block) (any, error) {
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return nil, errors.New("no private key in the PEM (an encrypted one cannot be used)")
}

// algorithmOf is the key's own algorithm, else the usual one of its type
// (RFC 7518 §3.1, RFC 8037 §3.1).
func algorithmOf(jwk *jose.JSONWebKey) (jose.SignatureAlgorithm, error) {
	usual := jose.SignatureAlgorithm("")
	switch key := jwk.Key.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < minRSABits {
			return "", fmt.Errorf("RSA key of %d bits; at least %d are needed", key.N.BitLen(), minRSABits)
		}
		usual = jose.RS256
	case *ecdsa.PrivateKey:
		usual = map[elliptic.Curve]jose.SignatureAlgorithm{
			elliptic.P256(): jose.ES256, elliptic.P384(): jose.ES384, elliptic.P521(): jose.ES512,
		}[key.Curve]
	case ed25519.PrivateKey:
		usual = jose.EdDSA
	}
	if jwk.Algorithm != "" {
		return jose.SignatureAlgorithm(jwk.Algorithm), nil
	}
	if usual == "" {
		return "", errors.New("not a private key of RSA, EC on P-256, P-384 or P-521, or Ed25519")
	}
	return usual, nil
}
