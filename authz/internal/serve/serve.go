// Package serve puts the parts of authz together and runs them until it is told
// to stop.
package serve

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/neonpanel/mcp-gateway/authz/internal/check"
	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/discovery"
	"github.com/neonpanel/mcp-gateway/authz/internal/limit"
	"github.com/neonpanel/mcp-gateway/authz/internal/metrics"
	"github.com/neonpanel/mcp-gateway/authz/internal/mtls"
	"github.com/neonpanel/mcp-gateway/authz/internal/ops"
	"github.com/neonpanel/mcp-gateway/authz/internal/replicas"
	"github.com/neonpanel/mcp-gateway/authz/internal/scopes"
	"github.com/neonpanel/mcp-gateway/authz/internal/server"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/tracing"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

// Run serves until ctx is done.
func Run(ctx context.Context, c config.Config, build metrics.Build, stderr io.Writer) error {
	tuneCollector(c.CacheSize)
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	for _, warning := range c.Warnings() {
		log.Warn("a setting gives up safety", "setting", warning)
	}

	counters := metrics.New(build)
	options := VerifierOptions(c, counters, log)
	tracer, err := startTracer(c, &options, log)
	if err != nil {
		return err
	}
	if tracer != nil {
		defer closeTracer(tracer, log)
	}
	if c.Redis != nil {
		shared, err := replicas.New(replicas.Options{
			Address: c.Redis.Address, Username: c.Redis.Username, Password: c.Redis.Password, Database: c.Redis.Database,
			TLS: c.Redis.TLS, CAFile: c.Redis.CAFile, Secret: c.Redis.Secret,
			ActiveTTL: c.CacheMaxTTL, InactiveTTL: verifier.RefusedTTL, Log: log, Now: time.Now, Observe: counters.WatchReplicas(),
		})
		if err != nil {
			return fmt.Errorf("AUTHZ_REDIS_URL: %w", err)
		}
		defer shared.Close()
		options.Shared = shared
	}
	verify, err := verifier.New(options)
	if err != nil {
		return err
	}
	counters.Watch(verify.Stats, time.Now)
	refused, err := limit.New(c.RefusedPerMinute, c.RefusedBurst)
	if err != nil {
		return err
	}
	failed, err := limit.NewFailed(c.RefusedPerMinute, c.RefusedBurst, c.Introspection.UnknownPerSecond)
	if err != nil {
		return err
	}
	var decider check.Decider
	if decider, err = decision.New(DeciderOptions(c, verify, verify.Metadata().ScopesSupported, refused, failed)); err != nil {
		return err
	}
	if tracer != nil {
		decider = tracer.Decider(decider)
	}
	var authority *mtls.Authority
	if c.TLS != nil {
		if authority, err = mtls.New(*c.TLS, time.Now, log); err != nil {
			return err
		}
		counters.WatchCertificate(authority.Expires)
	}
	s, err := server.New(ctx, server.Options{
		Check: check.New(decider, counters, log),
		Discovery: discovery.New(discovery.Options{
			PublicURL: c.PublicURL, IssuerURL: c.Issuer, Issuer: verify.Metadata(), Scopes: c.Scopes,
		}),
		Ops:             ops.Handler(verify.Ready, counters.Handler()),
		Listen:          c.Listen,
		DiscoveryListen: c.DiscoveryListen,
		OpsListen:       c.OpsListen,
		TLS:             authority,
		Ready:           verify.Ready,
		OnReady:         func() { reportScopes(log, c, verify.Metadata().ScopesSupported()) },
		Drain:           c.Drain,
		Log:             log,
	})
	if err != nil {
		return err
	}
	questions, documents, operations := s.Addresses()
	log.Info("listening", "version", build.Version, "commit", build.Commit, "check", questions.String(), "discovery", documents.String(), "ops", fmt.Sprint(operations),
		"tls", c.TLS != nil, "public_url", c.PublicURL, "issuer", c.Issuer)

	// The verifier outlives the server, which still answers while it drains.
	keeping, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	var group errgroup.Group
	group.Go(func() error { return verify.Run(keeping) })
	group.Go(func() error {
		defer stopKeeping()
		return s.Run(ctx)
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	log.Info("stopped")
	return nil
}

// startTracer is nil without a collector; else the verifier's requests are
// traced, too.
func startTracer(c config.Config, options *verifier.Options, log *slog.Logger) (*tracing.Tracer, error) {
	if c.Tracing.Endpoint == "" {
		return nil, nil
	}
	transport, err := upstream.NewTransport(c.Proxy, c.CAFile)
	if err != nil {
		return nil, err
	}
	tracer, err := tracing.New(tracing.Options{
		Endpoint: c.Tracing.Endpoint, CAFile: c.Tracing.CAFile, Service: c.Tracing.Service, Share: c.Tracing.Share, Log: log,
	})
	if err != nil {
		return nil, err
	}
	options.Transport = tracer.Issuer(transport)
	return tracer, nil
}

// closeTracer gives the last spans a moment.
func closeTracer(tracer *tracing.Tracer, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := tracer.Close(ctx); err != nil {
		log.Warn("the last spans are lost", "error", err.Error())
	}
}

// reportScopes logs what is in force, once the issuer's scopes are known.
func reportScopes(log *slog.Logger, c config.Config, supported []string) {
	inForce := scopes.InForce(c.Scopes, supported)
	log.Info("scopes in force", "scopes", inForce, "required", c.RequiredScopes, "mode", c.ScopeMode)
	for _, required := range c.RequiredScopes {
		if !slices.Contains(inForce, required) {
			log.Warn("AUTHZ_REQUIRED_SCOPES holds a scope that is not in force, so that nobody may be able to obtain it", "scope", required)
		}
	}
}

// DeciderOptions are what the settings mean to the decider.
func DeciderOptions(c config.Config, verify token.Verifier, supported func() []string, refused, failed *limit.Refused) decision.Options {
	return decision.Options{
		PublicURL:          c.PublicURL,
		Verifier:           verify,
		ScopesSupported:    supported,
		Scopes:             c.Scopes,
		RequiredScopes:     c.RequiredScopes,
		ScopeMode:          c.ScopeMode,
		StreamMax:          c.StreamMax,
		AnonymousDiscovery: c.AnonymousDiscovery,
		Refused:            refused,
		Failed:             failed,
		Now:                time.Now,
	}
}

// VerifierOptions are what the settings mean to the verifier.
func VerifierOptions(c config.Config, observer verifier.Observer, log *slog.Logger) verifier.Options {
	leeway := c.Leeway
	if leeway == 0 {
		// To the verifier zero means its default, and a negative one means none.
		leeway = -1
	}
	return verifier.Options{
		Issuer:                        c.Issuer,
		JWKSURL:                       c.JWKSURL,
		Proxy:                         c.Proxy,
		CAFile:                        c.CAFile,
		Mode:                          verifier.Mode(c.TokenMode),
		Algorithms:                    c.Algorithms,
		Audiences:                     c.Audiences,
		AnyAudience:                   c.AnyAudience,
		ClientIDs:                     c.ClientIDs,
		ReportAudience:                c.ReportAudience,
		AllowMissingIssuer:            c.AllowMissingIssuer,
		Leeway:                        leeway,
		IntrospectionURL:              c.Introspection.URL,
		IntrospectionClientID:         c.Introspection.ClientID,
		IntrospectionClientSecret:     c.Introspection.ClientSecret,
		IntrospectionKey:              c.Introspection.Key,
		IntrospectionKeyAudience:      c.Introspection.KeyAudience,
		IntrospectionUnknownPerSecond: c.Introspection.UnknownPerSecond,
		IntrospectJWT:                 c.Introspection.JWT,
		KeysRefresh:                   c.KeysRefresh,
		KeysMaxStale:                  c.KeysMaxStale,
		KeysCooldown:                  c.KeysCooldown,
		CacheMaxTTL:                   c.CacheMaxTTL,
		CacheSize:                     c.CacheSize,
		DenyFile:                      c.DenyFile,
		Observer:                      observer,
		Logger:                        log,
	}
}

// tuneCollector trades memory for CPU unless the operator chose otherwise. The
// live heap is a few megabytes plus the verdict cache, so collecting at a
// multiple of it costs little memory; the limit is where it turns frugal. It
// grows with the cache: a heap that is larger than its limit is collected all
// the time.
func tuneCollector(cacheSize int) {
	const least, each = 256 << 20, 1 << 10
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(max(least, int64(cacheSize)*each))
	}
}
