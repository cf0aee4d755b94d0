package toolcall

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// explain turns a failed call into words that a model can act on.
func explain(t *catalogue.Tool, err error) Failure {
	var e *neonpanel.Error
	if !errors.As(err, &e) {
		return Failure{Kind: Internal, Message: "The gateway failed on this call. Try again later."}
	}
	f := Failure{RetryAfter: e.RetryAfter}
	switch e.Class {
	case neonpanel.BadRequest:
		f.Kind = InvalidArguments
		f.Message = fmt.Sprintf("%s was not called: %s cannot be part of an address. Copy ids from the answers that hold them.", t.Name, firstOf(e.Message, "an argument"))
	case neonpanel.Unauthenticated:
		f.Kind = Unauthenticated
		f.Message = "NeonPanel did not accept the sign-in. Connect to NeonPanel again."
	case neonpanel.Forbidden:
		f.Kind = Forbidden
		f.Message = "NeonPanel refused this" + said(e) + ". The user who is signed in may not do it: check that the ids belong to a company of theirs (list_companies), and what they may do there (list_permissions_by_company)."
	case neonpanel.NotFound:
		f.Kind = NotFound
		f.Message = "NeonPanel found nothing there" + said(e) + ". " + checkIDs(t)
	case neonpanel.Rejected:
		f.Kind = Rejected
		f.Message = "NeonPanel rejected the input" + said(e) + "."
		for _, field := range e.Fields {
			f.Message += fmt.Sprintf("\n- %s: %s", field.Name, field.Message)
		}
		f.Message += "\nCorrect the input and call again."
	case neonpanel.RateLimited:
		f.Kind = RateLimited
		f.Message = "NeonPanel limits the number of calls. " + later(e.RetryAfter)
	case neonpanel.Timeout:
		f.Kind = Timeout
		f.Message = "NeonPanel did not answer in time. " + again(t)
	case neonpanel.Canceled:
		f.Kind = Canceled
		f.Message = "The call was cancelled."
	default:
		f.Kind = Unavailable
		switch e.Reason {
		case neonpanel.ReasonOversize:
			f.Message = "NeonPanel's answer is too large. Ask for less: a shorter period, a smaller limit, or more filters."
		case neonpanel.ReasonUnexpected:
			f.Message = fmt.Sprintf("NeonPanel did not carry out the call: it answered with status %d%s. Tell the user if this keeps happening.", e.Status, said(e))
		case neonpanel.ReasonCircuitOpen:
			f.Message = "NeonPanel has failed at this several times in a row, so it was not called. " + later(e.RetryAfter)
		case neonpanel.ReasonConnection:
			f.Message = "The connection to NeonPanel failed. " + again(t)
		default:
			f.Message = "NeonPanel has a problem at this moment. " + again(t)
		}
	}
	return f
}

// said quotes the API's own words.
func said(e *neonpanel.Error) string {
	if e.Message == "" {
		return ""
	}
	return ` ("` + strings.TrimSuffix(e.Message, ".") + `")`
}

func later(wait time.Duration) string {
	if wait <= 0 {
		return "Wait a minute, then try again."
	}
	return fmt.Sprintf("Try again in %d seconds.", seconds(wait))
}

func seconds(wait time.Duration) int64 { return int64((wait + time.Second - 1) / time.Second) }

// again warns of writes that may have happened: they are never repeated here.
func again(t *catalogue.Tool) string {
	if t.ReadOnly {
		return "Try again in a minute; if it keeps failing, ask for less."
	}
	return "It is not known whether the change was made: look before you try again."
}

func checkIDs(t *catalogue.Tool) string {
	var names []string
	for i := range t.Operation.Parameters {
		// An id may also stand beside the path, such as that of a warehouse.
		if p := &t.Operation.Parameters[i]; !p.Hidden && (p.In == catalogue.InPath || isID(p.Name)) {
			names = append(names, p.Argument)
		}
	}
	if len(names) == 0 {
		return "Try again later."
	}
	return "Check " + strings.Join(names, " and ") + "."
}

// isID tells ids by their names, as NeonPanel writes them.
func isID(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "[]"))
	return strings.HasSuffix(name, "uuid") || strings.HasSuffix(name, "_id") || name == "id"
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}
