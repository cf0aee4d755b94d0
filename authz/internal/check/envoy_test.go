package check

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/denial"
)

// What follows does with the generated types what wire.go does by hand.

func fromEnvoy(in *authv3.CheckRequest) decision.Request {
	attributes := in.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	path := http.GetPath()
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	r := decision.Request{Path: path}
	var client string
	for name, value := range http.GetHeaders() {
		switch {
		case strings.EqualFold(name, "authorization"):
			r.Authorization = append(r.Authorization, value)
		case strings.EqualFold(name, "x-envoy-external-address"):
			client = value
		}
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		switch {
		case strings.EqualFold(h.GetKey(), "authorization"):
			r.Authorization = append(r.Authorization, valueOf(h))
		case strings.EqualFold(h.GetKey(), "x-envoy-external-address"):
			client = valueOf(h)
		}
	}
	if addr, err := netip.ParseAddr(client); err == nil {
		r.Client = addr
	} else if addr, err := netip.ParseAddr(attributes.GetSource().GetAddress().GetSocketAddress().GetAddress()); err == nil {
		r.Client = addr
	}
	return r
}

func valueOf(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}

func toEnvoy(a decision.Response) *authv3.CheckResponse {
	out := &authv3.CheckResponse{DynamicMetadata: metadata(a)}
	if a.Allowed() {
		out.Status = &rpcstatus.Status{Code: int32(codes.OK)}
		out.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: headers(a)}}
		return out
	}
	out.Status = &rpcstatus.Status{Code: int32(code(a.Status))}
	out.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
		Status:  &typev3.HttpStatus{Code: typev3.StatusCode(a.Status)},
		Headers: headers(a),
		Body:    a.Body,
	}}
	return out
}

func headers(a decision.Response) []*corev3.HeaderValueOption {
	var out []*corev3.HeaderValueOption
	for _, h := range a.Headers {
		if h.Value != "" {
			out = append(out, &corev3.HeaderValueOption{
				Header:       &corev3.HeaderValue{Key: h.Name, Value: h.Value},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			})
		}
	}
	return out
}

func metadata(a decision.Response) *structpb.Struct {
	verdict := "deny"
	if a.Allowed() {
		verdict = "allow"
	}
	f := a.Facts
	fields := make(map[string]*structpb.Value, 7)
	for _, fact := range [...]struct{ name, value string }{
		{"decision", verdict}, {"reason", f.Reason}, {"auth", f.Auth}, {"subject", f.Subject},
		{"client_id", f.ClientID}, {"scopes", f.Scopes}, {"expires", f.Expires},
	} {
		if fact.value != "" {
			fields[fact.name] = structpb.NewStringValue(fact.value)
		}
	}
	return &structpb.Struct{Fields: fields}
}

func sameRequest(t *testing.T, got, want decision.Request) {
	t.Helper()
	// A map has no order.
	slices.Sort(got.Authorization)
	slices.Sort(want.Authorization)
	if got.Path != want.Path || got.Client != want.Client || !slices.Equal(got.Authorization, want.Authorization) {
		t.Fatalf("read %+v, want %+v", got, want)
	}
}

// FuzzQuestion reads arbitrary bytes, and what go-control-plane makes of them.
func FuzzQuestion(f *testing.F) {
	for _, in := range []*authv3.CheckRequest{
		{},
		{Attributes: &authv3.AttributeContext{
			Source: &authv3.AttributeContext_Peer{Principal: "p", Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
				SocketAddress: &corev3.SocketAddress{Address: "192.0.2.9", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711}},
			}}},
			Request: &authv3.AttributeContext_Request{Time: timestamppb.New(time.Unix(1, 1)), Http: &authv3.AttributeContext_HttpRequest{
				Path: "/mcp?x=y", Size: 200, Headers: map[string]string{"authorization": "Bearer a"},
				HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
					{Key: "Authorization", RawValue: []byte("Bearer \xff")}, {Key: "x-envoy-external-address", Value: "2001:db8::1"}, {Key: "authorization"},
				}},
			}},
			ContextExtensions: map[string]string{"a": "b"},
		}},
	} {
		wire, err := proto.Marshal(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Add([]byte{0x0a, 0x05, 0x22})
	f.Add([]byte{0x0b, 0x0c, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, wire []byte) {
		var q question
		err := q.unmarshal(wire)
		var in authv3.CheckRequest
		if proto.Unmarshal(wire, &in) != nil {
			return
		}
		if err != nil {
			t.Fatalf("refused what go-control-plane reads: %v", err)
		}
		// Once more in the normal form, where a field that may be there once is
		// there once.
		wire, err = proto.Marshal(&in)
		if err != nil {
			return
		}
		if duplicates(&in) {
			return
		}
		q = question{}
		if err := q.unmarshal(wire); err != nil {
			t.Fatal(err)
		}
		sameRequest(t, q.Request, fromEnvoy(&in))
	})
}

// duplicates is true when an address comes more than once: which one counts is
// then a matter of the order in a map.
func duplicates(in *authv3.CheckRequest) bool {
	n := 0
	http := in.GetAttributes().GetRequest().GetHttp()
	for name := range http.GetHeaders() {
		if strings.EqualFold(name, "x-envoy-external-address") {
			n++
		}
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		if strings.EqualFold(h.GetKey(), "x-envoy-external-address") {
			n++
		}
	}
	return n > 1
}

// FuzzAnswer compares what is written with what go-control-plane would write.
func FuzzAnswer(f *testing.F) {
	f.Add(0, "x-neonpanel-auth", "bearer", "", "ok", "46", "read:a read:b")
	f.Add(401, "www-authenticate", "Bearer", `{"error":"x"}`, "token_expired", "", "")
	f.Add(503, "retry-after", "", "", "", "", "")
	f.Add(429, "", "", strings.Repeat("b", 200), "r", strings.Repeat("s", 20000), "")
	f.Fuzz(func(t *testing.T, status int, name, value, body, reason, subject, scopes string) {
		for _, s := range []string{name, value, body, reason, subject, scopes} {
			if !utf8.ValidString(s) {
				return // Neither answer could hold it.
			}
		}
		if status < 0 || status > 599 {
			status = 0
		}
		if status == 0 {
			body = ""
		}
		a := answer{decision.Response{
			Status: status, Headers: []denial.Header{{Name: name, Value: value}, {Name: "x-twice", Value: value}}, Body: body,
			Facts: decision.Facts{Reason: reason, Subject: subject, Scopes: scopes},
		}}
		wire := a.marshal(nil)
		if len(wire) != a.size() {
			t.Fatalf("%d bytes, announced %d", len(wire), a.size())
		}
		var got authv3.CheckResponse
		if err := proto.Unmarshal(wire, &got); err != nil {
			t.Fatal(err)
		}
		if want := toEnvoy(a.Response); !proto.Equal(&got, want) {
			t.Fatalf("\n got %v\nwant %v", &got, want)
		}
		if (got.GetStatus().GetCode() == 0) != (status == 0) {
			t.Fatalf("status %d became %d", status, got.GetStatus().GetCode())
		}
	})
}
