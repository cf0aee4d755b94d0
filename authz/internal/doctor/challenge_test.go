package doctor

import (
	"reflect"
	"testing"
)

func TestChallengesAreReadAsRFC9110WritesThem(t *testing.T) {
	t.Parallel()
	none := map[string]string{}
	for field, want := range map[string][]challenge{
		"":            nil,
		" , ,":        nil,
		"Bearer":      {{Scheme: "bearer", Params: none}},
		"Basic, bEAR": {{Scheme: "basic", Params: none}, {Scheme: "bear", Params: none}},
		`Bearer realm="mcp", resource_metadata="https://h/.well-known/x", scope="a b"`: {
			{Scheme: "bearer", Params: map[string]string{"realm": "mcp", "resource_metadata": "https://h/.well-known/x", "scope": "a b"}}},
		`Bearer Realm = "a, b=\"c\"" ,error=invalid_token`: {{Scheme: "bearer", Params: map[string]string{"realm": `a, b="c"`, "error": "invalid_token"}}},
		`Basic realm="x", Bearer error="y", Negotiate`: {
			{Scheme: "basic", Params: map[string]string{"realm": "x"}},
			{Scheme: "bearer", Params: map[string]string{"error": "y"}}, {Scheme: "negotiate", Params: none}},
		`Negotiate YWJj==, Bearer a=b`: {{Scheme: "negotiate", Token68: "YWJj==", Params: none}, {Scheme: "bearer", Params: map[string]string{"a": "b"}}},
		`Bearer ,, a="",`:              {{Scheme: "bearer", Params: map[string]string{"a": ""}}},
	} {
		got, err := parseChallenges([]string{field})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", field, got, err)
		}
	}
	two, err := parseChallenges([]string{"Bearer a=b", "Basic"})
	if err != nil || len(two) != 2 {
		t.Errorf("two fields: %+v, %v", two, err)
	}
}

func TestWhatIsNoChallengeIsRefused(t *testing.T) {
	t.Parallel()
	for _, field := range []string{
		`Bearer realm="mcp`, `Bearer realm="a" scope="b"`, `Bearer realm="a", realm="b"`, `Bearer realm="a", Realm="b"`,
		`"Bearer"`, `Bearer realm=, scope="b"`, `Bearer =b`, "Bearer realm=\"a\nb\"", `Bearer realm="a\`, `Bearer realm='a b'`,
		`=`, "Bearer\trealm=a", `Bearer realm="a";scope=b`, "Bearer realm=\"a\x7f\"", `Bearer realm="ü" x`,
	} {
		if got, err := parseChallenges([]string{field}); err == nil {
			t.Errorf("%q was read as %+v", field, got)
		}
	}
}

// What was read can be written and is then read as the same.
func FuzzChallenges(f *testing.F) {
	for _, seed := range []string{
		`Bearer realm="mcp", resource_metadata="https://h/x", error="invalid_token", error_description="a \"b\"", scope="a b"`,
		`Basic realm="x", Bearer, Negotiate YWJj==, Digest a=b,,c="d"`, `Bearer a = "b" `, "Bearer\x00", `Bearer a="`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		found, err := parseChallenges([]string{field})
		if err != nil {
			return
		}
		again, err := parseChallenges([]string{write(found)})
		if err != nil {
			t.Fatalf("%q, written %q: %v", field, write(found), err)
		}
		if len(found) != len(again) || (len(found) > 0 && !reflect.DeepEqual(found, again)) {
			t.Fatalf("%q: %+v, then %+v", field, found, again)
		}
	})
}

func write(challenges []challenge) string {
	text := ""
	for _, c := range challenges {
		text += c.Scheme + " " + c.Token68
		for name, value := range c.Params {
			quoted := ""
			for i := range len(value) {
				quoted += `\` + value[i:i+1]
			}
			text += `, ` + name + `="` + quoted + `"`
		}
		text += ", "
	}
	return text
}
