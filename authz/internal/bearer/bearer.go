// Package bearer finds the access token of a request. It takes it from the
// Authorization header and from nowhere else (RFC 6750 §2.1); the form and query
// methods of §2.2 and §2.3 leak tokens and are not supported.
package bearer

import "strings"

// Outcome says what an Authorization header holds.
type Outcome int

const (
	// Absent: there is no Authorization header.
	Absent Outcome = iota
	// Empty: the Bearer scheme without a credential.
	Empty
	// Unsupported: another scheme, or none.
	Unsupported
	// Multiple: more than one credential.
	Multiple
	// Oversize: longer than MaxSize.
	Oversize
	// Malformed: bytes that no token holds.
	Malformed
	// Found: one credential of acceptable shape.
	Found
)

// MaxSize is the longest credential that is looked at, in bytes.
const MaxSize = 8 << 10

const scheme = "bearer"

// Extract reads the values of all Authorization headers.
//
// Envoy joins repeated headers with a comma when it parses them, so a comma is
// how a second credential looks here. No bearer token holds one: b64token
// (RFC 6750 §2.1) has none. What else it may hold is for the verifier to say;
// here only bytes are refused that can be in no credential at all.
func Extract(values []string) (string, Outcome) {
	switch len(values) {
	case 0:
		return "", Absent
	case 1:
	default:
		return "", Multiple
	}
	value := strings.Trim(values[0], " ")
	if value == "" {
		return "", Absent
	}
	credential, isBearer := afterScheme(value)
	if !isBearer {
		if second(value) {
			return "", Multiple
		}
		return "", Unsupported
	}
	switch {
	case credential == "":
		return "", Empty
	case strings.IndexByte(credential, ',') >= 0:
		return "", Multiple
	case len(credential) > MaxSize:
		return "", Oversize
	}
	for i := range len(credential) {
		if c := credential[i]; c <= ' ' || c > '~' {
			return "", Malformed
		}
	}
	return credential, Found
}

// afterScheme returns what follows the Bearer scheme. Schemes are
// case-insensitive (RFC 9110 §11.1) and end at a space; a control character in
// its place is left in the credential, where it is found to be malformed.
func afterScheme(value string) (string, bool) {
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", false
	}
	rest := value[len(scheme):]
	if rest == "" || rest[0] == ' ' {
		return strings.TrimLeft(rest, " "), true
	}
	return rest, rest[0] < ' ' || rest[0] == ',' || rest[0] == 0x7F
}

// second reports whether a bearer credential follows one of another scheme.
func second(value string) bool {
	_, rest, found := strings.Cut(value, ",")
	for found {
		var element string
		element, rest, found = strings.Cut(rest, ",")
		if _, ok := afterScheme(strings.TrimLeft(element, " \t")); ok {
			return true
		}
	}
	return false
}
