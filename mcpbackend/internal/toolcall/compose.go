package toolcall

import (
	"encoding/json"
	"net/http"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// What tools that are made of several operations share with those that are one.

// ReadArguments gives the checked arguments of t by name, with defaults, or a
// failure that names every fault at once.
func ReadArguments(t *catalogue.Tool, arguments json.RawMessage) (map[string]json.RawMessage, *Failure) {
	given, faults := readArguments(t, arguments)
	if len(faults) > 0 {
		return nil, &Failure{Kind: InvalidArguments, Message: listFaults(t, faults)}
	}
	byName := make(map[string]json.RawMessage, len(given))
	for i, raw := range given {
		if raw != nil {
			byName[t.Operation.Parameters[i].Argument] = raw
		}
	}
	return byName, nil
}

// Answer is the API's answer to t as a compact JSON object, whole and as the
// API gave it, or the failure in words that a model can act on.
func Answer(t *catalogue.Tool, response *neonpanel.Response, err error) (json.RawMessage, *Failure) {
	if err != nil {
		failure := explain(t, err)
		return nil, &failure
	}
	answer, ok := object(response)
	if !ok || response.Status != http.StatusOK {
		return nil, &Failure{Kind: Unavailable, Message: "NeonPanel's answer cannot be read. " + again(t)}
	}
	return answer, nil
}
