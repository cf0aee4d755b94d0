package e2e

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/neonpanel/mcp-gateway/e2e/internal/stack"
)

// A span as the collector keeps it.
type span struct {
	Service string
	TraceID, SpanID, ParentSpanID,
	Name string
	Links []struct{ TraceID, SpanID string }
}

// collector takes spans over OTLP/HTTP: from Envoy in protobuf, from the others
// in JSON.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	spans []span
	raw   []byte
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
			return
		}
		var spans []span
		switch kind := r.Header.Get("Content-Type"); kind {
		case "application/x-protobuf":
			spans, err = fromProtobuf(body)
		case "application/json":
			spans, err = fromJSON(body)
		default:
			t.Errorf("spans in %s", kind)
		}
		if err != nil {
			t.Errorf("%v: %s", err, body)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.spans = append(c.spans, spans...)
		c.raw = append(c.raw, body...)
	}))
	t.Cleanup(c.Close)
	return c
}

func fromProtobuf(body []byte) (spans []span, err error) {
	// On the wire an export request is the same as TracesData.
	var data tracev1.TracesData
	if err := proto.Unmarshal(body, &data); err != nil {
		return nil, err
	}
	for _, r := range data.GetResourceSpans() {
		service := ""
		for _, a := range r.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, s := range r.GetScopeSpans() {
			for _, one := range s.GetSpans() {
				spans = append(spans, span{service, hex.EncodeToString(one.GetTraceId()), hex.EncodeToString(one.GetSpanId()), hex.EncodeToString(one.GetParentSpanId()), one.GetName(), nil})
			}
		}
	}
	return spans, nil
}

func fromJSON(body []byte) (spans []span, err error) {
	var sent struct {
		ResourceSpans []struct {
			Resource struct {
				Attributes []struct {
					Key   string
					Value struct{ StringValue string }
				}
			}
			ScopeSpans []struct{ Spans []span }
		}
	}
	if err := json.Unmarshal(body, &sent); err != nil {
		return nil, err
	}
	for _, r := range sent.ResourceSpans {
		for _, s := range r.ScopeSpans {
			for _, one := range s.Spans {
				for _, a := range r.Resource.Attributes {
					if a.Key == "service.name" {
						one.Service = a.Value.StringValue
					}
				}
				spans = append(spans, one)
			}
		}
	}
	return spans, nil
}

// trace is every span of the trace in which a span of that name is, by name.
func (c *collector) trace(service, name string) map[string]span {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[string]span{}
	at := slices.IndexFunc(c.spans, func(s span) bool { return s.Service == service && s.Name == name })
	if at < 0 {
		return found
	}
	for _, s := range c.spans {
		if s.TraceID == c.spans[at].TraceID {
			found[s.Service+": "+s.Name] = s
		}
	}
	return found
}

func (c *collector) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = nil
}

func TestOneTraceShowsACallFromTheEdgeToTheAPI(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	tracing := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_BSP_SCHEDULE_DELAY=100"}
	g := ownGateway(t, stack.Options{Env: map[string][]string{stack.Authz: tracing, stack.Backend: tracing, "envoyconf": tracing}})
	token := g.mint(t, stack.TokenRequest{Account: sellerOne, Kind: "opaque"})

	const edge, authz, backend = "neonpanel-mcp-edge: ", "neonpanel-mcp-authz: ", "neonpanel-mcp-backend: "
	const tool, check = "tools/call list_companies", "async envoy.service.auth.v3.Authorization.Check egress"
	// Each with its parent.
	expect := func(want map[string]string) {
		t.Helper()
		eventually(t, 60*time.Second, func() string {
			got := c.trace("neonpanel-mcp-backend", tool)
			for name, parent := range want {
				s, found := got[name]
				if !found {
					return "no span " + name + " among " + strings.Join(slices.Sorted(maps.Keys(got)), ", ")
				}
				if s.ParentSpanID != got[parent].SpanID {
					return name + " is not part of " + parent
				}
			}
			return ""
		})
	}
	const forced = "0af7651916cd43dd8448eb211c80319c"
	body, headers := message(modern, "tools/call", "list_companies", map[string]any{"name": "list_companies", "arguments": map[string]any{}})
	// What a client says of its own trace in a call is linked, and not followed.
	const client, place = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	body = strings.Replace(body, `"_meta":{`, `"_meta":{"traceparent":"00-`+client+"-"+place+`-00",`, 1)
	if r := g.send(t, http.MethodPost, "/mcp?secret=hunter2", body, append(headers, append(bearer(token), "Traceparent", "00-"+forced+"-b7ad6b7169203331-01")...)...); r.Status != http.StatusOK {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	expect(map[string]string{
		edge + "POST mcp":                   "",
		edge + check:                        edge + "POST mcp",
		authz + "authz Check":               edge + check,
		authz + "issuer introspection":      authz + "authz Check",
		edge + "mcpbackend":                 edge + "POST mcp",
		backend + "POST /mcp":               edge + "mcpbackend",
		backend + tool:                      backend + "POST /mcp",
		backend + "NeonPanel listCompanies": backend + tool,
	})

	if call := c.trace("neonpanel-mcp-backend", tool)[backend+tool]; len(call.Links) != 1 || call.Links[0].TraceID != client || call.Links[0].SpanID != place || call.TraceID == client {
		t.Errorf("the client's trace: %+v", call)
	}

	// A call over the older transport belongs to the POST that made it, not to the
	// stream that carries the answer.
	c.forget()
	s := g.stream(t, "/sse", token)
	g.initialize(t, s, token)
	g.streamCall(t, s, token, "list_companies", map[string]any{})
	expect(map[string]string{
		edge + "POST messages":              "",
		authz + "authz Check":               edge + check,
		edge + "mcpbackend":                 edge + "POST messages",
		backend + "POST /messages":          edge + "mcpbackend",
		backend + tool:                      backend + "POST /messages",
		backend + "NeonPanel listCompanies": backend + tool,
	})
	s.cancel()

	c.mu.Lock()
	defer c.mu.Unlock()
	for _, secret := range []string{token, "hunter2", "sessionid", "seller-one", "subject", forced} {
		if strings.Contains(string(c.raw), secret) {
			t.Errorf("the collector is told %q", secret)
		}
	}
}
