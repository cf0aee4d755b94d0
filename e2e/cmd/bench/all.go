package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// allCmd makes every measurement in a process of its own, so that none finds
// the heap of another.
type allCmd struct {
	common
}

func (c *allCmd) Run(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range []string{"start", "check", "edge", "backend"} {
		args := []string{name, "--rounds", fmt.Sprint(c.Rounds), "--timeout", c.Timeout.String()}
		if c.Bin != "" {
			args = append(args, "--bin", c.Bin)
		}
		cmd := exec.CommandContext(ctx, self, args...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		// It stops what it started.
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 20 * time.Second
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
