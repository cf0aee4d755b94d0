package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"
)

// Python is the official Python SDK.
type Python struct {
	executable, lib, script string
	// headers are what its user has set.
	headers map[string]string
}

// With returns a client whose user has set these headers.
func (p *Python) With(headers map[string]string) *Python {
	c := *p
	c.headers = headers
	return &c
}

// Name implements Client.
func (p *Python) Name() string { return "Python SDK" }

type pythonSession struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	out      *bufio.Reader
	stderr   *bytes.Buffer
	protocol string
	tools    []string
}

type pythonMessage struct {
	Open     string   `json:"open"`
	Error    string   `json:"error"`
	Protocol string   `json:"protocol"`
	Tools    []string `json:"tools"`
	Result   *Result  `json:"result"`
	Refused  string   `json:"refused"`
}

// Open implements Client.
func (p *Python) Open(ctx context.Context, url string, era Era, user Person) (Session, error) {
	mode := map[Era]string{Modern: "auto", Legacy: "legacy", SSE: "sse"}[era]
	headers, err := json.Marshal(p.headers)
	if err != nil {
		return nil, err
	}
	if p.headers == nil {
		headers = []byte("{}")
	}
	cmd := exec.CommandContext(ctx, p.executable, p.script, url, mode, string(headers))
	cmd.Env = []string{"PYTHONPATH=" + p.lib, "PYTHONNOUSERSITE=1", "LANG=C.UTF-8"}
	contain(cmd)
	s := &pythonSession{cmd: cmd, stderr: &bytes.Buffer{}}
	cmd.Stderr = s.stderr
	if s.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for {
		m, err := s.read()
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		switch {
		case m.Open != "":
			if err := login(ctx, user, m.Open); err != nil {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				_ = s.Close()
				return nil, err
			}
		case m.Protocol != "":
			s.protocol, s.tools = m.Protocol, m.Tools
			return s, nil
		}
	}
}

// read returns the next message; the client's own error is an error.
func (s *pythonSession) read() (pythonMessage, error) {
	line, err := s.out.ReadBytes('\n')
	if err != nil {
		return pythonMessage{}, fmt.Errorf("the Python client ended: %w\n%s", err, s.stderr)
	}
	var m pythonMessage
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fmt.Errorf("the Python client wrote %q: %w", line, err)
	}
	if m.Error != "" {
		return m, fmt.Errorf("the Python client: %s", m.Error)
	}
	return m, nil
}

func (s *pythonSession) Protocol() string { return s.protocol }
func (s *pythonSession) Tools() []string  { return s.tools }

func (s *pythonSession) Call(_ context.Context, tool string, arguments map[string]any) (Result, error) {
	line, err := json.Marshal(map[string]any{"tool": tool, "arguments": arguments})
	if err != nil {
		return Result{}, err
	}
	if _, err := s.in.Write(append(line, '\n')); err != nil {
		return Result{}, err
	}
	m, err := s.read()
	if err != nil {
		return Result{}, err
	}
	if m.Open != "" {
		return Result{}, errors.New("the Python client wants its user to log in again")
	}
	if m.Refused != "" {
		return Result{}, fmt.Errorf("the Python client: %s", m.Refused)
	}
	if m.Result == nil {
		return Result{}, errors.New("the Python client wrote no result")
	}
	return *m.Result, nil
}

func (s *pythonSession) Close() error {
	s.in.Close()
	// A client that does not end by itself is ended by the context or here.
	timer := time.AfterFunc(10*time.Second, func() { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) })
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, s.out)
	var exit *exec.ExitError
	if err := s.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

// contain makes a cancelled command end with everything that it started.
func contain(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
}
