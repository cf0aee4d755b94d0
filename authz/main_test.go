package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asProgram makes the test binary behave as authz itself.
const asProgram = "AUTHZ_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// authz is the program with nothing else in its environment.
func authz(t *testing.T, environment []string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, self, args...)
	c.Env = append([]string{asProgram + "=1"}, environment...)
	var output bytes.Buffer
	c.Stdout, c.Stderr = &output, &output
	return c, &output
}

func TestHelpNamesEverySetting(t *testing.T) {
	t.Parallel()
	c, output := authz(t, nil, "serve", "--help")
	if err := c.Run(); err != nil {
		t.Fatal(err, output)
	}
	for _, setting := range []string{
		"PUBLIC_URL", "NEONPANEL_ISSUER", "UPSTREAM_PROXY", "UPSTREAM_PROXY_FILE", "UPSTREAM_CA_FILE", "AUTHZ_LISTEN", "AUTHZ_DISCOVERY_LISTEN", "AUTHZ_OPS_LISTEN",
		"AUTHZ_TLS_CERT", "AUTHZ_TLS_KEY", "AUTHZ_TLS_CLIENT_CA", "AUTHZ_TLS_CLIENT_SANS",
		"AUTHZ_JWKS_URL", "AUTHZ_TOKEN_MODE", "AUTHZ_ALGORITHMS", "AUTHZ_AUDIENCES", "AUTHZ_CLIENT_IDS", "AUTHZ_AUDIENCE_MODE",
		"AUTHZ_ALLOW_MISSING_ISSUER", "AUTHZ_LEEWAY", "AUTHZ_SCOPES", "AUTHZ_REQUIRED_SCOPES", "AUTHZ_SCOPE_MODE", "AUTHZ_INTROSPECTION_URL",
		"AUTHZ_INTROSPECTION_CLIENT_ID", "AUTHZ_INTROSPECTION_CLIENT_SECRET", "AUTHZ_INTROSPECTION_CLIENT_SECRET_FILE", "AUTHZ_KEYS_REFRESH",
		"AUTHZ_KEYS_MAX_STALE", "AUTHZ_KEYS_COOLDOWN", "AUTHZ_CACHE_MAX_TTL", "AUTHZ_CACHE_SIZE", "AUTHZ_STREAM_MAX", "AUTHZ_DENY_FILE",
		"AUTHZ_ANONYMOUS_DISCOVERY", "AUTHZ_INTROSPECTION_KEY_FILE", "AUTHZ_INTROSPECTION_KEY_AUDIENCE", "AUTHZ_INTROSPECT_JWT", "AUTHZ_INTROSPECTION_UNKNOWN_PER_SECOND",
	} {
		if !strings.Contains(output.String(), "$"+setting+")") {
			t.Errorf("%s is not in the help", setting)
		}
	}
	if !strings.Contains(strings.Join(strings.Fields(output.String()), " "), "accepted, comma-separated. Empty means the default") {
		t.Error("the help does not say what an empty AUTHZ_ALGORITHMS means")
	}
}

func TestFaultsEndTheProgramTogether(t *testing.T) {
	t.Parallel()
	c, output := authz(t, []string{"AUTHZ_LEEWAY=long", "AUTHZ_SCOPES="}, "--authz-algorithms=HS256")
	if err := c.Run(); err == nil {
		t.Error("exit status 0")
	}
	for _, setting := range []string{"PUBLIC_URL", "AUTHZ_LEEWAY", "AUTHZ_ALGORITHMS"} {
		if !strings.Contains(output.String(), setting+": ") {
			t.Errorf("%s is not named: %s", setting, output)
		}
	}
	if strings.Contains(output.String(), "AUTHZ_SCOPES") {
		t.Errorf("an empty variable is not unset: %s", output)
	}
}

func TestRunsFromTheEnvironmentAndEndsOnSIGTERM(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	environment := []string{
		"PUBLIC_URL=https://mcp.example.com",
		// Nothing listens there: authz serves all the same, and is not ready.
		"NEONPANEL_ISSUER=http://127.0.0.1:1",
		"AUTHZ_LISTEN=unix:" + filepath.Join(dir, "authz.sock"),
		"AUTHZ_DISCOVERY_LISTEN=unix:" + filepath.Join(dir, "discovery.sock"),
		"AUTHZ_OPS_LISTEN=unix:" + filepath.Join(dir, "ops.sock"),
	}
	server, log := authz(t, environment)
	serving := make(chan struct{})
	server.Stderr = &announced{to: log, what: `"msg":"listening"`, done: serving}
	server.Stdout = nil
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-serving:
	case <-time.After(30 * time.Second):
		_ = server.Process.Kill()
		_ = server.Wait()
		t.Fatalf("it never serves: %s", log)
	}
	if live, output := authz(t, environment, "healthcheck", "--live", "--timeout=30s"); live.Run() != nil {
		t.Errorf("it does not answer: %s", output)
	}
	ready, output := authz(t, environment, "healthcheck", "--timeout=30s")
	if err := ready.Run(); err == nil || !strings.Contains(output.String(), "not ready") {
		t.Errorf("without keys: %v, %s", err, output)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("%v; log: %s", err, log)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// announced passes on what is written, and tells when a text was part of it.
type announced struct {
	to   *bytes.Buffer
	what string
	done chan struct{} // closed by then, and nil
}

func (a *announced) Write(p []byte) (int, error) {
	n, err := a.to.Write(p)
	if a.done != nil && strings.Contains(a.to.String(), a.what) {
		close(a.done)
		a.done = nil
	}
	return n, err
}

func TestExplainSaysTheVerdictByItsExitStatus(t *testing.T) {
	t.Parallel()
	environment := []string{"PUBLIC_URL=https://mcp.example.com", "NEONPANEL_ISSUER=http://127.0.0.1:1"}
	const raw = "opaque-token-that-is-not-printed"
	for name, c := range map[string]struct {
		args   []string
		stdin  string
		status int
		output string
	}{
		"refused":           {[]string{"explain"}, raw + "\n", 1, "REFUSED (token_opaque)"},
		"as an argument":    {[]string{"explain", raw}, "", 3, "never an argument"},
		"no token":          {[]string{"explain"}, "", 3, "there is no token"},
		"a flag of nothing": {[]string{"explain", "--nothing"}, raw, 3, "unknown flag"},
		"wrong settings":    {[]string{"explain", "--authz-leeway=long"}, raw, 3, "AUTHZ_LEEWAY: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			explain, output := authz(t, environment, c.args...)
			explain.Stdin = strings.NewReader(c.stdin)
			_ = explain.Run()
			if got := explain.ProcessState.ExitCode(); got != c.status || !strings.Contains(output.String(), c.output) {
				t.Errorf("exit status %d, want %d: %s", got, c.status, output)
			}
			if strings.Contains(output.String(), raw) {
				t.Errorf("the token is printed: %s", output)
			}
		})
	}
}
