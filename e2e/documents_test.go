package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("not a JSON object: %.200q: %v", text, err)
	}
	return v
}

func stringsIn(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, s := range list {
		text, _ := s.(string)
		out = append(out, text)
	}
	return out
}

// RFC 9728 §3.3: the resource of a document is the URL that it was made for,
// and the challenge of a path names the document of that path.
func TestProtectedResourceDocuments(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	const prefix = "/.well-known/oauth-protected-resource"
	for _, path := range []string{"", "/mcp", "/sse", "/sse/"} {
		t.Run("resource "+path, func(t *testing.T) {
			r := g.send(t, http.MethodGet, prefix+path, "", "Origin", "https://chatgpt.com")
			if r.Status != 200 || r.Header.Get("Content-Type") != "application/json" {
				t.Fatalf("%d %s", r.Status, r.Header.Get("Content-Type"))
			}
			doc := object(t, r.Body)
			if doc["resource"] != g.URL+path {
				t.Errorf("resource %v, want %s", doc["resource"], g.URL+path)
			}
			if got := stringsIn(doc["authorization_servers"]); !slices.Equal(got, []string{g.Issuer}) {
				t.Errorf("authorization servers %v, want %s", got, g.Issuer)
			}
			if len(stringsIn(doc["scopes_supported"])) == 0 {
				t.Error("no scopes_supported")
			}
			if slices.Contains(stringsIn(doc["scopes_supported"]), "offline_access") {
				t.Error("offline_access is not a scope of a resource")
			}
			if r.Header.Get("Access-Control-Allow-Origin") == "" {
				t.Error("a page of another origin cannot read it")
			}
		})
	}
	for request, document := range map[string]string{
		"POST /mcp":            "/mcp",
		"GET /sse":             "/sse",
		"GET /sse/":            "/sse/",
		"POST /messages":       "/sse",
		"POST /mcp/tools/call": "/mcp",
	} {
		method, path, _ := strings.Cut(request, " ")
		r := g.send(t, method, path, "")
		challenge := r.Header.Get("WWW-Authenticate")
		want := `resource_metadata="` + g.URL + prefix + document + `"`
		if r.Status != 401 || !strings.HasPrefix(challenge, "Bearer ") || !strings.Contains(challenge, want) {
			t.Errorf("%s: %d, challenge %q without %s", request, r.Status, challenge, want)
		}
		if strings.Contains(challenge, "error=") {
			t.Errorf("%s: an error although no token was sent (RFC 6750 §3.1): %s", request, challenge)
		}
	}
}

// The metadata of the authorization server is a copy with the issuer unchanged
// (RFC 8414 §3.3).
func TestAuthorizationServerMetadataIsMirrored(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	for path, source := range map[string]string{
		"/.well-known/oauth-authorization-server":     "/.well-known/oauth-authorization-server",
		"/.well-known/oauth-authorization-server/mcp": "/.well-known/oauth-authorization-server",
		"/.well-known/oauth-authorization-server/sse": "/.well-known/oauth-authorization-server",
		"/.well-known/openid-configuration":           "/.well-known/openid-configuration",
		"/.well-known/openid-configuration/mcp":       "/.well-known/openid-configuration",
		"/.well-known/openid-configuration/sse":       "/.well-known/openid-configuration",
	} {
		resp, err := g.client.Get(g.Issuer + source)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		want := object(t, string(data))
		r := g.send(t, http.MethodGet, path, "")
		if r.Status != 200 {
			t.Errorf("%s: %d", path, r.Status)
			continue
		}
		got := object(t, r.Body)
		for _, key := range []string{"issuer", "authorization_endpoint", "token_endpoint", "registration_endpoint", "jwks_uri", "code_challenge_methods_supported"} {
			a, _ := json.Marshal(got[key])
			b, _ := json.Marshal(want[key])
			if want[key] == nil || string(a) != string(b) {
				t.Errorf("%s: %s is %s, the issuer says %s", path, key, a, b)
			}
		}
		if got["issuer"] != g.Issuer {
			t.Errorf("%s: issuer %v", path, got["issuer"])
		}
	}
}

type tool struct {
	Name        string          `json:"name"`
	Title       string          `json:"title"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"inputSchema"`
	Annotations map[string]any  `json:"annotations"`
}

func (g *gateway) tools(t *testing.T, version, token string) []tool {
	t.Helper()
	r := g.rpc(t, version, token, "tools/list", "", nil)
	var list struct {
		Tools []tool `json:"tools"`
	}
	if err := json.Unmarshal(r.Result, &list); err != nil || len(list.Tools) == 0 {
		t.Fatalf("%d %.300s (%v)", r.Status, r.Body, err)
	}
	return list.Tools
}

func names(tools []tool) []string {
	var out []string
	for _, tool := range tools {
		out = append(out, tool.Name)
	}
	return out
}

// Every operation that the gateway promises is a tool, in every version of the
// protocol, and the public documents say the same as tools/list.
func TestToolsAndDocumentsAgree(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.token(t, sellerOne)
	tools := g.tools(t, modern, token)
	if old := names(g.tools(t, legacy, token)); !slices.Equal(old, names(tools)) {
		t.Errorf("2025-11-25 lists %v, 2026-07-28 lists %v", old, names(tools))
	}
	for _, want := range []string{
		"list_companies", "list_companies_with_permission", "list_permissions", "list_reports", "revenue_and_cogs_summary",
		"list_warehouses", "warehouse_balances", "list_inventory_items", "inventory_balances",
		"list_inventory_landed_costs", "list_inventory_cogs", "get_import_instructions",
		"create_documents", "create_documents_by_pdf", "check_import_processing",
	} {
		if !slices.Contains(names(tools), want) {
			t.Errorf("no tool %s", want)
		}
	}
	for _, tool := range tools {
		for _, hint := range []string{"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"} {
			if _, ok := tool.Annotations[hint].(bool); !ok {
				t.Errorf("%s: no %s", tool.Name, hint)
			}
		}
		if tool.Title == "" || tool.Description == "" {
			t.Errorf("%s: title %q, description %q", tool.Name, tool.Title, tool.Description)
		}
		schema := object(t, string(tool.InputSchema))
		if schema["type"] != "object" || strings.Contains(string(tool.InputSchema), "$ref") {
			t.Errorf("%s: input schema %s", tool.Name, tool.InputSchema)
		}
	}

	capabilities := g.send(t, http.MethodGet, "/mcp/capabilities", "")
	var document struct {
		Tools []tool `json:"tools"`
	}
	if err := json.Unmarshal([]byte(capabilities.Body), &document); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(names(document.Tools), names(tools)) {
		t.Errorf("/mcp/capabilities lists %v, tools/list %v", names(document.Tools), names(tools))
	}

	openapi := g.send(t, http.MethodGet, "/openapi.json", "")
	if openapi.Status != 200 || !strings.HasPrefix(openapi.Header.Get("Content-Type"), "application/json") {
		t.Errorf("/openapi.json: %d %s", openapi.Status, openapi.Header.Get("Content-Type"))
	}
	if doc := object(t, openapi.Body); !strings.HasPrefix(doc["openapi"].(string), "3.") {
		t.Errorf("openapi %v", doc["openapi"])
	}
	yaml := g.send(t, http.MethodGet, "/openapi.yaml", "")
	if yaml.Status != 200 || !strings.Contains(yaml.Header.Get("Content-Type"), "yaml") || !strings.Contains(yaml.Body, "openapi:") {
		t.Errorf("/openapi.yaml: %d %s", yaml.Status, yaml.Header.Get("Content-Type"))
	}
	manifest := object(t, g.send(t, http.MethodGet, "/.well-known/ai-plugin.json", "").Body)
	if api, _ := manifest["api"].(map[string]any); api == nil || !strings.HasPrefix(api["url"].(string), g.URL+"/openapi.") {
		t.Errorf("ai-plugin.json: api %v", manifest["api"])
	}
}

// The list is the same bytes every time, so that clients and models can cache it.
func TestToolListIsStable(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	one := g.rpc(t, modern, g.token(t, sellerOne), "tools/list", "", nil)
	two := g.rpc(t, modern, g.token(t, sellerTwo), "tools/list", "", nil)
	if string(one.Result) != string(two.Result) {
		t.Error("two lists differ")
	}
	if scope := object(t, string(one.Result))["cacheScope"]; scope != "private" {
		t.Errorf("cacheScope %v", scope)
	}
}

func TestFrontPage(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	html := g.send(t, http.MethodGet, "/", "", "Accept", "text/html")
	if html.Status != 200 || !strings.HasPrefix(html.Header.Get("Content-Type"), "text/html") {
		t.Errorf("to a browser: %d %s", html.Status, html.Header.Get("Content-Type"))
	}
	if !strings.Contains(html.Body, g.URL+"/mcp") || !strings.Contains(html.Body, "list_inventory_items") {
		t.Error("the page does not name the URL to paste and the tools")
	}
	if html.Header.Get("Content-Security-Policy") == "" {
		t.Error("no Content-Security-Policy")
	}
	program := g.send(t, http.MethodGet, "/", "", "Accept", "application/json")
	if program.Status != 200 || object(t, program.Body) == nil {
		t.Errorf("to a program: %d", program.Status)
	}
	health := object(t, g.send(t, http.MethodGet, "/health", "").Body)
	if health["status"] != "ok" {
		t.Errorf("/health: %v", health)
	}
}
