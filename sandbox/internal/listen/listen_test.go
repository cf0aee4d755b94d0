package listen_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/listen"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for address, want := range map[string][2]bool{ // without and with remote
		"127.0.0.1:0": {true, true}, "[::1]:80": {true, true}, "localhost:80": {true, true}, "unix:/x": {true, true},
		"0.0.0.0:80": {false, true}, ":80": {false, true}, "example.com:80": {false, true},
		"unix:x": {false, false}, "unix:": {false, false}, "127.0.0.1": {false, false}, "": {false, false},
	} {
		for i, remote := range []bool{false, true} {
			if got := listen.Check(address, remote) == nil; got != want[i] {
				t.Errorf("%q, remote %v: %v", address, remote, got)
			}
		}
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	address := "unix:" + path
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()

	l, err := listen.On(t.Context(), address)
	if err != nil {
		t.Fatalf("a stale socket stands in the way: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := listen.On(t.Context(), address); err == nil {
		t.Error("a socket in use was taken over")
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })}
	go srv.Serve(l)
	client, base := listen.Client(address, time.Minute)
	response, err := client.Get(base + "/x")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if string(body) != "hello" {
		t.Errorf("got %q", body)
	}
	srv.Close()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays behind: %v", err)
	}

	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen.On(t.Context(), address); err == nil {
		t.Error("a plain file was removed")
	}
}
