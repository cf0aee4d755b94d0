package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

// instructions describe the payload of an import of bills.
var instructions = struct {
	Attributes map[string]string `json:"attributes"`
	General    string            `json:"general"`
}{
	Attributes: map[string]string{
		"ref_number":           "Number printed on the bill. Required.",
		"date":                 "Date of the bill, YYYY-MM-DD. Required; not earlier than the company's Entry Locked Date.",
		"name":                 "Short title of the bill.",
		"market":               "Two-letter country code of the marketplace the bill belongs to.",
		"currency":             "Three-letter currency code. Defaults to the company's currency.",
		"vendor_id":            "Id of the vendor.",
		"payment_term_id":      "Id of a payment term; instalments are made from it. Defaults to the vendor's.",
		"documents":            "Documents the bill is for: objects with type (InventoryOrder, AssemblyOrder, Shipment or Invoice) and id.",
		"details":              "Lines of the bill, at least one. Required.",
		"details.*.service_id": "Id of the service that was billed. Required.",
		"details.*.quantity":   "Whole number of units, 1 or more. Required.",
		"details.*.rate":       "Price of one unit in the bill's currency. Required.",
	},
	General: "Send one bill per request as the object `data`. Amounts are computed from quantity and rate.",
}

// getImportInstructions is GET /import/{type}/instructions, as JSON or as plain
// text, whichever the client accepts first.
func (s *server) getImportInstructions(x *exchange) (any, error) {
	plain := prefersText(x.r.Header.Get("Accept"))
	if x.r.PathValue("type") != "bill" {
		if plain {
			return &answer{status: http.StatusNotFound, text: "Unsupported document type."}, nil
		}
		return nil, notFound("Unsupported document type.")
	}
	if !plain {
		return instructions, nil
	}
	names := make([]string, 0, len(instructions.Attributes))
	for name := range instructions.Attributes {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString(instructions.General + "\n")
	for _, name := range names {
		fmt.Fprintf(&b, "\n%s: %s", name, instructions.Attributes[name])
	}
	return &answer{status: http.StatusOK, text: b.String()}, nil
}

// prefersText tells whether text/plain comes before JSON (RFC 9110 §12.5.1).
func prefersText(accept string) bool {
	best, text := 0.0, false
	for _, part := range strings.Split(accept, ",") {
		kind, p, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if v, ok := p["q"]; ok {
			if q, err = strconv.ParseFloat(v, 64); err != nil {
				q = 0
			}
		}
		plain := kind == "text/plain" || kind == "text/*"
		if q > best && (plain || kind == "application/json" || kind == "application/*" || kind == "*/*") {
			best, text = q, plain
		}
	}
	return text
}

type importBody struct {
	RequestID string `json:"request_id"`
	Status    string `json:"status"`
}

func (s *server) importAnswer(status int, id, state string, retryAfter int, bills []*ledger.Bill) *answer {
	a := &answer{status: status, header: map[string]string{"X-Request-Id": id}}
	if retryAfter > 0 {
		if s.intake.delay < usualDelay {
			retryAfter = min(retryAfter, int(math.Ceil(s.intake.delay.Seconds())))
		}
		a.header["Retry-After"] = strconv.Itoa(retryAfter)
		a.body = importBody{RequestID: id, Status: state}
		return a
	}
	a.body = struct {
		importBody
		Documents []json.RawMessage `json:"documents"` // [] for a failed import
	}{importBody{RequestID: id, Status: state}, each(bills, func(b *ledger.Bill) json.RawMessage { return s.cite(&b.Document) })}
	return a
}

const editBills = "edit:pages.processes.bills-and-expenses"

// importing checks what all imports into a company need.
func (x *exchange) importing() error {
	if x.r.PathValue("type") != "bill" {
		return badRequest("Unsupported document type.")
	}
	if !x.role.May(editBills) {
		return forbidden
	}
	return nil
}

// createDocuments is POST …/create/{type}.
func (s *server) createDocuments(x *exchange) (any, error) {
	if err := x.importing(); err != nil {
		return nil, err
	}
	fields, err := x.object()
	if err != nil {
		return nil, err
	}
	f := faults{}
	data, ok := fields["data"].(map[string]any)
	if !ok {
		message := "The data field must be an object."
		if fields["data"] == nil {
			message = "The data field is required."
		}
		f.add("data", message)
		return nil, f.err()
	}
	bill, err := s.billFrom(x, &payload{"data.", data, f})
	if err != nil {
		return nil, err
	}
	made, err := s.books.SaveBill(x.company, x.author(), nil, bill)
	if err != nil {
		return nil, refused(err, nil)
	}
	id := s.intake.done(x.company, x.now, made)
	return s.importAnswer(http.StatusOK, id, done, 0, []*ledger.Bill{made}), nil
}

// billFrom checks a bill's payload and names every fault. What a bill of the same
// fields made directly may lack, an import needs.
func (s *server) billFrom(x *exchange, p *payload) (ledger.Bill, error) {
	var in ledger.Bill
	in.Ref = p.text("ref_number", true, 1, 255)
	p.required("date")
	s.patchBill(x, p, &in)
	if in.Currency == "" {
		in.Currency = x.company.Currency
	}
	if in.Term == nil && in.Vendor != nil {
		in.Term = in.Vendor.Term
	}
	if len(in.Lines) == 0 && !p.faulty("details") {
		p.fault("details", "The %s field is required.")
	}
	return in, p.faults.err()
}

// createDocumentsByPdf is POST …/import/{type}/pdf.
func (s *server) createDocumentsByPdf(x *exchange) (any, error) {
	if err := x.importing(); err != nil {
		return nil, err
	}
	kind, p, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	var file *scan
	switch kind {
	case "application/pdf":
		name := x.query.scalar("filename")
		if name == "" {
			return nil, badRequest("The filename parameter is required.")
		}
		file, err = scanPDF(name, http.MaxBytesReader(nil, x.r.Body, maxPDF))
	case "multipart/form-data":
		file, err = scanForm(x.r, p["boundary"])
	case "application/json":
		file, err = x.scanLink()
	default:
		return nil, &problem{status: http.StatusUnsupportedMediaType, Message: "Unsupported media type: send application/pdf, multipart/form-data or application/json."}
	}
	if err != nil {
		return nil, err
	}
	company := x.company
	id := s.intake.submit(company, x.author(), file.encrypted, func(d ledger.Date) ledger.Bill { return file.bill(company, d) })
	return s.importAnswer(http.StatusAccepted, id, queued, 15, nil), nil
}

// checkImportProcessing is GET …/import/{type}/status/{requestId}.
func (s *server) checkImportProcessing(x *exchange) (any, error) {
	id := x.r.PathValue("requestId")
	state, bills, ok := s.intake.status(x.company, x.now, id)
	if !ok || x.r.PathValue("type") != "bill" {
		return nil, notFound("Import is not found.")
	}
	if state == queued || state == processing {
		return s.importAnswer(http.StatusAccepted, id, state, 5, nil), nil
	}
	return s.importAnswer(http.StatusOK, id, state, 0, bills), nil
}

// scan is what reading a PDF came to. NeonPanel reads the document with a model;
// here the figures come from a digest of the file, so that the same file makes
// the same bill. The bytes are not kept.
type scan struct {
	name      string
	digest    [32]byte
	encrypted bool
}

func broken() error { return badRequest("The file is broken: it is not a PDF document.") }

func scanPDF(name string, r io.Reader) (*scan, error) {
	h := sha256.New()
	f := &scan{name: name}
	mark := []byte("/Encrypt")
	buf := make([]byte, 32<<10)
	have := 0 // bytes in buf: the end of the chunk before, then new ones
	first := true
	for {
		fresh := have
		var err error
		for have < len(buf) && err == nil {
			var n int
			n, err = r.Read(buf[have:])
			have += n
		}
		chunk := buf[:have]
		// Only io.EOF is the end of the file; io.ErrUnexpectedEOF is an upload
		// that broke off.
		if err != nil && err != io.EOF {
			return nil, bodyError(err)
		}
		if first && !bytes.HasPrefix(chunk, []byte("%PDF-")) {
			return nil, broken()
		}
		first = false
		h.Write(chunk[fresh:])
		// A PDF that is encrypted can be stored but not read: its import fails.
		f.encrypted = f.encrypted || bytes.Contains(chunk, mark)
		if err == io.EOF {
			h.Sum(f.digest[:0])
			return f, nil
		}
		have = copy(buf, chunk[len(chunk)-len(mark)+1:])
	}
}

func scanForm(r *http.Request, boundary string) (*scan, error) {
	if boundary == "" {
		return nil, badRequest("The multipart body has no boundary.")
	}
	r.Body = http.MaxBytesReader(nil, r.Body, maxPDF)
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, badRequest("The multipart body is malformed.")
	}
	for n := 0; n < 20; n++ {
		part, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			var tooLarge *http.MaxBytesError
			if errors.As(err, &tooLarge) {
				return nil, bodyError(err)
			}
			return nil, badRequest("The multipart body is malformed.")
		}
		if part.FormName() == "file" {
			name := part.FileName()
			if name == "" {
				name = "file.pdf"
			}
			return scanPDF(name, part)
		}
	}
	return nil, badRequest("The file field is required.")
}

// scanLink takes a link to a file. NeonPanel fetches it; the sandbox goes to no
// other host, and reads the link's own text instead.
func (x *exchange) scanLink() (*scan, error) {
	body, err := x.body(maxJSON)
	if err != nil {
		return nil, err
	}
	var in struct {
		File struct {
			Name string `json:"name"`
			Link string `json:"link"`
		} `json:"file"`
	}
	if json.Unmarshal(body, &in) != nil {
		return nil, badRequest("The request body must be a JSON object with file.name and file.link.")
	}
	if in.File.Name == "" || in.File.Link == "" {
		return nil, badRequest("The file.name and file.link fields are required.")
	}
	u, err := url.Parse(in.File.Link)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, badRequest("The file.link field must be a valid URL.")
	}
	return &scan{name: in.File.Name, digest: sha256.Sum256([]byte(in.File.Name + "\x00" + in.File.Link))}, nil
}

// bill makes up a bill from the digest.
func (f *scan) bill(c *ledger.Company, d ledger.Date) ledger.Bill {
	pick := func(i, n int) int { return int(binary.BigEndian.Uint16(f.digest[2*i:])) % n }
	vendor := c.Vendors[pick(0, len(c.Vendors))]
	base := path.Base(strings.ReplaceAll(f.name, `\`, "/"))
	ref := strings.TrimSuffix(base, path.Ext(base))
	if r := []rune(ref); len(r) > 100 {
		ref = string(r[:100])
	}
	in := ledger.Bill{Country: c.Countries[0], Currency: c.Currency, Vendor: vendor, Term: vendor.Term}
	in.Ref, in.Name, in.Date = ref, base, d
	for n := 1 + pick(1, 3); n > 0; n-- {
		line := ledger.BillLine{Service: c.Services[2+pick(2+n, len(c.Services)-2)], Quantity: int64(1 + pick(6+n, 9)), Rate: ledger.Cents(int64(500 + pick(10+n, 60_000)))}
		line.Amount, _ = line.Rate.Times(line.Quantity)
		in.Lines = append(in.Lines, line)
	}
	return in
}
