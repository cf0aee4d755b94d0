package api

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/ledger"
)

const pdf = "%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj\ntrailer << /Root 1 0 R >>\n%%EOF\n"

func TestImportInstructionsComeAsJSONOrText(t *testing.T) {
	t.Parallel()
	p := shared()
	const path = "/import/bill/instructions"
	for accept, text := range map[string]bool{
		"":                                    false,
		"*/*":                                 false,
		"application/json":                    false,
		"application/json, text/plain":        false,
		"text/plain":                          true,
		"text/plain, application/json":        true,
		"text/plain;q=0.5, application/json":  false,
		"application/json;q=0.1,text/*;q=0.9": true,
		"text/plain;q=x":                      false,
		"text/html, */*;q=0.8":                false,
	} {
		r := p.do(t, "46", "GET", path, nil, "Accept", accept)
		if r.Code != 200 {
			t.Fatalf("Accept %s: %d", accept, r.Code)
		}
		kind := r.Header().Get("Content-Type")
		if strings.HasPrefix(kind, "text/plain") != text {
			t.Errorf("Accept %q: %s", accept, kind)
		}
		if text && !strings.Contains(r.Body.String(), "details.*.service_id: ") {
			t.Errorf("text: %s", r.Body)
		}
		if !text && (r.object["general"] == "" || r.object["attributes"].(map[string]any)["details.*.rate"] == nil) {
			t.Errorf("JSON: %v", r.object)
		}
	}
	if m := p.get(t, "46", "/import/shipment/instructions").want(t, 404)["message"]; m != "Unsupported document type." {
		t.Errorf("unknown type: %q", m)
	}
	r := p.do(t, "46", "GET", "/import/shipment/instructions", nil, "Accept", "text/plain")
	if r.Code != 404 || r.Body.String() != "Unsupported document type." {
		t.Errorf("unknown type as text: %d %s", r.Code, r.Body)
	}
}

func billJSON(p *panel, ref string) string {
	c := p.books.Companies[0]
	return fmt.Sprintf(`{"data":{"ref_number":%q,"date":"2026-11-20","name":"Pallets","market":"us","vendor_id":%d,"payment_term_id":3,
		"documents":[{"type":"Shipment","id":%d}],
		"details":[{"service_id":%d,"quantity":3,"rate":12.99},{"service_id":%d,"quantity":1,"rate":0.0005}]}}`,
		ref, c.Vendors[5].ID, c.Shipments[0].ID, c.Services[2].ID, c.Services[3].ID)
}

func (p *panel) create(t testing.TB, subject, body string) reply {
	t.Helper()
	return p.do(t, subject, "POST", p.company(0)+"/create/bill", strings.NewReader(body), "Content-Type", "application/json")
}

func TestCreatedBillsAppearInTheirList(t *testing.T) {
	t.Parallel()
	p := newPanel(t)
	before := fmt.Sprint(p.get(t, "46", p.company(0)+"/payment-requests?per_page=1").want(t, 200)["last_page"])
	r := p.create(t, "46", billJSON(p, "PALLET-9"))
	o := r.want(t, 200)
	shape{"request_id": "uuid", "status": "text", "documents": rowsOf(citationShape)}.check(t, "createDocuments", o)
	if o["status"] != "done" || r.Header().Get("X-Request-Id") != o["request_id"] {
		t.Errorf("status %v, X-Request-Id %s, request_id %v", o["status"], r.Header().Get("X-Request-Id"), o["request_id"])
	}
	document := rows(t, o, "documents")[0]
	if document["type"] != "Bill" || document["ref_number"] != "PALLET-9" || document["date"] != "2026-11-20T00:00:00.000Z" {
		t.Errorf("document: %v", document)
	}
	list := rows(t, p.get(t, "46", p.company(0)+"/bills?search=pallet-9").want(t, 200), "data")
	if len(list) != 1 {
		t.Fatalf("%d bills found", len(list))
	}
	bill := list[0]
	billShape.check(t, "bill", bill)
	for field, want := range map[string]string{"amount": "38.9705", "market": "US", "currency": "USD", "date": "2026-11-20", "name": "Pallets"} {
		if fmt.Sprint(bill[field]) != want {
			t.Errorf("%s is %v, want %s", field, bill[field], want)
		}
	}
	if d := rows(t, bill, "documents"); len(d) != 1 || d[0]["type"] != "Shipment" {
		t.Errorf("linked documents: %v", d)
	}
	if pr := rows(t, bill, "payment_requests"); len(pr) != 1 || fmt.Sprint(pr[0]["amount_due"]) != "38.9705" || pr[0]["due_date"] != "2026-12-20" || pr[0]["paid_amount"] != nil {
		t.Errorf("instalments: %v", pr)
	}
	if first := rows(t, p.get(t, "46", p.company(0)+"/bills").want(t, 200), "data")[0]; fmt.Sprint(first["id"]) != fmt.Sprint(bill["id"]) {
		t.Error("the newest bill is not the first")
	}
	p.get(t, "46", fmt.Sprint(p.company(0), "/bills/", bill["id"])).want(t, 200)
	if after := fmt.Sprint(p.get(t, "46", p.company(0)+"/payment-requests?per_page=1").want(t, 200)["last_page"]); after == before {
		t.Error("its instalment is no payment request")
	}
	// Not in the other company, not for the other seller.
	p.get(t, "46", fmt.Sprint(p.company(1), "/bills/", bill["id"])).want(t, 404)
	p.get(t, "47", fmt.Sprint(p.company(2), "/bills/", bill["id"])).want(t, 404)
	status := p.get(t, "46", fmt.Sprint(p.company(0), "/import/bill/status/", o["request_id"])).want(t, 200)
	if fmt.Sprint(status) != fmt.Sprint(o) {
		t.Errorf("its import is %v", status)
	}
}

func TestBadBillsNameEveryFaultAndLeaveNothing(t *testing.T) {
	t.Parallel()
	p := newPanel(t)
	c := p.books.Companies[0]
	service := c.Services[0].ID
	line := fmt.Sprintf(`"details":[{"service_id":%d,"quantity":1,"rate":1}]`, service)
	for body, want := range map[string]string{
		`{}`:            "422 map[data:[The data field is required.]]",
		`{"data":null}`: "422 map[data:[The data field is required.]]",
		`{"data":[]}`:   "422 map[data:[The data field must be an object.]]",
		`{"data":{}}`:   "422 map[data.date:[The data.date field is required.] data.details:[The data.details field is required.] data.ref_number:[The data.ref_number field is required.]]",
		`{"data":{"ref_number":7,"date":"soon","market":"USA","currency":"US","vendor_id":"x","payment_term_id":1.5,"documents":{},"details":"x"}}`: "422 map[" +
			"data.currency:[The data.currency field must be 3 characters.] data.date:[The data.date field must be a valid date.] data.details:[The data.details field must be an array.] " +
			"data.documents:[The data.documents field must be an array.] data.market:[The data.market field must be 2 characters.] " +
			"data.payment_term_id:[The data.payment_term_id field must be an integer.] data.ref_number:[The data.ref_number field must be a string.] data.vendor_id:[The data.vendor_id field must be an integer.]]",
		`{"data":{"ref_number":"A","date":"2026-11-20","details":[{"service_id":1,"quantity":0,"rate":"1"},{"quantity":1.5},7]}}`: "422 map[" +
			"data.details.0.quantity:[The data.details.0.quantity field must be at least 1.] data.details.0.rate:[The data.details.0.rate field must be a number.] " +
			"data.details.0.service_id:[The selected data.details.0.service_id is invalid.] data.details.1.quantity:[The data.details.1.quantity field must be an integer.] " +
			"data.details.1.rate:[The data.details.1.rate field is required.] data.details.1.service_id:[The data.details.1.service_id field is required.] " +
			"data.details.2:[The data.details.2 field must be an object.]]",
		// Ids of another company are invalid here.
		fmt.Sprintf(`{"data":{"ref_number":"A","date":"2026-11-20","market":"JP","vendor_id":%d,"payment_term_id":%d,"documents":[{"type":"Invoice","id":%d},{"type":"Moon","id":1}],%s}}`,
			p.books.Companies[1].Vendors[0].ID, p.books.Companies[1].Terms[4].ID, p.books.Companies[2].Invoices[0].ID, line): "422 map[" +
			"data.documents.0.id:[The selected data.documents.0.id is invalid.] data.documents.1.type:[The selected data.documents.1.type is invalid.] data.market:[The selected data.market is invalid.] " +
			"data.payment_term_id:[The selected data.payment_term_id is invalid.] data.vendor_id:[The selected data.vendor_id is invalid.]]",
		fmt.Sprintf(`{"data":{"ref_number":"A","date":"2026-11-20","details":[{"service_id":%d,"quantity":2,"rate":1e9},{"service_id":%d,"quantity":2,"rate":0.00001}]}}`, service, service): "422 map[" +
			"data.details.0.rate:[The data.details.0.rate field is too large.] data.details.1.rate:[The data.details.1.rate field must have 0-4 decimal places.]]",
		`{"data":{"ref_number":"A","date":"2026-08-31",` + line + `}}`: "400 Document date is earlier than the Entry Locked Date.",
		`{"data":`:      "400 The request body must be a JSON object.",
		`[]`:            "400 The request body must be a JSON object.",
		`{"data":{}} x`: "400 The request body must be a JSON object.",
		``:              "400 The request body must be a JSON object.",
		`{"data":{"name":"` + strings.Repeat("x", maxJSON) + `"}}`: "413 The request body is too large.",
	} {
		r := p.create(t, "46", body)
		got := fmt.Sprint(r.Code, " ", r.object["message"])
		if r.Code == 422 {
			got = fmt.Sprint(r.Code, " ", r.object["errors"])
		}
		if got != want {
			t.Errorf("%.200s:\n got %s\nwant %s", body, got, want)
		}
	}
	if got := p.do(t, "46", "POST", p.company(0)+"/create/invoice", strings.NewReader(`{}`)).want(t, 400)["message"]; got != "Unsupported document type." {
		t.Errorf("unknown type: %q", got)
	}
	p.create(t, "47", billJSON(p, "X")).want(t, 403)
	if n := len(p.made()); n != 0 {
		t.Errorf("%d bills were left behind", n)
	}
	// The first day that is still open.
	p.create(t, "46", `{"data":{"ref_number":"A","date":"2026-09-01",`+line+`}}`).want(t, 200)
}

func upload(t testing.TB, field, name, content string) (body *bytes.Buffer, kind string) {
	t.Helper()
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	if err := w.WriteField("note", "first"); err != nil {
		t.Fatal(err)
	}
	part, err := w.CreateFormFile(field, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return body, w.FormDataContentType()
}

func TestPDFImportGoesFromQueuedToDone(t *testing.T) {
	t.Parallel()
	for ref, send := range map[string]func(*panel) reply{
		"freight-1": func(p *panel) reply {
			return p.do(t, "46", "POST", p.company(0)+"/import/bill/pdf?filename=freight-1.pdf", strings.NewReader(pdf), "Content-Type", "application/pdf")
		},
		"freight-2": func(p *panel) reply {
			body, kind := upload(t, "file", "freight-2.pdf", pdf)
			return p.do(t, "46", "POST", p.company(0)+"/import/bill/pdf", body, "Content-Type", kind)
		},
		"freight-3": func(p *panel) reply {
			return p.do(t, "46", "POST", p.company(0)+"/import/bill/pdf", strings.NewReader(`{"file":{"name":"freight-3.pdf","link":"https://files.example/f/77"}}`), "Content-Type", "application/json; charset=utf-8")
		},
	} {
		t.Run(ref, func(t *testing.T) {
			t.Parallel()
			p := newPanel(t)
			r := send(p)
			o := r.want(t, 202)
			shape{"request_id": "uuid", "status": "text"}.check(t, "createDocumentsByPdf", o)
			id := fmt.Sprint(o["request_id"])
			if o["status"] != "queued" || r.Header().Get("Retry-After") != "15" || r.Header().Get("X-Request-Id") != id {
				t.Errorf("%v, headers %v", o, r.Header())
			}
			path := p.company(0) + "/import/bill/status/" + id
			for _, step := range []struct {
				wait   time.Duration
				status string
			}{{0, "queued"}, {3 * time.Second, "processing"}, {6 * time.Second, "processing"}} {
				p.advance(step.wait)
				r := p.get(t, "46", path)
				o := r.want(t, 202)
				shape{"request_id": "uuid", "status": "text"}.check(t, "checkImportProcessing", o)
				if o["status"] != step.status || r.Header().Get("Retry-After") != "5" || r.Header().Get("X-Request-Id") != id {
					t.Errorf("%v, headers %v; want %s", o, r.Header(), step.status)
				}
				if n := len(rows(t, p.get(t, "46", p.company(0)+"/bills?search="+ref).want(t, 200), "data")); n != 0 {
					t.Errorf("%d bills while %s", n, step.status)
				}
			}
			p.advance(time.Second)
			// The bill is there whether or not anybody asked for the status.
			list := rows(t, p.get(t, "46", p.company(0)+"/bills?search="+ref).want(t, 200), "data")
			if len(list) != 1 {
				t.Fatalf("%d bills when done", len(list))
			}
			billShape.check(t, "bill", list[0])
			r = p.get(t, "46", path)
			o = r.want(t, 200)
			shape{"request_id": "uuid", "status": "text", "documents": rowsOf(citationShape)}.check(t, "checkImportProcessing", o)
			if o["status"] != "done" || r.Header().Get("Retry-After") != "" || rows(t, o, "documents")[0]["ref_number"] != ref {
				t.Errorf("%v, headers %v", o, r.Header())
			}
			if again := p.get(t, "46", path).want(t, 200); fmt.Sprint(again) != fmt.Sprint(o) {
				t.Errorf("asked again: %v", again)
			}
			if n := len(p.made()); n != 1 {
				t.Errorf("%d bills in the end", n)
			}
			// Foreign and unknown ids look the same.
			for _, other := range []reply{
				p.get(t, "46", p.company(1)+"/import/bill/status/"+id),
				p.get(t, "47", p.company(2)+"/import/bill/status/"+id),
				p.get(t, "46", p.company(0)+"/import/bill/status/0b0b0b0b-0000-4000-8000-000000000000"),
				p.get(t, "46", p.company(0)+"/import/invoice/status/"+id),
			} {
				if m := other.want(t, 404)["message"]; m != "Import is not found." {
					t.Errorf("foreign id: %q", m)
				}
			}
			p.get(t, "47", path).want(t, 403)
		})
	}
}

// Who waits for a short import is not told to wait longer than it takes.
func TestShortImportsAreAskedForSoon(t *testing.T) {
	t.Parallel()
	for delay, want := range map[time.Duration]string{time.Millisecond: "1", 2500 * time.Millisecond: "3", time.Minute: "15"} {
		s := newServer(Options{Books: shared().books, Verify: bearer, Now: shared().now, ImportDelay: delay}, nil)
		p := &panel{Handler: s, clock: shared().clock, books: shared().books}
		r := p.do(t, "46", "POST", p.company(0)+"/import/bill/pdf?filename=a.pdf", strings.NewReader(pdf), "Content-Type", "application/pdf")
		if r.want(t, 202); r.Header().Get("Retry-After") != want {
			t.Errorf("%s: Retry-After %s, want %s", delay, r.Header().Get("Retry-After"), want)
		}
	}
}

func TestUnreadablePDFEndsInError(t *testing.T) {
	t.Parallel()
	p := newPanel(t)
	// The mark lies across the seam of two chunks.
	locked := pdf + strings.Repeat(" ", 32<<10-len(pdf)-4) + "/Encrypt 2 0 R"
	o := p.do(t, "46", "POST", p.company(0)+"/import/bill/pdf?filename=locked.pdf", strings.NewReader(locked), "Content-Type", "application/pdf").want(t, 202)
	p.advance(10 * time.Second)
	o = p.get(t, "46", fmt.Sprint(p.company(0), "/import/bill/status/", o["request_id"])).want(t, 200)
	if o["status"] != "error" || len(rows(t, o, "documents")) != 0 {
		t.Errorf("%v", o)
	}
	if n := len(p.made()); n != 0 {
		t.Errorf("%d bills of an unreadable file", n)
	}
}

func TestPDFImportRefusesWhatIsNoPDF(t *testing.T) {
	t.Parallel()
	p := newPanel(t)
	good, kind := upload(t, "file", "a.pdf", pdf)
	noFile, noFileKind := upload(t, "upload", "a.pdf", pdf)
	noPDF, noPDFKind := upload(t, "file", "a.pdf", "<html>")
	cut := strings.NewReader(good.String()[:good.Len()/2])
	for name, test := range map[string]struct {
		query, kind string
		body        *strings.Reader
		status      int
		message     string
	}{
		"no filename":              {"", "application/pdf", strings.NewReader(pdf), 400, "The filename parameter is required."},
		"not a PDF":                {"?filename=a.pdf", "application/pdf", strings.NewReader("hello"), 400, "The file is broken: it is not a PDF document."},
		"empty":                    {"?filename=a.pdf", "application/pdf", strings.NewReader(""), 400, "The file is broken: it is not a PDF document."},
		"too large":                {"?filename=a.pdf", "application/pdf", strings.NewReader(pdf + strings.Repeat("x", maxPDF)), 413, "The request body is too large."},
		"form without file":        {"", noFileKind, strings.NewReader(noFile.String()), 400, "The file field is required."},
		"form with HTML":           {"", noPDFKind, strings.NewReader(noPDF.String()), 400, "The file is broken: it is not a PDF document."},
		"form cut before the file": {"", kind, cut, 400, "The file field is required."},
		"form, no boundary":        {"", "multipart/form-data", strings.NewReader("x"), 400, "The multipart body has no boundary."},
		"form cut in the file":     {"", kind, strings.NewReader(good.String()[:good.Len()-90]), 400, "The request body could not be read."},
		"form of rubbish":          {"", "multipart/form-data; boundary=b", strings.NewReader("rubbish"), 400, "The multipart body is malformed."},
		"link without name":        {"", "application/json", strings.NewReader(`{"file":{"link":"https://x.example"}}`), 400, "The file.name and file.link fields are required."},
		"link that is none":        {"", "application/json", strings.NewReader(`{"file":{"name":"a","link":"file:///etc/passwd"}}`), 400, "The file.link field must be a valid URL."},
		"JSON that is none":        {"", "application/json", strings.NewReader(`{"file":`), 400, "The request body must be a JSON object with file.name and file.link."},
		"JSON of wrong type":       {"", "application/json", strings.NewReader(`{"file":"a"}`), 400, "The request body must be a JSON object with file.name and file.link."},
		"text":                     {"?filename=a.pdf", "text/plain", strings.NewReader(pdf), 415, "Unsupported media type: send application/pdf, multipart/form-data or application/json."},
		"no content type":          {"?filename=a.pdf", "", strings.NewReader(pdf), 415, "Unsupported media type: send application/pdf, multipart/form-data or application/json."},
	} {
		r := p.do(t, "46", "POST", p.company(0)+"/import/bill/pdf"+test.query, test.body, "Content-Type", test.kind)
		if m := r.want(t, test.status)["message"]; m != test.message {
			t.Errorf("%s: %q, want %q", name, m, test.message)
		}
	}
	if m := p.do(t, "46", "POST", p.company(0)+"/import/invoice/pdf", strings.NewReader(pdf), "Content-Type", "application/pdf").want(t, 400)["message"]; m != "Unsupported document type." {
		t.Errorf("unknown type: %q", m)
	}
	if n := len(p.handler().intake.desk); n != 0 {
		t.Errorf("%d companies have imports of refused files", n)
	}
}

func TestTheSameFileMakesTheSameBill(t *testing.T) {
	t.Parallel()
	c := shared().books.Companies[0]
	a, err := scanPDF("a.pdf", strings.NewReader(pdf))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := scanPDF("a.pdf", strings.NewReader(pdf))
	d := ledger.DateOf(noon)
	if fmt.Sprint(a.bill(c, d)) != fmt.Sprint(b.bill(c, d)) {
		t.Error("two readings differ")
	}
	other, _ := scanPDF("a.pdf", strings.NewReader(pdf+" "))
	if fmt.Sprint(a.bill(c, d).Lines) == fmt.Sprint(other.bill(c, d).Lines) {
		t.Error("another file makes the same bill")
	}
	for name, want := range map[string]string{"x/y/freight.pdf": "freight", `C:\bills\may.PDF`: "may", "../../etc/passwd": "passwd", strings.Repeat("ä", 300): strings.Repeat("ä", 100)} {
		if got := (&scan{name: name}).bill(c, d).Ref; got != want {
			t.Errorf("%s is referred to as %s, want %s", name, got, want)
		}
	}
}

// made are the bills of the first company that were made with the panel.
func (p *panel) made() []*ledger.Bill { return p.books.Companies[0].Bills[p.bills:] }

func TestImportsAreBounded(t *testing.T) {
	t.Parallel()
	c := shared().books.Companies[0]
	in := newIntake(shared().books, 0)
	first := in.done(c, noon, c.Bills[0])
	var last string
	for range maxImports {
		last = in.done(c, noon, c.Bills[0])
	}
	if n := len(in.desk[c]); n != maxImports {
		t.Errorf("%d imports are kept", n)
	}
	if _, _, ok := in.status(c, noon, first); ok {
		t.Error("the oldest import is kept")
	}
	if _, _, ok := in.status(c, noon, last); !ok {
		t.Error("the newest import is gone")
	}
}

func TestConcurrentCallersCreateAndRead(t *testing.T) {
	t.Parallel()
	p := newPanel(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 10 {
				if r := p.create(t, "46", billJSON(p, fmt.Sprintf("C-%d-%d", i, k))); r.Code != 200 {
					t.Errorf("create: %d", r.Code)
				}
				p.do(t, "46", "POST", p.company(0)+"/import/bill/pdf?filename=a.pdf", strings.NewReader(pdf), "Content-Type", "application/pdf")
				p.advance(time.Second)
				if r := p.get(t, "46", p.company(0)+"/bills"); r.Code != 200 {
					t.Errorf("list: %d", r.Code)
				}
			}
		})
	}
	wg.Wait()
	p.advance(time.Minute)
	p.get(t, "46", p.company(0)+"/bills").want(t, 200) // files the last imports
	bills := p.made()
	if len(bills) != 160 {
		t.Errorf("%d bills, want 160", len(bills))
	}
	for i := 1; i < len(bills); i++ {
		if bills[i].ID <= bills[i-1].ID {
			t.Fatalf("bill %d comes after %d", bills[i].ID, bills[i-1].ID)
		}
	}
}

func FuzzScanPDF(f *testing.F) {
	f.Add([]byte(pdf))
	f.Add([]byte("%PDF-"))
	f.Add([]byte("%PDF-/Encryp"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := scanPDF("a.pdf", bytes.NewReader(b))
		if (err == nil) != bytes.HasPrefix(b, []byte("%PDF-")) {
			t.Fatalf("%.20q: %v", b, err)
		}
		if err == nil && s.encrypted != bytes.Contains(b, []byte("/Encrypt")) {
			t.Fatalf("encrypted: %v", s.encrypted)
		}
	})
}

func FuzzCreateDocuments(f *testing.F) {
	f.Add(billJSON(shared(), "A"))
	f.Add(`{"data":{"details":[{"rate":1e400,"quantity":-0}],"documents":[null]}}`)
	p := freshPanel()
	f.Fuzz(func(t *testing.T, body string) {
		if len(p.made()) > 2000 {
			p = freshPanel()
		}
		if r := p.create(t, "46", body); r.Code != http.StatusOK && r.Code != 400 && r.Code != 422 && r.Code != 413 {
			t.Fatalf("%q: %d %s", body, r.Code, r.Body)
		}
	})
}
