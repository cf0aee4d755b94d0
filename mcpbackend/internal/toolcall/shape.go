package toolcall

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// Members that are added to an answer begin with an underscore, which the API's
// own never do.
const (
	nextMember      = "_next"
	truncatedMember = "_truncated"
)

// shape turns the API's answer into a JSON object and its text. Numbers and
// dates keep the bytes that the API sent.
func (r *runner) shape(t *catalogue.Tool, given values, response *neonpanel.Response) Result {
	answer, ok := object(response)
	if !ok {
		return failed(Failure{Kind: Unavailable, Message: "NeonPanel's answer cannot be read. " + again(t)})
	}
	var notes []string
	if len(answer) > r.maxBytes {
		var note string
		if answer, note = r.truncate(t, answer); note != "" {
			notes = append(notes, note)
		}
	} else if note := pages(t, answer); note != "" {
		notes = append(notes, note)
	}
	if next := t.Operation.Next; next != nil && response.Status == http.StatusAccepted {
		var note string
		if answer, note = follow(t, given, next, answer, response); note != "" {
			notes = append(notes, note)
		}
	}
	text := string(answer)
	if len(notes) > 0 {
		text += "\n\n" + strings.Join(notes, "\n")
	}
	return Result{Structured: answer, Text: text}
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

// position reads the paging members, which stand at the top of an answer.
func position(answer []byte) (p page, ok bool) {
	for name, value := range members(answer) {
		switch string(name) {
		case `"current_page"`:
			p.current, _ = strconv.ParseInt(string(value), 10, 64)
		case `"per_page"`:
			p.size, _ = strconv.ParseInt(string(value), 10, 64)
		case `"last_page"`:
			p.last, _ = strconv.ParseInt(string(value), 10, 64)
		}
	}
	return p, p.current > 0 && p.last > 0
}

// pages says that there is more.
func pages(t *catalogue.Tool, answer []byte) string {
	if !takes(t, "page") {
		return ""
	}
	p, ok := position(answer)
	if !ok || p.current >= p.last {
		return ""
	}
	return fmt.Sprintf("Page %d of %d. For more, call %s again with page=%d.", p.current, p.last, t.Name, p.current+1)
}

func takes(t *catalogue.Tool, argument string) bool {
	for i := range t.Operation.Parameters {
		if p := &t.Operation.Parameters[i]; p.Argument == argument && !p.Hidden {
			return true
		}
	}
	return false
}

// follow says what to call after an answer that is not final.
func follow(t *catalogue.Tool, given values, next *catalogue.Next, answer json.RawMessage, response *neonpanel.Response) (json.RawMessage, string) {
	arguments := writer{}
	complete := true
	for _, name := range next.Keep {
		found := false
		for i := range t.Operation.Parameters {
			if t.Operation.Parameters[i].Argument == name && given[i] != nil {
				arguments.member(name, given[i])
				found = true
			}
		}
		complete = complete && found
	}
	for _, name := range sortedKeys(next.Take) {
		found := false
		for member, value := range members(answer) {
			if string(member) == `"`+next.Take[name]+`"` && value[0] == '"' {
				arguments.member(name, value)
				found = true
			}
		}
		if !found && response.RequestID != "" {
			arguments.member(name, marshal(response.RequestID))
			found = true
		}
		complete = complete && found
	}
	wait := response.RetryAfter
	if wait <= 0 {
		wait = next.Wait
	}
	if !complete || arguments.b == nil {
		return answer, fmt.Sprintf("NeonPanel is still working on it. Ask with %s in %d seconds.", next.Tool, seconds(wait))
	}
	call := arguments.close()
	member := writer{}
	member.member("tool", marshal(next.Tool))
	member.member("arguments", call)
	member.member("after_seconds", strconv.AppendInt(nil, seconds(wait.Round(time.Millisecond)), 10))
	return with(answer, nextMember, member.close()),
		fmt.Sprintf("NeonPanel is still working on it. Wait %d seconds, then call %s with %s.", seconds(wait), next.Tool, call)
}

// with adds a member to a compact JSON object.
func with(answer json.RawMessage, name string, value []byte) json.RawMessage {
	w := writer{}
	if inner := answer[1 : len(answer)-1]; len(inner) > 0 {
		w.b = append(append(make([]byte, 0, len(answer)+len(value)+64), '{'), inner...)
	}
	w.member(name, value)
	return w.close()
}
