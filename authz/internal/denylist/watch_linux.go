package denylist

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the symbolic links on the way to a file, as the kernel does.
const maxLinks = 40

// place is a name in a directory that decides what a path leads to.
type place struct{ dir, name string }

// places follows a path to its file: the name of the file itself, and that of each
// symbolic link on the way. A ConfigMap of Kubernetes is replaced by turning such a
// link.
func places(path string) []place {
	var all []place
	at, rest := "/", strings.Split(path, "/")
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil || len(rest) == 0 && info.Mode()&os.ModeSymlink == 0 {
			// The file, or where it would begin to be again.
			return append(all, place{at, name})
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		all = append(all, place{at, name})
		target, err := os.Readlink(next)
		if err != nil || len(all) > maxLinks {
			return all
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return all
}

// watcher is an inotify instance aimed at one path.
type watcher struct {
	path   string
	file   *os.File
	names  map[int32]map[string]bool // what matters, by watch
	change chan struct{}
	// writing is true from the first change of the file's contents until its writer
	// closes it, or another file stands under its name.
	writing atomic.Bool
}

// interesting are the events after which a file holds something else: a writer is
// done with it, or another one stands under its name. Of the writing itself, which
// IN_MODIFY tells, nobody is told, for half a file must not be in force, nor an
// empty one; it only keeps others from reading it meanwhile.
const interesting = unix.IN_CLOSE_WRITE | unix.IN_MODIFY | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// Watch tells when the file of a path may hold something else, until ctx is done,
// when it closes the channel. Changes that are made elsewhere, as on a file system
// of the network, it cannot see.
func Watch(ctx context.Context, path string) (Changes, error) {
	w, err := newWatcher(path)
	if err != nil {
		return Changes{}, err
	}
	stop := context.AfterFunc(ctx, func() { w.file.Close() })
	go func() {
		defer stop()
		w.run()
	}()
	return Changes{Told: w.change, Writing: w.writing.Load}, nil
}

func newWatcher(path string) (*watcher, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	w := &watcher{path: path, file: os.NewFile(uintptr(fd), "inotify"), change: make(chan struct{}, 1)}
	if err := w.aim(); err != nil {
		w.file.Close()
		return nil, err
	}
	return w, nil
}

// aim watches the directories that the path leads through now. It fails only if it
// can watch none.
func (w *watcher) aim() error {
	connection, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	names := make(map[int32]map[string]bool)
	var faults []error
	if err := connection.Control(func(fd uintptr) {
		for _, p := range places(w.path) {
			// One that is watched already keeps its number.
			watch, err := unix.InotifyAddWatch(int(fd), p.dir, interesting)
			if err != nil {
				faults = append(faults, os.NewSyscallError("inotify_add_watch", err))
				continue
			}
			if names[int32(watch)] == nil {
				names[int32(watch)] = make(map[string]bool)
			}
			names[int32(watch)][p.name] = true
		}
		for old := range w.names {
			if names[old] == nil {
				// That of a directory which is gone has ended by itself.
				_, _ = unix.InotifyRmWatch(int(fd), uint32(old))
			}
		}
	}); err != nil {
		return err
	}
	w.names = names
	if len(names) == 0 {
		return errors.Join(faults...)
	}
	return nil
}

func (w *watcher) run() {
	defer close(w.change)
	buffer := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buffer)
		if err != nil {
			w.file.Close()
			return
		}
		if !w.matters(buffer[:n]) {
			continue
		}
		// The way may be another one now. What changes until it is watched is seen
		// after it.
		_ = w.aim()
		select {
		case w.change <- struct{}{}:
		default:
		}
	}
}

// matters reports whether one of the events is about the path, and keeps in mind
// whether the file is being written after all of them.
func (w *watcher) matters(events []byte) (yes bool) {
	for len(events) >= unix.SizeofInotifyEvent {
		watch := int32(binary.NativeEndian.Uint32(events))
		mask := binary.NativeEndian.Uint32(events[4:])
		length := min(int(binary.NativeEndian.Uint32(events[12:])), len(events)-unix.SizeofInotifyEvent)
		name, _, _ := bytes.Cut(events[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+length], []byte{0})
		events = events[unix.SizeofInotifyEvent+length:]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
		case w.names[watch] == nil:
			// Of a directory that the path led through before.
			continue
		case mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0:
		case !w.names[watch][string(name)]:
			continue
		case mask&unix.IN_MODIFY != 0:
			w.writing.Store(true)
			continue
		case mask&unix.IN_CREATE != 0 && mask&unix.IN_ISDIR == 0 && !w.linked(string(name)):
			// A new file, which is empty until its writer is done.
			continue
		}
		w.writing.Store(false)
		yes = true
	}
	return yes
}

// linked reports whether a name that has just appeared is a symbolic link.
func (w *watcher) linked(name string) bool {
	for _, p := range places(w.path) {
		if p.name != name {
			continue
		}
		if info, err := os.Lstat(filepath.Join(p.dir, p.name)); err == nil && info.Mode()&os.ModeSymlink != 0 {
			return true
		}
	}
	return false
}
