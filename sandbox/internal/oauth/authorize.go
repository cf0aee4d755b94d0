package oauth

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/account"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/client"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/grant"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/journal"
)

// The pages of the flow.
const (
	loginPath   = "/login"
	consentPath = "/consent"
)

const (
	flowLifetime    = 10 * time.Minute
	browserLifetime = 8 * time.Hour
	maxAttempts     = 10 // wrong passwords in one flow
	cookieName      = "neonpanel_sandbox"
)

// browser is a person's browser, known by a cookie.
type browser struct {
	csrf     string
	subject  string // empty before login
	authTime time.Time
}

// flow is an authorization request that waits for login and consent. It
// belongs to the browser that brought it.
type flow struct {
	browser   string
	client    client.Client
	params    url.Values
	scopes    []string
	resources []string
	relogin   bool // prompt=login or max_age: an old login does not do
	attempts  int
}

// parameters are what an authorization request is made of. Others are
// ignored (RFC 6749 §3.1).
var parameters = []string{
	"response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method",
	"resource", "nonce", "prompt", "max_age", "response_mode", "request", "request_uri",
}

// authorize is RFC 6749 §4.1.1. Until client and redirect URI are known to
// belong together, faults are shown to the person and nobody is redirected
// (§4.1.2.1).
func (s *server) authorize(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		s.problem(w, r, "The request cannot be read.")
		return
	}
	params := url.Values{}
	for _, name := range parameters {
		if v := r.Form[name]; len(v) > 0 {
			params[name] = v
		}
	}
	if len(params["client_id"]) > 1 || len(params["redirect_uri"]) > 1 {
		s.problem(w, r, "The application sent client_id or redirect_uri more than once.")
		return
	}
	c, ok := s.Clients.Get(params.Get("client_id"))
	if !ok || len(c.RedirectURIs) == 0 {
		s.problem(w, r, "The application is not registered here (unknown client_id). It has to register again.")
		return
	}
	journal.Note(r.Context(), func(e *journal.Entry) { e.ClientID = c.ID })
	f := flow{client: c, params: params}
	switch given := params.Get("redirect_uri"); {
	case given == "" && len(c.RedirectURIs) > 1:
		s.problem(w, r, "The application did not say where to go back to (redirect_uri).")
		return
	case given != "" && !client.MatchRedirectURI(given, c.RedirectURIs):
		s.problem(w, r, "The application asked to go back to an address (redirect_uri) that it has not registered.")
		return
	}
	if e := s.examine(&f); e != nil {
		s.back(w, r, f, url.Values{"error": {e.Code}, "error_description": {e.Description}})
		return
	}
	journal.Note(r.Context(), func(e *journal.Entry) { e.Resource = f.resources })

	id, b := s.browser(w, r)
	prompts := strings.Fields(params.Get("prompt"))
	loggedIn := b.subject != ""
	if age := params.Get("max_age"); age != "" && loggedIn {
		seconds, _ := strconv.Atoi(age)
		f.relogin = s.Now().Sub(b.authTime) > time.Duration(seconds)*time.Second
	}
	f.relogin = f.relogin || slices.Contains(prompts, "login")
	if slices.Contains(prompts, "none") {
		// OpenID Connect Core §3.1.2.6: consent is always asked for here.
		code := "consent_required"
		if !loggedIn || f.relogin {
			code = "login_required"
		}
		s.back(w, r, f, url.Values{"error": {code}, "error_description": {"The person has to be asked."}})
		return
	}
	f.browser = id
	name := random()
	s.flows.Put(name, f, flowLifetime)
	next := consentPath
	if !loggedIn || f.relogin {
		next = loginPath
	}
	redirect(w, next+"?flow="+name)
}

// challenge is an S256 code challenge: 32 bytes in base64url (RFC 7636 §4.2).
var challenge = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// examine checks a request whose faults the client may be told.
func (s *server) examine(f *flow) *grant.Error {
	bad := func(code, description string) *grant.Error {
		return grant.NewError(http.StatusBadRequest, code, description)
	}
	p := f.params
	for name, values := range p {
		if len(values) > 1 && name != "resource" {
			return bad("invalid_request", name+" was sent more than once.")
		}
	}
	switch {
	case p.Has("request"):
		return bad("request_not_supported", "Request objects are not offered here.")
	case p.Has("request_uri"):
		return bad("request_uri_not_supported", "Request objects are not offered here.")
	case p.Get("response_type") == "":
		return bad("invalid_request", "response_type is missing.")
	case p.Get("response_type") != "code":
		return bad("unsupported_response_type", "response_type must be code.")
	case p.Get("response_mode") != "" && p.Get("response_mode") != "query":
		return bad("invalid_request", "response_mode must be query.")
	}

	// RFC 7636 §4.4.1. No client does without, whether it has a secret or not
	// (OAuth 2.1 §7.5.2, MCP 2026-07-28 authorization).
	switch method := p.Get("code_challenge_method"); {
	case !p.Has("code_challenge"):
		return bad("invalid_request", "code_challenge is missing: PKCE with S256 is required.")
	case p.Has("code_challenge") && method != "S256":
		return bad("invalid_request", "code_challenge_method must be S256.")
	case p.Has("code_challenge") && !challenge.MatchString(p.Get("code_challenge")):
		return bad("invalid_request", "code_challenge is not a SHA-256 in base64url.")
	}

	f.scopes = nil
	for scope := range strings.FieldsSeq(p.Get("scope")) {
		if !slices.Contains(s.Scopes, scope) {
			return bad("invalid_scope", "A scope is unknown here; scopes_supported in the metadata lists them.")
		}
		if !slices.Contains(f.scopes, scope) {
			f.scopes = append(f.scopes, scope)
		}
	}
	if len(f.scopes) == 0 {
		// RFC 6749 §3.3 leaves the default to the server: all, but no ID token.
		for _, scope := range s.Scopes {
			if scope != "openid" {
				f.scopes = append(f.scopes, scope)
			}
		}
	}
	// OpenID Connect Core §3.1.2.1.
	if slices.Contains(f.scopes, "openid") && !p.Has("redirect_uri") {
		return bad("invalid_request", "redirect_uri is required with the scope openid.")
	}

	var err error
	if f.resources, err = s.Resources.Resolve(p["resource"]); err != nil {
		return bad("invalid_target", err.Error())
	}

	if prompts := strings.Fields(p.Get("prompt")); slices.Contains(prompts, "none") && len(prompts) > 1 {
		return bad("invalid_request", "prompt=none excludes all others.")
	}
	if age := p.Get("max_age"); age != "" {
		if n, err := strconv.Atoi(age); err != nil || n < 0 || n > 1<<30 {
			return bad("invalid_request", "max_age must be a number of seconds.")
		}
	}
	return nil
}

// back sends the browser to the client. Every answer, also an error, carries
// the issuer (RFC 9207 §2) and the client's state.
func (s *server) back(w http.ResponseWriter, r *http.Request, f flow, answer url.Values) {
	journal.Note(r.Context(), func(e *journal.Entry) { e.Error = answer.Get("error") })
	if state := f.params.Get("state"); state != "" && len(f.params["state"]) == 1 {
		answer.Set("state", state)
	}
	answer.Set("iss", s.Issuer)
	to := f.redirectURI()
	// The registered URI is kept byte for byte; its query stays (RFC 6749
	// §3.1.2).
	separator := "?"
	if strings.Contains(to, "?") {
		separator = "&"
	}
	redirect(w, to+separator+answer.Encode())
}

func (f flow) redirectURI() string {
	if uri := f.params.Get("redirect_uri"); uri != "" {
		return uri
	}
	return f.client.RedirectURIs[0]
}

// redirect uses 303, so that a browser never repeats a password to the next
// page (RFC 9700 §4.12).
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusSeeOther)
}

// browser finds out which browser this is, and gives a new one its cookie.
func (s *server) browser(w http.ResponseWriter, r *http.Request) (string, browser) {
	if cookie, err := r.Cookie(cookieName); err == nil {
		if b, ok := s.browsers.Get(cookie.Value); ok {
			return cookie.Value, b
		}
	}
	b := browser{csrf: random()}
	return s.remember(w, b), b
}

func (s *server) remember(w http.ResponseWriter, b browser) string {
	id := random()
	s.browsers.Put(id, b, browserLifetime)
	http.SetCookie(w, &http.Cookie{
		Name:     cookieName,
		Value:    id,
		Path:     "/",
		HttpOnly: true,
		Secure:   strings.HasPrefix(s.Issuer, "https://"),
		SameSite: http.SameSiteLaxMode,
	})
	return id
}

// current finds the flow that a page is about and makes sure that it belongs
// to this browser: a link to somebody else's flow leads nowhere.
func (s *server) current(w http.ResponseWriter, r *http.Request) (id, name string, b browser, f flow, ok bool) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		s.problem(w, r, "The form cannot be read.")
		return
	}
	if cookie, err := r.Cookie(cookieName); err == nil {
		id = cookie.Value
		b, ok = s.browsers.Get(id)
	}
	name = r.Form.Get("flow")
	if ok {
		f, ok = s.flows.Get(name)
		ok = ok && f.browser == id
	}
	if !ok {
		s.problem(w, r, "This page is no longer valid: it is too old, was used already, or your browser did not send its cookie. Start again from your application.")
		return
	}
	if r.Method == http.MethodPost && !hmac.Equal([]byte(r.PostForm.Get("csrf")), []byte(b.csrf)) {
		s.show(w, r, http.StatusForbidden, "problem", page{Title: "This did not work", Text: "The form did not come from this site. Start again from your application."})
		return id, name, b, f, false
	}
	journal.Note(r.Context(), func(e *journal.Entry) { e.ClientID, e.Subject = f.client.ID, b.subject })
	return id, name, b, f, true
}

func (s *server) showLogin(w http.ResponseWriter, r *http.Request) {
	_, name, b, f, ok := s.current(w, r)
	if !ok {
		return
	}
	s.show(w, r, http.StatusOK, "login", page{Title: "Sign in to NeonPanel", Flow: name, CSRF: b.csrf, Client: f.client.Name})
}

func (s *server) login(w http.ResponseWriter, r *http.Request) {
	id, name, b, f, ok := s.current(w, r)
	if !ok {
		return
	}
	email := r.PostForm.Get("email")
	a, ok := account.Authenticate(email, r.PostForm.Get("password"))
	if !ok {
		f.attempts++
		if f.attempts >= maxAttempts {
			s.flows.Delete(name)
			s.problem(w, r, "Too many attempts. Start again from your application.")
			return
		}
		s.flows.Put(name, f, flowLifetime)
		s.show(w, r, http.StatusUnauthorized, "login", page{
			Title: "Sign in to NeonPanel", Flow: name, CSRF: b.csrf, Client: f.client.Name, Email: email,
			Problem: "The email address or the password is wrong.",
		})
		return
	}
	// A fresh id at login, so that a planted cookie is worth nothing.
	s.browsers.Delete(id)
	f.browser = s.remember(w, browser{csrf: random(), subject: a.Subject, authTime: s.Now()})
	f.relogin = false
	s.flows.Put(name, f, flowLifetime)
	journal.Note(r.Context(), func(e *journal.Entry) { e.Subject = a.Subject })
	redirect(w, consentPath+"?flow="+name)
}

func (s *server) showConsent(w http.ResponseWriter, r *http.Request) {
	_, name, b, f, ok := s.current(w, r)
	if !ok {
		return
	}
	a, ok := account.BySubject(b.subject)
	if !ok || f.relogin {
		redirect(w, loginPath+"?flow="+name)
		return
	}
	back, err := url.Parse(f.redirectURI())
	if err != nil {
		s.problem(w, r, "The address to go back to cannot be read.")
		return
	}
	p := page{
		Title: "Allow access?", Flow: name, CSRF: b.csrf, Client: f.client.Name,
		Email: a.Email, Name: a.Name, Host: back.Host, Local: back.Scheme == "http",
		Resources: f.resources,
		// Browsers hold the redirect after the form to `form-action` too.
		FormAction: back.Scheme + "://" + back.Host,
	}
	if !p.Local {
		p.FormAction = "https:" // a web client may send the browser on
	}
	for _, scope := range f.scopes {
		p.Scopes = append(p.Scopes, words(scope))
	}
	s.show(w, r, http.StatusOK, "consent", p)
}

func (s *server) consent(w http.ResponseWriter, r *http.Request) {
	_, name, b, f, ok := s.current(w, r)
	if !ok {
		return
	}
	if b.subject == "" || f.relogin {
		redirect(w, loginPath+"?flow="+name)
		return
	}
	decision := r.PostForm.Get("decision")
	if decision != "allow" && decision != "deny" {
		s.problem(w, r, "The form did not say allow or deny.")
		return
	}
	// Taken, not read: of a double click, one gets through.
	if _, ok := s.flows.Take(name); !ok {
		s.problem(w, r, "This page was used already. Start again from your application.")
		return
	}
	if decision == "deny" {
		s.back(w, r, f, url.Values{"error": {"access_denied"}, "error_description": {"The person denied access."}})
		return
	}
	code, e := s.Grants.Authorize(r.Context(), grant.Approval{
		Params: f.params, Subject: b.subject, AuthTime: b.authTime, Scopes: f.scopes, Resources: f.resources,
	})
	if e != nil {
		s.back(w, r, f, url.Values{"error": {e.Code}, "error_description": {e.Description}})
		return
	}
	journal.Note(r.Context(), func(e *journal.Entry) { e.Resource = f.resources })
	s.back(w, r, f, url.Values{"code": {code}})
}

// problem shows a fault to the person. It never redirects.
func (s *server) problem(w http.ResponseWriter, r *http.Request, text string) {
	journal.Note(r.Context(), func(e *journal.Entry) { e.Error = "invalid_request" })
	s.show(w, r, http.StatusBadRequest, "problem", page{Title: "This did not work", Text: text})
}

func (s *server) home(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "home", page{Title: "NeonPanel sandbox", Issuer: s.Issuer})
}

func random() string {
	b := make([]byte, 24)
	rand.Read(b) // never fails: crypto/rand crashes the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}
