// Command sandbox is a local NeonPanel: its OAuth server and its REST API with
// seeded data, for `make run`, tests and demos. It is never deployed.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/config"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/remote"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/server"
)

type cli struct {
	Serve       serve            `cmd:"" default:"withargs" help:"Run the sandbox (the default)."`
	Token       remote.Token     `cmd:"" help:"Print a fresh access token of the running sandbox and nothing else."`
	Healthcheck remote.Health    `cmd:"" help:"Exit with 0 when the running sandbox answers."`
	Version     kong.VersionFlag `help:"Print the version and exit."`
}

type serve struct {
	config.Flags `embed:""`
}

// Run serves until it is told to stop.
func (s *serve) Run() error {
	settings, err := s.Settings()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return server.Run(ctx, settings, slog.New(slog.NewJSONHandler(os.Stderr, nil)))
}

func main() {
	var c cli
	parser := kong.Must(&c,
		kong.Name("sandbox"),
		kong.Description("A local NeonPanel: OAuth server and REST API with seeded data. Accounts: seller-one@example.com and seller-two@example.com, password demo. Every flag is also an environment variable of the same name."),
		kong.Vars{"version": versionName(), "quirks": strings.Join(config.Quirks(), ", ")},
	)
	command, err := parser.Parse(os.Args[1:])
	parser.FatalIfErrorf(err)
	if err := command.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "sandbox: %v\n", err)
		os.Exit(1)
	}
}

// version and commit are set by the linker.
var version, commit string

func versionName() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		return info.Main.Version
	}
	return version + " (commit " + commit + ")"
}
