// Command bench measures the gateway and prints each figure beside its budget;
// `make bench` calls it. It judges nothing: its exit status is 0 unless it
// could not measure.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	var cli struct {
		Start   startCmd   `cmd:"" help:"From start to ready: each part, and the whole gateway."`
		Check   checkCmd   `cmd:"" help:"authz alone: cached and uncached tokens, and the memory of 100,000."`
		Edge    edgeCmd    `cmd:"" help:"Through Envoy: what authz and the bootstrap cost there."`
		Backend backendCmd `cmd:"" help:"mcpbackend alone: tools/call, and the memory of open streams."`
		All     allCmd     `cmd:"" help:"All of these, one after the other."`
		Tool    toolCmd    `cmd:"" hidden:""`
	}
	command := kong.Parse(&cli,
		kong.Name("bench"),
		kong.Description("Measures the NeonPanel MCP gateway on this machine. What is compared takes turns in every round, and only the ratios mean anything on another machine."),
		kong.UsageOnError(),
		kong.Vars{"rounds": "5"},
	)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	command.BindTo(ctx, (*context.Context)(nil))
	if err := command.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
