package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A block is a fenced block of a document.
type block struct {
	document string
	// line is that of its first line.
	line     int
	language string
	lines    []string
}

// Languages of blocks. Commands stand in sh, and in console with their output;
// everything else is for the reader alone.
var languages = []string{"sh", "console", "text", "ini", "json", "yaml", "toml", "promql"}

// blocksOf finds the fenced blocks of a document, and what looks like a block
// but has no fence.
func blocksOf(t *testing.T, path string) []block {
	t.Helper()
	var found []block
	inside := false
	before := ""
	for number, line := range strings.Split(read(t, path), "\n") {
		mark, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && !inside:
			// What follows the language is for whoever reads that document alone.
			language, _, _ := strings.Cut(mark, " ")
			found = append(found, block{document: path, line: number + 2, language: language})
			inside = true
		case fence:
			inside = false
		case inside:
			last := &found[len(found)-1]
			last.lines = append(last.lines, line)
		case strings.HasPrefix(line, "    ") && strings.TrimSpace(before) == "":
			found = append(found, block{document: path, line: number + 1, language: "indented", lines: []string{line}})
		}
		before = line
	}
	return found
}

// A command of a document.
type command struct {
	document string
	line     int
	text     string
	// want is the output; nil if the document does not show it.
	want []string
}

// commands are those of a block. A line that ends with a backslash goes on.
func (b block) commands() (found []command) {
	add := func(at int, text string, want []string) {
		found = append(found, command{b.document, b.line + at, text, want})
	}
	goesOn := func() bool { return len(found) > 0 && strings.HasSuffix(found[len(found)-1].text, `\`) }
	for i, line := range b.lines {
		text, typed := strings.CutPrefix(line, "$ ")
		switch {
		case goesOn():
			found[len(found)-1].text += "\n" + line
		case b.language == "console" && typed:
			add(i, text, []string{})
		case b.language == "console" && len(found) > 0:
			last := &found[len(found)-1]
			last.want = append(last.want, line)
		case b.language == "sh" && strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#"):
			add(i, line, nil)
		}
	}
	return found
}

func (b block) isCommands() bool { return b.language == "sh" || b.language == "console" }

// A rule says who runs commands of the documents. The first rule that fits a
// command counts.
type rule struct {
	// document is where, as for filepath.Match; command is how the command begins.
	document, command string
	// by is the test that runs it, or the target of make whose tests prove what
	// there is to prove without it; there must then be the words of shown in
	// file.
	by          string
	file, shown string
	// why says why it is not run as it stands.
	why string
}

// The tests that run commands.
const (
	session  = "TestCommandsOfTheDocuments"
	toTokens = "TestGuideToTokensPrintsWhatItShows"
	explain  = "TestGuideToExplainPrintsWhatItShows"
)

// rules are all there are. A command that none fits is a fault, and so is a
// rule that fits no command.
var rules = []rule{
	{document: "README.md", command: "make run", by: session},
	{document: "README.md", command: "curl ", by: session},
	{document: "README.md", command: "make test", by: "make test", file: ".ci/run", shown: "\nmake test\n", why: "it is what runs this test"},

	{document: "docs/compose.md", command: "docker compose up --build", by: "make test-compose", file: "e2e/compose/run", shown: `"${compose[@]}" -p $project up`, why: "needs a container engine"},
	{document: "docs/compose.md", command: "docker compose exec sandbox /usr/local/bin/sandbox token", by: "make test-compose", file: "e2e/compose/run", shown: "exec -T sandbox /usr/local/bin/sandbox token", why: "needs a container engine"},
	{document: "docs/conformance.md", command: "make test-conformance", by: "make test-conformance", file: ".ci/run", shown: "\nmake test-conformance\n", why: "takes minutes"},
	{document: "docs/ecs.md", command: "aws cloudformation deploy", by: "make test-deploy", file: "deploy/ecs/lint", shown: "template.yaml", why: "needs an account at AWS; the names of its parameters are compared with the template's"},
	{document: "docs/*.md", command: "SERVER_URL=https://mcp.example.com deploy/test-bearer-auth.sh", by: session},

	{document: "docs/guide-clients.md", command: "npx @modelcontextprotocol/inspector", by: session},
	{document: "docs/guide-clients.md", command: "claude mcp add", by: "make test", file: "e2e/selection_test.go", shown: "X-MCP-Toolsets", why: "what the program then sends is tried; the program is not ours to install"},
	{document: "docs/guide-doctor.md", by: session},
	{document: "docs/guide-explain.md", command: "docker compose exec -T authz /usr/local/bin/authz explain", by: "make test-compose", file: "e2e/compose/run", shown: "exec -T authz /usr/local/bin/authz explain", why: "needs a container engine"},
	{document: "docs/guide-explain.md", command: "bin/authz explain", by: session},
	{document: "docs/guide-explain.md", by: explain},
	{document: "docs/tokens.md", command: "curl -sS -o /dev/null", by: session},
	{document: "docs/tokens.md", command: "authz doctor $PUBLIC_URL/mcp --token-file token.txt", by: session},
	{document: "docs/tokens.md", command: "rm -f token.txt", by: session},
	{document: "docs/tokens.md", by: toTokens},

	{document: "docs/kubernetes.md", command: "kubectl ", by: "make test-deploy", file: "deploy/kubernetes_test.go", shown: `kustomize(t, "kubernetes/overlays/"`, why: "needs a cluster; what is applied is rendered and judged, and the files are there"},
	{document: "docs/kubernetes.md", command: "helm ", by: "make test-deploy", file: "deploy/kubernetes_test.go", shown: `filepath.Join("kubernetes/chart/values"`, why: "needs a cluster; the chart is rendered with these values and judged, and the files are there"},
	{document: "docs/images.md", command: "make dist", by: "make test-compose", file: "e2e/compose/run", shown: "make --no-print-directory images VERSION=", why: "compiles for minutes; make images begins with it"},
	{document: "docs/images.md", command: "make images", by: "make test-compose", file: "e2e/compose/run", shown: "make --no-print-directory images VERSION=", why: "needs a container engine"},
	{document: "docs/images.md", command: "dist/authz-linux-amd64 --version", by: "make test-compose", file: "e2e/compose/run", shown: `[ "$got" = "$VERSION (commit $COMMIT)" ]`, why: "needs make dist"},
	{document: "docs/images.md", command: "(cd dist && sha256sum --check SHA256SUMS)", by: "make test-compose", file: "e2e/compose/run", shown: "(cd dist && sha256sum --quiet --check SHA256SUMS)", why: "needs make dist"},
	{document: "docs/runbooks.md", command: "kubectl ", by: "make test-deploy", file: "deploy/runbooks_test.go", shown: "func TestTheRunbooksNameObjectsThatExist(", why: "needs a cluster; what they name is in the manifests"},
	{document: "docs/runbooks.md", command: "openssl s_client", by: "make test", file: "authz/internal/doctor/doctor_test.go", shown: "TLS dates", why: "needs a site with a certificate; authz doctor looks at the same dates"},
	{document: "docs/runbooks.md", by: "TestTheRunbooksAreTrue"},
	{document: "docs/limits.md", command: "envoyconf ratelimit", by: session},
	{document: "docs/performance.md", command: "make bench", by: session, why: "four minutes of a machine that does nothing else: make only says what it would do"},
	{document: "docs/performance.md", command: "bin/bench check", by: "make bench-authz", file: "Makefile", shown: "@bin/bench check", why: "the same command with other rounds, by hand"},

	{document: "e2e/README.md", command: "make build && cd e2e && GOWORK=off go test -run TestOutages -v .", by: "make test", file: "e2e/outage_test.go", shown: "func TestOutages(", why: "the test is one of those that run anyway"},
	{document: "e2e/README.md", command: "PICTURES=/tmp/pictures make test-chromium", by: "make test-chromium", file: ".ci/run", shown: "make test-chromium\n", why: "the same, but for the pictures"},
	{document: "e2e/README.md", command: "cd e2e/clients/python", by: "make test", file: "e2e/clients/python/requirements.txt", shown: "--hash=sha256:", why: "moves the pins to what is newest that day"},
	{document: "e2e/README.md", command: "cd e2e/clients/node", by: "make test", file: "e2e/clients/node/package-lock.json", shown: `"integrity"`, why: "moves the pins to what is newest that day"},
	{document: "envoy/README.md", by: session},
	{document: "sandbox/README.md", by: session},
}

func (r rule) fits(c command) bool {
	in, err := filepath.Match(r.document, c.document)
	return err == nil && in && strings.HasPrefix(c.text, r.command)
}

// runBy is who runs a command: nobody if it is empty.
func runBy(c command) (int, rule) {
	for i, r := range rules {
		if r.fits(c) {
			return i, r
		}
	}
	return -1, rule{}
}

// everyCommand finds the commands of all documents.
func everyCommand(t *testing.T) (all []command) {
	t.Helper()
	for _, path := range documents(t) {
		for _, b := range blocksOf(t, path) {
			all = append(all, b.commands()...)
		}
	}
	return all
}

func TestEveryBlockOfTheDocumentsSaysWhatItIs(t *testing.T) {
	t.Parallel()
	count := map[string]int{}
	for _, path := range documents(t) {
		for _, b := range blocksOf(t, path) {
			count[b.language]++
			if !slices.Contains(languages, b.language) {
				t.Errorf("%s:%d: a block is one of %v after its fence, not %q", b.document, b.line, languages, b.language)
			}
			if b.isCommands() && len(b.commands()) == 0 {
				t.Errorf("%s:%d: a block of commands without one: in console they begin with $", b.document, b.line)
			}
		}
	}
	if count["sh"] < 15 || count["console"] < 15 {
		t.Errorf("only %v blocks found", count)
	}
}

func TestEveryCommandOfTheDocumentsIsRunByATest(t *testing.T) {
	t.Parallel()
	tests := declaredTests(t)
	targets := read(t, ".ci/run")
	used := map[int]int{}
	for _, c := range everyCommand(t) {
		i, _ := runBy(c)
		if i < 0 {
			t.Errorf("%s:%d: no rule in e2e/commands_test.go says who runs this:\n%s", c.document, c.line, c.text)
		}
		used[i]++
	}
	for i, r := range rules {
		name := fmt.Sprintf("the rule for %s, %q", r.document, r.command)
		if used[i] == 0 {
			t.Errorf("%s fits no command: drop it", name)
		}
		target, isTarget := strings.CutPrefix(r.by, "make ")
		switch {
		case !isTarget && !tests[r.by]:
			t.Errorf("%s: there is no test %s", name, r.by)
		case isTarget && r.why == "":
			t.Errorf("%s does not say why it is not run", name)
		case isTarget && r.by != "make bench-authz" && !strings.Contains(targets, r.by+"\n"):
			t.Errorf("%s: .ci/run does not run make %s", name, target)
		}
		if isTarget && !strings.Contains(read(t, r.file), r.shown) {
			t.Errorf("%s: %s does not have %q", name, r.file, r.shown)
		}
	}
}

// A search that overlooks commands would prove nothing.
func TestCommandsAreFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		block block
		want  []string
	}{
		"one to a line":             {block{language: "sh", lines: []string{"make run", "", "# a remark", "make test"}}, []string{"make run", "make test"}},
		"one that goes on":          {block{language: "sh", lines: []string{`curl \`, `  -i \`, "  url", "next"}}, []string{"curl \\\n  -i \\\n  url", "next"}},
		"with output":               {block{language: "console", lines: []string{"$ a", "output", "$ b"}}, []string{"a", "b"}},
		"with output that goes on":  {block{language: "console", lines: []string{`$ a \`, "  b", "output"}}, []string{"a \\\n  b"}},
		"what is not to be run":     {block{language: "text", lines: []string{"$ a", "make run"}}, nil},
		"settings are not commands": {block{language: "ini", lines: []string{"PUBLIC_URL=x"}}, nil},
	} {
		var got []string
		for _, found := range c.block.commands() {
			got = append(got, found.text)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if i, _ := runBy(command{document: "README.md", text: "rm -rf /"}); i >= 0 {
		t.Error("a rule fits everything")
	}
}

// fileArgument finds what commands for a cluster name in the repository.
var fileArgument = regexp.MustCompile(`(?:deploy|docs|e2e|envoy)/[\w./-]+\w`)

func TestFilesThatCommandsNameAreThere(t *testing.T) {
	t.Parallel()
	found := 0
	for _, c := range everyCommand(t) {
		for _, path := range fileArgument.FindAllString(c.text, -1) {
			found++
			if _, err := os.Stat(filepath.Join(root(t), path)); err != nil {
				t.Errorf("%s:%d: %v", c.document, c.line, err)
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d files found", found)
	}
}

func TestCommandForECSGivesWhatTheTemplateAsksFor(t *testing.T) {
	t.Parallel()
	asked := map[string]bool{} // and whether there is a default
	name := ""
	for line := range strings.Lines(section(t, "\n"+read(t, "deploy/ecs/template.yaml"), "\nParameters:\n", "\nConditions:")) {
		if match := regexp.MustCompile(`^  (\w+):`).FindStringSubmatch(line); match != nil {
			name = match[1]
			asked[name] = false
		}
		if regexp.MustCompile(`^    Default:|Default:`).MatchString(line) {
			asked[name] = true
		}
	}
	if len(asked) < 6 {
		t.Fatalf("only the parameters %v", asked)
	}
	for _, c := range everyCommand(t) {
		if !strings.HasPrefix(c.text, "aws cloudformation deploy") {
			continue
		}
		given := map[string]bool{}
		for _, match := range regexp.MustCompile(`\b(\w+)=`).FindAllStringSubmatch(c.text, -1) {
			given[match[1]] = true
			if _, known := asked[match[1]]; !known {
				t.Errorf("%s:%d gives %s, which the template does not know", c.document, c.line, match[1])
			}
		}
		for _, name := range slices.Sorted(maps.Keys(asked)) {
			if !asked[name] && !given[name] {
				t.Errorf("%s:%d does not give %s", c.document, c.line, name)
			}
		}
	}
}

// Targets and subcommands that the text names exist.
func TestTargetsInTheDocumentsExist(t *testing.T) {
	t.Parallel()
	makefile := read(t, "Makefile")
	found := 0
	for _, path := range documents(t) {
		for _, match := range regexp.MustCompile("(?m)(?:^|[`$(])(?:[A-Z]+=\\S+ )?make (?:-s )?([a-z][a-z-]+)[`\n)]").FindAllStringSubmatch(read(t, path), -1) {
			found++
			if !regexp.MustCompile(`(?m)^` + match[1] + `:`).MatchString(makefile) {
				t.Errorf("%s names make %s, which the Makefile does not have", path, match[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d targets found", found)
	}
}
