//go:build chromium

// Package chromium is a person before a real Chromium, who uses the keyboard
// alone: what that person cannot do, nobody without a mouse can.
package chromium

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/neonpanel/mcp-gateway/e2e/internal/browser"
)

// Person signs in and consents.
type Person struct {
	Email, Password string
	// Deny presses Deny on the consent page instead of Allow.
	Deny bool
	// Mistypes gives a wrong password before the right one.
	Mistypes bool
	// Dark prefers dark pages.
	Dark bool
	// Judge looks at every page; nil for nobody.
	Judge *Judge
	// Pictures is where a picture of every page goes; empty for nowhere.
	Pictures string
}

// Denies says whether the person presses Deny.
func (p Person) Denies() bool { return p.Deny }

// Find returns the path of an installed Chromium.
func Find() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no Chromium here: install Debian's package chromium")
}

// patience is how long everything in one Chromium may take.
const patience = 4 * time.Minute

// maxTabs is how often the Tab key may be pressed before a button has the focus.
const maxTabs = 20

// open starts a Chromium of its own and returns the context of its only tab.
func open(ctx context.Context) (context.Context, context.CancelFunc, error) {
	path, err := Find()
	if err != nil {
		return nil, nil, err
	}
	profile, err := os.MkdirTemp("", "chromium-")
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.WindowSize(900, 900),
		// Chromium refuses to run its own sandbox as root, which containers are.
		chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-dev-shm-usage", true),
	)
	ctx, end := chromedp.NewExecAllocator(ctx, options...)
	ctx, leave := chromedp.NewContext(ctx)
	return ctx, func() {
		leave()
		end()
		cancel()
		os.RemoveAll(profile)
	}, nil
}

// Authorize opens an authorization URL (RFC 6749 §4.1.1), goes through login and
// consent, and returns the page of the client that it lands on.
func (p Person) Authorize(ctx context.Context, start string) (browser.Page, error) {
	ctx, cancel, err := open(ctx)
	if err != nil {
		return browser.Page{}, err
	}
	defer cancel()

	origin, err := url.Parse(start)
	if err != nil {
		return browser.Page{}, err
	}
	v := visit{person: p, ctx: ctx}
	if err := v.through(start, origin.Host); err != nil {
		return v.page, fmt.Errorf("after %s: %w", strings.Join(v.page.Titles, " → "), err)
	}
	return v.page, nil
}

// visit is one way through the pages.
type visit struct {
	person Person
	ctx    context.Context
	page   browser.Page
}

func (v *visit) through(start, origin string) error {
	choice := "allow"
	if v.person.Deny {
		choice = "deny"
	}
	if v.person.Judge != nil {
		if err := chromedp.Do(v.ctx, watch()); err != nil {
			return err
		}
	}
	err := chromedp.Do(v.ctx,
		v.person.usual().set(),
		chromedp.Navigate(start),
		chromedp.WaitReady(chromedp.CSS(`input[type=password]`)),
	)
	if err != nil {
		return err
	}
	if err := v.look("login"); err != nil {
		return err
	}
	// The page has put the focus where typing begins.
	if err := chromedp.Do(v.ctx, chromedp.KeyEvent(v.person.Email), chromedp.KeyEvent(kb.Tab)); err != nil {
		return err
	}
	if v.person.Mistypes {
		err := chromedp.Do(v.ctx,
			chromedp.KeyEvent("not "+v.person.Password), chromedp.KeyEvent(kb.Enter),
			chromedp.WaitReady(chromedp.CSS(`[role=alert]`)),
		)
		if err != nil {
			return err
		}
		// It has kept the address, and the focus is on the password.
		if err := v.look("login-again"); err != nil {
			return err
		}
	}
	err = chromedp.Do(v.ctx,
		chromedp.KeyEvent(v.person.Password), chromedp.KeyEvent(kb.Enter),
		chromedp.WaitReady(chromedp.CSS(`button[name=decision]`)),
	)
	if err != nil {
		return err
	}
	if err := v.look("consent"); err != nil {
		return err
	}
	if err := v.focus(choice); err != nil {
		return err
	}
	if err := v.picture("consent-" + choice); err != nil {
		return err
	}
	if err := chromedp.Do(v.ctx, chromedp.KeyEvent(kb.Enter)); err != nil {
		return err
	}
	return v.land(origin)
}

// look notes the title of the page, has it judged and takes a picture of it.
func (v *visit) look(name string) error {
	title, err := chromedp.Run(v.ctx, chromedp.Title())
	if err != nil {
		return err
	}
	v.page.Titles = append(v.page.Titles, title)
	if err := v.picture(name); err != nil || v.person.Judge == nil {
		return err
	}
	return v.person.Judge.page(v.ctx, name, v.person.Dark, v.person.usual())
}

// usual is how the person looks at pages.
func (p Person) usual() View { return View{Width: 900, Height: 1040, Scale: 1.5, Dark: p.Dark} }

func (v *visit) picture(name string) error {
	if v.person.Pictures == "" {
		return nil
	}
	if v.person.Dark {
		name += "-dark"
	}
	return picture(v.ctx, filepath.Join(v.person.Pictures, name+".png"), false)
}

// focus presses Tab until the button with that value has the focus.
func (v *visit) focus(value string) error {
	for range maxTabs {
		focused, err := chromedp.Run(v.ctx, chromedp.Evaluate[string](`document.activeElement?.value ?? ""`))
		if err != nil {
			return err
		}
		if focused == value {
			return nil
		}
		if err := chromedp.Do(v.ctx, chromedp.KeyEvent(kb.Tab)); err != nil {
			return err
		}
	}
	return fmt.Errorf("the Tab key does not reach the button %q", value)
}

// land waits until the browser has left for the client's page, and reads it.
func (v *visit) land(origin string) error {
	for {
		location, err := chromedp.Run(v.ctx, chromedp.Location())
		if err != nil {
			return err
		}
		at, err := url.Parse(location)
		if err != nil {
			return err
		}
		if at.Host != origin && at.Host != "" {
			v.page.URL, v.page.Status = at, 200
			v.page.Body, err = chromedp.Run(v.ctx, chromedp.Text(chromedp.CSS("body")))
			return err
		}
		if err := chromedp.Do(v.ctx, chromedp.Sleep(20*time.Millisecond)); err != nil {
			return err
		}
	}
}
