package serve_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
)

type span struct{ TraceID, SpanID, ParentSpanID, Name string }

// TestTheWorkOfACheckIsInItsTrace: introspection belongs to the Check that asked
// for it, fetching the keys to nobody.
func TestTheWorkOfACheckIsInItsTrace(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20") // milliseconds
	spans := make(chan span, 64)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var sent struct {
			ResourceSpans []struct{ ScopeSpans []struct{ Spans []span } }
		}
		if err != nil || json.Unmarshal(body, &sent) != nil {
			t.Errorf("%v: %s", err, body)
		}
		for _, secret := range []string{"opaque-token", "hunter2", "subject-46"} {
			if strings.Contains(string(body), secret) {
				t.Errorf("the collector is told %q", secret)
			}
		}
		for _, r := range sent.ResourceSpans {
			for _, s := range r.ScopeSpans {
				for _, span := range s.Spans {
					spans <- span
				}
			}
		}
	}))
	t.Cleanup(collector.Close)
	issuer := issuertest.Start(t)
	issuer.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
	issuer.Serve(issuertest.PathIntrospect, issuertest.JSON(issuertest.Encode(claims(issuer.Issuer, map[string]any{"active": true, "token_type": "Bearer", "sub": "subject-46"}))))
	g := start(t, issuer.Issuer, func(s *config.Settings) {
		s.OTLPEndpoint, s.IntrospectionClientID, s.IntrospectionClientSecret = collector.URL, "gateway", "hunter2"
	})
	g.await(t)

	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+trace+"-"+parent+"-01")
	out, err := authv3.NewAuthorizationClient(g.conn).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Path: "/mcp", HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "authorization", RawValue: []byte("Bearer opaque-token")}}},
		}},
	}}, grpc.WaitForReady(true))
	if err != nil || out.GetOkResponse() == nil {
		t.Fatalf("%v %v", out, err)
	}

	seen := map[string]span{}
	for _, name := range []string{"issuer metadata", "issuer keys", "issuer introspection", "authz Check"} {
		for seen[name].Name == "" {
			select {
			case s := <-spans:
				seen[s.Name] = s
			case <-time.After(time.Minute):
				t.Fatalf("no span %q among %v", name, seen)
			}
		}
	}
	if s := seen["authz Check"]; s.TraceID != trace || s.ParentSpanID != parent {
		t.Errorf("%+v", s)
	}
	if s := seen["issuer introspection"]; s.TraceID != trace || s.ParentSpanID != seen["authz Check"].SpanID {
		t.Errorf("%+v is not part of %+v", s, seen["authz Check"])
	}
	for _, name := range []string{"issuer metadata", "issuer keys"} {
		if s := seen[name]; s.TraceID == trace || s.ParentSpanID != "" {
			t.Errorf("%+v", s)
		}
	}
}
