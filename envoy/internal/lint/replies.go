package lint

import (
	"fmt"
	"strings"

	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
)

func corsPolicies(r *reader, report report) {
	for _, e := range r.edges {
		for _, host := range e.GetRouteConfig().GetVirtualHosts() {
			where := fmt.Sprintf("%s.route_config.%s", e.where, host.GetName())
			policy, ok := unpack(host.GetTypedPerFilterConfig()[corsName]).(*corsv3.CorsPolicy)
			switch {
			case !ok:
				report(where, "typed_per_filter_config must hold a policy for %s", corsName)
			case policy.GetAllowCredentials().GetValue():
				report(where, "cors: remove allow_credentials")
			case policy.GetForwardNotMatchingPreflights() == nil || policy.GetForwardNotMatchingPreflights().GetValue():
				report(where, "cors: set forward_not_matching_preflights to false")
			}
		}
	}
}

// repliesJSON looks at the mappers that take what no other one took.
func repliesJSON(r *reader, report report) {
	for _, e := range r.edges {
		for _, class := range []string{"response.code >= 400 && response.code < 500", "response.code >= 500"} {
			found := false
			for _, m := range e.GetLocalReplyConfig().GetMappers() {
				condition, _ := unpack(m.GetFilter().GetExtensionFilter().GetTypedConfig()).(*celv3.ExpressionFilter)
				fields := m.GetBodyFormatOverride().GetJsonFormat().GetFields()
				if condition.GetExpression() == class && fields["error"].GetStringValue() != "" && strings.Contains(fields["request_id"].GetStringValue(), "X-REQUEST-ID") {
					found = true
				}
			}
			if !found {
				report(e.where, "local_reply_config: a mapper for %q must answer in JSON with error and request_id", class)
			}
		}
	}
}
