// Package metrics counts what authz does, on a registry of its own. Every label
// comes from a closed set: no subject, client, key id or address.
package metrics

import (
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/replicas"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

const namespace = "authz"

// Metrics are the counters of one process.
type Metrics struct {
	registry *prometheus.Registry

	decisions *prometheus.CounterVec
	duration  prometheus.Histogram
	verdicts  *prometheus.CounterVec
	calls     *prometheus.HistogramVec
	audience  *prometheus.CounterVec
	denyFile  *prometheus.CounterVec

	// Looking a label set up costs more than counting; each is looked up once.
	decided, judged sync.Map
}

type labels struct{ a, b string }

// Build says what is running.
type Build struct{ Version, Commit string }

// New returns metrics that are all at zero.
func New(build Build) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "decisions_total",
			Help: "Answers to Envoy, by decision (allow, deny) and reason.",
		}, []string{"decision", "reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "decision_duration_seconds",
			Help:    "Time from Envoy's question to the answer.",
			Buckets: []float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .01, .05, .25, 1, 2},
		}),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "verdicts_total",
			Help: "Tokens judged, by where the verdict came from (cache, jwt, introspection, replica, none) and reason (ok when accepted).",
		}, []string{"source", "reason"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "issuer_call_duration_seconds",
			Help:    "Requests to the issuer, by kind (metadata, keys, introspection) and outcome (ok, error).",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"call", "outcome"}),
		audience: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "audience_reported_total",
			Help: "Requests let through only because AUTHZ_AUDIENCE_MODE=report, by reason.",
		}, []string{"reason"}),
		denyFile: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "deny_file_reads_total",
			Help: "Reads of the deny file, by outcome (ok, error).",
		}, []string{"outcome"}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": build.Version, "commit": build.Commit, "go": runtime.Version()},
	})
	info.Set(1)
	m.registry.MustRegister(m.decisions, m.duration, m.verdicts, m.calls, m.audience, m.denyFile, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// A series that appears with its first event hides that event from rate().
	for _, reason := range decision.Passes() {
		counter(&m.decided, m.decisions, "allow", reason)
	}
	for _, reason := range decision.Refusals() {
		counter(&m.decided, m.decisions, "deny", reason)
	}
	for _, call := range verifier.Calls() {
		for _, failed := range []bool{false, true} {
			m.calls.WithLabelValues(string(call), outcome(failed))
		}
	}
	for _, reason := range []token.Reason{token.AudienceMissing, token.AudienceMismatch, token.ScopeClaimMissing} {
		m.audience.WithLabelValues(reason)
	}
	for _, failed := range []bool{false, true} {
		m.denyFile.WithLabelValues(outcome(failed))
	}
	return m
}

// Watch adds gauges that are read from a verifier's statistics at every scrape.
func (m *Metrics) Watch(stats func() verifier.Stats, now func() time.Time) {
	gauge := func(name, help string, read func(verifier.Stats) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return read(stats()) }))
	}
	gauge("keys", "Signing keys that are trusted now.", func(s verifier.Stats) float64 { return float64(s.Keys) })
	gauge("keys_age_seconds", "Age of the trusted keys; -1 before the first.", func(s verifier.Stats) float64 {
		if s.KeysFetched.IsZero() {
			return -1
		}
		return now().Sub(s.KeysFetched).Seconds()
	})
	gauge("cached_accepted", "Cached verdicts of accepted tokens.", func(s verifier.Stats) float64 { return float64(s.Accepted) })
	gauge("cached_refused", "Cached verdicts of refused tokens.", func(s verifier.Stats) float64 { return float64(s.Refused) })
	gauge("deny_file_broken", "1 while the deny file on disk cannot be read and an older one is in force.", func(s verifier.Stats) float64 {
		if s.DenyFileBroken {
			return 1
		}
		return 0
	})
}

// WatchReplicas adds the Redis that the replicas share, and gives what counts the
// questions to it.
func (m *Metrics) WatchReplicas() func(replicas.Outcome) {
	asked := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: "redis_commands_total", Help: "Questions to the Redis that the replicas share, by outcome.",
	}, []string{"outcome"})
	by := map[replicas.Outcome]prometheus.Counter{}
	for _, outcome := range replicas.Outcomes() {
		by[outcome] = asked.WithLabelValues(string(outcome))
	}
	m.registry.MustRegister(asked)
	return func(o replicas.Outcome) { by[o].Inc() }
}

// WatchCertificate adds the end of the listeners' certificate.
func (m *Metrics) WatchCertificate(expires func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "tls_certificate_expires_timestamp_seconds",
		Help: "When the certificate of the TLS listeners ends, in Unix time.",
	}, func() float64 { return float64(expires().Unix()) }))
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Decided counts one answer to Envoy.
func (m *Metrics) Decided(allowed bool, reason string, took time.Duration) {
	decision := "deny"
	if allowed {
		decision = "allow"
	}
	counter(&m.decided, m.decisions, decision, reason).Inc()
	m.duration.Observe(took.Seconds())
}

// Verdict implements verifier.Observer.
func (m *Metrics) Verdict(from verifier.Source, reason string) {
	if reason == "" {
		reason = "ok"
	}
	counter(&m.judged, m.verdicts, string(from), reason).Inc()
}

// Called implements verifier.Observer.
func (m *Metrics) Called(what verifier.Call, failed bool, took time.Duration) {
	m.calls.WithLabelValues(string(what), outcome(failed)).Observe(took.Seconds())
}

// AudienceReported implements verifier.Observer.
func (m *Metrics) AudienceReported(reason string) { m.audience.WithLabelValues(reason).Inc() }

// DenyFileRead implements verifier.Observer.
func (m *Metrics) DenyFileRead(failed bool) { m.denyFile.WithLabelValues(outcome(failed)).Inc() }

func counter(known *sync.Map, vec *prometheus.CounterVec, a, b string) prometheus.Counter {
	key := labels{a, b}
	if c, found := known.Load(key); found {
		return c.(prometheus.Counter)
	}
	c := vec.WithLabelValues(a, b)
	known.Store(key, c)
	return c
}

func outcome(failed bool) string {
	if failed {
		return "error"
	}
	return "ok"
}
