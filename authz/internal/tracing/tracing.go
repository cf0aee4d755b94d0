// Package tracing makes spans that join Envoy's traces, and sends them to an
// OpenTelemetry collector. What it says of a request comes from closed lists: no
// subject, no token, no URL. Without a collector nothing of it is on the way of
// a request.
package tracing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	otelresource "go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/resource"
)

// Options say where spans go, and of what.
type Options struct {
	// Endpoint is the collector's base URL; /v1/traces is added to it.
	Endpoint string
	// CAFile are authorities to trust for it besides the system's.
	CAFile string
	// Service names this process in traces.
	Service string
	// Share of the traces that begin here are sampled, 0 to 1. Of those that
	// began elsewhere, as with Envoy, that place decides.
	Share float64
	Log   *slog.Logger
}

// Tracer makes spans.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// scope names the maker of the spans.
const scope = "github.com/neonpanel/mcp-gateway/authz"

// New starts a tracer, which has to be closed.
func New(o Options) (*Tracer, error) {
	transport := &http.Transport{
		// No proxy: one is for the way to NeonPanel alone.
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		TLSHandshakeTimeout: 2 * time.Second,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 1,
		IdleConnTimeout:     time.Minute,
	}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", o.CAFile)
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&exporter{
			url:    strings.TrimSuffix(o.Endpoint, "/") + "/v1/traces",
			client: &http.Client{Transport: transport, Timeout: 10 * time.Second},
			log:    o.Log,
		}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Share))),
		sdktrace.WithResource(otelresource.NewSchemaless(attribute.String("service.name", o.Service))),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer(scope)}, nil
}

// Close sends what is left, for as long as the context lets it.
func (t *Tracer) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// incoming finds the trace of a gRPC call: Envoy sends W3C Trace Context as
// metadata.
type incoming struct{ ctx context.Context }

func (c incoming) Get(key string) string {
	return strings.Join(metadata.ValueFromIncomingContext(c.ctx, key), ",")
}

func (incoming) Set(string, string) {}
func (incoming) Keys() []string     { return nil }

// Decider decides on plain requests.
type Decider interface {
	Decide(context.Context, decision.Request) decision.Response
	Broken(cause error) decision.Response
}

type decider struct {
	Decider
	tracer trace.Tracer
}

// Decider makes a span of each decision, in Envoy's trace.
func (t *Tracer) Decider(next Decider) Decider { return decider{next, t.tracer} }

func (d decider) Decide(ctx context.Context, r decision.Request) decision.Response {
	ctx = propagation.TraceContext{}.Extract(ctx, incoming{ctx})
	if from := trace.SpanContextFromContext(ctx); from.IsValid() && !from.IsSampled() {
		return d.Decider.Decide(ctx, r)
	}
	ctx, span := d.tracer.Start(ctx, "authz Check", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	answer := d.Decider.Decide(ctx, r)
	if !span.IsRecording() {
		return answer
	}
	verdict := "deny"
	if answer.Allowed() {
		verdict = "allow"
	} else {
		span.SetAttributes(attribute.Int("http.response.status_code", answer.Status))
	}
	span.SetAttributes(
		attribute.String("rpc.system", "grpc"),
		attribute.String("rpc.service", "envoy.service.auth.v3.Authorization"),
		attribute.String("rpc.method", "Check"),
		attribute.String("authz.resource", resource.Of(r.Path).Path()),
		attribute.String("authz.decision", verdict),
		attribute.String("authz.reason", answer.Facts.Reason),
	)
	if answer.Status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, answer.Facts.Reason)
	}
	return answer
}

type transport struct {
	http.RoundTripper
	tracer trace.Tracer
}

// Issuer makes a span of each request to the issuer. The trace is not told to
// the issuer: it is another party.
func (t *Tracer) Issuer(next http.RoundTripper) http.RoundTripper { return transport{next, t.tracer} }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, span := t.tracer.Start(r.Context(), "issuer "+call(r), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("server.address", r.URL.Hostname()),
	))
	defer span.End()
	response, err := t.RoundTripper.RoundTrip(r.WithContext(ctx))
	switch {
	case err != nil:
		// An error of the transport may quote an address.
		span.SetStatus(codes.Error, "no answer")
	default:
		span.SetAttributes(attribute.Int("http.response.status_code", response.StatusCode))
		if response.StatusCode >= http.StatusBadRequest {
			span.SetStatus(codes.Error, http.StatusText(response.StatusCode))
		}
	}
	return response, err
}

// CloseIdleConnections is what http.Client looks for.
func (t transport) CloseIdleConnections() {
	if c, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// call tells the three kinds of requests to the issuer apart.
func call(r *http.Request) string {
	switch {
	case r.Method == http.MethodPost:
		return "introspection"
	case strings.Contains(r.URL.Path, "/.well-known/oauth-authorization-server"), strings.Contains(r.URL.Path, "/.well-known/openid-configuration"):
		return "metadata"
	}
	return "keys"
}
