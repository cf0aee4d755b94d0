module github.com/neonpanel/mcp-gateway/sandbox

go 1.26

require (
	github.com/alecthomas/kong v1.17.0
	github.com/go-jose/go-jose/v4 v4.1.8
	github.com/google/uuid v1.6.0
)
