package denylist_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/denylist"
	"github.com/neonpanel/mcp-gateway/authz/internal/token"
)

func TestRules(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	id := token.Identity{Subject: "46", ClientID: "client", ID: "id", IssuedAt: noon}
	bare := token.Identity{Subject: "46"}
	for file, want := range map[string]struct{ id, bare bool }{
		"":                                    {},
		"{}":                                  {},
		"# only a comment":                    {},
		`subjects: ["46"]`:                    {true, true},
		`subjects: [46]`:                      {true, true},
		"subjects:\n- \"46\"\n- \"47\"":       {true, true},
		`subjects: ["4", "460", " 46"]`:       {},
		`clients: [client]`:                   {true, false},
		`jtis: [id]`:                          {true, false},
		`jtis: [client]`:                      {},
		`issued_before: 2026-01-31T12:00:00Z`: {false, true},
		`issued_before: 2026-01-31T12:00:01Z`: {true, true},
		`issued_before: "2026-01-31T13:00:01+01:00"`: {true, true},
		`{"subjects":[],"clients":["other"]}`:        {},
	} {
		rules, err := denylist.Parse([]byte(file))
		if err != nil {
			t.Errorf("%q: %v", file, err)
			continue
		}
		if rules.Denies(&id) != want.id || rules.Denies(&bare) != want.bare {
			t.Errorf("%q: denies are %v and %v", file, rules.Denies(&id), rules.Denies(&bare))
		}
	}
}

func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	for _, file := range []string{
		"subjects", "[]", `subjects: "46"`, `subject: ["46"]`, `subjects: [""]`, "subjects: []\nsubjects: []",
		`issued_before: yesterday`, `issued_before: 2026-01-31`, `subjects: [{}]`, "\x00", `jtis: [[]]`,
	} {
		if _, err := denylist.Parse([]byte(file)); err == nil {
			t.Errorf("%q: accepted", file)
		}
	}
}

func TestOpenNeedsAGoodFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deny.yaml")
	if _, err := denylist.Open(path, nil); err == nil {
		t.Error("a file that is not there was opened")
	}
	if err := os.WriteFile(path, []byte("subject: []"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := denylist.Open(path, nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Error("broken file:", err)
	}
	var none *denylist.List
	if none.Denies(&token.Identity{}) || none.Broken() {
		t.Error("no list denies")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`subjects: ["46"]`))
	f.Add([]byte("issued_before: 2026-01-31T12:00:00Z\njtis: [a, b]"))
	f.Add([]byte(`{"clients":["x"]}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) > 4096 {
			return
		}
		rules, err := denylist.Parse(file)
		if err == nil {
			rules.Denies(&token.Identity{Subject: "46"})
		}
	})
}
