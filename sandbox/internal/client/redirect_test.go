package client_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/client"
)

func TestCheckRedirectURI(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"https://client.example/callback",
		"https://client.example",
		"https://client.example:8443/cb?a=b",
		"https://chatgpt.com/connector_platform_oauth_redirect",
		"https://claude.ai/api/mcp/auth_callback",
		"http://127.0.0.1:33418/callback",
		"http://127.0.0.1/callback",
		"http://[::1]:1/",
		"http://localhost:6274/oauth/callback",
	} {
		if err := client.CheckRedirectURI(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"",
		"callback",
		"/callback",
		"//client.example/callback",
		"https:client.example",
		"https://",
		"https:///callback",
		"https://:443/callback",
		"https://client.example:/callback",
		"https://client.example:0/callback",
		"https://client.example:99999/callback",
		"https://client.example/callback#",
		"https://client.example/callback#x",
		"https://user@client.example/",
		"https://user:password@client.example/",
		"https://*.example/",
		`https://client.example\@evil.example/`,
		"https://client.example/a b",
		"https://client.example/\n",
		"https://client.example/\u00e9",
		"https://client.example/%zz",
		"http://client.example/callback",
		"http://127.0.0.1.evil.example/",
		"http://localhost.evil.example/",
		"http://169.254.169.254/",
		"http://0.0.0.0/",
		"javascript:alert(1)",
		"data:text/html,x",
		"file:///etc/passwd",
		"com.example.app:/callback",
		"ftp://client.example/",
		"https://client.example/" + strings.Repeat("x", 2048),
	} {
		if client.CheckRedirectURI(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestMatchRedirectURI(t *testing.T) {
	t.Parallel()
	registered := []string{"https://client.example/cb?x=1", "http://127.0.0.1:4567/cb", "http://[::1]/cb?y", "http://localhost:5000/cb"}
	for requested, want := range map[string]bool{
		"https://client.example/cb?x=1":      true,
		"http://127.0.0.1:4567/cb":           true,
		"http://127.0.0.1:1/cb":              true,
		"http://127.0.0.1/cb":                true,
		"http://[::1]:65535/cb?y":            true,
		"http://localhost:5000/cb":           true,
		"http://localhost:5001/cb":           false, // RFC 8252 §7.3 is about IP literals
		"https://client.example/cb":          false,
		"https://client.example/cb?x=1&y=2":  false,
		"https://client.example:444/cb?x=1":  false,
		"HTTPS://client.example/cb?x=1":      false,
		"http://127.0.0.1:4567/cb/":          false,
		"http://127.0.0.1:4567/CB":           false,
		"http://127.0.0.1:4567/cb?x":         false,
		"http://127.0.0.1:4567/./cb":         false,
		"http://127.0.0.1:0/cb":              false,
		"http://127.0.0.1:65536/cb":          false,
		"http://127.0.0.1:+80/cb":            false,
		"http://127.0.0.1:/cb":               false,
		"http://127.0.0.1:1:2/cb":            false,
		"http://127.0.0.1:1@evil.example/cb": false,
		"http://127.0.0.1.evil.example/cb":   false,
		"http://127.0.0.2:4567/cb":           false,
		"https://127.0.0.1:4567/cb":          false,
		"http://[::1]:1/cb":                  false,
		"":                                   false,
	} {
		if got := client.MatchRedirectURI(requested, registered); got != want {
			t.Errorf("%q: %v, want %v", requested, got, want)
		}
	}
	if client.MatchRedirectURI("", nil) {
		t.Error("nothing matches nothing")
	}
}

// What matches is exactly what was registered, or differs in the port of a
// loopback literal and is a redirect URI that could itself be registered.
func FuzzMatchRedirectURI(f *testing.F) {
	for _, seed := range [][2]string{
		{"http://127.0.0.1:1/cb", "http://127.0.0.1:2/cb"},
		{"https://client.example/cb", "https://client.example/cb"},
		{"http://[::1]/cb?x", "http://[::1]:9/cb?x"},
		{"http://127.0.0.1:1@evil.example/", "http://127.0.0.1/"},
		{`http://127.0.0.1:80\@evil.example/`, "http://127.0.0.1/"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, requested, registered string) {
		if client.CheckRedirectURI(registered) != nil {
			return
		}
		if !client.MatchRedirectURI(requested, []string{registered}) || requested == registered {
			return
		}
		if err := client.CheckRedirectURI(requested); err != nil {
			t.Fatalf("%q matches %q: %v", requested, registered, err)
		}
		a, errA := url.Parse(requested)
		b, errB := url.Parse(registered)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if a.Scheme != "http" || a.Hostname() != b.Hostname() || a.Hostname() != "127.0.0.1" && a.Hostname() != "::1" ||
			a.EscapedPath() != b.EscapedPath() || a.RawQuery != b.RawQuery {
			t.Fatalf("%q matches %q", requested, registered)
		}
	})
}

// Whatever is accepted leads to https, or to this machine.
func FuzzCheckRedirectURI(f *testing.F) {
	for _, seed := range []string{"https://a.example/", "http://localhost/", "http://[::1]:8/x?y", "javascript:1", "https://a@b/", "http:/\\x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if client.CheckRedirectURI(raw) != nil {
			return
		}
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		local := u.Hostname() == "localhost" || strings.HasPrefix(u.Hostname(), "127.") || strings.Contains(u.Hostname(), ":")
		if u.Scheme != "https" && !(u.Scheme == "http" && local) {
			t.Fatalf("%q is accepted", raw)
		}
		if u.Fragment != "" || u.User != nil || u.Host == "" {
			t.Fatalf("%q is accepted", raw)
		}
	})
}
