package lint

import (
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	locallimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func connectionLimits(r *reader, report report) {
	bounded := func(streams *wrapperspb.UInt32Value) bool { return streams != nil && streams.GetValue() <= 1000 }
	for _, listener := range r.GetStaticResources().GetListeners() {
		if quic := listener.GetUdpListenerConfig(); quic != nil && !bounded(quic.GetQuicOptions().GetQuicProtocolOptions().GetMaxConcurrentStreams()) {
			report("listeners "+listener.GetName(), "quic_protocol_options: set max_concurrent_streams, at most 1000")
		}
		if limit := listener.GetPerConnectionBufferLimitBytes(); listener.GetUdpListenerConfig() == nil && (limit == nil || limit.GetValue() > 1<<20) {
			report("listeners "+listener.GetName(), "set per_connection_buffer_limit_bytes, at most 1 MiB")
		}
	}
	for _, e := range r.edges {
		if e.GetCodecType() != hcmv3.HttpConnectionManager_HTTP3 && !bounded(e.GetHttp2ProtocolOptions().GetMaxConcurrentStreams()) {
			report(e.where, "http2_protocol_options: set max_concurrent_streams, at most 1000")
		}
		if e.GetStreamIdleTimeout() == nil || e.GetStreamIdleTimeout().AsDuration() <= 0 {
			report(e.where, "set stream_idle_timeout")
		}
		if e.GetCommonHttpProtocolOptions().GetIdleTimeout().AsDuration() <= 0 {
			report(e.where, "common_http_protocol_options: set idle_timeout")
		}
	}
}

func breakersSized(r *reader, report report) {
	for _, c := range r.GetStaticResources().GetClusters() {
		thresholds := c.GetCircuitBreakers().GetThresholds()
		at := slices.IndexFunc(thresholds, func(t *clusterv3.CircuitBreakers_Thresholds) bool {
			return t.GetPriority() == corev3.RoutingPriority_DEFAULT
		})
		if at < 0 || thresholds[at].GetMaxConnections() == nil || thresholds[at].GetMaxRequests() == nil || thresholds[at].GetMaxPendingRequests() == nil {
			report("clusters "+c.GetName(), "circuit_breakers: set max_connections, max_pending_requests and max_requests")
		}
	}
}

func overload(r *reader, report report) {
	manager := r.GetOverloadManager()
	monitors := map[string]bool{}
	for _, m := range manager.GetResourceMonitors() {
		monitors[m.GetName()] = true
	}
	for _, name := range []string{"envoy.resource_monitors.fixed_heap", "envoy.resource_monitors.global_downstream_max_connections"} {
		if !monitors[name] {
			report("overload_manager", "the resource monitor %s is missing", name)
		}
	}
	if !slices.ContainsFunc(manager.GetActions(), func(a *overloadv3.OverloadAction) bool {
		return a.GetName() == "envoy.overload_actions.stop_accepting_requests" && len(a.GetTriggers()) > 0
	}) {
		report("overload_manager", "the action envoy.overload_actions.stop_accepting_requests is missing")
	}
}

func subjectLimit(r *reader, report report) {
	for _, e := range r.edges {
		limit, ok := e.config(localLimitName).(*locallimitv3.LocalRateLimit)
		if !ok {
			report(e.where, "%s is missing or disabled", localLimitName)
			continue
		}
		if e.place(localLimitName) < e.place(extAuthzName) {
			report(e.where, "%s must stand behind %s, which says who it is", localLimitName, extAuthzName)
		}
		if !whole(limit.GetFilterEnabled()) || !whole(limit.GetFilterEnforced()) {
			report(e.where, "local_ratelimit: set filter_enabled and filter_enforced to 100 %%, without a runtime key")
		}
		if !slices.ContainsFunc(limit.GetRateLimits(), bySubject) {
			report(e.where, "local_ratelimit: rate_limits must take subject, and nothing else, from the dynamic metadata of %s", extAuthzName)
		}
		if !slices.ContainsFunc(limit.GetDescriptors(), func(d *commonlimitv3.LocalRateLimitDescriptor) bool {
			return len(d.GetEntries()) == 1 && d.GetEntries()[0].GetKey() == "subject" && d.GetEntries()[0].GetValue() == "" && !d.GetShadowMode()
		}) {
			report(e.where, "local_ratelimit: descriptors must hold one with the entry subject alone, without a value and not in shadow_mode")
		}
		if limit.GetMaxDynamicDescriptors().GetValue() < 1000 {
			report(e.where, "local_ratelimit: set max_dynamic_descriptors to 1000 or more; a user who is forgotten may begin again")
		}
		if limit.GetTokenBucket() != nil {
			report(e.where, "local_ratelimit: remove token_bucket; users would share it")
		}
		if limit.GetLocalRateLimitPerDownstreamConnection() {
			report(e.where, "local_ratelimit: remove local_rate_limit_per_downstream_connection; a new connection would be a new start")
		}
		if !limit.GetEnableRetryAfterHeader() {
			report(e.where, "local_ratelimit: set enable_retry_after_header")
		}
		e.overrides(localLimitName, func(where string) { report(where, "leave local_ratelimit as it is for all routes") })
	}
}

func globalLimit(r *reader, report report) {
	for _, e := range r.edges {
		limit := e.globalLimit()
		if limit == nil {
			continue
		}
		if local := e.place(localLimitName); local < 0 || local > e.place(globalLimitName) {
			report(e.where, "%s must stand behind %s, which limits when the service is gone", globalLimitName, localLimitName)
		}
		if timeout := limit.GetTimeout(); timeout != nil && (timeout.AsDuration() <= 0 || timeout.AsDuration() > time.Second) {
			report(e.where, "ratelimit: timeout is %v; set 1 s or less, and not 0, which waits for ever", timeout.AsDuration())
		}
		if !slices.ContainsFunc(limit.GetRateLimits(), bySubject) {
			report(e.where, "ratelimit: rate_limits must take subject, and nothing else, from the dynamic metadata of %s", extAuthzName)
		}
		e.overrides(globalLimitName, func(where string) { report(where, "leave ratelimit as it is for all routes") })
	}
}

// whole is true of a share that is always all, whatever the runtime says.
func whole(share *corev3.RuntimeFractionalPercent) bool {
	return share.GetDefaultValue().GetNumerator() >= 100 && share.GetDefaultValue().GetDenominator() == 0 && share.GetRuntimeKey() == ""
}

// bySubject is true of a count per user, whatever the client.
func bySubject(limit *routev3.RateLimit) bool {
	if len(limit.GetActions()) != 1 || limit.GetDisableKey() != "" {
		return false
	}
	from := limit.GetActions()[0].GetMetadata()
	path := from.GetMetadataKey().GetPath()
	return from.GetDescriptorKey() == "subject" && from.GetSource() == routev3.RateLimit_Action_MetaData_DYNAMIC &&
		from.GetMetadataKey().GetKey() == extAuthzName && len(path) == 1 && path[0].GetKey() == "subject"
}

// overrides calls with each place that sets a filter otherwise than the listener does.
func (e edge) overrides(name string, each func(where string)) {
	has := func(where string, level map[string]*anypb.Any) {
		if level[name] != nil {
			each(where)
		}
	}
	config := e.GetRouteConfig()
	has(e.where+".route_config", config.GetTypedPerFilterConfig())
	for _, host := range config.GetVirtualHosts() {
		has(e.where+".route_config."+host.GetName(), host.GetTypedPerFilterConfig())
	}
	e.routes(func(where string, route *routev3.Route, _ bool) { has(where, route.GetTypedPerFilterConfig()) })
}
