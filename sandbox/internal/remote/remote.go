// Package remote holds the subcommands that talk to a running sandbox.
package remote

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/control"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/listen"
)

// Whoever needs an answer sooner gives up sooner: a container engine on its health
// check, a person with Ctrl-C.
const timeout = time.Minute

// at is where the running sandbox is controlled.
type at struct {
	ControlListen string `name:"sandbox-control-listen" env:"SANDBOX_CONTROL_LISTEN" default:"127.0.0.1:9091" placeholder:"ADDR" help:"The running sandbox's control listener (default ${default})."`
}

func (a at) call(method, path string, body any) ([]byte, error) {
	if err := listen.Check(a.ControlListen, false); err != nil {
		return nil, fmt.Errorf("SANDBOX_CONTROL_LISTEN: %w", err)
	}
	client, base := listen.Client(a.ControlListen, timeout)
	sent, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(method, base+path, bytes.NewReader(sent))
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no sandbox answers on %s: is it running? (%w)", a.ControlListen, err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		var problem struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(got, &problem) == nil && problem.Error != "" {
			return nil, fmt.Errorf("%s", problem.Error)
		}
		return nil, fmt.Errorf("the sandbox answered %s", response.Status)
	}
	return got, nil
}

// Health is the healthcheck command.
type Health struct {
	at `embed:""`
}

// Run asks the running sandbox whether it is up.
func (h *Health) Run() error {
	_, err := h.call(http.MethodGet, "/healthz", nil)
	return err
}

// Token is the token command.
type Token struct {
	at       `embed:""`
	Account  string  `help:"Whose token: an address (default seller-one@example.com)."`
	Scope    *string `help:"Scopes, separated by spaces; '' for none (default all)."`
	TTL      string  `name:"ttl" help:"Lifetime, such as 90s; a negative one is already over (default 1h)."`
	Kind     string  `help:"jwt, opaque or passport (default jwt)."`
	Resource string  `help:"Audience (default the first of SANDBOX_RESOURCES)."`
	ClientID string  `name:"client-id" help:"OAuth client (default one that the sandbox knows)."`
}

// Run prints a token.
func (t *Token) Run() error {
	got, err := t.call(http.MethodPost, "/token", control.TokenRequest{
		Account: t.Account, Scope: t.Scope, TTL: t.TTL, Kind: t.Kind, Resource: t.Resource, ClientID: t.ClientID,
	})
	if err != nil {
		return err
	}
	var out control.TokenResponse
	if err := json.Unmarshal(got, &out); err != nil {
		return fmt.Errorf("the answer is not the JSON expected: %w", err)
	}
	_, err = fmt.Fprintln(os.Stdout, out.AccessToken)
	return err
}
