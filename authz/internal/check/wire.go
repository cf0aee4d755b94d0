package check

import (
	"bytes"
	"errors"
	"net/netip"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/neonpanel/mcp-gateway/authz/internal/decision"
	"github.com/neonpanel/mcp-gateway/authz/internal/denial"
)

// Of a question a decision needs three fields out of some forty, and an answer
// has few forms. Reading and writing just these on the wire costs a fraction of
// what the generated types of go-control-plane cost, which is most of the work
// of a call whose verdict is cached. Those types are the yardstick in the tests:
// whatever they write is read the same here, and they read what is written here.

// Field numbers of envoy.service.auth.v3 and of what it is made of.
const (
	requestAttributes  protowire.Number = 1  // CheckRequest
	attributesSource   protowire.Number = 1  // AttributeContext
	attributesRequest  protowire.Number = 4  //
	peerAddress        protowire.Number = 1  // AttributeContext.Peer
	addressSocket      protowire.Number = 1  // config.core.v3.Address
	socketAddress      protowire.Number = 2  // config.core.v3.SocketAddress
	requestHTTP        protowire.Number = 2  // AttributeContext.Request
	httpHeaders        protowire.Number = 3  // AttributeContext.HttpRequest
	httpPath           protowire.Number = 4  //
	httpHeaderMap      protowire.Number = 13 //
	headerMapHeaders   protowire.Number = 1  // config.core.v3.HeaderMap
	headerKey          protowire.Number = 1  // config.core.v3.HeaderValue, and a map's entry
	headerValue        protowire.Number = 2  //
	headerRawValue     protowire.Number = 3  //
	responseStatus     protowire.Number = 1  // CheckResponse
	responseDenied     protowire.Number = 2  //
	responseOK         protowire.Number = 3  //
	responseMetadata   protowire.Number = 4  //
	statusCode         protowire.Number = 1  // google.rpc.Status, type.v3.HttpStatus
	deniedStatus       protowire.Number = 1  // DeniedHttpResponse
	httpAnswerHeaders  protowire.Number = 2  // DeniedHttpResponse, OkHttpResponse
	deniedBody         protowire.Number = 3  //
	optionHeader       protowire.Number = 1  // config.core.v3.HeaderValueOption
	optionAppendAction protowire.Number = 3  //
	structFields       protowire.Number = 1  // google.protobuf.Struct
	entryKey           protowire.Number = 1  //
	entryValue         protowire.Number = 2  //
	valueString        protowire.Number = 3  // google.protobuf.Value
)

// overwrite is HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD. The zero value of
// the action appends, beside what a client sent.
const overwrite = 2

var (
	authorization = []byte("authorization")
	// clientAddress is set by Envoy alone (use_remote_address), which removes
	// what a client sends under this name. The peer in the question's source is
	// the other end of the socket, and so a load balancer where there is one.
	clientAddress = []byte("x-envoy-external-address")
)

var errWire = errors.New("not a CheckRequest")

// question is a plain request on its way in.
type question struct {
	decision.Request
	peer netip.Addr
}

// unmarshal reads a CheckRequest.
func (q *question) unmarshal(wire []byte) error {
	err := each(wire, func(n protowire.Number, attributes []byte) error {
		if n != requestAttributes {
			return nil
		}
		return each(attributes, func(n protowire.Number, v []byte) error {
			switch n {
			case attributesSource:
				return q.source(v)
			case attributesRequest:
				return each(v, func(n protowire.Number, http []byte) error {
					if n != requestHTTP {
						return nil
					}
					return each(http, q.http)
				})
			}
			return nil
		})
	})
	if !q.Client.IsValid() {
		q.Client = q.peer
	}
	return err
}

func (q *question) source(wire []byte) error {
	return each(wire, func(n protowire.Number, address []byte) error {
		if n != peerAddress {
			return nil
		}
		return each(address, func(n protowire.Number, socket []byte) error {
			if n != addressSocket {
				return nil
			}
			return each(socket, func(n protowire.Number, v []byte) error {
				if n == socketAddress {
					q.peer, _ = netip.ParseAddr(string(v))
				}
				return nil
			})
		})
	})
}

// http reads one field of the HTTP request. Headers come in one of two shapes: a
// map, or with encode_raw_headers a list.
func (q *question) http(n protowire.Number, v []byte) error {
	switch n {
	case httpPath:
		if i := bytes.IndexAny(v, "?#"); i >= 0 {
			v = v[:i]
		}
		q.Path = string(v)
	case httpHeaders:
		return q.header(v)
	case httpHeaderMap:
		return each(v, func(n protowire.Number, header []byte) error {
			if n != headerMapHeaders {
				return nil
			}
			return q.header(header)
		})
	}
	return nil
}

func (q *question) header(wire []byte) error {
	var key, value, raw []byte
	err := each(wire, func(n protowire.Number, v []byte) error {
		switch n {
		case headerKey:
			key = v
		case headerValue:
			value = v
		case headerRawValue:
			raw = v
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(raw) > 0 {
		value = raw
	}
	switch {
	case bytes.EqualFold(key, authorization):
		q.Authorization = append(q.Authorization, string(value))
	case bytes.EqualFold(key, clientAddress):
		q.Client, _ = netip.ParseAddr(string(value))
	}
	return nil
}

// each calls visit with every length-delimited field of a message; fields of
// other types are skipped, as an unknown one is.
func each(wire []byte, visit func(protowire.Number, []byte) error) error {
	for len(wire) > 0 {
		number, kind, n := protowire.ConsumeTag(wire)
		if n < 0 {
			return errWire
		}
		wire = wire[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, wire); n < 0 {
				return errWire
			}
			wire = wire[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(wire)
		if n < 0 {
			return errWire
		}
		wire = wire[n:]
		if err := visit(number, value); err != nil {
			return err
		}
	}
	return nil
}

// answer is a plain response on its way out, as a CheckResponse. Its status is
// OK if and only if the response allows: Envoy lets a request through on status
// 0, whatever else the answer holds.
type answer struct{ decision.Response }

// fact is one entry of the dynamic metadata.
type fact struct{ name, value string }

// facts go to Envoy's access log and limits, under envoy.filters.http.ext_authz.
func (a *answer) facts() [7]fact {
	verdict := "deny"
	if a.Allowed() {
		verdict = "allow"
	}
	f := &a.Facts
	return [...]fact{
		{"decision", verdict}, {"reason", f.Reason}, {"auth", f.Auth}, {"subject", f.Subject},
		{"client_id", f.ClientID}, {"scopes", f.Scopes}, {"expires", f.Expires},
	}
}

// size is how many bytes marshal appends.
func (a *answer) size() int {
	http, metadata := a.sizes()
	n := sized(http) + sized(metadata)
	if !a.Allowed() {
		n += sized(varintField(uint64(code(a.Status))))
	} else {
		n += sized(0)
	}
	return n
}

// sizes are those of the HTTP part and of the metadata, without their tags.
func (a *answer) sizes() (http, metadata int) {
	for i := range a.Headers {
		if h := &a.Headers[i]; h.Value != "" {
			http += sized(optionSize(h))
		}
	}
	if !a.Allowed() {
		http += sized(varintField(uint64(a.Status)))
		if a.Body != "" {
			http += sized(len(a.Body))
		}
	}
	for _, f := range a.facts() {
		if f.value != "" {
			metadata += sized(entrySize(f))
		}
	}
	return http, metadata
}

// marshal appends a CheckResponse. Empty headers and facts are left out, and
// header values go as value: Envoy 1.40 ignores raw_value in an answer.
func (a *answer) marshal(b []byte) []byte {
	http, metadata := a.sizes()
	if a.Allowed() {
		b = begin(b, responseStatus, 0)
		b = begin(b, responseOK, http)
	} else {
		code := uint64(code(a.Status))
		b = begin(b, responseStatus, varintField(code))
		b = appendVarint(b, statusCode, code)
		b = begin(b, responseDenied, http)
		b = begin(b, deniedStatus, varintField(uint64(a.Status)))
		b = appendVarint(b, statusCode, uint64(a.Status))
	}
	for i := range a.Headers {
		h := &a.Headers[i]
		if h.Value == "" {
			continue
		}
		b = begin(b, httpAnswerHeaders, optionSize(h))
		b = begin(b, optionHeader, sized(len(h.Name))+sized(len(h.Value)))
		b = appendString(b, headerKey, h.Name)
		b = appendString(b, headerValue, h.Value)
		b = appendVarint(b, optionAppendAction, overwrite)
	}
	if !a.Allowed() && a.Body != "" {
		b = appendString(b, deniedBody, a.Body)
	}
	b = begin(b, responseMetadata, metadata)
	for _, f := range a.facts() {
		if f.value == "" {
			continue
		}
		b = begin(b, structFields, entrySize(f))
		b = appendString(b, entryKey, f.name)
		b = begin(b, entryValue, sized(len(f.value)))
		b = appendString(b, valueString, f.value)
	}
	return b
}

// sized is the size of a length-delimited field of n bytes. Every field number
// written here fits a tag of one byte.
func sized(n int) int { return 1 + protowire.SizeBytes(n) }

func varintField(v uint64) int { return 1 + protowire.SizeVarint(v) }

func optionSize(h *denial.Header) int {
	return sized(sized(len(h.Name))+sized(len(h.Value))) + varintField(overwrite)
}

func entrySize(f fact) int { return sized(len(f.name)) + sized(sized(len(f.value))) }

func begin(b []byte, n protowire.Number, size int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.BytesType), uint64(size))
}

func appendString(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func appendVarint(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

// code is the gRPC code nearest to an HTTP status; it is never OK.
func code(status int) codes.Code {
	switch status {
	case 400:
		return codes.InvalidArgument
	case 401:
		return codes.Unauthenticated
	case 403:
		return codes.PermissionDenied
	case 429:
		return codes.ResourceExhausted
	}
	return codes.Unavailable
}
