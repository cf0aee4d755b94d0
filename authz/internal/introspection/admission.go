package introspection

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// class is how much speaks for a token before the issuer was asked about it. What
// is scarce goes to the first classes first.
type class int

const (
	// vouched: the issuer called it good before, or one of its keys signed it.
	vouched class = iota
	// returned: turned away a moment ago, and back after the time it was told. Made-up
	// tokens rarely come twice, since the next one costs nothing.
	returned
	// unseen: nothing is known about it.
	unseen
	// refused: denied lately.
	refused
	// The last three, from addresses whose tokens keep failing.
	doubtedReturned
	doubtedUnseen
	doubtedRefused
	classes
)

// The share of the calls per second, and of those at once, that a class leaves to
// the ones before it.
var reserve = [classes]struct{ perSecond, atOnce float64 }{
	vouched:         {0, 0},
	returned:        {0, 1. / 8},
	unseen:          {2. / 8, 2. / 8},
	refused:         {3. / 8, 3. / 8},
	doubtedReturned: {4. / 8, 4. / 8},
	doubtedUnseen:   {4. / 8, 5. / 8},
	doubtedRefused:  {4. / 8, 6. / 8},
}

const (
	// leastBurst lets a low rate still tell the classes apart.
	leastBurst = 8
	// doubtedShare is the part of the rate that tokens of doubted addresses can take:
	// a flood of made-up ones from there goes on to the issuer at this rate at most.
	doubtedShare = 1. / 3
	// waitingPerTurn bounds the tokens of a class that wait for a turn, and so what a
	// flood of bad ones can hold.
	waitingPerTurn = 4
	// returnAfter is a little less than the Retry-After of those turned away, since
	// clocks differ; they are known for returnWithin to twice that.
	returnAfter  = 900 * time.Millisecond
	returnWithin = 30 * time.Second
	// knownFor and deniedFor are how long the issuer's word is known, to twice that.
	knownFor  = 12 * time.Hour
	deniedFor = 10 * time.Minute
	// mostStrangers bounds the tokens that were turned away or denied. Each takes
	// about 40 bytes.
	mostStrangers = 1 << 15
)

var (
	errTooMany = errors.New("too many tokens that are not known")
	errQueue   = errors.New("too many tokens wait for their turn")
	errNoTurn  = errors.New("no turn in time")
)

// admission decides which token is asked about when there are more than the
// issuer is to be asked about. A good token that was never seen cannot be told
// from a made-up one; what can be told is in the classes.
type admission struct {
	wait time.Duration
	most int // calls at once

	mu      sync.Mutex
	calls   *rate.Limiter // of all that are not vouched for
	doubted *rate.Limiter // of those of them from doubted addresses
	now     int           // calls under way
	queues  [classes][]chan struct{}

	known, denied recent[struct{}]
	turnedAway    recent[time.Time] // and when first
}

func newAdmission(perSecond, atOnce, known int, wait time.Duration) *admission {
	limiter := func(perSecond float64) *rate.Limiter {
		return rate.NewLimiter(rate.Limit(perSecond), max(leastBurst, int(perSecond)))
	}
	return &admission{
		wait: wait, most: atOnce,
		calls: limiter(float64(perSecond)), doubted: limiter(float64(perSecond) * doubtedShare),
		known:      recent[struct{}]{most: known, life: knownFor},
		denied:     recent[struct{}]{most: mostStrangers, life: deniedFor},
		turnedAway: recent[time.Time]{most: mostStrangers, life: returnWithin},
	}
}

// enter waits until a call about a token may be made; leave must follow it. The
// mark stands for the token.
func (a *admission) enter(ctx context.Context, mark uint64, doubted bool) error {
	a.mu.Lock()
	now := time.Now()
	c := a.classify(mark, doubted, now)
	err := a.enterAs(ctx, c)
	if err != nil && ctx.Err() == nil {
		if _, before := a.turnedAway.get(mark, now); !before {
			a.turnedAway.put(mark, now, now)
		}
	}
	a.mu.Unlock()
	return err
}

// enterVouched is enter for a token that is good as far as it can be seen.
func (a *admission) enterVouched(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.enterAs(ctx, vouched)
}

// enterAs holds the lock but for the wait.
func (a *admission) enterAs(ctx context.Context, c class) error {
	if !a.affords(c, time.Now()) {
		return errTooMany
	}
	if a.now < a.atOnce(c) {
		a.begin(c)
		return nil
	}
	if len(a.queues[c]) >= waitingPerTurn*a.atOnce(c) {
		return errQueue
	}
	turn := make(chan struct{})
	a.queues[c] = append(a.queues[c], turn)
	a.mu.Unlock()
	timer := time.NewTimer(a.wait)
	defer timer.Stop()
	var err error
	select {
	case <-turn:
	case <-timer.C:
		err = errNoTurn
	case <-ctx.Done():
		err = ctx.Err()
	}
	a.mu.Lock()
	if err == nil {
		return nil
	}
	for i, other := range a.queues[c] {
		if other == turn {
			a.queues[c] = append(a.queues[c][:i], a.queues[c][i+1:]...)
			return err
		}
	}
	// Its turn came at the same moment.
	return nil
}

// leave ends a call and gives its turn to the first of the first class that may
// have it.
func (a *admission) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now--
	now := time.Now()
	for c := range classes {
		for len(a.queues[c]) > 0 && a.now < a.atOnce(c) && a.affords(c, now) {
			a.begin(c)
			close(a.queues[c][0])
			a.queues[c] = a.queues[c][1:]
		}
	}
}

// atOnce is how many calls may be under way when one of this class is added.
func (a *admission) atOnce(c class) int {
	return max(1, a.most-int(reserve[c].atOnce*float64(a.most)))
}

// affords reports whether the rates leave room for a call of this class.
func (a *admission) affords(c class, now time.Time) bool {
	if c == vouched {
		return true
	}
	if a.calls.TokensAt(now) < 1+reserve[c].perSecond*float64(a.calls.Burst()) {
		return false
	}
	if c < doubtedReturned {
		return true
	}
	// Among the doubted the same order holds.
	behind := float64(c-doubtedReturned) / 3
	return a.doubted.TokensAt(now) >= 1+behind*float64(a.doubted.Burst())
}

// begin counts a call.
func (a *admission) begin(c class) {
	a.now++
	now := time.Now()
	if c != vouched {
		a.calls.AllowN(now, 1)
	}
	if c >= doubtedReturned {
		a.doubted.AllowN(now, 1)
	}
}

func (a *admission) classify(mark uint64, doubted bool, now time.Time) class {
	if _, known := a.known.get(mark, now); known {
		return vouched
	}
	of := unseen
	_, denied := a.denied.get(mark, now)
	first, before := a.turnedAway.get(mark, now)
	switch {
	case denied:
		of = refused
	case before && now.Sub(first) >= returnAfter:
		of = returned
	}
	if doubted {
		of += doubtedReturned - returned
	}
	return of
}

// learn remembers what the issuer said about a token.
func (a *admission) learn(mark uint64, good bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.turnedAway.forget(mark)
	if !good {
		a.known.forget(mark)
		a.denied.put(mark, struct{}{}, now)
		return
	}
	a.denied.forget(mark)
	a.known.put(mark, struct{}{}, now)
}

// recent holds what was put into it for at least a life, in two generations of
// at most so many each: a flood pushes out the oldest, and nothing is walked
// through.
type recent[V any] struct {
	most       int
	life       time.Duration
	young, old map[uint64]V
	born       time.Time
}

func (r *recent[V]) get(mark uint64, now time.Time) (V, bool) {
	r.age(now)
	if value, found := r.young[mark]; found {
		return value, true
	}
	value, found := r.old[mark]
	return value, found
}

func (r *recent[V]) put(mark uint64, value V, now time.Time) {
	r.age(now)
	if len(r.young) >= r.most {
		r.old, r.young, r.born = r.young, nil, now
	}
	if r.young == nil {
		r.young = make(map[uint64]V)
	}
	r.young[mark] = value
}

func (r *recent[V]) forget(mark uint64) {
	delete(r.young, mark)
	delete(r.old, mark)
}

func (r *recent[V]) age(now time.Time) {
	switch age := now.Sub(r.born); {
	case age >= 2*r.life:
		r.young, r.old, r.born = nil, nil, now
	case age >= r.life:
		r.old, r.young, r.born = r.young, nil, now
	}
}
