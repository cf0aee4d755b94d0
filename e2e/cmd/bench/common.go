package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/e2e/internal/bench"
)

// common are the flags of every measurement.
type common struct {
	Bin     string        `env:"STACK_BIN" help:"Directory of the binaries (default: that of this one)."`
	Rounds  int           `default:"${rounds}" help:"How often everything is measured, in turns (default: ${default})."`
	Timeout time.Duration `default:"3m" help:"When to give up (default: ${default})."`
}

// prepare checks the flags and bounds the time.
func (c *common) prepare(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if c.Rounds < 1 {
		return nil, nil, fmt.Errorf("--rounds: %d; at least one round is needed", c.Rounds)
	}
	if c.Bin == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, nil, err
		}
		c.Bin = filepath.Dir(self)
	}
	var err error
	if c.Bin, err = filepath.Abs(c.Bin); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("--timeout: not done after %s", c.Timeout))
	return ctx, cancel, nil
}

// show writes the tables, after a line about the machine that they hold for.
func show(tables ...*bench.Table) error {
	fmt.Printf("%s, %s/%s, %d CPUs, load %s\n", time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), load())
	for _, t := range tables {
		if err := t.Print(os.Stdout); err != nil {
			return err
		}
	}
	fmt.Println()
	return nil
}

// load is how busy the machine is, over 1, 5 and 15 minutes (proc(5)).
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	fields := strings.Fields(string(data))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// progress tells whoever waits what happens.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
