package doctor

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/neonpanel/mcp-gateway/authz/internal/resource"
	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
)

// pageOrigin stands for a connector that runs in a browser.
const pageOrigin = "https://claude.ai"

// public are the routes that anybody may read. Those of the OAuth documents
// have checks of their own.
var public = []string{
	"/health", "/", "/robots.txt", "/mcp/capabilities", "/openapi.json", "/openapi.yaml", "/.well-known/ai-plugin.json",
}

func (e *examination) checkPublic(ctx context.Context) Finding {
	var bad problems
	for _, path := range public {
		a := e.send(ctx, false, request{method: http.MethodGet, address: path})
		if a.err != nil || a.status != http.StatusOK || len(a.body) == 0 {
			bad.add(path, a.String())
		}
	}
	// Without MCPBACKEND_APPS_CHALLENGE this one is 404.
	if a := e.send(ctx, false, request{method: http.MethodGet, address: "/.well-known/openai-apps-challenge"}); a.err != nil ||
		(a.status != http.StatusOK && a.status != http.StatusNotFound) {
		bad.add("/.well-known/openai-apps-challenge", a.String())
	}
	if bad.any() {
		return fail("route these to the gateway's Envoy unchanged; if they are, see the log of mcpbackend", "%s", bad.String())
	}
	return ok("%d answer", len(public)+1)
}

// protectedDocument is one protected-resource document (RFC 9728 §2).
type protectedDocument struct {
	resource resource.Resource
	header   http.Header
	object   strictjson.Object
	servers  []string
	scopes   []string
}

// checkDocuments reads the documents and judges their shape (RFC 9728 §2, §3.2).
func (e *examination) checkDocuments(ctx context.Context) Finding {
	var bad problems
	for _, r := range resource.All {
		a := e.send(ctx, false, request{method: http.MethodGet, address: r.MetadataPath(), header: headers("Origin", pageOrigin, "Accept", "application/json")})
		d := protectedDocument{resource: r, header: a.header}
		if err := d.parse(a); err != nil {
			bad.add(r.MetadataPath(), err.Error())
			continue
		}
		e.documents = append(e.documents, d)
	}
	if bad.any() {
		return fail("route /.well-known/oauth-protected-resource and the same with /mcp, /sse and /sse/ to authz", "%s", bad.String())
	}
	return ok("%d, of the shape of RFC 9728", len(e.documents))
}

func (d *protectedDocument) parse(a answer) (err error) {
	if d.object, err = a.object(); err != nil {
		return err
	}
	if _, err := d.object.Get("resource").Text(); err != nil {
		return fmt.Errorf("resource is missing or not a string")
	}
	if d.servers, err = d.object.Get("authorization_servers").Texts(); err != nil || len(d.servers) == 0 {
		return fmt.Errorf("authorization_servers is missing or not a list of strings")
	}
	if value := d.object.Get("scopes_supported"); value != nil {
		if d.scopes, err = value.Texts(); err != nil {
			return fmt.Errorf("scopes_supported is not a list of strings")
		}
	}
	if value := d.object.Get("bearer_methods_supported"); value != nil {
		if methods, err := value.Texts(); err != nil || !slices.Contains(methods, "header") {
			return fmt.Errorf("bearer_methods_supported does not name header")
		}
	}
	return nil
}

// checkIdentifiers holds to RFC 9728 §3.3: the resource is the URL that the
// document was asked for by, to the byte, or a client must not use it.
func (e *examination) checkIdentifiers(context.Context) Finding {
	var bad problems
	for _, d := range e.documents {
		if value, _ := d.object.Get("resource").Text(); value != d.resource.URL(e.base) {
			bad.add(d.resource.MetadataPath(), fmt.Sprintf("resource is %.200q", value))
		}
	}
	if bad.any() {
		return fail("set PUBLIC_URL to "+e.base+", or give the URL that it names", "%s", bad.String())
	}
	return ok("each is its own URL; that of the URL given is %s", e.typed.URL(e.base))
}

// checkServers finds the issuer.
func (e *examination) checkServers(context.Context) Finding {
	const fix = "set NEONPANEL_ISSUER to the issuer, and give all instances of authz the same settings"
	first := e.documents[0].servers
	for _, d := range e.documents[1:] {
		if !slices.Equal(d.servers, first) {
			return fail(fix, "%s names %.200q, %s %.200q", e.documents[0].resource.MetadataPath(), first, d.resource.MetadataPath(), d.servers)
		}
	}
	if err := e.allowed(first[0]); err != nil {
		return fail(fix, "%.200q %v", first[0], err)
	}
	e.issuer = first[0]
	if len(first) > 1 {
		return warn("name one: clients take the first", "%.200q", first)
	}
	return ok("%s", e.issuer)
}

func (e *examination) checkDocumentCORS(context.Context) Finding {
	for _, d := range e.documents {
		if !readable(d.header, pageOrigin) {
			return fail("set EDGE_CORS_ORIGINS to * or add "+pageOrigin, "%s: Access-Control-Allow-Origin is %.200q, so a page of %s cannot read it",
				d.resource.MetadataPath(), d.header.Values("Access-Control-Allow-Origin"), pageOrigin)
		}
	}
	return ok("pages of %s may read them", pageOrigin)
}

// copyPaths are where clients of 2025-03-26 look for the issuer's metadata.
func copyPaths() []string {
	var paths []string
	for _, name := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		for _, suffix := range []string{"", "/mcp", "/sse"} {
			paths = append(paths, name+suffix)
		}
	}
	return paths
}

// checkCopies compares the gateway's copies with what the issuer itself serves:
// at each path the document of that kind, or the other where the issuer has
// only one.
func (e *examination) checkCopies(ctx context.Context) Finding {
	var bad problems
	for _, path := range copyPaths() {
		want := e.metadata[0]
		if strings.Contains(path, "openid") {
			want = e.metadata[len(e.metadata)-1]
		}
		object, err := e.send(ctx, false, request{method: http.MethodGet, address: path}).object()
		switch {
		case err != nil:
			bad.add(path, err.Error())
		case !sameObject(object, want.object):
			bad.add(path, "not what "+want.address+" says")
		}
	}
	if bad.any() {
		return fail("route these to authz; it fetches them anew every AUTHZ_KEYS_REFRESH, and its log says why it cannot", "%s", bad.String())
	}
	return ok("%d, equal to the issuer's own", len(copyPaths()))
}

// checkScopes holds what clients are told to ask for against what the issuer
// gives: one scope that it does not know makes the whole login fail.
func (e *examination) checkScopes(context.Context) Finding {
	var asked []string
	for _, d := range e.documents {
		asked = append(asked, d.scopes...)
	}
	slices.Sort(asked)
	asked = slices.Compact(asked)
	if len(asked) == 0 {
		return warn("set AUTHZ_SCOPES, or have the issuer publish scopes_supported", "no scopes_supported: clients cannot know what to ask for")
	}
	for _, m := range e.metadata {
		if m.scopes == nil {
			continue
		}
		var unknown []string
		for _, s := range asked {
			if !slices.Contains(m.scopes, s) {
				unknown = append(unknown, s)
			}
		}
		if unknown != nil {
			return fail("leave them out of AUTHZ_SCOPES, or have the issuer offer them", "the issuer does not offer %.200q", unknown)
		}
	}
	if slices.Contains(asked, "offline_access") {
		return warn("leave it out of AUTHZ_SCOPES: it is for clients to ask for", "offline_access is listed")
	}
	return ok("%s", strings.Join(asked, " "))
}

// allowed reports why an address that the gateway named is not one to go to.
func (e *examination) allowed(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("is not a plain absolute URL")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && e.loopback && isLoopback(u):
		return nil
	}
	return fmt.Errorf("is not https, and clients refuse it")
}
