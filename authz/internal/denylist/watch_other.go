//go:build !linux

package denylist

import (
	"context"
	"errors"
)

// Watch tells when a file changes; here nothing does.
func Watch(context.Context, string) (Changes, error) {
	return Changes{}, errors.New("changes of files are watched on Linux only")
}
