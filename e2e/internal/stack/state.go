package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
)

const stateName = "state.json"

// State is what a running stack tells other commands of the same user.
type State struct {
	PID     int    `json:"pid"`
	URL     string `json:"url"`
	Issuer  string `json:"issuer"`
	Control string `json:"control"` // path of the sandbox's control socket
	Logs    string `json:"logs"`
}

// write replaces the file in one step, readable by its owner only.
func (s State) write(path string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return nil
}

// ErrNotRunning means that no stack runs from the state directory.
var ErrNotRunning = errors.New("no gateway is running here: start one with `make run` and try again")

// Find returns the state of the stack that listens on port under the state
// directory, or, when port is 0, of the only one that runs.
func Find(stateDir string, port int) (State, error) {
	entries, err := os.ReadDir(stateDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return State{}, err
	}
	running := map[int]State{}
	var ports []int
	for _, entry := range entries {
		n, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join(stateDir, entry.Name(), stateName))
		if err != nil {
			continue
		}
		var s State
		if json.Unmarshal(data, &s) != nil {
			continue
		}
		if !(&Sandbox{socket: s.Control}).alive() {
			continue // left by a machine that lost power
		}
		running[n] = s
		ports = append(ports, n)
	}
	sort.Ints(ports)
	switch {
	case len(ports) == 0:
		return State{}, ErrNotRunning
	case port != 0:
		if s, ok := running[port]; ok {
			return s, nil
		}
		return State{}, fmt.Errorf("no gateway is running on port %d (running: %v)", port, ports)
	case len(ports) > 1:
		return State{}, fmt.Errorf("several gateways are running, on ports %v: say which with PORT=", ports)
	}
	return running[ports[0]], nil
}
