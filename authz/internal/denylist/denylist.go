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
//
// It is best replaced by renaming another file over it. One that is written in
// place is read when its writer is done; one that is empty lifts no rules, but {}
// does.
package denylist

import (
	"bytes"
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
// It is then read when two looks in a row find it the same: one that is longer by
// the second is being written.
const Interval = time.Second

// longWriting is how many looks in a row may find the file being written before
// that is a fault.
const longWriting = 30

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
	seen    stamp             // of what was read
	looked  stamp             // of the last look
	writing int               // how many looks in a row found it being written
	text    [sha256.Size]byte // hash of what the file held
}

// Rules are the contents of a deny file.
type Rules struct {
	subjects     map[string]struct{}
	clients      map[string]struct{}
	jtis         map[string]struct{}
	issuedBefore time.Time
	// blank is true of rules that refuse nothing, in a file that does not say so:
	// one that holds nothing but space and comments, or a list that is only begun.
	blank bool
}

// Changes tell of a file what one can see who does not look at it. The zero value
// tells nothing.
type Changes struct {
	// Told gets a value when the file may hold something else.
	Told <-chan struct{}
	// Writing, if set, reports whether somebody is in the middle of writing the file.
	Writing func() bool
}

// errBlank is the fault of a file that lifts all rules without saying so: what
// writes it has failed, or has only begun.
var errBlank = errors.New("it is empty, and the rules before it refuse somebody: they stay in force; to refuse nobody, write {}")

// errWriting is the fault of a file that nobody finishes.
var errWriting = errors.New("somebody has had it open for writing for a long time, so that it is not read")

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

// Run re-reads the file when it changes, until ctx is done: when the changes tell
// of it, see Watch, and in any case after two Intervals. A broken file leaves the
// last good rules in force and is reported once.
func (l *List) Run(ctx context.Context, changes Changes) error {
	// It may have changed before anybody watched it.
	l.look(changes)
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-changes.Told:
			if !open {
				// Nobody tells any more whether it is being written.
				changes = Changes{}
				continue
			}
			if !changes.beingWritten() {
				l.check()
			}
		case <-ticker.C:
			l.look(changes)
		}
	}
}

func (c Changes) beingWritten() bool { return c.Writing != nil && c.Writing() }

// look reads a file that nobody told of, unless it may be half of one.
func (l *List) look(changes Changes) {
	before := l.looked
	l.looked = stamp{}
	info, err := os.Stat(l.path)
	if err == nil {
		l.looked = stamp{info}
	}
	if changes.beingWritten() {
		if l.writing++; l.writing == longWriting {
			l.fail(fmt.Errorf("%s: %w", l.path, errWriting))
		}
		return
	}
	l.writing = 0
	if err != nil || l.looked.same(before) {
		l.check()
	}
}

// check reads the file if it is not what was read last.
func (l *List) check() {
	l.writing = 0
	info, err := os.Stat(l.path)
	if err == nil && l.seen.same(stamp{info}) {
		return
	}
	text, err := l.load()
	if err != nil {
		l.fail(err)
		return
	}
	hash := sha256.Sum256(text)
	if hash == l.text {
		return
	}
	l.text = hash
	rules, err := Parse(text)
	if err == nil && rules.blank && !l.current.Load().empty() {
		err = errBlank
	}
	if err == nil {
		l.current.Store(rules)
	} else {
		err = fmt.Errorf("%s: %w", l.path, err)
	}
	l.broken.Store(err != nil)
	l.read(err)
}

// fail says that the file cannot be read; once, not at every look.
func (l *List) fail(err error) {
	l.seen, l.text = stamp{}, [sha256.Size]byte{}
	if !l.broken.Swap(true) {
		l.read(err)
	}
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
	if len(faults) == 0 && rules.empty() {
		document, err := yaml.YAMLToJSON(data)
		// A member without a value is a list of which only the name is there.
		rules.blank = err != nil || string(document) == "null" || bytes.Contains(document, []byte(":null"))
	}
	return rules, errors.Join(faults...)
}

// empty is true of rules that refuse nothing.
func (r *Rules) empty() bool {
	return len(r.subjects)+len(r.clients)+len(r.jtis) == 0 && r.issuedBefore.IsZero()
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
