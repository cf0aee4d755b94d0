package token_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

// plainSigner shows the claims instead of signing them.
type plainSigner struct{}

func (plainSigner) Sign(typ string, withKeyID bool, claims any) (string, error) {
	b, err := json.Marshal(claims)
	header := typ
	if withKeyID {
		header += "+kid"
	}
	return header + " " + string(b), err
}

func issuer(t *testing.T, limit int) *token.Issuer {
	t.Helper()
	i, err := token.NewIssuer(token.Options{Issuer: "https://issuer.example", Signer: plainSigner{}, Limit: limit, Now: func() time.Time {
		return time.Unix(1_700_000_000, 123_456_789)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func mint(t *testing.T, i *token.Issuer, r token.Record) string {
	t.Helper()
	if r.Expires.IsZero() {
		r.Expires = time.Unix(1_700_003_600, 0)
	}
	raw, err := i.Mint(r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestKinds(t *testing.T) {
	t.Parallel()
	i := issuer(t, 10)
	base := token.Record{Subject: "46", ClientID: "client", Scopes: []string{"a", "b"}, Audience: []string{"https://r.example"}}
	for _, c := range []struct {
		kind token.Kind
		edit func(*token.Record)
		want string
	}{
		{token.JWT, nil, `^at\+jwt\+kid \{"aud":"https://r.example","client_id":"client","exp":1700003600,"iat":1700000000,"iss":"https://issuer.example","jti":"[0-9a-f]{32}","nbf":1700000000,"scope":"a b","sub":"46"\}$`},
		{token.JWT, func(r *token.Record) { r.Scopes, r.Audience = nil, []string{"x", "y"} }, `^at\+jwt\+kid \{"aud":\["x","y"\],"client_id":"client","exp":1700003600,"iat":1700000000,"iss":"https://issuer.example","jti":"[0-9a-f]{32}","nbf":1700000000,"sub":"46"\}$`},
		{token.Passport, nil, `^JWT \{"aud":"client","exp":1700003600\.000000,"iat":1700000000\.123456,"jti":"[0-9a-f]{80}","nbf":1700000000\.123456,"scopes":\["a","b"\],"sub":"46"\}$`},
		{token.Passport, func(r *token.Record) { r.Scopes = nil }, `"scopes":\[\]`},
		{token.Opaque, nil, `^[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{43}$`},
	} {
		r := base
		r.Kind = c.kind
		if c.edit != nil {
			c.edit(&r)
		}
		raw := mint(t, i, r)
		if !regexp.MustCompile(c.want).MatchString(raw) {
			t.Errorf("%s: %s\nwant %s", c.kind, raw, c.want)
		}
		got, known, revoked := i.Lookup(token.HashOf(raw))
		if !known || revoked || got.Subject != "46" || got.ID == "" || got.Family == "" {
			t.Errorf("%s: looked up %+v, %v, %v", c.kind, got, known, revoked)
		}
	}
	if _, err := i.Mint(token.Record{Kind: "paper", Expires: time.Unix(1, 0)}); err == nil {
		t.Error("an unknown kind is minted")
	}
	if _, err := i.Mint(token.Record{Kind: token.JWT}); err == nil {
		t.Error("a token without expiry is minted")
	}
	if _, err := token.ParseKind("paper"); err == nil {
		t.Error("an unknown kind is read")
	}
	expired := mint(t, i, token.Record{Kind: token.JWT, Expires: time.Unix(1_600_000_000, 0)})
	if !strings.Contains(expired, `"iat":1599996400`) {
		t.Errorf("an expired token was issued before it expired: %s", expired)
	}
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	i := issuer(t, 10)
	record := func(family, client string) token.Record {
		return token.Record{Kind: token.Opaque, Family: family, ClientID: client}
	}
	a, b := mint(t, i, record("f1", "c1")), mint(t, i, record("f1", "c1"))
	c, d := mint(t, i, record("f2", "c1")), mint(t, i, record("f3", "c2"))
	revoked := func(raw string) bool {
		_, _, r := i.Lookup(token.HashOf(raw))
		return r
	}
	if !i.Revoke(token.HashOf(a)) || i.Revoke(token.HashOf("unknown")) {
		t.Error("Revoke does not say what it knew")
	}
	if !revoked(a) || revoked(b) {
		t.Error("revoking one token took another, or none")
	}
	i.RevokeFamily("f1")
	if !revoked(b) || revoked(c) {
		t.Error("revoking a family took another, or none")
	}
	i.RevokeClient("c1")
	if !revoked(c) || revoked(d) {
		t.Error("revoking a client took another, or none")
	}
}

func TestTheOldestAreForgotten(t *testing.T) {
	t.Parallel()
	i := issuer(t, 2)
	var raws []string
	for range 3 {
		raws = append(raws, mint(t, i, token.Record{Kind: token.Opaque, Family: "f"}))
	}
	for n, want := range []bool{false, true, true} {
		if _, known, _ := i.Lookup(token.HashOf(raws[n])); known != want {
			t.Errorf("token %d known: %v, want %v", n, known, want)
		}
	}
	i.RevokeFamily("f")
	if _, _, revoked := i.Lookup(token.HashOf(raws[2])); !revoked {
		t.Error("the family was forgotten with its first token")
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	h := token.HashOf("x")
	if got, err := token.ParseHash(h.String()); err != nil || got != h {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "zz", h.String()[2:], h.String() + "00"} {
		if _, err := token.ParseHash(bad); err == nil {
			t.Errorf("%q is read as a hash", bad)
		}
	}
}
