// Package command holds what the envoyconf command can be told to do.
package command

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"github.com/neonpanel/mcp-gateway/envoy/internal/bootstrap"
	"github.com/neonpanel/mcp-gateway/envoy/internal/diff"
	"github.com/neonpanel/mcp-gateway/envoy/internal/lint"
	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
	"github.com/neonpanel/mcp-gateway/envoy/internal/yamlpb"
)

const header = `# Envoy bootstrap of the NeonPanel MCP gateway, written by "envoyconf render" from its settings.
# Change the settings and render again instead of editing; "envoyconf check" tells what an edit breaks.
`

// Render writes the bootstrap.
type Render struct {
	settings.Settings
	Output string `short:"o" default:"-" placeholder:"FILE" help:"File to write, replaced in one step; - is standard output (${default})."`
}

// Run renders, checks the result against every rule, and only then writes.
func (c *Render) Run(stdout io.Writer) error {
	edge, err := c.Parse()
	if err != nil {
		return err
	}
	tree, err := bootstrap.New(edge)
	if err != nil {
		return err
	}
	if err := lint.Check(tree); err != nil {
		return fmt.Errorf("these settings make a bootstrap that breaks a rule:\n%w", err)
	}
	text, err := yamlpb.Marshal(tree)
	if err != nil {
		return err
	}
	if err := writeSecrets(edge); err != nil {
		return fmt.Errorf("EDGE_TLS_SDS, EDGE_UPSTREAM_TLS_SDS: %w", err)
	}
	return write(c.Output, append([]byte(header), text...), stdout)
}

const rateLimitHeader = `# Limits of the NeonPanel MCP gateway for envoyproxy/ratelimit, written by "envoyconf ratelimit" from
# the settings that "envoyconf render" takes. Change the settings and write it again.
`

// RateLimit writes the configuration of the rate limit service.
type RateLimit struct {
	settings.Settings
	Output string `short:"o" default:"-" placeholder:"FILE" help:"File to write, replaced in one step; - is standard output (${default})."`
}

// Run writes what belongs to the bootstrap of the same settings.
func (c *RateLimit) Run(stdout io.Writer) error {
	edge, err := c.Parse()
	if err != nil {
		return err
	}
	text, err := bootstrap.RateLimitService(edge)
	if err != nil {
		return err
	}
	return write(c.Output, append([]byte(rateLimitHeader), text...), stdout)
}

func write(file string, text []byte, stdout io.Writer) error {
	if file == "-" {
		_, err := stdout.Write(text)
		return err
	}
	return writeFile(file, text)
}

func writeSecrets(edge settings.Edge) error {
	files, err := bootstrap.Secrets(edge)
	if err != nil {
		return err
	}
	for path, resource := range files {
		text, err := yamlpb.Marshal(resource)
		if err != nil {
			return err
		}
		if err := writeFile(path, text); err != nil {
			return err
		}
	}
	return nil
}

// writeFile replaces the file in one step, for Envoy may be reading it. It holds no secret.
func writeFile(path string, text []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	if _, err := temporary.Write(text); err != nil {
		return err
	}
	if err := temporary.Chmod(0o644); err != nil {
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// Check judges a bootstrap, edited by hand or not.
type Check struct {
	File string `arg:"" type:"existingfile" help:"Bootstrap in YAML or JSON."`
}

// Run prints OK, or returns every finding.
func (c *Check) Run(stdout io.Writer) error {
	tree, err := read(c.File)
	if err != nil {
		return err
	}
	if err := lint.Check(tree); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: OK\n", c.File)
	return err
}

func read(file string) (*bootstrapv3.Bootstrap, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	tree := &bootstrapv3.Bootstrap{}
	if err := yamlpb.Unmarshal(text, tree); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return tree, nil
}

// Diff says what changes from one bootstrap to another.
type Diff struct {
	Before string `arg:"" type:"existingfile" help:"Bootstrap that is in force."`
	After  string `arg:"" type:"existingfile" help:"Bootstrap that shall be."`
}

// Run prints a line per change, or that there is none.
func (c *Diff) Run(stdout io.Writer) error {
	before, err := read(c.Before)
	if err != nil {
		return err
	}
	after, err := read(c.After)
	if err != nil {
		return err
	}
	lines, err := diff.Compare(before, after)
	if err != nil {
		return err
	}
	if lines == nil {
		lines = []string{"nothing changes"}
	}
	_, err = io.WriteString(stdout, strings.Join(lines, "\n")+"\n")
	return err
}

// Rules lists what Check looks for.
type Rules struct{}

// Run prints one rule per line with its reason.
func (Rules) Run(stdout io.Writer) error {
	_, err := io.WriteString(stdout, lint.Explain())
	return err
}
