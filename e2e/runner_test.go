package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/ports"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// A runner is `stack run` as make starts it.
type runner struct {
	cmd    *exec.Cmd
	port   int
	state  string
	tmp    string
	stdout chan string // its lines; closed at the end
	stderr bytes.Buffer
	lines  []string
}

func startRunner(t *testing.T, port int, env ...string) *runner {
	t.Helper()
	r := &runner{port: port, state: t.TempDir(), tmp: shortTempDir(t), stdout: make(chan string, 100)}
	r.cmd = exec.Command(filepath.Join(binaries(t), "stack"), "run", "--port", strconv.Itoa(port))
	r.cmd.Env = append([]string{"STACK_STATE=" + r.state, "TMPDIR=" + r.tmp, "STACK_BIN=" + binaries(t)}, env...)
	r.cmd.Stderr = &r.stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.stdout)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.stdout <- s.Text()
		}
	}()
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// shortTempDir is one whose sockets' paths are not too long.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

var lastPort atomic.Int32

// anyPort is a port for a program that claims it itself. It is given once, and
// is below those that stacks pick, so that nobody takes it meanwhile.
func anyPort(t *testing.T) int {
	t.Helper()
	const first, count = 10000, 1000
	lastPort.CompareAndSwap(0, rand.Int32N(count)) // of each run of the tests
	for range count {
		if p, err := ports.Claim(first + int(lastPort.Add(1))%count); err == nil {
			p.Release()
			return p.Number
		}
	}
	t.Fatalf("no free port between %d and %d", first, first+count)
	return 0
}

// ready waits for the greeting to be complete.
func (r *runner) ready(t *testing.T) {
	t.Helper()
	timeout := time.After(2 * time.Minute)
	for {
		select {
		case line, ok := <-r.stdout:
			if !ok {
				_ = r.cmd.Wait()
				t.Fatalf("the runner ended: %s", r.stderr.String())
			}
			r.lines = append(r.lines, line)
			if strings.HasPrefix(line, "Ctrl-C") {
				return
			}
		case <-timeout:
			t.Fatalf("not ready in two minutes; so far: %q", r.lines)
		}
	}
}

// end waits until the runner has ended and returns its exit status.
func (r *runner) end(t *testing.T) int {
	t.Helper()
	timer := time.AfterFunc(2*time.Minute, func() { _ = r.cmd.Process.Kill() })
	defer timer.Stop()
	for range r.stdout {
	}
	err := r.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return r.cmd.ProcessState.ExitCode()
}

// children are the processes whose environment or arguments name the runner's
// own directory: they are this runner's and nobody else's.
func (r *runner) children(t *testing.T) []string {
	t.Helper()
	var found []string
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == r.cmd.Process.Pid {
			continue
		}
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if bytes.Contains(append(args, env...), []byte(r.tmp+"/")) {
			found = append(found, entry.Name()+" "+string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// child is the process whose arguments contain mark.
func (r *runner) child(t *testing.T, mark string) int {
	t.Helper()
	children := r.children(t)
	for _, child := range children {
		id, args, _ := strings.Cut(child, " ")
		if strings.Contains(args, mark) {
			pid, err := strconv.Atoi(id)
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("no %q among %v", mark, children)
	return 0
}

// afterStart is what the runner, which has ended, said after it had started.
func (r *runner) afterStart() []string {
	lines := strings.Split(strings.TrimSuffix(r.stderr.String(), "\n"), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "started in ") {
			return lines[i+1:]
		}
	}
	return lines
}

// nothingLeft checks that no process, no socket and no state is left.
func (r *runner) nothingLeft(t *testing.T) {
	t.Helper()
	eventually(t, 60*time.Second, func() string {
		if left := r.children(t); len(left) > 0 {
			return "processes left: " + strings.Join(left, ", ")
		}
		if left, _ := filepath.Glob(filepath.Join(r.tmp, "*")); len(left) > 0 {
			return "files left: " + strings.Join(left, ", ")
		}
		if left, _ := filepath.Glob(filepath.Join(r.state, "*", "state.json*")); len(left) > 0 {
			return "state left: " + strings.Join(left, ", ")
		}
		if c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", r.port), time.Second); err == nil {
			c.Close()
			return "the port still answers"
		}
		return ""
	})
}

func TestRunPrintsCommandsThatWork(t *testing.T) {
	t.Parallel()
	// A directory whose name a shell would take apart.
	bin := filepath.Join(t.TempDir(), "it's a $HOME")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stack", "sandbox", "authz", "mcpbackend", "envoy", "envoyconf"} {
		if err := os.Symlink(filepath.Join(binaries(t), name), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	r := startRunner(t, anyPort(t), "STACK_BIN="+bin)
	r.ready(t)
	greeting := strings.Join(r.lines, "\n")
	if r.lines[0] != fmt.Sprintf("ready http://127.0.0.1:%d", r.port) {
		t.Errorf("the first line is %q", r.lines[0])
	}
	if !regexp.MustCompile(`(?m)^eyJ[\w-]+\.[\w-]+\.[\w-]+$`).MatchString(greeting) {
		t.Errorf("no token in %s", greeting)
	}
	var outputs []string
	for _, line := range r.lines {
		if !strings.HasPrefix(line, "  curl ") {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		cmd := exec.CommandContext(ctx, "bash", "-c", line)
		cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "STACK_STATE=" + r.state}
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			t.Errorf("%s: %v %s", line, err, out)
		}
		outputs = append(outputs, string(out))
	}
	if len(outputs) != 3 {
		t.Fatalf("%d commands in %s", len(outputs), greeting)
	}
	for i, want := range []string{"401 Unauthorized", `"list_inventory_items"`, `"structuredContent"`} {
		if !strings.Contains(outputs[i], want) {
			t.Errorf("command %d printed no %s: %s", i+1, want, outputs[i])
		}
	}
	for _, sub := range []string{"sandbox", "authz", "mcpbackend", "envoy"} {
		if _, err := os.Stat(filepath.Join(r.state, strconv.Itoa(r.port), "logs", sub+".log")); err != nil {
			t.Error(err)
		}
	}

	t.Run("token prints a token and nothing else", func(t *testing.T) {
		g := &gateway{Stack: &stack.Stack{URL: fmt.Sprintf("http://127.0.0.1:%d", r.port)}, client: http.DefaultClient}
		for _, args := range [][]string{
			nil, {"--account", sellerTwo}, {"--kind", "opaque"}, {"--kind", "passport"}, {"--scope", "read:companies"}, {"--ttl", "90s"},
		} {
			out, errs, err := runStack(t, r.state, append([]string{"token"}, args...)...)
			token := strings.TrimSpace(out)
			if err != nil || out != token+"\n" || strings.ContainsAny(token, " \t\n") || errs != "" {
				t.Errorf("%v: %q %q %v", args, out, errs, err)
			}
			if result := g.call(t, modern, token, "list_companies", nil); result.IsError {
				t.Errorf("%v: %s", args, result.text())
			}
		}
		for _, args := range [][]string{{"--account", "nobody@example.com"}, {"--kind", "gold"}, {"--ttl", "soon"}} {
			if out, errs, err := runStack(t, r.state, append([]string{"token"}, args...)...); err == nil || out != "" || !strings.HasPrefix(errs, "stack: ") {
				t.Errorf("%v: %q %q %v", args, out, errs, err)
			}
		}
	})

	t.Run("the same port is busy", func(t *testing.T) {
		second := startRunner(t, r.port)
		if code := second.end(t); code == 0 {
			t.Error("exit status 0")
		}
		if want := fmt.Sprintf("port %d is in use", r.port); strings.Count(second.stderr.String(), "\n") != 1 || !strings.Contains(second.stderr.String(), want) {
			t.Errorf("not one clear line: %s", second.stderr.String())
		}
		if left := second.children(t); len(left) > 0 {
			t.Error(left)
		}
	})

	t.Run("another port works beside it", func(t *testing.T) {
		second := startRunner(t, anyPort(t))
		second.ready(t)
		if err := second.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if code := second.end(t); code != 0 {
			t.Errorf("exit status %d: %s", code, second.stderr.String())
		}
		second.nothingLeft(t)
	})

	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := r.end(t); code != 0 {
		t.Errorf("exit status %d after SIGTERM: %s", code, r.stderr.String())
	}
	r.nothingLeft(t)
	if out, errs, err := runStack(t, r.state, "token"); err == nil || out != "" || !strings.Contains(errs, "make run") {
		t.Errorf("token without a gateway: %q %q %v", out, errs, err)
	}
}

func runStack(t *testing.T, state string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binaries(t), "stack"), args...)
	cmd.Env = []string{"STACK_STATE=" + state}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func TestKilledRunnerLeavesNothing(t *testing.T) {
	t.Parallel()
	r := startRunner(t, anyPort(t))
	r.ready(t)
	if len(r.children(t)) < 4 {
		t.Fatalf("children not found: %v", r.children(t))
	}
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.end(t)
	r.nothingLeft(t)
}

func TestDeadChildEndsTheRun(t *testing.T) {
	t.Parallel()
	r := startRunner(t, anyPort(t))
	r.ready(t)
	if err := syscall.Kill(r.child(t, "/mcpbackend "), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := r.end(t); code == 0 {
		t.Error("exit status 0")
	}
	log := filepath.Join(r.state, strconv.Itoa(r.port), "logs", "mcpbackend.log")
	want := "stack: mcpbackend stopped by itself (signal: killed); its log: " + log
	if lines := r.afterStart(); len(lines) != 1 || lines[0] != want {
		t.Errorf("the death takes %d lines: %q, want %q", len(lines), lines, want)
	}
	r.nothingLeft(t)
	if data, err := os.ReadFile(log); err != nil || len(data) == 0 {
		t.Errorf("the log that is named: %d bytes, %v", len(data), err)
	}
}

// The janitor is part of the run: without it, a killed runner would leave
// sockets behind, and the runner cleans up without it.
func TestDeadJanitorEndsTheRun(t *testing.T) {
	t.Parallel()
	r := startRunner(t, anyPort(t))
	r.ready(t)
	if err := syscall.Kill(r.child(t, " janitor "), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := r.end(t); code == 0 {
		t.Error("exit status 0")
	}
	want := "stack: janitor stopped by itself (signal: killed)"
	if lines := r.afterStart(); len(lines) != 1 || lines[0] != want {
		t.Errorf("the death takes %d lines: %q, want %q", len(lines), lines, want)
	}
	r.nothingLeft(t)
}

func TestRunNeedsItsBinaries(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	r := startRunner(t, anyPort(t), "STACK_BIN="+empty)
	if code := r.end(t); code == 0 {
		t.Error("exit status 0")
	}
	for _, want := range []string{"envoy", "authz", "mcpbackend", "sandbox", "make build"} {
		if !strings.Contains(r.stderr.String(), want) {
			t.Errorf("%q is not named: %s", want, r.stderr.String())
		}
	}
	r.nothingLeft(t)
}

func TestInterruptedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	// The child whose appearance is the moment.
	for _, moment := range []string{" janitor ", "/sandbox ", "/envoy "} {
		t.Run(strings.Trim(moment, " /"), func(t *testing.T) {
			t.Parallel()
			r := startRunner(t, anyPort(t))
			eventually(t, 60*time.Second, func() string {
				for _, child := range r.children(t) {
					if strings.Contains(child, moment) {
						return ""
					}
				}
				return "not yet"
			})
			if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if code := r.end(t); code != 0 {
				t.Errorf("exit status %d: %s", code, r.stderr.String())
			}
			r.nothingLeft(t)
		})
	}
}

func TestWrongPortIsOneLine(t *testing.T) {
	t.Parallel()
	for _, port := range []string{"abc", "0", "65536", "80 80", ""} {
		for _, command := range []string{"run", "token"} {
			out, errs, err := runStack(t, t.TempDir(), command, "--port="+port)
			if err == nil || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "stack: ") ||
				!strings.Contains(errs, fmt.Sprintf("--port: %q is not a port: choose a number from 1 to 65535", port)) {
				t.Errorf("%s %q: %v, %q %q", command, port, err, out, errs)
			}
		}
	}
}

func TestVersionIsOneLine(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "stack")
	args := []string{"build", "-buildvcs=false", "-ldflags", "-X main.version=v1.2.3-test -X main.commit=0123abc", "-o", bin}
	// With the race detector as this test has it, all but the linking is done.
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	build := exec.CommandContext(t.Context(), "go", append(args, "./cmd/stack")...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), bin, "--version").CombinedOutput()
	if err != nil || string(out) != "v1.2.3-test (commit 0123abc)\n" {
		t.Errorf("%v %q", err, out)
	}
}

// Envoy fails once as it does when a port was taken between the check and the use.
func TestAPortThatWasTakenMeanwhileIsPickedAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"authz", "envoyconf", "mcpbackend", "sandbox", "stack", "envoy"} {
		path, err := filepath.Abs(filepath.Join(binaries(t), name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "envoy" {
			script := "#!/bin/sh\nif mkdir '" + dir + "/once' 2>/dev/null; then echo \"cannot bind: Address already in use\" >&2; exit 1; fi\nexec '" + path + "' \"$@\"\n"
			// A child that another test starts meanwhile must not hold the file
			// open for writing: the system would refuse to run it (execve(2), ETXTBSY).
			syscall.ForkLock.RLock()
			err = os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700)
			syscall.ForkLock.RUnlock()
		} else {
			err = os.Symlink(path, filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	g := ownGateway(t, stack.Options{Bin: dir})
	if _, err := os.Stat(filepath.Join(dir, "once")); err != nil {
		t.Error("Envoy never failed")
	}
	if r := g.send(t, "GET", "/health", ""); r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}
