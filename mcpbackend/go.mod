module github.com/neonpanel/mcp-gateway/mcpbackend

go 1.26
