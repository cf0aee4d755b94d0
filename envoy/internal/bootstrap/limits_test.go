package bootstrap_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// flood sends requests until one is limited. The clock of the limit runs meanwhile, so their number
// is not fixed, but bounded.
func (e *edge) flood(t *testing.T, token func(i int) string) answer {
	t.Helper()
	for i := range 500 {
		a := e.do(t, call{method: "POST", target: "/mcp", header: []string{"Authorization: Bearer " + token(i), origin}})
		switch a.StatusCode {
		case 200:
		case 429:
			return a
		default:
			t.Fatalf("%s: %d %s", token(i), a.StatusCode, a.body)
		}
	}
	t.Fatalf("500 requests of %s passed", token(0))
	return answer{}
}

func (e *edge) wantPass(t *testing.T, token string) {
	t.Helper()
	if a := e.do(t, call{method: "POST", target: "/mcp", header: []string{"Authorization: Bearer " + token}}); a.StatusCode != 200 {
		t.Errorf("%s: %d %s", token, a.StatusCode, a.body)
	}
}

func TestOneUsersFloodIsTheirsAlone(t *testing.T) {
	t.Parallel()
	e := startEdge(t, func(o *options) { o.settings.SubjectRate, o.settings.SubjectBurst = "1", "3" })
	always := func(token string) func(int) string { return func(int) string { return token } }

	a := e.flood(t, always("alice/chatgpt"))
	wantError(t, a, 429, "too_many_requests")
	wantCORS(t, a)
	if after, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || after < 1 || after > 3 {
		t.Errorf("Retry-After = %q", a.Header.Get("Retry-After"))
	}
	for name := range a.Header {
		if strings.HasPrefix(name, "X-Envoy") || strings.HasPrefix(name, "X-Ratelimit") {
			t.Errorf("%s is sent", name)
		}
	}
	line := e.logLine(t, a.Header.Get("X-Request-Id"))
	for key, want := range map[string]any{"code": 429.0, "flags": "RL", "subject": "alice", "client_id": "chatgpt", "decision": "allow"} {
		if line[key] != want {
			t.Errorf("the log's %s is %v, want %v", key, line[key], want)
		}
	}

	// All of these come from the address that alice comes from.
	for _, other := range []string{"bob/chatgpt", "alice/claude", "alice/", "bob/"} {
		e.wantPass(t, other)
	}
	e.flood(t, always("carol/"))
	e.flood(t, always("dave/chatgpt"))

	// Whoever registers a client for each request is one user all the same.
	e.flood(t, func(i int) string { return fmt.Sprintf("mallory/%d", i) })
	e.wantPass(t, "erin/0")

	// What has no subject is for authz to count.
	for range 50 {
		e.wantPass(t, "anonymous")
		if a := e.do(t, call{method: "GET", target: "/health", header: []string{"Authorization: Bearer alice/chatgpt"}}); a.StatusCode != 200 {
			t.Fatalf("/health: %d", a.StatusCode)
		}
		if a := e.do(t, call{method: "POST", target: "/mcp", header: []string{"Authorization: Bearer bad"}}); a.StatusCode != 401 {
			t.Fatalf("a bad token: %d %s", a.StatusCode, a.body)
		}
	}
}
