package ops_test

import (
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/ops"
)

func TestHealthcheckAsksTheFirstLocalListener(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ops")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var ready ops.Ready
	server := httptest.NewUnstartedServer(ops.Handler(ops.NewMetrics("v1", "abc"), &ready))
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)

	c := ops.Healthcheck{OpsListen: "192.0.2.1:9102, unix:" + path + ",127.0.0.1:1"}
	if err := c.Run(); err == nil || !strings.Contains(err.Error(), "not ready") {
		t.Errorf("before it is ready: %v", err)
	}
	ready.Store(true)
	if err := c.Run(); err != nil {
		t.Errorf("once it is: %v", err)
	}
	for _, none := range []string{"0.0.0.0:9102", "192.0.2.1:1,[::]:2", "nowhere", ""} {
		c.OpsListen = none
		if err := c.Run(); err == nil || !strings.HasPrefix(err.Error(), "MCPBACKEND_OPS_LISTEN ") {
			t.Errorf("%q: %v", none, err)
		}
	}
}
