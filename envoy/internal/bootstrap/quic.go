package bootstrap

import (
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	quicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/quic/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// quicListener serves HTTP/3 beside the other one, with the same routes, filters and limits.
func (b *builder) quicListener() []*listenerv3.Listener {
	if b.HTTP3 == nil || b.TLS == nil {
		return nil
	}
	at := address(b.Listen, 0)
	at.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
	return []*listenerv3.Listener{{
		Name:    "edge-http3",
		Address: at,
		// Each worker has a socket of its own; a client's packets come to the same one.
		EnableReusePort: wrapperspb.Bool(true),
		UdpListenerConfig: &listenerv3.UdpListenerConfig{QuicOptions: &listenerv3.QuicProtocolOptions{
			QuicProtocolOptions: &corev3.QuicProtocolOptions{
				MaxConcurrentStreams:        u32(maxStreams),
				InitialStreamWindowSize:     u32(streamWindow),
				InitialConnectionWindowSize: u32(connectionWindow),
			},
			IdleTimeout:            durationpb.New(5 * time.Minute),
			CryptoHandshakeTimeout: durationpb.New(10 * time.Second),
		}},
		FilterChains: []*listenerv3.FilterChain{{
			TransportSocket: &corev3.TransportSocket{
				Name: "envoy.transport_sockets.quic",
				ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: b.pack(&quicv3.QuicDownstreamTransport{
					// What comes before the handshake is complete could be played again (RFC 9001 §9.2).
					EnableEarlyData: wrapperspb.Bool(false),
					DownstreamTlsContext: &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
						AlpnProtocols: []string{"h3"},
						// RFC 9001 §4.2: QUIC has no older version.
						TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
						TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{secretFrom(certificateName, b.TLS.SDS)},
					}},
				})},
			},
			Filters: []*listenerv3.Filter{{
				Name:       "envoy.filters.network.http_connection_manager",
				ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: b.pack(b.connectionManager(hcmv3.HttpConnectionManager_HTTP3))},
			}},
		}},
	}}
}

// alternative tells clients of HTTP/3 (RFC 7838 §3).
func (b *builder) alternative() []*corev3.HeaderValueOption {
	if b.HTTP3 == nil {
		return nil
	}
	return []*corev3.HeaderValueOption{setHeader("alt-svc", fmt.Sprintf(`h3=":%d"; ma=86400`, b.HTTP3.Port))}
}
