// Authz decides for Envoy which requests carry an acceptable NeonPanel access
// token (gRPC ext_authz), and serves the OAuth discovery documents.
package main

import (
	"cmp"
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/neonpanel/mcp-gateway/authz/internal/command"
	"github.com/neonpanel/mcp-gateway/authz/internal/doctor"
	"github.com/neonpanel/mcp-gateway/authz/internal/metrics"
)

// version and commit are set by the linker.
var version, commit string

type program struct {
	Version kong.VersionFlag `help:"Print the version and exit."`

	Serve       command.Serve       `cmd:"" default:"withargs" help:"Answer Envoy and serve the discovery documents (the default)."`
	Explain     command.Explain     `cmd:"" help:"Say why a token is accepted or refused, check by check, and what to change."`
	Doctor      doctor.Command      `cmd:"" help:"Check a running gateway from outside, as a connector meets it."`
	Healthcheck command.Healthcheck `cmd:"" help:"Ask a running authz whether it is ready; exit status 0 if so."`
}

func main() {
	build := metrics.Build{Version: version, Commit: cmp.Or(commit, "unknown")}
	if info, ok := debug.ReadBuildInfo(); ok {
		build.Version = cmp.Or(version, info.Main.Version)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	chosen := kong.Parse(&program{},
		kong.Name("authz"),
		kong.Description("Verifies NeonPanel access tokens for Envoy (gRPC ext_authz) and serves the OAuth discovery documents. Every flag is also an environment variable of the same name. To serve and explain, an empty value means the default."),
		kong.Vars{"version": build.Version + " (commit " + build.Commit + ")"},
		kong.UsageOnError(),
		// Kong's own status for wrong usage is 80.
		kong.Exit(func(code int) { os.Exit(min(code, command.WrongUsage(os.Args))) }),
	)
	status := command.Run(ctx, chosen, build, os.Stderr)
	stop()
	os.Exit(status)
}
