package grant

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/token/hmac"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/account"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/keys"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

// session is what a grant remembers of the person and the request.
type session struct {
	Subject   string
	AuthTime  time.Time
	Nonce     string
	Resources []string // RFC 8707: what the grant may be used for
	Expires   map[fosite.TokenType]time.Time
}

var _ fosite.Session = (*session)(nil)

func (s *session) SetExpiresAt(key fosite.TokenType, t time.Time) {
	if s.Expires == nil {
		s.Expires = map[fosite.TokenType]time.Time{}
	}
	s.Expires[key] = t
}

func (s *session) GetExpiresAt(key fosite.TokenType) time.Time { return s.Expires[key] }
func (s *session) GetUsername() string                         { return "" }
func (s *session) GetSubject() string                          { return s.Subject }

func (s *session) Clone() fosite.Session {
	c := *s
	c.Resources = slices.Clone(s.Resources)
	c.Expires = maps.Clone(s.Expires)
	return &c
}

// narrowed is what a token request asks of its grant: less, or the same.
type narrowed struct {
	scopes    []string
	resources []string
}

type narrowedKey struct{}

// strategy makes and checks tokens for fosite. Codes and refresh tokens are
// fosite's own HMAC strings; the store judges their age.
type strategy struct {
	oauth2.CoreStrategy
	tokens *token.Issuer
	kind   token.Kind
	ttl    time.Duration
	now    func() time.Time
}

func newStrategy(config *fosite.Config, o Options) *strategy {
	return &strategy{
		CoreStrategy: oauth2.NewHMACSHAStrategyUnPrefixed(&hmac.HMACStrategy{Config: config}, config),
		tokens:       o.Tokens,
		kind:         o.Kind,
		ttl:          o.TTL,
		now:          o.Now,
	}
}

func (s *strategy) AccessTokenSignature(_ context.Context, raw string) string {
	return token.HashOf(raw).String()
}

func (s *strategy) GenerateAccessToken(ctx context.Context, r fosite.Requester) (raw, signature string, err error) {
	want, ok := ctx.Value(narrowedKey{}).(narrowed)
	if !ok {
		return "", "", errors.New("grant: the token request was not examined")
	}
	raw, err = s.tokens.Mint(token.Record{
		Kind:     s.kind,
		Subject:  r.GetSession().GetSubject(),
		ClientID: r.GetClient().GetID(),
		Scopes:   want.scopes,
		Audience: want.resources,
		Expires:  s.now().Add(s.ttl),
		Family:   r.GetID(),
	})
	return raw, token.HashOf(raw).String(), err
}

func (s *strategy) ValidateAccessToken(_ context.Context, _ fosite.Requester, raw string) error {
	r, known, revoked := s.tokens.Lookup(token.HashOf(raw))
	if !known || revoked || !s.now().Before(r.Expires) {
		return fosite.ErrInactiveToken
	}
	return nil
}

// secrets compares client secrets, which are long and random.
type secrets struct{}

func (secrets) Hash(_ context.Context, data []byte) ([]byte, error) {
	h := sha256.Sum256(data)
	return h[:], nil
}

func (secrets) Compare(_ context.Context, hash, data []byte) error {
	h := sha256.Sum256(data)
	if subtle.ConstantTimeCompare(hash, h[:]) != 1 {
		return errors.New("the secret is another")
	}
	return nil
}

// idToken adds an ID token when `openid` was granted (OpenID Connect Core
// §3.1.3.3). fosite calls it after the handlers that make the access token.
type idToken struct {
	issuer string
	keys   *keys.Ring
	ttl    time.Duration
	now    func() time.Time
}

func (t *idToken) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

// CanHandleTokenEndpointRequest says no: the grants are others' business, only
// the answer is ours.
func (t *idToken) CanHandleTokenEndpointRequest(context.Context, fosite.AccessRequester) bool {
	return false
}

func (t *idToken) HandleTokenEndpointRequest(context.Context, fosite.AccessRequester) error {
	return fosite.ErrUnknownRequest
}

func (t *idToken) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, out fosite.AccessResponder) error {
	want, _ := ctx.Value(narrowedKey{}).(narrowed)
	s, ok := r.GetSession().(*session)
	if !ok || !slices.Contains(want.scopes, "openid") {
		return nil
	}
	half := sha256.Sum256([]byte(out.GetAccessToken()))
	claims := map[string]any{
		"iss":       t.issuer,
		"sub":       s.Subject,
		"aud":       r.GetClient().GetID(),
		"iat":       t.now().Unix(),
		"exp":       t.now().Add(t.ttl).Unix(),
		"auth_time": s.AuthTime.Unix(),
		"at_hash":   base64.RawURLEncoding.EncodeToString(half[:len(half)/2]),
	}
	if s.Nonce != "" {
		claims["nonce"] = s.Nonce
	}
	if a, ok := account.BySubject(s.Subject); ok {
		claims["email"], claims["email_verified"], claims["name"] = a.Email, true, a.Name
	}
	raw, err := t.keys.Sign("JWT", true, claims)
	if err != nil {
		return fosite.ErrServerError.WithWrap(err)
	}
	out.SetExtra("id_token", raw)
	return nil
}
