package toolcall

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a clock that passes only when somebody waits for it.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	waits []time.Duration
	// stop, when set, is what the wait of that number does instead of passing.
	stop map[int]func()
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Wait(ctx context.Context, d time.Duration) bool {
	c.mu.Lock()
	c.waits = append(c.waits, d)
	stop := c.stop[len(c.waits)]
	c.now = c.now.Add(d)
	c.mu.Unlock()
	if stop != nil {
		stop()
		return false
	}
	return ctx.Err() == nil
}

// followStage is a stage whose imports are followed up on a clock of its own.
func followStage(t *testing.T, handler http.HandlerFunc) (*stage, *clock) {
	t.Helper()
	s := newStage(t, handler)
	c := &clock{now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), stop: map[int]func(){}}
	s.runner = New(s.client, Options{Tools: s.catalogue, Now: c.Now, Wait: c.Wait})
	return s, c
}

// importing answers an upload with 202, and the status of it with what states
// says, one after the other; the last is repeated.
func importing(states ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.Header().Set("Retry-After", "15")
			answer(202, "application/json", `{"request_id":"r-1","status":"queued"}`)(w, r)
			return
		}
		mu.Lock()
		state := states[0]
		if len(states) > 1 {
			states = states[1:]
		}
		mu.Unlock()
		state(w, r)
	}
}

func processing(retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", retryAfter)
		answer(202, "application/json", `{"request_id":"r-1","status":"processing"}`)(w, r)
	}
}

const (
	uploading = `{"companyUuid":"a","fileName":"b.pdf","link":"https://files.neonpanel.com/b.pdf"}`
	handback  = `call check_import_processing with {"companyUuid":"a","type":"bill","requestId":"r-1"}`
)

func TestImportsAreFollowedUp(t *testing.T) {
	t.Parallel()
	done := answer(200, "application/json", `{"request_id":"r-1","status":"done","documents":[{"ref_number":"B-1"}]}`)
	for name, test := range map[string]struct {
		states []http.HandlerFunc
		waits  string
		calls  int32
		result string
		// back: the call is handed back with what to call next.
		back bool
	}{
		"done at once":            {[]http.HandlerFunc{done}, "[15s]", 2, `"status":"done"`, false},
		"done later":              {[]http.HandlerFunc{processing("5"), processing("4"), done}, "[15s 5s 4s]", 4, `"ref_number":"B-1"`, false},
		"never done":              {[]http.HandlerFunc{processing("5")}, "[15s 5s 5s]", 4, `"status":"processing"`, true},
		"done too late":           {[]http.HandlerFunc{processing("11"), done}, "[15s]", 2, "Wait 11 seconds", true},
		"failed":                  {[]http.HandlerFunc{answer(200, "application/json", `{"status":"error"}`)}, "[15s]", 2, `"status":"error"`, false},
		"the status is not there": {[]http.HandlerFunc{answer(500, "text/html", "<p>")}, "[15s]", 2, `"status":"queued"`, true},
		"the status is no JSON":   {[]http.HandlerFunc{answer(200, "application/json", "{")}, "[15s]", 2, `"status":"queued"`, true},
		"it cannot be asked":      {[]http.HandlerFunc{answer(500, "text/html", "<p>")}, "[15s]", 2, "could not be asked just now how far it is", true},
		"too many questions":      {[]http.HandlerFunc{answer(429, "application/json", `{}`)}, "[15s]", 2, "could not be asked just now", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, clock := followStage(t, importing(test.states...))
			result := s.call(t, "create_documents_by_pdf", uploading)
			if result.Failure != nil {
				t.Fatal(result.Text)
			}
			if got := fmt.Sprint(clock.waits); got != test.waits {
				t.Errorf("waits %s, want %s", got, test.waits)
			}
			if n := s.calls.Load(); n != test.calls {
				t.Errorf("%d calls, want %d", n, test.calls)
			}
			if !strings.Contains(result.Text, test.result) || strings.Contains(result.Text, handback) != test.back {
				t.Errorf("got %s", result.Text)
			}
		})
	}
}

func TestProgressIsTold(t *testing.T) {
	t.Parallel()
	s, _ := followStage(t, importing(processing("5"), answer(200, "application/json", `{"status":"done"}`)))
	var told []string
	ctx := WithProgress(t.Context(), func(after, of time.Duration, message string) {
		told = append(told, fmt.Sprint(after, " of ", of, ": ", message))
	})
	result := s.runner.Run(ctx, s.tool(t, "create_documents_by_pdf"), json.RawMessage(uploading), Caller{Bearer: token})
	if result.Failure != nil {
		t.Fatal(result.Text)
	}
	want := []string{
		"0s of 25s: NeonPanel is working on it: queued.",
		"15s of 25s: NeonPanel is working on it: processing.",
		"25s of 25s: NeonPanel is done: done.",
	}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told %q", told)
	}
}

// Whoever ends the wait, the import goes on at NeonPanel, and the answer says
// how to ask for it.
func TestAWaitThatEndsHandsTheImportBack(t *testing.T) {
	t.Parallel()
	t.Run("the caller leaves", func(t *testing.T) {
		t.Parallel()
		s, clock := followStage(t, importing(processing("5")))
		ctx, cancel := context.WithCancel(t.Context())
		clock.stop[2] = cancel
		result := s.runner.Run(ctx, s.tool(t, "create_documents_by_pdf"), json.RawMessage(uploading), Caller{Bearer: token})
		if result.Failure != nil || !strings.Contains(result.Text, handback) || s.calls.Load() != 2 {
			t.Errorf("%d calls, %+v", s.calls.Load(), result)
		}
	})
	t.Run("the process stops", func(t *testing.T) {
		t.Parallel()
		s := newStage(t, importing(processing("5")))
		stopping := make(chan struct{})
		close(stopping)
		s.runner = New(s.client, Options{Tools: s.catalogue, Stopping: stopping})
		if result := s.call(t, "create_documents_by_pdf", uploading); !strings.Contains(result.Text, handback) || s.calls.Load() != 1 {
			t.Errorf("%d calls, %+v", s.calls.Load(), result)
		}
	})
	t.Run("the real clock", func(t *testing.T) {
		t.Parallel()
		if pause(t.Context(), nil, time.Millisecond) != true {
			t.Error("it did not wait")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if pause(ctx, nil, time.Hour) {
			t.Error("it waited")
		}
	})
}

func TestTheStatusOfAnImportIsFollowedUpToo(t *testing.T) {
	t.Parallel()
	s, clock := followStage(t, importing(processing("5"), answer(200, "application/json", `{"status":"done"}`)))
	result := s.call(t, "check_import_processing", `{"companyUuid":"a","requestId":"r-1"}`)
	if result.Text != `{"status":"done"}` || fmt.Sprint(clock.waits) != "[5s]" {
		t.Errorf("%v: %s", clock.waits, result.Text)
	}
}

// What NeonPanel says at the end is the outcome, not a reason to wait.
func TestAnImportThatFailsInTheEndHasFailed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		last  http.HandlerFunc
		kind  FailureKind
		wants []string
	}{
		"rejected": {answer(422, "application/json", `{"message":"The file could not be read.","errors":{"file":["No text in it."]}}`), Rejected,
			[]string{`took it on, and then rejected it ("The file could not be read").`, "- file: No text in it.", "Look whether anything was made of it"}},
		"not found":         {answer(404, "application/json", `{"message":"No such import."}`), NotFound, []string{`("No such import")`, "took it on, but does not tell how it ended"}},
		"forbidden":         {answer(403, "application/json", `{}`), Forbidden, []string{"refused this"}},
		"another status":    {answer(418, "application/json", `{"message":"A teapot."}`), Unavailable, []string{`status 418 ("A teapot")`}},
		"the token ran out": {answer(401, "application/json", `{}`), Unauthenticated, []string{"did not accept the sign-in", handback}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := followStage(t, importing(processing("5"), test.last))
			result := s.call(t, "create_documents_by_pdf", uploading)
			if result.Failure == nil || result.Failure.Kind != test.kind || s.calls.Load() != 3 {
				t.Fatalf("%d calls, %+v", s.calls.Load(), result)
			}
			for _, want := range test.wants {
				if !strings.Contains(result.Text, want) {
					t.Errorf("%q lacks %q", result.Text, want)
				}
			}
			if strings.Contains(result.Text, "still working") {
				t.Errorf("it waits on: %s", result.Text)
			}
		})
	}
}

func TestARequestIDThatIsAPathIsNotHandedOn(t *testing.T) {
	t.Parallel()
	s, _ := followStage(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "../x")
		if strings.HasSuffix(r.URL.Path, "pdf") {
			answer(202, "application/json", `{"request_id":"../../x?y","status":"queued"}`)(w, r)
			return
		}
		answer(202, "application/json", `{"status":"queued"}`)(w, r)
	})
	for tool, arguments := range map[string]string{
		"create_documents_by_pdf": uploading, "create_documents": `{"companyUuid":"a","data":{}}`,
	} {
		result := s.call(t, tool, arguments)
		if strings.Contains(string(result.Structured), `"_next"`) || strings.Contains(result.Text, " with {") {
			t.Errorf("%s: %s", tool, result.Text)
		}
	}
	if n := s.calls.Load(); n != 2 {
		t.Errorf("%d calls", n)
	}
}
