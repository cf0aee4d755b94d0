package bootstrap

import (
	"net/netip"
	"path/filepath"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
)

const (
	certificateName         = "edge"
	upstreamCertificateName = "edge-to-upstreams"
	upstreamCAName          = "upstreams"
)

// tls is what clients meet.
func (b *builder) tls() *corev3.TransportSocket {
	if b.TLS == nil {
		return nil
	}
	return b.transportSocket(&tlsv3.DownstreamTlsContext{
		CommonTlsContext: &tlsv3.CommonTlsContext{
			AlpnProtocols:                  []string{"h2", "http/1.1"},
			TlsParams:                      tlsVersions(),
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{secretFrom(certificateName, b.TLS.SDS)},
		},
	})
}

// upstreamTLS shows our certificate to an upstream, and takes no other than the one that its name
// and our authorities stand for.
func (b *builder) upstreamTLS(san string, speaks protocol) *corev3.TransportSocket {
	application := "http/1.1"
	if speaks == grpcUpstream {
		application = "h2"
	}
	// RFC 6066 §3: the server name is a DNS name, never an address.
	kind, serverName := tlsv3.SubjectAltNameMatcher_DNS, san
	if _, err := netip.ParseAddr(san); err == nil {
		kind, serverName = tlsv3.SubjectAltNameMatcher_IP_ADDRESS, ""
	} else if strings.Contains(san, "://") {
		kind, serverName = tlsv3.SubjectAltNameMatcher_URI, ""
	}
	return b.transportSocket(&tlsv3.UpstreamTlsContext{
		Sni: serverName,
		// Every connection is verified anew; a resumed session would not be.
		MaxSessionKeys: u32(0),
		CommonTlsContext: &tlsv3.CommonTlsContext{
			AlpnProtocols:                  []string{application},
			TlsParams:                      tlsVersions(),
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{secretFrom(upstreamCertificateName, upstreamCertificateFile(*b.UpstreamTLS))},
			ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: &tlsv3.CertificateValidationContext{
					MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{SanType: kind, Matcher: exact(san)}},
				},
				ValidationContextSdsSecretConfig: secretFrom(upstreamCAName, upstreamCAFile(*b.UpstreamTLS)),
			}},
		},
	})
}

func (b *builder) transportSocket(context proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: b.pack(context)},
	}
}

func tlsVersions() *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}
}

func secretFrom(name, file string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{
		Name: name,
		SdsConfig: &corev3.ConfigSource{
			ResourceApiVersion:    corev3.ApiVersion_V3,
			ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{PathConfigSource: &corev3.PathConfigSource{Path: file}},
		},
	}
}

func upstreamCertificateFile(t settings.UpstreamTLS) string {
	return filepath.Join(t.SDS, "upstream-certificate.yaml")
}

func upstreamCAFile(t settings.UpstreamTLS) string { return filepath.Join(t.SDS, "upstream-ca.yaml") }

// Secrets builds the resource files that name the files of certificates, by their paths. Envoy
// re-reads those when something is moved into or written in their directory. It wants one secret
// in each resource file.
func Secrets(edge settings.Edge) (map[string]proto.Message, error) {
	secrets := map[string]*tlsv3.Secret{}
	if t := edge.TLS; t != nil {
		secrets[t.SDS] = pair(certificateName, t.Cert, t.Key)
	}
	if t := edge.UpstreamTLS; t != nil {
		secrets[upstreamCertificateFile(*t)] = pair(upstreamCertificateName, t.Cert, t.Key)
		secrets[upstreamCAFile(*t)] = &tlsv3.Secret{
			Name: upstreamCAName,
			Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
				TrustedCa: fileSource(t.CA), WatchedDirectory: watched(t.CA),
			}},
		}
	}
	files := map[string]proto.Message{}
	for path, secret := range secrets {
		packed, err := anypb.New(secret)
		if err != nil {
			return nil, err
		}
		files[path] = &discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{packed}}
	}
	return files, nil
}

func pair(name, certificate, key string) *tlsv3.Secret {
	return &tlsv3.Secret{
		Name: name,
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: fileSource(certificate), PrivateKey: fileSource(key), WatchedDirectory: watched(certificate),
		}},
	}
}

func fileSource(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}

func watched(file string) *corev3.WatchedDirectory {
	return &corev3.WatchedDirectory{Path: filepath.Dir(file), WatchModify: true}
}
