package catalogue

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

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
	// Scopes are nil when the overlay does not speak of them.
	Scopes []string `yaml:"scopes"`

	// The annotations; what is nil follows from the method.
	ReadOnly    *bool `yaml:"readOnly"`
	Destructive *bool `yaml:"destructive"`
	Idempotent  *bool `yaml:"idempotent"`
	OpenWorld   *bool `yaml:"openWorld"`

	Arguments map[string]argumentHint `yaml:"arguments"`
	Upload    *uploadHint             `yaml:"upload"`
	Next      *nextHint               `yaml:"next"`
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
