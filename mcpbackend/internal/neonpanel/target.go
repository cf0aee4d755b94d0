package neonpanel

import (
	"net/url"
	"regexp"
	"strings"
)

// pathArgument is what may become a segment of a path. The first character
// keeps out "." and "..", which url.PathEscape leaves as they are and
// url.URL.JoinPath climbs by; the rest keeps out every separator, escaped or not.
var pathArgument = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:~-]{0,127}$`)

// ValidPathArgument says whether a value may become a segment of a path.
func ValidPathArgument(value string) bool { return pathArgument.MatchString(value) }

// ArrayName is the name of a query parameter that holds a list. The API is
// written in PHP, which keeps only the last of several values unless the name
// ends in brackets; with brackets it keeps them all.
func ArrayName(name string) string {
	if strings.HasSuffix(name, "[]") {
		return name
	}
	return name + "[]"
}

// target builds the URL of a call, and checks what it has built against the
// template, segment by segment: no argument may lead to another resource.
func (c *Client) target(template string, arguments map[string]string, query []Pair) (*url.URL, error) {
	var path strings.Builder
	path.Grow(len(c.base.Path) + len(template) + 64)
	path.WriteString(c.base.Path)
	rest, ok := strings.CutPrefix(template, "/")
	if !ok {
		return nil, &Error{Class: BadRequest, Reason: ReasonBadPath}
	}
	for more := true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		path.WriteByte('/')
		if name, isArgument := parameter(segment); isArgument {
			value := arguments[name]
			if !ValidPathArgument(value) {
				return nil, &Error{Class: BadRequest, Reason: ReasonBadPath, Message: name}
			}
			segment = value
		}
		path.WriteString(segment)
	}
	target := &url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: path.String(), RawQuery: encode(query)}
	built, ok := strings.CutPrefix(target.EscapedPath(), c.base.EscapedPath())
	if !ok || !matches(built, template) {
		return nil, &Error{Class: BadRequest, Reason: ReasonBadPath}
	}
	return target, nil
}

// matches says whether path has exactly the segments of template.
func matches(path, template string) bool {
	for {
		var got, want string
		var moreGot, moreWant bool
		got, path, moreGot = strings.Cut(path, "/")
		want, template, moreWant = strings.Cut(template, "/")
		if _, isArgument := parameter(want); isArgument {
			if !ValidPathArgument(got) {
				return false
			}
		} else if got != want || got == "." || got == ".." {
			return false
		}
		if !moreGot || !moreWant {
			return moreGot == moreWant
		}
	}
}

func parameter(segment string) (string, bool) {
	if len(segment) > 2 && segment[0] == '{' && segment[len(segment)-1] == '}' {
		return segment[1 : len(segment)-1], true
	}
	return "", false
}

// encode keeps the order of the parameters, which url.Values does not.
func encode(query []Pair) string {
	if len(query) == 0 {
		return ""
	}
	var b strings.Builder
	for i, pair := range query {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(pair.Name))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(pair.Value))
	}
	return b.String()
}
