package strictjson_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/strictjson"
)

func TestDates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"0":                 time.Unix(0, 0),
		"1710929557":        time.Unix(1710929557, 0),
		"1.5":               time.Unix(1, 500_000_000),
		"1e3":               time.Unix(1000, 0),
		"253402300799":      time.Unix(253402300799, 0),
		"1710929557.944255": time.Unix(1710929557, 944255000),
	} {
		got, err := strictjson.Value(text).Date()
		if err != nil || got.Sub(want).Abs() > time.Microsecond {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1", "-0.1", "253402300800", "1e300", "1e999", "true", "null", `"1"`, "[1]", "{}", "99999999999999999999"} {
		if got, err := strictjson.Value(text).Date(); err == nil {
			t.Errorf("%s is %v", text, got)
		}
	}
}

// What is read here, encoding/json reads as the same members; it only reads
// more.
func FuzzParseObject(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[{"c":"d"}],"e":"\u00e9"}`))
	f.Add([]byte(`{"a":1,"\u0061":2}`))
	f.Add([]byte(`{"a":"\ud800"}`))
	f.Add([]byte(`{} x`))
	f.Fuzz(func(t *testing.T, data []byte) {
		object, err := strictjson.ParseObject(data)
		if err != nil {
			return
		}
		var theirs map[string]json.RawMessage
		if err := json.Unmarshal(data, &theirs); err != nil {
			t.Fatalf("encoding/json: %v", err)
		}
		if len(theirs) != len(object) {
			t.Fatalf("%d members here, %d there", len(object), len(theirs))
		}
		for _, member := range object {
			if string(theirs[member.Name]) != string(member.Value) {
				t.Fatalf("%q is %s here, %s there", member.Name, member.Value, theirs[member.Name])
			}
			if string(object.Get(member.Name)) != string(member.Value) {
				t.Fatal("Get gives another value")
			}
			if text, err := member.Value.Text(); err == nil {
				var their string
				if json.Unmarshal(member.Value, &their) != nil || their != text {
					t.Fatalf("%q is %q here, %q there", member.Name, text, their)
				}
			}
			_, _ = member.Value.Date()
			_, _ = member.Value.Texts()
		}
	})
}
