package mcpserver

import (
	"net/http"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/invocation"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/rpc"
)

// Envoy writes the values of these headers of an answer into its log. They are
// of closed lists, for what a client sends may be anything.
const (
	ToldMethod = "X-Neonpanel-Mcp-Method"
	ToldTool   = "X-Neonpanel-Mcp-Tool"

	other = "other"
)

// Tell names what a message asks for in the header of its answer.
func Tell(h http.Header, calls *invocation.Service, msg rpc.Message) {
	switch {
	case msg.Method == "": // the answer to a request of the server
		return
	case !known(msg.Method):
		h[ToldMethod] = []string{other}
		return
	}
	h[ToldMethod] = []string{msg.Method}
	if msg.Method != rpc.ToolsCall {
		return
	}
	h[ToldTool] = []string{other}
	if t, ok := calls.Tools.Lookup(msg.Tool); ok {
		h[ToldTool] = []string{t.Name} // which an alias is not
	}
}
