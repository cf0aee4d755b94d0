package client

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

const maxRedirectURI = 2048

// CheckRedirectURI says why a client may not register this redirection
// endpoint: it must be https, or http on loopback (OAuth 2.1 §2.3.1, RFC 8252
// §7.3), and absolute without a fragment (RFC 6749 §3.1.2).
func CheckRedirectURI(raw string) error {
	if len(raw) > maxRedirectURI {
		return fmt.Errorf("a redirect URI may have %d characters at most", maxRedirectURI)
	}
	for _, c := range []byte(raw) {
		// Browsers read a backslash as a slash, and the rest has no place in
		// a URI (RFC 3986 §2).
		if c <= 0x20 || c >= 0x7f || strings.IndexByte("\\\"<>^`{|}", c) >= 0 {
			return fmt.Errorf("a redirect URI has a character that URIs may not have")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("a redirect URI cannot be parsed")
	}
	switch {
	case u.Opaque != "" || u.Hostname() == "":
		return fmt.Errorf("a redirect URI must be absolute, with a host")
	case u.User != nil:
		return fmt.Errorf("a redirect URI must not hold a user name or password")
	case strings.Contains(raw, "#"):
		return fmt.Errorf("a redirect URI must not have a fragment")
	case strings.Contains(u.Host, "*"):
		return fmt.Errorf("a redirect URI must not have a wildcard")
	case strings.HasSuffix(u.Host, ":"):
		return fmt.Errorf("a redirect URI has an empty port")
	}
	if port := u.Port(); port != "" && !validPort(port) {
		return fmt.Errorf("a redirect URI has an impossible port")
	}
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		if u.Hostname() == "localhost" || isLoopbackLiteral(u.Hostname()) {
			return nil
		}
		return fmt.Errorf("a redirect URI with http must be on loopback: 127.0.0.1, [::1] or localhost")
	}
	return fmt.Errorf("a redirect URI must be https, or http on loopback")
}

// MatchRedirectURI reports whether a requested redirection endpoint is one of
// those registered: byte for byte (RFC 6749 §3.1.2.3, RFC 9700 §2.1), but for
// the port of a loopback IP literal, which a native app learns only when it
// starts (RFC 8252 §7.3).
func MatchRedirectURI(requested string, registered []string) bool {
	for _, r := range registered {
		if requested == r {
			return true
		}
		host, rest, ok := loopback(requested)
		if !ok {
			continue
		}
		if h, re, ok := loopback(r); ok && h == host && re == rest {
			return true
		}
	}
	return false
}

// loopback splits http://127.0.0.1:port/rest into the host and what follows
// the port. It works on the bytes, so that nothing but the port can differ.
func loopback(raw string) (host, rest string, ok bool) {
	after, ok := strings.CutPrefix(raw, "http://")
	if !ok || CheckRedirectURI(raw) != nil {
		return "", "", false
	}
	end := strings.IndexAny(after, "/?")
	if end < 0 {
		end = len(after)
	}
	authority, rest := after[:end], after[end:]
	for _, literal := range []string{"127.0.0.1", "[::1]"} {
		port, ok := strings.CutPrefix(authority, literal)
		if !ok {
			continue
		}
		if port == "" || port[0] == ':' && validPort(port[1:]) {
			return literal, rest, true
		}
	}
	return "", "", false
}

func isLoopbackLiteral(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
