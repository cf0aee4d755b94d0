package composite

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// links makes the addresses of NeonPanel's pages, which people open.
type links struct {
	// origin has no slash at its end.
	origin *url.URL
}

func newLinks(apiURL string) (links, error) {
	u, err := url.Parse(apiURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return links{}, fmt.Errorf("the API URL %q is not an absolute URL", apiURL)
	}
	return links{&url.URL{Scheme: u.Scheme, Host: u.Host}}, nil
}

// page is the absolute address of the page that the API names, if it is one
// that a person can safely be sent to: NeonPanel's own site, by https. On a
// loopback address, where a NeonPanel for tests is, any site by https will do.
// Otherwise it is NeonPanel's start page, with the record's id in the fragment,
// which the server never sees: items and vendors have no page of their own that
// the API would name.
func (l links) page(named text, id string) string {
	if named != "" {
		if u, err := l.origin.Parse(string(named)); err == nil && u.User == nil && l.trusted(u) {
			return u.String()
		}
	}
	return (&url.URL{Scheme: l.origin.Scheme, Host: l.origin.Host, Path: "/", Fragment: strings.ReplaceAll(id, ":", "-")}).String()
}

func (l links) trusted(u *url.URL) bool {
	if u.Scheme == l.origin.Scheme && u.Host == l.origin.Host {
		return true
	}
	ip := net.ParseIP(l.origin.Hostname())
	local := l.origin.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	return local && u.Scheme == "https" && u.Host != ""
}
