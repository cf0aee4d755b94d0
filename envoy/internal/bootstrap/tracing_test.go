package bootstrap_test

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector takes spans over OTLP/HTTP. On the wire an export request is the same as TracesData.
type collector struct {
	*httptest.Server
	spans chan *tracev1.Span
	kept  []*tracev1.Span // that came while another was waited for
	raw   syncBuffer
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{spans: make(chan *tracev1.Span, 256)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var data tracev1.TracesData
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &data) != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		c.raw.Write(body)
		for _, resource := range data.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				for _, span := range scope.GetSpans() {
					c.spans <- span
				}
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// next is the next span of that name. Those of other names are kept: Envoy may send
// what ends at the same time in any order, and in several requests.
func (c *collector) next(t *testing.T, name string) *tracev1.Span {
	t.Helper()
	if i := slices.IndexFunc(c.kept, func(s *tracev1.Span) bool { return s.GetName() == name }); i >= 0 {
		span := c.kept[i]
		c.kept = slices.Delete(c.kept, i, i+1)
		return span
	}
	deadline := time.After(time.Minute)
	for {
		select {
		case span := <-c.spans:
			if span.GetName() == name {
				return span
			}
			c.kept = append(c.kept, span)
		case <-deadline:
			t.Fatalf("no span %q among %v", name, c.kept)
		}
	}
}

func attribute(span *tracev1.Span, key string) string {
	for _, a := range span.GetAttributes() {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// traceParent is what a child of the span gets (W3C Trace Context §3.2).
func traceParent(span *tracev1.Span) string {
	return "00-" + hex.EncodeToString(span.GetTraceId()) + "-" + hex.EncodeToString(span.GetSpanId()) + "-01"
}

func TestEdgeTellsItsUpstreamsOfTheTraceAndTheCollectorNothingSecret(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	e := startEdge(t, func(o *options) {
		o.settings.OTLPEndpoint, o.settings.ServiceName, o.settings.SamplerArg = c.URL, "edge", "1"
	})
	const forced = "0af7651916cd43dd8448eb211c80319c"
	a := e.do(t, call{method: "POST", target: "/mcp?secret=1", body: "{}", header: []string{
		good, "Traceparent: 00-" + forced + "-b7ad6b7169203331-01", "Tracestate: secret=1", "Baggage: secret=1", "Cookie: secret=1",
	}})
	check, upstream, server := c.next(t, "async envoy.service.auth.v3.Authorization.Check egress"), c.next(t, "mcpbackend"), c.next(t, "POST mcp")
	if got := a.seen("traceparent"); got != traceParent(upstream) {
		t.Errorf("the backend is told %q, want %q", got, traceParent(upstream))
	}
	if got := a.seen("x-neonpanel-seen-trace"); got != traceParent(check) {
		t.Errorf("authz is told %q, want %q", got, traceParent(check))
	}
	for _, child := range []*tracev1.Span{check, upstream} {
		if string(child.GetParentSpanId()) != string(server.GetSpanId()) || string(child.GetTraceId()) != string(server.GetTraceId()) {
			t.Errorf("%s is no child of the request's span", child.GetName())
		}
	}
	if got := hex.EncodeToString(server.GetTraceId()); got == forced || len(server.GetParentSpanId()) != 0 {
		t.Errorf("the client chose the trace %s", got)
	}
	if a.seen("baggage") != "" || strings.Trim(a.seen("tracestate"), "|") != "" {
		t.Errorf("the client's headers went on: %s", a.body)
	}
	if attribute(server, "authz.decision") != "allow" || attribute(server, "http.status_code") != "200" {
		t.Errorf("%v", server)
	}

	if a := e.do(t, call{method: "POST", target: "/mcp?secret=1", body: "{}"}); a.StatusCode != 401 {
		t.Errorf("%d", a.StatusCode)
	}
	if server = c.next(t, "POST mcp"); attribute(server, "authz.decision") != "deny" || attribute(server, "authz.reason") != "test_reason" {
		t.Errorf("%v", server)
	}
	// Probes are not traced.
	if a := e.do(t, call{method: "GET", target: "/health"}); !strings.HasSuffix(a.seen("traceparent"), "-00") {
		t.Errorf("/health: traceparent %q", a.seen("traceparent"))
	}
	for _, secret := range []string{"secret", "user-1", "client-1", "Bearer", "good", "/mcp?"} {
		if strings.Contains(c.raw.String(), secret) {
			t.Errorf("the collector is told %q", secret)
		}
	}
}

func TestEdgeTracesOnlyItsShare(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	e := startEdge(t, func(o *options) {
		o.settings.OTLPEndpoint, o.settings.ServiceName, o.settings.SamplerArg = c.URL, "edge", "0"
	})
	for range 3 {
		a := e.do(t, call{method: "POST", target: "/mcp", body: "{}", header: []string{
			good, "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Client-Trace-Id: 1", "X-Envoy-Force-Trace: 1",
		}})
		if got := a.seen("traceparent"); !strings.HasSuffix(got, "-00") {
			t.Errorf("the backend is told %q", got)
		}
		if got := a.seen("x-neonpanel-seen-trace"); !strings.HasSuffix(got, "-00") {
			t.Errorf("authz is told %q", got)
		}
	}
}
