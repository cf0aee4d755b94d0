package check

import (
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
)

const (
	authorization = "authorization"
	// clientAddress is set by Envoy alone (use_remote_address), which removes
	// what a client sends under this name. The peer in the question's source is
	// the other end of the socket, and so a load balancer where there is one.
	clientAddress = "x-envoy-external-address"
)

// fromEnvoy reads the few things that a decision depends on. Headers come in one
// of two shapes: a map, or with encode_raw_headers a list.
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
		case strings.EqualFold(name, authorization):
			r.Authorization = append(r.Authorization, value)
		case strings.EqualFold(name, clientAddress):
			client = value
		}
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		switch {
		case strings.EqualFold(h.GetKey(), authorization):
			r.Authorization = append(r.Authorization, headerValue(h))
		case strings.EqualFold(h.GetKey(), clientAddress):
			client = headerValue(h)
		}
	}
	if addr, err := netip.ParseAddr(client); err == nil {
		r.Client = addr
	} else if addr, err := netip.ParseAddr(attributes.GetSource().GetAddress().GetSocketAddress().GetAddress()); err == nil {
		r.Client = addr
	}
	return r
}

func headerValue(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}

// toEnvoy is the one constructor of every answer. Its status is 0 if and only if
// the answer allows: Envoy lets a request through on status 0, whatever else the
// answer holds.
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

// headers always overwrites: the zero value of the action appends, beside what a
// client sent. Values go as value, since Envoy 1.40 ignores raw_value here.
func headers(a decision.Response) []*corev3.HeaderValueOption {
	type option struct {
		corev3.HeaderValueOption
		header corev3.HeaderValue
	}
	block := make([]option, len(a.Headers))
	out := make([]*corev3.HeaderValueOption, 0, len(a.Headers))
	for i, h := range a.Headers {
		if h.Value == "" {
			continue
		}
		o := &block[i]
		o.header.Key, o.header.Value = h.Name, h.Value
		o.Header = &o.header
		o.AppendAction = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		out = append(out, &o.HeaderValueOption)
	}
	return out
}

// code is the gRPC code nearest to an HTTP status; it is never OK.
func code(status int) codes.Code {
	switch status {
	case 400:
		return codes.InvalidArgument
	case 401:
		return codes.Unauthenticated
	case 403:
		return codes.PermissionDenied
	case 429:
		return codes.ResourceExhausted
	}
	return codes.Unavailable
}

// metadata are the facts for Envoy's access log and limits, under
// envoy.filters.http.ext_authz; an empty one is left out.
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
