//go:build chromium

package e2e

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/neonpanel/mcp-gateway/e2e/internal/chromium"
	"github.com/neonpanel/mcp-gateway/e2e/internal/clients"
)

// pictures is where pictures of the pages go: PICTURES, or nowhere.
func pictures(t *testing.T) string {
	dir := os.Getenv("PICTURES")
	if dir == "" {
		return ""
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(root(t), dir) // as whoever calls make means it
	}
	must(t, os.MkdirAll(dir, 0o755))
	return dir
}

// axe is the script of axe-core.
func axe(t *testing.T) string {
	t.Helper()
	script, err := installer(t).Axe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return script
}

func tab(t *testing.T) *chromium.Tab {
	t.Helper()
	tab, err := chromium.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tab.Close)
	return tab
}

// views are a small phone, a tablet and a desk, by day and by night. Whoever
// asks for stillness gets it.
func views() (all []chromium.View) {
	for _, width := range []int64{320, 768, 1280} {
		for _, dark := range []bool{false, true} {
			all = append(all, chromium.View{Width: width, Height: 800, Dark: dark, Still: true})
		}
	}
	return all
}

const openAll = `for (const d of document.querySelectorAll("details")) d.open = true`

func TestFrontPageInChromiumIsForEverybody(t *testing.T) {
	g := sharedGateway(t)
	judge := chromium.Judge{Axe: axe(t)}
	tab := tab(t)
	for _, view := range views() {
		for name, change := range map[string]string{"as it comes": "", "with all details": openAll} {
			must(t, tab.Show(g.URL+"/", view))
			must(t, tab.Do(change))
			found, err := tab.Judge(&judge, view)
			if err != nil {
				t.Fatal(view, err)
			}
			for _, fault := range found {
				t.Errorf("%s, %s: %s", name, view, fault)
			}
		}
	}
	if dir := pictures(t); dir != "" {
		takePictures(t, g.URL, tab, dir)
	}
}

func TestOtherPagesOfTheSandboxInChromiumAreForEverybody(t *testing.T) {
	g := sharedGateway(t)
	judge := chromium.Judge{Axe: axe(t)}
	tab := tab(t)
	for _, path := range []string{"/", "/oauth2/authorize"} {
		for _, view := range views() {
			must(t, tab.Show(g.Issuer+path, view))
			found, err := tab.Judge(&judge, view)
			if err != nil {
				t.Fatal(path, view, err)
			}
			for _, fault := range found {
				t.Errorf("%s, %s: %s", path, view, fault)
			}
		}
	}
}

// The tests above prove something only if each of their questions can be
// answered with a fault.
func TestJudgeInChromiumFindsWhatIsWrong(t *testing.T) {
	g := sharedGateway(t)
	judge := chromium.Judge{Axe: axe(t)}
	tab := tab(t)
	add := func(html string) string {
		return "document.querySelector('main').insertAdjacentHTML('beforeend', `" + html + "`)"
	}
	// What the page's policy forbids in HTML, a script at the console may do.
	style := func(css string) string {
		return "const s = new CSSStyleSheet(); s.replaceSync(`" + css + "`); document.adoptedStyleSheets.push(s)"
	}
	view := chromium.View{Width: 320, Height: 800, Still: true}
	dark := chromium.View{Width: 320, Height: 800, Dark: true, Still: true}
	for _, c := range []struct {
		view                chromium.View
		name, change, fault string
	}{
		{view, "faint text", style(`.lead { color: #c8cdd8 }`), "axe color-contrast"},
		{dark, "text for the day at night", style(`.lead { color: #172033 }`), "axe color-contrast"},
		{view, "a picture without words", add(`<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">`), "axe image-alt"},
		{view, "a page of no language", `document.documentElement.removeAttribute("lang")`, "axe html-has-lang"},
		{view, "a button without a name", add(`<button></button>`), "axe button-name"},
		{view, "a jump in the headings", add(`<h5>Deep</h5>`), "axe heading-order"},
		{view, "text outside of landmarks", `document.body.insertAdjacentHTML("beforeend", "<p>Lost</p>")`, "axe region"},
		{view, "a target too small", add(`<button class="dot">x</button><button class="dot">y</button>`) + ";" + style(`.dot { width: 8px; height: 8px; min-width: 0; padding: 0; border: 0; font-size: 6px }`), "axe target-size"},
		{view, "a wide thing", add(`<p id="wide">wide</p>`) + ";" + style(`#wide { width: 500px }`), "sideways"},
		{view, "something that moves", style(`@keyframes turn { to { rotate: 1turn } } h1 { animation: turn 2s infinite }`), "motion"},
		{view, "a slow change", style(`a::before { content: ""; transition: color 1s }`), "motion"},
		{view, "focus that nobody sees", style(`:focus-visible { outline: none !important }`), "focus: nothing shows it"},
		{view, "focus as faint as the page", style(`:focus-visible { outline-color: #f0f0f0 !important }`), "focus: too faint"},
		{view, "a stop that Tab does not reach", `const b = document.querySelector("button"); addEventListener("keydown", e => { if (e.key === "Tab") e.preventDefault() })`, "focus: the Tab key does not reach"},
		{view, "a picture from elsewhere", add(`<img alt="" src="` + g.URL + `/robots.txt">`), "blocked: img-src"},
		{view, "a style in the text", add(`<p style="color: red">red</p>`), "blocked: style-src"},
		{view, "a script in the text", `const s = document.createElement("script"); s.textContent = "1"; document.body.append(s)`, "blocked: script-src"},
	} {
		must(t, tab.Show(g.URL+"/", c.view))
		must(t, tab.Do(c.change))
		found, err := tab.Judge(&judge, c.view)
		if err != nil {
			t.Fatal(c.name, err)
		}
		if !slices.ContainsFunc(found, func(fault string) bool { return strings.HasPrefix(fault, c.fault) }) {
			t.Errorf("%s: no %q among %q", c.name, c.fault, found)
		}
	}
	// A page without a policy loads what it likes.
	server := loose(t, "<!doctype html><html lang=en><title>x</title><main><h1>x</h1><img alt='' src=/picture></main>")
	must(t, tab.Show(server, view))
	found, err := tab.Judge(&judge, view)
	must(t, err)
	if want := "outside: " + server + "/picture"; !slices.Contains(found, want) {
		t.Errorf("no %q among %q", want, found)
	}
}

// What is copied is what is shown, and a screen reader is told that it is done.
func TestFrontPageInChromiumCopiesByKeyboard(t *testing.T) {
	g := sharedGateway(t)
	tab := tab(t)
	must(t, tab.AllowClipboard(g.URL))
	must(t, tab.Show(g.URL+"/", chromium.View{Width: 1280, Height: 800}))
	must(t, tab.Press(kb.Tab))
	at, err := tab.Ask("document.activeElement.textContent")
	must(t, err)
	if at != "Copy the server URL" {
		t.Fatalf("the first stop is %q", at)
	}
	must(t, tab.Do(`
		window.said = [];
		const button = document.activeElement, status = document.querySelector("[role=status]");
		new MutationObserver(() => said.push(status.textContent)).observe(status, {childList: true});
		new MutationObserver(() => said.push(button.textContent)).observe(button, {characterData: true, subtree: true});`))
	must(t, tab.Press(kb.Enter))
	must(t, tab.Await(`said.includes("Copied") && said.includes("Copied the server URL")`))
	copied, err := tab.Ask("navigator.clipboard.readText()")
	must(t, err)
	if copied != g.URL+"/mcp" {
		t.Errorf("copied %q", copied)
	}
	// Then the button offers itself again.
	must(t, tab.Await(`said.includes("") && said.includes("Copy the server URL")`))
}

// People paste what they were given into a browser, too.
func TestAClientsURLInChromiumLeadsToTheFrontPage(t *testing.T) {
	g := sharedGateway(t)
	tab := tab(t)
	for _, path := range []string{"/mcp", "/sse"} {
		must(t, tab.Show(g.URL+path, chromium.View{Width: 1280, Height: 800}))
		at, err := tab.Ask(`location.href + " " + document.querySelector("h2").textContent`)
		must(t, err)
		if at != g.URL+"/ Give your assistant this URL" {
			t.Errorf("%s leads to %q", path, at)
		}
	}
}

// Without scripts nothing is missing but the buttons to copy.
func TestFrontPageInChromiumNeedsNoScript(t *testing.T) {
	g := sharedGateway(t)
	tab := tab(t)
	must(t, tab.Show(g.URL+"/", chromium.View{Width: 1280, Height: 800, Unscripted: true}))
	for expression, want := range map[string]string{
		`String([...document.querySelectorAll("button")].filter(b => b.checkVisibility()).length)`:                 "0",
		`document.querySelector(".url code").innerText`:                                                            g.URL + "/mcp",
		`getComputedStyle(document.querySelector(".url code")).userSelect`:                                         "all",
		`document.querySelector("details").open = true; document.querySelector("details p").innerText.slice(0, 4)`: "Then",
	} {
		got, err := tab.Ask(expression)
		must(t, err)
		if got != want {
			t.Errorf("%s is %q, want %q", expression, got, want)
		}
	}
}

// takePictures takes pictures of the front page for the documents.
func takePictures(t *testing.T, url string, tab *chromium.Tab, dir string) {
	for name, view := range map[string]chromium.View{
		"front": {Width: 1000, Height: 720}, "front-dark": {Width: 1000, Height: 720, Dark: true},
		"front-phone": {Width: 390, Height: 720}, "front-phone-dark": {Width: 390, Height: 720, Dark: true},
	} {
		view.Scale = 2
		must(t, tab.Show(url+"/", view))
		// As a deployment shows itself.
		must(t, tab.Do(`for (const code of document.querySelectorAll("code")) {
			if (!code.children.length) code.textContent = code.textContent.replace("`+url+`", "https://mcp.example.com");
		}`))
		must(t, tab.Picture(filepath.Join(dir, name+".png"), false))
		must(t, tab.Picture(filepath.Join(dir, name+"-whole.png"), true))
	}
}

func TestLoginAndConsentInChromiumByKeyboard(t *testing.T) {
	judge := chromium.Judge{Axe: axe(t)}
	for _, scheme := range []string{"light", "dark"} {
		t.Run(scheme, func(t *testing.T) {
			g := sharedGateway(t)
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			session, err := python(t).Open(ctx, g.URL+"/mcp", clients.Modern, chromium.Person{
				Email: sellerOne, Password: password, Dark: scheme == "dark", Pictures: pictures(t),
				Mistypes: true, Judge: &judge,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			result, err := session.Call(ctx, "list_companies", nil)
			if err != nil || result.IsError {
				t.Fatalf("list_companies: %+v %v", result, err)
			}
			want := g.companies(t, g.token(t, sellerOne))
			if got := companiesIn(t, result.StructuredContent); !slices.Equal(got, want) {
				t.Errorf("companies %v, the API says %v", got, want)
			}
		})
	}
	for _, fault := range judge.Found {
		t.Error(fault)
	}
	if judge.Looks != 2*3*3 {
		t.Errorf("%d looks at three pages in two schemes and three widths", judge.Looks)
	}
}

func TestDenyInChromiumByKeyboard(t *testing.T) {
	g := sharedGateway(t)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	session, err := python(t).Open(ctx, g.URL+"/mcp", clients.Modern, chromium.Person{
		Email: sellerOne, Password: password, Deny: true, Pictures: pictures(t),
	})
	if err == nil {
		session.Close()
		t.Fatal("the client was let in though its user denied it")
	}
	if !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("the client was not told why: %v", err)
	}
}

// loose serves a page that no policy protects.
func loose(t *testing.T, html string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, html)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
