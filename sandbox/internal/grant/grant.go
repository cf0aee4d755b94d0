// Package grant issues and ends OAuth grants: authorization code with PKCE
// and refresh token (RFC 6749, RFC 7636), by ory/fosite, with the `resource`
// parameter (RFC 8707), which fosite lacks, on top.
package grant

import (
	"context"
	"crypto/rand"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/client"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/keys"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/resource"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

// Lifetimes.
const (
	codeLifetime    = time.Minute
	refreshLifetime = 30 * 24 * time.Hour
)

const maxBody = 64 << 10

// Options configure a Provider.
type Options struct {
	Issuer    string
	Clients   *client.Registry
	Tokens    *token.Issuer
	Keys      *keys.Ring
	Scopes    []string
	Resources *resource.Set
	Kind      token.Kind
	TTL       time.Duration
	Now       func() time.Time
}

// Provider issues and ends grants.
type Provider struct {
	o        Options
	fosite   *fosite.Fosite
	store    *store
	strategy *strategy

	// mu makes each exchange atomic: of two requests with one code or one
	// refresh token, exactly one succeeds.
	mu sync.Mutex
}

// New returns a Provider.
func New(o Options) (*Provider, error) {
	if o.Issuer == "" || o.Clients == nil || o.Tokens == nil || o.Keys == nil || o.Resources == nil || o.TTL <= 0 || o.Now == nil {
		return nil, errors.New("grant: every option is needed")
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	config := &fosite.Config{
		GlobalSecret:           secret,
		AccessTokenLifespan:    o.TTL,
		AuthorizeCodeLifespan:  codeLifetime,
		RefreshTokenLifespan:   refreshLifetime,
		RefreshTokenScopes:     []string{}, // no special scope needed
		EnforcePKCE:            true,
		ScopeStrategy:          fosite.ExactScopeStrategy,
		ClientSecretsHasher:    secrets{},
		OmitRedirectScopeParam: true,
	}
	p := &Provider{o: o, store: newStore(o.Clients, o.Tokens, o.Scopes, o.Now), strategy: newStrategy(config, o)}
	composed := compose.Compose(config, p.store, p.strategy,
		compose.OAuth2AuthorizeExplicitFactory,
		compose.OAuth2RefreshTokenGrantFactory,
		compose.OAuth2PKCEFactory,
		compose.OAuth2TokenRevocationFactory,
		func(fosite.Configurator, any, any) any {
			return &idToken{issuer: o.Issuer, keys: o.Keys, ttl: o.TTL, now: o.Now}
		},
	)
	var ok bool
	if p.fosite, ok = composed.(*fosite.Fosite); !ok {
		return nil, errors.New("grant: fosite composed something else")
	}
	return p, nil
}

// Approval is a person's consent to an authorization request.
type Approval struct {
	// Params is the request (RFC 6749 §4.1.1), already examined.
	Params    url.Values
	Subject   string
	AuthTime  time.Time
	Scopes    []string
	Resources []string
}

// Authorize issues a code. fosite examines the request once more.
func (p *Provider) Authorize(ctx context.Context, a Approval) (string, *Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	params := copied(a.Params)
	params.Set("scope", strings.Join(a.Scopes, " "))
	// fosite refuses a short state and a missing one, which RFC 6749 §4.1.1
	// allows. It never sees the client's: the answer is written elsewhere.
	params.Set("state", "kept by the caller")
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.o.Issuer+"/oauth2/authorize?"+params.Encode(), nil)
	if err != nil {
		return "", fromFosite(err)
	}
	request, err := p.fosite.NewAuthorizeRequest(ctx, r)
	if err != nil {
		return "", fromFosite(err)
	}
	for _, s := range a.Scopes {
		request.GrantScope(s)
	}
	s := &session{Subject: a.Subject, AuthTime: a.AuthTime, Nonce: a.Params.Get("nonce"), Resources: a.Resources}
	response, err := p.fosite.NewAuthorizeResponse(ctx, request, s)
	if err != nil {
		return "", fromFosite(err)
	}
	return response.GetCode(), nil
}

func copied(in url.Values) url.Values {
	out := url.Values{}
	for k, v := range in {
		out[k] = slices.Clone(v)
	}
	return out
}

// Issued is a successful token response and who it is for.
type Issued struct {
	Body     map[string]any
	ClientID string
	Subject  string
}

// Form reads the body of a request to one of the POST endpoints and refuses
// what RFC 6749 §3.2 forbids: parameters in the URL, and one sent twice.
func Form(w http.ResponseWriter, r *http.Request) *Error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return InvalidRequest("The body must be application/x-www-form-urlencoded.")
	}
	if r.URL.RawQuery != "" {
		return InvalidRequest("Parameters belong in the body, not in the URL.")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		return InvalidRequest("The body cannot be read as a form, or is too big.")
	}
	for name, values := range r.PostForm {
		if len(values) > 1 && name != "resource" {
			return InvalidRequest("A parameter was sent more than once.")
		}
	}
	return nil
}

// credentials examines how the client presents itself (RFC 6749 §2.3).
func credentials(r *http.Request) *Error {
	id, _, basic := r.BasicAuth()
	switch {
	case basic && r.PostForm.Has("client_secret"):
		return InvalidRequest("The client authenticates in two ways at once.")
	case basic && r.PostForm.Has("client_id"):
		if decoded, err := url.QueryUnescape(id); err != nil || decoded != r.PostForm.Get("client_id") {
			return InvalidRequest("client_id differs from the client of the Authorization header.")
		}
	case r.PostForm.Has("client_assertion") || r.PostForm.Has("client_assertion_type"):
		return NewError(http.StatusUnauthorized, "invalid_client", "private_key_jwt is not offered here.")
	case !basic && r.PostForm.Get("client_id") == "":
		return NewError(http.StatusUnauthorized, "invalid_client", "No client authentication: a public client sends client_id in the body.")
	}
	return nil
}

// Token answers a token request, whose form Form has read.
func (p *Provider) Token(r *http.Request) (Issued, *Error) {
	form := r.PostForm
	switch form.Get("grant_type") {
	case "":
		return Issued{}, InvalidRequest("grant_type is missing.")
	case "authorization_code":
		if form.Get("code") == "" {
			return Issued{}, InvalidRequest("code is missing.")
		}
	case "refresh_token":
		if form.Get("refresh_token") == "" {
			return Issued{}, InvalidRequest("refresh_token is missing.")
		}
	default:
		return Issued{}, NewError(http.StatusBadRequest, "unsupported_grant_type", "grant_type must be authorization_code or refresh_token.")
	}
	if e := credentials(r); e != nil {
		return Issued{}, e
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	ctx := r.Context()
	request, err := p.fosite.NewAccessRequest(ctx, r, &session{})
	if err != nil {
		return Issued{}, fromFosite(err)
	}
	granted, ok := request.GetSession().(*session)
	if !ok {
		return Issued{}, fromFosite(errors.New("grant: a foreign session"))
	}
	who := Issued{ClientID: request.GetClient().GetID(), Subject: granted.Subject}
	want, e := p.narrow(request, granted)
	if e != nil {
		return who, e
	}
	response, err := p.fosite.NewAccessResponse(context.WithValue(ctx, narrowedKey{}, want), request)
	if err != nil {
		return who, fromFosite(err)
	}
	who.Body = response.ToMap()
	// fosite writes "bearer"; some clients compare with the name of RFC 6750.
	who.Body["token_type"] = "Bearer"
	who.Body["expires_in"] = int64(p.o.TTL / time.Second)
	// RFC 6749 §5.1: the scope of this token, which may be narrower.
	who.Body["scope"] = strings.Join(want.scopes, " ")
	return who, nil
}

// narrow finds what the token of this request is for. A token request may ask
// for less than its grant, never for more (RFC 6749 §6, RFC 8707 §2.2).
func (p *Provider) narrow(r fosite.AccessRequester, granted *session) (narrowed, *Error) {
	want := narrowed{scopes: r.GetGrantedScopes(), resources: granted.Resources}
	form := r.GetRequestForm()
	if r.GetGrantTypes().ExactOne("authorization_code") {
		// fosite grants the scopes of a code only when it writes the answer.
		want.scopes = p.codeScopes(form.Get("code"))
	} else if asked := strings.Fields(form.Get("scope")); len(asked) > 0 {
		for _, s := range asked {
			if !slices.Contains(want.scopes, s) {
				return want, NewError(http.StatusBadRequest, "invalid_scope", "A refresh may not ask for a scope that was not granted.")
			}
		}
		want.scopes = asked
	}
	if asked := form["resource"]; len(asked) > 0 {
		narrowed, err := p.o.Resources.Resolve(asked)
		if err != nil {
			return want, InvalidTarget(err.Error())
		}
		for _, id := range narrowed {
			if !slices.Contains(granted.Resources, id) {
				return want, InvalidTarget("A token request may not ask for a resource that was not granted.")
			}
		}
		want.resources = narrowed
	}
	return want, nil
}

func (p *Provider) codeScopes(code string) []string {
	ctx := context.Background()
	r, err := p.store.GetAuthorizeCodeSession(ctx, p.strategy.AuthorizeCodeSignature(ctx, code), nil)
	if err != nil {
		return nil
	}
	return r.GetGrantedScopes()
}

// Authenticate finds the client of a request whose form Form has read. It
// accepts clients with a secret only.
func (p *Provider) Authenticate(r *http.Request) (client.Client, *Error) {
	if e := credentials(r); e != nil {
		return client.Client{}, e
	}
	c, err := p.fosite.AuthenticateClient(r.Context(), r, r.PostForm)
	if err != nil {
		return client.Client{}, fromFosite(err)
	}
	found, ok := c.(registered)
	if !ok || found.client.Public() {
		return client.Client{}, NewError(http.StatusUnauthorized, "invalid_client", "This endpoint is for clients with a secret.")
	}
	return found.client, nil
}

// Introspect describes a token as RFC 7662 §2.2 does. A client that is not a
// resource server learns of its own tokens only; of any other token the
// answer is that it is not active, and no more.
func (p *Provider) Introspect(c client.Client, raw string) map[string]any {
	inactive := map[string]any{"active": false}
	r, known, revoked := p.o.Tokens.Lookup(token.HashOf(raw))
	if !known {
		return p.introspectRefresh(c, raw)
	}
	if revoked || !p.o.Now().Before(r.Expires) || r.ClientID != c.ID && !c.ResourceServer {
		return inactive
	}
	out := map[string]any{
		"active":     true,
		"iss":        p.o.Issuer,
		"sub":        r.Subject,
		"client_id":  r.ClientID,
		"token_type": "Bearer",
		"exp":        r.Expires.Unix(),
		"iat":        r.Issued.Unix(),
		"nbf":        r.Issued.Unix(),
		"jti":        r.ID,
	}
	if len(r.Scopes) > 0 {
		out["scope"] = strings.Join(r.Scopes, " ")
	}
	if len(r.Audience) == 1 {
		out["aud"] = r.Audience[0]
	} else {
		out["aud"] = r.Audience
	}
	return out
}

// introspectRefresh describes a refresh token, to its own client only: a
// resource server has no business with one.
func (p *Provider) introspectRefresh(c client.Client, raw string) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	inactive := map[string]any{"active": false}
	ctx := context.Background()
	t, ok := p.store.refresh.Get(p.strategy.RefreshTokenSignature(ctx, raw))
	if !ok || t.used || t.request.GetClient().GetID() != c.ID || p.strategy.ValidateRefreshToken(ctx, t.request, raw) != nil {
		return inactive
	}
	return map[string]any{
		"active":    true,
		"iss":       p.o.Issuer,
		"sub":       t.request.GetSession().GetSubject(),
		"client_id": c.ID,
		"token_use": "refresh",
		"scope":     strings.Join(t.request.GetGrantedScopes(), " "),
		"exp":       t.expires.Unix(),
	}
}

// Revoke ends the grant that a token belongs to (RFC 7009 §2), whose form Form
// has read. A token nobody knows is as good as revoked (§2.2).
func (p *Provider) Revoke(r *http.Request) *Error {
	if r.PostForm.Get("token") == "" {
		return InvalidRequest("token is missing.")
	}
	if e := credentials(r); e != nil {
		return e
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.fosite.NewRevocationRequest(r.Context(), r); err != nil {
		return fromFosite(err)
	}
	return nil
}

// RevokeClient ends every grant of a client.
func (p *Provider) RevokeClient(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.store.revokeClient(id)
}
