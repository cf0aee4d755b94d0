package listen_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/authz/internal/listen"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"unix:/run/neonpanel/authz/authz.sock":  "unix:/run/neonpanel/authz/authz.sock",
		"unix:/run/../run/x.sock":               "unix:/run/x.sock",
		"127.0.0.1:9101":                        "127.0.0.1:9101",
		"localhost:9101":                        "127.0.0.1:9101",
		"[::1]:9101":                            "[::1]:9101",
		"127.0.0.1:0":                           "127.0.0.1:0",
		"unix:relative.sock":                    "",
		"unix:":                                 "",
		"unix:/" + strings.Repeat("a", 107):     "",
		"0.0.0.0:9101":                          "0.0.0.0:9101",
		":9101":                                 "",
		"[::]:9101":                             "[::]:9101",
		"192.0.2.1:9101":                        "192.0.2.1:9101",
		"authz.internal:9101":                   "",
		"127.0.0.1":                             "",
		"127.0.0.1:http":                        "",
		"127.0.0.1:70000":                       "",
		"127.0.0.1:-1":                          "",
		"":                                      "",
		"/run/neonpanel/authz/authz.sock":       "",
		"unix:/" + strings.Repeat("b", 106):     "unix:/" + strings.Repeat("b", 106),
		"tcp://127.0.0.1:9101":                  "",
		"http://127.0.0.1:9101/":                "",
		"127.0.0.1:9101 ":                       "",
		"unix:///run/neonpanel/authz/authz.soc": "unix:/run/neonpanel/authz/authz.soc",
	} {
		got, err := listen.Parse(given)
		if want == "" {
			if err == nil {
				t.Errorf("%q was accepted as %s", given, got)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("%q: %v, %v; want %s", given, got, err, want)
		}
	}
}

func TestLocalIsWhatNobodyElseReaches(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]bool{
		"unix:/run/x.sock": true, "127.0.0.1:1": true, "127.9.9.9:1": true, "localhost:1": true, "[::1]:1": true, "[::ffff:127.0.0.1]:1": true,
		"0.0.0.0:1": false, "[::]:1": false, "192.0.2.1:1": false, "[::ffff:192.0.2.1]:1": false, "[2001:db8::1]:1": false, "[fe80::1%lo]:1": false,
	} {
		a, err := listen.Parse(given)
		if err != nil || a.Local() != want {
			t.Errorf("%s: local %v, %v; want %v", given, a.Local(), err, want)
		}
	}
}

func address(t *testing.T, path string) listen.Address {
	t.Helper()
	a, err := listen.Parse("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := listen.Open(t.Context(), address(t, path))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := address(t, path).Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestALiveSocketIsLeftAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.sock")
	live, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if l, err := listen.Open(t.Context(), address(t, path)); err == nil {
		l.Close()
		t.Fatal("took over a socket that another process serves")
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestAFileIsNeverRemoved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := listen.Open(t.Context(), address(t, path)); err == nil {
		l.Close()
		t.Fatal("a file was taken for a socket")
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestTheDirectoryIsMade(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "authz", "a.sock")
	l, err := listen.Open(t.Context(), address(t, path))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket outlives its listener: %v", err)
	}
}
