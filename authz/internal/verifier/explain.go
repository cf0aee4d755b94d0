package verifier

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/jws"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

// Explain judges a token by the code that Verify judges it by, and writes down
// every check: it neither asks nor tells the cache, and goes on after the first
// fault. Its answer is the one that Verify gives to a token that it sees for
// the first time. Nothing is sent to the issuer that Verify would not send.
// With a refusal the Identity holds what could be read, vouched for by nobody.
func (v *Verifier) Explain(ctx context.Context, raw string, t *trail.Trail) (token.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	// What is only written to the record can not be lost by mistake: errors that
	// come back although there is a record are put into it.
	keep := func(err error) {
		if err != nil {
			_ = t.FailWith(trail.Form, err)
		}
	}
	t.See(trail.Size, fmt.Sprintf("%d bytes", len(raw)))
	keep(sized(raw, t))
	keep(spelt(raw, t))
	isJWT := v.isJWT(raw)
	v.describe(raw, isJWT, t)
	judgement, by, _, err := v.dispatch(ctx, v.cache.Hash(raw), raw, t)
	keep(err)
	t.Pass(trail.Form)
	t.Skip("only asked about a token that is good as far as it can be seen", trail.Introspection)
	v.describeKeys(isJWT, t)

	switch who := &judgement.Identity; {
	case v.deny == nil:
		t.Skip("no deny file is set", trail.DenyList)
	case t.Failed(trail.Payload), who.Subject == "" && who.ClientID == "" && who.ID == "":
		t.Skip("it is not known whose token this is", trail.DenyList)
	case v.deny.Denies(who):
		keep(t.Fail(trail.DenyList, token.Denied, nil))
	default:
		t.Pass(trail.DenyList)
	}
	if by != nil && t.Refusal() == nil {
		if reason := v.keys.Trusts(*by, time.Now()); reason != "" {
			keep(t.Fail(trail.Keys, reason, nil))
		}
	}
	if refusal := t.Refusal(); refusal != nil {
		return judgement.Identity, refusal
	}
	return judgement.Identity, nil
}

// describe says what form the token has, and skips what another form has.
func (v *Verifier) describe(raw string, isJWT bool, t *trail.Trail) {
	t.See(trail.Form, shape(raw))
	switch {
	case isJWT || !jws.Looks(raw):
	case v.options.Mode == Opaque:
		t.Note(trail.Form, "treated as opaque, because AUTHZ_TOKEN_MODE is opaque")
	default:
		t.Note(trail.Form, "treated as opaque, because its first part is no whole JSON object; if it should be a JWT, it is damaged")
	}
	if isJWT {
		switch {
		case v.introspect == nil:
			t.Skip("not configured", trail.Introspection)
		case !v.options.IntrospectJWT:
			t.Skip("not asked about JWTs", trail.Introspection)
		}
		return
	}
	t.Skip("an opaque token; the issuer is asked about it", trail.Header, trail.Algorithm, trail.Type, trail.Payload,
		trail.Keys, trail.KeyID, trail.Signature)
	if v.introspect == nil {
		t.Skip("not configured", trail.Introspection)
		t.Skip("only the issuer knows them", trail.Claims...)
	}
}

var (
	sanctum = regexp.MustCompile(`^[0-9]+\|[A-Za-z0-9]+$`)
	paseto  = regexp.MustCompile(`^v[1-4]\.(local|public)\.`)
)

// shape says what a token looks like. Only the first answer matters to the
// verdict.
func shape(raw string) string {
	first, _, dotted := strings.Cut(raw, ".")
	switch text := strings.TrimSpace(raw); {
	case jws.Looks(raw):
		return "a JWT"
	case strings.HasPrefix(text, "{"):
		return "JSON: of a token endpoint's answer, take the value of access_token alone"
	case len(text) > 7 && strings.EqualFold(text[:7], "bearer "):
		return "a header's value: take what follows Bearer"
	case dotted && strings.Count(raw, ".") == 4 && jws.Looks(first+".."):
		return "opaque: five parts, an encrypted JWT (RFC 7516), which only the issuer can read"
	case paseto.MatchString(raw):
		return "opaque: a PASETO, which only the issuer can read here"
	case sanctum.MatchString(raw):
		return "opaque: of the form of Laravel Sanctum"
	}
	return "opaque: not three parts of which the first is a JSON object"
}

// describeKeys says which keys there are.
func (v *Verifier) describeKeys(isJWT bool, t *trail.Trail) {
	if !isJWT {
		return
	}
	names, asked := v.keys.Names()
	if len(names) == 0 {
		return
	}
	t.See(trail.Keys, fmt.Sprintf("%d from %s, %s old: %q", len(names), upstream.Shown(v.issuer.JWKSURL()), time.Since(asked).Round(time.Second), names))
}
