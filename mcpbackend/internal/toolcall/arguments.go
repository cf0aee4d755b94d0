package toolcall

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
)

// maxWrapping is how many layers of {"params": …} and JSON strings are removed.
const maxWrapping = 5

// values are the arguments of one call, in the order of the tool's parameters;
// nil for those that were not given.
type values []json.RawMessage

// readArguments turns what a client sent into one checked value for each of the
// tool's parameters, or names every fault at once.
func readArguments(t *catalogue.Tool, arguments json.RawMessage) (values, []string) {
	parameters := t.Operation.Parameters
	members, fault := unwrap(arguments, func(name string) bool { return find(parameters, name) >= 0 })
	if fault != "" {
		return nil, []string{fault}
	}
	given := make(values, len(parameters))
	var faults []string
	var unknown []string
	for name, raw := range members {
		i := find(parameters, name)
		switch {
		case i < 0:
			if !slices.Contains(t.Ignored, name) {
				unknown = append(unknown, name)
			}
		case parameters[i].Argument == name:
			given[i] = raw
		case members[parameters[i].Argument] != nil:
			// The exact name wins over one that only resembles it.
		case given[i] != nil:
			faults = append(faults, parameters[i].Argument+" is given twice, under names that resemble it")
		default:
			given[i] = raw
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		faults = append(faults, unknownArguments(t, unknown))
	}
	for i := range parameters {
		p := &parameters[i]
		raw := given[i]
		// Models send null, and "" for what they leave open.
		// In a change, null would wipe what they only mean to leave alone.
		if raw == nil || string(raw) == "null" && (!p.Schema.Nullable || !t.ReadOnly && !p.Required) || string(raw) == `""` && !p.Required {
			given[i] = p.Schema.Default
			if given[i] == nil && p.Required {
				faults = append(faults, missing(p))
			}
			continue
		}
		c := checker{anyPageSize: t.Operation.List != ""}
		given[i] = c.argument(p, raw)
		faults = append(faults, c.faults...)
	}
	return given, faults
}

// find gives the parameter with a name: the exact one, or else the one that
// differs only in case and underscores, so that company_uuid finds companyUuid,
// or else the one that had the name once.
func find(parameters []catalogue.Parameter, name string) int {
	for i := range parameters {
		if parameters[i].Argument == name && !parameters[i].Hidden {
			return i
		}
	}
	for i := range parameters {
		if !parameters[i].Hidden && sameWords(parameters[i].Argument, name) {
			return i
		}
	}
	for i := range parameters {
		if !parameters[i].Hidden && slices.ContainsFunc(parameters[i].Aliases, func(alias string) bool { return sameWords(alias, name) }) {
			return i
		}
	}
	if sameWords(name, "id") {
		return theID(parameters)
	}
	return -1
}

// theID is the one id that a tool takes beside that of a company: it is clear
// what a bare id is then.
func theID(parameters []catalogue.Parameter) int {
	found := -1
	for i := range parameters {
		p := &parameters[i]
		if p.In != catalogue.InPath || p.Hidden || p.Names != "" || !strings.HasSuffix(strings.ToLower(p.Name), "id") {
			continue
		}
		if found >= 0 {
			return -1
		}
		found = i
	}
	return found
}

func sameWords(a, b string) bool {
	for {
		a, b = strings.TrimLeft(a, "_-"), strings.TrimLeft(b, "_-")
		if a == "" || b == "" {
			return a == b
		}
		if lower(a[0]) != lower(b[0]) {
			return false
		}
		a, b = a[1:], b[1:]
	}
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// wrappers are members that clients put around arguments.
var wrappers = []string{"params", "arguments", "args", "parameters", "input"}

// unwrap removes what clients put around arguments, or around some of them:
// {"params": {…}}, and JSON inside a string.
func unwrap(raw json.RawMessage, isArgument func(string) bool) (map[string]json.RawMessage, string) {
	return unwrapAt(raw, isArgument, 0)
}

func unwrapAt(raw json.RawMessage, isArgument func(string) bool, depth int) (map[string]json.RawMessage, string) {
	const wrong = "the arguments must be a JSON object"
	for ; depth <= maxWrapping; depth++ {
		raw = bytes.TrimSpace(raw)
		if len(raw) == 0 || string(raw) == "null" {
			return nil, ""
		}
		switch raw[0] {
		case '"':
			var text string
			if json.Unmarshal(raw, &text) != nil {
				return nil, wrong
			}
			raw = json.RawMessage(text)
		case '{':
			var members map[string]json.RawMessage
			if json.Unmarshal(raw, &members) != nil {
				return nil, wrong + " that is well formed"
			}
			wrapper := wrapperOf(members, isArgument)
			switch {
			case wrapper == "":
				return members, ""
			case len(members) == 1 && (wrapper == wrappers[0] || holdsObject(members[wrapper])):
				raw = members[wrapper]
				continue
			case string(members[wrapper]) == "null":
				delete(members, wrapper)
				return members, ""
			case !holdsObject(members[wrapper]):
				return members, "" // it is named as an argument that there is not
			}
			// Some are wrapped, others stand beside them.
			inner, fault := unwrapAt(members[wrapper], isArgument, depth+1)
			if fault != "" {
				return nil, fault
			}
			delete(members, wrapper)
			for name, value := range inner {
				if beside, twice := members[name]; twice && !sameJSON(beside, value) {
					return nil, fmt.Sprintf("%s is given twice, in %s and beside it", show(name), wrapper)
				}
				members[name] = value
			}
			return members, ""
		default:
			return nil, wrong
		}
	}
	return nil, wrong + ", not wrapped more than " + strconv.Itoa(maxWrapping) + " times"
}

// wrapperOf is the member around the arguments; "" for none.
func wrapperOf(members map[string]json.RawMessage, isArgument func(string) bool) string {
	for _, name := range wrappers {
		if _, ok := members[name]; ok && !isArgument(name) {
			return name
		}
	}
	return ""
}

// holdsObject says that a value is an object, or a string that may hold one.
func holdsObject(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '"' {
		return len(raw) > 0 && raw[0] == '{'
	}
	inner := strings.TrimSpace(text(raw))
	return strings.HasPrefix(inner, "{") || strings.HasPrefix(inner, `"`)
}

// sameJSON says that two values are the same, however they are written.
func sameJSON(a, b json.RawMessage) bool {
	x, ok := decode(bytes.TrimSpace(a))
	y, also := decode(bytes.TrimSpace(b))
	return ok && also && equal(x, y)
}

func missing(p *catalogue.Parameter) string {
	fault := p.Argument + " is required"
	if d := p.Schema.Description; d != "" {
		fault += ": " + d
	}
	return fault
}

func unknownArguments(t *catalogue.Tool, unknown []string) string {
	var names []string
	for i := range t.Operation.Parameters {
		if p := &t.Operation.Parameters[i]; !p.Hidden && !p.Unlisted {
			names = append(names, p.Argument)
		}
	}
	for i, name := range unknown {
		unknown[i] = show(name)
	}
	if len(unknown) > 10 {
		unknown = append(unknown[:10], "…")
	}
	if len(names) == 0 {
		return fmt.Sprintf("%s: this tool takes no arguments", strings.Join(unknown, ", "))
	}
	return fmt.Sprintf("no argument is named %s; there are %s", strings.Join(unknown, ", "), strings.Join(names, ", "))
}

func listFaults(t *catalogue.Tool, faults []string) string {
	if len(faults) == 1 {
		return fmt.Sprintf("%s was not called: %s. Correct this and call it again.", t.Name, strings.TrimSuffix(faults[0], "."))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s was not called: %d arguments are wrong.\n", t.Name, len(faults))
	for _, fault := range faults {
		b.WriteString("- " + fault + "\n")
	}
	b.WriteString("Correct all of them and call it again.")
	return b.String()
}

// show quotes a short, plain piece of what was sent; anything else is left out.
func show(value string) string {
	const longest = 40
	plain := len(value) <= longest && !strings.ContainsFunc(value, func(r rune) bool {
		return r < ' ' || r > '~' || r == '<' || r == '>' || r == '"' || r == '`'
	})
	if !plain {
		return "(one not shown)"
	}
	return `"` + value + `"`
}
