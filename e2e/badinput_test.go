package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// Requests that are wrong before a tool is looked at: the status says whose
// fault it is, and the body what to do.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.token(t, sellerOne)
	list := `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}`
	const json, accept = "application/json", "application/json, text/event-stream"
	for _, c := range []struct {
		name         string
		method, path string
		contentType  string
		body         string
		headers      []string
		status       int
		says         string // part of the body, in lower case
	}{
		{"malformed JSON", "POST", "/mcp", json, `{"jsonrpc":`, nil, 400, "json"},
		{"no body", "POST", "/mcp", json, ``, nil, 400, ""},
		{"not JSON-RPC", "POST", "/mcp", json, `{"hello":"world"}`, nil, 400, ""},
		{"form", "POST", "/mcp", "application/x-www-form-urlencoded", `a=b`, nil, 415, "application/json"},
		{"no Accept for streams", "POST", "/mcp", json, list, []string{"Accept", "text/html"}, 406, "accept"},
		{"unknown protocol version", "POST", "/mcp", json, list, []string{"MCP-Protocol-Version", "1999-01-01"}, 400, "version"},
		{"nesting beyond reason", "POST", "/mcp", json, strings.Repeat("[", 100_000), nil, 400, ""},
		{"body too large", "POST", "/mcp", json, `"` + strings.Repeat("a", 5<<20) + `"`, nil, 413, ""},

		{"plain call, malformed JSON", "POST", "/mcp/tools/call", json, `{"name":`, nil, 400, "json"},
		{"plain call, wrong content type", "POST", "/mcp/tools/call", "text/plain", `{"name":"list_companies"}`, nil, 415, "application/json"},
		{"plain call, no name", "POST", "/mcp/tools/call", json, `{"arguments":{}}`, nil, 400, "name"},
		{"plain call, unknown tool", "POST", "/mcp/tools/call", json, `{"name":"no_such_tool"}`, nil, 404, "tool"},
		{"plain call, missing argument", "POST", "/mcp/tools/call", json, `{"name":"list_warehouses","arguments":{}}`, nil, 400, "companyuuid"},
		{"plain call, ill-typed argument", "POST", "/mcp/tools/call", json, `{"name":"list_companies","arguments":{"page":"many"}}`, nil, 400, "page"},
		{"plain call, ill-typed arguments", "POST", "/mcp/tools/call", json, `{"name":"list_companies","arguments":[1]}`, nil, 400, "arguments"},

		{"message without a session", "POST", "/messages", json, list, nil, 400, "session"},
		{"message of an unknown session", "POST", "/messages?sessionId=00000000000000000000000000000000", json, list, nil, 404, "session"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			headers := append([]string{"Content-Type", c.contentType, "Origin", "https://chatgpt.com"}, bearer(token)...)
			if c.headers == nil || c.headers[0] != "Accept" {
				headers = append(headers, "Accept", accept)
			}
			r := g.send(t, c.method, c.path, c.body, append(headers, c.headers...)...)
			if r.Status != c.status {
				t.Fatalf("%d, want %d: %.300s", r.Status, c.status, r.Body)
			}
			if !strings.Contains(strings.ToLower(r.Body), c.says) || r.Body == "" {
				t.Errorf("the body does not say %q: %.300s", c.says, r.Body)
			}
			if r.Header.Get("Access-Control-Allow-Origin") == "" {
				t.Error("no CORS")
			}
		})
	}
}

// Requests that are sound but ask a tool for what cannot be: the model gets a
// result that says what was wrong.
func TestBadArguments(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.token(t, sellerOne)
	company := g.companies(t, token)[0].UUID
	for transport, call := range callers(g) {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				name, tool, says string
				arguments        map[string]any
			}{
				{"missing argument", "list_warehouses", "companyuuid", map[string]any{}},
				{"ill-typed argument", "list_companies", "page", map[string]any{"page": "many"}},
				{"out of range", "list_companies", "limit", map[string]any{"limit": 100_000}},
				{"unknown company", "list_warehouses", "", map[string]any{"companyUuid": "0000000000000000000000000000000000000000"}},
				{"company that climbs", "list_warehouses", "companyuuid", map[string]any{"companyUuid": "../../etc"}},
				{"unknown item", "inventory_balances", "", map[string]any{"companyUuid": company, "inventoryId": 999_999_999}},
				{"date that is none", "revenue_and_cogs_summary", "start_date", map[string]any{"start_date": "yesterday-ish"}},
			} {
				result := call(t, token, c.tool, c.arguments)
				text := strings.ToLower(result.text())
				if !result.IsError || !strings.Contains(text, c.says) || len(text) < 20 {
					t.Errorf("%s: isError %v, %s", c.name, result.IsError, result.text())
				}
				for _, leak := range []string{"goroutine", "127.0.0.1", "/tmp/", "stack trace", "<html"} {
					if strings.Contains(text, leak) {
						t.Errorf("%s: the text leaks %q: %s", c.name, leak, text)
					}
				}
			}
		})
	}
}

func TestUnknownToolIsAnInvalidParam(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.token(t, sellerOne)
	for _, version := range []string{modern, legacy} {
		r := g.rpc(t, version, token, "tools/call", "no_such_tool", map[string]any{"name": "no_such_tool", "arguments": map[string]any{}})
		if r.Error.Code != -32602 || !strings.Contains(r.Error.Message, "tool") {
			t.Errorf("%s: %d %s", version, r.Status, r.Body)
		}
		r = g.rpc(t, version, token, "no/such/method", "", nil)
		if r.Error.Code != -32601 {
			t.Errorf("%s: unknown method: %d %s", version, r.Status, r.Body)
		}
	}
}

func TestArgumentsAreTakenAsModelsSendThem(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.token(t, sellerOne)
	for _, arguments := range []string{
		`{"companyUuid":%s}`, `{"params":{"companyUuid":%s}}`, `"{\"companyUuid\":%s}"`,
	} {
		id := `"` + g.companies(t, token)[0].UUID + `"`
		if strings.HasPrefix(arguments, `"`) {
			id = strings.ReplaceAll(id, `"`, `\"`)
		}
		body := `{"name":"list_warehouses","arguments":` + strings.Replace(arguments, "%s", id, 1) + `}`
		r := g.send(t, http.MethodPost, "/mcp/tools/call", body, append([]string{"Content-Type", "application/json"}, bearer(token)...)...)
		if r.Status != 200 {
			t.Errorf("%s: %d %s", body, r.Status, r.Body)
		}
	}
}

func TestTokensThatAreNotGood(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	good := g.token(t, sellerOne)
	other := sharedForeignToken(t)
	header, rest, _ := strings.Cut(good, ".")
	payload, _, _ := strings.Cut(rest, ".")
	for _, c := range []struct {
		name, authorization string
		status              int
		code                string
	}{
		{"another issuer's", "Bearer " + other, 401, "invalid_token"},
		{"no signature", "Bearer " + header + "." + payload + ".", 401, "invalid_token"},
		{"alg none", "Bearer eyJhbGciOiJub25lIn0." + payload + ".", 401, "invalid_token"},
		{"changed payload", "Bearer " + header + "." + payload[:len(payload)-4] + "AAAA." + good[strings.LastIndex(good, ".")+1:], 401, "invalid_token"},
		{"for another audience", "Bearer " + g.mint(t, stack.TokenRequest{Account: sellerOne, Resource: g.Issuer}), 401, "invalid_token"},
		{"oversize", "Bearer " + strings.Repeat("a", 9000), 400, "invalid_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := g.send(t, http.MethodPost, "/mcp", "{}", "Authorization", c.authorization)
			if r.Status != c.status || !strings.Contains(r.Header.Get("WWW-Authenticate"), `error="`+c.code+`"`) {
				t.Errorf("%d %q %s", r.Status, r.Header.Get("WWW-Authenticate"), r.Body)
			}
		})
	}
	r := g.send(t, http.MethodPost, "/mcp", "{}", "Authorization", "Bearer "+good, "Authorization", "Bearer "+good)
	if r.Status != 400 {
		t.Errorf("two credentials: %d %s", r.Status, r.Body)
	}
	// An expired token is refused from the second on which it expires.
	short := g.mint(t, stack.TokenRequest{Account: sellerOne, TTL: "15s"})
	if r := g.rpc(t, legacy, short, "tools/list", "", nil); r.Status != 200 {
		t.Fatalf("a short token, fresh: %d %s", r.Status, r.Body)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		r := g.rpc(t, legacy, short, "tools/list", "", nil)
		if r.Status == 401 && strings.Contains(r.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a token of 15s still gets %d", r.Status)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// sharedForeignToken is a token that is sound in every way, but of a foreign
// issuer and key.
func sharedForeignToken(t *testing.T) string {
	t.Helper()
	foreign := ownGateway(t, stack.Options{})
	return foreign.token(t, sellerOne)
}

// sandboxClient is the client that the sandbox mints tokens for.
const sandboxClient = "neonpanel-sandbox"

func TestEveryKindOfToken(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	for _, kind := range []string{"jwt", "opaque"} {
		token := g.mint(t, stack.TokenRequest{Account: sellerTwo, Kind: kind})
		if r := g.call(t, modern, token, "list_companies", nil); r.IsError {
			t.Errorf("%s: %s", kind, r.text())
		}
	}
	// A Passport token has its client for an audience and names no issuer: it
	// is refused unless the settings say which clients are trusted.
	passport := stack.TokenRequest{Account: sellerTwo, Kind: "passport", ClientID: sandboxClient}
	if r := g.rpc(t, modern, g.mint(t, passport), "tools/list", "", nil); r.Status != 401 {
		t.Errorf("passport, by default: %d %s", r.Status, r.Body)
	}
	trusting := ownGateway(t, stack.Options{Env: map[string][]string{
		stack.Authz: {"AUTHZ_ALLOW_MISSING_ISSUER=true", "AUTHZ_CLIENT_IDS=" + sandboxClient},
	}})
	if r := trusting.call(t, modern, trusting.mint(t, passport), "list_companies", nil); r.IsError {
		t.Errorf("passport: %s", r.text())
	}
	passport.ClientID = "another-client"
	if r := trusting.rpc(t, modern, trusting.mint(t, passport), "tools/list", "", nil); r.Status != 401 {
		t.Errorf("passport of another client: %d %s", r.Status, r.Body)
	}
}

// A stream ends when the token that opened it does, unless a fresher one of
// the same user has been seen on it.
func TestStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	mint := func(ttl string) string {
		return g.mint(t, stack.TokenRequest{Account: sellerOne, TTL: ttl, ClientID: "stream-client"})
	}
	began := time.Now()
	short := mint("20s")
	s := g.stream(t, "/sse", short)
	extended := g.stream(t, "/sse/", short)
	g.initialize(t, s, short)
	g.initialize(t, extended, short)
	fresh := mint("1h")
	if r := g.streamCall(t, extended, fresh, "list_companies", nil); r.IsError {
		t.Error(r.text())
	}
	select {
	case <-s.end:
		if took := time.Since(began); took < 18*time.Second {
			t.Errorf("the stream ended after %s, before its token", took)
		}
	case <-time.After(80 * time.Second):
		t.Error("the stream outlived its token")
	}
	if r := g.post(t, s, short, `{"jsonrpc":"2.0","id":3,"method":"ping"}`); r.Status != 401 {
		t.Errorf("the expired token: %d", r.Status)
	}
	if r := g.streamCall(t, extended, fresh, "list_companies", nil); r.IsError {
		t.Error(r.text())
	}
}

// A scope that is missing is a 403 that names it, so that clients can ask for
// it (RFC 6750 §3.1, MCP step-up).
func TestMissingScope(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.mint(t, stack.TokenRequest{Account: sellerOne, Scope: "read:companies"})
	if r := g.call(t, modern, token, "list_companies", nil); r.IsError {
		t.Errorf("a scope that is there: %s", r.text())
	}
	company := g.companies(t, g.token(t, sellerOne))[0].UUID
	arguments, _ := json.Marshal(map[string]any{"name": "list_warehouses", "arguments": map[string]any{"companyUuid": company}})
	r := g.send(t, http.MethodPost, "/mcp/tools/call", string(arguments), append([]string{"Content-Type", "application/json"}, bearer(token)...)...)
	challenge := r.Header.Get("WWW-Authenticate")
	if r.Status != 403 || !strings.Contains(challenge, `error="insufficient_scope"`) || !strings.Contains(challenge, "read:warehouses") ||
		!strings.Contains(challenge, "resource_metadata=") {
		t.Errorf("%d %q %s", r.Status, challenge, r.Body)
	}
	for _, version := range []string{modern, legacy} {
		r := g.rpc(t, version, token, "tools/call", "list_warehouses", map[string]any{"name": "list_warehouses", "arguments": map[string]any{"companyUuid": company}})
		if !strings.Contains(r.Body+r.Header.Get("WWW-Authenticate"), "insufficient_scope") || !strings.Contains(r.Body+r.Header.Get("WWW-Authenticate"), "read:warehouses") {
			t.Errorf("%s: %d %q %s", version, r.Status, r.Header.Get("WWW-Authenticate"), r.Body)
		}
	}
}

// Every version of MCP that a client may ask for is served on one URL.
func TestEveryVersionOfTheProtocol(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	token := g.token(t, sellerOne)
	for _, version := range []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"} {
		r := g.rpc(t, version, token, "initialize", "", map[string]any{
			"protocolVersion": version, "capabilities": map[string]any{}, "clientInfo": map[string]any{"name": "e2e", "version": "1"},
		})
		var answer struct {
			ProtocolVersion string `json:"protocolVersion"`
		}
		if err := json.Unmarshal(r.Result, &answer); err != nil || answer.ProtocolVersion != version {
			t.Errorf("%s: agreed on %q: %d %s", version, answer.ProtocolVersion, r.Status, r.Body)
		}
		if r.Header.Get("Mcp-Session-Id") != "" {
			t.Errorf("%s: a session although the server is stateless", version)
		}
		if result := g.call(t, version, token, "list_companies", nil); result.IsError {
			t.Errorf("%s: %s", version, result.text())
		}
	}
	r := g.rpc(t, modern, token, "server/discover", "", nil)
	if r.Status != 200 || !strings.Contains(string(r.Result), modern) {
		t.Errorf("server/discover: %d %s", r.Status, r.Body)
	}
}

// Who sends many bad tokens is slowed down; who sends good ones from the same
// address is not.
func TestManyRefusalsAreSlowedDown(t *testing.T) {
	t.Parallel()
	g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Authz: {"AUTHZ_REFUSED_BURST=20", "AUTHZ_REFUSED_PER_MINUTE=1"}}})
	token := g.token(t, sellerOne)
	var last reply
	for range 40 {
		if last = g.send(t, http.MethodPost, "/mcp", "{}", "Authorization", "Bearer nonsense", "Origin", "https://chatgpt.com"); last.Status != 401 {
			break
		}
	}
	if last.Status != 429 || last.Header.Get("Retry-After") == "" || !strings.Contains(last.Body, "too_many_requests") {
		t.Errorf("%d %v %s", last.Status, last.Header, last.Body)
	}
	checkError(t, "429", last)
	for range 50 {
		if r := g.call(t, modern, token, "list_companies", nil); r.IsError {
			t.Error(r.text())
		}
	}
	if r := g.send(t, http.MethodGet, "/.well-known/oauth-protected-resource/mcp", ""); r.Status != 200 {
		t.Errorf("a public document: %d", r.Status)
	}
}
