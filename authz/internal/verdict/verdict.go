// Package verdict remembers what was decided about a token. It never holds a
// token: its keys are hashes under a secret of the process, so neither a heap
// dump nor a guessed collision tells anything about one.
package verdict

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"slices"
	"strings"
	"sync"
	"time"
	"unique"
	"unsafe"

	"github.com/maypok86/otter/v2"

	"github.com/neonpanel/mcp-gateway/authz/internal/keys"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

// Config is what a Cache is made from.
type Config struct {
	// MaxTTL bounds how long an acceptance is remembered; a token's own expiry
	// bounds it too.
	MaxTTL time.Duration
	// RefusedTTL is how long a refusal is remembered.
	RefusedTTL time.Duration
	// Size bounds the number of acceptances, and with it their memory: an
	// entry that is longer than usual counts as several.
	Size int
}

const (
	// roomyEntry is what Config.Size counts in: the memory of an acceptance
	// with long identifiers and many scopes, sharing nothing with others. Most
	// take half of it.
	roomyEntry = 608
	// entryBase is the part of an entry that does not depend on the token, the
	// cache's own memory included.
	entryBase = 208
	// maxRefusals bounds the refusals.
	maxRefusals = 10_000
)

// Key stands for a token.
type Key [sha256.Size]byte

// Verdict is an acceptance.
type Verdict struct {
	Identity token.Identity
	// Key is what vouched for the token, if ByKey.
	Key   keys.Thumbprint
	ByKey bool
	// Audience is the reason for which the audience rules would refuse the token,
	// were they enforced; else empty.
	Audience token.Reason
}

// Cache remembers verdicts. Acceptances and refusals live apart, so that a
// flood of bad tokens displaces no good one.
type Cache struct {
	accepted *otter.Cache[Key, *accepted]
	refused  *otter.Cache[Key, refused]
	hashers  sync.Pool
	scopes   scopeSets
}

// accepted is a Verdict in little memory: there may be 100,000 of them. What
// many tokens have in common is held once.
type accepted struct {
	// text is the subject followed by the token's id.
	text    string
	subject int32 // length
	// Dates as seconds and nanoseconds; noDate for none.
	issuedNanos, expiresNanos int32
	audience                  audience
	issued, expires           int64
	client                    unique.Handle[string]
	scopes                    *[]string
	// key is the zero handle if no key vouched for the token.
	key unique.Handle[keys.Thumbprint]
}

// audience is an index into audiences, which takes no memory beside the dates.
type audience uint8

var audiences = [...]token.Reason{"", token.AudienceMissing, token.AudienceMismatch, token.ScopeClaimMissing}

// noDate is the zero time.Time in Unix seconds.
var noDate = time.Time{}.Unix()

func date(seconds int64, nanos int32) time.Time {
	if seconds == noDate {
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanos))
}

type refused struct {
	reason  *token.Error
	version uint64
}

// New makes an empty Cache. Close must be called in the end.
func New(config Config) (*Cache, error) {
	positive, err := otter.New(&otter.Options[Key, *accepted]{
		MaximumWeight: uint64(config.Size) * roomyEntry,
		Weigher:       func(_ Key, a *accepted) uint32 { return a.weight() },
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[Key, *accepted]) time.Duration {
			return min(time.Until(date(e.Value.expires, e.Value.expiresNanos)), config.MaxTTL)
		}),
	})
	if err != nil {
		return nil, err
	}
	negative, err := otter.New(&otter.Options[Key, refused]{
		MaximumSize:      min(config.Size, maxRefusals),
		ExpiryCalculator: otter.ExpiryWriting[Key, refused](config.RefusedTTL),
	})
	if err != nil {
		positive.StopAllGoroutines()
		return nil, err
	}
	secret := make([]byte, sha256.Size)
	// Never fails (crypto/rand).
	_, _ = rand.Read(secret)
	c := &Cache{accepted: positive, refused: negative}
	c.hashers.New = func() any { return &hasher{mac: hmac.New(sha256.New, secret)} }
	return c, nil
}

// Close ends the goroutines of the cache; it can still be used, but no longer
// rids itself of expired entries.
func (c *Cache) Close() {
	c.accepted.StopAllGoroutines()
	c.refused.StopAllGoroutines()
}

type hasher struct {
	mac  hash.Hash
	text []byte
	sum  []byte
}

// Hash makes the Key of a token.
func (c *Cache) Hash(raw string) Key {
	h := c.hashers.Get().(*hasher)
	h.text = append(h.text[:0], raw...)
	h.mac.Reset()
	h.mac.Write(h.text)
	h.sum = h.mac.Sum(h.sum[:0])
	key := Key(h.sum)
	clear(h.text)
	c.hashers.Put(h)
	return key
}

// Accepted returns a remembered acceptance. Whether it still holds is for the
// caller to see: it may have expired since. Its scopes are shared and must not
// be changed.
func (c *Cache) Accepted(key Key) (Verdict, bool) {
	a, found := c.accepted.GetIfPresent(key)
	if !found {
		return Verdict{}, false
	}
	v := Verdict{Audience: audiences[a.audience], Identity: token.Identity{
		Subject:  a.text[:a.subject],
		ClientID: a.client.Value(),
		ID:       a.text[a.subject:],
		Scopes:   *a.scopes,
		IssuedAt: date(a.issued, a.issuedNanos),
		Expires:  date(a.expires, a.expiresNanos),
	}}
	if a.key != (unique.Handle[keys.Thumbprint]{}) {
		v.Key, v.ByKey = a.key.Value(), true
	}
	return v, true
}

// Accept remembers an acceptance until the token expires or MaxTTL is over.
func (c *Cache) Accept(key Key, v Verdict) {
	id := &v.Identity
	if !time.Now().Before(id.Expires) {
		return
	}
	a := &accepted{
		text:         id.Subject + id.ID,
		subject:      int32(len(id.Subject)),
		issued:       id.IssuedAt.Unix(),
		issuedNanos:  int32(id.IssuedAt.Nanosecond()),
		expires:      id.Expires.Unix(),
		expiresNanos: int32(id.Expires.Nanosecond()),
		client:       unique.Make(id.ClientID),
		scopes:       c.scopes.intern(id.Scopes),
	}
	// One of another reason would be remembered as none at all: it is not kept.
	at := slices.Index(audiences[:], v.Audience)
	if at < 0 {
		return
	}
	a.audience = audience(at)
	if v.ByKey {
		a.key = unique.Make(v.Key)
	}
	c.accepted.Set(key, a)
}

// AcceptUntil is Accept for what was decided elsewhere: it is remembered until
// then at most.
func (c *Cache) AcceptUntil(key Key, v Verdict, until time.Time) {
	left := min(time.Until(until), time.Until(v.Identity.Expires))
	if left <= 0 {
		return
	}
	c.Accept(key, v)
	c.accepted.SetExpiresAfter(key, left)
}

// Forget drops an acceptance.
func (c *Cache) Forget(key Key) { c.accepted.Invalidate(key) }

// Refused returns a remembered refusal that still holds for this version of
// the key set.
func (c *Cache) Refused(key Key, version uint64) (*token.Error, bool) {
	r, found := c.refused.GetIfPresent(key)
	if !found || r.version != version {
		return nil, false
	}
	return r.reason, true
}

// Refuse remembers a refusal briefly, for one version of the key set.
func (c *Cache) Refuse(key Key, reason token.Reason, version uint64) {
	c.refused.Set(key, refused{reason: token.Refuse(reason, nil), version: version})
}

// Sizes is the number of acceptances and refusals held, roughly.
func (c *Cache) Sizes() (accepted, refused int) {
	return c.accepted.EstimatedSize(), c.refused.EstimatedSize()
}

// weight is the most memory that the entry can take.
func (a *accepted) weight() uint32 {
	size := entryBase + len(a.text) + len(a.client.Value())
	for _, scope := range *a.scopes {
		size += len(scope) + 1 + int(unsafe.Sizeof(scope))
	}
	return uint32(max(size, roomyEntry))
}

// scopeSets holds each set of scopes once: a gateway's tokens carry few
// different ones.
type scopeSets struct {
	mu  sync.Mutex
	set map[string]*[]string
}

// maxScopeSets bounds what is shared; beyond it sharing starts anew.
const maxScopeSets = 1024

func (s *scopeSets) intern(scopes []string) *[]string {
	joined := strings.Join(scopes, " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, found := s.set[joined]; found {
		return known
	}
	if s.set == nil || len(s.set) >= maxScopeSets {
		s.set = make(map[string]*[]string)
	}
	// One string carries all of them; nil stays nil.
	var copied []string
	if len(scopes) > 0 {
		copied = strings.Split(joined, " ")
	}
	s.set[joined] = &copied
	return &copied
}
