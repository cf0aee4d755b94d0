package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// published is an origin that serves an OpenAPI document, or anything else in
// its place.
type published struct {
	mu       sync.Mutex
	status   int
	document string
	fetches  int
	seen     []http.Header
}

func (p *published) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetches++
	p.seen = append(p.seen, r.Header.Clone())
	etag := fmt.Sprintf(`"%x"`, len(p.document))
	w.Header().Set("ETag", etag)
	if p.status == http.StatusOK && r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(p.status)
	_, _ = w.Write([]byte(p.document)) // the gateway may be gone
}

func (p *published) put(status int, document string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.document = status, document
}

func (p *published) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches
}

// The tools follow what NeonPanel serves, and nothing that it serves can do more
// than take tools away.
func TestToolsFollowTheLiveDocument(t *testing.T) {
	t.Parallel()
	ours, err := os.ReadFile(filepath.Join(root(t), "mcpbackend", "internal", "openapi", "neonpanel.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	document := string(ours)
	const terms = "\n  /api/v1/companies/{companyUuid}/payment-terms:\n"
	if !strings.Contains(document, terms) {
		t.Fatal("the document has no payment terms")
	}
	origin := &published{status: http.StatusOK, document: document}
	server := httptest.NewServer(origin)
	defer server.Close()
	g := ownGateway(t, stack.Options{Env: map[string][]string{
		stack.Backend: {"MCPBACKEND_OPENAPI_URL=" + server.URL + "/api/v1/openapi", "MCPBACKEND_OPENAPI_REFRESH=1s"},
	}})
	token := g.token(t, sellerOne)
	before := names(g.tools(t, legacy, token))
	const gone = "payment_terms_list"
	if !slices.Contains(before, gone) {
		t.Fatalf("no %s", gone)
	}
	open := g.stream(t, "/sse", token) // a session from before
	g.initialize(t, open, token)
	company := g.companies(t, token)[0].UUID
	usable := func(want bool) {
		t.Helper()
		if got := slices.Contains(names(g.tools(t, legacy, token)), gone); got != want {
			t.Errorf("listed: %v", got)
		}
		for _, path := range []string{"/mcp/capabilities", "/openapi.json", "/openapi.yaml"} {
			// The documents are written anew a moment after the tools.
			eventually(t, 60*time.Second, func() string {
				shown := g.send(t, http.MethodGet, path, "").Body
				if got := strings.Contains(shown, gone) || strings.Contains(shown, "paymentTerms.list\"") || strings.Contains(shown, "/payment-terms"); got != want {
					return fmt.Sprintf("%s shows it: %v", path, got)
				}
				return ""
			})
		}
		if got := g.plainCall(t, token, gone, map[string]any{"companyUuid": company}).Status == http.StatusOK; got != want {
			t.Errorf("called: %v", got)
		}
	}
	health := func(check func(source string, failing bool) bool) {
		t.Helper()
		eventually(t, 60*time.Second, func() string {
			var h struct {
				OpenAPI struct {
					Source  string
					Failing bool
				}
			}
			body := g.send(t, http.MethodGet, "/health", "").Body
			if json.Unmarshal([]byte(body), &h) != nil || !check(h.OpenAPI.Source, h.OpenAPI.Failing) {
				return body
			}
			return ""
		})
	}
	health(func(source string, failing bool) bool { return source == "live" && !failing })
	usable(true)

	// An operation is taken back, and a document that does it tries more.
	hostile := strings.NewReplacer(
		terms, "\n  /api/v1/companies/{companyUuid}/evil:\n",
		"url: https://my.neonpanel.com", "url: https://evil.example",
		"summary: Companies of the user", "summary: evil",
	).Replace(document)
	origin.put(http.StatusOK, hostile)
	eventually(t, 60*time.Second, func() string {
		if slices.Contains(names(g.tools(t, legacy, token)), gone) {
			return "still listed"
		}
		return ""
	})
	usable(false)
	if r := g.streamCall(t, open, token, "list_companies", nil); r.IsError {
		t.Errorf("a session from before: %s", r.text())
	}
	for _, path := range []string{"/mcp/capabilities", "/openapi.json", "/openapi.yaml", "/"} {
		if strings.Contains(g.send(t, http.MethodGet, path, "").Body, "evil") {
			t.Errorf("%s shows a word of theirs", path)
		}
	}

	// What is no document changes nothing (incidents 28 and 39).
	for name, bad := range map[string]struct {
		status   int
		document string
	}{
		"a web page": {http.StatusOK, "<!DOCTYPE html><title>Just a moment…</title>"},
		"an error":   {http.StatusInternalServerError, document},
		"half of it": {http.StatusOK, document[:strings.Index(document, "\ncomponents:")]},
	} {
		origin.put(bad.status, bad.document)
		fetched := origin.count()
		eventually(t, 60*time.Second, func() string {
			if origin.count() < fetched+1 {
				return name + " was not fetched"
			}
			return ""
		})
		health(func(source string, failing bool) bool { return source == "live" && failing })
		usable(false)
		origin.put(http.StatusOK, hostile)
		health(func(source string, failing bool) bool { return !failing })
	}

	origin.put(http.StatusOK, document)
	eventually(t, 60*time.Second, func() string {
		if after := names(g.tools(t, legacy, token)); !slices.Equal(after, before) {
			return fmt.Sprint("the tools are ", after)
		}
		return ""
	})
	usable(true)
	origin.mu.Lock()
	defer origin.mu.Unlock()
	for _, header := range origin.seen {
		if header.Get("Authorization") != "" || header.Get("Cookie") != "" {
			t.Errorf("a fetch carried %v", header)
		}
	}
}
