module github.com/neonpanel/mcp-gateway/sandbox

go 1.26
