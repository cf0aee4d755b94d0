package bootstrap_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"github.com/neonpanel/mcp-gateway/envoy/internal/bootstrap"
	"github.com/neonpanel/mcp-gateway/envoy/internal/lint"
	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
	"github.com/neonpanel/mcp-gateway/envoy/internal/yamlpb"
)

// Every rendering keeps our rules, reads back as it was, and is accepted by Envoy itself.
func TestRenderingsAreValid(t *testing.T) {
	t.Parallel()
	binary, err := envoyBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate := settings.TLS{Cert: dir + "/cert.pem", Key: dir + "/key.pem", SDS: dir + "/tls.yaml"}
	writeCertificate(t, certificate, 1)
	upstream := settings.UpstreamTLS{Cert: certificate.Cert, Key: certificate.Key, CA: certificate.Cert, SDS: dir}
	writeSecrets(t, settings.Edge{UpstreamTLS: &upstream})

	for name, change := range map[string]func(*settings.Settings){
		"defaults":           func(*settings.Settings) {},
		"loopback":           func(s *settings.Settings) { s.PublicURL = "http://127.0.0.1:8080" },
		"loopback on IPv6":   func(s *settings.Settings) { s.PublicURL, s.Listen = "http://[::1]:8080", "[::1]:0" },
		"all IPv6 addresses": func(s *settings.Settings) { s.Listen = "[::]:0" },
		"many hosts": func(s *settings.Settings) {
			s.Hosts = "a.example,MCP.example.com,localhost,127.0.0.1,[::1],::1,10.0.0.1"
		},
		"one origin": func(s *settings.Settings) { s.CORSOrigins = "https://chatgpt.com" },
		"many origins": func(s *settings.Settings) {
			s.CORSOrigins = "https://a.example,https://b.example,http://localhost:6274"
		},
		"TLS": func(s *settings.Settings) {
			s.TLSCert, s.TLSKey, s.TLSSDS = certificate.Cert, certificate.Key, certificate.SDS
		},
		"HTTP/3": func(s *settings.Settings) {
			s.TLSCert, s.TLSKey, s.TLSSDS, s.HTTP3 = certificate.Cert, certificate.Key, certificate.SDS, "true"
		},
		"HTTP/3 on all IPv6 addresses": func(s *settings.Settings) {
			s.TLSCert, s.TLSKey, s.TLSSDS, s.HTTP3, s.Listen = certificate.Cert, certificate.Key, certificate.SDS, "true", "[::]:0"
		},
		"admin on a socket": func(s *settings.Settings) { s.Admin = "unix:" + dir + "/admin.sock" },
		"admin on loopback": func(s *settings.Settings) { s.Admin = "127.0.0.1:19901" },
		"upstreams on TCP":  func(s *settings.Settings) { s.Authz, s.Discovery, s.Backend = "127.0.0.1:1", "[::1]:2", "localhost:3" },
		"upstreams elsewhere": func(s *settings.Settings) {
			s.RateLimit, s.RateLimitSAN = "192.0.2.1:2", "spiffe://example.org/ratelimit"
			s.Authz, s.Discovery, s.Backend, s.AuthzSAN = "192.0.2.1:1", "[2001:db8::1]:2", "localhost.localdomain:3", "192.0.2.1"
			s.UpstreamTLSCert, s.UpstreamTLSKey, s.UpstreamTLSCA, s.UpstreamTLSSDS = upstream.Cert, upstream.Key, upstream.CA, upstream.SDS
		},
		"limits counted by a service":             func(s *settings.Settings) { s.RateLimit = "unix:" + dir + "/ratelimit.sock" },
		"limits counted by a service on loopback": func(s *settings.Settings) { s.RateLimit = "127.0.0.1:8081" },
		"traces": func(s *settings.Settings) {
			s.OTLPEndpoint, s.ServiceName, s.SamplerArg = "http://127.0.0.1:4318", "edge", "0.1"
		},
		"traces elsewhere": func(s *settings.Settings) {
			s.OTLPEndpoint, s.OTLPCertificate, s.ServiceName, s.SamplerArg = "https://collector.example/otlp/", certificate.Cert, "edge", "1"
		},
		"behind proxies": func(s *settings.Settings) { s.TrustedHops = "16" },
		"smallest limits": func(s *settings.Settings) {
			s.MaxBody, s.MaxConnections, s.MaxHeap = "1KiB", "16", "64MiB"
			s.SubjectRate, s.SubjectBurst = "1", "1"
		},
		"largest limits": func(s *settings.Settings) { s.MaxBody, s.MaxConnections, s.MaxHeap = "1GiB", "1000000", "1024GiB" },
		"everything at the same time": func(s *settings.Settings) {
			s.TLSCert, s.TLSKey, s.TLSSDS = certificate.Cert, certificate.Key, certificate.SDS
			s.CORSOrigins, s.Hosts, s.Admin, s.TrustedHops = "https://a.example", "a.example", "unix:"+dir+"/a.sock", "2"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := example()
			change(&s)
			text := render(t, s)
			if again := render(t, s); !bytes.Equal(text, again) {
				t.Error("two renderings differ")
			}
			tree := &bootstrapv3.Bootstrap{}
			if err := yamlpb.Unmarshal(text, tree); err != nil {
				t.Fatal(err)
			}
			if again, err := yamlpb.Marshal(tree); err != nil || !bytes.Equal(text, again) {
				t.Errorf("reading loses something: %v", err)
			}
			if err := lint.Check(tree); err != nil {
				t.Error(err)
			}
			file := filepath.Join(t.TempDir(), "envoy.yaml")
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(binary, "--mode", "validate", "-c", file, "--disable-hot-restart", "--log-level", "warning").CombinedOutput()
			if err != nil || strings.Contains(string(out), "[warning]") || strings.Contains(strings.ToLower(string(out)), "deprecated") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestEdgeWithAListOfOrigins(t *testing.T) {
	t.Parallel()
	e := startEdge(t, func(o *options) { o.settings.CORSOrigins = "https://chatgpt.com,http://localhost:6274" })

	for _, foreign := range []string{"https://evil.example", "null", "https://chatgpt.com.evil.example", "http://chatgpt.com", "https://chatgpt.com:8443", "HTTPS://CHATGPT.COM", "https://chatgpt.com,https://evil.example", ""} {
		before := e.backend.count()
		for _, c := range []call{
			{method: "POST", target: "/mcp"}, {method: "GET", target: "/.well-known/oauth-protected-resource"}, {method: "GET", target: "/nope"}, {method: "GET", target: "/health"},
			{method: "POST", target: "/mcp", header: []string{"Host: evil.example"}},
		} {
			c.header = append(c.header, "Authorization: Bearer hang", "Origin: "+foreign)
			a := e.do(t, c)
			wantError(t, a, 403, "forbidden_origin")
			if got := a.Header.Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("%q: Access-Control-Allow-Origin = %q", foreign, got)
			}
			if a.Header.Get("Vary") != "Origin" {
				t.Errorf("%q: Vary = %q", foreign, a.Header.Get("Vary"))
			}
		}
		preflight := e.do(t, call{method: "OPTIONS", target: "/mcp", header: []string{"Origin: " + foreign, "Access-Control-Request-Method: POST"}})
		if preflight.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight of %q is allowed", foreign)
		}
		if e.backend.count() != before {
			t.Errorf("%q reached the backend", foreign)
		}
	}
	twice := e.do(t, call{method: "POST", target: "/mcp", header: []string{good, origin, "Origin: https://evil.example"}})
	wantError(t, twice, 403, "forbidden_origin")

	for _, allowed := range []string{"https://chatgpt.com", "http://localhost:6274", "https://mcp.example.com"} {
		a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good, "Origin: " + allowed}})
		if a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Origin") != allowed {
			t.Errorf("%s: %d %v", allowed, a.StatusCode, a.Header)
		}
		for _, c := range []call{{method: "PUT", target: "/mcp"}, {method: "GET", target: "/nope"}, {method: "POST", target: "/mcp"}} {
			c.header = []string{"Origin: " + allowed}
			if a := e.do(t, c); a.Header.Get("Access-Control-Allow-Origin") != allowed {
				t.Errorf("%s %s: %d %v", c.method, c.target, a.StatusCode, a.Header)
			}
		}
	}
	if a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good}}); a.StatusCode != 200 {
		t.Errorf("without an Origin: %d", a.StatusCode)
	}
}

func TestEdgeOnLoopbackAnswersToAllItsNames(t *testing.T) {
	t.Parallel()
	e := startEdge(t, func(o *options) { o.settings.PublicURL = "http://127.0.0.1:8080" })
	for host, want := range map[string]int{
		"127.0.0.1": 200, "127.0.0.1:1": 200, "localhost": 200, "localhost:8080": 200, "[::1]": 200, "[::1]:8080": 200, "LocalHost:8080": 200,
		"evil.example": 421, "127.0.0.2": 421, "localhost.evil.example": 421, "0.0.0.0": 421,
	} {
		if a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good, "Host: " + host}}); a.StatusCode != want {
			t.Errorf("%s: %d, want %d", host, a.StatusCode, want)
		}
	}
}

// A Host that only begins like ours is not ours.
func TestEdgeTakesOnlyAHostAndAPort(t *testing.T) {
	t.Parallel()
	e := startEdge(t, func(o *options) { o.settings.PublicURL = "http://127.0.0.1:8080" })
	before := e.backend.count()
	for _, host := range []string{
		"127.0.0.1:18301@evil.example", "127.0.0.1:@evil.example", "127.0.0.1@evil.example", "127.0.0.1:x", "localhost:x", "localhost:8080x",
		"127.0.0.1:99999", "127.0.0.1:65536", "127.0.0.1:123456", "127.0.0.1:-1", "127.0.0.1:", "localhost:80:80", "[::1]:x", "[::1]:99999", "[::1]@evil.example", "[::1]:1@evil.example",
		"localhost,evil.example", "evil.example@127.0.0.1",
	} {
		preflight := []string{origin, "Access-Control-Request-Method: POST"}
		for _, c := range []call{{method: "POST", target: "/mcp", header: []string{good}}, {method: "GET", target: "/"}, {method: "OPTIONS", target: "/mcp", header: preflight}, {method: "GET", target: "/nope"}} {
			c.header = append(c.header, "Host: "+host)
			a := e.do(t, c)
			wantError(t, a, 421, "misdirected_request")
			if t.Failed() {
				t.Fatalf("%s %s for %s", c.method, c.target, host)
			}
		}
	}
	// Envoy joins two by a comma.
	for _, hosts := range [][2]string{{"127.0.0.1", "evil.example"}, {"evil.example", "127.0.0.1"}, {"127.0.0.1:8080", "evil.example"}, {"127.0.0.1:8080", "evil.example:8080"}, {"localhost:1", "127.0.0.1:1"}} {
		wantError(t, e.do(t, call{method: "POST", target: "/mcp", header: []string{good, "Host: " + hosts[0], "Host: " + hosts[1]}}), 421, "misdirected_request")
	}
	if a := e.do(t, call{method: "OPTIONS", target: "/mcp", header: []string{origin, "Access-Control-Request-Method: POST", "Host: evil.example"}}); a.StatusCode != 421 {
		t.Errorf("preflight for another host: %d %s", a.StatusCode, a.body)
	}
	if e.backend.count() != before {
		t.Error("a request reached the backend")
	}
	for _, host := range []string{"127.0.0.1", "127.0.0.1:0", "127.0.0.1:65535", "127.0.0.1:00080", "localhost:60000", "[::1]", "[::1]:1"} {
		if a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good, "Host: " + host}}); a.StatusCode != 200 {
			t.Errorf("%s: %d %s", host, a.StatusCode, a.body)
		}
	}
}

func TestEdgeBehindAProxyBelievesItsAddressOnly(t *testing.T) {
	t.Parallel()
	e := startEdge(t, func(o *options) { o.settings.TrustedHops = "1" })
	for name, c := range map[string]struct{ forwarded, want string }{
		"the proxy's entry":         {"203.0.113.7", "203.0.113.7"},
		"a forged entry before it":  {"198.51.100.66, 203.0.113.7", "203.0.113.7"},
		"an IPv6 client":            {"2001:db8::1", "2001:db8::1"},
		"a private client":          {"10.1.2.3", "10.1.2.3"},
		"no entry: the peer itself": {"", "127.0.0.1"},
	} {
		header := []string{good, "X-Envoy-External-Address: 198.51.100.66"}
		if c.forwarded != "" {
			header = append(header, "X-Forwarded-For: "+c.forwarded)
		}
		a := e.do(t, call{method: "POST", target: "/mcp", header: header})
		if got := a.seen("x-neonpanel-seen-client"); got != c.want {
			t.Errorf("%s: authz sees %q as the client (X-Forwarded-For %q), want %q", name, got, a.seen("x-neonpanel-seen-xff"), c.want)
		}
		if got := e.logLine(t, a.Header.Get("X-Request-Id"))["client"]; got != c.want {
			t.Errorf("%s: the log names %v, want %q", name, got, c.want)
		}
	}
}

func TestEdgeWithoutUpstreams(t *testing.T) {
	t.Parallel()
	e := startEdge(t, func(o *options) { o.noAuthz, o.noBackend = true, true })
	for _, c := range []call{{method: "POST", target: "/mcp", header: []string{good}}, {method: "GET", target: "/health"}} {
		c.header = append(c.header, origin)
		a := e.do(t, c)
		wantError(t, a, 503, "temporarily_unavailable")
		wantCORS(t, a)
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	// What needs no upstream still works.
	wantError(t, e.do(t, call{method: "GET", target: "/nope"}), 404, "not_found")
	if a := e.do(t, call{method: "OPTIONS", target: "/mcp", header: []string{origin, "Access-Control-Request-Method: POST"}}); a.StatusCode != 200 {
		t.Errorf("preflight: %d", a.StatusCode)
	}
	// And the backend is found as soon as it is there.
	serve(t, e.dir+"/backend.sock", e.backend)
	if a := e.do(t, call{method: "GET", target: "/health"}); a.StatusCode != 200 {
		t.Errorf("/health after the backend's start: %d %s", a.StatusCode, a.body)
	}
}

func TestEdgeCarriesStreamsAndLargeBodies(t *testing.T) {
	t.Parallel()
	e := startEdge(t, func(o *options) { o.settings.MaxConnections = "16" })

	if a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good}, body: strings.Repeat("x", 4<<20)}); a.StatusCode != 200 || a.json["body_bytes"] != float64(4<<20) {
		t.Errorf("4 MiB, the limit: %d %s", a.StatusCode, a.body)
	}
	wantError(t, e.do(t, call{method: "POST", target: "/mcp", header: []string{good}, body: strings.Repeat("x", 4<<20+1)}), 413, "payload_too_large")

	// As many streams as connections are allowed, then no more.
	request := "GET /sse HTTP/1.1\r\nHost: mcp.example.com\r\n" + good + "\r\nX-Test: hold\r\n\r\n"
	open := func() (net.Conn, error) {
		conn, err := net.Dial("tcp", e.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.WriteString(conn, request); err != nil {
			return conn, err
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && response.StatusCode != 200 {
			err = fmt.Errorf("status %d", response.StatusCode)
		}
		return conn, err
	}
	var streams []net.Conn
	defer func() {
		for _, s := range streams {
			s.Close()
		}
	}()
	for deadline := time.Now().Add(30 * time.Second); len(streams) < 16; {
		s, err := open()
		if err == nil {
			streams = append(streams, s)
			continue
		}
		s.Close() // connections of the calls above may still be closing
		if time.Now().After(deadline) {
			t.Fatalf("only %d streams: %v", len(streams), err)
		}
	}
	if s, err := open(); err == nil {
		t.Error("a connection more than allowed")
		s.Close()
	}
	if body, err := e.admin("/ready"); err != nil || body != "LIVE\n" {
		t.Errorf("the admin interface under full load: %q %v", body, err)
	}

	// A client that leaves is noticed by the backend at once.
	streams[0].Close()
	select {
	case <-e.backend.left:
	case <-time.After(time.Minute):
		t.Error("the backend does not learn that the client has gone")
	}
}

func TestEdgeWithTLSFollowsTheCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := settings.TLS{Cert: dir + "/cert.pem", Key: dir + "/key.pem", SDS: dir + "/sds/tls.yaml"}
	if err := os.Mkdir(dir+"/sds", 0o700); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(writeCertificate(t, files, 1))
	e := startEdge(t, func(o *options) {
		o.settings.TLSCert, o.settings.TLSKey, o.settings.TLSSDS = files.Cert, files.Key, files.SDS
	})

	get := func(version uint16, protocol string) (*http.Response, error) {
		config := &tls.Config{RootCAs: pool, ServerName: "mcp.example.com", MinVersion: tls.VersionTLS10, MaxVersion: version, NextProtos: []string{protocol}}
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: protocol == "h2", DisableKeepAlives: true}
		request, _ := http.NewRequest("GET", "https://"+e.addr+"/health", nil)
		request.Host = "mcp.example.com"
		response, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(request)
		if err == nil {
			response.Body.Close()
		}
		return response, err
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, protocol := range []string{"h2", "http/1.1"} {
			response, err := get(version, protocol)
			if err != nil || response.StatusCode != 200 {
				t.Fatalf("%s over %s: %v %v", protocol, tls.VersionName(version), response, err)
			}
			if (protocol == "h2") != (response.ProtoMajor == 2) {
				t.Errorf("%s became %s", protocol, response.Proto)
			}
		}
	}
	if _, err := get(tls.VersionTLS11, "http/1.1"); err == nil {
		t.Error("TLS 1.1 is accepted")
	}

	for serial := int64(2); serial <= 3; serial++ {
		pool.AddCert(writeCertificate(t, files, serial))
		deadline := time.Now().Add(30 * time.Second)
		for {
			response, err := get(tls.VersionTLS13, "http/1.1")
			if err != nil {
				t.Fatal(err)
			}
			if got := response.TLS.PeerCertificates[0].SerialNumber.Int64(); got == serial {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("certificate %d is not served", serial)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// writeSecrets does what the command does beside the bootstrap.
func writeSecrets(t *testing.T, edge settings.Edge) {
	t.Helper()
	secrets, err := bootstrap.Secrets(edge)
	if err != nil {
		t.Fatal(err)
	}
	for path, resource := range secrets {
		text, err := yamlpb.Marshal(resource)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// writeCertificate makes a certificate for mcp.example.com. The first time it writes the resource
// file too; then it replaces the pair: number 2 by renaming, as most tools do, number 3 in place.
func writeCertificate(t *testing.T, files settings.TLS, serial int64) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprintf("test %d", serial)}, DNSNames: []string{"mcp.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		target := path
		if serial == 2 {
			target += ".new"
		}
		if err := os.WriteFile(target, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if serial == 2 {
		for _, path := range []string{files.Key, files.Cert} {
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if serial == 1 {
		writeSecrets(t, settings.Edge{TLS: &files})
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
