package stack

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is one child: its command, its log file and how it ended.
type process struct {
	name string
	log  string // path of the file that takes stdout and stderr
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has been reaped
	err  error         // how it ended; read only after done
	// wanted is closed before we end the child ourselves, so that a death can
	// be told from a stop.
	wanted   chan struct{}
	wantOnce sync.Once
}

// A spawner starts children from one operating system thread that lives until
// close. The kernel sends the parent-death signal when the *thread* that
// forked goes away, so a child started from any thread of the Go scheduler
// could be killed at random (prctl(2), PR_SET_PDEATHSIG).
type spawner struct {
	jobs chan func()
	once sync.Once
}

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for job := range s.jobs {
			job()
		}
		// The thread is not unlocked: it ends with this goroutine.
	}()
	return s
}

func (s *spawner) close() { s.once.Do(func() { close(s.jobs) }) }

func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	s.jobs <- func() { result <- cmd.Start() }
	return <-result
}

// spawn starts path as a child in a process group of its own, with env as its
// whole environment and its output in the file log. A Ctrl-C in a terminal
// therefore reaches the runner alone, which stops its children in order.
func (s *spawner) spawn(name, path string, args, env []string, dir, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(path, args...)
	cmd.Env = env
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would mean the parent's environment
	}
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.start(cmd); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	p := &process{name: name, log: log, cmd: cmd, done: make(chan struct{}), wanted: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// want marks the end of the child as ours.
func (p *process) want() { p.wantOnce.Do(func() { close(p.wanted) }) }

// died says how a child ended that nobody stopped, in one line.
func (p *process) died() error { return deathOf(p.name, p.err) }

func deathOf(name string, err error) error {
	state := "exit status 0"
	if err != nil {
		state = err.Error()
	}
	return fmt.Errorf("%s stopped by itself (%s)", name, state)
}

// stop asks the child to end and kills its whole group when it does not.
func (p *process) stop(grace time.Duration) {
	p.want()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
	// The child may be gone while something of its group is not.
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	<-p.done
}

// kill ends the child at once, as a crash would.
func (p *process) kill() {
	p.want()
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	<-p.done
}

// tail returns the last n lines of the file, indented.
func tail(path string, n int) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 16 << 10
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-most), io.SeekStart)
	}
	data, _ := io.ReadAll(f)
	lines := strings.Split(string(bytes.TrimSpace(data)), "\n")
	lines = lines[max(0, len(lines)-n):]
	if len(lines) == 1 && lines[0] == "" {
		return ""
	}
	for i, line := range lines {
		if len(line) > 400 {
			line = line[:400] + "…"
		}
		lines[i] = "  " + line
	}
	return strings.Join(lines, "\n")
}
