package mcpserver

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// decodeName decodes an Mcp-Name in the form =?base64?…?=, in which clients
// send what is no plain ASCII; the SDK compares the header as it stands.
func decodeName(h http.Header) {
	const header, prefix, suffix = "Mcp-Name", "=?base64?", "?="
	v := h.Get(header)
	encoded, ok := strings.CutPrefix(v, prefix)
	if !ok {
		return
	}
	if encoded, ok = strings.CutSuffix(encoded, suffix); !ok {
		return
	}
	if name, err := base64.StdEncoding.DecodeString(encoded); err == nil {
		h[header] = []string{string(name)}
	}
}
