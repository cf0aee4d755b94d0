// Package local runs the gateway's real programs on this machine, with the
// sandbox for NeonPanel and everything switched on that has metrics.
package local

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The programs that have metrics.
const (
	Authz   = "authz"
	Backend = "mcpbackend"
	Envoy   = "envoy"
	sandbox = "sandbox"
)

// Options say how the gateway differs from the other one.
type Options struct {
	// Ports puts the operations listeners onto TCP, as they are by default,
	// without certificates and traces.
	Ports bool
	// Env holds further settings by program.
	Env map[string][]string
}

// Gateway is a running gateway.
type Gateway struct {
	// URL is where it answers, without a path, and Issuer where the sandbox does.
	URL, Issuer string
	// Dir holds its files.
	Dir string
	// Ops are the operations listeners by program, as unix:/path or host:port.
	Ops map[string]string

	bin, dir string
	more     map[string][]string
	clients  map[string]*http.Client
	running  []*process
}

type process struct {
	name string
	cmd  *exec.Cmd
	log  *buffer
	done chan struct{}
}

// buffer keeps what a process says.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(text)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Start starts a gateway of the programs in bin, with its files in dir, whose
// path must be short. A port that somebody else takes first is picked anew.
func Start(ctx context.Context, bin, dir string, o Options) (*Gateway, error) {
	for attempt := 1; ; attempt++ {
		g, err := start(ctx, bin, filepath.Join(dir, fmt.Sprint(attempt)), o)
		if err == nil || attempt == 5 || !strings.Contains(strings.ToLower(err.Error()), "address already in use") {
			return g, err
		}
	}
}

func start(ctx context.Context, bin, dir string, o Options) (_ *Gateway, err error) {
	var ports [6]string
	for i := range ports {
		// Below those that the kernel gives to outgoing connections.
		ports[i] = fmt.Sprint("127.0.0.1:", 11000+mathrand.IntN(20000))
	}
	issuer := "http://" + ports[1]
	g := &Gateway{URL: "http://" + ports[0], Issuer: issuer, Dir: dir, Ops: map[string]string{}, bin: bin, dir: dir, more: o.Env, clients: map[string]*http.Client{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Stop())
		}
	}()
	for _, part := range []string{sandbox, Authz, Backend, Envoy} {
		if err := os.MkdirAll(filepath.Join(dir, part), 0o700); err != nil {
			return nil, err
		}
	}
	if err := g.certificate(); err != nil {
		return nil, err
	}
	for i, part := range []string{sandbox, Authz, Backend, Envoy} {
		if g.Ops[part] = "unix:" + g.socket(part, "ops"); o.Ports {
			g.Ops[part] = ports[2+i]
		}
	}
	unix := func(owner, name string) string { return "unix:" + g.socket(owner, name) }
	const client, secret = "neonpanel-gateway", "a secret of this test alone"
	tls := func(prefix string) []string {
		var env []string
		if o.Ports {
			return env
		}
		for name, file := range map[string]string{"CERT": "cert.pem", "KEY": "key.pem", "CLIENT_CA": "cert.pem"} {
			env = append(env, prefix+"_TLS_"+name+"="+filepath.Join(dir, file))
		}
		return append(env, prefix+"_TLS_CLIENT_SANS=gateway.test")
	}
	if err := g.run(sandbox, []string{"serve"}, []string{
		"SANDBOX_LISTEN=" + ports[1], "SANDBOX_ISSUER=" + issuer, "SANDBOX_CONTROL_LISTEN=" + g.Ops[sandbox],
		"SANDBOX_RESOURCES=" + g.URL + "/mcp," + g.URL,
		"SANDBOX_INTROSPECTION_CLIENT_ID=" + client, "SANDBOX_INTROSPECTION_CLIENT_SECRET=" + secret,
	}); err != nil {
		return nil, err
	}
	if err := g.await(ctx, sandbox, "/healthz"); err != nil {
		return nil, err
	}
	// Nobody listens there; that has metrics, too.
	shared := map[string][]string{}
	if !o.Ports {
		shared[Authz] = []string{"AUTHZ_REDIS_URL=redis://127.0.0.1:9", "AUTHZ_REDIS_SECRET=of these tests alone, and long enough"}
		shared[Backend] = []string{"MCPBACKEND_REDIS_URL=redis://127.0.0.1:9", "MCPBACKEND_REDIS_SECRET=of these tests alone, and long enough"}
	}
	if err := g.run(Authz, []string{"serve"}, append(append(tls("AUTHZ"), shared[Authz]...),
		"PUBLIC_URL="+g.URL, "NEONPANEL_ISSUER="+issuer,
		"AUTHZ_LISTEN="+unix(Authz, "authz"), "AUTHZ_DISCOVERY_LISTEN="+unix(Authz, "discovery"), "AUTHZ_OPS_LISTEN="+g.Ops[Authz],
		"AUTHZ_INTROSPECTION_CLIENT_ID="+client, "AUTHZ_INTROSPECTION_CLIENT_SECRET="+secret, "AUTHZ_REFUSED_BURST=100000", "AUTHZ_SCOPE_MODE=report",
	)); err != nil {
		return nil, err
	}
	if err := g.run(Backend, []string{"serve"}, append(append(tls("MCPBACKEND"), shared[Backend]...),
		"PUBLIC_URL="+g.URL, "NEONPANEL_API_URL="+issuer,
		"MCPBACKEND_LISTEN="+unix(Backend, "mcpbackend"), "MCPBACKEND_OPS_LISTEN="+g.Ops[Backend],
		"MCPBACKEND_OPENAPI_URL="+issuer+"/api/v1/openapi",
	)); err != nil {
		return nil, err
	}
	tracing := "OTEL_EXPORTER_OTLP_ENDPOINT="
	if !o.Ports {
		tracing += "http://127.0.0.1:9" // nobody listens there
	}
	render := exec.CommandContext(ctx, filepath.Join(bin, "envoyconf"), "render")
	render.Env = []string{
		"PUBLIC_URL=" + g.URL, "EDGE_LISTEN=" + ports[0], "EDGE_ADMIN=" + g.Ops[Envoy],
		tracing,
		"EDGE_AUTHZ=" + unix(Authz, "authz"), "EDGE_DISCOVERY=" + unix(Authz, "discovery"), "EDGE_BACKEND=" + unix(Backend, "mcpbackend"),
	}
	render.Env = append(render.Env, o.Env["envoyconf"]...)
	var complaint bytes.Buffer
	render.Stderr = &complaint
	bootstrap, err := render.Output()
	if err != nil {
		return nil, fmt.Errorf("envoyconf: %w %s", err, complaint.String())
	}
	file := filepath.Join(dir, "bootstrap.yaml")
	if err := os.WriteFile(file, bootstrap, 0o600); err != nil {
		return nil, err
	}
	if err := g.run(Envoy, []string{"--config-path", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"}, nil); err != nil {
		return nil, err
	}
	for part, path := range map[string]string{Authz: "/readyz", Backend: "/readyz", Envoy: "/ready"} {
		if err := g.await(ctx, part, path); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (g *Gateway) socket(owner, name string) string {
	return filepath.Join(g.dir, owner, name+".sock")
}

// certificate writes one for the listeners and whoever asks them.
func (g *Gateway) certificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "gateway.test"}, DNSNames: []string{"gateway.test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(g.dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(filepath.Join(g.dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
	)
}

func (g *Gateway) run(name string, args, env []string) error {
	p := &process{name: name, cmd: exec.Command(filepath.Join(g.bin, name), args...), log: &buffer{}, done: make(chan struct{})}
	p.cmd.Env = append([]string{}, append(env, g.more[name]...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("%w: run `make build`", err)
	}
	go func() {
		_ = p.cmd.Wait() // await tells what it said
		close(p.done)
	}()
	g.running = append(g.running, p)
	network, address := "tcp", g.Ops[name]
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	g.clients[name] = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}}
	return nil
}

// await waits until a part says that it is ready, or is dead.
func (g *Gateway) await(ctx context.Context, name, path string) error {
	p := g.running[len(g.running)-1]
	for _, one := range g.running {
		if one.name == name {
			p = one
		}
	}
	for {
		_, err := g.ask(ctx, name, http.MethodGet, path, "")
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended:\n%s", name, p.log)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", name, err, p.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (g *Gateway) ask(ctx context.Context, name, method, path, body string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+name+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := g.clients[name].Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s %s", name, path, resp.Status, text)
	}
	return string(text), err
}

// Control asks the sandbox for something.
func (g *Gateway) Control(ctx context.Context, method, path, body string) (string, error) {
	return g.ask(ctx, sandbox, method, path, body)
}

// Metrics are what a part exposes.
func (g *Gateway) Metrics(ctx context.Context, part string) (string, error) {
	path := "/metrics"
	if part == Envoy {
		path = "/stats/prometheus"
	}
	return g.ask(ctx, part, http.MethodGet, path, "")
}

// Log is what a part has said.
func (g *Gateway) Log(part string) string {
	for _, p := range g.running {
		if p.name == part {
			return p.log.String()
		}
	}
	return ""
}

// Stop ends everything, the last that was started first.
func (g *Gateway) Stop() error {
	for i := len(g.running) - 1; i >= 0; i-- {
		p := g.running[i]
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
	}
	for _, client := range g.clients {
		client.CloseIdleConnections()
	}
	return os.RemoveAll(g.dir)
}
