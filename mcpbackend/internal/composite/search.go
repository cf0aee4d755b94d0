package composite

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// maxResults bounds one answer, maxQuery one question, in characters.
const (
	maxResults = 50
	maxQuery   = 300
)

// result has the members that ChatGPT knows, and no others.
type result struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	URL   string `json:"url"`
}

// results is an object with this one member, as ChatGPT expects it.
type results struct {
	Results []result `json:"results"`
}

// The answer of search has no room for what it left out. Programs find that in
// the metadata of the answer, models in a last result that is none: ChatGPT's
// shows them nothing but results.
const (
	incompleteMeta = "com.neonpanel/incomplete"
	moreMeta       = "com.neonpanel/more"
	noteID         = "note:search"
	// maxNote bounds the note, in characters.
	maxNote = 600
)

// hit is a result with what decides its place.
type hit struct {
	result
	rank, kind, company, at int
}

// search looks for records of every kind in all companies of the caller.
func search(s *session, a arguments) (any, *toolcall.Failure) {
	question := strings.Join(strings.Fields(a.text("query")), " ")
	if question == "" {
		return nil, &toolcall.Failure{Kind: toolcall.InvalidArguments, Message: "search was not called: query must hold some text, such as a SKU, an ASIN, a document number or a vendor's name."}
	}
	list, failure := s.companies()
	if failure != nil {
		return nil, failure
	}
	if given := a.text("companyUuid"); given != "" {
		if list = match(list, given); len(list) == 0 {
			return nil, &toolcall.Failure{Kind: toolcall.NotFound, Message: "No company of this user has that name or id."}
		}
	}
	list, question = namedIn(list, question)
	list = s.bounded(list)
	if given := a.text("type"); given != "" {
		question = given + " " + question
	}
	wanted, reports, phrase := asked(question)

	f := finder{session: s, companies: list, reports: reports}
	for _, k := range wanted {
		if s.has(k.list) {
			f.kinds = append(f.kinds, k)
		} else {
			s.left(k.title+"s", absent().Message)
		}
	}
	if reports && !s.has("listReports") {
		f.reports = false
		s.left("Reports", absent().Message)
	}
	if failure := f.round(phrase); failure != nil {
		return nil, failure
	}
	// The API looks for the phrase as it stands, and knows no states and no
	// plurals.
	simple, stateless := simplified(phrase)
	if len(f.hits) == 0 && simple != phrase && (simple != "" || len(wanted) < len(kinds)) {
		f.stateless = stateless
		if failure := f.round(simple); failure != nil {
			return nil, failure
		}
	}
	if words := strings.Fields(simple); len(f.hits) == 0 && len(words) > 1 {
		// The longest word is the one that says most.
		longest := slices.MaxFunc(words, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
		if failure := f.round(longest); failure != nil {
			return nil, failure
		}
	}
	return f.answer(), nil
}

// simplified is a phrase without words for states, which no record has as text,
// and with its words in the singular; it says whether there was a state.
func simplified(phrase string) (simple string, stateless bool) {
	var words []string
	for _, word := range strings.Fields(phrase) {
		w := strings.ToLower(strings.Trim(word, ",.;:?!"))
		if slices.Contains(stateWords, w) {
			stateless = true
			continue
		}
		// What has a digit is a number or a SKU, not a noun.
		if n := strings.TrimRight(word, ",.;:?!"); len(w) > 3 && strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") && !strings.ContainsAny(w, "0123456789") {
			word = n[:len(n)-1]
		}
		words = append(words, word)
	}
	if stateless {
		words = joined(words)
	}
	return strings.Join(words, " "), stateless
}

var stateWords = []string{
	"open", "unpaid", "overdue", "pending", "outstanding", "unreceived", "undelivered", "late", "due", "paid", "closed",
	"transit", "in-transit", "underway", "under", "way", "their", "its", "that", "which", "are", "is", "still", "currently",
}

// namedIn takes the name of a company out of a question, and narrows the search
// to it.
func namedIn(list []company, question string) ([]company, string) {
	for _, c := range list {
		for _, name := range []text{c.Name, c.ShortName} {
			n := string(name)
			if len(n) < 3 || len(n) >= len(question) {
				continue
			}
			padded := " " + question + " "
			at := strings.Index(strings.ToLower(padded), " "+strings.ToLower(n)+" ")
			// Lower case may be longer than what it comes from.
			if at < 0 || at+len(n)+2 > len(padded) || !strings.EqualFold(padded[at+1:at+1+len(n)], n) {
				continue
			}
			return []company{c}, strings.Join(strings.Fields(padded[:at]+" "+padded[at+1+len(n):]), " ")
		}
	}
	return list, question
}

// asked takes the words for kinds out of a question: "bills from Blue Meridian"
// looks for Blue Meridian in bills. Without such words every kind is meant.
func asked(question string) (wanted []kind, reports bool, phrase string) {
	var rest []string
	for _, word := range strings.Fields(question) {
		w := strings.ToLower(strings.Trim(word, ",.;:?!"))
		i := slices.IndexFunc(kinds, func(k kind) bool { return slices.Contains(k.words, w) })
		switch {
		case i >= 0:
			if !slices.ContainsFunc(wanted, func(k kind) bool { return k.name == kinds[i].name }) {
				wanted = append(wanted, kinds[i])
			}
		case slices.Contains(reportWords, w):
			reports = true
		default:
			rest = append(rest, word)
		}
	}
	if wanted == nil && !reports {
		return kinds, true, question
	}
	return wanted, reports, strings.Join(joined(rest), " ")
}

// joined drops at both ends what joins a kind to a name and is no part of the
// name.
func joined(words []string) []string {
	for len(words) > 0 && slices.Contains(joining, strings.ToLower(words[0])) {
		words = words[1:]
	}
	for len(words) > 0 && slices.Contains(joining, strings.ToLower(words[len(words)-1])) {
		words = words[:len(words)-1]
	}
	return words
}

var joining = []string{"of", "from", "for", "by", "to", "with", "the", "a", "an", "all", "any", "about", "on", "in", "my", "number", "no", "no."}

type finder struct {
	*session
	companies []company
	kinds     []kind
	reports   bool

	mu   sync.Mutex
	hits []hit
	// more counts the lists of which only the first page was read.
	more int
	// stateless says that a word for a state was left out of the question.
	stateless bool
}

// round searches everywhere for one phrase; an empty one gives the newest.
func (f *finder) round(phrase string) *toolcall.Failure {
	for ci, c := range f.companies {
		for _, k := range f.kinds {
			ki := slices.IndexFunc(kinds, func(other kind) bool { return other.name == k.name })
			f.part(k.title+"s of "+string(c.Name), func() *toolcall.Failure {
				var found page[record]
				q := query{operation: k.list, path: c.path()}.with("search", phrase).with("page", "1").with("per_page", fmt.Sprint(f.allowed(k.list, k.size)))
				if failure := f.get(q, &found); failure != nil {
					return failure
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				if found.last() > 1 {
					f.more++
				}
				for i, r := range found.Data {
					f.add(r, address{k.name, string(c.UUID), string(r.ID)}, c, hit{rank: r.rank(phrase), kind: ki, company: ci, at: i})
				}
				return nil
			})
		}
	}
	if f.reports {
		f.part("Reports", func() *toolcall.Failure {
			var found page[record]
			if failure := f.get(query{operation: "listReports"}, &found); failure != nil {
				return failure
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			for i, r := range found.Data {
				if rank := r.rank(phrase); rank < 3 || phrase == "" {
					f.add(r, address{kind: reportKind, id: string(r.ID)}, company{}, hit{rank: rank, kind: len(kinds), at: i})
				}
			}
			return nil
		})
	}
	return f.wait()
}

// add notes a hit; the caller holds the lock. What cannot be fetched again is no
// result.
func (f *finder) add(r record, a address, c company, h hit) {
	if _, ok := parseAddress(a.String()); !ok {
		return
	}
	h.result = result{a.String(), r.headline(a.kind, c), f.links.page(r.Link, a.String())}
	f.hits = append(f.hits, h)
}

func (f *finder) answer() annotated {
	slices.SortFunc(f.hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.kind, b.kind), cmp.Compare(a.company, b.company), cmp.Compare(a.at, b.at))
	})
	out := results{[]result{}}
	for _, h := range f.hits[:min(len(f.hits), maxResults)] {
		out.Results = append(out.Results, h.result)
	}
	meta := map[string]any{}
	var notes, more []string
	if gaps := f.incomplete(); gaps != nil {
		meta[incompleteMeta] = gaps
		for _, g := range gaps {
			notes = append(notes, "Not searched: "+strings.Join(g.Parts, ", ")+" ("+strings.TrimSuffix(g.Reason, ".")+").")
		}
	}
	if len(f.hits) == 0 {
		more = append(more, "Nothing was found. Try one word of a name, a SKU or a document number. "+
			"For what is open, in transit, unpaid or overdue use company_overview; the tools that list a kind have filters.")
	} else if f.stateless {
		more = append(more, "Search does not know states such as open, unpaid or in transit: these were found without them, in any state. "+
			"For what is open, in transit, unpaid or overdue use company_overview.")
	}
	if f.more > 0 || len(f.hits) > maxResults {
		more = append(more, "There are more than these. Search for something more exact, or use the tool that lists the kind that you need.")
	}
	if more != nil {
		meta[moreMeta] = strings.Join(more, " ")
	}
	// An empty list says by itself that nothing was found.
	if len(f.hits) > 0 {
		notes = append(notes, more...)
	}
	if notes != nil {
		title := []rune("Note, not a record: " + strings.Join(notes, " "))
		if len(title) > maxNote {
			title = append(title[:maxNote-1], '…')
		}
		out.Results = append(out.Results, result{noteID, string(title), f.links.page("", noteID)})
	}
	return annotated{out, meta}
}
