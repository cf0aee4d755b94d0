// Package catalogue turns the OpenAPI description of the NeonPanel API and its
// overlay into tools. It makes no calls and knows nothing of MCP or HTTP.
package catalogue

import (
	"encoding/json"
	"time"
)

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

	// Aliases are names from earlier times: accepted, never listed.
	Aliases []string
	// Ignored are arguments that are accepted and mean nothing; they come with
	// the alias by which the tool was looked up.
	Ignored []string

	// Operation says how to call the API. A tool that is made of several
	// operations has only the Parameters of one, which are its arguments.
	Operation Operation
	// Parts are the tools of the operations that it is made of, by operationId, as
	// the same document has them; nil for a tool that is one operation.
	Parts map[string]Tool
}

// Operation says how to call the NeonPanel API. It is shared by every copy of
// its tool and must not be changed.
type Operation struct {
	// ID is the operationId of the OpenAPI document.
	ID string
	// Method is an HTTP method.
	Method string
	// Path is the template, such as /api/v1/companies/{companyUuid}/warehouses.
	// A parameter always fills a whole segment.
	Path string
	// Parameters are the arguments, in the order in which they are documented.
	Parameters []Parameter
	// Upload is set when the body is a file.
	Upload *Upload
	// Next is set when an answer of 202 asks for a later call.
	Next *Next
	// List is the member of the answer that holds its rows; empty when the answer
	// is one thing.
	List string
}

// Location is the part of the request that an argument goes to.
type Location string

// The places of arguments.
const (
	// Nowhere is for arguments of a tool that is no operation.
	Nowhere Location = ""
	InPath  Location = "path"
	InQuery Location = "query"
	// InBody is a member of a JSON object.
	InBody Location = "body"
	// AsBody is the whole JSON body.
	AsBody Location = "whole-body"
	// InUpload is an argument that [Upload] names.
	InUpload Location = "upload"
	// InGateway is an argument that the gateway acts on; it is never sent.
	InGateway Location = "gateway"
)

// Parameter is one argument of a tool.
type Parameter struct {
	// Argument is its name for the model, Name its name for the API.
	Argument, Name string
	In             Location
	Required       bool
	// Hidden arguments are not the model's: their default is sent.
	Hidden bool
	// Aliases are further names that are accepted, and not listed.
	Aliases []string
	// Names says what else may be given in place of the value, and NameScopes
	// what a caller needs to have it looked up.
	Names      Naming
	NameScopes []string
	// NamedBy is the tool whose answers tell what an id stands for; of what
	// changes something only.
	NamedBy string
	// Uniform is a member that is the same in every entry of a list.
	Uniform string
	Schema  *Schema
	// Unlisted arguments are accepted, but not offered.
	Unlisted bool
}

// Naming says by what other names a value goes.
type Naming string

// Companies: the uuid of a company may be given as its name, short_name or id.
const Companies Naming = "company"

// Upload says how a file reaches the API: as bytes, or as a link that the API
// fetches itself.
type Upload struct {
	// MediaType is that of the file, and the Content-Type of the bytes.
	MediaType string
	// Magic is what the bytes must begin with.
	Magic string
	// MaxBytes is the largest file, decoded.
	MaxBytes int
	// Query is the query parameter for the file's name.
	Query string
	// Object is the JSON member that holds {name, link}.
	Object string
	// NameArgument, LinkArgument and ContentArgument are arguments of the tool.
	NameArgument, LinkArgument, ContentArgument string
}

// Next says what to call after an answer that is not final (202).
type Next struct {
	// Tool is the name of a tool.
	Tool string
	// Wait applies when the API does not say when.
	Wait time.Duration
	// Keep are arguments that both tools share.
	Keep []string
	// Take are arguments that come from a member of the answer, by argument.
	Take map[string]string
}
