package verifier_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Outages over HTTP, with a token whose verdict is not cached each time.
func TestOutages(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]http.HandlerFunc{
		"503":           issuertest.Status(503),
		"HTML with 200": issuertest.Status(200),
		"empty set":     issuertest.JSON(`{"keys":[]}`),
		"hang":          issuertest.Slow(time.Hour, issuertest.Status(200)),
		"endless":       endless,
		"too long":      issuertest.JSON(`{"keys":[],"x":"` + strings.Repeat("x", 1<<20) + `"}`),
		"dropped":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"another's origin": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.2/jwks", http.StatusFound)
		},
		"redirect loop": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
	} {
		t.Run(name, func(t *testing.T) {
			short := func(o *verifier.Options) { o.KeysRefresh, o.KeysMaxStale = time.Minute, 10*time.Minute }
			inBubble(t, short, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
				for _, path := range []string{issuertest.PathJWKS, issuertest.PathOAuth, issuertest.PathOpenID} {
					server.Serve(path, outage)
				}
				stranger := issuertest.NewSigner("RS256", "two", 2)
				for range 8 {
					time.Sleep(time.Minute)
					began := time.Now()
					if _, err := v.Verify(t.Context(), sign(server.Issuer, nil)); err != nil {
						t.Fatal("good token:", err)
					}
					if took := time.Since(began); took != 0 {
						t.Errorf("good token took %v", took)
					}
					_, err := v.Verify(t.Context(), stranger.Sign(claims(server.Issuer, nil)))
					if r := reason(t, err); r != token.KeyPending {
						t.Errorf("token of an unknown key: %v", err)
					}
					if took := time.Since(began); took > 1500*time.Millisecond {
						t.Errorf("token of an unknown key took %v", took)
					}
				}
				time.Sleep(2*time.Minute + time.Second)
				_, err := v.Verify(t.Context(), sign(server.Issuer, nil))
				if r := reason(t, err); r != token.KeysStale {
					t.Errorf("keys too old: %v", err)
				}
				if err := v.Ready(); err != nil {
					t.Error("an outage made the process unready:", err)
				}
				server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer, stranger)))
				time.Sleep(time.Minute)
				for _, s := range []*issuertest.Signer{signer, stranger} {
					if _, err := v.Verify(t.Context(), s.Sign(claims(server.Issuer, nil))); err != nil {
						t.Error("after the outage:", err)
					}
				}
			})
		})
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := fmt.Fprint(w, strings.Repeat(" ", 64<<10)); err != nil {
			return
		}
	}
}

func TestStartWhileTheIssuerIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := issuertest.StartInMemory(t)
		good := server.Handler(issuertest.PathOAuth)
		server.Serve(issuertest.PathOAuth, issuertest.Status(503))
		server.Serve(issuertest.PathOpenID, issuertest.Status(503))
		v := start(t, server, nil)
		synctest.Wait()
		raw := signer.Sign(claims(server.Issuer, map[string]any{"exp": time.Now().Add(10 * time.Hour).Unix()}))
		if _, err := v.Verify(t.Context(), raw); reason(t, err) != token.KeysMissing {
			t.Error("while down:", err)
		}
		if err := v.Ready(); err == nil || !strings.Contains(err.Error(), "metadata") {
			t.Error("ready while down:", err)
		}
		if _, known := v.Metadata().Raw(); known {
			t.Error("metadata while down")
		}
		time.Sleep(time.Hour)

		server.Serve(issuertest.PathOAuth, good)
		time.Sleep(31 * time.Second)
		if err := v.Ready(); err == nil || !strings.Contains(err.Error(), "keys have not been fetched yet") || !strings.Contains(err.Error(), "status 404") {
			t.Error("ready without keys, or no word about why:", err)
		}
		server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
		time.Sleep(31 * time.Second)
		if err := v.Ready(); err != nil {
			t.Error("not ready after recovery:", err)
		}
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Error("after recovery:", err)
		}
		if s := v.Stats(); s.Keys != 1 || s.KeysFetched.IsZero() || s.Accepted != 1 {
			t.Errorf("stats are %+v", s)
		}
	})
}

func TestMetadataThatSendsTheKeysElsewhereOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := issuertest.StartInMemory(t)
		server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
		good := server.Handler(issuertest.PathOAuth)
		bad := issuertest.JSON(issuertest.Encode(map[string]any{"issuer": server.Issuer, "jwks_uri": "https://keys.evil.example/jwks"}))
		server.Serve(issuertest.PathOAuth, bad)
		v := start(t, server, nil)
		synctest.Wait()
		if err := v.Ready(); err == nil || !strings.Contains(err.Error(), "AUTHZ_JWKS_URL") {
			t.Error("ready with keys of another origin, or no word about it:", err)
		}
		if raw, known := v.Metadata().Raw(); known {
			t.Errorf("shown: %s", raw)
		}
		server.Serve(issuertest.PathOAuth, good)
		time.Sleep(time.Second)
		synctest.Wait()
		if err := v.Ready(); err != nil {
			t.Error("a second after the document was repaired:", err)
		}
		server.Serve(issuertest.PathOAuth, bad)
		time.Sleep(time.Hour)
		if v.Metadata().JWKSURL() != server.Issuer+issuertest.PathJWKS {
			t.Error("keys are at", v.Metadata().JWKSURL())
		}
		if _, err := v.Verify(t.Context(), sign(server.Issuer, nil)); err != nil {
			t.Error(err)
		}
	})
}

// AUTHZ_KEYS_REFRESH is of keys and metadata.
func TestMetadataIsRefreshedWithTheKeys(t *testing.T) {
	inBubble(t, func(o *verifier.Options) { o.KeysRefresh = time.Minute }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		server.Serve(issuertest.PathOAuth, issuertest.JSON(issuertest.Encode(map[string]any{
			"issuer": server.Issuer, "jwks_uri": server.Issuer + issuertest.PathJWKS, "scopes_supported": []string{"new"},
		})))
		time.Sleep(time.Minute)
		synctest.Wait()
		if scopes := v.Metadata().ScopesSupported(); len(scopes) != 1 || scopes[0] != "new" {
			t.Error(scopes)
		}
	})
}

// The keys follow the metadata at once, not at the next retry.
func TestReadyAsSoonAsMetadataAndKeysAreIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := issuertest.StartInMemory(t)
		server.Serve(issuertest.PathOAuth, issuertest.Slow(100*time.Millisecond, server.Handler(issuertest.PathOAuth)))
		server.Serve(issuertest.PathOpenID, issuertest.Slow(time.Hour, issuertest.Status(404)))
		server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
		v := start(t, server, nil)
		time.Sleep(101 * time.Millisecond)
		synctest.Wait()
		if err := v.Ready(); err != nil {
			t.Error(err)
		}
	})
}

func TestCachedVerdictDiesWithItsKey(t *testing.T) {
	inBubble(t, func(o *verifier.Options) { o.CacheMaxTTL = time.Hour }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		raw := signer.Sign(claims(server.Issuer, nil))
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
		// Another key under the same kid.
		server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(issuertest.NewSigner("RS256", "one", 2))))
		time.Sleep(5*time.Minute + time.Second)
		if _, err := v.Verify(t.Context(), raw); reason(t, err) != token.SignatureInvalid {
			t.Error("key replaced:", err)
		}
	})
}

func TestCachedVerdictDiesWithTheStalenessBound(t *testing.T) {
	inBubble(t, func(o *verifier.Options) {
		o.KeysRefresh, o.KeysMaxStale, o.CacheMaxTTL = time.Minute, 10*time.Minute, time.Hour
	}, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		raw := signer.Sign(claims(server.Issuer, nil))
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
		server.Serve(issuertest.PathJWKS, issuertest.Status(503))
		time.Sleep(9 * time.Minute)
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Error("within the bound:", err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := v.Verify(t.Context(), raw); reason(t, err) != token.KeysStale {
			t.Error("beyond the bound:", err)
		}
	})
}

func TestKeyReplacedUnderTheSameKidServesItsFirstToken(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		replaced := issuertest.NewSigner("RS256", "one", 2)
		server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(replaced)))
		time.Sleep(time.Minute)
		if _, err := v.Verify(t.Context(), replaced.Sign(claims(server.Issuer, nil))); err != nil {
			t.Error("first use:", err)
		}
		if _, err := v.Verify(t.Context(), signer.Sign(claims(server.Issuer, nil))); reason(t, err) != token.SignatureInvalid {
			t.Error("old key:", err)
		}
	})
}

// The same while the keys cannot be fetched: nobody is sent to sign in again, and
// what a forger sends costs one signature and no call.
func TestKeyReplacedUnderTheSameKidInAnOutage(t *testing.T) {
	counted := new(counter)
	inBubble(t, func(o *verifier.Options) { o.Observer = counted }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		replaced := issuertest.NewSigner("RS256", "one", 2)
		time.Sleep(time.Minute)
		server.Serve(issuertest.PathJWKS, issuertest.Status(503))
		raw := replaced.Sign(claims(server.Issuer, nil))
		before := server.Calls(issuertest.PathJWKS)
		for i := range 100 {
			_, err := v.Verify(t.Context(), raw)
			if reason(t, err) != token.SignaturePending || err.(*token.Error).Kind != token.Unavailable || err.(*token.Error).RetryAfter == 0 {
				t.Fatalf("%d: %+v", i, err)
			}
		}
		if n := server.Calls(issuertest.PathJWKS) - before; n != 1 {
			t.Errorf("%d fetches for one token", n)
		}
		if n := counted.verdicts["jwt "+token.SignaturePending]; n != 1 {
			t.Errorf("its signature was judged %d times", n)
		}
		// It serves as soon as the keys do, whatever was remembered.
		server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(replaced)))
		time.Sleep(10*time.Second + time.Millisecond)
		other := replaced.Sign(claims(server.Issuer, map[string]any{"jti": "other"}))
		for _, raw := range []string{other, raw} {
			if _, err := v.Verify(t.Context(), raw); err != nil {
				t.Error(err)
			}
		}
		if _, err := v.Verify(t.Context(), signer.Sign(claims(server.Issuer, nil))); reason(t, err) != token.SignatureInvalid {
			t.Error("the old key:", err)
		}
	})
}

// What a refetch could heal is not remembered beyond it.
func TestFreshlyRotatedKeyHealsARememberedRefusal(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		replaced := issuertest.NewSigner("RS256", "one", 2)
		// Older than the keys, so that it does not wait for newer ones.
		raw := replaced.Sign(claims(server.Issuer, map[string]any{"iat": time.Now().Add(-time.Minute).Unix()}))
		server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(replaced)))
		time.Sleep(time.Minute)
		if _, err := v.Verify(t.Context(), raw); reason(t, err) != token.SignatureInvalid {
			t.Error("first use:", err)
		}
		synctest.Wait()
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Error("as soon as the keys are refreshed:", err)
		}
	})
}

// What the cool-down alone decided ends with it: a key that was added right after
// the start serves from the end of the cool-down on.
func TestRefusalInTheCooldownEndsWithIt(t *testing.T) {
	for name, added := range map[string]*issuertest.Signer{
		"under a kid of its own": issuertest.NewSigner("RS256", "two", 2),
		"under an old kid":       issuertest.NewSigner("RS256", "one", 2),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
				server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(added)))
				time.Sleep(8500 * time.Millisecond)
				raw := added.Sign(claims(server.Issuer, nil))
				for range 3 {
					if _, err := v.Verify(t.Context(), raw); err == nil {
						t.Fatal("accepted within the cool-down")
					}
					time.Sleep(499 * time.Millisecond)
				}
				time.Sleep(4 * time.Millisecond)
				if _, err := v.Verify(t.Context(), raw); err != nil {
					t.Error("after the cool-down:", err)
				}
			})
		})
	}
}

func TestFloodOfBadTokensEvictsNoGoodOneAndCausesNoStorm(t *testing.T) {
	inBubble(t, func(o *verifier.Options) { o.CacheSize = 100 }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		good := signer.Sign(claims(server.Issuer, nil))
		if _, err := v.Verify(t.Context(), good); err != nil {
			t.Fatal(err)
		}
		before := server.Calls(issuertest.PathJWKS)
		head := issuertest.Base64(issuertest.Encode(map[string]any{"alg": "RS256", "kid": "unknown"}))
		for i := range 5000 {
			payload := issuertest.Base64(issuertest.Encode(claims(server.Issuer, map[string]any{"jti": fmt.Sprint(i)})))
			if _, err := v.Verify(t.Context(), head+"."+payload+".c2ln"); reason(t, err) == "" {
				t.Fatal("accepted")
			}
			time.Sleep(time.Millisecond)
		}
		if n := server.Calls(issuertest.PathJWKS) - before; n > 2 {
			t.Errorf("%d fetches in 5 s", n)
		}
		if s := v.Stats(); s.Accepted != 1 || s.Refused > 200 {
			t.Errorf("stats are %+v", s)
		}
	})
}

func TestDenyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deny.yaml")
	write := func(text string) {
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Error(err)
		}
	}
	write("")
	counted := &readings{counter: new(counter), news: make(chan struct{}, 100), read: make(chan struct{}, 100)}
	server := issuertest.Start(t)
	server.Serve(issuertest.PathJWKS, issuertest.JSON(issuertest.JWKS(signer)))
	v := start(t, server, func(o *verifier.Options) { o.DenyFile, o.Observer = path, counted })
	await := func(news chan struct{}) {
		t.Helper()
		select {
		case <-news:
		case <-time.After(30 * time.Second):
			t.Fatal("in vain")
		}
	}
	for v.Ready() != nil {
		await(counted.news)
	}
	// Long before the file's dates, and for long.
	raw := signer.Sign(claims(server.Issuer, map[string]any{"iat": 946684800}))
	for i, step := range []struct {
		file   string
		want   string
		broken bool
	}{
		{"subjects: []", "", false},
		{`subjects: ["46"]`, token.Denied, false},
		{`subjects: [`, token.Denied, true},
		{`subject: ["47"]`, token.Denied, true},
		{`subjects: [46]`, token.Denied, false},
		{`subjects: ["47"]`, "", false},
		{`clients: ["client-1"]`, token.Denied, false},
		{`jtis: ["token-1"]`, token.Denied, false},
		{`{"jtis": ["token-2"]}`, "", false},
		{`issued_before: 1999-12-31T23:59:59Z`, "", false},
		{`issued_before: 2000-01-01T00:00:01Z`, token.Denied, false},
		{``, token.Denied, true},
		{`{}`, "", false},
	} {
		write(step.file)
		await(counted.read)
		if _, err := v.Verify(t.Context(), raw); reason(t, err) != step.want {
			t.Errorf("step %d, %s: %v, want %q", i, step.file, err, step.want)
		}
		if v.Stats().DenyFileBroken != step.broken {
			t.Errorf("step %d: broken is %v", i, !step.broken)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	await(counted.read)
	if _, err := v.Verify(t.Context(), raw); err != nil {
		t.Error("without the file, the last good one is empty:", err)
	}
	if !v.Stats().DenyFileBroken {
		t.Error("a missing file is not reported")
	}
	counted.mu.Lock()
	defer counted.mu.Unlock()
	if counted.denyRead != 14 || counted.denyBad != 4 {
		t.Errorf("%d readings, %d bad", counted.denyRead, counted.denyBad)
	}
	if counted.verdicts["cache "] == 0 {
		t.Error("no verdict came from the cache")
	}
}

// readings is a counter that tells of what it counts.
type readings struct {
	*counter
	news, read chan struct{}
}

func (r *readings) Called(what verifier.Call, failed bool, took time.Duration) {
	r.counter.Called(what, failed, took)
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func (r *readings) DenyFileRead(failed bool) {
	r.counter.DenyFileRead(failed)
	r.read <- struct{}{}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := verifier.New(verifier.Options{
		Issuer: "http://my.example.com", JWKSURL: "ftp://x", IntrospectionURL: "http://x.example.com/i",
		CAFile: "/does/not/exist", Mode: "both", Algorithms: []string{"HS256", "none", "RS256"}, IntrospectionClientID: "x",
		KeysRefresh: time.Hour, KeysMaxStale: time.Minute, CacheSize: -1, DenyFile: "/does/not/exist",
	})
	for _, setting := range []string{
		"NEONPANEL_ISSUER", "AUTHZ_JWKS_URL", "AUTHZ_INTROSPECTION_URL", "UPSTREAM_CA_FILE", "AUTHZ_TOKEN_MODE", `"HS256"`, `"none"`,
		"AUTHZ_INTROSPECTION_CLIENT_SECRET", "AUTHZ_KEYS_MAX_STALE", "AUTHZ_CACHE_SIZE", "AUTHZ_DENY_FILE",
	} {
		if err == nil || !strings.Contains(err.Error(), setting) {
			t.Errorf("%s is not named in: %v", setting, err)
		}
	}
	for name, change := range map[string]func(*verifier.Options){
		"opaque without credentials":          func(o *verifier.Options) { o.Mode = verifier.Opaque },
		"JWT introspection without them":      func(o *verifier.Options) { o.IntrospectJWT = true },
		"issuer missing":                      func(o *verifier.Options) { o.Issuer = "" },
		"issuer with a query":                 func(o *verifier.Options) { o.Issuer += "?x" },
		"issuer with a fragment":              func(o *verifier.Options) { o.Issuer += "#" },
		"issuer with user information":        func(o *verifier.Options) { o.Issuer = "https://u:p@my.example.com" },
		"certificate file that is not there":  func(o *verifier.Options) { o.CAFile = "/does/not/exist" },
		"certificate file without one inside": func(o *verifier.Options) { o.CAFile = "resilience_test.go" },
	} {
		options := verifier.Options{Issuer: "https://my.example.com"}
		change(&options)
		if _, err := verifier.New(options); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRunEndsWithItsContextWhateverTheIssuerDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := issuertest.StartInMemory(t)
		server.Serve(issuertest.PathOAuth, issuertest.Slow(time.Hour, issuertest.Status(200)))
		v, err := verifier.New(verifier.Options{Issuer: server.Issuer, Transport: server.Transport})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- v.Run(ctx) }()
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-ended; err != nil || time.Since(began) != 0 {
			t.Error(err, time.Since(began))
		}
	})
}
