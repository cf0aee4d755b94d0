// Package config turns what the operator wrote (flags and environment
// variables) into typed settings. Every setting arrives as a string and all are
// judged together, so that one start names every fault.
package config

import "reflect"

// Settings are the settings as the operator wrote them. An empty value means
// the default. They are shared by every subcommand that judges tokens.
type Settings struct {
	PublicURL string `name:"public-url" env:"PUBLIC_URL" group:"Identity" help:"The gateway's own origin as clients see it, such as https://mcp.neonpanel.com. Every URL that is published is built from it. Required."`

	NeonpanelIssuer   string `name:"neonpanel-issuer" env:"NEONPANEL_ISSUER" default:"https://my.neonpanel.com" group:"Identity" help:"Exact issuer (iss) of the access tokens, and where its metadata is discovered."`
	JWKSURL           string `name:"authz-jwks-url" env:"AUTHZ_JWKS_URL" group:"Identity" help:"Where the signing keys are, when not where the issuer's metadata says."`
	UpstreamProxy     string `name:"upstream-proxy" env:"UPSTREAM_PROXY" group:"Identity" help:"HTTP proxy on the way to the issuer. Proxy variables of the environment are ignored. Prefer the file form if it holds a password."`
	UpstreamProxyFile string `name:"upstream-proxy-file" env:"UPSTREAM_PROXY_FILE" group:"Identity" help:"File that holds the proxy's URL, for one with a password in it; re-read when it changes."`
	UpstreamCAFile    string `name:"upstream-ca-file" env:"UPSTREAM_CA_FILE" group:"Identity" help:"PEM file of certificate authorities to trust for the issuer, besides the system's."`

	Listen          string `name:"authz-listen" env:"AUTHZ_LISTEN" default:"unix:/run/neonpanel/authz/authz.sock" group:"Listeners" help:"Where Envoy asks (gRPC ext_authz): unix:/path, a loopback host:port, or with TLS any host:port."`
	DiscoveryListen string `name:"authz-discovery-listen" env:"AUTHZ_DISCOVERY_LISTEN" default:"unix:/run/neonpanel/authz/discovery.sock" group:"Listeners" help:"Where the OAuth discovery documents are served."`
	OpsListen       string `name:"authz-ops-listen" env:"AUTHZ_OPS_LISTEN" default:"127.0.0.1:9101" group:"Listeners" help:"Where /healthz, /readyz, /metrics and a CPU profile (/debug/pprof/profile?seconds=10) are served, comma-separated. An address that is not local takes TLS, as a scraper elsewhere may; healthcheck asks the first local one."`
	TLSCert         string `name:"authz-tls-cert" env:"AUTHZ_TLS_CERT" group:"Listeners" help:"PEM file of the certificate chain for listeners on TCP. With it they speak TLS, 1.2 or 1.3, and let in only peers with a certificate of AUTHZ_TLS_CLIENT_CA; sockets and the local operations listener do not change. The three files are read again when they change."`
	TLSKey          string `name:"authz-tls-key" env:"AUTHZ_TLS_KEY" group:"Listeners" help:"PEM file of its private key."`
	TLSClientCA     string `name:"authz-tls-client-ca" env:"AUTHZ_TLS_CLIENT_CA" group:"Listeners" help:"PEM file of the certificate authorities of the peers."`
	TLSClientSANs   string `name:"authz-tls-client-sans" env:"AUTHZ_TLS_CLIENT_SANS" group:"Listeners" help:"Names (DNS name, IP address or URI such as spiffe://…), comma-separated, of which a peer's certificate must hold one; not for operations. Without any, every certificate of those authorities lets its owner in."`

	TokenMode          string `name:"authz-token-mode" env:"AUTHZ_TOKEN_MODE" default:"auto" group:"Tokens" help:"auto, jwt or opaque."`
	Algorithms         string `name:"authz-algorithms" env:"AUTHZ_ALGORITHMS" default:"RS256" group:"Tokens" help:"Signature algorithms accepted, comma-separated. Empty means the default."`
	Audiences          string `name:"authz-audiences" env:"AUTHZ_AUDIENCES" group:"Tokens" help:"Values of aud accepted, comma-separated. Default: the public URL, and it with /mcp, /sse and /sse/. 'any' checks only values that are URIs."`
	ClientIDs          string `name:"authz-client-ids" env:"AUTHZ_CLIENT_IDS" group:"Tokens" help:"Client ids accepted as aud, comma-separated (Laravel Passport puts them there)."`
	AudienceMode       string `name:"authz-audience-mode" env:"AUTHZ_AUDIENCE_MODE" default:"enforce" group:"Tokens" help:"enforce, or report: log and count what would be refused."`
	AllowMissingIssuer string `name:"authz-allow-missing-issuer" env:"AUTHZ_ALLOW_MISSING_ISSUER" default:"false" group:"Tokens" help:"Accept tokens without iss, as Laravel Passport makes them, and introspection responses without: true or false."`
	Leeway             string `name:"authz-leeway" env:"AUTHZ_LEEWAY" default:"30s" group:"Tokens" help:"Clock difference tolerated for nbf; exp gets none."`

	Scopes         string `name:"authz-scopes" env:"AUTHZ_SCOPES" group:"Scopes" help:"Scopes in force, comma-separated. Default: the issuer's scopes_supported."`
	RequiredScopes string `name:"authz-required-scopes" env:"AUTHZ_REQUIRED_SCOPES" group:"Scopes" help:"Scopes that every bearer request needs, comma-separated."`
	ScopeMode      string `name:"authz-scope-mode" env:"AUTHZ_SCOPE_MODE" default:"enforce" group:"Scopes" help:"enforce, report or off."`

	IntrospectionURL              string `name:"authz-introspection-url" env:"AUTHZ_INTROSPECTION_URL" group:"Introspection" help:"RFC 7662 endpoint. Default: as the issuer's metadata says."`
	IntrospectionClientID         string `name:"authz-introspection-client-id" env:"AUTHZ_INTROSPECTION_CLIENT_ID" group:"Introspection" help:"Client id for introspection; empty means no introspection."`
	IntrospectionClientSecret     string `name:"authz-introspection-client-secret" env:"AUTHZ_INTROSPECTION_CLIENT_SECRET" group:"Introspection" help:"Client secret for introspection. Prefer the file form."`
	IntrospectionClientSecretFile string `name:"authz-introspection-client-secret-file" env:"AUTHZ_INTROSPECTION_CLIENT_SECRET_FILE" group:"Introspection" help:"File that holds the client secret; re-read when it changes."`
	IntrospectionKeyFile          string `name:"authz-introspection-key-file" env:"AUTHZ_INTROSPECTION_KEY_FILE" group:"Introspection" help:"File that holds a private key (JWK or PEM), instead of a secret: authenticates by private_key_jwt. Re-read when it changes."`
	IntrospectionKeyAudience      string `name:"authz-introspection-key-audience" env:"AUTHZ_INTROSPECTION_KEY_AUDIENCE" group:"Introspection" help:"aud of the assertions made with that key. Default: the issuer."`
	IntrospectionUnknownPerSecond string `name:"authz-introspection-unknown-per-second" env:"AUTHZ_INTROSPECTION_UNKNOWN_PER_SECOND" default:"300" group:"Introspection" help:"Most calls per second about tokens that were never seen to be good; what is over that gets 503 with Retry-After. A third of it at most goes to tokens from addresses whose tokens keep failing. Tokens that were good before are asked about regardless."`
	IntrospectJWT                 string `name:"authz-introspect-jwt" env:"AUTHZ_INTROSPECT_JWT" default:"false" group:"Introspection" help:"Introspect JWTs that verified, too, to see revocation: true or false."`

	RedisURL        string `name:"authz-redis-url" env:"AUTHZ_REDIS_URL" group:"Introspection" help:"Redis that the replicas share, redis:// or rediss://[user:password@]host[:port][/database]: what one has introspected the others then know. No token goes there, and answers are sealed. Off when empty. Prefer the file form where it holds a password."`
	RedisURLFile    string `name:"authz-redis-url-file" env:"AUTHZ_REDIS_URL_FILE" group:"Introspection" help:"File that holds it."`
	RedisCAFile     string `name:"authz-redis-ca-file" env:"AUTHZ_REDIS_CA_FILE" group:"Introspection" help:"PEM file of certificate authorities to trust for rediss://, besides the system's."`
	RedisSecret     string `name:"authz-redis-secret" env:"AUTHZ_REDIS_SECRET" group:"Introspection" help:"Secret that seals what goes to Redis, the same for all replicas: at least 32 characters, as of 'openssl rand -base64 32'. Prefer the file form."`
	RedisSecretFile string `name:"authz-redis-secret-file" env:"AUTHZ_REDIS_SECRET_FILE" group:"Introspection" help:"File that holds it."`

	KeysRefresh  string `name:"authz-keys-refresh" env:"AUTHZ_KEYS_REFRESH" default:"5m" group:"Keys and cache" help:"How often keys and metadata are refreshed in the background."`
	KeysMaxStale string `name:"authz-keys-max-stale" env:"AUTHZ_KEYS_MAX_STALE" default:"24h" group:"Keys and cache" help:"How old the last good keys may get before answers turn to 503."`
	KeysCooldown string `name:"authz-keys-cooldown" env:"AUTHZ_KEYS_COOLDOWN" default:"10s" group:"Keys and cache" help:"Least time between two refetches that a bad token can cause."`
	CacheMaxTTL  string `name:"authz-cache-max-ttl" env:"AUTHZ_CACHE_MAX_TTL" default:"5m" group:"Keys and cache" help:"Longest life of a cached verdict."`
	CacheSize    string `name:"authz-cache-size" env:"AUTHZ_CACHE_SIZE" default:"100000" group:"Keys and cache" help:"Most verdicts that are cached."`

	StreamMax          string `name:"authz-stream-max" env:"AUTHZ_STREAM_MAX" default:"1h" group:"Access" help:"Longest life that a stream gets from one token."`
	DenyFile           string `name:"authz-deny-file" env:"AUTHZ_DENY_FILE" group:"Access" help:"Kill switch: file of subjects, clients and token ids to refuse. A change is in force at once, also for tokens whose verdict is cached. An empty file changes nothing; {} refuses nobody."`
	AnonymousDiscovery string `name:"authz-anonymous-discovery" env:"AUTHZ_ANONYMOUS_DISCOVERY" default:"false" group:"Access" help:"Let requests to /mcp without a token through as anonymous, to list tools: true or false."`
	RefusedPerMinute   string `name:"authz-refused-per-minute" env:"AUTHZ_REFUSED_PER_MINUTE" default:"600" group:"Access" help:"Refused and anonymous requests answered per minute and address (IPv6: per /64) before 429; 0 is no limit. Requests with a good token never count."`
	RefusedBurst       string `name:"authz-refused-burst" env:"AUTHZ_REFUSED_BURST" default:"200" group:"Access" help:"How many of those may come at once."`

	OTLPEndpoint    string `name:"otel-exporter-otlp-endpoint" env:"OTEL_EXPORTER_OTLP_ENDPOINT" group:"Operation" help:"OpenTelemetry collector that takes traces over OTLP/HTTP, such as http://127.0.0.1:4318; empty is off."`
	OTLPCertificate string `name:"otel-exporter-otlp-certificate" env:"OTEL_EXPORTER_OTLP_CERTIFICATE" group:"Operation" help:"PEM file of certificate authorities to trust for the collector, besides the system's."`
	ServiceName     string `name:"otel-service-name" env:"OTEL_SERVICE_NAME" default:"neonpanel-mcp-authz" group:"Operation" help:"Name of this service in traces."`
	SamplerArg      string `name:"otel-traces-sampler-arg" env:"OTEL_TRACES_SAMPLER_ARG" default:"1" group:"Operation" help:"Share of the traces that begin here that is sampled, 0 to 1. Of a request Envoy decides."`

	LogLevel string `name:"authz-log-level" env:"AUTHZ_LOG_LEVEL" default:"info" group:"Operation" help:"debug, info, warn or error."`
	Drain    string `name:"authz-drain" env:"AUTHZ_DRAIN" default:"5s" group:"Operation" help:"Longest wait for running requests at shutdown."`
}

// withDefaults fills every empty setting from its default tag: a variable that
// is present but empty, as Compose passes on unset ones, counts as unset.
func (s Settings) withDefaults() Settings {
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		if v.Field(i).String() == "" {
			v.Field(i).SetString(v.Type().Field(i).Tag.Get("default"))
		}
	}
	return s
}
