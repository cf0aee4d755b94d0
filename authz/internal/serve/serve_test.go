package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/metrics"
	"github.com/neonpanel/mcp-gateway/authz/internal/serve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const public = "https://mcp.example.com"

var signer = issuertest.NewSigner("RS256", "one", 1)

// buffer is a log that may be read, and waited for, while it is written.
type buffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	news chan struct{} // closed by the next write; nil if nobody waits
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.news != nil {
		close(b.news)
		b.news = nil
	}
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// count is how often a message was logged.
func (b *buffer) count(message string) int { return strings.Count(b.String(), `"msg":"`+message) }

// await blocks until a message was logged so many times.
func (b *buffer) await(t testing.TB, message string, times int) {
	t.Helper()
	patience := time.After(60 * time.Second)
	for {
		b.mu.Lock()
		if strings.Count(b.b.String(), `"msg":"`+message) >= times {
			b.mu.Unlock()
			return
		}
		if b.news == nil {
			b.news = make(chan struct{})
		}
		news := b.news
		b.mu.Unlock()
		select {
		case <-news:
		case <-patience:
			t.Fatalf("%q was not logged %d times; log:\n%s", message, times, b)
		}
	}
}

// gateway is a whole authz on sockets in a directory of its own.
type gateway struct {
	dir  string
	log  *buffer
	conn *grpc.ClientConn
	stop func() error
}

func start(t testing.TB, issuer string, change func(*config.Settings)) *gateway {
	t.Helper()
	g := &gateway{dir: t.TempDir(), log: &buffer{}}
	settings := config.Settings{
		PublicURL: public, NeonpanelIssuer: issuer, LogLevel: "debug", KeysCooldown: "10ms",
		Listen: "unix:" + g.socket("authz"), DiscoveryListen: "unix:" + g.socket("discovery"), OpsListen: "unix:" + g.socket("ops"),
	}
	if change != nil {
		change(&settings)
	}
	c, err := settings.Validate()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve.Run(ctx, c, metrics.Build{Version: "v1", Commit: "c0ffee"}, g.log) }()
	g.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	g.conn, err = grpc.NewClient("unix:"+g.socket("authz"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Minute}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.conn.Close()
		if err := g.stop(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *gateway) socket(name string) string { return filepath.Join(g.dir, name+".sock") }

// await blocks until authz says that it is ready.
func (g *gateway) await(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// The socket appears within milliseconds of the start.
	for {
		watch, err := healthv1.NewHealthClient(g.conn).Watch(ctx, &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		for {
			got, err := watch.Recv()
			if ctx.Err() != nil {
				t.Fatalf("not ready in time; log:\n%s", g.log)
			}
			if err != nil {
				break
			}
			if got.GetStatus() == healthv1.HealthCheckResponse_SERVING {
				return
			}
		}
	}
}

func (g *gateway) check(t testing.TB, path, authorization string) *authv3.CheckResponse {
	t.Helper()
	headers := []*corev3.HeaderValue{{Key: "x-forwarded-host", RawValue: []byte("evil.example")}}
	if authorization != "" {
		headers = append(headers, &corev3.HeaderValue{Key: "authorization", RawValue: []byte(authorization)})
	}
	out, err := authv3.NewAuthorizationClient(g.conn).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Path: path, Host: "evil.example", Scheme: "ftp", HeaderMap: &corev3.HeaderMap{Headers: headers},
		}},
	}}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (g *gateway) get(t testing.TB, socket, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", g.socket(socket))
	}}}
	response, err := client.Get("http://evil.example" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// claims are those of a good token, with changes.
func claims(issuer string, changes map[string]any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{
		"iss": issuer, "sub": "46", "aud": public + "/mcp", "client_id": "client-1",
		"scope": "read:inventory read:companies", "iat": now, "exp": now + 600,
	}
	maps.Copy(c, changes)
	return c
}

func header(options []*corev3.HeaderValueOption, name string) string {
	for _, o := range options {
		if o.GetHeader().GetKey() == name {
			return o.GetHeader().GetValue()
		}
	}
	return ""
}

func TestWholeService(t *testing.T) {
	t.Parallel()
	issuer := issuertest.Start(t)
	issuer.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
	g := start(t, issuer.Issuer, nil)
	g.await(t)

	good := signer.Sign(claims(issuer.Issuer, nil))
	for range 3 {
		out := g.check(t, "/mcp?x=y", "Bearer "+good)
		ok := out.GetOkResponse()
		if out.GetStatus().GetCode() != 0 || ok == nil {
			t.Fatalf("a good token was refused: %v", out)
		}
		for name, want := range map[string]string{
			"x-neonpanel-auth": "bearer", "x-neonpanel-subject": "46", "x-neonpanel-client-id": "client-1",
			"x-neonpanel-scopes":    "read:companies read:inventory",
			"x-neonpanel-challenge": `realm="mcp", resource_metadata="` + public + `/.well-known/oauth-protected-resource/mcp"`,
		} {
			if got := header(ok.GetHeaders(), name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
	for name, c := range map[string]struct {
		authorization string
		status        int
		reason        string
	}{
		"none":     {"", 401, "no_credential"},
		"expired":  {"Bearer " + signer.Sign(claims(issuer.Issuer, map[string]any{"exp": time.Now().Unix() - 1})), 401, "token_expired"},
		"audience": {"Bearer " + signer.Sign(claims(issuer.Issuer, map[string]any{"aud": "https://other.example"})), 401, "audience_mismatch"},
		"two":      {"Bearer " + good + ",Bearer " + good, 400, "multiple_credentials"},
	} {
		out := g.check(t, "/sse/", c.authorization)
		if got := int(out.GetDeniedResponse().GetStatus().GetCode()); got != c.status {
			t.Errorf("%s: status %d, want %d", name, got, c.status)
		}
		if got := out.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); got != c.reason {
			t.Errorf("%s: reason %s, want %s", name, got, c.reason)
		}
		if got := header(out.GetDeniedResponse().GetHeaders(), "www-authenticate"); !strings.HasPrefix(got, `Bearer realm="mcp", resource_metadata="`+public+`/.well-known/oauth-protected-resource/sse/"`) {
			t.Errorf("%s: %s", name, got)
		}
	}

	if code, text := g.get(t, "discovery", "/.well-known/oauth-protected-resource/mcp"); code != http.StatusOK || !strings.Contains(text, `"resource":"`+public+`/mcp"`) {
		t.Errorf("protected resource: %d %s", code, text)
	}
	code, text := g.get(t, "discovery", "/.well-known/oauth-authorization-server/mcp")
	var metadata struct{ Issuer string }
	if err := json.Unmarshal([]byte(text), &metadata); code != http.StatusOK || err != nil || metadata.Issuer != issuer.Issuer {
		t.Errorf("authorization server: %d %s", code, text)
	}
	if code, text := g.get(t, "ops", "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, text)
	}
	_, text = g.get(t, "ops", "/metrics")
	for _, line := range []string{
		`authz_decisions_total{decision="allow",reason="ok"} 3`, `authz_decisions_total{decision="deny",reason="token_expired"} 1`,
		`authz_decisions_total{decision="deny",reason="keys_stale"} 0`,
		`authz_verdicts_total{reason="ok",source="cache"} 2`, `authz_verdicts_total{reason="ok",source="jwt"} 1`, "\nauthz_keys 1\n", "authz_keys_age_seconds",
		`authz_issuer_call_duration_seconds_count{call="keys",outcome="ok"}`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}

	if err := g.stop(); err != nil {
		t.Error(err)
	}
	log := g.log.String()
	for part := range strings.SplitSeq(good, ".") {
		if strings.Contains(log, part) {
			t.Errorf("a part of the token is in the log: %s", log)
		}
	}
	for line := range strings.Lines(log) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if !strings.Contains(log, `"scopes in force"`) {
		t.Error("the scopes in force are not logged")
	}
}

func TestStartsNotReadyWhileTheIssuerIsDownAndRecoversAlone(t *testing.T) {
	t.Parallel()
	issuer := issuertest.Start(t)
	issuer.Serve(issuertest.PathJWKS, issuertest.Status(http.StatusBadGateway))
	g := start(t, issuer.Issuer, nil)
	good := signer.Sign(claims(issuer.Issuer, nil))
	early := g.check(t, "/mcp", "Bearer "+good).GetDeniedResponse()
	if early.GetStatus().GetCode() != 503 || header(early.GetHeaders(), "retry-after") == "" || header(early.GetHeaders(), "www-authenticate") != "" {
		t.Errorf("before the first keys: %v, want 503 with Retry-After and no challenge", early)
	}
	g.log.await(t, "issuer keys not fetched", 1)
	if code, text := g.get(t, "ops", "/readyz"); !(code == http.StatusServiceUnavailable && strings.Contains(text, "keys have not been fetched yet: ") && strings.Contains(text, "status 502")) {
		t.Errorf("/readyz: %d %s", code, text)
	}
	if code, text := g.get(t, "ops", "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d %s", code, text)
	}
	issuer.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
	g.await(t)
	if out := g.check(t, "/mcp", "Bearer "+good); out.GetOkResponse() == nil {
		t.Errorf("after the first keys: %v", out)
	}
	issuer.Serve(issuertest.PathJWKS, issuertest.Status(http.StatusBadGateway))
	if code, text := g.get(t, "ops", "/readyz"); code != http.StatusOK {
		t.Errorf("trouble after the start made it unready: %d %s", code, text)
	}
}
