package bootstrap

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	locallimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
)

const (
	localLimitFilter  = "envoy.filters.http.local_ratelimit"
	globalLimitFilter = "envoy.filters.http.ratelimit"

	rateLimitCluster = "ratelimit"
	// limitDomain is the name under which the rate limit service finds our limits.
	limitDomain = "neonpanel-mcp"

	// globalLimitTimeout is what a service that hangs may cost a request.
	globalLimitTimeout = 100 * time.Millisecond

	// clientsPerSubject is how many clients at full rate a user may have: anybody can register
	// clients (RFC 7591), so their number bounds nothing.
	clientsPerSubject = 4

	// subjectsCounted is how many buckets are kept of either kind; the one that was longest unused
	// goes first, and is full when it comes back. Only authz's verdicts make any.
	subjectsCounted = 20_000
)

// subjectLimit counts by what authz verified, so users behind one address do not limit each other.
// Whoever has no subject is not counted: authz limits those by address.
func (b *builder) subjectLimit() *locallimitv3.LocalRateLimit {
	always := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
	all := settings.Limit{PerSecond: b.Subject.PerSecond * clientsPerSubject, Burst: b.Subject.Burst * clientsPerSubject}
	return &locallimitv3.LocalRateLimit{
		StatPrefix:             "subject",
		FilterEnabled:          always,
		FilterEnforced:         always,
		EnableRetryAfterHeader: true,
		MaxDynamicDescriptors:  u32(subjectsCounted),
		// There is no other bucket than the descriptors'.
		AlwaysConsumeDefaultTokenBucket: wrapperspb.Bool(false),
		RateLimits:                      subjectActions(),
		Descriptors: []*commonlimitv3.LocalRateLimitDescriptor{
			{Entries: anyValue("subject", "client_id"), TokenBucket: bucket(b.Subject)},
			{Entries: anyValue("subject"), TokenBucket: bucket(all)},
		},
	}
}

// globalLimit asks the service that counts for all Envoys. When it fails, requests pass: they have
// passed this Envoy's own limit already.
func (b *builder) globalLimit() *ratelimitv3.RateLimit {
	return &ratelimitv3.RateLimit{
		Domain:                         limitDomain,
		StatPrefix:                     "subject",
		Timeout:                        durationpb.New(globalLimitTimeout),
		FailureModeDeny:                false,
		EnableRetryAfterHeader:         true,
		DisableXEnvoyRatelimitedHeader: true,
		RateLimits:                     subjectActions(),
		RateLimitService: &ratelimitconfigv3.RateLimitServiceConfig{
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcService: &corev3.GrpcService{
				Timeout: durationpb.New(globalLimitTimeout),
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
					ClusterName: rateLimitCluster, SkipEnvoyHeaders: true, MaxReceiveMessageLength: u32(64 << 10),
				}},
			},
		},
	}
}

func (b *builder) rateLimitService() []*clusterv3.Cluster {
	if b.RateLimit == nil {
		return nil
	}
	var name string
	if b.UpstreamTLS != nil {
		name = b.UpstreamTLS.RateLimit
	}
	return []*clusterv3.Cluster{b.cluster(rateLimitCluster, *b.RateLimit, name, grpcUpstream)}
}

// subjectActions ask for both counts of a request.
func subjectActions() []*routev3.RateLimit {
	return []*routev3.RateLimit{
		{Actions: []*routev3.RateLimit_Action{verified("subject", ""), verified("client_id", "none")}},
		{Actions: []*routev3.RateLimit_Action{verified("subject", "")}},
	}
}

// verified is a fact that authz stated; without it and a value in its place, the count is left out.
func verified(name, absent string) *routev3.RateLimit_Action {
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_Metadata{Metadata: &routev3.RateLimit_Action_MetaData{
		DescriptorKey: name,
		DefaultValue:  absent,
		Source:        routev3.RateLimit_Action_MetaData_DYNAMIC,
		MetadataKey: &metadatav3.MetadataKey{
			Key:  extAuthzFilter,
			Path: []*metadatav3.MetadataKey_PathSegment{{Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: name}}},
		},
	}}}
}

// anyValue makes a bucket for every value there is.
func anyValue(names ...string) []*commonlimitv3.RateLimitDescriptor_Entry {
	var entries []*commonlimitv3.RateLimitDescriptor_Entry
	for _, name := range names {
		entries = append(entries, &commonlimitv3.RateLimitDescriptor_Entry{Key: name})
	}
	return entries
}

func bucket(l settings.Limit) *typev3.TokenBucket {
	return &typev3.TokenBucket{MaxTokens: l.Burst, TokensPerFill: u32(l.PerSecond), FillInterval: durationpb.New(time.Second)}
}
