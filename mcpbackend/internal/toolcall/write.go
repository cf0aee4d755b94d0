package toolcall

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/writes"
)

// firstMember says that an answer is that of an earlier call.
const firstMember = "_first_result"

// uncheckedAgain is when to try again what could not be looked up.
const uncheckedAgain = 5 * time.Second

// Endings of calls that are neither a plain success nor a failure.
const (
	// DryRun: the request was shown, not sent.
	DryRun = "dry_run"
	// FirstResult: nothing was sent, because the same change was made just before.
	FirstResult = "first_result"
)

// Question is what a person is asked before something is replaced or deleted.
type Question struct {
	// Text makes the question; it may look up what the ids in it stand for.
	Text func() string
	// Digest stands for the request, and for whether it is to be made in any case:
	// equal for equal ones.
	Digest [sha256.Size]byte
}

// Consent is the answer to a [Question].
type Consent int

// The answers.
const (
	// Pending: the person has yet to be asked.
	Pending Consent = iota
	Given
	Declined
	// Unseen: it cannot be seen whether the answer was used before.
	Unseen
)

// Ask gives the answer of the person at the client. It does not wait for one.
type Ask func(Question) Consent

type askKey struct{}

// WithAsk makes calls with this context ask before they replace or delete.
func WithAsk(ctx context.Context, ask Ask) context.Context {
	return context.WithValue(ctx, askKey{}, ask)
}

// write makes a change, at most once.
func (r *runner) write(ctx context.Context, t *catalogue.Tool, given values, request neonpanel.Request, c Caller) Result {
	if flag(t, given, catalogue.DryRunArgument) {
		return preview(t, request)
	}
	canonical := canonicalRequest(request)
	repeat := flag(t, given, catalogue.RepeatArgument)
	answer := r.writes.Do(ctx, writes.Write{
		Subject: c.Subject, Tool: t.Name, Request: canonical,
		Target: path(request), Replaces: request.Method != http.MethodPost,
	}, repeat, func() (*neonpanel.Response, error) {
		if err := r.consent(ctx, t, given, canonical, repeat, c); err != nil {
			return nil, err
		}
		return r.api.Do(ctx, request)
	})
	ago := int64(answer.Ago / time.Second)
	var withheld *unconfirmed
	var unchecked *writes.Unchecked
	switch {
	case errors.Is(answer.Err, errUnseen):
		return failed(Failure{
			Kind: Unavailable, RetryAfter: uncheckedAgain,
			Message: "Nothing was sent: it cannot be seen at the moment whether the user's agreement was used before. Try again in 5 seconds.",
		})
	case errors.As(answer.Err, &unchecked):
		r.logger.Error("a change was not sent, for recent ones cannot be looked up", "tool", t.Name, "error", unchecked.Unwrap().Error())
		return failed(Failure{
			Kind: Unavailable, RetryAfter: uncheckedAgain,
			Message: "Nothing was sent: it cannot be seen at the moment whether this same change was made just before. Try again in 5 seconds. " +
				"With repeat set to true it is sent all the same, and then perhaps a second time.",
		})
	case errors.As(answer.Err, &withheld):
		return failed(Failure{Kind: Unconfirmed, Message: withheld.message})
	case answer.Err != nil:
		f := explain(t, answer.Err)
		if !writes.Undone(answer.Err) {
			// A time to come back would invite to repeat it blindly.
			f.RetryAfter = 0
			if unknown := again(t); !strings.Contains(f.Message, unknown) {
				f.Message += " " + unknown
			}
		}
		if answer.First {
			f.Message = fmt.Sprintf("%s was not called again: the same call was made %d seconds ago, and it is not known whether the change was made (%s). "+
				"Look whether it was. If it was not, call again with repeat set to true.", t.Name, ago, strings.TrimSuffix(reason(answer.Err), "."))
		}
		return failed(f)
	case answer.Response == nil:
		return Result{
			Outcome: FirstResult, Structured: json.RawMessage(fmt.Sprintf(`{"%s":{"seconds_ago":%d}}`, firstMember, ago)),
			Text: fmt.Sprintf("Nothing was sent: the same change was made %d seconds ago, and its answer is no longer at hand. Read it, or call again with repeat set to true to make the change once more.", ago),
		}
	}
	result := r.shape(ctx, t, given, answer.Response, c)
	switch {
	case answer.First && result.Failure != nil:
		again := fmt.Sprintf(" Nothing was sent: this is the outcome of the same call %d seconds ago. If the change was not made, call again with repeat set to true.", ago)
		result.Failure.Message += again
		result.Text += again
	case answer.First:
		result.Outcome = FirstResult
		result.Structured = with(result.Structured, firstMember, fmt.Appendf(nil, `{"seconds_ago":%d}`, ago))
		result.Text += fmt.Sprintf("\n\nNothing was sent: this is the result of the same call %d seconds ago. To make the change once more, call again with repeat set to true.", ago)
	}
	return result
}

// reason says shortly why the outcome of a call is unknown.
func reason(err error) string {
	var e *neonpanel.Error
	switch {
	case !errors.As(err, &e):
		return "the gateway failed"
	case e.Class == neonpanel.Timeout:
		return "NeonPanel did not answer in time"
	case e.Class == neonpanel.Canceled:
		return "the call was cancelled while it ran"
	case e.Status >= 300:
		return "NeonPanel answered with status " + strconv.Itoa(e.Status)
	case e.Status != 0:
		return "NeonPanel's answer could not be read"
	default:
		return "the connection to NeonPanel failed"
	}
}

// unconfirmed is the failure of a change that nobody has agreed to.
type unconfirmed struct{ message string }

func (u *unconfirmed) Error() string { return u.message }

// Undone says that nothing was sent.
func (u *unconfirmed) Undone() bool { return true }

// unseen is the failure of a change whose consent may have been used.
type unseen struct{}

func (unseen) Error() string { return "used consents cannot be looked up" }

// Undone says that nothing was sent.
func (unseen) Undone() bool { return true }

var errUnseen error = unseen{}

// consent asks before something is replaced or deleted, where the client can.
func (r *runner) consent(ctx context.Context, t *catalogue.Tool, given values, canonical []byte, repeat bool, c Caller) error {
	ask, _ := ctx.Value(askKey{}).(Ask)
	if ask == nil || !t.Destructive {
		return nil
	}
	text := func() string { return question(t, given, r.nameIDs(ctx, t, given, c)) }
	// What was agreed to once was not agreed to twice.
	digest := sha256.Sum256(fmt.Appendf(nil, "%t %s", repeat, canonical))
	switch ask(Question{Text: text, Digest: digest}) {
	case Given:
		return nil
	case Unseen:
		return errUnseen
	case Declined:
		return &unconfirmed{"The user declined, so nothing was sent. Ask them what they want instead."}
	default:
		return &unconfirmed{"Nothing was sent yet: the user has to agree first."}
	}
}

// flag is the value of an argument of the gateway.
func flag(t *catalogue.Tool, given values, argument string) bool {
	for i := range t.Operation.Parameters {
		if p := &t.Operation.Parameters[i]; p.In == catalogue.InGateway && p.Argument == argument {
			return string(given[i]) == "true"
		}
	}
	return false
}

// clears are the arguments whose fields are to be emptied.
func clears(t *catalogue.Tool, given values) (names []string) {
	for i := range t.Operation.Parameters {
		if p := &t.Operation.Parameters[i]; p.In == catalogue.InGateway && p.Argument == catalogue.ClearArgument && given[i] != nil {
			// It was checked before.
			_ = json.Unmarshal(given[i], &names)
		}
	}
	return names
}

// nothingToChange finds a change that changes nothing.
func nothingToChange(t *catalogue.Tool, given values) string {
	if t.Operation.Method != http.MethodPut && t.Operation.Method != http.MethodPatch || len(clears(t, given)) > 0 {
		return ""
	}
	var names []string
	for i := range t.Operation.Parameters {
		if p := &t.Operation.Parameters[i]; p.In == catalogue.InBody && !p.Hidden {
			if given[i] != nil {
				return ""
			}
			names = append(names, p.Argument)
		}
	}
	if names == nil {
		return ""
	}
	return "nothing is to be changed: give at least one of " + strings.Join(names, ", ")
}

// preview shows the request that would be sent.
func preview(t *catalogue.Tool, request neonpanel.Request) Result {
	shown := writer{}
	shown.member("method", marshal(request.Method))
	shown.member("path", marshal(path(request)))
	if len(request.Query) > 0 {
		query := writer{}
		for _, pair := range request.Query {
			query.member(pair.Name, marshal(pair.Value))
		}
		shown.member("query", query.close())
	}
	switch {
	case request.Body == nil:
	case request.ContentType == "application/json":
		shown.member("body", request.Body)
	default:
		shown.member("body", marshal(fmt.Sprintf("%d bytes of %s", len(request.Body), request.ContentType)))
	}
	answer := writer{}
	answer.member("dry_run", []byte("true"))
	answer.member("request", shown.close())
	structured := json.RawMessage(answer.close())
	return Result{
		Outcome: DryRun, Structured: structured,
		Text: string(structured) + fmt.Sprintf("\n\nNothing was sent. The arguments are well formed; whether NeonPanel takes them shows when %s is called without dry_run.", t.Name),
	}
}

// path is the path of a request; its arguments were checked.
func path(request neonpanel.Request) string {
	path := request.Path
	for name, value := range request.PathArguments {
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	return path
}

// canonicalRequest is equal for requests that ask for the same.
func canonicalRequest(request neonpanel.Request) []byte {
	query := slices.Clone(request.Query)
	slices.SortStableFunc(query, func(a, b neonpanel.Pair) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	part := func(s string) { fmt.Fprintf(&b, "%d:%s", len(s), s) }
	part(request.Method)
	part(path(request))
	for _, pair := range query {
		part(pair.Name)
		part(pair.Value)
	}
	part(request.ContentType)
	if request.ContentType == "application/json" {
		part(string(canonicalJSON(request.Body)))
	} else {
		part(string(request.Body))
	}
	return b.Bytes()
}

// canonicalJSON orders members by name, drops space, and writes equal numbers
// alike.
func canonicalJSON(raw []byte) []byte {
	value, ok := decode(raw)
	if !ok {
		return raw
	}
	canonical, err := json.Marshal(canonicalValue(value))
	if err != nil {
		return raw
	}
	return canonical
}

func canonicalValue(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			v[name] = canonicalValue(member)
		}
	case []any:
		for i, item := range v {
			v[i] = canonicalValue(item)
		}
	case json.Number:
		return "\x00number " + canonicalNumber(v.String())
	}
	return value
}

// canonicalNumber is the one form of all ways to write a JSON number: its digits
// without zeros at either end, and the power of ten. It works on the text alone,
// since an exponent can ask for a number of any size.
func canonicalNumber(number string) string {
	mantissa, exponent := number, new(big.Int)
	if i := strings.IndexAny(number, "eE"); i >= 0 {
		if _, ok := exponent.SetString(number[i+1:], 10); !ok {
			return number
		}
		mantissa = number[:i]
	}
	digits, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0"
	}
	short := strings.TrimRight(digits, "0")
	exponent.Add(exponent, big.NewInt(int64(len(digits)-len(short)-len(fraction))))
	if negative {
		short = "-" + short
	}
	return short + "e" + exponent.String()
}
