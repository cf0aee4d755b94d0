package server_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func (s *sandbox) command(method, path string, body any) answer {
	s.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	return do(s.t, plain(), request(s.t, method, s.control+path, string(b), "Content-Type", "application/json"))
}

func (s *sandbox) mint(body map[string]any) string {
	s.t.Helper()
	a := s.command(http.MethodPost, "/token", body)
	if a.StatusCode != http.StatusOK {
		s.t.Fatalf("mint: %s %s", a.Status, a.body)
	}
	return a.text(s.t, "access_token")
}

func TestMintedTokens(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for name, c := range map[string]struct {
		body   map[string]any
		status int
	}{
		"default":                    {nil, 200},
		"opaque":                     {map[string]any{"kind": "opaque"}, 200},
		"passport":                   {map[string]any{"kind": "passport"}, 200},
		"the other account":          {map[string]any{"account": "seller-two@example.com"}, 200},
		"without scopes":             {map[string]any{"scope": ""}, 200},
		"the second resource":        {map[string]any{"resource": other}, 200},
		"the API's own origin":       {map[string]any{"resource": s.issuer}, 200},
		"another resource":           {map[string]any{"resource": "https://elsewhere.example"}, 401},
		"another resource, opaque":   {map[string]any{"resource": "https://elsewhere.example", "kind": "opaque"}, 401},
		"expired":                    {map[string]any{"ttl": "-1h"}, 401},
		"expired, opaque":            {map[string]any{"ttl": "-1h", "kind": "opaque"}, 401},
		"expired, passport":          {map[string]any{"ttl": "-1h", "kind": "passport"}, 401},
		"passport of unknown client": {map[string]any{"client_id": "nobody", "kind": "passport"}, 401},
		"half a year":                {map[string]any{"ttl": "4416h", "kind": "passport"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := s.api(s.mint(c.body))
			if a.StatusCode != c.status {
				t.Errorf("API: %s, want %d", a.Status, c.status)
			}
			if c.status == 401 && strings.TrimSpace(string(a.body)) != `{"message":"Unauthenticated."}` {
				t.Errorf("NeonPanel's refusal reads otherwise: %s", a.body)
			}
		})
	}
	a := s.command(http.MethodPost, "/token", map[string]any{"ttl": "90s", "kind": "opaque", "scope": "read:cogs read:companies"})
	if m := a.json(t); m["expires_in"] != 90.0 || m["kind"] != "opaque" {
		t.Errorf("got %v", m)
	}
}

func TestMintRefuses(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for name, body := range map[string]map[string]any{
		"unknown account":   {"account": "nobody@example.com"},
		"unknown scope":     {"scope": "admin"},
		"ttl is no time":    {"ttl": "soon"},
		"no ttl at all":     {"ttl": "0s"},
		"endless ttl":       {"ttl": "87600h"},
		"unknown kind":      {"kind": "paper"},
		"client with space": {"client_id": "a b"},
		"misspelt field":    {"acount": "seller-one@example.com"},
		"wrong type":        {"ttl": 60},
	} {
		if a := s.command(http.MethodPost, "/token", body); a.StatusCode != http.StatusBadRequest || a.text(t, "error") == "" {
			t.Errorf("%s: %s %s", name, a.Status, a.body)
		}
	}
}

func TestControlRevokesAndRotates(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	good := func(raw string) bool { return s.api(raw).StatusCode == http.StatusOK }
	jwt, opaque, passport := s.mint(nil), s.mint(map[string]any{"kind": "opaque"}), s.mint(map[string]any{"kind": "passport"})
	for name, raw := range map[string]string{"jwt": jwt, "opaque": opaque, "passport": passport} {
		if a := s.command(http.MethodPost, "/tokens/revoke", map[string]any{"token": raw}); a.StatusCode != http.StatusNoContent {
			t.Errorf("revoke %s: %s %s", name, a.Status, a.body)
		}
		if good(raw) {
			t.Errorf("a revoked %s token is accepted", name)
		}
	}
	if a := s.command(http.MethodPost, "/tokens/revoke", map[string]any{"token": "x"}); a.StatusCode != http.StatusNotFound {
		t.Errorf("revoke an unknown token: %s", a.Status)
	}

	old := s.mint(nil)
	for _, step := range []struct {
		mode string
		keys int
		good bool
	}{{"next", 2, true}, {"", 3, true}, {"retire", 1, false}, {"same_kid", 1, false}, {"replace", 1, false}} {
		a := s.command(http.MethodPost, "/keys/rotate", map[string]any{"mode": step.mode})
		published := s.get("/.well-known/jwks.json")
		if a.StatusCode != http.StatusOK || string(a.body) != string(published.body) || len(published.json(t)["keys"].([]any)) != step.keys {
			t.Errorf("%s: %s %s", step.mode, a.Status, published.body)
		}
		if got := good(old); got != step.good {
			t.Errorf("after %q the old token is accepted: %v", step.mode, got)
		}
		if !good(s.mint(nil)) {
			t.Errorf("after %q a new token is refused", step.mode)
		}
	}
	if a := s.command(http.MethodPost, "/keys/rotate", map[string]any{"mode": "sideways"}); a.StatusCode != http.StatusBadRequest {
		t.Errorf("an unknown mode: %s", a.Status)
	}
}

func TestControlFaultsAndJournal(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	raw := s.mint(nil)
	if a := s.command(http.MethodPost, "/faults", map[string]any{"path": "/api/v1/companies", "kind": "html", "times": 1}); a.StatusCode != http.StatusCreated {
		t.Fatalf("add: %s %s", a.Status, a.body)
	}
	if a := s.command(http.MethodGet, "/faults", nil); !strings.Contains(string(a.body), `"kind":"html"`) {
		t.Errorf("list: %s", a.body)
	}
	if a := s.api(raw); a.StatusCode != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
		t.Errorf("with the fault: %s %s", a.Status, a.Header.Get("Content-Type"))
	}
	if a := s.api(raw); !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		t.Errorf("after the fault: %s %s", a.Status, a.Header.Get("Content-Type"))
	}
	if a := s.command(http.MethodPost, "/faults", map[string]any{"path": "/x", "kind": "explode"}); a.StatusCode != http.StatusBadRequest || a.text(t, "error") == "" {
		t.Errorf("unknown kind: %s %s", a.Status, a.body)
	}
	s.command(http.MethodPost, "/faults", map[string]any{"path": "*", "kind": "status"})
	if a := s.get("/.well-known/jwks.json"); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a fault everywhere: %s", a.Status)
	}
	if a := s.command(http.MethodGet, "/healthz", nil); a.StatusCode != http.StatusOK {
		t.Errorf("faults reach the control API: %s", a.Status)
	}
	s.command(http.MethodDelete, "/faults", nil)
	if a := s.get("/.well-known/jwks.json"); a.StatusCode != http.StatusOK {
		t.Errorf("after clearing: %s", a.Status)
	}

	if got := s.journal(); len(got) != 4 || got[2].Status != http.StatusServiceUnavailable {
		t.Errorf("journal: %+v", got)
	}
	if a := s.command(http.MethodDelete, "/journal", nil); a.StatusCode != http.StatusNoContent {
		t.Errorf("empty the journal: %s", a.Status)
	}
	if a := s.command(http.MethodGet, "/journal", nil); strings.TrimSpace(string(a.body)) != `{"entries":[]}` {
		t.Errorf("an empty journal: %s", a.body)
	}
	s.get("/api/v1/companies", "Authorization", "Bearer nonsense")
	if got := s.journal(); len(got) != 1 || got[0].Status != http.StatusUnauthorized || got[0].Error != "invalid" || got[0].Event != "api" {
		t.Errorf("a refused call: %+v", got)
	}
}

// The control API is not to be found where clients are.
func TestControlIsNotPublic(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, path := range []string{"/token", "/journal", "/faults", "/keys/rotate", "/tokens/revoke", "/healthz"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if a := do(t, plain(), request(t, method, s.issuer+path, "{}")); a.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s: %s", method, path, a.Status)
			}
		}
	}
}

// The resource server that the settings name sees every kind of token.
func TestIntrospectionOfEveryKind(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, kind := range []string{"jwt", "opaque", "passport"} {
		ask := func(ttl string) map[string]any {
			t.Helper()
			raw := s.mint(map[string]any{"kind": kind, "ttl": ttl, "scope": "read:cogs read:companies"})
			return s.postForm("/oauth2/introspect", url.Values{"token": {raw}, "token_type_hint": {"access_token"}}, basic("gateway", gatewaySecret)...).json(t)
		}
		got := ask("1m")
		audience := gateway
		if kind == "passport" {
			audience = "neonpanel-sandbox"
		}
		if got["active"] != true || got["sub"] != "46" || got["scope"] != "read:cogs read:companies" || got["aud"] != audience || got["client_id"] != "neonpanel-sandbox" {
			t.Errorf("%s: %v", kind, got)
		}
		if got := ask("-1m"); len(got) != 1 || got["active"] != false {
			t.Errorf("%s, expired: %v", kind, got)
		}
	}
}
