// Package bootstrap builds Envoy's whole configuration from the settings of the edge.
package bootstrap

import (
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
)

// builder carries the settings and the first error, so that the tree reads as a tree.
type builder struct {
	settings.Edge
	err error
}

// New builds the bootstrap. It is a pure function of the settings.
func New(edge settings.Edge) (*bootstrapv3.Bootstrap, error) {
	b := &builder{Edge: edge}
	var names settings.UpstreamTLS
	if edge.UpstreamTLS != nil {
		names = *edge.UpstreamTLS
	}
	tree := &bootstrapv3.Bootstrap{
		Node:  &corev3.Node{Id: edge.NodeID, Cluster: "neonpanel-mcp"},
		Admin: b.admin(),
		// A static layer only: without an admin or discovery layer nothing can change these at run time.
		LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
			Name:           "static",
			LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{Fields: b.runtime()}},
		}}},
		OverloadManager: b.overload(),
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Listeners: append([]*listenerv3.Listener{b.listener()}, b.quicListener()...),
			Clusters: append([]*clusterv3.Cluster{
				b.cluster(authzCluster, edge.Authz, names.Authz, grpcUpstream),
				b.cluster(discoveryCluster, edge.Discovery, names.Authz, httpUpstream),
				b.cluster(backendCluster, edge.Backend, names.Backend, httpUpstream),
			}, append(b.rateLimitService(), b.collector()...)...),
		},
	}
	return tree, b.err
}

func (b *builder) runtime() map[string]*structpb.Value {
	keys := map[string]*structpb.Value{"envoy.reloadable_features.strict_chunk_parsing": structpb.NewBoolValue(true)}
	if b.Tracing != nil {
		// Spans that were not sent yet are lost when Envoy ends.
		keys["tracing.opentelemetry.flush_interval_ms"] = structpb.NewNumberValue(1000)
	}
	return keys
}

// admin allows what operations need and no more: no configuration dump, no shutdown, no logging.
func (b *builder) admin() *bootstrapv3.Admin {
	if b.Admin == nil {
		return nil
	}
	paths := []*matcherv3.StringMatcher{exact("/ready"), exact("/server_info"), prefix("/listeners"), exact("/memory"), prefix("/stats"), prefix("/drain_listeners"), prefix("/healthcheck/")}
	return &bootstrapv3.Admin{Address: address(*b.Admin, 0o600), AllowPaths: paths, IgnoreGlobalConnLimit: true}
}

// overload gives memory back before it runs out, then refuses requests, and bounds connections.
func (b *builder) overload() *overloadv3.OverloadManager {
	const heap, connections = "envoy.resource_monitors.fixed_heap", "envoy.resource_monitors.global_downstream_max_connections"
	action := func(name string, at float64) *overloadv3.OverloadAction {
		return &overloadv3.OverloadAction{Name: name, Triggers: []*overloadv3.Trigger{{
			Name:         heap,
			TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: at}},
		}}}
	}
	return &overloadv3.OverloadManager{
		RefreshInterval: durationpb.New(250 * time.Millisecond),
		ResourceMonitors: []*overloadv3.ResourceMonitor{
			{Name: heap, ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: b.pack(&heapv3.FixedHeapConfig{
				MaxHeapSizeBytes: b.MaxHeap,
			})}},
			{Name: connections, ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: b.pack(&connectionsv3.DownstreamConnectionsConfig{
				MaxActiveDownstreamConnections: int64(b.MaxConnections),
			})}},
		},
		Actions: []*overloadv3.OverloadAction{
			action("envoy.overload_actions.shrink_heap", 0.90),
			action("envoy.overload_actions.disable_http_keepalive", 0.92),
			action("envoy.overload_actions.stop_accepting_requests", 0.95),
			action("envoy.overload_actions.stop_accepting_connections", 0.98),
		},
	}
}

func (b *builder) pack(m proto.Message) *anypb.Any {
	packed, err := anypb.New(m)
	if err != nil && b.err == nil {
		b.err = err
	}
	return packed
}

func address(a settings.Address, mode uint32) *corev3.Address {
	if a.Path != "" {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: a.Path, Mode: mode}}}
	}
	host := a.Name
	if host == "" {
		host = a.IP.String()
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: a.Port},
		// [::] takes IPv4 clients too.
		Ipv4Compat: a.IP.Is6() && a.IP.IsUnspecified(),
	}}}
}

func exact(value string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}}
}

func prefix(value string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: value}}
}

// setHeader replaces a header; an empty value is left out.
func setHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func statusCode(code typev3.StatusCode) *typev3.HttpStatus { return &typev3.HttpStatus{Code: code} }

func u32(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }

func jsonObject(fields map[string]string) *structpb.Struct {
	object := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(fields))}
	for name, value := range fields {
		object.Fields[name] = structpb.NewStringValue(value)
	}
	return object
}
