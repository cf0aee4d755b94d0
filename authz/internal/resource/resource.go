// Package resource names the protected resources of the gateway and their
// metadata documents (RFC 9728 §3.1).
package resource

// Resource is the path of a protected resource; Root has none.
type Resource string

// The resources that a client may have typed the URL of.
const (
	Root     Resource = ""
	MCP      Resource = "/mcp"
	SSE      Resource = "/sse"
	SSESlash Resource = "/sse/"
)

// All are the resources that have a document.
var All = [...]Resource{Root, MCP, SSE, SSESlash}

// WellKnown is where the documents are.
const WellKnown = "/.well-known/oauth-protected-resource"

// Of returns the resource that a path belongs to: the one whose URL the user
// typed to get there.
func Of(path string) Resource {
	switch path {
	case "/mcp", "/mcp/tools/call":
		return MCP
	case "/sse", "/messages":
		return SSE
	case "/sse/":
		return SSESlash
	}
	return Root
}

// Path is the path of the resource.
func (r Resource) Path() string { return string(r) }

// URL is the resource identifier (RFC 9728 §2): exactly the URL a user types.
func (r Resource) URL(publicURL string) string { return publicURL + string(r) }

// MetadataPath is where its document is (RFC 9728 §3.1: the well-known name goes
// between host and path).
func (r Resource) MetadataPath() string { return WellKnown + string(r) }

// MetadataURL is the document's URL for a challenge (RFC 9728 §5.1).
func (r Resource) MetadataURL(publicURL string) string { return publicURL + r.MetadataPath() }
