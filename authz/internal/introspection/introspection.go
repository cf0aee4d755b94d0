// Package introspection asks the issuer about tokens that only it can read
// (RFC 7662).
package introspection

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/neonpanel/mcp-gateway/authz/internal/clientauth"
	"github.com/neonpanel/mcp-gateway/authz/internal/jwt"
	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

// Config is what a Client is made from.
type Config struct {
	// Find is the endpoint, or why there is none.
	Find   func() (string, error)
	Client *upstream.Client
	// Auth authenticates the gateway (RFC 7662 §2.1).
	Auth clientauth.Method
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

// After maxFailures calls in a row that failed, none is made for a pause; then
// one is, and its outcome decides.
const (
	maxFailures = 5
	pause       = 5 * time.Second
)

// Client introspects tokens.
type Client struct {
	config  Config
	turns   chan struct{}
	breaker *gobreaker.CircuitBreaker[strictjson.Object]
}

// New makes a Client.
func New(config Config) *Client {
	// iss is optional in a response (RFC 7662 §2.2), and it is the issuer
	// itself that speaks here; one that is there must be right.
	config.Rules.AllowMissingIssuer = true
	return &Client{
		config: config,
		turns:  make(chan struct{}, config.InFlight),
		breaker: gobreaker.NewCircuitBreaker[strictjson.Object](gobreaker.Settings{
			MaxRequests: 1,
			Timeout:     pause,
			ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= maxFailures },
		}),
	}
}

// Introspect asks about one token. Its errors are *token.Error: an outage is
// Unavailable, never Invalid. With a record, if t is not nil, the faults are in
// the record alone.
func (c *Client) Introspect(ctx context.Context, raw string, t *trail.Trail) (jwt.Judgement, error) {
	object, err := c.inspect(ctx, raw)
	if err != nil {
		err = t.FailWith(trail.Introspection, err)
		t.Skip("introspection did not tell", trail.Claims...)
		return jwt.Judgement{}, err
	}
	if t != nil {
		t.See(trail.Introspection, "active true")
		t.Pass(trail.Introspection)
	}
	return c.config.Rules.Judge(object, time.Now(), t)
}

// inspect returns the response about an active token.
func (c *Client) inspect(ctx context.Context, raw string) (strictjson.Object, error) {
	if c.breaker.State() == gobreaker.StateOpen {
		return nil, token.Refuse(token.IntrospectionFailed, gobreaker.ErrOpenState)
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	case <-ctx.Done():
		return nil, token.Refuse(token.IntrospectionBusy, ctx.Err())
	}
	object, err := c.breaker.Execute(func() (strictjson.Object, error) {
		began := time.Now()
		object, err := c.ask(ctx, raw)
		if c.config.Called != nil {
			c.config.Called(time.Since(began), err)
		}
		return object, err
	})
	if err != nil {
		return nil, token.Refuse(token.IntrospectionFailed, err)
	}
	// RFC 7662 §2.2: a boolean, and the only member that must be there.
	if !object.Get("active").IsTrue() {
		return nil, token.Refuse(token.Inactive, nil)
	}
	return object, nil
}

func (c *Client) ask(ctx context.Context, raw string) (strictjson.Object, error) {
	address, err := c.config.Find()
	if err != nil {
		return nil, err
	}
	form := url.Values{"token": {raw}, "token_type_hint": {"access_token"}}
	user, password, err := c.config.Auth.Authenticate(form)
	if err != nil {
		return nil, fmt.Errorf("client authentication: %w", err)
	}
	body, err := c.config.Client.PostForm(ctx, address, form, user, password, maxAnswer)
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
