// Command envoyconf writes and checks the Envoy bootstrap of the gateway's edge.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"github.com/neonpanel/mcp-gateway/envoy/internal/command"
)

func main() {
	var cli struct {
		Render    command.Render    `cmd:"" help:"Write the whole bootstrap from the settings. Every flag is also an environment variable of the same name."`
		RateLimit command.RateLimit `cmd:"" name:"ratelimit" help:"Write the limits for the rate limit service that --edge-ratelimit names, from the same settings."`
		Check     command.Check     `cmd:"" aliases:"lint" help:"Check a bootstrap: unknown and deprecated fields, Envoy's constraints, and the rules of this edge."`
		Diff      command.Diff      `cmd:"" help:"Say in words what changes from one bootstrap to another: rules broken or mended first, then every field."`
		Rules     command.Rules     `cmd:"" help:"List the rules of this edge and their reasons."`
		Version   kong.VersionFlag  `help:"Print the version and exit."`
	}
	run := kong.Parse(&cli,
		kong.Name("envoyconf"),
		kong.Description("The Envoy bootstrap of the NeonPanel MCP gateway."),
		kong.Vars{"version": versionName()},
		kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	if err := run.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
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
