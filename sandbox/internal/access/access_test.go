package access_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/access"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

const (
	issuer   = "https://issuer.example"
	resource = "https://mcp.example/mcp"
)

var now = time.Unix(1_700_000_000, 0)

// verifier knows the tokens given, and no signature.
func verifier(t *testing.T, known map[string]token.Record, revoked ...string) *access.Verifier {
	t.Helper()
	v, err := access.New(access.Options{
		Issuer:      issuer,
		Audiences:   []string{issuer, resource},
		KnownClient: func(id string) bool { return id == "client" },
		Signatures:  func(string) ([]byte, string, error) { return nil, "", errors.New("bad signature") },
		Lookup: func(h token.Hash) (token.Record, bool, bool) {
			for raw, r := range known {
				if token.HashOf(raw) == h {
					return r, true, slices.Contains(revoked, raw)
				}
			}
			return token.Record{}, false, false
		},
		Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestClaims(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) float64 { return float64(now.Add(d).UnixNano()) / 1e9 }
	jwt := map[string]any{"iss": issuer, "sub": "46", "aud": resource, "client_id": "client", "nbf": at(0), "exp": at(time.Hour), "scope": "a b"}
	passport := map[string]any{"sub": "46", "aud": "client", "nbf": at(-time.Millisecond), "exp": at(500 * time.Millisecond), "scopes": []string{"a", "b"}}
	good := access.Grant{Subject: "46", ClientID: "client", Scopes: []string{"a", "b"}}
	for name, c := range map[string]struct {
		typ  string
		base map[string]any
		edit map[string]any
		want error
	}{
		"JWT":                         {"at+jwt", jwt, nil, nil},
		"typ in upper case":           {"AT+JWT", jwt, nil, nil},
		"one audience of two":         {"at+jwt", jwt, map[string]any{"aud": []string{"x", resource}}, nil},
		"own origin as audience":      {"at+jwt", jwt, map[string]any{"aud": issuer}, nil},
		"valid in a moment":           {"at+jwt", jwt, map[string]any{"nbf": at(20 * time.Second)}, nil},
		"Passport":                    {"JWT", passport, nil, nil},
		"expires now":                 {"at+jwt", jwt, map[string]any{"exp": at(0)}, access.ErrExpired},
		"no expiry":                   {"at+jwt", jwt, map[string]any{"exp": nil}, access.ErrExpired},
		"absurd expiry":               {"at+jwt", jwt, map[string]any{"exp": 1e300}, access.ErrExpired},
		"valid later":                 {"at+jwt", jwt, map[string]any{"nbf": at(time.Minute)}, access.ErrExpired},
		"another issuer":              {"at+jwt", jwt, map[string]any{"iss": issuer + "/"}, access.ErrIssuer},
		"no issuer":                   {"at+jwt", jwt, map[string]any{"iss": nil}, access.ErrIssuer},
		"another audience":            {"at+jwt", jwt, map[string]any{"aud": "https://elsewhere.example"}, access.ErrAudience},
		"no audience":                 {"at+jwt", jwt, map[string]any{"aud": nil}, access.ErrAudience},
		"the client as audience":      {"at+jwt", jwt, map[string]any{"aud": "client"}, access.ErrAudience},
		"no subject":                  {"at+jwt", jwt, map[string]any{"sub": ""}, access.ErrInvalid},
		"subject is a number":         {"at+jwt", jwt, map[string]any{"sub": 46}, access.ErrInvalid},
		"an ID token":                 {"JWT", jwt, map[string]any{"nonce": "x"}, access.ErrInvalid},
		"no typ":                      {"", jwt, nil, access.ErrInvalid},
		"Passport of unknown client":  {"JWT", passport, map[string]any{"aud": "nobody"}, access.ErrAudience},
		"Passport of two clients":     {"JWT", passport, map[string]any{"aud": []string{"client", "client"}}, access.ErrAudience},
		"Passport after its fraction": {"JWT", passport, map[string]any{"exp": at(0) - 0.25}, access.ErrExpired},
		"Passport without scopes":     {"JWT", passport, map[string]any{"scopes": nil}, access.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claims := map[string]any{}
			for _, m := range []map[string]any{c.base, c.edit} {
				for k, v := range m {
					claims[k] = v
				}
			}
			for k, v := range claims {
				if v == nil {
					delete(claims, k)
				}
			}
			payload, err := json.Marshal(claims)
			if err != nil {
				t.Fatal(err)
			}
			v, err := access.New(access.Options{
				Issuer: issuer, Audiences: []string{issuer, resource},
				KnownClient: func(id string) bool { return id == "client" },
				Signatures:  func(string) ([]byte, string, error) { return payload, c.typ, nil },
				Lookup:      func(token.Hash) (r token.Record, known, revoked bool) { return },
				Now:         func() time.Time { return now },
			})
			if err != nil {
				t.Fatal(err)
			}
			got, err := v.Token("a.b.c")
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.want == nil && (got.Subject != good.Subject || got.ClientID != good.ClientID || !slices.Equal(got.Scopes, good.Scopes)) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestOpaqueTokensAndRevocation(t *testing.T) {
	t.Parallel()
	record := token.Record{Kind: token.Opaque, Subject: "46", ClientID: "client", Audience: []string{resource}, Issued: now, Expires: now.Add(time.Hour)}
	expired, foreign := record, record
	expired.Expires = now
	foreign.Audience = []string{"https://elsewhere.example"}
	v := verifier(t, map[string]token.Record{"good": record, "expired": expired, "foreign": foreign, "revoked": record}, "revoked")
	for raw, want := range map[string]error{
		"good": nil, "expired": access.ErrExpired, "foreign": access.ErrAudience, "revoked": access.ErrRevoked,
		"unknown": access.ErrInvalid, "a.b.c": access.ErrInvalid,
	} {
		if _, err := v.Token(raw); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", raw, err, want)
		}
	}
}

func TestBearer(t *testing.T) {
	t.Parallel()
	v := verifier(t, nil)
	for name, c := range map[string]struct {
		values []string
		want   string
	}{
		"bearer":            {[]string{"Bearer abc"}, "abc"},
		"another case":      {[]string{"bEARER abc"}, "abc"},
		"more spaces":       {[]string{"Bearer   abc "}, "abc"},
		"none":              {nil, ""},
		"empty":             {[]string{"Bearer "}, ""},
		"scheme only":       {[]string{"Bearer"}, ""},
		"another scheme":    {[]string{"Basic abc"}, ""},
		"no scheme":         {[]string{"abc"}, ""},
		"two of them":       {[]string{"Bearer abc", "Bearer abc"}, ""},
		"a longer scheme":   {[]string{"Bearerx abc"}, ""},
		"tab as separation": {[]string{"Bearer\tabc"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &http.Request{Header: http.Header{"Authorization": c.values}}
			if got := access.Bearer(r); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			_, err := v.Verify(r)
			want := access.ErrInvalid
			if c.want == "" {
				want = access.ErrMissing
			}
			if !errors.Is(err, want) {
				t.Errorf("Verify: %v, want %v", err, want)
			}
		})
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		access.ErrMissing: "missing", access.ErrExpired: "expired", access.ErrIssuer: "issuer", access.ErrAudience: "audience",
		access.ErrRevoked: "revoked", fmt.Errorf("%w: more", access.ErrInvalid): "invalid",
	} {
		if got := access.Reason(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
