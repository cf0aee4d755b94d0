package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// A token goes to the API and nowhere else: not to where a redirect points, and
// into no URL and no log. That proxies of the environment are ignored is for the
// tests of the transports: Go asks no proxy for an address of loopback.
func TestTokenGoesToTheAPIAndNowhereElse(t *testing.T) {
	t.Parallel()
	var strayed atomic.Int64
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Add(1) }))
	defer canary.Close()
	g := ownGateway(t, stack.Options{Env: map[string][]string{
		// Most of what follows is refused.
		stack.Authz: {"AUTHZ_REFUSED_BURST=100000"},
	}})
	tokens := map[string]string{
		"jwt":    g.mint(t, stack.TokenRequest{Account: sellerOne}),
		"opaque": g.mint(t, stack.TokenRequest{Account: sellerOne, Kind: "opaque"}),
		// Of a user of its own: refused tokens are secrets too.
		"expired": g.mint(t, stack.TokenRequest{Account: sellerTwo, TTL: "1s"}),
	}
	// What a client holds after login and refresh, and may send by mistake.
	verifier := rand.Text() + rand.Text()
	maps.Copy(tokens, g.grant(t, verifier))
	valid := []string{"jwt", "opaque", "granted", "refreshed"}
	eventually(t, 60*time.Second, func() string {
		if r := g.rpc(t, modern, tokens["expired"], "tools/list", "", nil); r.Status != http.StatusUnauthorized {
			return fmt.Sprintf("the token has not expired: %d", r.Status)
		}
		return ""
	})
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
	kinds, seen := map[string]string{}, map[string]int{}
	for kind, token := range tokens {
		sum := sha256.Sum256([]byte(token))
		kinds[hex.EncodeToString(sum[:])[:16]] = kind
	}
	for _, e := range journal {
		if kind := kinds[e.Token]; kind != "" {
			seen[kind]++
			if e.Event != "api" {
				t.Errorf("the %s token went to %s %s", kind, e.Method, e.Path)
			}
		}
		for _, key := range e.QueryKeys {
			if strings.Contains(strings.ToLower(key), "token") {
				t.Errorf("%s has a parameter %q", e.Path, key)
			}
		}
	}
	for kind := range tokens {
		switch wanted := slices.Contains(valid, kind); {
		case wanted && seen[kind] == 0:
			t.Errorf("the API never saw the %s token: this test proves nothing", kind)
		case !wanted && seen[kind] > 0:
			t.Errorf("the API saw the %s token %d times", kind, seen[kind])
		}
	}

	// Stopped first, so that everything is written; the logs go with the
	// directory, so they are read before that.
	for _, part := range []string{stack.Envoy, stack.Backend, stack.Authz} {
		g.StopPart(part)
	}
	tokens["verifier"] = verifier
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
				searched := 0
				for _, secret := range strings.Split(token, ".") {
					// A header is the same in every token, and none of them is a secret.
					if len(secret) < 20 || isHeader(token, secret) {
						continue
					}
					searched++
					if strings.Contains(string(data), secret) {
						t.Errorf("%s holds a part of the %s token", filepath.Base(file), kind)
					}
				}
				if searched == 0 {
					t.Errorf("the %s token has no part that is worth a search", kind)
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

// grant is the login of a client that the test plays itself, so that it knows
// every secret of it: register (RFC 7591), authorize with PKCE (RFC 7636),
// exchange, refresh.
func (g *gateway) grant(t *testing.T, verifier string) map[string]string {
	t.Helper()
	landing := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer landing.Close()
	ask := func(path, contentType, body string, want int) map[string]any {
		t.Helper()
		resp, err := g.client.Post(g.Issuer+path, contentType, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%s: %s %v", path, resp.Status, err)
		}
		return object(t, string(data))
	}
	registration := ask("/oauth2/register", "application/json", `{"client_name":"secrecy","redirect_uris":["`+landing.URL+
		`/"],"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none"}`, http.StatusCreated)
	client, _ := registration["client_id"].(string)
	challenge := sha256.Sum256([]byte(verifier))
	page, err := user(sellerOne).Authorize(t.Context(), g.Issuer+"/oauth2/authorize?"+url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {landing.URL + "/"}, "resource": {g.URL + "/mcp"},
		"scope": {"openid read:companies read:warehouses"}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
	}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	code := page.URL.Query().Get("code")
	exchange := func(fields url.Values) (access, refresh, id string) {
		t.Helper()
		fields.Set("client_id", client)
		answer := ask("/oauth2/token", "application/x-www-form-urlencoded", fields.Encode(), http.StatusOK)
		access, _ = answer["access_token"].(string)
		refresh, _ = answer["refresh_token"].(string)
		id, _ = answer["id_token"].(string)
		return access, refresh, id
	}
	secrets := map[string]string{"code": code}
	secrets["granted"], secrets["refresh"], secrets["id"] = exchange(url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {landing.URL + "/"}, "code_verifier": {verifier},
	})
	secrets["refreshed"], secrets["second refresh"], _ = exchange(url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {secrets["refresh"]},
	})
	for kind, secret := range secrets {
		if secret == "" {
			t.Fatalf("no %s", kind)
		}
	}
	return secrets
}

func isHeader(token, part string) bool {
	return strings.Count(token, ".") == 2 && strings.HasPrefix(token, part+".")
}
