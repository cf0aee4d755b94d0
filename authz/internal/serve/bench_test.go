package serve_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/neonpanel/mcp-gateway/authz/internal/check"
	"github.com/neonpanel/mcp-gateway/authz/internal/config"
	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/limit"
	"github.com/neonpanel/mcp-gateway/authz/internal/metrics"
	"github.com/neonpanel/mcp-gateway/authz/internal/scopes"
	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

// question is what this gateway's Envoy asks about an MCP request.
func question(authorization string) *authv3.CheckRequest {
	headers := []*corev3.HeaderValue{}
	for _, h := range [][2]string{
		{"authorization", authorization}, {"content-type", "application/json"}, {"mcp-method", "tools/call"}, {"mcp-name", "list_companies"},
		{"mcp-protocol-version", "2026-07-28"}, {"origin", "https://chatgpt.com"}, {"x-envoy-external-address", "192.0.2.1"},
		{"x-forwarded-for", "192.0.2.1"}, {"x-request-id", "26c1ebb6-4557-41bb-90ec-b976c94f3283"},
	} {
		headers = append(headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1234567890", Method: "POST", Path: "/mcp", Host: "mcp.example.com", Scheme: "https", Protocol: "HTTP/1.1", Size: 200,
			HeaderMap: &corev3.HeaderMap{Headers: headers},
		}},
	}}
}

// BenchmarkAnswer is everything but gRPC: decide with the real verifier, log,
// count.
func BenchmarkAnswer(b *testing.B) {
	issuer := issuertest.Start(b)
	issuer.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
	counters := metrics.New(metrics.Build{})
	verify, err := verifier.New(verifier.Options{
		Issuer: issuer.Issuer, Transport: issuer.Transport, Audiences: []string{public + "/mcp"}, Observer: counters,
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- verify.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	for verify.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	refused, err := limit.New(0, 1)
	if err != nil {
		b.Fatal(err)
	}
	decider, err := decision.New(decision.Options{
		PublicURL: public, Verifier: verify, ScopesSupported: verify.Metadata().ScopesSupported, ScopeMode: scopes.Enforce,
		StreamMax: time.Hour, Refused: refused, Failed: refused, Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	service := check.New(decider, counters, slog.New(slog.NewJSONHandler(io.Discard, nil)))

	for name, r := range map[string]decision.Request{
		"cached":  {Path: "/mcp", Authorization: []string{"Bearer " + signer.Sign(claims(issuer.Issuer, nil))}},
		"refused": {Path: "/mcp", Authorization: []string{"Basic dGVzdDp0ZXN0"}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				service.Answer(ctx, r)
			}
		})
	}
}

// noop answers without looking: the floor of stock grpc-go.
type noop struct {
	authv3.UnimplementedAuthorizationServer
}

func (noop) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}, nil
}

// BenchmarkSocket is a whole call over a Unix socket, client included, beside a
// server that does nothing: only the difference means something.
func BenchmarkSocket(b *testing.B) {
	issuer := issuertest.Start(b)
	issuer.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
	g := start(b, issuer.Issuer, func(s *config.Settings) { s.LogLevel = "info" })
	g.await(b)

	path := filepath.Join(b.TempDir(), "noop.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	idle := grpc.NewServer()
	authv3.RegisterAuthorizationServer(idle, noop{})
	go func() { _ = idle.Serve(l) }()
	defer idle.Stop()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()

	in := question("Bearer " + signer.Sign(claims(issuer.Issuer, nil)))
	for _, c := range []struct {
		name string
		conn *grpc.ClientConn
	}{{"noop", conn}, {"authz", g.conn}, {"noop again", conn}, {"authz again", g.conn}} {
		client := authv3.NewAuthorizationClient(c.conn)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					out, err := client.Check(b.Context(), in)
					if err != nil || out.GetStatus().GetCode() != 0 {
						b.Errorf("%v %v", out, err)
						return
					}
				}
			})
		})
	}
}
