// Package listen opens and reaches the sandbox's sockets.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Check says what is wrong with an address: want unix:/path or host:port,
// where the host is loopback unless remote is true.
func Check(address string, remote bool) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("a unix socket needs an absolute path, as in unix:/run/sandbox.sock: %q", address)
		}
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("want host:port or unix:/path: %q", address)
	}
	if remote || Loopback(host) {
		return nil
	}
	return fmt.Errorf("%q is not a loopback address", address)
}

// Loopback reports whether a host name can only mean this machine.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// On opens a listener. A socket file that nobody answers on is removed first.
func On(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return lc.Listen(ctx, "tcp", address)
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("%s exists and is not a socket", path)
		}
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			conn.Close()
			return nil, fmt.Errorf("%s is in use by another process", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the stale socket: %w", err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Client returns a client for an address and the base of its URLs.
func Client(address string, timeout time.Duration) (*http.Client, string) {
	dialer := &net.Dialer{Timeout: timeout}
	transport := &http.Transport{DisableKeepAlives: true}
	base := "http://" + address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		base = "http://sandbox"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
	}
	return &http.Client{Transport: transport, Timeout: timeout}, base
}
