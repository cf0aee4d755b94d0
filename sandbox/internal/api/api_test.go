package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// clock is the time of a test.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// panel is an API under test, with the books it serves.
type panel struct {
	http.Handler
	*clock
	books *ledger.Books
	bills int // how many the first company had at the start
}

// bearer stands for token verification: the header names the subject.
func bearer(r *http.Request) (string, error) {
	subject := r.Header.Get("Test-Subject")
	if subject == "" {
		return "", errors.New("no token")
	}
	return subject, nil
}

// newPanel is for tests that change something. Books take a while to make, so
// these tests share one set and take turns: each looks at what it changes itself,
// and finds what others wrote before.
func newPanel(t testing.TB) *panel {
	written.turn.Lock()
	t.Cleanup(written.turn.Unlock)
	first := written.first()
	c := &clock{t: noon}
	s := newServer(Options{Books: first.books, Verify: bearer, Now: c.now}, first.handler().citations)
	return &panel{s, c, first.books, len(first.books.Companies[0].Bills)}
}

var written = struct {
	turn  sync.Mutex
	first func() *panel
}{first: sync.OnceValue(freshPanel)}

// freshPanel has books of its own.
func freshPanel() *panel {
	b, err := ledger.New(noon)
	if err != nil {
		panic(err)
	}
	c := &clock{t: noon}
	h, err := New(Options{Books: b, Verify: bearer, Now: c.now})
	if err != nil {
		panic(err)
	}
	return &panel{h, c, b, len(b.Companies[0].Bills)}
}

func (p *panel) handler() *server { return p.Handler.(*server) }

// shared serves the tests that only read.
var shared = sync.OnceValue(freshPanel)

type reply struct {
	*httptest.ResponseRecorder
	object map[string]any
}

func (p *panel) do(t testing.TB, subject, method, path string, body io.Reader, header ...string) reply {
	t.Helper()
	if !strings.HasPrefix(path, "/api") {
		path = "/api/v1" + path
	}
	r := httptest.NewRequest(method, path, body)
	if subject != "" {
		r.Header.Set("Test-Subject", subject)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	out := reply{ResponseRecorder: w}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		d := json.NewDecoder(strings.NewReader(w.Body.String()))
		d.UseNumber()
		if err := d.Decode(&out.object); err != nil {
			t.Fatalf("%s %s: body is no JSON object: %v\n%s", method, path, err, w.Body)
		}
	}
	return out
}

func (p *panel) get(t testing.TB, subject, path string) reply {
	t.Helper()
	return p.do(t, subject, http.MethodGet, path, nil)
}

// want checks a status and returns the object.
func (r reply) want(t testing.TB, status int) map[string]any {
	t.Helper()
	if r.Code != status {
		t.Fatalf("status %d, want %d: %s", r.Code, status, r.Body)
	}
	return r.object
}

func (p *panel) company(i int) string { return "/companies/" + p.books.Companies[i].UUID }

func rows(t testing.TB, o map[string]any, key string) []map[string]any {
	t.Helper()
	list, ok := o[key].([]any)
	if !ok {
		t.Fatalf("%s is %T, want an array", key, o[key])
	}
	out := make([]map[string]any, len(list))
	for i, v := range list {
		out[i] = v.(map[string]any)
	}
	return out
}

func TestWithoutAcceptedTokenEveryPathIs401(t *testing.T) {
	t.Parallel()
	p := shared()
	for _, path := range []string{"/companies", "/companies/x/warehouses", "/no-such-path"} {
		for _, subject := range []string{"", "4711"} {
			r := p.get(t, subject, path)
			if got := r.want(t, 401)["message"]; got != "Unauthenticated." {
				t.Errorf("%s as %q: message %q", path, subject, got)
			}
		}
	}
}

func TestSellersNeverSeeEachOthersCompanies(t *testing.T) {
	t.Parallel()
	p := shared()
	names := func(subject string) (out []string) {
		for _, c := range rows(t, p.get(t, subject, "/companies").want(t, 200), "data") {
			out = append(out, c["short_name"].(string))
		}
		return out
	}
	if got := strings.Join(names("46"), ","); got != "TRAIL,LINDEN" {
		t.Errorf("seller one sees %s", got)
	}
	if got := strings.Join(names("47"), ","); got != "HOUND" {
		t.Errorf("seller two sees %s", got)
	}
	for _, path := range []string{"/warehouses", "/inventory-items", "/permissions"} {
		if m := p.get(t, "47", p.company(0)+path).want(t, 403)["message"]; m != "This action is unauthorized." {
			t.Errorf("%s: %q", path, m)
		}
		p.get(t, "46", p.company(2)+path).want(t, 403)
		if m := p.get(t, "46", "/companies/"+strings.Repeat("0", 40)+path).want(t, 404)["message"]; m != "Company is not found." {
			t.Errorf("%s: %q", path, m)
		}
	}
	p.get(t, "47", "/revenue-and-cogs?start_date=2026-01-01&company_uuids="+p.books.Companies[0].UUID).want(t, 403)
}
