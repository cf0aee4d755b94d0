package serve

import (
	"log/slog"
	"slices"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/config"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/documents"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/live"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/ops"
)

// follow returns what keeps the tools to the document that the API serves; nil
// if the deployment names none.
func follow(c config.Config, ours description, current *catalogue.Current, userAgent string, metrics *ops.Metrics, log *slog.Logger) (*live.Source, error) {
	if c.OpenAPIURL == nil {
		return nil, nil
	}
	transport, err := neonpanel.NewTransport(c.Proxy, c.CAFile)
	if err != nil {
		return nil, err
	}
	var source *live.Source
	var outcomes []string
	for _, outcome := range live.Outcomes() {
		outcomes = append(outcomes, string(outcome))
	}
	counted := metrics.WatchDocument(outcomes,
		func() time.Time { return source.Status().Confirmed }, func() int { return len(current.Tools()) })
	source = live.New(live.Options{
		URL: c.OpenAPIURL, Transport: transport, UserAgent: userAgent, Interval: c.OpenAPIRefresh, MaxBytes: catalogue.MaxLiveBytes,
		Use: func(document []byte) error {
			options := ours.options
			options.Live = document
			next, err := ours.source.Load(options)
			if err != nil {
				return err
			}
			before := current.Get()
			current.Set(next)
			for _, warning := range next.Warnings() {
				log.Warn("the live OpenAPI document differs", "finding", warning)
			}
			log.Info("the tools follow a new OpenAPI document", "tools", len(next.Tools()), "added", missing(before, next), "removed", missing(next, before))
			return nil
		},
		Observe: func(o live.Outcome) { counted.Fetched(string(o)) }, Log: log, Now: time.Now,
	})
	return source, nil
}

// missing are the names of tools of b that a lacks.
func missing(a, b *catalogue.Catalogue) []string {
	names := []string{}
	for _, tool := range b.Tools() {
		if !slices.ContainsFunc(a.Tools(), func(t catalogue.Tool) bool { return t.Name == tool.Name }) {
			names = append(names, tool.Name)
		}
	}
	return names
}

// about says where the description in force comes from.
func about(source *live.Source) documents.Description {
	status := source.Status()
	d := documents.Description{Source: "built-in", Failing: status.Failing()}
	if !status.Confirmed.IsZero() {
		d.Source, d.Age = "live", int64(time.Since(status.Confirmed)/time.Second)
	}
	return d
}
