package bearer

import (
	"strings"
	"testing"
)

func TestExtract(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("a", MaxSize)
	for name, c := range map[string]struct {
		values     []string
		credential string
		outcome    Outcome
	}{
		"no header":                            {nil, "", Absent},
		"an empty header":                      {[]string{""}, "", Absent},
		"only spaces":                          {[]string{"   "}, "", Absent},
		"a bearer token":                       {[]string{"Bearer abc.def-123_~+/="}, "abc.def-123_~+/=", Found},
		"the scheme in lower case":             {[]string{"bearer test-token-123"}, "test-token-123", Found},
		"the scheme in upper case":             {[]string{"BEARER test-token-123"}, "test-token-123", Found},
		"the scheme in mixed case":             {[]string{"BeArEr test-token-123"}, "test-token-123", Found},
		"several spaces after the scheme":      {[]string{"Bearer   abc"}, "abc", Found},
		"spaces around":                        {[]string{"  Bearer abc  "}, "abc", Found},
		"a visible byte that is no b64token":   {[]string{"Bearer 46|abc"}, "46|abc", Found},
		"the longest token":                    {[]string{"Bearer " + longest}, longest, Found},
		"a token one byte too long":            {[]string{"Bearer " + longest + "a"}, "", Oversize},
		"the scheme alone":                     {[]string{"Bearer"}, "", Empty},
		"the scheme and a space":               {[]string{"Bearer "}, "", Empty},
		"no space after the scheme":            {[]string{"BearerTOKEN123"}, "", Unsupported},
		"basic":                                {[]string{"Basic dGVzdDp0ZXN0"}, "", Unsupported},
		"digest with its own commas":           {[]string{`Digest username="a", realm="b"`}, "", Unsupported},
		"DPoP":                                 {[]string{"DPoP abc"}, "", Unsupported},
		"a bare token":                         {[]string{"abc"}, "", Unsupported},
		"two headers":                          {[]string{"Bearer a", "Bearer b"}, "", Multiple},
		"the same header twice":                {[]string{"Bearer a", "Bearer a"}, "", Multiple},
		"two headers, joined":                  {[]string{"Bearer a,Bearer b"}, "", Multiple},
		"two headers, joined with a space":     {[]string{"Bearer a, Bearer b"}, "", Multiple},
		"two headers, the first empty":         {[]string{"Bearer,Bearer b"}, "", Multiple},
		"basic and bearer, joined":             {[]string{"Basic dGVzdDp0ZXN0, bearer b"}, "", Multiple},
		"a comma at the end":                   {[]string{"Bearer a,"}, "", Multiple},
		"a space inside":                       {[]string{"Bearer a b"}, "", Malformed},
		"a tab for the space":                  {[]string{"Bearer\tabc"}, "", Malformed},
		"a tab inside":                         {[]string{"Bearer a\tb"}, "", Malformed},
		"a NUL":                                {[]string{"Bearer a\x00"}, "", Malformed},
		"a newline and a header":               {[]string{"Bearer a\r\nx: y"}, "", Malformed},
		"a delete character":                   {[]string{"Bearer a\x7f"}, "", Malformed},
		"bytes beyond ASCII":                   {[]string{"Bearer caf\xc3\xa9"}, "", Malformed},
		"a look-alike of a letter in a scheme": {[]string{"Bearer\u00a0abc"}, "", Unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			credential, outcome := Extract(c.values)
			if credential != c.credential || outcome != c.outcome {
				t.Errorf("Extract(%.60q) = %.60q, %v; want %.60q, %v", c.values, credential, outcome, c.credential, c.outcome)
			}
		})
	}
}

func FuzzExtract(f *testing.F) {
	for _, seed := range []string{"", "Bearer", "Bearer abc", "bearer a,b", "Basic x, Bearer y", "Bearer a b", "BearerTOKEN", "Bearer \x00", "Bearer\tx", ",,,", "Bearer 46|x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		credential, outcome := Extract([]string{value})
		if (credential != "") != (outcome == Found) {
			t.Fatalf("credential %q with outcome %v", credential, outcome)
		}
		if outcome != Found {
			return
		}
		if len(credential) > MaxSize || strings.ContainsFunc(credential, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) {
			t.Fatalf("unacceptable credential %q", credential)
		}
		if again, o := Extract([]string{"Bearer " + credential}); o != Found || again != credential {
			t.Fatalf("not stable: %q became %q", credential, again)
		}
		if !strings.HasSuffix(strings.TrimRight(value, " "), credential) {
			t.Fatalf("%q is not how %q ends", credential, value)
		}
	})
}
