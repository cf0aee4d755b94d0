package bootstrap

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const collectorCluster = "collector"

// traceHeaders are those of W3C Trace Context and Baggage, and Envoy's own. They are dropped
// as they come in: what is traced, and in which trace, is not for a client to say.
var traceHeaders = []string{"traceparent", "tracestate", "baggage", "x-client-trace-id", "x-envoy-force-trace"}

// tracing starts a span for each request that is drawn, and tells authz and the backend of it.
func (b *builder) tracing() *hcmv3.HttpConnectionManager_Tracing {
	t := b.Tracing
	if t == nil {
		return nil
	}
	none := &typev3.Percent{Value: 0}
	return &hcmv3.HttpConnectionManager_Tracing{
		ClientSampling:  none,
		RandomSampling:  &typev3.Percent{Value: t.Percent},
		OverallSampling: &typev3.Percent{Value: 100},
		// The path would bring the query with it; the route's name says enough.
		MaxPathTagLength:  wrapperspb.UInt32(0),
		Operation:         "%REQ(:METHOD)% %ROUTE_NAME%",
		SpawnUpstreamSpan: wrapperspb.Bool(true),
		UpstreamOperation: "%UPSTREAM_CLUSTER%",
		CustomTags:        []*tracingv3.CustomTag{verdictTag("decision"), verdictTag("reason")},
		Provider: &tracev3.Tracing_Http{
			Name: "envoy.tracers.opentelemetry",
			ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: b.pack(&tracev3.OpenTelemetryConfig{
				ServiceName: t.Service,
				HttpService: &corev3.HttpService{HttpUri: &corev3.HttpUri{
					Uri:              t.URL,
					HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: collectorCluster},
					Timeout:          durationpb.New(5 * time.Second),
				}},
			})},
		},
	}
}

// untraced is for what probes ask all day.
func untraced() *routev3.Tracing {
	none := &typev3.FractionalPercent{}
	return &routev3.Tracing{ClientSampling: none, RandomSampling: none, OverallSampling: none}
}

// verdictTag takes what authz said; both values come from closed lists.
func verdictTag(name string) *tracingv3.CustomTag {
	return &tracingv3.CustomTag{
		Tag: "authz." + name,
		Type: &tracingv3.CustomTag_Metadata_{Metadata: &tracingv3.CustomTag_Metadata{
			Kind: &metadatav3.MetadataKind{Kind: &metadatav3.MetadataKind_Request_{Request: &metadatav3.MetadataKind_Request{}}},
			MetadataKey: &metadatav3.MetadataKey{
				Key:  extAuthzFilter,
				Path: []*metadatav3.MetadataKey_PathSegment{{Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: name}}},
			},
		}},
	}
}

// collector is where the spans go. It may be anywhere: they hold no secret.
func (b *builder) collector() []*clusterv3.Cluster {
	t := b.Tracing
	if t == nil {
		return nil
	}
	cluster := b.cluster(collectorCluster, t.Collector, "", httpUpstream)
	cluster.TransportSocket = nil
	if t.CA != "" {
		kind, name := tlsv3.SubjectAltNameMatcher_DNS, t.Collector.Name
		if name == "" {
			kind, name = tlsv3.SubjectAltNameMatcher_IP_ADDRESS, t.Collector.IP.String()
		}
		cluster.TransportSocket = b.transportSocket(&tlsv3.UpstreamTlsContext{
			Sni: t.Collector.Name,
			CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsParams: tlsVersions(),
				ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
					TrustedCa:                 fileSource(t.CA),
					MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{SanType: kind, Matcher: exact(name)}},
				}},
			},
		})
	}
	return []*clusterv3.Cluster{cluster}
}
