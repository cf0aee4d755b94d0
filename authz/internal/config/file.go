package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// coarse is how far apart two changes may be that leave the same time on a
// file: until then it is read each time.
const coarse = 2 * time.Second

// maxFile bounds a file that holds a secret or a key.
const maxFile = 64 << 10

// followed is what a file holds, read again when the file changes. While the
// file cannot be read, or holds nothing of use, as in the middle of its being
// replaced, the last good contents stay in force.
type followed[T any] struct {
	file  string
	parse func([]byte) (T, error)

	mu   sync.Mutex
	seen os.FileInfo
	good bool
	last T
}

// follow reads a file that must be good, and returns what reads it from then
// on.
func follow[T any](j *judge, setting, file, allowed string, parse func([]byte) (T, error)) func() (T, error) {
	f := &followed[T]{file: file, parse: parse}
	if _, err := f.get(); err != nil {
		j.fault(setting, file, "%s (%s)", allowed, err)
	}
	return f.get
}

func (f *followed[T]) get() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.file)
	if err == nil && f.good && f.seen != nil && os.SameFile(info, f.seen) &&
		info.Size() == f.seen.Size() && info.ModTime().Equal(f.seen.ModTime()) {
		return f.last, nil
	}
	value, at, err := f.read()
	switch {
	case err == nil:
		f.last, f.seen, f.good = value, at, true
		if time.Since(at.ModTime()) < coarse {
			f.seen = nil
		}
	case f.good:
		// Looked at again next time.
		f.seen = nil
	default:
		return f.last, err
	}
	return f.last, nil
}

func (f *followed[T]) read() (value T, at os.FileInfo, err error) {
	file, err := os.Open(f.file)
	if err != nil {
		return value, nil, err
	}
	defer file.Close()
	if at, err = file.Stat(); err != nil {
		return value, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return value, nil, err
	}
	if len(data) > maxFile {
		return value, nil, fmt.Errorf("longer than %d bytes", maxFile)
	}
	value, err = f.parse(data)
	return value, at, err
}

func parseSecret(data []byte) (string, error) {
	secret := strings.TrimSpace(string(data))
	if secret == "" {
		return "", errors.New("the file is empty")
	}
	return secret, nil
}
