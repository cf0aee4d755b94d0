package clientauth_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/neonpanel/mcp-gateway/authz/internal/clientauth"
	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
)

func pemOf(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func jwkOf(t testing.TB, jwk jose.JSONWebKey) []byte {
	t.Helper()
	data, err := json.Marshal(jwk)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// RFC 7523 §3, OpenID Connect Core §9.
func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	rs, es, p521, ed := issuertest.NewSigner("RS256", "", 1), issuertest.NewSigner("ES256", "", 1), issuertest.NewSigner("ES512", "", 1), issuertest.NewSigner("EdDSA", "", 1)
	for name, c := range map[string]struct {
		file      []byte
		public    any
		algorithm jose.SignatureAlgorithm
		keyID     string
	}{
		"RSA in PKCS #8": {pemOf(t, rs.Private), rs.Private.Public(), jose.RS256, ""},
		"RSA in PKCS #1": {pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rs.Private.(*rsa.PrivateKey))}), rs.Private.Public(), jose.RS256, ""},
		"P-256":          {pemOf(t, es.Private), es.Private.Public(), jose.ES256, ""},
		"P-521":          {pemOf(t, p521.Private), p521.Private.Public(), jose.ES512, ""},
		"Ed25519":        {pemOf(t, ed.Private), ed.Private.Public(), jose.EdDSA, ""},
		"a JWK":          {jwkOf(t, jose.JSONWebKey{Key: es.Private, KeyID: "own"}), es.Private.Public(), jose.ES256, "own"},
		"a JWK with alg": {jwkOf(t, jose.JSONWebKey{Key: rs.Private, KeyID: "own", Algorithm: "PS256"}), rs.Private.Public(), jose.PS256, "own"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, err := clientauth.ParseKey(c.file)
			if err != nil {
				t.Fatal(err)
			}
			method := clientauth.PrivateKeyJWT{ClientID: "gateway", Audience: "https://issuer.example", Key: func() (*clientauth.Key, error) { return key, nil }}
			seen := make(map[any]bool)
			for range 2 {
				form := url.Values{}
				user, password, err := method.Authenticate(form)
				if err != nil || user != "" || password != "" {
					t.Fatal(user, password, err)
				}
				if form.Get("client_id") != "gateway" || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
					t.Error(form)
				}
				signed, err := jose.ParseSignedCompact(form.Get("client_assertion"), []jose.SignatureAlgorithm{c.algorithm})
				if err != nil {
					t.Fatal(err)
				}
				payload, err := signed.Verify(c.public)
				if err != nil {
					t.Fatal(err)
				}
				if signed.Signatures[0].Header.KeyID != c.keyID {
					t.Errorf("kid is %q", signed.Signatures[0].Header.KeyID)
				}
				var claims map[string]any
				if err := json.Unmarshal(payload, &claims); err != nil {
					t.Fatal(err)
				}
				left := time.Until(time.Unix(int64(claims["exp"].(float64)), 0))
				if claims["iss"] != "gateway" || claims["sub"] != "gateway" || claims["aud"] != "https://issuer.example" || left <= 0 || left > time.Minute || seen[claims["jti"]] {
					t.Errorf("claims are %v", claims)
				}
				seen[claims["jti"]] = true
			}
		})
	}
}

func TestKeysThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	es := issuertest.NewSigner("ES256", "", 1)
	der, err := x509.MarshalPKIXPublicKey(es.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{
		"empty":              nil,
		"a secret":           []byte("hunter2"),
		"a public key":       pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"a public JWK":       jwkOf(t, jose.JSONWebKey{Key: es.Private.Public()}),
		"a symmetric JWK":    []byte(`{"kty":"oct","k":"aHVudGVyMg"}`),
		"a broken JWK":       []byte(`{"kty":"EC","d":"hunter2"`),
		"alg of another key": jwkOf(t, jose.JSONWebKey{Key: es.Private, Algorithm: "RS256"}),
		"alg HS256":          jwkOf(t, jose.JSONWebKey{Key: es.Private, Algorithm: "HS256"}),
	} {
		if _, err := clientauth.ParseKey(file); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAKeyOrSecretThatIsGoneIsAnError(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	for _, method := range []clientauth.Method{
		clientauth.Basic{ClientID: "gateway", Secret: func() (string, error) { return "", gone }},
		clientauth.PrivateKeyJWT{ClientID: "gateway", Key: func() (*clientauth.Key, error) { return nil, gone }},
	} {
		if _, _, err := method.Authenticate(url.Values{}); !errors.Is(err, gone) {
			t.Errorf("%T: %v", method, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"","y":"","d":""}`))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := clientauth.ParseKey(data)
		if err != nil {
			return
		}
		method := clientauth.PrivateKeyJWT{ClientID: "c", Key: func() (*clientauth.Key, error) { return key, nil }}
		if _, _, err := method.Authenticate(url.Values{}); err != nil {
			t.Fatalf("a key that was taken cannot sign: %v", err)
		}
	})
}
