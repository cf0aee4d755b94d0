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

// sent is a member of what a client sent: an argument under the name that the
// client gave it.
type sent struct {
	name string
	raw  json.RawMessage
	// within is what the client had put around it; "" for nothing.
	within string
}

func (s sent) String() string {
	if s.within == "" {
		return show(s.name)
	}
	return show(s.name) + " in " + s.within
}

// open says that it is what models send for what they leave open.
func (s sent) open() bool { return string(s.raw) == "null" || string(s.raw) == `""` }

// other is a second value for the company that an argument names: whether both
// mean the same one shows when they are looked up.
type other struct {
	parameter   int
	raw         json.RawMessage
	first, then sent
}

func (o other) fault(p *catalogue.Parameter) string {
	return fmt.Sprintf("%s is given twice with different values, as %s and as %s; give it once", p.Argument, o.first, o.then)
}

// readArguments turns what a client sent into one checked value for each of the
// tool's parameters, or names every fault at once. Two names for one argument
// must have one value: to choose would do what nobody asked for.
func readArguments(t *catalogue.Tool, arguments json.RawMessage) (values, []other, []string) {
	parameters := t.Operation.Parameters
	given, fault := unwrap(arguments, func(name string) bool { return find(parameters, name) >= 0 })
	if fault != "" {
		return nil, nil, []string{fault}
	}
	var faults []string
	var unknown []string
	places := make([]int, len(given))
	chosen := make([]int, len(parameters))
	for i := range chosen {
		chosen[i] = -1
	}
	twice := false
	for k, s := range given {
		i := find(parameters, s.name)
		places[k] = i
		switch {
		case i < 0:
			if !slices.Contains(t.Ignored, s.name) && !slices.Contains(unknown, s.name) {
				unknown = append(unknown, s.name)
			}
		case chosen[i] < 0:
			chosen[i] = k
		case given[chosen[i]].open():
			chosen[i] = k
		default:
			twice = true
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		faults = append(faults, unknownArguments(t, unknown))
	}
	var others []other
	if twice {
		others, faults = contradictions(parameters, given, places, chosen, faults)
	}
	out := make(values, len(parameters))
	for i := range parameters {
		p := &parameters[i]
		var raw json.RawMessage
		if k := chosen[i]; k >= 0 {
			raw = given[k].raw
		}
		// Models send null, and "" for what they leave open.
		// In a change, null would wipe what they only mean to leave alone.
		if raw == nil || string(raw) == "null" && (!p.Schema.Nullable || !t.ReadOnly && !p.Required) || string(raw) == `""` && !p.Required {
			out[i] = p.Schema.Default
			if out[i] == nil && p.Required {
				faults = append(faults, missing(p))
			}
			continue
		}
		c := checker{anyPageSize: t.Operation.List != ""}
		if u := t.Operation.Upload; u != nil {
			c.content = u.ContentArgument
		}
		out[i] = c.argument(p, raw)
		faults = append(faults, c.faults...)
	}
	return out, others, faults
}

// contradictions finds the arguments that were given twice, with values that
// differ after the conversions of [checker.argument].
func contradictions(parameters []catalogue.Parameter, given []sent, places, chosen []int, faults []string) ([]other, []string) {
	var others []other
	for k, s := range given {
		i := places[k]
		if i < 0 || chosen[i] == k || s.open() {
			continue
		}
		p := &parameters[i]
		o := other{parameter: i, raw: convertArgument(p, s.raw), first: given[chosen[i]], then: s}
		switch {
		case sameJSON(convertArgument(p, o.first.raw), o.raw):
		case p.Names == catalogue.Companies:
			c := checker{}
			o.raw = c.argument(p, s.raw)
			faults = append(faults, c.faults...)
			others = append(others, o)
		default:
			faults = append(faults, o.fault(p))
		}
	}
	return others, faults
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
func unwrap(raw json.RawMessage, isArgument func(string) bool) ([]sent, string) {
	return unwrapAt(raw, isArgument, 0)
}

func unwrapAt(raw json.RawMessage, isArgument func(string) bool, depth int) ([]sent, string) {
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
			given, ok := membersOf(raw)
			if !ok {
				return nil, wrong + " that is well formed"
			}
			at := wrapperOf(given, isArgument)
			if at < 0 {
				return given, ""
			}
			wrapper := given[at]
			switch {
			case len(given) == 1 && (wrapper.name == wrappers[0] || holdsObject(wrapper.raw)):
				raw = wrapper.raw
				continue
			case string(wrapper.raw) == "null":
				return slices.Delete(given, at, at+1), ""
			case !holdsObject(wrapper.raw):
				return given, "" // it is named as an argument that there is not
			}
			// Some are wrapped, others stand beside them.
			inner, fault := unwrapAt(wrapper.raw, isArgument, depth+1)
			if fault != "" {
				return nil, fault
			}
			for i := range inner {
				inner[i].within = wrapper.name
			}
			return append(slices.Delete(given, at, at+1), inner...), ""
		default:
			return nil, wrong
		}
	}
	return nil, wrong + ", not wrapped more than " + strconv.Itoa(maxWrapping) + " times"
}

// membersOf gives the members of an object as they were sent: in their order,
// and a name that was sent twice both times.
func membersOf(raw json.RawMessage) ([]sent, bool) {
	if !json.Valid(raw) {
		return nil, false
	}
	// As [members], but with the space that a client may have left.
	space := func(i int) int {
		for i < len(raw) && (raw[i] == ' ' || raw[i] == '\n' || raw[i] == '\r' || raw[i] == '\t') {
			i++
		}
		return i
	}
	var given []sent
	for i := space(1); raw[i] != '}'; {
		end := skip(raw, i)
		name := text(raw[i:end])
		i = space(space(end) + 1)
		end = skip(raw, i)
		given = append(given, sent{name: name, raw: bytes.TrimSpace(raw[i:end:end])})
		if i = space(end); raw[i] == ',' {
			i = space(i + 1)
		}
	}
	return given, true
}

// wrapperOf is the place of the member around the arguments; -1 for none.
func wrapperOf(given []sent, isArgument func(string) bool) int {
	for _, name := range wrappers {
		if i := slices.IndexFunc(given, func(s sent) bool { return s.name == name }); i >= 0 && !isArgument(name) {
			return i
		}
	}
	return -1
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
