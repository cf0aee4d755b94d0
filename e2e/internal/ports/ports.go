// Package ports hands out TCP ports of 127.0.0.1, each to one user at a time.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"syscall"
)

// The range is below the one from which the kernel takes the local ports of
// outgoing connections, so that none of them takes a port that waits for its
// listener.
const first, last = 11000, 31000

// Port is claimed: whoever asks this package, in whatever process, gets another
// one until it is released or the process ends.
type Port struct {
	Number int
	claim  net.Listener
}

// Claim claims a port on which nothing listens. Between the look and the use,
// other programs can still take it.
func Claim(number int) (*Port, error) {
	taken := fmt.Errorf("port %d is in use: stop what listens there (an earlier make run may still be there), or choose another with PORT=", number)
	// An abstract socket is claimed by one process alone, and goes with it, however
	// it ends (unix(7)).
	claim, err := net.Listen("unix", "@neonpanel-mcp/port/"+strconv.Itoa(number))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, taken
	}
	p := &Port{Number: number}
	if err == nil {
		p.claim = claim
	}
	l, err := net.Listen("tcp", p.Address())
	if err != nil {
		p.Release()
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("port %d needs root: choose one above 1023 with PORT=", number)
		}
		return nil, taken
	}
	if err := l.Close(); err != nil {
		p.Release()
		return nil, err
	}
	return p, nil
}

// Free claims any port.
func Free() (*Port, error) {
	for range 200 {
		if p, err := Claim(first + rand.IntN(last-first)); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no free port between %d and %d on 127.0.0.1", first, last)
}

// Address is the port with its host.
func (p *Port) Address() string { return "127.0.0.1:" + strconv.Itoa(p.Number) }

// Release gives the port back, again if it has to be.
func (p *Port) Release() {
	if p.claim != nil {
		p.claim.Close()
	}
}
