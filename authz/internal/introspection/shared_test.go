package introspection_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/clientauth"
	"github.com/neonpanel/mcp-gateway/authz/internal/introspection"
	"github.com/neonpanel/mcp-gateway/authz/internal/jwt"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

// board is where replicas leave each other answers.
type board struct {
	mu      sync.Mutex
	answers map[string]string
	active  map[string]bool
	asked   time.Time
}

func (b *board) Recall(token string) ([]byte, time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	answer, found := b.answers[token]
	return []byte(answer), b.asked, found
}

func (b *board) Tell(token string, answer []byte, active bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers[token], b.active[token] = string(answer), active
}

// counted counts the calls of the issuer.
type counted struct {
	http.RoundTripper
	calls int
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.calls++
	return c.RoundTripper.RoundTrip(r)
}

const activeAnswer = `{"active":true,"sub":"46","aud":"https://a.example","iss":"https://i.example","exp":4000000000}`

func sharing(b *board, says string) (*introspection.Client, *counted) {
	calls := &counted{RoundTripper: canned(says)}
	return introspection.New(introspection.Config{
		Find: func() (string, error) { return "https://i.example/introspect", nil }, Client: upstream.New(calls),
		Auth:  clientauth.Basic{ClientID: "gateway", Secret: func() (string, error) { return "secret", nil }},
		Rules: jwt.Rules{Issuer: "https://i.example", Audiences: []string{"https://a.example"}},
		Wait:  time.Second, Timeout: time.Minute, InFlight: 1, UnknownPerSecond: 10, Known: 10, Shared: b,
	}), calls
}

func TestWhatOneReplicaAskedTheOthersKnow(t *testing.T) {
	t.Parallel()
	b := &board{answers: map[string]string{}, active: map[string]bool{}, asked: time.Now().Add(-time.Minute)}
	first, calls := sharing(b, activeAnswer)
	said, err := first.Introspect(t.Context(), "opaque", 1, nil)
	if err != nil || !said.Asked.IsZero() || calls.calls != 1 || b.answers["opaque"] != activeAnswer || !b.active["opaque"] {
		t.Fatalf("%+v %v after %d calls; told %v", said, err, calls.calls, b.answers)
	}
	second, calls := sharing(b, `{"active":false}`)
	if said, err := second.Introspect(t.Context(), "opaque", 1, nil); err != nil || said.Identity.Subject != "46" || !said.Asked.Equal(b.asked) || calls.calls != 0 {
		t.Errorf("%+v %v after %d calls", said, err, calls.calls)
	}
	if _, err := second.Introspect(t.Context(), "revoked", 2, nil); reason(err) != token.Inactive || calls.calls != 1 || b.active["revoked"] {
		t.Errorf("%v after %d calls", err, calls.calls)
	}
	if _, err := first.Introspect(t.Context(), "revoked", 2, nil); reason(err) != token.Inactive {
		t.Errorf("a refusal is not shared: %v", err)
	}
}

// TestASharedAnswerIsJudgedAsAnyOther: rules are of the replica that applies them.
func TestASharedAnswerIsJudgedAsAnyOther(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer string
		want   token.Reason
		calls  int
	}{
		"expired":          {`{"active":true,"sub":"46","aud":"https://a.example","iss":"https://i.example","exp":1}`, token.Expired, 0},
		"another audience": {`{"active":true,"sub":"46","aud":"https://b.example","iss":"https://i.example","exp":4000000000}`, token.AudienceMismatch, 0},
		"another issuer":   {`{"active":true,"sub":"46","aud":"https://a.example","iss":"https://j.example","exp":4000000000}`, token.IssuerMismatch, 0},
		"of another use":   {`{"active":true,"sub":"46","aud":"https://a.example","iss":"https://i.example","exp":4000000000,"token_type":"mac"}`, token.NotAccessToken, 0},
		"no answer at all": {`<html>`, "", 1},
		"active in words":  {`{"active":"true"}`, "", 1},
	} {
		b := &board{answers: map[string]string{"opaque": test.answer}, active: map[string]bool{}}
		client, calls := sharing(b, activeAnswer)
		if _, err := client.Introspect(t.Context(), "opaque", 1, nil); reason(err) != test.want || calls.calls != test.calls {
			t.Errorf("%s: %v after %d calls, want %q after %d", name, err, calls.calls, test.want, test.calls)
		}
	}
}

func reason(err error) token.Reason {
	var refusal *token.Error
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	return ""
}
