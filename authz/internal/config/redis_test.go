package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/neonpanel/mcp-gateway/authz/internal/config"
)

func TestRedis(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("s", 32)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	url, secretFile := file("url", "rediss://gateway:p%40ss@redis.example/3\n"), file("secret", secret+"\n")
	const local = "redis://127.0.0.1:1234"
	for name, test := range map[string]struct {
		set  func(*config.Settings)
		want *config.Redis
		says string
	}{
		"none":              {func(*config.Settings) {}, nil, ""},
		"on loopback":       {func(s *config.Settings) { s.RedisURL, s.RedisSecret = local, secret }, &config.Redis{Address: "127.0.0.1:1234", Secret: secret}, ""},
		"from files":        {func(s *config.Settings) { s.RedisURLFile, s.RedisSecretFile = url, secretFile }, &config.Redis{Address: "redis.example:6379", Username: "gateway", Password: "p@ss", Database: 3, TLS: true, Secret: secret}, ""},
		"no secret":         {func(s *config.Settings) { s.RedisURL = local }, nil, "AUTHZ_REDIS_SECRET: is empty"},
		"short secret":      {func(s *config.Settings) { s.RedisURL, s.RedisSecret = local, "hidden" }, nil, "AUTHZ_REDIS_SECRET"},
		"no URL":            {func(s *config.Settings) { s.RedisSecret = secret }, nil, "AUTHZ_REDIS_URL: is empty"},
		"both forms":        {func(s *config.Settings) { s.RedisURL, s.RedisURLFile, s.RedisSecret = local, url, secret }, nil, "AUTHZ_REDIS_URL_FILE"},
		"no file":           {func(s *config.Settings) { s.RedisURLFile, s.RedisSecret = "/does/not/exist", secret }, nil, "AUTHZ_REDIS_URL_FILE"},
		"another scheme":    {func(s *config.Settings) { s.RedisURL, s.RedisSecret = "http://hidden:hidden@x", secret }, nil, "AUTHZ_REDIS_URL"},
		"a query":           {func(s *config.Settings) { s.RedisURL, s.RedisSecret = local+"?hidden=1", secret }, nil, "neither query"},
		"a user alone":      {func(s *config.Settings) { s.RedisURL, s.RedisSecret = "redis://hidden@127.0.0.1", secret }, nil, "no user without"},
		"no number":         {func(s *config.Settings) { s.RedisURL, s.RedisSecret = local+"/hidden", secret }, nil, "number of a database"},
		"an idle authority": {func(s *config.Settings) { s.RedisURL, s.RedisSecret, s.RedisCAFile = local, secret, secretFile }, nil, "AUTHZ_REDIS_CA_FILE"},
		"nothing to share": {func(s *config.Settings) {
			s.RedisURL, s.RedisSecret, s.IntrospectionClientID, s.IntrospectionClientSecret = local, secret, "", ""
		}, nil, "AUTHZ_INTROSPECTION_CLIENT_ID"},
	} {
		s := least()
		s.IntrospectionClientID, s.IntrospectionClientSecret = "gateway", "x"
		test.set(&s)
		c, err := s.Validate()
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("%s: %v, want %q", name, err, test.says)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(c.Redis, test.want) {
			t.Errorf("%s: %+v %v, want %+v", name, c.Redis, err, test.want)
		}
		if warned := strings.Contains(strings.Join(c.Warnings(), ""), "AUTHZ_REDIS_URL"); warned {
			t.Errorf("%s: warned about", name)
		}
	}
	s := least()
	s.IntrospectionClientID, s.IntrospectionClientSecret = "gateway", "x"
	s.RedisURL, s.RedisSecret = "redis://redis.example", secret
	if c, err := s.Validate(); err != nil || !strings.Contains(strings.Join(c.Warnings(), ""), "AUTHZ_REDIS_URL") {
		t.Errorf("a password in clear is not warned about: %v %v", c.Warnings(), err)
	}
}
