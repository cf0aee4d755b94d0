package clients

import (
	"context"
	"os/exec"
	"strings"
)

// Kubernetes judges objects as its API server would when it reads them.
type Kubernetes struct{ executable, lib string }

// Validate compares the objects in the files with the schemas of a version, such
// as 1.37, strictly: a field that there is not is a fault. It returns a line for
// each object, which starts with ERROR when the object breaks its schema, with
// WARN when there is none for its kind, and with INFO when all is well.
func (k *Kubernetes) Validate(ctx context.Context, version string, files ...string) (lines []string, ok bool) {
	cmd := exec.CommandContext(ctx, k.executable, append([]string{"-m", "kubernetes_validate", "--strict", "--kubernetes-version", version}, files...)...)
	cmd.Env = []string{"PYTHONPATH=" + k.lib, "PYTHONNOUSERSITE=1", "LANG=C.UTF-8"}
	contain(cmd)
	out, err := cmd.CombinedOutput()
	return strings.Split(strings.TrimSpace(string(out)), "\n"), err == nil
}
