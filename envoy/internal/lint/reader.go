package lint

import (
	"fmt"
	"net/netip"
	"slices"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlymutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	corsName      = "envoy.filters.http.cors"
	bodyLimitName = "envoy.filters.http.body_size_limit"
	extAuthzName  = "envoy.filters.http.ext_authz"
	routerName    = "envoy.filters.http.router"

	localLimitName  = "envoy.filters.http.local_ratelimit"
	globalLimitName = "envoy.filters.http.ratelimit"

	identityPrefix = "x-neonpanel-"
)

// reader is a bootstrap with the packed messages opened that rules look into.
type reader struct {
	*bootstrapv3.Bootstrap
	edges []edge
}

// edge is one HTTP connection manager.
type edge struct {
	*hcmv3.HttpConnectionManager
	where    string
	extAuthz *extauthzv3.ExtAuthz // nil: none
}

// place is a filter's position in the chain, or -1.
func (e edge) place(name string) int {
	return slices.IndexFunc(e.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.Name == name && !f.Disabled })
}

// config is that of a filter that is there and not disabled, or nil.
func (e edge) config(name string) proto.Message {
	at := e.place(name)
	if at < 0 {
		return nil
	}
	return unpack(e.HttpFilters[at].GetTypedConfig())
}

func (e edge) globalLimit() *ratelimitv3.RateLimit {
	limit, _ := e.config(globalLimitName).(*ratelimitv3.RateLimit)
	return limit
}

func read(b *bootstrapv3.Bootstrap) (*reader, error) {
	r := &reader{Bootstrap: b}
	for i, listener := range b.GetStaticResources().GetListeners() {
		for j, chain := range chains(listener) {
			for k, filter := range chain.GetFilters() {
				if !filter.GetTypedConfig().MessageIs(&hcmv3.HttpConnectionManager{}) {
					continue
				}
				e := edge{HttpConnectionManager: &hcmv3.HttpConnectionManager{}, where: fmt.Sprintf("listeners[%d].filter_chains[%d].filters[%d]", i, j, k)}
				if err := filter.GetTypedConfig().UnmarshalTo(e.HttpConnectionManager); err != nil {
					return nil, err
				}
				if at := e.place(extAuthzName); at >= 0 {
					e.extAuthz = &extauthzv3.ExtAuthz{}
					if err := e.HttpFilters[at].GetTypedConfig().UnmarshalTo(e.extAuthz); err != nil {
						return nil, err
					}
				}
				r.edges = append(r.edges, e)
			}
		}
	}
	return r, nil
}

func chains(listener *listenerv3.Listener) []*listenerv3.FilterChain {
	all := listener.GetFilterChains()
	if listener.GetDefaultFilterChain() != nil {
		all = append(slices.Clone(all), listener.GetDefaultFilterChain())
	}
	return all
}

// routes calls with each route, where it stands, and whether authz is off for it.
func (e edge) routes(each func(where string, route *routev3.Route, open bool)) {
	config := e.GetRouteConfig()
	for _, host := range config.GetVirtualHosts() {
		for i, route := range host.GetRoutes() {
			open := false
			for _, level := range []map[string]*anypb.Any{config.GetTypedPerFilterConfig(), host.GetTypedPerFilterConfig(), route.GetTypedPerFilterConfig()} {
				if override, ok := level[extAuthzName]; ok {
					open = disables(override)
				}
			}
			each(fmt.Sprintf("%s.route_config.%s.routes[%d] (%s)", e.where, host.GetName(), i, route.GetName()), route, open)
		}
	}
}

// earlyMutations are what happens to headers before anything else.
func (e edge) earlyMutations() []*mutationrulesv3.HeaderMutation {
	var all []*mutationrulesv3.HeaderMutation
	for _, extension := range e.GetEarlyHeaderMutationExtensions() {
		if mutation, ok := unpack(extension.GetTypedConfig()).(*earlymutationv3.HeaderMutation); ok {
			all = append(all, mutation.GetMutations()...)
		}
	}
	return all
}

// collectors are the clusters that traces go to, and neither requests nor authz's questions.
func (r *reader) collectors() map[string]bool {
	names := map[string]bool{}
	for _, e := range r.edges {
		if tracer, ok := unpack(e.GetTracing().GetProvider().GetTypedConfig()).(*tracev3.OpenTelemetryConfig); ok {
			names[tracer.GetHttpService().GetHttpUri().GetCluster()] = true
		}
	}
	for _, e := range r.edges {
		e.routes(func(_ string, route *routev3.Route, _ bool) { delete(names, route.GetRoute().GetCluster()) })
		delete(names, e.extAuthz.GetGrpcService().GetEnvoyGrpc().GetClusterName())
	}
	return names
}

// disables tells whether an override switches its filter off, in either of the two ways there are.
func disables(override *anypb.Any) bool {
	switch m := unpack(override).(type) {
	case *extauthzv3.ExtAuthzPerRoute:
		return m.GetDisabled()
	case *routev3.FilterConfig:
		return m.GetDisabled() || (m.GetConfig() != nil && disables(m.GetConfig()))
	}
	return false
}

func unpack(packed *anypb.Any) proto.Message {
	m, err := packed.UnmarshalNew()
	if err != nil {
		return nil // the schema's check has told
	}
	return m
}

// local tells whether an address stays on this machine.
func local(a *corev3.Address) bool {
	if a.GetPipe() != nil {
		return true
	}
	ip, err := netip.ParseAddr(a.GetSocketAddress().GetAddress())
	return err == nil && ip.IsLoopback()
}
