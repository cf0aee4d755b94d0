package tracing_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector keeps what it is sent.
type collector struct {
	*httptest.Server
	refuse atomic.Bool
	bodies chan []byte
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{bodies: make(chan []byte, 16)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/base/v1/traces" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		if c.refuse.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		c.bodies <- body
	}))
	t.Cleanup(c.Close)
	return c
}

// spans are all that were sent, in the order of their end. The messages of OTLP
// themselves judge the names and types of the fields.
func (c *collector) spans(t *testing.T) (service string, spans []*tracev1.Span) {
	t.Helper()
	for {
		select {
		case body := <-c.bodies:
			var data tracev1.TracesData
			if err := protojson.Unmarshal(body, &data); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			for _, r := range data.GetResourceSpans() {
				service = r.GetResource().GetAttributes()[0].GetValue().GetStringValue()
				for _, s := range r.GetScopeSpans() {
					spans = append(spans, s.GetSpans()...)
				}
			}
		default:
			return service, spans
		}
	}
}

// id is an id as it was sent: in hexadecimal, which protojson takes for base64.
func id(decoded []byte) string { return base64.StdEncoding.EncodeToString(decoded) }

func attribute(s *tracev1.Span, key string) any {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			if text := a.GetValue().GetStringValue(); text != "" {
				return text
			}
			return a.GetValue().GetIntValue()
		}
	}
	return nil
}

func newTracer(t *testing.T, c *collector, share float64, log io.Writer) *tracing.Tracer {
	t.Helper()
	tracer, err := tracing.New(tracing.Options{
		Endpoint: c.URL + "/base/", Service: "authz-test", Share: share, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tracer
}

type decide func(context.Context, decision.Request) decision.Response

func (d decide) Decide(ctx context.Context, r decision.Request) decision.Response { return d(ctx, r) }
func (decide) Broken(error) decision.Response                                     { return decision.Response{Status: 503} }

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	parent  = "b7ad6b7169203331"
)

func from(envoy string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs("traceparent", envoy, "tracestate", "a=b"))
}

var question = decision.Request{Path: "/mcp/tools/call", Authorization: []string{"Bearer hunter2"}}

func TestADecisionIsPartOfEnvoysTrace(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	tracer := newTracer(t, c, 0, io.Discard)
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Traceparent", "Tracestate"} {
			if r.Header.Get(name) != "" {
				t.Errorf("the issuer is told of the trace: %s", r.Header.Get(name))
			}
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(issuer.Close)
	reach := http.Client{Transport: tracer.Issuer(&http.Transport{})}
	defer reach.CloseIdleConnections()

	d := tracer.Decider(decide(func(ctx context.Context, _ decision.Request) decision.Response {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, issuer.URL+"/introspect?token=hunter2", strings.NewReader("token=hunter2"))
		if err != nil {
			t.Error(err)
		}
		response, err := reach.Do(request)
		if err != nil {
			t.Error(err)
		} else {
			response.Body.Close()
		}
		return decision.Response{Facts: decision.Facts{Reason: "ok", Subject: "subject-46", ClientID: "client-7"}}
	}))
	d.Decide(from("00-"+traceID+"-"+parent+"-01"), question)
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	body := <-c.bodies
	for _, secret := range []string{"hunter2", "subject-46", "client-7", "?"} {
		if bytes.Contains(body, []byte(secret)) {
			t.Errorf("the collector is told %q: %s", secret, body)
		}
	}
	c.bodies <- body
	service, spans := c.spans(t)
	if len(spans) != 2 || service != "authz-test" {
		t.Fatalf("%s: %v", service, spans)
	}
	call, check := spans[0], spans[1]
	if id(check.TraceId) != traceID || id(check.ParentSpanId) != parent || check.Name != "authz Check" || check.Kind != tracev1.Span_SPAN_KIND_SERVER {
		t.Errorf("%v", check)
	}
	if id(call.TraceId) != traceID || id(call.ParentSpanId) != id(check.SpanId) || call.Name != "issuer introspection" || call.Kind != tracev1.Span_SPAN_KIND_CLIENT {
		t.Errorf("%v", call)
	}
	if call.GetStatus().GetCode() != tracev1.Status_STATUS_CODE_ERROR || attribute(call, "http.response.status_code") != int64(http.StatusTeapot) {
		t.Errorf("%v", call)
	}
	if attribute(check, "authz.decision") != "allow" || attribute(check, "authz.reason") != "ok" || attribute(check, "authz.resource") != "/mcp" {
		t.Errorf("%v", check)
	}
	if check.StartTimeUnixNano == 0 || check.EndTimeUnixNano < check.StartTimeUnixNano || time.Since(time.Unix(0, int64(check.EndTimeUnixNano))) > time.Minute {
		t.Errorf("%v", check)
	}
}

func TestRefusalsAndOutagesAreToldApart(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	tracer := newTracer(t, c, 1, io.Discard)
	for _, answer := range []decision.Response{
		{Status: 401, Facts: decision.Facts{Reason: "token_expired"}}, {Status: 503, Facts: decision.Facts{Reason: "keys_unavailable"}},
	} {
		tracer.Decider(decide(func(context.Context, decision.Request) decision.Response { return answer })).Decide(from("rubbish"), decision.Request{Path: "/nowhere?a=b"})
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, spans := c.spans(t)
	if len(spans) != 2 {
		t.Fatalf("%v", spans)
	}
	for i, want := range []struct {
		status tracev1.Status_StatusCode
		code   int64
		reason string
	}{{tracev1.Status_STATUS_CODE_UNSET, 401, "token_expired"}, {tracev1.Status_STATUS_CODE_ERROR, 503, "keys_unavailable"}} {
		s := spans[i]
		if s.GetStatus().GetCode() != want.status || attribute(s, "http.response.status_code") != want.code || attribute(s, "authz.reason") != want.reason || attribute(s, "authz.decision") != "deny" {
			t.Errorf("%v", s)
		}
		if len(s.ParentSpanId) != 0 {
			t.Errorf("a parent from nowhere: %v", s)
		}
	}
}

func TestWhatIsTracedIsDecidedWhereATraceBegins(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		share float64
		ctx   context.Context
		want  int
	}{
		"Envoy says no":         {1, from("00-" + traceID + "-" + parent + "-00"), 0},
		"Envoy says yes":        {0, from("00-" + traceID + "-" + parent + "-01"), 1},
		"nobody, and all":       {1, context.Background(), 1},
		"nobody, and none":      {0, context.Background(), 0},
		"an id that is invalid": {0, from("00-00000000000000000000000000000000-" + parent + "-01"), 0},
		"two of them":           {0, metadata.NewIncomingContext(context.Background(), metadata.Pairs("traceparent", "00-"+traceID+"-"+parent+"-01", "traceparent", "00-"+traceID+"-"+parent+"-01")), 0},
	} {
		c := newCollector(t)
		tracer := newTracer(t, c, tc.share, io.Discard)
		tracer.Decider(decide(func(context.Context, decision.Request) decision.Response { return decision.Response{} })).Decide(tc.ctx, question)
		if err := tracer.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, spans := c.spans(t); len(spans) != tc.want {
			t.Errorf("%s: %d spans, want %d", name, len(spans), tc.want)
		}
	}
}

func TestAPanicIsNotTold(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	tracer := newTracer(t, c, 1, io.Discard)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		tracer.Decider(decide(func(context.Context, decision.Request) decision.Response { panic("hunter2") })).Decide(context.Background(), question)
	}()
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if body := <-c.bodies; bytes.Contains(body, []byte("hunter2")) {
		t.Errorf("%s", body)
	}
}

func TestRequestsToTheIssuerAreNamedByTheirKind(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	tracer := newTracer(t, c, 1, io.Discard)
	broken := tracer.Issuer(roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("hunter2") }))
	var want []string
	for _, r := range []struct{ method, path, name string }{
		{"GET", "/.well-known/oauth-authorization-server", "issuer metadata"}, {"GET", "/tenant/.well-known/openid-configuration", "issuer metadata"},
		{"GET", "/.well-known/jwks.json", "issuer keys"}, {"POST", "/oauth2/introspect", "issuer introspection"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), r.method, "https://issuer.example"+r.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := broken.RoundTrip(request); err == nil || err.Error() != "hunter2" {
			t.Errorf("%v", err)
		}
		want = append(want, r.name)
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, spans := c.spans(t)
	for i, s := range spans {
		if s.Name != want[i] || attribute(s, "server.address") != "issuer.example" || strings.Contains(s.String(), "hunter2") || s.GetStatus().GetCode() != tracev1.Status_STATUS_CODE_ERROR {
			t.Errorf("%v, want %s", s, want[i])
		}
	}
	if len(spans) != len(want) {
		t.Errorf("%d spans", len(spans))
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestACollectorThatIsDownIsToldOnceAndHoldsNothingUp(t *testing.T) {
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1") // each span is sent on its own
	c := newCollector(t)
	c.refuse.Store(true)
	var log bytes.Buffer
	tracer := newTracer(t, c, 1, &log)
	d := tracer.Decider(decide(func(context.Context, decision.Request) decision.Response { return decision.Response{} }))
	for range 3 {
		d.Decide(context.Background(), question)
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "503") {
		t.Errorf("%d warnings: %s", n, &log)
	}

	tracer, err := tracing.New(tracing.Options{Endpoint: "http://127.0.0.1:1", Service: "x", Share: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	tracer.Decider(decide(func(context.Context, decision.Request) decision.Response { return decision.Response{} })).Decide(context.Background(), question)
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkDecide: nothing is paid for without a tracer, and how much with one.
func BenchmarkDecide(b *testing.B) {
	plain := decide(func(context.Context, decision.Request) decision.Response { return decision.Response{} })
	collect := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer collect.Close()
	tracer, err := tracing.New(tracing.Options{Endpoint: collect.URL, Service: "x", Share: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer tracer.Close(context.Background())
	for name, c := range map[string]struct {
		decider tracing.Decider
		ctx     context.Context
	}{
		"without a tracer": {plain, from("00-" + traceID + "-" + parent + "-01")},
		"not sampled":      {tracer.Decider(plain), from("00-" + traceID + "-" + parent + "-00")},
		"sampled":          {tracer.Decider(plain), from("00-" + traceID + "-" + parent + "-01")},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.decider.Decide(c.ctx, question)
			}
		})
	}
}
