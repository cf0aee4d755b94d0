package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/resource"
)

const goodToken = "a-good.token_of~the+user/0=="

// deployment is a gateway and its issuer, both over TLS. What a test sets
// before start breaks it.
type deployment struct {
	gateway, issuer *httptest.Server
	caFile          string
	// plain serves the gateway over HTTP.
	plain bool
	// certificate and configure change what the gateway shows of TLS.
	certificate func(*x509.Certificate)
	configure   func(*tls.Config)
	// untrusted leaves the authority out of what the examiner trusts.
	untrusted bool

	// metadata is the issuer's, copies what the gateway says that it is; before
	// start they hold what differs from a sound one, and nil what is left out.
	metadata, copies map[string]any
	keys             []map[string]any
	// noOpenID leaves the issuer without its second document.
	noOpenID bool
	// protected, alter and alterIssuer change what is about to be answered.
	protected   func(resource.Resource, map[string]any)
	alter       func(*http.Request, *httptest.ResponseRecorder)
	alterIssuer func(*http.Request, *httptest.ResponseRecorder)
	// believes makes the gateway trust identity headers beside a token.
	believes bool
	// streamEnds is when a stream ends by itself, silent that nothing is said on it.
	streamEnds time.Duration
	silent     bool
	// streamTime and timeout are the examiner's, if not the usual ones.
	streamTime, timeout time.Duration
	tools               []map[string]any

	mu       sync.Mutex
	requests []*http.Request
	calls    int
}

func newDeployment() *deployment {
	return &deployment{
		metadata: map[string]any{}, copies: map[string]any{},
		keys: []map[string]any{issuertest.NewSigner("RS256", "one", 1).JWK()},
		tools: []map[string]any{
			{"name": "delete_all", "annotations": map[string]any{"readOnlyHint": false}, "inputSchema": map[string]any{}},
			{"name": "get_one", "annotations": map[string]any{"readOnlyHint": true}, "inputSchema": map[string]any{"required": []string{"id"}}},
			{"name": "list_companies", "annotations": map[string]any{"readOnlyHint": true}, "inputSchema": map[string]any{}},
		},
	}
}

// start serves until the test ends.
func (d *deployment) start(t *testing.T) {
	t.Helper()
	authority, key := newAuthority(t)
	d.caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(d.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	serve := func(handler http.HandlerFunc, change func(*x509.Certificate), configure func(*tls.Config), plain bool) *httptest.Server {
		s := httptest.NewUnstartedServer(handler)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		t.Cleanup(s.Close)
		if plain {
			s.Start()
			return s
		}
		s.TLS = &tls.Config{Certificates: []tls.Certificate{newCertificate(t, authority, key, change)}}
		if configure != nil {
			configure(s.TLS)
		}
		s.StartTLS()
		return s
	}
	d.issuer = serve(d.serveIssuer, nil, nil, false)
	d.gateway = serve(d.serveGateway, d.certificate, d.configure, d.plain)
	whole := map[string]any{
		"issuer": d.issuer.URL, "authorization_endpoint": d.issuer.URL + "/oauth2/authorize", "token_endpoint": d.issuer.URL + "/oauth2/token",
		"registration_endpoint": d.issuer.URL + "/oauth2/register", "jwks_uri": d.issuer.URL + "/jwks",
		"response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
		"scopes_supported": []string{"read:companies", "read:inventory"},
	}
	for name, changed := range d.metadata {
		whole[name] = changed
		if text, is := changed.(string); is {
			whole[name] = strings.NewReplacer("ISSUER", d.issuer.URL, "GATEWAY", d.gateway.URL).Replace(text)
		}
		if changed == nil {
			delete(whole, name)
		}
	}
	d.metadata = whole
	copied := maps.Clone(whole)
	maps.Copy(copied, d.copies)
	d.copies = copied
}

func newAuthority(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-5000 * time.Hour), NotAfter: time.Now().Add(5000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority, key
}

func newCertificate(t *testing.T, authority *x509.Certificate, by *ecdsa.PrivateKey, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (d *deployment) note(r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests = append(d.requests, r)
}

// seen are the requests to both servers.
func (d *deployment) seen() []*http.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.requests
}

func (d *deployment) serveIssuer(w http.ResponseWriter, r *http.Request) {
	d.note(r)
	a := httptest.NewRecorder()
	switch {
	case r.URL.Path == "/.well-known/oauth-authorization-server", r.URL.Path == "/.well-known/openid-configuration" && !d.noOpenID:
		reply(a, http.StatusOK, d.metadata)
	case r.URL.Path == "/jwks":
		reply(a, http.StatusOK, map[string]any{"keys": d.keys})
	default:
		reply(a, http.StatusNotFound, map[string]any{"error": "not_found"})
	}
	if d.alterIssuer != nil {
		d.alterIssuer(r, a)
	}
	send(w, a)
}

func reply(a *httptest.ResponseRecorder, status int, document any) {
	a.Header().Set("Content-Type", "application/json")
	a.Code = status
	a.Body.Reset()
	a.Body.WriteString(issuertest.Encode(document))
}

func send(w http.ResponseWriter, a *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), a.Header())
	w.WriteHeader(a.Code)
	_, _ = w.Write(a.Body.Bytes())
}

func (d *deployment) serveGateway(w http.ResponseWriter, r *http.Request) {
	d.note(r)
	body, _ := io.ReadAll(r.Body)
	a := httptest.NewRecorder()
	if d.decide(r, a) && d.route(r, a, string(body)) {
		d.stream(w, r)
		return
	}
	if d.alter != nil {
		d.alter(r, a)
	}
	send(w, a)
}

// decide does what the edge and authz do, and reports whether the request goes
// on.
func (d *deployment) decide(r *http.Request, a *httptest.ResponseRecorder) bool {
	if r.Header.Get("Origin") != "" {
		a.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		a.Header().Set("Access-Control-Expose-Headers", "www-authenticate, mcp-session-id")
	}
	switch {
	case r.Host != strings.TrimPrefix(strings.TrimPrefix(d.gateway.URL, "https://"), "http://"):
		reply(a, http.StatusMisdirectedRequest, map[string]any{"error": "misdirected_request"})
		return false
	case r.Method == http.MethodOptions:
		a.Header().Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		a.Header().Set("Access-Control-Allow-Headers", "authorization, content-type, accept, mcp-protocol-version, mcp-session-id, mcp-method, mcp-name")
		return false
	}
	switch r.URL.Path {
	case "/mcp", "/sse", "/sse/", "/messages", "/mcp/tools/call":
	default:
		return true
	}
	authorization := r.Header.Get("Authorization")
	if authorization == "Bearer "+goodToken {
		return true
	}
	value := fmt.Sprintf(`Bearer realm="mcp", resource_metadata="%s"`, resource.Of(r.URL.Path).MetadataURL(d.gateway.URL))
	if authorization != "" {
		value += `, error="invalid_token", error_description="The access token is not valid."`
	}
	a.Header().Set("Www-Authenticate", value)
	reply(a, http.StatusUnauthorized, map[string]any{"error": "invalid_token", "error_description": "The access token is not valid."})
	return false
}

// route answers a request that may be answered, and reports whether by a
// stream.
func (d *deployment) route(r *http.Request, a *httptest.ResponseRecorder, body string) bool {
	for _, of := range resource.All {
		if r.URL.Path == of.MetadataPath() {
			document := map[string]any{
				"resource": of.URL(d.gateway.URL), "authorization_servers": []string{d.issuer.URL},
				"scopes_supported": []string{"read:companies"}, "bearer_methods_supported": []string{"header"},
			}
			if d.protected != nil {
				d.protected(of, document)
			}
			reply(a, http.StatusOK, document)
			return false
		}
	}
	switch path := r.URL.Path; path {
	case "/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/mcp", "/.well-known/oauth-authorization-server/sse",
		"/.well-known/openid-configuration", "/.well-known/openid-configuration/mcp", "/.well-known/openid-configuration/sse":
		reply(a, http.StatusOK, d.copies)
	case "/health", "/", "/robots.txt", "/mcp/capabilities", "/openapi.json", "/openapi.yaml", "/.well-known/ai-plugin.json":
		reply(a, http.StatusOK, map[string]any{"path": path})
	case "/sse":
		return true
	case "/mcp":
		if d.believes && r.Header.Get("X-Neonpanel-Subject") != "" {
			reply(a, http.StatusInternalServerError, map[string]any{"error": "internal"})
			return false
		}
		d.rpc(a, body)
	default:
		reply(a, http.StatusNotFound, map[string]any{"error": "not_found"})
	}
	return false
}

func (d *deployment) rpc(a *httptest.ResponseRecorder, body string) {
	var result any
	switch {
	case strings.Contains(body, `"method":"initialize"`):
		result = map[string]any{"protocolVersion": legacy}
	case strings.Contains(body, `"method":"tools/list"`):
		result = map[string]any{"tools": d.tools}
	case strings.Contains(body, `"name":"list_companies"`):
		result = map[string]any{"content": []any{map[string]any{"type": "text", "text": "two companies"}}}
	default:
		reply(a, http.StatusOK, map[string]any{"jsonrpc": "2.0", "id": 1, "error": map[string]any{"code": -32602, "message": "unknown"}})
		return
	}
	reply(a, http.StatusOK, map[string]any{"jsonrpc": "2.0", "id": 1, "result": result})
}

func (d *deployment) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if !d.silent {
		_, _ = io.WriteString(w, "event: endpoint\ndata: /messages?sessionId=1\n\n")
	}
	_ = http.NewResponseController(w).Flush()
	var ends <-chan time.Time
	if d.streamEnds > 0 {
		ends = time.After(d.streamEnds)
	}
	select {
	case <-r.Context().Done():
	case <-ends:
	}
}
