package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// server is an authorization server with a login and a consent page, and a
// client that waits at another origin.
func server(t *testing.T, policy string) (authorize, landing string) {
	t.Helper()
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "landed with "+r.URL.RawQuery)
	}))
	t.Cleanup(client.Close)
	mux := http.NewServeMux()
	page := func(w http.ResponseWriter, format string, args ...any) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if policy != "" {
			w.Header().Set("Content-Security-Policy", "default-src 'none'; form-action "+strings.ReplaceAll(policy, "CLIENT", client.URL))
		}
		fmt.Fprintf(w, format, args...)
	}
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("session"); err != nil {
			page(w, `<title>Log in</title><form action="/login" method="post">
				<input type="hidden" name="next" value="%s"><input type="email" name="email">
				<input type="password" name="password"><button>Log in</button></form>`, r.URL.RequestURI())
			return
		}
		page(w, `<title>Consent</title><form action="/consent" method="post">
			<button name="decision" value="deny">Deny</button><button name="decision" value="allow">Allow</button></form>`)
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("email") != "me@example.com" || r.FormValue("password") != "right" {
			page(w, `<title>Log in again</title><form action="/login" method="post">
				<input type="email" name="email"><input type="password" name="password"><button>Log in</button></form>`)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
		http.Redirect(w, r, r.FormValue("next"), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /consent", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, client.URL+"/callback?decision="+r.FormValue("decision"), http.StatusSeeOther)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	landing = client.URL + "/callback"
	return s.URL + "/authorize?redirect_uri=" + url.QueryEscape(landing), landing
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, policy, password string
		deny                   bool
		want, problem          string
	}{
		{name: "allow", password: "right", want: "landed with decision=allow"},
		{name: "deny", password: "right", deny: true, want: "landed with decision=deny"},
		{name: "wrong password", password: "wrong", problem: "still not through"},
		{name: "policy permits the client", policy: "'self' CLIENT", password: "right", want: "landed with decision=allow"},
		{name: "policy permits its port", policy: "'self' http://127.0.0.1:*", password: "right", want: "landed with decision=allow"},
		{name: "policy forgets the client", policy: "'self'", password: "right", problem: "forbids the redirect"},
		{name: "policy forbids all", policy: "'none'", password: "right", problem: "forbids its own form"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			start, _ := server(t, c.policy)
			page, err := User{Email: "me@example.com", Password: c.password, Deny: c.deny}.Authorize(t.Context(), start)
			switch {
			case c.problem == "" && (err != nil || page.Body != c.want):
				t.Errorf("%q, %v", page.Body, err)
			case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
				t.Errorf("%q, %v", page.Body, err)
			}
		})
	}
}

func TestAuthorizeRefusesWhatIsNoPage(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_client"}`)
	}))
	defer s.Close()
	page, err := User{}.Authorize(t.Context(), s.URL+"/authorize")
	if err == nil || !strings.Contains(err.Error(), "400") || !strings.Contains(page.Body, "invalid_client") {
		t.Errorf("%q, %v", page.Body, err)
	}
}

func TestAuthorizeNoticesAForeignLanding(t *testing.T) {
	t.Parallel()
	start, _ := server(t, "")
	start = strings.Replace(start, "redirect_uri=", "redirect_uri=http%3A%2F%2Felsewhere.example&was=", 1)
	_, err := User{Email: "me@example.com", Password: "right"}.Authorize(t.Context(), start)
	if err == nil || !strings.Contains(err.Error(), "not at the redirect URI") {
		t.Error(err)
	}
}
