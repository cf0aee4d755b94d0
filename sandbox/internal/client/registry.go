// Package client keeps the OAuth clients: dynamic registration (RFC 7591),
// its management (RFC 7592) and the rules for redirect URIs.
package client

import (
	"container/list"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"sync"
	"time"
)

// Client is a registered client.
type Client struct {
	Metadata
	ID       string
	IssuedAt time.Time
	// SecretHash is the SHA-256 of the secret; nil for a public client. The
	// secrets are random, so a slow hash would protect nothing more.
	SecretHash []byte
	// ResourceServer may introspect every token (RFC 7662 §2.1).
	ResourceServer bool

	managementHash [sha256.Size]byte
	permanent      bool
}

// Public reports whether the client has no secret.
func (c Client) Public() bool { return c.AuthMethod == None }

// Credentials are shown once, when a client registers.
type Credentials struct {
	Secret                  string // empty for a public client
	RegistrationAccessToken string
}

// Registry holds the clients, a bounded number of them.
type Registry struct {
	limit int
	now   func() time.Time

	mu      sync.RWMutex
	clients map[string]Client
	order   *list.List // ids of dynamic clients, oldest first
}

// NewRegistry returns a Registry of at most limit dynamic clients; the oldest
// goes when there are more.
func NewRegistry(limit int, now func() time.Time) *Registry {
	return &Registry{limit: max(limit, 1), now: now, clients: map[string]Client{}, order: list.New()}
}

// Register adds a client.
func (r *Registry) Register(m Metadata) (Client, Credentials) {
	// 40 hex digits, as NeonPanel's ids have.
	c := Client{Metadata: m, ID: random(20), IssuedAt: r.now()}
	var secrets Credentials
	if !c.Public() {
		secrets.Secret = random(32)
		c.SecretHash = hash(secrets.Secret)
	}
	secrets.RegistrationAccessToken = random(32)
	c.managementHash = sha256.Sum256([]byte(secrets.RegistrationAccessToken))

	r.mu.Lock()
	defer r.mu.Unlock()
	for r.order.Len() >= r.limit {
		oldest := r.order.Front()
		delete(r.clients, oldest.Value.(string))
		r.order.Remove(oldest)
	}
	r.clients[c.ID] = c
	r.order.PushBack(c.ID)
	return c, secrets
}

// AddPermanent adds a client that the settings name.
func (r *Registry) AddPermanent(c Client, secret string) {
	c.permanent = true
	c.IssuedAt = r.now()
	if secret != "" {
		c.SecretHash = hash(secret)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[c.ID] = c
}

// Get returns a client.
func (r *Registry) Get(id string) (Client, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c, ok := r.clients[id]
	return c, ok
}

// Manage returns a client if the registration access token is its own
// (RFC 7592 §1.2).
func (r *Registry) Manage(id, registrationAccessToken string) (Client, bool) {
	c, ok := r.Get(id)
	given := sha256.Sum256([]byte(registrationAccessToken))
	same := subtle.ConstantTimeCompare(given[:], c.managementHash[:]) == 1
	return c, ok && same && !c.permanent
}

// Delete removes a dynamic client.
func (r *Registry) Delete(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.clients[id]; !ok || c.permanent {
		return
	}
	delete(r.clients, id)
	for e := r.order.Front(); e != nil; e = e.Next() {
		if e.Value.(string) == id {
			r.order.Remove(e)
			return
		}
	}
}

func hash(secret string) []byte {
	h := sha256.Sum256([]byte(secret))
	return h[:]
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand crashes the program instead
	return hex.EncodeToString(b)
}
