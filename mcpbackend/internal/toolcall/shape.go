package toolcall

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// shape is the answer to a call that changes something; one that is not final
// is followed up.
func (r *runner) shape(ctx context.Context, t *catalogue.Tool, given values, response *neonpanel.Response, c Caller) Result {
	if t.Operation.Next != nil && response.Status == http.StatusAccepted {
		return r.follow(ctx, t, given, response, c)
	}
	return r.written(t, response)
}

// written is the answer to a call that changed something.
func (r *runner) written(t *catalogue.Tool, response *neonpanel.Response) Result {
	body, ok := object(response)
	if !ok {
		return failed(Failure{Kind: Unavailable, Message: "NeonPanel's answer cannot be read. " + again(t)})
	}
	if len(body) <= r.maxBytes {
		return shown(body, nil)
	}
	return shown(shrink(nil, body, r.maxBytes-reserve), []string{"Cut for size: only the small members are shown. NeonPanel has taken the call; read the rest with the tool that reads it."})
}

// empty says that an answer holds nothing.
func empty(response *neonpanel.Response) bool {
	body := bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(response.Body), []byte("\ufeff")))
	return len(body) == 0 || string(body) == "null"
}

// object is the answer as a compact JSON object.
func object(response *neonpanel.Response) (json.RawMessage, bool) {
	body := bytes.TrimPrefix(bytes.TrimSpace(response.Body), []byte("\ufeff"))
	if len(body) == 0 {
		return json.RawMessage(`{"ok":true}`), true
	}
	if !utf8.Valid(body) {
		body = bytes.ToValidUTF8(body, []byte("\ufffd"))
	}
	if response.MediaType == "text/plain" && body[0] != '{' && body[0] != '[' {
		w := writer{}
		w.member("text", marshal(string(body)))
		return w.close(), true
	}
	compacted := bytes.NewBuffer(make([]byte, 0, len(body)+256))
	if json.Compact(compacted, body) != nil {
		// Some encoders write NaN and Infinity, which JSON has not.
		compacted.Reset()
		if json.Compact(compacted, finite(body)) != nil {
			return nil, false
		}
	}
	answer := compacted.Bytes()
	switch answer[0] {
	case '{':
		return answer, true
	case '[':
		w := writer{}
		w.member("data", answer)
		return w.close(), true
	default:
		w := writer{}
		w.member("value", answer)
		return w.close(), true
	}
}

// finite writes null for NaN, Infinity and -Infinity outside strings.
func finite(body []byte) []byte {
	out := make([]byte, 0, len(body))
	for i := 0; i < len(body); {
		if body[i] == '"' {
			end := i + 1
			for end < len(body) && body[end] != '"' {
				if body[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(body))
			out = append(out, body[i:end]...)
			i = end
			continue
		}
		replaced := false
		for _, word := range []string{"NaN", "-NaN", "Infinity", "-Infinity", "INF", "-INF"} {
			if bytes.HasPrefix(body[i:], []byte(word)) {
				out = append(out, "null"...)
				i += len(word)
				replaced = true
				break
			}
		}
		if !replaced {
			out = append(out, body[i])
			i++
		}
	}
	return out
}

// page is where an answer stands in a list.
type page struct{ current, size, last int64 }

// position reads the paging members, which stand at the top of an answer; as
// numbers, or as strings that hold them.
func position(answer []byte) (p page, ok bool) {
	for name, value := range members(answer) {
		switch string(name) {
		case `"current_page"`:
			p.current, _ = strconv.ParseInt(asInteger(text(value)), 10, 64)
		case `"per_page"`:
			p.size, _ = strconv.ParseInt(asInteger(text(value)), 10, 64)
		case `"last_page"`:
			p.last, _ = strconv.ParseInt(asInteger(text(value)), 10, 64)
			ok = true
		}
	}
	// Beyond these bounds a page is none, and numbers would overflow.
	return p, ok && p.current > 0 && p.current <= maxIndex && p.last <= maxIndex && p.size <= maxPage
}

// with adds a member to a compact JSON object.
func with(object json.RawMessage, name string, value []byte) json.RawMessage {
	w := writer{}
	w.begin()
	for n, v := range members(object) {
		w.raw(n, v)
	}
	w.member(name, value)
	return w.close()
}
