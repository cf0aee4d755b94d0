package api

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// long is an answer with rows that encoding/json would be slow on: a page of
// COGS has hundreds of citations, a summary by invoice hundreds of rows. The
// head goes through encoding/json, each row appends itself as the field name.
type long struct {
	head any
	name string
	rows func([]byte) []byte
}

func newLong[T any](head any, name string, rows []T, row func([]byte, T) []byte) *long {
	return &long{head, name, func(b []byte) []byte { return appendRows(b, rows, row) }}
}

func (l *long) encode(buf *bytes.Buffer) error {
	if err := encode(buf, l.head); err != nil {
		return err
	}
	buf.Truncate(buf.Len() - 1) // its closing brace
	buf.WriteString(`,"` + l.name + `":`)
	buf.Write(append(l.rows(buf.AvailableBuffer()), '}'))
	return nil
}

func appendRows[T any](b []byte, rows []T, row func([]byte, T) []byte) []byte {
	b = append(b, '[')
	for i, r := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = row(b, r)
	}
	return append(b, ']')
}

// encode writes v without the newline of json.Encoder, and slashes, < and & as
// they are.
func encode(buf *bytes.Buffer, v any) error {
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	buf.Truncate(buf.Len() - 1)
	return nil
}

// appendAmount appends the fields that all cost rows end with. Currencies are
// three letters and need no escaping.
func appendAmount(b []byte, currency string, amount ledger.Decimal, quantity int64) []byte {
	b = append(append(b, `,"currency":"`...), currency...)
	b = amount.Append(append(b, `","amount":`...))
	return strconv.AppendInt(append(b, `,"quantity":`...), quantity, 10)
}

// appendCost appends a part of a cost; batch is nil outside COGS.
func (s *server) appendCost(b []byte, kind string, batch, document *ledger.Document, currency string, amount ledger.Decimal, quantity int64) []byte {
	b = strconv.AppendQuote(append(b, `{"type":`...), kind) // plain ASCII, as in the ledger
	if batch != nil {
		b = append(append(b, `,"batch":`...), s.cite(batch)...)
	}
	b = append(append(b, `,"document":`...), s.cite(document)...)
	return append(appendAmount(b, currency, amount, quantity), '}')
}

// appendReceipt appends a batch of landed cost.
func (s *server) appendReceipt(currency string) func([]byte, ledger.Receipt) []byte {
	return func(b []byte, r ledger.Receipt) []byte {
		b = append(append(b, `{"batch":`...), s.cite(r.Batch)...)
		b = append(appendAmount(b, currency, r.Amount(), r.Quantity), `,"details":`...)
		b = appendRows(b, r.Costs, func(b []byte, c ledger.Cost) []byte {
			return s.appendCost(b, c.Kind, nil, c.Document, currency, c.Amount, r.Quantity)
		})
		return append(b, '}')
	}
}

// appendSale appends a document that sold the item, with what it cost.
func (s *server) appendSale(currency string) func([]byte, ledger.Sale) []byte {
	return func(b []byte, sale ledger.Sale) []byte {
		b = append(append(b, `{"document":`...), s.cite(&sale.Invoice.Document)...)
		b = append(appendAmount(b, currency, sale.COGS, sale.Quantity), `,"details":`...)
		b = appendRows(b, sale.Parts, func(b []byte, p ledger.Part) []byte {
			return s.appendCost(b, p.Kind, p.Batch, p.Document, currency, p.Amount, p.Quantity)
		})
		return append(b, '}')
	}
}

// appendRevenue appends a row of the revenue summary. What it is not grouped by
// is null.
func (s *server) appendRevenue(companies map[*ledger.Company]json.RawMessage) func([]byte, ledger.Row) []byte {
	return func(b []byte, r ledger.Row) []byte {
		b = append(b, `{"start_date":`...)
		b = append(appendDate(b, r.Start, midnightEnd), `,"end_date":`...)
		b = append(appendDate(b, r.End, midnightEnd), `,"revenue_amount":`...)
		b = append(r.Revenue.Append(b), `,"cogs_amount":`...)
		b = append(r.COGS.Append(b), `,"currency":"`...)
		b = append(append(b, r.Currency...), `","company":`...)
		if r.Company != nil {
			b = append(b, companies[r.Company]...)
		} else {
			b = append(b, "null"...)
		}
		b = append(b, `,"country_code":`...)
		if r.Country != "" {
			b = append(append(append(b, '"'), r.Country...), '"')
		} else {
			b = append(b, "null"...)
		}
		b = append(b, `,"invoice":`...)
		if r.Invoice != nil {
			b = append(b, s.cite(&r.Invoice.Document)...)
		} else {
			b = append(b, "null"...)
		}
		return append(b, '}')
	}
}
