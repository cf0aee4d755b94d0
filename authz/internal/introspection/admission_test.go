package introspection

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecentForgetsByAgeAndByNumber(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	r := recent[int]{most: 3, life: time.Minute}
	has := func(mark uint64) bool { _, found := r.get(mark, now); return found }
	r.put(1, 10, now)
	now = now.Add(59 * time.Second)
	if value, found := r.get(1, now); !found || value != 10 {
		t.Error(value, found)
	}
	now = now.Add(time.Minute)
	if !has(1) {
		t.Error("gone within two lives")
	}
	r.put(2, 20, now)
	now = now.Add(time.Minute)
	if has(1) || !has(2) {
		t.Error("the old ones stay, or the young ones go")
	}
	for mark := uint64(3); mark <= 6; mark++ {
		r.put(mark, 0, now)
	}
	if has(2) {
		t.Error("pushed out by none")
	}
	for mark := uint64(3); mark <= 6; mark++ {
		if !has(mark) {
			t.Errorf("%d is gone", mark)
		}
	}
	for mark := uint64(100); mark < 200; mark++ {
		r.put(mark, 0, now)
	}
	if n := len(r.young) + len(r.old); n > 6 {
		t.Errorf("%d held, most are 6", n)
	}
	r.forget(199)
	now = now.Add(time.Hour)
	if has(199) || has(198) || len(r.young)+len(r.old) != 0 {
		t.Error("held for ever")
	}
}

func TestClasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(1, 1, 10, time.Second)
		const good, bad, away = 1, 2, 3
		a.learn(good, true)
		a.learn(bad, false)
		// What the rate has is used up.
		for mark := uint64(100); a.enter(t.Context(), mark, false) == nil; mark++ {
			a.leave()
		}
		if err := a.enter(t.Context(), away, false); err == nil {
			t.Fatal("let in")
		}
		check := func(when string, mark uint64, want class) {
			t.Helper()
			if got := a.classify(mark, false, time.Now()); got != want {
				t.Errorf("%s: %d, want %d", when, got, want)
			}
			doubted := want
			if want != vouched {
				doubted += doubtedReturned - returned
			}
			if got := a.classify(mark, true, time.Now()); got != doubted {
				t.Errorf("%s, doubted: %d, want %d", when, got, doubted)
			}
		}
		check("good before", good, vouched)
		check("denied", bad, refused)
		check("new", 9, unseen)
		check("turned away, and back at once", away, unseen)
		time.Sleep(time.Second)
		check("turned away, and back when told", away, returned)
		check("good before", good, vouched)
		a.learn(good, false)
		a.learn(bad, true)
		a.learn(away, false)
		check("good, then denied", good, refused)
		check("denied, then good", bad, vouched)
		check("back, then denied", away, refused)
		time.Sleep(48 * time.Hour)
		for _, mark := range []uint64{good, bad, away} {
			check("forgotten", mark, unseen)
		}
	})
}

// Whatever it came to, a turn is given back, and who waits in vain leaves the line.
func TestTurnsAreGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(1000, 2, 10, 300*time.Millisecond)
		for range 2 {
			if err := a.enterVouched(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ended := make(chan error, 3)
		wait := func(ctx context.Context) { go func() { ended <- a.enterVouched(ctx) }() }
		cancelled, cancel := context.WithCancel(t.Context())
		wait(cancelled)
		synctest.Wait()
		cancel()
		if err := <-ended; err != context.Canceled {
			t.Error("cancelled:", err)
		}
		wait(t.Context())
		if err := <-ended; err != errNoTurn {
			t.Error("in vain:", err)
		}
		wait(t.Context())
		synctest.Wait()
		a.leave()
		if err := <-ended; err != nil {
			t.Error("after one left:", err)
		}
		if a.now != 2 || len(a.queues[vouched]) != 0 {
			t.Errorf("%d under way, %d wait", a.now, len(a.queues[vouched]))
		}
		a.leave()
		a.leave()
		if a.now != 0 {
			t.Errorf("%d under way", a.now)
		}
	})
}
