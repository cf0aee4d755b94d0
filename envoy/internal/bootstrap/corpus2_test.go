package bootstrap_test

import "strings"

// request2 is a request of HTTP/2, with further fields behind.
func request2(method, path string, more ...field) []field {
	return append([]field{{":method", method}, {":scheme", "http"}, {":authority", "mcp.example.com"}, {":path", path}}, more...)
}

// corpus2 is every attempt by HTTP/2.
func corpus2() []probe2 {
	token := field{"authorization", "Bearer good"}
	forged := []field{{"x-neonpanel-auth", "bearer"}, {"x-neonpanel-subject", "forged"}, {"x-neonpanel-scopes", "forged"}}
	var probes []probe2
	add := func(name string, fields []field, want ...int) {
		probes = append(probes, probe2{name: "HTTP/2 " + name, fields: fields, want: want})
	}

	for path, want := range map[string]int{
		"/mcp": 401, "//mcp": 401, "/health/../mcp": 401, "/%6dcp": 401, "/mcp?x=/health": 401, "/health/%2e%2e/mcp": 401,
		"/MCP": 404, "/mcp/": 404, "/mcp;x": 404, "/health;/../mcp": 401, "/healthz": 404, "/mcp%3f": 404, `/health\..\mcp`: 401,
		"/mcp%2f": 400, "/mcp%5c": 400, "/mcp%00": 400, "/mcp#/health": 400, "mcp": 0, "*": 0, "": 0, "http://mcp.example.com/mcp": 0, "/mcp\x00": 0, "/m cp": 0, "/mcp\x80": 404,
		"/mcp?" + strings.Repeat("a", 40<<10): 0,
	} {
		name := path[:min(len(path), 40)]
		add("path "+name, request2("POST", path), want)
		add("path "+name+" forged", request2("POST", path, forged...), want)
	}
	for method, want := range map[string]int{"GET": 401, "DELETE": 401, "PUT": 405, "post": 405, "TRACE": 405, "FOO": 405, "": 0, "P OST": 0, "CONNECT": 0} {
		add("method "+method, request2(method, "/mcp"), want)
	}
	add("forged identity", request2("POST", "/mcp", forged...), 401)
	add("forged identity with a token", request2("POST", "/mcp", append(forged, token)...), 200)
	add("forged identity of a public document", request2("GET", "/health", append(forged, token)...), 200)
	add("identity with an underscore", request2("POST", "/mcp", token, field{"x_neonpanel_subject", "forged"}), 200)
	add("identity in capitals", request2("POST", "/mcp", token, field{"X-NeonPanel-Subject", "forged"}), 0)
	add("identity with a line feed", request2("POST", "/mcp", token, field{"x", "y\nx-neonpanel-subject: forged"}), 0)
	add("identity with a carriage return", request2("POST", "/mcp", token, field{"x", "y\r\nx-neonpanel-subject: forged"}), 0)
	add("identity in a name", request2("POST", "/mcp", token, field{"x: y\r\nx-neonpanel-subject", "forged"}), 0)
	add("identity behind a zero byte", request2("POST", "/mcp", token, field{"x", "y\x00"}), 0)
	add("a name with a colon", request2("POST", "/mcp", token, field{"x:y", "z"}), 0)
	add("an empty name", request2("POST", "/mcp", token, field{"", "z"}), 0)
	add("two tokens", request2("POST", "/mcp", field{"authorization", "Bearer bad"}, token), 401)
	add("Authorization in capitals", request2("POST", "/mcp", field{"Authorization", "Bearer good"}), 0)
	add("cookie crumbs", request2("POST", "/mcp", field{"cookie", "access_token=good"}, field{"cookie", "a=b"}), 401)
	add("a cookie beside the token", request2("POST", "/mcp", token, field{"cookie", "a=b"}), 200)
	add("two paths", request2("POST", "/health", field{":path", "/mcp"}), 0)
	add("two methods", request2("GET", "/mcp", field{":method", "POST"}), 0)
	add("two authorities", request2("POST", "/mcp", field{":authority", "evil.example"}), 0)
	add("another authority", []field{{":method", "POST"}, {":scheme", "http"}, {":authority", "evil.example"}, {":path", "/mcp"}}, 421)
	add("an authority and a host", request2("POST", "/mcp", field{"host", "evil.example"}), 401, 421, 0)
	add("a host that is not the authority", []field{{":method", "POST"}, {":scheme", "http"}, {":authority", "evil.example"}, {":path", "/mcp"}, {"host", "mcp.example.com"}}, 421, 0)
	add("an authority with a user", []field{{":method", "POST"}, {":scheme", "http"}, {":authority", "user@mcp.example.com"}, {":path", "/mcp"}}, 421, 0)
	add("no authority", []field{{":method", "POST"}, {":scheme", "http"}, {":path", "/mcp"}}, 400, 0)
	add("no path", []field{{":method", "POST"}, {":scheme", "http"}, {":authority", "mcp.example.com"}}, 400, 0)
	add("no method", []field{{":scheme", "http"}, {":authority", "mcp.example.com"}, {":path", "/mcp"}}, 400, 0)
	add("no scheme", []field{{":method", "POST"}, {":authority", "mcp.example.com"}, {":path", "/mcp"}}, 400, 401, 0)
	add("a strange scheme", []field{{":method", "POST"}, {":scheme", "gopher"}, {":authority", "mcp.example.com"}, {":path", "/mcp"}}, 401)
	add("a scheme with a path", []field{{":method", "POST"}, {":scheme", "http://mcp.example.com/health?"}, {":authority", "mcp.example.com"}, {":path", "/mcp"}}, 400, 0)
	add("an unknown pseudo-header", request2("POST", "/mcp", field{":x-neonpanel-subject", "forged"}), 0)
	add("a response's pseudo-header", request2("POST", "/mcp", field{":status", "200"}), 0)
	add("a pseudo-header at the end", request2("POST", "/mcp", token, field{":path", "/health"}), 0)
	add("transfer-encoding", request2("POST", "/mcp", token, field{"transfer-encoding", "chunked"}), 0, 400, 501)
	add("connection", request2("POST", "/mcp", token, field{"connection", "x-neonpanel-subject"}), 0)
	add("upgrade", request2("POST", "/mcp", token, field{"upgrade", "websocket"}), 0, 403)
	add("an extended CONNECT", request2("CONNECT", "/mcp", field{":protocol", "websocket"}), 0)
	add("an extended CONNECT with a token", request2("CONNECT", "/mcp", field{":protocol", "websocket"}, token), 0)
	add("two lengths", request2("POST", "/mcp", field{"content-length", "0"}, field{"content-length", "5"}), 0)
	add("a length that is none", request2("POST", "/mcp", field{"content-length", "x"}), 0)
	probes = append(probes,
		probe2{"HTTP/2 a length shorter than the body", request2("POST", "/mcp", token, field{"content-length", "1"}), "POST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nx-neonpanel-subject: forged\r\n\r\n", nil, []int{0}},
		probe2{"HTTP/2 a length longer than the body", request2("POST", "/mcp", token, field{"content-length", "100"}), "{}", nil, []int{0}},
		probe2{"HTTP/2 a request in the body", request2("POST", "/mcp"), "POST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nAuthorization: Bearer good\r\n\r\n", nil, []int{401}},
		probe2{"HTTP/2 a request in the body of a good one", request2("POST", "/mcp", token), "0\r\n\r\nPOST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nx-neonpanel-subject: forged\r\n\r\n", nil, []int{200}},
		probe2{"HTTP/2 identity in trailers", request2("POST", "/mcp", token), "{}", []field{{"x-neonpanel-subject", "forged"}}, []int{200}},
		probe2{"HTTP/2 a token in trailers", request2("POST", "/mcp"), "{}", []field{token}, []int{401}},
		probe2{"HTTP/2 a path in trailers", request2("GET", "/health"), "{}", []field{{":path", "/mcp"}}, []int{0, 200}},
		probe2{"HTTP/2 many headers", request2("POST", "/mcp", append([]field{token}, slicesOf(field{"x-many", "x"}, 120)...)...), "", nil, []int{431, 0}},
		probe2{"HTTP/2 a header in continuations", request2("POST", "/mcp", append(slicesOf(field{"x-part", strings.Repeat("~", 1000)}, 20), token)...), "", nil, []int{200}},
		probe2{"HTTP/2 headers too large", request2("POST", "/mcp", slicesOf(field{"x-part", strings.Repeat("~", 1000)}, 60)...), "", nil, []int{431, 0}},
		probe2{"HTTP/2 a body too large", request2("POST", "/mcp", token, field{"content-length", "70000"}), strings.Repeat("x", 16<<10), nil, []int{413, 0}},
	)
	return probes
}

func slicesOf(f field, n int) []field {
	fields := make([]field, n)
	for i := range fields {
		fields[i] = f
	}
	return fields
}
