package doctor

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func (d *deployment) options() Options {
	o := Options{
		URL: d.gateway.URL + "/mcp", Token: goodToken, StreamTime: cmp.Or(d.streamTime, 20*time.Millisecond),
		Timeout: cmp.Or(d.timeout, time.Minute), Limit: 5 * time.Minute,
	}
	if !d.untrusted {
		o.CAFile = d.caFile
	}
	return o
}

func examine(t *testing.T, o Options) *Report {
	t.Helper()
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestHealthyDeploymentPassesEveryCheck(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/mcp", "/sse", "/sse/", "/", ""} {
		d := newDeployment()
		d.start(t)
		o := d.options()
		o.URL = strings.ToUpper(d.gateway.URL[:8]) + d.gateway.URL[8:] + path
		report := examine(t, o)
		for _, f := range report.Checks {
			if f.Result != OK || f.Fix != "" {
				t.Errorf("%s: %s", path, f.line())
			}
			if len(f.Check) > checkWidth {
				t.Errorf("%s is longer than the column", f.Check)
			}
		}
		if len(report.Checks) != len(checks()) || report.Counts[OK] != len(checks()) || report.Issuer != d.issuer.URL {
			t.Errorf("%+v", report)
		}
	}
}

func TestHTTPOnLoopbackIsExamined(t *testing.T) {
	t.Parallel()
	d := newDeployment()
	d.plain = true
	d.start(t)
	for _, f := range examine(t, d.options()).Checks {
		want := OK
		if strings.HasPrefix(f.Check, "TLS") {
			want = Skip
		}
		if f.Result != want {
			t.Error(f.line())
		}
	}
}

// on breaks the answers of one path.
func on(path string, change func(*http.Request, *httptest.ResponseRecorder)) func(*http.Request, *httptest.ResponseRecorder) {
	return func(r *http.Request, a *httptest.ResponseRecorder) {
		if r.URL.Path == path {
			change(r, a)
		}
	}
}

// refused breaks the refusals of requests without a token.
func refused(change func(*http.Request, http.Header)) func(*http.Request, *httptest.ResponseRecorder) {
	return func(r *http.Request, a *httptest.ResponseRecorder) {
		if a.Code == http.StatusUnauthorized && r.Header.Get("Authorization") == "" {
			change(r, a.Header())
		}
	}
}

// preflight breaks the answer to the preflight from an origin.
func preflight(origin string, change func(*httptest.ResponseRecorder)) func(*http.Request, *httptest.ResponseRecorder) {
	return func(r *http.Request, a *httptest.ResponseRecorder) {
		if r.Method == http.MethodOptions && r.Header.Get("Origin") == origin {
			change(a)
		}
	}
}

func without(h http.Header, name, element string) {
	h.Set(name, strings.ReplaceAll(h.Get(name), element, "x-other"))
}

func weakKey() map[string]any {
	n := make([]byte, 128)
	n[0], n[127] = 0xC0, 1
	return map[string]any{"kty": "RSA", "use": "sig", "kid": "weak", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(n)}
}

func ahead(by time.Duration) func(*http.Request, *httptest.ResponseRecorder) {
	return func(_ *http.Request, a *httptest.ResponseRecorder) {
		a.Header().Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
	}
}

// faults are deployments that are each broken in one way, by the check that
// has to see it.
var faults = []struct {
	check, how string
	result     Result
	breaks     func(*deployment)
}{
	{"TLS certificate", "of an unknown authority", Fail, func(d *deployment) { d.untrusted = true }},
	{"TLS certificate", "for another name", Fail, func(d *deployment) {
		d.certificate = func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} }
	}},
	{"TLS dates", "expired", Fail, func(d *deployment) {
		d.certificate = func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }
	}},
	{"TLS dates", "not yet valid", Fail, func(d *deployment) {
		d.certificate = func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }
	}},
	{"TLS dates", "expires soon", Warn, func(d *deployment) {
		d.certificate = func(c *x509.Certificate) { c.NotAfter = time.Now().Add(100 * time.Hour) }
	}},
	{"TLS version", "1.1", Fail, func(d *deployment) {
		d.configure = func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }
	}},

	{"public routes", "behind a login", Fail, func(d *deployment) {
		d.alter = on("/openapi.yaml", func(_ *http.Request, a *httptest.ResponseRecorder) { a.Code = http.StatusUnauthorized })
	}},
	{"public routes", "redirected", Fail, func(d *deployment) {
		d.alter = on("/", func(_ *http.Request, a *httptest.ResponseRecorder) {
			a.Code = http.StatusFound
			a.Header().Set("Location", "/health")
		})
	}},
	{"public routes", "challenge broken", Fail, func(d *deployment) {
		d.alter = on("/.well-known/openai-apps-challenge", func(_ *http.Request, a *httptest.ResponseRecorder) { a.Code = http.StatusBadGateway })
	}},

	{"resource documents", "missing for one path", Fail, func(d *deployment) {
		d.alter = on("/.well-known/oauth-protected-resource/sse/", func(_ *http.Request, a *httptest.ResponseRecorder) { a.Code = http.StatusNotFound })
	}},
	{"resource documents", "HTML", Fail, func(d *deployment) {
		d.alter = on("/.well-known/oauth-protected-resource", func(_ *http.Request, a *httptest.ResponseRecorder) {
			a.Header().Set("Content-Type", "text/html")
		})
	}},
	{"resource documents", "not JSON", Fail, func(d *deployment) {
		d.alter = on("/.well-known/oauth-protected-resource", func(_ *http.Request, a *httptest.ResponseRecorder) { a.Body.WriteString("}") })
	}},
	{"resource documents", "without servers", Fail, func(d *deployment) {
		d.protected = func(_ resource.Resource, o map[string]any) { o["authorization_servers"] = []string{} }
	}},
	{"resource documents", "without resource", Fail, func(d *deployment) {
		d.protected = func(_ resource.Resource, o map[string]any) { delete(o, "resource") }
	}},
	{"resource documents", "no header method", Fail, func(d *deployment) {
		d.protected = func(_ resource.Resource, o map[string]any) { o["bearer_methods_supported"] = []string{"query"} }
	}},
	{"resource documents", "scopes in one string", Fail, func(d *deployment) {
		d.protected = func(_ resource.Resource, o map[string]any) { o["scopes_supported"] = "a b" }
	}},
	{"resource identifiers", "trailing slash", Fail, func(d *deployment) {
		d.protected = func(r resource.Resource, o map[string]any) {
			if r == resource.MCP {
				o["resource"] = d.gateway.URL + "/mcp/"
			}
		}
	}},
	{"authorization server", "differs", Fail, func(d *deployment) {
		d.protected = func(r resource.Resource, o map[string]any) {
			if r == resource.SSE {
				o["authorization_servers"] = []string{"https://other.example"}
			}
		}
	}},
	{"authorization server", "not https", Fail, func(d *deployment) {
		d.protected = func(_ resource.Resource, o map[string]any) {
			o["authorization_servers"] = []string{"http://my.example"}
		}
	}},
	{"authorization server", "two", Warn, func(d *deployment) {
		d.protected = func(_ resource.Resource, o map[string]any) {
			o["authorization_servers"] = []string{d.issuer.URL, "https://other.example"}
		}
	}},
	{"document CORS", "none", Fail, func(d *deployment) {
		d.alter = on("/.well-known/oauth-protected-resource/mcp", func(_ *http.Request, a *httptest.ResponseRecorder) {
			a.Header().Del("Access-Control-Allow-Origin")
		})
	}},

	{"issuer metadata", "none", Fail, func(d *deployment) {
		d.alterIssuer = func(r *http.Request, a *httptest.ResponseRecorder) {
			if strings.HasPrefix(r.URL.Path, "/.well-known/") {
				a.Code = http.StatusNotFound
			}
		}
	}},
	{"issuer metadata", "HTML", Fail, func(d *deployment) {
		d.alterIssuer = on("/.well-known/oauth-authorization-server", func(_ *http.Request, a *httptest.ResponseRecorder) {
			a.Header().Set("Content-Type", "text/html")
		})
	}},
	{"issuer metadata", "redirected", Fail, func(d *deployment) {
		d.alterIssuer = on("/.well-known/oauth-authorization-server", func(_ *http.Request, a *httptest.ResponseRecorder) {
			a.Code = http.StatusMovedPermanently
			a.Header().Set("Location", "/.well-known/openid-configuration")
		})
	}},
	{"issuer metadata", "no token endpoint", Fail, func(d *deployment) { d.metadata["token_endpoint"] = nil }},
	{"issuer metadata", "neither keys nor introspection", Fail, func(d *deployment) { d.metadata["jwks_uri"] = nil }},
	{"issuer metadata", "plain introspection", Fail, func(d *deployment) {
		d.metadata["jwks_uri"], d.metadata["introspection_endpoint"] = nil, "http://my.example/introspect"
	}},
	{"issuer metadata", "keys of no type", Fail, func(d *deployment) {
		d.metadata["jwks_uri"], d.metadata["introspection_endpoint"] = 1, "ISSUER/oauth2/introspect"
	}},
	{"issuer metadata", "plain endpoint", Fail, func(d *deployment) { d.metadata["authorization_endpoint"] = "http://my.example/authorize" }},
	{"issuer metadata", "no code", Fail, func(d *deployment) { d.metadata["response_types_supported"] = []string{"token"} }},
	{"issuer identifier", "trailing slash", Fail, func(d *deployment) { d.metadata["issuer"] = "ISSUER/" }},
	{"issuer PKCE", "plain", Fail, func(d *deployment) { d.metadata["code_challenge_methods_supported"] = []string{"plain"} }},
	{"issuer PKCE", "not announced", Fail, func(d *deployment) { d.metadata["code_challenge_methods_supported"] = nil }},
	{"issuer registration", "none", Fail, func(d *deployment) { d.metadata["registration_endpoint"] = nil }},
	{"issuer registration", "plain", Fail, func(d *deployment) { d.metadata["registration_endpoint"] = "http://my.example/register" }},
	{"issuer registration", "documents only", Warn, func(d *deployment) {
		d.metadata["registration_endpoint"], d.metadata["client_id_metadata_document_supported"] = nil, true
	}},
	{"metadata copies", "another issuer", Fail, func(d *deployment) { d.copies["issuer"] = "https://gateway.example" }},
	{"metadata copies", "not there", Fail, func(d *deployment) {
		d.alter = on("/.well-known/openid-configuration/sse", func(_ *http.Request, a *httptest.ResponseRecorder) { a.Code = http.StatusNotFound })
	}},
	{"scopes", "not offered", Fail, func(d *deployment) { d.metadata["scopes_supported"] = []string{"read:inventory"} }},
	{"scopes", "none", Warn, func(d *deployment) {
		d.protected = func(_ resource.Resource, o map[string]any) { delete(o, "scopes_supported") }
	}},
	{"scopes", "offline_access", Warn, func(d *deployment) {
		d.metadata["scopes_supported"] = []string{"read:companies", "offline_access"}
		d.protected = func(_ resource.Resource, o map[string]any) { o["scopes_supported"] = []string{"offline_access"} }
	}},

	{"keys", "not there", Fail, func(d *deployment) {
		d.alterIssuer = on("/jwks", func(_ *http.Request, a *httptest.ResponseRecorder) { a.Code = http.StatusInternalServerError })
	}},
	{"keys", "none", Fail, func(d *deployment) { d.keys = []map[string]any{} }},
	{"keys", "for encryption", Fail, func(d *deployment) { d.keys[0]["use"] = "enc" }},
	{"keys", "private", Fail, func(d *deployment) { d.keys[0]["d"] = "AQAB" }},
	{"keys", "of another origin", Warn, func(d *deployment) {
		// Another port is another origin; there the gateway shows the keys.
		d.metadata["jwks_uri"] = "GATEWAY/jwks"
		d.alter = on("/jwks", func(_ *http.Request, a *httptest.ResponseRecorder) {
			reply(a, http.StatusOK, map[string]any{"keys": d.keys})
		})
	}},
	{"keys", "of another algorithm", Warn, func(d *deployment) {
		d.keys = []map[string]any{issuertest.NewSigner("ES256", "one", 1).JWK()}
	}},
	{"key strength", "1024 bits", Fail, func(d *deployment) { d.keys = append(d.keys, weakKey()) }},
	{"key ids", "two keys", Fail, func(d *deployment) { d.keys = append(d.keys, issuertest.NewSigner("RS256", "one", 2).JWK()) }},
	{"key ids", "one key twice", Warn, func(d *deployment) { d.keys = append(d.keys, d.keys[0]) }},
	{"key ids", "no kid", Warn, func(d *deployment) { d.keys = append(d.keys, issuertest.NewSigner("RS256", "", 2).JWK()) }},
	{"clock", "of the gateway", Fail, func(d *deployment) { d.alter = ahead(2 * time.Minute) }},
	{"clock", "of the issuer", Fail, func(d *deployment) { d.alterIssuer = ahead(-2 * time.Minute) }},
	{"clock", "a little", Warn, func(d *deployment) { d.alterIssuer = ahead(15 * time.Second) }},
	{"clock", "ours", Warn, func(d *deployment) { d.alter, d.alterIssuer = ahead(time.Hour), ahead(time.Hour) }},
	{"clock", "not shown", Warn, func(d *deployment) {
		d.alter = func(_ *http.Request, a *httptest.ResponseRecorder) { a.Header()["Date"] = nil }
	}},

	{"refusal", "an open route", Fail, func(d *deployment) {
		d.alter = on("/messages", func(_ *http.Request, a *httptest.ResponseRecorder) { a.Code = http.StatusOK })
	}},
	{"refusal", "403", Fail, func(d *deployment) {
		d.alter = on("/sse/", func(_ *http.Request, a *httptest.ResponseRecorder) { a.Code = http.StatusForbidden })
	}},
	{"challenge", "none", Fail, func(d *deployment) {
		d.alter = refused(func(_ *http.Request, h http.Header) { h.Del("Www-Authenticate") })
	}},
	{"challenge", "another scheme", Fail, func(d *deployment) {
		d.alter = refused(func(_ *http.Request, h http.Header) { h.Set("Www-Authenticate", `Basic realm="Bearer"`) })
	}},
	{"challenge", "two", Fail, func(d *deployment) {
		d.alter = refused(func(_ *http.Request, h http.Header) { h.Add("Www-Authenticate", `Bearer realm="load balancer"`) })
	}},
	{"challenge", "broken quotes", Fail, func(d *deployment) {
		d.alter = refused(func(_ *http.Request, h http.Header) {
			h.Set("Www-Authenticate", h.Get("Www-Authenticate")+`, scope="a`)
		})
	}},
	{"challenge", "an error for nothing", Warn, func(d *deployment) {
		d.alter = refused(func(_ *http.Request, h http.Header) {
			h.Set("Www-Authenticate", h.Get("Www-Authenticate")+`, error="invalid_token"`)
		})
	}},
	{"challenge metadata", "of another path", Fail, func(d *deployment) {
		d.alter = refused(func(r *http.Request, h http.Header) {
			if r.URL.Path == "/mcp" {
				without(h, "Www-Authenticate", "oauth-protected-resource/mcp")
			}
		})
	}},
	{"challenge metadata", "of another host", Fail, func(d *deployment) {
		d.alter = refused(func(_ *http.Request, h http.Header) { without(h, "Www-Authenticate", "127.0.0.1") })
	}},
	{"challenge CORS", "not exposed", Fail, func(d *deployment) {
		d.alter = refused(func(_ *http.Request, h http.Header) { without(h, "Access-Control-Expose-Headers", "www-authenticate") })
	}},
	{"challenge CORS", "not allowed", Fail, func(d *deployment) {
		d.alter = refused(func(_ *http.Request, h http.Header) { h.Set("Access-Control-Allow-Origin", "https://chatgpt.com") })
	}},
	{"invalid token", "cannot be judged", Fail, func(d *deployment) {
		d.alter = made(func(a *httptest.ResponseRecorder) { a.Code = http.StatusServiceUnavailable })
	}},
	{"invalid token", "accepted", Fail, func(d *deployment) { d.alter = made(func(a *httptest.ResponseRecorder) { a.Code = http.StatusOK }) }},
	{"invalid token", "not named", Fail, func(d *deployment) {
		d.alter = made(func(a *httptest.ResponseRecorder) { without(a.Header(), "Www-Authenticate", "invalid_token") })
	}},

	{"preflight chatgpt.com", "needs a token", Fail, func(d *deployment) {
		d.alter = preflight("https://chatgpt.com", func(a *httptest.ResponseRecorder) { a.Code = http.StatusUnauthorized })
	}},
	{"preflight claude.ai", "origin", Fail, func(d *deployment) {
		d.alter = preflight("https://claude.ai", func(a *httptest.ResponseRecorder) {
			a.Header().Set("Access-Control-Allow-Origin", "https://chatgpt.com")
		})
	}},
	{"preflight claude.ai", "method", Fail, func(d *deployment) {
		d.alter = preflight("https://claude.ai", func(a *httptest.ResponseRecorder) { without(a.Header(), "Access-Control-Allow-Methods", "POST") })
	}},
	{"preflight claude.ai", "a header", Fail, func(d *deployment) {
		d.alter = preflight("https://claude.ai", func(a *httptest.ResponseRecorder) { without(a.Header(), "Access-Control-Allow-Headers", "mcp-method") })
	}},
	{"preflight chatgpt.com", "star is not Authorization", Fail, func(d *deployment) {
		d.alter = preflight("https://chatgpt.com", func(a *httptest.ResponseRecorder) { a.Header().Set("Access-Control-Allow-Headers", "*") })
	}},
	{"wrong host", "answered", Fail, func(d *deployment) { d.alter = elsewhere(http.StatusUnauthorized) }},
	{"wrong host", "refused in front", Warn, func(d *deployment) { d.alter = elsewhere(http.StatusForbidden) }},
	{"forged identity", "believed", Fail, func(d *deployment) {
		d.alter = func(r *http.Request, a *httptest.ResponseRecorder) {
			if r.Header.Get("X-Neonpanel-Subject") != "" && r.Header.Get("Authorization") == "" {
				a.Code = http.StatusOK
			}
		}
	}},
	{"forged identity", "believed with underscores", Fail, func(d *deployment) {
		d.alter = func(r *http.Request, a *httptest.ResponseRecorder) {
			if r.Header["X_neonpanel_subject"] != nil && r.Header.Get("Authorization") == "" {
				a.Code = http.StatusOK
			}
		}
	}},

	{"tools/list", "token refused", Fail, func(d *deployment) {
		d.alter = good(func(a *httptest.ResponseRecorder) { a.Code = http.StatusUnauthorized })
	}},
	{"tools/list", "an outage", Fail, func(d *deployment) {
		d.alter = good(func(a *httptest.ResponseRecorder) { a.Code = http.StatusServiceUnavailable })
	}},
	{"tools/list", "no tools", Fail, func(d *deployment) { d.tools = nil }},
	{"tools/list", "a bad name", Fail, func(d *deployment) { d.tools[0]["name"] = "delete all" }},
	{"tools/list", "not JSON-RPC", Fail, func(d *deployment) {
		d.alter = good(func(a *httptest.ResponseRecorder) { reply(a, http.StatusOK, []string{}) })
	}},
	{"read call", "an error of the tool", Fail, func(d *deployment) {
		d.alter = called(func(a *httptest.ResponseRecorder) {
			reply(a, http.StatusOK, map[string]any{"result": map[string]any{"isError": true, "content": []any{map[string]any{"text": "no"}}}})
		})
	}},
	{"read call", "an error of the protocol", Fail, func(d *deployment) { d.tools[2]["name"] = "list_nothing" }},
	{"forged with token", "believed", Fail, func(d *deployment) { d.believes = true }},
	{"forged with token", "cannot be told", Warn, func(d *deployment) {
		d.alter = called(func(a *httptest.ResponseRecorder) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.calls++
			reply(a, http.StatusOK, map[string]any{"result": map[string]any{"at": d.calls}})
		})
	}},
	{"stream", "ends", Fail, func(d *deployment) { d.streamEnds, d.streamTime = 5*time.Millisecond, time.Minute }},
	{"stream", "is held back", Fail, func(d *deployment) { d.silent, d.timeout = true, 5*time.Second }},
}

// made breaks the answer to the token that was made up, good those to the one
// that was not, called those to the read call.
func made(change func(*httptest.ResponseRecorder)) func(*http.Request, *httptest.ResponseRecorder) {
	return func(r *http.Request, a *httptest.ResponseRecorder) {
		if strings.HasSuffix(r.Header.Get("Authorization"), madeUp) {
			change(a)
		}
	}
}

func good(change func(*httptest.ResponseRecorder)) func(*http.Request, *httptest.ResponseRecorder) {
	return func(r *http.Request, a *httptest.ResponseRecorder) {
		if strings.HasSuffix(r.Header.Get("Authorization"), goodToken) {
			change(a)
		}
	}
}

func called(change func(*httptest.ResponseRecorder)) func(*http.Request, *httptest.ResponseRecorder) {
	return func(r *http.Request, a *httptest.ResponseRecorder) {
		if r.Header.Get("Mcp-Name") != "" && strings.HasSuffix(r.Header.Get("Authorization"), goodToken) {
			change(a)
		}
	}
}

// elsewhere breaks the answers to another host.
func elsewhere(status int) func(*http.Request, *httptest.ResponseRecorder) {
	return func(r *http.Request, a *httptest.ResponseRecorder) {
		if r.Host == otherHost {
			a.Code = status
		}
	}
}

func TestEachFaultIsSeenByItsCheckAlone(t *testing.T) {
	t.Parallel()
	for _, fault := range faults {
		t.Run(fault.check+", "+fault.how, func(t *testing.T) {
			t.Parallel()
			d := newDeployment()
			fault.breaks(d)
			d.start(t)
			checkFindings(t, examine(t, d.options()), fault.check, fault.result)
		})
	}
}

// checkFindings: one check has the result, and the others are well or cannot be
// made because of it.
func checkFindings(t *testing.T, report *Report, name string, result Result) {
	t.Helper()
	excused := []string{name}
	for _, f := range report.Checks {
		needs, needy := strings.CutPrefix(f.Seen, "needs ")
		switch {
		case f.Check == name:
			if f.Result != result || f.Fix == "" || f.Seen == "" {
				t.Errorf("want %s with a fix: %s", result, f.line())
			}
		case f.Result == Skip && needy && slices.Contains(excused, needs):
			excused = append(excused, f.Check)
		case f.Result != OK:
			t.Errorf("flagged as well: %s", f.line())
		}
	}
	if result == Warn && len(excused) > 1 {
		t.Errorf("a warning keeps others from being made: %q", excused)
	}
	if failed := report.Failed(); (failed == 1) != (result == Fail) {
		t.Errorf("%d failed", failed)
	}
}

func TestEveryCheckHasAFaultThatItSees(t *testing.T) {
	t.Parallel()
	covered := []string{"HTTPS"} // by the test below
	for _, fault := range faults {
		if fault.result == Fail {
			covered = append(covered, fault.check)
		}
	}
	for _, c := range checks() {
		if !slices.Contains(covered, c.name) {
			t.Errorf("%s has none", c.name)
		}
	}
}

func TestNothingIsSentInPlainToAnotherHost(t *testing.T) {
	t.Parallel()
	// A proxy would see whatever is sent.
	asked := make(chan string, 100)
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.String() }))
	t.Cleanup(proxy.Close)
	o := Options{URL: "http://gateway.invalid/mcp", Token: goodToken, StreamTime: time.Millisecond, Timeout: time.Second, Limit: time.Second, Proxy: proxy.URL}
	checkFindings(t, examine(t, o), "HTTPS", Fail)
	select {
	case address := <-asked:
		t.Errorf("%s was asked for", address)
	default:
	}
}

func TestPortWithoutTLSIsSeen(t *testing.T) {
	t.Parallel()
	d := newDeployment()
	d.plain = true
	d.start(t)
	o := d.options()
	o.URL = strings.Replace(o.URL, "http://", "https://", 1)
	report := examine(t, o)
	for _, f := range report.Checks {
		want := Skip
		switch f.Check {
		case "HTTPS":
			want = OK
		case "TLS version":
			want = Fail
		}
		if f.Result != want {
			t.Error(f.line())
		}
	}
}

func TestIssuerWithOneDocumentIsWell(t *testing.T) {
	t.Parallel()
	d := newDeployment()
	d.noOpenID = true
	d.start(t)
	if report := examine(t, d.options()); report.Counts[OK] != len(report.Checks) {
		t.Errorf("%+v", report)
	}
}

// An issuer whose tokens are all opaque has no keys to show (RFC 8414 §2).
func TestIssuerWithoutKeysIsWellIfItIntrospects(t *testing.T) {
	t.Parallel()
	d := newDeployment()
	d.metadata["jwks_uri"], d.metadata["introspection_endpoint"] = nil, "ISSUER/oauth2/introspect"
	d.start(t)
	report := examine(t, d.options())
	skipped := map[string]string{"keys": "the issuer names none (jwks_uri)", "key strength": "needs keys", "key ids": "needs keys"}
	for _, f := range report.Checks {
		why, without := skipped[f.Check]
		if without && (f.Result != Skip || !strings.HasPrefix(f.Seen, why)) || !without && f.Result != OK {
			t.Error(f.line())
		}
	}
	if report.Failed() != 0 || report.Counts[Skip] != len(skipped) {
		t.Errorf("%+v", report.Counts)
	}
}

func TestTokenGoesToTheGatewayAlone(t *testing.T) {
	t.Parallel()
	d := newDeployment()
	// What redirects must not take the token along.
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(elsewhere.Close)
	d.alter = called(func(a *httptest.ResponseRecorder) {
		a.Code = http.StatusTemporaryRedirect
		a.Header().Set("Location", elsewhere.URL)
	})
	d.start(t)
	report := examine(t, d.options())
	with := 0
	for _, r := range d.seen() {
		sent := fmt.Sprint(r.Header, r.URL)
		if !strings.Contains(sent, goodToken) {
			continue
		}
		with++
		if r.Host != strings.TrimPrefix(d.gateway.URL, "https://") || strings.Contains(r.URL.String(), goodToken) {
			t.Errorf("the token went to %s%s", r.Host, r.URL)
		}
		if !strings.HasPrefix(r.URL.Path, "/mcp") && r.URL.Path != "/sse" {
			t.Errorf("the token went to %s, which needs none", r.URL.Path)
		}
	}
	if with < 4 {
		t.Errorf("%d requests with the token", with)
	}
	checkFindings(t, report, "read call", Fail)
}

func TestWithoutTokenOnlyWhatNeedsNoneIsChecked(t *testing.T) {
	t.Parallel()
	d := newDeployment()
	d.start(t)
	o := d.options()
	o.Token = ""
	report := examine(t, o)
	if report.Counts[Skip] != 4 || report.Counts[OK] != len(report.Checks)-4 {
		t.Errorf("%+v", report)
	}
	o.Token, o.StreamTime = goodToken, 0
	if report = examine(t, o); report.Counts[Skip] != 1 {
		t.Errorf("%+v", report)
	}
}

func TestHostileAnswersAreMadeHarmless(t *testing.T) {
	t.Parallel()
	d := newDeployment()
	d.protected = func(_ resource.Resource, o map[string]any) {
		o["authorization_servers"] = []string{"https://x.example/\x1b[31m\u202e\n" + goodToken + strings.Repeat("x", 9000)}
	}
	d.alter = called(func(a *httptest.ResponseRecorder) {
		reply(a, http.StatusOK, map[string]any{"result": map[string]any{"isError": true, "content": []any{map[string]any{"text": "\x1b]0;x\a\r\nok " + goodToken}}}})
	})
	d.start(t)
	for _, f := range examine(t, d.options()).Checks {
		line := f.line()
		if strings.Contains(line, goodToken) || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == '\u202e' }) || len(line) > 3*maxSeen {
			t.Errorf("%q", line)
		}
	}
}

func TestTimeIsBounded(t *testing.T) {
	t.Parallel()
	d := newDeployment()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	d.alter = on("/robots.txt", func(r *http.Request, _ *httptest.ResponseRecorder) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	d.start(t)
	o := d.options()
	o.Timeout = 5 * time.Second
	checkFindings(t, examine(t, o), "public routes", Fail)

	o.Timeout, o.Limit, o.StreamTime = time.Minute, 10*time.Second, 0
	report := examine(t, o)
	last := report.Checks[slices.IndexFunc(report.Checks, func(f Finding) bool { return f.Check == "wrong host" })]
	if last.Result != Fail || !strings.Contains(last.Seen, "no time left") {
		t.Error(last.line())
	}
}

func TestWhatCannotBeExaminedIsAnError(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	o := Options{Timeout: time.Minute, Limit: 5 * time.Minute}
	for _, address := range []string{
		"", "mcp.example.com/mcp", "ftp://127.0.0.1", "https://", "https://u:p@127.0.0.1/mcp", "https://127.0.0.1/mcp?x=y", "https://127.0.0.1/mcp#x",
		"https://127.0.0.1/other", "https://127.0.0.1/mcp/", closed.URL, strings.Replace(closed.URL, "http:", "https:", 1),
	} {
		o.URL = address
		if report, err := Run(t.Context(), o); err == nil {
			t.Errorf("%q: %+v", address, report)
		}
	}
	o.URL, o.CAFile = "https://127.0.0.1:1/mcp", filepath.Join(t.TempDir(), "none")
	if _, err := Run(t.Context(), o); err == nil {
		t.Error("a missing --ca-file is no error")
	}
	d := newDeployment()
	d.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	o = d.options()
	o.Found = func(Finding) { cancel() }
	if _, err := Run(ctx, o); err == nil {
		t.Error("an interruption is no error")
	}
}

func exitStatus(t *testing.T, err error) int {
	t.Helper()
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &coded):
		t.Fatalf("%v has no exit status", err)
	}
	return coded.ExitCode()
}

func TestCommand(t *testing.T) {
	t.Parallel()
	d := newDeployment()
	d.start(t)
	broken := newDeployment()
	broken.metadata["code_challenge_methods_supported"] = nil
	broken.start(t)
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(goodToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sound := func(d *deployment) Command {
		return Command{URL: d.gateway.URL + "/mcp", CAFile: d.caFile, StreamTime: 10 * time.Millisecond, Timeout: time.Minute, Limit: 5 * time.Minute}
	}
	for name, c := range map[string]struct {
		of     *deployment
		change func(*Command)
		in     string
		status int
		says   string
	}{
		"token on standard input": {of: d, change: func(c *Command) { c.TokenStdin = true }, in: " " + goodToken + "\n", says: "ok    stream"},
		"token in a file":         {of: d, change: func(c *Command) { c.TokenFile = tokenFile }, says: "32 ok, 0 warn, 0 failed, 0 skipped"},
		"no token":                {of: d, says: "skip  stream"},
		"a fault":                 {of: broken, status: 1, says: "FAIL  issuer PKCE"},
		"two tokens":              {of: d, change: func(c *Command) { c.TokenFile, c.TokenStdin = tokenFile, true }, status: 2},
		"no token there":          {of: d, change: func(c *Command) { c.TokenStdin = true }, status: 2},
		"not one token":           {of: d, change: func(c *Command) { c.TokenStdin = true }, in: "a b", status: 2},
		"a token with its scheme": {of: d, change: func(c *Command) { c.TokenStdin = true }, in: "Bearer " + goodToken, status: 2},
		"a long token":            {of: d, change: func(c *Command) { c.TokenStdin = true }, in: strings.Repeat("x", 9000), status: 2},
		"no such file":            {of: d, change: func(c *Command) { c.TokenFile += "x" }, status: 2},
		"no URL":                  {of: d, change: func(c *Command) { c.URL = "" }, status: 2},
		"no time":                 {of: d, change: func(c *Command) { c.Timeout, c.Limit, c.StreamTime = 0, 0, -1 }, status: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := sound(c.of)
			if c.change != nil {
				c.change(&command)
			}
			var out bytes.Buffer
			err := command.run(t.Context(), strings.NewReader(c.in), &out)
			if exitStatus(t, err) != c.status || !strings.Contains(out.String(), c.says) {
				t.Errorf("%v\n%s", err, &out)
			}
			if err != nil && c.status == 2 && (out.Len() > 0 || c.in != "" && strings.Contains(err.Error(), c.in)) {
				t.Errorf("%v\n%s", err, &out)
			}
			if lines := strings.Count(out.String(), "\n"); c.status < 2 && lines != len(checks())+1 {
				t.Errorf("%d lines", lines)
			}
		})
	}
}

func TestJSONIsOneDocument(t *testing.T) {
	t.Parallel()
	d := newDeployment()
	d.metadata["code_challenge_methods_supported"] = nil
	d.start(t)
	c := Command{URL: d.gateway.URL, CAFile: d.caFile, Timeout: time.Minute, Limit: 5 * time.Minute, JSON: true}
	var out bytes.Buffer
	if status := exitStatus(t, c.run(t.Context(), strings.NewReader(""), &out)); status != 1 {
		t.Errorf("exit status %d", status)
	}
	var report Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if report.URL != c.URL || report.Failed() != 1 || len(report.Checks) != len(checks()) {
		t.Errorf("%+v", report)
	}
}

func TestKeyBitsAreThoseOfTheModulus(t *testing.T) {
	t.Parallel()
	n := new(big.Int).Lsh(big.NewInt(1), 2047)
	d := newDeployment()
	d.keys[0]["n"] = base64.RawURLEncoding.EncodeToString(append([]byte{0}, n.Bytes()...))
	d.start(t)
	for _, f := range examine(t, d.options()).Checks {
		if f.Check == "key strength" && f.Result != OK {
			t.Error(f.line())
		}
	}
}
