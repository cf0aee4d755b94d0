package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/neonpanel/mcp-gateway/authz/internal/bearer"
)

// Command is `authz doctor`.
type Command struct {
	URL        string        `arg:"" help:"What a user types into a connector: https://host/mcp, /sse, or the origin alone."`
	TokenFile  string        `placeholder:"FILE" help:"File with an access token, for the checks that need one. It is sent to the gateway alone."`
	TokenStdin bool          `help:"Read the access token from standard input."`
	StreamTime time.Duration `default:"65s" help:"How long a stream has to stay open; 0 leaves that check out."`
	Timeout    time.Duration `default:"10s" help:"Longest wait for one answer."`
	Limit      time.Duration `default:"2m" help:"Longest time for all checks together, the stream's not counted."`
	CAFile     string        `name:"ca-file" placeholder:"FILE" help:"Certificate authorities in PEM that count beside the system's."`
	Proxy      string        `placeholder:"URL" help:"HTTP proxy; those of the environment are ignored."`
	JSON       bool          `name:"json" help:"Print one JSON document instead of lines."`
}

// Help is the long part of --help.
func (c *Command) Help() string {
	return "Prints one line for each check: how it ended, what was seen, and how to mend it. " +
		"Exit status: 0 nothing failed, 1 a check failed, 2 the checks could not be made."
}

// status is an error with the exit status of the program.
type status struct {
	code int
	error
}

// ExitCode is asked for by what ends the program.
func (s status) ExitCode() int { return s.code }

// The exit statuses but 0.
const (
	StatusFailed = 1
	StatusUnable = 2
)

// Run examines and prints.
func (c *Command) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return c.run(ctx, os.Stdin, os.Stdout)
}

func (c *Command) run(ctx context.Context, in io.Reader, out io.Writer) error {
	token, err := c.token(in)
	err = errors.Join(err, notNegative("--stream-time", c.StreamTime), positive("--timeout", c.Timeout), positive("--limit", c.Limit))
	if err != nil {
		return status{StatusUnable, err}
	}
	o := Options{
		URL: c.URL, Token: token, StreamTime: c.StreamTime, Timeout: c.Timeout, Limit: c.Limit, CAFile: c.CAFile, Proxy: c.Proxy, Now: time.Now,
	}
	var writing error
	if !c.JSON {
		o.Found = func(f Finding) {
			_, err := fmt.Fprintln(out, f.line())
			writing = errors.Join(writing, err)
		}
	}
	report, err := Run(ctx, o)
	if err != nil {
		return status{StatusUnable, err}
	}
	if c.JSON {
		writing = report.writeJSON(out)
	} else {
		_, err = fmt.Fprintln(out, report.summary())
		writing = errors.Join(writing, err)
	}
	switch {
	case writing != nil:
		return status{StatusUnable, writing}
	case report.Failed() > 0:
		return status{StatusFailed, fmt.Errorf("%d of %d checks failed", report.Failed(), len(report.Checks))}
	}
	return nil
}

// token reads the access token. Its text is in no message.
func (c *Command) token(in io.Reader) (string, error) {
	switch {
	case c.TokenFile != "" && c.TokenStdin:
		return "", errors.New("--token-file and --token-stdin: give one of them")
	case c.TokenFile != "":
		file, err := os.Open(c.TokenFile)
		if err != nil {
			return "", fmt.Errorf("--token-file: %w", err)
		}
		defer file.Close()
		in = file
	case !c.TokenStdin:
		return "", nil
	}
	data, err := io.ReadAll(io.LimitReader(in, 2*bearer.MaxSize))
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if found, outcome := bearer.Extract([]string{"Bearer " + token}); outcome != bearer.Found || found != token {
		return "", fmt.Errorf("the token: not one access token of at most %d bytes; give it alone, without the word Bearer", bearer.MaxSize)
	}
	return token, nil
}

func positive(name string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s: %s; allowed: more than 0", name, d)
	}
	return nil
}

func notNegative(name string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("%s: %s; allowed: 0 or more", name, d)
	}
	return nil
}
