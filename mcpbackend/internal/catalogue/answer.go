package catalogue

// Arguments that the gateway adds to tools that read, and acts on itself.
const (
	CursorArgument = "cursor"
	LimitArgument  = "limit"
	FieldsArgument = "fields"
)

// Paging arguments of the API. Models get [CursorArgument] and [LimitArgument]
// instead, the same for every list; these are still accepted.
const (
	PageArgument    = "page"
	PerPageArgument = "per_page"
)

// defaultList is the member that holds the rows of a list that is paged.
const defaultList = "data"

// MaxLimit is the most rows that one call gives.
const MaxLimit = 200

// Bounds of what shapes an answer: beyond every cursor, and every choice of fields
// that makes sense.
const (
	maxCursor = 200
	maxFields = 100
)

// answerArguments gives a tool that reads the arguments that shape its answer.
// list is the member that holds the rows, if the overlay says so.
func answerArguments(parameters []Parameter, list string) ([]Parameter, string) {
	taken := map[string]bool{}
	paged := false
	for i := range parameters {
		taken[parameters[i].Argument] = true
		paged = paged || isPaging(&parameters[i], PageArgument)
	}
	for i := range parameters {
		p := &parameters[i]
		p.Unlisted = paged && (isPaging(p, PageArgument) || isPaging(p, PerPageArgument))
	}
	if paged && list == "" {
		list = defaultList
	}
	one, most := 1.0, float64(MaxLimit)
	longestCursor, mostFields := int64(maxCursor), int64(maxFields)
	extra := []Parameter{
		{Argument: CursorArgument, Schema: &Schema{Type: "string", Description: "next_cursor of the answer before, to go on there", MaxLength: &longestCursor}},
	}
	if list != "" {
		extra = append(extra, Parameter{Argument: LimitArgument, Schema: &Schema{
			Type: "integer", Description: "Most rows to return", Minimum: &one, Maximum: &most,
		}})
	}
	extra = append(extra, Parameter{Argument: FieldsArgument, Schema: &Schema{
		Type: "array", Description: "Return only these, such as id or vendor.name", MaxItems: &mostFields,
		Items: &Schema{Type: "string"},
	}})
	for _, p := range extra {
		if taken[p.Argument] {
			continue // the API's own argument of that name keeps its meaning
		}
		p.Name, p.In = p.Argument, InGateway
		parameters = append(parameters, p)
	}
	return parameters, list
}

func isPaging(p *Parameter, argument string) bool {
	return p.In == InQuery && p.Argument == argument
}
