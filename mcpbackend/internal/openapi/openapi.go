// Package openapi carries the OpenAPI description of the NeonPanel API and the
// overlay that turns its operations into tools.
package openapi

import _ "embed"

//go:embed neonpanel.yaml
var document []byte

//go:embed overlay.yaml
var overlay []byte

// Document is the OpenAPI 3.1 description of the NeonPanel API. Callers must
// not change it.
func Document() []byte { return document }

// Overlay is an OpenAPI Overlay 1.0 document: it pins every operation to its
// method and path, and holds what a model reads and how a tool behaves. Callers
// must not change it.
func Overlay() []byte { return overlay }
