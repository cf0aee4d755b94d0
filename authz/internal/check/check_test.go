package check_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/neonpanel/mcp-gateway/authz/internal/check"
	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/denial"
)

// script is a decider that says what it is told and remembers what it was asked.
type script struct {
	answer decision.Response
	panic  any
	asked  decision.Request
}

func (s *script) Decide(_ context.Context, r decision.Request) decision.Response {
	s.asked = r
	if s.panic != nil {
		panic(s.panic)
	}
	return s.answer
}

func (s *script) Broken(cause error) decision.Response {
	return decision.Response{Status: 503, Headers: []denial.Header{{Name: "retry-after", Value: "5"}}, Body: "{}", Facts: decision.Facts{Reason: "internal"}, Cause: cause}
}

type counted map[string]int

func (c counted) Decided(allowed bool, reason string, _ time.Duration) {
	if allowed {
		reason = "allow " + reason
	}
	c[reason]++
}

func ask(t *testing.T, s *script, in *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	return call(t, check.New(s, counted{}, slog.New(slog.NewJSONHandler(io.Discard, nil))), in)
}

// call asks as Envoy does: over gRPC, with the messages of go-control-plane.
func call(t *testing.T, service *check.Service, in *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	l := bufconn.Listen(64 << 10)
	server := grpc.NewServer(grpc.ForceServerCodecV2(check.Codec()))
	service.Register(server)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	conn, err := grpc.NewClient("passthrough:memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	out, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func question(http *authv3.AttributeContext_HttpRequest) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "192.0.2.9"},
		}}},
		Request: &authv3.AttributeContext_Request{Http: http},
	}}
}

func TestQuestionInBothShapes(t *testing.T) {
	t.Parallel()
	raw := func(name, value string) *corev3.HeaderValue {
		return &corev3.HeaderValue{Key: name, RawValue: []byte(value)}
	}
	peer := netip.MustParseAddr("192.0.2.9")
	client := netip.MustParseAddr("2001:db8::7")
	for name, c := range map[string]struct {
		in   *authv3.CheckRequest
		want decision.Request
	}{
		"headers": {
			question(&authv3.AttributeContext_HttpRequest{Path: "/mcp?token=x", Headers: map[string]string{"authorization": "Bearer a", "x-envoy-external-address": "2001:db8::7"}}),
			decision.Request{Path: "/mcp", Authorization: []string{"Bearer a"}, Client: client},
		},
		"header_map with raw values": {
			question(&authv3.AttributeContext_HttpRequest{Path: "/sse/", HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
				raw("Authorization", "Bearer a"), raw("x-envoy-external-address", "2001:db8::7"),
			}}}),
			decision.Request{Path: "/sse/", Authorization: []string{"Bearer a"}, Client: client},
		},
		"header_map with plain values": {
			question(&authv3.AttributeContext_HttpRequest{Path: "/sse/", HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
				{Key: "authorization", Value: "Bearer a"},
			}}}),
			decision.Request{Path: "/sse/", Authorization: []string{"Bearer a"}, Client: peer},
		},
		"two authorization headers": {
			question(&authv3.AttributeContext_HttpRequest{Path: "/mcp", HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
				raw("authorization", "Bearer a"), raw("authorization", "Bearer b"),
			}}}),
			decision.Request{Path: "/mcp", Authorization: []string{"Bearer a", "Bearer b"}, Client: peer},
		},
		"an address that is none": {
			question(&authv3.AttributeContext_HttpRequest{Path: "/mcp#x", Headers: map[string]string{"x-envoy-external-address": "nowhere"}}),
			decision.Request{Path: "/mcp", Client: peer},
		},
		"a forwarded address is not believed": {
			question(&authv3.AttributeContext_HttpRequest{Path: "/mcp", Headers: map[string]string{"x-forwarded-for": "203.0.113.1", "x-real-ip": "203.0.113.1"}}),
			decision.Request{Path: "/mcp", Client: peer},
		},
		"a key in another header is no credential": {
			question(&authv3.AttributeContext_HttpRequest{Path: "/mcp", Headers: map[string]string{"x-api-key": "test-token", "cookie": "authorization=Bearer a"}}),
			decision.Request{Path: "/mcp", Client: peer},
		},
		"nothing": {&authv3.CheckRequest{}, decision.Request{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &script{}
			ask(t, s, c.in)
			if s.asked.Path != c.want.Path || s.asked.Client != c.want.Client || strings.Join(s.asked.Authorization, "\n") != strings.Join(c.want.Authorization, "\n") {
				t.Errorf("asked %+v, want %+v", s.asked, c.want)
			}
		})
	}
}

func TestAnswerThatAllows(t *testing.T) {
	t.Parallel()
	out := ask(t, &script{answer: decision.Response{
		Headers: []denial.Header{{Name: "x-neonpanel-auth", Value: "bearer"}, {Name: "x-neonpanel-empty", Value: ""}, {Name: "x-neonpanel-subject", Value: "46"}},
		Facts:   decision.Facts{Reason: "ok", Auth: "bearer", Subject: "46", ClientID: "c", Scopes: "a b", Expires: "1800000000"},
	}}, question(nil))
	if out.GetStatus().GetCode() != int32(codes.OK) || out.GetDeniedResponse() != nil || out.GetErrorResponse() != nil {
		t.Fatalf("not a plain pass: %v", out)
	}
	wantHeaders(t, out.GetOkResponse().GetHeaders(), "x-neonpanel-auth: bearer", "x-neonpanel-subject: 46")
	if len(out.GetOkResponse().GetHeadersToRemove()) != 0 {
		t.Error("Authorization has to go on to mcpbackend; nothing is to be removed")
	}
	wantMetadata(t, out, map[string]string{
		"decision": "allow", "reason": "ok", "auth": "bearer", "subject": "46", "client_id": "c", "scopes": "a b", "expires": "1800000000",
	})
}

func TestAnswerThatRefuses(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]codes.Code{
		400: codes.InvalidArgument, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 429: codes.ResourceExhausted, 503: codes.Unavailable, 599: codes.Unavailable,
	} {
		out := ask(t, &script{answer: decision.Response{
			Status: status, Headers: []denial.Header{{Name: "www-authenticate", Value: "Bearer"}}, Body: `{"error":"x"}`, Facts: decision.Facts{Reason: "expired"},
		}}, question(nil))
		if out.GetStatus().GetCode() != int32(code) || out.GetOkResponse() != nil {
			t.Errorf("%d: gRPC code %v, want %v and no pass", status, codes.Code(out.GetStatus().GetCode()), code)
		}
		refused := out.GetDeniedResponse()
		if int(refused.GetStatus().GetCode()) != status || refused.GetBody() != `{"error":"x"}` {
			t.Errorf("%d: %v", status, refused)
		}
		wantHeaders(t, refused.GetHeaders(), "www-authenticate: Bearer")
		wantMetadata(t, out, map[string]string{"decision": "deny", "reason": "expired"})
	}
}

func TestPanicIsARefusalAndItsValueIsNotLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	seen := counted{}
	service := check.New(&script{panic: errors.New("secret-token")}, seen, slog.New(slog.NewJSONHandler(&log, nil)))
	out := call(t, service, question(&authv3.AttributeContext_HttpRequest{Path: "/mcp"}))
	if out.GetStatus().GetCode() != int32(codes.Unavailable) || out.GetDeniedResponse().GetStatus().GetCode() != 503 {
		t.Fatalf("%v; want a refusal with 503", out)
	}
	if strings.Contains(log.String(), "secret-token") || !strings.Contains(log.String(), "panic") {
		t.Errorf("log: %s", log.String())
	}
	if seen["internal"] != 1 {
		t.Errorf("counted %v", seen)
	}
}

func TestLogHoldsTheReasonAndNoToken(t *testing.T) {
	t.Parallel()
	const secret = "sEcReT-token-123"
	in := question(&authv3.AttributeContext_HttpRequest{Path: "/mcp?access_token=" + secret, Headers: map[string]string{"authorization": "Bearer " + secret}})
	refusal := decision.Response{Status: 401, Facts: decision.Facts{Reason: "token_expired"}}
	pass := decision.Response{Facts: decision.Facts{Reason: "ok", Subject: "46"}}
	for name, c := range map[string]struct {
		level  slog.Level
		answer decision.Response
		want   string
	}{
		"a refusal at info":            {slog.LevelInfo, refusal, "token_expired"},
		"a pass at info is silent":     {slog.LevelInfo, pass, ""},
		"a pass at debug":              {slog.LevelDebug, pass, `"subject":"46"`},
		"a limited one at info silent": {slog.LevelInfo, decision.Response{Status: 429, Facts: decision.Facts{Reason: "too_many_requests"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			service := check.New(&script{answer: c.answer}, counted{}, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: c.level})))
			call(t, service, in)
			if strings.Contains(log.String(), secret) {
				t.Errorf("the token is in the log: %s", log.String())
			}
			if (c.want == "") != (log.Len() == 0) || !strings.Contains(log.String(), c.want) {
				t.Errorf("log %q, want %q", log.String(), c.want)
			}
		})
	}
}

func wantHeaders(t *testing.T, got []*corev3.HeaderValueOption, want ...string) {
	t.Helper()
	var lines []string
	for _, o := range got {
		if o.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%s would not overwrite what a client sent", o.GetHeader().GetKey())
		}
		if len(o.GetHeader().GetRawValue()) != 0 {
			t.Errorf("%s has a raw value, which Envoy ignores", o.GetHeader().GetKey())
		}
		lines = append(lines, o.GetHeader().GetKey()+": "+o.GetHeader().GetValue())
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("headers\n got %q\nwant %q", lines, want)
	}
}

func wantMetadata(t *testing.T, out *authv3.CheckResponse, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for name, value := range out.GetDynamicMetadata().GetFields() {
		got[name] = value.GetStringValue()
	}
	if !maps.Equal(got, want) {
		t.Errorf("metadata %v, want %v", got, want)
	}
}
