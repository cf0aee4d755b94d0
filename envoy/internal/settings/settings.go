// Package settings turns flags and environment variables into a checked description of the edge.
package settings

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Settings are the raw values. They stay strings until Parse, so that all faults are found together.
type Settings struct {
	PublicURL string `name:"public-url" env:"PUBLIC_URL" placeholder:"URL" help:"The gateway's own origin, as clients see it, such as https://mcp.neonpanel.com. Required. HTTPS, or HTTP on a loopback host."`

	Listen      string `name:"edge-listen" env:"EDGE_LISTEN" default:"0.0.0.0:8080" placeholder:"IP:PORT" help:"Where Envoy listens for clients (${default})."`
	Hosts       string `name:"edge-hosts" env:"EDGE_HOSTS" placeholder:"HOST,…" help:"Further host names, without port, that requests may be addressed to. Any other Host gets 421."`
	CORSOrigins string `name:"edge-cors-origins" env:"EDGE_CORS_ORIGINS" default:"*" placeholder:"ORIGIN,…" help:"Origins whose pages may call the gateway, or * for any (${default}). With a list, requests from other origins get 403."`
	TrustedHops string `name:"edge-trusted-hops" env:"EDGE_TRUSTED_HOPS" default:"0" placeholder:"N" help:"HTTP proxies in front of Envoy that append to X-Forwarded-For (${default}); 1 behind an AWS ALB."`

	TLSCert string `name:"edge-tls-cert" env:"EDGE_TLS_CERT" placeholder:"FILE" help:"Certificate chain in PEM. With --edge-tls-key, Envoy serves HTTPS (TLS 1.2 and 1.3, HTTP/2) and re-reads both files when they change."`
	TLSKey  string `name:"edge-tls-key" env:"EDGE_TLS_KEY" placeholder:"FILE" help:"Private key in PEM."`
	TLSSDS  string `name:"edge-tls-sds" env:"EDGE_TLS_SDS" default:"/run/neonpanel/envoy/tls.yaml" placeholder:"FILE" help:"With TLS, the file that render writes beside the bootstrap: Envoy watches certificates only when such a resource file names them (${default})."`

	HTTP3 string `name:"edge-http3" env:"EDGE_HTTP3" default:"false" placeholder:"true" help:"Serve HTTP/3 too, over UDP on the same address and port, and tell clients of it (${default}). Needs the certificate, and no proxy in front."`

	MaxBody        string `name:"edge-max-body" env:"EDGE_MAX_BODY" default:"4MiB" placeholder:"SIZE" help:"Largest request body (${default}); more gets 413."`
	MaxConnections string `name:"edge-max-connections" env:"EDGE_MAX_CONNECTIONS" default:"10000" placeholder:"N" help:"Client connections, and open requests to each upstream (${default}). An open stream holds one of each and two file descriptors."`
	MaxHeap        string `name:"edge-max-heap" env:"EDGE_MAX_HEAP" default:"1GiB" placeholder:"SIZE" help:"Memory at which Envoy stops accepting requests (${default}); set it below the container's limit."`

	SubjectRate  string `name:"edge-subject-rate" env:"EDGE_SUBJECT_RATE" default:"20" placeholder:"N" help:"Requests per second that one user may make through one OAuth client, on average (${default}); more get 429 with Retry-After. Through all clients together a user may make four times as many. 1000000 is as good as no limit. Each Envoy counts for itself, unless --edge-ratelimit names a service that counts for all."`
	SubjectBurst string `name:"edge-subject-burst" env:"EDGE_SUBJECT_BURST" default:"100" placeholder:"N" help:"Requests of those that may come at once (${default})."`

	Authz     string `name:"edge-authz" env:"EDGE_AUTHZ" default:"unix:/run/neonpanel/authz/authz.sock" placeholder:"ADDRESS" help:"authz's gRPC service (${default}). Addresses are unix:/path or a loopback IP:PORT; with TLS to the upstreams also any other IP:PORT or NAME:PORT."`
	Discovery string `name:"edge-discovery" env:"EDGE_DISCOVERY" default:"unix:/run/neonpanel/authz/discovery.sock" placeholder:"ADDRESS" help:"authz's OAuth documents (${default})."`
	Backend   string `name:"edge-backend" env:"EDGE_BACKEND" default:"unix:/run/neonpanel/mcpbackend/mcpbackend.sock" placeholder:"ADDRESS" help:"mcpbackend (${default})."`
	Admin     string `name:"edge-admin" env:"EDGE_ADMIN" placeholder:"ADDRESS" help:"Envoy's admin interface, limited to readiness, statistics and draining; empty is off."`

	RateLimit    string `name:"edge-ratelimit" env:"EDGE_RATELIMIT" placeholder:"ADDRESS" help:"A rate limit service (envoyproxy/ratelimit) that counts --edge-subject-rate for all Envoys together, by the minute; empty is off. While it fails, each Envoy's own limit holds. Its configuration is what 'envoyconf ratelimit' writes."`
	RateLimitSAN string `name:"edge-ratelimit-san" env:"EDGE_RATELIMIT_SAN" placeholder:"NAME" help:"The name in its certificate, as --edge-authz-san."`

	UpstreamTLSCert string `name:"edge-upstream-tls-cert" env:"EDGE_UPSTREAM_TLS_CERT" placeholder:"FILE" help:"Certificate chain in PEM that Envoy shows to its upstreams. With it, the key and the authorities, Envoy speaks TLS (1.2 or 1.3) to every one of them that is not a socket; Envoy re-reads the three files when they change."`
	UpstreamTLSKey  string `name:"edge-upstream-tls-key" env:"EDGE_UPSTREAM_TLS_KEY" placeholder:"FILE" help:"Its private key in PEM."`
	UpstreamTLSCA   string `name:"edge-upstream-tls-ca" env:"EDGE_UPSTREAM_TLS_CA" placeholder:"FILE" help:"Certificate authorities in PEM that the upstreams' certificates must come from."`
	UpstreamTLSSDS  string `name:"edge-upstream-tls-sds" env:"EDGE_UPSTREAM_TLS_SDS" default:"/run/neonpanel/envoy" placeholder:"DIR" help:"With TLS to the upstreams, the directory into which render writes the two files through which Envoy watches the other three (${default})."`
	AuthzSAN        string `name:"edge-authz-san" env:"EDGE_AUTHZ_SAN" placeholder:"NAME" help:"The name in authz's certificate: DNS name, IP address or URI such as spiffe://…. The host of --edge-authz, if that is a name, unless given."`
	BackendSAN      string `name:"edge-backend-san" env:"EDGE_BACKEND_SAN" placeholder:"NAME" help:"The name in mcpbackend's certificate, likewise."`

	OTLPEndpoint    string `name:"otel-exporter-otlp-endpoint" env:"OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL" help:"OpenTelemetry collector that takes traces over OTLP/HTTP, such as http://127.0.0.1:4318; empty is off."`
	OTLPCertificate string `name:"otel-exporter-otlp-certificate" env:"OTEL_EXPORTER_OTLP_CERTIFICATE" placeholder:"FILE" help:"Certificate authorities in PEM of a collector with https."`
	ServiceName     string `name:"otel-service-name" env:"OTEL_SERVICE_NAME" default:"neonpanel-mcp-edge" placeholder:"NAME" help:"Envoy's service name in traces (${default})."`
	SamplerArg      string `name:"otel-traces-sampler-arg" env:"OTEL_TRACES_SAMPLER_ARG" default:"1" placeholder:"SHARE" help:"Share of the requests that are traced, 0 to 1 (${default})."`

	NodeID string `name:"edge-node-id" env:"EDGE_NODE_ID" default:"neonpanel-mcp-edge" placeholder:"NAME" help:"Envoy's node id, in its statistics and traces (${default})."`
}

// Edge is what the settings mean, checked.
type Edge struct {
	PublicURL string   // origin, without a trailing slash
	Hosts     []string // every accepted host, without port; an IPv6 address in brackets
	Listen    Address
	TLS       *TLS   // nil: plain HTTP
	HTTP3     *HTTP3 // nil: off

	// AnyOrigin is the open CORS policy; else only Origins may call, and the gateway's own.
	AnyOrigin bool
	Origins   []string

	TrustedHops    uint32
	MaxBody        uint64
	MaxConnections uint32
	MaxHeap        uint64
	Subject        Limit

	Authz, Discovery, Backend Address
	RateLimit                 *Address     // nil: each Envoy counts for itself alone
	UpstreamTLS               *UpstreamTLS // nil: plain, to what is local
	Admin                     *Address     // nil: off
	Tracing                   *Tracing     // nil: off
	NodeID                    string
}

// TLS names the certificate files and the SDS resource file that makes Envoy watch them.
type TLS struct{ Cert, Key, SDS string }

// UpstreamTLS is what Envoy shows to its upstreams and expects of them.
type UpstreamTLS struct {
	Cert, Key, CA string
	SDS           string // a directory
	// Authz, Backend and RateLimit are names that the upstream's certificate must hold.
	Authz, Backend, RateLimit string
}

// Address is a unix socket (Path), or an IP address or a DNS name and a port.
type Address struct {
	Path string
	IP   netip.Addr
	Name string
	Port uint32
}

// TCP is true of every address but that of a socket.
func (a Address) TCP() bool { return a.Path == "" }

// Local is true when the address stays on this machine, or in this pod.
func (a Address) Local() bool { return !a.TCP() || a.IP.Unmap().IsLoopback() }

// loopbackHosts count as one: whoever may use one of them may use all.
var loopbackHosts = []string{"localhost", "127.0.0.1", "[::1]"}

var (
	hostName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*$`)
	hasLetter = regexp.MustCompile(`[a-z]`)
	nodeName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`)
)

// faults collects what is wrong, each with the setting's name.
type faults []error

func (f *faults) add(setting, format string, args ...any) {
	*f = append(*f, fmt.Errorf("%s: %s", setting, fmt.Sprintf(format, args...)))
}

// Parse checks every setting and returns all faults at once.
func (s Settings) Parse() (Edge, error) {
	var f faults
	e := Edge{}

	var publicHost string
	e.PublicURL, publicHost = parseOrigin(&f, "PUBLIC_URL", s.PublicURL, true)
	e.Hosts = parseHosts(&f, publicHost, s.Hosts)
	e.Listen = parseListen(&f, s.Listen)
	e.TLS = parseTLS(&f, s)
	e.AnyOrigin, e.Origins = parseOrigins(&f, s.CORSOrigins, e.PublicURL)

	e.TrustedHops = uint32(parseCount(&f, "EDGE_TRUSTED_HOPS", s.TrustedHops, 0, 16))
	e.HTTP3 = parseHTTP3(&f, s, e)
	e.MaxConnections = uint32(parseCount(&f, "EDGE_MAX_CONNECTIONS", s.MaxConnections, 16, 1_000_000))
	e.MaxBody = parseSize(&f, "EDGE_MAX_BODY", s.MaxBody, 1<<10, 1<<30)
	e.MaxHeap = parseSize(&f, "EDGE_MAX_HEAP", s.MaxHeap, 64<<20, 1<<40)

	e.Subject = parseLimit(&f, s)

	e.Authz = parseAddress(&f, "EDGE_AUTHZ", s.Authz)
	e.Discovery = parseAddress(&f, "EDGE_DISCOVERY", s.Discovery)
	e.Backend = parseAddress(&f, "EDGE_BACKEND", s.Backend)
	if s.RateLimit != "" {
		service := parseAddress(&f, "EDGE_RATELIMIT", s.RateLimit)
		e.RateLimit = &service
	}
	e.UpstreamTLS = parseUpstreamTLS(&f, s, e)
	if s.Admin != "" {
		admin := parseAddress(&f, "EDGE_ADMIN", s.Admin)
		if e.Admin = &admin; !admin.Local() {
			f.add("EDGE_ADMIN", "%q is not loopback; use a unix socket, or 127.0.0.1", s.Admin)
		}
	}
	e.Tracing = parseTracing(&f, s)
	if e.NodeID = s.NodeID; !nodeName.MatchString(s.NodeID) {
		f.add("EDGE_NODE_ID", "%q is not a plain name of letters, digits and . _ : / -", s.NodeID)
	}
	return e, errors.Join(f...)
}

// parseOrigin accepts scheme://host[:port]. The gateway's own must be HTTPS or loopback, because
// bearer tokens travel to it (RFC 6750 §5.3).
func parseOrigin(f *faults, setting, value string, own bool) (origin, host string) {
	if value == "" {
		f.add(setting, "required, such as https://mcp.neonpanel.com")
		return "", ""
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		f.add(setting, "%q is not an origin such as https://mcp.neonpanel.com", value)
		return "", ""
	case u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		f.add(setting, "%q must be scheme, host and port only", value)
		return "", ""
	}
	host, ok := canonicalHost(u.Hostname())
	if !ok {
		f.add(setting, "%q has no valid host", value)
		return "", ""
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			f.add(setting, "%q has no valid port", value)
			return "", ""
		}
	} else if strings.HasSuffix(u.Host, ":") {
		f.add(setting, "%q ends in a colon without a port", value)
		return "", ""
	}
	if own && u.Scheme == "http" && !isLoopback(host) {
		f.add(setting, "%q must use https; http is for a loopback host only", value)
	}
	origin = u.Scheme + "://" + host
	// Browsers leave the default port out of Origin (RFC 6454 §6.2).
	if p := u.Port(); p != "" && !(u.Scheme == "https" && p == "443") && !(u.Scheme == "http" && p == "80") {
		origin += ":" + p
	}
	return origin, host
}

// canonicalHost lower-cases a name and brackets an IPv6 address.
func canonicalHost(host string) (string, bool) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return "", false
		}
		if ip.Is6() {
			return "[" + ip.String() + "]", true
		}
		return ip.String(), true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host, len(host) <= 253 && hostName.MatchString(host)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

func parseHosts(f *faults, publicHost, list string) []string {
	var hosts []string
	add := func(host string) {
		if host != "" && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	add(publicHost)
	for _, item := range split(list) {
		host, ok := canonicalHost(strings.Trim(item, "[]"))
		if !ok {
			f.add("EDGE_HOSTS", "%q is not a host name or IP address; leave out scheme, port and wildcards", item)
			continue
		}
		add(host)
	}
	if slices.ContainsFunc(hosts, isLoopback) {
		for _, host := range loopbackHosts {
			add(host)
		}
	}
	return hosts
}

func parseOrigins(f *faults, list, own string) (anyOrigin bool, origins []string) {
	items := split(list)
	switch {
	case len(items) == 0:
		f.add("EDGE_CORS_ORIGINS", "must be * or a list of origins such as https://chatgpt.com")
		return false, nil
	case len(items) == 1 && items[0] == "*":
		return true, nil
	}
	if own != "" {
		origins = append(origins, own)
	}
	for _, item := range items {
		if strings.Contains(item, "*") {
			f.add("EDGE_CORS_ORIGINS", "%q: a wildcard must stand alone", item)
			continue
		}
		origin, _ := parseOrigin(f, "EDGE_CORS_ORIGINS", item, false)
		if origin != "" && !slices.Contains(origins, origin) {
			origins = append(origins, origin)
		}
	}
	return false, origins
}

func parseListen(f *faults, value string) Address {
	ip, port, ok := parseIPPort(value, 0)
	if !ok {
		f.add("EDGE_LISTEN", "%q is not an IP address and port such as 0.0.0.0:8080 or [::]:8080 (port 0: any free one)", value)
	}
	return Address{IP: ip, Port: port}
}

// parseAddress accepts a socket, an IP address and port, or a DNS name and port. What is faulty
// comes back as the zero value, which is nobody's address.
func parseAddress(f *faults, setting, value string) Address {
	if path, ok := strings.CutPrefix(value, "unix:"); ok {
		switch {
		case !filepath.IsAbs(path) || filepath.Clean(path) != path:
			f.add(setting, "%q must be unix: and a clean absolute path", value)
		case len(path) > 107: // sun_path, with its final zero
			f.add(setting, "the socket path has %d bytes, but only 107 are possible", len(path))
		}
		return Address{Path: path}
	}
	if ip, port, ok := parseIPPort(value, 1); ok {
		return Address{IP: ip, Port: port}
	}
	if host, port, err := net.SplitHostPort(value); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		// Of digits and dots alone it would be an IP address, and it is none.
		if name, ok := canonicalHost(host); ok && err == nil && n > 0 && hasLetter.MatchString(name) && !strings.HasPrefix(name, "[") {
			return Address{Name: name, Port: uint32(n)}
		}
	}
	f.add(setting, "%q is neither unix:/path nor an address and port such as 127.0.0.1:9001", value)
	return Address{Path: value}
}

func parseIPPort(value string, minPort uint64) (netip.Addr, uint32, bool) {
	if rest, ok := strings.CutPrefix(value, "localhost:"); ok {
		value = "127.0.0.1:" + rest
	}
	ap, err := netip.ParseAddrPort(value)
	if err != nil || uint64(ap.Port()) < minPort || ap.Addr().Zone() != "" {
		return netip.Addr{}, 0, false
	}
	return ap.Addr(), uint32(ap.Port()), true
}

func parseTLS(f *faults, s Settings) *TLS {
	if s.TLSCert == "" && s.TLSKey == "" {
		return nil
	}
	for _, file := range []struct{ setting, path string }{
		{"EDGE_TLS_CERT", s.TLSCert}, {"EDGE_TLS_KEY", s.TLSKey}, {"EDGE_TLS_SDS", s.TLSSDS},
	} {
		switch {
		case file.path == "":
			f.add(file.setting, "needed too: TLS takes EDGE_TLS_CERT, EDGE_TLS_KEY and EDGE_TLS_SDS")
		case !filepath.IsAbs(file.path):
			f.add(file.setting, "%q must be an absolute path, because Envoy reads it from its own directory", file.path)
		}
	}
	return &TLS{Cert: s.TLSCert, Key: s.TLSKey, SDS: s.TLSSDS}
}

func parseCount(f *faults, setting, value string, low, high uint64) uint64 {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n < low || n > high {
		f.add(setting, "%q is not a number from %d to %d", value, low, high)
		return low
	}
	return n
}

// parseSize reads a number of bytes, or one with KiB, MiB or GiB.
func parseSize(f *faults, setting, value string, low, high uint64) uint64 {
	digits, shift := value, 0
	for suffix, bits := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if d, ok := strings.CutSuffix(value, suffix); ok {
			digits, shift = strings.TrimSpace(d), bits
		}
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n<<shift < low || n<<shift > high {
		f.add(setting, "%q is not a size from %d to %d bytes, such as 4MiB or 65536", value, low, high)
		return low
	}
	return n << shift
}

func split(list string) []string {
	var items []string
	for _, item := range strings.Split(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
