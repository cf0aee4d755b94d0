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
	given, others, failure := ReadNames(t, arguments)
	if failure == nil && len(others) > 0 {
		failure = others[0].Failure(t)
	}
	if failure != nil {
		return nil, failure
	}
	return given, nil
}

// Other is a second value for the company that an argument names, under another
// name. The call may go on when both mean the same one.
type Other struct {
	// Argument is the argument's own name.
	Argument string
	// Value is the second value.
	Value json.RawMessage
	fault string
}

// Failure says that the two mean different companies.
func (o Other) Failure(t *catalogue.Tool) *Failure {
	return &Failure{Kind: InvalidArguments, Message: listFaults(t, []string{o.fault})}
}

// ReadNames is ReadArguments for a tool that looks companies up itself.
func ReadNames(t *catalogue.Tool, arguments json.RawMessage) (map[string]json.RawMessage, []Other, *Failure) {
	given, others, faults := readArguments(t, arguments)
	if len(faults) > 0 {
		return nil, nil, &Failure{Kind: InvalidArguments, Message: listFaults(t, faults)}
	}
	byName := make(map[string]json.RawMessage, len(given))
	for i, raw := range given {
		if raw != nil {
			byName[t.Operation.Parameters[i].Argument] = raw
		}
	}
	var also []Other
	for _, o := range others {
		p := &t.Operation.Parameters[o.parameter]
		also = append(also, Other{Argument: p.Argument, Value: o.raw, fault: o.fault(p)})
	}
	return byName, also, nil
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
