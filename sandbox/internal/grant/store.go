package grant

import (
	"context"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/pkce"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/client"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/expiring"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

// Bounds of what is remembered.
const (
	maxCodes    = 10_000
	maxRefresh  = 100_000
	rememberFor = 15 * time.Minute // how long a used code is recognised
)

// store is fosite's storage. Access tokens are the token.Issuer's business:
// here they are only found again. The Provider's lock guards what it returns.
type store struct {
	clients *client.Registry
	tokens  *token.Issuer
	codes   *expiring.Map[string, *code]
	refresh *expiring.Map[string, *refresh]
	scopes  []string
	now     func() time.Time
}

var (
	_ fosite.Storage                = (*store)(nil)
	_ oauth2.CoreStorage            = (*store)(nil)
	_ oauth2.TokenRevocationStorage = (*store)(nil)
	_ pkce.PKCERequestStorage       = (*store)(nil)
)

type code struct {
	request fosite.Requester
	pkce    fosite.Requester
	expires time.Time
	used    bool
}

type refresh struct {
	request fosite.Requester
	expires time.Time
	used    bool
}

func newStore(clients *client.Registry, tokens *token.Issuer, scopes []string, now func() time.Time) *store {
	return &store{
		clients: clients,
		tokens:  tokens,
		codes:   expiring.New[string, *code](maxCodes, now),
		refresh: expiring.New[string, *refresh](maxRefresh, now),
		scopes:  scopes,
		now:     now,
	}
}

// registered is a client in fosite's terms.
type registered struct {
	*fosite.DefaultOpenIDConnectClient
	client client.Client
}

func (registered) GetResponseModes() []fosite.ResponseModeType {
	return []fosite.ResponseModeType{fosite.ResponseModeQuery}
}

func (s *store) GetClient(_ context.Context, id string) (fosite.Client, error) {
	c, ok := s.clients.Get(id)
	if !ok {
		return nil, fosite.ErrNotFound
	}
	return s.registered(c), nil
}

func (s *store) registered(c client.Client) registered {
	return registered{client: c, DefaultOpenIDConnectClient: &fosite.DefaultOpenIDConnectClient{
		DefaultClient: &fosite.DefaultClient{
			ID:            c.ID,
			Secret:        c.SecretHash,
			RedirectURIs:  c.RedirectURIs,
			GrantTypes:    c.GrantTypes,
			ResponseTypes: c.ResponseTypes,
			Scopes:        s.scopes,
			Public:        c.Public(),
		},
		TokenEndpointAuthMethod: c.AuthMethod,
	}}
}

// ClientAssertionJWTValid refuses: private_key_jwt is not offered.
func (s *store) ClientAssertionJWTValid(context.Context, string) error { return fosite.ErrJTIKnown }

// SetClientAssertionJWT refuses: private_key_jwt is not offered.
func (s *store) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return fosite.ErrJTIKnown
}

func (s *store) CreateAuthorizeCodeSession(_ context.Context, signature string, r fosite.Requester) error {
	s.codes.Put(signature, &code{request: r, expires: s.now().Add(codeLifetime)}, rememberFor)
	return nil
}

func (s *store) GetAuthorizeCodeSession(_ context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	c, ok := s.codes.Get(signature)
	switch {
	case !ok:
		return nil, fosite.ErrNotFound
	case c.used:
		return c.request, fosite.ErrInvalidatedAuthorizeCode
	case !s.now().Before(c.expires):
		return nil, fosite.ErrNotFound
	}
	return c.request, nil
}

func (s *store) InvalidateAuthorizeCodeSession(_ context.Context, signature string) error {
	c, ok := s.codes.Get(signature)
	if !ok {
		return fosite.ErrNotFound
	}
	c.used = true
	return nil
}

func (s *store) CreatePKCERequestSession(_ context.Context, signature string, r fosite.Requester) error {
	c, ok := s.codes.Get(signature)
	if !ok {
		return fosite.ErrNotFound
	}
	c.pkce = r
	return nil
}

func (s *store) GetPKCERequestSession(_ context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	c, ok := s.codes.Get(signature)
	if !ok || c.pkce == nil {
		return nil, fosite.ErrNotFound
	}
	return c.pkce, nil
}

// DeletePKCERequestSession keeps the challenge: fosite deletes it before it
// compares the verifier, and a client with a secret could then come back with
// the same code and no verifier at all. The challenge goes with its code.
func (s *store) DeletePKCERequestSession(context.Context, string) error { return nil }

// CreateAccessTokenSession has nothing to do: minting remembers the token.
func (s *store) CreateAccessTokenSession(context.Context, string, fosite.Requester) error { return nil }

func (s *store) GetAccessTokenSession(_ context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	h, err := token.ParseHash(signature)
	if err != nil {
		return nil, fosite.ErrNotFound
	}
	record, known, revoked := s.tokens.Lookup(h)
	switch {
	case !known:
		return nil, fosite.ErrNotFound
	case revoked:
		return nil, fosite.ErrInactiveToken
	}
	r := fosite.NewRequest()
	r.SetID(record.Family)
	r.Client = &fosite.DefaultClient{ID: record.ClientID}
	r.Session = &session{Subject: record.Subject}
	return r, nil
}

func (s *store) DeleteAccessTokenSession(_ context.Context, signature string) error {
	if h, err := token.ParseHash(signature); err == nil {
		s.tokens.Revoke(h)
	}
	return nil
}

func (s *store) CreateRefreshTokenSession(_ context.Context, signature, _ string, r fosite.Requester) error {
	s.refresh.Put(signature, &refresh{request: r, expires: s.now().Add(refreshLifetime)}, refreshLifetime)
	return nil
}

func (s *store) GetRefreshTokenSession(_ context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	t, ok := s.refresh.Get(signature)
	switch {
	case !ok:
		return nil, fosite.ErrNotFound
	case t.used:
		return t.request, fosite.ErrInactiveToken
	}
	return t.request, nil
}

// DeleteRefreshTokenSession marks the token as used and keeps it, so that it
// is recognised every time it comes back.
func (s *store) DeleteRefreshTokenSession(_ context.Context, signature string) error {
	if t, ok := s.refresh.Get(signature); ok {
		t.used = true
	}
	return nil
}

// RotateRefreshToken spends one refresh token. The access token it came with
// lives on: calls with it may be under way.
func (s *store) RotateRefreshToken(_ context.Context, _, signature string) error {
	t, ok := s.refresh.Get(signature)
	switch {
	case !ok:
		return fosite.ErrNotFound
	case t.used:
		return fosite.ErrInactiveToken
	}
	t.used = true
	return nil
}

// RevokeRefreshToken spends every refresh token of a grant.
func (s *store) RevokeRefreshToken(_ context.Context, requestID string) error {
	s.refresh.DeleteFunc(func(_ string, t *refresh) bool {
		if t.request.GetID() == requestID {
			t.used = true
		}
		return false
	})
	return nil
}

// RevokeAccessToken revokes every access token of a grant.
func (s *store) RevokeAccessToken(_ context.Context, requestID string) error {
	s.tokens.RevokeFamily(requestID)
	return nil
}

// revokeClient ends every grant of a client.
func (s *store) revokeClient(id string) {
	s.codes.DeleteFunc(func(_ string, c *code) bool { return c.request.GetClient().GetID() == id })
	s.refresh.DeleteFunc(func(_ string, t *refresh) bool { return t.request.GetClient().GetID() == id })
	s.tokens.RevokeClient(id)
}
