package denial

import (
	"net/http/httptest"
	"testing"
	"time"
)

func TestChallenge(t *testing.T) {
	t.Parallel()
	const params = `realm="mcp", resource_metadata="https://h/x"`
	for _, tc := range []struct {
		name, params string
		code         Code
		description  Description
		scopes       []string
		want         string
	}{
		{"no credential", params, None, SignIn, nil, "Bearer " + params},
		{"no credential, with scopes", params, None, NoDescription, []string{"a", "b"}, "Bearer " + params + `, scope="a b"`},
		{"refused", params, InvalidToken, RefusedByAPI, nil, "Bearer " + params + `, error="invalid_token", error_description="NeonPanel refused the access token. Sign in again."`},
		{"scope", params, InsufficientScope, MissingScope, []string{"a"}, "Bearer " + params + `, error="insufficient_scope", error_description="The access token lacks a scope that this tool needs.", scope="a"`},
		{"no params", "", InvalidToken, NoDescription, nil, `Bearer realm="mcp", error="invalid_token"`},
		{"hostile scope", params, None, NoDescription, []string{"a\"\r\nX: y\\"}, "Bearer " + params + `, scope="a\"X: y\\"`},
	} {
		if got := Challenge(tc.params, tc.code, tc.description, tc.scopes); got != tc.want {
			t.Errorf("%s:\n%s, want\n%s", tc.name, got, tc.want)
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	(Denial{Status: 503, Code: "temporarily_unavailable", Description: "Later.", RetryAfter: 1500 * time.Millisecond, Allow: "GET"}).Write(w)
	if w.Code != 503 || w.Body.String() != `{"error":"temporarily_unavailable","error_description":"Later."}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for name, want := range map[string]string{
		"Retry-After": "2", "Allow": "GET", "Content-Type": "application/json", "Cache-Control": "no-store", "WWW-Authenticate": "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
	w = httptest.NewRecorder()
	Insufficient(`realm="mcp"`, []string{"a"}).Write(w)
	if w.Code != 403 || w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}
