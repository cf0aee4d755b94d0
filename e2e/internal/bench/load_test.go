package bench

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestOpenCountsLatencyFromWhenACallWasDue(t *testing.T) {
	t.Parallel()
	// A server that can do one thing at a time and stalls once: a client that
	// waited for it would count one slow call, where many were due.
	const stall = 200 * time.Millisecond
	var server sync.Mutex
	run, err := Open(t.Context(), 200, 500*time.Millisecond, func(n int) error {
		server.Lock()
		defer server.Unlock()
		if n == 20 {
			time.Sleep(stall)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if run.Calls != 100 || len(run.Latencies) != 100 {
		t.Fatalf("%d calls, %d latencies, want 100 of each", run.Calls, len(run.Latencies))
	}
	late := 0
	for _, ms := range run.Latencies[20:60] {
		if ms > 50 {
			late++
		}
	}
	// 40 calls were due during the stall, 30 of them more than 50 ms before its end.
	if late < 30 {
		t.Errorf("%d calls are late, want at least 30: the wait for the server is hidden", late)
	}
}

func TestEachMakesEveryCallOnce(t *testing.T) {
	t.Parallel()
	var made [1000]atomic.Int32
	run, err := Each(t.Context(), 8, len(made), func(n int) error {
		made[n].Add(1)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if run.Calls != len(made) {
		t.Errorf("%d calls, want %d", run.Calls, len(made))
	}
	for n := range made {
		if times := made[n].Load(); times != 1 {
			t.Errorf("call %d was made %d times", n, times)
		}
	}
}

func TestAFailedCallEndsTheMeasurement(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	call := func(n int) error {
		if n == 7 {
			return broken
		}
		return nil
	}
	if _, err := Closed(t.Context(), 4, time.Minute, call); !errors.Is(err, broken) {
		t.Errorf("Closed: %v, want the call's error", err)
	}
	if _, err := Each(t.Context(), 4, 100, call); !errors.Is(err, broken) {
		t.Errorf("Each: %v, want the call's error", err)
	}
	if _, err := Open(t.Context(), 1000, 20*time.Millisecond, call); !errors.Is(err, broken) {
		t.Errorf("Open: %v, want the call's error", err)
	}
}

func TestRunsAddUp(t *testing.T) {
	t.Parallel()
	sum := Run{}.Plus(Run{Calls: 10, Took: time.Second, CPU: []time.Duration{time.Millisecond}}).
		Plus(Run{Calls: 30, Took: time.Second, CPU: []time.Duration{3 * time.Millisecond}})
	if got := sum.PerSecond(); got != 20 {
		t.Errorf("PerSecond = %v, want 20", got)
	}
	if got := sum.MicrosPerCall(0); got != 100 {
		t.Errorf("MicrosPerCall = %v, want 100", got)
	}
}

func TestTheContextEndsAMeasurement(t *testing.T) {
	t.Parallel()
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(over)
	idle := func(int) error { return nil }
	if _, err := Closed(ctx, 2, time.Minute, idle); !errors.Is(err, over) {
		t.Errorf("Closed: %v, want the cause", err)
	}
	if _, err := Open(ctx, 10, time.Minute, idle); !errors.Is(err, over) {
		t.Errorf("Open: %v, want the cause", err)
	}
}

func TestCPUCountsWhatAProcessDoes(t *testing.T) {
	t.Parallel()
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// However long it takes on a busy machine, the clock must get there.
	for deadline := time.Now().Add(30 * time.Second); ; {
		after, err := CPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after-before >= 20*time.Millisecond {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("half a minute of work counts as %s", after-before)
		}
	}
	if _, err := CPU(1 << 22); err == nil {
		t.Error("a process that is not there has CPU time")
	}
}

func TestRSSSeesMemoryThatIsTouched(t *testing.T) {
	before, err := RSS(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	memory := make([]byte, size)
	for i := range memory {
		memory[i] = byte(i)
	}
	after, err := RSS(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after-before < size/2 {
		t.Errorf("touching %d bytes made %.0f resident, the sum is %d", size, after-before, memory[size-1])
	}
}

func TestLiveHeapComesFromWhenTheNextCollectionIsDue(t *testing.T) {
	t.Parallel()
	metrics := func(next, limit float64) map[string]float64 {
		return map[string]float64{"go_memstats_next_gc_bytes": next, "go_gc_gogc_percent": 400, "go_gc_gomemlimit_bytes": limit}
	}
	if got, err := LiveHeap(metrics(50, 256)); err != nil || got != 10 {
		t.Errorf("LiveHeap = %v, %v, want 10", got, err)
	}
	if got, err := LiveHeap(metrics(240, 256)); err == nil {
		t.Errorf("LiveHeap = %v although the memory limit decides", got)
	}
	if got, err := LiveHeap(nil); err == nil {
		t.Errorf("LiveHeap = %v of no metrics", got)
	}
}
