package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
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
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, the issuer says %v", path, got, want)
		}
		if got["issuer"] != g.Issuer {
			t.Errorf("%s: issuer %v", path, got["issuer"])
		}
	}
}

type tool struct {
	Name         string          `json:"name"`
	Title        string          `json:"title"`
	Description  string          `json:"description"`
	InputSchema  json.RawMessage `json:"inputSchema"`
	OutputSchema json.RawMessage `json:"outputSchema"`
	Annotations  map[string]any  `json:"annotations"`
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
		t.Fatalf("/mcp/capabilities lists %v, tools/list %v", names(document.Tools), names(tools))
	}
	for i, shown := range document.Tools {
		tool := tools[i]
		if shown.Title != tool.Title || shown.Description != tool.Description {
			t.Errorf("%s: /mcp/capabilities says %q, %q, tools/list %q, %q", tool.Name, shown.Title, shown.Description, tool.Title, tool.Description)
		}
		if !sameJSON(t, shown.InputSchema, tool.InputSchema) || !sameJSON(t, shown.OutputSchema, tool.OutputSchema) {
			t.Errorf("%s: the schemas of /mcp/capabilities are not those of tools/list", tool.Name)
		}
		for hint, value := range shown.Annotations {
			if tool.Annotations[hint] != value {
				t.Errorf("%s: %s is %v in /mcp/capabilities, %v in tools/list", tool.Name, hint, value, tool.Annotations[hint])
			}
		}
	}

	openapi := g.send(t, http.MethodGet, "/openapi.json", "")
	if openapi.Status != 200 || !strings.HasPrefix(openapi.Header.Get("Content-Type"), "application/json") {
		t.Errorf("/openapi.json: %d %s", openapi.Status, openapi.Header.Get("Content-Type"))
	}
	doc := object(t, openapi.Body)
	if version, _ := doc["openapi"].(string); !strings.HasPrefix(version, "3.") {
		t.Errorf("openapi %v", doc["openapi"])
	}
	// The document describes the whole API; which writes are tools is the
	// deployment's choice.
	for _, operation := range operationNames(t, doc, "get") {
		if !slices.Contains(names(tools), operation) {
			t.Errorf("/openapi.json has the read %s, tools/list has not", operation)
		}
	}
	operations := operationNames(t, doc, "get", "put", "post", "delete", "patch")
	for _, tool := range names(tools) {
		if !slices.Contains(operations, tool) && !slices.Contains(composites, tool) {
			t.Errorf("tools/list has %s, /openapi.json has not", tool)
		}
	}
	text := g.send(t, http.MethodGet, "/openapi.yaml", "")
	if text.Status != 200 || text.Header.Get("Content-Type") != "application/yaml" {
		t.Errorf("/openapi.yaml: %d %s", text.Status, text.Header.Get("Content-Type"))
	}
	if strings.HasPrefix(strings.TrimSpace(text.Body), "{") {
		t.Error("/openapi.yaml is JSON")
	}
	converted, err := yaml.YAMLToJSON([]byte(text.Body))
	if err != nil || !sameJSON(t, converted, json.RawMessage(openapi.Body)) {
		t.Errorf("/openapi.yaml is not the same data as /openapi.json (%v)", err)
	}
}

// composites are the tools that consist of several operations.
var composites = []string{"company_overview", "fetch", "inventory_health", "profit_summary", "search"}

// operationNames are the names of the tools that the operations of an OpenAPI
// document should have.
func operationNames(t *testing.T, doc map[string]any, of ...string) []string {
	t.Helper()
	var out []string
	paths, _ := doc["paths"].(map[string]any)
	for path, item := range paths {
		methods, _ := item.(map[string]any)
		for method, operation := range methods {
			if !slices.Contains(of, method) {
				continue
			}
			o, _ := operation.(map[string]any)
			id, _ := o["operationId"].(string)
			if id == "" {
				t.Errorf("%s %s has no operationId", method, path)
			}
			snake := camel.ReplaceAllString(strings.ReplaceAll(id, ".", "_"), "${1}_$2")
			out = append(out, strings.ToLower(snake))
		}
	}
	slices.Sort(out)
	return out
}

var camel = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// sameJSON says whether two documents are the same data; nothing is the same as nothing.
func sameJSON(t *testing.T, a, b json.RawMessage) bool {
	t.Helper()
	var left, right any
	for text, v := range map[*json.RawMessage]*any{&a: &left, &b: &right} {
		if len(*text) == 0 {
			continue
		}
		if err := json.Unmarshal(*text, v); err != nil {
			t.Fatalf("not JSON: %.200s: %v", *text, err)
		}
	}
	return reflect.DeepEqual(left, right)
}

func TestSmallDocuments(t *testing.T) {
	t.Parallel()
	const proof = "proof-of_the-domain.123"
	g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Backend: {"MCPBACKEND_APPS_CHALLENGE=" + proof}}})

	challenge := g.send(t, http.MethodGet, "/.well-known/openai-apps-challenge", "")
	if challenge.Status != 200 || challenge.Body != proof || !strings.HasPrefix(challenge.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("openai-apps-challenge: %d %s %q", challenge.Status, challenge.Header.Get("Content-Type"), challenge.Body)
	}
	robots := g.send(t, http.MethodGet, "/robots.txt", "")
	if robots.Status != 200 || robots.Body != "User-agent: *\nDisallow: /\n" || !strings.HasPrefix(robots.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("robots.txt: %d %s %q", robots.Status, robots.Header.Get("Content-Type"), robots.Body)
	}

	plugin := g.send(t, http.MethodGet, "/.well-known/ai-plugin.json", "")
	if plugin.Status != 200 || plugin.Header.Get("Content-Type") != "application/json" {
		t.Errorf("ai-plugin.json: %d %s", plugin.Status, plugin.Header.Get("Content-Type"))
	}
	manifest := object(t, plugin.Body)
	for _, field := range []string{"description_for_human", "description_for_model"} {
		if text, _ := manifest[field].(string); text == "" {
			t.Errorf("ai-plugin.json: no %s", field)
		}
		delete(manifest, field)
	}
	want := map[string]any{
		"schema_version": "v1", "name_for_human": "NeonPanel", "name_for_model": "neonpanel",
		"auth": map[string]any{
			"type":                              "oauth",
			"authorization_server_metadata_url": g.URL + "/.well-known/oauth-authorization-server",
			"resource_metadata_url":             g.URL + "/.well-known/oauth-protected-resource/mcp",
		},
		"api":     map[string]any{"type": "openapi", "url": g.URL + "/openapi.json"},
		"mcp_url": g.URL + "/mcp",
	}
	if !reflect.DeepEqual(manifest, want) {
		t.Errorf("ai-plugin.json is %v, want %v", manifest, want)
	}
	// What it names is there.
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource/mcp", "/openapi.json"} {
		if r := g.send(t, http.MethodGet, path, ""); r.Status != 200 {
			t.Errorf("ai-plugin.json names %s: %d", path, r.Status)
		}
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

// Who opens a client's URL in a browser finds the page; for everybody else there
// is the challenge, whatever they send besides.
func TestBrowsersThatOpenAClientsURLFindTheFrontPage(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	for _, path := range []string{"/mcp", "/sse"} {
		r := g.send(t, http.MethodGet, path, "", "Sec-Fetch-Mode", "navigate", "Accept", "text/html")
		if r.Status != http.StatusSeeOther || r.Header.Get("Location") != g.URL+"/" || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d to %q, %v", path, r.Status, r.Header.Get("Location"), r.Header)
		}
		if r.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no request id", path)
		}
	}
	for name, headers := range map[string][]string{
		"no browser":           {"Accept", "text/html"},
		"a page that fetches":  {"Sec-Fetch-Mode", "cors", "Origin", "https://chatgpt.com"},
		"a credential":         {"Sec-Fetch-Mode", "navigate", "Authorization", "Bearer not.a.token"},
		"an empty credential":  {"Sec-Fetch-Mode", "navigate", "Authorization", "Bearer"},
		"a part of the word":   {"Sec-Fetch-Mode", "navigate-nested"},
		"another case of word": {"Sec-Fetch-Mode", "Navigate"},
	} {
		r := g.send(t, http.MethodGet, "/mcp", "", headers...)
		if r.Status != http.StatusUnauthorized || r.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d", name, r.Status)
		}
	}
	// A form of another site that posts there gets no further than before.
	if r := g.send(t, http.MethodPost, "/mcp", "{}", "Sec-Fetch-Mode", "navigate"); r.Status != http.StatusUnauthorized {
		t.Errorf("POST: %d", r.Status)
	}
	if r := g.send(t, http.MethodGet, "/mcp", "", "Sec-Fetch-Mode", "navigate", "Host", "evil.example"); r.Status != http.StatusMisdirectedRequest {
		t.Errorf("another host: %d", r.Status)
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
