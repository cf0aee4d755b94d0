package verifier_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/neonpanel/mcp-gateway/authz/internal/clientauth"
	"github.com/neonpanel/mcp-gateway/authz/internal/issuertest"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
	"github.com/neonpanel/mcp-gateway/authz/internal/trail"
	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

func withIntrospection(o *verifier.Options) {
	o.IntrospectionClientID = "gate way"
	o.IntrospectionClientSecret = func() (string, error) { return "s&cret", nil }
}

// Whether a text is a token is for the issuer to say, who is sent it whole.
func TestOpaqueTokensOfAnyVisibleText(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		asked := make(chan string, 1)
		server.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
			asked <- r.PostFormValue("token")
			issuertest.JSON(active(server.Issuer, nil))(w, r)
		})
		for _, raw := range []string{"12|Lk3Qv9dB0xRzT7aWcYpE5sJhGf1uMn4o", "a&token=b", "%41+%2B==", `"quoted\"`, "!#$%&'()*+-./:;<=>?@[]^_`{|}~"} {
			if _, err := v.Verify(t.Context(), raw); err != nil {
				t.Errorf("%q: %v", raw, err)
			} else if got := <-asked; got != raw {
				t.Errorf("%q was asked about as %q", raw, got)
			}
		}
	})
}

// active is a good introspection response with changes; a nil value removes.
func active(issuer string, changes map[string]any) string {
	c := claims(issuer, map[string]any{"active": true, "token_type": "Bearer"})
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return issuertest.Encode(c)
}

func TestIntrospectionRequest(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		server.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			// RFC 6749 §2.3.1: form-encoded before Basic.
			if r.Method != http.MethodPost || user != "gate+way" || password != "s%26cret" || r.URL.RawQuery != "" ||
				r.PostFormValue("token") != "opaque-1" || r.PostFormValue("token_type_hint") != "access_token" {
				t.Errorf("%s %s, %s:%s, %v", r.Method, r.URL, user, password, r.PostForm)
			}
			issuertest.JSON(active(server.Issuer, nil))(w, r)
		})
		id, err := v.Verify(t.Context(), "opaque-1")
		if err != nil || id.Subject != "46" || id.ClientID != "client-1" || len(id.Scopes) != 2 {
			t.Errorf("%+v, %v", id, err)
		}
	})
}

func TestIntrospectionResponses(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		expired := time.Now().Add(-time.Second).Unix()
		number := 0
		for name, c := range map[string]struct {
			answer http.HandlerFunc
			want   string
		}{
			"good":                          {issuertest.JSON(active(server.Issuer, nil)), ""},
			"iss missing":                   {issuertest.JSON(active(server.Issuer, map[string]any{"iss": nil})), token.IssuerMissing},
			"good without token_type":       {issuertest.JSON(active(server.Issuer, map[string]any{"token_type": nil})), ""},
			"inactive":                      {issuertest.JSON(`{"active":false}`), token.Inactive},
			"inactive with all the rest":    {issuertest.JSON(active(server.Issuer, map[string]any{"active": false})), token.Inactive},
			"active a string":               {issuertest.JSON(active(server.Issuer, map[string]any{"active": "true"})), token.IntrospectionFailed},
			"active a number":               {issuertest.JSON(active(server.Issuer, map[string]any{"active": 1})), token.IntrospectionFailed},
			"active missing":                {issuertest.JSON(active(server.Issuer, map[string]any{"active": nil})), token.IntrospectionFailed},
			"active in another case":        {issuertest.JSON(active(server.Issuer, map[string]any{"active": nil, "Active": true})), token.IntrospectionFailed},
			"active twice":                  {issuertest.JSON(`{"active":false,` + active(server.Issuer, nil)[1:]), token.IntrospectionFailed},
			"iss of another":                {issuertest.JSON(active(server.Issuer, map[string]any{"iss": "https://evil.example"})), token.IssuerMismatch},
			"aud of another":                {issuertest.JSON(active(server.Issuer, map[string]any{"aud": "https://evil.example"})), token.AudienceMismatch},
			"aud missing":                   {issuertest.JSON(active(server.Issuer, map[string]any{"aud": nil})), token.AudienceMissing},
			"expired":                       {issuertest.JSON(active(server.Issuer, map[string]any{"exp": expired})), token.Expired},
			"exp missing":                   {issuertest.JSON(active(server.Issuer, map[string]any{"exp": nil})), token.ExpiryMissing},
			"not yet valid":                 {issuertest.JSON(active(server.Issuer, map[string]any{"nbf": expired + 3600})), token.NotYetValid},
			"sub missing":                   {issuertest.JSON(active(server.Issuer, map[string]any{"sub": nil})), token.SubjectMissing},
			"token_type DPoP (RFC 9449 §7)": {issuertest.JSON(active(server.Issuer, map[string]any{"token_type": "DPoP"})), token.NotAccessToken},
			"token_type access_token":       {issuertest.JSON(active(server.Issuer, map[string]any{"token_type": "access_token"})), token.NotAccessToken},
			"token_type a list":             {issuertest.JSON(active(server.Issuer, map[string]any{"token_type": []string{"Bearer"}})), token.NotAccessToken},
			"token_type bearer":             {issuertest.JSON(active(server.Issuer, map[string]any{"token_type": "bearer"})), ""},
			"token_use access_token":        {issuertest.JSON(active(server.Issuer, map[string]any{"token_use": "access_token"})), ""},
			"token_use bearer":              {issuertest.JSON(active(server.Issuer, map[string]any{"token_use": "bearer"})), token.NotAccessToken},
			"token_use refresh_token":       {issuertest.JSON(active(server.Issuer, map[string]any{"token_use": "refresh_token"})), token.NotAccessToken},
			"cnf":                           {issuertest.JSON(active(server.Issuer, map[string]any{"cnf": map[string]any{}})), token.SenderBound},
			"scope element with a space":    {issuertest.JSON(active(server.Issuer, map[string]any{"scope": []string{"a b"}})), token.ScopeInvalid},
			"our credentials refused":       {issuertest.Status(401), token.IntrospectionFailed},
			"status 400":                    {issuertest.Status(400), token.IntrospectionFailed},
			"status 500":                    {issuertest.Status(500), token.IntrospectionFailed},
			"status 503":                    {issuertest.Status(503), token.IntrospectionFailed},
			"status 204":                    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, token.IntrospectionFailed},
			"HTML with 200":                 {issuertest.Status(200), token.IntrospectionFailed},
			"empty":                         {issuertest.JSON(""), token.IntrospectionFailed},
			"an array":                      {issuertest.JSON("[]"), token.IntrospectionFailed},
			"longer than allowed":           {issuertest.JSON(active(server.Issuer, map[string]any{"x": strings.Repeat("x", 70000)})), token.IntrospectionFailed},
			"a redirect, which is not followed": {func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			}, token.IntrospectionFailed},
			"hung":    {issuertest.Slow(time.Hour, issuertest.Status(200)), token.IntrospectionFailed},
			"dropped": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, token.IntrospectionFailed},
		} {
			server.Serve(issuertest.PathIntrospect, c.answer)
			number++
			raw := fmt.Sprint("opaque-", number)
			began := time.Now()
			_, err := v.Verify(t.Context(), raw)
			if reason(t, err) != c.want {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			if took := time.Since(began); took > 1500*time.Millisecond {
				t.Errorf("%s: took %v", name, took)
			}
			if c.want == token.IntrospectionFailed {
				if err.(*token.Error).Kind != token.Unavailable || err.(*token.Error).RetryAfter == 0 {
					t.Errorf("%s: an outage must be 503 with Retry-After", name)
				}
				// An outage is not remembered.
				server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
				if _, err := v.Verify(t.Context(), raw); err != nil {
					t.Errorf("%s, then good: %v", name, err)
				}
			}
		}
		if n := server.Calls("/elsewhere"); n != 0 {
			t.Error("a redirect of a POST was followed")
		}
	})
}

// RFC 7662 §2.2 lets a response do without iss; it takes the setting that lets a
// JWT do without, and one that is there must be right all the same.
func TestResponseWithoutIssuerTakesTheSetting(t *testing.T) {
	inBubble(t, func(o *verifier.Options) { withIntrospection(o); o.AllowMissingIssuer = true }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, map[string]any{"iss": nil})))
		if _, err := v.Verify(t.Context(), "without"); err != nil {
			t.Error("without iss:", err)
		}
		server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, map[string]any{"iss": "https://evil.example"})))
		if _, err := v.Verify(t.Context(), "wrong"); reason(t, err) != token.IssuerMismatch {
			t.Error("of another:", err)
		}
	})
}

func TestIntrospectionOutage(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
		if _, err := v.Verify(t.Context(), "known"); err != nil {
			t.Fatal(err)
		}
		server.Serve(issuertest.PathIntrospect, issuertest.Status(503))
		time.Sleep(4 * time.Minute)
		if _, err := v.Verify(t.Context(), "known"); err != nil {
			t.Error("known token in an outage:", err)
		}
		if _, err := v.Verify(t.Context(), "unknown"); reason(t, err) != token.IntrospectionFailed {
			t.Error("unknown token in an outage:", err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := v.Verify(t.Context(), "known"); reason(t, err) != token.IntrospectionFailed {
			t.Error("known token after its verdict ended:", err)
		}
	})
}

func TestRevocationIsSeenWhenTheVerdictEnds(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
		if _, err := v.Verify(t.Context(), "opaque"); err != nil {
			t.Fatal(err)
		}
		server.Serve(issuertest.PathIntrospect, issuertest.JSON(`{"active":false}`))
		time.Sleep(5*time.Minute + time.Second)
		if _, err := v.Verify(t.Context(), "opaque"); reason(t, err) != token.Inactive {
			t.Error(err)
		}
	})
}

func TestBadOpaqueTokensAreRememberedBriefly(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		server.Serve(issuertest.PathIntrospect, issuertest.JSON(`{"active":false}`))
		for range 100 {
			if _, err := v.Verify(t.Context(), "bad"); reason(t, err) != token.Inactive {
				t.Fatal(err)
			}
		}
		if n := server.Calls(issuertest.PathIntrospect); n != 1 {
			t.Errorf("%d calls for one bad token", n)
		}
		time.Sleep(6 * time.Second)
		server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
		if _, err := v.Verify(t.Context(), "bad"); err != nil {
			t.Error("after a while:", err)
		}
	})
}

func TestOneCallForManyWhoAskAtOnce(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		server.Serve(issuertest.PathIntrospect, issuertest.Slow(time.Second, issuertest.JSON(active(server.Issuer, nil))))
		first, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := v.Verify(first, "opaque"); reason(t, err) != token.Interrupted || !errors.Is(err, context.Canceled) {
				t.Error("the first, which went away:", err)
			}
		})
		synctest.Wait()
		for range 50 {
			all.Go(func() {
				if _, err := v.Verify(t.Context(), "opaque"); err != nil {
					t.Error("one that stayed:", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if n := server.Calls(issuertest.PathIntrospect); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}

func TestCallsInFlightAreBounded(t *testing.T) {
	inBubble(t, func(o *verifier.Options) { withIntrospection(o); o.IntrospectionInFlight = 3 }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		var mu sync.Mutex
		now, most := 0, 0
		server.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			issuertest.Slow(time.Second, issuertest.JSON(active(server.Issuer, nil)))(w, r)
			mu.Lock()
			now--
			mu.Unlock()
		})
		outcomes := make(map[string]int)
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				_, err := v.Verify(t.Context(), fmt.Sprint("opaque-", i))
				mu.Lock()
				outcomes[reason(t, err)]++
				mu.Unlock()
			})
		}
		all.Wait()
		if most != 3 || outcomes[""] != 3 || outcomes[token.IntrospectionBusy] != 17 {
			t.Errorf("at most %d at once; %v", most, outcomes)
		}
		// Too much to do is no failure of the issuer's.
		server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
		if _, err := v.Verify(t.Context(), "opaque-after"); err != nil {
			t.Error("after the rush:", err)
		}
	})
}

// Waiting for a turn takes nothing from the time of the call, and only so many
// wait.
func TestWaitingForATurn(t *testing.T) {
	inBubble(t, func(o *verifier.Options) { withIntrospection(o); o.IntrospectionInFlight = 1 }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		good := issuertest.JSON(active(server.Issuer, nil))
		calls := make(chan time.Duration, 2)
		calls <- 250 * time.Millisecond
		calls <- 1400 * time.Millisecond
		server.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) { issuertest.Slow(<-calls, good)(w, r) })
		var all sync.WaitGroup
		for i := range 2 {
			all.Go(func() {
				if _, err := v.Verify(t.Context(), fmt.Sprint("opaque-", i)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()

		server.Serve(issuertest.PathIntrospect, issuertest.Slow(time.Second, good))
		began := time.Now()
		var mu sync.Mutex
		took := make(map[time.Duration]int)
		for i := range 10 {
			all.Go(func() {
				_, err := v.Verify(t.Context(), fmt.Sprint("more-", i))
				mu.Lock()
				defer mu.Unlock()
				if err != nil && reason(t, err) != token.IntrospectionBusy {
					t.Error(err)
				}
				took[time.Since(began)]++
			})
		}
		all.Wait()
		if took[0] != 5 || took[300*time.Millisecond] != 4 || took[time.Second] != 1 {
			t.Errorf("%v", took)
		}
	})
}

// Asking changes nothing, so a call whose connection failed is repeated, once.
// An answer is an answer, and a call that took too long is not repeated.
func TestOnlyBrokenConnectionsAreRetried(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		good := issuertest.JSON(active(server.Issuer, nil))
		drop := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		cut := func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"active":`)
			panic(http.ErrAbortHandler)
		}
		for i, c := range []struct {
			name    string
			answers []http.HandlerFunc
			want    string
			calls   int
		}{
			{"dropped, then good", []http.HandlerFunc{drop, good}, "", 2},
			{"cut off, then good", []http.HandlerFunc{cut, good}, "", 2},
			// The first on a kept-alive connection, which the transport itself repeats.
			{"dropped again and again", []http.HandlerFunc{drop, drop, drop, good}, token.IntrospectionFailed, 3},
			{"status 503", []http.HandlerFunc{issuertest.Status(503), good}, token.IntrospectionFailed, 1},
			{"status 401", []http.HandlerFunc{issuertest.Status(401), good}, token.IntrospectionFailed, 1},
			{"not JSON", []http.HandlerFunc{issuertest.Status(200), good}, token.IntrospectionFailed, 1},
			{"hung", []http.HandlerFunc{issuertest.Slow(time.Hour, good), good}, token.IntrospectionFailed, 1},
			{"a redirect", []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusTemporaryRedirect) }, good}, token.IntrospectionFailed, 1},
			{"inactive", []http.HandlerFunc{issuertest.JSON(`{"active":false}`), good}, token.Inactive, 1},
		} {
			answers := make(chan http.HandlerFunc, len(c.answers))
			for _, answer := range c.answers {
				answers <- answer
			}
			server.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) { (<-answers)(w, r) })
			_, err := v.Verify(t.Context(), fmt.Sprint("opaque-", i))
			if asked := len(c.answers) - len(answers); reason(t, err) != c.want || asked != c.calls {
				t.Errorf("%s: %v, %d calls; want %q, %d", c.name, err, asked, c.want, c.calls)
			}
			// The breaker is another test's.
			server.Serve(issuertest.PathIntrospect, good)
			_, _ = v.Verify(t.Context(), fmt.Sprint("between-", i))
		}
	})
}

// A server that answers made-up tokens with a refusal, be it that of a firewall
// in front of it or of a fault inside, is not down.
func TestBadTokensDoNotTripTheBreaker(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		// 200 is a page in HTML.
		for _, status := range []int{200, 400, 403, 404, 406, 413, 414, 422, 431, 500, 501} {
			server.Serve(issuertest.PathIntrospect, issuertest.Status(status))
			time.Sleep(time.Second)
			for i := range 20 {
				if _, err := v.Verify(t.Context(), fmt.Sprintf("bad-%d-%d", status, i)); reason(t, err) != token.IntrospectionFailed {
					t.Fatal(err)
				}
			}
			server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
			if _, err := v.Verify(t.Context(), fmt.Sprint("good-", status)); err != nil {
				t.Errorf("after tokens that got %d: %v", status, err)
			}
		}
	})
}

// Where the endpoint is not known yet, that is no failure of the endpoint.
func TestIntrospectionServesAsSoonAsItIsFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := issuertest.StartInMemory(t)
		found := server.Handler(issuertest.PathOAuth)
		server.Serve(issuertest.PathOAuth, issuertest.Status(503))
		server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, map[string]any{"exp": time.Now().Add(time.Hour).Unix()})))
		v := start(t, server, func(o *verifier.Options) { withIntrospection(o); o.Mode = verifier.Opaque })
		synctest.Wait()
		for i := range 20 {
			if _, err := v.Verify(t.Context(), fmt.Sprint("opaque-", i)); reason(t, err) != token.IntrospectionFailed {
				t.Error("while down:", err)
			}
		}
		if err := v.Ready(); err == nil || !strings.Contains(err.Error(), "status 503") {
			t.Error("ready while down, or no word about why:", err)
		}
		server.Serve(issuertest.PathOAuth, found)
		for v.Ready() != nil {
			time.Sleep(10 * time.Millisecond)
		}
		if _, err := v.Verify(t.Context(), "opaque"); err != nil {
			t.Error("as soon as it is ready:", err)
		}
		time.Sleep(time.Hour)
		if n := server.Calls(issuertest.PathJWKS); n != 0 {
			t.Errorf("%d fetches of keys that nothing needs", n)
		}
	})
}

// A flood of made-up tokens from an address that keeps being refused reaches the
// issuer at a trickle, keeps nobody else from being asked about, and delays no
// verdict that is known.
func TestFloodOfOpaqueTokensCausesNoStorm(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		server.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.PostFormValue("token"), "good") {
				issuertest.JSON(active(server.Issuer, nil))(w, r)
				return
			}
			issuertest.JSON(`{"active":false}`)(w, r)
		})
		flood := token.Doubt(t.Context())
		if _, err := v.Verify(flood, "good-known"); err != nil {
			t.Fatal(err)
		}
		before := server.Calls(issuertest.PathIntrospect)
		for i := range 2000 {
			if _, err := v.Verify(flood, fmt.Sprint("bad-", i)); reason(t, err) != token.Inactive && reason(t, err) != token.IntrospectionBusy {
				t.Fatal(err)
			}
			if i%100 == 0 {
				if _, err := v.Verify(flood, "good-known"); err != nil {
					t.Error("a known token from the same address:", err)
				}
				if _, err := v.Verify(t.Context(), fmt.Sprint("good-", i)); err != nil {
					t.Error("a token from elsewhere:", err)
				}
				before++
			}
			time.Sleep(time.Millisecond)
		}
		if n := server.Calls(issuertest.PathIntrospect) - before; n < 100 || n > 100+100*2+1 {
			t.Errorf("%d calls for the flood in 2 s", n)
		}
		if s := v.Stats(); s.Accepted != 21 {
			t.Errorf("%+v", s)
		}
	})
}

func TestJWTIsNeverIntrospectedAsOpaque(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
		for name, raw := range map[string]string{
			"forged":         issuertest.NewSigner("RS256", "one", 2).Sign(claims(server.Issuer, nil)),
			"unsigned":       unsigned(server.Issuer, "none"),
			"bad header":     issuertest.Base64(`{"alg":7,"alg":7}`) + ".e30.c2ln",
			"padded header":  issuertest.Base64(`{"alg":"RS256"}`) + "=.e30.c2ln",
			"long header":    issuertest.Base64(`{"kid":"`+strings.Repeat("k", 1000)+`"}`) + ".e30.c2ln",
			"spaces first":   issuertest.Base64("            {}") + ".e30.c2ln",
			"expired":        sign(server.Issuer, map[string]any{"exp": 1}),
			"non-canonical ": issuertest.Base64(`{"alg":"RS256"}`) + ".e31.c2ln",
		} {
			if _, err := v.Verify(t.Context(), raw); err == nil || err.(*token.Error).Kind != token.Invalid {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := server.Calls(issuertest.PathIntrospect); n != 0 {
			t.Errorf("%d introspections", n)
		}
	})
}

// What begins like a JWT and is none is opaque, where somebody can be asked.
func TestOpaqueTokenThatBeginsLikeAJWT(t *testing.T) {
	const raw = "e2FiYw.aaaa.bbbb" // the first part is {abc
	for name, c := range map[string]struct {
		set  func(*verifier.Options)
		want string
	}{
		"auto":                       {withIntrospection, ""},
		"auto without introspection": {nil, token.Undecodable},
		"jwt":                        {func(o *verifier.Options) { withIntrospection(o); o.Mode = verifier.JWT }, token.Undecodable},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.set, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
				server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
				if _, err := v.Verify(t.Context(), raw); reason(t, err) != c.want {
					t.Errorf("%v, want %q", err, c.want)
				}
				if _, err := v.Explain(t.Context(), raw, trail.New()); reason(t, err) != c.want {
					t.Errorf("explained: %v, want %q", err, c.want)
				}
			})
		})
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set                func(*verifier.Options)
		jwt, opaque        string
		introspectionCalls int
	}{
		"auto":                     {withIntrospection, "", "", 1},
		"auto without credentials": {func(*verifier.Options) {}, "", token.Opaque, 0},
		"jwt":                      {func(o *verifier.Options) { withIntrospection(o); o.Mode = verifier.JWT }, "", token.Opaque, 0},
		"opaque":                   {func(o *verifier.Options) { withIntrospection(o); o.Mode = verifier.Opaque }, "", "", 2},
		"auto, JWT introspected":   {func(o *verifier.Options) { withIntrospection(o); o.IntrospectJWT = true }, "", "", 2},
		"jwt mode, introspected":   {func(o *verifier.Options) { withIntrospection(o); o.IntrospectJWT, o.Mode = true, verifier.JWT }, "", token.Opaque, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.set, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
				server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
				for range 2 {
					if _, err := v.Verify(t.Context(), sign(server.Issuer, nil)); reason(t, err) != c.jwt {
						t.Error("JWT:", err)
					}
					if _, err := v.Verify(t.Context(), "opaque"); reason(t, err) != c.opaque {
						t.Error("opaque:", err)
					}
				}
				if n := server.Calls(issuertest.PathIntrospect); n != c.introspectionCalls {
					t.Errorf("%d introspections", n)
				}
			})
		})
	}
}

func TestIntrospectedJWT(t *testing.T) {
	inBubble(t, func(o *verifier.Options) { withIntrospection(o); o.IntrospectJWT = true }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		for i, c := range []struct {
			answer string
			want   string
		}{
			{`{"active":false}`, token.Inactive},
			{active(server.Issuer, map[string]any{"sub": "47"}), token.Inactive},
			{active(server.Issuer, map[string]any{"client_id": "client-2"}), token.Inactive},
			{active(server.Issuer, map[string]any{"iss": "https://evil.example"}), token.IssuerMismatch},
			{active(server.Issuer, map[string]any{"aud": "https://evil.example"}), token.AudienceMismatch},
			{active(server.Issuer, map[string]any{"exp": 1}), token.Expired},
			{active(server.Issuer, map[string]any{"token_type": "DPoP"}), token.NotAccessToken},
			{`{"active":true}`, ""},
			{`<html>`, token.IntrospectionFailed},
			{active(server.Issuer, nil), ""},
		} {
			server.Serve(issuertest.PathIntrospect, issuertest.JSON(c.answer))
			if _, err := v.Verify(t.Context(), sign(server.Issuer, map[string]any{"jti": fmt.Sprint(i)})); reason(t, err) != c.want {
				t.Errorf("%s: %v, want %q", c.answer, err, c.want)
			}
		}
		before := server.Calls(issuertest.PathIntrospect)
		_, _ = v.Verify(t.Context(), issuertest.NewSigner("RS256", "one", 2).Sign(claims(server.Issuer, nil)))
		if server.Calls(issuertest.PathIntrospect) != before {
			t.Error("a forged JWT was introspected")
		}
	})
}

// What enforcing would refuse is counted while it is only reported: here the answer
// names another audience than the token.
func TestTheAudienceOfAnAnswerAboutAJWTIsReported(t *testing.T) {
	for _, report := range []bool{false, true} {
		t.Run(fmt.Sprint(report), func(t *testing.T) {
			counted := new(counter)
			inBubble(t, func(o *verifier.Options) {
				withIntrospection(o)
				o.IntrospectJWT, o.ReportAudience, o.Observer = true, report, counted
			}, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
				for i, aud := range []string{"https://other.example/mcp", ""} {
					changes := map[string]any{"aud": aud}
					if aud == "" {
						changes = nil
					}
					server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, changes)))
					want, reported := "", ""
					switch {
					case aud != "" && report:
						reported = token.AudienceMismatch
					case aud != "":
						want = token.AudienceMismatch
					}
					raw := sign(server.Issuer, map[string]any{"jti": fmt.Sprint(i)})
					// The second comes from the cache.
					for range 2 {
						counted.AudienceReported("")
						if _, err := v.Verify(t.Context(), raw); reason(t, err) != want || counted.reported != reported {
							t.Errorf("aud %q, report %v: %v, reported %q", aud, report, err, counted.reported)
						}
					}
				}
			})
		})
	}
}

// The issuer is sent the token and can repeat it; the log is not to.
func TestAnIssuerThatRepeatsTheTokenDoesNotBringItIntoTheLog(t *testing.T) {
	const raw = "hunter2-opaque-token"
	for name, answer := range map[string]http.HandlerFunc{
		"a redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x?token="+raw, http.StatusFound) },
		"a broken redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://["+raw)
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"a member twice": issuertest.JSON(`{"active":true,"` + raw + `":1,"` + raw + `":2}`),
		"no JSON":        issuertest.JSON(`{"active":true,"` + raw + `":` + raw + `}`),
		"a wrong type":   issuertest.JSON(`{"active":"` + raw + `"}`),
		"a claim":        issuertest.JSON(`{"active":true,"exp":"` + raw + `","sub":"` + raw + `","` + raw + `":1}`),
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			inBubble(t, func(o *verifier.Options) {
				withIntrospection(o)
				o.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			}, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
				server.Serve(issuertest.PathIntrospect, answer)
				_, err := v.Verify(t.Context(), raw)
				if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(log.String(), "hunter2") {
					t.Errorf("%s: %v\n%s", name, err, &log)
				}
				if name == "a redirect" && !strings.Contains(log.String(), "redirect of a POST refused") {
					t.Errorf("the log does not say what happened: %s", &log)
				}
			})
		})
	}
}

// An answer about a JWT can take away, not give.
func TestIntrospectionNarrowsAJWT(t *testing.T) {
	inBubble(t, func(o *verifier.Options) { withIntrospection(o); o.IntrospectJWT = true }, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		for i, c := range []struct {
			answer map[string]any
			scopes string
			life   time.Duration
		}{
			{map[string]any{}, "read:analytics read:inventory", time.Hour},
			{map[string]any{"scope": "read:inventory"}, "read:inventory", time.Hour},
			{map[string]any{"scope": "read:inventory write:import"}, "read:inventory", time.Hour},
			{map[string]any{"scope": ""}, "", time.Hour},
			{map[string]any{"exp": time.Now().Add(time.Minute).Unix()}, "read:analytics read:inventory", time.Minute},
			{map[string]any{"exp": time.Now().Add(time.Hour * 24).Unix()}, "read:analytics read:inventory", time.Hour},
		} {
			answer := map[string]any{"active": true}
			maps.Copy(answer, c.answer)
			server.Serve(issuertest.PathIntrospect, issuertest.JSON(issuertest.Encode(answer)))
			raw := sign(server.Issuer, map[string]any{"jti": fmt.Sprint(i)})
			for range 2 {
				id, err := v.Verify(t.Context(), raw)
				if err != nil {
					t.Fatal(c.answer, err)
				}
				if strings.Join(id.Scopes, " ") != c.scopes || time.Until(id.Expires) != c.life || id.ClientID != "client-1" || id.ID != fmt.Sprint(i) || id.IssuedAt.IsZero() {
					t.Errorf("%v: %+v", c.answer, id)
				}
			}
		}
	})
}

func TestIntrospectionWithAPrivateKey(t *testing.T) {
	own := issuertest.NewSigner("ES256", "", 3)
	der, err := x509.MarshalPKCS8PrivateKey(own.Private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := clientauth.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	inBubble(t, func(o *verifier.Options) {
		o.IntrospectionClientID = "gateway"
		o.IntrospectionKey = func() (*clientauth.Key, error) { return key, nil }
	}, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		server.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
			_, _, basic := r.BasicAuth()
			signed, err := jose.ParseSignedCompact(r.PostFormValue("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
			if err != nil || basic {
				t.Error(basic, err)
				return
			}
			payload, err := signed.Verify(own.Private.Public())
			// The issuer itself is the audience (RFC 7523 §3).
			if err != nil || !strings.Contains(string(payload), `"aud":"`+server.Issuer+`"`) {
				t.Errorf("%s, %v", payload, err)
			}
			issuertest.JSON(active(server.Issuer, nil))(w, r)
		})
		if _, err := v.Verify(t.Context(), "opaque"); err != nil {
			t.Error(err)
		}
	})
}

// After five failures in a row the gateway asks a question of its own. If that fails
// too nothing is asked for five seconds; then it is asked again.
func TestIntrospectionBreaker(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		good := issuertest.JSON(active(server.Issuer, nil))
		server.Serve(issuertest.PathIntrospect, good)
		if _, err := v.Verify(t.Context(), "known"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		server.Serve(issuertest.PathIntrospect, issuertest.Slow(time.Hour, good))
		ask := func(want string) (took time.Duration) {
			t.Helper()
			began := time.Now()
			if _, err := v.Verify(t.Context(), fmt.Sprint("opaque-", began.UnixNano())); reason(t, err) != want {
				t.Errorf("%v, want %q", err, want)
			} else if want != "" && (err.(*token.Error).Kind != token.Unavailable || err.(*token.Error).RetryAfter == 0) {
				t.Errorf("%+v", err)
			}
			return time.Since(began)
		}
		for range 5 {
			ask(token.IntrospectionFailed)
		}
		// The gateway's own question has no answer either.
		time.Sleep(1600 * time.Millisecond)
		before := server.Calls(issuertest.PathIntrospect)
		for range 100 {
			time.Sleep(time.Millisecond)
			if took := ask(token.IntrospectionFailed); took != 0 {
				t.Fatalf("waited %v for a server that is known to be down", took)
			}
		}
		if n := server.Calls(issuertest.PathIntrospect) - before; n != 0 {
			t.Errorf("%d calls while it is known to be down", n)
		}
		if _, err := v.Verify(t.Context(), "known"); err != nil {
			t.Error("known token:", err)
		}
		// One probe that fails, and the pause begins anew.
		time.Sleep(5 * time.Second)
		ask(token.IntrospectionFailed)
		if took := ask(token.IntrospectionFailed); took != 0 || server.Calls(issuertest.PathIntrospect)-before != 1 {
			t.Errorf("after a failed probe: %v, %d calls", took, server.Calls(issuertest.PathIntrospect)-before)
		}
		server.Serve(issuertest.PathIntrospect, good)
		time.Sleep(5100 * time.Millisecond)
		for range 3 {
			time.Sleep(time.Millisecond)
			ask("")
		}
	})
}

// What opens the breaker by being answered is what tells about the server, and not
// about a token.
func TestStatusesThatOpenTheBreaker(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		for _, status := range []int{401, 408, 429, 502, 503, 504} {
			server.Serve(issuertest.PathIntrospect, issuertest.Status(status))
			before := server.Calls(issuertest.PathIntrospect)
			for i := range 20 {
				if _, err := v.Verify(t.Context(), fmt.Sprintf("%d-%d", status, i)); reason(t, err) != token.IntrospectionFailed {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			// Five, and the gateway's own question, twice.
			if n := server.Calls(issuertest.PathIntrospect) - before; n != 5+2 {
				t.Errorf("%d: %d calls", status, n)
			}
			server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
			time.Sleep(5100 * time.Millisecond)
			if _, err := v.Verify(t.Context(), fmt.Sprint("after-", status)); err != nil {
				t.Errorf("after %d: %v", status, err)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

// A server that says how long it wants to be left alone is left alone, but not for
// ever.
func TestRetryAfterIsThePause(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		for i, c := range []struct {
			retryAfter string
			pause      time.Duration
		}{{"30", 30 * time.Second}, {"1", 5 * time.Second}, {"99999999999999999999", time.Minute}, {"-30", 5 * time.Second}, {"soon", 5 * time.Second}} {
			server.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", c.retryAfter)
				w.WriteHeader(http.StatusTooManyRequests)
			})
			for j := range 5 {
				_, _ = v.Verify(t.Context(), fmt.Sprintf("bad-%d-%d", i, j))
			}
			synctest.Wait()
			server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
			time.Sleep(c.pause - time.Millisecond)
			if _, err := v.Verify(t.Context(), fmt.Sprint("early-", i)); reason(t, err) != token.IntrospectionFailed {
				t.Errorf("%s: before the pause is over: %v", c.retryAfter, err)
			}
			time.Sleep(2 * time.Millisecond)
			if _, err := v.Verify(t.Context(), fmt.Sprint("late-", i)); err != nil {
				t.Errorf("%s: when the pause is over: %v", c.retryAfter, err)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

// Tokens that a firewall drops, or that make the server fail, shut the way for
// nobody, whoever else is about; and they speak against where they come from.
func TestDroppedTokensDoNotTripTheBreaker(t *testing.T) {
	for name, bad := range map[string]http.HandlerFunc{
		"connection dropped": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"no answer":          issuertest.Slow(time.Hour, issuertest.Status(200)),
		"status 502":         issuertest.Status(502),
		"status 429":         issuertest.Status(429),
		"status 403":         issuertest.Status(403),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
				judgesByPrefix(server)
				prompt := server.Handler(issuertest.PathIntrospect)
				server.Serve(issuertest.PathIntrospect, func(w http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.PostFormValue("token"), "<script>") {
						bad(w, r)
						return
					}
					prompt(w, r)
				})
				for _, others := range []bool{true, false} {
					suspect := 0
					for i := range 100 {
						if others && i%5 == 0 {
							if _, err := v.Verify(t.Context(), fmt.Sprint("good-", i)); err != nil {
								t.Fatal("after", i, "bad ones:", err)
							}
						}
						_, err := v.Verify(t.Context(), fmt.Sprintf("<script>-%v-%d", others, i))
						if reason(t, err) != token.IntrospectionFailed {
							t.Fatal(err)
						}
						if err.(*token.Error).Suspect {
							suspect++
						}
						synctest.Wait()
						time.Sleep(20 * time.Millisecond)
					}
					// One at a time, those without an answer do not begin within the
					// moment after a verdict.
					if least := 85; name != "no answer" && suspect < least {
						t.Errorf("others %v: %d of 100 speak against where they come from, want %d", others, suspect, least)
					} else if suspect < 10 {
						t.Errorf("others %v: %d of 100 speak against where they come from", others, suspect)
					}
				}
				if _, err := v.Verify(t.Context(), "good-late"); err != nil {
					t.Error("at the end:", err)
				}
			})
		})
	}
}

// Where nobody gets a verdict, no failure speaks against where it comes from.
func TestAnOutagePutsNobodyInDoubt(t *testing.T) {
	for name, outage := range map[string]http.HandlerFunc{
		"connection dropped": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"status 503":         issuertest.Status(503),
		"status 500":         issuertest.Status(500),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
				server.Serve(issuertest.PathIntrospect, issuertest.JSON(active(server.Issuer, nil)))
				if _, err := v.Verify(t.Context(), "good"); err != nil {
					t.Fatal(err)
				}
				server.Serve(issuertest.PathIntrospect, outage)
				time.Sleep(time.Second)
				for i := range 200 {
					if _, err := v.Verify(t.Context(), fmt.Sprint("other-", i)); reason(t, err) != token.IntrospectionFailed || err.(*token.Error).Suspect {
						t.Fatalf("%d: %+v", i, err)
					}
					synctest.Wait()
					time.Sleep(100 * time.Millisecond)
				}
			})
		})
	}
}

// An inactive token is an answer, not a failure.
func TestInactiveTokensDoNotTripTheBreaker(t *testing.T) {
	inBubble(t, withIntrospection, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		server.Serve(issuertest.PathIntrospect, issuertest.JSON(`{"active":false}`))
		for i := range 50 {
			if _, err := v.Verify(t.Context(), fmt.Sprint("opaque-", i)); reason(t, err) != token.Inactive {
				t.Fatal(err)
			}
		}
	})
}

// What a panic carries could quote the token.
func TestAPanicIsAnOutageAndItsValueIsNotLogged(t *testing.T) {
	var log bytes.Buffer
	inBubble(t, func(o *verifier.Options) {
		o.IntrospectionClientID = "gateway"
		o.IntrospectionClientSecret = func() (string, error) { panic("hunter2") }
		o.Logger = slog.New(slog.NewJSONHandler(&log, nil))
	}, func(t *testing.T, server *issuertest.Server, v *verifier.Verifier) {
		_, err := v.Verify(t.Context(), "opaque")
		if reason(t, err) != token.Internal || err.(*token.Error).Kind != token.Unavailable || strings.Contains(err.Error(), "hunter2") {
			t.Error(err)
		}
		if text := log.String(); strings.Contains(text, "hunter2") || !strings.Contains(text, "panic while verifying") || !strings.Contains(text, "verifier.(*Verifier).judge") {
			t.Error(text)
		}
	})
}
