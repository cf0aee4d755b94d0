package issuertest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Paths of the documents.
const (
	PathOAuth      = "/.well-known/oauth-authorization-server"
	PathOpenID     = "/.well-known/openid-configuration"
	PathJWKS       = "/.well-known/jwks.json"
	PathIntrospect = "/oauth2/introspect"
)

// Server is an authorization server whose answers a test sets.
type Server struct {
	// Issuer is its identifier.
	Issuer string
	// Transport reaches it.
	Transport http.RoundTripper

	handling sync.WaitGroup

	mu       sync.Mutex
	handlers map[string]http.HandlerFunc
	calls    map[string]int
}

// Start serves on loopback until the test ends.
func Start(t testing.TB) *Server {
	s := newServer()
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	s.Issuer = web.URL
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	s.Transport = transport
	s.announce()
	return s
}

// StartInMemory serves over pipes, so that it can live inside a synctest
// bubble and never waits for the network.
func StartInMemory(t testing.TB) *Server {
	s := newServer()
	s.Issuer = "http://127.0.0.1"
	listener := newPipes()
	web := &http.Server{Handler: s}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = web.Serve(listener)
	}()
	transport := &http.Transport{DialContext: listener.dial}
	s.Transport = transport
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = web.Close()
		<-done
		s.handling.Wait()
	})
	s.announce()
	return s
}

func newServer() *Server {
	return &Server{handlers: make(map[string]http.HandlerFunc), calls: make(map[string]int)}
}

func (s *Server) announce() {
	s.Serve(PathOAuth, JSON(Encode(map[string]any{
		"issuer":                 s.Issuer,
		"authorization_endpoint": s.Issuer + "/oauth2/authorize",
		"token_endpoint":         s.Issuer + "/oauth2/token",
		"introspection_endpoint": s.Issuer + PathIntrospect,
		"jwks_uri":               s.Issuer + PathJWKS,
		"scopes_supported":       []string{"read:inventory", "read:analytics"},
	})))
}

// Serve sets what a path answers.
func (s *Server) Serve(path string, handler http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[path] = handler
}

// Calls is how often a path was asked for.
func (s *Server) Calls(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[path]
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handling.Add(1)
	defer s.handling.Done()
	s.mu.Lock()
	s.calls[r.URL.Path]++
	handler := s.handlers[r.URL.Path]
	s.mu.Unlock()
	if handler == nil {
		handler = http.NotFound
	}
	handler(w, r)
}

// JSON answers with a document.
func JSON(document string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, document)
	}
}

// Status answers with a status and an HTML page.
func Status(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<html>oops</html>")
	}
}

// Slow answers after a while, unless the caller goes away.
func Slow(after time.Duration, then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// Only with the body read does the server notice that a caller left.
		_ = r.ParseForm()
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
			then(w, r)
		case <-r.Context().Done():
		}
	}
}

// pipes is a listener whose connections are net.Pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// Handler is what a path answers now.
func (s *Server) Handler(path string) http.HandlerFunc {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handlers[path]
}
