package catalogue

import "encoding/json"

// Arguments is the input schema of a tool with these parameters, without those
// that are hidden or unlisted.
func Arguments(parameters []Parameter) json.RawMessage {
	input := &Schema{Type: "object", Closed: true}
	for _, p := range parameters {
		if !p.Hidden && !p.Unlisted {
			input.Properties = append(input.Properties, Property{Name: p.Argument, Required: p.Required, Schema: p.Schema})
		}
	}
	return input.append(nil)
}
