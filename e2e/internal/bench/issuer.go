package bench

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Issuer signs access tokens by the thousand, far faster than the local
// NeonPanel mints them, and serves the metadata and keys that go with them.
type Issuer struct {
	// URL is the issuer's identifier.
	URL string

	server  *http.Server
	signers map[jose.SignatureAlgorithm]jose.Signer
}

// NewIssuer serves on loopback until it is closed.
func NewIssuer() (*Issuer, error) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	i := &Issuer{signers: map[jose.SignatureAlgorithm]jose.Signer{}}
	var public jose.JSONWebKeySet
	for algorithm, key := range map[jose.SignatureAlgorithm]crypto.Signer{jose.RS256: rsaKey, jose.EdDSA: edKey} {
		private := jose.JSONWebKey{Key: key, KeyID: "bench-" + string(algorithm), Algorithm: string(algorithm), Use: "sig"}
		public.Keys = append(public.Keys, private.Public())
		i.signers[algorithm], err = jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: private}, (&jose.SignerOptions{}).WithType("at+jwt"))
		if err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i.URL = "http://" + listener.Addr().String()
	// RFC 8414 and OpenID Connect Discovery: authz reads the one, go-oidc the
	// keys alone.
	metadata := map[string]any{
		"issuer": i.URL, "jwks_uri": i.URL + "/jwks", "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
		"introspection_endpoint": i.URL + "/introspect", "response_types_supported": []string{"code"}, "scopes_supported": scopes,
	}
	mux := http.NewServeMux()
	for path, document := range map[string]any{
		"/.well-known/oauth-authorization-server": metadata, "/.well-known/openid-configuration": metadata, "/jwks": public,
	} {
		body, err := json.Marshal(document)
		if err != nil {
			return nil, err
		}
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body)
		})
	}
	i.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = i.server.Serve(listener) }()
	return i, nil
}

var scopes = []string{"read:analytics", "read:companies", "read:inventory", "read:reports", "read:warehouses", "write:import"}

// Close stops serving.
func (i *Issuer) Close() error { return i.server.Close() }

// Tokens signs so many different tokens, each of a user of its own.
func (i *Issuer) Tokens(algorithm jose.SignatureAlgorithm, count int, audience string) ([]string, error) {
	signer, known := i.signers[algorithm]
	if !known {
		return nil, fmt.Errorf("no key for %s", algorithm)
	}
	tokens := make([]string, count)
	now := time.Now()
	sign := func(n int) error {
		var id [40]byte
		_, _ = rand.Read(id[:])
		claims := map[string]any{
			"iss": i.URL, "sub": fmt.Sprintf("user-%x", id[:8]), "aud": []string{audience}, "client_id": fmt.Sprintf("%x-client", id[8:16]),
			"jti": fmt.Sprintf("%x", id), "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
			"scope": "read:analytics read:companies read:inventory read:reports read:warehouses write:import",
		}
		token, err := jwt.Signed(signer).Claims(claims).Serialize()
		tokens[n] = token
		return err
	}
	errs := make([]error, runtime.NumCPU())
	var signers sync.WaitGroup
	for w := range errs {
		signers.Go(func() {
			for n := w; n < count && errs[w] == nil; n += len(errs) {
				errs[w] = sign(n)
			}
		})
	}
	signers.Wait()
	return tokens, errors.Join(errs...)
}
