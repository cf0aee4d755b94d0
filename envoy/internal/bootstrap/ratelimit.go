package bootstrap

import (
	"bytes"

	"go.yaml.in/yaml/v3"

	"github.com/neonpanel/mcp-gateway/envoy/internal/settings"
)

// The format of envoyproxy/ratelimit's files, as far as it is needed.
type (
	limitFile struct {
		Domain      string            `yaml:"domain"`
		Descriptors []limitDescriptor `yaml:"descriptors"`
	}
	limitDescriptor struct {
		Key         string            `yaml:"key"`
		Limit       limitRate         `yaml:"rate_limit"`
		Descriptors []limitDescriptor `yaml:"descriptors,omitempty"`
	}
	limitRate struct {
		Unit            string `yaml:"unit"`
		RequestsPerUnit uint64 `yaml:"requests_per_unit"`
	}
)

// RateLimitService is the configuration of the service that counts for all Envoys. Its windows are
// fixed, so they are minutes: within one a user may spend the minute's share as fast as each
// Envoy's own limit lets through.
func RateLimitService(edge settings.Edge) ([]byte, error) {
	perMinute := func(clients uint64) limitRate {
		return limitRate{"minute", 60 * uint64(edge.Subject.PerSecond) * clients}
	}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	err := encoder.Encode(limitFile{Domain: limitDomain, Descriptors: []limitDescriptor{{
		Key: "subject", Limit: perMinute(clientsPerSubject),
		Descriptors: []limitDescriptor{{Key: "client_id", Limit: perMinute(1)}},
	}}})
	if err != nil {
		return nil, err
	}
	return text.Bytes(), encoder.Close()
}
