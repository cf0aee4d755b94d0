package stack

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// A janitor is a small process that outlives a runner killed with SIGKILL and
// removes its sockets and state. It knows that the runner is gone when the
// pipe between them closes, whatever the reason.
type janitor struct {
	pipe   io.Closer
	done   chan struct{} // closed when it has been reaped
	err    error         // how it ended; read only after done
	wanted chan struct{} // closed by finish, so that a death can be told from an end
}

// startJanitor starts `stack janitor DIR...`, which removes the directories and
// files given when this process ends.
func startJanitor(binary string, paths ...string) (*janitor, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd := exec.Command(binary, append([]string{"janitor"}, paths...)...)
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdin = read
	// A session of its own: neither a Ctrl-C nor the end of the terminal stops it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		write.Close()
		return nil, fmt.Errorf("cannot start the janitor: %w", err)
	}
	j := &janitor{pipe: write, done: make(chan struct{}), wanted: make(chan struct{})}
	go func() {
		j.err = cmd.Wait()
		close(j.done)
	}()
	return j, nil
}

// finish lets the janitor do its work and waits for it; it is called once.
func (j *janitor) finish() {
	close(j.wanted)
	j.pipe.Close()
	<-j.done
}

// Janitor waits until the runner at the other end of in is gone, then removes
// paths. Only what a stack made is removed: a path that does not carry its
// prefix or name is refused.
func Janitor(in io.Reader, paths []string) error {
	for _, path := range paths {
		if base := filepath.Base(path); !filepath.IsAbs(path) || (!hasRuntimePrefix(base) && base != stateName) {
			return fmt.Errorf("janitor: %q is not a stack's own", path)
		}
	}
	_, _ = io.Copy(io.Discard, in)
	return remove(paths)
}

func remove(paths []string) error {
	var first error
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil && first == nil {
			first = err
		}
	}
	return first
}
