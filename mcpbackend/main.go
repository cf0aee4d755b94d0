// Command mcpbackend serves the NeonPanel API as MCP tools, behind the gateway.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/config"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/documents"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/legacysse"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mcpserver"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/ops"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/plaincall"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/server"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// version and commit are set by the linker where there is no repository to
// read them from.
var version, commit string

type program struct {
	Version     kong.VersionFlag   `help:"Print the version and exit."`
	Serve       serveCommand       `cmd:"" default:"withargs" help:"Serve MCP to the gateway (the default)."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask a running mcpbackend whether it is ready; exit status 0 if so."`
}

type serveCommand struct{ config.Settings }

func (c *serveCommand) Run(build documents.Build) error {
	settings, err := c.Parse()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return serve(ctx, settings, build)
}

type healthcheckCommand struct {
	OpsListen string `name:"mcpbackend-ops-listen" env:"MCPBACKEND_OPS_LISTEN" default:"127.0.0.1:9102" placeholder:"ADDRESS" help:"Where the operations listener is. Default: ${default}."`
}

func (c *healthcheckCommand) Run() error {
	at, err := config.ParseAddress(c.OpsListen)
	if err != nil {
		return fmt.Errorf("MCPBACKEND_OPS_LISTEN %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return ops.Ask(ctx, at.Network, at.Address)
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
	cli := kong.Parse(&program{}, kong.Name("mcpbackend"), kong.UsageOnError(), kong.Vars{"version": build.Version},
		kong.Description("Serves the NeonPanel API as MCP tools, behind the gateway. Every flag is also an environment variable of the same name."))
	if err := cli.Run(build); err != nil {
		fmt.Fprintln(os.Stderr, "mcpbackend:", err)
		os.Exit(1)
	}
}

// serve builds every part, each from the ones before it, and runs until the
// context ends.
func serve(ctx context.Context, c config.Config, build documents.Build) error {
	limitMemory()
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	metrics := ops.NewMetrics(build.Version, build.Commit)
	publicURL := c.PublicURL.String()

	document := openapi.Document()
	if c.OpenAPIFile != "" {
		var err error
		if document, err = os.ReadFile(c.OpenAPIFile); err != nil {
			return fmt.Errorf("MCPBACKEND_OPENAPI_FILE: %w", err)
		}
	}
	tools, err := catalogue.Load(document, openapi.Overlay(), catalogue.Options{APIURL: c.APIURL.String(), Toolsets: c.Toolsets, ReadOnly: c.ReadOnly})
	if err != nil {
		return fmt.Errorf("making the catalogue: %w", err)
	}
	for _, warning := range tools.Warnings() {
		log.Warn("the catalogue lacks something", "finding", warning)
	}
	api, err := neonpanel.New(neonpanel.Options{
		BaseURL: c.APIURL.String(), Proxy: c.Proxy, CAFile: c.CAFile, UserAgent: "neonpanel-mcp/" + build.Version,
		Observe: func(a neonpanel.Attempt) { metrics.Attempt(a.Operation, string(a.Class), a.Duration) },
	})
	if err != nil {
		return err
	}
	defer api.Close()
	calls := &invocation.Service{
		Tools: tools, Runner: toolcall.New(api, toolcall.Options{Logger: log}), Log: log, Observer: metrics, Now: time.Now,
	}
	stateless, err := mcpserver.New(mcpserver.Options{Version: build.Version, PublicURL: publicURL, Tools: tools, Calls: calls, Via: invocation.Streamable})
	if err != nil {
		return err
	}
	legacy, err := mcpserver.New(mcpserver.Options{Version: build.Version, PublicURL: publicURL, Tools: tools, Calls: calls, Via: invocation.SSE, Legacy: true})
	if err != nil {
		return err
	}
	streams := legacysse.New(legacysse.Options{
		Server: legacy, MaxStreams: c.MaxStreams, MaxPerOwner: c.MaxStreamsPerSubject, Observer: metrics, Log: log, Now: time.Now,
	})
	public, err := documents.New(documents.Options{PublicURL: publicURL, Build: build, Catalogue: tools, AppsChallenge: c.AppsChallenge, Now: time.Now})
	if err != nil {
		return err
	}
	edge := server.New(server.Routes{
		MCP: mcpserver.NewHandler(stateless, calls), Plain: plaincall.Handler{Calls: calls},
		SSE: http.HandlerFunc(streams.Stream), Messages: http.HandlerFunc(streams.Message), Public: public,
	}, metrics, log, time.Now)

	listener, err := server.Listen(c.Listen)
	if err != nil {
		return fmt.Errorf("MCPBACKEND_LISTEN: %w", err)
	}
	opsListener, err := server.Listen(c.OpsListen)
	if err != nil {
		return errors.Join(fmt.Errorf("MCPBACKEND_OPS_LISTEN: %w", err), listener.Close())
	}
	var ready ops.Ready
	main := server.NewServer(listener, edge, log)
	main.OnStop(func() { ready.Store(false); streams.Drain() })
	ready.Store(true)
	go debug.FreeOSMemory() // what the start needed is not needed again
	log.Info("serving", "version", build.Version, "commit", build.Commit, "tools", len(tools.Tools()), "listen", c.Listen.Address)
	return server.Run(ctx, main, server.NewServer(opsListener, ops.Handler(metrics, &ready), log))
}

// limitMemory trades memory, which this program needs little of, for less
// garbage collection, which it would otherwise spend most of its time on.
func limitMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(800)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(256 << 20)
	}
}
