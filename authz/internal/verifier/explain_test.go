package verifier_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

// anyToken draws a token of one of many shapes, most of them wrong in one or
// several ways.
func anyToken(t *rapid.T, issuer string, own, foreign *issuertest.Signer) string {
	now := time.Now().Unix()
	c := claims(issuer, nil)
	values := map[string][]any{
		"iss":       {issuer, issuer + "/", "https://evil.example", "", 1},
		"sub":       {"46", "", "4\n6", "é", 46, strings.Repeat("s", 300)},
		"exp":       {now + 600, float64(now) + 600.25, now - 1, "soon", json.RawMessage("null"), 1e300},
		"nbf":       {now, now + 600, "never"},
		"iat":       {now, now - 10, -1},
		"aud":       {audience, []string{audience, "x"}, "client-1", "client-2", "https://other.example", []string{}, 7},
		"client_id": {"client-1", "", "a b ", 1},
		"scope":     {"read:inventory", "", "a  b", []string{"a b"}, []string{"a"}, 1},
		"scopes":    {[]string{}, []string{"x"}, "y"},
		"nonce":     {"n"},
		"cnf":       {map[string]any{"jkt": "x"}},
		"token_use": {"access", "id"},
		"typ":       {"Bearer", "Refresh"},
		"events":    {map[string]any{}},
		"jti":       {"t", "", 1},
	}
	for range rapid.IntRange(0, 4).Draw(t, "changes") {
		claim := rapid.SampledFrom(slices.Sorted(maps.Keys(values))).Draw(t, "claim")
		if rapid.IntRange(0, 3).Draw(t, "how") == 0 {
			delete(c, claim)
		} else {
			c[claim] = rapid.SampledFrom(values[claim]).Draw(t, "value")
		}
	}
	by := own
	if rapid.IntRange(0, 9).Draw(t, "signer") == 0 {
		by = foreign
	}
	header := by.Header()
	headers := map[string][]any{
		"alg": {"RS256", "none", "HS256", "PS256", "ES256", ""}, "typ": {"JWT", "at+jwt", "dpop+jwt", ""},
		"kid": {"one", "two", "", 1}, "crit": {[]string{"exp"}}, "jwk": {map[string]any{}},
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "header changes") {
		member := rapid.SampledFrom(slices.Sorted(maps.Keys(headers))).Draw(t, "member")
		if rapid.Bool().Draw(t, "absent") {
			delete(header, member)
		} else {
			header[member] = rapid.SampledFrom(headers[member]).Draw(t, "member value")
		}
	}
	raw := by.SignText(issuertest.Encode(header), issuertest.Encode(c))
	switch rapid.IntRange(0, 19).Draw(t, "damage") {
	case 0:
		at := rapid.IntRange(0, len(raw)-1).Draw(t, "at")
		raw = raw[:at] + rapid.SampledFrom([]string{"", "A", ".", "=", " ", ","}).Draw(t, "char") + raw[at+1:]
	case 1:
		raw = raw[:strings.LastIndexByte(raw, '.')+1]
	case 2:
		raw = rapid.StringMatching(`[A-Za-z0-9._~+/=-]{0,40}`).Draw(t, "opaque")
	case 3:
		raw += strings.Repeat("A", verifier.MaxToken)
	}
	return raw
}

func TestExplainSaysWhatVerifySays(t *testing.T) {
	t.Parallel()
	own, foreign := issuertest.NewSigner("ES256", "one", 1), issuertest.NewSigner("ES256", "one", 2)
	for name, set := range map[string]func(*verifier.Options){
		"strict": func(*verifier.Options) {},
		"loose": func(o *verifier.Options) {
			o.AllowMissingIssuer, o.ClientIDs, o.ReportAudience = true, []string{"client-1"}, false
		},
		"reporting":   func(o *verifier.Options) { o.ReportAudience = true },
		"only JWT":    func(o *verifier.Options) { o.Mode = verifier.JWT },
		"introspects": func(o *verifier.Options) { withIntrospection(o); o.IntrospectJWT = true },
		"only opaque": func(o *verifier.Options) { withIntrospection(o); o.Mode = verifier.Opaque },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := issuertest.Start(t)
			server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(own)))
			server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
			v := loaded(t, server, func(o *verifier.Options) { set(o); o.Algorithms = []string{"ES256"} })
			accepted, refused := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				raw := anyToken(t, server.Issuer, own, foreign)
				steps := trail.New()
				explained, why := v.Explain(context.Background(), raw, steps)
				verified, err := v.Verify(context.Background(), raw)
				var said, told string
				if why != nil {
					said = refusalOf(t, why)
				}
				if err != nil {
					told = refusalOf(t, err)
				}
				if said != told {
					t.Fatalf("Explain says %q, Verify says %q of %s", said, told, raw)
				}
				if err == nil && (explained.Subject != verified.Subject || explained.ClientID != verified.ClientID || !explained.Expires.Equal(verified.Expires)) {
					t.Fatalf("Explain sees %+v, Verify sees %+v", explained, verified)
				}
				failed := 0
				for _, s := range steps.Steps() {
					if s.Result == trail.Fail {
						failed++
						if s.Reason == "" {
							t.Fatalf("a step fails without a reason: %+v", s)
						}
					}
					if s.Result == "" {
						t.Fatalf("a step without a result: %+v", s)
					}
				}
				if (failed > 0) != (err != nil) {
					t.Fatalf("%d steps fail, and Verify says %q", failed, told)
				}
				if err == nil {
					accepted++
				} else {
					refused++
				}
			})
			if accepted == 0 || refused == 0 {
				t.Errorf("%d accepted, %d refused: the tokens show nothing", accepted, refused)
			}
		})
	}
}

func TestExplainGoesOnAfterTheFirstFault(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		c := claims(server.Issuer, map[string]any{
			"iss": nil, "exp": 1, "nbf": time.Now().Add(time.Hour).Unix(), "sub": 46, "aud": "client-1", "client_id": 1,
			"scope": []string{"a b"}, "nonce": "n", "token_use": "refresh", "cnf": map[string]any{}, "jti": "", "iat": "x",
		})
		header := signer.Header()
		maps.Copy(header, map[string]any{"typ": "dpop+jwt"})
		raw := issuertest.NewSigner("RS256", "one", 2).SignText(issuertest.Encode(header), issuertest.Encode(c))
		steps := trail.New()
		_, _ = v.Explain(t.Context(), raw, steps)
		var failed []string
		for _, s := range steps.Steps() {
			if s.Result == trail.Fail {
				failed = append(failed, string(s.Check))
			}
		}
		want := "type iss exp nbf iat sub aud client_id jti scope id_token token_use cnf signature"
		if got := strings.Join(failed, " "); got != want {
			t.Errorf("failed: %s\nwant:   %s", got, want)
		}
	})
}

func TestExplainNamesTheShape(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		jwe := issuertest.Base64(`{"alg":"RSA-OAEP","enc":"A256GCM"}`) + ".a.b.c.d"
		for raw, want := range map[string]string{
			sign(server.Issuer, nil):                   "a JWT",
			issuertest.Base64(`{broken`) + ".e30.c2ln": "a JWT",
			"8f4b2c":              "opaque: not three parts",
			"a.b.c":               "opaque: not three parts",
			"a.b.c.d.e":           "opaque: not three parts",
			jwe:                   "opaque: five parts, an encrypted JWT",
			"v4.public.abc":       "opaque: a PASETO",
			"12|Lk3Qv9dB0xRzT7aW": "opaque: of the form of Laravel Sanctum",
			"Bearer abc":          "a header's value",
			"{\"access_token\":\"abc\",\"expires_in\":1}": "JSON: of a token endpoint's answer",
			"": "opaque: not three parts",
		} {
			steps := trail.New()
			if _, err := v.Explain(t.Context(), raw, steps); (err == nil) != (raw == sign(server.Issuer, nil)) {
				t.Errorf("%q: %v", raw, err)
			}
			if got := steps.Steps()[0]; got.Check != trail.Form || !strings.HasPrefix(got.Seen, want) {
				t.Errorf("%q: %+v, want %q", raw, got, want)
			}
		}
	})
}

func refusalOf(t *rapid.T, err error) string {
	refusal, is := err.(interface{ Error() string })
	if !is {
		t.Fatal(err)
	}
	reason, _, _ := strings.Cut(refusal.Error(), ":")
	return reason
}
