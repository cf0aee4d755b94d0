// Package resource knows the resources that tokens can be for (RFC 8707).
package resource

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Set is the resources of this server. The first is the default.
type Set struct{ ids []string }

// New returns a Set.
func New(ids ...string) (*Set, error) {
	if len(ids) == 0 {
		return nil, errors.New("resource: at least one is needed")
	}
	return &Set{ids}, nil
}

// Most clients name one; this bounds what a request can make us do.
const maxAsked = 10

// Resolve returns the identifiers, as configured, of the resources that a
// request names. None named means the default.
func (s *Set) Resolve(asked []string) ([]string, error) {
	if len(asked) == 0 {
		return s.ids[:1], nil
	}
	if len(asked) > maxAsked {
		return nil, fmt.Errorf("at most %d resources may be named", maxAsked)
	}
	var out []string
	for _, a := range asked {
		id, ok := s.find(a)
		if !ok {
			return nil, errors.New("a resource is unknown here, or not an absolute URI without a fragment")
		}
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out, nil
}

func (s *Set) find(asked string) (string, bool) {
	want, ok := canonical(asked)
	if !ok {
		return "", false
	}
	for _, id := range s.ids {
		if c, ok := canonical(id); ok && c == want {
			return id, true
		}
	}
	return "", false
}

// canonical lowers scheme and host, which RFC 3986 §6.2.2.1 says do not
// differ by case (MCP asks servers to accept both), and drops the lone slash
// of an origin. All else is compared byte for byte.
func canonical(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || !u.IsAbs() || u.Host == "" || u.User != nil || strings.Contains(raw, "#") {
		return "", false
	}
	_, rest, _ := strings.Cut(raw, "://")
	rest = strings.TrimPrefix(rest[min(len(rest), len(u.Host)):], "/")
	if rest != "" {
		rest = "/" + rest
	}
	return strings.ToLower(u.Scheme) + "://" + strings.ToLower(u.Host) + rest, true
}
