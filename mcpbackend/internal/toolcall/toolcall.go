// Package toolcall runs tools: it validates arguments, calls the NeonPanel API
// as the caller and shapes the answer. It knows nothing of MCP or HTTP
// transports.
package toolcall

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/writes"
)

// Runner runs tools.
type Runner interface {
	// Run calls t with the arguments as the client sent them (any JSON, or
	// nil), as c. It never panics, and it honours ctx's cancellation all the way
	// to the API.
	Run(ctx context.Context, t catalogue.Tool, arguments json.RawMessage, c Caller) Result
}

// Caller is whom a tool runs for. What was read is kept apart by subject, client
// and scopes; what was changed by subject alone, since the same change is a
// duplicate whichever of the user's clients asks for it.
type Caller struct {
	// Bearer is the access token: it goes to the NeonPanel API and nowhere else.
	Bearer string `json:"-"`
	// Subject is the stable user id, ClientID the OAuth client, which may be empty.
	Subject, ClientID string
	// Scopes are those that were granted, sorted.
	Scopes []string
	// May says whether what needs these scopes is allowed; nil means that
	// everything is.
	May func(scopes []string) bool `json:"-"`
}

// String keeps the token out of whatever prints a caller.
func (c Caller) String() string {
	return fmt.Sprintf("caller %q of client %q", c.Subject, c.ClientID)
}

// GoString keeps the token out of %#v too.
func (c Caller) GoString() string { return c.String() }

// Result is the outcome of a call: an answer, or a failure that a model can
// act on.
type Result struct {
	// Structured is a JSON object; nil when there is nothing but Text.
	Structured json.RawMessage
	// Text is the compact form for clients that read text only; never empty.
	Text string
	// Failure is nil when the call succeeded.
	Failure *Failure
	// Outcome is [DryRun] or [FirstResult], or empty.
	Outcome string
	// Companies are those that the call was about, by uuid.
	Companies []string
	// Meta is what programs may want to know beside the answer; by its keys, as MCP
	// has them in _meta.
	Meta map[string]any
}

// Failure says what went wrong, in words that are safe to show: no upstream
// trace, no URL with secrets, no token.
type Failure struct {
	Kind FailureKind
	// Message says what happened and what to do.
	Message string
	// RetryAfter is zero when unknown.
	RetryAfter time.Duration
	// Scopes are those that this call needs beyond its tool's, when the caller
	// lacks one of them.
	Scopes []string
}

// FailureKind is a closed set; it is also the metric label.
type FailureKind string

// The kinds of failure.
const (
	// InvalidArguments: nothing was sent to the API.
	InvalidArguments FailureKind = "invalid_arguments"
	// Unauthenticated: the API refused the token (401): the edge answers with
	// an authentication challenge.
	Unauthenticated FailureKind = "unauthenticated"
	Forbidden       FailureKind = "forbidden"
	NotFound        FailureKind = "not_found"
	// Rejected: the API found the input wrong (400, 409, 413, 415, 422).
	Rejected    FailureKind = "rejected"
	RateLimited FailureKind = "rate_limited"
	// Unavailable: 5xx, unexpected statuses, HTML, truncated or oversize answers, resets.
	Unavailable FailureKind = "unavailable"
	Timeout     FailureKind = "timeout"
	Canceled    FailureKind = "canceled"
	// Unconfirmed: nothing was sent, since the user has not agreed to it.
	Unconfirmed FailureKind = "unconfirmed"
	// Internal: a fault of ours.
	Internal FailureKind = "internal"
)

// API is what a [Runner] needs of the NeonPanel client. Every error it returns
// is a [*neonpanel.Error].
type API interface {
	Do(ctx context.Context, r neonpanel.Request) (*neonpanel.Response, error)
}

// Options are the settings of [New].
type Options struct {
	// MaxResultBytes is the size from which an answer is cut; 100,000.
	MaxResultBytes int
	// Logger is told of faults of ours, without arguments or tokens.
	Logger *slog.Logger
	// Tools finds the tool that comes after an answer of 202, which is followed up
	// for at most [Followed]; nil means that it is not.
	Tools Tools
	// Stopping, when closed, ends every wait: calls that are under way then hand
	// back what they have.
	Stopping <-chan struct{}
	// Now and Wait are the clock; nil means the real one. Wait says whether the
	// whole time has passed.
	Now  func() time.Time
	Wait func(context.Context, time.Duration) bool
	// Companies finds companies by name; without it they go by uuid alone.
	Companies Companies
	// Writes remembers changes; nil means a memory of this process.
	Writes Writes
}

// Writes makes a change at most once; see [writes.Memory.Do].
type Writes interface {
	Do(ctx context.Context, w writes.Write, repeat bool, send func() (*neonpanel.Response, error)) writes.Answer
}

// Tools finds tools by name.
type Tools interface {
	Lookup(name string) (catalogue.Tool, bool)
}

type runner struct {
	api      API
	maxBytes int
	logger   *slog.Logger
	writes   Writes
	tools    Tools
	followed time.Duration
	now      func() time.Time
	wait     func(context.Context, time.Duration) bool

	companies Companies
}

// New makes a Runner on api.
func New(api API, options Options) Runner {
	r := &runner{
		api: api, maxBytes: options.MaxResultBytes, logger: options.Logger,
		tools: options.Tools, followed: Followed, now: options.Now, wait: options.Wait,
		writes: options.Writes, companies: options.Companies,
	}
	if r.writes == nil {
		r.writes = writes.New(writes.Options{Now: options.Now})
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.wait == nil {
		r.wait = func(ctx context.Context, d time.Duration) bool { return pause(ctx, options.Stopping, d) }
	}
	if r.maxBytes <= 0 {
		r.maxBytes = 100_000
	}
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	return r
}

func (r *runner) Run(ctx context.Context, t catalogue.Tool, arguments json.RawMessage, c Caller) (result Result) {
	// A panic here would end the process: the SDK runs tools on its own
	// goroutines.
	var about []string
	defer func() {
		if fault := recover(); fault != nil {
			r.logger.Error("a tool call panicked", "tool", t.Name, "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
			result = failed(Failure{Kind: Internal, Message: "The gateway failed on this call. Nothing more is known; try again, and report it if it happens again."})
		}
		result.Companies = about
	}()
	values, others, faults := readArguments(&t, arguments)
	if fault := nothingToChange(&t, values); fault != "" {
		faults = append(faults, fault)
	}
	if len(faults) > 0 {
		return failed(Failure{Kind: InvalidArguments, Message: listFaults(&t, faults)})
	}
	about, guesses, failure := nameCompanies(ctx, r.companies, &t, c, values, others)
	if failure != nil {
		return failed(*failure)
	}
	if t.ReadOnly {
		return tell(r.read(ctx, &t, values, c), guesses)
	}
	request, faults := buildRequest(&t, values)
	if len(faults) > 0 {
		return failed(Failure{Kind: InvalidArguments, Message: listFaults(&t, faults)})
	}
	request.Bearer = c.Bearer
	return r.write(ctx, &t, values, request, c)
}

func failed(f Failure) Result {
	return Result{Text: f.Message, Failure: &f}
}
