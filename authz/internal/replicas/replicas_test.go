//go:build redis

package replicas

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// server is a real Redis that keeps nothing; REDIS_SERVER names the program.
type server struct {
	address string
	command *exec.Cmd
}

func start(t *testing.T) *server {
	t.Helper()
	s := &server{}
	t.Cleanup(s.kill)
	for range 20 {
		// Not of those that the kernel gives to who connects: one of them could
		// belong to somebody else while this Redis is down, or to one of its own
		// clients, connected to itself.
		s.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))
		if s.run(t) {
			return s
		}
	}
	t.Fatal("Redis did not start")
	return nil
}

func (s *server) again(t *testing.T) {
	t.Helper()
	eventually(t, "starting Redis again", func() bool { return s.run(t) })
}

// run says whether it started.
func (s *server) run(t *testing.T) bool {
	t.Helper()
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.command = exec.Command(cmp.Or(os.Getenv("REDIS_SERVER"), "redis-server"),
		"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	out, err := s.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.command.Start(); err != nil {
		t.Fatalf("a Redis is needed: %v", err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			go func() {
				for lines.Scan() { // so that it never waits for a reader
				}
			}()
			return true
		}
	}
	s.kill()
	return false
}

func (s *server) kill() {
	if s.command != nil {
		_ = s.command.Process.Kill() // it may have ended
		_ = s.command.Wait()         // that it was killed is no news
		s.command = nil
	}
}

// counter counts outcomes.
type counter struct {
	mu sync.Mutex
	n  map[Outcome]int
}

func (c *counter) see(o Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[o]++
}

func (c *counter) of(o Outcome) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[o]
}

func replica(t *testing.T, s *server, change func(*Options)) (*Answers, *counter) {
	t.Helper()
	c := &counter{n: map[Outcome]int{}}
	o := Options{
		Address: s.address, Secret: strings.Repeat("s", 32), ActiveTTL: 5 * time.Minute, InactiveTTL: 5 * time.Minute,
		Budget: 30 * time.Second, // here the machine may be busy
		Log:    slog.New(slog.DiscardHandler), Now: time.Now, Observe: c.see,
	}
	if change != nil {
		change(&o)
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, c
}

// eventually waits for what happens in the background.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !check(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in a minute", what)
		}
	}
}

// tell tells until Redis has it.
func tell(t *testing.T, a *Answers, c *counter, token, answer string, active bool) {
	t.Helper()
	eventually(t, "telling", func() bool {
		before := c.of(Stored) + c.of(Failed)
		stored := c.of(Stored)
		a.Tell(token, []byte(answer), active)
		eventually(t, "an outcome", func() bool { return c.of(Stored)+c.of(Failed) > before })
		return c.of(Stored) > stored
	})
}

// recall asks until there is a connection.
func recall(t *testing.T, a *Answers, c *counter, token string) (answer string, asked time.Time, found bool) {
	t.Helper()
	eventually(t, "recalling", func() bool {
		failed := c.of(Failed)
		var text []byte
		text, asked, found = a.Recall(token)
		answer = string(text)
		return c.of(Failed) == failed
	})
	return answer, asked, found
}

func TestReplicasKnowWhatOneOfThemAsked(t *testing.T) {
	t.Parallel()
	s := start(t)
	a, seenA := replica(t, s, nil)
	b, seenB := replica(t, s, nil)
	before := time.Now().Truncate(time.Millisecond)
	tell(t, a, seenA, "secret-token", `{"active":true,"sub":"hidden-user"}`, true)
	answer, asked, found := recall(t, b, seenB, "secret-token")
	if !found || answer != `{"active":true,"sub":"hidden-user"}` || asked.Before(before) || asked.After(time.Now()) {
		t.Errorf("%q %v %v", answer, asked, found)
	}
	if _, _, found := recall(t, b, seenB, "another-token"); found || seenB.of(Absent) == 0 {
		t.Error("found what nobody told")
	}
	stranger, seen := replica(t, s, func(o *Options) { o.Secret = strings.Repeat("t", 32) })
	if _, _, found := recall(t, stranger, seen, "secret-token"); found {
		t.Error("found with another secret")
	}

	c, err := redis.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	names, err := redis.Strings(c.Do("KEYS", "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%v %v", names, err)
	}
	held, err := redis.Bytes(c.Do("GET", names[0]))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"secret", "hidden", "active"} {
		if strings.Contains(names[0], secret) || bytes.Contains(held, []byte(secret)) {
			t.Errorf("%s can be read: %s %q", secret, names[0], held)
		}
	}
	if left, err := redis.Int(c.Do("PTTL", names[0])); err != nil || left <= 0 || left > 300_000 {
		t.Errorf("it is kept for %d ms (%v)", left, err)
	}
}

// TestWhoWritesToRedisMakesNothingUp: neither an answer of their own, nor that of
// another token, nor one from another time.
func TestWhoWritesToRedisMakesNothingUp(t *testing.T) {
	t.Parallel()
	s := start(t)
	a, seen := replica(t, s, nil)
	tell(t, a, seen, "good", `{"active":true}`, true)
	tell(t, a, seen, "mine", `{"active":false}`, false)
	c, err := redis.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	good, err := redis.Bytes(c.Do("GET", a.place("good")))
	if err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string][]byte{
		"another's": good, "made up": []byte(`{"active":true,"sub":"46"}`), "short": {1}, "empty": {}, "changed": append([]byte{good[0] ^ 1}, good[1:]...),
	} {
		if _, err := c.Do("SET", a.place("mine"), put); err != nil {
			t.Fatal(err)
		}
		before := seen.of(Refused)
		if answer, _, found := recall(t, a, seen, "mine"); found || seen.of(Refused) != before+1 {
			t.Errorf("%s: believed: %q", name, answer)
		}
	}
	for name, ahead := range map[string]time.Duration{"too old": 5 * time.Minute, "of tomorrow": -2 * skew} {
		late, seen := replica(t, s, func(o *Options) { o.Now = func() time.Time { return time.Now().Add(ahead) } })
		if _, _, found := recall(t, late, seen, "good"); found || seen.of(Refused) != 1 {
			t.Errorf("%s: believed", name)
		}
	}
	if _, _, found := recall(t, a, seen, "good"); !found {
		t.Error("the good one is gone")
	}
}

func TestWithoutRedisNobodyWaits(t *testing.T) {
	t.Parallel()
	s := start(t)
	a, seen := replica(t, s, nil)
	tell(t, a, seen, "token", "{}", true)
	if _, _, found := recall(t, a, seen, "token"); !found {
		t.Fatal("not found")
	}
	s.kill()
	for range 20 {
		if _, _, found := a.Recall("token"); found {
			t.Error("found without Redis")
		}
		a.Tell("other", []byte("{}"), true)
	}
	if seen.of(Failed) < 20 {
		t.Errorf("%d failures", seen.of(Failed))
	}
	s.again(t)
	tell(t, a, seen, "token", "{}", true)
	if _, _, found := recall(t, a, seen, "token"); !found {
		t.Error("not found afterwards")
	}
}

// TestARedisThatHangsIsGivenUp: what does not answer is closed, not waited for.
func TestARedisThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	closed := make(chan error, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				b := make([]byte, 1024)
				// The name of the client is taken; nothing else is ever answered.
				for {
					n, err := c.Read(b)
					if err != nil {
						closed <- err
						return
					}
					if bytes.Contains(b[:n], []byte("SETNAME")) {
						_, _ = c.Write([]byte("+OK\r\n"))
					}
				}
			}()
		}
	}()
	a, seen := replica(t, &server{address: l.Addr().String()}, func(o *Options) { o.Budget = time.Millisecond })
	eventually(t, "giving up", func() bool {
		if _, _, found := a.Recall("token"); found {
			t.Fatal("found")
		}
		select {
		case err := <-closed:
			return err != nil || errors.Is(err, net.ErrClosed)
		default:
			return false
		}
	})
	if seen.of(Failed) == 0 {
		t.Error("nothing failed")
	}
}
