package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Call is one request; it is told its number, which no other has.
type Call func(n int) error

// Run is what came of a load.
type Run struct {
	Calls int
	Took  time.Duration
	// CPU is what each watched process spent on it.
	CPU []time.Duration
	// Latencies are in milliseconds.
	Latencies Sample
}

// PerSecond is the throughput.
func (r Run) PerSecond() float64 { return float64(r.Calls) / r.Took.Seconds() }

// MicrosPerCall is what the watched process spent on one call.
func (r Run) MicrosPerCall(process int) float64 {
	return float64(r.CPU[process].Nanoseconds()) / 1000 / float64(r.Calls)
}

// Plus adds a further run under the same load.
func (r Run) Plus(more Run) Run {
	sum := Run{Calls: r.Calls + more.Calls, Took: r.Took + more.Took, CPU: make([]time.Duration, len(more.CPU))}
	copy(sum.CPU, r.CPU)
	for i := range more.CPU {
		sum.CPU[i] += more.CPU[i]
	}
	sum.Latencies = append(append(sum.Latencies, r.Latencies...), more.Latencies...)
	return sum
}

// watch runs a load and adds what the processes spent meanwhile.
func watch(pids []int, load func() (Run, error)) (Run, error) {
	before := make([]time.Duration, len(pids))
	var err error
	for i, pid := range pids {
		if before[i], err = CPU(pid); err != nil {
			return Run{}, err
		}
	}
	began := time.Now()
	run, err := load()
	if err != nil {
		return Run{}, err
	}
	run.Took = time.Since(began)
	if run.Calls == 0 {
		return Run{}, errors.New("not one call was answered in the time given")
	}
	for i, pid := range pids {
		after, err := CPU(pid)
		if err != nil {
			return Run{}, err
		}
		run.CPU = append(run.CPU, after-before[i])
	}
	return run, nil
}

// Closed keeps so many calls in flight for a while. It measures what a call
// costs and how many there can be, but no latency: a slow server is asked less.
func Closed(ctx context.Context, inFlight int, lasts time.Duration, call Call, pids ...int) (Run, error) {
	deadline := time.Now().Add(lasts)
	return closed(ctx, inFlight, func(int) bool { return time.Now().Before(deadline) }, call, pids)
}

// Each makes the calls number 0 to count-1, so many in flight.
func Each(ctx context.Context, inFlight, count int, call Call, pids ...int) (Run, error) {
	return closed(ctx, inFlight, func(n int) bool { return n < count }, call, pids)
}

func closed(ctx context.Context, inFlight int, more func(n int) bool, call Call, pids []int) (Run, error) {
	return watch(pids, func() (Run, error) {
		var next, answered atomic.Int64
		var failed atomic.Bool
		var workers sync.WaitGroup
		errs := make([]error, inFlight)
		for w := range inFlight {
			workers.Go(func() {
				for !failed.Load() {
					n := int(next.Add(1) - 1)
					if !more(n) {
						return
					}
					err := call(n)
					if ctx.Err() != nil {
						err = context.Cause(ctx)
					}
					if err != nil {
						errs[w] = err
						failed.Store(true)
						return
					}
					answered.Add(1)
				}
			})
		}
		workers.Wait()
		for _, err := range errs {
			if err != nil {
				return Run{}, err
			}
		}
		return Run{Calls: int(answered.Load())}, nil
	})
}

// Open starts calls at a fixed rate for a while, however long the answers take,
// and counts each one's latency from when it was due: neither a server that
// stalls nor a client that is late hides a wait (coordinated omission).
func Open(ctx context.Context, perSecond int, lasts time.Duration, call Call, pids ...int) (Run, error) {
	return watch(pids, func() (Run, error) {
		count := int(lasts.Seconds() * float64(perSecond))
		latencies, errs := make(Sample, count), make([]error, count)
		var calls sync.WaitGroup
		began := time.Now()
		// A thread of its own sleeps more exactly than Go's timers.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for n := range count {
			due := began.Add(time.Duration(n) * time.Second / time.Duration(perSecond))
			if err := sleep(ctx, time.Until(due)); err != nil {
				calls.Wait()
				return Run{}, err
			}
			calls.Go(func() {
				errs[n] = call(n)
				latencies[n] = float64(time.Since(due)) / float64(time.Millisecond)
			})
		}
		calls.Wait()
		if err := errors.Join(errs...); err != nil {
			return Run{}, fmt.Errorf("at %d calls a second: %w", perSecond, err)
		}
		return Run{Calls: count, Latencies: latencies}, nil
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d > 0 {
		t := syscall.NsecToTimespec(d.Nanoseconds())
		// A signal may end the sleep early: then the call is early too, which
		// no later one is because of it.
		_ = syscall.Nanosleep(&t, nil)
	}
	return nil
}
