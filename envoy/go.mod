module github.com/neonpanel/mcp-gateway/envoy

go 1.26
