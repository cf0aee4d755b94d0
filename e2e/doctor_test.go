package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// doctorReport is what `authz doctor --json` prints.
type doctorReport struct {
	URL    string         `json:"url"`
	Issuer string         `json:"issuer"`
	Counts map[string]int `json:"counts"`
	Checks []struct {
		Check  string `json:"check"`
		Result string `json:"result"`
		Seen   string `json:"seen"`
		Fix    string `json:"fix"`
	} `json:"checks"`
}

// doctor runs `authz doctor` with nothing in its environment.
func doctor(t *testing.T, token string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binaries(t), "authz"), append([]string{"doctor"}, args...)...)
	cmd.Env = []string{}
	cmd.Stdin = strings.NewReader(token)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if token != "" && strings.Contains(out.String()+errs.String(), token) {
		t.Error("the token is in the output")
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestDoctorFindsAHealthyGatewayHealthy(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	for name, c := range map[string]struct{ kind, path string }{
		"a JWT":           {"jwt", "/mcp"},
		"an opaque token": {"opaque", "/sse"},
		"the origin":      {"jwt", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := g.mint(t, stack.TokenRequest{Account: sellerOne, Kind: c.kind})
			out, errs, status := doctor(t, token, g.URL+c.path, "--token-stdin", "--stream-time=3s", "--json")
			var report doctorReport
			if err := json.Unmarshal([]byte(out), &report); err != nil || status != 0 || errs != "" {
				t.Fatalf("exit status %d, %v\n%s%s", status, err, out, errs)
			}
			if report.URL != g.URL+c.path || report.Issuer != g.Issuer || len(report.Checks) < 30 {
				t.Errorf("%s", out)
			}
			for _, check := range report.Checks {
				want := "ok"
				if strings.HasPrefix(check.Check, "TLS ") {
					want = "skip"
				}
				if check.Result != want {
					t.Errorf("%s: %s, %s", check.Check, check.Result, check.Seen)
				}
			}
		})
	}
}

func TestDoctorWithoutATokenChecksWhatNeedsNone(t *testing.T) {
	t.Parallel()
	out, errs, status := doctor(t, "", sharedGateway(t).URL+"/mcp")
	if status != 0 || errs != "" || !strings.Contains(out, "skip  tools/list") || !strings.HasSuffix(out, "25 ok, 0 warn, 0 failed, 7 skipped\n") {
		t.Errorf("exit status %d\n%s%s", status, out, errs)
	}
}

// A name that the gateway answers to but does not call itself works in curl and
// in no connector.
func TestDoctorSeesThatAURLIsNotTheResource(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	out, errs, status := doctor(t, "", strings.Replace(g.URL, "127.0.0.1", "localhost", 1)+"/mcp")
	if status != 1 || !strings.HasSuffix(out, "23 ok, 0 warn, 1 failed, 8 skipped\n") || !strings.Contains(out, "FAIL  resource identifiers") || !strings.Contains(out, "fix: set PUBLIC_URL") || !strings.Contains(errs, "checks failed") {
		t.Errorf("exit status %d\n%s%s", status, out, errs)
	}
}

func TestDoctorSeesARefusedToken(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	out, _, status := doctor(t, "not-a-token", g.URL+"/mcp", "--token-stdin")
	if status != 1 || !strings.Contains(out, "FAIL  tools/list") || !strings.HasSuffix(out, "25 ok, 0 warn, 1 failed, 6 skipped\n") {
		t.Errorf("exit status %d\n%s", status, out)
	}
}

func TestDoctorSaysWhenItCannotRun(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"no URL":            {},
		"no such flag":      {"http://127.0.0.1:1/mcp", "--token=x"},
		"nothing listening": {"http://127.0.0.1:1/mcp"},
		"no such path":      {"http://127.0.0.1:1/elsewhere"},
	} {
		out, errs, status := doctor(t, "", args...)
		if status != 2 || !strings.Contains(errs, "authz: ") {
			t.Errorf("%s: exit status %d\n%s%s", name, status, out, errs)
		}
	}
}
