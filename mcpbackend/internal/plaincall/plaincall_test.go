package plaincall

import (
	"net/http"
	"testing"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/toolcall"
)

// Programs that see nothing but the status must not take what NeonPanel or a
// caller did for a fault of the gateway.
func TestOnlyAFaultOfOursIsOne(t *testing.T) {
	t.Parallel()
	for kind, want := range map[toolcall.FailureKind]int{
		toolcall.InvalidArguments: http.StatusBadRequest,
		toolcall.Forbidden:        http.StatusForbidden,
		toolcall.NotFound:         http.StatusNotFound,
		toolcall.Rejected:         http.StatusUnprocessableEntity,
		toolcall.RateLimited:      http.StatusTooManyRequests,
		toolcall.Unavailable:      http.StatusBadGateway,
		toolcall.Timeout:          http.StatusGatewayTimeout,
		toolcall.Canceled:         http.StatusGatewayTimeout,
		toolcall.Internal:         http.StatusInternalServerError,
	} {
		if got := status(kind); got != want {
			t.Errorf("%s: %d, want %d", kind, got, want)
		}
	}
}
