package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asProgram makes the test binary behave as the sandbox itself, which is then
// compiled once and has the race detector in.
const asProgram = "SANDBOX_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The program as people use it: serve, healthcheck, token.
func TestProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	control := "SANDBOX_CONTROL_LISTEN=unix:" + filepath.Join(dir, "control.sock")
	run := func(env []string, args ...string) (out, problem string, err error) {
		c := exec.CommandContext(t.Context(), program, args...)
		c.Env = append([]string{asProgram + "=1"}, env...)
		var stdout, stderr bytes.Buffer
		c.Stdout, c.Stderr = &stdout, &stderr
		err = c.Run()
		return stdout.String(), stderr.String(), err
	}

	if _, problem, err := run([]string{"SANDBOX_TOKEN_TTL=x", "SANDBOX_QUIRKS=y"}); err == nil || !strings.Contains(problem, "SANDBOX_TOKEN_TTL") || !strings.Contains(problem, "SANDBOX_QUIRKS") {
		t.Errorf("wrong settings: %v\n%s", err, problem)
	}
	if _, problem, err := run([]string{control}, "token"); err == nil || !strings.Contains(problem, "is it running?") || strings.Count(problem, "\n") != 1 {
		t.Errorf("token without a sandbox: %v\n%s", err, problem)
	}
	if _, _, err := run([]string{control}, "healthcheck"); err == nil {
		t.Error("healthcheck without a sandbox succeeds")
	}
	if out, _, err := run(nil, "serve", "--help"); err != nil || !strings.Contains(out, "SANDBOX_RESOURCES") {
		t.Errorf("help: %v\n%s", err, out)
	}
	if out, _, err := run(nil, "--version"); err != nil || strings.TrimSpace(out) == "" {
		t.Errorf("version: %q, %v", out, err)
	}

	served := exec.Command(program)
	served.Env = []string{asProgram + "=1", control, "SANDBOX_LISTEN=unix:" + filepath.Join(dir, "public.sock"), "SANDBOX_ISSUER=http://127.0.0.1:9"}
	log := &bytes.Buffer{}
	served.Stderr = log
	if err := served.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- served.Wait() }()
	t.Cleanup(func() { served.Process.Kill() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, _, err := run([]string{control}, "healthcheck"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not come up")
		}
	}
	for _, args := range [][]string{nil, {"--kind", "opaque"}, {"--account", "seller-two@example.com", "--scope", "read:cogs", "--ttl", "5m"}, {"--scope", ""}, {"--ttl=-1h"}} {
		out, problem, err := run([]string{control}, append([]string{"token"}, args...)...)
		if err != nil || strings.Count(out, "\n") != 1 || len(out) < 40 || problem != "" {
			t.Errorf("token %v: %v\n%s%s", args, err, out, problem)
		}
	}
	if out, problem, err := run([]string{control}, "token", "--account", "nobody@example.com"); err == nil || out != "" || !strings.Contains(problem, "nobody@example.com") {
		t.Errorf("token of nobody: %v\n%s%s", err, out, problem)
	}
	if err := served.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-stopped:
		if err != nil {
			t.Errorf("%v\n%s", err, log)
		}
	case <-time.After(time.Minute):
		t.Error("it does not stop")
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.sock")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
