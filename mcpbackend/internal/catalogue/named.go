package catalogue

import "strings"

// nameIDs notes with the ids that a writing tool takes which of the other tools
// tells what they stand for. For the id of what is changed that is the one that
// reads the same path, or else the list that it is in; for others it is what the
// overlay says. A tool that is switched off tells nothing.
func nameIDs(tools []Tool) {
	find := func(fits func(*Tool) bool) string {
		for i := range tools {
			if t := &tools[i]; t.ReadOnly && t.Operation.Method == "GET" && t.Toolset != OtherTools && fits(t) {
				return t.Name
			}
		}
		return ""
	}
	at := func(path string) string {
		return find(func(t *Tool) bool { return path != "" && t.Operation.Path == path })
	}
	for i := range tools {
		t := &tools[i]
		for j := range t.Operation.Parameters {
			p := &t.Operation.Parameters[j]
			if t.ReadOnly {
				p.NamedBy = ""
				continue
			}
			if p.NamedBy != "" {
				operation := p.NamedBy
				p.NamedBy = find(func(t *Tool) bool { return t.Operation.ID == operation && t.Operation.List != "" })
			}
			if before, after, ok := strings.Cut(t.Operation.Path, "/{"+p.Name+"}"); ok && p.In == InPath && p.Names == "" && !strings.Contains(after, "{") {
				record := before + "/{" + p.Name + "}"
				if p.NamedBy = at(record); p.NamedBy == "" {
					p.NamedBy = at(before)
				}
			}
		}
	}
}
