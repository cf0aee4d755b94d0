package clients

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

// Conformance is the suite of the MCP project that tests servers.
type Conformance struct {
	node, script, source string
}

// Conformance installs the suite.
func (i Installer) Conformance(ctx context.Context) (*Conformance, error) {
	node, modules, err := i.npm(ctx, "conformance")
	if err != nil {
		return nil, err
	}
	return &Conformance{
		node: node, script: filepath.Join(modules, "@modelcontextprotocol", "conformance", "dist", "index.js"),
		source: filepath.Join(i.Source, "conformance"),
	}, nil
}

// Run tests the server at url against what a version of MCP requires, and
// returns what the suite printed. It fails when a check fails that is not
// expected to, or passes though it is expected to fail. The suite cannot sign
// in, so url must need no token.
func (c *Conformance) Run(ctx context.Context, url string, version Era, results string) (string, error) {
	arguments := []string{c.script, "server", "--url", url, "--requirements", string(version), "-o", results}
	expected := filepath.Join(c.source, "expected-failures-"+string(version)+".yaml")
	if _, err := os.Stat(expected); err == nil {
		arguments = append(arguments, "--expected-failures", expected)
	}
	out, err := exec.CommandContext(ctx, c.node, arguments...).CombinedOutput()
	return string(out), err
}
