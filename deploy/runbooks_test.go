package deploy

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/neonpanel/mcp-gateway/deploy/internal/local"
	"github.com/neonpanel/mcp-gateway/deploy/internal/manifest"
)

// A block is a fenced part of a page.
type block struct {
	kind string
	line int
	text string
}

func blocks(t *testing.T, path string) []block {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	open := false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "```") && !open:
			all = append(all, block{kind: strings.TrimPrefix(line, "```"), line: i + 2})
			open = true
		case strings.HasPrefix(line, "```"):
			open = false
		case open:
			all[len(all)-1].text += line + "\n"
		}
	}
	return all
}

// A step is a command of a page, and what the page says that it prints.
type step struct {
	command, output string
	line            int
}

func steps(b block) []step {
	var all []step
	for i, line := range strings.Split(strings.TrimSuffix(b.text, "\n"), "\n") {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			all = append(all, step{command: command, line: b.line + i})
		} else if len(all) > 0 {
			all[len(all)-1].output += line + "\n"
		}
	}
	return all
}

// pattern is what a page says of an output: … stands for anything in a line, and
// […] for any lines.
func pattern(output string) *regexp.Regexp {
	var p strings.Builder
	p.WriteString(`\A`)
	for line := range strings.Lines(output) {
		if strings.TrimSpace(line) == "[…]" {
			p.WriteString(`(?:.*\n)*?`)
			continue
		}
		p.WriteString(strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSuffix(line, "\n")), "…", ".*") + `\n`)
	}
	return regexp.MustCompile(p.String() + `\z`)
}

// shell is one bash, which keeps what commands export.
type shell struct {
	in  io.Writer
	out *bufio.Reader
}

func newShell(t *testing.T, dir string, env []string) *shell {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc")
	cmd.Dir, cmd.Env = dir, env
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // it ends then
		_ = cmd.Wait() // how does not matter
	})
	return &shell{in, bufio.NewReader(out)}
}

const end = "\x01end"

// run returns what a command prints, on either stream.
func (s *shell) run(t *testing.T, command string) string {
	t.Helper()
	if _, err := fmt.Fprintf(s.in, "{ %s\n} 2>&1 </dev/null\nprintf '%s\\n'\n", command, end); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		line = strings.ReplaceAll(line, "\r", "") // of a header that is shown
		if err != nil {
			t.Fatalf("%s: %v after %s", command, err, all.String())
		}
		if before, found := strings.CutSuffix(line, end+"\n"); found {
			all.WriteString(before)
			if text := all.String(); text != "" && !strings.HasSuffix(text, "\n") {
				return text + "\n"
			}
			return all.String()
		}
		all.WriteString(line)
	}
}

// The commands of the runbooks do what they say, in their order, against a
// gateway that runs.
func TestTheRunbooksAreTrue(t *testing.T) {
	t.Parallel()
	deny := filepath.Join(t.TempDir(), "deny.yaml")
	if err := os.WriteFile(deny, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := gateway(t, local.Options{Ports: true, Env: map[string][]string{local.Authz: {"AUTHZ_SCOPE_MODE=enforce", "AUTHZ_DENY_FILE=" + deny}}})
	bin, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	s := newShell(t, g.Dir, []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C.UTF-8",
		"SANDBOX=http://" + g.Ops["sandbox"], "SANDBOX_CONTROL_LISTEN=" + g.Ops["sandbox"],
		"ISSUER=" + g.Issuer, "NEONPANEL_ISSUER=" + g.Issuer, "AUTHZ_DENY_FILE=" + deny,
	})
	addresses := map[string]string{
		"http://127.0.0.1:8080": g.URL, "http://127.0.0.1:9101": "http://" + g.Ops[local.Authz],
		"http://127.0.0.1:9102": "http://" + g.Ops[local.Backend], "http://127.0.0.1:9901": "http://" + g.Ops[local.Envoy],
	}
	ran := 0
	for _, b := range blocks(t, "../docs/runbooks.md") {
		switch b.kind {
		case "sh":
			for from, to := range addresses {
				b.text = strings.ReplaceAll(b.text, from, to)
			}
			s.run(t, b.text)
		case "console":
			for _, step := range steps(b) {
				ran++
				want := pattern(step.output)
				deadline := time.Now().Add(30 * time.Second)
				for {
					got := s.run(t, step.command)
					if want.MatchString(got) {
						break
					}
					if time.Now().After(deadline) {
						t.Errorf("docs/runbooks.md:%d: $ %s\nprints\n%swhere the page has\n%s", step.line, step.command, got, step.output)
						break
					}
					time.Sleep(200 * time.Millisecond)
				}
			}
		}
	}
	if ran < 40 {
		t.Errorf("only %d commands were run", ran)
	}
}

// There is no cluster here: what kubectl is told to work on has to be in the
// manifests.
func TestTheRunbooksNameObjectsThatExist(t *testing.T) {
	t.Parallel()
	set := kustomize(t, "kubernetes/overlays/production")
	d, err := manifest.One[*appsv1.Deployment](set, "neonpanel-mcp")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := manifest.One[*autoscalingv2.HorizontalPodAutoscaler](set, "neonpanel-mcp"); err != nil {
		t.Fatal(err)
	}
	var containers []string
	for _, c := range append(d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers...) {
		containers = append(containers, c.Name)
	}
	commands := 0
	for _, b := range blocks(t, "../docs/runbooks.md") {
		for line := range strings.Lines(b.text) {
			if !strings.HasPrefix(line, "kubectl ") {
				continue
			}
			commands++
			if !strings.HasPrefix(line, "kubectl --namespace "+d.Namespace+" ") {
				t.Errorf("not in namespace %s: %s", d.Namespace, line)
			}
			for _, found := range regexp.MustCompile(`(deployment|horizontalpodautoscaler)[/ ](\S+)`).FindAllStringSubmatch(line, -1) {
				if found[2] != "neonpanel-mcp" {
					t.Errorf("there is no %s %s: %s", found[1], found[2], line)
				}
			}
			for _, found := range regexp.MustCompile(`--container (\S+)`).FindAllStringSubmatch(line, -1) {
				if !slices.Contains(containers, found[1]) {
					t.Errorf("there is no container %s: %s", found[1], line)
				}
			}
		}
	}
	if commands < 5 {
		t.Errorf("only %d commands were found", commands)
	}
}
