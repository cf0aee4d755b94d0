// Package introspection asks the issuer about tokens that only it can read
// (RFC 7662).
package introspection

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/jwt"
	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

// Config is what a Client is made from.
type Config struct {
	// Find is the endpoint, or why there is none.
	Find   func() (string, error)
	Client *upstream.Client
	// ClientID and Secret authenticate the gateway (RFC 7662 §2.1) by
	// client_secret_basic.
	ClientID string
	Secret   func() (string, error)
	// Rules judge what comes back.
	Rules jwt.Rules
	// Timeout bounds one call, waiting for its turn included.
	Timeout time.Duration
	// InFlight bounds the calls under way at once.
	InFlight int
	// Called, if set, is told how each call ended. An inactive token is not an
	// error.
	Called func(took time.Duration, err error)
}

// maxAnswer caps an introspection response.
const maxAnswer = 64 << 10

// Client introspects tokens.
type Client struct {
	config Config
	turns  chan struct{}
}

// New makes a Client.
func New(config Config) *Client {
	// iss is optional in a response (RFC 7662 §2.2), and it is the issuer
	// itself that speaks here; one that is there must be right.
	config.Rules.AllowMissingIssuer = true
	return &Client{config: config, turns: make(chan struct{}, config.InFlight)}
}

// Introspect asks about one token. Its errors are *token.Error: an outage is
// Unavailable, never Invalid.
func (c *Client) Introspect(ctx context.Context, raw string) (jwt.Judgement, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	case <-ctx.Done():
		return jwt.Judgement{}, token.Refuse(token.IntrospectionBusy, ctx.Err())
	}
	began := time.Now()
	object, err := c.ask(ctx, raw)
	if c.config.Called != nil {
		c.config.Called(time.Since(began), err)
	}
	if err != nil {
		return jwt.Judgement{}, token.Refuse(token.IntrospectionFailed, err)
	}
	// RFC 7662 §2.2: a boolean, and the only member that must be there.
	if !object.Get("active").IsTrue() {
		return jwt.Judgement{}, token.Refuse(token.Inactive, nil)
	}
	return c.config.Rules.Judge(object, time.Now())
}

func (c *Client) ask(ctx context.Context, raw string) (strictjson.Object, error) {
	address, err := c.config.Find()
	if err != nil {
		return nil, err
	}
	secret, err := c.config.Secret()
	if err != nil {
		return nil, err
	}
	form := url.Values{"token": {raw}, "token_type_hint": {"access_token"}}
	body, err := c.config.Client.PostForm(ctx, address, form, c.config.ClientID, secret, maxAnswer)
	if err != nil {
		return nil, err
	}
	return Parse(body)
}

// Parse reads an introspection response (RFC 7662 §2.2).
func Parse(body []byte) (strictjson.Object, error) {
	object, err := strictjson.ParseObject(body)
	if err != nil {
		return nil, err
	}
	if active := string(object.Get("active")); active != "true" && active != "false" {
		return nil, errors.New("active is missing or not a boolean")
	}
	return object, nil
}
