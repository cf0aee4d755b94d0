package neonpanel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"
	"unicode"
)

// Class is the kind of a failure: a closed set.
type Class string

// The classes of failures.
const (
	// BadRequest: the call was not made.
	BadRequest Class = "bad_request"
	// Unauthenticated is 401.
	Unauthenticated Class = "unauthenticated"
	// Forbidden is 403.
	Forbidden Class = "forbidden"
	// NotFound is 404 and 410.
	NotFound Class = "not_found"
	// Rejected is 400, 409, 413, 415 and 422: the API found the input wrong.
	Rejected Class = "rejected"
	// RateLimited is 429.
	RateLimited Class = "rate_limited"
	// Unavailable: 5xx, resets, any other 4xx, and answers that are not what an
	// API sends.
	Unavailable Class = "unavailable"
	// Timeout: no answer in time.
	Timeout Class = "timeout"
	// Canceled: the caller gave up.
	Canceled Class = "canceled"
)

// Reason tells failures of one class apart, for logs and words.
type Reason string

// The reasons that need telling apart.
const (
	ReasonStatus      Reason = "status"
	ReasonUnexpected  Reason = "unexpected_status"
	ReasonBadPath     Reason = "bad_path"
	ReasonCircuitOpen Reason = "circuit_open"
	ReasonOversize    Reason = "oversize"
	ReasonNotJSON     Reason = "not_json"
	ReasonRedirect    Reason = "redirect"
	ReasonConnection  Reason = "connection"
)

// Error is the failure of a call. Its text is safe to show; the cause is for
// logs only.
type Error struct {
	Class  Class
	Reason Reason
	// Status is zero when there was no answer.
	Status int
	// RetryAfter is zero when the API does not say.
	RetryAfter time.Duration
	// Message is what the API said, cleaned; often empty.
	Message string
	// Fields are the faults the API found, by field; cleaned.
	Fields []Field

	cause error
	// transient failures may pass when the same call is made again.
	transient bool
	// counts says that the circuit breaker counts it.
	counts bool
}

// Field is a fault that the API found in one field.
type Field struct{ Name, Message string }

func (e *Error) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("NeonPanel API: %s (%s, status %d)", e.Class, e.Reason, e.Status)
	}
	return fmt.Sprintf("NeonPanel API: %s (%s)", e.Class, e.Reason)
}

// Unwrap gives the cause, which may name addresses.
func (e *Error) Unwrap() error { return e.cause }

func transportError(ctx context.Context, err error) *Error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &Error{Class: Canceled, Reason: ReasonConnection, cause: err}
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return &Error{Class: Timeout, Reason: ReasonConnection, cause: err, transient: true, counts: true}
	default:
		return &Error{Class: Unavailable, Reason: ReasonConnection, cause: err, transient: true, counts: true}
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

func statusError(status int, retryAfter time.Duration, mediaType string, content []byte) *Error {
	e := &Error{Reason: ReasonStatus, Status: status, RetryAfter: retryAfter}
	switch {
	case status == 401:
		e.Class = Unauthenticated
	case status == 403:
		e.Class = Forbidden
	case status == 404, status == 410:
		e.Class = NotFound
	case status == 429:
		e.Class = RateLimited
		// Without a time to wait, another try would only add to the load.
		e.transient = retryAfter > 0
	case status == 400, status == 409, status == 413, status == 415, status == 422:
		e.Class = Rejected
	case status >= 400 && status < 500:
		// Nothing says that the input was at fault.
		e.Class, e.Reason = Unavailable, ReasonUnexpected
	case status >= 300 && status < 400:
		e.Class, e.Reason = Unavailable, ReasonRedirect
	default:
		e.Class = Unavailable
		e.counts = status >= 502 && status <= 504
		e.transient = e.counts
	}
	// Only refusals say something that a user can act on; a server error's text
	// is about the server.
	if status >= 400 && status < 500 && status != 401 && mediaType != "text/html" && !isMarkup(content) {
		e.Message, e.Fields = explain(content)
	}
	return e
}

// explain reads {"message": …, "errors": {"field": ["…"]}}.
func explain(content []byte) (string, []Field) {
	var body struct {
		Message json.RawMessage            `json:"message"`
		Errors  map[string]json.RawMessage `json:"errors"`
	}
	// Only one of the two may have the expected form; what was read counts.
	_ = json.Unmarshal(content, &body)
	var message string
	_ = json.Unmarshal(body.Message, &message)
	var fields []Field
	for name, raw := range body.Errors {
		var texts []string
		if json.Unmarshal(raw, &texts) != nil {
			var text string
			if json.Unmarshal(raw, &text) != nil {
				continue
			}
			texts = []string{text}
		}
		if name = fieldName(name); name == "" {
			continue
		}
		for _, text := range texts {
			if text = clean(text); text != "" {
				fields = append(fields, Field{Name: name, Message: text})
			}
		}
	}
	sort.SliceStable(fields, func(i, j int) bool { return fields[i].Name < fields[j].Name })
	const most = 20
	return clean(message), fields[:min(len(fields), most)]
}

func fieldName(name string) string {
	if len(name) > 100 || !plainField.MatchString(name) {
		return ""
	}
	return name
}

var plainField = regexp.MustCompile(`^[A-Za-z0-9_.\[\]-]+$`)

// internals are signs that a message is about the server and not for its users:
// class names, files, SQL, addresses, markup.
var internals = regexp.MustCompile(`(?i)\\|<|>|://|sqlstate|stack trace|exception|vendor/|\.php|/var/|/home/|/srv/|bearer\s|eyJ[A-Za-z0-9_-]{8}`)

// clean makes a message of the API fit to be shown, or drops it.
func clean(message string) string {
	if internals.MatchString(message) {
		return ""
	}
	message = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, message)
	message = string(bytes.ToValidUTF8([]byte(strings.TrimSpace(message)), nil))
	const longest = 300
	if runes := []rune(message); len(runes) > longest {
		message = string(runes[:longest]) + "…"
	}
	return message
}
