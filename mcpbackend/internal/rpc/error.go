package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// The error codes of JSON-RPC 2.0 §5.1 and of MCP that are used here. MCP keeps
// -32020 to -32099 for itself; CodeAuth lies outside of that.
const (
	CodeParse              = -32700
	CodeInvalidRequest     = -32600
	CodeMethodNotFound     = -32601
	CodeInvalidParams      = -32602
	CodeInternal           = -32603
	CodeUnsupportedVersion = -32022
	CodeAuth               = -32010
)

// Error is the error of a JSON-RPC response.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

type response struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Error   *Error          `json:"error,omitempty"`
	Result  any             `json:"result,omitempty"`
}

var null = json.RawMessage("null")

// FromPeek returns the JSON-RPC error for an error of [Peek]; nil for nil.
func FromPeek(err error) *Error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrParse):
		return &Error{Code: CodeParse, Message: "Parse error: " + err.Error() + "."}
	case errors.Is(err, ErrParams):
		return &Error{Code: CodeInvalidParams, Message: "Invalid params: " + err.Error() + "."}
	default:
		return &Error{Code: CodeInvalidRequest, Message: "Invalid request: " + err.Error() + "."}
	}
}

// Body returns a response with an error; a nil id becomes null (JSON-RPC 2.0
// §5: the id could not be read).
func (e *Error) Body(id []byte) []byte {
	return marshal(response{Version: "2.0", ID: orNull(id), Error: e})
}

// ResultBody returns a response with a result.
func ResultBody(id []byte, result any) []byte {
	return marshal(response{Version: "2.0", ID: orNull(id), Result: result})
}

func orNull(id []byte) json.RawMessage {
	if id == nil {
		return null
	}
	return id
}

func marshal(r response) []byte {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false) // the id stays as it came
	if encoder.Encode(r) != nil {
		return []byte(`{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"Internal error."}}`)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// Write answers an HTTP request with a JSON-RPC body.
func Write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}
