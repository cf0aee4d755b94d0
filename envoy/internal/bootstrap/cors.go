package bootstrap

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	corsFilter = "envoy.filters.http.cors"

	allowMethods = "GET, HEAD, POST, DELETE, OPTIONS"
	// Listed, since a wildcard would not cover Authorization (Fetch §3.2.3).
	allowHeaders = "authorization, content-type, accept, cache-control, mcp-protocol-version, mcp-session-id, mcp-method, mcp-name, last-event-id, " +
		// By these a client asks mcpbackend for fewer tools; authz is not told of them.
		"x-mcp-toolsets, x-mcp-tools, x-mcp-exclude-tools, x-mcp-readonly, x-mcp-granted, x-mcp-dynamic"
	exposeHeaders = "www-authenticate, mcp-session-id, mcp-protocol-version, x-request-id, retry-after"
	corsMaxAge    = "600"
)

// corsPolicy is what the cors filter does on proxied routes and on preflights. No credentials:
// nothing here is authenticated by a cookie.
func (b *builder) corsPolicy() *corsv3.CorsPolicy {
	policy := &corsv3.CorsPolicy{
		AllowMethods:                 allowMethods,
		AllowHeaders:                 allowHeaders,
		ExposeHeaders:                exposeHeaders,
		MaxAge:                       corsMaxAge,
		AllowCredentials:             wrapperspb.Bool(false),
		ForwardNotMatchingPreflights: wrapperspb.Bool(false),
	}
	if b.AnyOrigin {
		policy.AllowOriginStringMatch = append(policy.AllowOriginStringMatch, exact("*"))
	}
	for _, origin := range b.Origins {
		policy.AllowOriginStringMatch = append(policy.AllowOriginStringMatch, exact(origin))
	}
	return policy
}

// corsHeaders are the same answer by hand, for replies that the cors filter does not see: it acts
// on routes that proxy only. Without an Origin in the request, that of the request is left out.
func corsHeaders(origin string) []*corev3.HeaderValueOption {
	return []*corev3.HeaderValueOption{
		setHeader("access-control-allow-origin", origin),
		setHeader("access-control-expose-headers", exposeHeaders),
	}
}

// preflight is any CORS preflight (Fetch §3.2.2); the cors filter answers it, so no upstream sees it.
func preflight() *routev3.RouteMatch {
	return &routev3.RouteMatch{
		PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"},
		Headers:       []*routev3.HeaderMatcher{method("OPTIONS"), present("origin"), present("access-control-request-method")},
	}
}

// foreignOrigin matches a request whose Origin is on no list. A browser always sends one with a
// cross-origin call, so this also stops DNS rebinding.
func (b *builder) foreignOrigin() *routev3.RouteMatch {
	headers := []*routev3.HeaderMatcher{present("origin")}
	for _, origin := range b.Origins {
		headers = append(headers, &routev3.HeaderMatcher{
			Name:                 "origin",
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exact(origin)},
			InvertMatch:          true,
		})
	}
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, Headers: headers}
}

// method matches one of the names; a route's methods differ only here, so they share a route.
func method(names ...string) *routev3.HeaderMatcher {
	value := exact(names[0])
	if len(names) > 1 {
		value = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: strings.Join(names, "|")}, // always of the whole value
		}}
	}
	return &routev3.HeaderMatcher{Name: ":method", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: value}}
}

func present(name string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
}
