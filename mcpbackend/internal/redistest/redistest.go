//go:build redis

// Package redistest starts a real Redis for a test, and ends it in the middle of
// one.
package redistest

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Server is a Redis that keeps nothing over its end.
type Server struct {
	Address string

	t       testing.TB
	command *exec.Cmd
}

// Start starts one; REDIS_SERVER names the program.
func Start(t testing.TB) *Server {
	t.Helper()
	// The port stays its own over an end and a start, so it is chosen here.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Address: l.Addr().String(), t: t}
	_ = l.Close()
	t.Cleanup(s.Kill)
	s.Again()
	return s
}

// Again starts it again, and waits until it takes connections.
func (s *Server) Again() {
	s.t.Helper()
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.command = exec.Command(cmp.Or(os.Getenv("REDIS_SERVER"), "redis-server"),
		"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", s.t.TempDir())
	out, err := s.command.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.command.Start(); err != nil {
		s.t.Fatalf("a Redis is needed: %v", err)
	}
	var said strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go func() {
				for lines.Scan() { // so that it never waits for a reader
				}
			}()
			return
		}
	}
	s.t.Fatalf("Redis did not start:\n%s", said.String())
}

// Kill ends it at once, with all that it held.
func (s *Server) Kill() {
	if s.command == nil {
		return
	}
	_ = s.command.Process.Kill() // it may have ended
	_ = s.command.Wait()         // that it was killed is no news
	s.command = nil
}
