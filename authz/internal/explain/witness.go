package explain

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/verifier"
)

// witness hears what the verifier does: it knows when there is nothing more to
// wait for, and keeps the warnings.
type witness struct {
	news chan struct{}

	mu     sync.Mutex
	failed map[verifier.Call]bool
	lines  []string
}

var (
	_ verifier.Observer = (*witness)(nil)
	_ slog.Handler      = (*witness)(nil)
)

func newWitness() *witness {
	return &witness{news: make(chan struct{}, 1), failed: make(map[verifier.Call]bool)}
}

// wait returns when the verifier is ready, or a fetch that it needs failed, or
// ctx is done.
func (w *witness) wait(ctx context.Context, v *verifier.Verifier, mode verifier.Mode) {
	for v.Ready() != nil && !w.hopeless(v, mode) {
		select {
		case <-w.news:
		case <-ctx.Done():
			return
		}
	}
}

// hopeless reports that what is missing cannot come without another attempt.
func (w *witness) hopeless(v *verifier.Verifier, mode verifier.Mode) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Of the two metadata documents one is enough. Both are over when the first is
	// reported, and without keys there is nothing else to come.
	_, known := v.Metadata().Raw()
	_, over := w.failed[verifier.CallMetadata]
	return w.failed[verifier.CallKeys] || over && (!known || mode == verifier.Opaque)
}

func (w *witness) Called(what verifier.Call, failed bool, _ time.Duration) {
	w.mu.Lock()
	w.failed[what] = failed
	w.mu.Unlock()
	w.tell()
}

func (w *witness) tell() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

func (*witness) Verdict(verifier.Source, string) {}
func (*witness) AudienceReported(string)         {}
func (*witness) DenyFileRead(bool)               {}

// trouble is what was warned about, each once.
func (w *witness) trouble() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lines)
}

func (*witness) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (w *witness) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			fmt.Fprintf(&line, ": %v", a.Value)
		}
		return true
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if text := line.String(); !slices.Contains(w.lines, text) {
		w.lines = append(w.lines, text)
	}
	return nil
}

func (w *witness) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w *witness) WithGroup(string) slog.Handler      { return w }
