package oauth

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/neonpanel/mcp-gateway/sandbox/internal/account"
)

//go:embed pages
var files embed.FS

// page is what the templates show.
type page struct {
	Title, Text          string
	Flow, CSRF           string
	Client               string
	Email, Name, Problem string
	Host                 string
	Local                bool
	Scopes, Resources    []string
	Issuer               string
	Accounts             []account.Account
	Style                template.CSS

	FormAction string // further targets of forms
}

type pages struct {
	templates *template.Template
	style     template.CSS
	styleHash string
}

func newPages() (*pages, error) {
	style, err := files.ReadFile("pages/style.css")
	if err != nil {
		return nil, err
	}
	templates, err := template.ParseFS(files, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("parse the pages: %w", err)
	}
	sum := sha256.Sum256(style)
	return &pages{
		templates: templates,
		style:     template.CSS(style),
		styleHash: base64.StdEncoding.EncodeToString(sum[:]),
	}, nil
}

// show renders a page. It may hold nothing but its own text and one style:
// no script, no picture, no frame around it.
func (s *server) show(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	p.Style = s.pages.style
	p.Accounts = account.All()
	var body bytes.Buffer
	if err := s.pages.templates.ExecuteTemplate(&body, name, p); err != nil {
		s.Log.ErrorContext(r.Context(), "a page cannot be shown", "page", name, "error", err)
		http.Error(w, "The page cannot be shown.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+s.pages.styleHash+"'; form-action "+strings.TrimSpace("'self' "+p.FormAction)+"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	w.Write(body.Bytes())
}

// words says what a scope allows.
func words(scope string) string {
	known := map[string]string{
		"openid":           "Know who you are (your user id, name and email address)",
		"read:inventory":   "See your inventory items and their stock",
		"read:analytics":   "See your analytics",
		"read:companies":   "See your companies and your permissions in them",
		"read:reports":     "See your reports",
		"read:warehouses":  "See your warehouses and what they hold",
		"read:revenue":     "See your revenue",
		"read:cogs":        "See your cost of goods sold",
		"read:landed-cost": "See the landed cost of your items",
		"write:import":     "Import documents, such as bills, into your books",
	}
	if text, ok := known[scope]; ok {
		return text
	}
	return scope
}
