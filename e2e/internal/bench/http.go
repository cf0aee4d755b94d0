package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// A Conn speaks HTTP/1.1 with as little work as it takes, because the client
// shares the machine with what is measured.
type Conn struct {
	conn net.Conn
	r    *bufio.Reader
	body bytes.Buffer
}

// Dial connects to a server.
func Dial(ctx context.Context, network, address string) (*Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &Conn{conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Request writes out a request with a body.
func Request(method, path, host string, headers [][2]string, body string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	for _, h := range headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	if method != "GET" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	fmt.Fprintf(&b, "\r\n%s", body)
	return b.Bytes()
}

// Do sends a request and reads the whole answer. The body is valid until the
// next call.
func (c *Conn) Do(request []byte) (status int, body []byte, err error) {
	chunked, length, status, err := c.head(request)
	if err != nil {
		return 0, nil, err
	}
	c.body.Reset()
	if !chunked {
		_, err = io.CopyN(&c.body, c.r, length)
		return status, c.body.Bytes(), err
	}
	// RFC 9112 §7.1
	for {
		line, err := c.line()
		if err != nil {
			return 0, nil, err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseInt(string(size), 16, 32)
		if err != nil {
			return 0, nil, fmt.Errorf("not a chunk: %q", line)
		}
		if _, err := io.CopyN(&c.body, c.r, n); err != nil {
			return 0, nil, err
		}
		if line, err = c.line(); err != nil || len(line) > 0 {
			return 0, nil, errors.Join(err, errors.New("a chunk does not end where it says"))
		}
		if n == 0 {
			return status, c.body.Bytes(), nil
		}
	}
}

// Open sends a request and reads the head of the answer; what follows is read
// with Until.
func (c *Conn) Open(request []byte) (status int, err error) {
	_, _, status, err = c.head(request)
	return status, err
}

// Until reads on to a line with the prefix, and returns it.
func (c *Conn) Until(prefix string) (string, error) {
	for {
		line, err := c.line()
		if err != nil {
			return "", err
		}
		if bytes.HasPrefix(line, []byte(prefix)) {
			return string(line), nil
		}
	}
}

func (c *Conn) head(request []byte) (chunked bool, length int64, status int, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return false, 0, 0, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return false, 0, 0, err
	}
	line, err := c.line()
	if err != nil {
		return false, 0, 0, err
	}
	if len(line) < 12 {
		return false, 0, 0, fmt.Errorf("not a status line: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return false, 0, 0, fmt.Errorf("not a status line: %q", line)
	}
	for {
		if line, err = c.line(); err != nil {
			return false, 0, 0, err
		}
		if len(line) == 0 {
			return chunked, length, status, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return false, 0, 0, fmt.Errorf("not a length: %q", line)
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
}

func (c *Conn) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}

// A Pool is so many connections to one server.
type Pool struct{ idle chan *Conn }

// NewPool opens them.
func NewPool(ctx context.Context, size int, network, address string) (*Pool, error) {
	p := &Pool{idle: make(chan *Conn, size)}
	for range size {
		c, err := Dial(ctx, network, address)
		if err != nil {
			p.Close()
			return nil, err
		}
		p.idle <- c
	}
	return p, nil
}

// Close closes the connections; none may be in use.
func (p *Pool) Close() {
	for len(p.idle) > 0 {
		_ = (<-p.idle).Close()
	}
}

// Call sends the request and wants a 200 whose body check accepts.
func (p *Pool) Call(request []byte, check func(body []byte) error) Call {
	return func(int) error {
		c := <-p.idle
		defer func() { p.idle <- c }()
		status, body, err := c.Do(request)
		if err != nil {
			return err
		}
		if status != 200 {
			return fmt.Errorf("status %d: %.300s", status, body)
		}
		return check(body)
	}
}
