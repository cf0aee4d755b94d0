// Package catalogue turns the OpenAPI description of the NeonPanel API and its
// overlay into tools. It makes no calls and knows nothing of MCP or HTTP.
package catalogue

import "encoding/json"

// Tool is one operation of the NeonPanel API as a model sees it.
type Tool struct {
	// Name is unique and matches [a-z0-9_]{1,50}.
	Name        string
	Title       string
	Description string
	// Toolset groups tools that are switched on together, such as "inventory".
	Toolset string
	// InputSchema is a flat JSON Schema object: no $ref, no top-level anyOf.
	InputSchema json.RawMessage
	// OutputSchema is nil unless every result is sure to match it.
	OutputSchema json.RawMessage

	// The four MCP tool annotations.
	ReadOnly, Destructive, Idempotent, OpenWorld bool

	// Scopes are those that a caller needs, all of them; sorted.
	Scopes []string

	// Operation says how to call the API.
	Operation Operation
}

// Operation says how to call the NeonPanel API.
type Operation struct {
	// ID is the operationId of the OpenAPI document.
	ID string
	// Method is an HTTP method.
	Method string
	// Path is the template, such as /api/v1/companies/{companyUuid}/warehouses.
	Path string
}
