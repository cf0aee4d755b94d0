package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CPU returns the time that a process has spent on a CPU, in all its threads,
// those that ended included, to the nanosecond.
func CPU(pid int) (time.Duration, error) {
	// The clock of another process, as clock_getcpuclockid(3) makes its name:
	// the complement of the pid, and CPUCLOCK_SCHED.
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// RSS returns the resident memory of a process in bytes (proc_pid_smaps(5)).
func RSS(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if rest, found := bytes.CutPrefix(line, []byte("Rss:")); found {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(rest)), "kB")), 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("no Rss in the memory map of process %d", pid)
}

// Metrics reads the series without labels that a process offers to Prometheus
// on a unix socket.
func Metrics(ctx context.Context, socket string) (map[string]float64, error) {
	text, err := operations(ctx, socket, "/metrics")
	if err != nil {
		return nil, err
	}
	series := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil && name != "#" {
			series[name] = v
		}
	}
	return series, nil
}

// Profile returns the CPU profile, as `go tool pprof` reads it, of what a
// process that offers one on a unix socket does in the next so many seconds.
func Profile(ctx context.Context, socket string, seconds int) ([]byte, error) {
	return operations(ctx, socket, "/debug/pprof/profile?seconds="+strconv.Itoa(seconds))
}

// operations asks the operations listener of a process.
func operations(ctx context.Context, socket, path string) ([]byte, error) {
	transport := unixTransport(socket)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://ops"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, bytes.TrimSpace(body))
	}
	return body, err
}

// LiveHeap returns what the garbage collector of a Go process found alive when
// it last ran, stacks and globals included, worked out from its metrics: the
// next collection is due when that has grown by GOGC percent. It is an error
// when GOMEMLIMIT makes the collection due earlier, which hides it.
func LiveHeap(metrics map[string]float64) (float64, error) {
	next, percent := metrics["go_memstats_next_gc_bytes"], metrics["go_gc_gogc_percent"]
	if next == 0 || percent == 0 {
		return 0, errors.New("the metrics do not say when the next garbage collection is due")
	}
	// The limit also covers what is not heap, and leaves a little room.
	if limit := metrics["go_gc_gomemlimit_bytes"]; next > 0.9*limit {
		return 0, fmt.Errorf("GOMEMLIMIT (%.0f MiB) decides when garbage is collected, so the live heap cannot be told: measure with less", limit/(1<<20))
	}
	return next / (1 + percent/100), nil
}

func unixTransport(socket string) *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
}

// A Child is a process that runs beside the gateway, such as a server to
// compare it with.
type Child struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts a program with env as its whole environment. The listener, if
// there is one, becomes the program's file descriptor 3 and is closed here:
// who connects before the program accepts has to wait, and is not refused.
// The kernel kills the child when this process dies.
func Start(path string, args, env []string, output *os.File, listener net.Listener) (*Child, error) {
	cmd := exec.Command(path, args...)
	cmd.Env = append([]string{}, env...) // nil would mean the parent's environment
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if listener != nil {
		file, err := listener.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			return nil, err
		}
		defer file.Close()
		defer listener.Close()
		cmd.ExtraFiles = []*os.File{file}
	}
	c := &Child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The signal comes when the thread that forked ends (prctl(2),
		// PR_SET_PDEATHSIG): this one waits for the child.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", path, err)
	}
	return c, nil
}

// PID returns the process id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Stop asks the child to end, and kills it when it does not.
func (c *Child) Stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}
