package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Sandbox is a client of the control listener of the local NeonPanel.
type Sandbox struct {
	socket string
	client *http.Client
}

// NewSandbox returns a client of the control socket at path.
func NewSandbox(path string) *Sandbox { return &Sandbox{socket: path, client: unixClient(path)} }

// unixClient speaks HTTP over the socket, whatever host a URL names.
func unixClient(socket string) *http.Client {
	return &http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", socket)
			},
			IdleConnTimeout: 5 * time.Second,
		},
	}
}

func (s *Sandbox) alive() bool {
	c, err := net.DialTimeout("unix", s.socket, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// do sends body as JSON and reads the answer into out; either may be nil.
func (s *Sandbox) do(ctx context.Context, method, path string, body, out any) error {
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://sandbox"+path, in)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("the sandbox does not answer on its control socket: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		var problem struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(data, &problem) == nil && problem.Error != "" {
			return fmt.Errorf("the sandbox refused: %s", problem.Error)
		}
		return fmt.Errorf("the sandbox answered %s to %s %s", resp.Status, method, path)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// TokenRequest says which token to mint; an empty field means the sandbox's
// own default.
type TokenRequest struct {
	Account  string `json:"account,omitempty"`
	Scope    string `json:"scope,omitempty"`
	TTL      string `json:"ttl,omitempty"`
	Kind     string `json:"kind,omitempty"`
	Resource string `json:"resource,omitempty"`
	ClientID string `json:"client_id,omitempty"`
}

// Token mints an access token.
func (s *Sandbox) Token(ctx context.Context, r TokenRequest) (string, error) {
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := s.do(ctx, http.MethodPost, "/token", r, &answer); err != nil {
		return "", err
	}
	if answer.AccessToken == "" {
		return "", fmt.Errorf("the sandbox answered without a token")
	}
	return answer.AccessToken, nil
}

// Entry is one request that the sandbox has seen.
type Entry struct {
	Seq       int       `json:"seq"`
	Time      time.Time `json:"time"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Status    int       `json:"status"`
	ClientID  string    `json:"client_id"`
	Subject   string    `json:"subject"`
	Token     string    `json:"token"` // the first 16 hex digits of the SHA-256 of the bearer token
	UserAgent string    `json:"user_agent"`
	Event     string    `json:"event"`
	GrantType string    `json:"grant_type"`
	Resource  []string  `json:"resource"`
	QueryKeys []string  `json:"query_keys"`
}

// Journal returns what the sandbox has seen, oldest first.
func (s *Sandbox) Journal(ctx context.Context) ([]Entry, error) {
	var answer struct {
		Entries []Entry `json:"entries"`
	}
	err := s.do(ctx, http.MethodGet, "/journal", nil, &answer)
	return answer.Entries, err
}

// ClearJournal empties it.
func (s *Sandbox) ClearJournal(ctx context.Context) error {
	return s.do(ctx, http.MethodDelete, "/journal", nil, nil)
}

// Fault makes the sandbox misbehave on a path.
type Fault struct {
	Path       string `json:"path"`
	Method     string `json:"method,omitempty"`
	Kind       string `json:"kind"`
	Delay      string `json:"delay,omitempty"`
	Status     int    `json:"status,omitempty"`
	RetryAfter string `json:"retry_after,omitempty"`
	Location   string `json:"location,omitempty"`
	Times      int    `json:"times,omitempty"`
}

// AddFault adds one.
func (s *Sandbox) AddFault(ctx context.Context, f Fault) error {
	return s.do(ctx, http.MethodPost, "/faults", f, nil)
}

// Taken is how many requests the faults in force have met, those included that
// they hold at the moment.
func (s *Sandbox) Taken(ctx context.Context) (int, error) {
	var list struct {
		Faults []struct {
			Taken int `json:"taken"`
		} `json:"faults"`
	}
	if err := s.do(ctx, http.MethodGet, "/faults", nil, &list); err != nil {
		return 0, err
	}
	taken := 0
	for _, f := range list.Faults {
		taken += f.Taken
	}
	return taken, nil
}

// ClearFaults ends them all.
func (s *Sandbox) ClearFaults(ctx context.Context) error {
	return s.do(ctx, http.MethodDelete, "/faults", nil, nil)
}

// Ledger reads what the books of the sandbox say, at a path below /ledger/. It
// comes from the books, not through the API.
func (s *Sandbox) Ledger(ctx context.Context, path string, out any) error {
	return s.do(ctx, http.MethodGet, "/ledger/"+path, nil, out)
}

// RotateKeys changes the signing keys: next, replace, same_kid or retire.
func (s *Sandbox) RotateKeys(ctx context.Context, mode string) error {
	return s.do(ctx, http.MethodPost, "/keys/rotate", map[string]string{"mode": mode}, nil)
}

// Revoke ends a token at the sandbox.
func (s *Sandbox) Revoke(ctx context.Context, token string) error {
	return s.do(ctx, http.MethodPost, "/tokens/revoke", map[string]string{"token": token}, nil)
}
