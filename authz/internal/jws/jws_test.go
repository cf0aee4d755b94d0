package jws_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

func TestAlgorithmsVerifyTheirOwnSignaturesOnly(t *testing.T) {
	t.Parallel()
	for _, name := range jws.Algorithms() {
		raw := issuertest.NewSigner(name, "k", 1).Sign(map[string]any{"sub": "x"})
		parsed, err := jws.Parse(raw)
		if err != nil {
			t.Fatal(name, err)
		}
		for _, other := range jws.Algorithms() {
			key := issuertest.NewSigner(other, "k", 1).Private.Public()
			// RSA algorithms share a key type; the header tells them apart.
			same := other == name || isRSA(other) && isRSA(name)
			if got := parsed.Verify(key) == nil; got != same {
				t.Errorf("%s token with a key for %s: verified is %v", name, other, got)
			}
			if got := jws.Fits(name, key); got != same {
				t.Errorf("Fits(%s, key for %s) is %v", name, other, got)
			}
		}
		if parsed.Verify(issuertest.NewSigner(name, "k", 2).Private.Public()) == nil {
			t.Errorf("%s: verified with another key", name)
		}
	}
}

func isRSA(name string) bool { return name[:2] == "RS" || name[:2] == "PS" }

func TestPublishedVectors(t *testing.T) {
	t.Parallel()
	const payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	for name, c := range map[string]struct{ jwk, raw string }{
		"RFC 7515 A.2 RS256": {
			`{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}`,
			"eyJhbGciOiJSUzI1NiJ9." + payload + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
		},
		"RFC 7515 A.3 ES256": {
			`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJFUzI1NiJ9." + payload + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
		},
		"RFC 7515 A.4 ES512": {
			`{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}`,
			"eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
		},
		"RFC 7520 4.2 PS384": {
			`{"kty":"RSA","e":"AQAB","n":"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw"}`,
			"eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4.cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
		},
		"RFC 8037 A.4 EdDSA": {
			`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
		},
	} {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON([]byte(c.jwk)); err != nil {
			t.Fatal(name, err)
		}
		parsed, err := jws.Parse(c.raw)
		if err != nil {
			t.Fatal(name, err)
		}
		if err := parsed.Verify(key.Key); err != nil {
			t.Error(name, err)
		}
		damaged := c.raw[:len(c.raw)-8] + "AAAAAAA" + c.raw[len(c.raw)-1:]
		if parsed, err := jws.Parse(damaged); err == nil && parsed.Verify(key.Key) == nil {
			t.Error(name, "verified although damaged")
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	header := func(text string) string { return issuertest.Base64(text) + ".e30.c2ln" }
	for name, c := range map[string]struct {
		raw  string
		want string
	}{
		"plain":                                  {header(`{"alg":"RS256"}`), ""},
		"unknown header members are ignored":     {header(`{"alg":"RS256","jku":"https://evil.example/","x5u":"https://evil.example/","jwk":{"kty":"oct"},"x5c":[]}`), ""},
		"spaces around the header object":        {header(` {"alg":"RS256"} `), ""},
		"empty":                                  {"", token.Undecodable},
		"one part":                               {"abc", token.Undecodable},
		"two parts":                              {"a.b", token.Undecodable},
		"four parts":                             {header(`{"alg":"RS256"}`) + ".x", token.Undecodable},
		"five parts, a JWE (RFC 7516 §3.1)":      {"a.b.c.d.e", token.Undecodable},
		"padded base64 (RFC 7515 §2)":            {base64.URLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`)) + "=.e30.c2ln", token.Undecodable},
		"non-canonical base64 (RFC 4648 §3.5)":   {issuertest.Base64(`{"alg":"RS256"}`) + ".e31.c2ln", token.Undecodable},
		"non-canonical signature":                {issuertest.Base64(`{"alg":"RS256"}`) + ".e30.c2lnAB", token.Undecodable},
		"line break in a segment":                {issuertest.Base64(`{"alg":"RS256"}`) + ".e3\n0.c2ln", token.Undecodable},
		"standard alphabet":                      {issuertest.Base64(`{"alg":"RS256"}`) + ".e30.++//", token.Undecodable},
		"header is an array":                     {header(`[]`), token.Undecodable},
		"header is cut off":                      {header(`{"alg":"RS256"`), token.Undecodable},
		"bytes after the header":                 {header(`{"alg":"RS256"}{}`), token.Undecodable},
		"duplicate header member (RFC 7515 §4)":  {header(`{"alg":"RS256","alg":"none"}`), token.Undecodable},
		"duplicate by escape":                    {header(`{"alg":"RS256","\u0061lg":"none"}`), token.Undecodable},
		"bad UTF-8":                              {header("{\"alg\":\"RS256\",\"kid\":\"\xff\"}"), token.Undecodable},
		"alg in another case is no alg":          {header(`{"ALG":"RS256"}`), token.HeaderRefused},
		"alg missing (RFC 7515 §4.1.1)":          {header(`{"kid":"x"}`), token.HeaderRefused},
		"alg is a number":                        {header(`{"alg":1}`), token.HeaderRefused},
		"alg is null":                            {header(`{"alg":null}`), token.HeaderRefused},
		"kid is an object":                       {header(`{"alg":"RS256","kid":{}}`), token.HeaderRefused},
		"typ is a list":                          {header(`{"alg":"RS256","typ":["JWT"]}`), token.HeaderRefused},
		"crit (RFC 7515 §4.1.11)":                {header(`{"alg":"RS256","crit":["exp"],"exp":1}`), token.HeaderRefused},
		"empty crit":                             {header(`{"alg":"RS256","crit":[]}`), token.HeaderRefused},
		"b64 false (RFC 7797 §3)":                {header(`{"alg":"RS256","b64":false}`), token.HeaderRefused},
		"b64 true":                               {header(`{"alg":"RS256","b64":true}`), token.HeaderRefused},
		"nested JWT (RFC 7519 §5.2)":             {header(`{"alg":"RS256","cty":"JWT"}`), token.HeaderRefused},
		"zip (RFC 7516 §4.1.3)":                  {header(`{"alg":"RS256","zip":"DEF"}`), token.HeaderRefused},
		"deep nesting":                           {header(`{"alg":"RS256","x":` + strings.Repeat("[", 20000) + `}`), token.Undecodable},
		"duplicate deep inside an unread member": {header(`{"alg":"RS256","x":{"a":1,"a":2}}`), token.Undecodable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := jws.Parse(c.raw)
			var refusal *token.Error
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && !errors.As(err, &refusal):
				t.Errorf("error is %v, want %s", err, c.want)
			case c.want != "" && refusal.Reason != c.want:
				t.Errorf("reason is %s, want %s", refusal.Reason, c.want)
			}
		})
	}
}

func TestLooks(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]bool{
		issuertest.Base64(`{"alg":"RS256"}`) + ".e30.c2ln": true,
		issuertest.Base64("\n {\"alg\":1}") + "..":         true,
		issuertest.Base64("          {}") + "..":           true,
		issuertest.Base64(`{broken`) + ".x.y":              true,
		"eyJh.e30":                                         false,
		"eyJh.e30.x.y":                                     false,
		"opaque":                                           false,
		"1.2.3":                                            false,
		"..":                                               false,
		"":                                                 false,
		"WzFd.WzFd.WzFd":                                   false,
		"v2.local.abcdef":                                  false,
	} {
		if got := jws.Looks(raw); got != want {
			t.Errorf("Looks(%q) is %v", raw, got)
		}
	}
}

// TestECDSASignatureShapes: R and S are of fixed length and never zero
// (RFC 7518 §3.4).
func TestECDSASignatureShapes(t *testing.T) {
	t.Parallel()
	signer := issuertest.NewSigner("ES256", "k", 1)
	good := signer.Sign(map[string]any{"sub": "x"})
	body, _, _ := cutLast(good)
	signature := signer.Signature(body)
	for name, bad := range map[string][]byte{
		"all zero":         make([]byte, 64),
		"zero R":           append(make([]byte, 32), signature[32:]...),
		"zero S":           append(append([]byte(nil), signature[:32]...), make([]byte, 32)...),
		"one byte short":   signature[:63],
		"one byte long":    append(append([]byte(nil), signature...), 0),
		"empty":            nil,
		"leading zeros":    append(append(make([]byte, 1), signature[:32]...), append(make([]byte, 1), signature[32:]...)...),
		"all ones":         []byte(strings.Repeat("\xff", 64)),
		"R and S swapped":  append(append([]byte(nil), signature[32:]...), signature[:32]...),
		"ASN.1 DER prefix": append([]byte{0x30, 0x44, 0x02, 0x20}, signature...),
	} {
		parsed, err := jws.Parse(body + "." + issuertest.Base64(string(bad)))
		if err != nil {
			t.Fatal(name, err)
		}
		if parsed.Verify(signer.Private.Public()) == nil {
			t.Error(name, "verified")
		}
	}
}

func TestHasHeader(t *testing.T) {
	t.Parallel()
	long := issuertest.Base64(`{"alg":"RS256","kid":"` + strings.Repeat("k", 2000) + `"}`)
	for raw, want := range map[string]bool{
		issuertest.Base64(`{"alg":"RS256"}`) + ".e30.c2ln":   true,
		issuertest.Base64(`{"alg":"RS256"}`) + "==.e30.c2ln": true,
		issuertest.Base64("\n {\"alg\":1} ") + "..":          true,
		issuertest.Base64(`{"a":1,"a":2}`) + ".x.y":          true,
		"e31.x.y":            true, // {} with stray bits
		long + ".x.y":        true,
		long[:2000] + ".x.y": false,
		"e2FiYw.aaaa.bbbb":   false,
		"e2Fi+w.aaaa.bbbb":   false,
		"WzFd.WzFd.WzFd":     false,
		"e30.x":              false,
		"e30e30.x.y":         false,
		"1.2.3":              false,
		"":                   false,
	} {
		if got := jws.HasHeader(raw); got != want {
			t.Errorf("HasHeader(%q) is %v", raw, got)
		}
	}
}

func BenchmarkHasHeader(b *testing.B) {
	raw := issuertest.Base64(`{"alg":"RS256","typ":"at+jwt","kid":"8f14e45fceea167a5a36dedd4bea2543"}`) + ".e30.c2ln"
	b.ReportAllocs()
	for b.Loop() {
		if !jws.HasHeader(raw) {
			b.Fatal("no header")
		}
	}
}

func cutLast(raw string) (before, after string, found bool) {
	at := strings.LastIndexByte(raw, '.')
	return raw[:at], raw[at+1:], at >= 0
}

func FuzzParse(f *testing.F) {
	f.Add(issuertest.NewSigner("ES256", "k", 1).Sign(map[string]any{"sub": "x"}))
	f.Add(issuertest.Base64(`{"alg":"RS256","crit":["b64"],"b64":false}`) + ".e30.c2ln")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, raw string) {
		jws.Looks(raw)
		parsed, err := jws.Parse(raw)
		if err != nil {
			var refusal *token.Error
			if !errors.As(err, &refusal) || refusal.Kind != token.Invalid {
				t.Fatalf("error is %v", err)
			}
			return
		}
		if parsed.Algorithm == "" || strings.Count(raw, ".") != 2 {
			t.Fatal("accepted without algorithm or parts")
		}
		// One spelling only: what was decoded encodes to the same bytes.
		parts := strings.Split(raw, ".")
		if base64.RawURLEncoding.EncodeToString(parsed.Payload) != parts[1] {
			t.Fatal("two spellings of one payload")
		}
		if !jws.Looks(raw) || !jws.HasHeader(raw) {
			t.Fatal("parsed, but does not look like a JWS")
		}
	})
}
