package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/neonpanel/mcp-gateway/e2e/internal/ports"
)

// Inspector is the command line of MCP Inspector. Each of its operations is a
// process of its own; what it has obtained from the login it keeps in its home
// directory, which is fresh for every session.
type Inspector struct {
	node, script string
}

// Name implements Client.
func (i *Inspector) Name() string { return "Inspector CLI" }

type inspectorSession struct {
	*Inspector
	url  string
	era  Era
	user Person
	home string
	// logins counts how often the user was sent to the browser.
	logins int
	tools  []string
}

// Open implements Client.
func (i *Inspector) Open(ctx context.Context, url string, era Era, user Person) (Session, error) {
	home, err := os.MkdirTemp("", "inspector-")
	if err != nil {
		return nil, err
	}
	s := &inspectorSession{Inspector: i, url: url, era: era, user: user, home: home}
	out, err := s.run(ctx, "--method", "tools/list")
	if err != nil {
		os.RemoveAll(home)
		return nil, err
	}
	var list struct {
		Tools []struct {
			Name string `json:"name"`
		} `json:"tools"`
	}
	if err := decode(out, &list); err != nil {
		os.RemoveAll(home)
		return nil, err
	}
	for _, tool := range list.Tools {
		s.tools = append(s.tools, tool.Name)
	}
	return s, nil
}

// Protocol is not known: the command line does not print it.
func (s *inspectorSession) Protocol() string { return "" }
func (s *inspectorSession) Tools() []string  { return s.tools }
func (s *inspectorSession) Close() error     { return os.RemoveAll(s.home) }

func (s *inspectorSession) Call(ctx context.Context, tool string, arguments map[string]any) (Result, error) {
	data, err := json.Marshal(arguments)
	if err != nil {
		return Result{}, err
	}
	if arguments == nil {
		data = []byte("{}")
	}
	out, err := s.run(ctx, "--method", "tools/call", "--tool-name", tool, "--tool-args-json", string(data))
	if err != nil {
		return Result{}, err
	}
	var result Result
	return result, decode(out, &result)
}

// decode reads the output of --format json, with or without the envelope that
// some methods put around a result.
func decode(out []byte, v any) error {
	var envelope struct {
		Result json.RawMessage `json:"result"`
	}
	if json.Unmarshal(out, &envelope) == nil && len(envelope.Result) > 0 {
		out = envelope.Result
	}
	if err := json.Unmarshal(out, v); err != nil {
		return fmt.Errorf("Inspector wrote %q: %w", out, err)
	}
	return nil
}

// run runs one operation, and plays the user when Inspector asks for one.
func (s *inspectorSession) run(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Parallel sessions need a callback port each.
	callback, err := ports.Free()
	if err != nil {
		return nil, err
	}
	defer callback.Release()
	common := []string{s.script, "--cli", "--server-url", s.url, "--format", "json",
		"--callback-url", "http://" + callback.Address() + "/oauth/callback"}
	switch s.era {
	case Modern:
		common = append(common, "--transport", "http", "--protocol-era", "modern")
	case Legacy:
		common = append(common, "--transport", "http", "--protocol-era", "legacy")
	case SSE:
		common = append(common, "--transport", "sse")
	}
	cmd := exec.CommandContext(ctx, s.node, append(common, args...)...)
	cmd.Env = []string{
		"HOME=" + s.home,
		"PATH=" + filepath.Dir(s.node) + ":/usr/bin:/bin",
		"MCP_STORAGE_DIR=" + filepath.Join(s.home, "storage"),
		"MCP_INSPECTOR_SECRET_STORE=file",
		// It takes a user without a terminal to be none unless told so; the
		// browser that it then starts is one that does nothing.
		"MCP_AUTO_OPEN_ENABLED=true",
		"BROWSER=true",
	}
	contain(cmd)
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var messages bytes.Buffer
	var loginErr error
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		messages.WriteString(line + "\n")
		_, url, found := strings.Cut(line, "Please navigate to: ")
		if !found {
			continue
		}
		s.logins++
		if loginErr = login(ctx, s.user, strings.TrimSpace(url)); loginErr != nil {
			cancel()
		}
	}
	err = cmd.Wait()
	if loginErr != nil {
		return nil, loginErr
	}
	// A tool result with isError ends with a status of its own, and is printed.
	if err != nil && stdout.Len() == 0 {
		return nil, fmt.Errorf("Inspector: %w\n%s", err, messages.String())
	}
	return stdout.Bytes(), nil
}
