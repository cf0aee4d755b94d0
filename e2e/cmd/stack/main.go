// Command stack runs the whole gateway on the local NeonPanel; `make run` and
// `make token` call it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	var cli struct {
		Run     runCmd           `cmd:"" help:"Start sandbox, authz, mcpbackend and Envoy in the foreground."`
		Token   tokenCmd         `cmd:"" help:"Print a fresh access token of the running sandbox and nothing else."`
		Clients clientsCmd       `cmd:"" help:"Install the pinned MCP clients that the tests drive, before they are needed."`
		Janitor janitorCmd       `cmd:"" hidden:""`
		Version kong.VersionFlag `help:"Print the version and exit."`
	}
	command := kong.Parse(&cli,
		kong.Name("stack"),
		kong.Description("Runs the NeonPanel MCP gateway on this machine, with a local NeonPanel behind it."),
		kong.Vars{"version": versionName()},
	)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	command.BindTo(ctx, (*context.Context)(nil))
	if err := command.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
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
