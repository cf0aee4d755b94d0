package bootstrap_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	grpctls "google.golang.org/grpc/credentials"

	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
)

// authority signs certificates for both sides.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{}
	var certificate tls.Certificate
	certificate, a.cert = a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.key = certificate.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// sign signs with the authority, or for want of one with the new key itself.
func (a *authority) sign(t *testing.T, template *x509.Certificate) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	template.Subject = pkix.Name{CommonName: "test"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}, cert
}

func (a *authority) issue(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	change(template)
	certificate, _ := a.sign(t, template)
	return certificate
}

func named(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = []string{name} }
}

// server is how an upstream with the certificate meets Envoy.
func (a *authority) server(certificate tls.Certificate, protocol string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{protocol}}
}

// writePair replaces Envoy's own pair, the way most tools do.
func writePair(t *testing.T, files settings.UpstreamTLS, certificate tls.Certificate) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, files.Key, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	replace(t, files.Cert, &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
}

func replace(t *testing.T, path string, block *pem.Block) {
	t.Helper()
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestEdgeAndItsUpstreamsShowEachOtherCertificates(t *testing.T) {
	t.Parallel()
	ours, others := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	files := settings.UpstreamTLS{Cert: dir + "/pair/tls.crt", Key: dir + "/pair/tls.key", CA: dir + "/ca/ca.crt", SDS: dir + "/sds"}
	for _, file := range []string{files.Cert, files.CA, files.SDS + "/x"} {
		if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	writePair(t, files, ours.issue(t, named("envoy.internal")))
	replace(t, files.CA, &pem.Block{Type: "CERTIFICATE", Bytes: ours.cert.Raw})
	writeSecrets(t, settings.Edge{UpstreamTLS: &files})

	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	// authz goes by a URI, the others by a DNS name.
	authz := listen()
	identity := ours.issue(t, func(c *x509.Certificate) {
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/authz"}}
	})
	server := grpc.NewServer(grpc.Creds(grpctls.NewTLS(ours.server(identity, "h2"))))
	authv3.RegisterAuthorizationServer(server, &fakeAuthz{})
	go server.Serve(authz)
	t.Cleanup(server.Stop)

	discovery := listen()
	documents := &http.Server{Handler: &echo{name: "discovery"}}
	go documents.Serve(tls.NewListener(discovery, ours.server(identity, "http/1.1")))
	t.Cleanup(func() { documents.Close() })

	// The backend's side can change under Envoy's feet; every request is a connection of its own.
	var side atomic.Pointer[tls.Config]
	var met atomic.Pointer[tls.ConnectionState]
	right := ours.server(ours.issue(t, named("mcpbackend.internal")), "http/1.1")
	side.Store(right)
	backend := listen()
	tools := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		met.Store(r.TLS)
		(&echo{name: "mcpbackend"}).ServeHTTP(w, r)
	})}
	tools.SetKeepAlivesEnabled(false)
	go tools.Serve(tls.NewListener(backend, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return side.Load(), nil }}))
	t.Cleanup(func() { tools.Close() })

	e := startEdge(t, func(o *options) {
		o.noAuthz, o.noBackend = true, true
		o.settings.Authz, o.settings.Discovery, o.settings.Backend = authz.Addr().String(), discovery.Addr().String(), backend.Addr().String()
		o.settings.UpstreamTLSCert, o.settings.UpstreamTLSKey, o.settings.UpstreamTLSCA, o.settings.UpstreamTLSSDS = files.Cert, files.Key, files.CA, files.SDS
		o.settings.AuthzSAN, o.settings.BackendSAN = "spiffe://example.org/authz", "mcpbackend.internal"
	})
	status := func() int {
		return e.do(t, call{method: "POST", target: "/mcp", body: "{}", header: []string{good, "Content-Type: application/json"}}).StatusCode
	}

	if a := e.do(t, call{method: "POST", target: "/mcp", body: "{}", header: []string{good}}); a.StatusCode != 200 || a.seen("x-neonpanel-subject") != "user-1" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if state := met.Load(); state.Version != tls.VersionTLS13 || state.ServerName != "mcpbackend.internal" || state.PeerCertificates[0].DNSNames[0] != "envoy.internal" {
		t.Errorf("the backend met %s for %q", tls.VersionName(state.Version), state.ServerName)
	}
	if a := e.do(t, call{method: "GET", target: "/.well-known/oauth-protected-resource"}); a.StatusCode != 200 || a.field("upstream") != "discovery" {
		t.Errorf("documents: %d %s", a.StatusCode, a.body)
	}

	for name, config := range map[string]*tls.Config{
		"of another name":                       ours.server(ours.issue(t, named("authz.internal")), "http/1.1"),
		"of a name that only begins alike":      ours.server(ours.issue(t, named("mcpbackend.internal.example")), "http/1.1"),
		"of another authority":                  others.server(others.issue(t, named("mcpbackend.internal")), "http/1.1"),
		"who does not know Envoy's authority":   {Certificates: right.Certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()},
		"who speaks nothing newer than TLS 1.1": {Certificates: right.Certificates, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"of the right name as its common name":  ours.server(ours.issue(t, func(c *x509.Certificate) {}), "http/1.1"),
		"with a certificate for clients, not for servers": ours.server(ours.issue(t, func(c *x509.Certificate) {
			c.DNSNames, c.ExtKeyUsage = []string{"mcpbackend.internal"}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), "http/1.1"),
	} {
		side.Store(config)
		if got := status(); got != 503 {
			t.Errorf("a backend %s: %d", name, got)
		}
	}
	side.Store(right)
	if got := status(); got != 200 {
		t.Fatalf("the right backend again: %d", got)
	}

	// New files: Envoy shows the new certificate, and believes the new authority and no other.
	next := others.issue(t, named("envoy.internal"))
	replace(t, files.CA, &pem.Block{Type: "CERTIFICATE", Bytes: others.cert.Raw})
	writePair(t, files, next)
	renewed := others.server(others.issue(t, named("mcpbackend.internal")), "http/1.1")
	side.Store(renewed)
	deadline := time.Now().Add(time.Minute)
	for status() != 200 || met.Load().PeerCertificates[0].SerialNumber.Cmp(next.Leaf.SerialNumber) != 0 {
		if time.Now().After(deadline) {
			t.Fatal("Envoy does not take the new files")
		}
		time.Sleep(10 * time.Millisecond)
	}
	side.Store(right)
	if got := status(); got != 503 {
		t.Errorf("a backend of the old authority: %d", got)
	}
}
