package explain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
)

// Command is `authz explain`.
type Command struct {
	config.Settings

	File     string   `short:"f" placeholder:"PATH" help:"File that holds the token. Default: standard input. A token is never an argument, because arguments are seen by others and kept in the shell's history."`
	JSON     bool     `help:"Print the report as JSON."`
	Argument []string `arg:"" optional:"" help:"None is taken: a token given here would be refused unread."`
}

// Help is the end of the help text.
func (*Command) Help() string {
	return "Judges the token as the server does, under the same settings, and prints each check in order, with what was seen, " +
		"which setting decided, and what to do. Of a refused token it proposes settings that would accept it, and says what each gives up in safety. " +
		"Neither the signature nor a whole token is printed.\n\n" +
		"Exit status: 0 accepted, 1 refused, 2 cannot tell now (the server would answer 503), 3 wrong usage or settings."
}

// Status is an exit status that says a verdict, with the error that it stands
// for, if any.
type Status struct {
	Code int
	Err  error
}

func (s Status) Error() string {
	if s.Err == nil {
		return ""
	}
	return s.Err.Error()
}

// ExitCode is the exit status.
func (s Status) ExitCode() int { return s.Code }

// The exit statuses.
const (
	StatusRefused = 1
	StatusUnknown = 2
	StatusUsage   = 3
)

// Main runs the command; the error is a Status.
func (c *Command) Main(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	if len(c.Argument) > 0 {
		return Status{StatusUsage, errors.New("a token is never an argument: give it on standard input, or with --file")}
	}
	raw, err := c.token(stdin)
	if err != nil {
		return Status{StatusUsage, err}
	}
	report, err := Explain(ctx, Options{Settings: c.Settings}, raw)
	if err != nil {
		return Status{StatusUsage, err}
	}
	output := report.Text()
	if c.JSON {
		output = report.JSON()
	}
	if _, err := stdout.Write(output); err != nil {
		return Status{StatusUsage, err}
	}
	switch report.Verdict {
	case Accepted:
		return nil
	case Unknown:
		return Status{Code: StatusUnknown}
	}
	return Status{Code: StatusRefused}
}

// maxInput bounds what is read: a token that is too long is still explained.
const maxInput = 1 << 20

func (c *Command) token(stdin io.Reader) (string, error) {
	from := stdin
	if c.File != "" && c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return "", err
		}
		defer file.Close()
		from = file
	}
	data, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxInput {
		return "", fmt.Errorf("more than %d bytes: that is no token", maxInput)
	}
	raw := strings.TrimRight(string(data), "\r\n")
	if raw == "" {
		return "", errors.New("there is no token: give it on standard input, or with --file")
	}
	return raw, nil
}
