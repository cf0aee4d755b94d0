package denylist_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/neonpanel/mcp-gateway/authz/internal/denylist"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRules(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	id := token.Identity{Subject: "46", ClientID: "client", ID: "id", IssuedAt: noon}
	bare := token.Identity{Subject: "46"}
	for file, want := range map[string]struct{ id, bare bool }{
		"":                                    {},
		"{}":                                  {},
		"# only a comment":                    {},
		`subjects: ["46"]`:                    {true, true},
		`subjects: [46]`:                      {true, true},
		"subjects:\n- \"46\"\n- \"47\"":       {true, true},
		`subjects: ["4", "460", " 46"]`:       {},
		`clients: [client]`:                   {true, false},
		`jtis: [id]`:                          {true, false},
		`jtis: [client]`:                      {},
		`issued_before: 2026-01-31T12:00:00Z`: {false, true},
		`issued_before: 2026-01-31T12:00:01Z`: {true, true},
		`issued_before: "2026-01-31T13:00:01+01:00"`: {true, true},
		`{"subjects":[],"clients":["other"]}`:        {},
	} {
		rules, err := denylist.Parse([]byte(file))
		if err != nil {
			t.Errorf("%q: %v", file, err)
			continue
		}
		if rules.Denies(&id) != want.id || rules.Denies(&bare) != want.bare {
			t.Errorf("%q: denies are %v and %v", file, rules.Denies(&id), rules.Denies(&bare))
		}
	}
}

func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	for _, file := range []string{
		"subjects", "[]", `subjects: "46"`, `subject: ["46"]`, `subjects: [""]`, "subjects: []\nsubjects: []",
		`issued_before: yesterday`, `issued_before: 2026-01-31`, `subjects: [{}]`, "\x00", `jtis: [[]]`,
	} {
		if _, err := denylist.Parse([]byte(file)); err == nil {
			t.Errorf("%q: accepted", file)
		}
	}
}

func TestOpenNeedsAGoodFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deny.yaml")
	if _, err := denylist.Open(path, nil); err == nil {
		t.Error("a file that is not there was opened")
	}
	if err := os.WriteFile(path, []byte("subject: []"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := denylist.Open(path, nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Error("broken file:", err)
	}
	var none *denylist.List
	if none.Denies(&token.Identity{}) || none.Broken() {
		t.Error("no list denies")
	}
}

// A second change within the same tick of the file system's clock leaves length
// and time as they were.
func TestChangesThatLeaveLengthAndTimeAreSeen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deny.yaml")
	synctest.Test(t, func(t *testing.T) {
		tick := time.Now()
		write := func(subject string) {
			if err := os.WriteFile(path, []byte(`subjects: ["`+subject+`"]`), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, tick, tick); err != nil {
				t.Fatal(err)
			}
		}
		write("45")
		read := 0
		list, err := denylist.Open(path, func(err error) {
			if read++; err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- list.Run(ctx, denylist.Changes{}) }()
		synctest.Wait()
		write("46")
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if !list.Denies(&token.Identity{Subject: "46"}) || list.Denies(&token.Identity{Subject: "45"}) {
			t.Error("the change was not seen")
		}
		time.Sleep(time.Minute)
		cancel()
		if err := <-ended; err != nil || read != 1 {
			t.Errorf("%v, %d changes reported, want 1", err, read)
		}
	})
}

// While the file is gone or cannot be read the last good rules stay in force,
// and that is said once.
func TestAFileThatComesAndGoes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deny.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`subjects: ["46"]`)
	synctest.Test(t, func(t *testing.T) {
		var good, bad atomic.Int32
		list, err := denylist.Open(path, func(err error) {
			if err == nil {
				good.Add(1)
			} else {
				bad.Add(1)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- list.Run(ctx, denylist.Changes{}) }()
		for i, step := range []struct {
			do        func()
			denied    bool
			broken    bool
			good, bad int32
		}{
			{func() {}, true, false, 0, 0},
			{func() { _ = os.Remove(path) }, true, true, 0, 1},
			{func() { write(`subjects: ["46"]`) }, true, false, 1, 1},
			{func() { write(`subjects: [`) }, true, true, 1, 2},
			{func() { _ = os.Remove(path) }, true, true, 1, 2},
			{func() { _ = os.Mkdir(path, 0o700) }, true, true, 1, 2},
			{func() { _ = os.Remove(path); write("{}") }, false, false, 2, 2},
		} {
			step.do()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if list.Denies(&token.Identity{Subject: "46"}) != step.denied || list.Broken() != step.broken || good.Load() != step.good || bad.Load() != step.bad {
				t.Errorf("step %d: denied %v, broken %v, %d good, %d bad", i, !step.denied, list.Broken(), good.Load(), bad.Load())
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Nobody is let in again by an empty file, which a failing program leaves behind,
// but only by one that says so.
func TestAnEmptyFileLiftsNoRules(t *testing.T) {
	t.Parallel()
	for _, blank := range []string{"", " \n ", "# nobody", "---\n", "null", "subjects:", "subjects:\nclients: []", "issued_before:"} {
		for _, rules := range []string{`subjects: ["46"]`, `issued_before: 2126-01-31T12:00:00Z`} {
			path := filepath.Join(t.TempDir(), "deny.yaml")
			write := func(text string) {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(rules)
			synctest.Test(t, func(t *testing.T) {
				var fault error
				list, err := denylist.Open(path, func(err error) { fault = err })
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- list.Run(ctx, denylist.Changes{}) }()
				for _, step := range []struct {
					text           string
					denied, broken bool
				}{{blank, true, true}, {rules, true, false}, {"{}", false, false}, {blank, false, false}, {rules, true, false}, {"subjects: []", false, false}} {
					write(step.text)
					time.Sleep(5 * time.Second)
					synctest.Wait()
					if list.Denies(&token.Identity{Subject: "46"}) != step.denied || list.Broken() != step.broken {
						t.Errorf("%q after %q: denied %v, broken %v", step.text, rules, !step.denied, list.Broken())
					}
					if step.broken != (fault != nil) || step.broken && !(strings.Contains(fault.Error(), path) && strings.Contains(fault.Error(), "{}")) {
						t.Errorf("%q: %v", step.text, fault)
					}
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		}
	}
	// At the start nobody was refused before.
	path := filepath.Join(t.TempDir(), "deny.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := denylist.Open(path, nil); err != nil {
		t.Error(err)
	}
}

// Half a file is not in force, however slowly it is written; one that is never
// finished is a fault.
func TestAFileThatIsBeingWrittenIsNotRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deny.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const rules = "subjects: [\"46\"]\n"
	for name, seen := range map[string]bool{"seen": true, "unseen": false} {
		write(rules)
		synctest.Test(t, func(t *testing.T) {
			var writing atomic.Bool
			told := make(chan struct{})
			changes := denylist.Changes{}
			if seen {
				changes = denylist.Changes{Told: told, Writing: writing.Load}
			}
			list, err := denylist.Open(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- list.Run(ctx, changes) }()
			check := func(when string, broken bool) {
				t.Helper()
				synctest.Wait()
				if !list.Denies(&token.Identity{Subject: "46"}) || list.Denies(&token.Identity{Subject: "47"}) || list.Broken() != broken {
					t.Errorf("%s, %s: denied %v, broken %v", name, when, list.Denies(&token.Identity{Subject: "46"}), list.Broken())
				}
			}
			// Nobody sees a writer who is elsewhere; but that the file grows is seen.
			writing.Store(true)
			text := "subjects: [\"47\"]\n"
			// Never at the moment of a look.
			time.Sleep(denylist.Interval / 4)
			for range 20 {
				text += "# and more\n"
				write(text)
				time.Sleep(denylist.Interval / 2)
				check("growing", false)
			}
			if seen {
				time.Sleep(10 * time.Second)
				check("still", false)
				told <- struct{}{}
				check("told of something else", false)
				time.Sleep(time.Minute)
				check("never finished", true)
			}
			write("jtis: [a]")
			writing.Store(false)
			if seen {
				told <- struct{}{}
			} else {
				time.Sleep(3 * time.Second)
			}
			synctest.Wait()
			if !list.Denies(&token.Identity{ID: "a"}) || list.Denies(&token.Identity{Subject: "46"}) || list.Broken() {
				t.Errorf("%s: what is finished is not in force", name)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`subjects: ["46"]`))
	f.Add([]byte("issued_before: 2026-01-31T12:00:00Z\njtis: [a, b]"))
	f.Add([]byte(`{"clients":["x"]}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) > 4096 {
			return
		}
		rules, err := denylist.Parse(file)
		if err == nil {
			rules.Denies(&token.Identity{Subject: "46"})
		}
	})
}
