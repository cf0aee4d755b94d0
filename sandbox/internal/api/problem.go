package api

import (
	"fmt"
	"net/http"
	"strings"
)

// problem is NeonPanel's error body: Laravel's, with field errors only for 422
// and the exception only for a 500.
type problem struct {
	status    int
	header    map[string]string
	Message   string              `json:"message"`
	Errors    map[string][]string `json:"errors,omitempty"`
	Exception string              `json:"exception,omitempty"`
	File      string              `json:"file,omitempty"`
	Line      int                 `json:"line,omitempty"`
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s", p.status, p.Message) }

var (
	unauthenticated = &problem{status: http.StatusUnauthorized, Message: "Unauthenticated."}
	forbidden       = &problem{status: http.StatusForbidden, Message: "This action is unauthorized."}
)

func notFound(message string) *problem {
	return &problem{status: http.StatusNotFound, Message: message}
}

func badRequest(message string) *problem {
	return &problem{status: http.StatusBadRequest, Message: message}
}

func routeNotFound(r *http.Request) *problem {
	return notFound(fmt.Sprintf("The route %s could not be found.", strings.Trim(r.URL.Path, "/")))
}

func methodNotAllowed(r *http.Request, methods []string) *problem {
	allow := strings.Join(methods, ", ")
	return &problem{
		status:  http.StatusMethodNotAllowed,
		header:  map[string]string{"Allow": allow},
		Message: fmt.Sprintf("The %s method is not supported for route %s. Supported methods: %s.", r.Method, strings.Trim(r.URL.Path, "/"), allow),
	}
}

// exception is a PHP error that nobody caught, as shown in debug mode.
func exception(class, message, file string, line int) *problem {
	return &problem{
		status: http.StatusInternalServerError, Message: message,
		Exception: class, File: "/var/www/html/" + file, Line: line,
	}
}

// faults collects what is wrong with the input.
type faults map[string][]string

func (f faults) add(field, message string) { f[field] = append(f[field], message) }

func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return &problem{status: http.StatusUnprocessableEntity, Message: "The given data was invalid.", Errors: f}
}

// label is how Laravel spells a field in a message.
func label(field string) string { return strings.ReplaceAll(field, "_", " ") }
