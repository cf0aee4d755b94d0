package verifier_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

const audience = "https://mcp.example.com/mcp"

var signer = issuertest.NewSigner("RS256", "one", 1)

// claims are those of a good token, with changes; a nil value removes.
func claims(issuer string, changes map[string]any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{
		"iss": issuer, "sub": "46", "aud": audience, "client_id": "client-1", "jti": "token-1",
		"scope": "read:inventory read:analytics", "iat": now, "exp": now + 3600,
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// start makes and runs a Verifier on the server until the test ends.
func start(t testing.TB, server *issuertest.Server, change func(*verifier.Options)) *verifier.Verifier {
	t.Helper()
	options := verifier.Options{Issuer: server.Issuer, Transport: server.Transport, Audiences: []string{audience}}
	if change != nil {
		change(&options)
	}
	v, err := verifier.New(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error("Run:", err)
		}
	})
	return v
}

// reason is what an error says; empty for nil.
func reason(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var refusal *token.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("%T is not a *token.Error: %v", err, err)
	}
	return refusal.Reason
}

// inBubble runs a test on fake time with an issuer in memory and a Verifier
// that is ready.
func inBubble(t *testing.T, change func(*verifier.Options), test func(t *testing.T, server *issuertest.Server, v *verifier.Verifier)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := issuertest.StartInMemory(t)
		server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
		v := start(t, server, change)
		synctest.Wait()
		if err := v.Ready(); err != nil {
			t.Fatal(err)
		}
		test(t, server, v)
	})
}

func TestGoodTokenIsAcceptedAndCached(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		raw := signer.Sign(claims(server.Issuer, nil))
		for range 2 {
			id, err := v.Verify(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			if id.Subject != "46" || id.ClientID != "client-1" || id.ID != "token-1" ||
				len(id.Scopes) != 2 || id.Scopes[0] != "read:analytics" || id.Scopes[1] != "read:inventory" {
				t.Errorf("identity is %+v", id)
			}
		}
		if n := v.Stats().Accepted; n != 1 {
			t.Errorf("%d verdicts cached, want 1", n)
		}
		if n := server.Calls(issuertest.PathJWKS); n != 1 {
			t.Errorf("%d fetches of the keys, want 1", n)
		}
		time.Sleep(time.Hour)
		if _, err := v.Verify(t.Context(), raw); reason(t, err) != token.Expired {
			t.Errorf("after its expiry: %v", err)
		}
	})
}

func TestOverRealHTTP(t *testing.T) {
	t.Parallel()
	server := issuertest.Start(t)
	server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
	v := loaded(t, server, nil)
	if _, err := v.Verify(t.Context(), signer.Sign(claims(server.Issuer, nil))); err != nil {
		t.Error(err)
	}
}

// readyObserver tells of each call that is over.
type readyObserver struct{ news chan struct{} }

func (readyObserver) Verdict(verifier.Source, string) {}
func (o readyObserver) Called(verifier.Call, bool, time.Duration) {
	select {
	case o.news <- struct{}{}:
	default:
	}
}
func (readyObserver) AudienceReported(string) {}
func (readyObserver) DenyFileRead(bool)       {}

// counter is an Observer that counts.
type counter struct {
	mu       sync.Mutex
	verdicts map[string]int
	failed   map[verifier.Call]int
	called   map[verifier.Call]int
	reported string
	denyRead int
	denyBad  int
}

func (c *counter) Verdict(from verifier.Source, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.verdicts == nil {
		c.verdicts = make(map[string]int)
	}
	c.verdicts[string(from)+" "+reason]++
}

func (c *counter) Called(what verifier.Call, failed bool, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.called == nil {
		c.called, c.failed = make(map[verifier.Call]int), make(map[verifier.Call]int)
	}
	c.called[what]++
	if failed {
		c.failed[what]++
	}
}

func (c *counter) AudienceReported(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reported = reason
}

func (c *counter) DenyFileRead(failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.denyRead++
	if failed {
		c.denyBad++
	}
}
