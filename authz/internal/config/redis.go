package config

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Redis is what the replicas share. Its parts hold secrets.
type Redis struct {
	Address            string
	Username, Password string
	Database           int
	TLS                bool
	CAFile             string
	Secret             string
}

// plain is true when what is sent can be read on the way, the password too.
func (r *Redis) plain() bool {
	host, _, err := net.SplitHostPort(r.Address)
	return !r.TLS && err == nil && !secure(&url.URL{Scheme: "http", Host: r.Address}) && host != ""
}

// redis takes the five settings together; nil when none is set. No fault shows
// what was given, for it may hold a password.
func (j *judge) redis(s Settings) *Redis {
	if s.RedisURL+s.RedisURLFile+s.RedisCAFile+s.RedisSecret+s.RedisSecretFile == "" {
		return nil
	}
	given := j.once("AUTHZ_REDIS_URL", s.RedisURL, s.RedisURLFile, "the URL of the Redis that the replicas share, here or in the file form")
	r := &Redis{
		CAFile: j.certificates("AUTHZ_REDIS_CA_FILE", s.RedisCAFile),
		Secret: j.once("AUTHZ_REDIS_SECRET", s.RedisSecret, s.RedisSecretFile, "a secret that all replicas share, here or in the file form"),
	}
	if r.Secret != "" && len(r.Secret) < 32 {
		j.fault("AUTHZ_REDIS_SECRET", "is too short", "at least 32 characters of chance, such as those of 'openssl rand -base64 32'")
	}
	if given == "" {
		return r
	}
	if err := r.read(given); err != nil {
		j.fault("AUTHZ_REDIS_URL", "is not such a URL", "%s", err)
	} else if r.CAFile != "" && !r.TLS {
		j.fault("AUTHZ_REDIS_CA_FILE", r.CAFile, "nothing unless AUTHZ_REDIS_URL begins with rediss://")
	}
	return r
}

// once takes a secret from its setting or from its file, as it is now.
func (j *judge) once(setting, given, file, what string) string {
	if given+file == "" {
		j.fault(setting, "", "%s", what)
		return ""
	}
	value, err := j.secret(setting, given, file)()
	if err != nil {
		return given // the file was found wanting already; the setting is judged all the same
	}
	return strings.TrimSpace(value)
}

func (r *Redis) read(given string) error {
	u, err := url.Parse(given)
	switch {
	case err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || u.Opaque != "":
		return errors.New("such as rediss://user:password@redis.example:6379/0; characters like @, / and % in the password are percent-encoded")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("neither query nor fragment")
	}
	r.TLS = u.Scheme == "rediss"
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	r.Address = net.JoinHostPort(u.Hostname(), port)
	r.Username = u.User.Username()
	r.Password, _ = u.User.Password()
	if r.Username != "" && r.Password == "" {
		return errors.New("no user without a password; a password alone is written :password@")
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		if r.Database, err = strconv.Atoi(path); err != nil || r.Database < 0 || r.Database > 1<<16 {
			return errors.New("at its end the number of a database, or none")
		}
	}
	return nil
}
