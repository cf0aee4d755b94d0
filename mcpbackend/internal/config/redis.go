package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
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
	Secret             []byte
}

// Plain is true when what is sent can be read on the way, the password too.
func (r *Redis) Plain() bool {
	host, _, err := net.SplitHostPort(r.Address)
	return !r.TLS && err == nil && !loopback(host)
}

// redis takes the five settings together; nil when none is set. No fault shows
// what was given, for it may hold a password.
func (s Settings) redis(fault func(name, format string, args ...any)) *Redis {
	if s.RedisURL+s.RedisURLFile+s.RedisCAFile+s.RedisSecret+s.RedisSecretFile == "" {
		return nil
	}
	given := secret("MCPBACKEND_REDIS_URL", s.RedisURL, s.RedisURLFile, "the URL of the Redis that the replicas share", fault)
	key := secret("MCPBACKEND_REDIS_SECRET", s.RedisSecret, s.RedisSecretFile, "a secret that all replicas share", fault)
	r := &Redis{CAFile: s.RedisCAFile, Secret: []byte(key)}
	if key != "" && len(key) < 32 {
		fault("MCPBACKEND_REDIS_SECRET", "must be at least 32 characters of chance, such as those of 'openssl rand -base64 32'")
	}
	if given != "" {
		if err := r.read(given); err != nil {
			fault("MCPBACKEND_REDIS_URL", "%v", err)
		}
	}
	if err := certificates(s.RedisCAFile); err != nil {
		fault("MCPBACKEND_REDIS_CA_FILE", "%v", err)
	}
	if s.RedisCAFile != "" && given != "" && !r.TLS {
		fault("MCPBACKEND_REDIS_CA_FILE", "is of no use: MCPBACKEND_REDIS_URL does not begin with rediss://")
	}
	return r
}

// secret takes a value from its setting or from its file, never from both.
func secret(name, given, file, what string, fault func(name, format string, args ...any)) string {
	switch {
	case given != "" && file != "":
		fault(name, "and %s_FILE exclude each other", name)
		return ""
	case given+file == "":
		fault(name, "is missing, or %s_FILE: %s", name, what)
		return ""
	case file == "":
		return strings.TrimSpace(given)
	}
	name += "_FILE"
	if _, err := os.Stat(file); err != nil {
		fault(name, "%v", misplaced(err))
		return ""
	}
	if err := regular(file); err != nil {
		fault(name, "%v", err)
		return ""
	}
	data, err := os.ReadFile(file)
	if err != nil {
		fault(name, "cannot be read: %v", bare(err))
		return ""
	}
	value := strings.TrimSpace(string(data))
	if value == "" {
		fault(name, "is empty")
	}
	return value
}

// misplaced is the fault of a setting that should name a file with a secret and
// names none: it may be the secret itself, by mistake, and is not shown.
func misplaced(err error) error {
	return fmt.Errorf("cannot be read: %w; give the path of the file, not what is in it", bare(err))
}

// bare is an error of the system without the name of its file.
func bare(err error) error {
	var of *os.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

func (r *Redis) read(given string) error {
	u, err := url.Parse(given)
	switch {
	case err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || u.Opaque != "":
		return errors.New("must be a URL such as rediss://user:password@redis.example:6379/0; characters like @, / and % in the password are percent-encoded")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("must have neither query nor fragment")
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
		return errors.New("has a user without a password; a password alone is written :password@")
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		if r.Database, err = strconv.Atoi(path); err != nil || r.Database < 0 || r.Database > 1<<16 {
			return errors.New("must end in the number of a database, or in none")
		}
	}
	return nil
}
