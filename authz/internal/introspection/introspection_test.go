package introspection_test

import (
	"testing"

	"github.com/neonpanel/mcp-gateway/authz/internal/introspection"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"active":true,"sub":"46","scope":"a b","exp":1900000000}`))
	f.Add([]byte(`{"active":false}`))
	f.Add([]byte(`{"active":"true"}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		object, err := introspection.Parse(body)
		if err != nil {
			return
		}
		if active := string(object.Get("active")); active != "true" && active != "false" {
			t.Fatalf("active is %s", active)
		}
	})
}
