package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// eventually tries until check is content; the last complaint fails the test.
func eventually(t *testing.T, within time.Duration, check func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		complaint := check()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still after %s: %s", within, complaint)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// When the issuer hangs, authz answers before Envoy gives up on it, so that the
// client reads the true cause: 503 with Retry-After.
func TestAuthzAnswersBeforeEnvoyGivesUp(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Authz: {"AUTHZ_KEYS_COOLDOWN=10ms", "AUTHZ_INTROSPECT_JWT=true"}}})
	known, opaque := g.token(t, sellerOne), g.mint(t, stack.TokenRequest{Account: sellerOne, Kind: "opaque"})
	if r := g.rpc(t, legacy, known, "tools/list", "", nil); r.Status != 200 {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	if err := g.Sandbox.RotateKeys(t.Context(), "next"); err != nil {
		t.Fatal(err)
	}
	fresh := g.token(t, sellerOne)
	for _, path := range []string{"/oauth2/introspect", "/.well-known/jwks.json"} {
		if err := g.Sandbox.AddFault(t.Context(), stack.Fault{Path: path, Kind: "hang"}); err != nil {
			t.Fatal(err)
		}
	}
	for name, token := range map[string]string{"an opaque token": opaque, "a JWT of a new key": fresh} {
		// More than once: where the machine is too busy, Envoy gives up first.
		eventually(t, 60*time.Second, func() string {
			began := time.Now()
			r := g.rpc(t, legacy, token, "tools/list", "", nil)
			if r.Status != 503 || r.Header.Get("Retry-After") == "" {
				t.Fatalf("%s: %d, Retry-After %q: %s", name, r.Status, r.Header.Get("Retry-After"), r.Body)
			}
			if !strings.Contains(r.Body, "The access token cannot be verified at the moment") {
				return fmt.Sprintf("%s: after %s: %s", name, time.Since(began), r.Body)
			}
			return ""
		})
		if r := g.rpc(t, legacy, known, "tools/list", "", nil); r.Status != 200 {
			t.Errorf("a known token meanwhile: %d %s", r.Status, r.Body)
		}
	}
}

func TestOutages(t *testing.T) {
	t.Parallel()
	// A new key is looked for at once, not after a pause.
	g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Authz: {"AUTHZ_KEYS_COOLDOWN=1s"}}})
	token := g.token(t, sellerOne)
	list := func() reply {
		return g.rpc(t, legacy, token, "tools/list", "", nil).reply
	}
	companies := func() toolResult { return g.call(t, modern, token, "list_companies", nil) }
	if r := companies(); r.IsError {
		t.Fatal(r.text())
	}

	t.Run("authz killed", func(t *testing.T) {
		g.KillPart(stack.Authz)
		r := g.send(t, http.MethodPost, "/mcp", "{}", append([]string{"Origin", "https://chatgpt.com"}, bearer(token)...)...)
		if r.Status != 503 || r.Body == "" {
			t.Errorf("%d %q", r.Status, r.Body)
		}
		checkError(t, "authz killed", r)
		if r := g.send(t, http.MethodGet, "/health", ""); r.Status != 200 {
			t.Errorf("/health: %d", r.Status)
		}
		if err := g.StartPart(stack.Authz); err != nil {
			t.Fatal(err)
		}
		eventually(t, 60*time.Second, func() string {
			if r := list(); r.Status != 200 {
				return r.Body
			}
			return ""
		})
	})

	t.Run("mcpbackend killed", func(t *testing.T) {
		g.KillPart(stack.Backend)
		r := g.send(t, http.MethodPost, "/mcp", "{}", append([]string{"Origin", "https://chatgpt.com"}, bearer(token)...)...)
		if r.Status != 503 || strings.Contains(r.Body, ".sock") {
			t.Errorf("%d %q", r.Status, r.Body)
		}
		checkError(t, "mcpbackend killed", r)
		if err := g.StartPart(stack.Backend); err != nil {
			t.Fatal(err)
		}
		eventually(t, 60*time.Second, func() string {
			if r := list(); r.Status != 200 {
				return r.Body
			}
			return ""
		})
	})

	t.Run("API refuses a token that is valid", func(t *testing.T) {
		if err := g.Sandbox.AddFault(t.Context(), stack.Fault{Path: "/api/v1/permissions", Kind: "status", Status: 401, Times: 1}); err != nil {
			t.Fatal(err)
		}
		r := g.send(t, http.MethodPost, "/mcp/tools/call", `{"name":"list_permissions"}`, append([]string{"Content-Type", "application/json"}, bearer(token)...)...)
		if r.Status != 401 || !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%d %q %s", r.Status, r.Header.Get("WWW-Authenticate"), r.Body)
		}
	})

	t.Run("keys rotate", func(t *testing.T) {
		for _, mode := range []string{"next", "replace", "same_kid"} {
			time.Sleep(1100 * time.Millisecond) // the cool-down is over
			if err := g.Sandbox.RotateKeys(t.Context(), mode); err != nil {
				t.Fatal(err)
			}
			fresh := g.token(t, sellerTwo)
			// The very first request with the new key gets through: its key is
			// fetched while it waits, unless the machine is so busy that this
			// takes longer than requests may wait.
			eventually(t, 60*time.Second, func() string {
				began := time.Now()
				r := g.rpc(t, legacy, fresh, "tools/list", "", nil)
				switch took := time.Since(began); {
				case r.Status == 503 && took > 1400*time.Millisecond:
					return fmt.Sprintf("%s: %d %s after %s", mode, r.Status, r.Body, took)
				case r.Status != 200:
					t.Errorf("%s: %d %s after %s", mode, r.Status, r.Body, took)
				}
				return ""
			})
		}
		token = g.token(t, sellerOne)
		if r := list(); r.Status != 200 {
			t.Errorf("%d %s", r.Status, r.Body)
		}
	})

	t.Run("NeonPanel down", func(t *testing.T) {
		known := token
		g.StopPart(stack.SandboxPart)
		for range 3 {
			if r := list(); r.Status != 200 {
				t.Errorf("a known token: %d %s", r.Status, r.Body)
			}
		}
		if r := companies(); !r.IsError || strings.Contains(r.text(), "127.0.0.1") {
			t.Errorf("a call without an API: isError %v, %s", r.IsError, r.text())
		}
		for _, path := range publicPaths {
			if r := g.send(t, http.MethodGet, path, ""); r.Status != 200 {
				t.Errorf("%s: %d", path, r.Status)
			}
		}
		if r := g.send(t, http.MethodPost, "/mcp", "{}", "Authorization", "Bearer nonsense"); r.Status != 401 && r.Status != 503 {
			t.Errorf("a bad token: %d", r.Status)
		}
		if err := g.StartPart(stack.SandboxPart); err != nil {
			t.Fatal(err)
		}
		if err := g.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		// The new sandbox has new keys; what was issued before it is refused
		// once they are known, and what it issues is accepted.
		fresh := g.token(t, sellerOne)
		eventually(t, 60*time.Second, func() string {
			if r := g.rpc(t, legacy, fresh, "tools/list", "", nil); r.Status != 200 {
				return r.Body
			}
			return ""
		})
		eventually(t, 60*time.Second, func() string {
			if r := g.rpc(t, legacy, known, "tools/list", "", nil); r.Status != 401 {
				return "a token whose key is gone gets " + r.Body
			}
			return ""
		})
		eventually(t, 60*time.Second, func() string {
			if r := g.call(t, modern, fresh, "list_companies", nil); r.IsError {
				return r.text()
			}
			return ""
		})
	})
}

// A client that goes away takes its call with it, all the way to the API.
func TestCancellationReachesTheAPI(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{})
	token := g.token(t, sellerOne)
	if err := g.Sandbox.AddFault(t.Context(), stack.Fault{Path: "/api/v1/permissions", Kind: "hang"}); err != nil {
		t.Fatal(err)
	}
	post := func(path, body string, headers []string) func(context.Context) {
		return func(ctx context.Context) {
			if r, err := g.trySend(ctx, http.MethodPost, path, body, append(headers, bearer(token)...)...); err == nil {
				t.Errorf("%s answered before it was cancelled: %d %s", path, r.Status, r.Body)
			}
		}
	}
	const tool = "list_permissions"
	params := func() map[string]any { return map[string]any{"name": tool, "arguments": map[string]any{}} }
	newBody, newHeaders := message(modern, "tools/call", tool, params())
	oldBody, oldHeaders := message(legacy, "tools/call", tool, params())
	withProgress := params()
	withProgress["_meta"] = map[string]any{"progressToken": "p"}
	progressBody, progressHeaders := message(legacy, "tools/call", tool, withProgress)
	// The journal gets a request when it has ended; this one ends only when its
	// connection does.
	ended := func() string {
		if g.attempts(t, "/api/v1/permissions") > 0 {
			return ""
		}
		return "the call still hangs at the API"
	}
	taken := func(t *testing.T) int {
		t.Helper()
		n, err := g.Sandbox.Taken(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, c := range []struct {
		name string
		call func(context.Context)
	}{
		{"MCP 2026-07-28", post("/mcp", newBody, newHeaders)},
		{"MCP 2025-11-25", post("/mcp", oldBody, oldHeaders)},
		{"plain call", post("/mcp/tools/call", `{"name":"list_permissions"}`, []string{"Content-Type", "application/json"})},
		{"legacy SSE", func(ctx context.Context) {
			s := g.stream(t, "/sse", token)
			g.initialize(t, s, token)
			body := `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"list_permissions","arguments":{}}}`
			if r := g.post(t, s, token, body); r.Status != http.StatusAccepted {
				t.Errorf("%d %s", r.Status, r.Body)
			}
			<-ctx.Done()
			s.cancel()
		}},
		{"legacy SSE, notifications/cancelled", func(ctx context.Context) {
			s := g.stream(t, "/sse", token)
			defer s.cancel()
			g.initialize(t, s, token)
			if r := g.post(t, s, token, `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"list_permissions","arguments":{}}}`); r.Status != http.StatusAccepted {
				t.Errorf("%d %s", r.Status, r.Body)
			}
			<-ctx.Done()
			if r := g.post(t, s, token, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}`); r.Status != http.StatusAccepted {
				t.Errorf("%d %s", r.Status, r.Body)
			}
			// The stream stays open meanwhile.
			eventually(t, 60*time.Second, ended)
		}},
		{"answered with a stream", post("/mcp", progressBody, progressHeaders)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := g.Sandbox.ClearJournal(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := taken(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			left := make(chan struct{})
			go func() {
				defer close(left)
				c.call(ctx)
			}()
			eventually(t, 60*time.Second, func() string {
				if taken(t) > before {
					return ""
				}
				return "the call has not got to the API"
			})
			cancel()
			<-left
			eventually(t, 60*time.Second, ended)
		})
	}
}

// An API that never answers is given up, and others are served meanwhile.
func TestHungAPIIsGivenUp(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{})
	token := g.token(t, sellerOne)
	if err := g.Sandbox.AddFault(t.Context(), stack.Fault{Path: "/api/v1/permissions", Kind: "hang"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err := g.trySend(context.Background(), http.MethodPost, "/mcp/tools/call", `{"name":"list_permissions"}`,
			append([]string{"Content-Type", "application/json"}, bearer(token)...)...)
		if err != nil || r.Status != http.StatusGatewayTimeout || !strings.Contains(r.Body, "again") {
			t.Errorf("%d %s %v", r.Status, r.Body, err)
		}
	}()
	for range 20 {
		if r := g.call(t, modern, token, "list_companies", nil); r.IsError {
			t.Error(r.text())
		}
	}
	select {
	case <-done:
	case <-time.After(100 * time.Second):
		t.Error("the call was not given up in 100s")
	}
}
