package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/config"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/documents"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/legacysse"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mcpserver"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/ops"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/plaincall"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/selection"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/server"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const publicURL = "https://mcp.example.com"

// tools is a catalogue for the edge alone.
type tools []catalogue.Tool

func (t tools) Tools() []catalogue.Tool { return t }
func (t tools) Lookup(name string) (catalogue.Tool, bool) {
	i := slices.IndexFunc(t, func(t catalogue.Tool) bool { return t.Name == name })
	if i < 0 {
		return catalogue.Tool{}, false
	}
	return t[i], true
}
func (t tools) Known(name string) bool { _, ok := t.Lookup(name); return ok }
func (t tools) KnownToolset(name string) bool {
	return slices.ContainsFunc(t, func(t catalogue.Tool) bool { return t.Toolset == name })
}
func (t tools) DocumentJSON() []byte { return []byte(`{"openapi":"3.1.0"}`) }
func (t tools) DocumentYAML() []byte { return []byte("openapi: 3.1.0\n") }

var object = json.RawMessage(`{"type":"object","properties":{"company_uuid":{"type":"string"}}}`)

func testTools() tools {
	tool := func(name string, scopes ...string) catalogue.Tool {
		return catalogue.Tool{
			Name: name, Title: strings.ToUpper(name[:1]) + name[1:], Description: "Does " + name + ". Really.",
			Toolset: "tests", InputSchema: object, ReadOnly: true, Scopes: scopes,
		}
	}
	return tools{
		tool("block", "read:companies"), tool("echo", "read:companies"), tool("fail"), tool("import", "write:import"),
		tool("panic"), tool("refused", "read:companies"), tool("unknown_scope", "read:nobody"),
	}
}

// runner answers for the API.
type runner struct {
	mu      sync.Mutex
	bearers []string
	started chan struct{} // has an element for each call of block
	ended   chan error    // has the cause for each call of block that was cancelled
	release chan struct{} // lets calls of block end
}

func newRunner() *runner {
	return &runner{started: make(chan struct{}, 100), ended: make(chan error, 100), release: make(chan struct{})}
}

func (r *runner) Run(ctx context.Context, t catalogue.Tool, arguments json.RawMessage, c toolcall.Caller) toolcall.Result {
	r.mu.Lock()
	r.bearers = append(r.bearers, t.Name+" "+c.Bearer)
	r.mu.Unlock()
	failed := func(k toolcall.FailureKind, message string) toolcall.Result {
		return toolcall.Result{Text: message, Failure: &toolcall.Failure{Kind: k, Message: message}}
	}
	switch t.Name {
	case "panic":
		panic("secret value")
	case "fail":
		f := failed(toolcall.RateLimited, "NeonPanel is busy.")
		f.Failure.RetryAfter = 7 * time.Second
		return f
	case "refused":
		return failed(toolcall.Unauthenticated, "")
	case "block":
		r.started <- struct{}{}
		select {
		case <-ctx.Done():
			r.ended <- context.Cause(ctx)
			return failed(toolcall.Canceled, "The call was cancelled.")
		case <-r.release:
			return toolcall.Result{Text: "released"}
		}
	}
	if arguments == nil {
		arguments = json.RawMessage("{}")
	}
	structured, err := json.Marshal(map[string]any{"tool": t.Name, "arguments": arguments, "bearer": c.Bearer})
	if err != nil {
		return failed(toolcall.Internal, err.Error())
	}
	return toolcall.Result{Text: string(structured), Structured: structured, Companies: []string{"c-1"}}
}

func (r *runner) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bearers)
}

// edge is the whole service but for the API.
type edge struct {
	runner  *runner
	sse     *legacysse.Transport
	metrics *ops.Metrics
	handler http.Handler
	log     *buffer
}

type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newEdge(t testing.TB) *edge {
	t.Helper()
	r := newRunner()
	e := newEdgeOf(t, testTools(), r)
	e.runner = r
	return e
}

// offer is a catalogue.
type offer interface {
	documents.Catalogue
	selection.Tools
}

// newEdgeOf is the whole service with these tools.
func newEdgeOf(t testing.TB, catalogue offer, runner toolcall.Runner) *edge {
	t.Helper()
	return newEdgeWith(t, catalogue, runner, nil, nil)
}

// newReplica is newEdgeOf for a service that is not alone.
func newReplica(t testing.TB, catalogue offer, runner toolcall.Runner, post legacysse.Post) *edge {
	t.Helper()
	return newEdgeWith(t, catalogue, runner, nil, post)
}

// newLinkedEdge is newEdgeOf that tells link of the traces of its clients.
func newLinkedEdge(t testing.TB, catalogue offer, runner toolcall.Runner, link func(context.Context, string) context.Context) *edge {
	t.Helper()
	return newEdgeWith(t, catalogue, runner, link, nil)
}

func newEdgeWith(t testing.TB, catalogue offer, runner toolcall.Runner, link func(context.Context, string) context.Context, post legacysse.Post) *edge {
	t.Helper()
	e := &edge{metrics: ops.NewMetrics("v1.2.3", "abcdef"), log: &buffer{}}
	log := slog.New(slog.NewJSONHandler(e.log, nil))
	calls := &invocation.Service{Tools: catalogue, Runner: runner, Log: log, Observer: e.metrics, Now: time.Now}
	options := mcpserver.Options{
		Version: "v1.2.3", PublicURL: publicURL, Tools: catalogue, Calls: calls, Via: invocation.Streamable, Link: link,
	}
	changes, follows := catalogue.(changing)
	if follows {
		options.OnChange = changes.OnChange
	}
	stateless, err := mcpserver.New(options)
	if err != nil {
		t.Fatal(err)
	}
	streamable := mcpserver.NewHandler(stateless, options)
	options.Via, options.Legacy = invocation.SSE, true
	legacy, err := mcpserver.New(options)
	if err != nil {
		t.Fatal(err)
	}
	e.sse = legacysse.New(legacysse.Options{
		Server: legacy, Calls: calls, MaxStreams: 4, MaxPerOwner: 2, Observer: e.metrics, Log: log, Now: time.Now, Post: post,
	})
	public, replace, err := documents.Changing(documents.Options{
		PublicURL: publicURL, Build: documents.Build{Version: "v1.2.3", Commit: "abcdef"},
		Catalogue: catalogue, AppsChallenge: "token-123", Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	if follows {
		changes.renew(t, replace)
	}
	e.handler = server.New(server.Routes{
		MCP: streamable, Refuse: streamable.Refuse, Plain: plaincall.Handler{Calls: calls},
		SSE: http.HandlerFunc(e.sse.Stream), Messages: http.HandlerFunc(e.sse.Message), Public: public, Tools: catalogue,
	}, e.metrics, log, time.Now)
	return e
}

// caller is who the gateway says is calling.
type caller struct {
	subject, client, scopes, inForce, mode, token string
	expires                                       time.Duration
	anonymous                                     bool
}

const challengeParams = `realm="mcp", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`

var alice = caller{subject: "alice", client: "app", scopes: "read:companies", inForce: "read:companies write:import", token: "alice-token"}

// inject sets the headers as the gateway does.
func (c caller) inject(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "X-Neonpanel-") {
			delete(h, name)
		}
	}
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	set("x-neonpanel-challenge", challengeParams)
	set("x-neonpanel-scopes-supported", c.inForce)
	set("x-neonpanel-scope-mode", c.mode)
	if c.anonymous {
		h.Set("x-neonpanel-auth", "anonymous")
		return
	}
	expires := c.expires
	if expires == 0 {
		expires = time.Hour
	}
	h.Set("x-neonpanel-auth", "bearer")
	set("x-neonpanel-subject", c.subject)
	set("x-neonpanel-client-id", c.client)
	set("x-neonpanel-scopes", c.scopes)
	h.Set("x-neonpanel-expires", strconv.FormatInt(time.Now().Add(expires).Unix(), 10))
	h.Set("Authorization", "Bearer "+c.token)
}

// start serves the edge on a unix socket and returns a client that reaches it
// as a given caller.
func (e *edge) start(t testing.TB) func(caller) *http.Client {
	t.Helper()
	as, _ := e.run(t)
	return as
}

// run is start for tests that stop the server themselves.
func (e *edge) run(t testing.TB) (as func(caller) *http.Client, stop context.CancelFunc) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := server.Listen(config.Address{Network: "unix", Address: socket})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := server.NewServer(listener, e.handler, slog.New(slog.DiscardHandler))
	s.OnStop(e.sse.Drain)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	return func(c caller) *http.Client {
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: injector{c, transport}, Timeout: 2 * time.Minute}
	}, cancel
}

// injector is the gateway in front of the edge.
type injector struct {
	caller caller
	next   http.RoundTripper
}

func (i injector) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	i.caller.inject(r.Header)
	return i.next.RoundTrip(r)
}

// do sends a request straight to the handler.
func (e *edge) do(c caller, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	c.inject(r.Header)
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	e.handler.ServeHTTP(w, r)
	return w
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func decode[T any](t *testing.T, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("no JSON: %v in %q", err, data)
	}
	return v
}

// reply is a JSON-RPC response.
type reply struct {
	ID     any `json:"id"`
	Result *struct {
		Content           []struct{ Type, Text string }
		StructuredContent json.RawMessage
		IsError           bool
		ResultType        string
		Meta              map[string]any `json:"_meta"`
		Tools             []map[string]any
		CacheScope        string
	}
	Error *struct {
		Code    int
		Message string
		Data    json.RawMessage
	}
}

// stream is a legacy stream as a client sees it.
type stream struct {
	response *http.Response
	events   chan [2]string // name and data; comments have the name ":"
	endpoint string
}

func openStream(t *testing.T, client *http.Client) *stream {
	t.Helper()
	client = &http.Client{Transport: client.Transport} // without a timeout
	r, err := client.Get("http://backend/sse")
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{response: r, events: make(chan [2]string, 100)}
	if r.StatusCode != http.StatusOK {
		t.Cleanup(func() { _ = r.Body.Close() })
		return s
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(s.events)
		name := ""
		lines := bufio.NewScanner(r.Body)
		lines.Buffer(nil, 32<<20)
		for lines.Scan() {
			line := lines.Text()
			switch {
			case strings.HasPrefix(line, "event: "):
				name = line[7:]
			case strings.HasPrefix(line, "data: "):
				s.events <- [2]string{name, line[6:]}
			case strings.HasPrefix(line, ":"):
				s.events <- [2]string{":", line}
			}
		}
	}()
	t.Cleanup(func() {
		_ = r.Body.Close()
		for range s.events {
		}
		<-done
	})
	s.endpoint = s.next(t, "endpoint")
	return s
}

// next returns the data of the next event, which must have that name.
func (s *stream) next(t *testing.T, name string) string {
	t.Helper()
	select {
	case e, ok := <-s.events:
		if !ok {
			t.Fatalf("the stream ended; want an event %q", name)
		}
		if e[0] != name {
			t.Fatalf("event %q with %q, want %q", e[0], e[1], name)
		}
		return e[1]
	case <-time.After(time.Minute):
		t.Fatalf("no event %q", name)
		return ""
	}
}

// end waits for the end of the stream.
func (s *stream) end(t *testing.T) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case _, ok := <-s.events:
			if !ok {
				return
			}
		case <-timeout:
			t.Fatal("the stream did not end")
		}
	}
}

func post(t *testing.T, client *http.Client, path, body string) (int, string) {
	t.Helper()
	r, err := client.Post("http://backend"+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(data)
}

const initialize = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

func call(id int, tool string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":{"company_uuid":"c-1"}}}`, id, tool)
}
