// Package documents serves what anybody may read: what this service is, its
// tools, the description of the API. No handler here knows of callers or
// tokens, and every URL is built from the configured public one.
package documents

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
)

// Catalogue is where the documents come from.
type Catalogue interface {
	Tools() []catalogue.Tool
	DocumentJSON() []byte
	DocumentYAML() []byte
}

// Build names the running program.
type Build struct{ Version, Commit string }

// Options are what the documents are made of.
type Options struct {
	// PublicURL is the gateway's origin, without a trailing slash.
	PublicURL     string
	Build         Build
	Catalogue     Catalogue
	AppsChallenge string
	// Description, when set, says where the description of the API in force
	// comes from.
	Description func() Description
	Now         func() time.Time
}

// Description is where the description of the API comes from, for whoever looks
// after the service.
type Description struct {
	// Source is "built-in" or "live".
	Source string `json:"source"`
	// Age is how long ago a live one was last seen at the API, in seconds.
	Age int64 `json:"age_seconds"`
	// Failing is true while the live one cannot be used.
	Failing bool `json:"failing"`
}

// String is for people.
func (d Description) String() string {
	text := "description of the API: " + d.Source
	if d.Source == "live" {
		text += fmt.Sprintf(", last seen %d s ago", d.Age)
	}
	if d.Failing {
		text += "; what the API serves now cannot be used"
	}
	return text
}

// name is how the service calls itself everywhere.
const name = "neonpanel-mcp"

const about = "NeonPanel's inventory, warehouses, revenue, costs, reports and document import, for AI assistants."

// maxAge is short: a deployment changes the documents.
const maxAge = 5 * time.Minute

// New returns the handlers by path.
func New(o Options) (map[string]http.Handler, error) {
	tools := o.Catalogue.Tools()
	capabilities, err := marshal(capabilitiesOf(o, tools))
	if err != nil {
		return nil, fmt.Errorf("describing the capabilities: %w", err)
	}
	plugin, err := marshal(pluginOf(o))
	if err != nil {
		return nil, fmt.Errorf("describing the plugin: %w", err)
	}
	rootJSON, err := marshal(rootOf(o, len(tools)))
	if err != nil {
		return nil, fmt.Errorf("describing the service: %w", err)
	}
	html, policy, err := page(o, tools)
	if err != nil {
		return nil, fmt.Errorf("writing the page: %w", err)
	}
	challenge := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		(denial.Denial{Status: http.StatusNotFound, Code: "not_found", Description: "No domain challenge is configured."}).Write(w)
	}))
	if o.AppsChallenge != "" {
		challenge = newDocument("text/plain; charset=utf-8", []byte(o.AppsChallenge))
	}
	handlers := map[string]http.Handler{
		"/mcp/capabilities": newDocument("application/json", capabilities),
		"/openapi.json":     newDocument("application/json", o.Catalogue.DocumentJSON()),
		// RFC 9512 registers application/yaml.
		"/openapi.yaml":                      newDocument("application/yaml", o.Catalogue.DocumentYAML()),
		"/.well-known/ai-plugin.json":        newDocument("application/json", plugin),
		"/.well-known/openai-apps-challenge": challenge,
		"/health":                            health(o),
		"/":                                  root(newDocument("application/json", rootJSON), newDocument("text/html; charset=utf-8", html), policy),
		"/robots.txt":                        newDocument("text/plain; charset=utf-8", []byte("User-agent: *\nDisallow: /\n")),
	}
	for path, h := range handlers {
		handlers[path] = readOnly(h)
	}
	return handlers, nil
}

// Changing is [New] for a catalogue that changes. Replace renews every document
// at once.
func Changing(o Options) (handlers map[string]http.Handler, replace func(Catalogue) error, err error) {
	first, err := New(o)
	if err != nil {
		return nil, nil, err
	}
	var current atomic.Pointer[map[string]http.Handler]
	current.Store(&first)
	handlers = make(map[string]http.Handler, len(first))
	for path := range first {
		handlers[path] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			(*current.Load())[path].ServeHTTP(w, r)
		})
	}
	return handlers, func(c Catalogue) error {
		o.Catalogue = c
		next, err := New(o)
		if err == nil {
			current.Store(&next)
		}
		return err
	}, nil
}

// readOnly lets GET and HEAD through, and keeps search engines out.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Robots-Tag", "noindex, nofollow")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			description := "This is a document: use GET."
			if r.URL.Path == "/" {
				description = "The MCP endpoint is /mcp."
			}
			denial.MethodNotAllowed("GET, HEAD", description).Write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// document is a body that does not change while the program runs.
type document struct {
	contentType, etag, length string
	body                      []byte
}

func newDocument(contentType string, body []byte) *document {
	sum := sha256.Sum256(body)
	return &document{contentType, `"` + hex.EncodeToString(sum[:12]) + `"`, strconv.Itoa(len(body)), body}
}

func (d *document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("ETag", d.etag)
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(maxAge/time.Second)))
	if matches(r.Header.Values("If-None-Match"), d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", d.contentType)
	h.Set("Content-Length", d.length)
	if r.Method != http.MethodHead {
		_, _ = w.Write(d.body) // the client may be gone
	}
}

// matches compares weakly (RFC 9110 §13.1.2).
func matches(values []string, etag string) bool {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
			if part == etag || part == "*" {
				return true
			}
		}
	}
	return false
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type annotations struct {
	ReadOnly    bool `json:"readOnlyHint"`
	Destructive bool `json:"destructiveHint"`
	Idempotent  bool `json:"idempotentHint"`
	OpenWorld   bool `json:"openWorldHint"`
}

type toolDocument struct {
	Name         string          `json:"name"`
	Title        string          `json:"title"`
	Description  string          `json:"description"`
	Toolset      string          `json:"toolset"`
	InputSchema  json.RawMessage `json:"inputSchema"`
	OutputSchema json.RawMessage `json:"outputSchema,omitempty"`
	Annotations  annotations     `json:"annotations"`
}

type capabilitiesDocument struct {
	Name             string         `json:"name"`
	Version          string         `json:"version"`
	Endpoint         string         `json:"endpoint"`
	ProtocolVersions []string       `json:"protocolVersions"`
	Total            int            `json:"total"`
	Tools            []toolDocument `json:"tools"`
}

func capabilitiesOf(o Options, tools []catalogue.Tool) capabilitiesDocument {
	d := capabilitiesDocument{
		Name: name, Version: o.Build.Version, Endpoint: o.PublicURL + "/mcp",
		ProtocolVersions: mcp.SupportedProtocolVersions(), Total: len(tools), Tools: make([]toolDocument, 0, len(tools)),
	}
	for _, t := range tools {
		d.Tools = append(d.Tools, toolDocument{
			t.Name, t.Title, t.Description, t.Toolset, t.InputSchema, t.OutputSchema,
			annotations{t.ReadOnly, t.Destructive, t.Idempotent, t.OpenWorld},
		})
	}
	return d
}

type pluginDocument struct {
	SchemaVersion       string     `json:"schema_version"`
	NameForHuman        string     `json:"name_for_human"`
	NameForModel        string     `json:"name_for_model"`
	DescriptionForHuman string     `json:"description_for_human"`
	DescriptionForModel string     `json:"description_for_model"`
	Auth                pluginAuth `json:"auth"`
	API                 pluginAPI  `json:"api"`
	MCP                 string     `json:"mcp_url"`
}

// pluginAuth names where to discover the endpoints: this service does not know
// them, and a copy would go stale.
type pluginAuth struct {
	Type                        string `json:"type"`
	AuthorizationServerMetadata string `json:"authorization_server_metadata_url"`
	ResourceMetadata            string `json:"resource_metadata_url"`
}

type pluginAPI struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

func pluginOf(o Options) pluginDocument {
	return pluginDocument{
		SchemaVersion: "v1", NameForHuman: "NeonPanel", NameForModel: "neonpanel",
		DescriptionForHuman: about, DescriptionForModel: about,
		Auth: pluginAuth{
			"oauth", o.PublicURL + "/.well-known/oauth-authorization-server",
			o.PublicURL + "/.well-known/oauth-protected-resource/mcp",
		},
		API: pluginAPI{"openapi", o.PublicURL + "/openapi.json"},
		MCP: o.PublicURL + "/mcp",
	}
}

type rootDocument struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Status      string            `json:"status"`
	Version     string            `json:"version"`
	Commit      string            `json:"commit"`
	Tools       int               `json:"tools"`
	Endpoints   map[string]string `json:"endpoints"`
}

func rootOf(o Options, tools int) rootDocument {
	return rootDocument{
		Name: name, Description: about, Status: "ok", Version: o.Build.Version, Commit: o.Build.Commit, Tools: tools,
		Endpoints: map[string]string{
			"mcp": o.PublicURL + "/mcp", "sse": o.PublicURL + "/sse", "call": o.PublicURL + "/mcp/tools/call",
			"capabilities": o.PublicURL + "/mcp/capabilities", "openapi": o.PublicURL + "/openapi.json",
			"protected_resource": o.PublicURL + "/.well-known/oauth-protected-resource/mcp", "health": o.PublicURL + "/health",
		},
	}
}

type healthDocument struct {
	Status  string `json:"status"`
	Service string `json:"service"`
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Time    string `json:"ts"`
	// OpenAPI is there where the deployment follows a live description.
	OpenAPI *Description `json:"openapi,omitempty"`
}

// health always names the build, so that a wrong deployment shows.
func health(o Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d := healthDocument{Status: "ok", Service: name, Version: o.Build.Version, Commit: o.Build.Commit, Time: o.Now().UTC().Format(time.RFC3339)}
		if o.Description != nil {
			description := o.Description()
			d.OpenAPI = &description
		}
		data, _ := json.Marshal(d) // strings and numbers only: it cannot fail
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(data)))
		h.Set("Cache-Control", "no-store")
		if r.Method != http.MethodHead {
			_, _ = w.Write(data) // the client may be gone
		}
	})
}

// root gives browsers the page and programs the JSON.
func root(program, person *document, policy string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if !wantsHTML(r.Header.Values("Accept")) {
			program.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		person.ServeHTTP(w, r)
	})
}

// wantsHTML is true for clients that name text/html, as browsers do, unless
// they prefer JSON.
func wantsHTML(accept []string) bool {
	html, program := -1.0, -1.0
	for _, v := range accept {
		for part := range strings.SplitSeq(v, ",") {
			media, params, _ := strings.Cut(part, ";")
			q := quality(params)
			switch strings.ToLower(strings.TrimSpace(media)) {
			case "text/html", "application/xhtml+xml":
				html = max(html, q)
			case "application/json":
				program = max(program, q)
			}
		}
	}
	return html > 0 && html >= program
}

// quality is the q of RFC 9110 §12.4.2.
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		if k, v, ok := strings.Cut(strings.TrimSpace(p), "="); ok && strings.EqualFold(k, "q") {
			q, err := strconv.ParseFloat(v, 64)
			if err != nil || q < 0 || q > 1 {
				return 0
			}
			return q
		}
	}
	return 1
}

// bySet groups the tools; sets in the order of their names.
func bySet(tools []catalogue.Tool) []set {
	groups := map[string][]catalogue.Tool{}
	for _, t := range tools {
		groups[t.Toolset] = append(groups[t.Toolset], t)
	}
	var sets []set
	for name, tools := range groups {
		sets = append(sets, set{name, tools})
	}
	slices.SortFunc(sets, func(a, b set) int { return strings.Compare(a.Name, b.Name) })
	return sets
}

// hashSource is a source expression of a Content-Security-Policy.
func hashSource(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
