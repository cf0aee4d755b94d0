package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	modern = "2026-07-28"
	legacy = "2025-11-25"
)

// rpcReply is a JSON-RPC response.
type rpcReply struct {
	reply
	Result json.RawMessage `json:"result"`
	Error  rpcError        `json:"error"`
}

// rpcError is the error of a JSON-RPC response; what refuses a request before
// it gets to JSON-RPC has a string in its place.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &e.Message)
	}
	type plain rpcError
	return json.Unmarshal(data, (*plain)(e))
}

// toolResult is the result of tools/call.
type toolResult struct {
	IsError    bool            `json:"isError"`
	Structured json.RawMessage `json:"structuredContent"`
	Content    []struct {
		Text string `json:"text"`
	} `json:"content"`
}

func (r toolResult) text() string {
	var b strings.Builder
	for _, c := range r.Content {
		b.WriteString(c.Text)
	}
	return b.String()
}

// message makes a JSON-RPC request of the given version of MCP and the headers
// that go with it.
func message(version, method, name string, params map[string]any) (body string, headers []string) {
	if params == nil {
		params = map[string]any{}
	}
	headers = []string{
		"Content-Type", "application/json",
		"Accept", "application/json, text/event-stream",
		"MCP-Protocol-Version", version,
	}
	if version == modern {
		params["_meta"] = map[string]any{
			"io.modelcontextprotocol/protocolVersion":    version,
			"io.modelcontextprotocol/clientCapabilities": map[string]any{},
			"io.modelcontextprotocol/clientInfo":         map[string]any{"name": "e2e", "version": "1"},
		}
		headers = append(headers, "Mcp-Method", method)
		if name != "" {
			headers = append(headers, "Mcp-Name", name)
		}
	}
	data, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		panic(err) // the caller's params are not JSON
	}
	return string(data), headers
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// rpc sends one request to /mcp.
func (g *gateway) rpc(t testing.TB, version, token, method, name string, params map[string]any) rpcReply {
	t.Helper()
	body, headers := message(version, method, name, params)
	r := g.send(t, http.MethodPost, "/mcp", body, append(headers, bearer(token)...)...)
	return decodeRPC(t, r)
}

func decodeRPC(t testing.TB, r reply) rpcReply {
	t.Helper()
	out := rpcReply{reply: r}
	text := r.Body
	if strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
		for line := range strings.SplitSeq(r.Body, "\n") {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				text = data
			}
		}
	}
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatalf("not JSON: %q: %v", text, err)
		}
	}
	return out
}

// call calls a tool over /mcp and fails the test unless it gets a result.
func (g *gateway) call(t testing.TB, version, token, tool string, arguments map[string]any) toolResult {
	t.Helper()
	r := g.rpc(t, version, token, "tools/call", tool, map[string]any{"name": tool, "arguments": arguments})
	if r.Status != http.StatusOK || r.Result == nil {
		t.Fatalf("%s: %d %s", tool, r.Status, r.Body)
	}
	var result toolResult
	if err := json.Unmarshal(r.Result, &result); err != nil {
		t.Fatal(err)
	}
	return result
}

// eventStream is a connection of the legacy HTTP+SSE transport (MCP 2024-11-05).
type eventStream struct {
	// Endpoint is where messages are posted, as the server named it.
	Endpoint string
	events   chan rpcReply
	end      chan error
	cancel   context.CancelFunc
}

// stream opens /sse, and fails the test unless it gets an endpoint.
func (g *gateway) stream(t testing.TB, path, token string) *eventStream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		t.Fatalf("GET %s: %s %s", path, resp.Status, data)
	}
	s := &eventStream{events: make(chan rpcReply, 16), end: make(chan error, 1), cancel: cancel}
	endpoint := make(chan string, 1)
	go func() {
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 4<<20)
		event := ""
		for lines.Scan() {
			line := lines.Text()
			if name, ok := strings.CutPrefix(line, "event: "); ok {
				event = name
			}
			data, ok := strings.CutPrefix(line, "data: ")
			switch {
			case !ok:
			case event == "endpoint":
				endpoint <- data
			default:
				var r rpcReply
				if json.Unmarshal([]byte(data), &r) == nil {
					r.Body = data
					s.events <- r
				}
			}
		}
		err := lines.Err()
		if err == nil {
			err = io.EOF
		}
		s.end <- err
	}()
	select {
	case s.Endpoint = <-endpoint:
	case err := <-s.end:
		t.Fatalf("the stream ended before it named its endpoint: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the stream named no endpoint in a minute")
	}
	// What is named may be a path or a whole URL of the same origin.
	s.Endpoint = strings.TrimPrefix(s.Endpoint, g.URL)
	if !strings.HasPrefix(s.Endpoint, "/messages?") {
		t.Fatalf("endpoint %q", s.Endpoint)
	}
	return s
}

// post sends a message of the session with a token.
func (g *gateway) post(t testing.TB, s *eventStream, token, body string) reply {
	t.Helper()
	return g.send(t, http.MethodPost, s.Endpoint, body,
		append([]string{"Content-Type", "application/json"}, bearer(token)...)...)
}

// next waits for the next message on the stream.
func (s *eventStream) next() (rpcReply, error) {
	select {
	case r := <-s.events:
		return r, nil
	case err := <-s.end:
		s.end <- err
		return rpcReply{}, fmt.Errorf("the stream ended: %w", err)
	case <-time.After(time.Minute):
		return rpcReply{}, errors.New("no message in a minute")
	}
}

// initialize does the handshake of the legacy transport.
func (g *gateway) initialize(t testing.TB, s *eventStream, token string) {
	t.Helper()
	r := g.post(t, s, token, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"e2e","version":"1"}}}`)
	if r.Status != http.StatusAccepted {
		t.Fatalf("initialize: %d %s", r.Status, r.Body)
	}
	if m, err := s.next(); err != nil || m.Result == nil {
		t.Fatalf("initialize: %s %v", m.Body, err)
	}
	r = g.post(t, s, token, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	if r.Status != http.StatusAccepted {
		t.Fatalf("initialized: %d %s", r.Status, r.Body)
	}
}

// streamCall calls a tool over the legacy transport.
func (g *gateway) streamCall(t testing.TB, s *eventStream, token, tool string, arguments map[string]any) toolResult {
	t.Helper()
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 7, "method": "tools/call",
		"params": map[string]any{"name": tool, "arguments": arguments}})
	if err != nil {
		t.Fatal(err)
	}
	if r := g.post(t, s, token, string(body)); r.Status != http.StatusAccepted {
		t.Fatalf("%s: %d %s", tool, r.Status, r.Body)
	}
	m, err := s.next()
	if err != nil || m.Result == nil {
		t.Fatalf("%s: %s %v", tool, m.Body, err)
	}
	var result toolResult
	if err := json.Unmarshal(m.Result, &result); err != nil {
		t.Fatal(err)
	}
	return result
}

// company is what the tests need of a company.
type company struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
}

// api asks the sandbox's API directly: the truth that tools are compared with.
func (g *gateway) api(t testing.TB, token, path string) json.RawMessage {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.Issuer+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", "e2e-truth")
	resp, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %s %v", path, resp.Status, data, err)
	}
	return data
}

// companies are those of the owner of the token, asked of the API itself.
func (g *gateway) companies(t testing.TB, token string) []company {
	t.Helper()
	return companiesIn(t, g.api(t, token, "/api/v1/companies"))
}

func companiesIn(t testing.TB, page json.RawMessage) []company {
	t.Helper()
	var answer struct {
		Data []company `json:"data"`
	}
	if err := json.Unmarshal(page, &answer); err != nil || len(answer.Data) == 0 {
		t.Fatalf("not a page of companies: %.300s (%v)", page, err)
	}
	return answer.Data
}
