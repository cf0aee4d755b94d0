package documents

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
)

type fake []catalogue.Tool

func (f fake) Tools() []catalogue.Tool { return f }
func (fake) DocumentJSON() []byte      { return []byte(`{"openapi":"3.1.0"}`) }
func (fake) DocumentYAML() []byte      { return []byte("openapi: 3.1.0\n") }

func handlers(t *testing.T, challenge string) map[string]http.Handler {
	t.Helper()
	schema := json.RawMessage(`{"type":"object"}`)
	h, err := New(Options{
		PublicURL: "https://mcp.example.com", Build: Build{"v1", "abc"}, AppsChallenge: challenge,
		Now: func() time.Time { return time.Unix(0, 0) },
		Catalogue: fake{
			{Name: "b_tool", Title: "B & <C>", Description: "First. Second.", Toolset: "two", InputSchema: schema, ReadOnly: true},
			{Name: "a_tool", Title: "A", Description: "Writes", Toolset: "one", InputSchema: schema},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	// A foreign Host must not find its way into a document.
	r := httptest.NewRequest(method, "http://evil.example"+path, nil)
	r.Header.Set("X-Forwarded-Host", "evil.example")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	for path, h := range handlers(t, "token-123") {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			w := get(h, "GET", path)
			body := w.Body.String()
			if w.Code != 200 || body == "" {
				t.Fatalf("status %d with %q", w.Code, body)
			}
			media := w.Header().Get("Content-Type")
			if media == "application/json" && !json.Valid(w.Body.Bytes()) {
				t.Errorf("no JSON: %s", body)
			}
			if strings.Contains(body, "evil") {
				t.Errorf("the request's Host is in %s", body)
			}
			if w.Header().Get("X-Robots-Tag") != "noindex, nofollow" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers %v", w.Header())
			}
			if got := get(h, "HEAD", path); got.Code != 200 || got.Body.Len() != 0 || got.Header().Get("Content-Type") != media ||
				got.Header().Get("Content-Length") != w.Header().Get("Content-Length") {
				t.Errorf("HEAD: status %d, %d bytes, %v", got.Code, got.Body.Len(), got.Header())
			}
			if got := get(h, "POST", path); got.Code != 405 || got.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("POST: status %d, Allow %q", got.Code, got.Header().Get("Allow"))
			}
			if path == "/health" {
				if w.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("Cache-Control %q", w.Header().Get("Cache-Control"))
				}
				return
			}
			etag := w.Header().Get("ETag")
			for _, match := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
				if got := get(h, "GET", path, "If-None-Match", match); got.Code != 304 || got.Body.Len() != 0 {
					t.Errorf("If-None-Match %s: status %d", match, got.Code)
				}
			}
			if got := get(h, "GET", path, "If-None-Match", `"x"`); got.Code != 200 {
				t.Errorf("another ETag: status %d", got.Code)
			}
		})
	}
}

func TestContents(t *testing.T) {
	t.Parallel()
	h := handlers(t, "token-123")
	for path, wants := range map[string][]string{
		"/health":                            {`"status":"ok"`, `"service":"neonpanel-mcp"`, `"version":"v1"`, `"commit":"abc"`},
		"/mcp/capabilities":                  {`"total":2`, `"name":"b_tool"`, `"inputSchema":{"type":"object"}`, `"endpoint":"https://mcp.example.com/mcp"`, `2026-07-28`},
		"/openapi.json":                      {`"openapi"`},
		"/openapi.yaml":                      {"openapi:"},
		"/.well-known/ai-plugin.json":        {`"schema_version":"v1"`, `"url":"https://mcp.example.com/openapi.json"`, "https://mcp.example.com/.well-known/oauth-authorization-server"},
		"/.well-known/openai-apps-challenge": {"token-123"},
		"/":                                  {`"mcp":"https://mcp.example.com/mcp"`, `"status":"ok"`},
		"/robots.txt":                        {"User-agent: *\nDisallow: /\n"},
	} {
		body := get(h[path], "GET", path).Body.String()
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %s: %s", path, want, body)
			}
		}
	}
	if w := get(h["/.well-known/openai-apps-challenge"], "GET", "/x"); w.Body.String() != "token-123" {
		t.Errorf("the challenge is %q, want the bare token", w.Body)
	}
	if w := get(handlers(t, "")["/.well-known/openai-apps-challenge"], "GET", "/x"); w.Code != 404 {
		t.Errorf("no challenge: status %d, want 404", w.Code)
	}
}

func TestBrowsersGetThePage(t *testing.T) {
	t.Parallel()
	h := handlers(t, "")["/"]
	for accept, html := range map[string]bool{
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": true,
		"text/html": true, "*/*": false, "": false, "application/json": false,
		"application/json, text/html;q=0.5": false, "text/html;q=0": false, "text/html, application/json;q=0.5": true,
	} {
		w := get(h, "GET", "/", "Accept", accept)
		if got := strings.HasPrefix(w.Header().Get("Content-Type"), "text/html"); got != html {
			t.Errorf("Accept %q: HTML %v, want %v", accept, got, html)
		}
		if w.Header().Get("Vary") != "Accept" {
			t.Error("no Vary")
		}
	}
}

func TestThePageUsesItsOwnAssetsOnly(t *testing.T) {
	t.Parallel()
	w := get(handlers(t, "")["/"], "GET", "/", "Accept", "text/html")
	page := w.Body.String()
	policy := w.Header().Get("Content-Security-Policy")
	for _, element := range []string{"style", "script"} {
		found := regexp.MustCompile(`(?s)<` + element + `>(.*?)</` + element + `>`).FindStringSubmatch(page)
		if found == nil || !strings.Contains(policy, hashSource(found[1])) {
			t.Errorf("the policy %q does not allow the page's own %s", policy, element)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	if found := regexp.MustCompile(`(?i)(src|href|action)="(https?:)?//|url\(| on[a-z]+=| style=`).FindString(page); found != "" {
		t.Errorf("the page has %q", found)
	}
	for _, want := range []string{
		"https://mcp.example.com/mcp", "https://mcp.example.com/sse", "B &amp; &lt;C&gt;", "First.", "changes data<", "1 of the tools change data", `<html lang="en">`, "<h1>", "2 tools", "v1",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Index(page, "One (1)") > strings.Index(page, "Two (1)") {
		t.Error("the toolsets are not in order")
	}
}
