// Authz decides for Envoy which requests carry an acceptable NeonPanel access
// token (gRPC ext_authz), and serves the OAuth discovery documents.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/doctor"
	"github.com/neonpanel/mcp-gateway/authz/internal/explain"
	"github.com/neonpanel/mcp-gateway/authz/internal/listen"
	"github.com/neonpanel/mcp-gateway/authz/internal/ops"
	"github.com/neonpanel/mcp-gateway/authz/internal/serve"
)

// version is set by the linker.
var version string

type program struct {
	Version kong.VersionFlag `help:"Print the version and exit."`

	Serve       serveCommand       `cmd:"" default:"withargs" help:"Answer Envoy and serve the discovery documents (the default)."`
	Explain     explainCommand     `cmd:"" help:"Say why a token is accepted or refused, check by check, and what to change."`
	Doctor      doctor.Command     `cmd:"" help:"Check a running gateway from outside, as a connector meets it."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask a running authz whether it is ready; exit status 0 if so."`
}

type serveCommand struct{ config.Settings }

func (c *serveCommand) Run() error {
	settings, err := c.Validate()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return serve.Run(ctx, settings, os.Stderr)
}

type explainCommand struct{ explain.Command }

func (c *explainCommand) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return c.Main(ctx, os.Stdin, os.Stdout)
}

type healthcheckCommand struct {
	OpsListen string        `name:"authz-ops-listen" env:"AUTHZ_OPS_LISTEN" default:"127.0.0.1:9101" help:"Where the operations listener is."`
	Live      bool          `help:"Ask only whether the process is alive."`
	Timeout   time.Duration `default:"2s" help:"Longest wait for an answer."`
}

func (c *healthcheckCommand) Run() error {
	if c.OpsListen == "" {
		c.OpsListen = "127.0.0.1:9101"
	}
	at, err := listen.Parse(c.OpsListen)
	if err != nil {
		return fmt.Errorf("AUTHZ_OPS_LISTEN: %q; allowed: %w", c.OpsListen, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	if c.Live {
		return ops.Ask(ctx, at, "/healthz")
	}
	return ops.Ask(ctx, at, "/readyz")
}

// wrongUsage is the exit status for it: each command has a table of its own.
func wrongUsage(arguments []string) int {
	if len(arguments) > 1 && arguments[1] == "doctor" {
		return doctor.StatusUnable
	}
	return explain.StatusUsage
}

func main() {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		version = info.Main.Version
	}
	ctx := kong.Parse(&program{},
		kong.Name("authz"),
		kong.Description("Verifies NeonPanel access tokens for Envoy (gRPC ext_authz) and serves the OAuth discovery documents. Every flag is also an environment variable of the same name. To serve and explain, an empty value means the default."),
		kong.Vars{"version": version},
		kong.UsageOnError(),
		kong.Exit(func(code int) {
			// Kong's own status for wrong usage is 80.
			os.Exit(min(code, wrongUsage(os.Args)))
		}),
	)
	if err := ctx.Run(); err != nil {
		var status explain.Status
		var coded kong.ExitCoder
		switch {
		case errors.As(err, &status):
		case errors.As(err, &coded):
			status = explain.Status{Code: coded.ExitCode(), Err: err}
		default:
			status = explain.Status{Code: 1, Err: err}
		}
		if status.Err != nil {
			fmt.Fprintln(os.Stderr, "authz:", status.Err)
		}
		os.Exit(status.Code)
	}
}
