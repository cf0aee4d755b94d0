// Package strictjson reads JSON that decides over access. encoding/json takes
// the last of two equal members, matches names without regard to case and
// replaces bad UTF-8, so two readers of one token can see two different
// tokens (RFC 8259 §4, RFC 7519 §4). Here each of these is an error, at every
// depth, and so are bytes after the value.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Object is the members of a JSON object in their order.
type Object []Member

// Member is one member of an Object; Value is its JSON text and aliases the
// input.
type Member struct {
	Name  string
	Value Value
}

// Value is the text of one JSON value.
type Value []byte

// ErrType means that a value is of another JSON type than wanted.
var ErrType = errors.New("wrong JSON type")

// ParseObject reads data as exactly one JSON object.
func ParseObject(data []byte) (Object, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	if dec.PeekKind() != '{' {
		return nil, errors.New("not a JSON object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	object := make(Object, 0, 12)
	for dec.PeekKind() != '}' {
		quoted, err := read(dec, data)
		if err != nil {
			return nil, err
		}
		name, err := quoted.Text()
		if err != nil {
			return nil, err
		}
		value, err := read(dec, data)
		if err != nil {
			return nil, err
		}
		object = append(object, Member{Name: name, Value: value})
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	return object, end(dec)
}

// ParseArray reads data as exactly one JSON array.
func ParseArray(data []byte) ([]Value, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	if dec.PeekKind() != '[' {
		return nil, ErrType
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	var array []Value
	for dec.PeekKind() != ']' {
		value, err := read(dec, data)
		if err != nil {
			return nil, err
		}
		array = append(array, value)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	return array, end(dec)
}

// read returns the next value as a part of data, which stays valid, while what
// the decoder returns does not.
func read(dec *jsontext.Decoder, data []byte) (Value, error) {
	v, err := dec.ReadValue()
	if err != nil {
		return nil, err
	}
	to := dec.InputOffset()
	return Value(data[to-int64(len(v)) : to : to]), nil
}

func end(dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); err != io.EOF {
		return errors.New("bytes after the JSON value")
	}
	return nil
}

// Get returns the value of a member; nil if there is none.
func (o Object) Get(name string) Value {
	for i := range o {
		if o[i].Name == name {
			return o[i].Value
		}
	}
	return nil
}

// Text returns the value of a JSON string.
func (v Value) Text() (string, error) {
	if len(v) < 2 || v[0] != '"' {
		return "", ErrType
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return string(v[1 : len(v)-1]), nil
	}
	text, err := jsontext.AppendUnquote(nil, []byte(v))
	return string(text), err
}

// IsString, IsArray and IsTrue report the JSON type of the value.
func (v Value) IsString() bool { return len(v) > 0 && v[0] == '"' }
func (v Value) IsArray() bool  { return len(v) > 0 && v[0] == '[' }
func (v Value) IsTrue() bool   { return string(v) == "true" }

// Texts returns the elements of an array of strings.
func (v Value) Texts() ([]string, error) {
	values, err := ParseArray(v)
	if err != nil {
		return nil, err
	}
	texts := make([]string, 0, len(values))
	for _, value := range values {
		text, err := value.Text()
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// lastSecond is the end of the year 9999, where RFC 3339 dates end.
const lastSecond = 253402300799

// Date returns the value of a NumericDate, whole or fractional
// (RFC 7519 §2). Dates before 1970 and after the year 9999 are errors: no
// issuer means them.
func (v Value) Date() (time.Time, error) {
	if len(v) == 0 || (v[0] != '-' && (v[0] < '0' || v[0] > '9')) {
		return time.Time{}, ErrType
	}
	if len(v) <= 12 {
		if whole, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			if whole < 0 || whole > lastSecond {
				return time.Time{}, fmt.Errorf("date out of range")
			}
			return time.Unix(whole, 0), nil
		}
	}
	seconds, err := strconv.ParseFloat(string(v), 64)
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > lastSecond {
		return time.Time{}, fmt.Errorf("date out of range")
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}
