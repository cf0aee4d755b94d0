package composite

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// session is one call of a composite tool: its calls of the API, at most a few
// at a time, until one deadline, all as the same caller. What fails is noted and
// told; a refused token or a caller who has gone ends everything.
type session struct {
	api    toolcall.API
	tool   *catalogue.Tool
	bearer string
	// about are the companies of the call, by uuid.
	about []string
	// guesses are the companies that were taken for a part of a name.
	guesses []guess
	log     *slog.Logger
	now     time.Time
	links   links

	parent context.Context
	ctx    context.Context
	cancel context.CancelFunc
	budget time.Duration
	// slots bound the calls that are under way.
	slots chan struct{}

	work sync.WaitGroup
	mu   sync.Mutex
	gaps []gap
	// done counts the parts that succeeded.
	done  int
	fatal *toolcall.Failure
}

// gap is a part of the answer that is missing.
type gap struct {
	part    string
	failure *toolcall.Failure
}

// missing is what an answer says about its gaps.
type missing struct {
	Parts  []string `json:"missing"`
	Reason string   `json:"reason"`
}

// maxNamed is how many missing parts are named for one reason.
const maxNamed = 20

// query is one call of the API.
type query struct {
	operation string
	path      map[string]string
	pairs     []neonpanel.Pair
}

func (q query) with(name, value string) query {
	if value != "" {
		q.pairs = append(slices.Clip(q.pairs), neonpanel.Pair{Name: name, Value: value})
	}
	return q
}

func (q query) list(name string, values ...string) query {
	for _, v := range values {
		q.pairs = append(slices.Clip(q.pairs), neonpanel.Pair{Name: neonpanel.ArrayName(name), Value: v})
	}
	return q
}

// raw makes a call and gives the answer as the API sent it.
func (s *session) raw(q query) (json.RawMessage, *toolcall.Failure) {
	part, ok := s.tool.Parts[q.operation]
	if !ok {
		return nil, absent()
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-s.ctx.Done():
		return nil, s.late()
	}
	if s.ctx.Err() != nil {
		return nil, s.late()
	}
	response, err := s.api.Do(s.ctx, neonpanel.Request{
		Operation: q.operation, Method: part.Operation.Method, Path: part.Operation.Path,
		PathArguments: q.path, Query: q.pairs, Bearer: s.bearer,
	})
	answer, failure := toolcall.Answer(&part, response, err)
	if failure != nil && s.ctx.Err() != nil && (failure.Kind == toolcall.Timeout || failure.Kind == toolcall.Canceled) {
		return nil, s.late()
	}
	return answer, failure
}

// has says that the API offers an operation.
func (s *session) has(operation string) bool {
	_, ok := s.tool.Parts[operation]
	return ok
}

// absent says that the API does not offer what is asked for.
func absent() *toolcall.Failure {
	return &toolcall.Failure{Kind: toolcall.Unavailable, Message: "NeonPanel's API does not offer this at present: its own description of itself lacks it. Trying again soon does not help."}
}

// late says why there is no time left.
func (s *session) late() *toolcall.Failure {
	if s.parent.Err() != nil {
		return &toolcall.Failure{Kind: toolcall.Canceled, Message: "The call was cancelled."}
	}
	return &toolcall.Failure{Kind: toolcall.Timeout, Message: fmt.Sprintf("There was no time left: the whole has %d seconds. Ask for less, or try again later.", int(s.budget.Seconds()))}
}

// get makes a call and reads the answer into v. Members of another type than
// expected stay empty, as the API may change.
func (s *session) get(q query, v any) *toolcall.Failure {
	answer, failure := s.raw(q)
	if failure != nil {
		return failure
	}
	if err := json.Unmarshal(answer, v); err != nil {
		if mismatch := new(json.UnmarshalTypeError); !errors.As(err, &mismatch) {
			return &toolcall.Failure{Kind: toolcall.Unavailable, Message: "NeonPanel's answer cannot be read."}
		}
	}
	return nil
}

// page is a page of a list.
type page[T any] struct {
	Current decimal `json:"current_page"`
	Last    decimal `json:"last_page"`
	Data    []T     `json:"data"`
}

func (p page[T]) last() int {
	if n, err := strconv.Atoi(p.Last.String()); err == nil {
		return n
	}
	return 1
}

// listed are the rows of a list that could be read.
type listed[T any] struct {
	rows []T
	// pages is how many there are.
	pages int
	// whole says that no page is missing: only then can rows be counted and added
	// up.
	whole bool
}

// all reads a list, at most most pages of it. Pages after the first are read
// together; one that fails is noted as a gap of part, and the others count.
func all[T any](s *session, part string, q query, size, most int) (listed[T], *toolcall.Failure) {
	q = q.with("per_page", strconv.Itoa(s.allowed(q.operation, size)))
	read := func(n int) (p page[T], failure *toolcall.Failure) {
		failure = s.get(q.with("page", strconv.Itoa(n)), &p)
		if failure == nil && p.Data == nil {
			// No list is not an empty one.
			failure = &toolcall.Failure{Kind: toolcall.Unavailable, Message: "NeonPanel's answer is empty where a list should be. Try again later."}
		}
		return p, failure
	}
	first, failure := read(1)
	if failure != nil {
		return listed[T]{}, failure
	}
	out := listed[T]{rows: first.Data, pages: first.last()}
	later := make([]page[T], max(0, min(out.pages, most)-1))
	var wait sync.WaitGroup
	for i := range later {
		wait.Add(1)
		s.start(func() {
			defer wait.Done()
			p, failure := read(i + 2)
			if failure != nil {
				s.lost(fmt.Sprintf("%s, page %d of %d", part, i+2, out.pages), failure)
				return
			}
			later[i] = p
		})
	}
	wait.Wait()
	out.whole = out.pages <= most
	for _, p := range later {
		out.whole = out.whole && p.Data != nil
		out.rows = append(out.rows, p.Data...)
	}
	return out, nil
}

// allowed is a page size within the bounds of the operation, which a live
// document may narrow.
func (s *session) allowed(operation string, size int) int {
	for _, p := range s.tool.Parts[operation].Operation.Parameters {
		if p.Name != "per_page" {
			continue
		}
		if most := p.Schema.Maximum; most != nil {
			size = min(size, int(*most))
		}
		if least := p.Schema.Minimum; least != nil {
			size = max(size, int(*least))
		}
	}
	return size
}

// start runs f beside the others. A panic is a missing part, not a dead process.
func (s *session) start(f func()) {
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		defer func() {
			if v := recover(); v != nil {
				s.log.Error("panic in a tool", "tool", s.tool.Name, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
				s.lost("a part of the answer", &toolcall.Failure{Kind: toolcall.Internal, Message: "The gateway failed on it; it was logged."})
			}
		}()
		f()
	}()
}

// part runs one part of the work beside the others and notes how it ended.
func (s *session) part(name string, f func() *toolcall.Failure) {
	s.start(func() {
		if failure := f(); failure != nil {
			s.lost(name, failure)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done++
	})
}

// lost notes a missing part. A refused token is everything's, not one part's.
func (s *session) lost(part string, failure *toolcall.Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaps = append(s.gaps, gap{part, failure})
	if (failure.Kind == toolcall.Unauthenticated || failure.Kind == toolcall.Canceled) && s.fatal == nil {
		s.fatal = failure
		s.cancel()
	}
}

// wait waits for all parts and says whether there is anything to answer: nil if
// so, even when some of it is missing.
func (s *session) wait() *toolcall.Failure {
	s.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.fatal != nil:
		return s.fatal
	case s.done > 0:
		return nil
	}
	// The parts end in any order; the same faults give the same answer.
	var first *gap
	for i := range s.gaps {
		if g := &s.gaps[i]; g.failure.Kind != "" && (first == nil || g.part < first.part) {
			first = g
		}
	}
	if first == nil {
		return nil
	}
	return first.failure
}

// incomplete says what is missing and why, in a fixed order; nil when nothing
// is.
func (s *session) incomplete() []missing {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []missing
	for _, g := range s.gaps {
		reason := g.failure.Message
		i := slices.IndexFunc(out, func(m missing) bool { return m.Reason == reason })
		if i < 0 {
			i = len(out)
			out = append(out, missing{Reason: reason})
		}
		out[i].Parts = append(out[i].Parts, g.part)
	}
	for i := range out {
		slices.Sort(out[i].Parts)
		parts := slices.Compact(out[i].Parts)
		if n := len(parts) - maxNamed; n > 0 {
			parts = append(parts[:maxNamed], fmt.Sprintf("and %d more like these", n))
		}
		out[i].Parts = parts
	}
	slices.SortFunc(out, func(a, b missing) int { return cmp.Compare(a.Parts[0], b.Parts[0]) })
	return out
}

// left notes that a bound, not a fault, kept something out of the answer.
func (s *session) left(part, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaps = append(s.gaps, gap{part, &toolcall.Failure{Message: why}})
}
