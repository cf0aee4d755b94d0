// Package config holds the settings: flags, and environment variables of the
// same names. All are judged together, so that every fault is reported at once.
package config

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mtls"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/selection"
)

// Settings are as they were given; [Settings.Parse] judges them.
type Settings struct {
	PublicURL string `name:"public-url" env:"PUBLIC_URL" placeholder:"URL" help:"The gateway's own origin as clients see it, such as https://mcp.neonpanel.com. Required."`

	NeonpanelAPIURL   string `name:"neonpanel-api-url" env:"NEONPANEL_API_URL" default:"https://my.neonpanel.com" placeholder:"URL" help:"Base of the NeonPanel REST API: HTTPS, or HTTP on loopback. Callers' tokens go there and nowhere else. Default: ${default}."`
	UpstreamProxy     string `name:"upstream-proxy" env:"UPSTREAM_PROXY" placeholder:"URL" help:"HTTP proxy for calls to the API; proxy variables of the environment are ignored. Prefer the file form if it holds a password."`
	UpstreamProxyFile string `name:"upstream-proxy-file" env:"UPSTREAM_PROXY_FILE" placeholder:"FILE" help:"File that holds the proxy's URL, for one with a password in it; read at start."`
	UpstreamCAFile    string `name:"upstream-ca-file" env:"UPSTREAM_CA_FILE" placeholder:"FILE" help:"PEM file of certificate authorities to trust for the API besides the system's."`

	Listen    string `name:"mcpbackend-listen" env:"MCPBACKEND_LISTEN" default:"unix:/run/neonpanel/mcpbackend/mcpbackend.sock" placeholder:"ADDRESS" help:"Where the gateway reaches this service: unix:/path, a loopback host:port, or with TLS any IP address and port. Default: ${default}."`
	OpsListen string `name:"mcpbackend-ops-listen" env:"MCPBACKEND_OPS_LISTEN" default:"127.0.0.1:9102" placeholder:"ADDRESS" help:"Where /healthz, /readyz and /metrics are served, comma-separated. An address that is not local takes TLS, as a scraper elsewhere may; healthcheck asks the first local one. Default: ${default}."`

	TLSCert       string `name:"mcpbackend-tls-cert" env:"MCPBACKEND_TLS_CERT" placeholder:"FILE" help:"PEM file of the certificate chain for listeners on TCP. With it they speak TLS, 1.2 or 1.3, and let in only peers with a certificate of --mcpbackend-tls-client-ca; sockets and the local operations listener do not change. The three files are read again when they change."`
	TLSKey        string `name:"mcpbackend-tls-key" env:"MCPBACKEND_TLS_KEY" placeholder:"FILE" help:"PEM file of its private key."`
	TLSClientCA   string `name:"mcpbackend-tls-client-ca" env:"MCPBACKEND_TLS_CLIENT_CA" placeholder:"FILE" help:"PEM file of the certificate authorities of the peers."`
	TLSClientSANs string `name:"mcpbackend-tls-client-sans" env:"MCPBACKEND_TLS_CLIENT_SANS" placeholder:"NAME,…" help:"Names (DNS name, IP address or URI such as spiffe://…) of which a peer's certificate must hold one; not for operations. Without any, every certificate of those authorities lets its owner in, and whoever is in is believed when it says who the user is."`

	OpenAPIFile    string `name:"mcpbackend-openapi-file" env:"MCPBACKEND_OPENAPI_FILE" placeholder:"FILE" help:"An OpenAPI description to use instead of the one built in."`
	OpenAPIURL     string `name:"mcpbackend-openapi-url" env:"MCPBACKEND_OPENAPI_URL" placeholder:"URL" help:"Where the API serves its own OpenAPI document: HTTPS, or HTTP on loopback. It is fetched without a token, and decides which of the tools there are and of what types their arguments; methods, paths, scopes and texts stay those built in. While it cannot be used, the last good one stays."`
	OpenAPIRefresh string `name:"mcpbackend-openapi-refresh" env:"MCPBACKEND_OPENAPI_REFRESH" default:"10m" placeholder:"DURATION" help:"How often it is fetched, from 1s to 24h. Default: ${default}."`
	Toolsets       string `name:"mcpbackend-toolsets" env:"MCPBACKEND_TOOLSETS" placeholder:"NAME,…" help:"The toolsets to offer, comma-separated; 'all' for every one. Default: those that read, and import."`
	ReadOnly       string `name:"mcpbackend-read-only" env:"MCPBACKEND_READ_ONLY" default:"false" placeholder:"BOOL" help:"Offer only tools that change nothing."`
	List           string `name:"mcpbackend-list" env:"MCPBACKEND_LIST" default:"full" placeholder:"FORM" help:"What tools/list shows a client that does not say: full; granted, only what its scopes allow; or directory, a few tools by which a model finds, describes and calls the others. Any client can choose by the headers X-MCP-Granted and X-MCP-Dynamic, and can ask for fewer tools by X-MCP-Toolsets, X-MCP-Tools, X-MCP-Exclude-Tools and X-MCP-Readonly. Default: ${default}."`
	AppsChallenge  string `name:"mcpbackend-apps-challenge" env:"MCPBACKEND_APPS_CHALLENGE" placeholder:"TOKEN" help:"Body of /.well-known/openai-apps-challenge; 404 when empty."`

	MaxStreams           string `name:"mcpbackend-max-streams" env:"MCPBACKEND_MAX_STREAMS" default:"4000" placeholder:"N" help:"How many legacy SSE streams may be open. Default: ${default}."`
	MaxStreamsPerSubject string `name:"mcpbackend-max-streams-per-subject" env:"MCPBACKEND_MAX_STREAMS_PER_SUBJECT" default:"32" placeholder:"N" help:"How many of them one user may hold with one client. Default: ${default}."`
	RedisURL             string `name:"mcpbackend-redis-url" env:"MCPBACKEND_REDIS_URL" placeholder:"URL" help:"Redis that the replicas share, redis:// or rediss://[user:password@]host[:port][/database]: with it, messages for a legacy SSE stream may arrive at any replica, and no replica makes a change that another one has just made. Without it, both hold within one replica. No token goes there, and all else is sealed. Prefer the file form where it holds a password."`
	RedisURLFile         string `name:"mcpbackend-redis-url-file" env:"MCPBACKEND_REDIS_URL_FILE" placeholder:"FILE" help:"File that holds it."`
	RedisCAFile          string `name:"mcpbackend-redis-ca-file" env:"MCPBACKEND_REDIS_CA_FILE" placeholder:"FILE" help:"PEM file of certificate authorities to trust for rediss:// besides the system's."`
	RedisSecret          string `name:"mcpbackend-redis-secret" env:"MCPBACKEND_REDIS_SECRET" placeholder:"SECRET" help:"Secret that seals what goes to Redis, the same for all replicas: at least 32 characters, as of 'openssl rand -base64 32'. Prefer the file form."`
	RedisSecretFile      string `name:"mcpbackend-redis-secret-file" env:"MCPBACKEND_REDIS_SECRET_FILE" placeholder:"FILE" help:"File that holds it."`
	OTLPEndpoint         string `name:"otel-exporter-otlp-endpoint" env:"OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL" help:"OpenTelemetry collector that takes traces over OTLP/HTTP, such as http://127.0.0.1:4318; empty is off."`
	OTLPCertificate      string `name:"otel-exporter-otlp-certificate" env:"OTEL_EXPORTER_OTLP_CERTIFICATE" placeholder:"FILE" help:"PEM file of certificate authorities to trust for the collector besides the system's."`
	ServiceName          string `name:"otel-service-name" env:"OTEL_SERVICE_NAME" default:"neonpanel-mcp-backend" placeholder:"NAME" help:"Name of this service in traces. Default: ${default}."`
	SamplerArg           string `name:"otel-traces-sampler-arg" env:"OTEL_TRACES_SAMPLER_ARG" default:"1" placeholder:"SHARE" help:"Share of the traces that begin here that is sampled, 0 to 1. Of a request the gateway decides. Default: ${default}."`
	APITraceparent       string `name:"mcpbackend-api-traceparent" env:"MCPBACKEND_API_TRACEPARENT" default:"false" placeholder:"BOOL" help:"Send the trace on to the API in the header traceparent, so that NeonPanel can join its own. Default: ${default}."`
	LogLevel             string `name:"mcpbackend-log-level" env:"MCPBACKEND_LOG_LEVEL" default:"info" placeholder:"LEVEL" help:"debug, info, warn or error. Default: ${default}."`
}

// Address is where to listen or to connect.
type Address struct{ Network, Address string }

// TCP is true of every address but that of a socket.
func (a Address) TCP() bool { return a.Network == "tcp" }

// Local is true when only this machine, or this pod, can connect.
func (a Address) Local() bool {
	if !a.TCP() {
		return true
	}
	host, _, err := net.SplitHostPort(a.Address)
	return err == nil && loopback(host)
}

// Config is valid.
type Config struct {
	PublicURL            *url.URL
	APIURL               *url.URL
	Proxy                string // empty for none
	CAFile               string
	Listen               Address
	OpsListen            []Address
	TLS                  *mtls.Options // nil without it
	OpenAPIFile          string
	OpenAPIURL           *url.URL // nil for none
	OpenAPIRefresh       time.Duration
	Toolsets             []string // nil for the default
	ReadOnly             bool
	List                 selection.Form
	AppsChallenge        string
	MaxStreams           int
	MaxStreamsPerSubject int
	Redis                *Redis // nil without it
	Tracing              Tracing
	LogLevel             slog.Level
}

// Tracing says where traces go; an empty Endpoint turns it off.
type Tracing struct {
	Endpoint, CAFile, Service string
	Share                     float64
	TellAPI                   bool
}

// Parse judges all settings and returns every fault at once, each with the
// name of its setting. With a fault, the settings that are in order are still
// there, so that more can be said about them.
func (s Settings) Parse() (Config, error) {
	var faults []error
	fault := func(name, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s %s", name, fmt.Sprintf(format, args...)))
	}
	c := Config{
		CAFile: s.UpstreamCAFile, OpenAPIFile: s.OpenAPIFile,
		AppsChallenge: strings.TrimSpace(s.AppsChallenge),
	}

	if s.PublicURL == "" {
		fault("PUBLIC_URL", "is required: the gateway's own origin, such as https://mcp.neonpanel.com")
	} else if u, err := baseURL(s.PublicURL); err != nil {
		fault("PUBLIC_URL", "%v", err)
	} else if u.Path != "" {
		fault("PUBLIC_URL", "must be an origin without a path, such as https://mcp.neonpanel.com")
	} else {
		c.PublicURL = u
	}
	if u, err := baseURL(s.NeonpanelAPIURL); err != nil {
		fault("NEONPANEL_API_URL", "%v", err)
	} else {
		c.APIURL = u
	}
	if s.UpstreamProxy+s.UpstreamProxyFile != "" {
		u, err := url.Parse(secret("UPSTREAM_PROXY", s.UpstreamProxy, s.UpstreamProxyFile, "the URL of a proxy", fault))
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			fault("UPSTREAM_PROXY", "must be a URL such as http://proxy.example:3128")
		} else {
			c.Proxy = u.String()
		}
	}
	if err := certificates(s.UpstreamCAFile); err != nil {
		fault("UPSTREAM_CA_FILE", "%v", err)
	}
	if err := regular(s.OpenAPIFile); err != nil {
		fault("MCPBACKEND_OPENAPI_FILE", "%v", err)
		c.OpenAPIFile = ""
	}
	var err error
	if s.OpenAPIURL != "" {
		if c.OpenAPIURL, err = documentURL(s.OpenAPIURL); err != nil {
			fault("MCPBACKEND_OPENAPI_URL", "%v", err)
		}
		if s.OpenAPIFile != "" {
			fault("MCPBACKEND_OPENAPI_URL", "and MCPBACKEND_OPENAPI_FILE exclude each other: a file replaces the description that is built in, the document at a URL is held against it")
		}
	}
	if c.OpenAPIRefresh, err = time.ParseDuration(cmp.Or(s.OpenAPIRefresh, "10m")); err != nil || c.OpenAPIRefresh < time.Second || c.OpenAPIRefresh > 24*time.Hour {
		fault("MCPBACKEND_OPENAPI_REFRESH", "must be a duration from 1s to 24h, such as 10m")
	}
	if c.Listen, err = ParseAddress(s.Listen); err != nil {
		fault("MCPBACKEND_LISTEN", "%v", err)
	}
	if c.OpsListen, err = ParseAddresses(s.OpsListen); err != nil {
		fault("MCPBACKEND_OPS_LISTEN", "%v", err)
	}
	if slices.Contains(c.OpsListen, c.Listen) && c.Listen.Address != "" {
		fault("MCPBACKEND_OPS_LISTEN", "must differ from MCPBACKEND_LISTEN")
	}
	c.TLS = s.tls(fault)
	for i, a := range append([]Address{c.Listen}, c.OpsListen...) {
		if !a.Local() && c.TLS == nil {
			name := "MCPBACKEND_LISTEN"
			if i > 0 {
				name = "MCPBACKEND_OPS_LISTEN"
			}
			fault(name, "must be a unix socket or a loopback address, since whoever can connect is trusted; for %s set MCPBACKEND_TLS_CERT, MCPBACKEND_TLS_KEY and MCPBACKEND_TLS_CLIENT_CA", a.Address)
		}
	}
	for name := range strings.SplitSeq(s.Toolsets, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if !toolsetName.MatchString(name) {
			fault("MCPBACKEND_TOOLSETS", "has an element that is no name of a toolset: %.60q", name)
			continue
		}
		c.Toolsets = append(c.Toolsets, name)
	}
	if c.ReadOnly, err = strconv.ParseBool(s.ReadOnly); err != nil {
		fault("MCPBACKEND_READ_ONLY", "must be true or false")
	}
	switch c.List = selection.Form(cmp.Or(s.List, string(selection.Full))); c.List {
	case selection.Full, selection.Granted, selection.Directory:
	default:
		fault("MCPBACKEND_LIST", "must be full, granted or directory")
	}
	if strings.ContainsFunc(c.AppsChallenge, func(r rune) bool { return r <= ' ' || r > '~' }) || len(c.AppsChallenge) > 512 {
		fault("MCPBACKEND_APPS_CHALLENGE", "must be one token of up to 512 visible ASCII characters")
	}
	if c.MaxStreams, err = strconv.Atoi(s.MaxStreams); err != nil || c.MaxStreams < 1 {
		fault("MCPBACKEND_MAX_STREAMS", "must be a number from 1")
	}
	if c.MaxStreamsPerSubject, err = strconv.Atoi(s.MaxStreamsPerSubject); err != nil || c.MaxStreamsPerSubject < 1 {
		fault("MCPBACKEND_MAX_STREAMS_PER_SUBJECT", "must be a number from 1")
	}
	c.Redis = s.redis(fault)
	c.Tracing = s.tracing(fault)
	if err := c.LogLevel.UnmarshalText([]byte(s.LogLevel)); err != nil {
		fault("MCPBACKEND_LOG_LEVEL", "must be debug, info, warn or error")
	}
	if len(faults) > 0 {
		return c, errors.Join(faults...)
	}
	return c, nil
}

// certificates says why a file cannot be one of authorities; no name is no
// fault.
func certificates(file string) error {
	if err := regular(file); err != nil || file == "" {
		return err
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", errors.Unwrap(err))
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return errors.New("holds no certificate in PEM form")
	}
	return nil
}

// regular says why a file cannot be one to read; no name is no fault.
func regular(file string) error {
	if file == "" {
		return nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", errors.Unwrap(err))
	}
	if !info.Mode().IsRegular() {
		return errors.New("is no regular file")
	}
	return nil
}

var toolsetName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,49}$`)

// baseURL reads an absolute URL without query, to which paths are appended:
// HTTPS, or HTTP on loopback.
func baseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return nil, errors.New("must be an absolute URL, such as https://my.neonpanel.com")
	case u.User != nil:
		return nil, errors.New("must not hold credentials")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return nil, errors.New("must have neither query nor fragment")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("must begin with https:// (http:// is for loopback alone)")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("must be an https URL, such as https://my.neonpanel.com")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	u.RawPath = ""
	// One spelling for all who compare it (RFC 3986 §6.2.2.1, §6.2.3).
	u.Host = strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	return u, nil
}

// documentURL reads where a public document is; it is sent no credential.
func documentURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return nil, errors.New("must be a URL such as https://my.neonpanel.com/api/v1/openapi")
	case u.User != nil || u.Fragment != "":
		return nil, errors.New("must have no user and no fragment")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return nil, errors.New("must use https, or http on loopback: whoever is in between could change the document")
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// ParseAddresses reads a comma-separated list of at least one address.
func ParseAddresses(s string) ([]Address, error) {
	var all []Address
	for one := range strings.SplitSeq(s, ",") {
		a, err := ParseAddress(strings.TrimSpace(one))
		if err != nil {
			return nil, err
		}
		if slices.Contains(all, a) {
			return nil, fmt.Errorf("holds %s twice", strings.TrimSpace(one))
		}
		all = append(all, a)
	}
	return all, nil
}

// ParseAddress reads unix:/path or host:port. The host is an IP address or
// localhost, since another name does not say which interfaces it means.
func ParseAddress(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return Address{}, errors.New("must name an absolute path, as in unix:/run/x.sock")
		}
		if len(path) > 107 {
			return Address{}, errors.New("is too long for a unix socket (107 bytes)")
		}
		return Address{"unix", path}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, errors.New("must be unix:/path or host:port")
	}
	if host != "localhost" && net.ParseIP(host) == nil {
		return Address{}, errors.New("must be a unix socket, or an IP address and a port such as 127.0.0.1:9000")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return Address{}, errors.New("must end in a port number")
	}
	return Address{"tcp", s}, nil
}
