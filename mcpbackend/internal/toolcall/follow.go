package toolcall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// Followed is how long an answer of 202 is followed up before it is handed back
// with what to call next. With the longest call of the API before it, a client
// still gets its answer within a minute.
const Followed = 25 * time.Second

// statusTimeout bounds each question for the status.
const statusTimeout = 5 * time.Second

// Progress is told how a call that takes long is getting on: after so much of so
// much time.
type Progress func(after, of time.Duration, message string)

type progressKey struct{}

// WithProgress lets a call tell how it is getting on.
func WithProgress(ctx context.Context, p Progress) context.Context {
	return context.WithValue(ctx, progressKey{}, p)
}

// follow goes on with an answer that is not final: it asks again when the API
// says to, until the answer is final, the time is up, or this process stops.
// What the API has accepted is never lost: whatever goes wrong from here on, the
// answer says what to call next.
func (r *runner) follow(ctx context.Context, t *catalogue.Tool, given values, response *neonpanel.Response, c Caller) Result {
	body, ok := object(response)
	if !ok {
		body = json.RawMessage(`{}`)
	}
	next := nextOf(t, given, body, response)
	begin := r.now()
	progress, _ := ctx.Value(progressKey{}).(Progress)
	var status catalogue.Tool
	found := false
	var notes []string
	if r.tools != nil && next.arguments != nil {
		status, found = r.tools.Lookup(t.Operation.Next.Tool)
	}
	for found {
		after := r.now().Sub(begin)
		if next.wait > r.followed-after {
			break
		}
		if progress != nil {
			progress(after, r.followed, "NeonPanel is working on it"+stateOf(body)+".")
		}
		if !r.wait(ctx, next.wait) {
			break
		}
		values, _, faults := readArguments(&status, next.arguments)
		if len(faults) > 0 {
			break
		}
		request, faults := buildRequest(&status, values)
		if len(faults) > 0 {
			break
		}
		request.Bearer = c.Bearer
		later, err := r.status(ctx, request)
		if err != nil {
			if failure := ended(t, &status, err, next); failure != nil {
				return failed(*failure)
			}
			notes = []string{unasked}
			break
		}
		latest, ok := object(later)
		if !ok {
			notes = []string{unasked}
			break
		}
		if later.Status != http.StatusAccepted || status.Operation.Next == nil {
			if progress != nil {
				progress(r.followed, r.followed, "NeonPanel is done"+stateOf(latest)+".")
			}
			return r.written(t, later)
		}
		body = latest
		next = nextOf(&status, values, body, later)
		if next.arguments == nil {
			break
		}
	}
	return shown(next.into(body), append(notes, next.String()))
}

// unasked says that what follows is older than it could be.
const unasked = "NeonPanel could not be asked just now how far it is."

// ended is the failure of what was accepted, or nil when the question for it
// failed in a way that may pass.
func ended(t, status *catalogue.Tool, err error, next following) *Failure {
	f := explain(status, err)
	var e *neonpanel.Error
	switch {
	case !errors.As(err, &e):
		return nil
	case e.Class == neonpanel.Unauthenticated:
		f.Message += " NeonPanel goes on meanwhile: then call " + next.tool + " with " + string(next.arguments) + "."
		return &f
	case e.Class == neonpanel.Rejected:
		// The input of the question was NeonPanel's own.
		f.Message = "NeonPanel took it on, and then rejected it" + said(e) + "."
		for _, field := range e.Fields {
			f.Message += fmt.Sprintf("\n- %s: %s", field.Name, field.Message)
		}
	case e.Class == neonpanel.Forbidden, e.Class == neonpanel.NotFound, e.Status >= 400 && e.Status < 500 && e.Reason == neonpanel.ReasonUnexpected:
		if !t.ReadOnly {
			f.Message = "NeonPanel took it on, but does not tell how it ended. " + f.Message
		}
	default:
		return nil
	}
	if !t.ReadOnly {
		f.Message += "\nLook whether anything was made of it before you try again."
	}
	return &f
}

func (r *runner) status(ctx context.Context, request neonpanel.Request) (*neonpanel.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return r.api.Do(ctx, request)
}

// pause is the wait of a runner whose clock is the real one.
func pause(ctx context.Context, stopping <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-stopping:
	}
	return false
}

// stateOf is the status that the API tells, if it is a plain word.
func stateOf(body []byte) string {
	status := descend(body, []string{"status"})
	if len(status) > 2 && status[0] == '"' && len(status) < 30 && plainField(string(status[1:len(status)-1])) {
		return ": " + string(status[1:len(status)-1])
	}
	return ""
}

// following is the call that comes after an answer that is not final.
type following struct {
	tool string
	// arguments are nil when the answer lacks some.
	arguments json.RawMessage
	wait      time.Duration
}

func nextOf(t *catalogue.Tool, given values, body []byte, response *neonpanel.Response) following {
	next := t.Operation.Next
	f := following{tool: next.Tool, wait: response.RetryAfter}
	if f.wait <= 0 {
		f.wait = next.Wait
	}
	arguments := writer{}
	arguments.begin()
	complete := true
	for _, name := range next.Keep {
		found := false
		for i := range t.Operation.Parameters {
			if t.Operation.Parameters[i].Argument == name && given[i] != nil {
				arguments.member(name, given[i])
				found = true
			}
		}
		complete = complete && found
	}
	for _, name := range sortedKeys(next.Take) {
		value := descend(body, []string{next.Take[name]})
		switch {
		case len(value) > 2 && value[0] == '"':
			// It becomes part of a path.
			if neonpanel.ValidPathArgument(text(value)) {
				arguments.member(name, value)
			} else {
				complete = false
			}
		case neonpanel.ValidPathArgument(response.RequestID):
			arguments.member(name, marshal(response.RequestID))
		default:
			complete = false
		}
	}
	if complete {
		f.arguments = arguments.close()
	}
	return f
}

// into adds the call to an answer.
func (f following) into(body []byte) []byte {
	if f.arguments == nil || body[0] != '{' {
		return body
	}
	w := writer{}
	w.begin()
	for name, value := range members(body) {
		w.raw(name, value)
	}
	call := writer{}
	call.member("tool", marshal(f.tool))
	call.member("arguments", f.arguments)
	call.member("after_seconds", strconv.AppendInt(nil, seconds(f.wait), 10))
	w.member(nextMember, call.close())
	return w.close()
}

func (f following) String() string {
	if f.arguments == nil {
		return fmt.Sprintf("NeonPanel is still working on it. Ask with %s in %d seconds.", f.tool, seconds(f.wait))
	}
	return fmt.Sprintf("NeonPanel is still working on it. Wait %d seconds, then call %s with %s.", seconds(f.wait), f.tool, f.arguments)
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
