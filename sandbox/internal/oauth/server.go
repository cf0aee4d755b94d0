package oauth

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/client"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/config"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/expiring"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/grant"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/journal"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/keys"
	"github.com/neonpanel/mcp-gateway/sandbox/internal/resource"
)

// Options are what the server needs.
type Options struct {
	Issuer    string
	Scopes    []string
	Keys      *keys.Ring
	Clients   *client.Registry
	Grants    *grant.Provider
	Resources *resource.Set
	Quirks    []config.Quirk
	Now       func() time.Time
	Log       *slog.Logger
}

type server struct {
	Options
	pages    *pages
	browsers *expiring.Map[string, browser]
	flows    *expiring.Map[string, flow]
}

// Bounds of what is kept in memory.
const (
	maxBrowsers = 10_000
	maxFlows    = 10_000
)

// New returns the server.
func New(o Options) (http.Handler, error) {
	if o.Issuer == "" || o.Keys == nil || o.Clients == nil || o.Grants == nil || o.Resources == nil || o.Now == nil || o.Log == nil {
		return nil, errors.New("oauth: every option is needed")
	}
	doc, err := metadata(o.Issuer, o.Scopes)
	if err != nil {
		return nil, err
	}
	s := &server{
		Options:  o,
		browsers: expiring.New[string, browser](maxBrowsers, o.Now),
		flows:    expiring.New[string, flow](maxFlows, o.Now),
	}
	if s.pages, err = newPages(); err != nil {
		return nil, err
	}

	mux := http.NewServeMux()
	get, post := []string{http.MethodGet}, []string{http.MethodPost}
	for _, path := range []string{metadataPath, openidPath} {
		mux.Handle(path, cors(get, document(func() []byte { return doc })))
	}
	mux.Handle(jwksPath, cors(get, document(o.Keys.JWKS)))
	mux.Handle(registerPath, cors(post, http.HandlerFunc(s.register)))
	mux.Handle(registerPath+"/{id}", cors([]string{http.MethodGet, http.MethodDelete}, http.HandlerFunc(s.manage)))
	mux.Handle(tokenPath, cors(post, http.HandlerFunc(s.token)))
	mux.Handle(revokePath, cors(post, http.HandlerFunc(s.revoke)))
	mux.Handle(introspectPath, only(post, http.HandlerFunc(s.introspect)))
	mux.Handle(authorizePath, only([]string{http.MethodGet, http.MethodPost}, http.HandlerFunc(s.authorize)))
	mux.HandleFunc("GET "+loginPath, s.showLogin)
	mux.HandleFunc("POST "+loginPath, s.login)
	mux.HandleFunc("GET "+consentPath, s.showConsent)
	mux.HandleFunc("POST "+consentPath, s.consent)
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, "not_found", "Nothing is served here; "+o.Issuer+metadataPath+" lists the endpoints.")
	})
	return mux, nil
}

func (s *server) quirk(q config.Quirk) bool { return slices.Contains(s.Quirks, q) }

// phpError is the page that NeonPanel's framework shows for an uncaught error.
func phpError(w http.ResponseWriter, what string) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(http.StatusInternalServerError)
	io.WriteString(w, "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Server Error</title></head><body><h1>"+what+"</h1><p>/var/www/app/Http/Controllers/OAuthController.php</p></body></html>\n")
}

const maxBody = 64 << 10

// register is RFC 7591 §3, open to everyone.
func (s *server) register(w http.ResponseWriter, r *http.Request) {
	if s.quirk(config.RegisterHTML) {
		phpError(w, "ErrorException: Undefined variable $secretHash")
		return
	}
	if !strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "application/json") {
		s.refuse(w, r, grant.NewError(http.StatusBadRequest, client.InvalidClientMetadata, "The body must be application/json."))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		s.refuse(w, r, grant.NewError(http.StatusBadRequest, client.InvalidClientMetadata, "The body cannot be read, or is bigger than 64 KiB."))
		return
	}
	m, err := client.Parse(body)
	if err != nil {
		var e *client.Error
		if !errors.As(err, &e) {
			e = &client.Error{Code: client.InvalidClientMetadata, Description: "The metadata is not valid."}
		}
		s.refuse(w, r, grant.NewError(http.StatusBadRequest, e.Code, e.Description))
		return
	}
	c, secrets := s.Clients.Register(m)
	journal.Note(r.Context(), func(e *journal.Entry) { e.ClientID = c.ID })
	writeJSON(w, http.StatusCreated, s.clientDocument(c, secrets))
}

// registration is the answer of RFC 7591 §3.2.1 and RFC 7592 §3.
type registration struct {
	ID              string `json:"client_id"`
	IssuedAt        int64  `json:"client_id_issued_at"`
	Secret          string `json:"client_secret,omitempty"`
	SecretExpiresAt *int   `json:"client_secret_expires_at,omitempty"`
	ManagementURI   string `json:"registration_client_uri"`
	ManagementToken string `json:"registration_access_token,omitempty"`
	client.Metadata
}

func (s *server) clientDocument(c client.Client, secrets client.Credentials) registration {
	doc := registration{
		ID:              c.ID,
		IssuedAt:        c.IssuedAt.Unix(),
		Secret:          secrets.Secret,
		ManagementURI:   s.Issuer + registerPath + "/" + c.ID,
		ManagementToken: secrets.RegistrationAccessToken,
		Metadata:        c.Metadata,
	}
	if secrets.Secret != "" {
		doc.SecretExpiresAt = new(int) // 0: never (RFC 7591 §3.2.1)
	}
	return doc
}

// manage is RFC 7592 §2.1 and §2.3. An unknown client and a wrong token look
// the same, as §2 asks.
func (s *server) manage(w http.ResponseWriter, r *http.Request) {
	scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	c, ok := s.Clients.Manage(r.PathValue("id"), strings.TrimSpace(raw))
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		w.Header().Set("WWW-Authenticate", `Bearer realm="neonpanel", error="invalid_token"`)
		s.refuse(w, r, grant.NewError(http.StatusUnauthorized, "invalid_token", "The registration access token is missing or not the one of this client."))
		return
	}
	journal.Note(r.Context(), func(e *journal.Entry) { e.ClientID = c.ID })
	if r.Method == http.MethodDelete {
		s.Clients.Delete(c.ID)
		s.Grants.RevokeClient(c.ID)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	writeJSON(w, http.StatusOK, s.clientDocument(c, client.Credentials{RegistrationAccessToken: strings.TrimSpace(raw)}))
}

// token is RFC 6749 §3.2.
func (s *server) token(w http.ResponseWriter, r *http.Request) {
	if e := grant.Form(w, r); e != nil {
		s.refuse(w, r, e)
		return
	}
	s.noteForm(r)
	if _, _, basic := r.BasicAuth(); basic && !r.PostForm.Has("client_id") && s.quirk(config.BasicHTML) {
		phpError(w, "TypeError: getClientEntity(): Argument #1 ($clientIdentifier) must be of type string, null given")
		return
	}
	issued, e := s.Grants.Token(r)
	if issued.ClientID != "" {
		journal.Note(r.Context(), func(e *journal.Entry) { e.ClientID, e.Subject = issued.ClientID, issued.Subject })
	}
	if e != nil {
		s.refuse(w, r, e)
		return
	}
	writeJSON(w, http.StatusOK, issued.Body)
}

// revoke is RFC 7009 §2.
func (s *server) revoke(w http.ResponseWriter, r *http.Request) {
	if e := grant.Form(w, r); e != nil {
		s.refuse(w, r, e)
		return
	}
	s.noteForm(r)
	if e := s.Grants.Revoke(r); e != nil {
		s.refuse(w, r, e)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// introspect is RFC 7662 §2.
func (s *server) introspect(w http.ResponseWriter, r *http.Request) {
	if e := grant.Form(w, r); e != nil {
		s.refuse(w, r, e)
		return
	}
	s.noteForm(r)
	c, e := s.Grants.Authenticate(r)
	if e != nil {
		s.refuse(w, r, e)
		return
	}
	journal.Note(r.Context(), func(e *journal.Entry) { e.ClientID = c.ID })
	raw := r.PostForm.Get("token")
	if raw == "" {
		s.refuse(w, r, grant.InvalidRequest("token is missing."))
		return
	}
	writeJSON(w, http.StatusOK, s.Grants.Introspect(c, raw))
}

// noteForm records what is not secret in a form. A client id counts only when
// it is one: whatever else stands there may be anything.
func (s *server) noteForm(r *http.Request) {
	form := r.PostForm
	id := form.Get("client_id")
	if id == "" {
		id, _, _ = r.BasicAuth()
	}
	_, known := s.Clients.Get(id)
	resources, err := s.Resources.Resolve(form["resource"])
	journal.Note(r.Context(), func(e *journal.Entry) {
		if known {
			e.ClientID = id
		}
		if g := form.Get("grant_type"); g == "authorization_code" || g == "refresh_token" {
			e.GrantType = g
		}
		if err == nil && form.Has("resource") {
			e.Resource = resources
		}
	})
}

// refuse sends an OAuth error as JSON (RFC 6749 §5.2).
func (s *server) refuse(w http.ResponseWriter, r *http.Request, e *grant.Error) {
	journal.Note(r.Context(), func(entry *journal.Entry) { entry.Error = e.Code })
	if _, _, basic := r.BasicAuth(); basic && e.Status == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="neonpanel"`)
	}
	writeError(w, e.Status, e.Code, e.Description)
}
