package config

import (
	"errors"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mtls"
)

// tls takes the four settings together; nil when none is set.
func (s Settings) tls(fault func(name, format string, args ...any)) *mtls.Options {
	if s.TLSCert+s.TLSKey+s.TLSClientCA+s.TLSClientSANs == "" {
		return nil
	}
	o := mtls.Options{Cert: s.TLSCert, Key: s.TLSKey, ClientCA: s.TLSClientCA}
	wrong := mtls.Check(o, time.Now())
	for _, file := range []struct {
		name, given, what string
		wrong             error
	}{
		{"MCPBACKEND_TLS_CERT", s.TLSCert, "a certificate for TLS servers with its chain", wrong.Cert},
		{"MCPBACKEND_TLS_KEY", s.TLSKey, "the private key of MCPBACKEND_TLS_CERT", wrong.Key},
		{"MCPBACKEND_TLS_CLIENT_CA", s.TLSClientCA, "certificate authorities", wrong.ClientCA},
	} {
		switch {
		case file.given == "":
			fault(file.name, "is missing: TLS takes MCPBACKEND_TLS_CERT, MCPBACKEND_TLS_KEY and MCPBACKEND_TLS_CLIENT_CA")
		case errors.As(file.wrong, new(*os.PathError)):
			fault(file.name, "must be a PEM file of %s: it %v", file.what, misplaced(file.wrong))
		case file.wrong != nil:
			fault(file.name, "must be a PEM file of %s: %v", file.what, file.wrong)
		}
	}
	for name := range strings.SplitSeq(s.TLSClientSANs, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if !isSAN(name) {
			fault("MCPBACKEND_TLS_CLIENT_SANS", "must hold names as they stand in a certificate, a DNS name without wildcard, an IP address, or a URI such as spiffe://example.org/envoy, and not %.60q", name)
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
