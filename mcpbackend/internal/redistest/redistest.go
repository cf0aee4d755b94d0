//go:build redis

// Package redistest starts a real Redis for a test, and ends it in the middle of
// one.
package redistest

import (
	"bufio"
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
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
	s := &Server{t: t}
	t.Cleanup(s.Kill)
	said := ""
	for range 20 {
		// Not of those that the kernel gives to who connects: one of them could
		// belong to somebody else while this Redis is down, or to one of its own
		// clients, connected to itself.
		s.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))
		if said = s.start(); said == "" {
			return s
		}
	}
	t.Fatalf("Redis did not start:\n%s", said)
	return nil
}

// Again starts it again, and waits until it takes connections.
func (s *Server) Again() {
	s.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		said := s.start()
		switch {
		case said == "":
			return
		case time.Now().After(deadline):
			s.t.Fatalf("Redis did not start again:\n%s", said)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// start gives what Redis said when it does not start.
func (s *Server) start() string {
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
			return ""
		}
	}
	s.Kill()
	return said.String()
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
