package bootstrap

import (
	"time"

	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	bodylimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/body_size_limit/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlymutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	identityPrefix = "x-neonpanel-"

	// Of one connection, in HTTP/2 and HTTP/3.
	maxStreams       = 100
	streamWindow     = 64 << 10
	connectionWindow = 1 << 20

	// authzTimeout is longer than authz's own deadlines, so that authz chooses the error.
	authzTimeout = 2 * time.Second
)

func (b *builder) listener() *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:                          "edge",
		Address:                       address(b.Listen, 0),
		PerConnectionBufferLimitBytes: u32(bufferLimit),
		FilterChains: []*listenerv3.FilterChain{{
			TransportSocket:               b.tls(),
			TransportSocketConnectTimeout: durationpb.New(10 * time.Second),
			Filters: []*listenerv3.Filter{{
				Name:       "envoy.filters.network.http_connection_manager",
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: b.pack(b.connectionManager(hcmv3.HttpConnectionManager_AUTO))},
			}},
		}},
	}
}

// connectionManager is the same for every version of HTTP.
func (b *builder) connectionManager(codec hcmv3.HttpConnectionManager_CodecType) *hcmv3.HttpConnectionManager {
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: "edge",
		CodecType:  codec,

		// The client's address, for authz's limits and the log: the peer's, or with proxies in
		// front the one they appended. authz reads it as x-envoy-external-address.
		UseRemoteAddress:  wrapperspb.Bool(true),
		XffNumTrustedHops: b.TrustedHops,

		// A path means the same to the route table, authz and mcpbackend.
		NormalizePath:                wrapperspb.Bool(true),
		MergeSlashes:                 true,
		PathWithEscapedSlashesAction: hcmv3.HttpConnectionManager_REJECT_REQUEST,
		StripTrailingHostDot:         true,

		ServerHeaderTransformation:   hcmv3.HttpConnectionManager_OVERWRITE,
		ServerName:                   "neonpanel-mcp",
		AlwaysSetRequestIdInResponse: true,

		MaxRequestHeadersKb:   u32(32),
		RequestHeadersTimeout: durationpb.New(10 * time.Second),
		// Until the request is complete or its response starts, so it does not end a stream.
		RequestTimeout:      durationpb.New(30 * time.Second),
		StreamIdleTimeout:   durationpb.New(5 * time.Minute),
		StreamFlushTimeout:  durationpb.New(time.Minute),
		DelayedCloseTimeout: durationpb.New(time.Second),
		DrainTimeout:        durationpb.New(5 * time.Second),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout:     durationpb.New(time.Hour),
			MaxHeadersCount: u32(100),
			// Dropped, not refused: proxies and scanners send them, and to a CGI-like reader
			// x_neonpanel_subject is x-neonpanel-subject.
			HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_DROP_HEADER,
		},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			MaxConcurrentStreams:        u32(maxStreams),
			InitialStreamWindowSize:     u32(streamWindow),
			InitialConnectionWindowSize: u32(connectionWindow),
		},

		Tracing: b.tracing(),

		// Before routing and before authz, for only authz speaks in these names, and only we
		// say what is traced.
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{{
			Name:        "strip-identity",
			TypedConfig: b.pack(&earlymutationv3.HeaderMutation{Mutations: stripped()}),
		}},

		AccessLog:        b.accessLog(),
		LocalReplyConfig: b.localReplies(),
		RouteSpecifier:   &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: b.routes()},
		HttpFilters:      b.filters(),
	}
	if codec == hcmv3.HttpConnectionManager_HTTP3 {
		manager.Http2ProtocolOptions, manager.Http3ProtocolOptions = nil, &corev3.Http3ProtocolOptions{}
	}
	return manager
}

func (b *builder) filters() []*hcmv3.HttpFilter {
	filters := []*hcmv3.HttpFilter{
		// First, so that the refusals of all others carry its headers.
		b.filter(corsFilter, &corsv3.Cors{}),
		b.filter("envoy.filters.http.body_size_limit", &bodylimitv3.BodySizeLimit{MaxRequestBytes: wrapperspb.UInt64(b.MaxBody)}),
		b.filter(extAuthzFilter, b.extAuthz()),
		b.filter(localLimitFilter, b.subjectLimit()),
	}
	if b.RateLimit != nil {
		filters = append(filters, b.filter(globalLimitFilter, b.globalLimit()))
	}
	return append(filters, b.filter("envoy.filters.http.router", &routerv3.Router{SuppressEnvoyHeaders: true}))
}

func stripped() []*mutationrulesv3.HeaderMutation {
	mutations := []*mutationrulesv3.HeaderMutation{{
		Action: &mutationrulesv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationrulesv3.HeaderMutation_RemoveOnMatch{
			KeyMatcher: prefix(identityPrefix),
		}},
	}}
	for _, name := range traceHeaders {
		mutations = append(mutations, &mutationrulesv3.HeaderMutation{Action: &mutationrulesv3.HeaderMutation_Remove{Remove: name}})
	}
	return mutations
}

func (b *builder) filter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.pack(config)}}
}

// extAuthz fails closed: an authz that is down, slow or answers nonsense means an error. There is
// no retry policy, because Envoy would take its longest back-off as the time limit of each try.
func (b *builder) extAuthz() *extauthzv3.ExtAuthz {
	allowed := &matcherv3.ListStringMatcher{}
	for _, name := range []string{
		"authorization", "content-type", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id", "origin",
		"x-envoy-external-address", "x-forwarded-for", "x-request-id",
	} {
		allowed.Patterns = append(allowed.Patterns, exact(name))
	}
	return &extauthzv3.ExtAuthz{
		StatPrefix:          "authz",
		TransportApiVersion: corev3.ApiVersion_V3,
		Services: &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			Timeout: durationpb.New(authzTimeout),
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
				ClusterName:             authzCluster,
				SkipEnvoyHeaders:        true,
				MaxReceiveMessageLength: u32(64 << 10),
			}},
		}},
		FailureModeAllow:            false,
		StatusOnError:               statusCode(typev3.StatusCode_ServiceUnavailable),
		ValidateMutations:           true,
		EncodeRawHeaders:            true,
		AllowedHeaders:              allowed,
		ChargeClusterResponseStats:  wrapperspb.Bool(false),
		MaxDeniedResponseBodyBytes:  4096,
		EnforceResponseHeaderLimits: true,
		EmitFilterStateStats:        true,
		// authz may name the caller and nothing else; in particular it cannot touch Authorization.
		DecoderHeaderMutationRules: &mutationrulesv3.HeaderMutationRules{
			DisallowAll:     wrapperspb.Bool(true),
			AllowExpression: &matcherv3.RegexMatcher{Regex: identityPrefix + `[a-z-]+`},
			DisallowIsError: wrapperspb.Bool(true),
		},
	}
}
