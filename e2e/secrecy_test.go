package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// A token goes to the API and nowhere else: not to a proxy that the environment
// names, not to where a redirect points, and into no URL and no log.
func TestTokenGoesToTheAPIAndNowhereElse(t *testing.T) {
	t.Parallel()
	var strayed atomic.Int64
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Add(1) }))
	defer canary.Close()
	proxies := []string{
		"HTTP_PROXY=" + canary.URL, "http_proxy=" + canary.URL,
		"HTTPS_PROXY=" + canary.URL, "ALL_PROXY=" + canary.URL, "NO_PROXY=",
	}
	g := ownGateway(t, stack.Options{Env: map[string][]string{
		stack.Authz: proxies, stack.Backend: proxies, stack.Envoy: proxies,
	}})
	tokens := map[string]string{
		"jwt":    g.mint(t, stack.TokenRequest{Account: sellerOne}),
		"opaque": g.mint(t, stack.TokenRequest{Account: sellerOne, Kind: "opaque"}),
		// Of a user of its own: refused tokens are secrets too.
		"expired": g.mint(t, stack.TokenRequest{Account: sellerTwo, TTL: "1s"}),
	}
	company := g.companies(t, tokens["jwt"])[0]
	if err := g.Sandbox.ClearJournal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		for _, version := range []string{modern, legacy} {
			g.rpc(t, version, token, "tools/call", "list_companies", map[string]any{"name": "list_companies", "arguments": map[string]any{}})
			g.rpc(t, version, token, "tools/call", "nonsense", map[string]any{"name": "nonsense", "arguments": map[string]any{}})
			g.rpc(t, version, token, "tools/call", "list_warehouses", map[string]any{"name": "list_warehouses", "arguments": map[string]any{"companyUuid": "none"}})
		}
		for _, path := range []string{"/mcp", "/mcp/tools/call", "/messages?sessionid=none", "/", "/nowhere", "/health", "/openapi.json"} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				g.send(t, method, path, "{", append([]string{"Content-Type", "application/json"}, bearer(token)...)...)
			}
		}
		// Credentials in the wrong places, and two of them.
		g.send(t, http.MethodPost, "/mcp", "{}", "Authorization", "Token "+token)
		g.send(t, http.MethodPost, "/mcp", "{}", "Authorization", "Bearer "+token, "Authorization", "Bearer "+token)
	}
	s := g.stream(t, "/sse", tokens["jwt"])
	g.initialize(t, s, tokens["jwt"])
	g.streamCall(t, s, tokens["jwt"], "list_warehouses", map[string]any{"companyUuid": company.UUID})
	s.cancel()

	// Faults of the API, among them a redirect to another host.
	for _, f := range []stack.Fault{
		{Path: "/api/v1/companies", Kind: "redirect", Location: canary.URL + "/api/v1/companies", Times: 1},
		{Path: "/api/v1/companies", Kind: "html", Times: 1},
		{Path: "/api/v1/companies", Kind: "status", Status: 500, Times: 1},
		{Path: "/api/v1/companies", Kind: "status", Status: 401, Times: 1},
	} {
		if err := g.Sandbox.AddFault(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		g.rpc(t, legacy, tokens["jwt"], "tools/call", "list_companies", map[string]any{"name": "list_companies", "arguments": map[string]any{}})
	}
	if n := strayed.Load(); n != 0 {
		t.Errorf("another host got %d requests", n)
	}

	journal, err := g.Sandbox.Journal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(tokens["jwt"]))
	seen := 0
	for _, e := range journal {
		if e.Token == hex.EncodeToString(sum[:])[:16] {
			seen++
			if e.Event != "api" {
				t.Errorf("the token went to %s %s", e.Method, e.Path)
			}
		}
		for _, key := range e.QueryKeys {
			if strings.Contains(strings.ToLower(key), "token") {
				t.Errorf("%s has a parameter %q", e.Path, key)
			}
		}
	}
	if seen == 0 {
		t.Error("the API never saw the token: this test proves nothing")
	}

	// Stopped first, so that everything is written; the logs go with the
	// directory, so they are read before that.
	for _, part := range []string{stack.Envoy, stack.Backend, stack.Authz} {
		g.StopPart(part)
	}
	for _, dir := range []string{filepath.Join(g.Dir, "logs"), filepath.Join(g.Dir, stack.Envoy)} {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("nothing in %s (%v)", dir, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				continue // a socket
			}
			for kind, token := range tokens {
				// The parts of a JWT are searched one by one: its signature
				// alone is as good as the whole.
				for _, secret := range strings.Split(token, ".") {
					// A header is the same in every token, and none of them is a secret.
					if len(secret) > 40 && strings.Contains(string(data), secret) && !isHeader(token, secret) {
						t.Errorf("%s holds a part of the %s token", filepath.Base(file), kind)
					}
				}
			}
		}
	}
	for _, part := range []string{stack.Envoy, stack.Authz, stack.Backend} {
		if info, err := os.Stat(g.LogFile(part)); err != nil || info.Size() == 0 {
			t.Errorf("%s logged nothing: this test proves little (%v)", part, err)
		}
	}
}

func isHeader(token, part string) bool {
	return strings.Count(token, ".") == 2 && strings.HasPrefix(token, part+".")
}
