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
		j.secretFile(setting, file, allowed, err)
	}
	return f.get
}

// secretFile is fault for the name of a file that holds a secret. What names no
// file may be the secret itself, by mistake: it is not shown, nor is the text of an
// error of the system, which holds it too.
func (j *judge) secretFile(setting, file, allowed string, err error) {
	if _, missing := os.Stat(file); missing != nil {
		j.faults = append(j.faults, fmt.Sprintf("%s: names no file that can be found (%s); allowed: %s; give the path of the file, not what is in it",
			setting, bare(missing), allowed))
		return
	}
	j.fault(setting, file, "%s (%s)", allowed, bare(err))
}

// bare is an error of the system without the name of its file.
func bare(err error) error {
	var of *os.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
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
