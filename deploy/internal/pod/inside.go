//go:build linux

package pod

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// insideVariable carries what a process is to become.
const insideVariable = "NEONPANEL_DEPLOY_CONTAINER"

type mount struct {
	From, To string
	ReadOnly bool
}

type inside struct {
	Root                               string
	Files                              map[string]string
	Mounts                             []mount
	Words, Env                         []string
	User, Group, Extra                 int
	ReadOnly, NoNewPrivileges, DropAll bool
}

func lockThread() { runtime.LockOSThread() }

// Become turns this process into a container's, if it was started as one, and
// does not return then. A program that runs pods calls it first.
func Become() {
	text := os.Getenv(insideVariable)
	if text == "" {
		return
	}
	var in inside
	err := json.Unmarshal([]byte(text), &in)
	if err == nil {
		err = in.run()
	}
	fmt.Fprintln(os.Stderr, "container:", err)
	os.Exit(126)
}

func (in inside) run() error {
	lockThread() // rights are a thread's own; the one that asks is the one that becomes
	if err := in.mount(); err != nil {
		return err
	}
	if err := errors.Join(unix.Chroot(in.Root), os.Chdir("/")); err != nil {
		return err
	}
	if in.DropAll {
		for capability := range uintptr(unix.CAP_LAST_CAP + 1) {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("dropping capability %d: %w", capability, err)
			}
		}
	}
	if err := errors.Join(unix.Setgroups([]int{in.Extra}), unix.Setresgid(in.Group, in.Group, in.Group), unix.Setresuid(in.User, in.User, in.User)); err != nil {
		return err
	}
	if in.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	unix.Umask(0o022)
	return fmt.Errorf("%s: %w", in.Words[0], unix.Exec(in.Words[0], in.Words, in.Env))
}

// mount puts the root together, in a mount namespace that nobody else sees.
func (in inside) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := os.MkdirAll(in.Root, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", in.Root, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	all := []mount{{From: "/proc", To: "/proc", ReadOnly: true}}
	for _, device := range []string{"null", "zero", "random", "urandom"} {
		all = append(all, mount{From: "/dev/" + device, To: "/dev/" + device})
	}
	for to, from := range in.Files {
		all = append(all, mount{From: from, To: to, ReadOnly: true})
	}
	slices.SortFunc(all, func(a, b mount) int { return len(a.To) - len(b.To) }) // parents first
	for _, m := range append(all, in.Mounts...) {
		if err := in.bind(m); err != nil {
			return fmt.Errorf("%s at %s: %w", m.From, m.To, err)
		}
	}
	if err := os.Symlink("/proc/self/fd", filepath.Join(in.Root, "dev/fd")); err != nil {
		return err
	}
	if !in.ReadOnly {
		return nil
	}
	return unix.Mount("", in.Root, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

func (in inside) bind(m mount) error {
	info, err := os.Stat(m.From)
	if err != nil {
		return err
	}
	to := filepath.Join(in.Root, m.To)
	if info.IsDir() {
		err = os.MkdirAll(to, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
		err = os.WriteFile(to, nil, 0o600)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(m.From, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if m.ReadOnly {
		return unix.Mount("", to, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}
	return nil
}

// Loopback brings up the loopback interface of a new network namespace.
func Loopback() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}
