package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Blocks marked sh are run and print nothing; in blocks marked console, lines
// that begin with "$ " are run and their output is compared. One shell runs all
// of a guide, but for the commands that a rule gives to somebody else.
//
// In an output that is compared, a line […] stands for any number of lines and
// … for any part of a line.

// stepsOf are the commands of a guide that the test runs; those of a block
// marked sh are one.
func stepsOf(t *testing.T, path, test string) (steps []command) {
	t.Helper()
	for _, b := range blocksOf(t, path) {
		found := b.commands()
		if b.language == "sh" && len(found) > 0 {
			found = []command{{path, b.line, strings.Join(b.lines, "\n"), nil}}
		}
		for _, c := range found {
			if _, r := runBy(c); r.by == test {
				steps = append(steps, c)
			}
		}
	}
	return steps
}

// shell is a bash that runs one command after the other.
type shell struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func startShell(t *testing.T, dir string, environment []string) *shell {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	cmd := exec.CommandContext(ctx, "bash", "--norc", "--noprofile")
	cmd.Dir, cmd.Env = dir, environment
	// A group of its own, which also holds what a guide starts in the background.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		output.Close()
	})
	return &shell{in: in, out: bufio.NewReader(output)}
}

// say types a line.
func (s *shell) say(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

const done = "this command has ended"

// run types a command and returns what it and those before it printed, and how
// it ended.
func (s *shell) run(t *testing.T, command string) (lines []string, status string) {
	t.Helper()
	s.say(t, command)
	s.say(t, `printf '\n%s %s\n' '`+done+`' $?`)
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			t.Fatalf("the shell ended: %v, after:\n%s", err, strings.Join(lines, "\n"))
		}
		line = strings.TrimSuffix(line, "\n")
		if after, ended := strings.CutPrefix(line, done+" "); ended {
			status = after
			break
		}
		lines = append(lines, line)
	}
	// The empty line ends an output that has no line break at its end.
	if n := len(lines); n > 0 && lines[n-1] == "" {
		lines = lines[:n-1]
	}
	return lines, status
}

// volatile is what differs from run to run.
var volatile = []struct {
	form *regexp.Regexp
	is   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "TIME"},
	{regexp.MustCompile(`\b\d{10}(\.\d+)?\b`), "DATE"},
	{regexp.MustCompile(`\b(in )?\d+ (seconds|minutes|hours|days)( ago)?\b`), "WHEN"},
	{regexp.MustCompile(`\b\d+(\.\d+)?m?s old\b`), "AGE old"},
	{regexp.MustCompile(`"[A-Za-z0-9_-]{16}"`), `"KID"`},
	{regexp.MustCompile(`\b[0-9a-f]{32,80}\b`), "HEX"},
	// A token and the keys of one second: which came first cannot be told.
	{regexp.MustCompile(` \(the keys were fetched a moment ago\)$`), ""},
	{regexp.MustCompile(`\bstarted in [0-9.]+m?s\b`), "started in TIME"},
	{regexp.MustCompile(`\banswered \d+ bytes\b`), "answered SIZE"},
	{regexp.MustCompile(`[+-]\d s\b`), "CLOCK"},
}

func settled(line string) string {
	for _, v := range volatile {
		line = v.form.ReplaceAllString(line, v.is)
	}
	return strings.TrimRight(line, " ")
}

// matches reports whether an output is as a guide has it, and if not, which
// line of the guide is not there.
func matches(want, got []string) (bool, string) {
	if len(want) == 0 {
		return len(got) == 0, "no output at all"
	}
	if want[0] == "[…]" {
		if len(want) == 1 {
			return true, ""
		}
		missing := want[1]
		for at := range got {
			ok, said := matches(want[1:], got[at:])
			if ok {
				return true, ""
			}
			if said != want[1] {
				missing = said
			}
		}
		return false, missing
	}
	if len(got) == 0 {
		return false, want[0]
	}
	form := strings.ReplaceAll(regexp.QuoteMeta(settled(want[0])), "…", ".*")
	if !regexp.MustCompile("^" + form + "$").MatchString(settled(got[0])) {
		return false, want[0]
	}
	if len(want) == 1 {
		return len(got) == 1, "the end of the output"
	}
	return matches(want[1:], got[1:])
}

// followGuide runs a guide on a sandbox of its own. What the guide calls by
// these addresses listens elsewhere in the test.
func followGuide(t *testing.T, path, test string, asked func(output []string) (answer string)) {
	t.Helper()
	dir := t.TempDir()
	bin, err := filepath.Abs(binaries(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(bin, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	issuer := fmt.Sprintf("127.0.0.1:%d", anyPort(t))
	control := fmt.Sprintf("127.0.0.1:%d", anyPort(t))
	client := httptest.NewServer(http.NotFoundHandler()) // where a login ends
	t.Cleanup(client.Close)
	here := strings.NewReplacer("127.0.0.1:9390", issuer, "127.0.0.1:9391", control, "http://127.0.0.1:7777", client.URL)
	there := strings.NewReplacer(issuer, "127.0.0.1:9390", control, "127.0.0.1:9391", client.URL, "http://127.0.0.1:7777")
	sh := startShell(t, dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir})
	steps := stepsOf(t, path, test)
	if len(steps) < 5 {
		t.Fatalf("only %d commands found in %s", len(steps), path)
	}
	var before []string
	for _, s := range steps {
		if s.text == "read -r code" {
			// Typed before the end of the command is asked for, since read takes it.
			sh.say(t, s.text)
			s.text = asked(before)
		}
		got, _ := sh.run(t, here.Replace(s.text))
		before = append([]string(nil), got...)
		for i := range got {
			got[i] = there.Replace(got[i])
		}
		if strings.Contains(s.text, "sandbox serve ") {
			listening(t, issuer)
		}
		if s.want == nil {
			if len(got) > 0 {
				t.Fatalf("%s:%d: %s", path, s.line, strings.Join(got, "\n"))
			}
			continue
		}
		// What separates two commands in a block is no output.
		want := s.want
		if ok, missing := matches(want, got); !ok {
			t.Errorf("%s:%d: $ %s\nprints:\n%s\n\nwithout what the guide shows:\n%s", path, s.line, s.text, strings.Join(got, "\n"), missing)
		}
	}
}

func listening(t *testing.T, address string) {
	t.Helper()
	eventually(t, 60*time.Second, func() string {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return err.Error()
		}
		c.Close()
		return ""
	})
}

func TestGuideToExplainPrintsWhatItShows(t *testing.T) {
	t.Parallel()
	followGuide(t, "docs/guide-explain.md", explain, nil)
}

func TestGuideToTokensPrintsWhatItShows(t *testing.T) {
	t.Parallel()
	followGuide(t, "docs/tokens.md", toTokens, func(output []string) string {
		page, err := user(sellerOne).Authorize(t.Context(), output[len(output)-1])
		if err != nil {
			t.Fatal(err)
		}
		code := page.URL.Query().Get("code")
		if code == "" {
			t.Fatalf("no code at the end of the login: %s", page.URL.Redacted())
		}
		return code
	})
}

// A comparison that takes anything would prove nothing.
func TestGuideComparison(t *testing.T) {
	t.Parallel()
	got := []string{"pass     form", "fail     aud  \"x\"", "", "REFUSED: 401 and y", "exp 1795144558.156749 (in 59 minutes)"}
	for text, want := range map[string]bool{
		"pass     form\n[…]": true,
		"[…]\nfail     aud  \"x\"\n\nREFUSED: 401 and …\n[…]":                            true,
		"[…]\nexp 1700000000 (in 58 minutes)":                                            true,
		"pass     form\nfail     aud  \"x\"\n\nREFUSED: 401 and y\nexp 1 (in 1 minutes)": false,
		"pass     form":                    false,
		"[…]\nfail     aud  \"z\"\n[…]":    false,
		"[…]\nREFUSED: 402…\n[…]":          false,
		"fail     aud  \"x\"\n[…]":         false,
		"[…]\npass     form\n[…]\nmissing": false,
		"[…]":                              true,
		"":                                 false,
	} {
		if ok, _ := matches(strings.Split(text, "\n"), got); ok != want {
			t.Errorf("%q: %v", text, ok)
		}
	}
}
