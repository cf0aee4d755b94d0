// Package envoy holds the edge: the Envoy bootstrap that readers can look at (bootstrap.yaml, as
// rendered for https://mcp.neonpanel.com with every other setting at its default), and the command
// that renders it.
package envoy

//go:generate go run ./cmd/envoyconf render --public-url https://mcp.neonpanel.com --output bootstrap.yaml
//go:generate go run ./cmd/envoyconf ratelimit --public-url https://mcp.neonpanel.com --output ../deploy/ratelimit/neonpanel-mcp.yaml
