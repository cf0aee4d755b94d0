package lint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	quicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/quic/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// Rules are all properties that Check looks for, in the order of its report.
func Rules() []Rule {
	return []Rule{
		{"clusters-exist", "a route or authz that names no cluster answers 503 for ever", clustersExist},
		{"upstreams-local", "who reaches an upstream past Envoy can invent identity headers; elsewhere than on this machine it must ask for Envoy's certificate", upstreamsLocal},
		{"upstreams-verified", "TLS to an upstream whose name is not checked is TLS to anybody", upstreamsVerified},
		{"admin-local", "the admin interface has no login", adminLocal},
		{"router-last", "a filter behind the router never runs", routerLast},
		{"cors-first", "a browser cannot read a refusal made before CORS headers are added", corsFirst},
		{"cors-policy", "with credentials, or with preflights that go on to authz, pages of others could do what their users may, or nothing at all", corsPolicies},
		{"body-limit", "without a limit before authz, anyone can make the gateway hold large bodies", bodyLimit},
		{"authz-present", "without ext_authz every caller is let through", authzPresent},
		{"authz-fails-closed", "an outage of authz must refuse, and say 503: after a 403 a client drops a good token", authzFailsClosed},
		{"authz-timeout", "a time limit of zero waits for ever, a short one refuses cold tokens", authzTimeout},
		{"authz-identity-only", "authz may set identity headers and nothing else", authzIdentityOnly},
		{"authz-headers-only", "with bodies, requests are buffered for callers who are not known yet", authzHeadersOnly},
		{"identity-stripped", "a client could send identity headers of its own", identityStripped},
		{"routes-exact", "a route of many paths or methods lets through what nobody thought of", routesExact},
		{"public-exact", "a public route that matches more than one path, or keeps credentials, is a way around authz", publicExact},
		{"path-hygiene", "a path that Envoy and the upstream read differently is a way around authz", pathHygiene},
		{"host-whole", "the route table compares a Host up to its colon, so 127.0.0.1:@evil.example would be ours", hostWhole},
		{"host-own", "under a Host that is not ours, as DNS rebinding sends it, only /health may answer", hostOwn},
		{"http-strict", "upgrades, HTTP/1.0 and ambiguous lengths are how requests are smuggled", httpStrict},
		{"cookies-dropped", "nothing behind the edge uses cookies, which are credentials", cookiesDropped},
		{"client-address", "a forged X-Forwarded-For or x-request-id would be believed", clientAddress},
		{"header-limits", "headers without limits, and requests that never end, are a cheap attack", headerLimits},
		{"connection-limits", "streams and buffers without bounds, and connections that idle for ever, are memory that anybody can take", connectionLimits},
		{"breakers-sized", "an open stream holds a connection and a request, so the default of 1024 would be the limit", breakersSized},
		{"overload", "an Envoy that runs out of memory ends everybody's streams", overload},
		{"subject-limit", "one user's flood would be everybody's outage", subjectLimit},
		{"global-limit", "a limit that is counted elsewhere must not hold requests up, nor leave them unlimited when it is gone", globalLimit},
		{"stream-timeout", "the default of 15 s cuts every stream; without a limit for its beginning, one that never begins is held", streamTimeout},
		{"replies-keep-authz", "a rewritten refusal loses authz's reason", repliesKeepAuthz},
		{"replies-json", "a program cannot read a refusal in plain text, nor name it when it asks for help", repliesJSON},
		{"replies-discreet", "response code details name sockets and addresses", repliesDiscreet},
		{"trace-discreet", "a span must hold no query, and what is traced is not for clients to say", traceDiscreet},
		{"log-present", "without a line per request nobody can say who did what", logPresent},
		{"log-discreet", "a log line must hold no credential and no query", logDiscreet},
		{"http3-safe", "what comes before QUIC's handshake is complete can be played again, and nobody vouches for the address of its client", http3Safe},
		{"tls-minimum", "TLS below 1.2 is broken", tlsMinimum},
	}
}

func clustersExist(r *reader, report report) {
	known := map[string]bool{}
	for _, c := range r.GetStaticResources().GetClusters() {
		known[c.GetName()] = true
	}
	for _, e := range r.edges {
		e.routes(func(where string, route *routev3.Route, _ bool) {
			if action := route.GetRoute(); action != nil && !known[action.GetCluster()] {
				report(where, "cluster %q does not exist", action.GetCluster())
			}
		})
		if e.extAuthz != nil {
			if name := e.extAuthz.GetGrpcService().GetEnvoyGrpc().GetClusterName(); !known[name] {
				report(e.where, "ext_authz: cluster %q does not exist", name)
			}
		}
		if limit := e.globalLimit(); limit != nil {
			if name := limit.GetRateLimitService().GetGrpcService().GetEnvoyGrpc().GetClusterName(); !known[name] {
				report(e.where, "ratelimit: cluster %q does not exist", name)
			}
		}
	}
}

func upstreamsLocal(r *reader, report report) {
	collectors := r.collectors()
	for _, c := range r.GetStaticResources().GetClusters() {
		if collectors[c.GetName()] {
			continue // it believes nothing that matters
		}
		for _, locality := range c.GetLoadAssignment().GetEndpoints() {
			for _, e := range locality.GetLbEndpoints() {
				if local(e.GetEndpoint().GetAddress()) {
					continue
				}
				if common := upstreamTLS(c); common == nil || len(common.GetTlsCertificateSdsSecretConfigs())+len(common.GetTlsCertificates()) == 0 {
					report("clusters "+c.GetName(), "use a unix socket or a loopback address, or TLS with a certificate of Envoy's own")
				}
			}
		}
	}
}

func upstreamsVerified(r *reader, report report) {
	for _, c := range r.GetStaticResources().GetClusters() {
		common := upstreamTLS(c)
		if common == nil {
			if c.GetTransportSocket() != nil || len(c.GetTransportSocketMatches()) > 0 {
				report("clusters "+c.GetName(), "its transport socket is not TLS, or chosen by matches")
			}
			continue
		}
		combined := common.GetCombinedValidationContext()
		names, authorities := common.GetValidationContext(), common.GetValidationContext().GetTrustedCa() != nil
		if combined != nil {
			names, authorities = combined.GetDefaultValidationContext(), combined.GetValidationContextSdsSecretConfig() != nil || combined.GetDefaultValidationContext().GetTrustedCa() != nil
		}
		if !authorities || len(names.GetMatchTypedSubjectAltNames()) == 0 {
			report("clusters "+c.GetName(), "tls: set the trusted authorities and match_typed_subject_alt_names")
		}
		if names.GetTrustChainVerification() != tlsv3.CertificateValidationContext_VERIFY_TRUST_CHAIN || names.GetAllowExpiredCertificate() {
			report("clusters "+c.GetName(), "tls: remove trust_chain_verification and allow_expired_certificate")
		}
	}
}

// upstreamTLS is how a cluster speaks TLS, or nil.
func upstreamTLS(c *clusterv3.Cluster) *tlsv3.CommonTlsContext {
	packed := c.GetTransportSocket().GetTypedConfig()
	if packed == nil {
		return nil
	}
	context, _ := unpack(packed).(*tlsv3.UpstreamTlsContext)
	return context.GetCommonTlsContext()
}

func adminLocal(r *reader, report report) {
	admin := r.GetAdmin()
	if admin == nil {
		return
	}
	if !local(admin.GetAddress()) {
		report("admin", "use a unix socket or a loopback address")
	}
	if len(admin.GetAllowPaths()) == 0 {
		report("admin", "limit it with allow_paths")
	}
}

func routerLast(r *reader, report report) {
	for _, e := range r.edges {
		if at := e.place(routerName); at < 0 || at != len(e.HttpFilters)-1 {
			report(e.where, "%s must be there, and be the last of http_filters", routerName)
		}
	}
}

func corsFirst(r *reader, report report) {
	for _, e := range r.edges {
		at := e.place(corsName)
		if at < 0 {
			report(e.where, "%s is missing", corsName)
			continue
		}
		for _, refuses := range []string{extAuthzName, bodyLimitName, localLimitName, globalLimitName} {
			if other := e.place(refuses); other >= 0 && other < at {
				report(e.where, "%s must stand before %s", corsName, refuses)
			}
		}
	}
}

func bodyLimit(r *reader, report report) {
	for _, e := range r.edges {
		at := e.place(bodyLimitName)
		if at < 0 {
			report(e.where, "%s is missing", bodyLimitName)
		} else if authz := e.place(extAuthzName); authz >= 0 && authz < at {
			report(e.where, "%s must stand before %s", bodyLimitName, extAuthzName)
		}
	}
}

func authzPresent(r *reader, report report) {
	if len(r.edges) == 0 {
		report("listeners", "there is no HTTP listener")
	}
	for _, e := range r.edges {
		if e.extAuthz == nil {
			report(e.where, "%s is missing or disabled", extAuthzName)
		}
		if e.GetRouteConfig() == nil {
			report(e.where, "routes must be in the file, so that they can be checked")
		}
	}
}

func authzFailsClosed(r *reader, report report) {
	for _, e := range r.edges {
		switch authz := e.extAuthz; {
		case authz == nil:
		case authz.GetFailureModeAllow():
			report(e.where, "ext_authz: remove failure_mode_allow")
		case authz.GetFilterEnabled() != nil || authz.GetFilterEnabledMetadata() != nil:
			report(e.where, "ext_authz: remove filter_enabled and filter_enabled_metadata; they can switch it off")
		case authz.GetShadowMode():
			report(e.where, "ext_authz: remove shadow_mode; it lets everyone through")
		case authz.GetStatusOnError().GetCode() != typev3.StatusCode_ServiceUnavailable:
			report(e.where, "ext_authz: set status_on_error to ServiceUnavailable")
		}
	}
}

func authzTimeout(r *reader, report report) {
	for _, e := range r.edges {
		if e.extAuthz == nil {
			continue
		}
		service := e.extAuthz.GetGrpcService()
		if limit := service.GetTimeout().AsDuration(); limit < time.Second || limit > 10*time.Second {
			report(e.where, "ext_authz: grpc_service.timeout is %v; set 1 s to 10 s", limit)
		}
		// Envoy takes the longest back-off as the limit of each try.
		if service.GetRetryPolicy() != nil && service.GetRetryPolicy().GetRetryBackOff().GetMaxInterval().AsDuration() < service.GetTimeout().AsDuration() {
			report(e.where, "ext_authz: retry_back_off.max_interval is also the limit of each try; make it as long as the timeout")
		}
	}
}

func authzIdentityOnly(r *reader, report report) {
	for _, e := range r.edges {
		if e.extAuthz == nil {
			continue
		}
		rules := e.extAuthz.GetDecoderHeaderMutationRules()
		if !rules.GetDisallowAll().GetValue() || !rules.GetDisallowIsError().GetValue() || !strings.HasPrefix(rules.GetAllowExpression().GetRegex(), identityPrefix) {
			report(e.where, "ext_authz: decoder_header_mutation_rules must disallow all but %s…, as an error", identityPrefix)
		}
		if !e.extAuthz.GetValidateMutations() {
			report(e.where, "ext_authz: set validate_mutations")
		}
		if e.extAuthz.GetClearRouteCache() {
			report(e.where, "ext_authz: remove clear_route_cache; a request could change its route after the decision")
		}
	}
}

func authzHeadersOnly(r *reader, report report) {
	for _, e := range r.edges {
		if e.extAuthz == nil {
			continue
		}
		if e.extAuthz.GetWithRequestBody() != nil {
			report(e.where, "ext_authz: remove with_request_body")
		}
		if len(e.extAuthz.GetAllowedHeaders().GetPatterns()) == 0 {
			report(e.where, "ext_authz: list the headers it needs in allowed_headers")
		}
	}
}

func identityStripped(r *reader, report report) {
	for _, e := range r.edges {
		stripped := false
		for _, m := range e.earlyMutations() {
			if m.GetRemoveOnMatch().GetKeyMatcher().GetPrefix() == identityPrefix {
				stripped = true
			}
		}
		if !stripped {
			report(e.where, "remove %s* in early_header_mutation_extensions", identityPrefix)
		}
	}
}

func publicExact(r *reader, report report) {
	for _, e := range r.edges {
		e.routes(func(where string, route *routev3.Route, open bool) {
			if route.GetRoute() == nil || !open {
				return
			}
			if route.GetMatch().GetPath() == "" && !isPreflight(route.GetMatch()) {
				report(where, "a route without authz must match one exact path")
			}
			if !slices.Contains(route.GetRequestHeadersToRemove(), "authorization") {
				report(where, "a route without authz must remove authorization")
			}
		})
	}
}

// isPreflight: such a request is answered by the cors filter before it is routed anywhere.
func isPreflight(match *routev3.RouteMatch) bool {
	options, asks := false, false
	for _, h := range match.GetHeaders() {
		switch h.GetName() {
		case ":method":
			options = h.GetStringMatch().GetExact() == "OPTIONS" && !h.GetInvertMatch()
		case "access-control-request-method":
			asks = h.GetPresentMatch() && !h.GetInvertMatch()
		}
	}
	return options && asks
}

func pathHygiene(r *reader, report report) {
	for _, e := range r.edges {
		if !e.GetNormalizePath().GetValue() || !e.GetMergeSlashes() || e.GetPathWithEscapedSlashesAction() != hcmv3.HttpConnectionManager_REJECT_REQUEST {
			report(e.where, "set normalize_path, merge_slashes, and path_with_escaped_slashes_action: REJECT_REQUEST")
		}
		if e.GetRouteConfig().GetIgnorePathParametersInPathMatching() {
			report(e.where, "remove ignore_path_parameters_in_path_matching")
		}
	}
}

func hostWhole(r *reader, report report) {
	for _, e := range r.edges {
		for _, host := range e.GetRouteConfig().GetVirtualHosts() {
			if slices.Contains(host.GetDomains(), "*") {
				continue // for names that are not ours
			}
			for _, route := range host.GetRoutes() {
				if refusesMalformedHost(route) {
					break
				}
				if route.GetRoute() != nil && route.GetMatch().GetPath() != "/health" {
					report(e.where+" "+host.GetName(), "a route that answers 421 to a malformed :authority must stand before %q", route.GetName())
					break
				}
			}
		}
	}
}

func refusesMalformedHost(route *routev3.Route) bool {
	match := route.GetMatch()
	if match.GetPrefix() != "/" || len(match.GetHeaders()) != 1 || route.GetDirectResponse().GetStatus() != 421 {
		return false
	}
	h := match.GetHeaders()[0]
	return h.GetName() == ":authority" && h.GetInvertMatch() && h.GetStringMatch().GetSafeRegex() != nil
}

func clientAddress(r *reader, report report) {
	for _, e := range r.edges {
		if !e.GetUseRemoteAddress().GetValue() {
			report(e.where, "set use_remote_address, and xff_num_trusted_hops for the proxies in front")
		}
		if e.GetPreserveExternalRequestId() {
			report(e.where, "remove preserve_external_request_id")
		}
	}
}

func headerLimits(r *reader, report report) {
	for _, e := range r.edges {
		common := e.GetCommonHttpProtocolOptions()
		if common.GetHeadersWithUnderscoresAction() == corev3.HttpProtocolOptions_ALLOW {
			report(e.where, "set headers_with_underscores_action; x_neonpanel_subject is x-neonpanel-subject to some servers")
		}
		if e.GetRequestHeadersTimeout().AsDuration() <= 0 || e.GetRequestTimeout().AsDuration() <= 0 {
			report(e.where, "set request_headers_timeout and request_timeout")
		}
		if e.GetRequestTimeout().AsDuration() > 30*time.Second {
			report(e.where, "request_timeout is %v; a body that never ends holds a connection that long, set 30 s or less", e.GetRequestTimeout().AsDuration())
		}
		if kb := e.GetMaxRequestHeadersKb().GetValue(); kb == 0 || kb > 96 {
			report(e.where, "set max_request_headers_kb, at most 96")
		}
		if common.GetMaxHeadersCount().GetValue() > 200 {
			report(e.where, "max_headers_count is more than 200")
		}
	}
}

func streamTimeout(r *reader, report report) {
	for _, e := range r.edges {
		e.routes(func(where string, route *routev3.Route, _ bool) {
			switch route.GetMatch().GetPath() {
			case "/mcp", "/sse", "/sse/":
			default:
				return
			}
			action := route.GetRoute()
			if action == nil {
				return
			}
			if action.GetTimeout() == nil || action.GetTimeout().AsDuration() != 0 {
				report(where, "set timeout: 0s; a stream has no end of its own")
			}
			if first := action.GetRetryPolicy().GetPerTryTimeout().AsDuration(); first <= 0 || first > 2*time.Minute {
				report(where, "retry_policy: set per_try_timeout, which ends where the response begins, to 2 minutes or less")
			}
			if action.GetRetryPolicy().GetRetryOn() != "" {
				report(where, "retry_policy: remove retry_on; a call that changes something would be made twice")
			}
			if idle := action.GetIdleTimeout().AsDuration(); idle < time.Minute {
				report(where, "set idle_timeout to a minute or more")
			}
		})
	}
}

func repliesKeepAuthz(r *reader, report report) {
	for _, e := range r.edges {
		config := e.GetLocalReplyConfig()
		if config == nil {
			continue
		}
		if config.GetBodyFormat() != nil {
			report(e.where, "local_reply_config: remove body_format; it rewrites authz's refusals")
		}
		if len(config.GetMappers()) == 0 {
			continue
		}
		first := config.GetMappers()[0]
		condition, _ := unpack(first.GetFilter().GetExtensionFilter().GetTypedConfig()).(*celv3.ExpressionFilter)
		if condition.GetExpression() != "response.code_details == 'ext_authz_denied'" || first.GetBody() != nil || first.GetBodyFormatOverride() != nil || first.GetStatusCode() != nil {
			report(e.where, "local_reply_config: the first mapper must leave ext_authz_denied as it is")
		}
	}
}

func repliesDiscreet(r *reader, report report) {
	for _, e := range r.edges {
		text, err := protojson.Marshal(e.GetLocalReplyConfig())
		if err != nil {
			report(e.where, "local_reply_config: %v", err)
		}
		for _, operator := range []string{"%RESPONSE_CODE_DETAILS", "%RESPONSE_FLAGS", "%UPSTREAM_", "%DOWNSTREAM_LOCAL_", "%CONNECTION_"} {
			if strings.Contains(string(text), operator) {
				report(e.where, "local_reply_config: keep %s…%% for the log", operator)
			}
		}
	}
}

func logDiscreet(r *reader, report report) {
	for _, e := range r.edges {
		for _, log := range e.GetAccessLog() {
			text, err := protojson.Marshal(log.GetTypedConfig())
			if err != nil {
				report(e.where, "access_log: %v", err)
			}
			upper := strings.ToUpper(string(text))
			for _, secret := range []string{"(AUTHORIZATION", "(COOKIE", "(SET-COOKIE", "(X-API-KEY", "(:PATH", "(X-ENVOY-ORIGINAL-PATH", "%PATH(WQ", "%PATH%", "%QUERY", "(REFERER", "(LOCATION"} {
				if strings.Contains(upper, secret) {
					report(e.where, "access_log: %s…) may hold a credential or a query; log the path as %%PATH(NQ:PATH)%%", secret)
				}
			}
		}
	}
}

func traceDiscreet(r *reader, report report) {
	for _, e := range r.edges {
		removed := map[string]bool{}
		for _, m := range e.earlyMutations() {
			removed[m.GetRemove()] = true
		}
		for _, name := range []string{"traceparent", "tracestate", "baggage", "x-client-trace-id", "x-envoy-force-trace"} {
			if !removed[name] {
				report(e.where, "early_header_mutation_extensions must remove %s", name)
			}
		}
		e.routes(func(where string, route *routev3.Route, _ bool) {
			if t := route.GetTracing(); len(t.GetCustomTags()) > 0 || t.GetOperation() != "" || t.GetUpstreamOperation() != "" {
				report(where, "tracing: leave the tags and names of spans to the listener")
			}
		})
		tracing := e.GetTracing()
		if tracing == nil {
			continue
		}
		if tracing.GetMaxPathTagLength() == nil || tracing.GetMaxPathTagLength().GetValue() != 0 {
			report(e.where, "tracing: set max_path_tag_length to 0; the path of a span holds the query")
		}
		if tracing.GetClientSampling() == nil || tracing.GetClientSampling().GetValue() != 0 {
			report(e.where, "tracing: set client_sampling to 0")
		}
		for _, tag := range tracing.GetCustomTags() {
			if tag.GetRequestHeader() != nil || tag.GetValue() != "" {
				report(e.where, "tracing: custom tag %s: take no headers and no formats into spans", tag.GetTag())
			}
		}
		for _, format := range []string{tracing.GetOperation(), tracing.GetUpstreamOperation()} {
			if strings.Contains(format, "PATH") || strings.Contains(format, "QUERY") || strings.Contains(strings.ReplaceAll(format, "%REQ(:METHOD)%", ""), "REQ") {
				report(e.where, "tracing: operation %q must come from a closed list", format)
			}
		}
	}
}

func tlsMinimum(r *reader, report report) {
	for i, listener := range r.GetStaticResources().GetListeners() {
		for _, chain := range chains(listener) {
			context := downstreamTLS(chain)
			if context != nil && context.GetCommonTlsContext().GetTlsParams().GetTlsMinimumProtocolVersion() < tlsv3.TlsParameters_TLSv1_2 {
				report(fmt.Sprintf("listeners[%d]", i), "set tls_minimum_protocol_version to TLSv1_2 or TLSv1_3")
			}
		}
	}
	for _, c := range r.GetStaticResources().GetClusters() {
		if common := upstreamTLS(c); common != nil && common.GetTlsParams().GetTlsMinimumProtocolVersion() < tlsv3.TlsParameters_TLSv1_2 {
			report("clusters "+c.GetName(), "set tls_minimum_protocol_version to TLSv1_2 or TLSv1_3")
		}
	}
}

// downstreamTLS is how a chain speaks TLS, over TCP or QUIC, or nil.
func downstreamTLS(chain *listenerv3.FilterChain) *tlsv3.DownstreamTlsContext {
	packed := chain.GetTransportSocket().GetTypedConfig()
	if packed == nil {
		return nil
	}
	switch context := unpack(packed).(type) {
	case *tlsv3.DownstreamTlsContext:
		return context
	case *quicv3.QuicDownstreamTransport:
		return context.GetDownstreamTlsContext()
	}
	return nil
}

func http3Safe(r *reader, report report) {
	for _, listener := range r.GetStaticResources().GetListeners() {
		if listener.GetUdpListenerConfig() == nil {
			continue
		}
		where := "listeners " + listener.GetName()
		for _, chain := range chains(listener) {
			quic := &quicv3.QuicDownstreamTransport{}
			if packed := chain.GetTransportSocket().GetTypedConfig(); packed == nil || packed.UnmarshalTo(quic) != nil {
				report(where, "its transport socket must be envoy.transport_sockets.quic")
				continue
			}
			if quic.GetEnableEarlyData() == nil || quic.GetEnableEarlyData().GetValue() {
				report(where, "set enable_early_data to false")
			}
			if options := listener.GetUdpListenerConfig().GetQuicOptions(); options.GetCryptoHandshakeTimeout().AsDuration() <= 0 || options.GetIdleTimeout().AsDuration() <= 0 {
				report(where, "quic_options: set crypto_handshake_timeout and idle_timeout")
			}
		}
		for _, e := range r.edges {
			if e.GetCodecType() == hcmv3.HttpConnectionManager_HTTP3 && e.GetXffNumTrustedHops() > 0 {
				report(e.where, "xff_num_trusted_hops: no proxy in front passes QUIC on, so whoever comes this way can forge an address")
			}
		}
	}
}
