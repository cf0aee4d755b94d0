// Package journal records what the sandbox was asked, so that a test or a
// person can see a whole OAuth story: register, authorize, login, consent,
// token, API. It never holds a token, code, secret, cookie or query value.
package journal

import (
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/access"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/token"
)

// Entry is one request.
type Entry struct {
	Seq      int64     `json:"seq"`
	Time     time.Time `json:"time"`
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Status   int       `json:"status"` // 0 when no answer was sent
	ClientID string    `json:"client_id"`
	Subject  string    `json:"subject"`
	// Token is the start of the SHA-256 of the bearer token: enough to tell
	// two tokens apart, useless to anyone else.
	Token     string   `json:"token"`
	UserAgent string   `json:"user_agent"`
	Event     string   `json:"event"`
	GrantType string   `json:"grant_type,omitempty"`
	Resource  []string `json:"resource,omitempty"`
	QueryKeys []string `json:"query_keys,omitempty"`
	Error     string   `json:"error,omitempty"` // OAuth error code
}

// Journal is a bounded ring of entries.
type Journal struct {
	limit int
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	seq     int64
	entries []Entry
}

// New returns a Journal that keeps the last limit entries and logs each.
func New(limit int, now func() time.Time, log *slog.Logger) *Journal {
	return &Journal{limit: limit, now: now, log: log}
}

// Entries returns what is recorded, oldest first.
func (j *Journal) Entries() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries)
}

// Clear empties the journal. Sequence numbers go on.
func (j *Journal) Clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = nil
}

func (j *Journal) add(e Entry) Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq = j.seq
	if len(j.entries) >= j.limit {
		j.entries = slices.Delete(j.entries, 0, len(j.entries)-j.limit+1)
	}
	j.entries = append(j.entries, e)
	return e
}

type contextKey struct{}

// Note lets a handler add to the entry of its request.
func Note(ctx context.Context, change func(*Entry)) {
	if e, ok := ctx.Value(contextKey{}).(*Entry); ok {
		change(e)
	}
}

// longestUnknown is how much of a path is kept that no route has: enough to see
// what a client meant, too little for a token that it put there.
const longestUnknown = 64

// Unknown marks the request as one that no route serves.
func Unknown(ctx context.Context) {
	Note(ctx, func(e *Entry) { e.Path = short(e.Path, longestUnknown) })
}

// Only the API has paths that are longer: names and identifiers, none of which
// is longer than the uuid of a company.
var longPath = regexp.MustCompile(`^/api/v1(/[A-Za-z0-9_-]{1,40}){1,8}/?$`)

func pathOf(path string) string {
	if longPath.MatchString(path) {
		return path
	}
	return short(path, longestUnknown)
}

// Handler records every request to next.
func (j *Journal) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &Entry{
			Time:      j.now().UTC(),
			Method:    short(r.Method, 16),
			Path:      pathOf(r.URL.Path),
			UserAgent: short(r.UserAgent(), 256),
			Event:     eventOf(r.URL.Path),
			QueryKeys: queryKeys(r),
		}
		if raw := access.Bearer(r); raw != "" {
			e.Token = token.HashOf(raw).String()[:16]
		}
		recorder := &recorder{ResponseWriter: w}
		// Deferred, because a handler may abort the connection with a panic.
		defer func() {
			e.Status = recorder.status
			stored := j.add(*e)
			j.log.LogAttrs(r.Context(), slog.LevelInfo, "request",
				slog.Int64("seq", stored.Seq),
				slog.String("method", e.Method),
				slog.String("path", e.Path),
				slog.Int("status", e.Status),
				slog.String("event", e.Event),
				slog.String("client_id", e.ClientID),
				slog.String("subject", e.Subject),
				slog.String("token", e.Token),
				slog.String("error", e.Error),
				slog.Duration("took", j.now().Sub(e.Time)),
			)
		}()
		next.ServeHTTP(recorder, r.WithContext(context.WithValue(r.Context(), contextKey{}, e)))
	})
}

func eventOf(path string) string {
	switch {
	case path == "/oauth2/register" || strings.HasPrefix(path, "/oauth2/register/"):
		return "register"
	case path == "/oauth2/authorize":
		return "authorize"
	case path == "/login":
		return "login"
	case path == "/consent":
		return "consent"
	case path == "/oauth2/token":
		return "token"
	case path == "/oauth2/introspect":
		return "introspect"
	case path == "/oauth2/revoke":
		return "revoke"
	case path == "/.well-known/jwks.json":
		return "jwks"
	case strings.HasPrefix(path, "/.well-known/"):
		return "metadata"
	case strings.HasPrefix(path, "/api/"):
		return "api"
	}
	return "other"
}

// A parameter name is only kept when it looks like one: whoever puts a token
// behind the question mark must not find it here.
var parameterName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,31}(\[[A-Za-z0-9_]{0,16}\])?$`)

func queryKeys(r *http.Request) []string {
	var keys []string
	for k := range r.URL.Query() {
		if !parameterName.MatchString(k) {
			k = "(other)"
		}
		keys = append(keys, k)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	return keys[:min(len(keys), 32)]
}

func short(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// recorder learns the status. It passes Unwrap on, for Flush and Hijack.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
