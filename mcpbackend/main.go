// Command mcpbackend serves the NeonPanel API as MCP tools, behind the gateway.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/config"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/documents"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/ops"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/serve"
)

// version and commit are set by the linker where there is no repository to
// read them from.
var version, commit string

type program struct {
	Version     kong.VersionFlag `help:"Print the version and exit."`
	Serve       serveCommand     `cmd:"" default:"withargs" help:"Serve MCP to the gateway (the default)."`
	Healthcheck ops.Healthcheck  `cmd:"" help:"Ask a running mcpbackend whether it is ready; exit status 0 if so."`
}

type serveCommand struct{ config.Settings }

func (c *serveCommand) Run(build documents.Build) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return serve.Run(ctx, c.Settings, build, os.Stderr)
}

func main() {
	build := documents.Build{Version: version, Commit: commit}
	if info, ok := debug.ReadBuildInfo(); ok {
		build.Version = cmp.Or(build.Version, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				build.Commit = cmp.Or(build.Commit, s.Value)
			}
		}
	}
	build = documents.Build{Version: cmp.Or(build.Version, "unknown"), Commit: cmp.Or(build.Commit, "unknown")}
	cli := kong.Parse(&program{}, kong.Name("mcpbackend"), kong.UsageOnError(), kong.Vars{"version": build.Version + " (commit " + build.Commit + ")"},
		kong.Description("Serves the NeonPanel API as MCP tools, behind the gateway. Every flag is also an environment variable of the same name."))
	if err := cli.Run(build); err != nil {
		fmt.Fprintln(os.Stderr, "mcpbackend:", err)
		os.Exit(1)
	}
}
