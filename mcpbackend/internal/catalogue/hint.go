package catalogue

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// aliasName is wider than toolName: names had capitals and dots once.
var aliasName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]{0,127}$`)

// extension is the key under which the overlay describes a tool.
const extension = "x-mcp"

// hint is what the overlay says about one operation.
type hint struct {
	// Name replaces the operationId in snake case.
	Name        string `yaml:"name"`
	Title       string `yaml:"title"`
	Description string `yaml:"description"`
	Toolset     string `yaml:"toolset"`
	// Hidden operations get no tool.
	Hidden bool `yaml:"hidden"`
	// Formerly are paths that the operation had, and still has where a live
	// document says so.
	Formerly []string `yaml:"formerly"`
	// Scopes are nil when the overlay does not speak of them.
	Scopes []string `yaml:"scopes"`

	// The annotations; what is nil follows from the method.
	ReadOnly    *bool `yaml:"readOnly"`
	Destructive *bool `yaml:"destructive"`
	Idempotent  *bool `yaml:"idempotent"`
	OpenWorld   *bool `yaml:"openWorld"`

	// Aliases are names from earlier times; Ignored are, by alias, arguments of
	// those times that mean nothing any more.
	Aliases []string            `yaml:"aliases"`
	Ignored map[string][]string `yaml:"ignored"`

	Arguments map[string]argumentHint `yaml:"arguments"`
	Upload    *uploadHint             `yaml:"upload"`
	Next      *nextHint               `yaml:"next"`
	// List is the member of the answer that holds the rows, where it is not data
	// or where there are no pages.
	List string `yaml:"list"`
}

// argumentHint changes one argument; its key is the parameter's name in the
// document.
type argumentHint struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	Default     any    `yaml:"default"`
	Example     any    `yaml:"example"`
	// Hidden arguments are not offered; their default is sent.
	Hidden bool `yaml:"hidden"`
	// Aliases are further names that are accepted.
	Aliases []string `yaml:"aliases"`
	// NameScopes are what a caller needs for Names.
	Names      Naming   `yaml:"names"`
	NameScopes []string `yaml:"nameScopes"`
	// NamedBy is the operationId whose rows tell what an id stands for.
	NamedBy string `yaml:"namedBy"`
	// Uniform is a member that must be the same in every entry of a list.
	Uniform string `yaml:"uniform"`
}

// inherit adds what the overlay says of arguments in general.
func (h *hint) inherit(common map[string]argumentHint) {
	own := h.Arguments
	h.Arguments = maps.Clone(common)
	if h.Arguments == nil {
		h.Arguments = map[string]argumentHint{}
	}
	for name, a := range own {
		general := common[name]
		a.Name = firstOf(a.Name, general.Name)
		a.Description = firstOf(a.Description, general.Description)
		a.Aliases = slices.Concat(a.Aliases, general.Aliases)
		if a.Names == "" {
			a.Names, a.NameScopes = general.Names, general.NameScopes
		}
		a.NamedBy = firstOf(a.NamedBy, general.NamedBy)
		h.Arguments[name] = a
	}
}

// Arguments that the gateway adds to every tool that writes, and acts on itself.
const (
	RepeatArgument = "repeat"
	DryRunArgument = "dry_run"
	// ClearArgument names fields to empty, of tools that change what is there.
	ClearArgument = "clear"
)

// clearable are the arguments that the API takes null for, to empty a field.
// Models send null for what they leave alone, so null itself is not offered.
func clearable(method string, parameters []Parameter) []Parameter {
	if method != "PUT" && method != "PATCH" {
		return nil
	}
	var names []json.RawMessage
	for i := range parameters {
		if p := &parameters[i]; p.In == InBody && p.Schema.Nullable && !p.Required && !p.Hidden {
			p.Schema.Nullable = false
			names = append(names, quote(p.Argument))
		}
	}
	if names == nil {
		return nil
	}
	return []Parameter{{Argument: ClearArgument, Name: ClearArgument, In: InGateway, Schema: &Schema{
		Type: "array", Description: "Fields to empty; null leaves a field as it is", Items: &Schema{Type: "string", Enum: names},
	}}}
}

func gatewayArguments() []Parameter {
	return []Parameter{
		{Argument: DryRunArgument, Name: DryRunArgument, In: InGateway, Schema: &Schema{
			Type: "boolean", Description: "Check the arguments and show the request; change nothing",
		}},
		{Argument: RepeatArgument, Name: RepeatArgument, In: InGateway, Schema: &Schema{
			Type: "boolean", Description: "Do it again, though the same call was made in the last two minutes",
		}},
	}
}

type uploadHint struct {
	MediaType string      `yaml:"mediaType"`
	Magic     string      `yaml:"magic"`
	MaxBytes  int         `yaml:"maxBytes"`
	Query     string      `yaml:"query"`
	Object    string      `yaml:"object"`
	Name      uploadField `yaml:"name"`
	Link      uploadField `yaml:"link"`
	Content   uploadField `yaml:"content"`
}

type uploadField struct {
	Argument    string `yaml:"argument"`
	Description string `yaml:"description"`
}

type nextHint struct {
	// Operation is an operationId.
	Operation string            `yaml:"operation"`
	Wait      time.Duration     `yaml:"wait"`
	Keep      []string          `yaml:"keep"`
	Take      map[string]string `yaml:"take"`
}

// annotations follows from the method what the overlay does not say. Where
// nothing is known of a write, it is taken for the worst kind.
func (h *hint) annotate(t *Tool, method string) {
	safe := method == "GET" || method == "HEAD"
	or := func(stated *bool, otherwise bool) bool {
		if stated != nil {
			return *stated
		}
		return otherwise
	}
	t.ReadOnly = or(h.ReadOnly, safe)
	t.Destructive = or(h.Destructive, !safe) && !t.ReadOnly
	t.Idempotent = or(h.Idempotent, safe || method == "PUT" || method == "DELETE")
	t.OpenWorld = or(h.OpenWorld, !safe)
}

func (h *hint) check() error {
	if h.Upload != nil {
		u := h.Upload
		if u.MediaType == "" || u.Object == "" || u.Query == "" || u.MaxBytes <= 0 ||
			u.Name.Argument == "" || u.Link.Argument == "" || u.Content.Argument == "" {
			return fmt.Errorf("%s.upload needs mediaType, maxBytes, query, object, and the arguments of name, link and content", extension)
		}
	}
	for _, alias := range h.Aliases {
		if !aliasName.MatchString(alias) {
			return fmt.Errorf("%q is no alias: it must match %s", alias, aliasName)
		}
	}
	for alias := range h.Ignored {
		if !slices.Contains(h.Aliases, alias) {
			return fmt.Errorf("%s.ignored speaks of %q, which is no alias", extension, alias)
		}
	}
	if h.Next != nil && (h.Next.Operation == "" || h.Next.Wait <= 0) {
		return fmt.Errorf("%s.next needs operation and wait", extension)
	}
	return nil
}

// snake turns an operationId into a tool name: words are divided by
// underscores, a dot is one, and everything is lower case.
func snake(id string) string {
	var b strings.Builder
	runes := []rune(id)
	upper := func(i int) bool { return i >= 0 && i < len(runes) && runes[i] >= 'A' && runes[i] <= 'Z' }
	lower := func(i int) bool { return i >= 0 && i < len(runes) && runes[i] >= 'a' && runes[i] <= 'z' }
	digit := func(i int) bool { return i >= 0 && i < len(runes) && runes[i] >= '0' && runes[i] <= '9' }
	pending := false
	for i, r := range runes {
		switch {
		case upper(i):
			// A capital begins a word, unless it goes on with an acronym.
			if b.Len() > 0 && (pending || lower(i-1) || digit(i-1) || lower(i+1)) {
				b.WriteByte('_')
			}
			b.WriteRune(r + 'a' - 'A')
			pending = false
		case lower(i), digit(i):
			if pending && b.Len() > 0 {
				b.WriteByte('_')
			}
			b.WriteRune(r)
			pending = false
		default:
			pending = true
		}
	}
	return b.String()
}

// template divides a path template into its segments and refuses what could
// lead elsewhere: every segment is literal text or one whole parameter.
func template(path string) ([]string, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("the path does not begin with a slash")
	}
	segments := strings.Split(path[1:], "/")
	for _, segment := range segments {
		name, isParameter := strings.CutPrefix(segment, "{")
		if isParameter {
			name, isParameter = strings.CutSuffix(name, "}")
			if !isParameter || name == "" || strings.ContainsAny(name, "{}") {
				return nil, fmt.Errorf("segment %q is not one whole parameter", segment)
			}
			continue
		}
		if segment == "" || segment == "." || segment == ".." ||
			strings.ContainsFunc(segment, func(r rune) bool { return !slices.Contains(pathRunes, r) }) {
			return nil, fmt.Errorf("segment %q is not plain text", segment)
		}
	}
	return segments, nil
}

var pathRunes = []rune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
