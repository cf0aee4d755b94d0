// Package tracing makes spans that join the gateway's traces, and sends them to
// an OpenTelemetry collector. What it says of a request comes from closed lists:
// no subject, no token, no query, no argument. Without a collector nothing of it
// is on the way of a request.
package tracing

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// Options say where spans go, and of what.
type Options struct {
	// Endpoint is the collector's base URL; /v1/traces is added to it.
	Endpoint string
	// CAFile are authorities to trust for it besides the system's.
	CAFile string
	// Service and Version name this process in traces.
	Service, Version string
	// Share of the traces that begin here are sampled, 0 to 1. Of those that
	// began elsewhere, as with Envoy, that place decides.
	Share float64
	// TellAPI sends the trace on to the API, in the header traceparent.
	TellAPI bool
	Log     *slog.Logger
}

// Tracer makes spans.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	tellAPI  bool
}

// scope names the maker of the spans.
const scope = "github.com/neonpanel/mcp-gateway/mcpbackend"

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
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", o.Service), attribute.String("service.version", o.Version))),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer(scope), tellAPI: o.TellAPI}, nil
}

// Close sends what is left, for as long as the context lets it.
func (t *Tracer) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// methods are those that a span names (OpenTelemetry's http.request.method is a
// closed list).
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// Handler makes a span of each request, in the gateway's trace. Of a stream it
// ends with the stream.
func (t *Tracer) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		if from := trace.SpanContextFromContext(ctx); from.IsValid() && !from.IsSampled() {
			next.ServeHTTP(w, r.WithContext(ctx))
			return
		}
		method := "_OTHER"
		if slices.Contains(methods, r.Method) {
			method = r.Method
		}
		ctx, span := t.tracer.Start(ctx, method, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		r = r.WithContext(ctx)
		status := &statusWriter{ResponseWriter: w}
		defer func() {
			// The multiplexer has left the pattern by now, which is a path of ours.
			route := strings.TrimSuffix(r.Pattern, "{$}")
			if r.Pattern == "/" || r.Pattern == "" {
				route = "other"
			}
			code := cmp.Or(status.code, http.StatusOK)
			span.SetName(method + " " + route)
			span.SetAttributes(
				attribute.String("http.request.method", method), attribute.String("http.route", route), attribute.Int("http.response.status_code", code),
			)
			if code >= http.StatusInternalServerError {
				span.SetStatus(codes.Error, http.StatusText(code))
			}
		}()
		next.ServeHTTP(status, r)
	})
}

type statusWriter struct {
	http.ResponseWriter
	code int
}

func (w *statusWriter) WriteHeader(code int) {
	if w.code == 0 && code >= http.StatusOK {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type linkKey struct{}

// Link remembers the place in a client's own trace that a call comes from. It is
// a stranger's word: the call's span names it, and nothing else changes, neither
// which trace the span is part of nor whether it is sampled. What is no
// traceparent (W3C Trace Context §3.2) is left out.
func (t *Tracer) Link(ctx context.Context, traceparent string) context.Context {
	if here := trace.SpanContextFromContext(ctx); here.IsValid() && !here.IsSampled() {
		return ctx
	}
	client := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent}))
	if !client.IsValid() {
		return ctx
	}
	return context.WithValue(ctx, linkKey{}, trace.NewSpanContext(trace.SpanContextConfig{TraceID: client.TraceID(), SpanID: client.SpanID(), Remote: true}))
}

type runner struct {
	next   toolcall.Runner
	tracer trace.Tracer
}

// Runner makes a span of each run of a tool.
func (t *Tracer) Runner(next toolcall.Runner) toolcall.Runner { return runner{next, t.tracer} }

func (r runner) Run(ctx context.Context, tool catalogue.Tool, arguments json.RawMessage, caller toolcall.Caller) toolcall.Result {
	options := []trace.SpanStartOption{trace.WithAttributes(
		attribute.String("mcp.method.name", "tools/call"), attribute.String("gen_ai.tool.name", tool.Name),
	)}
	if client, ok := ctx.Value(linkKey{}).(trace.SpanContext); ok {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: client}))
	}
	ctx, span := r.tracer.Start(ctx, "tools/call "+tool.Name, options...)
	defer span.End()
	result := r.next.Run(ctx, tool, arguments, caller)
	outcome := cmp.Or(result.Outcome, "ok")
	if f := result.Failure; f != nil {
		outcome = string(f.Kind)
		span.SetStatus(codes.Error, outcome)
	}
	span.SetAttributes(attribute.String("mcp.tool.outcome", outcome))
	return result
}

// Attempt makes a span of one request to the API, to which it adds a header if
// the API is to know of the trace. What it returns ends the span.
func (t *Tracer) Attempt(ctx context.Context, r neonpanel.Request, header http.Header) func(neonpanel.Attempt) {
	// Path is the template, without arguments.
	ctx, span := t.tracer.Start(ctx, "NeonPanel "+r.Operation, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("url.template", r.Path), attribute.String("neonpanel.operation", r.Operation),
	))
	if t.tellAPI {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
	}
	return func(a neonpanel.Attempt) {
		if a.Status != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", a.Status))
		}
		if a.Class != "" {
			span.SetStatus(codes.Error, string(a.Class))
		}
		span.End()
	}
}
