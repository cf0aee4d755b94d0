package lint

import (
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

func routesExact(r *reader, report report) {
	for _, e := range r.edges {
		e.routes(func(where string, route *routev3.Route, _ bool) {
			if route.GetRoute() == nil || isPreflight(route.GetMatch()) {
				return
			}
			if route.GetMatch().GetPath() == "" {
				report(where, "a route to an upstream must match one exact path")
			}
			if !slices.ContainsFunc(route.GetMatch().GetHeaders(), func(h *routev3.HeaderMatcher) bool {
				value := h.GetStringMatch()
				return h.GetName() == ":method" && !h.GetInvertMatch() && (value.GetExact() != "" || value.GetSafeRegex() != nil)
			}) {
				report(where, "a route to an upstream must name its methods")
			}
		})
	}
}

func hostOwn(r *reader, report report) {
	for _, e := range r.edges {
		for _, host := range e.GetRouteConfig().GetVirtualHosts() {
			if !slices.ContainsFunc(host.GetDomains(), func(domain string) bool { return domain != "" && (domain[0] == '*' || domain[len(domain)-1] == '*') }) {
				continue
			}
			for _, route := range host.GetRoutes() {
				if route.GetRoute() != nil && route.GetMatch().GetPath() != "/health" {
					report(e.where+" "+host.GetName(), "the host %q must not lead to an upstream by %q", host.GetDomains()[0], route.GetName())
				}
			}
		}
	}
}

func httpStrict(r *reader, report report) {
	for _, e := range r.edges {
		if len(e.GetUpgradeConfigs()) > 0 {
			report(e.where, "remove upgrade_configs")
		}
		e.routes(func(where string, route *routev3.Route, _ bool) {
			if len(route.GetRoute().GetUpgradeConfigs()) > 0 {
				report(where, "remove upgrade_configs")
			}
		})
		if options := e.GetHttpProtocolOptions(); options.GetAcceptHttp_10() || options.GetAllowChunkedLength() {
			report(e.where, "http_protocol_options: remove accept_http_10 and allow_chunked_length")
		}
		if e.GetHttp2ProtocolOptions().GetAllowConnect() || e.GetHttp3ProtocolOptions().GetAllowExtendedConnect() {
			report(e.where, "remove allow_connect and allow_extended_connect")
		}
	}
}

func cookiesDropped(r *reader, report report) {
	for _, e := range r.edges {
		if !slices.Contains(e.GetRouteConfig().GetRequestHeadersToRemove(), "cookie") {
			report(e.where, "route_config: request_headers_to_remove must hold cookie")
		}
	}
}

func logPresent(r *reader, report report) {
	for _, e := range r.edges {
		if !slices.ContainsFunc(e.GetAccessLog(), func(l *accesslogv3.AccessLog) bool { return l.GetFilter() == nil }) {
			report(e.where, "access_log must hold one without a filter")
		}
	}
}
