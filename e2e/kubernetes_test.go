package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the overlays make is what Kubernetes understands, to the last field, in
// the oldest version that is supported and in the newest that there are schemas of.
func TestManifestsMatchTheSchemasOfKubernetes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root(t), "deploy", "kubernetes", "rendered", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	validator, err := installer(t).Kubernetes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"1.30", "1.37"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			lines, ok := validator.Validate(t.Context(), version, files...)
			if !ok {
				t.Errorf("faults:\n%s", strings.Join(lines, "\n"))
			}
			good := map[string]int{}
			for _, line := range lines {
				switch {
				case strings.HasPrefix(line, "INFO "):
					_, kind, _ := strings.Cut(line, " passed for resource ")
					kind, _, _ = strings.Cut(kind, "/")
					good[kind]++
				case strings.HasPrefix(line, "WARN ") && custom.MatchString(line):
					// Not of Kubernetes itself: "make test-deploy" reads them with their own types.
				default:
					t.Error(line)
				}
			}
			for _, kind := range []string{"deployment", "service", "networkpolicy", "poddisruptionbudget", "horizontalpodautoscaler", "configmap", "serviceaccount"} {
				if good[kind] < len(files) {
					t.Errorf("%d files, but only %d of kind %s were judged", len(files), good[kind], kind)
				}
			}
		})
	}
	t.Run("and a fault is found", func(t *testing.T) {
		t.Parallel()
		text, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		for name, edit := range map[string][2]string{
			"a field that there is not": {"readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"},
			"a number that is a word":   {"terminationGracePeriodSeconds: ", "terminationGracePeriodSeconds: about "},
		} {
			broken := strings.Replace(string(text), edit[0], edit[1], 1)
			file := filepath.Join(t.TempDir(), "broken.yaml")
			if err := os.WriteFile(file, []byte(broken), 0o600); err != nil || broken == string(text) {
				t.Fatalf("%s: nothing was broken (%v)", name, err)
			}
			lines, ok := validator.Validate(t.Context(), "1.37", file)
			if text := strings.Join(lines, "\n"); ok || !strings.Contains(text, "deployment/") || !strings.Contains(text, "ERROR ") {
				t.Errorf("%s: %v\n%s", name, ok, text)
			}
		}
	})
}

var custom = regexp.MustCompile(`for kind (HTTPRoute|ServiceMonitor|PrometheusRule) with`)
