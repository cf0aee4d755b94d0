//go:build scaleout

package e2e

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/ports"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// Two complete gateways, each with a rate limit service of its own, share one Redis.
func TestScaleoutLimitsCountForAllReplicas(t *testing.T) {
	dir, err := os.MkdirTemp("", "limits") // a short name, for sun_path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	redis := startRedis(t, dir)
	settings := []string{"PUBLIC_URL=http://127.0.0.1:8080", "EDGE_SUBJECT_RATE=1", "EDGE_SUBJECT_BURST=200"}
	services := []*service{startRateLimit(t, dir, "a", redis, settings), startRateLimit(t, dir, "b", redis, settings)}
	var pods []*gateway
	for _, s := range services {
		pods = append(pods, ownGateway(t, stack.Options{Env: map[string][]string{
			"envoyconf": append(settings[1:], "EDGE_RATELIMIT=unix:"+s.socket),
		}}))
	}
	body, headers := message(modern, "tools/list", "", nil)
	list := func(pod int, account string) reply {
		return pods[pod].send(t, "POST", "/mcp", body, append(headers, bearer(pods[pod].token(t, account))...)...)
	}
	// limited sends a user's requests to a pod until one is refused, and tells how many passed, and
	// which limit it was.
	limited := func(pod int, account string) (passed int, by string, last reply) {
		for passed = range 1000 {
			last = list(pod, account)
			switch last.Status {
			case 200:
			case 429:
				return passed, pods[pod].logged(t, last.Header.Get("X-Request-Id"))["details"].(string), last
			default:
				t.Fatalf("%d %s", last.Status, last.Body)
			}
		}
		t.Fatalf("1000 requests passed")
		return
	}
	const shared, own = "request_rate_limited", "local_rate_limited"

	// A minute's 60 are gone, on either pod; each Envoy alone would have let 200 pass.
	passed, by, refusal := limited(0, sellerOne)
	if by != shared {
		t.Fatalf("%d passed, then it was %s", passed, by)
	}
	if after, err := strconv.Atoi(refusal.Header.Get("Retry-After")); err != nil || after < 1 || after > 60 {
		t.Errorf("Retry-After: %q", refusal.Header.Get("Retry-After"))
	}
	var told map[string]string
	if err := json.Unmarshal([]byte(refusal.Body), &told); err != nil || told["error"] != "too_many_requests" || told["request_id"] == "" {
		t.Errorf("%v: %s", err, refusal.Body)
	}
	for name := range refusal.Header {
		if strings.HasPrefix(name, "X-Envoy") || strings.HasPrefix(name, "X-Ratelimit") {
			t.Errorf("%s is sent", name)
		}
	}
	if passed, by, _ := limited(1, sellerOne); by != shared {
		t.Errorf("on the other pod %d passed, then it was %s", passed, by)
	}
	for pod := range pods {
		if r := list(pod, sellerTwo); r.Status != 200 {
			t.Errorf("the other user on pod %d: %d %s", pod, r.Status, r.Body)
		}
	}
	keys := redis.ask(t, "KEYS *")
	if !strings.Contains(keys, "neonpanel-mcp_subject_46") || strings.Contains(keys, "eyJ") {
		t.Errorf("Redis holds %q", keys)
	}

	// Without Redis, each Envoy's own limit holds: it is not refused, and not unlimited.
	redis.kill()
	if passed, by, _ := limited(0, sellerOne); by != own {
		t.Errorf("without Redis %d passed, then it was %s", passed, by)
	}
	// Redis is back, and empty until the service has found it.
	redis.start(t)
	other := pods[1].mint(t, stack.TokenRequest{Account: sellerTwo, ClientID: "another"})
	eventually(t, time.Minute, func() string {
		pods[1].send(t, "POST", "/mcp", body, append(headers, bearer(other)...)...)
		if redis.ask(t, "DBSIZE") == "0\n" {
			return "nothing is counted in Redis"
		}
		return ""
	})
	if passed, by, _ := limited(1, sellerTwo); by != shared {
		t.Errorf("with Redis again %d passed, then it was %s", passed, by)
	}
	// A service that hangs, and one that is gone.
	services[0].signal(t, syscall.SIGSTOP)
	if r := list(0, sellerTwo); r.Status != 200 {
		t.Errorf("a service that hangs: %d %s", r.Status, r.Body)
	}
	services[1].kill()
	if r := list(1, sellerOne); r.Status != 200 {
		t.Errorf("a service that is gone: %d %s", r.Status, r.Body)
	}
}

// A service is a program on a socket.
type service struct {
	socket string
	name   string
	args   []string
	env    []string
	log    string
	cmd    *exec.Cmd
	done   chan struct{}
}

func (s *service) start(t *testing.T) {
	t.Helper()
	os.Remove(s.socket)
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(s.name, s.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	s.cmd, s.done = cmd, done
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			text, _ := os.ReadFile(s.log)
			t.Logf("%s:\n%.3000s", filepath.Base(s.name), text)
		}
	})
	eventually(t, time.Minute, func() string {
		select {
		case <-done:
			text, _ := os.ReadFile(s.log)
			t.Fatalf("%s ended:\n%s", s.name, text)
		default:
		}
		conn, err := net.Dial("unix", s.socket)
		if err != nil {
			return err.Error()
		}
		conn.Close()
		return ""
	})
}

func (s *service) kill() {
	s.cmd.Process.Kill()
	<-s.done
}

func (s *service) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

func startRedis(t *testing.T, dir string) *service {
	t.Helper()
	s := &service{
		name: "redis-server", socket: dir + "/redis.sock", log: dir + "/redis.log",
		args: []string{"--port", "0", "--unixsocket", dir + "/redis.sock", "--save", "", "--dir", dir},
	}
	s.start(t)
	return s
}

// ask sends a command and returns what comes within its answer's first 64 KiB.
func (s *service) ask(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "redis-cli", append([]string{"-s", s.socket}, strings.Fields(command)...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// startRateLimit runs the service as deploy/ratelimit says.
func startRateLimit(t *testing.T, dir, name string, redis *service, settings []string) *service {
	t.Helper()
	binary := os.Getenv("RATELIMIT")
	if binary == "" {
		t.Fatal("RATELIMIT names no binary: 'make test-scaleout' builds one")
	}
	root := filepath.Join(dir, name)
	if err := os.MkdirAll(root+"/config", 0o700); err != nil {
		t.Fatal(err)
	}
	conf := exec.Command(filepath.Join(binaries(t), "envoyconf"), "ratelimit", "--output", root+"/config/neonpanel-mcp.yaml")
	conf.Env = settings
	if out, err := conf.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := &service{name: binary, socket: root + "/ratelimit.sock", log: root + "/log"}
	s.env = []string{
		"LOG_LEVEL=warn", "GRPC_UDS=" + s.socket, "RUNTIME_ROOT=" + root, "RUNTIME_WATCH_ROOT=false",
		"HOST=127.0.0.1", "PORT=" + freePort(t), "DEBUG_HOST=127.0.0.1", "DEBUG_PORT=" + freePort(t), "USE_STATSD=false",
		"REDIS_SOCKET_TYPE=unix", "REDIS_URL=" + redis.socket, "REDIS_TIMEOUT=50ms",
	}
	s.start(t)
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := ports.Free()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Release)
	return strconv.Itoa(port.Number)
}
