package server_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/config"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/journal"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/server"
)

const (
	gateway = "http://gateway.test/mcp"
	other   = "http://gateway.test/sse"
	web     = "https://client.example/callback"
	native  = "http://127.0.0.1:4567/callback"

	gatewaySecret = "a % secret + with signs"
)

// clock can be moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// sandbox is a whole sandbox on loopback.
type sandbox struct {
	t       *testing.T
	issuer  string
	control string
	clock   *clock
	logs    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a sandbox of its own for a test.
func start(t *testing.T, change func(*config.Flags)) *sandbox {
	t.Helper()
	s, stop, err := launch(change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	s.t = t
	return s
}

// common is for tests that neither move the clock nor look at what is kept of
// others: keys and seeded books take a while to make.
var common = sync.OnceValues(func() (*sandbox, error) {
	s, _, err := launch(func(f *config.Flags) { f.IntrospectionID, f.IntrospectionSecret = "gateway", gatewaySecret })
	return s, err
})

func shared(t *testing.T) *sandbox {
	t.Helper()
	s, err := common()
	if err != nil {
		t.Fatal(err)
	}
	mine := *s
	mine.t = t
	return &mine
}

func launch(change func(*config.Flags)) (*sandbox, func(), error) {
	public := httptest.NewUnstartedServer(nil)
	flags := config.Flags{
		Listen: "127.0.0.1:0", ControlListen: "127.0.0.1:1", Expose: "false",
		Issuer:    "http://" + public.Listener.Addr().String(),
		Resources: []string{gateway, other},
		TokenKind: "jwt", TokenTTL: "1h", ImportDelay: "10s",
	}
	if change != nil {
		change(&flags)
	}
	settings, err := flags.Settings()
	if err != nil {
		return nil, nil, err
	}
	s := &sandbox{issuer: settings.Issuer, clock: &clock{at: time.Now()}, logs: &lockedBuffer{}}
	handlers, err := server.New(settings, s.clock.Now, slog.New(slog.NewJSONHandler(s.logs, nil)))
	if err != nil {
		return nil, nil, err
	}
	public.Config.Handler = handlers.Public
	public.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	public.Start()
	control := httptest.NewServer(handlers.Control)
	s.control = control.URL
	return s, func() { public.Close(); control.Close() }, nil
}

// answer is a response that was read to its end.
type answer struct {
	*http.Response
	body []byte
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(a.body, &m); err != nil {
		t.Fatalf("%s: not JSON: %v\n%s", a.Status, err, a.body)
	}
	return m
}

func (a answer) text(t *testing.T, field string) string {
	t.Helper()
	s, _ := a.json(t)[field].(string)
	return s
}

func do(t *testing.T, c *http.Client, r *http.Request) answer {
	t.Helper()
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response, body}
}

// plain is a client that follows no redirect and keeps no cookie.
func plain() *http.Client {
	return &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (s *sandbox) get(path string, header ...string) answer {
	s.t.Helper()
	return do(s.t, plain(), request(s.t, http.MethodGet, s.issuer+path, "", header...))
}

func (s *sandbox) postForm(path string, form url.Values, header ...string) answer {
	s.t.Helper()
	header = append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)
	return do(s.t, plain(), request(s.t, http.MethodPost, s.issuer+path, form.Encode(), header...))
}

func (s *sandbox) postJSON(to string, body any) answer {
	s.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	return do(s.t, plain(), request(s.t, http.MethodPost, to, string(b), "Content-Type", "application/json"))
}

func request(t *testing.T, method, to, body string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func basic(id, secret string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))}
}

// app is a registered client.
type app struct {
	id, secret, redirect string
	management, token    string
}

func (s *sandbox) register(method string, redirects ...string) app {
	s.t.Helper()
	a := s.postJSON(s.issuer+"/oauth2/register", map[string]any{
		"client_name": "Test Client", "redirect_uris": redirects,
		"grant_types": []string{"authorization_code", "refresh_token"}, "token_endpoint_auth_method": method,
	})
	if a.StatusCode != http.StatusCreated {
		s.t.Fatalf("register: %s %s", a.Status, a.body)
	}
	return app{
		id: a.text(s.t, "client_id"), secret: a.text(s.t, "client_secret"), redirect: redirects[0],
		management: a.text(s.t, "registration_client_uri"), token: a.text(s.t, "registration_access_token"),
	}
}

// pkce returns a verifier and its challenge.
func pkce() (verifier, challenge string) {
	verifier = rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	return verifier, base64.RawURLEncoding.EncodeToString(sum[:])
}

// story is one authorization from the client's view.
type story struct {
	app      app
	verifier string
	params   url.Values
}

func (s *sandbox) story(a app, change ...string) story {
	verifier, challenge := pkce()
	params := url.Values{
		"response_type": {"code"}, "client_id": {a.id}, "redirect_uri": {a.redirect}, "state": {"xyzzy"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
		"scope": {"openid read:companies read:inventory"}, "resource": {gateway}, "nonce": {"n-1"},
	}
	for i := 0; i+1 < len(change); i += 2 {
		params.Del(change[i])
		if change[i+1] != "" {
			params.Set(change[i], change[i+1])
		}
	}
	return story{app: a, verifier: verifier, params: params}
}

// person is a browser with its cookies.
type person struct {
	s      *sandbox
	client *http.Client
}

func (s *sandbox) person() *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	c := plain()
	c.Jar = jar
	return &person{s, c}
}

func (p *person) open(path string) answer {
	p.s.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = p.s.issuer + path
	}
	return do(p.s.t, p.client, request(p.s.t, http.MethodGet, path, ""))
}

var (
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)
	action = regexp.MustCompile(`<form method="post" action="([^"]+)">`)
)

// submit fills in the form of a page.
func (p *person) submit(page answer, fields ...string) answer {
	p.s.t.Helper()
	to := action.FindSubmatch(page.body)
	if to == nil {
		p.s.t.Fatalf("no form: %s\n%s", page.Status, page.body)
	}
	form := url.Values{}
	for _, m := range hidden.FindAllSubmatch(page.body, -1) {
		form.Set(string(m[1]), string(m[2]))
	}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return do(p.s.t, p.client, request(p.s.t, http.MethodPost, p.s.issuer+string(to[1]), form.Encode(), "Content-Type", "application/x-www-form-urlencoded"))
}

// follow opens where a redirect leads.
func (p *person) follow(a answer) answer {
	p.s.t.Helper()
	if a.StatusCode != http.StatusSeeOther {
		p.s.t.Fatalf("want a redirect, got %s\n%s", a.Status, a.body)
	}
	return p.open(a.Header.Get("Location"))
}

// decide goes through login and consent and returns what the client is told.
func (p *person) decide(st story, email, decision string) url.Values {
	p.s.t.Helper()
	page := p.follow(p.open("/oauth2/authorize?" + st.params.Encode()))
	if bytes.Contains(page.body, []byte(`name="password"`)) {
		page = p.follow(p.submit(page, "email", email, "password", "demo"))
	}
	answer := told(p.s.t, p.submit(page, "decision", decision), st.app.redirect)
	if decision == "allow" && answer.Get("code") == "" {
		p.s.t.Fatalf("no code: %v", answer)
	}
	return answer
}

// told reads the answer in a redirect to the client.
func told(t *testing.T, a answer, redirect string) url.Values {
	t.Helper()
	to := a.Header.Get("Location")
	if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, redirect) {
		t.Fatalf("want a redirect to %s, got %s to %q\n%s", redirect, a.Status, to, a.body)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

func (st story) exchange(code string, change ...string) url.Values {
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {st.app.redirect},
		"client_id": {st.app.id}, "code_verifier": {st.verifier},
	}
	for i := 0; i+1 < len(change); i += 2 {
		form.Del(change[i])
		if change[i+1] != "" {
			form.Set(change[i], change[i+1])
		}
	}
	return form
}

// grant tells the whole story and returns the token response.
func (s *sandbox) grant(st story, email string) map[string]any {
	s.t.Helper()
	code := s.person().decide(st, email, "allow").Get("code")
	a := s.postForm("/oauth2/token", st.exchange(code))
	if a.StatusCode != http.StatusOK {
		s.t.Fatalf("token: %s %s", a.Status, a.body)
	}
	return a.json(s.t)
}

func (s *sandbox) api(raw string) answer {
	s.t.Helper()
	return s.get("/api/v1/companies", "Authorization", "Bearer "+raw)
}

func (s *sandbox) journal() []journal.Entry {
	s.t.Helper()
	a := do(s.t, plain(), request(s.t, http.MethodGet, s.control+"/journal", ""))
	var out struct {
		Entries []journal.Entry `json:"entries"`
	}
	if err := json.Unmarshal(a.body, &out); err != nil {
		s.t.Fatal(err)
	}
	return out.Entries
}

// claims reads the payload of a JWT without checking it.
func claims(t *testing.T, raw string) map[string]any {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %d parts", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func str(t *testing.T, m map[string]any, key string) string {
	t.Helper()
	s, ok := m[key].(string)
	if !ok {
		t.Fatalf("%s is missing in %v", key, m)
	}
	return s
}
