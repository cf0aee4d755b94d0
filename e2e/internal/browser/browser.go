// Package browser is a person with a small web browser: it logs in, presses
// Allow or Deny, and follows redirects to the client that asked.
package browser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// User is who sits before the browser.
type User struct {
	Email, Password string
	// Deny presses Deny on the consent page instead of Allow.
	Deny bool
}

// Denies says whether the user presses Deny.
func (u User) Denies() bool { return u.Deny }

// Page is what the browser shows in the end.
type Page struct {
	URL    *url.URL
	Status int
	Body   string
	// Titles are those of the pages on the way, the first one first.
	Titles []string
}

// maxSteps bounds the pages of one visit: login, consent, landing and one
// retry each are six.
const maxSteps = 8

// Authorize opens an authorization URL (RFC 6749 §4.1.1) and does what its
// pages ask for, until it lands at the redirect URI of the client.
func (u User) Authorize(ctx context.Context, start string) (Page, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return Page{}, err
	}
	var allowed *formAction
	client := &http.Client{
		Jar:     jar,
		Timeout: 2 * time.Minute,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > 10 {
				return errors.New("too many redirects")
			}
			// Browsers hold the redirects of a form to its page's policy too
			// (CSP3 §6.4.2).
			if !allowed.permits(req.URL) {
				return fmt.Errorf("the page's form-action policy forbids the redirect to %s://%s", req.URL.Scheme, req.URL.Host)
			}
			return nil
		},
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, start, nil)
	if err != nil {
		return Page{}, err
	}
	origin := req.URL.Host
	redirectURI := req.URL.Query().Get("redirect_uri")
	var titles []string
	for range maxSteps {
		req.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
		resp, err := client.Do(req)
		if err != nil {
			return Page{Titles: titles}, err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		resp.Body.Close()
		if err != nil {
			return Page{Titles: titles}, err
		}
		page := Page{URL: resp.Request.URL, Status: resp.StatusCode, Body: string(body), Titles: titles}
		if page.URL.Host != origin {
			if redirectURI != "" && !strings.HasPrefix(page.URL.String(), redirectURI) {
				return page, fmt.Errorf("landed at %s, not at the redirect URI", page.URL.Redacted())
			}
			return page, nil
		}
		if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
			return page, fmt.Errorf("%s answered %s with %s, not a page", page.URL.Path, resp.Status, resp.Header.Get("Content-Type"))
		}
		document, err := html.Parse(strings.NewReader(page.Body))
		if err != nil {
			return page, err
		}
		titles = append(titles, text(find(document, "title")))
		page.Titles = titles
		form, submit, err := u.fill(document)
		if err != nil {
			return page, fmt.Errorf("%s (%s): %w", page.URL.Path, resp.Status, err)
		}
		allowed = parseFormAction(resp.Header.Values("Content-Security-Policy"), page.URL)
		target, err := page.URL.Parse(attr(form, "action"))
		if err != nil {
			return page, err
		}
		if !allowed.permits(target) {
			return page, fmt.Errorf("the page's form-action policy forbids its own form")
		}
		if req, err = submitForm(ctx, form, target, submit); err != nil {
			return page, err
		}
		req.Header.Set("Origin", page.URL.Scheme+"://"+page.URL.Host)
		req.Header.Set("Referer", page.URL.Scheme+"://"+page.URL.Host+"/")
	}
	return Page{Titles: titles}, fmt.Errorf("still not through after %d pages: %s", maxSteps, strings.Join(titles, " → "))
}

// fill chooses the form of a page and what to enter: credentials where it asks
// for a password, else the button that says Allow or Deny.
func (u User) fill(document *html.Node) (form *html.Node, values url.Values, err error) {
	choice := "allow"
	if u.Deny {
		choice = "deny"
	}
	for _, form := range findAll(document, "form") {
		values := url.Values{}
		var password, name string
		var button *html.Node
		for _, n := range append(findAll(form, "input"), findAll(form, "button")...) {
			kind := strings.ToLower(attr(n, "type"))
			if n.Data == "button" && kind == "" {
				kind = "submit"
			}
			switch kind {
			case "password":
				password = attr(n, "name")
			case "email", "text", "":
				name = attr(n, "name")
			case "hidden":
				values.Add(attr(n, "name"), attr(n, "value"))
			case "checkbox", "radio":
				if has(n, "checked") {
					values.Add(attr(n, "name"), attr(n, "value"))
				}
			case "submit":
				label := strings.ToLower(text(n) + " " + attr(n, "value"))
				if button == nil || strings.Contains(label, choice) {
					button = n
				}
			}
		}
		if button == nil {
			continue
		}
		label := strings.ToLower(text(button) + " " + attr(button, "value"))
		switch {
		case password != "":
			values.Set(name, u.Email)
			values.Set(password, u.Password)
		case !strings.Contains(label, choice):
			continue
		}
		if n := attr(button, "name"); n != "" {
			values.Add(n, attr(button, "value"))
		}
		return form, values, nil
	}
	return nil, nil, fmt.Errorf("no form with a password or a button %q on the page %q", choice, text(find(document, "title")))
}

func submitForm(ctx context.Context, form *html.Node, target *url.URL, values url.Values) (*http.Request, error) {
	if strings.EqualFold(attr(form, "method"), "post") {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(values.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return req, nil
	}
	get := *target
	get.RawQuery = values.Encode()
	return http.NewRequestWithContext(ctx, http.MethodGet, get.String(), nil)
}

// formAction is the form-action directive of a page; nil permits everything.
type formAction struct {
	self    *url.URL
	sources []string
}

func parseFormAction(policies []string, self *url.URL) *formAction {
	for _, policy := range policies {
		for directive := range strings.SplitSeq(policy, ";") {
			fields := strings.Fields(directive)
			if len(fields) > 0 && strings.EqualFold(fields[0], "form-action") {
				return &formAction{self: self, sources: fields[1:]}
			}
		}
	}
	return nil
}

func (f *formAction) permits(target *url.URL) bool {
	if f == nil {
		return true
	}
	for _, source := range f.sources {
		switch {
		case source == "*", source == target.Scheme+":":
			return true
		case source == "'self'":
			if target.Scheme == f.self.Scheme && target.Host == f.self.Host {
				return true
			}
		default:
			allowed, err := url.Parse(strings.Replace(source, ":*", ":0", 1))
			if err != nil || allowed.Scheme != target.Scheme || allowed.Hostname() != target.Hostname() {
				continue
			}
			if strings.Contains(source, ":*") || allowed.Port() == target.Port() {
				return true
			}
		}
	}
	return false
}

func find(n *html.Node, tag string) *html.Node {
	if all := findAll(n, tag); len(all) > 0 {
		return all[0]
	}
	return nil
}

func findAll(n *html.Node, tag string) []*html.Node {
	var found []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == tag {
			found = append(found, d)
		}
	}
	return found
}

func text(n *html.Node) string {
	if n == nil {
		return ""
	}
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}
