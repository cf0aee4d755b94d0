package settings

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// Tracing says where traces go, and of what.
type Tracing struct {
	// URL takes OTLP/HTTP; Collector is its address.
	URL       string
	Collector Address
	// CA is the file of the authorities of a collector with https, else empty.
	CA      string
	Service string
	// Percent of the requests are traced.
	Percent float64
}

// parseTracing reads the settings that OpenTelemetry has standard names for. The path of the
// signal is added to the endpoint (OTLP specification, "Endpoint URLs for OTLP/HTTP").
func parseTracing(f *faults, s Settings) *Tracing {
	if s.OTLPEndpoint == "" {
		return nil
	}
	t := &Tracing{URL: strings.TrimSuffix(s.OTLPEndpoint, "/") + "/v1/traces", CA: s.OTLPCertificate, Service: s.ServiceName, Percent: 100}
	u, err := url.Parse(s.OTLPEndpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		f.add("OTEL_EXPORTER_OTLP_ENDPOINT", "%q is not a URL of a collector such as http://127.0.0.1:4318, without user and query", redact(s.OTLPEndpoint))
		return nil
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	before := len(*f)
	if t.Collector = parseAddress(f, "OTEL_EXPORTER_OTLP_ENDPOINT", joinHostPort(u.Hostname(), port)); len(*f) > before {
		return nil
	}
	switch {
	case u.Scheme == "http" && t.CA != "":
		f.add("OTEL_EXPORTER_OTLP_CERTIFICATE", "%q means nothing for a collector with http", t.CA)
	case u.Scheme == "https" && t.CA == "":
		f.add("OTEL_EXPORTER_OTLP_CERTIFICATE", "needed for a collector with https: Envoy trusts no authorities of its own")
	case u.Scheme == "https" && !filepath.IsAbs(t.CA):
		f.add("OTEL_EXPORTER_OTLP_CERTIFICATE", "%q must be an absolute path, because Envoy reads it from its own directory", t.CA)
	}
	if !nodeName.MatchString(t.Service) {
		f.add("OTEL_SERVICE_NAME", "%q is not a plain name of letters, digits and . _ : / -", t.Service)
	}
	share, err := strconv.ParseFloat(s.SamplerArg, 64)
	if err != nil || !(share >= 0 && share <= 1) {
		f.add("OTEL_TRACES_SAMPLER_ARG", "%q is not a share from 0 to 1, such as 0.05", s.SamplerArg)
	}
	t.Percent = share * 100
	return t
}

func joinHostPort(host, port string) string {
	if strings.Contains(host, ":") {
		return fmt.Sprintf("[%s]:%s", host, port)
	}
	return host + ":" + port
}

// redact keeps a password and a query out of a fault.
func redact(value string) string {
	u, err := url.Parse(value)
	if err != nil {
		return "it"
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}
