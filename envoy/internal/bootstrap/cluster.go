package bootstrap

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	dnscommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
)

const (
	authzCluster     = "authz"
	discoveryCluster = "discovery"
	backendCluster   = "mcpbackend"

	// upstreamIdle must stay below the upstreams' own idle timeout: a connection that they close
	// while Envoy sends a POST on it is a request lost, and a POST is not repeated.
	upstreamIdle = 30 * time.Second

	// bufferLimit bounds what one slow reader can make Envoy hold, in each direction.
	bufferLimit = 64 << 10
)

type protocol bool

const (
	httpUpstream protocol = false // HTTP/1.1: one connection per open stream, cheapest on a socket
	grpcUpstream protocol = true
)

// cluster is one upstream. san is the name in its certificate, where TLS is spoken.
func (b *builder) cluster(name string, at settings.Address, san string, speaks protocol) *clusterv3.Cluster {
	common := &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(upstreamIdle)}
	explicit := &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{}
	if speaks == grpcUpstream {
		// gRPC keeps its connection; a ping would earn grpc-go's "too many pings".
		common = nil
		explicit.ProtocolConfig = &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
			Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
				InitialStreamWindowSize:     u32(64 << 10),
				InitialConnectionWindowSize: u32(1 << 20),
				// On a local socket the CPU of Huffman coding costs more than the bytes it saves.
				EnableHuffmanEncoding: wrapperspb.Bool(false),
			},
		}
	} else {
		explicit.ProtocolConfig = &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
		}
	}
	cluster := &clusterv3.Cluster{
		Name:                          name,
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:                durationpb.New(time.Second),
		PerConnectionBufferLimitBytes: u32(bufferLimit),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(at, 0)}},
			}}}},
		},
		// Every open stream holds a connection and a request, so the defaults of 1024 would be the limit.
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections:     u32(b.MaxConnections),
			MaxPendingRequests: u32(b.MaxConnections),
			MaxRequests:        u32(b.MaxConnections),
			MaxRetries:         u32(16),
		}}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": b.pack(&upstreamv3.HttpProtocolOptions{
				CommonHttpProtocolOptions: common,
				UpstreamProtocolOptions:   &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit},
			}),
		},
	}
	if at.TCP() && b.UpstreamTLS != nil {
		cluster.TransportSocket = b.upstreamTLS(san, speaks)
		// A peer that vanishes from the network says no goodbye.
		cluster.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveTime: u32(30), KeepaliveInterval: u32(10), KeepaliveProbes: u32(3),
		}}
	}
	if at.Name != "" {
		cluster.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.dns",
			TypedConfig: b.pack(&dnsv3.DnsCluster{
				DnsRefreshRate:  durationpb.New(5 * time.Second),
				DnsLookupFamily: dnscommonv3.DnsLookupFamily_V4_PREFERRED,
			}),
		}}
	}
	return cluster
}
