package issuer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/neonpanel/mcp-gateway/authz/internal/issuer"
	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const refresh = time.Minute

// run runs a test on fake time with an Issuer that has fetched what there is.
func run(t *testing.T, prepare func(*issuertest.Server, *issuer.Config), test func(t *testing.T, server *issuertest.Server, i *issuer.Issuer)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := issuertest.StartInMemory(t)
		config := issuer.Config{Issuer: server.Issuer, NeedsKeys: true, Client: upstream.New(server.Transport), Refresh: refresh, Timeout: 3 * time.Second}
		prepare(server, &config)
		i, err := issuer.New(config)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- i.Run(ctx) }()
		synctest.Wait()
		test(t, server, i)
		cancel()
		if err := <-ended; err != nil {
			t.Error("Run:", err)
		}
	})
}

func document(members map[string]any) http.HandlerFunc {
	return issuertest.JSON(issuertest.Encode(members))
}

func TestDocumentIsKeptByteForByte(t *testing.T) {
	const text = "{ \"issuer\" : \"http://127.0.0.1\",\n\"x\": 1.0, \"jwks_uri\":\"http://127.0.0.1/k\" }\n"
	run(t, func(server *issuertest.Server, _ *issuer.Config) {
		server.Serve(issuertest.PathOAuth, issuertest.JSON(text))
	}, func(t *testing.T, _ *issuertest.Server, i *issuer.Issuer) {
		raw, known := i.Raw()
		openID, _ := i.RawOpenID()
		if !known || string(raw) != text || string(openID) != text {
			t.Errorf("%q, %q", raw, openID)
		}
		if i.JWKSURL() != "http://127.0.0.1/k" || i.IntrospectionURL() != "" || i.ScopesSupported() != nil {
			t.Error(i.JWKSURL(), i.IntrospectionURL(), i.ScopesSupported())
		}
	})
}

func TestOpenIDDocumentStandsInAndFillsIn(t *testing.T) {
	openID := map[string]any{"issuer": "http://127.0.0.1", "jwks_uri": "http://127.0.0.1/openid", "scopes_supported": []string{"openid"}}
	run(t, func(server *issuertest.Server, _ *issuer.Config) {
		server.Serve(issuertest.PathOAuth, issuertest.Status(404))
		server.Serve(issuertest.PathOpenID, document(openID))
	}, func(t *testing.T, server *issuertest.Server, i *issuer.Issuer) {
		if i.JWKSURL() != "http://127.0.0.1/openid" {
			t.Error(i.JWKSURL())
		}
		if raw, known := i.Raw(); !known || !strings.Contains(string(raw), "openid") {
			t.Error(string(raw))
		}
		server.Serve(issuertest.PathOAuth, document(map[string]any{"issuer": "http://127.0.0.1", "jwks_uri": "http://127.0.0.1/oauth"}))
		time.Sleep(refresh)
		if i.JWKSURL() != "http://127.0.0.1/oauth" || !slices.Equal(i.ScopesSupported(), []string{"openid"}) {
			t.Error(i.JWKSURL(), i.ScopesSupported())
		}
		raw, _ := i.Raw()
		other, _ := i.RawOpenID()
		if strings.Contains(string(raw), "openid") || !strings.Contains(string(other), "openid") {
			t.Errorf("%s, %s", raw, other)
		}
	})
}

func TestKeysThatMoveAreReportedOnce(t *testing.T) {
	moved := 0
	run(t, func(server *issuertest.Server, config *issuer.Config) {
		config.Moved = func() { moved++ }
		server.Serve(issuertest.PathOpenID, server.Handler(issuertest.PathOAuth))
	}, func(t *testing.T, server *issuertest.Server, i *issuer.Issuer) {
		i.WaitKeysKnown(t.Context())
		time.Sleep(2 * refresh)
		synctest.Wait()
		if moved != 0 {
			t.Errorf("%d moves at rest", moved)
		}
		server.Serve(issuertest.PathOAuth, document(map[string]any{"issuer": "http://127.0.0.1", "jwks_uri": "http://127.0.0.1/other"}))
		time.Sleep(2 * refresh)
		synctest.Wait()
		if moved != 1 {
			t.Errorf("%d moves, want 1", moved)
		}
	})
}

func TestOnlyTrueFailuresAreReported(t *testing.T) {
	var outcomes []error
	run(t, func(server *issuertest.Server, config *issuer.Config) {
		config.Fetched = func(_ time.Duration, err error) { outcomes = append(outcomes, err) }
	}, func(t *testing.T, server *issuertest.Server, i *issuer.Issuer) {
		if len(outcomes) != 1 || outcomes[0] != nil {
			t.Error("one document of two:", outcomes)
		}
		outcomes = nil
		server.Serve(issuertest.PathOAuth, issuertest.Status(404))
		time.Sleep(refresh)
		synctest.Wait()
		if len(outcomes) < 2 || outcomes[0] == nil || outcomes[1] == nil {
			t.Error("none of two:", outcomes)
		}
	})
}

func TestBadDocumentsNeverReplaceAGoodOne(t *testing.T) {
	good := map[string]any{"issuer": "http://127.0.0.1", "jwks_uri": "http://127.0.0.1/good"}
	with := func(name string, value any) http.HandlerFunc {
		members := map[string]any{"issuer": "http://127.0.0.1", "jwks_uri": "http://127.0.0.1/bad"}
		members[name] = value
		return document(members)
	}
	for name, bad := range map[string]http.HandlerFunc{
		"503":                              issuertest.Status(503),
		"HTML with 200":                    issuertest.Status(200),
		"hang":                             issuertest.Slow(time.Hour, issuertest.Status(200)),
		"not an object":                    issuertest.JSON(`[]`),
		"empty object":                     issuertest.JSON(`{}`),
		"another issuer (RFC 8414 §3.3)":   with("issuer", "http://127.0.0.2"),
		"issuer with a slash":              with("issuer", "http://127.0.0.1/"),
		"issuer not a string":              with("issuer", 1),
		"issuer twice":                     issuertest.JSON(`{"issuer":"http://evil.example","issuer":"http://127.0.0.1","jwks_uri":"http://127.0.0.1/bad"}`),
		"jwks_uri not a string":            with("jwks_uri", []string{}),
		"jwks_uri in plain HTTP elsewhere": with("jwks_uri", "http://my.example.com/bad"),
		"jwks_uri of another origin":       with("jwks_uri", "https://evil.example/bad"),
		"jwks_uri gone":                    document(map[string]any{"issuer": "http://127.0.0.1"}),
		"introspection with user":          with("introspection_endpoint", "https://u:p@x.example/"),
		"scopes_supported not a list":      with("scopes_supported", "a b"),
		"over 1 MiB":                       with("x", strings.Repeat("x", 1<<20)),
		"redirect elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.2/", http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(server *issuertest.Server, _ *issuer.Config) {
				server.Serve(issuertest.PathOAuth, document(good))
			}, func(t *testing.T, server *issuertest.Server, i *issuer.Issuer) {
				server.Serve(issuertest.PathOAuth, bad)
				time.Sleep(3 * refresh)
				if i.JWKSURL() != "http://127.0.0.1/good" {
					t.Error(i.JWKSURL())
				}
				if raw, _ := i.Raw(); string(raw) != issuertest.Encode(good) {
					t.Errorf("the document shown is %s", raw)
				}
				if server.Calls(issuertest.PathOAuth) < 2 {
					t.Error("not asked again")
				}
			})
		})
	}
}

func TestEndpointsOfAnotherOriginMustBeSetByName(t *testing.T) {
	elsewhere := document(map[string]any{
		"issuer": "http://127.0.0.1", "jwks_uri": "https://evil.example/k", "introspection_endpoint": "http://127.0.0.1:8080/i",
	})
	run(t, func(server *issuertest.Server, config *issuer.Config) {
		config.NeedsIntrospection = true
		server.Serve(issuertest.PathOAuth, elsewhere)
	},
		func(t *testing.T, _ *issuertest.Server, i *issuer.Issuer) {
			if raw, known := i.Raw(); known {
				t.Errorf("shown: %s", raw)
			}
			if i.JWKSURL() != "" || i.IntrospectionURL() != "" {
				t.Error(i.JWKSURL(), i.IntrospectionURL())
			}
			if _, err := i.FetchKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "AUTHZ_JWKS_URL") {
				t.Error(err)
			}
			if _, err := i.FindIntrospection(); err == nil || !strings.Contains(err.Error(), "AUTHZ_INTROSPECTION_URL") {
				t.Error(err)
			}
		})
}

// An endpoint that is not used, or replaced by a setting, may be anywhere.
func TestOnlyEndpointsInUseAreJudged(t *testing.T) {
	elsewhere := map[string]any{
		"issuer": "http://127.0.0.1", "jwks_uri": "https://evil.example/k", "introspection_endpoint": "https://evil.example/i",
	}
	for name, change := range map[string]func(*issuer.Config){
		"unused": func(c *issuer.Config) { c.NeedsKeys = false },
		"set by name": func(c *issuer.Config) {
			c.NeedsIntrospection = true
			c.JWKSURL, c.IntrospectionURL = "https://named.example/k", "https://named.example/i"
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(server *issuertest.Server, config *issuer.Config) {
				change(config)
				server.Serve(issuertest.PathOAuth, document(elsewhere))
			}, func(t *testing.T, server *issuertest.Server, i *issuer.Issuer) {
				if raw, _ := i.Raw(); string(raw) != issuertest.Encode(elsewhere) {
					t.Errorf("not taken; the document shown is %q", raw)
				}
				time.Sleep(refresh / 2)
				if calls := server.Calls(issuertest.PathOAuth); calls != 1 {
					t.Errorf("%d calls, want none before the refresh", calls)
				}
			})
		})
	}
}

// A document that cannot be used is a failure: asking again does not wait for
// the refresh.
func TestDocumentsThatCannotBeUsedAreRetriedSoon(t *testing.T) {
	good := map[string]any{"issuer": "http://127.0.0.1", "jwks_uri": "http://127.0.0.1/k", "introspection_endpoint": "http://127.0.0.1/i", "n": 2}
	for name, bad := range map[string]map[string]any{
		"keys elsewhere":          {"issuer": "http://127.0.0.1", "jwks_uri": "https://evil.example/k", "introspection_endpoint": "http://127.0.0.1/i"},
		"introspection elsewhere": {"issuer": "http://127.0.0.1", "jwks_uri": "http://127.0.0.1/k", "introspection_endpoint": "https://evil.example/i"},
		"no keys":                 {"issuer": "http://127.0.0.1", "introspection_endpoint": "http://127.0.0.1/i"},
		"another issuer":          {"issuer": "http://127.0.0.2", "jwks_uri": "http://127.0.0.1/k"},
	} {
		for other, openID := range map[string]http.HandlerFunc{"alone": issuertest.Status(404), "beside a good one": document(good)} {
			if name == "no keys" && other != "alone" {
				continue // the two together are complete
			}
			t.Run(name+" "+other, func(t *testing.T) {
				run(t, func(server *issuertest.Server, config *issuer.Config) {
					config.NeedsIntrospection, config.Refresh = true, time.Hour
					server.Serve(issuertest.PathOAuth, document(bad))
					server.Serve(issuertest.PathOpenID, openID)
				}, func(t *testing.T, server *issuertest.Server, i *issuer.Issuer) {
					time.Sleep(10 * time.Minute)
					if calls := server.Calls(issuertest.PathOAuth); calls > 40 {
						t.Errorf("%d calls in 10 minutes", calls)
					}
					server.Serve(issuertest.PathOAuth, document(good))
					time.Sleep(31 * time.Second)
					if raw, _ := i.Raw(); string(raw) != issuertest.Encode(good) {
						t.Errorf("half a minute after the document was repaired: %q", raw)
					}
				})
			})
		}
	}
}

func TestUnknownMetadataSaysWhy(t *testing.T) {
	run(t, func(server *issuertest.Server, _ *issuer.Config) {
		server.Serve(issuertest.PathOAuth, document(map[string]any{"issuer": "http://127.0.0.1", "jwks_uri": "https://evil.example/k"}))
	}, func(t *testing.T, server *issuertest.Server, i *issuer.Issuer) {
		if err := i.Unknown(); err == nil || !strings.Contains(err.Error(), "set AUTHZ_JWKS_URL") {
			t.Error(err)
		}
		server.Serve(issuertest.PathOAuth, document(map[string]any{"issuer": "http://127.0.0.1", "jwks_uri": "http://127.0.0.1/k"}))
		time.Sleep(refresh)
		if err := i.Unknown(); err != nil {
			t.Error(err)
		}
	})
}

func TestEndpointsSetByNameNeedNoMetadata(t *testing.T) {
	run(t, func(server *issuertest.Server, config *issuer.Config) {
		server.Serve(issuertest.PathOAuth, issuertest.Status(500))
		server.Serve("/named", issuertest.JSON(`{"keys":[]}`))
		config.JWKSURL, config.IntrospectionURL = "http://127.0.0.2/named", "https://x.example/i"
	}, func(t *testing.T, _ *issuertest.Server, i *issuer.Issuer) {
		if data, err := i.FetchKeys(t.Context()); err != nil || string(data) != `{"keys":[]}` {
			t.Errorf("%s, %v", data, err)
		}
		if i.IntrospectionURL() != "https://x.example/i" {
			t.Error(i.IntrospectionURL())
		}
	})
}

func TestWellKnownPathsOfAnIssuerWithAPath(t *testing.T) {
	run(t, func(server *issuertest.Server, config *issuer.Config) { config.Issuer = "http://127.0.0.1/tenant/a" },
		func(t *testing.T, server *issuertest.Server, _ *issuer.Issuer) {
			// RFC 8414 §3.1; OpenID Connect Discovery §4.
			for _, path := range []string{"/.well-known/oauth-authorization-server/tenant/a", "/tenant/a/.well-known/openid-configuration"} {
				if server.Calls(path) == 0 {
					t.Error("not asked for:", path)
				}
			}
		})
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"issuer":"http://127.0.0.1","jwks_uri":"http://127.0.0.1/k","scopes_supported":["a"]}`))
	f.Add([]byte(`{"issuer":"http://127.0.0.1","jwks_uri":"//evil.example"}`))
	f.Add([]byte(`{"issuer":"http://127.0.0.1","issuer":"x"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		client := upstream.New(canned(body))
		i, err := issuer.New(issuer.Config{Issuer: "http://127.0.0.1", Client: client, Refresh: time.Hour, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		i.Refresh(t.Context())
		raw, known := i.Raw()
		if !known {
			return
		}
		var said struct {
			Issuer string `json:"issuer"`
		}
		if err := json.Unmarshal(raw, &said); err != nil || said.Issuer != "http://127.0.0.1" {
			t.Fatalf("%s, %v", raw, err)
		}
		if u := i.JWKSURL(); u != "" && !strings.HasPrefix(strings.ToLower(u), "http://127.0.0.1") {
			t.Fatal("keys from", u)
		}
	})
}

// canned is a transport that answers everything with one body.
type canned []byte

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(c)), Request: r}, nil
}
