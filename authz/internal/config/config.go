package config

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/clientauth"
	"github.com/neonpanel/mcp-gateway/authz/internal/denylist"
	"github.com/neonpanel/mcp-gateway/authz/internal/jwt"
	"github.com/neonpanel/mcp-gateway/authz/internal/listen"
	"github.com/neonpanel/mcp-gateway/authz/internal/mtls"
	"github.com/neonpanel/mcp-gateway/authz/internal/resource"
	"github.com/neonpanel/mcp-gateway/authz/internal/scopes"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

// Config is what the settings mean, once all of them are in order.
type Config struct {
	// PublicURL is an origin: no path, no trailing slash.
	PublicURL string
	Issuer    string
	JWKSURL   string
	// Proxy is nil without one. Of a file it is what the file holds now.
	Proxy func() (*url.URL, error)
	// CAFile is empty without one.
	CAFile string

	Listen, DiscoveryListen listen.Address
	OpsListen               []listen.Address
	// TLS is nil without it.
	TLS *mtls.Options

	TokenMode  string
	Algorithms []string
	Audiences  []string
	// AnyAudience: only values that are URIs have to be in Audiences.
	AnyAudience        bool
	ClientIDs          []string
	ReportAudience     bool
	AllowMissingIssuer bool
	Leeway             time.Duration

	// Scopes is nil when the issuer's own are in force.
	Scopes         []string
	RequiredScopes []string
	ScopeMode      scopes.Mode

	Introspection Introspection

	KeysRefresh, KeysMaxStale, KeysCooldown time.Duration
	CacheMaxTTL                             time.Duration
	CacheSize                               int

	StreamMax          time.Duration
	DenyFile           string
	AnonymousDiscovery bool
	RefusedPerMinute   int
	RefusedBurst       int

	// Redis is what the replicas share; nil without it.
	Redis *Redis

	Tracing Tracing

	LogLevel slog.Level
	Drain    time.Duration
}

// Introspection says how RFC 7662 is reached. An empty ClientID turns it off.
type Introspection struct {
	URL, ClientID string
	// ClientSecret is the secret of client_secret_basic. Of a file it is what the
	// file holds now, so that it can be changed while authz runs.
	ClientSecret func() (string, error)
	// Key is the key of private_key_jwt, nil without one; the same holds for its
	// file.
	Key func() (*clientauth.Key, error)
	// KeyAudience is `aud` of its assertions; empty means the issuer.
	KeyAudience string
	// UnknownPerSecond bounds the calls about tokens never seen to be good.
	UnknownPerSecond int
	// JWT: JWTs are introspected, too.
	JWT bool
}

// Tracing says where traces go; an empty Endpoint turns it off.
type Tracing struct {
	Endpoint, CAFile, Service string
	Share                     float64
}

// Faults are all the faults of the settings, in the order of the settings.
type Faults []string

func (f Faults) Error() string {
	if len(f) == 1 {
		return "1 setting is wrong:\n  " + f[0]
	}
	return fmt.Sprintf("%d settings are wrong:\n  %s", len(f), strings.Join(f, "\n  "))
}

// MaxLeeway is the longest AUTHZ_LEEWAY.
const MaxLeeway = 5 * time.Minute

// Validate judges all settings together; the error is a Faults.
func (s Settings) Validate() (Config, error) {
	s = s.withDefaults()
	j := &judge{}
	c := Config{
		PublicURL: j.origin("PUBLIC_URL", s.PublicURL),
		Issuer:    j.endpoint("NEONPANEL_ISSUER", s.NeonpanelIssuer, false),
		JWKSURL:   j.endpoint("AUTHZ_JWKS_URL", s.JWKSURL, true),
		Proxy:     j.proxy("UPSTREAM_PROXY", s.UpstreamProxy, s.UpstreamProxyFile),
		CAFile:    j.certificates("UPSTREAM_CA_FILE", s.UpstreamCAFile),

		Listen:          j.address("AUTHZ_LISTEN", s.Listen),
		DiscoveryListen: j.address("AUTHZ_DISCOVERY_LISTEN", s.DiscoveryListen),
		OpsListen:       j.addresses("AUTHZ_OPS_LISTEN", s.OpsListen),
		TLS:             j.tls(s),

		TokenMode:          j.oneOf("AUTHZ_TOKEN_MODE", s.TokenMode, "auto", "jwt", "opaque"),
		Algorithms:         j.algorithms("AUTHZ_ALGORITHMS", s.Algorithms),
		ClientIDs:          list(s.ClientIDs),
		ReportAudience:     j.oneOf("AUTHZ_AUDIENCE_MODE", s.AudienceMode, "enforce", "report") == "report",
		AllowMissingIssuer: j.boolean("AUTHZ_ALLOW_MISSING_ISSUER", s.AllowMissingIssuer),
		Leeway:             j.duration("AUTHZ_LEEWAY", s.Leeway, 0, MaxLeeway),

		Scopes:         j.scopes("AUTHZ_SCOPES", s.Scopes),
		RequiredScopes: j.scopes("AUTHZ_REQUIRED_SCOPES", s.RequiredScopes),
		ScopeMode:      scopes.Mode(j.oneOf("AUTHZ_SCOPE_MODE", s.ScopeMode, string(scopes.Enforce), string(scopes.Report), string(scopes.Off))),

		Introspection: Introspection{
			URL:      j.endpoint("AUTHZ_INTROSPECTION_URL", s.IntrospectionURL, true),
			ClientID: s.IntrospectionClientID,
			ClientSecret: j.secret("AUTHZ_INTROSPECTION_CLIENT_SECRET",
				s.IntrospectionClientSecret, s.IntrospectionClientSecretFile),
			Key:              j.key("AUTHZ_INTROSPECTION_KEY_FILE", s.IntrospectionKeyFile),
			KeyAudience:      j.word("AUTHZ_INTROSPECTION_KEY_AUDIENCE", s.IntrospectionKeyAudience),
			UnknownPerSecond: j.integer("AUTHZ_INTROSPECTION_UNKNOWN_PER_SECOND", s.IntrospectionUnknownPerSecond, 1, 1_000_000),
			JWT:              j.boolean("AUTHZ_INTROSPECT_JWT", s.IntrospectJWT),
		},

		KeysRefresh:  j.duration("AUTHZ_KEYS_REFRESH", s.KeysRefresh, 100*time.Millisecond, 24*time.Hour),
		KeysMaxStale: j.duration("AUTHZ_KEYS_MAX_STALE", s.KeysMaxStale, time.Second, 30*24*time.Hour),
		KeysCooldown: j.duration("AUTHZ_KEYS_COOLDOWN", s.KeysCooldown, 10*time.Millisecond, 10*time.Minute),
		CacheMaxTTL:  j.duration("AUTHZ_CACHE_MAX_TTL", s.CacheMaxTTL, time.Second, 24*time.Hour),
		CacheSize:    j.integer("AUTHZ_CACHE_SIZE", s.CacheSize, 1, 10_000_000),

		StreamMax:          j.duration("AUTHZ_STREAM_MAX", s.StreamMax, time.Second, 7*24*time.Hour),
		DenyFile:           j.denyFile("AUTHZ_DENY_FILE", s.DenyFile),
		AnonymousDiscovery: j.boolean("AUTHZ_ANONYMOUS_DISCOVERY", s.AnonymousDiscovery),
		RefusedPerMinute:   j.integer("AUTHZ_REFUSED_PER_MINUTE", s.RefusedPerMinute, 0, 1_000_000),
		RefusedBurst:       j.integer("AUTHZ_REFUSED_BURST", s.RefusedBurst, 1, 1_000_000),

		Tracing: Tracing{
			Endpoint: j.collector("OTEL_EXPORTER_OTLP_ENDPOINT", s.OTLPEndpoint),
			CAFile:   j.certificates("OTEL_EXPORTER_OTLP_CERTIFICATE", s.OTLPCertificate),
			Service:  j.name("OTEL_SERVICE_NAME", s.ServiceName),
			Share:    j.share("OTEL_TRACES_SAMPLER_ARG", s.SamplerArg),
		},

		LogLevel: j.level("AUTHZ_LOG_LEVEL", s.LogLevel),
		Drain:    j.duration("AUTHZ_DRAIN", s.Drain, 0, 10*time.Minute),
	}
	c.Audiences, c.AnyAudience = j.audiences("AUTHZ_AUDIENCES", s.Audiences, c.PublicURL)
	c.Redis = j.redis(s)
	j.together(s, c)
	if len(j.faults) > 0 {
		return Config{}, j.faults
	}
	return c, nil
}

// Warnings names the settings that give up safety on purpose.
func (c Config) Warnings() []string {
	var w []string
	if c.AnyAudience {
		w = append(w, "AUTHZ_AUDIENCES=any: a token that the issuer made for another service is accepted here, unless its aud is a URI")
	}
	if c.AllowMissingIssuer {
		w = append(w, "AUTHZ_ALLOW_MISSING_ISSUER=true: a token without iss is accepted when one of the issuer's keys signed it, or when introspection calls it active")
	}
	if c.ReportAudience {
		w = append(w, "AUTHZ_AUDIENCE_MODE=report: a wrong audience is logged and counted, not refused")
	}
	if c.TLS != nil && len(c.TLS.ClientSANs) == 0 {
		w = append(w, "AUTHZ_TLS_CLIENT_SANS is empty: every certificate of AUTHZ_TLS_CLIENT_CA lets its owner in")
	}
	if c.Redis != nil && c.Redis.plain() {
		w = append(w, "AUTHZ_REDIS_URL is not rediss://: its password can be read on the way")
	}
	if c.ScopeMode != scopes.Enforce {
		w = append(w, "AUTHZ_SCOPE_MODE="+string(c.ScopeMode)+": a missing scope is not refused")
	}
	return w
}

// together judges settings that only make sense side by side.
func (j *judge) together(s Settings, c Config) {
	j.listeners(s, c)
	in := c.Introspection
	hasSecret := s.IntrospectionClientSecret != "" || s.IntrospectionClientSecretFile != ""
	hasKey := s.IntrospectionKeyFile != ""
	if hasKey && hasSecret {
		j.faults = append(j.faults, "AUTHZ_INTROSPECTION_KEY_FILE: both it and a client secret are set; allowed: a key or a client secret, not both")
	}
	switch {
	case in.ClientID == "" && hasSecret:
		j.fault("AUTHZ_INTROSPECTION_CLIENT_ID", "", "the client that the secret belongs to")
	case in.ClientID == "" && hasKey:
		j.fault("AUTHZ_INTROSPECTION_CLIENT_ID", "", "the client that the key of AUTHZ_INTROSPECTION_KEY_FILE belongs to")
	case in.ClientID == "" && in.JWT:
		j.fault("AUTHZ_INTROSPECTION_CLIENT_ID", "", "a client id, because AUTHZ_INTROSPECT_JWT=true")
	case in.ClientID != "" && !hasSecret && !hasKey:
		j.fault("AUTHZ_INTROSPECTION_CLIENT_SECRET", "", "the secret of AUTHZ_INTROSPECTION_CLIENT_ID, here or in the file form, or AUTHZ_INTROSPECTION_KEY_FILE")
	case in.ClientID == "" && in.URL != "":
		j.fault("AUTHZ_INTROSPECTION_CLIENT_ID", "", "a client id, because AUTHZ_INTROSPECTION_URL is set")
	}
	if c.Redis != nil && in.ClientID == "" {
		j.fault("AUTHZ_INTROSPECTION_CLIENT_ID", "", "a client id, because AUTHZ_REDIS_URL shares what is introspected, and nothing else")
	}
	if in.KeyAudience != "" && !hasKey {
		j.fault("AUTHZ_INTROSPECTION_KEY_AUDIENCE", in.KeyAudience, "nothing without AUTHZ_INTROSPECTION_KEY_FILE")
	}
	if c.TokenMode == "opaque" && in.ClientID == "" {
		j.fault("AUTHZ_INTROSPECTION_CLIENT_ID", "", "a client id, because AUTHZ_TOKEN_MODE=opaque can only introspect")
	}
	if c.KeysMaxStale > 0 && c.KeysRefresh > c.KeysMaxStale {
		j.fault("AUTHZ_KEYS_MAX_STALE", s.KeysMaxStale, "at least AUTHZ_KEYS_REFRESH (%s)", c.KeysRefresh)
	}
	if c.Scopes != nil {
		for _, required := range c.RequiredScopes {
			if !slices.Contains(c.Scopes, required) {
				j.fault("AUTHZ_REQUIRED_SCOPES", required, "only scopes of AUTHZ_SCOPES, since nobody could obtain another")
			}
		}
	}
}

type listener struct {
	setting string
	address listen.Address
}

// listeners judges the addresses beside each other and beside TLS.
func (j *judge) listeners(s Settings, c Config) {
	all := []listener{{"AUTHZ_LISTEN", c.Listen}, {"AUTHZ_DISCOVERY_LISTEN", c.DiscoveryListen}}
	for _, a := range c.OpsListen {
		all = append(all, listener{"AUTHZ_OPS_LISTEN", a})
	}
	taken := map[listen.Address]string{}
	for _, l := range all {
		if l.address == (listen.Address{}) {
			continue
		}
		if !l.address.Local() && s.TLSCert+s.TLSKey+s.TLSClientCA == "" {
			j.fault(l.setting, l.address.String(), "a unix: socket or a loopback address, since on any other one callers could come past Envoy; or set AUTHZ_TLS_CERT, AUTHZ_TLS_KEY and AUTHZ_TLS_CLIENT_CA")
		}
		if l.address.Ephemeral() {
			continue
		}
		if other, found := taken[l.address]; found {
			j.fault(l.setting, l.address.String(), "an address of its own; %s has the same", other)
		}
		taken[l.address] = l.setting
	}
}

// list splits a comma-separated setting and drops empty elements.
func list(s string) []string {
	var out []string
	for e := range strings.SplitSeq(s, ",") {
		if e = strings.TrimSpace(e); e != "" && !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

// judge collects faults.
type judge struct{ faults Faults }

// fault says which setting is wrong, what was given and what is allowed.
func (j *judge) fault(setting, given, allowed string, args ...any) {
	if given == "" {
		given = "is empty"
	} else {
		given = strconv.Quote(given)
	}
	j.faults = append(j.faults, fmt.Sprintf("%s: %s; allowed: %s", setting, given, fmt.Sprintf(allowed, args...)))
}

func (j *judge) oneOf(setting, given string, allowed ...string) string {
	if !slices.Contains(allowed, given) {
		j.fault(setting, given, "%s", strings.Join(allowed, ", "))
	}
	return given
}

func (j *judge) boolean(setting, given string) bool {
	b, err := strconv.ParseBool(given)
	if err != nil {
		j.fault(setting, given, "true or false")
	}
	return b
}

func (j *judge) duration(setting, given string, least, most time.Duration) time.Duration {
	d, err := time.ParseDuration(given)
	if err != nil || d < least || d > most {
		j.fault(setting, given, "a duration from %s to %s, such as 30s or 5m", least, most)
	}
	return d
}

func (j *judge) integer(setting, given string, least, most int) int {
	n, err := strconv.Atoi(given)
	if err != nil || n < least || n > most {
		j.fault(setting, given, "a whole number from %d to %d", least, most)
	}
	return n
}

func (j *judge) share(setting, given string) float64 {
	share, err := strconv.ParseFloat(given, 64)
	if err != nil || !(share >= 0 && share <= 1) {
		j.fault(setting, given, "a share from 0 to 1, such as 0.05")
	}
	return share
}

func (j *judge) level(setting, given string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(given)); err != nil {
		j.fault(setting, given, "debug, info, warn, error")
	}
	return l
}

func (j *judge) address(setting, given string) listen.Address {
	a, err := listen.Parse(given)
	if err != nil {
		j.fault(setting, given, "%s", err)
	}
	return a
}

func (j *judge) addresses(setting, given string) []listen.Address {
	var out []listen.Address
	for _, one := range list(given) {
		out = append(out, j.address(setting, one))
	}
	if out == nil {
		j.fault(setting, given, "at least one address")
	}
	return out
}

func (j *judge) scopes(setting, given string) []string {
	var out []string
	for _, s := range list(given) {
		if !token.IsScopeToken(s) {
			j.fault(setting, s, "scope names of RFC 6749 §3.3, separated by commas")
			continue
		}
		out = append(out, s)
	}
	return out
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`)

func (j *judge) name(setting, given string) string {
	if !plainName.MatchString(given) {
		j.fault(setting, given, "a plain name of letters, digits and . _ : / -")
	}
	return given
}

// word takes a value without spaces and control characters, or none.
func (j *judge) word(setting, given string) string {
	if given != "" && !token.IsScopeToken(given) {
		j.fault(setting, given, "visible ASCII characters without spaces and quotes, such as a URL")
	}
	return given
}

// asymmetric are the algorithms of RFC 7518 §3.1 and RFC 8037 §3.1 that sign
// with a private key. The others are never accepted: with none or HS* a public
// key would be all that a forger needs.
var asymmetric = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

func (j *judge) algorithms(setting, given string) []string {
	algorithms := list(given)
	if len(algorithms) == 0 {
		j.fault(setting, given, "at least one of %s", strings.Join(asymmetric, ", "))
	}
	for _, a := range algorithms {
		if !slices.Contains(asymmetric, a) {
			j.fault(setting, a, "%s", strings.Join(asymmetric, ", "))
		}
	}
	return algorithms
}

// audiences takes names of resources and, where an issuer uses others, any names.
func (j *judge) audiences(setting, given, publicURL string) (accepted []string, any bool) {
	accepted = list(given)
	if i := slices.Index(accepted, "any"); i >= 0 {
		accepted, any = slices.Delete(accepted, i, i+1), true
	}
	for _, a := range accepted {
		if !IsAudience(a) {
			j.fault(setting, redact(a), "absolute URIs without a fragment (RFC 8707 §2), other names as they stand in aud, or any")
		}
	}
	if len(accepted) == 0 && publicURL != "" {
		for _, r := range resource.All {
			accepted = append(accepted, r.URL(publicURL))
		}
	}
	return accepted, any
}

// IsAudience reports whether a value can be an element of AUTHZ_AUDIENCES: what is
// meant as a URI has to be one, absolute and without a fragment (RFC 8707 §2).
// Another one is a slip of the pen.
func IsAudience(a string) bool {
	if !jwt.NamesResource(a) {
		return true
	}
	u, err := url.Parse(a)
	return err == nil && u.IsAbs() && (u.Host != "" || u.Opaque != "" || u.Path != "") && !strings.Contains(a, "#")
}

// secret takes a secret from its setting or from its file, never from both.
func (j *judge) secret(setting, given, file string) func() (string, error) {
	if given != "" && strings.TrimSpace(given) == "" {
		j.faults = append(j.faults, setting+": is blank; allowed: a secret, or none")
	}
	if file == "" {
		return func() (string, error) { return given, nil }
	}
	if given != "" {
		j.faults = append(j.faults, setting+": both it and "+setting+"_FILE are set; allowed: one of the two")
	}
	return follow(j, setting+"_FILE", file, "a file that holds the secret", parseSecret)
}

// key takes a private key from its file; nil without one.
func (j *judge) key(setting, file string) func() (*clientauth.Key, error) {
	if file == "" {
		return nil
	}
	return follow(j, setting, file, "a file that holds a private key", clientauth.ParseKey)
}

// denyFile takes a file that is good now; what becomes of it is watched later.
func (j *judge) denyFile(setting, file string) string {
	if file == "" {
		return ""
	}
	if _, err := denylist.Open(file, nil); err != nil {
		j.fault(setting, file, "a file of subjects, clients, jtis and issued_before (%s)", err)
	}
	return file
}

func (j *judge) certificates(setting, file string) string {
	if file == "" {
		return ""
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		j.fault(setting, file, "a file that can be read (%s)", err)
		return file
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		j.fault(setting, file, "a PEM file with at least one certificate")
	}
	return file
}
