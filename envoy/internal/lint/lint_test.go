package lint_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	locallimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlymutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	quicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/quic/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/neonpanel/mcp-gateway/envoy/internal/bootstrap"
	"github.com/neonpanel/mcp-gateway/envoy/internal/lint"
	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
)

func sound(t *testing.T, change ...func(*settings.Settings)) *bootstrapv3.Bootstrap {
	t.Helper()
	s := settings.Settings{
		PublicURL: "https://mcp.example.com", Listen: "0.0.0.0:8443", CORSOrigins: "*", TrustedHops: "0", HTTP3: "false", MaxBody: "4MiB", MaxConnections: "100",
		MaxHeap: "1GiB", Authz: "unix:/a", Discovery: "unix:/d", Backend: "unix:/b", Admin: "unix:/admin", NodeID: "x",
		TLSCert: "/c.pem", TLSKey: "/k.pem", TLSSDS: "/sds.yaml", SubjectRate: "20", SubjectBurst: "100",
	}
	for _, c := range change {
		c(&s)
	}
	edge, err := s.Parse()
	if err != nil {
		t.Fatal(err)
	}
	b, err := bootstrap.New(edge)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// remoteUpstreams are elsewhere, and reached over TLS.
func remoteUpstreams(s *settings.Settings) {
	s.Authz, s.Discovery, s.Backend = "10.0.0.1:1", "10.0.0.1:2", "mcpbackend.internal:3"
	s.UpstreamTLSCert, s.UpstreamTLSKey, s.UpstreamTLSCA, s.UpstreamTLSSDS, s.AuthzSAN = "/uc.pem", "/uk.pem", "/ca.pem", "/sds", "spiffe://example.org/authz"
}

func http3(s *settings.Settings) { s.HTTP3 = "true" }

func counted(s *settings.Settings) { s.RateLimit = "unix:/ratelimit" }

func traces(s *settings.Settings) {
	s.OTLPEndpoint, s.ServiceName, s.SamplerArg = "http://collector.example:4318", "edge", "1"
}

func TestOurOwnIsSound(t *testing.T) {
	t.Parallel()
	if err := lint.Check(sound(t)); err != nil {
		t.Error(err)
	}
	if err := lint.Check(sound(t, http3)); err != nil {
		t.Errorf("with HTTP/3: %v", err)
	}
	if err := lint.Check(sound(t, remoteUpstreams, traces, counted)); err != nil {
		t.Errorf("with TLS to the upstreams, and traces: %v", err)
	}
}

// edit changes a packed message in place.
func edit[M proto.Message](t *testing.T, packed *anypb.Any, m M, change func(M)) {
	t.Helper()
	if err := packed.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if err := packed.MarshalFrom(m); err != nil {
		t.Fatal(err)
	}
}

// Each case breaks one rule of a sound bootstrap, as an edit by hand would.
func TestEveryRuleCatchesItsBreach(t *testing.T) {
	t.Parallel()
	type manager = *hcmv3.HttpConnectionManager

	hcm := func(change func(manager)) func(*testing.T, *bootstrapv3.Bootstrap) {
		return func(t *testing.T, b *bootstrapv3.Bootstrap) {
			edit(t, b.StaticResources.Listeners[0].FilterChains[0].Filters[0].GetTypedConfig(), &hcmv3.HttpConnectionManager{}, change)
		}
	}
	authz := func(change func(*extauthzv3.ExtAuthz)) func(*testing.T, *bootstrapv3.Bootstrap) {
		return func(t *testing.T, b *bootstrapv3.Bootstrap) {
			hcm(func(m manager) { edit(t, m.HttpFilters[2].GetTypedConfig(), &extauthzv3.ExtAuthz{}, change) })(t, b)
		}
	}
	route := func(name string, change func(*routev3.Route)) func(*testing.T, *bootstrapv3.Bootstrap) {
		return hcm(func(m manager) {
			for _, r := range m.GetRouteConfig().VirtualHosts[0].Routes {
				if r.Name == name {
					change(r)
					return
				}
			}
			panic("no route " + name)
		})
	}
	swap := func(i, j int) func(*testing.T, *bootstrapv3.Bootstrap) {
		return hcm(func(m manager) { m.HttpFilters[i], m.HttpFilters[j] = m.HttpFilters[j], m.HttpFilters[i] })
	}
	without := func(i int) func(*testing.T, *bootstrapv3.Bootstrap) {
		return hcm(func(m manager) { m.HttpFilters = append(m.HttpFilters[:i:i], m.HttpFilters[i+1:]...) })
	}
	off, _ := anypb.New(&extauthzv3.ExtAuthzPerRoute{Override: &extauthzv3.ExtAuthzPerRoute_Disabled{Disabled: true}})
	filterOff, _ := anypb.New(&routev3.FilterConfig{Disabled: true})
	remote := &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "10.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 80},
	}}}
	logs := func(value string) func(*testing.T, *bootstrapv3.Bootstrap) {
		return func(t *testing.T, b *bootstrapv3.Bootstrap) {
			hcm(func(m manager) {
				edit(t, m.AccessLog[0].GetTypedConfig(), &streamv3.StdoutAccessLog{}, func(l *streamv3.StdoutAccessLog) {
					l.GetLogFormat().GetJsonFormat().Fields["x"] = structpb.NewStringValue(value)
				})
			})(t, b)
		}
	}

	elsewhere := func(change func(*corev3.TransportSocket)) func(*testing.T, *bootstrapv3.Bootstrap) {
		return func(t *testing.T, b *bootstrapv3.Bootstrap) {
			proto.Reset(b)
			proto.Merge(b, sound(t, remoteUpstreams))
			change(b.StaticResources.Clusters[2].TransportSocket)
		}
	}
	traced := func(change func(*hcmv3.HttpConnectionManager_Tracing)) func(*testing.T, *bootstrapv3.Bootstrap) {
		return func(t *testing.T, b *bootstrapv3.Bootstrap) {
			proto.Reset(b)
			proto.Merge(b, sound(t, traces))
			hcm(func(m manager) { change(m.Tracing) })(t, b)
		}
	}
	upstream := func(change func(*tlsv3.UpstreamTlsContext)) func(*testing.T, *bootstrapv3.Bootstrap) {
		return elsewhere(func(s *corev3.TransportSocket) { edit(t, s.GetTypedConfig(), &tlsv3.UpstreamTlsContext{}, change) })
	}
	limit := func(change func(*locallimitv3.LocalRateLimit)) func(*testing.T, *bootstrapv3.Bootstrap) {
		return func(t *testing.T, b *bootstrapv3.Bootstrap) {
			hcm(func(m manager) { edit(t, m.HttpFilters[3].GetTypedConfig(), &locallimitv3.LocalRateLimit{}, change) })(t, b)
		}
	}
	shared := func(change func(m manager, limit *ratelimitv3.RateLimit)) func(*testing.T, *bootstrapv3.Bootstrap) {
		return func(t *testing.T, b *bootstrapv3.Bootstrap) {
			proto.Reset(b)
			proto.Merge(b, sound(t, counted))
			hcm(func(m manager) {
				edit(t, m.HttpFilters[4].GetTypedConfig(), &ratelimitv3.RateLimit{}, func(l *ratelimitv3.RateLimit) { change(m, l) })
			})(t, b)
		}
	}
	// quic breaks something of the second listener, which speaks HTTP/3.
	quic := func(change func(*testing.T, *listenerv3.Listener)) func(*testing.T, *bootstrapv3.Bootstrap) {
		return func(t *testing.T, b *bootstrapv3.Bootstrap) {
			proto.Reset(b)
			proto.Merge(b, sound(t, http3))
			change(t, b.StaticResources.Listeners[1])
		}
	}
	quicTLS := func(change func(*quicv3.QuicDownstreamTransport)) func(*testing.T, *bootstrapv3.Bootstrap) {
		return quic(func(t *testing.T, l *listenerv3.Listener) {
			edit(t, l.FilterChains[0].TransportSocket.GetTypedConfig(), &quicv3.QuicDownstreamTransport{}, change)
		})
	}
	quicHTTP := func(change func(m manager)) func(*testing.T, *bootstrapv3.Bootstrap) {
		return quic(func(t *testing.T, l *listenerv3.Listener) {
			edit(t, l.FilterChains[0].Filters[0].GetTypedConfig(), &hcmv3.HttpConnectionManager{}, change)
		})
	}
	cors := func(change func(*corsv3.CorsPolicy)) func(*testing.T, *bootstrapv3.Bootstrap) {
		return func(t *testing.T, b *bootstrapv3.Bootstrap) {
			hcm(func(m manager) {
				edit(t, m.GetRouteConfig().VirtualHosts[0].TypedPerFilterConfig["envoy.filters.http.cors"], &corsv3.CorsPolicy{}, change)
			})(t, b)
		}
	}
	overridden, _ := anypb.New(&locallimitv3.LocalRateLimit{StatPrefix: "x"})
	type breach struct {
		rule   string
		change func(*testing.T, *bootstrapv3.Bootstrap)
	}
	covered := map[string]bool{"schema": true, "deprecated": true}
	for name, c := range map[string]breach{
		"no such cluster":                {"clusters-exist", func(_ *testing.T, b *bootstrapv3.Bootstrap) { b.StaticResources.Clusters[2].Name = "backend" }},
		"no such cluster for authz":      {"clusters-exist", func(_ *testing.T, b *bootstrapv3.Bootstrap) { b.StaticResources.Clusters[0].Name = "authn" }},
		"remote upstream":                {"upstreams-local", func(_ *testing.T, b *bootstrapv3.Bootstrap) { firstEndpoint(b).Address = remote }},
		"remote upstream without TLS":    {"upstreams-local", elsewhere(func(s *corev3.TransportSocket) { proto.Reset(s) })},
		"no certificate for an upstream": {"upstreams-local", upstream(func(c *tlsv3.UpstreamTlsContext) { c.CommonTlsContext.TlsCertificateSdsSecretConfigs = nil })},
		"an upstream of any name": {"upstreams-verified", upstream(func(c *tlsv3.UpstreamTlsContext) {
			c.CommonTlsContext.GetCombinedValidationContext().DefaultValidationContext.MatchTypedSubjectAltNames = nil
		})},
		"an upstream of any authority": {"upstreams-verified", upstream(func(c *tlsv3.UpstreamTlsContext) { c.CommonTlsContext.ValidationContextType = nil })},
		"an upstream that nobody verifies": {"upstreams-verified", upstream(func(c *tlsv3.UpstreamTlsContext) {
			c.CommonTlsContext.GetCombinedValidationContext().DefaultValidationContext.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		})},
		"an upstream by another transport": {"upstreams-verified", elsewhere(func(s *corev3.TransportSocket) {
			s.GetTypedConfig().TypeUrl = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
		})},
		"old TLS to an upstream":  {"tls-minimum", upstream(func(c *tlsv3.UpstreamTlsContext) { c.CommonTlsContext.TlsParams = nil })},
		"remote admin":            {"admin-local", func(_ *testing.T, b *bootstrapv3.Bootstrap) { b.Admin.Address = remote }},
		"whole admin":             {"admin-local", func(_ *testing.T, b *bootstrapv3.Bootstrap) { b.Admin.AllowPaths = nil }},
		"router not last":         {"router-last", swap(3, 4)},
		"no router":               {"router-last", without(4)},
		"no cors":                 {"cors-first", without(0)},
		"cors behind authz":       {"cors-first", swap(0, 2)},
		"cors disabled":           {"cors-first", hcm(func(m manager) { m.HttpFilters[0].Disabled = true })},
		"no body limit":           {"body-limit", without(1)},
		"body limit behind authz": {"body-limit", swap(1, 2)},
		"no authz":                {"authz-present", without(2)},
		"authz disabled":          {"authz-present", hcm(func(m manager) { m.HttpFilters[2].Disabled = true })},
		"routes from elsewhere": {"authz-present", hcm(func(m manager) {
			m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}, RouteConfigName: "x"}}
		})},
		"fails open":  {"authz-fails-closed", authz(func(a *extauthzv3.ExtAuthz) { a.FailureModeAllow = true })},
		"shadow mode": {"authz-fails-closed", authz(func(a *extauthzv3.ExtAuthz) { a.ShadowMode = true })},
		"switched by runtime": {"authz-fails-closed", authz(func(a *extauthzv3.ExtAuthz) {
			a.FilterEnabled = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
		})},
		"outage is 403": {"authz-fails-closed", authz(func(a *extauthzv3.ExtAuthz) { a.StatusOnError = nil })},
		"endless wait":  {"authz-timeout", authz(func(a *extauthzv3.ExtAuthz) { a.GetGrpcService().Timeout = durationpb.New(0) })},
		"200 ms":        {"authz-timeout", authz(func(a *extauthzv3.ExtAuthz) { a.GetGrpcService().Timeout = durationpb.New(200 * time.Millisecond) })},
		"short retries": {"authz-timeout", authz(func(a *extauthzv3.ExtAuthz) {
			a.GetGrpcService().RetryPolicy = &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{BaseInterval: durationpb.New(time.Millisecond), MaxInterval: durationpb.New(50 * time.Millisecond)}}
		})},
		"authz may set anything":  {"authz-identity-only", authz(func(a *extauthzv3.ExtAuthz) { a.DecoderHeaderMutationRules = nil })},
		"mutations unchecked":     {"authz-identity-only", authz(func(a *extauthzv3.ExtAuthz) { a.ValidateMutations = false })},
		"routed again":            {"authz-identity-only", authz(func(a *extauthzv3.ExtAuthz) { a.ClearRouteCache = true })},
		"bodies to authz":         {"authz-headers-only", authz(func(a *extauthzv3.ExtAuthz) { a.WithRequestBody = &extauthzv3.BufferSettings{MaxRequestBytes: 1} })},
		"all headers to authz":    {"authz-headers-only", authz(func(a *extauthzv3.ExtAuthz) { a.AllowedHeaders = nil })},
		"identity kept":           {"identity-stripped", hcm(func(m manager) { m.EarlyHeaderMutationExtensions = nil })},
		"public prefix":           {"public-exact", route("health", func(r *routev3.Route) { r.Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/health"} })},
		"public with credentials": {"public-exact", route("document", func(r *routev3.Route) { r.RequestHeadersToRemove = nil })},
		"bearer route made public": {"public-exact", route("mcp", func(r *routev3.Route) {
			r.TypedPerFilterConfig = map[string]*anypb.Any{"envoy.filters.http.ext_authz": off}
		})},
		"filter disabled by route": {"public-exact", route("mcp", func(r *routev3.Route) {
			r.TypedPerFilterConfig = map[string]*anypb.Any{"envoy.filters.http.ext_authz": filterOff}
		})},
		"filter disabled by host": {"public-exact", hcm(func(m manager) {
			m.GetRouteConfig().VirtualHosts[0].TypedPerFilterConfig["envoy.filters.http.ext_authz"] = off
		})},
		"any method as a preflight": {"public-exact", route("preflight", func(r *routev3.Route) { r.Match.Headers = r.Match.Headers[1:] })},
		"paths as they come":        {"path-hygiene", hcm(func(m manager) { m.NormalizePath = nil })},
		"slashes kept":              {"path-hygiene", hcm(func(m manager) { m.MergeSlashes = false })},
		"escaped slashes kept":      {"path-hygiene", hcm(func(m manager) { m.PathWithEscapedSlashesAction = 0 })},
		"path parameters ignored":   {"path-hygiene", hcm(func(m manager) { m.GetRouteConfig().IgnorePathParametersInPathMatching = true })},
		"forged address":            {"client-address", hcm(func(m manager) { m.UseRemoteAddress = wrapperspb.Bool(false) })},
		"forged request id":         {"client-address", hcm(func(m manager) { m.PreserveExternalRequestId = true })},
		"any Host passes":           {"host-whole", route("malformed-host", func(r *routev3.Route) { r.GetMatch().Headers[0].InvertMatch = false })},
		"Host compared too late": {"host-whole", hcm(func(m manager) {
			host := m.GetRouteConfig().VirtualHosts[0]
			late := slices.IndexFunc(host.Routes, func(r *routev3.Route) bool { return r.Name == "malformed-host" })
			host.Routes = append(slices.Delete(slices.Clone(host.Routes), late, late+1), host.Routes[late])
		})},
		"underscores":                   {"header-limits", hcm(func(m manager) { m.CommonHttpProtocolOptions.HeadersWithUnderscoresAction = 0 })},
		"slow headers":                  {"header-limits", hcm(func(m manager) { m.RequestHeadersTimeout = nil })},
		"no limit for the body":         {"header-limits", hcm(func(m manager) { m.RequestTimeout = nil })},
		"slow body":                     {"header-limits", hcm(func(m manager) { m.RequestTimeout = durationpb.New(time.Minute) })},
		"large headers":                 {"header-limits", hcm(func(m manager) { m.MaxRequestHeadersKb = wrapperspb.UInt32(1024) })},
		"many headers":                  {"header-limits", hcm(func(m manager) { m.CommonHttpProtocolOptions.MaxHeadersCount = wrapperspb.UInt32(1000) })},
		"stream cut":                    {"stream-timeout", route("sse", func(r *routev3.Route) { r.GetRoute().Timeout = nil })},
		"stream cut when idle":          {"stream-timeout", route("mcp", func(r *routev3.Route) { r.GetRoute().IdleTimeout = durationpb.New(time.Second) })},
		"a first byte that never comes": {"stream-timeout", route("mcp", func(r *routev3.Route) { r.GetRoute().RetryPolicy = nil })},
		"calls made again":              {"stream-timeout", route("mcp", func(r *routev3.Route) { r.GetRoute().RetryPolicy.RetryOn = "reset" })},
		"authz's refusals rewritten":    {"replies-keep-authz", hcm(func(m manager) { m.LocalReplyConfig.Mappers = m.LocalReplyConfig.Mappers[1:] })},
		"all replies rewritten":         {"replies-keep-authz", hcm(func(m manager) { m.LocalReplyConfig.BodyFormat = m.LocalReplyConfig.Mappers[1].BodyFormatOverride })},
		"replies in plain text":         {"replies-json", hcm(func(m manager) { m.LocalReplyConfig = nil })},
		"a reply without an id": {"replies-json", hcm(func(m manager) {
			delete(m.LocalReplyConfig.Mappers[len(m.LocalReplyConfig.Mappers)-1].BodyFormatOverride.GetJsonFormat().Fields, "request_id")
		})},
		"no CORS on a host":     {"cors-policy", hcm(func(m manager) { m.GetRouteConfig().VirtualHosts[1].TypedPerFilterConfig = nil })},
		"CORS with credentials": {"cors-policy", cors(func(p *corsv3.CorsPolicy) { p.AllowCredentials = wrapperspb.Bool(true) })},
		"preflights go on":      {"cors-policy", cors(func(p *corsv3.CorsPolicy) { p.ForwardNotMatchingPreflights = nil })},
		"details in a reply": {"replies-discreet", hcm(func(m manager) {
			m.LocalReplyConfig.Mappers[5].BodyFormatOverride.GetJsonFormat().Fields["why"] = structpb.NewStringValue("%RESPONSE_CODE_DETAILS%")
		})},
		"client's trace": {"trace-discreet", hcm(func(m manager) {
			edit(t, m.EarlyHeaderMutationExtensions[0].GetTypedConfig(), &earlymutationv3.HeaderMutation{}, func(h *earlymutationv3.HeaderMutation) { h.Mutations = h.Mutations[:1] })
		})},
		"query in spans":      {"trace-discreet", traced(func(tracing *hcmv3.HttpConnectionManager_Tracing) { tracing.MaxPathTagLength = nil })},
		"clients force spans": {"trace-discreet", traced(func(tracing *hcmv3.HttpConnectionManager_Tracing) { tracing.ClientSampling = nil })},
		"token in spans": {"trace-discreet", traced(func(tracing *hcmv3.HttpConnectionManager_Tracing) {
			tracing.CustomTags = append(tracing.CustomTags, &tracingv3.CustomTag{Tag: "x", Type: &tracingv3.CustomTag_RequestHeader{RequestHeader: &tracingv3.CustomTag_Header{Name: "authorization"}}})
		})},
		"path in the names of spans":  {"trace-discreet", traced(func(tracing *hcmv3.HttpConnectionManager_Tracing) { tracing.Operation = "%REQ(:PATH)%" })},
		"a route's own tags in spans": {"trace-discreet", route("mcp", func(r *routev3.Route) { r.Tracing = &routev3.Tracing{Operation: "%REQ(authorization)%"} })},
		"remote upstream as a collector": {"upstreams-local", func(t *testing.T, b *bootstrapv3.Bootstrap) {
			traced(func(tracing *hcmv3.HttpConnectionManager_Tracing) {
				edit(t, tracing.GetProvider().GetTypedConfig(), &tracev3.OpenTelemetryConfig{}, func(c *tracev3.OpenTelemetryConfig) {
					c.GetHttpService().GetHttpUri().HttpUpstreamType = &corev3.HttpUri_Cluster{Cluster: "authz"}
				})
			})(t, b)
			firstEndpoint(b).Address = remote
		}},
		"token in the log": {"log-discreet", logs("%REQ(Authorization)%")},
		"query in the log": {"log-discreet", logs("%REQUEST_HEADER(:PATH)%")},
		"old TLS": {"tls-minimum", func(t *testing.T, b *bootstrapv3.Bootstrap) {
			edit(t, b.StaticResources.Listeners[0].FilterChains[0].TransportSocket.GetTypedConfig(), &tlsv3.DownstreamTlsContext{}, func(c *tlsv3.DownstreamTlsContext) {
				c.CommonTlsContext.TlsParams.TlsMinimumProtocolVersion = tlsv3.TlsParameters_TLSv1_1
			})
		}},
		"any path to an upstream":   {"routes-exact", route("mcp", func(r *routev3.Route) { r.Match.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/mcp"} })},
		"any method to an upstream": {"routes-exact", route("mcp", func(r *routev3.Route) { r.Match.Headers = nil })},
		"all methods but one":       {"routes-exact", route("mcp", func(r *routev3.Route) { r.Match.Headers[0].InvertMatch = true })},
		"any Host is ours": {"host-own", hcm(func(m manager) {
			m.GetRouteConfig().VirtualHosts[0].Domains, m.GetRouteConfig().VirtualHosts[1].Domains = []string{"*"}, []string{"other.example"}
		})},
		"any name below ours": {"host-own", hcm(func(m manager) { m.GetRouteConfig().VirtualHosts[0].Domains = []string{"*.example.com"} })},
		"upgrades": {"http-strict", hcm(func(m manager) {
			m.UpgradeConfigs = []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}}
		})},
		"a route's upgrades": {"http-strict", route("mcp", func(r *routev3.Route) {
			r.GetRoute().UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{UpgradeType: "websocket"}}
		})},
		"HTTP/1.0":             {"http-strict", hcm(func(m manager) { m.HttpProtocolOptions = &corev3.Http1ProtocolOptions{AcceptHttp_10: true} })},
		"a length with chunks": {"http-strict", hcm(func(m manager) { m.HttpProtocolOptions = &corev3.Http1ProtocolOptions{AllowChunkedLength: true} })},
		"extended CONNECT":     {"http-strict", hcm(func(m manager) { m.Http2ProtocolOptions.AllowConnect = true })},
		"cookies pass":         {"cookies-dropped", hcm(func(m manager) { m.GetRouteConfig().RequestHeadersToRemove = nil })},
		"no log":               {"log-present", hcm(func(m manager) { m.AccessLog = nil })},
		"a log of some":        {"log-present", hcm(func(m manager) { m.AccessLog[0].Filter = m.LocalReplyConfig.Mappers[0].Filter })},
		"buffers without end": {"connection-limits", func(_ *testing.T, b *bootstrapv3.Bootstrap) {
			b.StaticResources.Listeners[0].PerConnectionBufferLimitBytes = nil
		}},
		"streams without end": {"connection-limits", hcm(func(m manager) { m.Http2ProtocolOptions = nil })},
		"idle streams":        {"connection-limits", hcm(func(m manager) { m.StreamIdleTimeout = durationpb.New(0) })},
		"idle connections":    {"connection-limits", hcm(func(m manager) { m.CommonHttpProtocolOptions.IdleTimeout = durationpb.New(0) })},
		"breakers of 1024":    {"breakers-sized", func(_ *testing.T, b *bootstrapv3.Bootstrap) { b.StaticResources.Clusters[2].CircuitBreakers = nil }},
		"a breaker of 1024": {"breakers-sized", func(_ *testing.T, b *bootstrapv3.Bootstrap) {
			b.StaticResources.Clusters[2].CircuitBreakers.Thresholds[0].MaxRequests = nil
		}},
		"no overload manager": {"overload", func(_ *testing.T, b *bootstrapv3.Bootstrap) { b.OverloadManager = nil }},
		"connections without end": {"overload", func(_ *testing.T, b *bootstrapv3.Bootstrap) {
			b.OverloadManager.ResourceMonitors = b.OverloadManager.ResourceMonitors[:1]
		}},
		"requests without end": {"overload", func(_ *testing.T, b *bootstrapv3.Bootstrap) {
			b.OverloadManager.Actions = b.OverloadManager.Actions[:2]
		}},
		"no limit per user":                   {"subject-limit", without(3)},
		"users limited before they are known": {"subject-limit", swap(2, 3)},
		"limit switched off":                  {"subject-limit", limit(func(l *locallimitv3.LocalRateLimit) { l.FilterEnforced = nil })},
		"limit for a half":                    {"subject-limit", limit(func(l *locallimitv3.LocalRateLimit) { l.FilterEnabled.DefaultValue.Numerator = 50 })},
		"limit by runtime":                    {"subject-limit", limit(func(l *locallimitv3.LocalRateLimit) { l.FilterEnabled.RuntimeKey = "x" })},
		"limit per client only":               {"subject-limit", limit(func(l *locallimitv3.LocalRateLimit) { l.RateLimits = l.RateLimits[:1] })},
		"limit by a header": {"subject-limit", limit(func(l *locallimitv3.LocalRateLimit) {
			l.RateLimits[1].Actions[0].ActionSpecifier = &routev3.RateLimit_Action_RequestHeaders_{RequestHeaders: &routev3.RateLimit_Action_RequestHeaders{HeaderName: "x", DescriptorKey: "subject"}}
		})},
		"limit in the shadow":     {"subject-limit", limit(func(l *locallimitv3.LocalRateLimit) { l.Descriptors[1].ShadowMode = true })},
		"limit for one user":      {"subject-limit", limit(func(l *locallimitv3.LocalRateLimit) { l.Descriptors[1].Entries[0].Value = "alice" })},
		"users forgotten":         {"subject-limit", limit(func(l *locallimitv3.LocalRateLimit) { l.MaxDynamicDescriptors = nil })},
		"one bucket for all":      {"subject-limit", limit(func(l *locallimitv3.LocalRateLimit) { l.TokenBucket = l.Descriptors[0].TokenBucket })},
		"a bucket per connection": {"subject-limit", limit(func(l *locallimitv3.LocalRateLimit) { l.LocalRateLimitPerDownstreamConnection = true })},
		"no word when to return":  {"subject-limit", limit(func(l *locallimitv3.LocalRateLimit) { l.EnableRetryAfterHeader = false })},
		"a route's own limit": {"subject-limit", route("mcp", func(r *routev3.Route) {
			r.TypedPerFilterConfig = map[string]*anypb.Any{"envoy.filters.http.local_ratelimit": overridden}
		})},
		"no limit when the service fails": {"global-limit", shared(func(m manager, _ *ratelimitv3.RateLimit) {
			m.HttpFilters[3], m.HttpFilters[4] = m.HttpFilters[4], m.HttpFilters[3]
		})},
		"endless wait for the service": {"global-limit", shared(func(_ manager, l *ratelimitv3.RateLimit) { l.Timeout = durationpb.New(0) })},
		"long wait for the service":    {"global-limit", shared(func(_ manager, l *ratelimitv3.RateLimit) { l.Timeout = durationpb.New(5 * time.Second) })},
		"users counted together":       {"global-limit", shared(func(_ manager, l *ratelimitv3.RateLimit) { l.RateLimits = nil })},
		"no such cluster for limits": {"clusters-exist", shared(func(_ manager, l *ratelimitv3.RateLimit) {
			l.GetRateLimitService().GetGrpcService().GetEnvoyGrpc().ClusterName = "x"
		})},
		"early data": {"http3-safe", quicTLS(func(q *quicv3.QuicDownstreamTransport) { q.EnableEarlyData = nil })},
		"handshakes without end": {"http3-safe", quic(func(_ *testing.T, l *listenerv3.Listener) {
			l.UdpListenerConfig.QuicOptions.CryptoHandshakeTimeout = nil
		})},
		"QUIC without TLS":           {"http3-safe", quic(func(_ *testing.T, l *listenerv3.Listener) { l.FilterChains[0].TransportSocket = nil })},
		"QUIC's client by a header":  {"http3-safe", quicHTTP(func(m manager) { m.XffNumTrustedHops = 1 })},
		"streams of QUIC":            {"connection-limits", quic(func(_ *testing.T, l *listenerv3.Listener) { l.UdpListenerConfig.QuicOptions.QuicProtocolOptions = nil })},
		"extended CONNECT of HTTP/3": {"http-strict", quicHTTP(func(m manager) { m.Http3ProtocolOptions.AllowExtendedConnect = true })},
		"old TLS of QUIC":            {"tls-minimum", quicTLS(func(q *quicv3.QuicDownstreamTransport) { q.DownstreamTlsContext.CommonTlsContext.TlsParams = nil })},
		"HTTP/3 without authz":       {"authz-present", quicHTTP(func(m manager) { m.HttpFilters = slices.Delete(m.HttpFilters, 2, 3) })},
		"HTTP/3 with identities":     {"identity-stripped", quicHTTP(func(m manager) { m.EarlyHeaderMutationExtensions = nil })},
		"HTTP/3 without limits":      {"subject-limit", quicHTTP(func(m manager) { m.HttpFilters = slices.Delete(m.HttpFilters, 3, 4) })},
		"limits before cors":         {"cors-first", swap(0, 3)},
		"deprecated field": {"deprecated", func(_ *testing.T, b *bootstrapv3.Bootstrap) {
			m := b.StaticResources.Clusters[1].ProtoReflect()
			m.Mutable(m.Descriptor().Fields().ByName("http2_protocol_options"))
		}},
		"deprecated field, packed": {"deprecated", route("mcp", func(r *routev3.Route) {
			m := r.Match.Headers[0].ProtoReflect()
			m.Set(m.Descriptor().Fields().ByName("exact_match"), protoreflect.ValueOfString("POST"))
		})},
		"deprecated value": {"deprecated", func(_ *testing.T, b *bootstrapv3.Bootstrap) {
			b.DynamicResources = &bootstrapv3.Bootstrap_DynamicResources{CdsConfig: &corev3.ConfigSource{ResourceApiVersion: 1 /* V2 */}}
		}},
		"constraint":               {"schema", func(_ *testing.T, b *bootstrapv3.Bootstrap) { b.StaticResources.Clusters[0].Name = "" }},
		"constraint, packed":       {"schema", hcm(func(m manager) { m.StatPrefix = "" })},
		"constraint, packed twice": {"schema", authz(func(a *extauthzv3.ExtAuthz) { a.GetGrpcService().GetEnvoyGrpc().ClusterName = "" })},
		"unknown packed type": {"schema", func(_ *testing.T, b *bootstrapv3.Bootstrap) {
			b.StaticResources.Clusters[0].TypedExtensionProtocolOptions["x"] = &anypb.Any{TypeUrl: "type.googleapis.com/no.such.Message"}
		}},
	} {
		covered[c.rule] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := sound(t)
			c.change(t, b)
			err := lint.Check(b)
			if err == nil || !strings.Contains("\n"+err.Error(), "\n"+c.rule+": ") {
				t.Errorf("not caught as %s: %v", c.rule, err)
			}
		})
	}
	for _, rule := range lint.Rules() {
		if !covered[rule.Name] {
			t.Errorf("no case breaks %s", rule.Name)
		}
		if !strings.Contains(lint.Explain(), rule.Name) || rule.Why == "" {
			t.Errorf("%s is not explained", rule.Name)
		}
	}
}

func firstEndpoint(b *bootstrapv3.Bootstrap) *endpointv3.Endpoint {
	return b.StaticResources.Clusters[0].LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint()
}
