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
	"github.com/neonpanel/mcp-gateway/authz/internal/listen"
	"github.com/neonpanel/mcp-gateway/authz/internal/ops"
	"github.com/neonpanel/mcp-gateway/authz/internal/serve"
)

// version is set by the linker.
var version string

type program struct {
	Version kong.VersionFlag `help:"Print the version and exit."`

	Serve       serveCommand       `cmd:"" default:"withargs" help:"Answer Envoy and serve the discovery documents (the default)."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask a running authz whether it is ready; exit status 0 if so."`
	Doctor      doctor.Command     `cmd:"" help:"Check a running gateway from outside, as a connector meets it."`
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

func main() {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		version = info.Main.Version
	}
	ctx := kong.Parse(&program{},
		kong.Name("authz"),
		kong.Description("Verifies NeonPanel access tokens for Envoy (gRPC ext_authz) and serves the OAuth discovery documents. Every flag is also an environment variable of the same name."),
		kong.Vars{"version": version},
		kong.UsageOnError(),
		// Wrong usage has a status of its own in kong; here it is one of ours.
		kong.Exit(func(status int) { os.Exit(min(status, 2)) }),
	)
	if err := ctx.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "authz:", err)
		var coded kong.ExitCoder
		if errors.As(err, &coded) {
			os.Exit(coded.ExitCode())
		}
		os.Exit(1)
	}
}
