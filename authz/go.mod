module github.com/neonpanel/mcp-gateway/authz

go 1.26
