package discovery_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/authz/internal/discovery"
)

const (
	public = "https://mcp.example.com"
	issuer = "https://my.example.com"
	oauth  = `{ "issuer": "https://my.example.com", "x":  1 }`
	openID = `{"issuer":"https://my.example.com","subject_types_supported":["public"]}`
)

// metadata is an issuer whose documents are, or are not yet, loaded.
type metadata struct {
	loaded bool
	scopes []string
}

func (m *metadata) Raw() ([]byte, bool)       { return []byte(oauth), m.loaded }
func (m *metadata) RawOpenID() ([]byte, bool) { return []byte(openID), m.loaded }
func (m *metadata) ScopesSupported() []string { return m.scopes }

func handler(m *metadata, configured ...string) http.Handler {
	return discovery.New(discovery.Options{PublicURL: public, IssuerURL: issuer, Issuer: m, Scopes: configured})
}

func get(h http.Handler, path string) *http.Response { return do(h, http.MethodGet, path, nil) }

func do(h http.Handler, method, path string, header http.Header) *http.Response {
	// The request claims another host everywhere it can.
	r := httptest.NewRequest(method, "http://evil.example"+path, nil)
	r.Header.Set("X-Forwarded-Host", "evil.example")
	r.Header.Set("X-Forwarded-Proto", "ftp")
	r.Header.Set("Forwarded", "host=evil.example;proto=ftp")
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestProtectedResourceDocuments holds RFC 9728 §2 and §3 field by field.
func TestProtectedResourceDocuments(t *testing.T) {
	t.Parallel()
	h := handler(&metadata{scopes: []string{"read:companies", "offline_access", "write:import"}})
	for path, resource := range map[string]string{
		"/.well-known/oauth-protected-resource":      public,
		"/.well-known/oauth-protected-resource/mcp":  public + "/mcp",
		"/.well-known/oauth-protected-resource/sse":  public + "/sse",
		"/.well-known/oauth-protected-resource/sse/": public + "/sse/",
	} {
		response := get(h, path)
		text := body(t, response)
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", path, response.StatusCode, response.Header.Get("Content-Type"))
		}
		if strings.Contains(text, "evil") {
			t.Errorf("%s believes the request about its host: %s", path, text)
		}
		var document map[string]any
		if err := json.Unmarshal([]byte(text), &document); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		// §2: resource is REQUIRED; §3.3: identical to what the client asked with.
		if document["resource"] != resource {
			t.Errorf("%s: resource %v, want %s", path, document["resource"], resource)
		}
		// §3.1: the well-known name goes between host and path of the resource.
		u, err := url.Parse(resource)
		if err != nil {
			t.Fatal(err)
		}
		if want := "/.well-known/oauth-protected-resource" + u.Path; path != want {
			t.Errorf("%s is not where a client looks for %s", path, resource)
		}
		for field, want := range map[string][]any{
			"authorization_servers":    {issuer},
			"bearer_methods_supported": {"header"},
			"scopes_supported":         {"read:companies", "write:import"},
		} {
			got, _ := document[field].([]any)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s is %v, want %v", path, field, document[field], want)
			}
			delete(document, field)
		}
		if document["resource_name"] == "" || document["resource_documentation"] != public+"/" {
			t.Errorf("%s: %v", path, document)
		}
		delete(document, "resource")
		delete(document, "resource_name")
		delete(document, "resource_documentation")
		if len(document) != 0 {
			t.Errorf("%s: unexpected fields %v", path, document)
		}
	}
}

func TestProtectedResourceBeforeTheIssuerIsKnown(t *testing.T) {
	t.Parallel()
	m := &metadata{}
	h := handler(m)
	const path = "/.well-known/oauth-protected-resource/mcp"
	// Zero elements are left out (RFC 9728 §2: "Parameters with zero values MUST be omitted").
	before := get(h, path)
	if text := body(t, before); before.StatusCode != http.StatusOK || strings.Contains(text, "scopes_supported") {
		t.Errorf("%d %s", before.StatusCode, text)
	}
	if cache := before.Header.Get("Cache-Control"); cache != "no-store" {
		t.Errorf("a document without its scopes may be cached: %s", cache)
	}
	m.scopes = []string{"read:companies"}
	after := get(h, path)
	if text := body(t, after); !strings.Contains(text, `"scopes_supported":["read:companies"]`) {
		t.Errorf("the scopes that the issuer now supports are missing: %s", text)
	}
	if before.Header.Get("ETag") == after.Header.Get("ETag") {
		t.Error("another document has the same ETag")
	}
}

func TestConfiguredScopesWin(t *testing.T) {
	t.Parallel()
	text := body(t, get(handler(&metadata{scopes: []string{"openid"}}, "neonpanel.mcp"), "/.well-known/oauth-protected-resource"))
	if !strings.Contains(text, `"scopes_supported":["neonpanel.mcp"]`) {
		t.Error(text)
	}
}

func TestIssuerMetadataIsMirroredByteForByte(t *testing.T) {
	t.Parallel()
	m := &metadata{}
	h := handler(m)
	documents := map[string]string{}
	for _, suffix := range []string{"", "/mcp", "/sse"} {
		documents["/.well-known/oauth-authorization-server"+suffix] = oauth
		documents["/.well-known/openid-configuration"+suffix] = openID
	}
	for path := range documents {
		early := get(h, path)
		if early.StatusCode != http.StatusServiceUnavailable || early.Header.Get("Retry-After") == "" ||
			early.Header.Get("Cache-Control") != "no-store" || !json.Valid([]byte(body(t, early))) {
			t.Errorf("%s before it is loaded: %d %v", path, early.StatusCode, early.Header)
		}
	}
	m.loaded = true
	for path, want := range documents {
		response := get(h, path)
		if got := body(t, response); response.StatusCode != http.StatusOK || got != want {
			t.Errorf("%s: %d %s, want %s", path, response.StatusCode, got, want)
		}
		if response.Header.Get("Content-Type") != "application/json" || response.Header.Get("Cache-Control") != "public, max-age=300" {
			t.Errorf("%s: %v", path, response.Header)
		}
	}
}

func TestHeadAndRevalidation(t *testing.T) {
	t.Parallel()
	h := handler(&metadata{loaded: true, scopes: []string{"a"}})
	for _, path := range []string{"/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration/sse"} {
		whole := get(h, path)
		text := body(t, whole)
		head := do(h, http.MethodHead, path, nil)
		if head.StatusCode != http.StatusOK || body(t, head) != "" || head.ContentLength != int64(len(text)) {
			t.Errorf("HEAD %s: %d, %d bytes announced, want %d", path, head.StatusCode, head.ContentLength, len(text))
		}
		again := do(h, http.MethodGet, path, http.Header{"If-None-Match": {whole.Header.Get("ETag")}})
		if again.StatusCode != http.StatusNotModified || body(t, again) != "" {
			t.Errorf("%s with its own ETag: %d, want 304", path, again.StatusCode)
		}
		other := do(h, http.MethodGet, path, http.Header{"If-None-Match": {`"another"`}})
		if other.StatusCode != http.StatusOK {
			t.Errorf("%s with another ETag: %d, want 200", path, other.StatusCode)
		}
	}
}

func TestOtherMethodsAndPaths(t *testing.T) {
	t.Parallel()
	h := handler(&metadata{loaded: true})
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		response := do(h, method, "/.well-known/oauth-protected-resource/mcp", nil)
		if response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != "GET, HEAD" || !json.Valid([]byte(body(t, response))) {
			t.Errorf("%s: %d, Allow %q", method, response.StatusCode, response.Header.Get("Allow"))
		}
	}
	for _, path := range []string{
		"/", "/mcp", "/.well-known/", "/.well-known/oauth-protected-resource/", "/.well-known/oauth-protected-resource/mcp/",
		"/.well-known/oauth-protected-resource/sse/x", "/.well-known/oauth-protected-resource/messages",
		"/.well-known/oauth-authorization-server/sse/", "/.well-known/openid-configuration/x", "/metrics",
	} {
		response := get(h, path)
		if response.StatusCode != http.StatusNotFound || response.Header.Get("Content-Type") != "application/json" || !json.Valid([]byte(body(t, response))) {
			t.Errorf("%s: %d %s", path, response.StatusCode, response.Header.Get("Content-Type"))
		}
	}
}
