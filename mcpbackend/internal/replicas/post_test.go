package replicas

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// air carries messages in memory; what is not taken is gone.
type air struct {
	mu   sync.Mutex
	ears map[string]func([]byte)
	// spoil, when set, changes each message, or drops it by giving nil.
	spoil func(n int, message []byte) []byte
	n     int
	sent  [][]byte
}

func (a *air) Publish(_ context.Context, channel string, message []byte) (int, error) {
	a.mu.Lock()
	a.n++
	a.sent = append(a.sent, message)
	if a.spoil != nil {
		message = a.spoil(a.n, message)
	}
	ear := a.ears[channel]
	a.mu.Unlock()
	if ear == nil {
		return 0, nil
	}
	if message != nil {
		ear(message)
	}
	return 1, nil
}

func (a *air) Subscribe(ctx context.Context, channel string, ready func(), deliver func([]byte)) error {
	a.mu.Lock()
	a.ears[channel] = deliver
	a.mu.Unlock()
	ready()
	<-ctx.Done()
	return ctx.Err()
}

var shared = NewKeys([]byte("a secret of thirty-two bytes or so"))

// posts are two replicas, of which the second answers "echo" with what it was
// asked, and counts.
func posts(t *testing.T, keys ...Keys) (a *air, asks, answers *Post, count *int) {
	t.Helper()
	a, count = &air{ears: map[string]func([]byte){}}, new(int)
	var all []*Post
	for _, k := range keys {
		p := NewPost(a, k, slog.New(slog.DiscardHandler), time.Now)
		var mu sync.Mutex
		p.Handle("echo", func(_ context.Context, question []byte) []byte {
			mu.Lock()
			defer mu.Unlock()
			*count++
			return append([]byte("echo "), question...)
		})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
		all = append(all, p)
	}
	synctest.Wait()
	return a, all[0], all[1], count
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestAQuestionIsAnsweredOnceWhateverIsLost(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(int, []byte) []byte{
		"nothing":              nil,
		"the question":         func(n int, m []byte) []byte { return m[:len(m)*min(1, n/2)] },
		"the answer":           func(n int, m []byte) []byte { return map[bool][]byte{true: nil, false: m}[n == 2] },
		"all that comes early": func(n int, m []byte) []byte { return map[bool][]byte{true: nil, false: m}[n < 10] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, asks, answers, count := posts(t, shared, shared)
				a.spoil = spoil
				answer, err := asks.Ask(soon(t), answers.Name(), "echo", []byte("what?\nyes"))
				if err != nil || string(answer) != "echo what?\nyes" || *count != 1 {
					t.Errorf("%q %v, taken %d times", answer, err, *count)
				}
			})
		})
	}
}

func TestAReplicaThatHasGoneIsToldFromOneThatIsSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, asks, answers, _ := posts(t, shared, shared)
		if _, err := asks.Ask(soon(t), "0123456789abcdef", "echo", nil); !errors.Is(err, ErrGone) {
			t.Errorf("gone: %v", err)
		}
		a.spoil = func(int, []byte) []byte { return nil }
		if _, err := asks.Ask(soon(t), answers.Name(), "echo", nil); !errors.Is(err, ErrSilent) {
			t.Errorf("silent: %v", err)
		}
	})
}

func TestOnlySealedMessagesAreTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, asks, stranger, count := posts(t, shared, NewKeys([]byte("another secret of the same length!")))
		if _, err := asks.Ask(soon(t), stranger.Name(), "echo", []byte("x")); !errors.Is(err, ErrSilent) || *count != 0 {
			t.Errorf("another secret: %v, taken %d times", err, *count)
		}
		var a *air
		var answers *Post
		a, asks, answers, count = posts(t, shared, shared)
		if _, err := asks.Ask(soon(t), answers.Name(), "echo", []byte("readable")); err != nil || *count != 1 {
			t.Fatalf("%v, taken %d times", err, *count)
		}
		question := a.sent[0]
		ear := a.ears[channel(answers.Name())]
		for i := range question {
			bad := bytes.Clone(question)
			bad[i] ^= 1
			ear(bad)
		}
		for _, bad := range [][]byte{nil, []byte("x"), question[:len(question)-1], a.sent[1]} {
			ear(bad)
		}
		ear(question)                          // once more
		a.ears[channel(asks.Name())](question) // at another place
		time.Sleep(2*fresh + time.Second)
		ear(question) // long after
		synctest.Wait()
		if *count != 1 {
			t.Errorf("taken %d times", *count)
		}
		for _, m := range a.sent {
			if bytes.Contains(m, []byte("readable")) || bytes.Contains(m, []byte("echo")) {
				t.Errorf("it can be read: %q", m)
			}
		}
	})
}

func TestWhatWasSealedOpensWhereItBelongs(t *testing.T) {
	t.Parallel()
	sealed := shared.Seal("write", "place", []byte("text"))
	if text, err := shared.Open("write", "place", sealed); err != nil || string(text) != "text" {
		t.Errorf("%q %v", text, err)
	}
	if bytes.Equal(sealed, shared.Seal("write", "place", []byte("text"))) {
		t.Error("equal texts can be told")
	}
	for name, open := range map[string]func() ([]byte, error){
		"another purpose": func() ([]byte, error) { return shared.Open("post", "place", sealed) },
		"another place":   func() ([]byte, error) { return shared.Open("write", "elsewhere", sealed) },
		"another secret":  func() ([]byte, error) { return NewKeys([]byte("other")).Open("write", "place", sealed) },
		"nothing":         func() ([]byte, error) { return shared.Open("write", "place", nil) },
	} {
		if text, err := open(); err == nil {
			t.Errorf("%s: %q", name, text)
		}
	}
	names := map[string]bool{}
	for range 2 {
		names[shared.Name("a", "b", "c")], names[shared.Name("a", "bc", "")], names[shared.Name("b", "b", "c")] = true, true, true
	}
	if len(names) != 3 {
		t.Error("names do not tell what they are of")
	}
}

// FuzzMessage: whatever comes is answered or dropped.
func FuzzMessage(f *testing.F) {
	f.Add([]byte("{}"))
	f.Add([]byte(`{"id":"x","from":"y","kind":"echo","sent":1}` + "\nbody"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p := NewPost(&air{ears: map[string]func([]byte){}}, shared, slog.New(slog.DiscardHandler), time.Now)
		p.Handle("echo", func(_ context.Context, question []byte) []byte { return question })
		var working sync.WaitGroup
		p.take(t.Context(), shared.Seal("post", channel(p.name), text), &working)
		p.take(t.Context(), text, &working)
		working.Wait()
	})
}
