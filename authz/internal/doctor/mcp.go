package doctor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// The versions of MCP that are spoken: the last one with a handshake, and the
// one without.
const (
	legacy = "2025-11-25"
	modern = "2026-07-28"
)

// message is a request to /mcp in JSON-RPC.
func message(version, method, name string, params map[string]any) request {
	if params == nil {
		params = map[string]any{}
	}
	h := headers("Content-Type", "application/json", "Accept", "application/json, text/event-stream")
	if method != "initialize" {
		h.Set("Mcp-Protocol-Version", version)
	}
	if version == modern {
		params["_meta"] = map[string]any{
			"io.modelcontextprotocol/protocolVersion":    version,
			"io.modelcontextprotocol/clientCapabilities": map[string]any{},
			"io.modelcontextprotocol/clientInfo":         map[string]any{"name": "authz-doctor", "version": "1"},
		}
		h.Set("Mcp-Method", method)
		if name != "" {
			h.Set("Mcp-Name", name)
		}
	}
	// Maps of strings and of these cannot fail to be encoded.
	body, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	return request{method: http.MethodPost, address: "/mcp", header: h, body: string(body)}
}

func call(version, tool string, arguments map[string]any) request {
	if arguments == nil {
		arguments = map[string]any{}
	}
	return message(version, "tools/call", tool, map[string]any{"name": tool, "arguments": arguments})
}

// result reads the result of a JSON-RPC request.
func (a answer) result(into any) error {
	if a.err != nil || a.status != http.StatusOK {
		return errors.New(a.String())
	}
	body := a.body
	if isEventStream(a.header) {
		for line := range bytes.Lines(a.body) {
			if data, is := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("data:")); is {
				body = data
			}
		}
	}
	var r struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(body, &r); {
	case err != nil:
		return errors.New("not JSON-RPC")
	case r.Error != nil:
		return fmt.Errorf("error %d %.200q", r.Error.Code, r.Error.Message)
	case r.Result == nil:
		return errors.New("neither a result nor an error")
	}
	if json.Unmarshal(r.Result, into) != nil {
		return errors.New("not a result as MCP has it")
	}
	return nil
}

// toolName is what all known clients take for the name of a tool.
var toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// preferred is the tool to try, if it is there.
const preferred = "list_companies"

// checkTools lists the tools in both versions of MCP, and finds one that only
// reads and needs no argument.
func (e *examination) checkTools(ctx context.Context) Finding {
	const fix = "see the log of mcpbackend"
	var hello struct {
		Version string `json:"protocolVersion"`
	}
	r := message(legacy, "initialize", "", map[string]any{
		"protocolVersion": legacy, "capabilities": map[string]any{}, "clientInfo": map[string]any{"name": "authz-doctor", "version": "1"},
	})
	a := e.send(ctx, true, r)
	if a.err == nil && (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden || a.status == http.StatusBadRequest) {
		return fail("authz explain says which rule refuses it; or get a fresh token for "+e.typed.URL(e.base), "the token is refused: %v", a)
	}
	if err := a.result(&hello); err != nil || hello.Version == "" {
		return fail(fix, "initialize: %v", errOr(err, "no protocolVersion"))
	}
	count := 0
	for _, version := range []string{legacy, modern} {
		var list struct {
			Tools []struct {
				Name        string `json:"name"`
				Annotations struct {
					ReadOnly bool `json:"readOnlyHint"`
				} `json:"annotations"`
				Input struct {
					Required []string `json:"required"`
				} `json:"inputSchema"`
			} `json:"tools"`
		}
		if err := e.send(ctx, true, message(version, "tools/list", "", nil)).result(&list); err != nil {
			return fail(fix, "in MCP %s: %v", version, err)
		}
		if len(list.Tools) == 0 {
			return fail("see MCPBACKEND_TOOLSETS", "in MCP %s: no tools", version)
		}
		for _, t := range list.Tools {
			if !toolName.MatchString(t.Name) {
				return fail(fix, "a tool is named %.100q, which clients refuse", t.Name)
			}
			if t.Annotations.ReadOnly && len(t.Input.Required) == 0 && (e.tool == "" || t.Name == preferred) {
				e.tool = t.Name
			}
		}
		count = len(list.Tools)
	}
	return ok("%d tools, in MCP %s and %s", count, legacy, modern)
}

// checkCall reads something as the user.
func (e *examination) checkCall(ctx context.Context) Finding {
	if e.tool == "" {
		return skip("no tool only reads and needs no argument")
	}
	e.called = e.send(ctx, true, call(modern, e.tool, nil))
	var result struct {
		IsError bool `json:"isError"`
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	if err := e.called.result(&result); err != nil {
		return fail("see the log of mcpbackend", "%s: %v", e.tool, err)
	}
	if result.IsError {
		text := ""
		if len(result.Content) > 0 {
			text = result.Content[0].Text
		}
		return fail("if the token lacks a scope, get one with it; else see NEONPANEL_API_URL and the log of mcpbackend", "%s: %.200s", e.tool, text)
	}
	return ok("%s answered %d bytes", e.tool, len(e.called.body))
}

// checkForgedWithToken makes the read call again with identity headers that say
// somebody else asks, whose token is long expired.
func (e *examination) checkForgedWithToken(ctx context.Context) Finding {
	r := call(modern, e.tool, nil)
	forge(&r, e.Now().Add(-time.Hour))
	forged := e.send(ctx, true, r)
	if forged.same(e.called) {
		return ok("x-neonpanel-* beside a token: the same answer")
	}
	// Data may have changed in between.
	if again := e.send(ctx, true, call(modern, e.tool, nil)); !again.same(e.called) && forged.err == nil && forged.status == e.called.status {
		return warn("try again when less is changing", "the answers of %s differ from call to call, so nothing can be told", e.tool)
	}
	return fail("an emergency: have Envoy strip x-neonpanel-* from what clients send", "identity headers beside a token changed the answer (%v)", forged)
}

func (a answer) same(b answer) bool {
	return a.err == nil && b.err == nil && a.status == b.status && bytes.Equal(a.body, b.body)
}

// checkStream opens the legacy transport's stream (MCP 2024-11-05), which has to
// stay open however long nothing is said on it.
func (e *examination) checkStream(ctx context.Context) Finding {
	if e.StreamTime <= 0 {
		return skip("--stream-time is 0")
	}
	const patience = "raise the idle and request timeouts of what is in front (60 s is a common default), or see whether the token ended"
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	// Until the first event the stream has the time of a request.
	first := time.AfterFunc(e.Timeout, cancel)
	defer first.Stop()
	response, err := e.client.open(ctx, e.authorize(true, request{method: http.MethodGet, address: "/sse", header: headers("Accept", "text/event-stream")}))
	if err != nil {
		return fail("see the log of Envoy", "GET /sse: %v", answer{err: err})
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || !isEventStream(response.Header) {
		return fail("route GET /sse to the gateway's Envoy", "GET /sse: %v, Content-Type %.100q",
			answer{status: response.StatusCode, header: response.Header}, response.Header.Get("Content-Type"))
	}
	events := make(chan string)
	ended := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			select {
			case events <- lines.Text():
			case <-ctx.Done():
			}
		}
		ended <- lines.Err()
	}()
	end := time.NewTimer(e.StreamTime)
	defer end.Stop()
	named, over := false, false
	for !named || !over {
		select {
		case line := <-events:
			if strings.HasPrefix(line, "data:") && !named {
				named = true
				first.Stop()
			}
		case err := <-ended:
			after := time.Since(began).Round(10 * time.Millisecond)
			if !named {
				return fail("let what is in front send on the stream unbuffered, as it comes", "no event on /sse within %s", after)
			}
			return fail(patience, "/sse ended after %s of %s (%v)", after, e.StreamTime, errOr(err, "end of the answer"))
		case <-end.C:
			over = true
		}
	}
	return ok("/sse open for %s", e.StreamTime)
}

func errOr(err error, otherwise string) error {
	if err != nil {
		return err
	}
	return errors.New(otherwise)
}
