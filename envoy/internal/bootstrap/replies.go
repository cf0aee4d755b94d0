package bootstrap

import (
	"fmt"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// reply is one of Envoy's own errors as a client sees it.
type reply struct {
	status      uint32
	code        string
	description string
	retryAfter  string
}

// startTime is to the microsecond, by RFC 3339.
const startTime = "%Y-%m-%dT%H:%M:%S.%6fZ"

// requestID is the header that Envoy makes, or, for a request that it refuses before it gets so far,
// the time at which that one began, which the log has too.
var requestID = `%COALESCE({"operators":[{"command":"REQUEST_HEADER","param":"X-REQUEST-ID"},{"command":"START_TIME","param":"` +
	strings.ReplaceAll(startTime, "%", `\u0025`) + `"}]})%`

// localReplies gives every error that Envoy itself makes the shape of authz's. The reason inside
// Envoy (response code details) names sockets and goes to the log only. The first mapper that
// matches decides.
func (b *builder) localReplies() *hcmv3.LocalReplyConfig {
	config := &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{
		// What authz answers stands as it is. authz being down is not among it: that is ext_authz_error.
		{Filter: b.when("response.code_details == 'ext_authz_denied'")},
	}}
	// The route table's own answers bring their description.
	for _, r := range []reply{
		{status: 403, code: "forbidden_origin"},
		{status: 404, code: "not_found"},
		{status: 405, code: "method_not_allowed"},
		{status: 421, code: "misdirected_request"},
	} {
		headers := uncached()
		if r.status != 403 { // for that one there is no allowed origin to name
			headers = append(headers, corsHeaders("%REQUEST_HEADER(ORIGIN)%")...)
		}
		config.Mappers = append(config.Mappers, b.mapper(fmt.Sprintf("response.code_details == 'direct_response' && response.code == %d", r.status), r, headers))
	}

	headers := uncached()
	if b.AnyOrigin {
		// Also for a request refused before it had a route, or before its headers were read. With a
		// list of origins only the route table has compared them, and after it the cors filter adds
		// these.
		headers = append(headers, corsHeaders("*")...)
	}
	for _, r := range []reply{
		{status: 404, code: "not_found", description: "There is nothing at this path."},
		{status: 408, code: "request_timeout", description: "The request was not complete in time; send it again."},
		{status: 413, code: "payload_too_large", description: fmt.Sprintf("The request body is larger than %d bytes.", b.MaxBody)},
		{status: 429, code: "too_many_requests", description: "Too many requests; wait as long as Retry-After says.", retryAfter: "1"},
		{status: 431, code: "headers_too_large", description: "The request headers are too large or too many."},
		{status: 502, code: "bad_gateway", description: "The service behind the gateway gave no valid answer; try again."},
		{status: 503, code: "temporarily_unavailable", description: "The service is not available at the moment; try again.", retryAfter: "2"},
		{status: 504, code: "gateway_timeout", description: "The service behind the gateway did not answer in time; try again."},
	} {
		config.Mappers = append(config.Mappers, b.mapper(fmt.Sprintf("response.code == %d", r.status), r, headers))
	}
	config.Mappers = append(config.Mappers,
		b.mapper("response.code >= 400 && response.code < 500", reply{code: "invalid_request", description: "The request is not valid HTTP for this server."}, headers),
		b.mapper("response.code >= 500", reply{code: "server_error", description: "The gateway failed; try again, and report the request_id if it persists."}, headers),
	)
	return config
}

func (b *builder) mapper(expression string, r reply, headers []*corev3.HeaderValueOption) *hcmv3.ResponseMapper {
	mapper := &hcmv3.ResponseMapper{
		Filter:             b.when(expression),
		BodyFormatOverride: errorBody(r.code),
		HeadersToAdd:       slices.Clone(headers),
	}
	if r.description != "" {
		mapper.Body = inline(r.description)
	}
	if r.retryAfter != "" {
		// A limit that knows the time says it itself.
		mapper.HeadersToAdd = append(mapper.HeadersToAdd, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: "retry-after", Value: r.retryAfter},
			AppendAction: corev3.HeaderValueOption_ADD_IF_ABSENT,
		})
	}
	return mapper
}

// uncached, because a 404 or 405 may be kept by caches otherwise (RFC 9111 §4.2.2).
func uncached() []*corev3.HeaderValueOption {
	return []*corev3.HeaderValueOption{setHeader("cache-control", "no-store"), setHeader("vary", "Origin"), setHeader("x-request-id", requestID)}
}

// errorBody is the JSON of an error, as authz's and mcpbackend's (RFC 6750 §3 names the fields);
// the description is the reply's body.
func errorBody(code string) *corev3.SubstitutionFormatString {
	return &corev3.SubstitutionFormatString{
		ContentType:     "application/json",
		OmitEmptyValues: true,
		Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: jsonObject(map[string]string{
			"error":             code,
			"error_description": "%LOCAL_REPLY_BODY%",
			"request_id":        requestID,
		})},
	}
}

func inline(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}

// when is a condition on the response in CEL.
func (b *builder) when(expression string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{ExtensionFilter: &accesslogv3.ExtensionFilter{
		Name:       "envoy.access_loggers.extension_filters.cel",
		ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: b.pack(&celv3.ExpressionFilter{Expression: expression})},
	}}}
}

// accessLog is one JSON line per request: who, what, how it ended and why. No query (it may hold
// a secret), no body, no header that carries a credential.
func (b *builder) accessLog() []*accesslogv3.AccessLog {
	const verdict = "%DYNAMIC_METADATA(" + extAuthzFilter + ":"
	line := jsonObject(map[string]string{
		"ts":          "%START_TIME(" + startTime + ")%",
		"request_id":  "%REQUEST_HEADER(X-REQUEST-ID)%",
		"client":      "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
		"host":        "%REQUEST_HEADER(:AUTHORITY):128%",
		"method":      "%REQUEST_HEADER(:METHOD)%",
		"path":        "%PATH(NQ:PATH):256%",
		"protocol":    "%PROTOCOL%",
		"user_agent":  "%REQUEST_HEADER(USER-AGENT):128%",
		"mcp_version": "%REQUEST_HEADER(MCP-PROTOCOL-VERSION):16%",
		// As mcpbackend found them in the body: the client's own headers may say anything.
		"mcp_method":  "%RESPONSE_HEADER(X-NEONPANEL-MCP-METHOD)%",
		"mcp_tool":    "%RESPONSE_HEADER(X-NEONPANEL-MCP-TOOL)%",
		"route":       "%ROUTE_NAME%",
		"code":        "%RESPONSE_CODE%",
		"flags":       "%RESPONSE_FLAGS%",
		"details":     "%RESPONSE_CODE_DETAILS%",
		"duration_ms": "%DURATION%",
		"upstream_ms": "%RESPONSE_DURATION%",
		"authz_us":    "%FILTER_STATE(" + extAuthzFilter + ":FIELD:latency_us)%",
		"bytes_in":    "%BYTES_RECEIVED%",
		"bytes_out":   "%BYTES_SENT%",
		"decision":    verdict + "decision)%",
		"reason":      verdict + "reason)%",
		"auth":        verdict + "auth)%",
		"subject":     verdict + "subject)%",
		"client_id":   verdict + "client_id)%",
	})
	return []*accesslogv3.AccessLog{{
		Name: "envoy.access_loggers.stdout",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: b.pack(&streamv3.StdoutAccessLog{
			AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				OmitEmptyValues: true,
				Format:          &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: line},
			}},
		})},
	}}
}
