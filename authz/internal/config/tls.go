package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/mtls"
)

// tls takes the four settings together; nil when none is set.
func (j *judge) tls(s Settings) *mtls.Options {
	if s.TLSCert+s.TLSKey+s.TLSClientCA+s.TLSClientSANs == "" {
		return nil
	}
	o := mtls.Options{Cert: s.TLSCert, Key: s.TLSKey, ClientCA: s.TLSClientCA}
	wrong := mtls.Check(o, time.Now())
	for _, file := range []struct {
		setting, given, allowed string
		wrong                   error
	}{
		{"AUTHZ_TLS_CERT", s.TLSCert, "a PEM file of a certificate for TLS servers and its chain", wrong.Cert},
		{"AUTHZ_TLS_KEY", s.TLSKey, "a PEM file of the private key of AUTHZ_TLS_CERT", wrong.Key},
		{"AUTHZ_TLS_CLIENT_CA", s.TLSClientCA, "a PEM file of certificate authorities", wrong.ClientCA},
	} {
		switch {
		case file.given == "":
			j.fault(file.setting, "", "%s: TLS takes AUTHZ_TLS_CERT, AUTHZ_TLS_KEY and AUTHZ_TLS_CLIENT_CA", file.allowed)
		case file.wrong != nil && file.setting == "AUTHZ_TLS_KEY":
			j.secretFile(file.setting, file.given, file.allowed, file.wrong)
		case file.wrong != nil:
			j.fault(file.setting, file.given, "%s (%s)", file.allowed, file.wrong)
		}
	}
	for _, name := range list(s.TLSClientSANs) {
		if !isSAN(name) {
			j.fault("AUTHZ_TLS_CLIENT_SANS", name, "names as they stand in a certificate: a DNS name without wildcard, an IP address, or a URI such as spiffe://example.org/envoy")
			continue
		}
		o.ClientSANs = append(o.ClientSANs, name)
	}
	return &o
}

var dnsName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*)(\.[A-Za-z0-9_][A-Za-z0-9_-]*)*$`)

// isSAN is true of what RFC 5280 §4.2.1.6 has as a DNS name, an IP address or a
// URI, in the form in which it is compared.
func isSAN(name string) bool {
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.String() == name
	}
	if u, err := url.Parse(name); err == nil && u.Scheme != "" && u.Host != "" {
		return u.String() == name
	}
	return dnsName.MatchString(name)
}
