// Package clients drives MCP clients that were not written here. They are told
// a URL and nothing else; when they send their user to log in, a small browser
// plays the user.
package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/neonpanel/mcp-gateway/e2e/internal/browser"
)

// Era is what a client is asked to speak.
type Era string

// The eras of MCP over HTTP.
const (
	Modern Era = "2026-07-28"
	Legacy Era = "2025-11-25"
	SSE    Era = "legacy SSE"
)

// Client is a program that speaks MCP.
type Client interface {
	Name() string
	// Open connects to url as a client that has never seen it, and sends user
	// to the login when the server asks for one.
	Open(ctx context.Context, url string, era Era, user Person) (Session, error)
}

// Person is who sits before the client and its browser.
type Person interface {
	// Authorize opens an authorization URL and returns the page that it ends on.
	Authorize(ctx context.Context, url string) (browser.Page, error)
	// Denies says whether the person means to refuse.
	Denies() bool
}

// Session is a connected client.
type Session interface {
	// Protocol is the version of MCP that was agreed on; empty when the client
	// does not say.
	Protocol() string
	// Tools are the names of the tools it was offered.
	Tools() []string
	Call(ctx context.Context, tool string, arguments map[string]any) (Result, error)
	Close() error
}

// Result is the result of a tool call (MCP 2026-07-28, CallToolResult).
type Result struct {
	IsError           bool            `json:"isError"`
	StructuredContent json.RawMessage `json:"structuredContent"`
	Content           []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	} `json:"content"`
}

// Text is all text of the result.
func (r Result) Text() string {
	var b strings.Builder
	for _, c := range r.Content {
		b.WriteString(c.Text)
	}
	return b.String()
}

// login plays the user and returns an error when the browser did not reach
// the client again.
func login(ctx context.Context, user Person, authorizationURL string) error {
	page, err := user.Authorize(ctx, authorizationURL)
	if err != nil {
		return fmt.Errorf("the user did not get through: %w", err)
	}
	if page.Status >= 500 && !user.Denies() {
		return fmt.Errorf("the client's callback answered %d: %s", page.Status, page.Body)
	}
	return nil
}
