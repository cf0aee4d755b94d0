package denylist

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// patience is for what comes by itself, however busy the machine is.
const patience = 30 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Each way in which a file comes to hold something else is told of when the file is
// whole, without anybody looking at it from time to time.
func TestEachWayOfChangingAFileIsTold(t *testing.T) {
	t.Parallel()
	const changed = `subjects: ["46"]`
	for how, c := range map[string]struct {
		prepare, change func(t *testing.T, dir string)
	}{
		"written in place": {
			func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/deny.yaml", []byte("#"), 0o600)) },
			func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/deny.yaml", []byte(changed), 0o600)) },
		},
		"renamed over": {
			func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/deny.yaml", []byte("#"), 0o600)) },
			func(t *testing.T, dir string) {
				must(t, os.WriteFile(dir+"/new", []byte(changed), 0o600))
				must(t, os.Rename(dir+"/new", dir+"/deny.yaml"))
			},
		},
		"removed and made again": {
			func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/deny.yaml", []byte("#"), 0o600)) },
			func(t *testing.T, dir string) {
				must(t, os.Remove(dir+"/deny.yaml"))
				must(t, os.WriteFile(dir+"/deny.yaml", []byte(changed), 0o600))
			},
		},
		"a ConfigMap of Kubernetes": {
			func(t *testing.T, dir string) {
				must(t, os.Mkdir(dir+"/..1", 0o700))
				must(t, os.WriteFile(dir+"/..1/deny.yaml", []byte("#"), 0o600))
				must(t, os.Symlink("..1", dir+"/..data"))
				must(t, os.Symlink("..data/deny.yaml", dir+"/deny.yaml"))
			},
			func(t *testing.T, dir string) {
				must(t, os.Mkdir(dir+"/..2", 0o700))
				must(t, os.WriteFile(dir+"/..2/deny.yaml", []byte(changed), 0o600))
				must(t, os.Symlink("..2", dir+"/..data_tmp"))
				must(t, os.Rename(dir+"/..data_tmp", dir+"/..data"))
				must(t, os.RemoveAll(dir+"/..1"))
			},
		},
		"a link that is made anew": {
			func(t *testing.T, dir string) {
				must(t, os.WriteFile(dir+"/one", []byte("#"), 0o600))
				must(t, os.WriteFile(dir+"/two", []byte(changed), 0o600))
				must(t, os.Symlink(dir+"/one", dir+"/deny.yaml"))
			},
			func(t *testing.T, dir string) {
				must(t, os.Remove(dir+"/deny.yaml"))
				must(t, os.Symlink(dir+"/two", dir+"/deny.yaml"))
			},
		},
		"at the end of links, in another directory": {
			func(t *testing.T, dir string) {
				must(t, os.MkdirAll(dir+"/a/b", 0o700))
				must(t, os.WriteFile(dir+"/a/b/real", []byte("#"), 0o600))
				must(t, os.Symlink("a/b/../b/./real", dir+"/link"))
				must(t, os.Symlink(dir+"/link", dir+"/deny.yaml"))
			},
			func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/a/b/real", []byte(changed), 0o600)) },
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c.prepare(t, dir)
			ctx, cancel := context.WithCancel(t.Context())
			changes, err := Watch(ctx, dir+"/deny.yaml")
			must(t, err)
			c.change(t, dir)
			patient := time.After(patience)
			for {
				select {
				case <-changes.Told:
				case <-patient:
					t.Fatal("nobody was told")
				}
				// A step on the way may be told of, too.
				if text, err := os.ReadFile(dir + "/deny.yaml"); err == nil && string(text) == changed {
					break
				}
			}
			// And once more, wherever it is now.
			must(t, os.WriteFile(dir+"/deny.yaml", []byte("# again"), 0o600))
			for again := false; !again; {
				select {
				case <-changes.Told:
					text, err := os.ReadFile(dir + "/deny.yaml")
					again = err == nil && string(text) == "# again"
				case <-patient:
					t.Fatal("nobody was told of the second change")
				}
			}
			cancel()
			for open := true; open; {
				select {
				case _, open = <-changes.Told:
				case <-patient:
					t.Fatal("it does not end")
				}
			}
		})
	}
}

// Half a file must not be in force: its first lines are rules, too.
func TestAFileThatIsBeingWrittenIsNotTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "deny.yaml")
	must(t, os.WriteFile(path, []byte("#"), 0o600))
	w, err := newWatcher(path)
	must(t, err)
	defer w.file.Close()
	// until reads up to the event of a name, and reports whether one of them matters.
	until := func(name string) (matters bool) {
		must(t, w.file.SetReadDeadline(time.Now().Add(patience)))
		for buffer := make([]byte, 4096); ; {
			n, err := w.file.Read(buffer)
			must(t, err)
			matters = matters || w.matters(buffer[:n])
			if bytes.Contains(buffer[:n], []byte(name)) {
				return matters
			}
		}
	}
	for _, flags := range []int{os.O_TRUNC, os.O_CREATE} {
		if flags == os.O_CREATE {
			must(t, os.Remove(path))
			if !until("deny.yaml") {
				t.Error("its removal does not matter")
			}
		}
		file, err := os.OpenFile(path, os.O_WRONLY|flags, 0o600)
		must(t, err)
		_, err = file.WriteString("subjects:")
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "marker"), nil, 0o600))
		if until("marker") {
			t.Error("half a file matters, or a neighbour does")
		}
		if !w.writing.Load() {
			t.Error("it is not known that it is being written")
		}
		must(t, os.Remove(filepath.Join(dir, "marker")))
		must(t, file.Close())
		if !until("deny.yaml") {
			t.Error("a whole file does not matter")
		}
		if w.writing.Load() {
			t.Error("it is being written for ever")
		}
	}
}

func TestAPathThatCannotBeWatched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.Symlink("loop", dir+"/loop"))
	for _, path := range []string{dir + "/loop", dir + "/absent/deny.yaml", dir + "/../..//" + filepath.Base(dir)} {
		// It need not succeed, but it ends.
		ctx, cancel := context.WithCancel(t.Context())
		changes, err := Watch(ctx, path)
		cancel()
		if err != nil {
			continue
		}
		for range changes.Told {
		}
	}
}

// The whole way: a list follows its file by being told.
func TestAListFollowsItsWatch(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deny.yaml")
	// At once, so that no look at it finds half of it.
	write := func(text string) {
		must(t, os.WriteFile(path+".new", []byte(text), 0o600))
		must(t, os.Rename(path+".new", path))
	}
	write("#")
	read := make(chan error, 10)
	list, err := Open(path, func(err error) { read <- err })
	must(t, err)
	// Changed before anybody watched it.
	write("clients: [one]")
	ctx, cancel := context.WithCancel(t.Context())
	changes, err := Watch(ctx, path)
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- list.Run(ctx, changes) }()
	for i, text := range []string{"", "clients: [two]", "clients: [three]"} {
		if i > 0 {
			write(text)
		}
		select {
		case err := <-read:
			must(t, err)
		case <-time.After(patience):
			t.Fatal("not read")
		}
	}
	if _, denied := list.current.Load().clients["three"]; !denied {
		t.Error("the last change is not in force")
	}
	cancel()
	must(t, <-ended)
}
