package toolcall

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/catalogue"
)

// A cursor says where an answer ended: after so many rows of a list, in pages of
// so many rows. It is good for the same tool with the same arguments only; what
// shapes an answer (limit, fields) may change. It holds no secret and gives no
// right: its check finds what was cut, mixed up or made up, on any replica.
type cursor struct {
	// index is the number of rows before.
	index int64
	// size is the size of the API's pages; 0 when it has none.
	size int64
	// list is the dotted name of the list.
	list string
}

const (
	cursorVersion = 1
	checkBytes    = 6
	// maxIndex is far beyond every list, and far below an overflow.
	maxIndex = 1 << 40
	maxPage  = 1 << 20
	maxName  = 80
)

// base64url without padding, and with no two spellings of the same bytes.
var cursorEncoding = base64.RawURLEncoding.Strict()

func (c cursor) encode(binding []byte) string {
	return cursorEncoding.EncodeToString(c.seal(binding))
}

func (c cursor) seal(binding []byte) []byte {
	b := []byte{cursorVersion}
	b = binary.AppendUvarint(b, uint64(c.index))
	b = binary.AppendUvarint(b, uint64(c.size))
	b = append(b, c.list...)
	sum := sha256.New()
	sum.Write(binding)
	sum.Write(b)
	return append(b, sum.Sum(nil)[:checkBytes]...)
}

var errCursor = errors.New("not a cursor of this call")

func decodeCursor(text string, binding []byte) (cursor, error) {
	raw, err := cursorEncoding.DecodeString(text)
	if err != nil || len(raw) < 3+checkBytes || len(raw) > 3*binary.MaxVarintLen64+maxName || raw[0] != cursorVersion {
		return cursor{}, errCursor
	}
	rest := raw[1 : len(raw)-checkBytes]
	index, n := binary.Uvarint(rest)
	if n <= 0 || index > maxIndex {
		return cursor{}, errCursor
	}
	size, m := binary.Uvarint(rest[n:])
	if m <= 0 || size > maxPage {
		return cursor{}, errCursor
	}
	c := cursor{index: int64(index), size: int64(size), list: string(rest[n+m:])}
	// Sealed again it must be the same: numbers have several encodings, and the
	// check is part of it.
	if !bytes.Equal(c.seal(binding), raw) {
		return cursor{}, errCursor
	}
	return c, nil
}

// bindingOf is the digest of a tool with the arguments that choose what is in
// its list.
func bindingOf(t *catalogue.Tool, given values) []byte {
	sum := sha256.New()
	sum.Write([]byte(t.Name))
	var compact bytes.Buffer
	for i := range t.Operation.Parameters {
		p := &t.Operation.Parameters[i]
		if given[i] == nil || p.In == catalogue.InGateway || p.Unlisted {
			continue
		}
		compact.Reset()
		if json.Compact(&compact, given[i]) != nil {
			compact.Write(given[i])
		}
		sum.Write([]byte{0})
		sum.Write([]byte(p.Argument))
		sum.Write([]byte{'='})
		sum.Write(compact.Bytes())
	}
	return sum.Sum(nil)
}
