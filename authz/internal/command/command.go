// Package command holds what authz can be told to do, and with which status it
// ends.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/doctor"
	"github.com/neonpanel/mcp-gateway/authz/internal/explain"
	"github.com/neonpanel/mcp-gateway/authz/internal/listen"
	"github.com/neonpanel/mcp-gateway/authz/internal/metrics"
	"github.com/neonpanel/mcp-gateway/authz/internal/ops"
	"github.com/neonpanel/mcp-gateway/authz/internal/serve"
)

// Serve is `authz serve`.
type Serve struct{ config.Settings }

// Run serves until it is told to stop.
func (c *Serve) Run(ctx context.Context, build metrics.Build) error {
	settings, err := c.Validate()
	if err != nil {
		return err
	}
	return serve.Run(ctx, settings, build, os.Stderr)
}

// Explain is `authz explain`.
type Explain struct{ explain.Command }

// Run explains one token.
func (c *Explain) Run(ctx context.Context) error { return c.Main(ctx, os.Stdin, os.Stdout) }

// Healthcheck is `authz healthcheck`, for images without a shell.
type Healthcheck struct {
	OpsListen string        `name:"authz-ops-listen" env:"AUTHZ_OPS_LISTEN" default:"127.0.0.1:9101" help:"Where the operations listeners are; the first local one is asked."`
	Live      bool          `help:"Ask only whether the process is alive."`
	Timeout   time.Duration `default:"2s" help:"Longest wait for an answer."`
}

// Run asks.
func (c *Healthcheck) Run(ctx context.Context) error {
	at, err := c.local()
	if err != nil {
		return fmt.Errorf("AUTHZ_OPS_LISTEN: %q; allowed: %w", c.OpsListen, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if c.Live {
		return ops.Ask(ctx, at, "/healthz")
	}
	return ops.Ask(ctx, at, "/readyz")
}

func (c *Healthcheck) local() (listen.Address, error) {
	if c.OpsListen == "" {
		c.OpsListen = "127.0.0.1:9101"
	}
	for one := range strings.SplitSeq(c.OpsListen, ",") {
		at, err := listen.Parse(strings.TrimSpace(one))
		if err != nil || at.Local() {
			return at, err
		}
	}
	return listen.Address{}, errors.New("a list with a unix: socket or a loopback address in it, for healthcheck has no certificate to show to the others")
}

// Status is the exit status of an error, and the error that is left to print.
func Status(err error) (int, error) {
	var verdict explain.Status
	if errors.As(err, &verdict) {
		return verdict.Code, verdict.Err
	}
	var coded kong.ExitCoder
	if errors.As(err, &coded) {
		return coded.ExitCode(), err
	}
	return 1, err
}

// WrongUsage is the exit status for it: each command has a table of its own.
func WrongUsage(arguments []string) int {
	if len(arguments) > 1 && arguments[1] == "doctor" {
		return doctor.StatusUnable
	}
	return explain.StatusUsage
}

// Run runs the chosen command and returns the exit status of the process.
func Run(ctx context.Context, chosen *kong.Context, build metrics.Build, stderr io.Writer) int {
	chosen.BindTo(ctx, (*context.Context)(nil))
	chosen.Bind(build)
	err := chosen.Run()
	if err == nil {
		return 0
	}
	status, err := Status(err)
	if err != nil {
		fmt.Fprintln(stderr, "authz:", err)
	}
	return status
}
