package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Remote is mcp-remote, which speaks for clients that can only start programs.
type Remote struct {
	node, script, manifest string
}

// Remote installs mcp-remote. It runs on the Node of Inspector.
func (i Installer) Remote(ctx context.Context) (*Remote, error) {
	inspector, err := i.Inspector(ctx)
	if err != nil {
		return nil, err
	}
	_, modules, err := i.npm(ctx, "remote")
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(modules, "mcp-remote")
	return &Remote{node: inspector.node, script: filepath.Join(dir, "dist", "proxy.js"), manifest: filepath.Join(dir, "package.json")}, nil
}

// Command is what starts the installed mcp-remote.
func (r *Remote) Command() []string { return []string{r.node, r.script} }

// Version is that of the installed one.
func (r *Remote) Version() (string, error) { return version(r.manifest) }

// Command is what starts the installed Inspector.
func (i *Inspector) Command() []string { return []string{i.node, i.script} }

// Version is that of the installed one.
func (i *Inspector) Version() (string, error) {
	modules, _, _ := strings.Cut(i.script, "/@modelcontextprotocol/")
	return version(filepath.Join(modules, "@modelcontextprotocol", "inspector", "package.json"))
}

func version(manifest string) (string, error) {
	data, err := os.ReadFile(manifest)
	if err != nil {
		return "", err
	}
	var m struct{ Version string }
	err = json.Unmarshal(data, &m)
	return m.Version, err
}

// Start runs a command that speaks MCP on its standard streams, such as
// mcp-remote, logs user in when it asks for it, and returns the tools.
func Start(ctx context.Context, environment []string, user Person, command ...string) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = environment
	contain(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	messages, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	logins := make(chan error, 1)
	var said strings.Builder
	go func() {
		defer close(logins)
		asked := false
		for s := bufio.NewScanner(messages); s.Scan(); {
			said.WriteString(s.Text() + "\n")
			// The address stands alone on the line after the question.
			if asked && strings.HasPrefix(s.Text(), "http") {
				asked = false
				if err := login(ctx, user, s.Text()); err != nil {
					logins <- err
					cancel()
				}
			}
			asked = asked || strings.Contains(s.Text(), "authorize this client by visiting")
		}
	}()
	tools, err := listTools(in, out)
	cancel()
	loginErr := <-logins
	for range logins { // until it has said all
	}
	_ = cmd.Wait() // it was told to end
	if loginErr != nil {
		err = loginErr
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", command[0], err, said.String())
	}
	return tools, nil
}

// listTools speaks MCP as far as tools/list (MCP 2025-11-25, lifecycle).
func listTools(in io.Writer, out io.Reader) ([]string, error) {
	answers := bufio.NewScanner(out)
	answers.Buffer(nil, 16<<20)
	ask := func(id int, method, params string) (json.RawMessage, error) {
		if _, err := fmt.Fprintf(in, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`+"\n", id, method, params); err != nil {
			return nil, err
		}
		for answers.Scan() {
			var answer struct {
				ID     int
				Result json.RawMessage
			}
			if json.Unmarshal(answers.Bytes(), &answer) == nil && answer.ID == id && answer.Result != nil {
				return answer.Result, nil
			}
		}
		return nil, fmt.Errorf("no answer to %s: %w", method, io.ErrUnexpectedEOF)
	}
	if _, err := ask(1, "initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"a program starter","version":"1"}}`); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(in, `{"jsonrpc":"2.0","method":"notifications/initialized"}`+"\n"); err != nil {
		return nil, err
	}
	result, err := ask(2, "tools/list", `{}`)
	if err != nil {
		return nil, err
	}
	var list struct{ Tools []struct{ Name string } }
	if err := json.Unmarshal(result, &list); err != nil {
		return nil, err
	}
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	return names, nil
}
