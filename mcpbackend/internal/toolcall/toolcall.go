// Package toolcall runs tools: it validates arguments, calls the NeonPanel API
// as the caller and shapes the answer. It knows nothing of MCP or HTTP
// transports.
package toolcall

import (
	"context"
	"encoding/json"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
)

// Runner runs tools.
type Runner interface {
	// Run calls t with the arguments as the client sent them (any JSON, or
	// nil), as the owner of bearer, an access token that goes to the NeonPanel
	// API and nowhere else. It never panics, and it honours ctx's cancellation
	// all the way to the API.
	Run(ctx context.Context, t catalogue.Tool, arguments json.RawMessage, bearer string) Result
}

// Result is the outcome of a call: an answer, or a failure that a model can
// act on.
type Result struct {
	// Structured is a JSON object; nil when there is nothing but Text.
	Structured json.RawMessage
	// Text is the compact form for clients that read text only; never empty.
	Text string
	// Failure is nil when the call succeeded.
	Failure *Failure
}

// Failure says what went wrong, in words that are safe to show: no upstream
// trace, no URL with secrets, no token.
type Failure struct {
	Kind FailureKind
	// Message says what happened and what to do.
	Message string
	// RetryAfter is zero when unknown.
	RetryAfter time.Duration
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
	// Rejected: the API found the input wrong (400, 409, 415, 422).
	Rejected    FailureKind = "rejected"
	RateLimited FailureKind = "rate_limited"
	// Unavailable: 5xx, HTML, truncated or oversize answers, resets.
	Unavailable FailureKind = "unavailable"
	Timeout     FailureKind = "timeout"
	Canceled    FailureKind = "canceled"
	// Internal: a fault of ours.
	Internal FailureKind = "internal"
)
