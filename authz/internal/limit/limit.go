// Package limit slows down addresses whose requests keep being refused. Only
// refused and anonymous requests count, so that a thousand users with good
// tokens behind one address never limit each other.
package limit

import (
	"net/netip"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// maxAddresses bounds the memory: an address that is pushed out starts afresh.
const maxAddresses = 1 << 16

// Refused is a token bucket per address.
type Refused struct {
	perSecond rate.Limit
	burst     int
	buckets   *otter.Cache[netip.Addr, *rate.Limiter]
}

// New allows so many refusals per minute and address, and burst at once.
// A perMinute of 0 is no limit.
func New(perMinute, burst int) (*Refused, error) {
	return bounded(perMinute, burst, maxAddresses)
}

// leastFailed is the least that an address may have fail at once.
const leastFailed = 8

// NewFailed is the limit from which on an address is in doubt: that of refusals, but
// no more than a third of the calls about unknown tokens, so that what one address has
// fail leaves most of them to others however few they are.
func NewFailed(refusedPerMinute, refusedBurst, unknownPerSecond int) (*Refused, error) {
	perMinute := 60 * unknownPerSecond / 3
	if refusedPerMinute > 0 {
		perMinute = min(perMinute, refusedPerMinute)
	}
	return New(perMinute, min(refusedBurst, max(leastFailed, unknownPerSecond)))
}

func bounded(perMinute, burst, addresses int) (*Refused, error) {
	r := &Refused{perSecond: rate.Limit(float64(perMinute) / 60), burst: burst}
	if perMinute == 0 {
		return r, nil
	}
	buckets, err := otter.New(&otter.Options[netip.Addr, *rate.Limiter]{MaximumSize: addresses})
	if err != nil {
		return nil, err
	}
	r.buckets = buckets
	return r, nil
}

// Take counts one refused request. When there were too many it returns false,
// and how long until the next is answered again.
func (r *Refused) Take(now time.Time, from netip.Addr) (time.Duration, bool) {
	if r.buckets == nil {
		return 0, true
	}
	key := Key(from)
	bucket, found := r.buckets.GetIfPresent(key)
	if !found {
		bucket, _ = r.buckets.SetIfAbsent(key, rate.NewLimiter(r.perSecond, r.burst))
	}
	if bucket.AllowN(now, 1) {
		return 0, true
	}
	short := 1 - bucket.TokensAt(now)
	return time.Duration(short / float64(r.perSecond) * float64(time.Second)), false
}

// Spent reports whether an address used up most of what it may have refused. Some is
// left to go by: a bucket that is empty but for a moment after each drop would let
// through in these moments all that come at once.
func (r *Refused) Spent(now time.Time, from netip.Addr) bool {
	if r.buckets == nil {
		return false
	}
	bucket, found := r.buckets.GetIfPresent(Key(from))
	return found && bucket.TokensAt(now) < max(1, float64(r.burst)/4)
}

// Key is the address itself, or of IPv6 its /64: one host has a whole /64 to
// choose addresses from (RFC 4291 §2.5.4).
func Key(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr
	}
	prefix, _ := addr.Prefix(64)
	return prefix.Addr()
}
