package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/ports"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// authority signs the certificates of the parts.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string // where the files lie
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	der, key := a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.key = key
	a.put(t, "ca.crt", "CERTIFICATE", der)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert = cert
	return a
}

func (a *authority) sign(t *testing.T, template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		t.Fatal(err)
	}
	template.Subject = pkix.Name{CommonName: "e2e"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) put(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	path := a.file(name)
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// issue writes, or replaces, the certificate and the key of a part, whose name
// is in it with .internal added.
func (a *authority) issue(t *testing.T, part string) {
	t.Helper()
	der, key := a.sign(t, &x509.Certificate{
		DNSNames: []string{part + ".internal"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.put(t, part+".key", "PRIVATE KEY", keyDER)
	a.put(t, part+".crt", "CERTIFICATE", der)
}

// as is a client that reaches mcpbackend with the certificate of a part, or
// with none.
func (a *authority) as(t *testing.T, part string) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "mcpbackend.internal"}
	config.RootCAs.AddCert(a.cert)
	if part != "" {
		pair, err := tls.LoadX509KeyPair(a.file(part+".crt"), a.file(part+".key"))
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
}

func TestThePartsCanBeApartWithCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for _, part := range []string{"envoy", "authz", "mcpbackend", "neighbour"} {
		ca.issue(t, part)
	}
	at := map[string]string{}
	for _, listener := range []string{"authz", "discovery", "mcpbackend"} {
		port, err := ports.Free()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(port.Release)
		at[listener] = port.Address()
	}
	tlsOf := func(prefix, part string) []string {
		return []string{
			prefix + "_TLS_CERT=" + ca.file(part+".crt"), prefix + "_TLS_KEY=" + ca.file(part+".key"),
			prefix + "_TLS_CLIENT_CA=" + ca.file("ca.crt"), prefix + "_TLS_CLIENT_SANS=envoy.internal",
		}
	}
	g := ownGateway(t, stack.Options{Env: map[string][]string{
		stack.Authz:   append(tlsOf("AUTHZ", "authz"), "AUTHZ_LISTEN="+at["authz"], "AUTHZ_DISCOVERY_LISTEN="+at["discovery"]),
		stack.Backend: append(tlsOf("MCPBACKEND", "mcpbackend"), "MCPBACKEND_LISTEN="+at["mcpbackend"]),
		"envoyconf": {
			"EDGE_AUTHZ=" + at["authz"], "EDGE_DISCOVERY=" + at["discovery"], "EDGE_BACKEND=" + at["mcpbackend"],
			"EDGE_UPSTREAM_TLS_CERT=" + ca.file("envoy.crt"), "EDGE_UPSTREAM_TLS_KEY=" + ca.file("envoy.key"),
			"EDGE_UPSTREAM_TLS_CA=" + ca.file("ca.crt"), "EDGE_UPSTREAM_TLS_SDS=" + t.TempDir(),
			"EDGE_AUTHZ_SAN=authz.internal", "EDGE_BACKEND_SAN=mcpbackend.internal",
		},
	}})
	token := g.token(t, sellerOne)
	works := func() {
		t.Helper()
		if companies := g.companies(t, token); len(companies) == 0 {
			t.Error("no companies")
		}
		if r := g.rpc(t, modern, "no-token", "tools/list", "", nil); r.Status != http.StatusUnauthorized {
			t.Errorf("a bad token: %d", r.Status)
		}
		if r := g.send(t, http.MethodGet, "/.well-known/oauth-protected-resource/mcp", ""); r.Status != http.StatusOK {
			t.Errorf("the documents: %d", r.Status)
		}
	}
	works()
	s := g.stream(t, "/sse", token)
	g.initialize(t, s, token)
	g.streamCall(t, s, token, "list_companies", map[string]any{})
	s.cancel()

	// Whoever reaches mcpbackend past Envoy is whoever they say, so that only
	// Envoy may.
	forge := func(client *http.Client, url string) (*http.Response, error) {
		body, err := json.Marshal(map[string]any{"name": "list_companies", "arguments": map[string]any{}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{
			"Content-Type": "application/json", "Authorization": "Bearer " + token, "X-Neonpanel-Auth": "bearer", "X-Neonpanel-Subject": "1",
			"X-Neonpanel-Expires": fmt.Sprint(time.Now().Add(time.Hour).Unix()), "X-Neonpanel-Scope-Mode": "off",
		} {
			r.Header.Set(name, value)
		}
		response, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return response, err
	}
	backend := "https://" + at["mcpbackend"] + "/mcp/tools/call"
	for who, client := range map[string]*http.Client{"nobody": ca.as(t, ""), "a neighbour": ca.as(t, "neighbour"), "authz": ca.as(t, "authz")} {
		if response, err := forge(client, backend); err == nil {
			t.Errorf("%s reached mcpbackend: %s", who, response.Status)
		}
	}
	if response, err := forge(&http.Client{Timeout: 2 * time.Minute}, "http://"+at["mcpbackend"]+"/mcp/tools/call"); err == nil && response.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: %s", response.Status)
	}
	before, err := forge(ca.as(t, "envoy"), backend)
	if err != nil || before.StatusCode != http.StatusOK {
		t.Fatalf("the same with Envoy's certificate: %v, %v", before, err)
	}

	// New certificates, without a restart; then one that is broken.
	ca.issue(t, "authz")
	ca.issue(t, "mcpbackend")
	after, err := forge(ca.as(t, "envoy"), backend)
	if err != nil || after.TLS.PeerCertificates[0].Equal(before.TLS.PeerCertificates[0]) {
		t.Errorf("the new certificate is not shown: %v", err)
	}
	works()
	ca.put(t, "mcpbackend.crt", "CERTIFICATE", []byte("broken"))
	broken, err := forge(ca.as(t, "envoy"), backend)
	if err != nil || !broken.TLS.PeerCertificates[0].Equal(after.TLS.PeerCertificates[0]) {
		t.Errorf("with a broken file the last good certificate is not shown: %v", err)
	}
	works()
	log, err := os.ReadFile(g.LogFile(stack.Backend))
	if err != nil || !strings.Contains(string(log), "the new TLS files are not good") {
		t.Errorf("the broken file is not in the log: %v", err)
	}
}
