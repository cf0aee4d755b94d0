// Package ops is for whoever runs the service: metrics, health and readiness.
package ops

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics counts. Every label comes from a closed set.
type Metrics struct {
	registry      *prometheus.Registry
	calls         *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
	requests      *prometheus.CounterVec
	streams       prometheus.Gauge
	streamsEnded  *prometheus.CounterVec
	reported      *prometheus.CounterVec
	tokensRefused prometheus.Counter
	violations    prometheus.Counter
	attempts      *prometheus.HistogramVec
}

// NewMetrics returns metrics on a registry of their own.
func NewMetrics(version, commit string) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "mcpbackend", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		calls:    counter("tool_calls_total", "Tool calls by tool, transport and outcome.", "tool", "transport", "outcome"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "mcpbackend", Name: "tool_call_seconds", Help: "Duration of tool calls, the API's time included.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"tool"}),
		requests: counter("http_requests_total", "HTTP requests by route and class of status.", "route", "status"),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "mcpbackend", Name: "sse_streams", Help: "Open legacy SSE streams.",
		}),
		streamsEnded:  counter("sse_streams_ended_total", "Legacy SSE streams that ended, by reason.", "reason"),
		reported:      counter("scope_reported_total", "Calls that lacked a scope and were let through because scopes are only reported.", "tool"),
		tokensRefused: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "mcpbackend", Name: "tokens_refused_by_api_total", Help: "Tokens that the gateway accepted and the API refused."}),
		violations:    prometheus.NewCounter(prometheus.CounterOpts{Namespace: "mcpbackend", Name: "identity_violations_total", Help: "Requests whose identity headers broke the contract with the gateway. Always alarming."}),
	}
	m.attempts = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "mcpbackend", Name: "upstream_seconds", Help: "Duration of requests to the API, by operation and outcome.",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15},
	}, []string{"operation", "outcome"})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "mcpbackend", Name: "build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "go": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.calls, m.seconds, m.requests, m.streams, m.streamsEnded, m.reported, m.tokensRefused, m.violations, m.attempts, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// ToolCall counts a call.
func (m *Metrics) ToolCall(tool, transport, outcome string, took time.Duration) {
	m.calls.WithLabelValues(tool, transport, outcome).Inc()
	if took > 0 {
		m.seconds.WithLabelValues(tool).Observe(took.Seconds())
	}
}

// ScopeReported counts a call that lacked a scope and passed.
func (m *Metrics) ScopeReported(tool string) { m.reported.WithLabelValues(tool).Inc() }

// TokenRefused counts a token that the API refused.
func (m *Metrics) TokenRefused() { m.tokensRefused.Inc() }

// Attempt counts a request to the API.
func (m *Metrics) Attempt(operation, class string, took time.Duration) {
	if class == "" {
		class = "ok"
	}
	m.attempts.WithLabelValues(operation, class).Observe(took.Seconds())
}

// Document counts the fetches of a live description of the API.
type Document struct{ fetches *prometheus.CounterVec }

// WatchDocument adds the live description: how its fetches end, which are one of
// outcomes, when the one in force was last confirmed, and how many tools there
// are.
func (m *Metrics) WatchDocument(outcomes []string, confirmed func() time.Time, tools func() int) *Document {
	d := &Document{prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "mcpbackend", Name: "openapi_fetches_total", Help: "Fetches of the API's OpenAPI document, by outcome.",
	}, []string{"outcome"})}
	for _, outcome := range outcomes {
		d.fetches.WithLabelValues(outcome)
	}
	m.registry.MustRegister(d.fetches, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "mcpbackend", Name: "openapi_confirmed_timestamp_seconds",
		Help: "When the OpenAPI document in force was last seen at the API, in Unix time; 0 while the built-in one is in force.",
	}, func() float64 {
		if at := confirmed(); !at.IsZero() {
			return float64(at.Unix())
		}
		return 0
	}), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "mcpbackend", Name: "tools", Help: "Tools that are offered.",
	}, func() float64 { return float64(tools()) }))
	return d
}

// Fetched counts a fetch.
func (d *Document) Fetched(outcome string) { d.fetches.WithLabelValues(outcome).Inc() }

// WatchRedis adds the Redis that the replicas share, and gives what counts its
// commands.
func (m *Metrics) WatchRedis() func(ok bool) {
	commands := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "mcpbackend", Name: "redis_commands_total", Help: "Commands to the Redis that the replicas share, by outcome.",
	}, []string{"outcome"})
	up := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "mcpbackend", Name: "redis_up", Help: "1 when the Redis that the replicas share answered last, else 0.",
	})
	m.registry.MustRegister(commands, up)
	good, bad := commands.WithLabelValues("ok"), commands.WithLabelValues("failed")
	return func(ok bool) {
		if ok {
			good.Inc()
			up.Set(1)
			return
		}
		bad.Inc()
		up.Set(0)
	}
}

// WatchCertificate adds the end of the listeners' certificate.
func (m *Metrics) WatchCertificate(expires func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "mcpbackend", Name: "tls_certificate_expires_timestamp_seconds",
		Help: "When the certificate of the TLS listeners ends, in Unix time.",
	}, func() float64 { return float64(expires().Unix()) }))
}

// Violation counts a request that broke the identity contract.
func (m *Metrics) Violation() { m.violations.Inc() }

// StreamOpened counts an open stream.
func (m *Metrics) StreamOpened() { m.streams.Inc() }

// StreamEnded counts a stream that ended.
func (m *Metrics) StreamEnded(reason string) {
	m.streams.Dec()
	m.streamsEnded.WithLabelValues(reason).Inc()
}

// Count wraps the handler of a route and counts its answers.
func (m *Metrics) Count(route string, next http.Handler) http.Handler {
	var classes [6]prometheus.Counter
	for i, class := range []string{"", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		if class != "" {
			classes[i] = m.requests.WithLabelValues(route, class)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &statusWriter{ResponseWriter: w}
		defer func() {
			if s.status == 0 {
				s.status = http.StatusOK
			}
			if i := s.status / 100; i >= 1 && i <= 5 {
				classes[i].Inc()
			}
		}()
		next.ServeHTTP(s, r)
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Ready is true from the moment the service can answer until it stops.
type Ready struct {
	atomic.Bool
	// Note, when set, adds a line for people.
	Note func() string
}

// Handler serves /healthz, /readyz and /metrics. Liveness depends on nothing.
func Handler(m *Metrics, ready *Ready) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			say(w, http.StatusServiceUnavailable, "not ready\n")
			return
		}
		text := "ready\n"
		if ready.Note != nil {
			text += ready.Note() + "\n"
		}
		say(w, http.StatusOK, text)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return mux
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client may be gone
}

// Ask asks a running service whether it is ready.
func Ask(ctx context.Context, network, address string) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://mcpbackend/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("asking %s: %w", address, err)
	}
	defer func() { _ = answer.Body.Close() }() // only the status matters
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: status %d", answer.StatusCode)
	}
	return nil
}
