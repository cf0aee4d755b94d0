package server_test

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestPagesAreLocked(t *testing.T) {
	t.Parallel()
	s := shared(t)
	p := s.person()
	login := p.follow(p.open("/oauth2/authorize?" + s.story(s.register("none", native)).params.Encode()))
	consent := p.follow(p.submit(login, "email", "seller-one@example.com", "password", "demo"))
	for name, page := range map[string]answer{"login": login, "consent": consent, "home": p.open("/"), "problem": p.open("/oauth2/authorize")} {
		policy := page.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "style-src 'sha256-", "form-action 'self'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy lacks %s: %s", name, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || bytes.Contains(page.body, []byte("<script")) {
			t.Errorf("%s: scripts: %s", name, policy)
		}
		if page.Header.Get("Cache-Control") != "no-store" || page.Header.Get("X-Frame-Options") != "DENY" || page.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", name, page.Header)
		}
	}
	// Browsers apply form-action to the redirect that follows the form too.
	if policy := consent.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' http://127.0.0.1:4567;") {
		t.Errorf("the policy blocks the way back: %s", policy)
	}
	for _, want := range []string{"Test Client", "127.0.0.1:4567", "See your companies", "See your inventory items", gateway, "Seller One", `value="allow"`, `value="deny"`} {
		if !bytes.Contains(consent.body, []byte(want)) {
			t.Errorf("the consent page lacks %q", want)
		}
	}
	for _, want := range []string{`<label for="email">`, `<label for="password">`, `autocomplete="current-password"`, `lang="en"`} {
		if !bytes.Contains(login.body, []byte(want)) {
			t.Errorf("the login page lacks %q", want)
		}
	}
}

func TestPagesEscapeWhatAClientCallsItself(t *testing.T) {
	t.Parallel()
	s := shared(t)
	a := s.postJSON(s.issuer+"/oauth2/register", map[string]any{
		"client_name": `<img src=x onerror=alert(1)>`, "redirect_uris": []string{web}, "token_endpoint_auth_method": "none",
	})
	p := s.person()
	login := p.follow(p.open("/oauth2/authorize?" + s.story(app{id: a.text(t, "client_id"), redirect: web}).params.Encode()))
	consent := p.follow(p.submit(login, "email", "seller-one@example.com", "password", "demo"))
	for name, page := range map[string]answer{"login": login, "consent": consent} {
		if bytes.Contains(page.body, []byte("<img")) || !bytes.Contains(page.body, []byte("&lt;img")) {
			t.Errorf("%s page does not escape the name", name)
		}
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	a := s.register("none", web)
	opened := func() (*person, answer) {
		p := s.person()
		return p, p.follow(p.open("/oauth2/authorize?" + s.story(a).params.Encode()))
	}
	cookie := func(p *person) string {
		u, err := url.Parse(s.issuer)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.client.Jar.Cookies(u) {
			return c.Value
		}
		return ""
	}

	t.Run("a wrong password says so and keeps the address", func(t *testing.T) {
		p, page := opened()
		page = p.submit(page, "email", "seller-one@example.com", "password", "wrong")
		if page.StatusCode != http.StatusUnauthorized || !bytes.Contains(page.body, []byte(`role="alert"`)) ||
			!bytes.Contains(page.body, []byte(`value="seller-one@example.com"`)) || bytes.Contains(page.body, []byte("wrong\"")) {
			t.Errorf("%s\n%s", page.Status, page.body)
		}
		unknown := p.submit(page, "email", "nobody@example.com", "password", "demo")
		strip := func(b []byte, email string) string { return strings.ReplaceAll(string(b), email, "") }
		// The fixed list of accounts names seller-one, so compare the alert.
		if !strings.Contains(strip(unknown.body, "nobody@example.com"), "The email address or the password is wrong.") {
			t.Error("an unknown address gets another message")
		}
		if next := p.submit(unknown, "email", "seller-one@example.com", "password", "demo"); next.StatusCode != http.StatusSeeOther {
			t.Errorf("the right password afterwards: %s", next.Status)
		}
	})
	t.Run("guessing ends", func(t *testing.T) {
		p, page := opened()
		for range 9 {
			page = p.submit(page, "email", "seller-one@example.com", "password", "wrong")
		}
		if end := p.submit(page, "email", "seller-one@example.com", "password", "wrong"); end.StatusCode != http.StatusBadRequest {
			t.Errorf("tenth attempt: %s", end.Status)
		}
		if end := p.submit(page, "email", "seller-one@example.com", "password", "demo"); end.StatusCode != http.StatusBadRequest {
			t.Errorf("the right password after ten wrong ones: %s", end.Status)
		}
	})
	t.Run("signing in changes the cookie", func(t *testing.T) {
		p, page := opened()
		before := cookie(p)
		done := p.submit(page, "email", "seller-one@example.com", "password", "demo")
		set := done.Header.Get("Set-Cookie")
		if before == "" || cookie(p) == before || !strings.Contains(set, "HttpOnly") || !strings.Contains(set, "SameSite=Lax") {
			t.Errorf("before %q, after %q, %q", before, cookie(p), set)
		}
	})
	t.Run("a second application needs only consent", func(t *testing.T) {
		p, page := opened()
		p.submit(page, "email", "seller-two@example.com", "password", "demo")
		page = p.follow(p.open("/oauth2/authorize?" + s.story(a).params.Encode()))
		if !bytes.Contains(page.body, []byte("Seller Two")) || !bytes.Contains(page.body, []byte(`value="allow"`)) {
			t.Errorf("got %s", page.body)
		}
	})
	t.Run("prompt and max_age ask again", func(t *testing.T) {
		p, page := opened()
		p.submit(page, "email", "seller-two@example.com", "password", "demo")
		for _, change := range [][]string{{"prompt", "login"}, {"max_age", "0"}} {
			s.clock.Advance(time.Second)
			first := p.open("/oauth2/authorize?" + s.story(a, change...).params.Encode())
			to := first.Header.Get("Location")
			if !strings.HasPrefix(to, "/login?") {
				t.Errorf("%v leads to %q", change, to)
			}
			// Going straight to consent does not help.
			if skip := p.open(strings.Replace(to, "/login", "/consent", 1)); !strings.HasPrefix(skip.Header.Get("Location"), "/login?") {
				t.Errorf("%v can be skipped: %s", change, skip.Status)
			}
		}
		got := told(t, p.open("/oauth2/authorize?"+s.story(a, "prompt", "none").params.Encode()), web)
		if got.Get("error") != "consent_required" {
			t.Errorf("prompt=none, signed in: %v", got)
		}
	})
	t.Run("another account can be chosen", func(t *testing.T) {
		p, page := opened()
		consent := p.follow(p.submit(page, "email", "seller-two@example.com", "password", "demo"))
		_, after, _ := strings.Cut(string(consent.body), `href="/login?flow=`)
		name, _, _ := strings.Cut(after, `"`)
		consent = p.follow(p.submit(p.open("/login?flow="+name), "email", "seller-one@example.com", "password", "demo"))
		if !bytes.Contains(consent.body, []byte("Seller One")) {
			t.Errorf("got %s", consent.body)
		}
	})
	t.Run("a page gets too old", func(t *testing.T) {
		p, page := opened()
		s.clock.Advance(11 * time.Minute)
		if late := p.submit(page, "email", "seller-one@example.com", "password", "demo"); late.StatusCode != http.StatusBadRequest {
			t.Errorf("after 11 minutes: %s", late.Status)
		}
	})
}

// Whoever sends a victim to a page, or makes the victim's browser post a form,
// gets nowhere.
func TestFormsCannotBeForged(t *testing.T) {
	t.Parallel()
	s := shared(t)
	a := s.register("none", web)
	authorize := "/oauth2/authorize?" + s.story(a).params.Encode()
	attacker, victim := s.person(), s.person()
	login := attacker.follow(attacker.open(authorize))
	consent := attacker.follow(attacker.submit(login, "email", "seller-two@example.com", "password", "demo"))
	victim.submit(victim.follow(victim.open(authorize)), "email", "seller-one@example.com", "password", "demo")

	// Each step of the attacker's flow in the victim's browser.
	for name, page := range map[string]answer{
		"login":   victim.submit(login, "email", "seller-one@example.com", "password", "demo"),
		"consent": victim.submit(consent, "decision", "allow"),
	} {
		if page.StatusCode != http.StatusBadRequest {
			t.Errorf("the attacker's %s page in the victim's browser: %s", name, page.Status)
		}
	}
	// The victim's own flow, without the token that only the page knows.
	page := victim.follow(victim.open(authorize))
	for _, forged := range []string{"", "x", string(hidden.FindAllSubmatch(consent.body, -1)[1][2])} {
		if got := victim.submit(page, "decision", "allow", "csrf", forged); got.StatusCode != http.StatusForbidden {
			t.Errorf("csrf %q: %s", forged, got.Status)
		}
	}
	if got := victim.submit(page, "decision", "maybe"); got.StatusCode != http.StatusBadRequest {
		t.Errorf("a decision that is none: %s", got.Status)
	}
	if got := victim.submit(page, "decision", "allow"); got.StatusCode != http.StatusSeeOther {
		t.Errorf("the real form: %s", got.Status)
	}
	if got := victim.submit(page, "decision", "allow"); got.StatusCode != http.StatusBadRequest {
		t.Errorf("the real form once more: %s", got.Status)
	}
	// A consent page is no use before signing in.
	stranger := s.person()
	first := stranger.open(authorize)
	skip := stranger.open(strings.Replace(first.Header.Get("Location"), "/login", "/consent", 1))
	if !strings.HasPrefix(skip.Header.Get("Location"), "/login?") {
		t.Errorf("consent before login: %s", skip.Status)
	}
}
