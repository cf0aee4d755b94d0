package server_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/denial"
)

const (
	meta   = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	modern = "2026-07-28"
)

func modernCall(tool string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":{},` + meta + `}}`
}

func TestMCPAnswersBadInput(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	deep := `{"jsonrpc":"2.0","id":1,"method":"ping","params":` + strings.Repeat(`{"a":`, 100_000)
	for _, tc := range []struct {
		name, method, body string
		header             []string
		status, code       int
		says               string
	}{
		{name: "GET", method: "GET", status: 405, says: "POST"},
		{name: "DELETE", method: "DELETE", status: 405, says: "POST"},
		{name: "no content type", body: call(1, "echo"), header: []string{"Content-Type", ""}, status: 415, says: "application/json"},
		{name: "form", body: "a=b", header: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, says: "application/json"},
		{name: "UTF-16", body: call(1, "echo"), header: []string{"Content-Type", "application/json;charset=utf-16"}, status: 415, says: "UTF-8"},
		{name: "UTF-8", body: call(1, "echo"), header: []string{"Content-Type", `application/json; charset="UTF-8"`}, status: 200},
		{name: "invalid UTF-8", body: "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"x\":\"\xff\"}}", status: 400, code: -32700, says: "UTF-8"},
		{name: "notification with an id", body: `{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}`, status: 400, code: -32600},
		{name: "unknown notification with an id", body: `{"jsonrpc":"2.0","id":1,"method":"notifications/foo"}`, status: 200, code: -32601},
		{name: "compressed", body: "xx", header: []string{"Content-Encoding", "gzip"}, status: 415, says: "Content-Encoding"},
		{name: "accepts neither", body: call(1, "echo"), header: []string{"Accept", "text/html"}, status: 406, says: "Accept"},
		{name: "accepts only JSON", body: call(1, "echo"), header: []string{"Accept", "application/json"}, status: 200},
		{name: "accepts anything", body: call(1, "echo"), header: []string{"Accept", "*/*"}, status: 200},
		{name: "no accept", body: call(1, "echo"), header: []string{"Accept", ""}, status: 200},
		{name: "empty", body: " ", status: 400, code: -32700},
		{name: "malformed", body: `{"jsonrpc":"2.0",`, status: 400, code: -32700},
		{name: "rubbish after it", body: call(1, "echo") + "x", status: 400, code: -32700},
		{name: "too deep", body: deep, status: 400, code: -32700},
		{name: "a number", body: "1", status: 400, code: -32600},
		{name: "null", body: "null", status: 400, code: -32600},
		{name: "batch", body: "[" + call(1, "echo") + "]", status: 400, code: -32600, says: "batch"},
		{name: "empty batch", body: "[]", status: 400, code: -32600, says: "batch"},
		{name: "no version", body: `{"id":1,"method":"ping"}`, status: 400, code: -32600},
		{name: "id is an object", body: `{"jsonrpc":"2.0","id":{},"method":"ping"}`, status: 400, code: -32600},
		{name: "id that no int64 holds", body: `{"jsonrpc":"2.0","id":9223372036854775808,"method":"ping"}`, status: 400, code: -32600, says: `"id":9223372036854775808,`},
		{name: "id with a fraction", body: `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`, status: 400, code: -32600, says: `"id":1.5,`},
		{name: "id with an exponent", body: `{"jsonrpc":"2.0","id":1e2,"method":"ping"}`, status: 400, code: -32600, says: "a string, or an integer"},
		{name: "id is null", body: `{"jsonrpc":"2.0","id":null,"method":"ping"}`, status: 400, code: -32600, says: "a string, or an integer"},
		{name: "method is a number", body: `{"jsonrpc":"2.0","id":1,"method":5}`, status: 400, code: -32600},
		{name: "positional params", body: `{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`, status: 400, code: -32600},
		{name: "request without id", body: `{"jsonrpc":"2.0","method":"tools/list"}`, status: 400, code: -32600},
		{name: "unknown method", body: `{"jsonrpc":"2.0","id":1,"method":"nonsense"}`, status: 200, code: -32601},
		{name: "subscription", body: `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}`, status: 200, code: -32601},
		{name: "call without params", body: `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`, status: 200, code: -32602},
		{name: "call without name", body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`, status: 200, code: -32602},
		{name: "unknown tool", body: call(1, "nonsense"), status: 200, code: -32602, says: "nonsense"},
		{name: "cursor of another type", body: `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":5}}`, status: 200, code: -32602},
		{name: "cursor of another server", body: `{"jsonrpc":"2.0","id":"a","method":"tools/list","params":{"cursor":"5"}}`, status: 200, code: -32602},
		{name: "unknown old version", body: call(1, "echo"), header: []string{"Mcp-Protocol-Version", "1999-01-01"}, status: 400, code: -32022, says: "2025-11-25"},
		{name: "unknown new version without _meta", body: call(1, "echo"), header: []string{"Mcp-Protocol-Version", "2027-01-01"}, status: 400, code: -32022, says: "2025-11-25"},
		{name: "a version that is none", body: call(1, "echo"), header: []string{"Mcp-Protocol-Version", "zzz"}, status: 400, code: -32022, says: "2025-11-25"},
		{name: "last event id", body: call(1, "echo"), header: []string{"Last-Event-ID", "x_1"}, status: 200},
		{name: "session of another age", body: call(1, "echo"), header: []string{"Mcp-Session-Id", "x"}, status: 200},

		{name: "modern unknown method", body: `{"jsonrpc":"2.0","id":1,"method":"nonsense","params":{` + meta + `}}`,
			header: []string{"Mcp-Protocol-Version", modern, "Mcp-Method", "nonsense"}, status: 404, code: -32601},
		{name: "modern subscription", body: `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{` + meta + `}}`,
			header: []string{"Mcp-Protocol-Version", modern, "Mcp-Method", "subscriptions/listen"}, status: 404, code: -32601},
		{name: "modern unknown tool", body: modernCall("nonsense"),
			header: []string{"Mcp-Protocol-Version", modern, "Mcp-Method", "tools/call", "Mcp-Name", "nonsense"}, status: 400, code: -32602},
		{name: "modern without method header", body: modernCall("echo"),
			header: []string{"Mcp-Protocol-Version", modern}, status: 400, code: -32020},
		{name: "modern with another name", body: modernCall("echo"),
			header: []string{"Mcp-Protocol-Version", modern, "Mcp-Method", "tools/call", "Mcp-Name", "import"}, status: 400, code: -32020},
		{name: "modern with an encoded name", body: modernCall("echo"),
			header: []string{"Mcp-Protocol-Version", modern, "Mcp-Method", "tools/call", "Mcp-Name", "=?base64?" + base64.StdEncoding.EncodeToString([]byte("echo")) + "?="}, status: 200},
		{name: "modern without meta", body: call(1, "echo"),
			header: []string{"Mcp-Protocol-Version", modern, "Mcp-Method", "tools/call", "Mcp-Name", "echo"}, status: 400, code: -32602},
		{name: "version of the future", body: strings.ReplaceAll(modernCall("echo"), modern, "2099-01-01"),
			header: []string{"Mcp-Protocol-Version", "2099-01-01", "Mcp-Method", "tools/call", "Mcp-Name", "echo"}, status: 400, code: -32022},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			method := tc.method
			if method == "" {
				method = http.MethodPost
			}
			w := e.do(alice, method, "/mcp", tc.body, tc.header...)
			body := w.Body.String()
			if w.Code != tc.status {
				t.Errorf("status %d, want %d; %s", w.Code, tc.status, body)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" && got != "text/event-stream" {
				t.Errorf("Content-Type %q, want JSON", got)
			}
			if got := w.Header().Get("Cache-Control"); !strings.HasPrefix(got, "no-store") {
				t.Errorf("Cache-Control %q, want no-store", got)
			}
			if tc.status == 405 && w.Header().Get("Allow") != "POST" {
				t.Errorf("Allow %q, want POST", w.Header().Get("Allow"))
			}
			if !strings.Contains(body, tc.says) {
				t.Errorf("%s does not say %q", body, tc.says)
			}
			if tc.status == 405 || tc.status == 406 || tc.status == 415 {
				if got := decode[map[string]string](t, w.Body.Bytes()); got["error"] == "" || got["error_description"] == "" {
					t.Errorf("%s says neither what is wrong nor what to do", body)
				}
				return
			}
			if w.Header().Get("Content-Type") == "text/event-stream" {
				_, body, _ = strings.Cut(body, "data: ")
			}
			r := decode[reply](t, []byte(strings.TrimSpace(body)))
			switch {
			case tc.code != 0 && (r.Error == nil || r.Error.Code != tc.code):
				t.Errorf("%s, want the error %d", body, tc.code)
			case tc.status == 200 && tc.code == 0 && r.Result == nil:
				t.Errorf("%s, want a result", body)
			}
		})
	}
}

func TestMCPRefusesBodiesThatAreTooLarge(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	large := `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"` + strings.Repeat("x", 4<<20) + `"}}`
	for _, path := range []string{"/mcp", "/mcp/tools/call", "/messages?sessionId=x"} {
		if w := e.do(alice, "POST", path, large); w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: status %d, want 413", path, w.Code)
		}
	}
}

func TestMCPAcceptsNotifications(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	for _, method := range []string{"notifications/initialized", "notifications/cancelled", "notifications/foo", "nonsense"} {
		w := e.do(alice, "POST", "/mcp", `{"jsonrpc":"2.0","method":"`+method+`"}`)
		if w.Code != http.StatusAccepted || w.Body.Len() != 0 {
			t.Errorf("%s: status %d with %q, want 202 without a body", method, w.Code, w.Body)
		}
	}
	if w := e.do(caller{anonymous: true, inForce: "read:companies"}, "POST", "/mcp", `{"jsonrpc":"2.0","method":"notifications/foo"}`); w.Code != http.StatusUnauthorized {
		t.Errorf("status %d for an anonymous caller, want 401", w.Code)
	}
}

func TestCapabilitiesAskForNoStreams(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	for _, body := range []string{
		initialize,
		`{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{` + meta + `}}`,
	} {
		header := []string{}
		if strings.Contains(body, "discover") {
			header = []string{"Mcp-Protocol-Version", modern, "Mcp-Method", "server/discover"}
		}
		w := e.do(alice, "POST", "/mcp", body, header...)
		got := decode[struct {
			Result struct {
				Capabilities map[string]map[string]any
				Instructions string
				CacheScope   string
				ServerInfo   struct{ Name, Version string }
			}
		}](t, w.Body.Bytes()).Result
		// Neither listChanged nor subscribe nor logging, for which clients would
		// hold streams open.
		for _, name := range []string{"completions", "prompts", "resources", "tools"} {
			if members, ok := got.Capabilities[name]; !ok || len(members) != 0 {
				t.Errorf("capability %s: %v", name, members)
			}
		}
		if len(got.Capabilities) != 4 {
			t.Errorf("capabilities %v", got.Capabilities)
		}
		if n := len(got.Instructions); n == 0 || n > 512 {
			t.Errorf("%d characters of instructions, want up to 512", n)
		}
		if strings.Contains(body, "discover") && got.CacheScope != "private" {
			t.Errorf("cacheScope %q, want private", got.CacheScope)
		}
	}
}

func TestToolsListNamesTheScopesInForce(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	scopes := func(c caller, tool string) string {
		w := e.do(c, "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		r := decode[reply](t, w.Body.Bytes())
		if r.Result == nil || r.Result.CacheScope != "private" {
			t.Fatalf("%s", w.Body)
		}
		for _, listed := range r.Result.Tools {
			if listed["name"] == tool {
				top := listed["securitySchemes"].([]any)[0].(map[string]any)
				inMeta := listed["_meta"].(map[string]any)["securitySchemes"].([]any)[0].(map[string]any)
				if top["type"] != "oauth2" || inMeta["type"] != "oauth2" || len(top["scopes"].([]any)) != len(inMeta["scopes"].([]any)) {
					t.Errorf("securitySchemes %v and %v differ", top, inMeta)
				}
				var names []string
				for _, s := range top["scopes"].([]any) {
					names = append(names, s.(string))
				}
				return strings.Join(names, " ")
			}
		}
		t.Fatalf("%s is not listed", tool)
		return ""
	}
	if got := scopes(alice, "import"); got != "write:import" {
		t.Errorf("import needs %q, want write:import, though the caller lacks it", got)
	}
	if got := scopes(alice, "unknown_scope"); got != "" {
		t.Errorf("unknown_scope needs %q, want nothing: nobody can obtain it", got)
	}
	other := alice
	other.inForce = "read:companies"
	if got := scopes(other, "import"); got != "" {
		t.Errorf("import needs %q where its scope is not in force", got)
	}
	if got := scopes(alice, "import"); got != "write:import" {
		t.Errorf("import needs %q after another deployment asked", got)
	}
}

func TestScopesAreEnforced(t *testing.T) {
	t.Parallel()
	const wanted = `Bearer ` + challengeParams + `, error="insufficient_scope", error_description="The access token lacks a scope that this tool needs.", scope="write:import"`
	for _, tc := range []struct {
		name, mode, tool, scopes string
		status                   int
	}{
		{"missing", "", "import", "read:companies", 403},
		{"missing, enforced by name", "enforce", "import", "read:companies", 403},
		{"none at all", "", "import", "", 403},
		{"a prefix is not the scope", "", "import", "write:imports write", 403},
		{"granted", "", "import", "write:import", 200},
		{"only reported", "report", "import", "", 200},
		{"off", "off", "import", "", 200},
		{"not in force", "", "unknown_scope", "", 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t)
			c := alice
			c.mode, c.scopes = tc.mode, tc.scopes
			for path, body := range map[string]string{
				"/mcp":            call(1, tc.tool),
				"/mcp/tools/call": `{"name":"` + tc.tool + `"}`,
			} {
				w := e.do(c, "POST", path, body)
				if w.Code != tc.status {
					t.Errorf("%s: status %d, want %d; %s", path, w.Code, tc.status, w.Body)
				}
				if tc.status != 403 {
					continue
				}
				if got := w.Header().Get("WWW-Authenticate"); got != wanted {
					t.Errorf("%s: challenge\n%s, want\n%s", path, got, wanted)
				}
				if path == "/mcp" {
					got := decode[reply](t, w.Body.Bytes()).Result
					if got == nil || !got.IsError || fmt.Sprint(got.Meta[denial.MetaKey]) != "["+wanted+"]" || len(got.Content) != 1 {
						t.Errorf("no tool result with a challenge: %s", w.Body)
					}
					continue
				}
				got := decode[struct {
					Error string
					Meta  map[string][]string `json:"_meta"`
				}](t, w.Body.Bytes())
				if got.Error != "insufficient_scope" || len(got.Meta[denial.MetaKey]) != 1 {
					t.Errorf("%s: body %s", path, w.Body)
				}
			}
			if n := len(e.runner.seen()); tc.status == 403 && n != 0 {
				t.Errorf("%d calls reached the API", n)
			}
		})
	}
}

func TestATokenThatTheAPIRefusesIsAChallenge(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	const wanted = `Bearer ` + challengeParams + `, error="invalid_token", error_description="NeonPanel refused the access token. Sign in again.", scope="read:companies"`
	progress := strings.Replace(call(1, "refused"), `"arguments"`, `"_meta":{"progressToken":1},"arguments"`, 1)
	for _, tc := range []struct {
		name, path, body string
		header           []string
	}{
		{"legacy", "/mcp", call(1, "refused"), nil},
		{"modern", "/mcp", modernCall("refused"), []string{"Mcp-Protocol-Version", modern, "Mcp-Method", "tools/call", "Mcp-Name", "refused"}},
		{"stream", "/mcp", progress, nil},
		{"plain", "/mcp/tools/call", `{"name":"refused"}`, nil},
	} {
		w := e.do(alice, "POST", tc.path, tc.body, tc.header...)
		if w.Code != 401 || w.Header().Get("WWW-Authenticate") != wanted {
			t.Errorf("%s: status %d with challenge %q, want 401 and %q", tc.name, w.Code, w.Header().Get("WWW-Authenticate"), wanted)
		}
		if !strings.Contains(w.Body.String(), denial.MetaKey) {
			t.Errorf("%s: the body %s does not mirror the challenge", tc.name, w.Body)
		}
	}
}

func TestAnonymousCallersMayOnlyDiscover(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	anonymous := caller{anonymous: true, inForce: "read:companies write:import"}
	for _, tc := range []struct {
		body   string
		status int
	}{
		{initialize, 200},
		{`{"jsonrpc":"2.0","method":"notifications/initialized"}`, 202},
		{`{"jsonrpc":"2.0","id":1,"method":"ping"}`, 200},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, 200},
		{call(1, "echo"), 401},
		{call(1, "fail"), 401},
		{call(1, "nonsense"), 401},
		{`{"jsonrpc":"2.0","id":1,"method":"resources/list"}`, 401},
		{`{"jsonrpc":"2.0","id":1,"method":"prompts/list"}`, 401},
		{`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, 401},
		// The message that is dispatched decides: the last of two members, in its own case.
		{`{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"echo"}}`, 401},
		{`{"jsonrpc":"2.0","id":1,"Method":"tools/list","method":"tools/call","params":{"name":"echo"}}`, 401},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","METHOD":"tools/list","params":{"name":"echo"}}`, 401},
	} {
		w := e.do(anonymous, "POST", "/mcp", tc.body, "Mcp-Method", "tools/list")
		if w.Code != tc.status {
			t.Errorf("%s: status %d, want %d", tc.body, w.Code, tc.status)
		}
		if tc.status != 401 {
			continue
		}
		if got := w.Header().Get("WWW-Authenticate"); got != "Bearer "+challengeParams+`, scope="read:companies write:import"` {
			t.Errorf("%s: challenge %q", tc.body, got)
		}
		if !strings.Contains(w.Body.String(), denial.MetaKey) {
			t.Errorf("%s: the body %s does not mirror the challenge", tc.body, w.Body)
		}
	}
	for path, method := range map[string]string{"/sse": "GET", "/messages?sessionId=x": "POST", "/mcp/tools/call": "POST"} {
		if w := e.do(anonymous, method, path, ""); w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: status %d, want 401 with a challenge", path, w.Code)
		}
	}
	if seen := e.runner.seen(); len(seen) != 0 {
		t.Errorf("anonymous calls reached the API: %v", seen)
	}
}

func TestIdentityContract(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	future := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
	past := strconv.FormatInt(time.Now().Add(-time.Second).Unix(), 10)
	for _, tc := range []struct {
		name   string
		header []string
	}{
		{"no headers", []string{"X-Neonpanel-Auth", ""}},
		{"unknown auth", []string{"X-Neonpanel-Auth", "basic"}},
		{"auth in capitals", []string{"X-Neonpanel-Auth", "Bearer"}},
		{"auth as a list", []string{"X-Neonpanel-Auth", "bearer, anonymous"}},
		{"no subject", []string{"X-Neonpanel-Subject", ""}},
		{"blank subject", []string{"X-Neonpanel-Subject", " "}},
		{"no expiry", []string{"X-Neonpanel-Expires", ""}},
		{"expired", []string{"X-Neonpanel-Expires", past}},
		{"expiry with a fraction", []string{"X-Neonpanel-Expires", future + ".5"}},
		{"no token", []string{"Authorization", ""}},
		{"no bearer token", []string{"Authorization", "Basic eDp5"}},
		{"two tokens", []string{"Authorization", "Bearer a, Bearer b"}},
		{"unknown mode", []string{"X-Neonpanel-Scope-Mode", "lax"}},
	} {
		for path, method := range map[string]string{"/mcp": "POST", "/mcp/tools/call": "POST", "/sse": "GET", "/sse/": "GET", "/messages?sessionId=x": "POST"} {
			w := e.do(alice, method, path, call(1, "echo"), tc.header...)
			if w.Code != http.StatusInternalServerError {
				t.Errorf("%s on %s: status %d, want 500", tc.name, path, w.Code)
			}
		}
	}
	if seen := e.runner.seen(); len(seen) != 0 {
		t.Errorf("calls without identity reached the API: %v", seen)
	}
	if log := e.log.String(); !strings.Contains(log, `"level":"ERROR"`) || strings.Contains(log, "alice-token") {
		t.Errorf("want an error in the log, without a token: %s", log)
	}
}

func TestAnIdentityHeaderThatComesTwiceIsRefused(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	for _, name := range []string{"X-Neonpanel-Auth", "X-Neonpanel-Subject", "X-Neonpanel-Expires", "X-Neonpanel-Scopes", "X-Neonpanel-Client-Id", "Authorization"} {
		r, err := http.NewRequestWithContext(context.Background(), "POST", "/mcp", strings.NewReader(call(1, "echo")))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		alice.inject(r.Header)
		r.Header.Add(name, r.Header.Get(name))
		w := newRecorder()
		e.handler.ServeHTTP(w, r)
		if w.Code != http.StatusInternalServerError {
			t.Errorf("%s: status %d, want 500", name, w.Code)
		}
	}
}

func TestPlainCalls(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	for _, tc := range []struct {
		name, method, body string
		header             []string
		status             int
		says               string
	}{
		{name: "ok", body: `{"name":"echo","arguments":{"company_uuid":"c-1"}}`, status: 200, says: `"structuredContent":{"arguments":{"company_uuid":"c-1"}`},
		{name: "no arguments", body: `{"name":"echo"}`, status: 200, says: `"isError":false`},
		{name: "failure", body: `{"name":"fail"}`, status: 429, says: `"isError":true`},
		{name: "panic", body: `{"name":"panic"}`, status: 500, says: `"isError":true`},
		{name: "GET", method: "GET", status: 405, says: "/mcp/capabilities"},
		{name: "no name", body: `{"arguments":{}}`, status: 400, says: "name"},
		{name: "empty name", body: `{"name":""}`, status: 400, says: "name"},
		{name: "null", body: `null`, status: 400, says: "name"},
		{name: "a list", body: `[]`, status: 400, says: "JSON object"},
		{name: "malformed", body: `{`, status: 400, says: "valid JSON"},
		{name: "invalid UTF-8", body: "{\"name\":\"echo\",\"arguments\":{\"company_uuid\":\"\xff\"}}", status: 400, says: "UTF-8"},
		{name: "form", body: "a=b", header: []string{"Content-Type", "text/plain"}, status: 415, says: "application/json"},
		{name: "unknown", body: `{"name":"nonsense"}`, status: 404, says: "/mcp/capabilities"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			method := tc.method
			if method == "" {
				method = "POST"
			}
			w := e.do(alice, method, "/mcp/tools/call", tc.body, tc.header...)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.says) {
				t.Errorf("status %d with %s, want %d with %q", w.Code, w.Body, tc.status, tc.says)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q", got)
			}
			if got := w.Header().Get("Retry-After"); tc.status == 429 && got != "7" {
				t.Errorf("Retry-After %q, want 7", got)
			}
			decode[map[string]any](t, w.Body.Bytes())
		})
	}
}

func TestNothingElseIsServed(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	for _, path := range []string{"/x", "/mcp/", "/sse/x", "/metrics", "/healthz", "/messages/", "/.well-known/x"} {
		if w := e.do(alice, "GET", path, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d, want 404", path, w.Code)
		}
	}
}

func TestTheAuditLogNamesWhoCalledWhat(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	e.do(alice, "POST", "/mcp", call(1, "echo"))
	e.do(alice, "POST", "/mcp", call(1, "panic"))
	e.do(alice, "POST", "/mcp/tools/call", `{"name":"echo","arguments":{"company_uuid":"c 1 secret"}}`)
	log := e.log.String()
	for _, want := range []string{
		`"subject":"alice","client_id":"app","tool":"echo","transport":"streamable","outcome":"ok"`, `"company":"c-1"`, `"outcome":"internal"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
	for _, never := range []string{"alice-token", "secret"} {
		if strings.Contains(log, never) {
			t.Errorf("the log holds %q: %s", never, log)
		}
	}
}
