package bootstrap_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/neonpanel/mcp-gateway/envoy/internal/bootstrap"
	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
	"github.com/neonpanel/mcp-gateway/envoy/internal/yamlpb"
)

// envoyBinary is ENVOY, or the pinned one, fetched when it is not there yet.
var envoyBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("ENVOY"); path != "" {
		return exec.LookPath(path)
	}
	path, err := filepath.Abs("../../../bin/envoy")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("../../fetch", path).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// example are settings that render; tests change what they are about.
func example() settings.Settings {
	return settings.Settings{
		PublicURL:      "https://mcp.example.com",
		Listen:         "127.0.0.1:0",
		CORSOrigins:    "*",
		TrustedHops:    "0",
		HTTP3:          "false",
		TLSSDS:         "/run/neonpanel/envoy/tls.yaml",
		MaxBody:        "4MiB",
		MaxConnections: "20000",
		MaxHeap:        "1GiB",
		SubjectRate:    "1000000",
		SubjectBurst:   "1000000",
		Authz:          "unix:/run/neonpanel/authz/authz.sock",
		Discovery:      "unix:/run/neonpanel/authz/discovery.sock",
		Backend:        "unix:/run/neonpanel/mcpbackend/mcpbackend.sock",
		NodeID:         "test",
	}
}

func render(t *testing.T, s settings.Settings) []byte {
	t.Helper()
	edge, err := s.Parse()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := bootstrap.New(edge)
	if err != nil {
		t.Fatal(err)
	}
	text, err := yamlpb.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// edge is a running Envoy with its three upstreams.
type edge struct {
	addr    string // 127.0.0.1:port
	quic    string // the same for HTTP/3; empty if it is off
	scheme  string
	dir     string
	cmd     *exec.Cmd
	authz   *fakeAuthz
	backend *echo

	discovery *echo
}

type option func(*options)

type options struct {
	settings  settings.Settings
	weaken    func(document map[string]any)
	noAuthz   bool
	noBackend bool
	scheme    string
}

// startEdge runs Envoy on the settings until the test ends. It listens on a free port, and its
// sockets live in a directory with a short name, for sun_path has 108 bytes.
func startEdge(t *testing.T, change ...option) *edge {
	t.Helper()
	binary, err := envoyBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "edge")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })

	o := options{settings: example(), scheme: "http"}
	o.settings.Authz = "unix:" + dir + "/authz.sock"
	o.settings.Discovery = "unix:" + dir + "/discovery.sock"
	o.settings.Backend = "unix:" + dir + "/backend.sock"
	o.settings.Admin = "unix:" + dir + "/admin.sock"
	for _, c := range change {
		c(&o)
	}

	e := &edge{dir: dir, scheme: o.scheme, authz: &fakeAuthz{}, backend: &echo{name: "mcpbackend", left: make(chan struct{}, 16)}, discovery: &echo{name: "discovery"}}
	if !o.noAuthz {
		server := grpc.NewServer()
		authv3.RegisterAuthorizationServer(server, e.authz)
		go server.Serve(listen(t, dir+"/authz.sock"))
		t.Cleanup(server.Stop)
	}
	serve(t, dir+"/discovery.sock", e.discovery)
	if !o.noBackend {
		serve(t, dir+"/backend.sock", e.backend)
	}

	config := filepath.Join(dir, "envoy.yaml")
	text := render(t, o.settings)
	if o.weaken != nil {
		text = edit(t, text, o.weaken)
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	accessLog, err := os.Create(dir + "/access.log")
	if err != nil {
		t.Fatal(err)
	}
	defer accessLog.Close()
	diagnostics := &syncBuffer{}
	e.cmd = exec.Command(binary, "-c", config, "--concurrency", "1", "--disable-hot-restart",
		"--log-level", "warning", "--file-flush-interval-msec", "50")
	e.cmd.Stdout, e.cmd.Stderr = accessLog, diagnostics
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.cmd.Process.Signal(syscall.SIGTERM)
		e.cmd.Wait()
		if t.Failed() {
			t.Logf("Envoy said:\n%s", diagnostics)
		}
	})

	deadline := time.Now().Add(2 * time.Minute)
	for e.addr == "" || e.quic == "" && o.settings.HTTP3 == "true" {
		if time.Now().After(deadline) {
			t.Fatalf("Envoy is not ready:\n%s", diagnostics)
		}
		time.Sleep(5 * time.Millisecond)
		if body, err := e.admin("/ready"); err != nil || body != "LIVE\n" {
			continue
		}
		var listeners struct {
			Statuses []struct {
				Name  string `json:"name"`
				Local struct {
					Socket struct {
						Port int `json:"port_value"`
					} `json:"socket_address"`
				} `json:"local_address"`
			} `json:"listener_statuses"`
		}
		body, err := e.admin("/listeners?format=json")
		if err != nil {
			continue
		}
		if err := json.Unmarshal([]byte(body), &listeners); err != nil {
			t.Fatal(err)
		}
		for _, l := range listeners.Statuses {
			at := fmt.Sprintf("127.0.0.1:%d", l.Local.Socket.Port)
			switch {
			case l.Local.Socket.Port == 0: // not yet
			case l.Name == "edge-http3":
				e.quic = at
			default:
				e.addr = at
			}
		}
	}
	return e
}

// admin asks Envoy's admin interface.
func (e *edge) admin(path string) (string, error) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", e.dir+"/admin.sock")
		},
	}}
	response, err := client.Get("http://admin" + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// call is one request as it goes on the wire. The target is not tidied up by a client library.
type call struct {
	method, target, body string
	header               []string // "Name: value"; Host is mcp.example.com unless given
}

// answer is a response with its body; JSON bodies are also decoded.
type answer struct {
	*http.Response
	body string
	json map[string]any
}

// do sends the call on a connection of its own, as raw bytes.
func (e *edge) do(t *testing.T, c call) answer {
	t.Helper()
	var raw strings.Builder
	fmt.Fprintf(&raw, "%s %s HTTP/1.1\r\n", c.method, c.target)
	if !slices.ContainsFunc(c.header, func(h string) bool { return strings.HasPrefix(strings.ToLower(h), "host:") }) {
		raw.WriteString("Host: mcp.example.com\r\n")
	}
	for _, h := range c.header {
		raw.WriteString(h + "\r\n")
	}
	if c.body != "" {
		fmt.Fprintf(&raw, "Content-Length: %d\r\n", len(c.body))
	}
	raw.WriteString("\r\n" + c.body)
	return e.raw(t, raw.String())
}

// raw sends bytes as they are and reads one response.
func (e *edge) raw(t *testing.T, request string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))

	go conn.Write([]byte(request)) // a refusal may come before Envoy has read all of it
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%.80q: %v", request, err)
	}
	return readAnswer(t, response)
}

func readAnswer(t *testing.T, response *http.Response) answer {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	a := answer{Response: response, body: string(body)}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") && len(body) > 0 {
		if err := json.Unmarshal(body, &a.json); err != nil {
			t.Fatalf("body is not JSON: %v: %s", err, body)
		}
	}
	return a
}

// seen is what the upstream that answered had received; empty if Envoy answered itself.
func (a answer) seen(name string) string {
	headers, _ := a.json["headers"].(map[string]any)
	values, _ := headers[name].([]any)
	var joined []string
	for _, v := range values {
		joined = append(joined, v.(string))
	}
	return strings.Join(joined, "|")
}

func (a answer) field(name string) string {
	s, _ := a.json[name].(string)
	return s
}

// echo answers with what it received.
type echo struct {
	name string
	left chan struct{} // a held stream whose client has gone
	mu   sync.Mutex
	hits int
	log  []*http.Request // what arrived since it was last asked, bodies unread
}

// arrived empties the log.
func (u *echo) arrived() []*http.Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	log := u.log
	u.log = nil
	return log
}

func (u *echo) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.hits
}

func (u *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	u.hits++
	u.log = append(u.log, r)
	u.mu.Unlock()
	if r.URL.Path == "/mcp" {
		w.Header().Set("X-Neonpanel-Mcp-Method", "tools/call")
		w.Header().Set("X-Neonpanel-Mcp-Tool", "list_companies")
	}
	switch r.Header.Get("X-Test") {
	case "stream":
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
		return
	case "hold":
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, ": open\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		u.left <- struct{}{}
		return
	case "silent":
		<-r.Context().Done()
		u.left <- struct{}{}
		return
	case "abort":
		panic(http.ErrAbortHandler)
	case "404":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"error":"unknown_session"}`)
		return
	case "503":
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "the upstream's own words")
		return
	}
	body, _ := io.ReadAll(r.Body)
	headers := map[string][]string{}
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = values
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"upstream": u.name, "method": r.Method, "path": r.RequestURI, "host": r.Host, "headers": headers, "body_bytes": len(body),
	})
}

// fakeAuthz decides by the token alone and tells the backend what it was asked.
type fakeAuthz struct {
	authv3.UnimplementedAuthorizationServer
}

const (
	good      = "Authorization: Bearer good"
	challenge = `Bearer realm="mcp", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`
)

func (*fakeAuthz) Check(ctx context.Context, request *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	http := request.GetAttributes().GetRequest().GetHttp()
	headers := map[string][]string{}
	for name, value := range http.GetHeaders() {
		headers[name] = append(headers[name], value)
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		headers[h.GetKey()] = append(headers[h.GetKey()], h.GetValue()+string(h.GetRawValue()))
	}
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)

	token, bearer := strings.CutPrefix(strings.Join(headers["authorization"], "|"), "Bearer ")
	if !bearer {
		token = ""
	}
	switch token {
	case "hang":
		<-ctx.Done()
		return nil, ctx.Err()
	case "broken":
		return nil, fmt.Errorf("authz has a fault")
	case "greedy":
		return allow(set("authorization", "Bearer stolen")), nil
	case "invalid":
		return allow(set("x-neonpanel-subject", "a\nb")), nil
	case "unavailable":
		return deny(typev3.StatusCode_ServiceUnavailable, `{"error":"temporarily_unavailable","error_description":"authz's own words"}`, "retry-after", "7"), nil
	case "limited":
		return deny(typev3.StatusCode_TooManyRequests, `{"error":"too_many_requests","error_description":"authz's own words"}`, "retry-after", "7"), nil
	case "forbidden":
		return deny(typev3.StatusCode_Forbidden, `{"error":"insufficient_scope","error_description":"authz's own words"}`, "www-authenticate", challenge), nil
	case "good", "good,Bearer good":
		return allow(
			set("x-neonpanel-auth", "bearer"), set("x-neonpanel-subject", "user-1"),
			set("x-neonpanel-seen-path", http.GetPath()), set("x-neonpanel-seen-method", http.GetMethod()), set("x-neonpanel-seen-host", http.GetHost()),
			set("x-neonpanel-seen-names", strings.Join(names, ",")), set("x-neonpanel-seen-token", token),
			set("x-neonpanel-seen-client", strings.Join(headers["x-envoy-external-address"], "|")),
			set("x-neonpanel-seen-xff", strings.Join(headers["x-forwarded-for"], "|")),
			set("x-neonpanel-seen-trace", strings.Join(metadata.ValueFromIncomingContext(ctx, "traceparent"), "|")),
			set("x-neonpanel-seen-request", strings.Join(headers["x-request-id"], "|")),
		), nil
	}
	// user/client is a token of that user by that client; anonymous has neither.
	if user, client, ok := strings.Cut(token, "/"); ok {
		answer := allow(set("x-neonpanel-auth", "bearer"), set("x-neonpanel-subject", user))
		answer.DynamicMetadata = verdict("decision", "allow", "auth", "bearer", "subject", user, "client_id", client)
		if client == "" {
			delete(answer.DynamicMetadata.Fields, "client_id")
		}
		return answer, nil
	}
	if token == "anonymous" {
		answer := allow(set("x-neonpanel-auth", "anonymous"))
		answer.DynamicMetadata = verdict("decision", "allow", "auth", "anonymous")
		return answer, nil
	}
	return deny(typev3.StatusCode_Unauthorized, `{"error":"invalid_token","error_description":"authz's own words"}`, "www-authenticate", challenge), nil
}

func set(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func allow(headers ...*corev3.HeaderValueOption) *authv3.CheckResponse {
	headers = slices.DeleteFunc(headers, func(h *corev3.HeaderValueOption) bool { return h.Header.Value == "" })
	return &authv3.CheckResponse{
		Status:          &status.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: headers}},
		DynamicMetadata: verdict("decision", "allow", "auth", "bearer", "subject", "user-1", "client_id", "client-1"),
	}
}

func deny(code typev3.StatusCode, body, name, value string) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: code},
			Headers: []*corev3.HeaderValueOption{set("content-type", "application/json"), set(name, value)},
			Body:    body,
		}},
		DynamicMetadata: verdict("decision", "deny", "reason", "test_reason"),
	}
}

func verdict(pairs ...string) *structpb.Struct {
	m := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for i := 0; i < len(pairs); i += 2 {
		m.Fields[pairs[i]] = structpb.NewStringValue(pairs[i+1])
	}
	return m
}

func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func serve(t *testing.T, path string, h http.Handler) {
	t.Helper()
	server := &http.Server{Handler: h, ErrorLog: nil}
	go server.Serve(listen(t, path))
	t.Cleanup(func() { server.Close() })
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
