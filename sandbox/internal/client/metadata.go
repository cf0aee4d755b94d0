package client

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The authentication methods of the token endpoint.
const (
	None             = "none"
	ClientSecretPost = "client_secret_post"
	ClientSecretBase = "client_secret_basic"
)

// The error codes of RFC 7591 §3.2.2.
const (
	InvalidRedirectURI    = "invalid_redirect_uri"
	InvalidClientMetadata = "invalid_client_metadata"
)

// Error says what is wrong with a registration.
type Error struct{ Code, Description string }

func (e *Error) Error() string { return e.Code + ": " + e.Description }

func invalid(format string, args ...any) *Error {
	return &Error{InvalidClientMetadata, fmt.Sprintf(format, args...)}
}

// Metadata is what a client says of itself (RFC 7591 §2). As NeonPanel does,
// the sandbox ignores `scope` here: every client may ask for every scope.
type Metadata struct {
	RedirectURIs  []string `json:"redirect_uris"`
	Name          string   `json:"client_name,omitempty"`
	AuthMethod    string   `json:"token_endpoint_auth_method"`
	GrantTypes    []string `json:"grant_types"`
	ResponseTypes []string `json:"response_types"`
	URI           string   `json:"client_uri,omitempty"`
	LogoURI       string   `json:"logo_uri,omitempty"`
	PolicyURI     string   `json:"policy_uri,omitempty"`
	TermsURI      string   `json:"tos_uri,omitempty"`
	Contacts      []string `json:"contacts,omitempty"`
}

const (
	maxRedirectURIs = 20
	maxText         = 200
)

// Parse reads and checks a registration, and fills in what was left out.
// Fields it does not know are ignored (RFC 7591 §2).
func Parse(body []byte) (Metadata, error) {
	var m Metadata
	if !utf8.Valid(body) {
		return m, invalid("The body is not UTF-8.")
	}
	if trimmed := strings.TrimLeft(string(body), " \t\r\n"); !strings.HasPrefix(trimmed, "{") {
		return m, invalid("The body is not a JSON object.")
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, invalid("The body is not the JSON object expected here; check the type of each field.")
	}

	if m.AuthMethod == "" {
		m.AuthMethod = ClientSecretBase // RFC 7591 §2
	}
	if !slices.Contains([]string{None, ClientSecretPost, ClientSecretBase}, m.AuthMethod) {
		return m, invalid("token_endpoint_auth_method must be none, client_secret_basic or client_secret_post.")
	}

	// RFC 7591 §3.2.1: the server may answer with fewer than were asked for.
	// Some clients list every grant they know.
	if m.GrantTypes == nil {
		m.GrantTypes = []string{"authorization_code"}
	}
	m.GrantTypes = supported(m.GrantTypes, "authorization_code", "refresh_token")
	if !slices.Contains(m.GrantTypes, "authorization_code") {
		return m, invalid("grant_types must hold authorization_code.")
	}
	if m.ResponseTypes == nil {
		m.ResponseTypes = []string{"code"}
	}
	m.ResponseTypes = supported(m.ResponseTypes, "code")
	if len(m.ResponseTypes) == 0 {
		return m, invalid("response_types must hold code.")
	}

	switch {
	case len(m.RedirectURIs) == 0:
		return m, &Error{InvalidRedirectURI, "redirect_uris must hold at least one URI."}
	case len(m.RedirectURIs) > maxRedirectURIs:
		return m, &Error{InvalidRedirectURI, fmt.Sprintf("redirect_uris may hold %d URIs at most.", maxRedirectURIs)}
	}
	for _, uri := range m.RedirectURIs {
		if err := CheckRedirectURI(uri); err != nil {
			return m, &Error{InvalidRedirectURI, strings.ToUpper(err.Error()[:1]) + err.Error()[1:] + "."}
		}
	}

	// The name is shown to people who decide on it: nothing that could hide
	// or reorder text.
	for _, c := range m.Name {
		if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) {
			return m, invalid("client_name must not hold control characters.")
		}
	}
	for name, text := range map[string]string{"client_name": m.Name, "contacts": strings.Join(m.Contacts, " ")} {
		if utf8.RuneCountInString(text) > maxText {
			return m, invalid("%s may have %d characters at most.", name, maxText)
		}
	}
	for name, raw := range map[string]string{"client_uri": m.URI, "logo_uri": m.LogoURI, "policy_uri": m.PolicyURI, "tos_uri": m.TermsURI} {
		if raw == "" {
			continue
		}
		if u, err := url.Parse(raw); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(raw) > maxRedirectURI {
			return m, invalid("%s must be an http or https URL.", name)
		}
	}
	return m, nil
}

// supported keeps the known elements, each once.
func supported(asked []string, known ...string) []string {
	out := []string{}
	for _, k := range known {
		if slices.Contains(asked, k) {
			out = append(out, k)
		}
	}
	return out
}
