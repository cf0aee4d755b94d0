package toolcall

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const (
	// maxFieldDepth is how deep a field may lie.
	maxFieldDepth = 10
	// maxKnown is how many names a fault shows.
	maxKnown = 60
)

// selection is a tree of the fields that were asked for; nil means everything.
type selection struct {
	members map[string]*selection
	// whole: all below this was asked for.
	whole bool
	// seen: an answer had it. judged: an answer had something that could have had
	// its members, which null and an empty list do not.
	seen, judged bool
}

// parseFields reads dotted names. prefix, the name of the list, may stand before
// those of its rows.
func parseFields(raw json.RawMessage, prefix string) (*selection, string) {
	if raw == nil {
		return nil, ""
	}
	var names []string
	if json.Unmarshal(raw, &names) != nil {
		return nil, "fields must be a list of names, such as id or vendor.name"
	}
	if len(names) == 0 {
		return nil, ""
	}
	root := &selection{}
	for _, name := range names {
		name = strings.TrimSpace(name)
		if prefix != "" {
			name = strings.TrimPrefix(name, prefix+".")
		}
		parts := strings.Split(name, ".")
		if len(parts) > maxFieldDepth || slices.Contains(parts, "") {
			return nil, fmt.Sprintf("fields must be names such as id or vendor.name, not %s", show(name))
		}
		at := root
		for _, part := range parts {
			// PHP and JSON Path write lists with brackets.
			part = strings.TrimSuffix(strings.TrimSuffix(part, "[]"), "[*]")
			next := at.members[part]
			if next == nil {
				if at.members == nil {
					at.members = map[string]*selection{}
				}
				next = &selection{}
				at.members[part] = next
			}
			at = next
		}
		at.whole = true
	}
	return root, ""
}

// apply appends what was asked for of a compact JSON value.
func (s *selection) apply(out, value []byte) []byte {
	if s == nil || s.whole {
		return append(out, value...)
	}
	switch value[0] {
	case '{':
		s.judged = true
		out = append(out, '{')
		first := true
		for name, member := range members(value) {
			child := s.members[plainName(name)]
			if child == nil {
				continue
			}
			child.seen = true
			if !first {
				out = append(out, ',')
			}
			first = false
			out = append(append(out, name...), ':')
			out = child.apply(out, member)
		}
		return append(out, '}')
	case '[':
		out = append(out, '[')
		first := true
		for element := range elements(value) {
			if !first {
				out = append(out, ',')
			}
			first = false
			out = s.apply(out, element)
		}
		return append(out, ']')
	default:
		s.judged = s.judged || string(value) != "null"
		return append(out, value...)
	}
}

// unknown are the dotted names that no answer had.
func (s *selection) unknown() []string {
	names := s.missing(nil, "")
	slices.Sort(names)
	return names
}

func (s *selection) missing(names []string, prefix string) []string {
	if s.whole || !s.judged {
		return names
	}
	for name, child := range s.members {
		if child.seen {
			names = child.missing(names, prefix+name+".")
		} else {
			names = append(names, prefix+name)
		}
	}
	return names
}

// known collects the dotted names in a value, in the order of the answer.
func known(names []string, prefix string, value []byte) []string {
	if len(names) >= maxKnown {
		return names
	}
	switch value[0] {
	case '{':
		for raw, member := range members(value) {
			name := prefix + plainName(raw)
			// Names come from the API; odd ones are not repeated.
			if len(names) < maxKnown && !slices.Contains(names, name) && plainField(name) {
				names = append(names, name)
			}
			names = known(names, name+".", member)
		}
	case '[':
		looked := 0
		for element := range elements(value) {
			if looked++; looked > 20 {
				break
			}
			names = known(names, prefix, element)
		}
	}
	return names
}

func plainField(name string) bool {
	return len(name) <= 100 && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '.' && r != '-' && (r < '0' || r > '9' && r < 'A' || r > 'Z' && r < 'a' || r > 'z')
	})
}

// plainName is a member's name without quotes and escapes.
func plainName(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var name string
	_ = json.Unmarshal(raw, &name) // the answer is valid JSON
	return name
}

func unknownFields(missing, there []string) string {
	for i, name := range missing {
		missing[i] = show(name)
	}
	fault := "no field is named " + strings.Join(missing, ", ")
	if len(there) > 0 {
		fault += "; there are " + strings.Join(there, ", ")
	}
	return fault
}
