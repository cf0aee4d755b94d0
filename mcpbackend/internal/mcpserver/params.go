package mcpserver

import (
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/rpc"
)

// form is what the SDK decodes the params of a method into, and how they look.
type form struct {
	into func() any
	like string
}

const listForm = `{} or {"cursor":"…"}, with the nextCursor of the answer before`

var forms = map[string]form{
	rpc.Initialize:             {func() any { return new(mcp.InitializeParams) }, `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"…","version":"…"}}`},
	rpc.Ping:                   {func() any { return new(mcp.PingParams) }, `{}`},
	rpc.Discover:               {func() any { return new(mcp.DiscoverParams) }, `{}`},
	rpc.ToolsList:              {func() any { return new(mcp.ListToolsParams) }, listForm},
	rpc.ToolsCall:              {func() any { return new(mcp.CallToolParamsRaw) }, `{"name":"…","arguments":{…}}`},
	"prompts/list":             {func() any { return new(mcp.ListPromptsParams) }, listForm},
	"prompts/get":              {func() any { return new(mcp.GetPromptParams) }, `{"name":"…","arguments":{…}}`},
	"resources/list":           {func() any { return new(mcp.ListResourcesParams) }, listForm},
	"resources/templates/list": {func() any { return new(mcp.ListResourceTemplatesParams) }, listForm},
	"resources/read":           {func() any { return new(mcp.ReadResourceParams) }, `{"uri":"…"}`},
	"resources/subscribe":      {func() any { return new(mcp.SubscribeParams) }, `{"uri":"…"}`},
	"resources/unsubscribe":    {func() any { return new(mcp.UnsubscribeParams) }, `{"uri":"…"}`},
	"completion/complete":      {func() any { return new(mcp.CompleteParams) }, `{"ref":{"type":"ref/prompt","name":"…"},"argument":{"name":"…","value":"…"}}`},
	//lint:ignore SA1019 old clients still send it
	"logging/setLevel": {func() any { return new(mcp.SetLoggingLevelParams) }, `{"level":"info"}`},
	rpc.Listen:         {func() any { return new(mcp.SubscriptionsListenParams) }, `{"notifications":{}}`},
}

// CheckParams says what is wrong with the params of a request, where the SDK
// would answer with the names of its own types.
func CheckParams(m rpc.Message) *rpc.Error {
	f, ok := forms[m.Method]
	switch {
	case !ok || !m.Call():
		return nil
	case m.Params == nil && m.Method == rpc.Initialize:
	case m.Params == nil, m.Checked: // nothing to decode, or decoded already
		return nil
	case rpc.Decode(m.Params, f.into()) == nil:
		return nil
	}
	return &rpc.Error{Code: rpc.CodeInvalidParams, Message: fmt.Sprintf("Invalid params: the params of %s must be like %s.", m.Method, f.like)}
}

// Undecoded is the message for params that the SDK alone finds wrong, and says
// so with the names of its own types; empty for other messages.
func Undecoded(message string) string {
	if !strings.Contains(message, "unmarshal") && !strings.Contains(message, "Go struct") && !strings.Contains(message, "json:") {
		return ""
	}
	return "Invalid params: a member of params has another type than MCP gives it."
}
