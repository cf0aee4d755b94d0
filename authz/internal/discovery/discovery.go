// Package discovery serves the documents by which a client that knows only the
// gateway's URL finds the authorization server: the protected-resource metadata
// (RFC 9728), and copies of the issuer's own metadata (RFC 8414, OpenID Connect
// Discovery) for clients that look for it here.
package discovery

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/resource"
	"github.com/neonpanel/mcp-gateway/authz/internal/scopes"
)

// Issuer is what is known by now of the issuer's metadata.
type Issuer interface {
	// Raw is its RFC 8414 document, RawOpenID its OpenID Connect one; false
	// until it is loaded.
	Raw() ([]byte, bool)
	RawOpenID() ([]byte, bool)
	ScopesSupported() []string
}

// Options say what the documents hold.
type Options struct {
	PublicURL string
	// IssuerURL is the issuer identifier, unchanged.
	IssuerURL string
	Issuer    Issuer
	// Scopes, when not nil, are in force instead of the issuer's.
	Scopes []string
}

const (
	// name is for people, on consent pages and in connector lists (RFC 9728 §2).
	name = "NeonPanel MCP"
	// cacheable lets a change of scopes or endpoints reach clients within minutes.
	cacheable  = "public, max-age=300"
	uncached   = "no-store"
	retryAfter = "5"
)

// protectedResource is the metadata of RFC 9728 §2. resource_documentation names
// the gateway's own page for people.
type protectedResource struct {
	Resource               string   `json:"resource"`
	AuthorizationServers   []string `json:"authorization_servers"`
	ScopesSupported        []string `json:"scopes_supported,omitempty"`
	BearerMethodsSupported []string `json:"bearer_methods_supported"`
	ResourceName           string   `json:"resource_name"`
	ResourceDocumentation  string   `json:"resource_documentation"`
}

// document is a body with its strong validator (RFC 9110 §8.8.3).
type document struct {
	body         []byte
	etag         string
	cacheControl string
}

func newDocument(body []byte) document {
	sum := sha256.Sum256(body)
	return document{body: body, etag: `"` + hex.EncodeToString(sum[:16]) + `"`, cacheControl: cacheable}
}

// New returns the handler of every discovery path. It answers by path alone:
// which host a client believes to have asked changes nothing (RFC 9728 §3.3).
func New(o Options) http.Handler {
	mux := http.NewServeMux()
	for _, r := range resource.All {
		d := &resourceDocument{options: o, resource: r}
		exact(mux, r.MetadataPath(), d.load)
	}
	for _, suffix := range []string{"", "/mcp", "/sse"} {
		exact(mux, "/.well-known/oauth-authorization-server"+suffix, mirror(o.Issuer.Raw))
		exact(mux, "/.well-known/openid-configuration"+suffix, mirror(o.Issuer.RawOpenID))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, "not_found", "There is no such document.")
	})
	return mux
}

// exact serves one path and nothing below it.
func exact(mux *http.ServeMux, path string, load func() (document, bool)) {
	pattern := path
	if strings.HasSuffix(path, "/") {
		pattern += "{$}"
	}
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			fail(w, http.StatusMethodNotAllowed, "method_not_allowed", "This document is read with GET or HEAD.")
			return
		}
		d, loaded := load()
		if !loaded {
			w.Header().Set("Retry-After", retryAfter)
			fail(w, http.StatusServiceUnavailable, "temporarily_unavailable", "The authorization server's metadata has not been loaded yet. Try again shortly.")
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", d.cacheControl)
		h.Set("ETag", d.etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(d.body))
	})
}

// resourceDocument makes the document of one resource, anew only when the
// issuer's scopes changed.
type resourceDocument struct {
	options  Options
	resource resource.Resource
	made     atomic.Pointer[madeDocument]
}

type madeDocument struct {
	scopes []string
	document
}

func (d *resourceDocument) load() (document, bool) {
	inForce := scopes.InForce(d.options.Scopes, d.options.Issuer.ScopesSupported())
	if made := d.made.Load(); made != nil && slices.Equal(made.scopes, inForce) {
		return made.document, true
	}
	body, err := json.Marshal(protectedResource{
		Resource:               d.resource.URL(d.options.PublicURL),
		AuthorizationServers:   []string{d.options.IssuerURL},
		ScopesSupported:        inForce,
		BearerMethodsSupported: []string{"header"},
		ResourceName:           name,
		ResourceDocumentation:  d.options.PublicURL + "/",
	})
	if err != nil {
		return document{}, false
	}
	fresh := &madeDocument{scopes: inForce, document: newDocument(body)}
	if len(inForce) == 0 {
		// The issuer's scopes may arrive any moment.
		fresh.cacheControl = uncached
	}
	d.made.Store(fresh)
	return fresh.document, true
}

// mirror serves the issuer's document byte for byte: its issuer stays what it
// is, since a client compares it (RFC 8414 §3.3).
func mirror(raw func() ([]byte, bool)) func() (document, bool) {
	var made atomic.Pointer[document]
	return func() (document, bool) {
		body, loaded := raw()
		if !loaded {
			return document{}, false
		}
		if d := made.Load(); d != nil && bytes.Equal(d.body, body) {
			return *d, true
		}
		d := newDocument(body)
		made.Store(&d)
		return d, true
	}
}

// fail answers with the error shape that all of the gateway has.
func fail(w http.ResponseWriter, status int, code, description string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", uncached)
	w.WriteHeader(status)
	// A client that left is the only way for this to fail.
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": description})
}
