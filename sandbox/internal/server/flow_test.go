package server_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/config"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

// One client's life, from registration to revocation.
func TestTheWholeStory(t *testing.T) {
	t.Parallel()
	const resourceServerSecret = "a secret of the gateway"
	s := start(t, func(f *config.Flags) {
		f.IntrospectionID, f.IntrospectionSecret = "gateway", resourceServerSecret
	})
	a := s.register("none", native)
	if a.secret != "" {
		t.Error("a public client got a secret")
	}
	st := s.story(a)
	answer := s.person().decide(st, "seller-two@example.com", "allow")
	if answer.Get("state") != "xyzzy" || answer.Get("iss") != s.issuer {
		t.Errorf("state %q, iss %q", answer.Get("state"), answer.Get("iss"))
	}
	got := s.postForm("/oauth2/token", st.exchange(answer.Get("code")))
	if got.StatusCode != http.StatusOK || got.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("token: %s, Cache-Control %q: %s", got.Status, got.Header.Get("Cache-Control"), got.body)
	}
	first := got.json(t)
	if str(t, first, "token_type") != "Bearer" || first["expires_in"] != 3600.0 || str(t, first, "scope") != "openid read:companies read:inventory" {
		t.Errorf("token response: %v", first)
	}

	access := str(t, first, "access_token")
	c := claims(t, access)
	if c["iss"] != s.issuer || c["sub"] != "47" || c["aud"] != gateway || c["client_id"] != a.id || c["scope"] != "openid read:companies read:inventory" {
		t.Errorf("claims: %v", c)
	}
	id := claims(t, str(t, first, "id_token"))
	if id["iss"] != s.issuer || id["sub"] != "47" || id["aud"] != a.id || id["nonce"] != "n-1" || id["email"] != "seller-two@example.com" {
		t.Errorf("ID token: %v", id)
	}
	if r := s.api(access); r.StatusCode != http.StatusOK {
		t.Errorf("API with the access token: %s %s", r.Status, r.body)
	}
	if r := s.api(str(t, first, "id_token")); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("API with the ID token: %s, want 401", r.Status)
	}

	introspect := func(raw string) map[string]any {
		t.Helper()
		r := s.postForm("/oauth2/introspect", url.Values{"token": {raw}}, basic("gateway", resourceServerSecret)...)
		if r.StatusCode != http.StatusOK {
			t.Fatalf("introspect: %s %s", r.Status, r.body)
		}
		return r.json(t)
	}
	if i := introspect(access); i["active"] != true || i["sub"] != "47" || i["aud"] != gateway || i["token_type"] != "Bearer" || i["iss"] != s.issuer {
		t.Errorf("introspection: %v", i)
	}

	refresh := func(raw string, change ...string) answer2 {
		t.Helper()
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {raw}, "client_id": {a.id}}
		for i := 0; i+1 < len(change); i += 2 {
			form.Set(change[i], change[i+1])
		}
		r := s.postForm("/oauth2/token", form)
		return answer2{r.StatusCode, r.json(t)}
	}
	second := refresh(str(t, first, "refresh_token"))
	if second.status != http.StatusOK {
		t.Fatalf("refresh: %v", second)
	}
	if r := s.api(access); r.StatusCode != http.StatusOK {
		t.Errorf("the first access token after a refresh: %s, want it to live on", r.Status)
	}
	third := refresh(str(t, second.body, "refresh_token"))
	if third.status != http.StatusOK {
		t.Fatalf("second refresh: %v", third)
	}

	// A refresh token comes back: somebody has stolen it, so the family dies.
	if r := refresh(str(t, first, "refresh_token")); r.status != http.StatusBadRequest || r.body["error"] != "invalid_grant" {
		t.Errorf("reuse: %v", r)
	}
	if r := refresh(str(t, third.body, "refresh_token")); r.status != http.StatusBadRequest || r.body["error"] != "invalid_grant" {
		t.Errorf("the family's newest refresh token after reuse: %v", r)
	}
	for name, raw := range map[string]string{"first": access, "second": str(t, second.body, "access_token"), "third": str(t, third.body, "access_token")} {
		if r := s.api(raw); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s access token after reuse: %s, want 401", name, r.Status)
		}
		if i := introspect(raw); len(i) != 1 || i["active"] != false {
			t.Errorf("%s access token after reuse: %v, want only inactive", name, i)
		}
	}

	// A new grant of the same client lives, until it is revoked.
	fresh := s.grant(s.story(a), "seller-one@example.com")
	if r := s.api(str(t, fresh, "access_token")); r.StatusCode != http.StatusOK {
		t.Errorf("a fresh grant: %s", r.Status)
	}
	if r := s.postForm("/oauth2/revoke", url.Values{"token": {str(t, fresh, "refresh_token")}, "client_id": {a.id}}); r.StatusCode != http.StatusOK {
		t.Errorf("revoke: %s %s", r.Status, r.body)
	}
	if r := s.api(str(t, fresh, "access_token")); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("access token of a revoked grant: %s, want 401", r.Status)
	}
	if r := refresh(str(t, fresh, "refresh_token")); r.status != http.StatusBadRequest {
		t.Errorf("refresh token of a revoked grant: %v", r)
	}

	// The journal tells the story, and no log line holds a secret.
	var events []string
	for _, e := range s.journal() {
		if len(events) == 0 || events[len(events)-1] != e.Event {
			events = append(events, e.Event)
		}
	}
	if want := []string{"register", "authorize", "login", "consent", "token", "api"}; len(events) < len(want) || !slices.Equal(events[:len(want)], want) {
		t.Errorf("journal: %v, want it to begin with %v", events, want)
	}
	for _, e := range s.journal() {
		if e.Event == "api" && e.Token == token.HashOf(access).String()[:16] && e.Status == 200 && (e.Subject != "47" || e.ClientID != a.id) {
			t.Errorf("api entry: %+v", e)
		}
	}
	for name, secret := range map[string]string{
		"access token": access, "refresh token": str(t, first, "refresh_token"), "code": answer.Get("code"),
		"verifier": st.verifier, "state": "xyzzy", "secret": resourceServerSecret, "registration token": a.token,
	} {
		if strings.Contains(s.logs.String(), secret) {
			t.Errorf("the log holds the %s", name)
		}
	}
}

type answer2 struct {
	status int
	body   map[string]any
}

func TestCodes(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	a := s.register("none", web)
	code := func(st story) string {
		return s.person().decide(st, "seller-one@example.com", "allow").Get("code")
	}

	t.Run("a code used twice revokes what it gave", func(t *testing.T) {
		st := s.story(a)
		c := code(st)
		first := s.postForm("/oauth2/token", st.exchange(c)).json(t)
		again := s.postForm("/oauth2/token", st.exchange(c))
		if again.StatusCode != http.StatusBadRequest || again.text(t, "error") != "invalid_grant" {
			t.Errorf("second use: %s %s", again.Status, again.body)
		}
		if r := s.api(str(t, first, "access_token")); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("its access token: %s, want 401", r.Status)
		}
		r := s.postForm("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {str(t, first, "refresh_token")}, "client_id": {a.id}})
		if r.StatusCode != http.StatusBadRequest {
			t.Errorf("its refresh token: %s, want 400", r.Status)
		}
	})
	t.Run("a code lives for one minute", func(t *testing.T) {
		st := s.story(a)
		c := code(st)
		s.clock.Advance(61 * time.Second)
		if r := s.postForm("/oauth2/token", st.exchange(c)); r.StatusCode != http.StatusBadRequest || r.text(t, "error") != "invalid_grant" {
			t.Errorf("after 61 s: %s %s", r.Status, r.body)
		}
	})
	t.Run("of two requests with one code, one succeeds", func(t *testing.T) {
		st := s.story(a)
		form := st.exchange(code(st))
		results := make(chan int, 8)
		for range cap(results) {
			go func() { results <- s.postForm("/oauth2/token", form).StatusCode }()
		}
		good := 0
		for range cap(results) {
			if <-results == http.StatusOK {
				good++
			}
		}
		if good != 1 {
			t.Errorf("%d requests succeeded, want 1", good)
		}
	})
}
