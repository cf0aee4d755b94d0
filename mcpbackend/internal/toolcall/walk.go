package toolcall

import (
	"iter"
	"slices"
	"strings"
)

// What follows walks compact, valid JSON without decoding it, so that every
// value keeps the bytes that the API sent.

// members walks the members of an object: names come with their quotes.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i := 1; i < len(object)-1; {
			end := skip(object, i)
			name := object[i:end]
			i = end + 1
			end = skip(object, i)
			if !yield(name, object[i:end]) {
				return
			}
			i = end + 1
		}
	}
}

// elements walks the elements of a list.
func elements(list []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := 1; i < len(list)-1; {
			end := skip(list, i)
			if !yield(list[i:end]) {
				return
			}
			i = end + 1
		}
	}
}

func count(list []byte) int64 {
	n := int64(0)
	for range elements(list) {
		n++
	}
	return n
}

// skip gives the end of the JSON value that begins at i.
func skip(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			i++
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
			if depth == 0 {
				return i + 1
			}
		case ',', ':':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

// descend follows names through objects; nil when there is no such list or value.
func descend(value []byte, path []string) []byte {
	for i, name := range path {
		if value[0] != '{' {
			return nil
		}
		var found []byte
		for raw, member := range members(value) {
			if plainName(raw) == name {
				found = member
			}
		}
		if found == nil || i == len(path)-1 {
			return found
		}
		value = found
	}
	return nil
}

// largestList finds the largest list that only objects lead to.
func largestList(object []byte, above []string) (path []string, list []byte) {
	const deepest = 5
	if len(above) == deepest {
		return nil, nil
	}
	for raw, value := range members(object) {
		name := plainName(raw)
		if len(value) <= len(list) || strings.Contains(name, ".") || len(strings.Join(above, "."))+len(name) >= maxName {
			continue
		}
		switch value[0] {
		case '[':
			path, list = append(slices.Clone(above), name), value
		case '{':
			if p, l := largestList(value, append(slices.Clone(above), name)); len(l) > len(list) {
				path, list = p, l
			}
		}
	}
	return path, list
}

// replace appends a member's value with the list at the end of path replaced.
func replace(out, name, value []byte, path []string, list []byte) []byte {
	if plainName(name) != path[0] {
		return append(out, value...)
	}
	if len(path) == 1 {
		return append(out, list...)
	}
	if value[0] != '{' {
		return append(out, value...)
	}
	out = append(out, '{')
	first := true
	for n, v := range members(value) {
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(append(out, n...), ':')
		out = replace(out, n, v, path[1:], list)
	}
	return append(out, '}')
}

// withoutLarge leaves out the large members of an object, but for the one that
// leads to the list, and names them.
func withoutLarge(object []byte, path []string) (rest []byte, omitted []string) {
	w := writer{}
	w.begin()
	for raw, value := range members(object) {
		name := plainName(raw)
		switch {
		case name == path[0] && len(path) > 1 && value[0] == '{':
			inner, below := withoutLarge(value, path[1:])
			w.raw(raw, inner)
			for _, b := range below {
				omitted = append(omitted, name+"."+b)
			}
		case name == path[0] || len(value) <= small:
			w.raw(raw, value)
		default:
			omitted = append(omitted, name)
		}
	}
	return w.close(), omitted
}

// shrink appends a value that is too large: of an object its small members, of
// anything else only a word.
func shrink(out, value []byte, room int) []byte {
	if value[0] != '{' {
		return append(out, `"(too large to be shown)"`...)
	}
	w := writer{}
	w.begin()
	var omitted []string
	for raw, member := range members(value) {
		if len(member) <= small && len(w.b)+len(raw)+len(member) < room/2 {
			w.raw(raw, member)
		} else if len(omitted) < maxKnown && plainField(plainName(raw)) {
			omitted = append(omitted, plainName(raw))
		}
	}
	w.member(omittedMember, marshalNames(omitted))
	return append(out, w.close()...)
}
