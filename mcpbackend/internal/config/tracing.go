package config

import (
	"net/url"
	"regexp"
	"strconv"
)

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`)

// tracing takes the settings that OpenTelemetry has standard names for. Without
// a collector nothing comes of the others.
func (s Settings) tracing(fault func(name, format string, args ...any)) Tracing {
	if s.OTLPEndpoint == "" {
		return Tracing{}
	}
	t := Tracing{Endpoint: s.OTLPEndpoint, CAFile: s.OTLPCertificate, Service: s.ServiceName}
	u, err := url.Parse(t.Endpoint)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		fault("OTEL_EXPORTER_OTLP_ENDPOINT", "must be a URL such as http://127.0.0.1:4318, without user, query or fragment")
	}
	if err := certificates(s.OTLPCertificate); err != nil {
		fault("OTEL_EXPORTER_OTLP_CERTIFICATE", "%v", err)
	}
	if !plainName.MatchString(t.Service) {
		fault("OTEL_SERVICE_NAME", "must be a plain name of letters, digits and . _ : / -")
	}
	if t.Share, err = strconv.ParseFloat(s.SamplerArg, 64); err != nil || !(t.Share >= 0 && t.Share <= 1) {
		fault("OTEL_TRACES_SAMPLER_ARG", "must be a share from 0 to 1, such as 0.05")
	}
	if t.TellAPI, err = strconv.ParseBool(s.APITraceparent); err != nil {
		fault("MCPBACKEND_API_TRACEPARENT", "must be true or false")
	}
	return t
}
