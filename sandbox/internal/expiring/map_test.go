package expiring_test

import (
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/expiring"
)

func TestMap(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	m := expiring.New[string, int](2, func() time.Time { return now })
	has := func(key string, want bool) {
		t.Helper()
		if _, ok := m.Get(key); ok != want {
			t.Errorf("%s at %s: %v, want %v", key, now.UTC(), ok, want)
		}
	}
	m.Put("a", 1, time.Minute)
	m.Put("b", 2, time.Hour)
	m.Put("a", 3, time.Minute) // replaced, and now the youngest
	m.Put("c", 4, time.Minute)
	has("b", false)
	has("a", true)
	has("c", true)
	if v, _ := m.Get("a"); v != 3 {
		t.Errorf("a is %d, want 3", v)
	}
	now = now.Add(time.Minute)
	has("a", false)
	if m.Len() != 1 {
		t.Errorf("%d entries, want the expired one that was asked for gone", m.Len())
	}
	m.Put("d", 5, time.Minute)
	if v, ok := m.Take("d"); !ok || v != 5 {
		t.Errorf("Take: %d, %v", v, ok)
	}
	if _, ok := m.Take("d"); ok {
		t.Error("taken twice")
	}
	m.Put("e", 6, time.Minute)
	m.DeleteFunc(func(k string, v int) bool { return k == "e" && v == 6 })
	has("e", false)
	m.Delete("never there")
}

func TestTakeGivesToOne(t *testing.T) {
	t.Parallel()
	m := expiring.New[int, int](1, time.Now)
	m.Put(1, 1, time.Hour)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := 0
	for range 16 {
		wg.Go(func() {
			if _, ok := m.Take(1); ok {
				mu.Lock()
				got++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if got != 1 {
		t.Errorf("%d callers got the value, want 1", got)
	}
}
