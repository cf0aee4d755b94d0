package clients

import (
	"context"
	"os"
	"path/filepath"
)

// Axe returns the script of axe-core, which judges whether everybody can use a
// page.
func (i Installer) Axe(ctx context.Context) (script string, err error) {
	_, modules, err := i.npm(ctx, "axe")
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join(modules, "axe-core", "axe.min.js"))
	return string(data), err
}
