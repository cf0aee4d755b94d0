package verifier

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/clientauth"
	"github.com/neonpanel/mcp-gateway/authz/internal/introspection"
)

// Mode says which forms of token are accepted.
type Mode string

const (
	Auto   Mode = "auto"
	JWT    Mode = "jwt"
	Opaque Mode = "opaque"
)

// Options is everything a Verifier can be told. The zero value of a duration
// or size means its default; Issuer is required. Each field names the setting
// that feeds it.
type Options struct {
	// Issuer is the exact `iss` and the base of metadata discovery: HTTPS, or
	// HTTP on loopback (NEONPANEL_ISSUER).
	Issuer string
	// JWKSURL replaces the metadata's jwks_uri and may then be of another
	// origin (AUTHZ_JWKS_URL).
	JWKSURL string
	// Proxy and CAFile concern every call to the issuer; proxy variables of the
	// environment do not (UPSTREAM_PROXY, UPSTREAM_CA_FILE). Proxy, which may be nil,
	// is asked before each call, so that one in a file can be changed while running.
	Proxy  func() (*url.URL, error)
	CAFile string

	// Mode defaults to Auto (AUTHZ_TOKEN_MODE).
	Mode Mode
	// Algorithms defaults to RS256 (AUTHZ_ALGORITHMS).
	Algorithms []string
	// Audiences are the accepted `aud` values (AUTHZ_AUDIENCES).
	Audiences []string
	// AnyAudience: a token passes unless its audiences hold URLs of which none
	// is in Audiences (AUTHZ_AUDIENCES=any).
	AnyAudience bool
	// ClientIDs are accepted in `aud` as well (AUTHZ_CLIENT_IDS).
	ClientIDs []string
	// ReportAudience: an audience that would be refused is only logged and
	// counted (AUTHZ_AUDIENCE_MODE=report).
	ReportAudience bool
	// AllowMissingIssuer: a JWT or an introspection response needs no `iss`; one that
	// is there must still be right (AUTHZ_ALLOW_MISSING_ISSUER).
	AllowMissingIssuer bool
	// Leeway is for `nbf`; default 30 s, negative means none (AUTHZ_LEEWAY).
	Leeway time.Duration

	// IntrospectionURL replaces the metadata's introspection_endpoint
	// (AUTHZ_INTROSPECTION_URL). Introspection is on when IntrospectionClientID
	// is set.
	IntrospectionURL      string
	IntrospectionClientID string
	// IntrospectionClientSecret is asked before each call, so that a secret in
	// a file can be changed while running.
	IntrospectionClientSecret func() (string, error)
	// IntrospectionKey, if set, is the key of private_key_jwt, which then takes
	// the place of the secret; it is asked before each call too.
	IntrospectionKey func() (*clientauth.Key, error)
	// IntrospectionKeyAudience is `aud` of the assertions made with it; default
	// Issuer.
	IntrospectionKeyAudience string
	// IntrospectionInFlight bounds the calls under way at once; default 64.
	IntrospectionInFlight int
	// IntrospectionUnknownPerSecond bounds the calls about tokens that nothing
	// vouches for; default 300 (AUTHZ_INTROSPECTION_UNKNOWN_PER_SECOND).
	IntrospectionUnknownPerSecond int
	// IntrospectJWT: a JWT that verified is introspected too, to see
	// revocation (AUTHZ_INTROSPECT_JWT).
	IntrospectJWT bool

	// Shared are the answers that other replicas got; nil means none
	// (AUTHZ_REDIS_URL).
	Shared introspection.Shared

	// AUTHZ_KEYS_REFRESH (5m), AUTHZ_KEYS_MAX_STALE (24h), AUTHZ_KEYS_COOLDOWN (10s).
	KeysRefresh  time.Duration
	KeysMaxStale time.Duration
	KeysCooldown time.Duration

	// AUTHZ_CACHE_MAX_TTL (5m), AUTHZ_CACHE_SIZE (100000).
	CacheMaxTTL time.Duration
	CacheSize   int

	// DenyFile is the kill switch (AUTHZ_DENY_FILE); empty means none.
	DenyFile string

	// Transport replaces the HTTP transport made from Proxy and CAFile.
	Transport http.RoundTripper
	// Observer is told of every event worth counting; nil means nobody is.
	Observer Observer
	// Logger is for the operator; nil means silence.
	Logger *slog.Logger
}

// Source says where a verdict came from.
type Source string

const (
	FromCache         Source = "cache"
	FromSignature     Source = "jwt"
	FromIntrospection Source = "introspection"
	// FromReplica: another replica introspected it.
	FromReplica Source = "replica"
	// FromNowhere: refused before anything was asked.
	FromNowhere Source = "none"
)

// Sources lists the closed set.
func Sources() []Source {
	return []Source{FromCache, FromSignature, FromIntrospection, FromReplica, FromNowhere}
}

// Call is a kind of request to the issuer.
type Call string

const (
	CallMetadata      Call = "metadata"
	CallKeys          Call = "keys"
	CallIntrospection Call = "introspection"
)

// Calls lists the closed set.
func Calls() []Call { return []Call{CallMetadata, CallKeys, CallIntrospection} }

// Observer counts. Its methods are called on the hot path from many
// goroutines, so they must be quick and must not block.
type Observer interface {
	// Verdict is told of each Verify: where the answer came from, and its
	// reason, empty when the token was accepted.
	Verdict(from Source, reason string)
	// Called is told of each request to the issuer.
	Called(what Call, failed bool, took time.Duration)
	// AudienceReported is told of each Verify that AUTHZ_AUDIENCE_MODE=enforce would
	// have refused.
	AudienceReported(reason string)
	// DenyFileRead is told of each (re)read of the deny file.
	DenyFileRead(failed bool)
}

// Stats is a snapshot for gauges.
type Stats struct {
	// Keys is how many keys are trusted; KeysFetched is when they were fetched,
	// zero if never.
	Keys        int
	KeysFetched time.Time
	// Accepted and Refused are how many verdicts are cached.
	Accepted int
	Refused  int
	// DenyFileBroken: the file in force is older than the one on disk.
	DenyFileBroken bool
}

// withDefaults fills in what was not set.
func (o Options) withDefaults() Options {
	o.Mode = cmp.Or(o.Mode, Auto)
	if len(o.Algorithms) == 0 {
		o.Algorithms = []string{"RS256"}
	}
	o.Leeway = cmp.Or(o.Leeway, 30*time.Second)
	if o.Leeway < 0 {
		o.Leeway = 0
	}
	o.IntrospectionKeyAudience = cmp.Or(o.IntrospectionKeyAudience, o.Issuer)
	o.IntrospectionInFlight = cmp.Or(o.IntrospectionInFlight, 64)
	o.IntrospectionUnknownPerSecond = cmp.Or(o.IntrospectionUnknownPerSecond, 300)
	o.KeysRefresh = cmp.Or(o.KeysRefresh, 5*time.Minute)
	o.KeysMaxStale = cmp.Or(o.KeysMaxStale, 24*time.Hour)
	o.KeysCooldown = cmp.Or(o.KeysCooldown, 10*time.Second)
	o.CacheMaxTTL = cmp.Or(o.CacheMaxTTL, 5*time.Minute)
	o.CacheSize = cmp.Or(o.CacheSize, 100_000)
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// check lists the faults that no part finds by itself.
func (o Options) check() []error {
	var faults []error
	if o.Mode != Auto && o.Mode != JWT && o.Mode != Opaque {
		faults = append(faults, fmt.Errorf("AUTHZ_TOKEN_MODE: %q is not auto, jwt or opaque", o.Mode))
	}
	if o.IntrospectionClientID == "" && (o.Mode == Opaque || o.IntrospectJWT) {
		faults = append(faults, errors.New("AUTHZ_INTROSPECTION_CLIENT_ID: needed to introspect tokens"))
	}
	if o.IntrospectionClientID != "" && o.IntrospectionClientSecret == nil && o.IntrospectionKey == nil {
		faults = append(faults, errors.New("AUTHZ_INTROSPECTION_CLIENT_SECRET: needed with AUTHZ_INTROSPECTION_CLIENT_ID"))
	}
	if o.KeysMaxStale < o.KeysRefresh {
		faults = append(faults, errors.New("AUTHZ_KEYS_MAX_STALE: must not be shorter than AUTHZ_KEYS_REFRESH"))
	}
	for _, positive := range []struct {
		setting string
		value   int64
	}{
		{"AUTHZ_KEYS_REFRESH", int64(o.KeysRefresh)},
		{"AUTHZ_KEYS_MAX_STALE", int64(o.KeysMaxStale)},
		{"AUTHZ_KEYS_COOLDOWN", int64(o.KeysCooldown)},
		{"AUTHZ_CACHE_MAX_TTL", int64(o.CacheMaxTTL)},
		{"AUTHZ_CACHE_SIZE", int64(o.CacheSize)},
		{"AUTHZ_INTROSPECTION_UNKNOWN_PER_SECOND", int64(o.IntrospectionUnknownPerSecond)},
		{"introspection calls in flight", int64(o.IntrospectionInFlight)},
	} {
		if positive.value <= 0 {
			faults = append(faults, fmt.Errorf("%s: must be positive", positive.setting))
		}
	}
	return faults
}

// introspectionAuth is how the gateway authenticates for introspection.
func (o Options) introspectionAuth() clientauth.Method {
	if o.IntrospectionKey != nil {
		return clientauth.PrivateKeyJWT{ClientID: o.IntrospectionClientID, Audience: o.IntrospectionKeyAudience, Key: o.IntrospectionKey}
	}
	return clientauth.Basic{ClientID: o.IntrospectionClientID, Secret: o.IntrospectionClientSecret}
}

// nobody is the Observer of those who have none.
type nobody struct{}

func (nobody) Verdict(Source, string)           {}
func (nobody) Called(Call, bool, time.Duration) {}
func (nobody) AudienceReported(string)          {}
func (nobody) DenyFileRead(bool)                {}
