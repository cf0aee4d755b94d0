package e2e

import (
	"net/http"
	"strings"
	"testing"
)

var publicPaths = []string{
	"/mcp/capabilities", "/openapi.json", "/openapi.yaml", "/.well-known/ai-plugin.json", "/health", "/", "/robots.txt",
	"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp",
	"/.well-known/oauth-protected-resource/sse", "/.well-known/oauth-protected-resource/sse/",
	"/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/mcp",
	"/.well-known/oauth-authorization-server/sse", "/.well-known/openid-configuration",
	"/.well-known/openid-configuration/mcp", "/.well-known/openid-configuration/sse",
}

var bearerRoutes = []struct{ method, path string }{
	{"POST", "/mcp"}, {"GET", "/mcp"}, {"DELETE", "/mcp"}, {"GET", "/sse"}, {"GET", "/sse/"},
	{"POST", "/messages"}, {"POST", "/mcp/tools/call"},
}

func TestPublicRoutes(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	for _, path := range publicPaths {
		get := g.send(t, http.MethodGet, path, "", "Origin", "https://chatgpt.com")
		if get.Status != 200 || get.Body == "" {
			t.Errorf("GET %s: %d %.100q", path, get.Status, get.Body)
		}
		if get.Header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("GET %s: no CORS", path)
		}
		head := g.send(t, http.MethodHead, path, "")
		if head.Status != 200 || head.Body != "" {
			t.Errorf("HEAD %s: %d %q", path, head.Status, head.Body)
		}
		// A credential changes nothing where none is needed, not even a bad one.
		with := g.send(t, http.MethodGet, path, "", "Authorization", "Bearer nonsense", "Cookie", "a=b")
		if with.Status != 200 {
			t.Errorf("GET %s with a bad token: %d", path, with.Status)
		}
		post := g.send(t, http.MethodPost, path, "{}", "Origin", "https://chatgpt.com", "Content-Type", "application/json")
		wantStatus := http.StatusMethodNotAllowed
		if path == "/" {
			// The likely mistake: the right host without the path.
			if post.Status < 400 || !strings.Contains(post.Body, g.URL+"/mcp") {
				t.Errorf("POST / does not name the right URL: %d %s", post.Status, post.Body)
			}
			continue
		}
		if post.Status != wantStatus || !strings.Contains(post.Header.Get("Allow"), "GET") {
			t.Errorf("POST %s: %d, Allow %q", path, post.Status, post.Header.Get("Allow"))
		}
		checkError(t, "POST "+path, post)
	}
	if r := g.send(t, http.MethodGet, "/.well-known/openai-apps-challenge", ""); r.Status != 404 {
		t.Errorf("openai-apps-challenge without a setting: %d", r.Status)
	}
}

// checkError checks that an error can be read by programs and by pages of
// other origins.
func checkError(t *testing.T, name string, r reply) {
	t.Helper()
	if r.Header.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("%s: no CORS", name)
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") || !strings.HasPrefix(r.Body, "{") {
		t.Errorf("%s: %s %.200q is not JSON", name, r.Header.Get("Content-Type"), r.Body)
	}
}

func TestBearerRoutesNeedAToken(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	for _, route := range bearerRoutes {
		name := route.method + " " + route.path
		for credential, headers := range map[string][]string{
			"none":      nil,
			"empty":     {"Authorization", "Bearer "},
			"bad":       {"Authorization", "Bearer nonsense"},
			"in cookie": {"Cookie", "access_token=" + g.token(t, sellerOne)},
		} {
			r := g.send(t, route.method, route.path, "", append([]string{"Origin", "https://chatgpt.com"}, headers...)...)
			if r.Status != 401 || !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s, credential %s: %d %q", name, credential, r.Status, r.Header.Get("WWW-Authenticate"))
			}
			if !strings.Contains(strings.ToLower(r.Header.Get("Access-Control-Expose-Headers")), "www-authenticate") {
				t.Errorf("%s: a page cannot read the challenge", name)
			}
			checkError(t, name, r)
			if body := object(t, r.Body); body["error"] == nil || body["error_description"] == nil {
				t.Errorf("%s: body %s", name, r.Body)
			}
		}
		// RFC 6750 §2.3 is not supported: a token in the query is none.
		if r := g.send(t, route.method, route.path+"?access_token="+g.token(t, sellerOne), ""); r.Status != 401 {
			t.Errorf("%s with a token in the query: %d", name, r.Status)
		}
	}
	token := g.token(t, sellerOne)
	for _, method := range []string{"GET", "DELETE"} {
		r := g.send(t, method, "/mcp", "", append([]string{"Accept", "text/event-stream"}, bearer(token)...)...)
		if r.Status != 405 || !strings.Contains(r.Header.Get("Allow"), "POST") {
			t.Errorf("%s /mcp: %d, Allow %q", method, r.Status, r.Header.Get("Allow"))
		}
	}
	for request, allow := range map[string]string{"PUT /mcp": "POST", "POST /sse": "GET", "GET /messages": "POST", "GET /mcp/tools/call": "POST"} {
		method, path, _ := strings.Cut(request, " ")
		r := g.send(t, method, path, "", append([]string{"Origin", "https://chatgpt.com"}, bearer(token)...)...)
		if r.Status != 405 || !strings.Contains(r.Header.Get("Allow"), allow) {
			t.Errorf("%s: %d, Allow %q", request, r.Status, r.Header.Get("Allow"))
		}
		checkError(t, request, r)
	}
}

func TestPreflightWorksEverywhere(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	paths := append([]string{}, publicPaths...)
	for _, route := range bearerRoutes {
		paths = append(paths, route.path)
	}
	asked := "authorization, content-type, mcp-protocol-version, mcp-method, mcp-name, mcp-session-id, last-event-id, x-mcp-toolsets, x-mcp-readonly"
	for _, path := range append(paths, "/nowhere") {
		r := g.send(t, http.MethodOptions, path, "", "Origin", "https://inspector.example",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", asked)
		if r.Status != 200 && r.Status != 204 {
			t.Errorf("%s: %d", path, r.Status)
		}
		allowed := strings.ToLower(r.Header.Get("Access-Control-Allow-Headers"))
		for _, header := range strings.Split(asked, ", ") {
			if !strings.Contains(allowed, header) {
				t.Errorf("%s: %s is not among %q", path, header, allowed)
			}
		}
		if r.Header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("%s: no Access-Control-Allow-Origin", path)
		}
	}
}

func TestUnknownPathsAreNotFound(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.token(t, sellerOne)
	for _, path := range []string{"/nowhere", "/MCP", "/mcp;a=b", "/health/", "/mcp/", "/mcpx", "/api/v1/companies", "/metrics", "/healthz", "/.env"} {
		for _, method := range []string{"GET", "POST"} {
			r := g.send(t, method, path, "", append([]string{"Origin", "https://chatgpt.com"}, bearer(token)...)...)
			if r.Status != 404 {
				t.Errorf("%s %s: %d", method, path, r.Status)
			}
			checkError(t, method+" "+path, r)
			if path == "/mcp/" && !strings.Contains(r.Body, g.URL+"/mcp") {
				t.Errorf("%s /mcp/ does not name the right URL: %s", method, r.Body)
			}
		}
	}
	// Other spellings of a path that needs a token need one too.
	for _, path := range []string{"/x/../mcp", "/%6dcp", "//mcp", "/./mcp", "/health/../mcp"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = "//" + req.URL.Host + path
		resp, err := g.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 401 && resp.StatusCode != 404 && resp.StatusCode != 400 {
			t.Errorf("POST %s: %d", path, resp.StatusCode)
		}
	}
}

func TestHostMustBeOurs(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	port := g.URL[strings.LastIndex(g.URL, ":"):]
	for host, want := range map[string]int{
		"127.0.0.1" + port:          401,
		"localhost" + port:          401,
		"evil.example":              421,
		"evil.example" + port:       421,
		"127.0.0.1.evil.example":    421,
		"mcp.neonpanel.com":         421,
		"localhost.evil.example:80": 421,
	} {
		r := g.send(t, http.MethodPost, "/mcp", "", "Host", host)
		if r.Status != want {
			t.Errorf("Host %s: %d, want %d", host, r.Status, want)
		}
		if strings.Contains(r.Header.Get("WWW-Authenticate")+r.Body, "evil.example") {
			t.Errorf("Host %s is reflected: %s", host, r.Body)
		}
	}
	if r := g.send(t, http.MethodGet, "/health", "", "Host", "10.0.0.7:8080"); r.Status != 200 {
		t.Errorf("/health asked by address: %d", r.Status)
	}
	// What a client claims about itself changes no URL.
	r := g.send(t, http.MethodGet, "/.well-known/oauth-protected-resource/mcp", "",
		"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https", "Forwarded", "host=evil.example")
	if doc := object(t, r.Body); doc["resource"] != g.URL+"/mcp" {
		t.Errorf("resource %v", doc["resource"])
	}
}

// The identity headers are the edge's alone: a client that sends them gets
// nothing by it.
func TestIdentityHeadersCannotBeForged(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	one, two := g.token(t, sellerOne), g.token(t, sellerTwo)
	forged := []string{
		"X-NeonPanel-Auth", "bearer", "X-NeonPanel-Subject", "1", "x-neonpanel-subject", "2",
		"X-NeonPanel-Expires", "9999999999", "X-NeonPanel-Scope-Mode", "off", "X_NeonPanel_Subject", "3",
	}
	body, headers := message(legacy, "tools/list", "", nil)
	if r := g.send(t, http.MethodPost, "/mcp", body, append(headers, forged...)...); r.Status != 401 {
		t.Errorf("identity headers without a token: %d %s", r.Status, r.Body)
	}
	body, headers = message(legacy, "tools/call", "list_companies", map[string]any{"name": "list_companies", "arguments": map[string]any{}})
	r := g.send(t, http.MethodPost, "/mcp", body, append(append(headers, forged...), bearer(two)...)...)
	if r.Status != 200 || !strings.Contains(r.Body, g.companies(t, two)[0].UUID) || strings.Contains(r.Body, g.companies(t, one)[0].UUID) {
		t.Errorf("with forged headers: %d %.300s", r.Status, r.Body)
	}
}
