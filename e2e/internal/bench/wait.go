package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// poll is how often a process is asked whether it is ready.
const poll = time.Millisecond

// Await asks until the answer is 200. A URL is reached through the unix socket
// if one is named, whatever its host.
func Await(ctx context.Context, socket, url string) error {
	transport := &http.Transport{}
	if socket != "" {
		transport = unixTransport(socket)
	}
	transport.DisableKeepAlives = true
	client := &http.Client{Transport: transport}
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		err := ask(ctx, client, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", url, err)
		case <-ticker.C:
		}
	}
}

func ask(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil
}

// Answers waits until something accepts connections at the address.
func Answers(ctx context.Context, network, address string) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing listens at %s: %w", address, err)
		case <-ticker.C:
		}
	}
}
