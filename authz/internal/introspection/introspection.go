// Package introspection asks the issuer about tokens that only it can read
// (RFC 7662).
package introspection

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

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

// Client introspects tokens.
type Client struct {
	config    Config
	admission *admission
	health    health
}

// New makes a Client.
func New(config Config) *Client {
	c := &Client{
		config:    config,
		admission: newAdmission(config.UnknownPerSecond, config.InFlight, config.Known, config.Wait),
	}
	c.health.question = c.question
	return c
}

// Introspect asks about one token. Its errors are *token.Error: an outage is
// Unavailable, never Invalid. With a record, if t is not nil, the faults are in
// the record alone. The mark stands for the token wherever it is remembered, and
// must not be one that a client can choose.
func (c *Client) Introspect(ctx context.Context, raw string, mark uint64, t *trail.Trail) (jwt.Judgement, error) {
	object, asked, err := c.inspect(ctx, raw, func() error {
		return c.admission.enter(ctx, mark, token.Doubted(ctx))
	})
	if err != nil {
		var refusal *token.Error
		if errors.As(err, &refusal) && refusal.Reason == token.Inactive {
			c.admission.learn(mark, false)
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
		c.admission.learn(mark, true)
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
	// With AUTHZ_AUDIENCE_MODE=report: what either would be refused for.
	if own.Audience != "" {
		said.Audience = own.Audience
	}
	said.Asked = asked
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
	address, err := c.config.Find()
	if err != nil {
		return nil, token.Refuse(token.IntrospectionFailed, err)
	}
	if err := c.health.ready(ctx); err != nil {
		return nil, token.Refuse(token.IntrospectionFailed, err)
	}
	if err := enter(); err != nil {
		return nil, token.Refuse(token.IntrospectionBusy, err)
	}
	defer c.admission.leave()
	began := time.Now()
	object, body, err := c.askTwice(ctx, address, raw, upstream.Broken)
	if err != nil {
		refusal := token.Refuse(token.IntrospectionFailed, err)
		refusal.Suspect = c.health.failed(ctx, began)
		return nil, refusal
	}
	c.health.served()
	if c.config.Shared != nil {
		c.config.Shared.Tell(raw, body, object.Get("active").IsTrue())
	}
	// RFC 7662 §2.2: a boolean, and the only member that must be there.
	if !object.Get("active").IsTrue() {
		return nil, token.Refuse(token.Inactive, nil)
	}
	return object, nil
}

// question asks about a token that the gateway makes up itself, of letters and
// digits that nobody takes offence at. Twice, since its outcome concerns everybody.
func (c *Client) question(ctx context.Context) error {
	address, err := c.config.Find()
	if err != nil {
		return err
	}
	_, _, err = c.askTwice(ctx, address, rand.Text(), down)
	return err
}

// askTwice repeats a call once, within its time, if its failure is one of those
// given. A call changes nothing, so that is safe; but an answer about a token, or
// none in time, is not improved by asking again, unlike a broken connection.
func (c *Client) askTwice(ctx context.Context, address, raw string, again func(error) bool) (object strictjson.Object, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	object, body, err = c.ask(ctx, address, raw)
	if err != nil && again(err) && ctx.Err() == nil {
		object, body, err = c.ask(ctx, address, raw)
	}
	return object, body, err
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
// answers, given in time.
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
		// Its text quotes the body, and that may repeat the token.
		return nil, errors.New("the answer is not one JSON object in which no member is repeated")
	}
	if active := string(object.Get("active")); active != "true" && active != "false" {
		return nil, errors.New("active is missing or not a boolean")
	}
	return object, nil
}
