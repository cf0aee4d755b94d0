package limit

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Unix(1_800_000_000, 0)

func TestRefusedAllowsABurstAndThenTheRate(t *testing.T) {
	t.Parallel()
	r, err := New(60, 3)
	if err != nil {
		t.Fatal(err)
	}
	from := netip.MustParseAddr("192.0.2.1")
	for i := range 3 {
		if _, ok := r.Take(start, from); !ok {
			t.Fatalf("refusal %d of the burst was limited", i+1)
		}
	}
	wait, ok := r.Take(start, from)
	if ok || wait <= 0 || wait > time.Second {
		t.Fatalf("after the burst: ok %v, wait %v; want a wait of up to 1s", ok, wait)
	}
	if _, ok := r.Take(start, netip.MustParseAddr("192.0.2.2")); !ok {
		t.Error("another address was limited as well")
	}
	if _, ok := r.Take(start.Add(wait), from); !ok {
		t.Error("still limited after the wait that was named")
	}
}

func TestRefusedWithoutLimit(t *testing.T) {
	t.Parallel()
	r, err := New(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, ok := r.Take(start, netip.Addr{}); !ok {
			t.Fatal("limited although there is no limit")
		}
	}
}

func TestKeyGroupsWhatOneHostCanChoose(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.1":            "192.0.2.1",
		"::ffff:192.0.2.1":     "192.0.2.1",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::",
		"2001:db8:1:2:ffff::1": "2001:db8:1:2::",
		"2001:db8:1:3::1":      "2001:db8:1:3::",
		"fe80::1%eth0":         "fe80::",
	} {
		if got := Key(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("Key(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestSpentIsWhetherLittleIsLeft(t *testing.T) {
	t.Parallel()
	r, err := New(60, 2)
	if err != nil {
		t.Fatal(err)
	}
	from, same, other := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8:0:1::1")
	for taken := range 3 {
		if got := r.Spent(start, same); got != (taken == 2) {
			t.Errorf("after %d: %v", taken, got)
		}
		r.Take(start, from)
	}
	if r.Spent(start, other) || r.Spent(start.Add(2*time.Second), from) {
		t.Error("another address, or later")
	}
	// A drop now and then does not make an address look rested.
	if r, err = New(600, 200); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		r.Take(start, from)
	}
	for after, want := range map[time.Duration]bool{0: true, 100 * time.Millisecond: true, 4900 * time.Millisecond: true, 5100 * time.Millisecond: false} {
		if r.Spent(start.Add(after), from) != want {
			t.Errorf("%v after the last refusal: %v", after, !want)
		}
	}
	if none, _ := New(0, 1); none.Spent(start, from) {
		t.Error("spent although there is no limit")
	}
}

// However low the rate is, most of it is not one address's.
func TestFailedIsAThirdOfALowRate(t *testing.T) {
	t.Parallel()
	for perSecond, want := range map[int]struct{ perMinute, burst int }{
		1: {20, 8}, 10: {200, 10}, 30: {600, 30}, 300: {600, 200}, 10000: {600, 200},
	} {
		failed, err := NewFailed(600, 200, perSecond)
		if err != nil {
			t.Fatal(err)
		}
		now, from := start, netip.MustParseAddr("192.0.2.1")
		taken := func() (n int) {
			for n = 0; n <= want.burst; n++ {
				if _, ok := failed.Take(now, from); !ok {
					break
				}
			}
			return n
		}
		if n := taken(); n != want.burst {
			t.Errorf("%d: %d at once, want %d", perSecond, n, want.burst)
		}
		// What comes back in the time for two.
		now = now.Add(2*time.Minute/time.Duration(want.perMinute) + time.Millisecond)
		if n := taken(); n != 2 {
			t.Errorf("%d: %d more, want 2", perSecond, n)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const most = 1000
	r, err := bounded(60, 1, most)
	if err != nil {
		t.Fatal(err)
	}
	for i := range most * 10 {
		r.Take(start, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	r.buckets.CleanUp()
	if n := r.buckets.EstimatedSize(); n == 0 || n > most {
		t.Errorf("%d addresses are remembered, want at most %d", n, most)
	}
}
