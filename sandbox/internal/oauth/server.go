package oauth

import (
	"errors"
	"net/http"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/keys"
)

// Options are what the server needs.
type Options struct {
	Issuer string
	Scopes []string
	Keys   *keys.Ring
}

// New returns the server.
func New(o Options) (http.Handler, error) {
	if o.Issuer == "" || o.Keys == nil {
		return nil, errors.New("oauth: issuer and keys are needed")
	}
	doc, err := metadata(o.Issuer, o.Scopes)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	get := []string{http.MethodGet}
	for _, path := range []string{metadataPath, openidPath} {
		mux.Handle(path, cors(get, document(func() []byte { return doc })))
	}
	mux.Handle(jwksPath, cors(get, document(o.Keys.JWKS)))
	return mux, nil
}
