// Package diff says in words how two bootstraps differ.
package diff

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/neonpanel/mcp-gateway/envoy/internal/lint"
)

// Compare lists what changes from a to b, a line each: first what it does to the rules of the edge,
// then every field. Equal bootstraps have none, however they are written.
func Compare(a, b *bootstrapv3.Bootstrap) ([]string, error) {
	before, err := tree(a)
	if err != nil {
		return nil, err
	}
	after, err := tree(b)
	if err != nil {
		return nil, err
	}
	lines := rules(a, b)
	compare(nil, before, after, func(path []string, format string, args ...any) {
		path = slices.DeleteFunc(slices.Clone(path), func(step string) bool { return slices.Contains(obvious, step) })
		lines = append(lines, strings.Join(path, " / ")+": "+fmt.Sprintf(format, args...))
	})
	return lines, nil
}

// obvious steps on the way to every field would only make the lines long.
var obvious = []string{"static_resources", "filter_chains", "filters", "envoy.filters.network.http_connection_manager", "typed_config"}

// rules compares the findings of the lint.
func rules(a, b *bootstrapv3.Bootstrap) []string {
	before, after := findings(a), findings(b)
	var lines []string
	for _, f := range after {
		if !slices.Contains(before, f) {
			lines = append(lines, "breaks the rule "+f)
		}
	}
	for _, f := range before {
		if !slices.Contains(after, f) {
			lines = append(lines, "no longer breaks the rule "+f)
		}
	}
	return lines
}

func findings(b *bootstrapv3.Bootstrap) []string {
	err := lint.Check(b)
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

func tree(b *bootstrapv3.Bootstrap) (any, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(b)
	if err != nil {
		return nil, err
	}
	var value any
	return value, json.Unmarshal(text, &value)
}

type report func(path []string, format string, args ...any)

func compare(path []string, a, b any, out report) {
	switch a := a.(type) {
	case map[string]any:
		if b, ok := b.(map[string]any); ok {
			compareObjects(path, a, b, out)
			return
		}
	case []any:
		if b, ok := b.([]any); ok {
			compareLists(path, a, b, out)
			return
		}
	}
	if before, after := brief(a), brief(b); before != after {
		out(path, "%s becomes %s", before, after)
	}
}

func compareObjects(path []string, a, b map[string]any, out report) {
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		inside := append(slices.Clip(path), name)
		before, was := a[name]
		after, is := b[name]
		switch {
		case !is:
			out(inside, "removed (was %s)", brief(before))
		case !was:
			out(inside, "added: %s", brief(after))
		default:
			compare(inside, before, after, out)
		}
	}
}

// compareLists matches elements by what they are called, so that one that is put in does not change
// all that follow. Order counts: Envoy takes the first route that matches, and filters run in turn.
func compareLists(path []string, a, b []any, out report) {
	before, after := label(a), label(b)
	for i, name := range before {
		if j := slices.Index(after, name); j >= 0 {
			compare(append(slices.Clip(path), name), a[i], b[j], out)
		} else {
			out(append(slices.Clip(path), name), "removed (was %s)", brief(a[i]))
		}
	}
	for j, name := range after {
		if !slices.Contains(before, name) {
			out(append(slices.Clip(path), name), "added: %s", brief(b[j]))
		}
	}
	kept := func(names, others []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(others, name) })
	}
	if was, is := kept(before, after), kept(after, before); !slices.Equal(was, is) {
		out(path, "the order becomes %s", strings.Join(is, ", "))
	}
}

// label names the elements: by name, path or key where they have one, else by value or place.
// Equal names are counted.
func label(list []any) []string {
	names := make([]string, len(list))
	count := map[string]int{}
	for i, element := range list {
		name := fmt.Sprint(i + 1)
		switch element := element.(type) {
		case string:
			name = element
		case map[string]any:
			if called := called(element); called != "" {
				name = called
			}
		}
		if count[name]++; count[name] > 1 {
			name = fmt.Sprintf("%s (%d)", name, count[name])
		}
		names[i] = name
	}
	return names
}

func called(element map[string]any) string {
	var parts []string
	for _, place := range [][]string{{"name"}, {"cluster_name"}, {"key"}, {"header", "key"}, {"match", "path"}, {"match", "prefix"}} {
		value := any(element)
		for _, step := range place {
			object, _ := value.(map[string]any)
			value = object[step]
		}
		if text, ok := value.(string); ok {
			parts = append(parts, text)
		}
	}
	// A limit is called by what it counts.
	if entries, ok := element["entries"].([]any); ok {
		for _, entry := range entries {
			if object, ok := entry.(map[string]any); ok {
				parts = append(parts, called(object))
			}
		}
	}
	return strings.Join(parts, " ")
}

// brief is the value as JSON, cut where it gets long.
func brief(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	const most = 120
	if len(text) > most {
		return strings.ToValidUTF8(string(text[:most]), "") + "…"
	}
	return string(text)
}
