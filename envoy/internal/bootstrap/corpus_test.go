package bootstrap_test

import (
	"fmt"
	"slices"
	"strings"
)

// A probe is one attempt to get past authz, as the bytes that go on the wire.
type probe struct {
	name string
	raw  string
	want []int // the status of the first response; 0: the connection closes without one
}

const (
	host   = "Host: mcp.example.com\r\n"
	forged = "x-neonpanel-auth: bearer\r\nx-neonpanel-subject: forged\r\nX-NeonPanel-Scopes: forged\r\nx-neonpanel-expires: 99999999999\r\n"
)

// http1 builds a request of HTTP/1.1 with the usual Host.
func http1(method, target, headers, body string) string {
	if body != "" {
		headers += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return method + " " + target + " HTTP/1.1\r\n" + host + headers + "\r\n" + body
}

// corpus is every attempt by HTTP/1. Each target is asked for without a token, with forged identity
// headers and with a good token: the first two must end the same way.
func corpus() []probe {
	return slices.Concat(targets(), requestLines(), credentials(), identities(), overrides(), hosts(), smuggling(), sizes())
}

func targets() []probe {
	var probes []probe
	for _, t := range []struct {
		target    string
		none, out int // without a token and with a good one
	}{
		// The right path, written otherwise: authz is asked.
		{"/mcp", 401, 200}, {"/mcp?x=/health", 401, 200}, {"/mcp?", 401, 200}, {"/mcp?/../health", 401, 200}, {"/mcp?a=%2e%2e%2fhealth", 401, 200},
		{"//mcp", 401, 200}, {"///mcp", 401, 200}, {"/./mcp", 401, 200}, {"/././mcp", 401, 200}, {"/x/../mcp", 401, 200}, {"/health/../mcp", 401, 200},
		{"/health/.././mcp", 401, 200}, {"/health//../mcp", 404, 404}, {"/%6dcp", 401, 200}, {"/%6Dcp", 401, 200}, {"/m%63p", 401, 200}, {"/%6d%63%70", 401, 200},
		{"/%2e/mcp", 401, 200}, {"/%2e%2e/mcp", 401, 200}, {"/health/%2e%2e/mcp", 401, 200}, {"/health/.%2e/mcp", 401, 200}, {"/health/%2E%2E/mcp", 401, 200},
		{"/../mcp", 401, 200}, {"/../../../mcp", 401, 200}, {"/.well-known/../mcp", 401, 200}, {"/openapi.json/../mcp", 401, 200},
		{"/mcp/tools/../../mcp", 401, 200}, {"/mcp/tools/call", 401, 200}, {"/mcp/tools/./call", 401, 200}, {"/mcp//tools//call", 401, 200},
		{"/mcp/capabilities/../tools/call", 401, 200}, {"/mcp/tools/c%61ll", 401, 200}, {"/messages", 401, 200}, {"/messages?sessionid=x", 401, 200}, {"//messages", 401, 200},
		{"http://mcp.example.com/mcp", 401, 200}, {"HTTP://mcp.example.com/mcp", 401, 200}, {"http://mcp.example.com/health/../mcp", 401, 200},
		{"http://mcp.example.com:80/mcp", 401, 200}, {"https://mcp.example.com/mcp", 403, 403}, {"http://mcp.example.com//mcp", 401, 200},
		// Another path: there is nothing.
		{"/MCP", 404, 404}, {"/Mcp", 404, 404}, {"/mcp/", 404, 404}, {"/mcp//", 404, 404}, {"/mcp/.", 404, 404}, {"/mcp/x", 404, 404}, {"/mcp/x/..", 404, 404},
		{"/mcp;", 404, 404}, {"/mcp;a=b", 404, 404}, {"/mcp;/health", 404, 404}, {"/;/mcp", 404, 404}, {"/health;/mcp", 404, 404},
		{"/mcp%20", 404, 404}, {"/mcp%09", 404, 404}, {"/mcp%0a", 404, 404}, {"/mcp%0d%0a", 404, 404}, {"/mcp.json", 404, 404}, {"/mcp~", 404, 404}, {"/mcp%3f", 404, 404},
		{"/mcp%3Fx=/health", 404, 404}, {"/mcp%23", 404, 404}, {"/mcp%3b", 404, 404}, {"/%256dcp", 404, 404}, {"/%25%36%64cp", 404, 404}, {"/health/%252e%252e/mcp", 404, 404},
		{"/m%c3%a7p", 404, 404}, {"/%e2%80%ae/mcp", 404, 404}, {"/mcp%", 404, 404}, {"/mcp%zz", 404, 404}, {"/%u006dcp", 404, 404},
		{"/health/mcp", 404, 404}, {"/healthz", 404, 404}, {"/health.json", 404, 404}, {"/health/", 404, 404}, {"/health%20", 404, 404}, {"/health;x", 404, 404},
		{"/.well-known/mcp", 404, 404}, {"/.well-known/oauth-protected-resource/mcp/", 404, 404}, {"/.well-known/oauth-protected-resource/../mcp", 404, 404},
		{"/.well-known/oauth-protected-resource/messages", 404, 404}, {"/openapi.json/mcp", 404, 404}, {"/openapi.json/", 404, 404}, {"/robots.txt/../health/../mcp/x", 404, 404},
		{"/mcp/capabilities/tools", 404, 404}, {"/mcp/tools", 404, 404}, {"/mcp/tools/call/", 404, 404}, {"/mcp/tools/call/x", 404, 404},
		{"/metrics", 404, 404}, {"/readyz", 404, 404}, {"/debug/pprof", 404, 404}, {"/config_dump", 404, 404}, {"/quitquitquit", 404, 404},
		{"/envoy.service.auth.v3.Authorization/Check", 404, 404}, {"/api/v1/companies", 404, 404}, {"/...", 404, 404}, {"/mcp/...", 404, 404}, {"/..mcp", 404, 404},
		// A path that two readers could take differently is no path.
		{"/mcp%2f", 400, 400}, {"/%2fmcp", 400, 400}, {"/health%2f..%2fmcp", 400, 400}, {"/health%2F..%2Fmcp", 400, 400}, {"/mcp%5c", 400, 400}, {"/health%5c..%5cmcp", 400, 400},
		{"/health%00", 400, 400}, {"/mcp%00", 400, 400}, {"/mcp%00/health", 400, 400}, {"/mcp%2ftools%2fcall", 400, 400}, {"/x%2f%2e%2e%2fmcp", 400, 400},
		{`/health\..\mcp`, 401, 200}, {`\mcp`, 400, 400}, {`/\mcp`, 401, 200}, {"mcp", 400, 400}, {"*", 400, 400}, {"?mcp", 400, 400}, {"http:///mcp", 400, 400}, {"http:mcp", 400, 400},
		{"ftp://mcp.example.com/mcp", 400, 400}, {"file:///mcp", 400, 400}, {"//mcp.example.com/mcp", 404, 404}, {"http://user:pass@mcp.example.com/mcp", 401, 200},
		{"http://mcp.example.com@evil.example/mcp", 421, 421}, {"http://evil.example/mcp", 421, 421}, {"http://evil.example/health/../mcp", 421, 421},
		{"/mcp#/health", 400, 400}, {"/health#/mcp", 400, 400}, {"/mcp\x80", 400, 400}, {"/mcp\xc0\xaf", 400, 400}, {"/\xc0\xae\xc0\xae/mcp", 400, 400}, {"/mcp\x00", 400, 400}, {"/mcp\x0b", 400, 400}, {"/mcp\x7f", 400, 400},
	} {
		probes = append(probes,
			probe{"target " + t.target, http1("POST", t.target, "", ""), []int{t.none}},
			probe{"target " + t.target + " forged", http1("POST", t.target, forged, ""), []int{t.none}},
			probe{"target " + t.target + " with a token", http1("POST", t.target, good+"\r\n"+forged, ""), []int{t.out}},
		)
	}
	// Public documents by other spellings are the same document, without anybody's identity.
	for _, target := range []string{"/health", "//health", "/./health", "/x/../health", "/%68ealth", "/mcp/../health", "/health?x=/mcp", "/mcp/tools/call/../../../health", "/"} {
		probes = append(probes, probe{"public " + target, http1("GET", target, good+"\r\n"+forged, ""), []int{200}})
	}
	for _, target := range []string{"/healthz", "/health/x", "/robots.txt.bak", "/openapi.json.gz", "/.well-known/oauth-protected-resource/x", "/mcp/capabilities/x"} {
		probes = append(probes, probe{"public " + target + " by GET", http1("GET", target, "", ""), []int{404}})
	}
	return probes
}

func requestLines() []probe {
	line := func(name, first, headers string, want ...int) probe {
		return probe{"request line " + name, first + "\r\n" + headers + "\r\n", want}
	}
	probes := []probe{
		line("HTTP/0.9", "GET /mcp", "", 426),
		line("HTTP/1.0", "POST /mcp HTTP/1.0", host, 426),
		line("HTTP/1.0 without a host", "GET /mcp HTTP/1.0", "", 426),
		line("HTTP/1.0 health", "GET /health HTTP/1.0", host, 426),
		line("HTTP/1.2", "POST /mcp HTTP/1.2", host, 426),
		line("HTTP/2.0 in words", "POST /mcp HTTP/2.0", host, 426),
		line("HTTP/3", "POST /mcp HTTP/3", host, 400),
		line("lower-case version", "POST /mcp http/1.1", host, 400),
		line("no version", "POST /mcp ", host, 426),
		line("two blanks", "POST  /mcp HTTP/1.1", host, 401),
		line("two blanks and a token", "POST  /mcp HTTP/1.1", host+good+"\r\n"+forged, 200),
		line("a blank in the target", "GET /health HTTP/1.1 /mcp HTTP/1.1", host, 400),
		line("a tab", "POST\t/mcp\tHTTP/1.1", host, 401),
		line("a tab and a token", "POST\t/mcp\tHTTP/1.1", host+good+"\r\n"+forged, 200),
		line("a blank in front", " POST /mcp HTTP/1.1", host, 400),
		line("no host", "POST /mcp HTTP/1.1", "", 400),
		line("an empty line in front", "\r\nPOST /mcp HTTP/1.1", host, 401),
		line("a bare line feed", "POST /mcp HTTP/1.1\nHost: mcp.example.com\n"+forged, "", 400, 401),
		line("CONNECT to a host", "CONNECT mcp.example.com:443 HTTP/1.1", host, 404),
		line("CONNECT to a path", "CONNECT /mcp HTTP/1.1", host, 400),
		line("OPTIONS of everything", "OPTIONS * HTTP/1.1", host, 404),
		line("PRI of everything", "PRI * HTTP/2.0", "", 0),
		line("a TLS hello", "\x16\x03\x01\x00\xa5\x01\x00", "", 400),
		line("a PROXY header", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nPOST /mcp HTTP/1.1", host, 400),
	}
	for method, want := range map[string]int{
		"GET": 401, "DELETE": 401, "post": 400, "Post": 400, "HEAD": 405, "PUT": 405, "PATCH": 405, "OPTIONS": 405, "TRACE": 405, "PROPFIND": 405, "SEARCH": 405,
		"QUERY": 400, "FOO": 400, "POST,GET": 400, "P OST": 400, "POST\x00": 400, "": 400, strings.Repeat("A", 4096): 400,
	} {
		name := fmt.Sprintf("method %.8q", method)
		probes = append(probes, probe{name, http1(method, "/mcp", "", ""), []int{want}}, probe{name + " forged", http1(method, "/mcp", forged, ""), []int{want}})
		if want == 405 {
			probes = append(probes, probe{name + " with a token", http1(method, "/mcp", good+"\r\n", ""), []int{want}})
		}
	}
	return probes
}

// credentials are tokens in every place but the one that counts. The token is good where it stands.
func credentials() []probe {
	var probes []probe
	for _, c := range []struct {
		headers string
		want    int
	}{
		{"", 401}, {"Authorization:\r\n", 401}, {"Authorization: \r\n", 401}, {"Authorization: good\r\n", 401}, {"Authorization: Basic good\r\n", 401}, {"Authorization: Bearer\r\n", 401},
		{"Authorization: Bearer bad\r\nAuthorization: Bearer good\r\n", 401}, {"Authorization: Bearer good,Bearer bad\r\n", 401}, {"Authorization: Bearer bad, Bearer good\r\n", 401},
		{"Authorization: Bearer good\x00\r\n", 400}, {"Authorization: Bearer go\x01od\r\n", 400}, {"Authorization : Bearer good\r\n", 400}, {"Authorization\t: Bearer good\r\n", 400},
		{" Authorization: Bearer good\r\n", 400}, {"X: y\r\n Authorization: Bearer good\r\n", 401}, {"Authorization: Bearer bad\r\n good\r\n", 401}, {"Authorization\r\n", 400}, {": Bearer good\r\n", 400},
		{"Proxy-Authorization: Bearer good\r\n", 401}, {"X-Authorization: Bearer good\r\n", 401}, {"X-Forwarded-Authorization: Bearer good\r\n", 401}, {"Authorization_: Bearer good\r\n", 401},
		{"X-Access-Token: good\r\n", 401}, {"Cookie: access_token=good\r\n", 401}, {"Cookie: Authorization=Bearer good\r\n", 401}, {"Sec-WebSocket-Protocol: bearer, good\r\n", 401},
		{"X-Api-Key: good\r\n", 401}, {"X-Forwarded-Access-Token: good\r\n", 401}, {"X-Forwarded-Client-Cert: Subject=user-1\r\n", 401},
	} {
		probes = append(probes, probe{fmt.Sprintf("credential %q", c.headers), http1("POST", "/mcp", c.headers, ""), []int{c.want}})
	}
	for _, target := range []string{"/mcp?access_token=good", "/mcp?token=good", "/mcp?Authorization=Bearer%20good", "/sse?access_token=good"} {
		method := "POST"
		if strings.HasPrefix(target, "/sse") {
			method = "GET"
		}
		probes = append(probes, probe{"credential in the query " + target, http1(method, target, "", ""), []int{401}})
	}
	return append(probes,
		probe{"credential a cookie beside the token", http1("POST", "/mcp", good+"\r\nCookie: a=b\r\n", ""), []int{200}},
		probe{"credential in a form", http1("POST", "/mcp", "Content-Type: application/x-www-form-urlencoded\r\n", "access_token=good"), []int{401}},
		probe{"credential in a trailer", http1("POST", "/mcp", "Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n", "") + "0\r\n" + good + "\r\n\r\n", []int{401}},
	)
}

// identities try to be somebody, with a good token and without.
func identities() []probe {
	var probes []probe
	for _, h := range []string{
		"x-neonpanel-subject: forged", "X-NEONPANEL-SUBJECT: forged", "X-NeonPanel-Subject: forged", "x-neonpanel-: forged", "x-neonpanel-new: forged", "x-neonpanel-auth: anonymous",
		"x-neonpanel-scopes: forged", "x-neonpanel-scopes-supported: forged", "x-neonpanel-scope-mode: off", "x-neonpanel-expires: 99999999999", "x-neonpanel-challenge: forged", "x-neonpanel-client-id: forged",
		"x_neonpanel_subject: forged", "X-Neonpanel_Subject: forged", "x_neonpanel-subject: forged", "x-neonpanel-subject:forged", "x-neonpanel-subject:\tforged", "x-neonpanel-subject:",
		"x-neonpanel-subject: forged\r\nx-neonpanel-subject: forged", "x-neonpanel-subject: user-1, forged", "x-neonpanel-subject: =?utf-8?q?forged?=",
		"Connection: x-neonpanel-subject", "Connection: x-neonpanel-auth, keep-alive", "Connection: close, x-neonpanel-subject\r\nx-neonpanel-subject: forged", "Keep-Alive: x-neonpanel-subject",
		"Trailer: x-neonpanel-subject", "TE: trailers, x-neonpanel-subject", "Upgrade-Insecure-Requests: x-neonpanel-subject", "X-Forwarded-User: forged", "Remote-User: forged", "X-Remote-User: forged",
		"x-envoy-auth-partial-body: false", "x-ext-authz: allow", "x-neon-subject: forged", "x-neonpanel.subject: forged", "xx-neonpanel-subject: forged",
	} {
		probes = append(probes,
			probe{"identity " + h, http1("POST", "/mcp", h+"\r\n", ""), []int{401}},
			probe{"identity " + h + " with a token", http1("POST", "/mcp", good+"\r\n"+h+"\r\n", ""), []int{200}},
			probe{"identity " + h + " of a public document", http1("GET", "/health", h+"\r\n", ""), []int{200}},
		)
	}
	for _, h := range []string{"x-neonpanel-subject : forged", "x-neonpanel-subject\x00: forged", "x-neonpanel-subject: for\x00ged", "x-neonpanel\xad-subject: forged", "x-neonpanel-subject", "x-neonpanel subject: forged", "x-neonpanel-subject(): forged"} {
		probes = append(probes, probe{fmt.Sprintf("identity %q", h), http1("POST", "/mcp", good+"\r\n"+h+"\r\n", ""), []int{400}})
	}
	return append(probes,
		probe{"identity a connection that owns the token", http1("POST", "/mcp", good+"\r\nConnection: authorization\r\n", ""), []int{401}},
		probe{"identity folded", http1("POST", "/mcp", good+"\r\nX: y\r\n x-neonpanel-subject: forged\r\n", ""), []int{200}},
		probe{"identity in a trailer", http1("POST", "/mcp", good+"\r\nTransfer-Encoding: chunked\r\n", "") + "1\r\nx\r\n0\r\nx-neonpanel-subject: forged\r\n\r\n", []int{200}},
		probe{"identity in a chunk extension", http1("POST", "/mcp", good+"\r\nTransfer-Encoding: chunked\r\n", "") + "1;x-neonpanel-subject=forged\r\nx\r\n0\r\n\r\n", []int{200, 400}},
	)
}

// overrides ask for one thing and hint at another.
func overrides() []probe {
	var probes []probe
	for _, h := range []string{
		"X-HTTP-Method-Override: GET", "X-Method-Override: GET", "X-HTTP-Method: GET", "X-Original-URL: /health", "X-Rewrite-URL: /health", "X-Envoy-Original-Path: /health", "X-Forwarded-Prefix: /health/..",
		"X-Forwarded-Uri: /health", "X-Forwarded-Path: /health", "X-Original-URI: /health", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: gopher", "Forwarded: for=127.0.0.1;host=evil.example", "X-Host: evil.example",
		"X-Envoy-Internal: true", "X-Envoy-Original-Host: evil.example", "X-Envoy-Upstream-Rq-Timeout-Ms: 1", "X-Envoy-Expected-Rq-Timeout-Ms: 1", "X-Envoy-Retry-On: 5xx", "X-Envoy-Max-Retries: 9", "X-Envoy-Hedge-On-Per-Try-Timeout: true",
		"X-Envoy-Upstream-Alt-Stat-Name: x", "X-Envoy-Decorator-Operation: health", "X-Envoy-Force-Trace: true", "X-Envoy-Ip-Tags: internal", "X-Client-Trace-Id: x", "grpc-timeout: 1n", ":path: /health", ":method: GET", "path: /health",
		"Accept: text/html, */*;q=0.1", "Origin: null", "Origin: https://mcp.example.com", "Access-Control-Request-Method: POST", "Sec-Fetch-Mode: cors", "Purpose: prefetch", "Range: bytes=0-1", "Max-Forwards: 0", "Via: 1.1 mcp.example.com",
	} {
		want := 401
		if strings.HasPrefix(h, ":") {
			want = 400
		}
		probes = append(probes, probe{"override " + h, http1("POST", "/mcp", h+"\r\n", ""), []int{want}})
	}
	// authz counts refusals by the client's address.
	for _, h := range []string{"X-Envoy-External-Address: 203.0.113.9", "X-Forwarded-For: 203.0.113.9", "X-Real-Ip: 203.0.113.9", "True-Client-Ip: 203.0.113.9", "CF-Connecting-IP: 203.0.113.9"} {
		probes = append(probes, probe{"override " + h + " with a token", http1("POST", "/mcp", good+"\r\n"+h+"\r\n", ""), []int{200}})
	}
	return append(probes,
		probe{"override by POST of a public document", http1("POST", "/health", "X-HTTP-Method-Override: GET\r\n", ""), []int{405}},
		probe{"override of a preflight", http1("OPTIONS", "/mcp", "Origin: https://chatgpt.com\r\nAccess-Control-Request-Method: POST\r\n"+forged, ""), []int{200}},
		probe{"override of a preflight with a body", http1("OPTIONS", "/mcp", "Origin: https://chatgpt.com\r\nAccess-Control-Request-Method: POST\r\n", `{"method":"tools/call"}`), []int{200}},
		probe{"override by an upgrade", http1("GET", "/mcp", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n", ""), []int{403}},
		probe{"override by an upgrade with a token", http1("GET", "/mcp", good+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", ""), []int{403}},
		probe{"override by an upgrade to HTTP/2", http1("POST", "/mcp", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", ""), []int{401, 403}},
	)
}

func hosts() []probe {
	var probes []probe
	for _, h := range []struct {
		headers string
		want    int
	}{
		{"Host: evil.example\r\n", 421}, {"Host: evil.example:443\r\n", 421}, {"Host: mcp.example.com.evil.example\r\n", 421}, {"Host: evil.example/mcp.example.com\r\n", 400}, {"Host: xmcp.example.com\r\n", 421},
		{"Host: mcp.example.com:@evil.example\r\n", 421}, {"Host: evil.example@mcp.example.com\r\n", 421}, {"Host: mcp.example.com@evil.example\r\n", 421}, {"Host: mcp.example.com#evil.example\r\n", 400},
		{"Host: mcp.example.com, evil.example\r\n", 400}, {"Host: mcp.example.com evil.example\r\n", 400}, {"Host: mcp.example.com\r\nHost: evil.example\r\n", 421}, {"Host: evil.example\r\nHost: mcp.example.com\r\n", 421},
		{"Host: mcp.example.com\r\nHost: mcp.example.com\r\n", 421}, {"Host:\r\n", 421}, {"Host: \r\n", 421}, {"Host: localhost\r\n", 421}, {"Host: 127.0.0.1\r\n", 421}, {"Host: [::1]\r\n", 421}, {"Host: mcp.example.com:99999\r\n", 421},
		{"Host: mcp.example.com:x\r\n", 421}, {"Host: .mcp.example.com\r\n", 421}, {"Host: mcp.example.com..\r\n", 421}, {"Host: mcp%2eexample%2ecom\r\n", 421}, {"Host: *\r\n", 421}, {"Host: mcp.example.com\x00\r\n", 400},
		{"Host : mcp.example.com\r\n", 400}, {"Host: MCP.EXAMPLE.COM\r\n", 401}, {"Host: mcp.example.com.\r\n", 401}, {"Host: mcp.example.com:443\r\n", 401},
	} {
		probes = append(probes, probe{fmt.Sprintf("host %q", h.headers), "POST /mcp HTTP/1.1\r\n" + h.headers + forged + "\r\n", []int{h.want}})
	}
	return probes
}

// smuggling hides a second request in the first: it is not seen, or it is judged as one of its own.
func smuggling() []probe {
	const hidden = "POST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\n" + forged + "Content-Length: 0\r\n\r\n"
	const chunk = "0\r\n\r\n"
	var probes []probe
	for _, s := range []struct {
		name, headers, body string
		want                []int
	}{
		{"CL and TE", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunk + hidden, []int{400}},
		{"TE and CL", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunk + hidden, []int{400}},
		{"CL 0 and TE", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", chunk + hidden, []int{400}},
		{"two CL that differ", "Content-Length: 0\r\nContent-Length: 5\r\n", hidden, []int{400}},
		{"two CL that agree", "Content-Length: 0\r\nContent-Length: 0\r\n", hidden, []int{400}},
		{"a list of CL", "Content-Length: 0, 0\r\n", hidden, []int{400}},
		{"CL with a sign", "Content-Length: +0\r\n", hidden, []int{400}},
		{"negative CL", "Content-Length: -1\r\n", hidden, []int{400}},
		{"hexadecimal CL", "Content-Length: 0x0\r\n", hidden, []int{400}},
		{"CL with a blank inside", "Content-Length: 0 0\r\n", hidden, []int{400}},
		{"overflowing CL", "Content-Length: 18446744073709551616\r\n", hidden, []int{400}},
		{"empty CL", "Content-Length:\r\n", hidden, []int{400, 401}},
		{"CL with a blank before the colon", "Content-Length : 0\r\n", hidden, []int{400}},
		{"CL with an underscore", "Content_Length: 90\r\n", hidden, []int{401}},
		{"CL folded", "Content-Length:\r\n 0\r\n", hidden, []int{400, 401}},
		{"CL zero", "Content-Length: 0\r\n", hidden, []int{401}},
		{"CL with leading zeros", "Content-Length: 000\r\n", hidden, []int{400, 401}},
		{"unknown TE", "Transfer-Encoding: xchunked\r\n", chunk + hidden, []int{400, 501}},
		{"identity TE", "Transfer-Encoding: identity\r\n", chunk + hidden, []int{400, 501}},
		{"gzip and chunked", "Transfer-Encoding: gzip, chunked\r\n", chunk + hidden, []int{400, 501}},
		{"chunked and identity", "Transfer-Encoding: chunked, identity\r\n", chunk + hidden, []int{400, 501}},
		{"chunked twice", "Transfer-Encoding: chunked, chunked\r\n", chunk + hidden, []int{400, 501}},
		{"two TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunk + hidden, []int{400, 501}},
		{"two TE, the other way", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", chunk + hidden, []int{400, 501}},
		{"TE with a vertical tab", "Transfer-Encoding: \x0bchunked\r\n", chunk + hidden, []int{400, 501}},
		{"TE with a blank before the colon", "Transfer-Encoding : chunked\r\n", chunk + hidden, []int{400}},
		{"TE folded", "Transfer-Encoding:\r\n chunked\r\n", chunk + hidden, []int{400, 401}},
		{"TE quoted", "Transfer-Encoding: \"chunked\"\r\n", chunk + hidden, []int{400, 501}},
		{"TE with a parameter", "Transfer-Encoding: chunked;q=1\r\n", chunk + hidden, []int{400, 501}},
		{"TE empty", "Transfer-Encoding:\r\n", hidden, []int{400, 401, 501}},
		{"TE with an underscore", "Transfer_Encoding: chunked\r\nContent-Length: 0\r\n", hidden, []int{401}},
		{"TE in capitals", "Transfer-Encoding: CHUNKED\r\n", chunk + hidden, []int{401}},
		{"a proper chunked body", "Transfer-Encoding: chunked\r\n", "1\r\nx\r\n" + chunk + hidden, []int{401}},
		{"a chunk that is no number", "Transfer-Encoding: chunked\r\n", "zz\r\n" + hidden, []int{400, 401}},
		{"a negative chunk", "Transfer-Encoding: chunked\r\n", "-1\r\n" + hidden, []int{400, 401}},
		{"a chunk with a prefix", "Transfer-Encoding: chunked\r\n", "0x0\r\n\r\n" + hidden, []int{400, 401}},
		{"a chunk that overflows", "Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n" + hidden, []int{400, 401}},
		{"a chunk with an extension", "Transfer-Encoding: chunked\r\n", "0;x=\"\r\n\r\n" + hidden, []int{400, 401}},
		{"a chunk ended by a bare line feed", "Transfer-Encoding: chunked\r\n", "0\n\n" + hidden, []int{400, 401}},
		{"a chunk that is longer than it says", "Transfer-Encoding: chunked\r\n", "1\r\nxx\r\n" + chunk + hidden, []int{400, 401}},
		{"trailers that are a request", "Transfer-Encoding: chunked\r\n", "0\r\n" + hidden, []int{400, 401}},
		{"GET with a body", "Content-Length: " + fmt.Sprint(len(hidden)) + "\r\n", hidden, []int{401}},
		{"a carriage return alone", "X: y\rTransfer-Encoding: chunked\r\n", chunk + hidden, []int{400, 401}},
		{"a header after a bare line feed", "X: y\nContent-Length: 0\r\n", hidden, []int{400, 401}},
		{"Expect", "Expect: 100-continue\r\nContent-Length: 0\r\n", hidden, []int{401}},
		{"a strange Expect", "Expect: 200-ok\r\nContent-Length: 0\r\n", hidden, []int{401}},
	} {
		for _, token := range []string{"", good + "\r\n"} {
			p := probe{"smuggling " + s.name, "POST /mcp HTTP/1.1\r\n" + host + token + s.headers + "\r\n" + s.body, s.want}
			if token != "" {
				p.name += " with a token"
				p.want = nil
				for _, status := range s.want {
					if status == 401 {
						status = 200
					}
					p.want = append(p.want, status)
				}
			}
			probes = append(probes, p)
		}
	}
	return append(probes,
		probe{"smuggling behind HTTP/1.0", "POST /mcp HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n" + chunk + hidden, []int{400, 426}},
		probe{"smuggling behind a public document", http1("GET", "/health", "", "") + hidden, []int{200}},
		probe{"smuggling behind a public document with a body", http1("GET", "/health", "", hidden), []int{200}},
		probe{"smuggling behind a refusal", http1("POST", "/nope", "", "") + hidden, []int{404}},
		probe{"smuggling behind a preflight", http1("OPTIONS", "/mcp", "Origin: https://chatgpt.com\r\nAccess-Control-Request-Method: POST\r\n", "") + hidden, []int{200}},
		probe{"smuggling behind a good request", http1("POST", "/mcp", good+"\r\n", "") + hidden, []int{200}},
		probe{"smuggling behind HEAD", http1("HEAD", "/health", "", "") + hidden, []int{200}},
	)
}

func sizes() []probe {
	long := strings.Repeat("a", 40<<10)
	many := strings.Repeat("X-Many: x\r\n", 120)
	return []probe{
		{"size of the target", http1("POST", "/mcp?"+long, "", ""), []int{431}},
		{"size of a header", http1("POST", "/mcp", "X-Long: "+long+"\r\n", ""), []int{431}},
		{"size of a header name", http1("POST", "/mcp", long+": x\r\n", ""), []int{431}},
		{"size of the token", http1("POST", "/mcp", "Authorization: Bearer "+long+"\r\n", ""), []int{431}},
		{"size of all headers", http1("POST", "/mcp", strings.Repeat("X-Part: "+long[:1000]+"\r\n", 40), ""), []int{431}},
		{"size of the host", "POST /mcp HTTP/1.1\r\nHost: " + long + "\r\n\r\n", []int{431}},
		{"number of headers", http1("POST", "/mcp", many, ""), []int{431}},
		{"number of headers with a token", http1("POST", "/mcp", good+"\r\n"+many, ""), []int{431}},
		{"number of headers of a public document", http1("GET", "/health", many, ""), []int{431}},
		{"size of the body", http1("POST", "/mcp", "", long+long), []int{413}},
		{"size of the body with a token", http1("POST", "/mcp", good+"\r\n", long+long), []int{413}},
		{"size of a chunked body", http1("POST", "/mcp", good+"\r\nTransfer-Encoding: chunked\r\n", "") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(long)*2, long+long), []int{413}},
		{"size of a body that a document does not take", http1("GET", "/health", "", long+long), []int{413}},
		// What authz answers when it is out of order must not become a pass.
		{"authz that fails", http1("POST", "/mcp", "Authorization: Bearer broken\r\n", ""), []int{503}},
		{"authz that grants another token", http1("POST", "/mcp", "Authorization: Bearer greedy\r\n", ""), []int{500}},
		{"authz that names a broken subject", http1("POST", "/mcp", "Authorization: Bearer invalid\r\n", ""), []int{500}},
		{"authz that refuses", http1("POST", "/mcp", "Authorization: Bearer forbidden\r\n"+forged, ""), []int{403}},
		{"authz that limits", http1("POST", "/mcp", "Authorization: Bearer limited\r\n"+forged, ""), []int{429}},
		{"authz that cannot tell", http1("POST", "/mcp", "Authorization: Bearer unavailable\r\n"+forged, ""), []int{503}},
	}
}
