package grant

import (
	"net/http"
	"strings"

	"github.com/ory/fosite"
)

// Error is an OAuth error (RFC 6749 §4.1.2.1 and §5.2).
type Error struct {
	Status      int
	Code        string
	Description string
}

func (e *Error) Error() string { return e.Code + ": " + e.Description }

// NewError returns an Error whose description has only the characters that
// RFC 6749 §5.2 allows.
func NewError(status int, code, description string) *Error {
	clean := strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return '?'
		}
		return c
	}, description)
	const most = 300
	return &Error{Status: status, Code: code, Description: clean[:min(len(clean), most)]}
}

// InvalidRequest is the error for a request that makes no sense.
func InvalidRequest(description string) *Error {
	return NewError(http.StatusBadRequest, "invalid_request", description)
}

// InvalidTarget is the error of RFC 8707 §2.
func InvalidTarget(description string) *Error {
	return NewError(http.StatusBadRequest, "invalid_target", description)
}

// fromFosite translates fosite's errors, of which some have codes that no
// specification knows.
func fromFosite(err error) *Error {
	e := fosite.ErrorToRFC6749Error(err)
	description := e.HintField
	if description == "" {
		description = e.DescriptionField
	}
	switch e.ErrorField {
	case "invalid_client", "request_unauthorized":
		return NewError(http.StatusUnauthorized, "invalid_client", "Client authentication failed: unknown client, no or wrong credentials, or another method than the one registered.")
	case "invalid_request", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"access_denied", "unsupported_response_type", "temporarily_unavailable":
		return NewError(http.StatusBadRequest, e.ErrorField, description)
	case "invalid_token", "token_inactive", "not_found":
		return NewError(http.StatusBadRequest, "invalid_grant", description)
	case "server_error", "misconfiguration", "error":
		return NewError(http.StatusInternalServerError, "server_error", "The sandbox failed to do this.")
	}
	return NewError(http.StatusBadRequest, "invalid_request", description)
}
