package api

import (
	"encoding/json"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// citation is a document as the analytics name it. It has no id.
type citation struct {
	Type      string   `json:"type"`
	Link      string   `json:"link"`
	Status    string   `json:"status"`
	Completed instant  `json:"completed"`
	Ref       *string  `json:"ref_number"`
	Date      midnight `json:"date"`
}

// cite renders a document as a citation. The seeded ones are rendered once, at
// start: a page of COGS cites hundreds.
func (s *server) cite(d *ledger.Document) json.RawMessage {
	if raw, ok := s.citations[d]; ok {
		return raw
	}
	return renderCitation(d)
}

func renderCitation(d *ledger.Document) json.RawMessage {
	raw, err := json.Marshal(citation{d.Type, d.Link(), d.Status, instant(d.Completed), orNull(d.Ref), midnight(d.Date)})
	if err != nil {
		panic(err) // strings and dates always encode
	}
	return raw
}

func citations(b *ledger.Books) map[*ledger.Document]json.RawMessage {
	out := make(map[*ledger.Document]json.RawMessage)
	for _, c := range b.Companies {
		for d := range c.Documents() {
			out[d] = renderCitation(d)
		}
	}
	return out
}
