// Package introspection asks the issuer about tokens that only it can read
// (RFC 7662).
package introspection

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
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
	// Wait bounds the waiting for a turn, Timeout the call itself with its
	// repetition.
	Wait    time.Duration
	Timeout time.Duration
	// InFlight bounds the calls under way at once, UnknownPerSecond those that begin
	// in a second about tokens that nothing vouches for.
	InFlight         int
	UnknownPerSecond int
	// Known is how many good tokens are known again when their verdict has ended.
	Known int
	// Shared, if set, are the answers that other replicas got.
	Shared Shared
	// Called, if set, is told how each call ended. An inactive token is not an
	// error.
	Called func(took time.Duration, err error)
}

// Shared are the issuer's answers about tokens, of all replicas.
type Shared interface {
	// Recall gives an answer and when it was got.
	Recall(token string) (answer []byte, asked time.Time, found bool)
	// Tell does not wait.
	Tell(token string, answer []byte, active bool)
}

// maxAnswer caps an introspection response.
const maxAnswer = 64 << 10

// After maxFailures calls in a row that found the server down, none is made for
// a pause; then one is, and its outcome decides.
const (
	maxFailures = 5
	pause       = 5 * time.Second
)

// Client introspects tokens.
type Client struct {
	config    Config
	admission *admission
	breaker   *gobreaker.CircuitBreaker[strictjson.Object]
}

// New makes a Client.
func New(config Config) *Client {
	return &Client{
		config:    config,
		admission: newAdmission(config.UnknownPerSecond, config.InFlight, config.Known, config.Wait),
		breaker: gobreaker.NewCircuitBreaker[strictjson.Object](gobreaker.Settings{
			MaxRequests:  1,
			Timeout:      pause,
			ReadyToTrip:  func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= maxFailures },
			IsSuccessful: func(err error) bool { return !down(err) },
		}),
	}
}

// Introspect asks about one token. Its errors are *token.Error: an outage is
// Unavailable, never Invalid. With a record, if t is not nil, the faults are in
// the record alone. The mark stands for the token wherever it is remembered, and
// must not be one that a client can choose.
func (c *Client) Introspect(ctx context.Context, raw string, mark uint64, t *trail.Trail) (jwt.Judgement, error) {
	object, asked, err := c.inspect(ctx, raw, func() error {
		return c.admission.enter(ctx, raw, mark, token.Doubted(ctx))
	})
	if err != nil {
		var refusal *token.Error
		if errors.As(err, &refusal) && refusal.Reason == token.Inactive {
			c.admission.learn(raw, mark, false)
		}
		err = t.FailWith(trail.Introspection, err)
		t.Skip("introspection did not tell", trail.Claims...)
		return jwt.Judgement{}, err
	}
	if t != nil {
		t.See(trail.Introspection, "active true")
		t.Pass(trail.Introspection)
	}
	if err := bearer(object, t); err != nil {
		return jwt.Judgement{}, err
	}
	judgement, err := c.config.Rules.Judge(object, time.Now(), t)
	judgement.Asked = asked
	if err == nil && t.Refusal() == nil {
		c.admission.learn(raw, mark, true)
	}
	return judgement, err
}

// bearer refuses tokens that are used in another way. In a response token_type is
// that of RFC 6749 §5.1 (RFC 7662 §2.2), and so stricter than a claim of this name.
func bearer(object strictjson.Object, t *trail.Trail) error {
	value := object.Get("token_type")
	if value == nil {
		return nil
	}
	if kind, err := value.Text(); err != nil || !strings.EqualFold(kind, "Bearer") {
		return t.Fail(trail.Use, token.NotAccessToken, errors.New("token_type"))
	}
	return nil
}

// Confirm asks about a JWT that was verified, to see whether it is revoked. All
// members but active are optional in the answer (RFC 7662 §2.2): what is left
// out is taken from the token itself; what is there is judged as in a token,
// must be about the same user and client, and can only narrow what the token
// says.
func (c *Client) Confirm(ctx context.Context, raw string, own jwt.Judgement) (jwt.Judgement, error) {
	object, asked, err := c.inspect(ctx, raw, func() error { return c.admission.enterVouched(ctx) })
	if err != nil {
		return jwt.Judgement{}, err
	}
	if err := bearer(object, nil); err != nil {
		return jwt.Judgement{}, err
	}
	for _, claims := range [][]string{
		{"iss"}, {"sub"}, {"aud"}, {"exp"}, {"nbf"}, {"iat"}, {"jti"}, {"client_id", "azp"}, {"scope", "scp", "scopes"},
	} {
		if slices.ContainsFunc(claims, func(name string) bool { return object.Get(name) != nil }) {
			continue
		}
		for _, name := range claims {
			if value := own.Claims.Get(name); value != nil {
				object = append(object, strictjson.Member{Name: name, Value: value})
			}
		}
	}
	said, err := c.config.Rules.Judge(object, time.Now(), nil)
	if err != nil {
		return jwt.Judgement{}, err
	}
	of, who := own.Identity, &said.Identity
	switch {
	case who.Subject != of.Subject:
		return jwt.Judgement{}, token.Refuse(token.Inactive, errors.New("introspection names another subject"))
	case who.ClientID != "" && of.ClientID != "" && who.ClientID != of.ClientID:
		return jwt.Judgement{}, token.Refuse(token.Inactive, errors.New("introspection names another client"))
	}
	who.ClientID = of.ClientID
	who.ID, who.IssuedAt = of.ID, of.IssuedAt
	if of.Expires.Before(who.Expires) {
		who.Expires = of.Expires
	}
	who.Scopes = slices.DeleteFunc(slices.Clone(who.Scopes), func(scope string) bool { return len(of.Missing(scope)) > 0 })
	if len(who.Scopes) == 0 {
		who.Scopes = nil
	}
	said.Audience, said.Asked = own.Audience, asked
	return said, nil
}

// inspect returns the response about an active token: the one that another
// replica got, and when, or its own, once enter lets it ask.
func (c *Client) inspect(ctx context.Context, raw string, enter func() error) (object strictjson.Object, asked time.Time, err error) {
	if c.config.Shared != nil {
		if body, at, found := c.config.Shared.Recall(raw); found {
			if object, err = Parse(body); err == nil {
				if !object.Get("active").IsTrue() {
					return nil, at, token.Refuse(token.Inactive, nil)
				}
				return object, at, nil
			}
		}
	}
	object, err = c.call(ctx, raw, enter)
	return object, time.Time{}, err
}

// call asks the issuer, and tells the other replicas.
func (c *Client) call(ctx context.Context, raw string, enter func() error) (strictjson.Object, error) {
	if c.breaker.State() == gobreaker.StateOpen {
		return nil, token.Refuse(token.IntrospectionFailed, gobreaker.ErrOpenState)
	}
	address, err := c.config.Find()
	if err != nil {
		return nil, token.Refuse(token.IntrospectionFailed, err)
	}
	if err := enter(); err != nil {
		return nil, token.Refuse(token.IntrospectionBusy, err)
	}
	defer c.admission.leave()
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	var body []byte
	object, err := c.breaker.Execute(func() (object strictjson.Object, err error) {
		object, body, err = c.ask(ctx, address, raw)
		if upstream.Broken(err) && ctx.Err() == nil {
			// The call changes nothing, so it is safe to repeat; once, and only when
			// the connection failed: an answer, or none in time, is not improved by
			// asking again.
			object, body, err = c.ask(ctx, address, raw)
		}
		return object, err
	})
	if err != nil {
		return nil, token.Refuse(token.IntrospectionFailed, err)
	}
	if c.config.Shared != nil {
		c.config.Shared.Tell(raw, body, object.Get("active").IsTrue())
	}
	// RFC 7662 §2.2: a boolean, and the only member that must be there.
	if !object.Get("active").IsTrue() {
		return nil, token.Refuse(token.Inactive, nil)
	}
	return object, nil
}

// ask makes one call.
func (c *Client) ask(ctx context.Context, address, raw string) (object strictjson.Object, body []byte, err error) {
	began := time.Now()
	defer func() {
		if c.config.Called != nil {
			c.config.Called(time.Since(began), err)
		}
	}()
	form := url.Values{"token": {raw}, "token_type_hint": {"access_token"}}
	user, password, err := c.config.Auth.Authenticate(form)
	if err != nil {
		return nil, nil, fmt.Errorf("client authentication: %w", err)
	}
	body, err = c.config.Client.PostForm(ctx, address, form, user, password, maxAnswer)
	if err != nil {
		return nil, nil, err
	}
	object, err = Parse(body)
	return object, body, err
}

// down reports that the server cannot be reached, does not answer in time, or
// says that it cannot serve or will not serve the gateway. All other failures are
// answers, given in time, to one token, be they of a firewall in front of it or
// of a fault inside: they tell nothing about the next token, so that bad tokens
// cannot shut the way for good ones.
func down(err error) bool {
	var answer *upstream.StatusError
	if errors.As(err, &answer) {
		switch answer.Status {
		case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	var late net.Error
	return upstream.Broken(err) || errors.As(err, &late) && late.Timeout()
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
