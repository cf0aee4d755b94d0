package e2e

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	routeRow = regexp.MustCompile("(?m)^\\| `([A-Z]+) (/[^`]*)` \\|[^|]*\\| ([0-9]{3}) \\|")
	toolRow  = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (`.*`) \\|$")
	quoted   = regexp.MustCompile("`([^`]+)`")
)

func TestOldRoutesAnswerAsTheMigrationGuideSays(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	rows := routeRow.FindAllStringSubmatch(read(t, "docs/migration.md"), -1)
	if len(rows) < 25 {
		t.Fatalf("only %d rows were read", len(rows))
	}
	for _, row := range rows {
		if got := g.send(t, row[1], row[2], "").Status; strconv.Itoa(got) != row[3] {
			t.Errorf("%s %s: %d, want %s", row[1], row[2], got, row[3])
		}
	}
}

// An old name that were none would be answered with 404, and the two would
// differ.
func TestOldToolNamesLeadWhereTheMigrationGuideSays(t *testing.T) {
	t.Parallel()
	g := sharedGateway(t)
	authorization := "Bearer " + g.token(t, sellerOne)
	call := func(name string) reply {
		return g.send(t, http.MethodPost, "/mcp/tools/call", `{"name":"`+name+`","arguments":{"nobody_knows_this":1}}`,
			"Authorization", authorization, "Content-Type", "application/json")
	}
	rows := toolRow.FindAllStringSubmatch(read(t, "docs/migration.md"), -1)
	if len(rows) < 30 {
		t.Fatalf("only %d rows were read", len(rows))
	}
	for _, row := range rows {
		want := call(row[1])
		if want.Status == http.StatusNotFound || !strings.Contains(want.Body, "nobody_knows_this") {
			t.Errorf("%s: %d %s", row[1], want.Status, want.Body)
		}
		for _, old := range quoted.FindAllStringSubmatch(row[2], -1) {
			if got := call(old[1]); got.Status != want.Status || got.Body != want.Body {
				t.Errorf("%s: %d %s\n%s: %d %s", old[1], got.Status, got.Body, row[1], want.Status, want.Body)
			}
		}
	}
}
