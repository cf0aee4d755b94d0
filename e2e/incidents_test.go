package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// An incident befell the servers before this one, or was found as a gap in the
// last of them. docs/incidents.md lists them all.
type incident struct {
	name string
	run  func(t *testing.T, w *world)
}

// world is what incidents are tried on: a gateway as it is by default, and one
// that lets strangers discover and has every tool.
type world struct {
	g     *gateway
	token string

	once sync.Once
	open *gateway
	err  error
}

// discovery is the gateway that lets strangers discover.
func (w *world) discovery(t *testing.T) *gateway {
	t.Helper()
	w.once.Do(func() {
		w.open, w.err = start(t, stack.Options{Env: map[string][]string{
			stack.Authz:   {"AUTHZ_ANONYMOUS_DISCOVERY=true"},
			stack.Backend: {"MCPBACKEND_TOOLSETS=all"},
		}})
	})
	if w.err != nil {
		t.Fatal(w.err)
	}
	return w.open
}

// TestIncidents holds a test for each incident that can be tried on the whole
// gateway.
func TestIncidents(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	w := &world{g: g, token: g.token(t, sellerOne)}
	t.Cleanup(func() {
		if w.open != nil {
			if err := w.open.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	for _, i := range incidents {
		t.Run(i.name, func(t *testing.T) {
			t.Parallel()
			i.run(t, w)
		})
	}
}

// document gets a public document of the gateway.
func (w *world) document(t *testing.T, path string) map[string]any {
	t.Helper()
	r := w.g.send(t, http.MethodGet, path, "")
	if r.Status != 200 {
		t.Fatalf("%s: %d %s", path, r.Status, r.Body)
	}
	return object(t, r.Body)
}

func (w *world) plain(t *testing.T, headers ...string) reply {
	t.Helper()
	return w.g.send(t, http.MethodPost, "/mcp/tools/call", `{"name":"list_companies","arguments":{}}`, append([]string{"Content-Type", "application/json"}, headers...)...)
}

// list is tools/list as it came.
func list(t *testing.T, g *gateway, token string) (raw string, tools []map[string]any) {
	t.Helper()
	var auth []string
	if token != "" {
		auth = bearer(token)
	}
	body, headers := message(legacy, "tools/list", "", nil)
	r := decodeRPC(t, g.send(t, http.MethodPost, "/mcp", body, append(headers, auth...)...))
	var result struct {
		Tools []map[string]any `json:"tools"`
	}
	if err := json.Unmarshal(r.Result, &result); err != nil || r.Status != 200 {
		t.Fatalf("%d %.200s", r.Status, r.Body)
	}
	return string(r.Result), result.Tools
}

func texts(v any) []string {
	items, _ := v.([]any)
	var out []string
	for _, item := range items {
		out = append(out, fmt.Sprint(item))
	}
	slices.Sort(out)
	return out
}

var challengeScope = regexp.MustCompile(`scope="([^"]*)"`)

// challenge is the WWW-Authenticate of a request without a token.
func (w *world) challenge(t *testing.T, path string) string {
	t.Helper()
	method := http.MethodPost
	if strings.HasPrefix(path, "/sse") {
		method = http.MethodGet
	}
	r := w.g.send(t, method, path, "")
	if r.Status != 401 {
		t.Fatalf("%s: %d", path, r.Status)
	}
	return r.Header.Get("WWW-Authenticate")
}

// raw reads lines of a stream until enough says so, and returns them.
func (w *world) raw(t *testing.T, enough func(line string) bool) (lines []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.g.URL+"/sse", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	scanner := bufio.NewScanner(resp.Body)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
		if enough(scanner.Text()) {
			return lines
		}
	}
	t.Fatalf("the stream ended (%v) after %q", scanner.Err(), lines)
	return nil
}

var incidents = []incident{
	{"incident 1: registration is at the issuer, and no credentials are handed out here", func(t *testing.T, w *world) {
		for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
			if at, _ := w.document(t, path)["registration_endpoint"].(string); !strings.HasPrefix(at, w.g.Issuer+"/") {
				t.Errorf("%s: registration_endpoint %q", path, at)
			}
		}
		for _, path := range []string{"/register", "/oauth2/register", "/oauth/register"} {
			if r := w.g.send(t, http.MethodPost, path, `{"redirect_uris":["https://chatgpt.com/aip/callback"]}`, "Content-Type", "application/json"); r.Status != 404 || strings.Contains(r.Body, "client_id") {
				t.Errorf("%s: %d %s", path, r.Status, r.Body)
			}
		}
	}},
	{"incident 2: an HTML page of the issuer with status 500 or 200 replaces no document", func(t *testing.T, _ *world) {
		g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Authz: {"AUTHZ_KEYS_REFRESH=1s"}}})
		for _, f := range []stack.Fault{{Kind: "html", Status: 500}, {Kind: "html", Status: 200}} {
			f.Path = "/.well-known/*"
			g.fault(t, f)
			before := len(issuerRequests(t, g))
			eventually(t, 60*time.Second, func() string {
				if len(issuerRequests(t, g)) == before {
					return "the issuer was not asked"
				}
				return ""
			})
			for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource/mcp"} {
				if r := g.send(t, http.MethodGet, path, ""); r.Status != 200 || !json.Valid([]byte(r.Body)) {
					t.Errorf("%s: %d %s", path, r.Status, r.Body)
				}
			}
			if r := g.call(t, modern, g.token(t, sellerOne), "list_companies", nil); r.IsError {
				t.Error(r.text())
			}
			if err := g.Sandbox.ClearFaults(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}},
	{"incident 3: Authorization: Bearer is understood in any case, and nothing else is", func(t *testing.T, w *world) {
		for _, scheme := range []string{"Bearer", "bearer", "BEARER", "BeArEr"} {
			if r := w.plain(t, "Authorization", scheme+" "+w.token); r.Status != 200 {
				t.Errorf("%s: %d %s", scheme, r.Status, r.Body)
			}
		}
		for _, value := range []string{"Basic dGVzdDp0ZXN0", "Bearer" + w.token, w.token, "Token " + w.token} {
			if r := w.plain(t, "Authorization", value); r.Status != 401 || !strings.Contains(r.Body, "Use 'Authorization: Bearer <token>'") {
				t.Errorf("%.8s…: %d %s", value, r.Status, r.Body)
			}
		}
	}},
	{"incident 4: nothing of OAuth is proxied", func(t *testing.T, w *world) {
		for _, path := range []string{"/oauth/authorize", "/oauth/token", "/oauth2/authorize", "/oauth2/token", "/authorize", "/token"} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				if r := w.g.send(t, method, path, ""); r.Status != 404 {
					t.Errorf("%s %s: %d", method, path, r.Status)
				}
			}
		}
		for _, member := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri"} {
			if at, _ := w.document(t, "/.well-known/oauth-authorization-server")[member].(string); !strings.HasPrefix(at, w.g.Issuer+"/") {
				t.Errorf("%s %q", member, at)
			}
		}
	}},
	{"incident 5: /health names the build", func(t *testing.T, w *world) {
		health := w.document(t, "/health")
		for _, member := range []string{"status", "version", "commit"} {
			if text, _ := health[member].(string); text == "" {
				t.Errorf("no %s in %v", member, health)
			}
		}
	}},
	{"incident 6: no route is lost in a rewrite", func(t *testing.T, w *world) {
		for _, path := range publicPaths {
			if r := w.g.send(t, http.MethodGet, path, ""); r.Status != 200 || r.Body == "" {
				t.Errorf("GET %s: %d", path, r.Status)
			}
		}
		for _, route := range bearerRoutes {
			if r := w.g.send(t, route.method, route.path, ""); r.Status != 401 {
				t.Errorf("%s %s: %d", route.method, route.path, r.Status)
			}
		}
	}},
	{"incident 7: one endpoint event, and somebody takes what is posted there", func(t *testing.T, w *world) {
		posted := false
		lines := w.raw(t, func(line string) bool {
			if at, ok := strings.CutPrefix(line, "data: /messages?"); ok && !posted {
				posted = true
				r := w.g.send(t, http.MethodPost, "/messages?"+at, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`,
					append([]string{"Content-Type", "application/json"}, bearer(w.token)...)...)
				if r.Status != http.StatusAccepted {
					t.Errorf("%d %s", r.Status, r.Body)
				}
			}
			return strings.Contains(line, `"serverInfo"`)
		})
		if n := strings.Count(strings.Join(lines, "\n"), "event: endpoint"); n != 1 {
			t.Errorf("%d endpoint events: %q", n, lines)
		}
	}},
	{"incident 8: GET /messages is 405, not 404", func(t *testing.T, w *world) {
		if r := w.g.send(t, http.MethodGet, "/messages", "", bearer(w.token)...); r.Status != 405 || !strings.Contains(r.Header.Get("Allow"), "POST") {
			t.Errorf("%d, Allow %q", r.Status, r.Header.Get("Allow"))
		}
	}},
	{"incident 9: the authorization server's metadata is on the MCP host too", func(t *testing.T, w *world) {
		for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/mcp", "/.well-known/openid-configuration"} {
			if issuer := w.document(t, path)["issuer"]; issuer != w.g.Issuer {
				t.Errorf("%s: issuer %v", path, issuer)
			}
		}
	}},
	{"incident 11: no scope is required that the issuer never issues", func(t *testing.T, w *world) {
		issued := texts(w.document(t, "/.well-known/oauth-authorization-server")["scopes_supported"])
		for _, path := range []string{"/mcp", "/sse", "/mcp/tools/call"} {
			match := challengeScope.FindStringSubmatch(w.challenge(t, path))
			if match == nil {
				t.Fatalf("no scope in the challenge of %s", path)
			}
			for _, scope := range strings.Fields(match[1]) {
				if !slices.Contains(issued, scope) {
					t.Errorf("%s asks for %s; the issuer has %v", path, scope, issued)
				}
			}
		}
	}},
	{"incident 12: a token for another audience is refused with a reason", func(t *testing.T, w *world) {
		foreign := w.g.mint(t, stack.TokenRequest{Account: sellerOne, Kind: "passport", ClientID: "another-client"})
		r := w.plain(t, bearer(foreign)...)
		if r.Status != 401 || !strings.Contains(r.Header.Get("WWW-Authenticate"), `error="invalid_token"`) || len(object(t, r.Body)["error_description"].(string)) < 20 {
			t.Errorf("%d %q %s", r.Status, r.Header.Get("WWW-Authenticate"), r.Body)
		}
	}},
	{"incident 13: input schemas are inline", func(t *testing.T, w *world) {
		for _, g := range []*gateway{w.g, w.discovery(t)} {
			raw, _ := list(t, g, g.token(t, sellerOne))
			for _, word := range []string{`"$ref"`, `"$defs"`, `"definitions"`, `"$id"`} {
				if strings.Contains(raw, word) {
					t.Errorf("tools/list has %s", word)
				}
			}
		}
	}},
	{"incident 14: connected means that there are tools", func(t *testing.T, w *world) {
		if _, tools := list(t, w.g, w.token); len(tools) < 30 {
			t.Errorf("%d tools with a token", len(tools))
		}
		if _, tools := list(t, w.discovery(t), ""); len(tools) < 50 {
			t.Errorf("%d tools for a stranger who may discover", len(tools))
		}
	}},
	{"incident 15: public clients are let in at the token endpoint", func(t *testing.T, w *world) {
		methods := texts(w.document(t, "/.well-known/oauth-authorization-server")["token_endpoint_auth_methods_supported"])
		if !slices.Contains(methods, "none") {
			t.Errorf("token_endpoint_auth_methods_supported %v", methods)
		}
	}},
	{"incident 16: events are messages, and URLs are not made of what a client sends", func(t *testing.T, w *world) {
		s := w.g.stream(t, "/sse", w.token)
		defer s.cancel()
		w.g.initialize(t, s, w.token)
		if r := w.g.streamCall(t, s, w.token, "list_companies", nil); r.IsError {
			t.Error(r.text())
		}
		r := w.g.send(t, http.MethodGet, "/.well-known/oauth-protected-resource/mcp", "", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https", "Forwarded", "host=evil.example")
		if object(t, r.Body)["resource"] != w.g.URL+"/mcp" {
			t.Errorf("%s", r.Body)
		}
	}},
	{"incident 17: capabilities are objects", func(t *testing.T, w *world) {
		r := w.g.rpc(t, legacy, w.token, "initialize", "", map[string]any{"protocolVersion": legacy, "capabilities": map[string]any{}, "clientInfo": map[string]any{"name": "x", "version": "1"}})
		var result struct {
			Capabilities map[string]any `json:"capabilities"`
		}
		if err := json.Unmarshal(r.Result, &result); err != nil {
			t.Fatal(err, r.Body)
		}
		if result.Capabilities["tools"] == nil {
			t.Errorf("no tools in %v", result.Capabilities)
		}
		for name, capability := range result.Capabilities {
			if _, ok := capability.(map[string]any); !ok {
				t.Errorf("%s is %v", name, capability)
			}
		}
	}},
	{"incident 18: POST /mcp takes JSON-RPC", func(t *testing.T, w *world) {
		for _, version := range []string{modern, legacy} {
			if r := w.g.rpc(t, version, w.token, "tools/list", "", nil); r.Status != 200 || r.Result == nil {
				t.Errorf("%s: %d", version, r.Status)
			}
		}
	}},
	{"incident 19: /sse is an event stream to those who may, and other methods are told which is right", func(t *testing.T, w *world) {
		for _, path := range []string{"/sse", "/sse/"} {
			for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
				r := w.g.send(t, method, path, "", bearer(w.token)...)
				if r.Status != 405 || !strings.Contains(r.Header.Get("Allow"), "GET") || !json.Valid([]byte(r.Body)) {
					t.Errorf("%s %s: %d, Allow %q, %s", method, path, r.Status, r.Header.Get("Allow"), r.Body)
				}
			}
			s := w.g.stream(t, path, w.token)
			s.cancel()
		}
	}},
	{"incident 20: a call without a token is a 401 with a challenge, in the body too", func(t *testing.T, w *world) {
		g := w.discovery(t)
		body, headers := message(legacy, "tools/call", "list_companies", map[string]any{"name": "list_companies", "arguments": map[string]any{}})
		r := g.send(t, http.MethodPost, "/mcp", body, headers...)
		challenge := r.Header.Get("WWW-Authenticate")
		if r.Status != 401 || !strings.HasPrefix(challenge, "Bearer ") || !strings.Contains(r.Body, `"mcp/www_authenticate":["Bearer `) {
			t.Errorf("%d %q %s", r.Status, challenge, r.Body)
		}
	}},
	{"incident 21: an empty Authorization is none", func(t *testing.T, w *world) {
		g := w.discovery(t)
		for _, value := range []string{"Bearer", "Bearer ", ""} {
			body, headers := message(legacy, "tools/list", "", nil)
			if r := g.send(t, http.MethodPost, "/mcp", body, append(headers, "Authorization", value)...); r.Status != 200 {
				t.Errorf("%q: %d %s", value, r.Status, r.Body)
			}
		}
		body, headers := message(legacy, "tools/list", "", nil)
		if r := g.send(t, http.MethodPost, "/mcp", body, append(headers, bearer("nonsense")...)...); r.Status != 401 {
			t.Errorf("a bad token: %d", r.Status)
		}
	}},
	{"incident 22: the result of a call is content, structuredContent and isError", func(t *testing.T, w *world) {
		for _, arguments := range []map[string]any{{}, {"limit": "many"}} {
			r := w.g.rpc(t, legacy, w.token, "tools/call", "list_companies", map[string]any{"name": "list_companies", "arguments": arguments})
			result := object(t, string(r.Result))
			for member := range result {
				if !slices.Contains([]string{"content", "structuredContent", "isError", "_meta"}, member) {
					t.Errorf("%v: a member %s", arguments, member)
				}
			}
			content, _ := result["content"].([]any)
			if len(content) != 1 || content[0].(map[string]any)["type"] != "text" || content[0].(map[string]any)["text"] == "" {
				t.Errorf("%v: content %v", arguments, result["content"])
			}
		}
	}},
	{"incident 23: scopes are the same on every surface, and the resource is the URL", func(t *testing.T, w *world) {
		for path, at := range map[string]string{"/mcp": "/.well-known/oauth-protected-resource/mcp", "/sse": "/.well-known/oauth-protected-resource/sse"} {
			resource := w.document(t, at)
			scopes := texts(resource["scopes_supported"])
			challenged := strings.Fields(challengeScope.FindStringSubmatch(w.challenge(t, path))[1])
			slices.Sort(challenged)
			if !slices.Equal(scopes, challenged) || resource["resource"] != w.g.URL+path {
				t.Errorf("%s: %v of %v, the challenge names %v", at, scopes, resource["resource"], challenged)
			}
			_, tools := list(t, w.g, w.token)
			for _, tool := range tools {
				for _, scheme := range tool["securitySchemes"].([]any) {
					for _, scope := range texts(scheme.(map[string]any)["scopes"]) {
						if !slices.Contains(scopes, scope) {
							t.Errorf("%s wants %s, which %s lacks", tool["name"], scope, at)
						}
					}
				}
			}
		}
	}},
	{"incident 24: tools have all four annotations and no field of their own invention", func(t *testing.T, w *world) {
		_, tools := list(t, w.discovery(t), "")
		for _, tool := range tools {
			for member := range tool {
				if !slices.Contains([]string{"name", "title", "description", "inputSchema", "outputSchema", "annotations", "securitySchemes", "_meta"}, member) {
					t.Errorf("%s has %s", tool["name"], member)
				}
			}
			annotations := tool["annotations"].(map[string]any)
			for _, hint := range []string{"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"} {
				if _, ok := annotations[hint].(bool); !ok {
					t.Errorf("%s: %s is %v", tool["name"], hint, annotations[hint])
				}
			}
		}
	}},
	{"incident 25: the endpoint comes at once", func(t *testing.T, w *world) {
		lines := w.raw(t, func(string) bool { return true })
		if lines[0] != "event: endpoint" {
			t.Errorf("%q", lines)
		}
	}},
	{"incident 26: nothing but messages is data; heartbeats are comments", func(t *testing.T, w *world) {
		lines := w.raw(t, func(line string) bool { return strings.HasPrefix(line, ":") })
		for i, line := range lines {
			if strings.HasPrefix(line, "data:") && (i != 1 || !strings.HasPrefix(line, "data: /messages?")) || strings.HasPrefix(line, "event:") && line != "event: endpoint" {
				t.Errorf("line %d: %q", i, line)
			}
		}
	}},
	{"incident 27: names of tools have no dots", func(t *testing.T, w *world) {
		_, tools := list(t, w.discovery(t), "")
		for _, tool := range tools {
			if name := tool["name"].(string); !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(name) {
				t.Error(name)
			}
		}
	}},
	{"incident 28: wrapped arguments are unwrapped", func(t *testing.T, w *world) {
		want := w.g.call(t, legacy, w.token, "list_companies", map[string]any{"limit": 1})
		for _, arguments := range []string{`{"params":{"limit":1}}`, `"{\"limit\":1}"`, `{"params":"{\"params\":{\"limit\":1}}"}`} {
			r := w.g.send(t, http.MethodPost, "/mcp/tools/call", `{"name":"list_companies","arguments":`+arguments+`}`,
				append([]string{"Content-Type", "application/json"}, bearer(w.token)...)...)
			var got toolResult
			if err := json.Unmarshal([]byte(r.Body), &got); err != nil || got.IsError || string(got.Structured) != string(want.Structured) {
				t.Errorf("%s: %d %.200s", arguments, r.Status, r.Body)
			}
		}
	}},
	{"incident 29: no schema has an alternative at its top", func(t *testing.T, w *world) {
		_, tools := list(t, w.discovery(t), "")
		for _, tool := range tools {
			for _, member := range []string{"inputSchema", "outputSchema"} {
				schema, _ := tool[member].(map[string]any)
				for _, keyword := range []string{"anyOf", "oneOf", "allOf", "not"} {
					if schema[keyword] != nil {
						t.Errorf("%s: %s in %s", tool["name"], keyword, member)
					}
				}
			}
		}
	}},
	{"incident 30: input schemas are objects of JSON Schema with properties", func(t *testing.T, w *world) {
		_, tools := list(t, w.discovery(t), "")
		for _, tool := range tools {
			schema := tool["inputSchema"].(map[string]any)
			properties, ok := schema["properties"].(map[string]any)
			if schema["type"] != "object" || !ok || schema["$schema"] == "http://json-schema.org/draft-07/schema#" {
				t.Errorf("%s: %v", tool["name"], schema)
			}
			for _, name := range texts(schema["required"]) {
				if properties[name] == nil {
					t.Errorf("%s requires %s, which it has not", tool["name"], name)
				}
			}
		}
	}},
	{"incident 31: an output schema is kept", func(t *testing.T, w *world) {
		_, tools := list(t, w.g, w.token)
		for _, tool := range tools {
			schema, _ := tool["outputSchema"].(map[string]any)
			if schema != nil && schema["type"] != "object" {
				t.Errorf("%s: %v", tool["name"], schema["type"])
			}
		}
		r := w.g.call(t, modern, w.token, "list_companies", nil)
		if object(t, string(r.Structured))["data"] == nil || !sameJSON(t, r.Structured, json.RawMessage(r.text())) {
			t.Errorf("%s", r.text())
		}
	}},
	{"incident 32: arguments are flat", func(t *testing.T, w *world) {
		_, tools := list(t, w.discovery(t), "")
		for _, tool := range tools {
			properties := tool["inputSchema"].(map[string]any)["properties"].(map[string]any)
			if properties["params"] != nil || properties["arguments"] != nil || properties["input"] != nil {
				t.Errorf("%s wraps its arguments: %v", tool["name"], properties)
			}
		}
	}},
	{"incident 33: listings are read by GET with page and per_page in the query", func(t *testing.T, w *world) {
		company := w.g.companies(t, w.token)[0].UUID
		for _, tool := range []string{"get_listings", "get_products"} {
			if r := w.g.call(t, modern, w.token, tool, map[string]any{"companyUuid": company}); r.IsError {
				t.Error(r.text())
			}
		}
		journal, err := w.g.Sandbox.Journal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, e := range journal {
			if e.Path == "/api/v1/companies/"+company+"/listings" && e.Status == 200 {
				seen++
				if e.Method != http.MethodGet || !slices.Contains(e.QueryKeys, "page") || !slices.Contains(e.QueryKeys, "per_page") {
					t.Errorf("%s with %v", e.Method, e.QueryKeys)
				}
			}
		}
		if seen == 0 {
			t.Error("the API was not asked")
		}
	}},
	{"incident 34: the list of tools is small, and the same bytes every time", func(t *testing.T, w *world) {
		few, _ := list(t, w.g, w.token)
		again, _ := list(t, w.g, w.g.token(t, sellerTwo))
		all, _ := list(t, w.discovery(t), "")
		if len(few) >= 60_000 || len(all) >= 110_000 || few != again {
			t.Errorf("%d and %d bytes, the same for another: %v", len(few), len(all), few == again)
		}
	}},
	{"incident 35: names fit into the prefixes of clients", func(t *testing.T, w *world) {
		_, tools := list(t, w.discovery(t), "")
		for _, tool := range tools {
			if name := "mcp_neonpanel_" + tool["name"].(string); len(name) > 64 {
				t.Errorf("%s has %d characters", name, len(name))
			}
		}
	}},
	{"incident 36: old names still work", func(t *testing.T, w *world) {
		company := w.g.companies(t, w.token)[0].UUID
		for name, arguments := range map[string]map[string]any{
			"account_list_companies": {}, "get_inventory_items": {"companyUuid": company}, "inventory_list_warehouses": {"company_id": company},
		} {
			if r := w.g.call(t, legacy, w.token, name, arguments); r.IsError {
				t.Errorf("%s: %s", name, r.text())
			}
		}
		_, tools := list(t, w.g, w.token)
		for _, tool := range tools {
			if strings.HasPrefix(tool["name"].(string), "account_") {
				t.Errorf("%s is listed", tool["name"])
			}
		}
	}},
	{"incident 38: a slow operation does not hold up another", func(t *testing.T, _ *world) {
		g := ownGateway(t, stack.Options{})
		token := g.token(t, sellerOne)
		g.fault(t, stack.Fault{Path: "/api/v1/permissions", Kind: "hang"})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var waiting sync.WaitGroup
		for range 20 {
			waiting.Go(func() {
				_, _ = g.trySend(ctx, http.MethodPost, "/mcp/tools/call", `{"name":"list_permissions"}`, append([]string{"Content-Type", "application/json"}, bearer(token)...)...)
			})
		}
		for range 20 {
			if r := g.call(t, modern, token, "list_companies", nil); r.IsError {
				t.Error(r.text())
			}
		}
		cancel()
		waiting.Wait()
	}},
	{"incident 40: search engines are kept out", func(t *testing.T, w *world) {
		if r := w.g.send(t, http.MethodGet, "/robots.txt", ""); !strings.Contains(r.Body, "Disallow: /") {
			t.Error(r.Body)
		}
		for _, path := range publicPaths {
			if strings.HasPrefix(path, "/.well-known/o") {
				continue // no pages
			}
			if r := w.g.send(t, http.MethodGet, path, ""); !strings.Contains(r.Header.Get("X-Robots-Tag"), "noindex") {
				t.Errorf("%s: X-Robots-Tag %q", path, r.Header.Get("X-Robots-Tag"))
			}
		}
	}},

	{"gap 1: a token of another issuer, or without the scope, does not work", func(t *testing.T, w *world) {
		if r := w.plain(t, bearer(w.discovery(t).token(t, sellerOne))...); r.Status != 401 {
			t.Errorf("another issuer: %d", r.Status)
		}
		if r := w.plain(t, bearer(w.g.mint(t, stack.TokenRequest{Account: sellerOne, Scope: "read:inventory"}))...); r.Status != 403 || !strings.Contains(r.Header.Get("WWW-Authenticate"), `scope="read:companies"`) {
			t.Errorf("without the scope: %d %q", r.Status, r.Header.Get("WWW-Authenticate"))
		}
	}},
	{"gap 2: nobody writes into another's stream", func(t *testing.T, w *world) {
		s := w.g.stream(t, "/sse", w.token)
		defer s.cancel()
		const body = `{"jsonrpc":"2.0","id":9,"method":"tools/list","params":{}}`
		if r := w.g.send(t, http.MethodPost, s.Endpoint, body, "Content-Type", "application/json"); r.Status != 401 {
			t.Errorf("without a token: %d", r.Status)
		}
		if r := w.g.post(t, s, w.g.token(t, sellerTwo), body); r.Status != 404 {
			t.Errorf("with another's: %d", r.Status)
		}
		w.g.initialize(t, s, w.token) // the next message on it is the owner's own
	}},
	{"gap 3: a process with open streams stops when it is told to", func(t *testing.T, _ *world) {
		g := ownGateway(t, stack.Options{})
		token := g.token(t, sellerOne)
		s := g.stream(t, "/sse", token)
		g.initialize(t, s, token)
		g.StopPart(stack.Backend)
		select {
		case <-s.end:
		case <-time.After(time.Minute):
			t.Error("the stream goes on")
		}
		if err := g.StartPart(stack.Backend); err != nil {
			t.Fatal(err)
		}
	}},
	{"gap 5: notifications, ping, versions, and 405 where nothing is streamed", func(t *testing.T, w *world) {
		body := `{"jsonrpc":"2.0","method":"notifications/initialized"}`
		headers := append([]string{"Content-Type", "application/json", "Accept", "application/json, text/event-stream"}, bearer(w.token)...)
		if r := w.g.send(t, http.MethodPost, "/mcp", body, headers...); r.Status != 202 || r.Body != "" {
			t.Errorf("a notification: %d %q", r.Status, r.Body)
		}
		if r := w.g.rpc(t, legacy, w.token, "ping", "", nil); r.Status != 200 || string(r.Result) != "{}" {
			t.Errorf("ping: %d %s", r.Status, r.Body)
		}
		for _, version := range []string{"2025-11-25", "2025-06-18", "2025-03-26"} {
			r := w.g.rpc(t, version, w.token, "initialize", "", map[string]any{"protocolVersion": version, "capabilities": map[string]any{}, "clientInfo": map[string]any{"name": "x", "version": "1"}})
			if object(t, string(r.Result))["protocolVersion"] != version {
				t.Errorf("%s: %s", version, r.Body)
			}
		}
		if r := w.g.send(t, http.MethodGet, "/mcp", "", bearer(w.token)...); r.Status != 405 || !strings.Contains(r.Header.Get("Allow"), "POST") {
			t.Errorf("GET /mcp: %d", r.Status)
		}
	}},
	{"gap 6: the well-known documents are there under the path of the resource", func(t *testing.T, w *world) {
		for _, path := range []string{"/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource/sse", "/.well-known/oauth-authorization-server/mcp", "/.well-known/openid-configuration/mcp"} {
			w.document(t, path)
		}
	}},
	{"gap 7: pages may read the headers that matter", func(t *testing.T, w *world) {
		for _, r := range []reply{w.plain(t, "Origin", "https://chatgpt.com"), w.plain(t, append(bearer(w.token), "Origin", "https://chatgpt.com")...)} {
			exposed := strings.ToLower(r.Header.Get("Access-Control-Expose-Headers"))
			for _, name := range []string{"www-authenticate", "mcp-session-id", "retry-after"} {
				if !strings.Contains(exposed, name) {
					t.Errorf("%d exposes %q without %s", r.Status, exposed, name)
				}
			}
		}
	}},
	{"gap 8: users behind one address do not limit each other", func(t *testing.T, w *world) {
		tokens := []string{w.token, w.g.token(t, sellerTwo)}
		for i := range 80 { // the last server stopped at 30
			if r := w.plain(t, bearer(tokens[i%2])...); r.Status != 200 {
				t.Fatalf("call %d: %d %s", i, r.Status, r.Body)
			}
		}
	}},
	{"gap 9: malformed JSON is -32700, and too much of it 413", func(t *testing.T, w *world) {
		headers := append([]string{"Content-Type", "application/json", "Accept", "application/json, text/event-stream"}, bearer(w.token)...)
		r := decodeRPC(t, w.g.send(t, http.MethodPost, "/mcp", `{"jsonrpc":`, headers...))
		if r.Status != 400 || r.Error.Code != -32700 {
			t.Errorf("%d %s", r.Status, r.Body)
		}
		for _, path := range []string{"/mcp", "/mcp/tools/call"} {
			if r := w.g.send(t, http.MethodPost, path, `{"a":"`+strings.Repeat("x", 5<<20)+`"}`, headers...); r.Status != 413 {
				t.Errorf("%s: %d", path, r.Status)
			}
		}
	}},
	{"gap 12: hints tell the truth", func(t *testing.T, w *world) {
		_, tools := list(t, w.discovery(t), "")
		hints := map[string]map[string]any{}
		for _, tool := range tools {
			hints[tool["name"].(string)] = tool["annotations"].(map[string]any)
		}
		for name, want := range map[string][2]bool{ // readOnly, destructive
			"sync_listing": {false, true}, "update_product": {false, true}, "bills_update": {false, true}, "delete_product": {false, true},
			"get_listings": {true, false}, "create_documents": {false, false},
		} {
			if h := hints[name]; h == nil || h["readOnlyHint"] != want[0] || h["destructiveHint"] != want[1] {
				t.Errorf("%s: %v", name, h)
			}
		}
	}},
	{"gap 14: a good call is no error in the log, and is counted and audited", func(t *testing.T, _ *world) {
		g := ownGateway(t, stack.Options{})
		if r := g.call(t, modern, g.token(t, sellerOne), "list_companies", nil); r.IsError {
			t.Fatal(r.text())
		}
		eventually(t, 60*time.Second, func() string {
			data, err := os.ReadFile(g.LogFile(stack.Backend))
			if err != nil {
				return err.Error()
			}
			if strings.Contains(string(data), `"level":"ERROR"`) {
				t.Fatalf("%s", data)
			}
			for line := range strings.Lines(string(data)) {
				if strings.Contains(line, `"tool":"list_companies"`) && strings.Contains(line, `"subject":`) {
					return ""
				}
			}
			return "no audit of the call"
		})
	}},
	{"gap 16: the tools that were missing are there", func(t *testing.T, w *world) {
		_, tools := list(t, w.discovery(t), "")
		have := map[string]bool{}
		for _, tool := range tools {
			have[tool["name"].(string)] = true
		}
		for _, name := range []string{
			"get_products", "create_product", "update_product", "delete_product", "create_inventory_item", "update_inventory_item", "delete_inventory_item",
			"list_permissions_by_company", "get_company_forecasting_settings",
		} {
			if !have[name] {
				t.Errorf("no %s", name)
			}
		}
	}},
}

// issuerRequests are the requests for documents that the issuer has seen.
func issuerRequests(t *testing.T, g *gateway) []stack.Entry {
	t.Helper()
	journal, err := g.Sandbox.Journal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(journal, func(e stack.Entry) bool { return !strings.HasPrefix(e.Path, "/.well-known/") })
}

// Every incident and gap is listed, with a test that exists or with the reason
// why there is none.
func TestTheListOfIncidentsNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	declared := declaredTests(t)
	here := map[string]bool{}
	for _, i := range incidents {
		key, _, _ := strings.Cut(i.name, ":")
		here[key] = true
	}
	row := regexp.MustCompile(`(?m)^\| (incident|gap) ([0-9]+) \| [^|]+ \| ([^|]+) \|$`)
	test := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	listed := map[string]bool{}
	for _, match := range row.FindAllStringSubmatch(read(t, "docs/incidents.md"), -1) {
		key, proof := match[1]+" "+match[2], match[3]
		if listed[key] {
			t.Errorf("%s is listed twice", key)
		}
		listed[key] = true
		named := test.FindAllStringSubmatch(proof, -1)
		for _, name := range named {
			if !declared[name[1]] {
				t.Errorf("%s: there is no %s", key, name[1])
			}
		}
		same := strings.Contains(proof, "of the same name")
		if same != here[key] {
			t.Errorf("%s: a test of the same name is promised: %v, there: %v", key, same, here[key])
		}
		if !same && named == nil && !strings.Contains(proof, "not testable here: ") {
			t.Errorf("%s has neither a test nor a reason: %s", key, proof)
		}
	}
	for kind, last := range map[string]int{"incident": 40, "gap": 16} {
		for n := 1; n <= last; n++ {
			if key := kind + " " + strconv.Itoa(n); !listed[key] {
				t.Errorf("docs/incidents.md lacks %s", key)
			}
		}
	}
}
