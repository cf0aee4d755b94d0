//go:build pod

package deploy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/neonpanel/mcp-gateway/deploy/internal/manifest"
	"github.com/neonpanel/mcp-gateway/deploy/internal/pod"
)

// ownNetwork tells the tests that they are alone on their network, as the
// containers of a pod are.
const ownNetwork = "NEONPANEL_DEPLOY_NETWORK"

func TestMain(m *testing.M) {
	pod.Become()
	if os.Getenv(ownNetwork) != "" {
		if err := pod.Loopback(); err != nil {
			fmt.Fprintln(os.Stderr, "loopback:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), ownNetwork+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "tests on a network of their own (needs root):", err)
		os.Exit(1)
	}
}

const (
	origin  = "http://127.0.0.1:8080"
	sandbox = "http://127.0.0.1:9090"
	secret  = "a secret that only a file holds"
)

// neonpanel is the sandbox.
type neonpanel struct {
	dir    string
	client http.Client
}

func newNeonpanel(t *testing.T, dir string) *neonpanel {
	t.Helper()
	n := &neonpanel{dir: dir}
	n.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, "control.sock"))
	}}
	t.Cleanup(n.client.CloseIdleConnections)
	return n
}

// start runs the sandbox until the function that it returns is called.
func (n *neonpanel) start(t *testing.T, resource string) (stop func()) {
	t.Helper()
	cmd := exec.Command("../bin/sandbox", "serve")
	cmd.Env = []string{
		"SANDBOX_LISTEN=127.0.0.1:9090", "SANDBOX_ISSUER=" + sandbox, "SANDBOX_CONTROL_LISTEN=unix:" + filepath.Join(n.dir, "control.sock"),
		"SANDBOX_RESOURCES=" + resource + "/mcp," + resource + "/sse," + resource + "/sse/," + resource,
		"SANDBOX_INTROSPECTION_CLIENT_ID=mcp-gateway", "SANDBOX_INTROSPECTION_CLIENT_SECRET=" + secret,
	}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // it may be gone
		_ = cmd.Wait()
		n.client.CloseIdleConnections()
		if t.Failed() {
			t.Logf("the sandbox says:\n%s", log.String())
		}
	})
	t.Cleanup(stop)
	eventually(t, func() error {
		resp, err := http.Get(sandbox + "/.well-known/oauth-authorization-server")
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	return stop
}

func (n *neonpanel) control(t *testing.T, path, body string) []byte {
	t.Helper()
	resp, err := n.client.Post("http://sandbox"+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatal(path, resp.Status, err, string(text))
	}
	return text
}

func (n *neonpanel) token(t *testing.T, kind string) string {
	t.Helper()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(n.control(t, "/token", `{"kind":"`+kind+`"}`), &answer); err != nil || answer.AccessToken == "" {
		t.Fatal(err, answer)
	}
	return answer.AccessToken
}

// slow makes NeonPanel take its time for every call from now on.
func (n *neonpanel) slow(t *testing.T, delay time.Duration) {
	t.Helper()
	r, err := http.NewRequest(http.MethodDelete, "http://sandbox/faults", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := n.client.Do(r)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	n.control(t, "/faults", fmt.Sprintf(`{"path":"/api/v1/*","kind":"slow","delay":%q}`, delay))
}

// holds waits until NeonPanel has got a call that it takes its time for. A call
// that Envoy counts may not have reached mcpbackend yet.
func (n *neonpanel) holds(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		resp, err := n.client.Get("http://sandbox/faults")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var list struct {
			Faults []struct {
				Taken int `json:"taken"`
			} `json:"faults"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
			return err
		}
		if len(list.Faults) != 1 || list.Faults[0].Taken == 0 {
			return fmt.Errorf("NeonPanel has not got the call: %+v", list.Faults)
		}
		return nil
	})
}

func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

var entrypoint = regexp.MustCompile(`(?m)^ENTRYPOINT (\[.*\])$`)

// images are made of the binaries in bin, with the entrypoints of the Dockerfiles.
func images(t *testing.T) map[string]pod.Image {
	t.Helper()
	bin, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	libraries := map[string]string{}
	for _, dir := range []string{"/lib", "/lib64", "/usr/lib"} {
		if _, err := os.Stat(dir); err == nil {
			libraries[dir] = dir
		}
	}
	all := map[string]pod.Image{}
	for name, module := range map[string]string{"authz": "authz", "mcpbackend": "mcpbackend", "envoyconf": "envoy"} {
		text, err := os.ReadFile("../" + module + "/Dockerfile")
		if err != nil {
			t.Fatal(err)
		}
		found := entrypoint.FindSubmatch(text)
		image := pod.Image{Files: map[string]string{"/usr/local/bin/" + name: filepath.Join(bin, name), "/etc/ssl/certs": "/etc/ssl/certs"}}
		// The images' binaries are static; those in bin may need a C library.
		for dir := range libraries {
			image.Files[dir] = dir
		}
		if found == nil || json.Unmarshal(found[1], &image.Entrypoint) != nil {
			t.Fatalf("%s/Dockerfile has no entrypoint", module)
		}
		all[name] = image
	}
	// As the official image: bash and coreutils.
	envoy := pod.Image{Files: map[string]string{"/usr/local/bin/envoy": filepath.Join(bin, "envoy"), "/bin": "/bin", "/usr/bin": "/usr/bin"}}
	for dir := range libraries {
		envoy.Files[dir] = dir
	}
	if real, err := filepath.EvalSymlinks(envoy.Files["/usr/local/bin/envoy"]); err == nil {
		envoy.Files["/usr/local/bin/envoy"] = real
	}
	all["envoy"], all["stats"] = envoy, envoy
	return all
}

// authority signs certificates of one name for servers and clients.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func certificate(t *testing.T, template *x509.Certificate, by *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func newAuthority(t *testing.T) *authority {
	return certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
}

// secret holds a certificate as cert-manager writes it.
func (a *authority) secret(t *testing.T, name string) map[string][]byte {
	t.Helper()
	leaf := certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a)
	key, err := x509.MarshalPKCS8PrivateKey(leaf.key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"tls.crt": leaf.pem, "ca.crt": a.pem, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// start makes a pod of an overlay, with the sandbox for NeonPanel.
// hooks hear of its end.
func start(t *testing.T, overlay, publicURL string, secrets map[string]map[string][]byte, hooks pod.Options, edits ...func(*corev1.PodSpec)) *pod.Pod {
	t.Helper()
	set := kustomize(t, "kubernetes/overlays/"+overlay)
	d, err := manifest.One[*appsv1.Deployment](set, "neonpanel-mcp")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifest.All[*corev1.ConfigMap](set) {
		if m.Data["PUBLIC_URL"] != "" {
			m.Data["PUBLIC_URL"], m.Data["NEONPANEL_ISSUER"], m.Data["NEONPANEL_API_URL"] = publicURL, sandbox, sandbox
		}
	}
	dir, err := os.MkdirTemp("", "neonpanel-pod-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, edit := range edits {
		edit(&d.Spec.Template.Spec)
	}
	hooks.Dir, hooks.Set, hooks.Secrets, hooks.Images = dir, set, secrets, images(t)
	p, err := pod.New(d.Spec.Template.Spec, hooks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, name := range []string{"envoyconf", "authz", "mcpbackend", "envoy"} {
				text, _ := os.ReadFile(p.Log(name)) // it may not have started
				t.Logf("%s says:\n%s", name, text[max(0, len(text)-3000):])
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return p
}

func ready(t *testing.T, p *pod.Pod) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := p.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// call calls a tool, over a connection of its own unless there is a client.
func call(client *http.Client, at, token string) (*http.Response, string, error) {
	if client == nil {
		client = &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
	}
	r, err := http.NewRequest(http.MethodPost, at+"/mcp/tools/call", strings.NewReader(`{"name":"list_companies","arguments":{}}`))
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return resp, string(text), err
}

// stream opens a stream, and tells how it ends.
func stream(t *testing.T, token string) <-chan error {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, origin+"/sse", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != "event: endpoint" {
		t.Fatal("the stream starts with", lines.Text(), lines.Err())
	}
	ended := make(chan error, 1)
	go func() {
		defer resp.Body.Close()
		for lines.Scan() {
		}
		ended <- lines.Err() // nil: it ended as a stream should
	}()
	return ended
}

func TestThePodRunsAsItsManifestSays(t *testing.T) {
	n := newNeonpanel(t, t.TempDir())
	stop := n.start(t, origin)
	ca := newAuthority(t)
	var mu sync.Mutex
	var events []string
	draining, underWay := make(chan struct{}), make(chan struct{})
	p := start(t, "production", origin, map[string]map[string][]byte{
		"neonpanel-mcp-ops-tls":       ca.secret(t, "neonpanel-mcp-ops"),
		"neonpanel-mcp-introspection": {"client-secret": []byte(secret)},
	}, pod.Options{
		Event: func(e string) {
			mu.Lock()
			defer mu.Unlock()
			if events = append(events, e); e == "preStop envoy" {
				close(draining)
			}
		},
		// mcpbackend sleeps until a late call is under way. With the 9 s that it
		// takes for what is open after SIGTERM, a call of 28 s is not cut off.
		Sleep: func(ctx context.Context, name string, d time.Duration) {
			if name != "mcpbackend" || d < 19*time.Second {
				t.Errorf("%s sleeps for %s", name, d)
			}
			select {
			case <-underWay:
			case <-ctx.Done():
			}
		},
	})
	ready(t, p)

	for _, kind := range []string{"jwt", "opaque"} {
		if _, text, err := call(nil, origin, n.token(t, kind)); err != nil || !strings.Contains(text, `"total":2`) {
			t.Fatalf("%s token: %v %s", kind, err, text)
		}
	}

	t.Run("nobody has rights that the manifest does not give", func(t *testing.T) {
		inside := func(script string) (string, error) { return p.Exec(t.Context(), "envoy", "/bin/bash", "-c", script) }
		status, err := inside("id -u; id -g; cat /proc/self/status")
		if err != nil {
			t.Fatal(err, status)
		}
		for _, want := range []string{"101\n65532\n", "\nCapBnd:\t0000000000000000\n", "\nCapPrm:\t0000000000000000\n", "\nNoNewPrivs:\t1\n"} {
			if !strings.Contains(status, want) {
				t.Errorf("no %q in\n%s", want, status)
			}
		}
		for _, path := range []string{"/x", "/usr/local/bin/x", "/etc/envoy/x", "/run/neonpanel/authz/x", "/run/neonpanel/mcpbackend/x", "/etc/neonpanel/edge/x"} {
			if out, err := inside("echo x >" + path); err == nil {
				t.Errorf("Envoy's container writes %s %s", path, out)
			}
		}
		if out, err := inside("echo x >/tmp/x"); err != nil {
			t.Errorf("/tmp: %v %s", err, out)
		}
		for name, user := range map[string]string{"envoy": "101", "authz": "65532", "mcpbackend": "65533"} {
			status, err := os.ReadFile("/proc/" + p.PID(name) + "/status")
			if err != nil || !strings.Contains(string(status), "\nUid:\t"+user+"\t"+user) || !strings.Contains(string(status), "\nCapEff:\t0000000000000000") {
				t.Errorf("%s: %v\n%s", name, err, status)
			}
		}
	})

	t.Run("metrics leave over mutual TLS alone", func(t *testing.T) {
		pair := ca.secret(t, "prometheus")
		shown, err := tls.X509KeyPair(pair["tls.crt"], pair["tls.key"])
		if err != nil {
			t.Fatal(err)
		}
		for address, metric := range map[string]string{
			"127.0.0.1:9111/metrics": "authz_", "127.0.0.1:9112/metrics": "mcpbackend_", "127.0.0.1:9113/stats/prometheus": "envoy_",
		} {
			for _, known := range []bool{true, false} {
				config := &tls.Config{RootCAs: ca.pool(), ServerName: "neonpanel-mcp-ops"}
				if known {
					config.Certificates = []tls.Certificate{shown}
				}
				client := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
				var resp *http.Response
				var err error
				if known { // nothing waits for the Envoy of the statistics at the start
					eventually(t, func() error {
						resp, err = client.Get("https://" + address)
						return err
					})
				} else {
					resp, err = client.Get("https://" + address)
				}
				if !known {
					if err == nil {
						t.Errorf("%s: served without a certificate", address)
						resp.Body.Close()
					}
					continue
				}
				if err != nil {
					t.Error(err)
					continue
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !strings.Contains(string(text), "\n"+metric) {
					t.Errorf("%s: %v, no metric %s", address, err, metric)
				}
			}
		}
	})

	// One stream is open, and one call, of which NeonPanel takes its time.
	token := n.token(t, "jwt")
	streamEnd := stream(t, token)
	n.slow(t, 10*time.Second)
	type result struct {
		resp *http.Response
		err  error
	}
	begin := func(token string) <-chan result {
		done := make(chan result, 1)
		go func() {
			resp, _, err := call(nil, origin, token)
			done <- result{resp, err}
		}()
		return done
	}
	first := begin(token)
	ended := make(chan error, 1)
	n.holds(t)
	began := time.Now()
	go func() { ended <- p.Stop(context.Background()) }()
	<-draining

	// Load balancers do not know at once: who still comes is served, and told
	// to come back by another connection. Its call outlives SIGTERM of mcpbackend.
	eventually(t, func() error {
		out, err := p.Exec(t.Context(), "envoy", "/bin/bash", "/etc/neonpanel/edge/edge.sh", "ready")
		if err == nil {
			return errors.New("Envoy is still ready " + out)
		}
		return nil
	})
	served := func(which string, done <-chan result) {
		t.Helper()
		got := <-done
		if got.err != nil {
			t.Errorf("%s: %v", which, got.err)
		} else if !got.resp.Close {
			t.Errorf("%s: its client is not told to connect again", which)
		}
	}
	served("the call that was open", first)
	n.slow(t, 3*time.Second)
	late := begin(n.token(t, "jwt"))
	n.holds(t)
	close(underWay)
	served("the call that came late", late)
	if err := <-streamEnd; err != nil {
		t.Errorf("the stream broke off: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	t.Logf("the pod ended after %s: %s", time.Since(began).Round(100*time.Millisecond), strings.Join(events, ", "))
	for _, order := range [][2]string{{"TERM mcpbackend", "end mcpbackend"}, {"end mcpbackend", "TERM authz"}, {"end envoy", "TERM authz"}} {
		if a, b := slices.Index(events, order[0]), slices.Index(events, order[1]); a < 0 || b < 0 || a > b {
			t.Errorf("%q does not come before %q", order[0], order[1])
		}
	}
	stop()
}

// A pod starts while NeonPanel is down, is not ready, is not killed either, and
// becomes ready by itself; then NeonPanel may go, and nothing changes.
func TestProbesDoNotDependOnNeonPanel(t *testing.T) {
	n := newNeonpanel(t, t.TempDir())
	ca := newAuthority(t)
	const origin = "https://127.0.0.1:8080"
	p := start(t, "tls", origin, map[string]map[string][]byte{"neonpanel-mcp-tls": ca.secret(t, "mcp.example.com")}, pod.Options{})
	probe := func() (alive, ready []string) {
		d, err := manifest.One[*appsv1.Deployment](kustomize(t, "kubernetes/overlays/tls"), "neonpanel-mcp")
		if err != nil {
			t.Fatal(err)
		}
		spec := d.Spec.Template.Spec
		for _, c := range append(spec.InitContainers, spec.Containers...) {
			if c.LivenessProbe == nil {
				continue
			}
			if out, err := p.Probe(t.Context(), c.Name, c.LivenessProbe); err == nil {
				alive = append(alive, c.Name)
			} else {
				t.Logf("%s is not alive: %v %s", c.Name, err, out)
			}
			if _, err := p.Probe(t.Context(), c.Name, c.ReadinessProbe); err == nil {
				ready = append(ready, c.Name)
			}
		}
		return alive, ready
	}
	// A busy machine may not answer a probe in its time; the kubelet asks again, too.
	eventually(t, func() error {
		alive, ready := probe()
		if slices.Contains(ready, "authz") {
			t.Fatalf("NeonPanel is down, and authz is ready")
		}
		if len(alive) != 3 {
			return fmt.Errorf("NeonPanel is down: alive are %v, ready are %v", alive, ready)
		}
		return nil
	})
	stop := n.start(t, origin)
	ready(t, p)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool(), ServerName: "mcp.example.com"}}}
	defer client.CloseIdleConnections()
	if _, _, err := call(client, origin, n.token(t, "jwt")); err != nil {
		t.Error(err)
	}
	stop()
	eventually(t, func() error {
		if alive, ready := probe(); len(alive) != 3 || len(ready) != 3 {
			return fmt.Errorf("NeonPanel is gone: alive are %v, ready are %v", alive, ready)
		}
		return nil
	})
	// mcpbackend alone is gone: Envoy is not restarted for it.
	resp, err := client.Get(origin + "/health")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
}

// ECS has no hook before SIGTERM: the script around Envoy drains, and both main
// containers hear of the end at once.
func TestTheTaskDrainsWithoutAHook(t *testing.T) {
	n := newNeonpanel(t, t.TempDir())
	n.start(t, origin)
	var task ecsContainer
	for _, c := range readTemplate(t).Resources.Task.Properties.ContainerDefinitions {
		if c.Name == "envoy" {
			task = c
		}
	}
	p := start(t, "staging", origin, nil, pod.Options{}, func(spec *corev1.PodSpec) {
		for i := range spec.Containers {
			c := &spec.Containers[i]
			if c.Lifecycle = nil; c.Name != "envoy" {
				continue
			}
			c.Command, c.Args = task.EntryPoint, task.Command
			for name, value := range task.env() {
				c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value})
			}
			for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe} {
				probe.Exec.Command = slices.Replace(slices.Clone(task.HealthCheck.Command), 0, 1) // without CMD
			}
		}
	})
	ready(t, p)
	token := n.token(t, "jwt")
	streamEnd := stream(t, token)
	n.slow(t, 4*time.Second)
	done := make(chan error, 1)
	go func() {
		_, _, err := call(nil, origin, token)
		done <- err
	}()
	n.holds(t)
	if err := p.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the call that was open: %v", err)
	}
	if err := <-streamEnd; err != nil {
		t.Errorf("the stream broke off: %v", err)
	}
}
