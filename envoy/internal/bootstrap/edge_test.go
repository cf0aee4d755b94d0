package bootstrap_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

const origin = "Origin: https://chatgpt.com"

// exposed is what a browser client must be able to read.
func wantCORS(t *testing.T, a answer) {
	t.Helper()
	if got := a.Header.Get("Access-Control-Allow-Origin"); got != "https://chatgpt.com" {
		t.Errorf("Access-Control-Allow-Origin = %q", got)
	}
	if got := a.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(got, "www-authenticate") || !strings.Contains(got, "x-request-id") {
		t.Errorf("Access-Control-Expose-Headers = %q", got)
	}
	if got := strings.Join(a.Header.Values("Vary"), ", "); !strings.Contains(got, "Origin") {
		t.Errorf("Vary = %q", got)
	}
	if a.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Error("credentials are allowed")
	}
}

// wantError checks the shape that all of Envoy's own errors share.
func wantError(t *testing.T, a answer, status int, code string) {
	t.Helper()
	if a.StatusCode != status || a.field("error") != code || a.field("error_description") == "" {
		t.Errorf("got %d %s, want %d with error %q", a.StatusCode, a.body, status, code)
	}
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type = %q", got)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q", got)
	}
	if a.field("request_id") == "" || a.field("request_id") != a.Header.Get("X-Request-Id") {
		t.Errorf("request_id %q, X-Request-Id %q", a.field("request_id"), a.Header.Get("X-Request-Id"))
	}
	if strings.Contains(a.body, ".sock") || strings.Contains(a.body, "upstream") {
		t.Errorf("the body tells about the inside: %s", a.body)
	}
}

var (
	bearerRoutes = map[string]string{ // path → methods
		"/mcp": "POST GET DELETE", "/sse": "GET", "/sse/": "GET", "/messages": "POST", "/mcp/tools/call": "POST",
	}
	backendDocuments = []string{
		"/", "/health", "/robots.txt", "/mcp/capabilities", "/openapi.json", "/openapi.yaml",
		"/.well-known/ai-plugin.json", "/.well-known/openai-apps-challenge",
	}
	discoveryDocuments = []string{
		"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp",
		"/.well-known/oauth-protected-resource/sse", "/.well-known/oauth-protected-resource/sse/",
		"/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/mcp", "/.well-known/oauth-authorization-server/sse",
		"/.well-known/openid-configuration", "/.well-known/openid-configuration/mcp", "/.well-known/openid-configuration/sse",
	}
)

func TestEdge(t *testing.T) {
	t.Parallel()
	e := startEdge(t, func(o *options) {
		o.settings.MaxBody = "64KiB"
		o.settings.Hosts = "alias.example.com"
	})

	t.Run("bearer routes reach mcpbackend with the verdict and the token", func(t *testing.T) {
		for target, methods := range bearerRoutes {
			for _, method := range strings.Fields(methods) {
				a := e.do(t, call{method: method, target: target + "?q=1", header: []string{good, origin}})
				if a.StatusCode != 200 || a.field("upstream") != "mcpbackend" || a.field("path") != target+"?q=1" {
					t.Fatalf("%s %s: %d %s", method, target, a.StatusCode, a.body)
				}
				if a.seen("authorization") != "Bearer good" || a.seen("x-neonpanel-subject") != "user-1" {
					t.Errorf("%s %s: backend saw %s", method, target, a.body)
				}
				if a.seen("x-neonpanel-seen-path") != target+"?q=1" || a.seen("x-neonpanel-seen-method") != method || a.seen("x-neonpanel-seen-host") != "mcp.example.com" {
					t.Errorf("%s %s: authz saw %s", method, target, a.body)
				}
				wantCORS(t, a)
			}
		}
	})

	t.Run("bearer routes without a good token get authz's own answer", func(t *testing.T) {
		for target, methods := range bearerRoutes {
			for _, method := range strings.Fields(methods) {
				before := e.backend.count()
				a := e.do(t, call{method: method, target: target, header: []string{origin}})
				if a.StatusCode != 401 || a.field("error_description") != "authz's own words" || a.Header.Get("Www-Authenticate") != challenge {
					t.Errorf("%s %s: %d %v %s", method, target, a.StatusCode, a.Header, a.body)
				}
				if a.Header.Get("Content-Type") != "application/json" || a.Header.Get("X-Request-Id") == "" {
					t.Errorf("%s %s: %v", method, target, a.Header)
				}
				wantCORS(t, a)
				if e.backend.count() != before {
					t.Errorf("%s %s: the backend was called", method, target)
				}
			}
		}
		for token, want := range map[string]int{"forbidden": 403, "limited": 429, "unavailable": 503} {
			a := e.do(t, call{method: "POST", target: "/mcp", header: []string{"Authorization: Bearer " + token, origin}})
			if a.StatusCode != want || a.field("error_description") != "authz's own words" {
				t.Errorf("%s: %d %s", token, a.StatusCode, a.body)
			}
			wantCORS(t, a)
			if retry := a.Header.Get("Retry-After"); want != 403 && retry != "7" {
				t.Errorf("%s: Retry-After = %q", token, retry)
			}
		}
	})

	t.Run("public documents come without authz and without credentials", func(t *testing.T) {
		check := func(target, upstream string) {
			a := e.do(t, call{method: "GET", target: target, header: []string{"Authorization: Bearer hang", "Cookie: a=b", origin}})
			if a.StatusCode != 200 || a.field("upstream") != upstream || a.field("path") != target {
				t.Fatalf("%s: %d %s", target, a.StatusCode, a.body)
			}
			if a.seen("authorization") != "" || a.seen("cookie") != "" || strings.Contains(a.body, "x-neonpanel-") {
				t.Errorf("%s: credentials reached the upstream: %s", target, a.body)
			}
			wantCORS(t, a)
			if a := e.do(t, call{method: "HEAD", target: target}); a.StatusCode != 200 || a.body != "" {
				t.Errorf("HEAD %s: %d %q", target, a.StatusCode, a.body)
			}
		}
		for _, target := range backendDocuments {
			check(target, "mcpbackend")
		}
		for _, target := range discoveryDocuments {
			check(target, "discovery")
		}
	})

	t.Run("another method on a known path is 405 with Allow", func(t *testing.T) {
		allow := map[string]string{"/mcp": "POST", "/sse": "GET", "/sse/": "GET", "/messages": "POST", "/mcp/tools/call": "POST"}
		for _, target := range append(backendDocuments, discoveryDocuments...) {
			allow[target] = "GET, HEAD"
		}
		for target, want := range allow {
			for _, method := range []string{"PUT", "PATCH", "OPTIONS", "TRACE"} {
				a := e.do(t, call{method: method, target: target, header: []string{good, origin}})
				wantError(t, a, 405, "method_not_allowed")
				wantCORS(t, a)
				if got := a.Header.Get("Allow"); got != want {
					t.Errorf("%s %s: Allow = %q, want %q", method, target, got, want)
				}
			}
		}
		for _, c := range []call{{method: "GET", target: "/messages"}, {method: "POST", target: "/sse"}, {method: "POST", target: "/health"}, {method: "DELETE", target: "/openapi.json"}} {
			wantError(t, e.do(t, c), 405, "method_not_allowed")
		}
	})

	t.Run("everything else is 404 and names the right address", func(t *testing.T) {
		for _, target := range []string{"/nope", "/MCP", "/mcp;a=b", "/mcp/x", "/health/", "/mcp/tools", "/.well-known", "/.well-known/oauth-protected-resource/", "/.well-known/oauth-protected-resource/health", "/messages/", "/api/v1/companies"} {
			for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
				a := e.do(t, call{method: method, target: target, header: []string{good, origin}})
				wantError(t, a, 404, "not_found")
				wantCORS(t, a)
			}
		}
		for _, c := range []call{{method: "POST", target: "/"}, {method: "GET", target: "/mcp/"}, {method: "POST", target: "/mcp/"}} {
			c.header = []string{good, origin}
			a := e.do(t, c)
			wantError(t, a, 404, "not_found")
			wantCORS(t, a)
			if !strings.Contains(a.field("error_description"), "https://mcp.example.com/mcp") {
				t.Errorf("%s %s: %s", c.method, c.target, a.body)
			}
		}
	})

	t.Run("a preflight needs no token on any path", func(t *testing.T) {
		paths := []string{"/nope", "/mcp/"}
		for target := range bearerRoutes {
			paths = append(paths, target)
		}
		before := e.backend.count()
		for _, target := range append(append(paths, backendDocuments...), discoveryDocuments...) {
			a := e.do(t, call{method: "OPTIONS", target: target, header: []string{
				origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization, content-type, mcp-protocol-version",
			}})
			if a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Origin") != "https://chatgpt.com" {
				t.Errorf("%s: %d %v %s", target, a.StatusCode, a.Header, a.body)
			}
			allowed := a.Header.Get("Access-Control-Allow-Headers")
			for _, name := range []string{"authorization", "content-type", "accept", "mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id", "last-event-id", "x-mcp-toolsets", "x-mcp-readonly", "x-mcp-dynamic"} {
				if !strings.Contains(allowed, name) {
					t.Errorf("%s: Access-Control-Allow-Headers %q lacks %s", target, allowed, name)
				}
			}
			for _, name := range []string{"POST", "GET", "DELETE", "OPTIONS"} {
				if !strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), name) {
					t.Errorf("%s: %s is not allowed", target, name)
				}
			}
			if a.Header.Get("Access-Control-Max-Age") == "" {
				t.Errorf("%s: no Access-Control-Max-Age", target)
			}
		}
		if e.backend.count() != before {
			t.Error("preflights reached the backend")
		}
	})

	t.Run("identity headers of a client reach nobody", func(t *testing.T) {
		forged := []string{
			"x-neonpanel-subject: admin", "X-NeonPanel-Subject: root", "x-neonpanel-scopes: everything", "X-NEONPANEL-AUTH: bearer",
			"x_neonpanel_subject: admin", "X-Neonpanel_Scopes: all", "x-neonpanel-: x",
		}
		for _, c := range []call{{method: "POST", target: "/mcp", header: append([]string{good}, forged...)}, {method: "GET", target: "/health", header: forged}} {
			a := e.do(t, c)
			if a.StatusCode != 200 {
				t.Fatalf("%s: %d %s", c.target, a.StatusCode, a.body)
			}
			for _, forged := range []string{"admin", "root", "everything", "neonpanel_", `"x-neonpanel-":`} {
				if strings.Contains(a.body, forged) {
					t.Errorf("%s: %q got through: %s", c.target, forged, a.body)
				}
			}
			if c.target == "/mcp" && a.seen("x-neonpanel-subject") != "user-1" {
				t.Errorf("authz's header is lost: %s", a.body)
			}
			if strings.Contains(a.seen("x-neonpanel-seen-names"), "neonpanel") {
				t.Errorf("authz saw %s", a.seen("x-neonpanel-seen-names"))
			}
		}
	})

	t.Run("authz sees what it needs and no more", func(t *testing.T) {
		a := e.do(t, call{method: "POST", target: "/mcp", header: []string{
			good, origin, "Cookie: secret=1", "X-API-Key: k", "X-Forwarded-For: 203.0.113.9", "X-Envoy-External-Address: 203.0.113.9", "Content-Type: application/json", "X-Request-Id: forged",
		}})
		names := a.seen("x-neonpanel-seen-names")
		for _, name := range []string{"authorization", "origin", "content-type", "x-envoy-external-address", "x-forwarded-for", "x-request-id"} {
			if !strings.Contains(","+names+",", ","+name+",") {
				t.Errorf("authz does not see %s: %s", name, names)
			}
		}
		if strings.Contains(names, "cookie") || strings.Contains(names, "x-api-key") {
			t.Errorf("authz sees too much: %s", names)
		}
		if got := a.seen("x-neonpanel-seen-client"); got != "127.0.0.1" {
			t.Errorf("x-envoy-external-address = %q, want the peer's address", got)
		}
		if got := a.seen("x-request-id"); got == "" || got == "forged" || got != a.Header.Get("X-Request-Id") || got != a.seen("x-neonpanel-seen-request") {
			t.Errorf("x-request-id: backend %q, authz %q, client %q", got, a.seen("x-neonpanel-seen-request"), a.Header.Get("X-Request-Id"))
		}
		if a.seen("cookie") != "" {
			t.Error("a cookie reached the backend")
		}
	})

	t.Run("two tokens arrive as one with a comma", func(t *testing.T) {
		a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good, good}})
		if got := a.seen("x-neonpanel-seen-token"); got != "good,Bearer good" {
			t.Errorf("authz saw %q", got)
		}
	})

	t.Run("Last-Event-ID is dropped on /mcp and kept on /sse", func(t *testing.T) {
		if a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good, "Last-Event-ID: 7"}}); a.seen("last-event-id") != "" {
			t.Error("kept on /mcp")
		}
		if a := e.do(t, call{method: "GET", target: "/sse", header: []string{good, "Last-Event-ID: 7"}}); a.seen("last-event-id") != "7" {
			t.Error("dropped on /sse")
		}
	})

	t.Run("a path means the same to everyone", func(t *testing.T) {
		for _, target := range []string{"/x/../mcp", "/%6dcp", "//mcp", "/./mcp", "/health/../mcp", "/health/..;/mcp", "/mcp?x=/health", "/mcp#/health", "http://mcp.example.com/mcp"} {
			if a := e.do(t, call{method: "POST", target: target, header: []string{origin}}); a.StatusCode != 401 && a.StatusCode != 400 {
				t.Errorf("%s without a token: %d %s", target, a.StatusCode, a.body)
			}
			a := e.do(t, call{method: "POST", target: target, header: []string{good}})
			if a.StatusCode == 400 && strings.Contains(target, "#") {
				continue
			}
			if path, _, _ := strings.Cut(a.field("path"), "?"); path != "/mcp" {
				t.Errorf("%s: the backend saw %q", target, path)
			}
			if path, _, _ := strings.Cut(a.seen("x-neonpanel-seen-path"), "?"); path != "/mcp" {
				t.Errorf("%s: authz saw %q", target, path)
			}
		}
		for target, want := range map[string]int{
			"/mcp%2f": 400, "/health%2f..%2fmcp": 400, "/health%5cx": 400, "/health%00": 400, "/%2e%2e/mcp": 401, "/mcp/.": 404, "/health/..": 404 /* as POST / */, "/mcp%3fx": 404,
		} {
			a := e.do(t, call{method: "POST", target: target, header: []string{origin}})
			if a.StatusCode != want {
				t.Errorf("%s: %d %s, want %d", target, a.StatusCode, a.body, want)
			}
			if a.field("error") == "" {
				t.Errorf("%s: no JSON error: %q", target, a.body)
			}
			if got := a.Header.Get("Access-Control-Allow-Origin"); got != "https://chatgpt.com" && got != "*" {
				t.Errorf("%s: Access-Control-Allow-Origin = %q", target, got)
			}
		}
	})

	t.Run("another Host is 421 except for health", func(t *testing.T) {
		for _, host := range []string{"evil.example", "evil.example:443", "127.0.0.1", "localhost:8080", "mcp.example.com.evil.example", "xmcp.example.com"} {
			for _, c := range []call{{method: "POST", target: "/mcp"}, {method: "GET", target: "/.well-known/oauth-protected-resource"}, {method: "GET", target: "/"}} {
				c.header = []string{good, origin, "Host: " + host}
				a := e.do(t, c)
				wantError(t, a, 421, "misdirected_request")
				wantCORS(t, a)
			}
			if a := e.do(t, call{method: "GET", target: "/health", header: []string{"Host: " + host}}); a.StatusCode != 200 {
				t.Errorf("/health for %s: %d", host, a.StatusCode)
			}
			wantError(t, e.do(t, call{method: "POST", target: "/health", header: []string{"Host: " + host}}), 405, "method_not_allowed")
		}
		for _, host := range []string{"mcp.example.com", "mcp.example.com:443", "MCP.Example.COM", "alias.example.com:8080", "mcp.example.com."} {
			if a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good, "Host: " + host}}); a.StatusCode != 200 {
				t.Errorf("%s: %d %s", host, a.StatusCode, a.body)
			}
		}
	})

	t.Run("a large body is 413", func(t *testing.T) {
		large := strings.Repeat("x", 64<<10+1)
		before := e.backend.count()
		a := e.do(t, call{method: "POST", target: "/mcp", header: []string{origin}, body: large})
		wantError(t, a, 413, "payload_too_large")
		wantCORS(t, a)
		if e.backend.count() != before {
			t.Error("the backend was called")
		}
		chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(large), large)
		request := "POST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\n" + good + "\r\n" + origin + "\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked
		a = e.raw(t, request)
		wantError(t, a, 413, "payload_too_large")
		wantCORS(t, a)
		if a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good}, body: large[1:]}); a.StatusCode != 200 || a.json["body_bytes"] != float64(64<<10) {
			t.Errorf("a body of the limit: %d %s", a.StatusCode, a.body)
		}
	})

	t.Run("headers too many or too large are refused", func(t *testing.T) {
		many := make([]string, 120)
		for i := range many {
			many[i] = fmt.Sprintf("X-Test-%d: x", i)
		}
		for name, headers := range map[string][]string{"many": many, "large": {"X-Large: " + strings.Repeat("x", 40<<10)}} {
			if a := e.do(t, call{method: "GET", target: "/health", header: headers}); a.StatusCode != 431 {
				t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
			}
		}
	})

	t.Run("a token that is no header is refused by the parser, without a challenge", func(t *testing.T) {
		for token, want := range map[string]struct {
			status int
			code   string
		}{
			"a\x01b": {400, "invalid_request"}, "a\x7fb": {400, "invalid_request"}, strings.Repeat("x", 40<<10): {431, "headers_too_large"},
		} {
			a := e.do(t, call{method: "POST", target: "/mcp", header: []string{"Authorization: Bearer " + token, origin}})
			if a.StatusCode != want.status || a.field("error") != want.code || a.Header.Get("Www-Authenticate") != "" {
				t.Errorf("%.9q: %d %v %s", token, a.StatusCode, a.Header, a.body)
			}
		}
	})

	t.Run("authz that fails is 503, and no upstream is called", func(t *testing.T) {
		before := e.backend.count()
		for _, token := range []string{"broken", "hang"} {
			start := time.Now()
			a := e.do(t, call{method: "POST", target: "/mcp", header: []string{"Authorization: Bearer " + token, origin}})
			wantError(t, a, 503, "temporarily_unavailable")
			wantCORS(t, a)
			if a.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			if took := time.Since(start); token == "hang" && (took < 1900*time.Millisecond || took > 30*time.Second) {
				t.Errorf("a hung authz held the request for %v", took)
			}
		}
		for _, token := range []string{"greedy", "invalid"} {
			a := e.do(t, call{method: "POST", target: "/mcp", header: []string{"Authorization: Bearer " + token, origin}})
			if a.StatusCode != 500 {
				t.Errorf("%s: %d %s", token, a.StatusCode, a.body)
			}
			wantError(t, a, a.StatusCode, "server_error")
			wantCORS(t, a)
		}
		if e.backend.count() != before {
			t.Error("the backend was called")
		}
	})

	t.Run("upstream failures are JSON, upstream answers are untouched", func(t *testing.T) {
		a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good, origin, "X-Test: abort"}})
		wantError(t, a, 503, "temporarily_unavailable")
		wantCORS(t, a)
		a = e.do(t, call{method: "POST", target: "/mcp", header: []string{good, origin, "X-Test: 404"}})
		if a.StatusCode != 404 || a.body != `{"error":"unknown_session"}` {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
		a = e.do(t, call{method: "POST", target: "/mcp", header: []string{good, origin, "X-Test: 503"}})
		if a.StatusCode != 503 || a.body != "the upstream's own words" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})

	t.Run("what is refused before it has a route is told as well, and is in the log", func(t *testing.T) {
		long, many := strings.Repeat("x", 40<<10), strings.Repeat("X-Many: x\r\n", 120)
		for name, c := range map[string]struct {
			raw    string
			status int
			code   string
		}{
			"an escaped slash":       {http1("POST", "/mcp%2f", origin+"\r\n", ""), 400, "invalid_request"},
			"a fragment":             {http1("POST", "/mcp#x", origin+"\r\n", ""), 400, "invalid_request"},
			"another scheme":         {http1("POST", "https://mcp.example.com/mcp", origin+"\r\n", ""), 403, "invalid_request"},
			"a scheme that is none":  {http1("POST", "ftp://mcp.example.com/mcp", origin+"\r\n", ""), 400, "invalid_request"},
			"no host":                {"POST /mcp HTTP/1.1\r\n" + origin + "\r\n\r\n", 400, "invalid_request"},
			"HTTP/1.0":               {"GET /mcp HTTP/1.0\r\n" + origin + "\r\n\r\n", 426, "invalid_request"},
			"a method that is none":  {http1("FOO", "/mcp", origin+"\r\n", ""), 400, "invalid_request"},
			"CONNECT":                {http1("CONNECT", "/mcp", origin+"\r\n", ""), 400, "invalid_request"},
			"a control byte":         {http1("POST", "/mcp", origin+"\r\nX: \x01\r\n", ""), 400, "invalid_request"},
			"a length and chunks":    {http1("POST", "/mcp", origin+"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", ""), 400, "invalid_request"},
			"a coding that is none":  {http1("POST", "/mcp", origin+"\r\nTransfer-Encoding: gzip\r\n", ""), 501, "server_error"},
			"many headers":           {http1("POST", "/mcp", origin+"\r\n"+many, ""), 431, "headers_too_large"},
			"a header that is large": {http1("POST", "/mcp", origin+"\r\nX: "+long+"\r\n", ""), 431, "headers_too_large"},
		} {
			a := e.raw(t, c.raw)
			wantError(t, a, c.status, c.code)
			if got := a.Header.Get("Access-Control-Allow-Origin"); got != "*" {
				t.Errorf("%s: Access-Control-Allow-Origin = %q", name, got)
			}
			if line := e.logLine(t, a.field("request_id")); line["code"] != float64(c.status) {
				t.Errorf("%s: the log says %v", name, line)
			}
		}
	})

	t.Run("an expectation of a client is not passed on", func(t *testing.T) {
		if a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good, "Expect: 200-ok"}}); a.StatusCode != 200 || a.seen("expect") != "" {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})

	t.Run("a websocket is refused", func(t *testing.T) {
		a := e.do(t, call{method: "GET", target: "/mcp", header: []string{good, origin, "Connection: Upgrade", "Upgrade: websocket"}})
		wantError(t, a, 403, "invalid_request")
		if got := a.Header.Get("Access-Control-Allow-Origin"); got != "*" {
			t.Errorf("Access-Control-Allow-Origin = %q", got)
		}
	})

	t.Run("events pass as they come", func(t *testing.T) {
		a := e.do(t, call{method: "GET", target: "/sse", header: []string{good, "X-Test: stream"}})
		if a.StatusCode != 200 || a.body != "data: 0\n\ndata: 1\n\ndata: 2\n\n" || a.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%d %q", a.StatusCode, a.body)
		}
	})

	t.Run("responses tell the gateway's name, not Envoy's", func(t *testing.T) {
		a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good}})
		if a.Header.Get("Server") != "neonpanel-mcp" {
			t.Errorf("Server = %q", a.Header.Get("Server"))
		}
		for name := range a.Header {
			if strings.HasPrefix(name, "X-Envoy") {
				t.Errorf("%s is sent", name)
			}
		}
	})

	t.Run("the log says who and why, and holds no secret", func(t *testing.T) {
		ok := e.do(t, call{method: "POST", target: "/mcp?access_token=topsecret", header: []string{good, "User-Agent: test-client", "MCP-Protocol-Version: 2026-07-28", "Mcp-Method: forged", "Mcp-Name: forged"}})
		denied := e.do(t, call{method: "POST", target: "/mcp?token=topsecret", header: []string{"Authorization: Bearer topsecret"}})
		lost := e.do(t, call{method: "POST", target: "/mcp", header: []string{"Authorization: Bearer broken"}})
		for id, want := range map[string]map[string]any{
			ok.Header.Get("X-Request-Id"): {
				"method": "POST", "path": "/mcp", "code": 200.0, "decision": "allow", "auth": "bearer", "subject": "user-1",
				"client_id": "client-1", "route": "mcp", "client": "127.0.0.1", "user_agent": "test-client", "mcp_version": "2026-07-28", "details": "via_upstream", "host": "mcp.example.com",
				"mcp_method": "tools/call", "mcp_tool": "list_companies",
			},
			denied.Header.Get("X-Request-Id"): {"code": 401.0, "decision": "deny", "reason": "test_reason", "details": "ext_authz_denied", "flags": "UAEX", "path": "/mcp"},
			lost.Header.Get("X-Request-Id"):   {"code": 503.0, "details": "ext_authz_error", "flags": "UAEX"},
		} {
			line := e.logLine(t, id)
			for key, value := range want {
				if line[key] != value {
					t.Errorf("%s = %v, want %v in %v", key, line[key], value, line)
				}
			}
			for _, key := range []string{"ts", "duration_ms", "authz_us"} {
				if line[key] == nil {
					t.Errorf("%s is missing in %v", key, line)
				}
			}
		}
		text, err := os.ReadFile(e.dir + "/access.log")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "topsecret") || strings.Contains(string(text), "forged") || strings.Contains(string(text), "Bearer") {
			t.Error("the log holds a secret")
		}
	})

	t.Run("HTTP/2 gets the same answers", func(t *testing.T) {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: time.Minute}
		for target, want := range map[string]int{"/mcp": 401, "/nope": 404, "/health": 200} {
			request, _ := http.NewRequest("GET", "http://"+e.addr+target, nil)
			request.Host = "mcp.example.com"
			request.Header.Set("Origin", "https://chatgpt.com")
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			a := readAnswer(t, response)
			if a.StatusCode != want || a.ProtoMajor != 2 {
				t.Errorf("%s: %s %d", target, a.Proto, a.StatusCode)
			}
			wantCORS(t, a)
		}
		client.CloseIdleConnections()
	})

	t.Run("the admin interface is limited", func(t *testing.T) {
		for _, target := range []string{"/config_dump", "/quitquitquit", "/logging", "/runtime_modify", "/certs", "/"} {
			if body, err := e.admin(target); err != nil || !strings.Contains(body, "not allowed") && !strings.Contains(body, "orbidden") {
				t.Errorf("%s: %q %v", target, body, err)
			}
		}
		if body, err := e.admin("/stats?filter=http.edge.downstream_rq_total"); err != nil || !strings.Contains(body, "http.edge.downstream_rq_total") {
			t.Errorf("/stats: %q %v", body, err)
		}
	})
}

// logLine waits for the access log's line of a request; Envoy writes it after the response.
func (e *edge) logLine(t *testing.T, id string) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(e.dir + "/access.log")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, id) && strings.HasSuffix(line, "\n") {
				var fields map[string]any
				if err := json.Unmarshal([]byte(line), &fields); err != nil {
					t.Fatalf("%v in %s", err, line)
				}
				return fields
			}
		}
	}
	t.Fatalf("no line for request %s", id)
	return nil
}
