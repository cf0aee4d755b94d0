package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/neonpanel/mcp-gateway/authz/internal/check"
	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/listen"
	"github.com/neonpanel/mcp-gateway/authz/internal/ops"
	"github.com/neonpanel/mcp-gateway/authz/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slow decides once it is let go; without free, at once.
type slow struct {
	asked chan struct{}
	free  chan struct{}
}

func (s *slow) Decide(ctx context.Context, _ decision.Request) decision.Response {
	if s.free != nil {
		close(s.asked)
		select {
		case <-s.free:
		case <-ctx.Done():
		}
	}
	return decision.Response{}
}

func (s *slow) Broken(error) decision.Response { return decision.Response{Status: 503} }

func (s *slow) Decided(bool, string, time.Duration) {}

func silent() *slog.Logger { return slog.New(slog.NewJSONHandler(io.Discard, nil)) }

type running struct {
	dir   string
	conn  *grpc.ClientConn
	ready atomic.Bool
	stop  func() error
}

func start(t *testing.T, service *slow, drain time.Duration) *running {
	t.Helper()
	r := &running{dir: t.TempDir()}
	address := func(name string) listen.Address {
		a, err := listen.Parse("unix:" + filepath.Join(r.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	ready := func() error {
		if r.ready.Load() {
			return nil
		}
		return errors.New("no keys yet")
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := server.New(ctx, server.Options{
		Check: check.New(service, service, silent()), Discovery: http.NotFoundHandler(), Ops: ops.Handler(ready, http.NotFoundHandler()),
		Listen: address("authz.sock"), DiscoveryListen: address("discovery.sock"), OpsListen: []listen.Address{address("ops.sock")},
		Ready: ready, OnReady: func() {}, Drain: drain, Log: silent(),
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	r.conn, err = grpc.NewClient("unix:"+filepath.Join(r.dir, "authz.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, PermitWithoutStream: true}))
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		r.conn.Close()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestSocketsAreForTheGroupAndVanishAtTheEnd(t *testing.T) {
	t.Parallel()
	r := start(t, &slow{}, time.Second)
	names := []string{"authz.sock", "discovery.sock", "ops.sock"}
	for _, name := range names {
		info, err := os.Stat(filepath.Join(r.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o660 {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(r.dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

func TestHealthFollowsReadiness(t *testing.T) {
	t.Parallel()
	r := start(t, &slow{}, time.Second)
	client := healthv1.NewHealthClient(r.conn)
	// Waiting for the server is part of the call: it may not serve yet.
	health := func(service string) healthv1.HealthCheckResponse_ServingStatus {
		got, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		return got.GetStatus()
	}
	if got := health(""); got != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("before it is ready: %v", got)
	}
	if code, reason := readyz(t, r); code != http.StatusServiceUnavailable || reason != "no keys yet" {
		t.Errorf("/readyz: %d %q", code, reason)
	}
	watch, err := client.Watch(t.Context(), &healthv1.HealthCheckRequest{Service: authv3.Authorization_ServiceDesc.ServiceName})
	if err != nil {
		t.Fatal(err)
	}
	r.ready.Store(true)
	for {
		got, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got.GetStatus() == healthv1.HealthCheckResponse_SERVING {
			break
		}
	}
	if got := health(""); got != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("once ready: %v", got)
	}
	if code, _ := readyz(t, r); code != http.StatusOK {
		t.Errorf("/readyz: %d", code)
	}
}

func readyz(t *testing.T, r *running) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(r.dir, "ops.sock"))
	}}}
	response, err := client.Get("http://ops/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body struct{ Reason string }
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body.Reason
}

func TestARunningRequestEndsBeforeTheServerDoes(t *testing.T) {
	t.Parallel()
	service := &slow{asked: make(chan struct{}), free: make(chan struct{})}
	r := start(t, service, time.Minute)
	answered := make(chan error, 1)
	go func() {
		_, err := authv3.NewAuthorizationClient(r.conn).Check(context.Background(), &authv3.CheckRequest{}, grpc.WaitForReady(true))
		answered <- err
	}()
	<-service.asked
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	select {
	case <-ended:
		t.Fatal("the server ended while a request ran")
	case <-time.After(50 * time.Millisecond):
	}
	close(service.free)
	if err := <-answered; err != nil {
		t.Errorf("the running request: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAHungRequestDoesNotHoldTheServer(t *testing.T) {
	t.Parallel()
	service := &slow{asked: make(chan struct{}), free: make(chan struct{})}
	r := start(t, service, 20*time.Millisecond)
	answered := make(chan error, 1)
	go func() {
		_, err := authv3.NewAuthorizationClient(r.conn).Check(context.Background(), &authv3.CheckRequest{}, grpc.WaitForReady(true))
		answered <- err
	}()
	<-service.asked
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if err := <-answered; status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
		t.Errorf("the hung request: %v", err)
	}
}

func TestAnOversizeQuestionIsRefused(t *testing.T) {
	t.Parallel()
	r := start(t, &slow{}, time.Second)
	_, err := authv3.NewAuthorizationClient(r.conn).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		ContextExtensions: map[string]string{"x": string(make([]byte, 256<<10))},
	}}, grpc.WaitForReady(true))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%v, want ResourceExhausted", err)
	}
}

func TestABusyAddressIsNamedWithItsSetting(t *testing.T) {
	t.Parallel()
	r := start(t, &slow{}, time.Second)
	taken, err := listen.Parse("unix:" + filepath.Join(r.dir, "authz.sock"))
	if err != nil {
		t.Fatal(err)
	}
	free, err := listen.Parse("unix:" + filepath.Join(r.dir, "free.sock"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = server.New(t.Context(), server.Options{
		Check: check.New(&slow{}, &slow{}, silent()), Listen: taken, DiscoveryListen: free, OpsListen: []listen.Address{taken}, Log: silent(),
	})
	if err == nil {
		t.Fatal("two servers on one socket")
	}
	for _, setting := range []string{"AUTHZ_LISTEN", "AUTHZ_OPS_LISTEN"} {
		if !strings.Contains(err.Error(), setting) {
			t.Errorf("%q does not name %s", err, setting)
		}
	}
	if _, err := os.Stat(filepath.Join(r.dir, "free.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the free socket was left behind")
	}
}
