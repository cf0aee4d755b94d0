package keys_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
	"github.com/neonpanel/mcp-gateway/authz/internal/keys"
)

func TestParse(t *testing.T) {
	t.Parallel()
	with := func(changes map[string]any) any {
		jwk := rsaOne.JWK()
		maps.Copy(jwk, changes)
		maps.DeleteFunc(jwk, func(_ string, v any) bool { return v == nil })
		return jwk
	}
	small := func(bits int) any {
		n := new(big.Int).SetBit(new(big.Int), bits-1, 1)
		n.SetBit(n, 0, 1)
		return map[string]any{"kty": "RSA", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(n.Bytes())}
	}
	curve := issuertest.NewSigner("ES256", "curve", 1).JWK()
	offCurve := maps.Clone(curve)
	offCurve["y"] = offCurve["x"]
	for name, c := range map[string]struct {
		key  any
		want bool
	}{
		"RSA":                                   {with(nil), true},
		"EC":                                    {curve, true},
		"Ed25519":                               {issuertest.NewSigner("EdDSA", "e", 1).JWK(), true},
		"without use (RFC 7517 §4.2)":           {with(map[string]any{"use": nil}), true},
		"use enc":                               {with(map[string]any{"use": "enc"}), false},
		"use of another type":                   {with(map[string]any{"use": 1}), false},
		"key_ops verify (RFC 7517 §4.3)":        {with(map[string]any{"key_ops": []string{"verify"}}), true},
		"key_ops without verify":                {with(map[string]any{"key_ops": []string{"sign", "encrypt"}}), false},
		"key_ops empty":                         {with(map[string]any{"key_ops": []string{}}), false},
		"alg accepted (RFC 7517 §4.4)":          {with(map[string]any{"alg": "RS256"}), true},
		"alg for encryption":                    {with(map[string]any{"alg": "RSA-OAEP"}), false},
		"alg HS256 on an RSA key":               {with(map[string]any{"alg": "HS256"}), false},
		"alg none":                              {with(map[string]any{"alg": "none"}), false},
		"alg of another key type":               {with(map[string]any{"alg": "ES256"}), false},
		"unknown members":                       {with(map[string]any{"future": map[string]any{}}), true},
		"broken certificates are not looked at": {with(map[string]any{"x5c": []string{"!"}, "x5t": "!", "x5u": "::"}), true},
		"unknown kty":                           {map[string]any{"kty": "PQC", "n": "AQAB"}, false},
		"symmetric":                             {map[string]any{"kty": "oct", "k": "AAAA"}, false},
		"private part":                          {with(map[string]any{"d": "AQAB"}), false},
		"RSA of 1024 bits (RFC 7518 §3.3)":      {small(1024), false},
		"RSA of 2047 bits":                      {small(2047), false},
		"RSA of 2048 bits":                      {small(2048), true},
		"RSA of 8200 bits":                      {small(8200), false},
		"RSA exponent 1":                        {with(map[string]any{"e": "AQ"}), false},
		"RSA even exponent":                     {with(map[string]any{"e": "Ag"}), false},
		"point off the curve (RFC 7518 §6.2.1)": {offCurve, false},
		"unsupported curve":                     {map[string]any{"kty": "EC", "crv": "secp256k1", "x": curve["x"], "y": curve["y"]}, false},
		"X25519 does not sign":                  {map[string]any{"kty": "OKP", "crv": "X25519", "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"}, false},
		"n missing":                             {with(map[string]any{"n": nil}), false},
		"kid of another type":                   {with(map[string]any{"kid": 7}), false},
		"not an object":                         {"key", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Beside a good key, so that only the one in question decides.
			document := issuertest.Encode(map[string]any{"keys": []any{two.JWK(), c.key}})
			usable, skipped, err := keys.Parse([]byte(document), jws.Algorithms())
			if err != nil {
				t.Fatal(err)
			}
			if got := len(usable) == 2; got != c.want {
				t.Errorf("usable is %v, skipped: %v", got, skipped)
			}
			if len(usable)+len(skipped) != 2 {
				t.Errorf("%d usable, %d skipped", len(usable), len(skipped))
			}
		})
	}
}

func TestParseHonoursTheAcceptedAlgorithms(t *testing.T) {
	t.Parallel()
	document := []byte(issuertest.JWKS(rsaOne, issuertest.NewSigner("ES256", "curve", 1)))
	usable, skipped, err := keys.Parse(document, []string{"RS256"})
	if err != nil || len(usable) != 1 || len(skipped) != 1 || usable[0].ID != "one" {
		t.Errorf("usable %v, skipped %v, %v", usable, skipped, err)
	}
	if _, _, err := keys.Parse(document, []string{"EdDSA"}); err == nil {
		t.Error("a set without a usable key was accepted")
	}
}

func TestParseRefusesWholeSets(t *testing.T) {
	t.Parallel()
	many := make([]*issuertest.Signer, 51)
	for i := range many {
		many[i] = issuertest.NewSigner("ES256", fmt.Sprint(i), 1)
	}
	for name, document := range map[string]string{
		"empty":           ``,
		"HTML":            `<html>`,
		"array":           `[]`,
		"no keys":         `{}`,
		"keys null":       `{"keys":null}`,
		"keys object":     `{"keys":{}}`,
		"empty keys":      `{"keys":[]}`,
		"bytes after":     issuertest.JWKS(one) + `{}`,
		"twice keys":      `{"keys":[],` + issuertest.JWKS(one)[1:],
		"too many keys":   issuertest.JWKS(many...),
		"member twice":    strings.Replace(issuertest.JWKS(one), `"kty"`, `"kid":"x","kid":"y","kty"`, 1),
		"only weak ones":  `{"keys":[{"kty":"RSA","e":"AQAB","n":"wAA"}]}`,
		"keys of nothing": `{"keys":[{},[],1,null]}`,
	} {
		if usable, _, err := keys.Parse([]byte(document), jws.Algorithms()); err == nil {
			t.Errorf("%s: accepted with %d keys", name, len(usable))
		}
	}
}

func TestThumbprint(t *testing.T) {
	t.Parallel()
	// The example of RFC 7638 §3.1.
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	usable, _, err := keys.Parse([]byte(`{"keys":[{"kty":"RSA","e":"AQAB","kid":"2011-04-29","n":"`+n+`"},`+
		`{"kty":"RSA","alg":"RS256","e":"AQAB","kid":"2011-04-29","n":"`+n+`"},{"kty":"RSA","alg":"PS256","e":"AQAB","kid":"2011-04-29","n":"`+n+`"}]}`), jws.Algorithms())
	if err != nil || len(usable) != 3 {
		t.Fatal(usable, err)
	}
	if usable[0].Print == usable[1].Print || usable[1].Print == usable[2].Print {
		t.Error("one key under two restrictions has one thumbprint")
	}
	if got := base64.RawURLEncoding.EncodeToString(usable[0].Print[:]); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Error(got)
	}
}

func FuzzParseSet(f *testing.F) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(issuertest.JWKS(rsaOne, issuertest.NewSigner("ES256", "curve", 1), issuertest.NewSigner("EdDSA", "", 1))))
	f.Add([]byte(`{"keys":[]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Add([]byte(issuertest.JWKS(&issuertest.Signer{Algorithm: "RS256", Private: weak})))
	f.Fuzz(func(t *testing.T, document []byte) {
		usable, _, err := keys.Parse(document, jws.Algorithms())
		if (err == nil) != (len(usable) > 0) {
			t.Fatalf("%d keys with error %v", len(usable), err)
		}
		for _, key := range usable {
			if k, is := key.Public.(*rsa.PublicKey); is && k.N.BitLen() < 2048 {
				t.Fatal("weak key accepted")
			}
			if key.Print == (keys.Thumbprint{}) {
				t.Fatal("no thumbprint")
			}
		}
	})
}
