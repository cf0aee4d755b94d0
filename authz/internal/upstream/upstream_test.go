package upstream_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

func newClient(t *testing.T, caFile string) *upstream.Client {
	t.Helper()
	transport, err := upstream.NewTransport(nil, caFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return upstream.New(transport)
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestProxyVariablesOfTheEnvironmentAreIgnored(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	transport, err := upstream.NewTransport(nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if transport.Proxy != nil {
		t.Error("a proxy is set")
	}
}

func TestGivenProxyIsUsedExceptForLoopback(t *testing.T) {
	t.Parallel()
	proxy := "http://proxy.example:3128"
	transport, err := upstream.NewTransport(func() (*url.URL, error) { return upstream.ParseProxy(proxy) }, "")
	if err != nil {
		t.Fatal(err)
	}
	// It may change.
	for _, proxy = range []string{"http://proxy.example:3128", "https://user:secret@other.example"} {
		for address, want := range map[string]string{
			"https://my.example.com/x": proxy,
			"http://127.0.0.1:9090/x":  "",
			"http://[::1]:9090/x":      "",
			"http://localhost/x":       "",
		} {
			request, _ := http.NewRequest(http.MethodGet, address, nil)
			u, err := transport.Proxy(request)
			got := ""
			if u != nil {
				got = u.String()
			}
			if err != nil || got != want {
				t.Errorf("%s goes through %q, %v", address, got, err)
			}
		}
	}
	for _, bad := range []string{"proxy.example:3128", "ftp://x", "http://", "http://:3128", "::", "http://user:hunter2@x/path", "http://user:hunter2@x?y", "http://user:hunter2@x#y", "http://hunter2%zz"} {
		if _, err := upstream.ParseProxy(bad); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestCAFile(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	path := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(path, block, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newClient(t, "").Get(t.Context(), server.URL, 10); err == nil {
		t.Error("an unknown certificate was accepted")
	}
	if _, err := newClient(t, path).Get(t.Context(), server.URL, 10); err != nil {
		t.Error(err)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	elsewhere := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("evil")) })
	here := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/other":
			http.Redirect(w, r, elsewhere, http.StatusFound)
		case "/via":
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/good":
			_, _ = w.Write([]byte("good"))
		}
	})
	client := newClient(t, "")
	for path, want := range map[string]bool{"/good": true, "/same": true, "/other": false, "/via": false, "/loop": false} {
		body, err := client.Get(t.Context(), here+path, 10)
		if (err == nil) != want || want && string(body) != "good" {
			t.Errorf("%s: %q, %v", path, body, err)
		}
		if path != "/good" {
			if _, err := client.PostForm(t.Context(), here+path, url.Values{}, "u", "p", 10); err == nil {
				t.Errorf("POST %s: a redirect was followed", path)
			}
		}
	}
}

// A server can put what it was asked into what it answers: none of that may come
// into a log, nor the query of an address.
func TestErrorsDoNotQuoteTheServer(t *testing.T) {
	t.Parallel()
	const said, key = "hunter2", "hunter3"
	for name, c := range map[string]struct{ answer, want string }{
		"a redirect":              {"HTTP/1.1 302 Found\r\nLocation: https://other.example/" + said + "\r\nContent-Length: 0\r\n\r\n", "redirect"},
		"a redirect to no URL":    {"HTTP/1.1 302 Found\r\nLocation: http://[" + said + "\r\nContent-Length: 0\r\n\r\n", "HTTP"},
		"a status text":           {"HTTP/1.1 500 " + said + "\r\nContent-Length: 0\r\n\r\n", "status 500"},
		"no status":               {"HTTP/1.1 " + said + "\r\n\r\n", "HTTP"},
		"no HTTP":                 {said + "\r\n\r\n", "HTTP"},
		"no header":               {"HTTP/1.1 200 OK\r\n" + said + "\r\n\r\n", "HTTP"},
		"no length":               {"HTTP/1.1 200 OK\r\nContent-Length: " + said + "\r\n\r\n", "HTTP"},
		"an unknown encoding":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + said + "\r\n\r\n", "HTTP"},
		"nothing":                 {"", "closed the connection"},
		"less than it says":       {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + said, "closed the connection"},
		"a chunk that is not one": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + said + "\r\n", "HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				connection, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer connection.Close()
				_, _ = io.WriteString(connection, c.answer)
			})
			client := newClient(t, "")
			_, get := client.Get(t.Context(), address+"/x?api_key="+key, 1000)
			_, post := client.PostForm(t.Context(), address+"/x?api_key="+key, url.Values{"token": {said}}, "u", "p", 1000)
			for _, err := range []error{get, post} {
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), said) || strings.Contains(err.Error(), key) {
					t.Errorf("%v, want %q", err, c.want)
				}
			}
			if name == "a redirect" && !strings.HasSuffix(post.Error(), "redirect of a POST refused") {
				t.Error(post)
			}
			if !strings.HasPrefix(post.Error(), address+"/x?…: ") {
				t.Error("it is not said whose answer it is:", post)
			}
		})
	}
}

func TestAProxyThatRefusesIsNamed(t *testing.T) {
	t.Parallel()
	proxy := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) })
	transport, err := upstream.NewTransport(func() (*url.URL, error) { return upstream.ParseProxy(proxy) }, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	_, err = upstream.New(transport).Get(t.Context(), "https://issuer.example/", 10)
	if err == nil || err.Error() != "the proxy answered with status 407" || !upstream.Broken(err) || errors.As(err, new(*upstream.StatusError)) {
		t.Error(err)
	}
}

func TestShown(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://x.example/k": "https://x.example/k", "https://x.example/k?api_key=hunter2": "https://x.example/k?…", "https://x.example/k?": "https://x.example/k?…", "": "",
	} {
		if got := upstream.Shown(address); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

func TestSizeAndTimeAreCapped(t *testing.T) {
	t.Parallel()
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
			return
		}
		_, _ = w.Write([]byte(strings.Repeat("x", 100)))
	})
	client := newClient(t, "")
	if body, err := client.Get(t.Context(), address, 100); err != nil || len(body) != 100 {
		t.Error(len(body), err)
	}
	if _, err := client.Get(t.Context(), address, 99); err == nil {
		t.Error("a body over the limit was accepted")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.Get(ctx, address+"/hang", 10); err == nil {
		t.Error("a hung answer was accepted")
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"https://my.neonpanel.com":        true,
		"https://my.neonpanel.com:8443/x": true,
		"http://127.0.0.1:9090":           true,
		"http://127.8.9.1":                true,
		"http://[::1]:9090":               true,
		"http://localhost:9090":           true,
		"http://my.neonpanel.com":         false,
		"http://127.0.0.1.evil.example":   false,
		"http://localhost.evil.example":   false,
		"http://10.0.0.1":                 false,
		"ftp://127.0.0.1":                 false,
		"https://u:p@my.neonpanel.com":    false,
		"https://my.neonpanel.com/#":      false,
		"https://":                        false,
		"https://:443":                    false,
		"//my.neonpanel.com":              false,
		"my.neonpanel.com":                false,
		"https:my.neonpanel.com":          false,
		"":                                false,
	} {
		if _, err := upstream.ParseURL(address); (err == nil) != want {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	origin := func(address string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return upstream.Origin(u)
	}
	if origin("https://My.Example.com/a") != origin("https://my.example.com:443/b?c") {
		t.Error("one origin, two names")
	}
	for _, other := range []string{"http://my.example.com", "https://my.example.com:444", "https://my.example.com.evil.example", "https://example.com"} {
		if origin(other) == origin("https://my.example.com") {
			t.Error("one name, two origins:", other)
		}
	}
}
