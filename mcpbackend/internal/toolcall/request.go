package toolcall

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
)

// buildRequest puts checked values where the operation wants them.
func buildRequest(t *catalogue.Tool, given values) (neonpanel.Request, []string) {
	operation := &t.Operation
	r := neonpanel.Request{Operation: operation.ID, Method: operation.Method, Path: operation.Path}
	body := writer{}
	cleared := clears(t, given)
	for i, raw := range given {
		p := &operation.Parameters[i]
		if p.In == catalogue.InBody && slices.Contains(cleared, p.Argument) {
			if raw != nil {
				return r, []string{p.Argument + " is both given and to be emptied; do one of them"}
			}
			raw = json.RawMessage("null")
		}
		if raw == nil {
			continue
		}
		switch p.In {
		case catalogue.InPath:
			if r.PathArguments == nil {
				r.PathArguments = make(map[string]string, 4)
			}
			r.PathArguments[p.Name] = text(raw)
		case catalogue.InQuery:
			r.Query = appendQuery(r.Query, p, raw)
		case catalogue.InBody:
			body.member(p.Name, raw)
		case catalogue.AsBody:
			r.Body = raw
		}
	}
	switch {
	case operation.Upload != nil:
		if faults := upload(operation, given, &r); len(faults) > 0 {
			return r, faults
		}
	case body.b != nil:
		r.Body, r.ContentType = body.close(), "application/json"
	case r.Body != nil:
		r.ContentType = "application/json"
	case hasBody(operation):
		r.Body, r.ContentType = []byte("{}"), "application/json"
	}
	return r, nil
}

func hasBody(operation *catalogue.Operation) bool {
	for i := range operation.Parameters {
		if operation.Parameters[i].In == catalogue.InBody {
			return true
		}
	}
	return false
}

func appendQuery(query []neonpanel.Pair, p *catalogue.Parameter, raw json.RawMessage) []neonpanel.Pair {
	if raw[0] != '[' {
		return append(query, neonpanel.Pair{Name: p.Name, Value: queryText(raw)})
	}
	var items []json.RawMessage
	// It was checked before.
	_ = json.Unmarshal(raw, &items)
	for _, item := range items {
		query = append(query, neonpanel.Pair{Name: neonpanel.ArrayName(p.Name), Value: queryText(item)})
	}
	return query
}

// queryText writes booleans as PHP's validators read them.
func queryText(raw json.RawMessage) string {
	switch string(raw) {
	case "true":
		return "1"
	case "false":
		return "0"
	}
	return text(raw)
}

// upload puts a file, or the link to one, into the body.
func upload(operation *catalogue.Operation, given values, r *neonpanel.Request) []string {
	u := operation.Upload
	argument := func(name string) string {
		for i := range operation.Parameters {
			if operation.Parameters[i].Argument == name && given[i] != nil {
				return text(given[i])
			}
		}
		return ""
	}
	name, link, content := argument(u.NameArgument), argument(u.LinkArgument), argument(u.ContentArgument)
	var faults []string
	if strings.ContainsAny(name, "/\\") || strings.Trim(name, ". ") == "" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		faults = append(faults, u.NameArgument+" must be a plain file name, without folders")
	}
	switch {
	case (link == "") == (content == ""):
		return append(faults, fmt.Sprintf("give exactly one of %s and %s", u.LinkArgument, u.ContentArgument))
	case link != "":
		if fault := checkLink(link); fault != "" {
			return append(faults, u.LinkArgument+" "+fault)
		}
		file := writer{}
		file.member("name", marshal(name))
		file.member("link", marshal(link))
		body := writer{}
		body.member(u.Object, file.close())
		r.Body, r.ContentType = body.close(), "application/json"
	default:
		file, fault := decodeFile(u, content)
		if fault != "" {
			return append(faults, u.ContentArgument+" "+fault)
		}
		r.Body, r.ContentType = file, u.MediaType
		r.Query = append(r.Query, neonpanel.Pair{Name: u.Query, Value: name})
	}
	return faults
}

func decodeFile(u *catalogue.Upload, content string) ([]byte, string) {
	tooLarge := fmt.Sprintf("must be a file of at most %d bytes; use %s for a larger one", u.MaxBytes, u.LinkArgument)
	// A data URL is what browsers make of a file.
	if rest, ok := strings.CutPrefix(strings.TrimSpace(content), "data:"); ok {
		_, encoded, found := strings.Cut(rest, ";base64,")
		if !found {
			return nil, "must be base64"
		}
		content = encoded
	}
	if strings.ContainsAny(content, " \t\r\n") {
		// base64 is often wrapped in lines (RFC 2045 §6.8).
		content = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(content)
	}
	content = strings.TrimRight(content, "=")
	if base64.RawStdEncoding.DecodedLen(len(content)) > u.MaxBytes+2 {
		return nil, tooLarge
	}
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(content, "-_") {
		encoding = base64.RawURLEncoding
	}
	file, err := encoding.DecodeString(content)
	switch {
	case err != nil:
		return nil, "must be base64"
	case len(file) > u.MaxBytes:
		return nil, tooLarge
	case !bytes.HasPrefix(file, []byte(u.Magic)):
		return nil, fmt.Sprintf("must be a file that begins with %s", u.Magic)
	}
	return file, ""
}

// checkLink allows only what points at a public host: the link is handed to the
// API, which fetches it from inside its own network.
func checkLink(link string) string {
	const wrong = "must be an https link to a public host name, on port 443, without a user name"
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" || u.Opaque != "" || u.User != nil || u.Fragment != "" {
		return wrong
	}
	if u.Port() != "" && u.Port() != "443" || strings.HasSuffix(u.Host, ":") {
		return wrong
	}
	host := strings.ToLower(u.Hostname())
	if _, err := netip.ParseAddr(host); err == nil || len(host) > 253 {
		return wrong
	}
	labels := strings.Split(host, ".")
	if len(labels) < 2 {
		return wrong
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return wrong
		}
	}
	// An address in disguise, such as 127.1 or 0x7f.0.0.1, ends in a number;
	// a public name never does.
	last := labels[len(labels)-1]
	if last[0] >= '0' && last[0] <= '9' {
		return wrong
	}
	// Names that mean a private network (RFC 6761, RFC 6762, RFC 8375).
	switch last {
	case "local", "localhost", "localdomain", "internal", "lan", "home", "corp", "arpa", "test", "example", "invalid", "onion":
		return wrong
	}
	return ""
}

// writer writes a JSON object.
type writer struct {
	b     []byte
	begun bool
}

func (w *writer) begin() {
	if !w.begun {
		w.begun = true
		w.b = append(w.b, '{')
	}
}

// name writes the name of a member, which has its quotes.
func (w *writer) name(name []byte) {
	w.begin()
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(append(w.b, name...), ':')
}

func (w *writer) raw(name, value []byte) {
	w.name(name)
	w.b = append(w.b, value...)
}

func (w *writer) member(name string, value []byte) { w.raw(marshal(name), value) }

func (w *writer) close() []byte { return append(w.b, '}') }
