package clients

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Installer puts pinned clients into a cache directory. What is there is used
// again as long as the pins are the same.
type Installer struct {
	// Source is the directory with the pins: a directory for each client.
	Source string
	// Cache is where the clients go.
	Cache string
	// Progress, when set, is told what is fetched.
	Progress func(format string, args ...any)
}

// Python installs the Python MCP SDK.
func (i Installer) Python(ctx context.Context) (*Python, error) {
	executable, lib, err := i.pip(ctx, "python")
	if err != nil {
		return nil, err
	}
	return &Python{executable: executable, lib: lib, script: filepath.Join(i.Source, "python", "client.py")}, nil
}

// Kubernetes installs the schemas of Kubernetes' objects, with their validator.
func (i Installer) Kubernetes(ctx context.Context) (*Kubernetes, error) {
	executable, lib, err := i.pip(ctx, "kubernetes")
	if err != nil {
		return nil, err
	}
	return &Kubernetes{executable: executable, lib: lib}, nil
}

// pip installs what the requirements in the directory of that name pin, and
// returns a Python and the directory of the packages. No virtual environment is
// needed, so that Debian's Python without its venv package is enough.
func (i Installer) pip(ctx context.Context, name string) (executable, lib string, err error) {
	// The executable behind shims of version managers, which need an
	// environment that the client does not get.
	out, err := exec.CommandContext(ctx, "python3", "-c", "import sys; print(sys.executable); print('%d.%d' % sys.version_info[:2])").Output()
	if err != nil {
		return "", "", fmt.Errorf("the %s client needs python3 (3.10 or later) with pip: %w", name, err)
	}
	executable, version, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	requirements := filepath.Join(i.Source, name, "requirements.txt")
	lib, err = i.install(ctx, name, version, []string{requirements}, func(dir string) *exec.Cmd {
		return exec.CommandContext(ctx, executable, "-m", "pip", "install",
			"--require-hashes", "--only-binary", ":all:", "--no-deps", "--target", dir,
			"--disable-pip-version-check", "--no-warn-script-location", "--quiet", "-r", requirements)
	})
	return executable, lib, err
}

// Inspector installs MCP Inspector and a Node that is new enough for it.
func (i Installer) Inspector(ctx context.Context) (*Inspector, error) {
	node, modules, err := i.npm(ctx, "node")
	if err != nil {
		return nil, err
	}
	return &Inspector{node: node, script: filepath.Join(modules, "@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js")}, nil
}

// npm installs what the lock file in the directory of that name pins, and
// returns the Node among it and the directory of the modules.
func (i Installer) npm(ctx context.Context, name string) (node, modules string, err error) {
	manifest := filepath.Join(i.Source, name, "package.json")
	lock := filepath.Join(i.Source, name, "package-lock.json")
	dir, err := i.install(ctx, name, runtime.GOARCH, []string{manifest, lock}, func(dir string) *exec.Cmd {
		for _, file := range []string{manifest, lock} {
			data, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o600)
			}
			if err != nil {
				return &exec.Cmd{Err: err}
			}
		}
		cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
		cmd.Dir = dir
		return cmd
	})
	if err != nil {
		return "", "", err
	}
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	modules = filepath.Join(dir, "node_modules")
	return filepath.Join(modules, "node-linux-"+arch, "bin", "node"), modules, nil
}

// install runs command in a fresh directory and moves it into place when it
// has succeeded, so that a directory that exists is complete. Other processes
// that want the same wait.
func (i Installer) install(ctx context.Context, name, variant string, pins []string, command func(dir string) *exec.Cmd) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, variant)
	for _, pin := range pins {
		data, err := os.ReadFile(pin)
		if err != nil {
			return "", err
		}
		sum.Write(data)
	}
	dir := filepath.Join(i.Cache, name+"-"+hex.EncodeToString(sum.Sum(nil))[:16])
	if err := os.MkdirAll(i.Cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close() // releases the lock too
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if i.Progress != nil {
		i.Progress("installing the %s client into %s", name, dir)
	}
	for attempt := 1; ; attempt++ {
		err := i.try(name, dir, command)
		if err == nil || attempt == attempts || ctx.Err() != nil {
			return dir, err
		}
		if i.Progress != nil {
			i.Progress("%v\ntrying again in %s", err, pause)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return "", err
		}
	}
}

// A registry may be out of reach, or break off, for a moment.
const (
	attempts = 4
	pause    = 10 * time.Second
)

func (i Installer) try(name, dir string, command func(dir string) *exec.Cmd) error {
	fresh, err := os.MkdirTemp(i.Cache, name+"-new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	if out, err := command(fresh).CombinedOutput(); err != nil {
		return fmt.Errorf("installing the %s client: %w\n%s", name, err, out)
	}
	return os.Rename(fresh, dir)
}
