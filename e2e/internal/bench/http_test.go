package bench

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestConnReadsWhatNetHTTPWrites(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 5000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s", r.Method, r.Header.Get("X-One"), body)
		case "/chunked":
			for i := range 10 {
				_, _ = io.WriteString(w, long[i*5000:(i+1)*5000])
				_ = http.NewResponseController(w).Flush()
			}
		case "/refused":
			http.Error(w, "no", http.StatusForbidden)
		case "/empty":
			w.WriteHeader(http.StatusOK)
		}
	}))
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	pool, err := NewPool(t.Context(), 1, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	// One connection for all: what is left unread would spoil the next answer.
	for range 3 {
		for path, want := range map[string]string{"/echo": "POST 1 hello", "/chunked": long, "/empty": ""} {
			request := Request("POST", path, address, [][2]string{{"X-One", "1"}}, "hello")
			var got string
			err := pool.Call(request, func(body []byte) error {
				got = string(body)
				return nil
			})(0)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if got != want {
				t.Errorf("%s: %.60q, want %.60q", path, got, want)
			}
		}
		err := pool.Call(Request("GET", "/refused", address, nil, ""), func([]byte) error { return nil })(0)
		if err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("a refusal counts as an answer: %v", err)
		}
	}
}

func TestConnReadsAStreamLineByLine(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, ": hello\n\nevent: endpoint\ndata: /messages?sessionId=1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	c, err := Dial(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if status, err := c.Open(Request("GET", "/", "localhost", nil, "")); err != nil || status != 200 {
		t.Fatalf("status %d, %v", status, err)
	}
	line, err := c.Until("data: ")
	if err != nil {
		t.Fatal(err)
	}
	if line != "data: /messages?sessionId=1" {
		t.Errorf("line %q", line)
	}
}
