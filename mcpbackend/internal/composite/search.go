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
	narrowed := false
	if given := a.text("companyUuid"); given != "" {
		fits, fit := match(list, given)
		if len(fits) == 0 {
			return nil, &toolcall.Failure{Kind: toolcall.NotFound, Message: "No company of this user has that name or id."}
		}
		if len(fits) == 1 {
			s.guessed("companyUuid", given, fits[0], fit)
		}
		list, narrowed = fits, true
	}
	if found, rest := namedIn(list, question); rest != question {
		list, question, narrowed = found, rest, true
	}
	list = s.bounded(list)
	// A type is an order, a word in the question only says what is preferred.
	ordered := a.text("type")
	kinded := strings.TrimSpace(ordered + " " + question)
	wanted, reports, phrase := asked(kinded)
	f := finder{session: s, companies: list, wanted: scope{wanted, reports}}
	for _, k := range wanted {
		if !s.has(k.list) {
			s.left(k.title+"s", absent().Message)
		}
	}
	if reports && !s.has("listReports") {
		s.left("Reports", absent().Message)
	}
	filtered := len(wanted) < len(kinds) && ordered == ""
	if failure := f.look(phrase, question, filtered, narrowed); failure != nil {
		return nil, failure
	}
	return f.answer(), nil
}

// look searches for what was asked as it stands, and as long as nothing is found
// for less and less of it.
func (f *finder) look(phrase, question string, filtered, narrowed bool) *toolcall.Failure {
	// What is called just so is found whatever its kind: a bill may be called
	// "Invoice 8825".
	first := []pass{{phrase, f.wanted}}
	literal := filtered && phrase != "" && !sentence(question)
	if literal {
		first = append(first, pass{question, everything()})
	}
	if failure := f.round(first...); failure != nil || len(f.hits) > 0 {
		return failure
	}
	// The API looks for the phrase as it stands, and knows no states, no plurals and
	// no questions.
	simple, stateless := simplified(phrase)
	if simple != phrase && (simple != "" || len(f.wanted.kinds) < len(kinds)) {
		f.stateless = stateless
		if failure := f.round(pass{simple, f.wanted}); failure != nil || len(f.hits) > 0 {
			return failure
		}
	}
	if list, taken, rest := partOf(f.companies, simple); taken != "" && !narrowed {
		every := f.companies
		f.companies = list
		if failure := f.round(pass{rest, f.wanted}); failure != nil {
			return failure
		}
		if len(f.hits) > 0 {
			f.stateless = stateless
			f.taken = taken
			return nil
		}
		f.companies = every
	}
	if simple == "" {
		return nil
	}
	if filtered {
		again := []pass{{simple, everything()}}
		if !literal && question != simple {
			again = append(again, pass{question, everything()})
		}
		if failure := f.round(again...); failure != nil || len(f.hits) > 0 {
			f.unfiltered = true
			return failure
		}
	}
	words := strings.Fields(simple)
	if len(words) < 2 {
		return nil
	}
	// The longest word is the one that says most.
	longest := slices.MaxFunc(words, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
	if failure := f.round(pass{longest, f.wanted}); failure != nil || len(f.hits) > 0 || !filtered {
		return failure
	}
	f.unfiltered = true
	return f.round(pass{longest, everything()})
}

// bare is a word of a question without what stands around it.
func bare(word string) string {
	return strings.ToLower(strings.Trim(word, ",.;:?!\"'“”"))
}

// sentence says that a question is put in words that no record is called by.
func sentence(question string) bool {
	return slices.ContainsFunc(strings.Fields(question), func(word string) bool {
		w := bare(word)
		return slices.Contains(joining, w) || slices.Contains(stateWords, w) || slices.Contains(askingWords, w)
	})
}

// partOf takes a part of a company's name out of a phrase, as all tools take it,
// and gives the companies that it fits.
func partOf(list []company, phrase string) (found []company, taken, rest string) {
	words := strings.Fields(phrase)
	// More words than any name has are none.
	for n := min(len(words), 12); n > 0; n-- {
		for at := 0; at+n <= len(words); at++ {
			run := words[at : at+n]
			// The number of a document is no company's.
			name := strings.Join(run, " ")
			if strings.Trim(name, "0123456789 ") == "" || slices.ContainsFunc([]string{run[0], run[n-1]}, sentence) {
				continue
			}
			if fits, _ := match(list, name); len(fits) > 0 {
				return fits, name, strings.Join(joined(slices.Concat(words[:at], words[at+n:])), " ")
			}
		}
	}
	return nil, "", phrase
}

// simplified is a phrase without the words of a question and those for states,
// which no record has as text, and with its words in the singular; it says
// whether there was a state.
func simplified(phrase string) (simple string, stateless bool) {
	var words []string
	dropped := false
	for _, word := range strings.Fields(phrase) {
		w := bare(word)
		state := slices.Contains(stateWords, w)
		stateless = stateless || state
		if state || slices.Contains(askingWords, w) {
			dropped = true
			continue
		}
		word = strings.TrimRight(word, ",.;:?!")
		// What has a digit is a number or a SKU, not a noun.
		if len(w) > 3 && strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") && !strings.ContainsAny(w, "0123456789") && strings.HasSuffix(strings.ToLower(word), "s") {
			word = word[:len(word)-1]
		}
		if word != "" {
			words = append(words, word)
		}
	}
	if dropped {
		words = joined(words)
	}
	return strings.Join(words, " "), stateless
}

var stateWords = []string{
	"open", "unpaid", "overdue", "pending", "outstanding", "unreceived", "undelivered", "late", "due", "paid", "closed",
	"transit", "in-transit", "underway", "under", "way", "their", "its", "that", "which", "are", "is", "still", "currently",
}

// askingWords are those of a question that name nothing.
var askingWords = []string{
	"what", "what's", "where", "when", "who", "how", "many", "much", "show", "find", "list", "give", "get", "see", "search", "look", "tell", "please",
	"me", "i", "we", "us", "our", "you", "it", "they", "them", "do", "does", "did", "have", "has", "had", "there", "be", "been", "was", "were", "can", "could",
	"need", "want", "would", "like", "these", "those", "this", "and", "or", "at", "every", "latest", "recent", "newest", "now",
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

// scope is where a search looks.
type scope struct {
	kinds   []kind
	reports bool
}

func everything() scope { return scope{kinds, true} }

// pass is a search for one phrase; an empty one gives the newest.
type pass struct {
	phrase string
	in     scope
}

type finder struct {
	*session
	companies []company
	wanted    scope

	mu   sync.Mutex
	hits []hit
	// more counts the lists of which only the first page was read.
	more int
	// stateless says that a word for a state was left out of the question.
	stateless bool
	// unfiltered says that other kinds than those asked for were searched.
	unfiltered bool
	// taken is the part of a company's name that the search was narrowed by.
	taken string
}

// round makes some passes at once.
func (f *finder) round(passes ...pass) *toolcall.Failure {
	for _, p := range passes {
		f.pass(p)
	}
	return f.wait()
}

// place is where hits of a kind stand among equals: those asked for first.
func (f *finder) place(name string) int {
	at := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	asked := slices.ContainsFunc(f.wanted.kinds, func(k kind) bool { return k.name == name })
	if name == reportKind {
		at, asked = len(kinds), f.wanted.reports
	}
	if !asked {
		at += len(kinds) + 1
	}
	return at
}

func (f *finder) pass(p pass) {
	for ci, c := range f.companies {
		for _, k := range p.in.kinds {
			if !f.has(k.list) {
				continue
			}
			f.part(k.title+"s of "+string(c.Name), func() *toolcall.Failure {
				var found page[record]
				q := query{operation: k.list, path: c.path()}.with("search", p.phrase).with("page", "1").with("per_page", fmt.Sprint(f.allowed(k.list, k.size)))
				if failure := f.get(q, &found); failure != nil {
					return failure
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				if found.last() > 1 {
					f.more++
				}
				for i, r := range found.Data {
					f.add(r, address{k.name, string(c.UUID), string(r.ID)}, c, hit{rank: r.rank(p.phrase), kind: f.place(k.name), company: ci, at: i})
				}
				return nil
			})
		}
	}
	if p.in.reports && f.has("listReports") {
		f.part("Reports", func() *toolcall.Failure {
			var found page[record]
			if failure := f.get(query{operation: "listReports"}, &found); failure != nil {
				return failure
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			for i, r := range found.Data {
				if rank := r.rank(p.phrase); rank < 3 || p.phrase == "" {
					f.add(r, address{kind: reportKind, id: string(r.ID)}, company{}, hit{rank: rank, kind: f.place(reportKind), at: i})
				}
			}
			return nil
		})
	}
}

// add notes a hit; the caller holds the lock. What cannot be fetched again is no
// result.
func (f *finder) add(r record, a address, c company, h hit) {
	if _, ok := parseAddress(a.String()); !ok {
		return
	}
	// Two passes may find the same.
	if i := slices.IndexFunc(f.hits, func(other hit) bool { return other.ID == a.String() }); i >= 0 {
		if h.rank < f.hits[i].rank {
			f.hits[i].rank, f.hits[i].at = h.rank, h.at
		}
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
	if f.taken != "" {
		var names []string
		for _, c := range f.companies {
			names = append(names, string(cmp.Or(c.Name, c.ShortName)))
		}
		more = append(more, fmt.Sprintf("%q was taken for the name of a company: only %s was searched.", f.taken, strings.Join(names, ", ")))
	}
	for _, g := range f.guesses {
		more = append(more, g.String())
	}
	if f.unfiltered && len(f.hits) > 0 {
		more = append(more, "Of the kind that was asked for nothing was found: these are what fits of every kind.")
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
