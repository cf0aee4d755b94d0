// Package listen opens the listeners of authz. An address is unix:/path or
// host:port, and knows whether anything outside the pod can reach it.
package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Address is a parsed listener address; the zero value is none.
type Address struct{ network, address string }

// socketMode lets Envoy in by its group, and nobody else.
const socketMode = 0o660

// maxPath is the longest path of a Unix socket on Linux, sun_path less its NUL.
const maxPath = 107

// Parse reads unix:/path or host:port. The host is an IP address, since a name
// does not say which interfaces it means.
func Parse(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		switch {
		case !filepath.IsAbs(path):
			return Address{}, errors.New("unix: and an absolute path, such as unix:/run/neonpanel/authz/authz.sock")
		case len(path) > maxPath:
			return Address{}, fmt.Errorf("a socket path of at most %d bytes (this one has %d)", maxPath, len(path))
		}
		return Address{"unix", filepath.Clean(path)}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, errors.New("unix:/path or host:port")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return Address{}, errors.New("a port from 0 to 65535")
	}
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return Address{}, errors.New("a unix: socket or an IP address and a port, such as 127.0.0.1:9000")
	}
	return Address{"tcp", net.JoinHostPort(addr.String(), port)}, nil
}

// String writes the address as it is set.
func (a Address) String() string {
	if a.network == "unix" {
		return "unix:" + a.address
	}
	return a.address
}

// TCP is true of every address but that of a socket.
func (a Address) TCP() bool { return a.network == "tcp" }

// Local is true when only this machine, or this pod, can connect.
func (a Address) Local() bool {
	if !a.TCP() {
		return true
	}
	at, err := netip.ParseAddrPort(a.address)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// Ephemeral is true when the system chooses the port.
func (a Address) Ephemeral() bool {
	return a.network == "tcp" && strings.HasSuffix(a.address, ":0")
}

// Dial connects to what listens at the address.
func (a Address) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, a.network, a.address)
}

// Open starts to listen. A socket that a dead process left behind is removed; a
// live one is not.
func Open(ctx context.Context, a Address) (net.Listener, error) {
	if a.network == "unix" {
		if err := removeStale(ctx, a); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(a.address), 0o750); err != nil {
			return nil, fmt.Errorf("the directory of the socket %s: %w", a.address, err)
		}
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, a.network, a.address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	if a.network == "unix" {
		if err := os.Chmod(a.address, socketMode); err != nil {
			l.Close()
			return nil, fmt.Errorf("the mode of the socket %s: %w", a.address, err)
		}
	}
	return l, nil
}

func removeStale(ctx context.Context, a Address) error {
	info, err := os.Lstat(a.address)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the socket %s: %w", a.address, err)
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("listen on %s: the path exists and is not a socket", a)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := a.Dial(ctx)
	if err == nil {
		conn.Close()
		return fmt.Errorf("listen on %s: another process serves there", a)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("listen on %s: the socket exists, and whether it is in use cannot be told: %w", a, err)
	}
	if err := os.Remove(a.address); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the stale socket %s: %w", a.address, err)
	}
	return nil
}
