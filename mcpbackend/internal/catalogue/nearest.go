package catalogue

import (
	"cmp"
	"slices"
	"strings"
)

const (
	// longestMeant bounds a name that is compared with others, in bytes.
	longestMeant = 64
	// mostMeant is how many names are suggested.
	mostMeant = 3
)

// synonyms are words that stand for those in names of tools.
var synonyms = map[string]string{
	"fetch": "read", "show": "read", "get": "read", "view": "read", "find": "list", "all": "list", "search": "list",
	"add": "create", "new": "create", "make": "create", "edit": "update", "change": "update", "modify": "update", "set": "update",
	"remove": "delete", "supplier": "vendor", "purchase": "inventory", "sku": "item", "stock": "balance",
}

// Nearest gives the names of the tools that a name which is none is likely meant
// for, the likeliest first: one that differs only in case and in how words are
// divided, or else those with a typing error, or else those with the same words.
func Nearest(tools []Tool, name string) []string {
	if len(name) > longestMeant {
		return nil
	}
	wanted := wordsOf(name)
	joined := strings.Join(wanted, "")
	if joined == "" {
		return nil
	}
	type candidate struct {
		name  string
		score int
	}
	var found []candidate
	for i := range tools {
		t := &tools[i]
		best := 0
		for _, known := range append([]string{t.Name}, t.Aliases...) {
			words := wordsOf(known)
			best = max(best, likeness(wanted, joined, words, strings.Join(words, "")))
		}
		if best > 0 {
			found = append(found, candidate{t.Name, best})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.name, b.name)) })
	var names []string
	for _, c := range found {
		// What is as good as certain needs no others beside it.
		if len(names) == mostMeant || found[0].score >= sameName && c.score < sameName || c.score*2 < found[0].score {
			break
		}
		names = append(names, c.name)
	}
	return names
}

// sameName is the likeness of names that differ in nothing that counts.
const sameName = 100

func likeness(wanted []string, wantedJoined string, words []string, joined string) int {
	if wantedJoined == joined {
		return sameName
	}
	if typos := distance(wantedJoined, joined); typos <= max(1, min(len(wantedJoined), len(joined))/6) {
		return sameName - 10*typos
	}
	shared, subjects := 0, 0
	for _, w := range wanted {
		if slices.Contains(words, w) {
			shared++
			if !slices.Contains(verbs, w) {
				subjects++
			}
		}
	}
	if subjects == 0 {
		return 0 // to list something is not yet to list the same
	}
	return 60 * 2 * shared / (len(wanted) + len(words))
}

var verbs = []string{"read", "list", "create", "update", "delete", "check", "by", "of", "data", "full", "neonpanel", "mcp"}

// wordsOf divides a name into lower-case words in the singular, of which those
// that mean the same are the same.
func wordsOf(name string) []string {
	name = strings.TrimPrefix(strings.TrimPrefix(snake(name), "mcp_"), "neonpanel_")
	words := strings.FieldsFunc(name, func(r rune) bool { return r == '_' })
	for i, w := range words {
		switch {
		case strings.HasSuffix(w, "ies") && len(w) > 4:
			w = w[:len(w)-3] + "y"
		case strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") && len(w) > 3 && w != "cogs":
			w = w[:len(w)-1]
		}
		if s, ok := synonyms[w]; ok {
			w = s
		}
		words[i] = w
	}
	return words
}

// distance is how many characters have to be put in, taken out, changed or
// swapped with their neighbour.
func distance(a, b string) int {
	before, last, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(last[j+1]+1, next[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, last, next = last, next, before
	}
	return last[len(b)]
}
