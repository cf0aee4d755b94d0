package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	segmentio "github.com/segmentio/encoding/json"
)

func TestPeek(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		body string
		want Message
		err  error
	}{
		{body: `{"jsonrpc":"2.0","id":1,"method":"ping"}`, want: Message{ID: []byte("1"), Method: "ping"}},
		{body: ` {"jsonrpc":"2.0","id":"a\"b","method":"ping"} `, want: Message{ID: []byte(`"a\"b"`), Method: "ping"}},
		{body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`, want: Message{Method: "notifications/initialized"}},
		{body: `{"jsonrpc":"2.0","id":null,"method":"notifications/initialized"}`, want: Message{Method: "notifications/initialized"}},
		{body: `{"jsonrpc":"2.0","id":1,"result":{}}`, want: Message{ID: []byte("1"), Response: true}},
		{body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`, want: Message{ID: []byte("1"), Method: ToolsCall, Tool: "x"}},
		{body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","name":"y"}}`, want: Message{ID: []byte("1"), Method: ToolsCall, Tool: "y"}},
		{body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","NAME":"y"}}`, want: Message{ID: []byte("1"), Method: ToolsCall, Tool: "x"}},
		{body: `{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{"name":"\u0078"}}`, want: Message{ID: []byte("1"), Method: ToolsCall, Tool: "x"}},
		{body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":"t"}}}`, want: Message{ID: []byte("1"), Method: ToolsCall, Tool: "x", Progress: true}},
		{body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":null}}}`, want: Message{ID: []byte("1"), Method: ToolsCall, Tool: "x"}},
		{body: ``, err: ErrParse},
		{body: `{`, err: ErrParse},
		{body: `{} {}`, err: ErrParse},
		{body: "{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}", err: ErrParse},
		{body: strings.Repeat("[", 2000), err: ErrParse},
		{body: `[]`, err: ErrBatch},
		{body: `"x"`, err: ErrInvalid},
		{body: `{}`, err: ErrInvalid},
		{body: `{"jsonrpc":"1.0","id":1,"method":"ping"}`, err: ErrInvalid},
		{body: `{"jsonrpc":2.0,"id":1,"method":"ping"}`, err: ErrInvalid},
		{body: `{"jsonrpc":"2.0","id":true,"method":"ping"}`, err: ErrID},
		{body: `{"jsonrpc":"2.0","id":1}`, err: ErrInvalid},
		{body: `{"jsonrpc":"2.0","result":{}}`, err: ErrInvalid},
		{body: `{"jsonrpc":"2.0","id":1,"method":null}`, err: ErrMethod},
		{body: `{"jsonrpc":"2.0","id":1,"method":7}`, err: ErrMethod},
		{body: `{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`, want: Message{ID: []byte("1"), Method: "ping"}, err: ErrObject},
		{body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":null}`, want: Message{ID: []byte("1"), Method: ToolsCall}, err: ErrParams},
		{body: `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`, want: Message{ID: []byte("1"), Method: ToolsCall}, err: ErrParams},
		{body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":5}}`, want: Message{ID: []byte("1"), Method: ToolsCall}, err: ErrParams},
		{body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":5}}`, want: Message{ID: []byte("1"), Method: ToolsCall}, err: ErrParams},
	} {
		got, err := Peek([]byte(tc.body))
		if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
			t.Errorf("%s: error %v, want %v", tc.body, err, tc.err)
			continue
		}
		if tc.err != nil && tc.want.Method == "" {
			continue
		}
		if string(got.ID) != string(tc.want.ID) || got.Method != tc.want.Method || got.Tool != tc.want.Tool ||
			got.Response != tc.want.Response || got.Progress != tc.want.Progress {
			t.Errorf("%s: %+v, want %+v", tc.body, got, tc.want)
		}
	}
}

// TestIDs: an id passes when the SDK gives it back as it came, and is in the
// error byte for byte when it does not pass.
func TestIDs(t *testing.T) {
	t.Parallel()
	for id, passes := range map[string]bool{
		`0`: true, `-1`: true, `9007199254740991`: true, `-9007199254740991`: true,
		`""`: true, `"a"`: true, `"a<b"`: true, `"a\"b"`: true, `"\u00e9"`: true, `"\ud83d\ude00"`: true, `"9223372036854775808"`: true,
		`9007199254740993`: false, `-9007199254740993`: false, `9223372036854775807`: false, `9223372036854775808`: false, `1e400`: false,
		`-9223372036854775809`: false, `1.5`: false, `1.0`: false, `1e2`: false, `1E+2`: false, `-0`: false, `"<\ud800"`: false,
		`null`: false, `true`: false, `{}`: false, `[1]`: false,
	} {
		body := []byte(`{"jsonrpc":"2.0","id":` + id + `,"method":"ping"}`)
		m, err := Peek(body)
		if !passes {
			want := id
			if id[0] != '"' && id[0] != '-' && (id[0] < '0' || id[0] > '9') {
				want = "null"
			}
			answer := string(FromPeek(err).Body(m.ID))
			if !errors.Is(err, ErrID) || !strings.HasPrefix(answer, `{"jsonrpc":"2.0","id":`+want+`,"error":{"code":-32600,`) {
				t.Errorf("%s: %v, answered with %s", id, err, answer)
			}
			continue
		}
		if err != nil || string(m.ID) != id {
			t.Errorf("%s: %v, %+v", id, err, m)
			continue
		}
		if given, back := echo(t, body); given != back {
			t.Errorf("%s is given back as %v", id, back)
		}
	}
}

// echo returns the id of a request and that of the SDK's answer to it.
func echo(t *testing.T, body []byte) (given, back any) {
	t.Helper()
	decoded, err := jsonrpc.DecodeMessage(body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := jsonrpc.EncodeMessage(&jsonrpc.Response{ID: decoded.(*jsonrpc.Request).ID, Result: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	read := func(data []byte) any {
		var v struct{ ID json.RawMessage }
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		var text string
		if v.ID[0] != '"' {
			return string(v.ID)
		}
		if err := json.Unmarshal(v.ID, &text); err != nil {
			t.Fatal(err)
		}
		return [1]string{text}
	}
	m, err := Peek(body)
	if err != nil {
		t.Fatal(err)
	}
	return read([]byte(`{"id":` + string(m.ID) + `}`)), read(answer)
}

// FuzzPeekAgreesWithTheSDK: a message that passes is the same message to the
// SDK. If the two differed, a caller could get past a check.
func FuzzPeekAgreesWithTheSDK(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_companies","arguments":{"page":1}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call","method":"ping"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b","name":"c"}}`,
		`{"jsonrpc":"2.0","id":1e2,"method":"tools\/call","params":{"name":"\ud800"}}`,
		`{"jsonrpc":"2.0","id":"x","method":"ping","params":null}`,
		`{"jsonrpc":"2.0","id":1,"result":{},"error":null}`,
		"[{}]", "null", "{}{}", "\ufeff{}", "{\"a\":\"\x00\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Peek(body)
		if err != nil {
			data := FromPeek(err).Body(m.ID)
			if !json.Valid(data) {
				t.Fatalf("%q is answered with no JSON: %s", body, data)
			}
			return
		}
		decoded, err := jsonrpc.DecodeMessage(body)
		if err != nil {
			t.Fatalf("passes, but the SDK refuses: %v", err)
		}
		switch d := decoded.(type) {
		case *jsonrpc.Response:
			if !m.Response {
				t.Fatalf("a response to the SDK, %+v here", m)
			}
		case *jsonrpc.Request:
			if m.Response || d.Method != m.Method || d.IsCall() != m.Call() {
				t.Fatalf("method %q and call %v to the SDK, %+v here", d.Method, d.IsCall(), m)
			}
			if m.Call() {
				if given, back := echo(t, body); given != back {
					t.Fatalf("the id %s is given back as %v", m.ID, back)
				}
			}
			if m.Method != ToolsCall {
				return
			}
			// The SDK's type for the params of a call has these names, and is
			// decoded with these rules.
			var p struct {
				Name string `json:"name"`
			}
			decoder := segmentio.NewDecoder(strings.NewReader(string(d.Params)))
			decoder.DontMatchCaseInsensitiveStructFields()
			if err := decoder.Decode(&p); err != nil || p.Name != m.Tool {
				t.Fatalf("tool %q (%v) to the SDK, %q here", p.Name, err, m.Tool)
			}
		default:
			t.Fatalf("unknown kind of message %s", fmt.Sprintf("%T", decoded))
		}
	})
}

func BenchmarkPeek(b *testing.B) {
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_companies","arguments":{"page":1},"_meta":{"x":"y"}}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Peek(body); err != nil {
			b.Fatal(err)
		}
	}
}
