package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/config"
)

// Listen opens a listener. On a unix socket it replaces a stale one, lets the
// group in (0660), and removes the socket at the end.
func Listen(a config.Address) (net.Listener, error) {
	if a.Network != "unix" {
		l, err := net.Listen(a.Network, a.Address)
		if err != nil {
			return nil, fmt.Errorf("listening on %s: %w", a.Address, err)
		}
		return l, nil
	}
	if err := removeStale(a.Address); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", a.Address)
	if err != nil {
		return nil, fmt.Errorf("listening on unix:%s: %w", a.Address, err)
	}
	if err := os.Chmod(a.Address, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("letting the group into unix:%s: %w", a.Address, err), l.Close())
	}
	return l, nil
}

// removeStale removes a socket that nobody listens on any more.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at unix:%s: %w", path, err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("unix:%s: there is a file that is no socket; remove it or listen elsewhere", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close() // it only proves that somebody listens
		return fmt.Errorf("unix:%s: another process listens there", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the stale unix:%s: %w", path, err)
	}
	return nil
}
