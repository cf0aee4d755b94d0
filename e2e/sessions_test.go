//go:build docs

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/clients"
)

// A visit runs the commands of one document as a reader would who has typed
// `make run`: in one shell, in an empty directory beside the repository's files.
type visit struct {
	document string
	// places are what an address of the document is in the test, in pairs. A
	// public one is put in, and never seen in outputs.
	places []string
	// before is typed first.
	before string
	// serves are commands that go on: how they begin, and the line by which they
	// are ready.
	serves map[string]string
	// instead are words in place of others that only mean something elsewhere.
	instead []string
}

// The commands of the documents do what the documents show.
func TestCommandsOfTheDocuments(t *testing.T) {
	port, issuer := anyPort(t), anyPort(t)
	here := fmt.Sprintf("127.0.0.1:%d", port)
	neonpanel := fmt.Sprintf("127.0.0.1:%d", issuer)
	w := newWorkplace(t)

	// make run goes on until the end.
	running := find(t, "README.md", "make run")
	lines := w.serve(t, fmt.Sprintf("make run PORT=%d SANDBOX_PORT=%d", port, issuer), "Ctrl-C stops everything")
	var shown []string
	for _, line := range lines {
		if !strings.HasPrefix(line, "building ") && !strings.HasPrefix(line, "envoy/fetch: ") {
			shown = append(shown, strings.ReplaceAll(strings.ReplaceAll(line, here, "127.0.0.1:8080"), fmt.Sprint(port), "8080"))
		}
	}
	compare(t, running, shown)

	alone, apart := fmt.Sprintf("127.0.0.1:%d", anyPort(t)), fmt.Sprintf("127.0.0.1:%d", anyPort(t)) // an Envoy and a sandbox of their own
	gateway := []string{"127.0.0.1:8080", here, "https://mcp.example.com", "http://" + here}
	// Holding a stream open for a minute is seen once; the others are brief.
	const brief = "--token-file token.txt --stream-time 1s"
	ran := map[string]int{"README.md": 1}
	var counting sync.Mutex
	visits := []visit{
		{document: "README.md", places: gateway},
		{document: "docs/ecs.md", places: gateway},
		{document: "docs/kubernetes.md", places: gateway},
		{document: "docs/guide-clients.md", places: gateway, serves: map[string]string{"npx @modelcontextprotocol/inspector@2.12.0 --web": "http://"}},
		{
			document: "docs/guide-doctor.md", before: "make -s token > token.txt",
			places:  []string{"127.0.0.1:18441", here, "localhost:18441", fmt.Sprintf("localhost:%d", port), "PORT=18441", fmt.Sprintf("PORT=%d", port), "127.0.0.1:19441", neonpanel, "https://mcp.example.com", "http://" + here},
			instead: []string{"pass show neonpanel", "cat token.txt", "--token-file token.txt", brief, "https://mcp.example.com/mcp --token-stdin", "http://" + here + "/mcp --token-stdin --stream-time 1s"},
		},
		{document: "docs/guide-explain.md", before: fmt.Sprintf("make -s token > token.txt; export PUBLIC_URL=http://%s NEONPANEL_ISSUER=http://%s", here, neonpanel)},
		{document: "docs/tokens.md", before: fmt.Sprintf("make -s token > token.txt; export PUBLIC_URL=http://%s NEONPANEL_ISSUER=http://%s", here, neonpanel), instead: []string{"--token-file token.txt", brief}},
		{document: "docs/limits.md", before: "export PUBLIC_URL=https://mcp.neonpanel.com"},
		{document: "docs/performance.md", before: "set -f", instead: []string{"make bench", "make -n bench"}},
		{
			document: "envoy/README.md", places: []string{"127.0.0.1:8080", alone}, before: "export EDGE_LISTEN=" + alone,
			serves: map[string]string{"envoy -c": "starting main dispatch loop"},
		},
		{
			document: "sandbox/README.md", before: "export SANDBOX_CONTROL_LISTEN=unix:$PWD/control.sock SANDBOX_LISTEN=" + apart,
			serves: map[string]string{"sandbox  ": `"serving"`},
		},
	}
	t.Run("at once", func(t *testing.T) {
		for _, v := range visits {
			t.Run(v.document, func(t *testing.T) {
				t.Parallel()
				n := w.beside(t).visit(t, v)
				counting.Lock()
				defer counting.Unlock()
				ran[v.document] += n
			})
		}
	})
	there := map[string]int{}
	for _, c := range everyCommand(t) {
		if _, r := runBy(c); r.by == session {
			there[c.document]++
		}
	}
	if !maps.Equal(ran, there) {
		t.Errorf("commands were run by document: %v, there are %v", ran, there)
	}
}

// What a guide tells a client to start signs in and brings the tools.
func TestProgramsThatClientsStart(t *testing.T) {
	g := sharedGateway(t)
	w := newWorkplace(t)
	started := 0
	for _, b := range blocksOf(t, "docs/guide-clients.md") {
		var settings struct {
			Servers map[string]struct {
				Command string
				Args    []string
			} `json:"mcpServers"`
		}
		if b.language != "json" || json.Unmarshal([]byte(strings.Join(b.lines, "\n")), &settings) != nil {
			continue
		}
		for _, server := range settings.Servers {
			if server.Command == "" {
				continue // the client speaks for itself
			}
			started++
			command := []string{"bash", "-c", `exec "$0" "$@"`, server.Command}
			for _, argument := range server.Args {
				command = append(command, strings.ReplaceAll(argument, "https://mcp.neonpanel.com", g.URL))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			tools, err := clients.Start(ctx, w.environment, user(sellerOne), command...)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			if want := names(g.tools(t, legacy, g.token(t, sellerOne))); !slices.Equal(tools, want) {
				t.Errorf("tools %v, want %v", tools, want)
			}
		}
	}
	if started != 1 {
		t.Errorf("%d programs started", started)
	}
}

// find returns a command of a document.
func find(t *testing.T, document, begins string) command {
	t.Helper()
	for _, c := range everyCommand(t) {
		if c.document == document && strings.HasPrefix(c.text, begins) {
			return c
		}
	}
	t.Fatalf("%s has no %s", document, begins)
	return command{}
}

func compare(t *testing.T, c command, got []string) {
	t.Helper()
	if c.want == nil {
		return
	}
	for i := range got {
		got[i] = strings.TrimSuffix(got[i], "\r")
	}
	want := c.want
	for len(want) > 0 && want[len(want)-1] == "" {
		want = want[:len(want)-1]
	}
	if ok, missing := matches(want, got); !ok {
		t.Errorf("%s:%d: $ %s\nprints:\n%s\n\nwithout what the document shows:\n%s", c.document, c.line, c.text, strings.Join(got, "\n"), missing)
	}
}

// A workplace is a directory with links to the files of the repository, where
// commands may leave what they like.
type workplace struct {
	dir         string
	environment []string
}

func newWorkplace(t *testing.T) *workplace {
	t.Helper()
	tmp := shortTempDir(t)
	w := &workplace{}
	programs := filepath.Join(tmp, "bin")
	must(t, os.Mkdir(programs, 0o700))
	script := func(name, text string) {
		must(t, os.WriteFile(filepath.Join(programs, name), []byte("#!/bin/bash\n"+text+"\n"), 0o700))
	}
	// make works in the repository itself; npx takes what is pinned, and would
	// otherwise fetch it.
	makePath, err := exec.LookPath("make")
	must(t, err)
	script("make", fmt.Sprintf(`exec %s --no-print-directory -C '%s' "$@"`, makePath, root(t)))
	inspector, err := installer(t).Inspector(t.Context())
	must(t, err)
	remote, err := installer(t).Remote(t.Context())
	must(t, err)
	script("npx", "program=$1; shift\ncase $program in\n"+
		npxCase(t, "@modelcontextprotocol/inspector", inspector)+npxCase(t, "mcp-remote", remote)+
		"*) echo \"npx: $program is not what is pinned\" >&2; exit 1;;\nesac")
	w.environment = []string{
		"PATH=" + programs + ":" + filepath.Join(root(t), "bin") + ":" + os.Getenv("PATH"),
		"HOME=" + tmp, "TMPDIR=" + tmp, "STACK_STATE=" + filepath.Join(tmp, ".run"), "GOFLAGS=" + os.Getenv("GOFLAGS"),
		"GOCACHE=" + goEnv(t, "GOCACHE"), "GOMODCACHE=" + goEnv(t, "GOMODCACHE"), "GOPROXY=" + goEnv(t, "GOPROXY"),
		"MCP_AUTO_OPEN_ENABLED=false", "BROWSER=true",
		fmt.Sprintf("MCP_SANDBOX_PORT=%d", anyPort(t)), fmt.Sprintf("CLIENT_PORT=%d", anyPort(t)), fmt.Sprintf("SERVER_PORT=%d", anyPort(t)),
	}
	return w.beside(t)
}

// beside is another empty directory with the same programs.
func (w *workplace) beside(t *testing.T) *workplace {
	t.Helper()
	dir := shortTempDir(t)
	for _, name := range []string{"bin", "deploy", "docs", "envoy", "e2e"} {
		must(t, os.Symlink(filepath.Join(root(t), name), filepath.Join(dir, name)))
	}
	return &workplace{dir, w.environment}
}

// npxCase is for the version that is installed, and for no other.
func npxCase(t *testing.T, name string, program interface {
	Version() (string, error)
	Command() []string
}) string {
	t.Helper()
	version, err := program.Version()
	must(t, err)
	return fmt.Sprintf("%s@%s) exec '%s' \"$@\";;\n", name, version, strings.Join(program.Command(), "' '"))
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

// serve starts a command that goes on, and returns what it prints until it is
// ready. At the end of the test it is interrupted, as by Ctrl-C.
func (w *workplace) serve(t *testing.T, text, ready string) (lines []string) {
	t.Helper()
	cmd := exec.Command("bash", "-c", text)
	cmd.Dir, cmd.Env = w.dir, w.environment
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, in, err := os.Pipe()
	must(t, err)
	cmd.Stdout, cmd.Stderr = in, in
	must(t, cmd.Start())
	in.Close()
	printed := make(chan string, 1000)
	go func() {
		defer close(printed)
		for s := bufio.NewScanner(out); s.Scan(); {
			printed <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		hard := time.AfterFunc(30*time.Second, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		for range printed {
		}
		err := cmd.Wait()
		if !hard.Stop() {
			t.Errorf("%s did not end when it was interrupted", text)
		}
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
	})
	timeout := time.After(3 * time.Minute)
	for {
		select {
		case line, more := <-printed:
			if !more {
				t.Fatalf("%s ended:\n%s", text, strings.Join(lines, "\n"))
			}
			lines = append(lines, line)
			if strings.Contains(line, ready) {
				go func() { // what is never read would hold it up
					for range printed {
					}
				}()
				return lines
			}
		case <-timeout:
			t.Fatalf("%s is not ready:\n%s", text, strings.Join(lines, "\n"))
		}
	}
}

// visit returns how many commands it ran.
func (w *workplace) visit(t *testing.T, v visit) (ran int) {
	t.Helper()
	var back []string
	for i := 0; i+1 < len(v.places); i += 2 {
		if !strings.HasPrefix(v.places[i], "https://") {
			back = append(back, v.places[i+1], v.places[i])
		}
	}
	here, there := strings.NewReplacer(slices.Concat(v.instead, v.places)...), strings.NewReplacer(back...)
	sh := startShell(t, w.dir, w.environment)
	sh.run(t, "set -o pipefail")
	if v.before != "" {
		if out, status := sh.run(t, v.before); status != "0" {
			t.Fatalf("%s: %s", v.before, strings.Join(out, "\n"))
		}
	}
	for _, b := range blocksOf(t, v.document) {
		for _, c := range b.commands() {
			if _, r := runBy(c); r.by != session || strings.HasPrefix(c.text, "make run") {
				continue
			}
			ran++
			if ready, goesOn := v.goesOn(c); goesOn {
				w.serve(t, v.before+"\n"+here.Replace(c.text), ready)
				continue
			}
			got, status := sh.run(t, here.Replace(c.text))
			for i := range got {
				got[i] = there.Replace(got[i])
			}
			if c.want == nil && status != "0" {
				t.Errorf("%s:%d: $ %s\nends with status %s:\n%s", v.document, c.line, c.text, status, strings.Join(got, "\n"))
			}
			compare(t, c, got)
		}
	}
	return ran
}

func (v visit) goesOn(c command) (ready string, yes bool) {
	for begins, ready := range v.serves {
		if strings.HasPrefix(c.text, begins) {
			return ready, true
		}
	}
	return "", false
}
