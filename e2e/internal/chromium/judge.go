//go:build chromium

package chromium

import (
	"context"
	_ "embed"
	"fmt"

	browserdomain "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

//go:embed judge.js
var judgeJS string

// A View is how a page is looked at.
type View struct {
	Width, Height int64
	// Scale is pixels of a picture per pixel of the page; 0 is 1.
	Scale float64
	Dark  bool
	// Still asks for pages on which nothing moves.
	Still bool
	// Unscripted runs no script of the page.
	Unscripted bool
}

// String names the view.
func (v View) String() string {
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	return fmt.Sprintf("%s, %d px", scheme, v.Width)
}

func (v View) set() chromedp.Action[chromedp.Void] {
	scheme, motion := "light", "no-preference"
	if v.Dark {
		scheme = "dark"
	}
	if v.Still {
		motion = "reduce"
	}
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: v.Width, Height: v.Height, DeviceScaleFactor: max(1, v.Scale),
		})
		if err != nil {
			return err
		}
		_, err = cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: v.Unscripted})
		if err != nil {
			return err
		}
		_, err = cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: motion},
		}})
		return err
	})
}

// watch notes from the start what a page's own policy keeps from it.
func watch() chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: `window.blocked = []; addEventListener("securitypolicyviolation", e => blocked.push(e.violatedDirective + " " + e.blockedURI))`,
		})
		return err
	})
}

// Judge says what of a page some people could not use, and whether it keeps to
// itself: axe-core's rules, sideways scrolling, motion, the keyboard, and
// everything that is loaded or that the page's policy has blocked.
type Judge struct {
	// Axe is the script of axe-core.
	Axe string
	// Found are the faults of all pages so far.
	Found []string
	// Looks is how often it has looked at a page.
	Looks int
}

// widths of a small phone, and of windows on a tablet and a desk.
var widths = []int64{320, 768, 1280}

// page judges the page that is open at every width, without a reload, and looks
// at it as before.
func (j *Judge) page(ctx context.Context, name string, dark bool, before View) error {
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`window.focused = document.activeElement; true`)); err != nil {
		return err
	}
	for _, width := range widths {
		view := View{Width: width, Height: 800, Dark: dark, Still: true}
		found, err := j.judge(ctx, view)
		if err != nil {
			return fmt.Errorf("%s (%s): %w", name, view, err)
		}
		for _, f := range found {
			j.Found = append(j.Found, fmt.Sprintf("%s (%s): %s", name, view, f))
		}
	}
	if err := chromedp.Do(ctx, before.set()); err != nil {
		return err
	}
	// Nothing was typed yet, and typing goes on where it would have.
	_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`window.focused.focus(); true`))
	return err
}

// judge returns the faults of the page in one view.
func (j *Judge) judge(ctx context.Context, view View) ([]string, error) {
	j.Looks++
	if err := chromedp.Do(ctx, view.set()); err != nil {
		return nil, err
	}
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](j.Axe+"\n;{"+judgeJS+"}; true")); err != nil {
		return nil, fmt.Errorf("loading axe-core: %w", err)
	}
	var found []string
	for _, question := range []string{"axe()", "sideways()", "motion()", "outside()"} {
		answer, err := chromedp.Run(ctx, chromedp.Evaluate[[]string]("judge."+question, chromedp.EvalAwaitPromise))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", question, err)
		}
		found = append(found, answer...)
	}
	stops, err := chromedp.Run(ctx, chromedp.Evaluate[int]("judge.start()"))
	if err != nil {
		return nil, err
	}
	// It may begin anywhere, and goes round once.
	for range stops + 3 {
		if err := chromedp.Do(ctx, chromedp.KeyEvent(kb.Tab)); err != nil {
			return nil, err
		}
		answer, err := chromedp.Run(ctx, chromedp.Evaluate[[]string]("judge.focus()"))
		if err != nil {
			return nil, err
		}
		found = append(found, answer...)
	}
	missed, err := chromedp.Run(ctx, chromedp.Evaluate[[]string]("judge.missed()"))
	return append(found, missed...), err
}

// A Tab is a Chromium with one page open.
type Tab struct {
	ctx   context.Context
	close context.CancelFunc
}

// Open starts a Chromium. Close ends it.
func Open(ctx context.Context) (*Tab, error) {
	ctx, cancel, err := open(ctx)
	if err != nil {
		return nil, err
	}
	if err := chromedp.Do(ctx, watch()); err != nil {
		cancel()
		return nil, err
	}
	return &Tab{ctx, cancel}, nil
}

// Close ends the Chromium.
func (t *Tab) Close() { t.close() }

// Show opens a page.
func (t *Tab) Show(url string, view View) error {
	return chromedp.Do(t.ctx, view.set(), chromedp.Navigate(url), chromedp.WaitReady(chromedp.CSS("main")))
}

// Do runs JavaScript as somebody at the console would.
func (t *Tab) Do(script string) error {
	_, err := chromedp.Run(t.ctx, chromedp.Evaluate[bool]("{"+script+"}; true"))
	return err
}

// Ask evaluates an expression.
func (t *Tab) Ask(expression string) (string, error) {
	return chromedp.Run(t.ctx, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
}

// Await waits until an expression is true.
func (t *Tab) Await(expression string) error {
	_, err := chromedp.Run(t.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(patience)))
	return err
}

// AllowClipboard lets the pages of an origin use the clipboard without asking.
func (t *Tab) AllowClipboard(origin string) error {
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		_, err := chromedp.CallBrowser(t.ctx, browserdomain.SetPermission, browserdomain.SetPermissionParams{
			Permission: &browserdomain.PermissionDescriptor{Name: name}, Setting: browserdomain.PermissionSettingGranted, Origin: origin,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Press presses a key.
func (t *Tab) Press(key string) error { return chromedp.Do(t.ctx, chromedp.KeyEvent(key)) }

// Judge returns the faults of the page in one view.
func (t *Tab) Judge(j *Judge, view View) ([]string, error) { return j.judge(t.ctx, view) }

// Picture writes what is to be seen, or with whole all of the page.
func (t *Tab) Picture(path string, whole bool) error { return picture(t.ctx, path, whole) }
