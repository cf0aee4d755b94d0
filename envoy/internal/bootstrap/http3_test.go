//go:build http3

package bootstrap_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
)

// startHTTP3 runs Envoy with a certificate and HTTP/3, and returns what clients trust.
func startHTTP3(t *testing.T, change ...option) (*edge, settings.TLS, *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	files := settings.TLS{Cert: dir + "/cert.pem", Key: dir + "/key.pem", SDS: dir + "/sds/tls.yaml"}
	if err := os.Mkdir(dir+"/sds", 0o700); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(writeCertificate(t, files, 1))
	return startEdge(t, append(change, func(o *options) {
		o.settings.TLSCert, o.settings.TLSKey, o.settings.TLSSDS, o.settings.HTTP3 = files.Cert, files.Key, files.SDS, "true"
	})...), files, pool
}

func trusting(pool *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: pool, ServerName: "mcp.example.com", NextProtos: []string{http3.NextProtoH3}}
}

// do3 sends a call by a client that people use.
func (e *edge) do3(t *testing.T, client *http.Client, method, target string, header ...string) answer {
	t.Helper()
	request, err := http.NewRequest(method, "https://"+e.quic+target, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "mcp.example.com"
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Add(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return readAnswer(t, response)
}

func TestHTTP3IsTheSameEdge(t *testing.T) {
	t.Parallel()
	e, files, pool := startHTTP3(t, func(o *options) { o.settings.SubjectRate, o.settings.SubjectBurst = "1", "5" })
	transport := &http3.Transport{TLSClientConfig: trusting(pool)}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	t.Cleanup(func() { transport.Close() })

	a := e.do3(t, client, "POST", "/mcp", "Authorization: Bearer good", origin, "X-Neonpanel-Subject: forged", "X-Neonpanel-Scopes: forged", "Cookie: a=b", "Traceparent: 00-forged-01")
	if a.ProtoMajor != 3 || a.StatusCode != 200 || a.seen("x-neonpanel-subject") != "user-1" || strings.Contains(a.body, "forged") || a.seen("cookie") != "" {
		t.Errorf("%s %d %s", a.Proto, a.StatusCode, a.body)
	}
	if a.seen("x-neonpanel-seen-client") != "127.0.0.1" || a.seen("x-forwarded-proto") != "https" {
		t.Errorf("%v %s", a.Header, a.body)
	}
	wantCORS(t, a)
	line := e.logLine(t, a.Header.Get("X-Request-Id"))
	if line["protocol"] != "HTTP/3" || line["subject"] != "user-1" || line["mcp_tool"] != "list_companies" || line["client"] != "127.0.0.1" {
		t.Errorf("the log says %v", line)
	}

	a = e.do3(t, client, "POST", "/mcp", origin, "X-Neonpanel-Subject: forged", "X-Neonpanel-Auth: bearer")
	if a.StatusCode != 401 || a.Header.Get("Www-Authenticate") != challenge {
		t.Errorf("without a token: %d %v", a.StatusCode, a.Header)
	}
	wantCORS(t, a)
	wantError(t, e.do3(t, client, "PUT", "/mcp", "Authorization: Bearer good"), 405, "method_not_allowed")
	wantError(t, e.do3(t, client, "GET", "/nope"), 404, "not_found")
	if a := e.do3(t, client, "GET", "/health", "Authorization: Bearer hang"); a.StatusCode != 200 || a.seen("authorization") != "" {
		t.Errorf("/health: %d %s", a.StatusCode, a.body)
	}
	if a := e.do3(t, client, "GET", "/sse", "Authorization: Bearer good", "X-Test: stream"); a.body != "data: 0\n\ndata: 1\n\ndata: 2\n\n" {
		t.Errorf("events: %d %q", a.StatusCode, a.body)
	}

	// One limit for all versions of HTTP.
	over := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "mcp.example.com"}}}
	limited := answer{}
	for i := 0; limited.Response == nil || limited.StatusCode != 429; i++ {
		if limited = e.do3(t, client, "POST", "/mcp", "Authorization: Bearer alice/app", origin); i == 500 {
			t.Fatal("alice is not limited")
		}
	}
	wantError(t, limited, 429, "too_many_requests")
	wantCORS(t, limited)
	if a := e.do3(t, client, "POST", "/mcp", "Authorization: Bearer bob/app"); a.StatusCode != 200 {
		t.Errorf("bob: %d", a.StatusCode)
	}

	// Clients of the other versions are told.
	response, err := over.Get("https://" + e.addr + "/health")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := response.Header.Get("Alt-Svc"); got != `h3=":443"; ma=86400` {
		t.Errorf("Alt-Svc: %q", got)
	}

	// A new certificate is served here too.
	pool.AddCert(writeCertificate(t, files, 2))
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := quic.DialAddr(t.Context(), e.quic, trusting(pool), nil)
		if err != nil {
			t.Fatal(err)
		}
		serial := conn.ConnectionState().TLS.PeerCertificates[0].SerialNumber.Int64()
		conn.CloseWithError(0, "")
		if serial == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not served")
		}
	}
}

// What is tried by HTTP/2 is tried by HTTP/3, which has the same fields.
func TestNoProbeGetsPastAuthzByHTTP3(t *testing.T) {
	t.Parallel()
	e, _, pool := startHTTP3(t, small)
	probes := corpus3()
	for _, p := range probes {
		if err := e.try3(t.Context(), pool, p); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	t.Logf("%d probes", len(probes))
}

func corpus3() []probe2 {
	// The parser of QUIC is another one; what it takes otherwise gets no further for it.
	otherwise := map[string][]int{"path /mcp\x80": {0}, "path /mcp\x80 forged": {0}, "method ": {400}, "a scheme with a path": {401}}
	probes := corpus2()
	for i, p := range probes {
		name := strings.TrimPrefix(p.name, "HTTP/2 ")
		probes[i].name = "HTTP/3 " + name
		if want, ok := otherwise[name]; ok {
			probes[i].want = want
		}
		for j, f := range p.fields {
			if f.name == ":scheme" && f.value == "http" {
				p.fields[j].value = "https"
			}
		}
	}
	return probes
}

// Each protection is taken out of the listener of HTTP/3 alone, and a probe notices.
func TestEveryProtectionOfHTTP3IsNoticedWhenItIsGone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		gone   string
		weaken func(manager map[string]any)
		caught string
	}{
		{"identity headers of clients are stripped", func(m map[string]any) { delete(m, "early_header_mutation_extensions") }, "HTTP/3 forged identity with a token"},
		{"underscores are dropped", func(m map[string]any) {
			m["common_http_protocol_options"].(map[string]any)["headers_with_underscores_action"] = "ALLOW"
		}, "HTTP/3 identity with an underscore"},
		{"paths are normalized", func(m map[string]any) { m["normalize_path"] = false }, "HTTP/3 path /health/../mcp"},
		{"escaped slashes are refused", func(m map[string]any) { delete(m, "path_with_escaped_slashes_action") }, "HTTP/3 path /mcp%2f"},
		{"headers are limited", func(m map[string]any) { m["max_request_headers_kb"] = 96 }, "HTTP/3 headers too large"},
		{"an authz that is asked", func(m map[string]any) {
			for _, f := range m["http_filters"].([]any) {
				if f := f.(map[string]any); f["name"] == "envoy.filters.http.ext_authz" {
					f["disabled"] = true
				}
			}
		}, "HTTP/3 a request in the body"},
	} {
		t.Run(c.gone, func(t *testing.T) {
			t.Parallel()
			e, _, pool := startHTTP3(t, small, func(o *options) {
				o.weaken = func(d map[string]any) {
					listener := d["static_resources"].(map[string]any)["listeners"].([]any)[1].(map[string]any)
					chain := listener["filter_chains"].([]any)[0].(map[string]any)
					c.weaken(chain["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any))
				}
			})
			probes := corpus3()
			at := slices.IndexFunc(probes, func(p probe2) bool { return p.name == c.caught })
			if at < 0 {
				t.Fatalf("there is no probe %q", c.caught)
			}
			if e.try3(t.Context(), pool, probes[at]) == nil {
				t.Errorf("%q does not notice", c.caught)
			}
		})
	}
}

// try3 sends a probe as frames (RFC 9114 §7.2) on a stream of its own connection.
func (e *edge) try3(ctx context.Context, pool *x509.CertPool, p probe2) error {
	e.backend.arrived()
	e.discovery.arrived()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := quic.DialAddr(ctx, e.quic, trusting(pool), nil)
	if err != nil {
		return err
	}
	defer conn.CloseWithError(0, "")
	control, err := conn.OpenUniStream()
	if err != nil {
		return err
	}
	if _, err := control.Write([]byte{0x00, 0x04, 0x00}); err != nil { // a control stream, and SETTINGS without any
		return err
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	frame := func(kind uint64, payload []byte) []byte {
		return append(quicvarint.Append(quicvarint.Append(nil, kind), uint64(len(payload))), payload...)
	}
	const data, headers = 0x0, 0x1
	out := frame(headers, encode3(p.fields))
	if p.body != "" {
		out = append(out, frame(data, []byte(p.body))...)
	}
	if p.trailers != nil {
		out = append(out, frame(headers, encode3(p.trailers))...)
	}
	go func() { // a refusal may come before Envoy has read all of it
		if _, err := stream.Write(out); err == nil {
			stream.Close()
		}
	}()
	if deadline, ok := ctx.Deadline(); ok {
		stream.SetReadDeadline(deadline)
	}
	status, err := status3(stream)
	var slow net.Error
	if errors.As(err, &slow) && slow.Timeout() {
		return errors.New("it hangs")
	}
	token := false
	for _, f := range p.fields {
		token = token || f == (field{"authorization", "Bearer good"})
	}
	return errors.Join(wantStatus(status, p.want), e.judge(token))
}

func encode3(fields []field) []byte {
	var block bytes.Buffer
	encoder := qpack.NewEncoder(&block)
	for _, f := range fields {
		encoder.WriteField(qpack.HeaderField{Name: f.name, Value: f.value})
	}
	encoder.Close()
	return block.Bytes()
}

// status3 reads to the end and returns the status of the final answer, 0 if there is none.
func status3(stream io.Reader) (status int, err error) {
	in := bufio.NewReader(stream)
	for {
		kind, err := quicvarint.Read(in)
		if err != nil {
			return status, err
		}
		size, err := quicvarint.Read(in)
		if err != nil {
			return status, err
		}
		payload := make([]byte, size)
		if _, err := io.ReadFull(in, payload); err != nil {
			return status, err
		}
		if kind != 0x1 || status >= 200 {
			continue
		}
		next := qpack.NewDecoder().Decode(payload)
		for {
			f, err := next()
			if err != nil {
				break
			}
			if f.Name == ":status" {
				if status, err = strconv.Atoi(f.Value); err != nil {
					return 0, fmt.Errorf("status %q", f.Value)
				}
			}
		}
	}
}
