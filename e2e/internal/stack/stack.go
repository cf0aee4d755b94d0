// Package stack runs the whole gateway on the local NeonPanel: sandbox, authz,
// mcpbackend and Envoy, as the real binaries with their settings in environment
// variables and nothing else.
package stack

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/ports"
)

// The parts, in the order in which they start; they stop in the reverse order,
// so that Envoy is the first to go.
const (
	SandboxPart = "sandbox"
	Authz       = "authz"
	Backend     = "mcpbackend"
	Envoy       = "envoy"
)

var parts = []string{SandboxPart, Authz, Backend, Envoy}

const (
	introspectionClient = "neonpanel-gateway"

	runtimePrefix = "neonpanel-"
	// The longest path of a unix socket that Linux takes, without the final
	// zero byte (unix(7)).
	maxSocketPath = 107
	longestSocket = "/mcpbackend/mcpbackend.sock"
)

func hasRuntimePrefix(name string) bool { return strings.HasPrefix(name, runtimePrefix) }

// Options say how to run a stack. The zero value, with Bin set, runs one on
// free ports with everything in a temporary directory.
type Options struct {
	// Bin is the directory of the binaries.
	Bin string
	// Port is where Envoy listens on 127.0.0.1; 0 picks a free one.
	Port int
	// Logs is where the parts' logs go; empty means the runtime directory.
	Logs string
	// State is the file in which other commands find this stack; empty means
	// none.
	State string
	// Env holds further settings by part, such as
	// {"authz": {"AUTHZ_STREAM_MAX=5s"}}; they win over the stack's own.
	Env map[string][]string
	// SandboxPort is where the sandbox should listen if that port is free.
	SandboxPort int
	// Progress, when set, is told what happens.
	Progress func(format string, args ...any)
}

// Stack is a running gateway.
type Stack struct {
	// URL is the public URL, without a path.
	URL string
	// Issuer is the sandbox's issuer, and the base of its API.
	Issuer string
	// Sandbox controls the local NeonPanel.
	Sandbox *Sandbox
	// Dir is the runtime directory, with a directory for each owner's sockets.
	Dir string

	opts    Options
	logs    string
	secret  string // of the client that may introspect tokens (RFC 7662 §2.1)
	ports   []*ports.Port
	spawner *spawner
	janitor *janitor

	mu        sync.Mutex
	processes map[string]*process
	stopped   bool
	dead      chan error // gets the first death of a child that nobody stopped
}

// Start starts a stack and returns when it serves. When it fails nothing is
// left behind. The context bounds the start only.
func Start(ctx context.Context, opts Options) (*Stack, error) {
	for attempt := 1; ; attempt++ {
		s, err := start(ctx, opts)
		if !errors.Is(err, errPortTaken) || attempt == 4 {
			return s, err
		}
		// The sandbox need not have the port that it should have.
		opts.SandboxPort = 0
	}
}

// errPortTaken means that another program took a port between the check and the
// use. Those that nobody asked for by number are picked anew.
var errPortTaken = errors.New("a port was taken meanwhile")

func start(ctx context.Context, opts Options) (_ *Stack, err error) {
	progress := opts.Progress
	if progress == nil {
		progress = func(string, ...any) {}
	}
	if opts.Bin, err = filepath.Abs(opts.Bin); err != nil {
		return nil, err
	}
	if err := findBinaries(opts.Bin); err != nil {
		return nil, err
	}
	anyPort := opts.Port == 0
	edgePort, sandboxPort, err := claimPorts(opts)
	if err != nil {
		return nil, err
	}
	dir, err := runtimeDir()
	if err != nil {
		edgePort.Release()
		sandboxPort.Release()
		return nil, err
	}
	s := &Stack{
		URL:       "http://" + edgePort.Address(),
		Issuer:    "http://" + sandboxPort.Address(),
		Sandbox:   NewSandbox(filepath.Join(dir, SandboxPart, "control.sock")),
		Dir:       dir,
		opts:      opts,
		logs:      opts.Logs,
		secret:    cryptorand.Text(),
		ports:     []*ports.Port{edgePort, sandboxPort},
		spawner:   newSpawner(),
		processes: map[string]*process{},
		dead:      make(chan error, 1),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	if s.janitor, err = startJanitor(filepath.Join(opts.Bin, "stack"), s.leftovers()...); err != nil {
		return nil, err
	}
	go func() {
		<-s.janitor.done
		select {
		case <-s.janitor.wanted:
		default:
			// Without it, a killed runner would leave its sockets behind.
			select {
			case s.dead <- deathOf("janitor", s.janitor.err):
			default:
			}
		}
	}()
	for _, part := range parts {
		if err := os.Mkdir(filepath.Join(dir, part), 0o700); err != nil {
			return nil, err
		}
	}
	if s.logs == "" {
		s.logs = filepath.Join(dir, "logs")
	}
	if err := os.MkdirAll(s.logs, 0o700); err != nil {
		return nil, err
	}
	for _, part := range parts {
		if err := os.Remove(s.LogFile(part)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}

	progress("starting %s (logs in %s)", strings.Join(parts, ", "), s.logs)
	if err := s.StartPart(SandboxPart); err != nil {
		return nil, err
	}
	if err := s.render(ctx); err != nil {
		return nil, err
	}
	// authz waits for its issuer with growing pauses: it is ready soonest when
	// it finds the issuer there.
	if err := s.await(ctx, SandboxPart); err != nil {
		if strings.Contains(tail(s.LogFile(SandboxPart), 1), "address already in use") {
			return nil, errPortTaken
		}
		return nil, err
	}
	for _, part := range parts[1:] {
		if err := s.StartPart(part); err != nil {
			return nil, err
		}
	}
	if err := s.Ready(ctx); err != nil {
		if anyPort && strings.Contains(tail(s.LogFile(Envoy), 12), "Address already in use") {
			return nil, errPortTaken
		}
		return nil, err
	}
	if opts.State != "" {
		state := State{PID: os.Getpid(), URL: s.URL, Issuer: s.Issuer, Control: s.Sandbox.socket, Logs: s.logs}
		if err := state.write(opts.State); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// findBinaries names everything that is missing, at once.
func findBinaries(bin string) error {
	var missing []string
	for _, name := range append([]string{"envoyconf", "stack"}, parts...) {
		if _, err := exec.LookPath(filepath.Join(bin, name)); err != nil {
			missing = append(missing, filepath.Join(bin, name))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing %s: run `make build`", strings.Join(missing, ", "))
	}
	return nil
}

// claimPorts claims the ports of the edge and of the sandbox for as long as the
// stack lives. Envoy itself would not notice another one on its port: it listens
// with SO_REUSEPORT, so that a second one of the same user would silently take
// half of the connections.
func claimPorts(opts Options) (edge, sandbox *ports.Port, err error) {
	if opts.Port == 0 {
		edge, err = ports.Free()
	} else {
		edge, err = ports.Claim(opts.Port)
	}
	if err != nil {
		return nil, nil, err
	}
	if opts.SandboxPort != 0 {
		if sandbox, err = ports.Claim(opts.SandboxPort); err == nil {
			return edge, sandbox, nil
		}
	}
	if sandbox, err = ports.Free(); err != nil {
		edge.Release()
		return nil, nil, err
	}
	return edge, sandbox, nil
}

// runtimeDir makes a private directory whose sockets' paths are short enough.
func runtimeDir() (string, error) {
	for _, base := range []string{os.TempDir(), "/tmp"} {
		dir, err := os.MkdirTemp(base, runtimePrefix)
		if err != nil {
			continue
		}
		if len(dir)+len(longestSocket) <= maxSocketPath {
			return dir, nil
		}
		_ = os.Remove(dir)
	}
	return "", errors.New("no directory for the sockets: neither TMPDIR nor /tmp is writable and short enough")
}

// Socket returns the path of a socket in the directory of its owner.
func (s *Stack) Socket(owner, name string) string { return filepath.Join(s.Dir, owner, name+".sock") }

// LogFile returns the path of the log of a part.
func (s *Stack) LogFile(part string) string { return filepath.Join(s.logs, part+".log") }

// logHint says where a part's log is or, when it goes with the runtime
// directory, how it ends.
func (s *Stack) logHint(part string) string {
	if s.opts.Logs != "" {
		return "; its log: " + s.LogFile(part)
	}
	if last := tail(s.LogFile(part), 12); last != "" {
		return "; its last lines:\n" + last
	}
	return ""
}

// environment is everything that a part finds in its environment.
func (s *Stack) environment(part string) []string {
	unix := func(owner, name string) string { return "unix:" + s.Socket(owner, name) }
	var env []string
	switch part {
	case SandboxPart:
		env = []string{
			"SANDBOX_LISTEN=" + strings.TrimPrefix(s.Issuer, "http://"),
			"SANDBOX_ISSUER=" + s.Issuer,
			"SANDBOX_RESOURCES=" + strings.Join([]string{s.URL + "/mcp", s.URL, s.URL + "/sse", s.URL + "/sse/"}, ","),
			"SANDBOX_CONTROL_LISTEN=" + unix(SandboxPart, "control"),
			"SANDBOX_INTROSPECTION_CLIENT_ID=" + introspectionClient,
			"SANDBOX_INTROSPECTION_CLIENT_SECRET=" + s.secret,
		}
	case Authz:
		env = []string{
			"PUBLIC_URL=" + s.URL,
			"NEONPANEL_ISSUER=" + s.Issuer,
			"AUTHZ_LISTEN=" + unix(Authz, "authz"),
			"AUTHZ_DISCOVERY_LISTEN=" + unix(Authz, "discovery"),
			"AUTHZ_OPS_LISTEN=" + unix(Authz, "ops"),
			"AUTHZ_INTROSPECTION_CLIENT_ID=" + introspectionClient,
			"AUTHZ_INTROSPECTION_CLIENT_SECRET=" + s.secret,
		}
	case Backend:
		env = []string{
			"PUBLIC_URL=" + s.URL,
			"NEONPANEL_API_URL=" + s.Issuer,
			"MCPBACKEND_LISTEN=" + unix(Backend, "mcpbackend"),
			"MCPBACKEND_OPS_LISTEN=" + unix(Backend, "ops"),
		}
	case "envoyconf":
		env = []string{
			"PUBLIC_URL=" + s.URL,
			"EDGE_LISTEN=" + strings.TrimPrefix(s.URL, "http://"),
			"EDGE_AUTHZ=" + unix(Authz, "authz"),
			"EDGE_DISCOVERY=" + unix(Authz, "discovery"),
			"EDGE_BACKEND=" + unix(Backend, "mcpbackend"),
			"EDGE_ADMIN=" + unix(Envoy, "admin"),
		}
	}
	return append(env, s.opts.Env[part]...)
}

// render writes Envoy's bootstrap.
func (s *Stack) render(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.opts.Bin, "envoyconf"), "render")
	cmd.Env = s.environment("envoyconf")
	var problem strings.Builder
	cmd.Stderr = &problem
	bootstrap, err := cmd.Output()
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("envoyconf render: %w\n%s", err, problem.String())
	}
	return os.WriteFile(s.bootstrap(), bootstrap, 0o600)
}

func (s *Stack) bootstrap() string { return filepath.Join(s.Dir, Envoy, "bootstrap.yaml") }

// StartPart starts a part that does not run, and does not wait for it.
func (s *Stack) StartPart(part string) error {
	var args []string
	switch part {
	case Envoy:
		args = []string{
			"--config-path", s.bootstrap(),
			"--concurrency", "1",
			"--disable-hot-restart",
			"--log-level", "warning",
			// Who reads the access log while it runs should not wait ten seconds.
			"--file-flush-interval-msec", "500",
		}
	default:
		args = []string{"serve"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errors.New("the stack is stopped")
	}
	p, err := s.spawner.spawn(part, filepath.Join(s.opts.Bin, part), args, s.environment(part), s.Dir, s.LogFile(part))
	if err != nil {
		return err
	}
	s.processes[part] = p
	go func() {
		<-p.done
		select {
		case <-p.wanted:
		default:
			select {
			case s.dead <- fmt.Errorf("%w%s", p.died(), s.logHint(part)):
			default:
			}
		}
	}()
	return nil
}

// StopPart asks a part to end and waits until it has. It gets more time than
// its own for what is under way.
func (s *Stack) StopPart(part string) {
	if p := s.process(part); p != nil {
		p.stop(30 * time.Second)
	}
}

// KillPart ends a part as a crash would.
func (s *Stack) KillPart(part string) {
	if p := s.process(part); p != nil {
		p.kill()
	}
}

// PID returns the process id of a part.
func (s *Stack) PID(part string) int { return s.process(part).pid() }

func (s *Stack) process(part string) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.processes[part]
}

// Dead gets the death of a part that nobody stopped.
func (s *Stack) Dead() <-chan error { return s.dead }

// Ready waits until every part says that it is ready and the edge serves. It
// gives up when a part dies.
func (s *Stack) Ready(ctx context.Context) error {
	for _, part := range parts {
		if err := s.await(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// await waits until the part says that it is ready.
func (s *Stack) await(ctx context.Context, part string) error {
	client, url := unixClient(s.Socket(part, "ops")), "http://"+part+"/readyz"
	switch part {
	case SandboxPart:
		client, url = s.Sandbox.client, "http://sandbox/healthz"
	case Envoy:
		client, url = &http.Client{Transport: &http.Transport{}}, s.URL+"/health"
	}
	defer client.CloseIdleConnections()
	last := errors.New("no answer")
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := probe(attempt, client, url)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case death := <-s.dead:
			return death
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("%s did not become ready: %w%s", part, last, s.logHint(part))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func probe(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// Stop ends everything, Envoy first, and removes sockets and state. It may be
// called more than once.
func (s *Stack) Stop() error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return nil
	}
	s.stopped = true
	running := s.processes
	s.mu.Unlock()
	for _, part := range slices.Backward(parts) {
		if p := running[part]; p != nil {
			p.stop(5 * time.Second)
		}
	}
	s.spawner.close()
	if s.janitor != nil {
		s.janitor.finish()
	}
	for _, p := range s.ports {
		p.Release()
	}
	// The janitor may have been killed: nothing here depends on it.
	return remove(s.leftovers())
}

// leftovers are the paths that must not outlive the stack.
func (s *Stack) leftovers() []string {
	if s.opts.State == "" {
		return []string{s.Dir}
	}
	return []string{s.Dir, s.opts.State}
}
