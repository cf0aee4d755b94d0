package settings

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
)

// parseUpstreamTLS judges how the upstreams are reached. Who reached one past Envoy could send
// identity headers of its own, or spend a user's share, so one that is not local takes TLS with
// certificates on both sides.
func parseUpstreamTLS(f *faults, s Settings, e Edge) *UpstreamTLS {
	upstreams := []struct {
		setting, given string
		at             Address
	}{{"EDGE_AUTHZ", s.Authz, e.Authz}, {"EDGE_DISCOVERY", s.Discovery, e.Discovery}, {"EDGE_BACKEND", s.Backend, e.Backend}}
	names := []struct{ setting, given string }{{"EDGE_AUTHZ_SAN", s.AuthzSAN}, {"EDGE_BACKEND_SAN", s.BackendSAN}, {"EDGE_RATELIMIT_SAN", s.RateLimitSAN}}
	var service []Address
	if e.RateLimit != nil {
		service = append(service, *e.RateLimit)
		upstreams = append(upstreams, struct {
			setting, given string
			at             Address
		}{"EDGE_RATELIMIT", s.RateLimit, *e.RateLimit})
	}

	files := s.UpstreamTLSCert + s.UpstreamTLSKey + s.UpstreamTLSCA
	if files == "" {
		for _, u := range upstreams {
			if !u.at.Local() {
				f.add(u.setting, "%q is not loopback; use a unix socket, or 127.0.0.1, or set EDGE_UPSTREAM_TLS_CERT, EDGE_UPSTREAM_TLS_KEY and EDGE_UPSTREAM_TLS_CA", u.given)
			}
		}
		for _, name := range names {
			if name.given != "" {
				f.add(name.setting, "%q means nothing without EDGE_UPSTREAM_TLS_CERT, EDGE_UPSTREAM_TLS_KEY and EDGE_UPSTREAM_TLS_CA", name.given)
			}
		}
		return nil
	}
	for _, file := range []struct{ setting, path string }{
		{"EDGE_UPSTREAM_TLS_CERT", s.UpstreamTLSCert}, {"EDGE_UPSTREAM_TLS_KEY", s.UpstreamTLSKey},
		{"EDGE_UPSTREAM_TLS_CA", s.UpstreamTLSCA}, {"EDGE_UPSTREAM_TLS_SDS", s.UpstreamTLSSDS},
	} {
		switch {
		case file.path == "":
			f.add(file.setting, "needed too: TLS to the upstreams takes EDGE_UPSTREAM_TLS_CERT, EDGE_UPSTREAM_TLS_KEY, EDGE_UPSTREAM_TLS_CA and EDGE_UPSTREAM_TLS_SDS")
		case !filepath.IsAbs(file.path):
			f.add(file.setting, "%q must be an absolute path, because Envoy reads it from its own directory", file.path)
		}
	}
	return &UpstreamTLS{
		Cert: s.UpstreamTLSCert, Key: s.UpstreamTLSKey, CA: s.UpstreamTLSCA, SDS: s.UpstreamTLSSDS,
		Authz:     parseSAN(f, "EDGE_AUTHZ_SAN", s.AuthzSAN, e.Authz, e.Discovery),
		Backend:   parseSAN(f, "EDGE_BACKEND_SAN", s.BackendSAN, e.Backend),
		RateLimit: parseSAN(f, "EDGE_RATELIMIT_SAN", s.RateLimitSAN, service...),
	}
}

// parseSAN takes a name as it stands in a certificate (RFC 5280 §4.2.1.6). Without it any
// certificate of the authorities would do, that of another service too.
func parseSAN(f *faults, setting, given string, upstreams ...Address) string {
	if given == "" {
		needed := false
		for _, at := range upstreams {
			needed = needed || at.TCP()
			if given == "" {
				given = at.Name
			}
		}
		if needed && given == "" {
			f.add(setting, "needed too: the name in the upstream's certificate, such as authz.internal")
		}
		return given
	}
	ip, err := netip.ParseAddr(given)
	u, isURL := url.Parse(given)
	switch {
	case err == nil && ip.String() == given:
	case isURL == nil && u.Scheme != "" && u.Host != "" && u.String() == given:
	case hostName.MatchString(strings.ToLower(given)) && hasLetter.MatchString(strings.ToLower(given)):
	default:
		f.add(setting, "%q is not a DNS name without wildcard, an IP address, or a URI such as spiffe://example.org/authz", given)
	}
	return given
}
