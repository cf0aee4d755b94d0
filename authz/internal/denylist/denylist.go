// Package denylist is the operator's kill switch: a file of subjects, clients
// and tokens that are refused at once, whatever their tokens say.
//
// The file is YAML (or JSON, which is YAML):
//
//	subjects: ["46"]
//	clients: ["9d2f…"]
//	jtis: ["7e1c…"]
//	issued_before: 2026-01-31T12:00:00Z
//
// issued_before refuses every token issued earlier, and every token that does
// not say when it was issued.
package denylist

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

// Interval is how often the file is looked at, even if nothing tells of a change.
const Interval = time.Second

// coarse is how far apart two changes may be that leave the same time on a
// file: until then it is read each time.
const coarse = 2 * time.Second

// maxFile bounds the file.
const maxFile = 16 << 20

// List is a deny file in force.
type List struct {
	path    string
	read    func(error)
	current atomic.Pointer[Rules]
	broken  atomic.Bool
	seen    stamp
	text    [sha256.Size]byte // hash of what the file held
}

// Rules are the contents of a deny file.
type Rules struct {
	subjects     map[string]struct{}
	clients      map[string]struct{}
	jtis         map[string]struct{}
	issuedBefore time.Time
}

// stamp tells one state of a file from another; the zero stamp is like none.
type stamp struct {
	info os.FileInfo
}

// stampOf is the zero stamp while another change could look the same.
func stampOf(info os.FileInfo) stamp {
	if time.Since(info.ModTime()) < coarse {
		return stamp{}
	}
	return stamp{info}
}

func (s stamp) same(other stamp) bool {
	return s.info != nil && other.info != nil && os.SameFile(s.info, other.info) &&
		s.info.Size() == other.info.Size() && s.info.ModTime().Equal(other.info.ModTime())
}

// Open reads the file, which must be good. The function, if not nil, is told
// of each later reading and how it ended.
func Open(path string, read func(error)) (*List, error) {
	l := &List{path: path, read: read}
	if l.read == nil {
		l.read = func(error) {}
	}
	text, err := l.load()
	if err != nil {
		return nil, err
	}
	rules, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l.text = sha256.Sum256(text)
	l.current.Store(rules)
	return l, nil
}

// Run re-reads the file when it changes, until ctx is done: when the channel tells
// of a change, see Watch, and in any case after an Interval. A nil channel tells of
// none. A broken file leaves the last good rules in force and is reported once.
func (l *List) Run(ctx context.Context, changes <-chan struct{}) error {
	// It may have changed before anybody watched it.
	l.check()
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-changes:
			if !open {
				changes = nil
				continue
			}
		case <-ticker.C:
		}
		l.check()
	}
}

func (l *List) check() {
	info, err := os.Stat(l.path)
	if err == nil && l.seen.same(stamp{info}) {
		return
	}
	text, err := l.load()
	if err != nil {
		l.text = [sha256.Size]byte{}
		// Said once, not at every look.
		if !l.broken.Swap(true) {
			l.read(err)
		}
		return
	}
	hash := sha256.Sum256(text)
	if hash == l.text {
		return
	}
	l.text = hash
	rules, err := Parse(text)
	if err == nil {
		l.current.Store(rules)
	} else {
		err = fmt.Errorf("%s: %w", l.path, err)
	}
	l.broken.Store(err != nil)
	l.read(err)
}

// load returns what the file holds.
func (l *List) load() ([]byte, error) {
	l.seen = stamp{}
	file, err := os.Open(l.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", l.path, maxFile)
	}
	l.seen = stampOf(info)
	return text, nil
}

// Parse reads the contents of a deny file. Unknown and repeated members are
// errors: a misspelt kill switch must not look like a working one.
func Parse(data []byte) (*Rules, error) {
	var file struct {
		Subjects     []string   `json:"subjects"`
		Clients      []string   `json:"clients"`
		JTIs         []string   `json:"jtis"`
		IssuedBefore *time.Time `json:"issued_before"`
	}
	if err := yaml.UnmarshalStrict(data, &file); err != nil {
		return nil, err
	}
	rules := new(Rules)
	var faults []error
	set := func(name string, list []string) map[string]struct{} {
		m := make(map[string]struct{}, len(list))
		for _, item := range list {
			if item == "" {
				faults = append(faults, fmt.Errorf("%s: an element is empty", name))
			}
			m[item] = struct{}{}
		}
		return m
	}
	rules.subjects = set("subjects", file.Subjects)
	rules.clients = set("clients", file.Clients)
	rules.jtis = set("jtis", file.JTIs)
	if file.IssuedBefore != nil {
		rules.issuedBefore = *file.IssuedBefore
	}
	return rules, errors.Join(faults...)
}

// Broken reports whether the file on disk could not be read, so that older
// rules are in force.
func (l *List) Broken() bool { return l != nil && l.broken.Load() }

// Denies reports whether a token is refused. A nil List refuses none.
func (l *List) Denies(id *token.Identity) bool {
	return l != nil && l.current.Load().Denies(id)
}

// Denies reports whether the rules refuse a token.
func (r *Rules) Denies(id *token.Identity) bool {
	if _, denied := r.subjects[id.Subject]; denied {
		return true
	}
	if _, denied := r.clients[id.ClientID]; denied && id.ClientID != "" {
		return true
	}
	if _, denied := r.jtis[id.ID]; denied && id.ID != "" {
		return true
	}
	return !r.issuedBefore.IsZero() && (id.IssuedAt.IsZero() || id.IssuedAt.Before(r.issuedBefore))
}
