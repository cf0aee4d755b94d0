module github.com/neonpanel/mcp-gateway/e2e

go 1.26
