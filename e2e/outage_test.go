package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
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
		eventually(t, 10*time.Second, func() string {
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
		eventually(t, 10*time.Second, func() string {
			if r := list(); r.Status != 200 {
				return r.Body
			}
			return ""
		})
	})

	for _, fault := range []stack.Fault{
		{Kind: "status", Status: 500}, {Kind: "status", Status: 503}, {Kind: "html"}, {Kind: "reset"}, {Kind: "truncate"},
		{Kind: "redirect", Location: "/elsewhere"}, {Kind: "retry_after", Status: 429, RetryAfter: "1"}, {Kind: "status", Status: 403},
	} {
		t.Run("API answers with "+fault.Kind, func(t *testing.T) {
			fault.Path = "/api/v1/reports"
			if err := g.Sandbox.AddFault(t.Context(), fault); err != nil {
				t.Fatal(err)
			}
			defer g.Sandbox.ClearFaults(context.WithoutCancel(t.Context()))
			r := g.call(t, modern, token, "list_reports", nil)
			if !r.IsError || len(r.text()) < 20 || strings.Contains(strings.ToLower(r.text()), "<html") || strings.Contains(r.text(), "127.0.0.1") {
				t.Errorf("isError %v: %s", r.IsError, r.text())
			}
			if r := list(); r.Status != 200 {
				t.Errorf("tools/list: %d", r.Status)
			}
		})
	}

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
			// fetched while it waits.
			if r := g.rpc(t, legacy, fresh, "tools/list", "", nil); mode != "same_kid" && r.Status != 200 {
				t.Errorf("%s: %d %s", mode, r.Status, r.Body)
			}
			// A bad signature of a known key delays nobody, so new material under
			// an old name is accepted a little later.
			eventually(t, 30*time.Second, func() string {
				if r := g.rpc(t, legacy, fresh, "tools/list", "", nil); r.Status != 200 {
					return mode + ": " + r.Body
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
		eventually(t, 30*time.Second, func() string {
			if r := g.rpc(t, legacy, fresh, "tools/list", "", nil); r.Status != 200 {
				return r.Body
			}
			return ""
		})
		eventually(t, 10*time.Second, func() string {
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

// Adding an operation to the document adds a tool: no Go changes.
func TestAddedOperationIsATool(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile(filepath.Join(root(t), "mcpbackend", "internal", "openapi", "neonpanel.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	added := strings.Replace(string(document), "\npaths:\n", `
paths:
  /api/v1/sales-channels:
    get:
      operationId: salesChannels.list
      tags: [sales]
      summary: Sales channels
      responses:
        '200': {description: Sales channels, content: {application/json: {schema: {type: object}}}}
`, 1)
	if added == string(document) {
		t.Fatal("the document has no paths")
	}
	file := filepath.Join(t.TempDir(), "openapi.yaml")
	if err := os.WriteFile(file, []byte(added), 0o600); err != nil {
		t.Fatal(err)
	}
	g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Backend: {"MCPBACKEND_OPENAPI_FILE=" + file}}})
	token := g.token(t, sellerOne)
	r := g.call(t, modern, token, "sales_channels_list", nil)
	if r.IsError || len(r.Structured) == 0 {
		t.Errorf("isError %v: %s", r.IsError, r.text())
	}
}
