//go:build redis

package replicas

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/mtlstest"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/redistest"
)

func connect(t *testing.T, o Options) *Redis {
	t.Helper()
	o.Timeout = 30 * time.Second // here the machine may be busy
	o.Log = slog.New(slog.DiscardHandler)
	r, err := NewRedis(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestPostFindsRedisAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var all []*Post
	for range 2 {
		p := NewPost(connect(t, Options{Address: server.Address}), shared, slog.New(slog.DiscardHandler), time.Now)
		p.Handle("echo", func(_ context.Context, question []byte) []byte { return question })
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { p.Run(ctx) })
		t.Cleanup(func() { cancel(); running.Wait() })
		all = append(all, p)
	}
	ask := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		answer, err := all[0].Ask(ctx, all[1].Name(), "echo", []byte(strings.Repeat("x", 1<<20)))
		if err == nil && len(answer) != 1<<20 {
			t.Errorf("%d bytes came back", len(answer))
		}
		return err
	}
	if err := ask(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if err := ask(time.Second); !errors.Is(err, ErrSilent) {
		t.Errorf("without Redis: %v", err)
	}
	again := make(chan error, 1)
	go func() { again <- ask(30 * time.Second) }() // it was asked before Redis is back
	server.Again()
	if err := <-again; err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestRedisOverTLSWithAPassword: the TLS is that of a proxy, for not every Redis
// is built with its own.
func TestRedisOverTLSWithAPassword(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	plain := connect(t, Options{Address: server.Address})
	if _, err := plain.Do(t.Context(), "ACL", "SETUSER", "gateway", "on", ">p@ss", "~neonpanel:mcp:*", "&neonpanel:mcp:*", "+eval", "+evalsha", "+get", "+set",
		"+hget", "+hmget", "+hset", "+exists", "+del", "+pexpire", "+pttl", "+time", "+publish", "+subscribe", "+ping", "+select", "+client"); err != nil {
		t.Fatal(err)
	}
	authority := mtlstest.New(t)
	issued := authority.Issue(t, []string{"127.0.0.1"})
	certificate, err := tls.X509KeyPair(issued.Chain, issued.Key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", server.Address)
			if err != nil {
				_ = c.Close()
				continue
			}
			go func() { _, _ = io.Copy(to, c); _ = to.Close() }()
			go func() { _, _ = io.Copy(c, to); _ = c.Close() }()
		}
	}()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, authority.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	good := Options{Address: l.Addr().String(), TLS: true, CAFile: file, Username: "gateway", Password: "p@ss", Database: 3}
	r := connect(t, good)
	if _, err := r.Do(t.Context(), "SET", "neonpanel:mcp:x", "1"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(t.Context(), NewScript(1, "return redis.call('GET', KEYS[1])"), "neonpanel:mcp:x"); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Options){
		"without its authority": func(o *Options) { o.CAFile = "" },
		"in clear":              func(o *Options) { o.TLS = false },
		"with a wrong password": func(o *Options) { o.Password = "x" },
	} {
		bad := good
		change(&bad)
		if _, err := connect(t, bad).Do(t.Context(), "GET", "neonpanel:mcp:x"); err == nil {
			t.Errorf("%s: let in", name)
		} else if strings.Contains(err.Error(), "p@ss") {
			t.Errorf("%s: the password is told: %v", name, err)
		}
	}
	if _, err := r.Do(t.Context(), "GET", "elsewhere"); err == nil {
		t.Error("the user may read what is not the gateway's")
	}
}
