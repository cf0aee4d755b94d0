// Package expiring holds the sandbox's short-lived state: a map whose entries
// go when their time is over, or when there are too many, oldest first.
package expiring

import (
	"container/list"
	"sync"
	"time"
)

// Map is safe for concurrent use.
type Map[K comparable, V any] struct {
	limit int
	now   func() time.Time

	mu    sync.Mutex
	items map[K]*list.Element
	order *list.List // of item[K, V], oldest first
}

type item[K comparable, V any] struct {
	key     K
	value   V
	expires time.Time
}

// New returns a Map of at most limit entries.
func New[K comparable, V any](limit int, now func() time.Time) *Map[K, V] {
	return &Map[K, V]{limit: max(limit, 1), now: now, items: map[K]*list.Element{}, order: list.New()}
}

// Put stores a value for a while. A key that is there already is replaced.
func (m *Map[K, V]) Put(key K, value V, ttl time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(key)
	for m.order.Len() >= m.limit {
		m.remove(m.order.Front().Value.(item[K, V]).key)
	}
	m.items[key] = m.order.PushBack(item[K, V]{key, value, m.now().Add(ttl)})
}

// Get returns a value that has not expired.
func (m *Map[K, V]) Get(key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.get(key)
}

// Take returns a value and removes it: of two callers, one gets it.
func (m *Map[K, V]) Take(key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.get(key)
	m.remove(key)
	return v, ok
}

// Delete removes a key.
func (m *Map[K, V]) Delete(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(key)
}

// DeleteFunc removes every entry that drop says.
func (m *Map[K, V]) DeleteFunc(drop func(K, V) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := m.order.Front(); e != nil; {
		next := e.Next()
		if it := e.Value.(item[K, V]); drop(it.key, it.value) {
			m.remove(it.key)
		}
		e = next
	}
}

// Len counts the entries, expired ones included.
func (m *Map[K, V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.order.Len()
}

func (m *Map[K, V]) get(key K) (V, bool) {
	var none V
	e, ok := m.items[key]
	if !ok {
		return none, false
	}
	it := e.Value.(item[K, V])
	if !m.now().Before(it.expires) {
		m.remove(key)
		return none, false
	}
	return it.value, true
}

func (m *Map[K, V]) remove(key K) {
	if e, ok := m.items[key]; ok {
		m.order.Remove(e)
		delete(m.items, key)
	}
}
