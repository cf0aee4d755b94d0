package replicas

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Line carries messages between replicas; it may lose some.
type Line interface {
	Publish(ctx context.Context, channel string, message []byte) (receivers int, err error)
	Subscribe(ctx context.Context, channel string, ready func(), deliver func([]byte)) error
}

const (
	// again is when a question is asked once more whose answer did not come.
	again = 300 * time.Millisecond
	// gone is how long nobody must have listened for a replica to count as gone:
	// longer than it takes one to find Redis again.
	gone = 5 * time.Second
	// fresh is how old a message may be, by the clocks of two machines.
	fresh = 2 * time.Minute
	// remembered is how many questions are remembered, so that none is answered
	// twice; beyond them none is taken.
	remembered = 100_000
	// hands is how many questions are worked on at a time.
	hands = 256
)

// The ways in which a question stays without an answer.
var (
	// ErrGone: nobody has listened there for a while. The replica has ended.
	ErrGone = errors.New("the replica has gone")
	// ErrSilent: no answer came in time; it is not known whether the question
	// arrived.
	ErrSilent = errors.New("the replica does not answer")
)

// Post lets replicas ask each other. A question arrives at most once; it is
// repeated until it is answered, however often the line breaks meanwhile.
type Post struct {
	name    string
	line    Line
	keys    Keys
	log     *slog.Logger
	now     func() time.Time
	answers map[string]Answer
	busy    chan struct{}

	mu      sync.Mutex
	waiting map[string]chan []byte
	seen    map[string]*seen
	order   []string // of seen, oldest first
}

// Answer answers a question.
type Answer func(ctx context.Context, question []byte) []byte

type seen struct {
	at     time.Time
	done   bool
	answer []byte
}

// envelope is the head of a message; what follows its line is the content.
type envelope struct {
	ID   string `json:"id"`
	From string `json:"from"`
	// Kind is empty for an answer.
	Kind string `json:"kind,omitempty"`
	Sent int64  `json:"sent"`
}

// NewPost names this replica anew. What it answers is given here, since nothing
// may arrive before.
func NewPost(line Line, keys Keys, log *slog.Logger, now func() time.Time) *Post {
	return &Post{
		name: random(8), line: line, keys: keys, log: log, now: now, answers: map[string]Answer{},
		busy: make(chan struct{}, hands), waiting: map[string]chan []byte{}, seen: map[string]*seen{},
	}
}

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// Name is that of this replica, as long as it lives.
func (p *Post) Name() string { return p.name }

// Handle says what answers the questions of a kind. It comes before Run.
func (p *Post) Handle(kind string, a Answer) { p.answers[kind] = a }

func channel(name string) string { return "neonpanel:mcp:post:" + name }

// Run takes what comes, until the context ends.
func (p *Post) Run(ctx context.Context) {
	var working sync.WaitGroup
	defer working.Wait()
	for wait := again; ; wait = min(2*wait, 2*time.Second) {
		err := p.line.Subscribe(ctx, channel(p.name), func() { wait = again / 2 }, func(message []byte) {
			p.take(ctx, message, &working)
		})
		if ctx.Err() != nil {
			return
		}
		p.log.Warn("messages of other replicas do not come", "error", err.Error())
		if !pause(ctx, wait) {
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// take gets one message.
func (p *Post) take(ctx context.Context, message []byte, working *sync.WaitGroup) {
	text, err := p.keys.Open("post", channel(p.name), message)
	if err != nil {
		p.log.Error("a message of nobody who has the secret of the replicas was dropped")
		return
	}
	head, content, _ := bytes.Cut(text, []byte("\n"))
	var e envelope
	if json.Unmarshal(head, &e) != nil {
		return
	}
	if age := p.now().Sub(time.UnixMilli(e.Sent)); age > fresh || age < -fresh {
		p.log.Error("a message of another replica is too old, or its clock is wrong", "seconds", int(age.Seconds()))
		return
	}
	if e.Kind == "" {
		p.mu.Lock()
		waiting := p.waiting[e.ID]
		p.mu.Unlock()
		if waiting != nil {
			select {
			case waiting <- content:
			default: // it has come before
			}
		}
		return
	}
	answer := p.answers[e.Kind]
	if answer == nil {
		return // a later version, whose question is not understood
	}
	s, first := p.first(e.From + e.ID)
	if s == nil {
		return
	}
	working.Go(func() {
		select {
		case p.busy <- struct{}{}:
			defer func() { <-p.busy }()
		case <-ctx.Done():
			return
		}
		p.mu.Lock()
		done, text := s.done, s.answer
		p.mu.Unlock()
		switch {
		case done:
		case !first:
			return // it is being worked on
		default:
			text = answer(ctx, content)
			p.mu.Lock()
			s.done, s.answer = true, text
			p.mu.Unlock()
		}
		// A lost answer is asked for again.
		_, _ = p.send(ctx, e.From, envelope{ID: e.ID}, text)
	})
}

// first remembers a question, and says whether it is new.
func (p *Post) first(id string) (*seen, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for len(p.order) > 0 && now.Sub(p.seen[p.order[0]].at) > 2*fresh {
		delete(p.seen, p.order[0])
		p.order = p.order[1:]
	}
	if s := p.seen[id]; s != nil {
		return s, false
	}
	if len(p.order) >= remembered {
		p.log.Error("more messages of other replicas came than can be told apart")
		return nil, false
	}
	s := &seen{at: now}
	p.seen[id] = s
	p.order = append(p.order, id)
	return s, true
}

func (p *Post) send(ctx context.Context, to string, e envelope, content []byte) (int, error) {
	e.From, e.Sent = p.name, p.now().UnixMilli()
	head, err := json.Marshal(e)
	if err != nil {
		return 0, err
	}
	text := append(append(head, '\n'), content...)
	return p.line.Publish(ctx, channel(to), p.keys.Seal("post", channel(to), text))
}

// Ask asks another replica and waits for its answer as long as the context lets
// it. The error is ErrGone or ErrSilent.
func (p *Post) Ask(ctx context.Context, to, kind string, question []byte) ([]byte, error) {
	e := envelope{ID: random(16), Kind: kind}
	waiting := make(chan []byte, 1)
	p.mu.Lock()
	p.waiting[e.ID] = waiting
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waiting, e.ID)
		p.mu.Unlock()
	}()
	var nobody time.Time // since when nobody has listened
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case answer := <-waiting:
			return answer, nil
		case <-ctx.Done():
			return nil, ErrSilent
		case <-timer.C:
		}
		switch n, err := p.send(ctx, to, e, question); {
		case err != nil || n > 0:
			nobody = time.Time{}
		case nobody.IsZero():
			nobody = p.now()
		case p.now().Sub(nobody) >= gone:
			return nil, ErrGone
		}
		timer.Reset(again)
	}
}
