package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/clients"
	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// place is where the binaries and the state are; by default both are found
// from the path of this binary, so that it works from any directory.
type place struct {
	Bin   string `env:"STACK_BIN" help:"Directory of the binaries (default: that of this one)."`
	State string `env:"STACK_STATE" help:"Directory of logs and state (default: .run beside the directory of the binaries)."`
}

func (p *place) resolve() error {
	if p.Bin == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		p.Bin = filepath.Dir(self)
	}
	if p.State == "" {
		p.State = filepath.Join(filepath.Dir(p.Bin), ".run")
	}
	for _, dir := range []*string{&p.Bin, &p.State} {
		absolute, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = absolute
	}
	return nil
}

// port is a TCP port. Those below 1024 are left to the kernel, which may allow them.
type port int

func (p *port) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%.20q is not a port: choose a number from 1 to 65535", text)
	}
	*p = port(n)
	return nil
}

// quote makes s one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

type clientsCmd struct {
	Source string `arg:"" help:"Directory with the pins, e2e/clients."`
	Cache  string `arg:"" help:"Directory in which the clients go."`
}

func (c *clientsCmd) Run(ctx context.Context) error {
	install := clients.Installer{Source: c.Source, Cache: c.Cache}
	_, python := install.Python(ctx)
	_, inspector := install.Inspector(ctx)
	_, kubernetes := install.Kubernetes(ctx)
	return errors.Join(python, inspector, kubernetes)
}

type runCmd struct {
	place
	Port        port          `env:"PORT" default:"8080" help:"Port of 127.0.0.1 on which the gateway listens."`
	SandboxPort port          `env:"SANDBOX_PORT" default:"9090" help:"Port of the local NeonPanel; when it is taken, a free one."`
	Timeout     time.Duration `env:"STACK_TIMEOUT" default:"60s" help:"How long the start may take."`

	OTLPEndpoint string `name:"otel-exporter-otlp-endpoint" env:"OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL" help:"OpenTelemetry collector to which all parts send traces over OTLP/HTTP, such as http://127.0.0.1:4318; empty is off."`
}

// environment is what the parts are told beside their places.
func (c *runCmd) environment() map[string][]string {
	tracing := "OTEL_EXPORTER_OTLP_ENDPOINT=" + c.OTLPEndpoint
	return map[string][]string{
		// So that `make token KIND=passport` is of use: such a token has its
		// client for an audience and names no issuer.
		stack.Authz:   {"AUTHZ_ALLOW_MISSING_ISSUER=true", "AUTHZ_CLIENT_IDS=neonpanel-sandbox", tracing},
		stack.Backend: {tracing},
		"envoyconf":   {tracing},
	}
}

func (c *runCmd) Run(ctx context.Context) error {
	if err := c.resolve(); err != nil {
		return err
	}
	dir := filepath.Join(c.State, strconv.Itoa(int(c.Port)))
	starting, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	began := time.Now()
	s, err := stack.Start(starting, stack.Options{
		Bin:         c.Bin,
		Port:        int(c.Port),
		SandboxPort: int(c.SandboxPort),
		Logs:        filepath.Join(dir, "logs"),
		State:       filepath.Join(dir, "state.json"),
		Env:         c.environment(),
		Progress: func(format string, args ...any) {
			fmt.Fprintf(os.Stderr, format+"\n", args...)
		},
	})
	if ctx.Err() != nil {
		if s != nil {
			err = s.Stop()
		}
		fmt.Fprintln(os.Stderr, "stopped before it was ready")
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
	if err != nil {
		return err
	}
	token, err := s.Sandbox.Token(ctx, stack.TokenRequest{})
	if err != nil {
		return errors.Join(err, s.Stop())
	}
	fmt.Fprintf(os.Stderr, "started in %s\n", time.Since(began).Round(time.Millisecond))
	c.greet(os.Stdout, s, token)

	var death error
	select {
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr, "stopping")
	case death = <-s.Dead():
	}
	return errors.Join(death, s.Stop())
}

// greet prints what a person needs first. The commands mint their own token,
// so that they work whenever they are pasted.
func (c *runCmd) greet(w io.Writer, s *stack.Stack, token string) {
	mint := fmt.Sprintf("$(%s token --port %d)", quote(filepath.Join(c.Bin, "stack")), c.Port)
	const headers = `-H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -H 'MCP-Protocol-Version: 2025-11-25'`
	fmt.Fprintf(w, `ready %[1]s

token (one hour; another: make -s token)
%[2]s

no token: 401, and where to get one
  curl -sS -i %[1]s/mcp %[4]s -d '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'

the tools
  curl -sS %[1]s/mcp -H "Authorization: Bearer %[3]s" %[4]s -d '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'

a tool call
  curl -sS %[1]s/mcp -H "Authorization: Bearer %[3]s" %[4]s -d '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"list_companies","arguments":{}}}'

MCP Inspector (Node 22.19 or later), through login and consent
  npx @modelcontextprotocol/inspector@2.12.0 --web --transport http --server-url %[1]s/mcp
  log in as seller-one@example.com or seller-two@example.com, password demo

Ctrl-C stops everything
`, s.URL, token, mint, headers)
}

type tokenCmd struct {
	place
	Port    port   `env:"PORT" help:"Port of the gateway, when several run."`
	Account string `help:"Whose token (default: seller-one@example.com)."`
	Scope   string `help:"Scopes, separated by spaces (default: all)."`
	TTL     string `name:"ttl" help:"How long it is valid, such as 90s (default: 1h)."`
	Kind    string `help:"jwt, opaque or passport (default: jwt)."`
}

func (c *tokenCmd) Run(ctx context.Context) error {
	if err := c.resolve(); err != nil {
		return err
	}
	state, err := stack.Find(c.State, int(c.Port))
	if err != nil {
		return err
	}
	token, err := stack.NewSandbox(state.Control).Token(ctx, stack.TokenRequest{
		Account: c.Account, Scope: c.Scope, TTL: c.TTL, Kind: c.Kind,
	})
	if err != nil {
		return err
	}
	fmt.Println(token)
	return nil
}

type janitorCmd struct {
	Paths []string `arg:""`
}

func (c *janitorCmd) Run() error { return stack.Janitor(os.Stdin, c.Paths) }
