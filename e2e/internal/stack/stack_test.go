package stack

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestJanitorRemovesOnlyWhatAStackMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	own := filepath.Join(dir, runtimePrefix+"1")
	state := filepath.Join(dir, stateName)
	foreign := filepath.Join(dir, "precious")
	for _, d := range []string{own, foreign} {
		if err := os.MkdirAll(filepath.Join(d, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(state, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, paths := range [][]string{{own, foreign}, {"neonpanel-relative"}, {own + "/.."}} {
		if err := Janitor(strings.NewReader(""), paths); err == nil {
			t.Errorf("%v was accepted", paths)
		}
	}
	if _, err := os.Stat(own); err != nil {
		t.Error("something was removed although one path was refused")
	}
	if err := Janitor(strings.NewReader("still running"), []string{own, state}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{own, state} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", path)
		}
	}
}

func TestFindTellsWhichGatewayRuns(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	run := func(port int) (stop func()) {
		t.Helper()
		socket := filepath.Join(base, fmt.Sprintf("%d.sock", port))
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = http.Serve(l, http.NotFoundHandler()) }()
		dir := filepath.Join(base, fmt.Sprint(port))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, stateName)
		if err := (State{URL: fmt.Sprint("http://127.0.0.1:", port), Control: socket}).write(path); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("state file: %v %v", info.Mode(), err)
		}
		return func() { l.Close() }
	}
	if _, err := Find(base, 0); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
	stop := run(8080)
	defer stop()
	if s, err := Find(base, 0); err != nil || s.URL != "http://127.0.0.1:8080" {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := Find(base, 9); err == nil || !strings.Contains(err.Error(), "8080") {
		t.Error(err)
	}
	stopSecond := run(8081)
	if _, err := Find(base, 0); err == nil || !strings.Contains(err.Error(), "PORT=") {
		t.Error(err)
	}
	if s, err := Find(base, 8081); err != nil || s.URL != "http://127.0.0.1:8081" {
		t.Errorf("%+v %v", s, err)
	}
	stopSecond()
	if s, err := Find(base, 0); err != nil || s.URL != "http://127.0.0.1:8080" {
		t.Errorf("a state file without a gateway counts: %+v %v", s, err)
	}
}

func TestProcessStopsItsWholeGroup(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	s := newSpawner()
	defer s.close()
	// A child that ignores SIGTERM and has a child of its own.
	p, err := s.spawn("stubborn", "/bin/sh", []string{"-c", `trap "" TERM; sleep 60 & echo "$!"; wait; wait`}, []string{"PATH=/usr/bin:/bin"}, "/", log)
	if err != nil {
		t.Fatal(err)
	}
	var grandchild int
	for deadline := time.Now().Add(60 * time.Second); grandchild == 0; time.Sleep(5 * time.Millisecond) {
		data, _ := os.ReadFile(log)
		if _, err := fmt.Sscanln(string(data), &grandchild); err != nil && time.Now().After(deadline) {
			t.Fatalf("the child has not started its own: %q, %v", data, err)
		}
	}
	p.stop(50 * time.Millisecond)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", grandchild))
		if err != nil || strings.Contains(string(data), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("grandchild %d is alive", grandchild)
		}
	}
}

func TestDeathIsOneLine(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	s := newSpawner()
	defer s.close()
	p, err := s.spawn("part", "/bin/sh", []string{"-c", "echo first; echo the reason >&2; exit 3"}, nil, "/", log)
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	if got, want := p.died().Error(), "part stopped by itself (exit status 3)"; got != want {
		t.Errorf("%q", got)
	}
}

// A log that outlives the run is named; one that does not is shown.
func TestLogHint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "authz.log"), []byte("first\nthe reason\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	kept := &Stack{logs: dir, opts: Options{Logs: dir}}
	if got, want := kept.logHint(Authz), "; its log: "+filepath.Join(dir, "authz.log"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	lost := &Stack{logs: dir}
	if got, want := lost.logHint(Authz), "; its last lines:\n  first\n  the reason"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
