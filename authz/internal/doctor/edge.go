package doctor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/resource"
)

// guarded are the routes that need a token.
var guarded = []struct{ method, path string }{
	{http.MethodPost, "/mcp"}, {http.MethodGet, "/sse"}, {http.MethodGet, "/sse/"},
	{http.MethodPost, "/messages"}, {http.MethodPost, "/mcp/tools/call"},
}

// refusal is what a route answered without a token.
type refusal struct {
	method, path string
	answer
	// bearer is the challenge of the Bearer scheme.
	bearer challenge
}

// guardedRequest is a request to a route that needs a token, such that no
// setting lets it through without one: a tool call, not a list of tools.
func guardedRequest(method, path string) request {
	switch path {
	case "/mcp":
		r := call(legacy, "list_companies", nil)
		r.header.Set("Origin", pageOrigin)
		return r
	case "/messages":
		path += "?sessionId=authz-doctor"
	}
	r := request{method: method, address: path, header: headers("Origin", pageOrigin)}
	if method == http.MethodPost {
		r.header.Set("Content-Type", "application/json")
		r.body = "{}"
	}
	return r
}

// checkRefusal: without a token the answer is 401 (RFC 6750 §3.1).
func (e *examination) checkRefusal(ctx context.Context) Finding {
	var bad problems
	for _, route := range guarded {
		a := e.send(ctx, false, guardedRequest(route.method, route.path))
		if a.err != nil || a.status != http.StatusUnauthorized {
			bad.add(route.method+" "+route.path, a.String())
		}
		e.refusals = append(e.refusals, refusal{method: route.method, path: route.path, answer: a})
	}
	if bad.any() {
		return fail("route everything through the gateway's Envoy, and let nothing in front of it answer; an open route is an emergency", "%s", bad.String())
	}
	return ok("401 without a token on %d routes", len(guarded))
}

// checkChallenge reads the challenges as RFC 9110 §11.6.1 and RFC 6750 §3 write
// them.
func (e *examination) checkChallenge(context.Context) Finding {
	const fix = "let WWW-Authenticate of the gateway through unchanged, and let nothing in front add its own"
	bare := true
	for i := range e.refusals {
		r := &e.refusals[i]
		found, err := parseChallenges(r.header.Values("WWW-Authenticate"))
		if err != nil {
			return fail(fix, "%s %s: WWW-Authenticate cannot be read: %v", r.method, r.path, err)
		}
		count := 0
		for _, c := range found {
			if c.Scheme == "bearer" {
				r.bearer = c
				count++
			}
		}
		if count != 1 {
			return fail(fix, "%s %s: %d Bearer challenges, not one", r.method, r.path, count)
		}
		if r.bearer.Params["error"] != "" {
			bare = false
		}
	}
	if !bare {
		return warn("send no error to a client that sent no token (RFC 6750 §3.1)", "a request without a token is told of an error")
	}
	return ok("Bearer, with %d parameters", len(e.refusals[0].bearer.Params))
}

// checkChallengeMetadata: resource_metadata names the document of the path
// that was asked for (RFC 9728 §5.1), one of those that were just read.
func (e *examination) checkChallengeMetadata(context.Context) Finding {
	for _, r := range e.refusals {
		want := resource.Of(r.path).MetadataURL(e.base)
		if got := r.bearer.Params["resource_metadata"]; got != want {
			return fail("set PUBLIC_URL to "+e.base+", and let WWW-Authenticate through unchanged", "%s %s: resource_metadata is %.200q, not %q", r.method, r.path, got, want)
		}
	}
	return ok("each route names its own document")
}

// checkChallengeCORS: a page that cannot read the challenge cannot log in.
func (e *examination) checkChallengeCORS(context.Context) Finding {
	for _, r := range e.refusals {
		switch {
		case !readable(r.header, pageOrigin):
			return fail("set EDGE_CORS_ORIGINS to * or add "+pageOrigin, "%s %s: Access-Control-Allow-Origin is %.200q on the 401", r.method, r.path, r.header.Values("Access-Control-Allow-Origin"))
		case !lists(r.header, "Access-Control-Expose-Headers", "WWW-Authenticate") && !lists(r.header, "Access-Control-Expose-Headers", "*"):
			return fail("let Access-Control-Expose-Headers of the gateway through unchanged", "%s %s: WWW-Authenticate is not exposed to pages", r.method, r.path)
		}
	}
	return ok("pages of %s may read it", pageOrigin)
}

// madeUp is a token that nobody issued.
const madeUp = "authz-doctor-made-this-up"

// checkInvalidToken: a bad token is told from none (RFC 6750 §3.1).
func (e *examination) checkInvalidToken(ctx context.Context) Finding {
	r := call(legacy, "list_companies", nil)
	r.header.Set("Authorization", "Bearer "+madeUp)
	a := e.send(ctx, false, r)
	switch {
	case a.err == nil && a.status == http.StatusServiceUnavailable:
		return fail("see why authz cannot verify: its /readyz and its log say it", "%v", a)
	case a.err != nil || a.status != http.StatusUnauthorized:
		return fail("let the gateway's Envoy and authz answer, and nothing else; an accepted token that was made up is an emergency", "%v", a)
	}
	found, err := parseChallenges(a.header.Values("WWW-Authenticate"))
	if err != nil || !slices.ContainsFunc(found, func(c challenge) bool { return c.Scheme == "bearer" && c.Params["error"] == "invalid_token" }) {
		return fail("let WWW-Authenticate of the gateway through unchanged: with error=\"invalid_token\" a client gets itself a new token", "401 without error=\"invalid_token\"")
	}
	return ok("401 invalid_token for one that was made up")
}

// needed are the headers that connectors send (MCP 2026-07-28, streamable HTTP).
var needed = []string{"authorization", "content-type", "mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id"}

// preflightFrom asks as a browser does for a page of the origin (Fetch, CORS
// protocol).
func preflightFrom(origin string) func(*examination, context.Context) Finding {
	return func(e *examination, ctx context.Context) Finding {
		a := e.send(ctx, false, request{method: http.MethodOptions, address: "/mcp", header: headers(
			"Origin", origin, "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", strings.Join(needed, ","))})
		if a.err != nil || a.status < 200 || a.status > 299 {
			return fail("let OPTIONS through to the gateway's Envoy, which answers it without a token", "%v", a)
		}
		if !readable(a.header, origin) {
			return fail("set EDGE_CORS_ORIGINS to * or add "+origin, "Access-Control-Allow-Origin is %.200q", a.header.Values("Access-Control-Allow-Origin"))
		}
		if !lists(a.header, "Access-Control-Allow-Methods", "POST") && !lists(a.header, "Access-Control-Allow-Methods", "*") {
			return fail("let Access-Control-Allow-Methods of the gateway through unchanged", "POST is not allowed")
		}
		for _, name := range needed {
			// "*" stands for every header but Authorization.
			star := name != "authorization" && lists(a.header, "Access-Control-Allow-Headers", "*")
			if !star && !lists(a.header, "Access-Control-Allow-Headers", name) {
				return fail("let Access-Control-Allow-Headers of the gateway through unchanged", "%s is not allowed", name)
			}
		}
		return ok("POST and %d headers", len(needed))
	}
}

// otherHost is a name that cannot be anybody's (RFC 6761 §6.4).
const otherHost = "authz-doctor.invalid"

// checkHost: a gateway that answers to any name can be made to answer to an
// attacker's (DNS rebinding); RFC 9110 §15.5.20.
func (e *examination) checkHost(ctx context.Context) Finding {
	r := guardedRequest(http.MethodPost, "/mcp")
	r.header.Set("Host", otherHost)
	a := e.send(ctx, false, r)
	switch {
	case a.err == nil && a.status == http.StatusMisdirectedRequest:
		return ok("421 for another Host")
	case a.err == nil && a.status >= 400 && a.status < 500 && a.status != http.StatusUnauthorized && a.status != http.StatusTooManyRequests:
		return warn("nothing, if what is in front is meant to refuse it; the gateway itself says 421", "%v for another Host, from something in front of the gateway", a)
	}
	return fail("pass Host on unchanged to the gateway's Envoy, and name only real hosts in EDGE_HOSTS", "%v for another Host", a)
}

// forge adds the headers by which Envoy tells mcpbackend who is asking. Some
// of them say what would change the answer, were they believed.
func forge(r *request, expires time.Time) {
	for _, name := range []string{"X-Neonpanel-", "X_neonpanel_"} {
		separator := name[1:2]
		r.header.Set(name+"Auth", "bearer")
		r.header.Set(name+"Subject", "authz-doctor")
		r.header.Set(name+"Client"+separator+"id", "authz-doctor")
		r.header.Set(name+"Scopes", "authz-doctor")
		r.header.Set(name+"Expires", fmt.Sprint(expires.Unix()))
	}
}

// checkForged: identity headers of a client are worth nothing.
func (e *examination) checkForged(ctx context.Context) Finding {
	var bad problems
	for _, route := range guarded {
		r := guardedRequest(route.method, route.path)
		forge(&r, e.Now().Add(time.Hour))
		if a := e.send(ctx, false, r); a.err != nil || a.status != http.StatusUnauthorized {
			bad.add(route.method+" "+route.path, a.String())
		}
	}
	if bad.any() {
		return fail("an emergency if it is 200: only Envoy may reach mcpbackend, and it must strip x-neonpanel-*", "with identity headers and no token, %s", bad.String())
	}
	return ok("x-neonpanel-* without a token: still 401")
}
