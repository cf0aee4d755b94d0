package settings

import (
	"net/url"
	"strconv"
)

// HTTP3 is where clients are told to find it.
type HTTP3 struct{ Port uint32 }

// parseHTTP3 takes the port that clients see, which is that of the public URL.
func parseHTTP3(f *faults, s Settings, e Edge) *HTTP3 {
	on, err := strconv.ParseBool(s.HTTP3)
	switch {
	case err != nil:
		f.add("EDGE_HTTP3", "%q is neither true nor false", s.HTTP3)
		return nil
	case !on:
		return nil
	}
	if e.TLS == nil {
		f.add("EDGE_HTTP3", "needs EDGE_TLS_CERT and EDGE_TLS_KEY: there is no HTTP/3 without TLS")
	}
	if e.TrustedHops > 0 {
		f.add("EDGE_HTTP3", "with EDGE_TRUSTED_HOPS, it is the proxy in front that speaks HTTP/3: whoever came to Envoy past it could forge an address")
	}
	port := uint64(443)
	if u, err := url.Parse(e.PublicURL); err == nil && u.Port() != "" {
		port, _ = strconv.ParseUint(u.Port(), 10, 16) // PUBLIC_URL's own check has told
	}
	return &HTTP3{Port: uint32(port)}
}
