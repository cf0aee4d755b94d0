package ports

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestAPortIsOneUsersAlone(t *testing.T) {
	t.Parallel()
	p, err := Free()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	busy := fmt.Sprintf("port %d is in use", p.Number)
	if _, err := Claim(p.Number); err == nil || !strings.Contains(err.Error(), busy) {
		t.Errorf("claimed twice: %v", err)
	}
	// Its user can listen on it.
	l, err := net.Listen("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p.Release()
	if _, err := Claim(p.Number); err == nil || !strings.Contains(err.Error(), busy) {
		t.Errorf("claimed while something listens: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Claim(p.Number)
	if err != nil {
		t.Fatalf("given back, but not free: %v", err)
	}
	again.Release()
	again.Release()
}
