// Package writes remembers changes for a short time, so that none is made twice
// by accident: the NeonPanel API takes no idempotency key, and models and
// clients repeat calls whose answer they did not get. What is remembered is the
// answer and a keyed hash of the request, never the request itself.
package writes

import (
	"container/list"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// Keep is how long a change is remembered.
const Keep = 2 * time.Minute

// Write is a change that somebody wants made.
type Write struct {
	Subject, Tool string
	// Request is the canonical form of the request: equal for equal changes.
	Request []byte
	// Target is the path that is changed.
	Target string
	// Replaces says that the change sets a state, as PUT and DELETE do. The same
	// change is then no accident any more once another one was made to its target.
	Replaces bool
}

// Answer is how a change ended.
type Answer struct {
	// Response is nil when there is an Err, and when the answer of a change that
	// was made before is no longer kept.
	Response *neonpanel.Response
	Err      error
	// First is set when nothing was sent, because the same change was made Ago:
	// the answer is that of then. With an Err, it is not known whether it was made.
	First bool
	Ago   time.Duration
}

// Options bound what is remembered. Zero values mean the defaults.
type Options struct {
	Now func() time.Time
	// Entries is the most that is remembered of all callers, 10,000, and PerCaller
	// of one, 500; beyond them the oldest is forgotten.
	Entries, PerCaller int
	// Bytes is the most that all answers may take together, 16 MiB; beyond it the
	// oldest answers are dropped, though not the fact that there was one.
	Bytes int
}

// Memory remembers changes. It is safe for concurrent use.
type Memory struct {
	options Options
	key     [32]byte

	mu      sync.Mutex
	entries map[hash]*entry
	kept    *list.List // of *entry, in the order in which they ended
	owned   map[hash]int
	bytes   int
}

type hash [sha256.Size]byte

type entry struct {
	id, owner, target hash
	replaces          bool
	done              chan struct{} // closed when the change has ended

	// Set before done is closed.
	response *neonpanel.Response
	err      error
	ended    time.Time

	// Under the memory's lock.
	at    *list.Element // nil while it runs, and when it is not remembered
	stale bool          // another change was made to the target meanwhile
	// before is the same change, made earlier, of which this one is a repetition:
	// it is in force again when this one turns out not to have been made.
	before *entry
}

// New makes a Memory.
func New(options Options) *Memory {
	if options.Now == nil {
		options.Now = time.Now
	}
	for value, otherwise := range map[*int]int{&options.Entries: 10_000, &options.PerCaller: 500, &options.Bytes: 16 << 20} {
		if *value <= 0 {
			*value = otherwise
		}
	}
	m := &Memory{options: options, entries: map[hash]*entry{}, kept: list.New(), owned: map[hash]int{}}
	_, _ = rand.Read(m.key[:]) // it never fails
	return m
}

// Do makes the change with send, unless the same caller has made the same one
// within [Keep]: then the answer is that one's. While the same change is under
// way, Do waits for it. With repeat, it is made in any case.
//
// A change that was surely not made (see [Undone]) is not remembered, so that it
// can be tried again. When that was a repetition, what is known of the change
// that it repeats stays in force for the rest of its time.
func (m *Memory) Do(ctx context.Context, w Write, repeat bool, send func() (*neonpanel.Response, error)) Answer {
	id := m.hash("write", w.Subject, w.Tool, string(w.Request))
	for {
		m.mu.Lock()
		m.forgetOld()
		before := m.entries[id]
		if before == nil || repeat {
			e := &entry{
				id: id, owner: m.hash("owner", w.Subject), target: m.hash("target", w.Target),
				replaces: w.Replaces, done: make(chan struct{}),
			}
			m.begin(e)
			m.mu.Unlock()
			return m.run(e, send)
		}
		m.mu.Unlock()
		select {
		case <-before.done:
		case <-ctx.Done():
			return Answer{Err: &neonpanel.Error{Class: neonpanel.Canceled}}
		}
		m.mu.Lock()
		remembered := m.entries[id] == before
		response := before.response
		m.mu.Unlock()
		if remembered {
			return Answer{Response: response, Err: before.err, First: true, Ago: m.options.Now().Sub(before.ended)}
		}
	}
}

// begin notes that a change is under way; the caller holds the lock.
func (m *Memory) begin(e *entry) {
	if e.replaces {
		var ended []*entry
		for id, other := range m.entries {
			if id == e.id || other.target != e.target || !other.replaces {
				continue
			}
			for ; other != nil; other = other.before {
				if other.at == nil {
					other.stale = true
				} else {
					ended = append(ended, other)
				}
			}
		}
		for _, other := range ended {
			m.forget(other)
		}
	}
	e.before = m.entries[e.id]
	m.entries[e.id] = e
}

// run makes the change.
func (m *Memory) run(e *entry, send func() (*neonpanel.Response, error)) Answer {
	finished := false
	defer func() {
		if !finished { // a panic says nothing of what the API did
			e.response, e.err = nil, &neonpanel.Error{Class: neonpanel.Unavailable, Reason: neonpanel.ReasonConnection}
		}
		m.end(e)
	}()
	e.response, e.err = send()
	finished = true
	return Answer{Response: e.response, Err: e.err}
}

// end remembers a change that was made or may have been.
func (m *Memory) end(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer close(e.done)
	e.ended = m.options.Now()
	if e.stale || Undone(e.err) {
		m.unlink(e)
		return
	}
	// It counts from now on, in the place of those that it repeats.
	for b := e.before; b != nil; {
		next := b.before
		if b.at != nil {
			m.forget(b)
		}
		b = next
	}
	e.at = m.kept.PushBack(e)
	m.owned[e.owner]++
	if e.response != nil {
		m.bytes += len(e.response.Body)
	}
	if m.owned[e.owner] > m.options.PerCaller {
		for at := m.kept.Front(); at != nil; at = at.Next() {
			if oldest := at.Value.(*entry); oldest.owner == e.owner {
				m.forget(oldest)
				break
			}
		}
	}
	for m.kept.Len() > m.options.Entries {
		m.forget(m.kept.Front().Value.(*entry))
	}
	for at := m.kept.Front(); at != nil && m.bytes > m.options.Bytes; at = at.Next() {
		oldest := at.Value.(*entry)
		m.bytes -= size(oldest)
		oldest.response = nil
	}
}

// forgetOld drops what was kept long enough; the caller holds the lock.
func (m *Memory) forgetOld() {
	for at := m.kept.Front(); at != nil; at = m.kept.Front() {
		oldest := at.Value.(*entry)
		if m.options.Now().Sub(oldest.ended) < Keep {
			return
		}
		m.forget(oldest)
	}
}

// forget drops a change that has ended; the caller holds the lock.
func (m *Memory) forget(e *entry) {
	m.kept.Remove(e.at)
	m.unlink(e)
	if m.owned[e.owner]--; m.owned[e.owner] == 0 {
		delete(m.owned, e.owner)
	}
	m.bytes -= size(e)
}

// unlink takes a change out of those with its id; the caller holds the lock.
func (m *Memory) unlink(e *entry) {
	switch head := m.entries[e.id]; {
	case head == e && e.before == nil:
		delete(m.entries, e.id)
	case head == e:
		m.entries[e.id] = e.before
	default:
		for ; head != nil; head = head.before {
			if head.before == e {
				head.before = e.before
				return
			}
		}
	}
}

func size(e *entry) int {
	if e.response == nil {
		return 0
	}
	return len(e.response.Body)
}

// hash is keyed, so that nobody who sees it can try what it may be of.
func (m *Memory) hash(parts ...string) (sum hash) {
	mac := hmac.New(sha256.New, m.key[:])
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	mac.Sum(sum[:0])
	return sum
}

// Undone says that a change with this error was surely not made. Of every other
// error it is not known.
func Undone(err error) bool {
	var e interface{ Undone() bool }
	return errors.As(err, &e) && e.Undone()
}
