// Package serve puts the program together from its parts and runs it.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/companies"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/composite"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/config"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/documents"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/legacysse"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mcpserver"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mtls"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/openapi"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/ops"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/plaincall"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/server"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/tracing"
)

// Run builds every part, each from the ones before it, and runs until the
// context ends. Faults of the settings are returned all at once.
func Run(ctx context.Context, settings config.Settings, build documents.Build, logs io.Writer) error {
	c, ours, err := load(settings)
	if err != nil {
		return err
	}
	tools := catalogue.NewCurrent(ours.first)
	limitMemory()
	log := slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: c.LogLevel}))
	metrics := ops.NewMetrics(build.Version, build.Commit)
	publicURL := c.PublicURL.String()

	for _, warning := range ours.first.Warnings() {
		log.Warn("the catalogue lacks something", "finding", warning)
	}
	tracer, stopTracing, err := startTracing(c.Tracing, build.Version, log)
	if err != nil {
		return err
	}
	defer stopTracing()
	userAgent := "neonpanel-mcp/" + build.Version
	options := neonpanel.Options{
		BaseURL: c.APIURL.String(), Proxy: c.Proxy, CAFile: c.CAFile, UserAgent: userAgent,
		Observe: func(a neonpanel.Attempt) { metrics.Attempt(a.Operation, string(a.Class), a.Duration) },
	}
	if tracer != nil {
		options.Trace = tracer.Attempt
	}
	api, err := neonpanel.New(options)
	if err != nil {
		return err
	}
	defer api.Close()
	stopping := make(chan struct{})
	others, err := meet(c.Redis, metrics, log)
	if err != nil {
		return err
	}
	defer others.close()
	runner, err := composite.New(toolcall.New(api, toolcall.Options{
		Logger: log, Tools: tools, Stopping: stopping, Companies: companies.New(api, time.Now), Writes: others.writes(),
	}), api, composite.Options{APIURL: c.APIURL.String(), Logger: log})
	if err != nil {
		return err
	}
	calls := &invocation.Service{Tools: tools, Runner: runner, Log: log, Observer: metrics, Now: time.Now}
	if tracer != nil {
		calls.Runner = tracer.Runner(runner)
	}
	speaks := mcpserver.Options{Version: build.Version, PublicURL: publicURL, Tools: tools, OnChange: tools.OnChange, Calls: calls, Via: invocation.Streamable, Consents: others.consents()}
	if tracer != nil {
		speaks.Link = tracer.Link
	}
	stateless, err := mcpserver.New(speaks)
	if err != nil {
		return err
	}
	streamable := mcpserver.NewHandler(stateless, speaks)
	speaks.Via, speaks.Legacy = invocation.SSE, true
	legacy, err := mcpserver.New(speaks)
	if err != nil {
		return err
	}
	streams := legacysse.New(legacysse.Options{
		Server: legacy, Calls: calls, MaxStreams: c.MaxStreams, MaxPerOwner: c.MaxStreamsPerSubject,
		Observer: metrics, Log: log, Now: time.Now, Post: others.mail(),
	})
	others.start(streams)
	following, err := follow(c, ours, tools, userAgent, metrics, log)
	if err != nil {
		return err
	}
	var ready ops.Ready
	page := documents.Options{PublicURL: publicURL, Build: build, Catalogue: tools.Get(), AppsChallenge: c.AppsChallenge, Now: time.Now}
	if following != nil {
		page.Description = func() documents.Description { return about(following) }
		ready.Note = func() string { return page.Description().String() }
	}
	public, replace, err := documents.Changing(page)
	if err != nil {
		return err
	}
	tools.OnChange(func(next *catalogue.Catalogue) {
		if err := replace(next); err != nil {
			log.Error("the documents stay as they were", "error", err.Error())
		}
	})
	edge := server.New(server.Routes{
		MCP: streamable, Refuse: streamable.Refuse, Plain: plaincall.Handler{Calls: calls},
		SSE: http.HandlerFunc(streams.Stream), Messages: http.HandlerFunc(streams.Message), Public: public, Tools: tools, List: c.List,
	}, metrics, log, time.Now)

	if tracer != nil {
		edge = tracer.Handler(edge)
	}
	listeners, err := listen(c, metrics, log)
	if err != nil {
		return err
	}
	main := server.NewServer(listeners[0], edge, log)
	var operations []*server.Server
	for _, l := range listeners[1:] {
		operations = append(operations, server.NewServer(l, ops.Handler(metrics, &ready), log))
	}
	main.OnStop(func() { ready.Store(false); close(stopping); streams.Drain() })
	ready.Store(true)
	if following != nil {
		ctx, stop := context.WithCancel(ctx)
		var running sync.WaitGroup
		running.Go(func() { following.Run(ctx) })
		defer func() { stop(); running.Wait() }()
	}
	go debug.FreeOSMemory() // what the start needed is not needed again
	log.Info("serving", "version", build.Version, "commit", build.Commit, "tools", len(ours.first.Tools()), "listen", listeners[0].Addr().String(), "tls", c.TLS != nil)
	err = server.Run(ctx, main, operations...)
	others.finish(streams)
	return err
}

// startTracing gives no tracer without a collector.
func startTracing(c config.Tracing, version string, log *slog.Logger) (*tracing.Tracer, func(), error) {
	if c.Endpoint == "" {
		return nil, func() {}, nil
	}
	tracer, err := tracing.New(tracing.Options{
		Endpoint: c.Endpoint, CAFile: c.CAFile, Service: c.Service, Version: version, Share: c.Share, TellAPI: c.TellAPI, Log: log,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
	}
	return tracer, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := tracer.Close(ctx); err != nil {
			log.Warn("the last spans are lost", "error", err.Error())
		}
	}, nil
}

// listen opens the main listener and then those of operations; of several that
// fail all are named.
func listen(c config.Config, metrics *ops.Metrics, log *slog.Logger) (opened []net.Listener, err error) {
	var authority *mtls.Authority
	if c.TLS != nil {
		if authority, err = mtls.New(*c.TLS, time.Now, log); err != nil {
			return nil, err
		}
		metrics.WatchCertificate(authority.Expires)
		if len(c.TLS.ClientSANs) == 0 {
			log.Warn("a setting gives up safety", "setting", "MCPBACKEND_TLS_CLIENT_SANS is empty: every certificate of MCPBACKEND_TLS_CLIENT_CA lets its owner in")
		}
	}
	for i, at := range append([]config.Address{c.Listen}, c.OpsListen...) {
		setting := "MCPBACKEND_LISTEN"
		if i > 0 {
			setting = "MCPBACKEND_OPS_LISTEN"
		}
		l, failed := server.Listen(at)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", setting, failed))
			continue
		}
		// Operations tell no secret: there TLS is for what leaves the machine
		// alone, so that a probe needs none.
		if authority != nil && at.TCP() && (i == 0 || !at.Local()) {
			who := mtls.Named
			if i > 0 {
				who = mtls.Certified
			}
			l = tls.NewListener(l, authority.Config(who, "http/1.1"))
		}
		opened = append(opened, l)
	}
	if err != nil {
		for _, l := range opened {
			err = errors.Join(err, l.Close())
		}
		return nil, err
	}
	return opened, nil
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

// description is the description of the API that the program brings along.
type description struct {
	source  *catalogue.Source
	options catalogue.Options
	first   *catalogue.Catalogue
}

// load judges the settings together with the catalogue that they choose, since
// only the catalogue knows which toolsets there are.
func load(settings config.Settings) (c config.Config, d description, err error) {
	c, fault := settings.Parse()
	document, source := openapi.Document(), "the built-in description"
	if c.OpenAPIFile != "" {
		source = "MCPBACKEND_OPENAPI_FILE"
		if document, err = os.ReadFile(c.OpenAPIFile); err != nil {
			return c, d, errors.Join(fault, fmt.Errorf("%s cannot be read: %w", source, err))
		}
	}
	d.options = catalogue.Options{Toolsets: c.Toolsets, ReadOnly: c.ReadOnly, Compose: composite.Tools}
	if c.APIURL != nil {
		d.options.APIURL = c.APIURL.String()
	}
	if d.source, err = catalogue.Read(document, openapi.Overlay()); err == nil {
		d.first, err = d.source.Load(d.options)
	}
	if unknown := new(catalogue.UnknownToolsetsError); errors.As(err, &unknown) {
		return c, d, errors.Join(fault, fmt.Errorf("MCPBACKEND_TOOLSETS names what does not exist: %w", err))
	}
	if err != nil {
		err = fmt.Errorf("%s gives no catalogue: %w", source, err)
	}
	return c, d, errors.Join(fault, err)
}
