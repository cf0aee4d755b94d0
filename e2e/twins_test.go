package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The files that authz and mcpbackend both have are those of decision 7, and they
// differ in the module path alone.
func TestTwinsAreEqual(t *testing.T) {
	t.Parallel()
	const decision = "docs/decisions/0007-twins.md"
	row := regexp.MustCompile("(?m)^\\| `(internal/[^`]+\\.go)` \\|")
	var listed []string
	for _, match := range row.FindAllStringSubmatch(read(t, decision), -1) {
		listed = append(listed, match[1])
	}
	if len(listed) == 0 {
		t.Fatalf("%s lists no file", decision)
	}
	const path = "github.com/neonpanel/mcp-gateway/"
	theirs := func(file string) string {
		return strings.ReplaceAll(read(t, "mcpbackend/"+file), path+"mcpbackend/", path+"authz/")
	}
	for _, file := range listed {
		if read(t, "authz/"+file) != theirs(file) {
			t.Errorf("%s: the two copies differ; make them equal, or take the file out of %s and say why", file, decision)
		}
	}
	modules := filepath.Join(root(t), "authz")
	err := filepath.WalkDir(filepath.Join(modules, "internal"), func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(at) != ".go" {
			return err
		}
		file, err := filepath.Rel(modules, at)
		if err != nil || slices.Contains(listed, filepath.ToSlash(file)) {
			return err
		}
		if _, err := os.Stat(filepath.Join(root(t), "mcpbackend", file)); err != nil {
			return nil
		}
		if read(t, "authz/"+file) == theirs(file) {
			t.Errorf("%s is the same in authz and mcpbackend, and %s does not list it", file, decision)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
