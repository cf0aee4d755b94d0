// Package rpc looks at JSON-RPC messages before the MCP SDK does, so that a
// request can be refused with the right HTTP status. It reads a message with
// the SDK's own JSON decoder, so that both see the same message in the same
// bytes.
package rpc

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/segmentio/encoding/json"
)

// The methods that matter here.
const (
	Initialize  = "initialize"
	Initialized = "notifications/initialized"
	Ping        = "ping"
	Discover    = "server/discover"
	ToolsList   = "tools/list"
	ToolsCall   = "tools/call"
	Listen      = "subscriptions/listen"
)

// Message is what there is to know about a message before it is dispatched.
type Message struct {
	// ID is the id as it stood in the message; nil for notifications, and for
	// ids that are neither a string nor a number. It is there too when it is the
	// reason to refuse the message.
	ID json.RawMessage
	// Method is empty for responses.
	Method string
	// Response is true for the answer to a request of the server.
	Response bool
	// Tool is the tool that a tools/call names.
	Tool string
	// Params are as they stood in the message; nil when there are none.
	Params json.RawMessage
	// Checked is true when no member of Params can have a type that MCP does not
	// give it.
	Checked bool
	// Progress is true when the caller wants to hear of progress.
	Progress bool
}

// Call reports whether the message awaits an answer.
func (m Message) Call() bool { return m.ID != nil && !m.Response }

// The reasons to refuse a body.
var (
	// ErrParse: the body is not JSON (JSON-RPC 2.0 §5.1, -32700).
	ErrParse = errors.New("the body is not valid JSON in UTF-8")
	// ErrBatch: MCP has had no batches since 2025-06-18.
	ErrBatch = errors.New("batches are not supported; send one JSON-RPC message per request")
	// ErrInvalid: the body is JSON but no JSON-RPC message (-32600).
	ErrInvalid = errors.New(`the body is not a JSON-RPC 2.0 message; send {"jsonrpc":"2.0","id":1,"method":"…","params":{…}}`)
	// ErrID: the id could not be given back as it came (JSON-RPC 2.0 §5), or is
	// null, which MCP forbids for requests.
	ErrID = errors.New(`"id" of a request must be a string, or an integer from -9007199254740991 to 9007199254740991 without fraction or exponent`)
	// ErrMethod: the method is no string.
	ErrMethod = errors.New(`"method" must be a string, such as "tools/list"`)
	// ErrObject: JSON-RPC also has positional parameters; MCP does not.
	ErrObject = errors.New(`"params" must be a JSON object, such as {}; leave it out when there are none`)
	// ErrParams: a tools/call without the name of a tool (-32602).
	ErrParams = errors.New(`params of tools/call must be {"name":"…","arguments":{…}}`)
)

// maxDepth is the SDK's own bound on nesting.
const maxDepth = 1000

const flags = json.DontMatchCaseInsensitiveStructFields | json.ZeroCopy

type envelope struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  json.RawMessage `json:"method"`
	Params  json.RawMessage `json:"params"`
	Result  json.RawMessage `json:"result"`
	Error   json.RawMessage `json:"error"`
}

type callParams struct {
	Meta *struct {
		ProgressToken json.RawMessage `json:"progressToken"`
	} `json:"_meta"`
	Name      *string         `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
	// These two are rare, so that it is left to others to look into them.
	InputResponses json.RawMessage `json:"inputResponses"`
	RequestState   json.RawMessage `json:"requestState"`
}

// Peek classifies a body. The strings of the result may point into it.
func Peek(body []byte) (Message, error) {
	if tooDeep(body) || !utf8.Valid(body) || !json.Valid(body) {
		return Message{}, ErrParse
	}
	switch first(body) {
	case '{':
	case '[':
		return Message{}, ErrBatch
	default:
		return Message{}, ErrInvalid
	}
	var e envelope
	if _, err := json.Parse(body, &e, flags); err != nil {
		return Message{}, ErrInvalid
	}
	m := Message{ID: id(e.ID)}
	isNull := string(e.ID) == "null"
	switch {
	case e.Version != "2.0":
		return m, ErrInvalid
	case m.ID == nil && e.ID != nil && !isNull, m.ID != nil && !echoes(m.ID):
		return m, ErrID
	}
	if e.Method == nil {
		if m.ID == nil || (e.Result == nil && e.Error == nil) {
			return m, ErrInvalid
		}
		m.Response = true
		return m, nil
	}
	if _, err := json.Parse(e.Method, &m.Method, flags); err != nil || e.Method[0] != '"' {
		return m, ErrMethod
	}
	if isNull && !strings.HasPrefix(m.Method, "notifications/") {
		return m, ErrID
	}
	if e.Params != nil && e.Params[0] != '{' {
		if m.Method == ToolsCall {
			return m, ErrParams
		}
		return m, ErrObject
	}
	m.Params = e.Params
	if m.Method == ToolsCall {
		var p callParams
		if e.Params == nil {
			return m, ErrParams
		}
		if _, err := json.Parse(e.Params, &p, flags); err != nil || p.Name == nil || *p.Name == "" {
			return m, ErrParams
		}
		m.Tool = *p.Name
		m.Checked = p.InputResponses == nil && p.RequestState == nil
		m.Progress = p.Meta != nil && p.Meta.ProgressToken != nil && string(p.Meta.ProgressToken) != "null"
	}
	return m, nil
}

// Decode decodes as the SDK does.
func Decode(data []byte, v any) error {
	_, err := json.Parse(data, v, flags)
	return err
}

// Append appends the JSON of v, without the escapes that HTML alone needs. What
// has no JSON form becomes null.
func Append(b []byte, v any) []byte {
	out, err := json.Append(b, v, json.SortMapKeys)
	if err != nil {
		return append(b, "null"...)
	}
	return out
}

// first returns the first byte that is not white space (RFC 8259 §2).
func first(body []byte) byte {
	for _, c := range body {
		switch c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// id returns raw when it can be the id of an MCP request: a string or a number.
func id(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return nil
	}
	if c := raw[0]; c == '"' || c == '-' || (c >= '0' && c <= '9') {
		return raw
	}
	return nil
}

// maxInteger is the largest integer id: the SDK reads numbers as float64, which
// holds no larger ones exactly (RFC 8259 §6).
const maxInteger = 1<<53 - 1

// echoes says whether the SDK gives an id back as it came. Otherwise the answer
// would be one to another request, or to none.
func echoes(id json.RawMessage) bool {
	if id[0] != '"' {
		n, err := strconv.ParseInt(string(id), 10, 64)
		return err == nil && -maxInteger <= n && n <= maxInteger && string(id) != "-0"
	}
	if bytes.IndexByte(id, '\\') < 0 {
		return true
	}
	// Half of a surrogate pair has no UTF-8 form.
	var text string
	_, err := json.Parse(id, &text, flags)
	return err == nil && !strings.ContainsRune(text, utf8.RuneError)
}

// tooDeep says whether parsing would recurse further than the SDK allows. It
// has to run before any parser does.
func tooDeep(body []byte) bool {
	depth, inString, escaped := 0, false, false
	for _, c := range body {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = c == '\\', c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
