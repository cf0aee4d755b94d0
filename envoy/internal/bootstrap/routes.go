package bootstrap

import (
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const extAuthzFilter = "envoy.filters.http.ext_authz"

// endpoint is one row of the route table: an exact path and what may be done there.
type endpoint struct {
	name    string
	path    string
	methods []string // proxied
	allow   string   // of the 405, when the proxied methods are not all meant
	public  bool     // without authz, and without the caller's credentials
	cluster string
	timeout time.Duration // of the whole response; 0: none, for streams
	drop    []string      // request headers not passed on
}

// firstByte is how long a response may take to begin; mcpbackend ends each call within half of it.
const firstByte = time.Minute

var reads = []string{"GET", "HEAD"}

// health answers under any Host, for probes know a pod by its address.
var health = endpoint{name: "health", path: "/health", methods: reads, public: true, cluster: backendCluster, timeout: 10 * time.Second}

// endpoints is the route table. Paths are exact: a prefix on a public route would be a way around authz.
func endpoints() []endpoint {
	table := []endpoint{
		// The SDK itself answers GET and DELETE with 405; with Last-Event-ID it would answer 400.
		{name: "mcp", path: "/mcp", methods: []string{"POST", "GET", "DELETE"}, allow: "POST", cluster: backendCluster, drop: []string{"last-event-id"}},
		{name: "sse", path: "/sse", methods: []string{"GET"}, cluster: backendCluster},
		{name: "sse", path: "/sse/", methods: []string{"GET"}, cluster: backendCluster},
		{name: "messages", path: "/messages", methods: []string{"POST"}, cluster: backendCluster, timeout: time.Minute},
		{name: "tools-call", path: "/mcp/tools/call", methods: []string{"POST"}, cluster: backendCluster, timeout: 2 * time.Minute},
		health,
	}
	public := func(name, cluster string, paths ...string) {
		for _, path := range paths {
			table = append(table, endpoint{name: name, path: path, methods: reads, public: true, cluster: cluster, timeout: 10 * time.Second})
		}
	}
	public("document", backendCluster, "/", "/robots.txt", "/mcp/capabilities", "/openapi.json", "/openapi.yaml",
		"/.well-known/ai-plugin.json", "/.well-known/openai-apps-challenge")
	// RFC 9728 §3.1 and RFC 8414 §3.1: the resource's path follows the well-known name.
	public("discovery", discoveryCluster,
		"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp",
		"/.well-known/oauth-protected-resource/sse", "/.well-known/oauth-protected-resource/sse/",
		"/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/mcp", "/.well-known/oauth-authorization-server/sse",
		"/.well-known/openid-configuration", "/.well-known/openid-configuration/mcp", "/.well-known/openid-configuration/sse")
	return table
}

// routes has two hosts: our own names, and every other, where only /health answers (RFC 9110 §7.4
// asks for 421; it is also what stops DNS rebinding).
func (b *builder) routes() *routev3.RouteConfiguration {
	misdirected := "This server answers at " + b.PublicURL + " and for no other Host."
	table := endpoints()
	own := b.virtualHost("edge", b.Hosts)
	own.Routes = append(own.Routes, b.proxy(health), b.answer("malformed-host", malformedHost(), 421, misdirected), b.preflight(),
		b.toFrontPage("/mcp"), b.toFrontPage("/sse"))
	for _, e := range table {
		if e.name != health.name {
			own.Routes = append(own.Routes, b.proxy(e))
		}
	}
	endpoint := b.PublicURL + "/mcp"
	own.Routes = append(own.Routes,
		b.answer("post-root", path("/", method("POST")), 404, "The MCP endpoint is "+endpoint+"; send the request there."),
		b.answer("mcp-slash", path("/mcp/"), 404, "The MCP endpoint is "+endpoint+", without a slash at its end."))
	for _, e := range table {
		own.Routes = append(own.Routes, b.methodNotAllowed(e))
	}
	own.Routes = append(own.Routes, b.answer("not-found", anyPath(), 404,
		"There is nothing at this path. The MCP endpoint is "+endpoint+"; "+b.PublicURL+"/ describes the server."))

	other := b.virtualHost("other-hosts", []string{"*"})
	other.Routes = append(other.Routes, b.proxy(health), b.methodNotAllowed(health),
		b.answer("misdirected", anyPath(), 421, misdirected))

	return &routev3.RouteConfiguration{
		Name:                     "edge",
		VirtualHosts:             []*routev3.VirtualHost{own, other},
		IgnorePortInHostMatching: true,
		ValidateClusters:         wrapperspb.Bool(true),
		ResponseHeadersToAdd: append([]*corev3.HeaderValueOption{
			// Answers differ by Origin, and the cors filter does not say so.
			{Header: &corev3.HeaderValue{Key: "vary", Value: "Origin"}, AppendAction: corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD},
		}, b.alternative()...),
		// Nothing behind the edge uses cookies. What is expected of a server is for Envoy to meet
		// (RFC 9110 §10.1.1).
		RequestHeadersToRemove: []string{"cookie", "expect"},
	}
}

// virtualHost starts with the rule for all paths and hosts: the origin.
func (b *builder) virtualHost(name string, domains []string) *routev3.VirtualHost {
	host := &routev3.VirtualHost{
		Name:                 name,
		Domains:              slices.Clone(domains),
		TypedPerFilterConfig: map[string]*anypb.Any{corsFilter: b.pack(b.corsPolicy())},
	}
	if !b.AnyOrigin {
		host.Routes = append(host.Routes, b.answer("foreign-origin", b.foreignOrigin(), 403, "Pages of this origin may not call this server."))
	}
	return host
}

func (b *builder) preflight() *routev3.Route {
	return &routev3.Route{
		Name:                   "preflight",
		Match:                  preflight(),
		Action:                 &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: cluster(backendCluster), Timeout: durationpb.New(time.Second)}},
		TypedPerFilterConfig:   b.withoutAuthz(),
		RequestHeadersToRemove: []string{"authorization"},
	}
}

// wellFormedHost is a name or a bracketed IPv6 address, and a port that exists (RFC 9110 §7.2).
const wellFormedHost = `([0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(:([0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?`

// malformedHost matches what is none, for the route table compares only what stands before a
// colon: 127.0.0.1:@evil.example would be one of our names.
func malformedHost() *routev3.RouteMatch {
	match := anyPath()
	match.Headers = []*routev3.HeaderMatcher{{
		Name: ":authority",
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: wellFormedHost}}, // always of the whole value
		}},
		InvertMatch: true,
	}}
	return match
}

// toFrontPage sends people to the page for them who open a client's URL in a browser: only a
// browser's own navigation says navigate (Fetch Metadata, §2.2), and no page can make it say so.
func (b *builder) toFrontPage(from string) *routev3.Route {
	navigation := &routev3.HeaderMatcher{Name: "sec-fetch-mode", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "navigate"}},
	}}
	anonymous := &routev3.HeaderMatcher{Name: "authorization", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{}}
	page := b.PublicURL + "/"
	route := b.answer("to-front-page", path(from, method("GET"), navigation, anonymous), 303, "This URL is for MCP clients. How to connect one: "+page)
	route.ResponseHeadersToAdd = []*corev3.HeaderValueOption{setHeader("location", page), setHeader("cache-control", "no-store")}
	return route
}

func (b *builder) proxy(e endpoint) *routev3.Route {
	action := &routev3.RouteAction{ClusterSpecifier: cluster(e.cluster), Timeout: durationpb.New(e.timeout)}
	if e.timeout == 0 {
		action.IdleTimeout = durationpb.New(30 * time.Minute)
		// Envoy's limit of a try ends where the response begins. There is one try: no retry_on.
		action.RetryPolicy = &routev3.RetryPolicy{PerTryTimeout: durationpb.New(firstByte)}
	}
	route := &routev3.Route{
		Name:                   e.name,
		Match:                  path(e.path, method(e.methods...)),
		Action:                 &routev3.Route_Route{Route: action},
		RequestHeadersToRemove: e.drop,
	}
	if b.Tracing != nil && e.name == health.name {
		route.Tracing = untraced()
	}
	if e.public {
		route.TypedPerFilterConfig = b.withoutAuthz()
		route.RequestHeadersToRemove = append([]string{"authorization"}, e.drop...)
	}
	return route
}

func (b *builder) methodNotAllowed(e endpoint) *routev3.Route {
	allow := e.allow
	if allow == "" {
		allow = strings.Join(e.methods, ", ")
	}
	route := b.answer("method-not-allowed", path(e.path), 405, "This path takes "+allow+" only.")
	route.ResponseHeadersToAdd = []*corev3.HeaderValueOption{setHeader("allow", allow)} // RFC 9110 §15.5.6
	return route
}

// answer is a reply of the route table itself. It discloses nothing, so authz is not asked.
func (b *builder) answer(name string, match *routev3.RouteMatch, status uint32, description string) *routev3.Route {
	return &routev3.Route{
		Name:                 name,
		Match:                match,
		Action:               &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: status, Body: inline(description)}},
		TypedPerFilterConfig: b.withoutAuthz(),
	}
}

func (b *builder) withoutAuthz() map[string]*anypb.Any {
	return map[string]*anypb.Any{extAuthzFilter: b.pack(&extauthzv3.ExtAuthzPerRoute{
		Override: &extauthzv3.ExtAuthzPerRoute_Disabled{Disabled: true},
	})}
}

func cluster(name string) *routev3.RouteAction_Cluster {
	return &routev3.RouteAction_Cluster{Cluster: name}
}

func path(exact string, headers ...*routev3.HeaderMatcher) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: exact}, Headers: headers}
}

func anyPath() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}
