// Package token makes access tokens and remembers them, so that they can be
// looked up, listed by grant, and revoked.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind is the form of an access token.
type Kind string

// The three forms that NeonPanel's tokens may take.
const (
	// JWT follows the profile of RFC 9068.
	JWT Kind = "jwt"
	// Opaque is a random string that only the sandbox can read.
	Opaque Kind = "opaque"
	// Passport is what Laravel Passport issues: a JWT with no issuer, the
	// client as audience, dates with fractions and the scopes as an array.
	Passport Kind = "passport"
)

// ParseKind reads a Kind.
func ParseKind(s string) (Kind, error) {
	switch k := Kind(s); k {
	case JWT, Opaque, Passport:
		return k, nil
	}
	return "", fmt.Errorf("unknown token kind %q: want jwt, opaque or passport", s)
}

// Record is what a token stands for.
type Record struct {
	ID       string // jti
	Kind     Kind
	Subject  string
	ClientID string
	Scopes   []string
	Audience []string
	Issued   time.Time
	Expires  time.Time
	// Family is the grant the token comes from: revoking the grant revokes
	// every token of the family.
	Family string
}

// Signer signs claims as a compact JWS.
type Signer interface {
	Sign(typ string, withKeyID bool, claims any) (string, error)
}

// Options configure an Issuer.
type Options struct {
	Issuer string
	Signer Signer
	// Limit is how many tokens are remembered; the oldest are forgotten first.
	Limit int
	Now   func() time.Time
}

// Issuer makes and remembers tokens.
type Issuer struct {
	o Options

	mu       sync.RWMutex
	records  map[Hash]*entry
	families map[string]map[Hash]struct{}
	order    []Hash // oldest first
}

type entry struct {
	Record
	revoked bool
}

// Hash identifies a token without holding it.
type Hash [sha256.Size]byte

// HashOf returns the hash of a token.
func HashOf(raw string) Hash { return sha256.Sum256([]byte(raw)) }

// String is the hash in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads what Hash.String has written.
func ParseHash(s string) (Hash, error) {
	var h Hash
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("token: not a hash")
	}
	copy(h[:], b)
	return h, nil
}

// NewIssuer returns an Issuer.
func NewIssuer(o Options) (*Issuer, error) {
	if o.Issuer == "" || o.Signer == nil || o.Limit < 1 || o.Now == nil {
		return nil, fmt.Errorf("token: issuer, signer, limit and clock are all needed")
	}
	return &Issuer{o: o, records: map[Hash]*entry{}, families: map[string]map[Hash]struct{}{}}, nil
}

// Mint makes a token for what r says. ID and Issued are set here; a zero
// Family becomes the token's own.
func (i *Issuer) Mint(r Record) (string, error) {
	if !r.Expires.After(time.Time{}) {
		return "", fmt.Errorf("token: no expiry")
	}
	r.Issued = i.o.Now()
	if r.Expires.Before(r.Issued) {
		// An already expired token was issued before it expired.
		r.Issued = r.Expires.Add(-time.Hour)
	}
	var raw string
	var err error
	switch r.Kind {
	case JWT:
		raw, err = i.jwt(&r)
	case Passport:
		raw, err = i.passport(&r)
	case Opaque:
		raw, err = i.opaque(&r)
	default:
		err = fmt.Errorf("token: unknown kind %q", r.Kind)
	}
	if err != nil {
		return "", err
	}
	if r.Family == "" {
		r.Family = r.ID
	}
	i.remember(HashOf(raw), r)
	return raw, nil
}

// jwt follows RFC 9068 §2.2, with `nbf` on top.
func (i *Issuer) jwt(r *Record) (string, error) {
	r.ID = randomHex(16)
	claims := map[string]any{
		"iss":       i.o.Issuer,
		"sub":       r.Subject,
		"client_id": r.ClientID,
		"iat":       r.Issued.Unix(),
		"nbf":       r.Issued.Unix(),
		"exp":       r.Expires.Unix(),
		"jti":       r.ID,
	}
	// RFC 7519 §4.1.3: one audience is a plain string.
	if len(r.Audience) == 1 {
		claims["aud"] = r.Audience[0]
	} else {
		claims["aud"] = r.Audience
	}
	// RFC 9068 §2.2.3: left out when no scope was granted.
	if len(r.Scopes) > 0 {
		claims["scope"] = strings.Join(r.Scopes, " ")
	}
	return i.o.Signer.Sign("at+jwt", true, claims)
}

// passport has the claims of the one published specimen of a NeonPanel token.
func (i *Issuer) passport(r *Record) (string, error) {
	r.ID = randomHex(40)
	r.Audience = []string{r.ClientID}
	scopes := r.Scopes
	if scopes == nil {
		scopes = []string{}
	}
	return i.o.Signer.Sign("JWT", false, map[string]any{
		"aud":    r.ClientID,
		"jti":    r.ID,
		"iat":    fraction(r.Issued),
		"nbf":    fraction(r.Issued),
		"exp":    fraction(r.Expires),
		"sub":    r.Subject,
		"scopes": scopes,
	})
}

// opaque has two parts so that it can never be taken for a JWT.
func (i *Issuer) opaque(r *Record) (string, error) {
	r.ID = randomHex(16)
	b := make([]byte, 64)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	enc := base64.RawURLEncoding
	return enc.EncodeToString(b[:32]) + "." + enc.EncodeToString(b[32:]), nil
}

// fraction writes a NumericDate with microseconds (RFC 7519 §2 allows any
// JSON number).
func fraction(t time.Time) json.Number {
	return json.Number(strconv.FormatInt(t.Unix(), 10) + fmt.Sprintf(".%06d", t.Nanosecond()/1000))
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand crashes the program instead
	return hex.EncodeToString(b)
}

func (i *Issuer) remember(h Hash, r Record) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for len(i.order) >= i.o.Limit {
		i.forget(i.order[0])
		i.order = i.order[1:]
	}
	i.records[h] = &entry{Record: r}
	i.order = append(i.order, h)
	if i.families[r.Family] == nil {
		i.families[r.Family] = map[Hash]struct{}{}
	}
	i.families[r.Family][h] = struct{}{}
}

func (i *Issuer) forget(h Hash) {
	e := i.records[h]
	delete(i.records, h)
	if e == nil {
		return
	}
	delete(i.families[e.Family], h)
	if len(i.families[e.Family]) == 0 {
		delete(i.families, e.Family)
	}
}

// Lookup returns what a token stands for, whether or not it has expired.
// Known is false for a token never seen (or forgotten); revoked is true for
// one that was taken back.
func (i *Issuer) Lookup(h Hash) (r Record, known, revoked bool) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	e := i.records[h]
	if e == nil {
		return Record{}, false, false
	}
	return e.Record, true, e.revoked
}

// Revoke takes one token back. It reports whether the token was known.
func (i *Issuer) Revoke(h Hash) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.records[h]
	if e == nil {
		return false
	}
	e.revoked = true
	return true
}

// RevokeFamily takes back every token of a grant.
func (i *Issuer) RevokeFamily(family string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for h := range i.families[family] {
		i.records[h].revoked = true
	}
}

// RevokeClient takes back every token of a client.
func (i *Issuer) RevokeClient(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range i.records {
		if e.ClientID == id {
			e.revoked = true
		}
	}
}
