package e2e

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// direct finds the direct requirements of a go.mod, and the tools it names.
var direct = regexp.MustCompile(`(?m)^(?:require )?\t?([a-z0-9.-]+\.[a-z]+/\S+|pgregory\.net/\S+) v\S+$`)

func TestEveryDirectDependencyIsExplained(t *testing.T) {
	t.Parallel()
	explained := read(t, "docs/dependencies.md")
	for _, module := range []string{"authz", "mcpbackend", "envoy", "sandbox", "e2e", "deploy"} {
		found := direct.FindAllStringSubmatch(read(t, module+"/go.mod"), -1)
		if len(found) == 0 {
			t.Errorf("no dependency found in %s/go.mod", module)
		}
		for _, match := range found {
			if !strings.Contains(explained, "`"+match[1]+"`") {
				t.Errorf("docs/dependencies.md says nothing of %s, which %s needs", match[1], module)
			}
		}
	}
}

func TestEveryExplainedDependencyIsThere(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, module := range []string{"authz", "mcpbackend", "envoy", "sandbox", "e2e", "deploy"} {
		all.WriteString(read(t, module+"/go.mod"))
	}
	first := regexp.MustCompile("(?m)^\\| (`[^|]+) \\|")
	name := regexp.MustCompile("`([^`]+/[^`]+)`")
	for _, row := range first.FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1) {
		for _, n := range name.FindAllStringSubmatch(row[1], -1) {
			if strings.HasPrefix(n[1], "@") || strings.HasPrefix(n[1], "e2e/") {
				continue // not a Go module
			}
			if !strings.Contains(all.String(), n[1]+" v") {
				t.Errorf("docs/dependencies.md explains %s, which nothing needs", n[1])
			}
		}
	}
}

// code finds where Go code and the bootstrap name the error of a body.
var (
	code      = regexp.MustCompile(`Code(?::| +Code =| =) +"([a-z_]+)"`)
	edgeError = regexp.MustCompile(`(?m)"?error"?: "?([a-z_]+)"?,?$`)
)

func TestEveryErrorCodeIsExplained(t *testing.T) {
	t.Parallel()
	explained := read(t, "docs/errors.md")
	found := map[string]string{}
	for _, module := range []string{"authz", "mcpbackend"} {
		err := filepath.WalkDir(filepath.Join(root(t), module), func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			data, err := os.ReadFile(path)
			for _, match := range code.FindAllStringSubmatch(string(data), -1) {
				found[match[1]] = module
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, match := range edgeError.FindAllStringSubmatch(read(t, "envoy/bootstrap.yaml"), -1) {
		if match[1] != "true" {
			found[match[1]] = "envoy"
		}
	}
	for _, must := range []string{"invalid_token", "insufficient_scope", "not_found", "misdirected_request", "unknown_tool"} {
		if found[must] == "" {
			t.Errorf("the search for error codes missed %s", must)
		}
	}
	for name, module := range found {
		if !strings.Contains(explained, "`"+name+"`") {
			t.Errorf("docs/errors.md says nothing of %s, which %s answers", name, module)
		}
	}
}

func TestTheThreatModelNamesCodeAndTestsThatExist(t *testing.T) {
	t.Parallel()
	tests := declaredTests(t)
	rows := 0
	for line := range strings.Lines(read(t, "docs/threat-model.md")) {
		cells := strings.Split(line, " | ")
		if len(cells) != 4 || cells[0] == "| threat" {
			continue
		}
		rows++
		for i, cell := range cells[2:] {
			names := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1)
			if len(names) == 0 {
				t.Errorf("%s: a cell names nothing", cells[0])
			}
			for _, name := range names {
				if i == 1 && !tests[name[1]] {
					t.Errorf("%s: there is no test %s", cells[0], name[1])
				}
				if _, err := os.Stat(filepath.Join(root(t), name[1])); i == 0 && err != nil {
					t.Errorf("%s: %v", cells[0], err)
				}
			}
		}
	}
	if rows < 20 {
		t.Errorf("only %d rows were read", rows)
	}
}

// A setting that is renamed must not live on in a guide.
func TestEverySettingInTheDocumentsExists(t *testing.T) {
	t.Parallel()
	known := read(t, "docker-compose.yml")
	for _, command := range [][]string{
		{"authz", "serve"}, {"authz", "explain"}, {"mcpbackend", "serve"}, {"envoyconf", "render"}, {"sandbox", "serve"}, {"sandbox", "token"},
	} {
		cmd := exec.Command(filepath.Join(binaries(t), command[0]), append(command[1:], "--help")...)
		cmd.Env = []string{}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(command, err)
		}
		known += string(out)
	}
	name := regexp.MustCompile(`\b(?:AUTHZ|MCPBACKEND|EDGE|SANDBOX|UPSTREAM|NEONPANEL|PUBLIC)_[A-Z0-9_]*[A-Z0-9]\b`)
	found := 0
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/decisions/*.md", "*/README.md"} {
		paths, err := filepath.Glob(filepath.Join(root(t), pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			relative, err := filepath.Rel(root(t), path)
			if err != nil {
				t.Fatal(err)
			}
			for _, setting := range name.FindAllString(read(t, relative), -1) {
				found++
				if relative == "docs/migration.md" && strings.HasPrefix(setting, "NEONPANEL_") {
					continue // of the server that is migrated from
				}
				if !regexp.MustCompile(`\b` + setting + `\b`).MatchString(known) {
					t.Errorf("%s names %s, which no binary knows", relative, setting)
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d names found", found)
	}
}

// metrics are what a part counts.
func (g *gateway) metrics(t *testing.T, part string) string {
	t.Helper()
	client := http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", g.Socket(part, "ops"))
		},
	}}
	resp, err := client.Get("http://part/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.StatusCode, err)
	}
	return string(data)
}

// Reasons and metrics that the guides name are those of the code.
func TestEveryReasonAndMetricInTheGuidesExists(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	metrics := g.metrics(t, stack.Authz)
	for _, path := range []string{"docs/tokens.md", "docs/guide-explain.md", "docs/errors.md", "docs/neonpanel.md"} {
		for _, name := range regexp.MustCompile(`\bauthz_[a-z_]+`).FindAllString(read(t, path), -1) {
			if !strings.Contains(metrics, "\n"+name) {
				t.Errorf("%s names the metric %s, which authz does not have", path, name)
			}
		}
	}
	for _, row := range regexp.MustCompile("(?m)^\\| ((?:`[a-z_]+`(?:, )?)+)[^|]*\\| ").FindAllStringSubmatch(read(t, "docs/tokens.md"), -1) {
		for _, reason := range regexp.MustCompile("`([a-z]+_[a-z_]+)`").FindAllStringSubmatch(row[1], -1) {
			if reason[1] == "jwks_uri" || strings.HasSuffix(reason[1], "_endpoint") {
				continue // members of the issuer's metadata
			}
			if !strings.Contains(metrics, `reason="`+reason[1]+`"`) {
				t.Errorf("docs/tokens.md names the reason %s, which authz does not give", reason[1])
			}
		}
	}
}

// declaredTests are the names of all tests of the project.
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root(t), func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != root(t) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		data, err := os.ReadFile(path)
		for _, match := range declared.FindAllStringSubmatch(string(data), -1) {
			tests[match[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

// Pictures are small, all of them are shown, and whoever cannot see them is told
// what they show.
func TestPicturesInTheDocuments(t *testing.T) {
	t.Parallel()
	const most = 100_000
	shown := map[string]bool{}
	for _, path := range documents(t) {
		text := read(t, path)
		for _, match := range regexp.MustCompile(`!\[([^\]]*)\]\(([^)]+)\)|<img alt="([^"]*)" src="([^"]+)"|<source [^>]*srcset="([^"]+)"`).FindAllStringSubmatch(text, -1) {
			words, target := match[1]+match[3], match[2]+match[4]+match[5]
			if match[5] == "" && len(words) < 20 {
				t.Errorf("%s: the picture %s is described as %q", path, target, words)
			}
			shown[filepath.Join(filepath.Dir(path), target)] = true
		}
	}
	for path := range shown {
		if info, err := os.Stat(filepath.Join(root(t), path)); err != nil || info.Size() > most {
			t.Errorf("%s: %v, or more than %d bytes", path, err, most)
		}
	}
	there, err := filepath.Glob(filepath.Join(root(t), "docs/pictures/*"))
	if err != nil || len(there) == 0 {
		t.Fatal(there, err)
	}
	for _, path := range there {
		if !shown["docs/pictures/"+filepath.Base(path)] {
			t.Errorf("no document shows %s", path)
		}
	}
}

// documents are the paths of everything written for people.
func documents(t *testing.T) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/*/*.md", "*/README.md", "*/*/README.md"} {
		found, err := filepath.Glob(filepath.Join(root(t), pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			relative, err := filepath.Rel(root(t), path)
			if err != nil {
				t.Fatal(err)
			}
			paths = append(paths, relative)
		}
	}
	return paths
}

var (
	link = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	head = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// anchor is how a page of a repository names a heading.
func anchor(heading string) string {
	heading = strings.ToLower(strings.NewReplacer("`", "", "*", "").Replace(heading))
	heading = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(heading, "")
	return strings.ReplaceAll(heading, " ", "-")
}

// Links lead somewhere, and every document is found from the README.
func TestLinksInTheDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	leads := map[string][]string{}
	links := 0
	for _, path := range documents(t) {
		text := regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(read(t, path), "")
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			links++
			file, part, _ := strings.Cut(match[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			info, err := os.Stat(filepath.Join(root(t), target))
			if err != nil {
				t.Errorf("%s: %s leads nowhere", path, match[1])
				continue
			}
			if info.IsDir() {
				target = filepath.Join(target, "README.md")
			}
			leads[path] = append(leads[path], target)
			if part == "" {
				continue
			}
			var anchors []string
			for _, heading := range head.FindAllStringSubmatch(read(t, target), -1) {
				anchors = append(anchors, anchor(heading[1]))
			}
			if !slices.Contains(anchors, part) {
				t.Errorf("%s: %s has no part %s, only %v", path, target, part, anchors)
			}
		}
	}
	if links < 100 {
		t.Errorf("only %d links found", links)
	}
	found := map[string]bool{"README.md": true}
	for next := []string{"README.md"}; len(next) > 0; next = next[1:] {
		for _, target := range leads[next[0]] {
			if !found[target] {
				found[target] = true
				next = append(next, target)
			}
		}
	}
	for _, path := range documents(t) {
		if !found[path] && !strings.HasPrefix(path, "docs/decisions/") {
			t.Errorf("no way leads from README.md to %s", path)
		}
	}
}

// Two decisions of one number cannot be referred to.
func TestDecisionsAreNumbered(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root(t), "docs", "decisions", "[0-9]*.md"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for i, file := range files {
		name := filepath.Base(file)
		if want := fmt.Sprintf("%04d-", i+1); !strings.HasPrefix(name, want) {
			t.Errorf("%s is not number %d", name, i+1)
		}
		if text := read(t, filepath.Join("docs", "decisions", name)); !strings.HasPrefix(text, fmt.Sprintf("# %d. ", i+1)) {
			t.Errorf("%s has another number in its title", name)
		}
	}
}
