package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/neonpanel/mcp-gateway/e2e/internal/bench"
)

// toolCmd holds the servers that the gateway is compared with and the ones
// that stand still behind it. Each runs as a process of its own, on the
// listener that it was given as file descriptor 3, with Go's default garbage
// collection.
type toolCmd struct {
	Noop  noopCmd  `cmd:""`
	Oidc  oidcCmd  `cmd:""`
	Echo  echoCmd  `cmd:""`
	SDK   sdkCmd   `cmd:"" name:"sdk"`
	Plain plainCmd `cmd:""`
	API   apiCmd   `cmd:"" name:"api"`
}

// startTool runs one of them at the listener.
func startTool(listener net.Listener, env []string, args ...string) (*bench.Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return bench.Start(self, append([]string{"tool"}, args...), env, os.Stderr, listener)
}

// startBeside starts a server to compare with, on a socket in the directory.
func startBeside(dir, name string, args ...string) (*bench.Child, string, error) {
	socket := filepath.Join(dir, name+".sock")
	listener, err := listenUnix(socket)
	if err != nil {
		return nil, "", err
	}
	child, err := startTool(listener, nil, append([]string{name}, args...)...)
	return child, socket, err
}

// listenUnix leaves the socket where it is when the listener is handed on.
func listenUnix(path string) (net.Listener, error) {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	return listener, nil
}

func inherited() (net.Listener, error) { return net.FileListener(os.NewFile(3, "listener")) }

// noopCmd is an ext_authz server that lets everything pass unseen: the floor of
// stock grpc-go.
type noopCmd struct{}

func (*noopCmd) Run() error { return serveCheck(noop{}) }

type noop struct {
	authv3.UnimplementedAuthorizationServer
}

func (noop) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}, nil
}

// oidcCmd is the least that verifies a token: go-oidc, every time, without a
// log, a metric or a cache.
type oidcCmd struct {
	Issuer   string `required:""`
	JWKSURL  string `name:"jwks-url" required:""`
	Audience string `required:""`
}

func (c *oidcCmd) Run() error {
	ctx := context.Background()
	return serveCheck(bare{verifier: oidc.NewVerifier(c.Issuer, oidc.NewRemoteKeySet(ctx, c.JWKSURL), &oidc.Config{
		ClientID: c.Audience, SupportedSigningAlgs: []string{oidc.RS256, oidc.EdDSA},
	})})
}

type bare struct {
	authv3.UnimplementedAuthorizationServer
	verifier *oidc.IDTokenVerifier
}

func (s bare) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	const scheme = "Bearer "
	refuse := &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.Unauthenticated)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{}},
	}
	var raw string
	for _, h := range in.GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		if h.GetKey() == "authorization" && len(h.GetRawValue()) > len(scheme) {
			raw = string(h.GetRawValue()[len(scheme):])
		}
	}
	token, err := s.verifier.Verify(ctx, raw)
	if err != nil {
		return refuse, nil
	}
	var claims struct {
		Scope string `json:"scope"`
	}
	if err := token.Claims(&claims); err != nil || claims.Scope == "" {
		return refuse, nil
	}
	return &authv3.CheckResponse{Status: &rpcstatus.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
		Headers: []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: "x-user", Value: token.Subject},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
	}}}, nil
}

func serveCheck(s authv3.AuthorizationServer) error {
	listener, err := inherited()
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, s)
	return server.Serve(listener)
}

// echoCmd is a backend that gives every request the same answer.
type echoCmd struct{}

func (*echoCmd) Run() error {
	const body = `{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}`
	return serveHTTP(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}))
}

func serveHTTP(h http.Handler) error {
	listener, err := inherited()
	if err != nil {
		return err
	}
	return (&http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}).Serve(listener)
}
