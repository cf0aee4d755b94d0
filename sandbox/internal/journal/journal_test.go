package journal_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/journal"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

func ask(h http.Handler, method, target string, header ...string) {
	r := httptest.NewRequest(method, target, strings.NewReader("secret-body"))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	h.ServeHTTP(httptest.NewRecorder(), r)
}

func TestEntries(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	j := journal.New(10, time.Now, slog.New(slog.NewJSONHandler(&log, nil)))
	h := j.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		journal.Note(r.Context(), func(e *journal.Entry) { e.Subject = "46" })
		switch r.URL.Path {
		case "/teapot":
			w.WriteHeader(http.StatusTeapot)
		case "/silent":
		default:
			io.WriteString(w, "x")
		}
	}))
	jwtInAName := strings.Repeat("eyJh.", 20)
	ask(h, "GET", "/api/v1/companies?page=secret-value&company_uuids[]=1&page=2&"+jwtInAName+"=1&%2f=1", "Authorization", "Bearer secret-token", "User-Agent", "test/1", "Cookie", "secret-cookie")
	ask(h, "GET", "/teapot")
	ask(h, "POST", "/silent")

	got := j.Entries()
	if len(got) != 3 {
		t.Fatalf("%d entries, want 3", len(got))
	}
	e := got[0]
	if e.Seq != 1 || e.Method != "GET" || e.Path != "/api/v1/companies" || e.Status != 200 || e.Event != "api" || e.Subject != "46" || e.UserAgent != "test/1" {
		t.Errorf("got %+v", e)
	}
	if e.Token != token.HashOf("secret-token").String()[:16] {
		t.Errorf("token %q", e.Token)
	}
	if !slices.Equal(e.QueryKeys, []string{"(other)", "company_uuids[]", "page"}) {
		t.Errorf("query keys %v", e.QueryKeys)
	}
	if got[1].Status != http.StatusTeapot || got[1].Token != "" || got[2].Status != 0 {
		t.Errorf("statuses %d, %d", got[1].Status, got[2].Status)
	}
	if n := strings.Count(log.String(), "\n"); n != 3 {
		t.Errorf("%d log lines, want one per request", n)
	}
	for _, secret := range []string{"secret-", "eyJh"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %q: %s", secret, log.String())
		}
	}
	j.Clear()
	ask(h, "GET", "/")
	if got := j.Entries(); len(got) != 1 || got[0].Seq != 4 {
		t.Errorf("after Clear: %+v", got)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	j := journal.New(100, time.Now, slog.New(slog.DiscardHandler))
	h := j.Handler(http.NotFoundHandler())
	want := map[string]string{
		"/oauth2/register": "register", "/oauth2/register/abc": "register", "/oauth2/authorize": "authorize", "/login": "login",
		"/consent": "consent", "/oauth2/token": "token", "/oauth2/introspect": "introspect", "/oauth2/revoke": "revoke",
		"/.well-known/jwks.json": "jwks", "/.well-known/openid-configuration": "metadata", "/.well-known/oauth-authorization-server": "metadata",
		"/api/v1/companies": "api", "/": "other", "/oauth2/tokens": "other",
	}
	for path := range want {
		ask(h, "GET", path)
	}
	for _, e := range j.Entries() {
		if e.Event != want[e.Path] {
			t.Errorf("%s is %q, want %q", e.Path, e.Event, want[e.Path])
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	j := journal.New(2, time.Now, slog.New(slog.DiscardHandler))
	h := j.Handler(http.NotFoundHandler())
	for range 5 {
		ask(h, "GET", "/"+strings.Repeat("p", 5000), "User-Agent", strings.Repeat("u", 5000))
	}
	got := j.Entries()
	if len(got) != 2 || got[0].Seq != 4 || got[1].Seq != 5 {
		t.Errorf("got %d entries, the first is %d", len(got), got[0].Seq)
	}
	if len(got[0].Path) > 64 || len(got[0].UserAgent) > 256 {
		t.Errorf("path of %d, user agent of %d bytes", len(got[0].Path), len(got[0].UserAgent))
	}
}

// A token in a path is cut, whatever the rest of the path looks like; the paths
// of the API are kept whole.
func TestPathsOfUnknownRoutesAreCut(t *testing.T) {
	t.Parallel()
	const uuid = "0198c7f2-4d1e-7c3a-9b5f-2a6d8e1c4b70"
	known := "/api/v1/companies/" + uuid + "/import/vendor_invoice/status/" + uuid
	secret := strings.Repeat("eyJhbGciOiJFUzI1NiJ9.", 20)
	var log bytes.Buffer
	j := journal.New(100, time.Now, slog.New(slog.NewJSONHandler(&log, nil)))
	h := j.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v1/nowhere/") {
			journal.Unknown(r.Context())
		}
	}))
	for _, path := range []string{
		"/" + secret, "/oauth2/register/" + secret, "/.well-known/" + secret, "/api/v1/" + secret, "/api/v1/companies/" + uuid + "/bills/" + secret,
		"/api/v1/nowhere/" + uuid + "/" + uuid,
	} {
		ask(h, "GET", path)
		entries := j.Entries()
		if got := entries[len(entries)-1].Path; got != path[:64] {
			t.Errorf("%s is kept as %s", path, got)
		}
		if strings.Contains(log.String(), path) {
			t.Errorf("the log holds %s", path)
		}
	}
	ask(h, "GET", known)
	if entries := j.Entries(); entries[len(entries)-1].Path != known {
		t.Errorf("%s is kept as %s", known, entries[len(entries)-1].Path)
	}
}

// An aborted request is recorded too, as one without an answer.
func TestAbortedRequestsAreRecorded(t *testing.T) {
	t.Parallel()
	j := journal.New(2, time.Now, slog.New(slog.DiscardHandler))
	h := j.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the abort was swallowed")
			}
		}()
		ask(h, "GET", "/")
	}()
	if got := j.Entries(); len(got) != 1 || got[0].Status != 0 {
		t.Errorf("got %+v", got)
	}
}
