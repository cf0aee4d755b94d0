package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

// origin takes an origin (RFC 6454 §4) in its one normal form, since clients
// compare what is built from it as strings (RFC 9728 §3.3).
func (j *judge) origin(setting, given string) string {
	const allowed = "an origin without a path, such as https://mcp.neonpanel.com, over https (or http on loopback)"
	if given == "" {
		j.fault(setting, given, "%s", allowed)
		return ""
	}
	u, err := url.Parse(given)
	if err != nil || !secure(u) {
		j.fault(setting, redact(given), "%s", allowed)
		return ""
	}
	port := u.Port()
	if (u.Scheme == "https" && port == "443") || (u.Scheme == "http" && port == "80") {
		port = ""
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	normal := u.Scheme + "://" + host
	if port != "" {
		normal += ":" + port
	}
	if given != normal {
		j.fault(setting, redact(given), "%s; write it as %s", allowed, normal)
		return ""
	}
	return normal
}

// endpoint takes a URL that authz calls; it is used as it is written.
func (j *judge) endpoint(setting, given string, optional bool) string {
	if given == "" && optional {
		return ""
	}
	u, err := url.Parse(given)
	if err != nil || !secure(u) || u.Fragment != "" || u.User != nil || (!optional && (u.RawQuery != "" || u.ForceQuery)) {
		j.fault(setting, redact(given), "a URL over https (or http on loopback) without user, query or fragment")
		return ""
	}
	return given
}

// collector takes a URL that spans are sent to; they hold no secret.
func (j *judge) collector(setting, given string) string {
	if given == "" {
		return ""
	}
	u, err := url.Parse(given)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		j.fault(setting, redact(given), "a URL of a collector, such as http://127.0.0.1:4318, without user, query or fragment")
		return ""
	}
	return given
}

// proxy takes a proxy from its setting or from its file, never from both; nil
// without one.
func (j *judge) proxy(setting, given, file string) func() (*url.URL, error) {
	if given != "" && file != "" {
		j.faults = append(j.faults, setting+": both it and "+setting+"_FILE are set; allowed: one of the two")
	}
	switch {
	case file != "":
		return follow(j, setting+"_FILE", file, "a file that holds the URL of a proxy", func(data []byte) (*url.URL, error) {
			return upstream.ParseProxy(strings.TrimSpace(string(data)))
		})
	case given == "":
		return nil
	}
	u, err := upstream.ParseProxy(given)
	if err != nil {
		j.fault(setting, redact(given), "%s", err)
	}
	return func() (*url.URL, error) { return u, nil }
}

// secure is true of https URLs, and of http ones on loopback.
func secure(u *url.URL) bool {
	host := u.Hostname()
	if host == "" || strings.ContainsAny(host, "\"\\, ") {
		return false
	}
	switch u.Scheme {
	case "https":
		return true
	case "http":
		if strings.EqualFold(host, "localhost") {
			return true
		}
		addr, err := netip.ParseAddr(host)
		return err == nil && addr.IsLoopback()
	}
	return false
}

var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// redact keeps a password out of the fault's text, and a query, which may hold a
// key. What is faulty may be no URL, so that all between the scheme, if there is
// one, and the last @ counts.
func redact(given string) string {
	if at := strings.IndexByte(given, '?'); at >= 0 && at+1 < len(given) {
		return redact(given[:at]) + "?xxxxx"
	}
	at := strings.LastIndexByte(given, '@')
	if at < 0 {
		return given
	}
	return scheme.FindString(given[:at]) + "xxxxx" + given[at:]
}
