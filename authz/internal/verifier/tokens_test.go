package verifier_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"pgregory.net/rapid"

	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/keys"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

// sign signs the usual claims with changes.
func sign(issuer string, changes map[string]any) string { return signer.Sign(claims(issuer, changes)) }

// withHeader signs the usual claims under a header with changes.
func withHeader(issuer string, changes map[string]any) string {
	header := signer.Header()
	maps.Copy(header, changes)
	maps.DeleteFunc(header, func(_ string, v any) bool { return v == nil })
	return signer.SignText(issuertest.Encode(header), issuertest.Encode(claims(issuer, nil)))
}

// withPayload signs a payload that is the usual one with a text in front of
// its first member.
func withPayload(issuer, front string) string {
	payload := issuertest.Encode(claims(issuer, nil))
	return signer.SignText(issuertest.Encode(signer.Header()), "{"+front+payload[1:])
}

type tokenCase struct {
	make func(issuer string) string
	want string
}

func changed(changes map[string]any, want string) tokenCase {
	return tokenCase{func(issuer string) string { return sign(issuer, changes) }, want}
}

func headed(changes map[string]any, want string) tokenCase {
	return tokenCase{func(issuer string) string { return withHeader(issuer, changes) }, want}
}

func fronted(front, want string) tokenCase {
	return tokenCase{func(issuer string) string { return withPayload(issuer, front) }, want}
}

func in(d time.Duration) float64 { return float64(time.Now().Add(d).UnixMilli()) / 1000 }

// later is a change whose value depends on the time of the test.
func later(name string, value func() any, want string) tokenCase {
	return tokenCase{func(issuer string) string { return sign(issuer, map[string]any{name: value()}) }, want}
}

var tokenCases = map[string]tokenCase{
	"good": changed(nil, ""),

	// iss, RFC 7519 §4.1.1
	"iss of another":                 changed(map[string]any{"iss": "https://evil.example"}, token.IssuerMismatch),
	"iss with a trailing slash":      changed(map[string]any{"iss": "http://127.0.0.1/"}, token.IssuerMismatch),
	"iss in upper case":              changed(map[string]any{"iss": "HTTP://127.0.0.1"}, token.IssuerMismatch),
	"iss missing":                    changed(map[string]any{"iss": nil}, token.IssuerMissing),
	"iss empty":                      changed(map[string]any{"iss": ""}, token.ClaimInvalid),
	"iss a list":                     changed(map[string]any{"iss": []string{"http://127.0.0.1"}}, token.ClaimInvalid),
	"claim names are case-sensitive": changed(map[string]any{"iss": nil, "ISS": "http://127.0.0.1"}, token.IssuerMissing),

	// sub, RFC 7519 §4.1.2
	"sub missing":             changed(map[string]any{"sub": nil}, token.SubjectMissing),
	"sub empty":               changed(map[string]any{"sub": ""}, token.ClaimInvalid),
	"sub a number":            changed(map[string]any{"sub": 46}, token.ClaimInvalid),
	"sub with a line break":   changed(map[string]any{"sub": "46\r\nx-neonpanel-subject: 1"}, token.ClaimInvalid),
	"sub with a space at end": changed(map[string]any{"sub": "46 "}, token.ClaimInvalid),
	"sub too long":            changed(map[string]any{"sub": strings.Repeat("4", 256)}, token.ClaimInvalid),

	// exp, RFC 7519 §4.1.4
	"exp missing":            changed(map[string]any{"exp": nil}, token.ExpiryMissing),
	"exp now":                later("exp", func() any { return in(0) }, token.Expired),
	"exp a second ago":       later("exp", func() any { return in(-time.Second) }, token.Expired),
	"exp in half a second":   later("exp", func() any { return in(500 * time.Millisecond) }, ""),
	"exp zero":               changed(map[string]any{"exp": 0}, token.Expired),
	"exp a string":           changed(map[string]any{"exp": "9999999999"}, token.ClaimInvalid),
	"exp negative":           changed(map[string]any{"exp": -1}, token.ClaimInvalid),
	"exp null":               changed(map[string]any{"exp": json.RawMessage("null")}, token.ClaimInvalid),
	"exp huge (1e300)":       changed(map[string]any{"exp": 1e300}, token.ClaimInvalid),
	"exp past the year 9999": changed(map[string]any{"exp": 253402300800}, token.ClaimInvalid),
	"exp a boolean":          changed(map[string]any{"exp": true}, token.ClaimInvalid),
	"exp a list":             changed(map[string]any{"exp": []int{9999999999}}, token.ClaimInvalid),
	"exp fractional (§2)":    later("exp", func() any { return in(time.Hour) + 0.123456 }, ""),
	"exp with an exponent":   changed(map[string]any{"exp": 9.5e10}, ""),

	// nbf, RFC 7519 §4.1.5
	"nbf within the leeway": later("nbf", func() any { return in(29 * time.Second) }, ""),
	"nbf beyond the leeway": later("nbf", func() any { return in(31 * time.Second) }, token.NotYetValid),
	"nbf a string":          changed(map[string]any{"nbf": "0"}, token.ClaimInvalid),

	// iat, RFC 7519 §4.1.6: read, not judged
	"iat missing":       changed(map[string]any{"iat": nil}, ""),
	"iat in the future": later("iat", func() any { return in(time.Hour) }, ""),
	"iat negative":      changed(map[string]any{"iat": -5}, token.ClaimInvalid),
	"iat fractional":    changed(map[string]any{"iat": 1710929557.944255}, ""),

	// aud, RFC 7519 §4.1.3
	"aud in a list":           changed(map[string]any{"aud": []string{"https://other.example", audience}}, ""),
	"aud of another":          changed(map[string]any{"aud": "https://other.example"}, token.AudienceMismatch),
	"aud with a slash added":  changed(map[string]any{"aud": audience + "/"}, token.AudienceMismatch),
	"aud a prefix":            changed(map[string]any{"aud": audience[:len(audience)-1]}, token.AudienceMismatch),
	"aud a client":            changed(map[string]any{"aud": "client-1"}, token.AudienceMismatch),
	"aud missing":             changed(map[string]any{"aud": nil}, token.AudienceMissing),
	"aud an empty list":       changed(map[string]any{"aud": []string{}}, token.AudienceMissing),
	"aud a number":            changed(map[string]any{"aud": 1}, token.ClaimInvalid),
	"aud a list with numbers": changed(map[string]any{"aud": []any{audience, 1}}, token.ClaimInvalid),
	"aud an object":           changed(map[string]any{"aud": map[string]any{}}, token.ClaimInvalid),

	// scope, RFC 6749 §3.3, RFC 9068 §2.2.3
	"scope missing":                    changed(map[string]any{"scope": nil}, ""),
	"scope empty":                      changed(map[string]any{"scope": ""}, ""),
	"scope a list":                     changed(map[string]any{"scope": []string{"a", "b"}}, ""),
	"scp a string":                     changed(map[string]any{"scope": nil, "scp": "a b"}, ""),
	"scopes a list":                    changed(map[string]any{"scope": nil, "scopes": []string{"a"}}, ""),
	"scope element with a space":       changed(map[string]any{"scope": []string{"read:inventory write:import"}}, token.ScopeInvalid),
	"scope with two spaces":            changed(map[string]any{"scope": "a  b"}, token.ScopeInvalid),
	"scope with a space at the end":    changed(map[string]any{"scope": "a "}, token.ScopeInvalid),
	"scope with a tab":                 changed(map[string]any{"scope": "a\tb"}, token.ScopeInvalid),
	"scope with a quote":               changed(map[string]any{"scope": `a"b`}, token.ScopeInvalid),
	"scope with a backslash":           changed(map[string]any{"scope": `a\b`}, token.ScopeInvalid),
	"scope beyond ASCII":               changed(map[string]any{"scope": "lesen:überall"}, token.ScopeInvalid),
	"scope a number":                   changed(map[string]any{"scope": 1}, token.ScopeInvalid),
	"scope a list with a number":       changed(map[string]any{"scope": []any{"a", 1}}, token.ScopeInvalid),
	"scope list with an empty element": changed(map[string]any{"scope": []string{""}}, token.ScopeInvalid),

	// client_id, jti
	"client_id a list":            changed(map[string]any{"client_id": []string{"a"}}, token.ClaimInvalid),
	"client_id with a line break": changed(map[string]any{"client_id": "a\nb"}, token.ClaimInvalid),
	"jti a number":                changed(map[string]any{"jti": 1}, token.ClaimInvalid),

	// Tokens that are no access tokens
	"ID token: nonce (OpenID Connect Core §2)": changed(map[string]any{"nonce": "n"}, token.IDToken),
	"ID token: at_hash":                        changed(map[string]any{"at_hash": "h"}, token.IDToken),
	"ID token: c_hash (§3.3.2.11)":             changed(map[string]any{"c_hash": "h"}, token.IDToken),
	"bound by DPoP (RFC 9449 §6.1)":            changed(map[string]any{"cnf": map[string]any{"jkt": "x"}}, token.SenderBound),
	"bound by mTLS (RFC 8705 §3.1)":            changed(map[string]any{"cnf": map[string]any{"x5t#S256": "x"}}, token.SenderBound),
	"cnf of null":                              fronted(`"cnf":null,`, token.SenderBound),
	"token_use id":                             changed(map[string]any{"token_use": "id"}, token.NotAccessToken),
	"token_use refresh":                        changed(map[string]any{"token_use": "refresh"}, token.NotAccessToken),
	"token_use access":                         changed(map[string]any{"token_use": "access"}, ""),
	"token_use a list":                         changed(map[string]any{"token_use": []string{"access"}}, token.NotAccessToken),
	"token_type refresh":                       changed(map[string]any{"token_type": "refresh"}, token.NotAccessToken),
	"token_type Bearer":                        changed(map[string]any{"token_type": "Bearer"}, ""),
	"token_type DPoP":                          changed(map[string]any{"token_type": "DPoP"}, token.NotAccessToken),
	"typ claim Refresh":                        changed(map[string]any{"typ": "Refresh"}, token.NotAccessToken),
	"typ claim ID":                             changed(map[string]any{"typ": "ID"}, token.NotAccessToken),
	"typ claim Bearer":                         changed(map[string]any{"typ": "Bearer"}, ""),
	"logout token (RFC 8417 §2.2)":             changed(map[string]any{"events": map[string]any{}}, token.NotAccessToken),
	"typ at+jwt (RFC 9068 §4)":                 headed(map[string]any{"typ": "at+jwt"}, ""),
	"typ application/at+jwt":                   headed(map[string]any{"typ": "application/at+jwt"}, ""),
	"typ AT+JWT":                               headed(map[string]any{"typ": "AT+JWT"}, ""),
	"typ JWT":                                  headed(map[string]any{"typ": "JWT"}, ""),
	"typ absent":                               headed(map[string]any{"typ": nil}, ""),
	"typ dpop+jwt":                             headed(map[string]any{"typ": "dpop+jwt"}, token.TypeRefused),
	"typ logout+jwt":                           headed(map[string]any{"typ": "logout+jwt"}, token.TypeRefused),
	"typ token-introspection+jwt (RFC 9701)":   headed(map[string]any{"typ": "token-introspection+jwt"}, token.TypeRefused),
	"typ empty":                                headed(map[string]any{"typ": ""}, token.HeaderRefused),

	// Header, RFC 7515 §4.1
	"kid absent":                       headed(map[string]any{"kid": nil}, ""),
	"kid a path":                       headed(map[string]any{"kid": "../../../../dev/null"}, token.KeyUnknown),
	"kid an SQL injection":             headed(map[string]any{"kid": "x' UNION SELECT 'secret"}, token.KeyUnknown),
	"kid an object":                    headed(map[string]any{"kid": map[string]any{}}, token.HeaderRefused),
	"crit of a known name":             headed(map[string]any{"crit": []string{"exp"}}, token.HeaderRefused),
	"crit of an unknown name":          headed(map[string]any{"crit": []string{"x"}, "x": true}, token.HeaderRefused),
	"b64 false (RFC 7797)":             headed(map[string]any{"b64": false, "crit": []string{"b64"}}, token.HeaderRefused),
	"cty JWT":                          headed(map[string]any{"cty": "JWT"}, token.HeaderRefused),
	"alg none (RFC 8725 §2.1)":         {func(issuer string) string { return unsigned(issuer, "none") }, token.AlgorithmRefused},
	"alg NoNe":                         {func(issuer string) string { return unsigned(issuer, "NoNe") }, token.AlgorithmRefused},
	"alg none with a signature":        headed(map[string]any{"alg": "none"}, token.AlgorithmRefused),
	"alg of a right signature unknown": headed(map[string]any{"alg": "RS257"}, token.AlgorithmRefused),
	"alg accepted nowhere here":        headed(map[string]any{"alg": "RS512"}, token.AlgorithmRefused),
	"alg in lower case":                headed(map[string]any{"alg": "rs256"}, token.AlgorithmRefused),
	"HS256 keyed with the public key (RFC 8725 §2.1)": {confused, token.AlgorithmRefused},
	"PS256 with the RS256 key": {func(issuer string) string {
		return issuertest.NewSigner("PS256", "one", 1).Sign(claims(issuer, nil))
	}, token.AlgorithmRefused},
	"own key in jwk (RFC 7515 §4.1.3)": {func(issuer string) string {
		evil := issuertest.NewSigner("RS256", "one", 2)
		header := evil.Header()
		header["jwk"] = evil.JWK()
		return evil.SignText(issuertest.Encode(header), issuertest.Encode(claims(issuer, nil)))
	}, token.SignatureInvalid},
	"own keys by jku and x5u (RFC 7515 §4.1.2, §4.1.5)": {func(issuer string) string {
		evil := issuertest.NewSigner("RS256", "evil", 2)
		header := evil.Header()
		header["jku"] = issuer + "/evil.json"
		header["x5u"] = issuer + "/evil.pem"
		return evil.SignText(issuertest.Encode(header), issuertest.Encode(claims(issuer, nil)))
	}, token.KeyUnknown},
	"jku, x5u, jwk and x5c of a good token are ignored": headed(map[string]any{
		"jku": "https://evil.example", "x5u": "https://evil.example", "jwk": map[string]any{"kty": "oct"}, "x5c": []string{"!"},
	}, ""),

	// Signature
	"signed with another key": {func(issuer string) string {
		return issuertest.NewSigner("RS256", "one", 2).Sign(claims(issuer, nil))
	}, token.SignatureInvalid},
	"signature missing": {func(issuer string) string {
		raw := sign(issuer, nil)
		return raw[:strings.LastIndexByte(raw, '.')+1]
	}, token.SignatureInvalid},
	"signature of zeros": {func(issuer string) string {
		raw := sign(issuer, nil)
		return raw[:strings.LastIndexByte(raw, '.')+1] + strings.Repeat("A", 342)
	}, token.SignatureInvalid},
	"signature of another token": {func(issuer string) string {
		raw, other := sign(issuer, nil), sign(issuer, map[string]any{"sub": "47"})
		return raw[:strings.LastIndexByte(raw, '.')] + other[strings.LastIndexByte(other, '.'):]
	}, token.SignatureInvalid},
	"JSON serialisation (RFC 7515 §7.2)": {func(issuer string) string {
		parts := strings.Split(sign(issuer, nil), ".")
		return issuertest.Encode(map[string]any{"protected": parts[0], "payload": parts[1], "signature": parts[2]})
	}, token.CharactersRefused},
	"JSON serialisation without commas": {func(issuer string) string {
		return `{"payload":"` + issuertest.Base64(issuertest.Encode(claims(issuer, nil))) + `"}`
	}, token.Opaque},
	"non-canonical base64 (RFC 4648 §3.5)": {func(issuer string) string {
		raw := sign(issuer, nil)
		last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", raw[len(raw)-1])
		return raw[:len(raw)-1] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last+1:last+2]
	}, token.Undecodable},
	"padding":               {func(issuer string) string { return sign(issuer, nil) + "==" }, token.Undecodable},
	"a fourth part":         {func(issuer string) string { return sign(issuer, nil) + ".e30" }, token.Opaque},
	"a byte after":          {func(issuer string) string { return sign(issuer, nil) + "\n" }, token.CharactersRefused},
	"a space in front":      {func(issuer string) string { return " " + sign(issuer, nil) }, token.CharactersRefused},
	"a NUL in the middle":   {func(issuer string) string { return strings.Replace(sign(issuer, nil), ".", "\x00.", 1) }, token.CharactersRefused},
	"empty":                 {func(string) string { return "" }, token.CharactersRefused},
	"only padding":          {func(string) string { return "===" }, token.Opaque},
	"of Laravel Sanctum":    {func(string) string { return "12|Lk3Qv9dB0xRzT7aWcYpE5sJhGf1uMn4o" }, token.Opaque},
	"beyond ASCII":          {func(string) string { return "opaque-é" }, token.CharactersRefused},
	"DEL":                   {func(string) string { return "opaque\x7f" }, token.CharactersRefused},
	"8 KiB and one":         {func(string) string { return strings.Repeat("a", verifier.MaxToken+1) }, token.Oversize},
	"huge claims in a good": {func(issuer string) string { return sign(issuer, map[string]any{"x": strings.Repeat("x", 8000)}) }, token.Oversize},
	"opaque":                {func(string) string { return "8f4b2c" }, token.Opaque},

	// The examples of the RFCs that no resource may accept.
	"RFC 7515 A.1 and RFC 7519 §3.1: HS256":     example("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."+joe+".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", token.AlgorithmRefused),
	"RFC 7515 A.5 and RFC 7519 §6.1: unsecured": example("eyJhbGciOiJub25lIn0."+joe+".", token.AlgorithmRefused),
	"RFC 7515 A.2: of another issuer":           example("eyJhbGciOiJSUzI1NiJ9."+joe+".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw", token.IssuerMismatch),
	"RFC 7519 A.1: encrypted": example("eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0."+
		"QR1Owv2ug2WyPBnbQrRARTeEk9kDO2w8qDcjiHnSJflSdv1iNqhWXaKH4MqAkQtMoNfABIPJaZm0HaA415sv3aeuBWnD8J-Ui7Ah6cWafs3ZwwFKDFUUsWHSK-IPKxLGTkND09XyjORj_CHAgOPJ-Sd8ONQRnJvWn_hXV1BNMHzUjPyYwEsRhDhzjAD26imasOTsgruobpYGoQcXUwFDn7moXPRfDE8-NoQX7N7ZYMmpUDkR-Cx9obNGwJQ3nM52YCitxoQVPzjbl7WBuB7AohdBoZOdZ24WlN1lVIeh8v1K4krB8xgKvRU8kgFrEn_a1rZgN5TiysnmzTROF869lQ."+
		"AxY8DCtDaGlsbGljb3RoZQ.MKOle7UQrG6nSxTLX6Mqwt0orbHvAKeWnDYvpIAeZ72deHxz3roJDXQyhxx0wKaMHDjUEOKIwrtkHthpqEanSBNYHZgmNOV7sln1Eu9g3J8.fiK51VwhsxJ-siBMR-YFiA", token.Opaque),

	// Payload, RFC 7519 §7.2, RFC 8725 §2.4
	"sub twice":                        fronted(`"sub":"1",`, token.Undecodable),
	"sub twice by escape":              fronted(`"\u0073ub":"1",`, token.Undecodable),
	"unread member twice":              fronted(`"x":1,"x":2,`, token.Undecodable),
	"member twice in an unread object": fronted(`"x":{"a":1,"a":2},`, token.Undecodable),
	"NaN":                              fronted(`"x":NaN,`, token.Undecodable),
	"number with a leading zero":       fronted(`"x":01,`, token.Undecodable),
	"comment":                          fronted(`/* */`, token.Undecodable),
	"single quotes":                    fronted(`'x':1,`, token.Undecodable),
	"bad UTF-8":                        fronted("\"x\":\"\xff\",", token.Undecodable),
	"lone surrogate":                   fronted(`"x":"\ud800",`, token.Undecodable),
	"payload an array":                 {func(string) string { return signer.SignText(issuertest.Encode(signer.Header()), "[]") }, token.Undecodable},
	"payload empty":                    {func(string) string { return signer.SignText(issuertest.Encode(signer.Header()), "") }, token.Undecodable},
	"payload a JWT": {func(issuer string) string {
		return signer.SignText(issuertest.Encode(signer.Header()), sign(issuer, nil))
	}, token.Undecodable},
	"bytes after the payload": {func(issuer string) string {
		return signer.SignText(issuertest.Encode(signer.Header()), issuertest.Encode(claims(issuer, nil))+"{}")
	}, token.Undecodable},
}

// joe is the payload of many examples.
const joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

func example(raw, want string) tokenCase {
	return tokenCase{func(string) string { return raw }, want}
}

func unsigned(issuer, algorithm string) string {
	header := issuertest.Encode(map[string]any{"alg": algorithm, "kid": "one"})
	return issuertest.Base64(header) + "." + issuertest.Base64(issuertest.Encode(claims(issuer, nil))) + "."
}

// confused is signed by HMAC with the public key as the secret.
func confused(issuer string) string {
	der, err := x509.MarshalPKIXPublicKey(signer.Private.Public())
	if err != nil {
		panic(err)
	}
	secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	signed := issuertest.Base64(`{"alg":"HS256","kid":"one"}`) + "." + issuertest.Base64(issuertest.Encode(claims(issuer, nil)))
	return signed + "." + issuertest.Base64(string(issuertest.HMAC(secret, signed)))
}

func TestTokens(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		for name, c := range tokenCases {
			raw := c.make(server.Issuer)
			for _, time := range []string{"first", "second"} {
				if _, err := v.Verify(t.Context(), raw); reason(t, err) != c.want {
					t.Errorf("%s, %s time: %v, want %q", name, time, err, c.want)
				}
			}
			steps := trail.New()
			if _, err := v.Explain(t.Context(), raw, steps); reason(t, err) != c.want {
				t.Errorf("%s, explained: %v, want %q", name, err, c.want)
			}
			failed := slices.ContainsFunc(steps.Steps(), func(s trail.Step) bool { return s.Result == trail.Fail && s.Reason == c.want })
			if failed != (c.want != "") {
				t.Errorf("%s: no step says %q: %+v", name, c.want, steps.Steps())
			}
		}
		if n := server.Calls("/evil.json") + server.Calls("/evil.pem"); n != 0 {
			t.Error("a token chose what was fetched")
		}
	})
}

// Whatever is accepted here, go-oidc accepts too, on the same key set: being
// stricter is the only liberty taken.
func TestNothingIsAcceptedThatGoOIDCRefuses(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		set := keys.New(keys.Config{
			Fetch:      func(context.Context) ([]byte, error) { return []byte(issuertest.JWKS(signer)), nil },
			Algorithms: []string{"RS256"}, Refresh: time.Hour, MaxStale: time.Hour, Cooldown: time.Minute, Wait: time.Second, Waiting: 1, Timeout: time.Second,
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = set.Run(ctx) }()
		synctest.Wait()
		theirs := oidc.NewVerifier(server.Issuer, set, &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{"RS256"}})
		both := 0
		for name, c := range tokenCases {
			raw := c.make(server.Issuer)
			if _, err := v.Verify(t.Context(), raw); err != nil {
				continue
			}
			both++
			switch name {
			case "exp in half a second":
				continue // go-oidc cuts dates to whole seconds
			case "jku, x5u, jwk and x5c of a good token are ignored":
				continue // go-oidc reads x5c
			}
			if _, err := theirs.Verify(t.Context(), raw); err != nil {
				t.Errorf("%s: accepted here, but go-oidc: %v", name, err)
			}
		}
		if both < 10 {
			t.Errorf("only %d tokens were accepted at all", both)
		}
		cancel()
		<-ended
	})
}

func TestSettingsThatWiden(t *testing.T) {
	passport := func() map[string]any {
		now := float64(time.Now().UnixMicro()) / 1e6
		return map[string]any{
			"aud": "9d2f1c7e-0000-4000-8000-000000000001", "jti": strings.Repeat("ab", 40),
			"iat": now, "nbf": now, "exp": now + 15897600, "sub": "46", "scopes": []string{},
		}
	}
	nothing := func(o *verifier.Options) {}
	type settings = func(*verifier.Options)
	for name, c := range map[string]struct {
		set    settings
		claims map[string]any
		want   string
	}{
		"Passport, by default":  {nothing, passport(), token.IssuerMissing},
		"Passport, issuer only": {func(o *verifier.Options) { o.AllowMissingIssuer = true }, passport(), token.AudienceMismatch},
		"Passport, client listed": {func(o *verifier.Options) {
			o.AllowMissingIssuer = true
			o.ClientIDs = []string{"9d2f1c7e-0000-4000-8000-000000000001"}
		}, passport(), ""},
		"Passport, any audience":                {func(o *verifier.Options) { o.AllowMissingIssuer, o.AnyAudience = true, true }, passport(), ""},
		"wrong issuer though it may be missing": {func(o *verifier.Options) { o.AllowMissingIssuer = true }, claims("https://evil.example", nil), token.IssuerMismatch},
		"any: another's URL":                    {func(o *verifier.Options) { o.AnyAudience = true }, claims("", map[string]any{"aud": "https://other.example"}), token.AudienceMismatch},
		"any: another's URL beside a client":    {func(o *verifier.Options) { o.AnyAudience = true }, claims("", map[string]any{"aud": []string{"client-1", "https://other.example"}}), token.AudienceMismatch},
		"any: ours beside another's":            {func(o *verifier.Options) { o.AnyAudience = true }, claims("", map[string]any{"aud": []string{audience, "https://other.example"}}), ""},
		"any: no audience":                      {func(o *verifier.Options) { o.AnyAudience = true }, claims("", map[string]any{"aud": nil}), ""},
		"any: no audience, no scope claim":      {func(o *verifier.Options) { o.AnyAudience = true }, claims("", map[string]any{"aud": nil, "scope": nil}), token.ScopeClaimMissing},
		"client listed, no scope claim":         {func(o *verifier.Options) { o.ClientIDs = []string{"client-1"} }, claims("", map[string]any{"aud": "client-1", "scope": nil}), token.ScopeClaimMissing},
		"our own audience needs no scope claim": {func(o *verifier.Options) { o.AnyAudience = true }, claims("", map[string]any{"scope": nil}), ""},
		"reported: another's URL":               {func(o *verifier.Options) { o.ReportAudience = true }, claims("", map[string]any{"aud": "https://other.example"}), ""},
		"reported: still expires":               {func(o *verifier.Options) { o.ReportAudience = true }, claims("", map[string]any{"aud": "x", "exp": 1}), token.Expired},
		"no leeway":                             {func(o *verifier.Options) { o.Leeway = -1 }, claims("", map[string]any{"nbf": 253402300799}), token.NotYetValid},
		"mode jwt":                              {func(o *verifier.Options) { o.Mode = verifier.JWT }, claims("", nil), ""},
	} {
		t.Run(name, func(t *testing.T) {
			counted := new(counter)
			inBubble(t, func(o *verifier.Options) { c.set(o); o.Observer = counted }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
				if c.claims["iss"] == "" {
					c.claims["iss"] = server.Issuer
				}
				now := time.Now()
				if _, there := c.claims["nbf"]; !there && c.claims["exp"] != 1 {
					// The claims were made outside of the bubble, whose time is another.
					c.claims["iat"], c.claims["exp"] = now.Unix(), now.Add(time.Hour).Unix()
				}
				if _, there := c.claims["scopes"]; there {
					c.claims["nbf"], c.claims["exp"] = float64(now.UnixMilli())/1000, float64(now.Add(time.Hour).UnixMilli())/1000
				}
				if c.want == token.NotYetValid {
					c.claims["exp"] = 253402300799
					c.claims["nbf"] = now.Add(time.Second).Unix()
				}
				id, err := v.Verify(t.Context(), signer.Sign(c.claims))
				if reason(t, err) != c.want {
					t.Fatalf("%v, want %q", err, c.want)
				}
				if _, there := c.claims["scopes"]; there && err == nil && id.ClientID != "9d2f1c7e-0000-4000-8000-000000000001" {
					t.Errorf("client is %q", id.ClientID)
				}
				if strings.HasPrefix(name, "reported: another") && counted.reported != token.AudienceMismatch {
					t.Errorf("reported %q", counted.reported)
				}
			})
		})
	}
}

func TestClientAndScopesOfAToken(t *testing.T) {
	inBubble(t, func(o *verifier.Options) { o.AnyAudience = true }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		for name, c := range map[string]struct {
			changes map[string]any
			client  string
			scopes  string
		}{
			"client_id before azp":        {map[string]any{"azp": "other"}, "client-1", "read:analytics read:inventory"},
			"azp":                         {map[string]any{"client_id": nil, "azp": "other"}, "other", "read:analytics read:inventory"},
			"aud that is no URL":          {map[string]any{"client_id": nil, "aud": "other"}, "other", "read:analytics read:inventory"},
			"aud that is a URL":           {map[string]any{"client_id": nil}, "", "read:analytics read:inventory"},
			"two audiences":               {map[string]any{"client_id": nil, "aud": []string{"a", "b"}}, "", "read:analytics read:inventory"},
			"scopes are sorted, once":     {map[string]any{"scope": "b a b", "scp": []string{"c", "a"}}, "client-1", "a b c"},
			"no scopes":                   {map[string]any{"scope": ""}, "client-1", ""},
			"scopes of Passport's member": {map[string]any{"scope": nil, "scopes": []string{"x"}}, "client-1", "x"},
		} {
			raw := sign(server.Issuer, c.changes)
			for range 2 {
				id, err := v.Verify(t.Context(), raw)
				if err != nil {
					t.Fatal(name, err)
				}
				if id.ClientID != c.client || strings.Join(id.Scopes, " ") != c.scopes {
					t.Errorf("%s: client %q, scopes %q", name, id.ClientID, id.Scopes)
				}
				if c.scopes == "" && id.Scopes != nil {
					t.Errorf("%s: scopes are not nil", name)
				}
			}
		}
	})
}

func TestAlgorithmsThatAreConfigured(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			own := issuertest.NewSigner(algorithm, "own", 1)
			inBubble(t, func(o *verifier.Options) { o.Algorithms = []string{"RS256", algorithm} }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
				server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(own)))
				time.Sleep(10 * time.Minute)
				if _, err := v.Verify(t.Context(), own.Sign(claims(server.Issuer, nil))); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// No token that differs from a good one in any way is accepted.
func TestNoMutatedTokenIsAccepted(t *testing.T) {
	t.Parallel()
	server := issuertest.Start(t)
	server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer, issuertest.NewSigner("ES256", "two", 1))))
	v := loaded(t, server, func(o *verifier.Options) { o.Algorithms = []string{"RS256", "ES256"} })
	good := []string{sign(server.Issuer, nil), issuertest.NewSigner("ES256", "two", 1).Sign(claims(server.Issuer, nil))}
	for _, raw := range good {
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/~ \n\x00"
	rapid.Check(t, func(t *rapid.T) {
		raw := []byte(rapid.SampledFrom(good).Draw(t, "token"))
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			at := rapid.IntRange(0, len(raw)-1).Draw(t, "at")
			char := alphabet[rapid.IntRange(0, len(alphabet)-1).Draw(t, "char")]
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				raw[at] = char
			case 1:
				raw = slices.Insert(raw, at, char)
			case 2:
				raw = slices.Delete(raw, at, at+1)
			case 3:
				raw = raw[:at+1]
			case 4:
				raw = append(raw, char)
			}
			if len(raw) == 0 {
				return
			}
		}
		if slices.Contains(good, string(raw)) {
			return
		}
		_, err := v.Verify(context.Background(), string(raw))
		var refusal *token.Error
		if !errors.As(err, &refusal) || refusal.Kind == token.Unavailable {
			t.Fatalf("mutated token: %v", err)
		}
	})
}

func FuzzVerify(f *testing.F) {
	server := issuertest.Start(f)
	server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
	v := loaded(f, server, nil)
	good := sign(server.Issuer, nil)
	f.Add(good)
	f.Add(unsigned(server.Issuer, "none"))
	f.Add(confused(server.Issuer))
	f.Add(strings.Repeat("a", verifier.MaxToken+1))
	f.Fuzz(func(t *testing.T, raw string) {
		_, err := v.Verify(context.Background(), raw)
		if _, explained := v.Explain(context.Background(), raw, trail.New()); (explained == nil) != (err == nil) {
			t.Fatalf("%q: explained as %v, verified as %v", raw, explained, err)
		}
		if raw == good {
			return
		}
		var refusal *token.Error
		if !errors.As(err, &refusal) {
			t.Fatalf("%q: %v", raw, err)
		}
		if !slices.Contains(token.Reasons(), refusal.Reason) || refusal.Description == "" {
			t.Fatalf("not of the closed set: %+v", refusal)
		}
	})
}
