package token

import "slices"

// IsScopeToken reports whether s is one scope-token of RFC 6749 §3.3:
// one or more of %x21 / %x23-5B / %x5D-7E.
func IsScopeToken(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// Missing returns those of the wanted scopes that the identity was not
// granted, in the order given. Scopes are compared whole (RFC 6749 §3.3).
func (id Identity) Missing(want ...string) []string {
	var missing []string
	for _, scope := range want {
		if _, granted := slices.BinarySearch(id.Scopes, scope); !granted {
			missing = append(missing, scope)
		}
	}
	return missing
}
