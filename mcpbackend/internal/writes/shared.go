package writes

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/neonpanel"
	"github.com/neonpanel/mcp-gateway/mcpbackend/internal/replicas"
)

const (
	// renewal is how often a change under way says that it still is, and dead how
	// long it must not have, to count as one of a replica that has ended.
	renewal = 5 * time.Second
	dead    = 4 * renewal
	// lease is how long a change under way is remembered without renewal: long
	// enough that whoever repeats it learns that its outcome is unknown.
	lease = Keep + dead
	// rounds is how often Redis is asked whether it still has what it had.
	rounds = time.Second
	// quarantine is how long nothing is changed after a Redis lost its data, so
	// that all replicas can tell it again what they know.
	quarantine = 5 * time.Second
	// largest is the largest answer that is kept; of a larger one only the fact is.
	largest = 256 << 10
	// ownEntries and ownBytes bound what this replica keeps of its own changes.
	ownEntries = 10_000
	ownBytes   = 16 << 20
)

// Unchecked is the failure of a change that was not sent, because it could not
// be seen whether the same one was made just before.
type Unchecked struct{ cause error }

func (u *Unchecked) Error() string { return "recent changes cannot be looked up: " + u.cause.Error() }

// Unwrap gives the cause, which is for logs only.
func (u *Unchecked) Unwrap() error { return u.cause }

// Undone says that nothing was sent.
func (u *Unchecked) Undone() bool { return true }

// Runner runs scripts in Redis; see [replicas.Redis].
type Runner interface {
	Run(ctx context.Context, s replicas.Script, arguments ...any) (any, error)
}

// Shared remembers changes as [Memory] does, for all replicas together. Redis
// gets keyed hashes of the requests and sealed answers.
//
// What cannot be looked up is not sent, unless it is to be repeated in any case:
// a change made twice costs its owner more than one that is made later. When
// Redis has lost its data, every replica tells it its own changes again before
// anything is changed.
type Shared struct {
	redis Runner
	keys  replicas.Keys
	log   *slog.Logger
	now   func() time.Time

	mu    sync.Mutex
	epoch string // of the data in Redis that this replica knows its own to be in
	own   map[string]*own
	order []string // of own, oldest first
	bytes int
}

// own is a change of this replica: what Redis should know of it.
type own struct {
	key, target, nonce string
	replaces           bool
	state              string
	sealed             []byte
	at                 time.Time // when it ended, or was begun
	told               bool
}

// The states of a change in Redis.
const (
	running = "running"
	done    = "done"
	undone  = "undone" // never stored: it is deleted instead
)

// kept is an answer, as it is sealed.
type kept struct {
	Ended    time.Time           `json:"ended"`
	Response *neonpanel.Response `json:"response,omitempty"`
	Dropped  bool                `json:"dropped,omitempty"`
	Error    *neonpanel.Error    `json:"error,omitempty"`
}

// What is known of a change is a hash. Its chain are the nonces of the attempts at
// it, the oldest first: the last one counts, and when that turns out not to have
// been made, the one before. Each has its state, its sealed answer, and until when
// it is known. Of the changes that set a state, the last one to a target holds its
// nonce there; one that does not is not remembered.

const epochKey = "neonpanel:mcp:writes:epoch"

// attempts begins the scripts that read or write what is known of a change.
const attempts = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function drop(nonce)
  redis.call('HDEL', KEYS[1], 'state:' .. nonce, 'sealed:' .. nonce, 'until:' .. nonce)
end
local function ends(nonce)
  return tonumber(redis.call('HGET', KEYS[1], 'until:' .. nonce) or '0')
end
local function is(nonce)
  return redis.call('HGET', KEYS[1], 'state:' .. nonce)
end
local function known()
  local chain = {}
  for nonce in string.gmatch(redis.call('HGET', KEYS[1], 'chain') or '', '[^,]+') do
    if ends(nonce) > now then chain[#chain + 1] = nonce else drop(nonce) end
  end
  return chain
end
local function put(nonce, state, sealed, left)
  redis.call('HSET', KEYS[1], 'state:' .. nonce, state, 'sealed:' .. nonce, sealed,
    'until:' .. nonce, string.format('%.0f', now + tonumber(left)))
end
local function save(chain)
  if #chain == 0 then
    redis.call('DEL', KEYS[1])
    return
  end
  local last = 0
  for _, nonce in ipairs(chain) do last = math.max(last, ends(nonce)) end
  redis.call('HSET', KEYS[1], 'chain', table.concat(chain, ','))
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last))
end
local function place(chain, nonce)
  for i, other in ipairs(chain) do
    if other == nonce then return i end
  end
end
`

var (
	// beginScript begins a change, or says what is known of the same one.
	beginScript = replicas.NewScript(3, attempts+`
local epoch = redis.call('GET', KEYS[3])
if not epoch or epoch ~= ARGV[5] then return {'epoch'} end
local young = tonumber(ARGV[7]) - (now - tonumber(string.match(epoch, '%d+$')))
if young > 0 then return {'young', young} end
local chain = known()
local last = chain[#chain]
if last then
  local stale = ARGV[3] == '1' and redis.call('GET', KEYS[2]) ~= last
  if ARGV[4] == '0' and not (stale and is(last) == 'done') then
    return {is(last), ends(last) - now, redis.call('HGET', KEYS[1], 'sealed:' .. last) or ''}
  end
  if stale then
    redis.call('DEL', KEYS[1])
    chain = {}
  end
end
chain[#chain + 1] = ARGV[1]
put(ARGV[1], 'running', '', ARGV[2])
save(chain)
if ARGV[3] == '1' then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[6]) end
return {'begun'}`)

	// endScript ends a change. It says 'lost' when Redis does not know of it.
	endScript = replicas.NewScript(2, attempts+`
local chain = known()
local at = place(chain, ARGV[1])
if not at then return 'lost' end
local holder = ARGV[2] == '1' and redis.call('GET', KEYS[2])
if ARGV[3] == 'undone' or (ARGV[2] == '1' and (place(chain, holder) or 0) < at) then
  drop(ARGV[1])
  table.remove(chain, at)
  if holder == ARGV[1] and #chain > 0 then redis.call('SET', KEYS[2], chain[#chain], 'PX', ARGV[6]) end
  save(chain)
  return 'ok'
end
put(ARGV[1], 'done', ARGV[4], ARGV[5])
local left = {}
for i, nonce in ipairs(chain) do
  if i < at and is(nonce) == 'done' then drop(nonce) else left[#left + 1] = nonce end
end
save(left)
if holder then redis.call('PEXPIRE', KEYS[2], ARGV[6]) end
return 'ok'`)

	renewScript = replicas.NewScript(1, attempts+`
local chain = known()
if place(chain, ARGV[1]) and is(ARGV[1]) == 'running' then
  put(ARGV[1], 'running', '', ARGV[2])
  save(chain)
end
return 'ok'`)

	// tellScript tells of a change that Redis has lost: what is under way counts
	// before what has ended.
	tellScript = replicas.NewScript(1, attempts+`
local chain = known()
if not place(chain, ARGV[1]) then
  put(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
  table.insert(chain, ARGV[2] == 'running' and #chain + 1 or 1, ARGV[1])
  save(chain)
end
return 'ok'`)

	// takeScript uses up a consent; see [Shared.Take]. What was asked before Redis
	// lost its data may have been used, which nobody knows any more.
	takeScript = replicas.NewScript(2, `
local epoch = redis.call('GET', KEYS[2])
if not epoch or tonumber(ARGV[1]) < tonumber(string.match(epoch, '%d+$')) then return 0 end
if redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[2]) then return 1 end
return 0`)

	// epochScript names the data in Redis, which is new when it has no name.
	epochScript = replicas.NewScript(1, `
local epoch = redis.call('GET', KEYS[1])
if epoch then return epoch end
local t = redis.call('TIME')
epoch = ARGV[1] .. ':' .. string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('SET', KEYS[1], epoch)
return epoch`)
)

// NewShared asks nothing of Redis yet; [Shared.Run] must run beside it.
func NewShared(r Runner, keys replicas.Keys, log *slog.Logger, now func() time.Time) *Shared {
	return &Shared{redis: r, keys: keys, log: log, now: now, own: map[string]*own{}}
}

// Run keeps Redis told of what this replica knows, until the context ends.
func (s *Shared) Run(ctx context.Context) {
	ticker := time.NewTicker(rounds)
	defer ticker.Stop()
	for {
		if err := s.sync(ctx); err == nil {
			s.tellRest(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// sync makes sure that the data in Redis has the changes of this replica.
func (s *Shared) sync(ctx context.Context) error {
	epoch, err := redis.String(s.redis.Run(ctx, epochScript, epochKey, nonce()))
	if err != nil {
		return err
	}
	s.mu.Lock()
	before, all := s.epoch, s.list(func(*own) bool { return true })
	s.mu.Unlock()
	if before == epoch {
		return nil
	}
	for _, o := range all {
		if err := s.tell(ctx, o); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.epoch = epoch
	s.mu.Unlock()
	if before != "" {
		s.log.Warn("Redis has lost its data; it was told again what this replica changed", "changes", len(all))
	}
	return nil
}

// tell tells Redis of a change that it may have lost. Changes that set a state
// are left out: to set it again changes nothing, and which one came last is not
// known any more.
func (s *Shared) tell(ctx context.Context, o own) error {
	left := Keep - s.now().Sub(o.at)
	if o.state == running {
		left = lease
	}
	if o.replaces || o.state == undone || left <= 0 {
		return nil
	}
	_, err := s.redis.Run(ctx, tellScript, o.key, o.nonce, o.state, o.sealed, left.Milliseconds())
	return err
}

// tellRest tells of ends that Redis could not be told of when they came.
func (s *Shared) tellRest(ctx context.Context) {
	s.mu.Lock()
	rest := s.list(func(o *own) bool { return o.state != running && !o.told })
	s.mu.Unlock()
	for _, o := range rest {
		if s.end(ctx, o) != nil {
			return
		}
	}
}

// list copies what is kept and passes; the caller holds the lock.
func (s *Shared) list(pass func(*own) bool) (all []own) {
	for _, n := range s.order {
		if o := s.own[n]; o != nil && pass(o) {
			all = append(all, *o)
		}
	}
	return all
}

func nonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

func flagged(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// Do is like [Memory.Do], for all replicas.
func (s *Shared) Do(ctx context.Context, w Write, repeat bool, send func() (*neonpanel.Response, error)) Answer {
	o := own{
		key:      "neonpanel:mcp:write:" + s.keys.Name("write", w.Subject, w.Tool, string(w.Request)),
		target:   "neonpanel:mcp:target:" + s.keys.Name("target", w.Target),
		nonce:    nonce(),
		replaces: w.Replaces, state: running,
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		first, again, err := s.begin(ctx, o, repeat)
		switch {
		case ctx.Err() != nil:
			return Answer{Err: &neonpanel.Error{Class: neonpanel.Canceled}}
		case err != nil && repeat:
			// It is wanted in any case; Redis learns of it when it can.
			s.log.Warn("a change is made without being looked up, for it is a wanted repetition")
			return s.run(ctx, o, send)
		case err != nil:
			return Answer{Err: &Unchecked{err}}
		case first != nil:
			return *first
		case again == 0:
			return s.run(ctx, o, send)
		}
		timer := time.NewTimer(min(wait, again))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Answer{Err: &neonpanel.Error{Class: neonpanel.Canceled}}
		}
	}
}

// begin begins a change in Redis. It gives the answer to the same one where
// there is one, or says when to look again; neither means that it has begun.
func (s *Shared) begin(ctx context.Context, o own, repeat bool) (first *Answer, again time.Duration, err error) {
	s.mu.Lock()
	epoch := s.epoch
	s.mu.Unlock()
	reply, err := redis.Values(s.redis.Run(ctx, beginScript, o.key, o.target, epochKey,
		o.nonce, lease.Milliseconds(), flagged(o.replaces), flagged(repeat), epoch, (lease + Keep).Milliseconds(), quarantine.Milliseconds()))
	if err != nil {
		// Redis may have heard it all the same.
		o.state, o.at = undone, s.now()
		s.keep(o)
		return nil, 0, err
	}
	if len(reply) == 0 {
		return nil, 0, errors.New("no reply")
	}
	what, err := redis.String(reply[0], nil)
	if err != nil {
		return nil, 0, err
	}
	switch what {
	case "begun":
		return nil, 0, nil
	case "epoch":
		return nil, time.Millisecond, s.sync(ctx)
	}
	var left int64
	var sealed []byte
	if what == "young" {
		_, err = redis.Scan(reply[1:], &left)
		return nil, time.Duration(max(left, 1)) * time.Millisecond, err
	}
	if _, err := redis.Scan(reply[1:], &left, &sealed); err != nil {
		return nil, 0, err
	}
	if what == running {
		if ago := lease - time.Duration(left)*time.Millisecond; ago > dead {
			return &Answer{Err: &neonpanel.Error{Class: neonpanel.Unavailable, Reason: neonpanel.ReasonConnection}, First: true, Ago: ago}, 0, nil
		}
		return nil, time.Second, nil
	}
	text, err := s.keys.Open("write", o.key, sealed)
	if err != nil {
		return nil, 0, err
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil {
		return nil, 0, err
	}
	ago := Keep - time.Duration(left)*time.Millisecond
	if age := s.now().Sub(k.Ended); age > 2*Keep || age < -Keep {
		return nil, 0, fmt.Errorf("an answer of %s ago was put in the place of a newer one, or a clock is wrong", age.Round(time.Second))
	}
	answer := &Answer{Response: k.Response, First: true, Ago: max(ago, 0)}
	if k.Error != nil {
		answer.Err = k.Error
	}
	return answer, 0, nil
}

// run makes the change.
func (s *Shared) run(ctx context.Context, o own, send func() (*neonpanel.Response, error)) (answer Answer) {
	o.at = s.now()
	s.keep(o)
	// The change goes on when its caller has gone, and so does what is said of it.
	ctx = context.WithoutCancel(ctx)
	renewing, stop := context.WithCancel(ctx)
	var renewed sync.WaitGroup
	renewed.Go(func() {
		for {
			timer := time.NewTimer(renewal)
			select {
			case <-timer.C:
				// When it fails, others see it as one whose outcome is unknown.
				_, _ = s.redis.Run(renewing, renewScript, o.key, o.nonce, lease.Milliseconds())
			case <-renewing.Done():
				timer.Stop()
				return
			}
		}
	})
	// A panic says nothing of what the API did.
	answer.Err = &neonpanel.Error{Class: neonpanel.Unavailable, Reason: neonpanel.ReasonConnection}
	defer func() {
		stop()
		renewed.Wait()
		o.at, o.state = s.now(), done
		if Undone(answer.Err) {
			o.state = undone
		} else {
			o.sealed = s.seal(o, answer)
		}
		s.keep(o)
		if err := s.end(ctx, o); err != nil {
			s.log.Warn("Redis could not be told how a change ended; it will be", "error", err.Error())
		}
	}()
	answer.Response, answer.Err = send()
	return answer
}

// end tells Redis how a change ended.
func (s *Shared) end(ctx context.Context, o own) error {
	reply, err := redis.String(s.redis.Run(ctx, endScript, o.key, o.target,
		o.nonce, flagged(o.replaces), o.state, o.sealed, max(1, (Keep-s.now().Sub(o.at)).Milliseconds()), (lease + Keep).Milliseconds()))
	if err == nil && reply == "lost" {
		err = s.tell(ctx, o)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.own[o.nonce]; now != nil && now.state == o.state {
		now.told = true
		if o.state == undone {
			s.forget(o.nonce)
		}
	}
	return nil
}

func (s *Shared) seal(o own, a Answer) []byte {
	k := kept{Ended: o.at, Response: a.Response}
	if k.Response != nil && len(k.Response.Body) > largest {
		k.Response, k.Dropped = nil, true
	}
	if a.Err != nil {
		if !errors.As(a.Err, &k.Error) {
			k.Error = &neonpanel.Error{Class: neonpanel.Unavailable, Reason: neonpanel.ReasonConnection}
		}
	}
	text, err := json.Marshal(k)
	if err != nil {
		text = []byte(`{"dropped":true}`) // it cannot fail: these are plain values
	}
	return s.keys.Seal("write", o.key, text)
}

// keep keeps a change of this replica for as long as Redis should know it.
func (s *Shared) keep(o own) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.own[o.nonce]; before != nil {
		s.bytes -= len(before.sealed)
	} else {
		s.order = append(s.order, o.nonce)
	}
	s.own[o.nonce] = &o
	s.bytes += len(o.sealed)
	for len(s.order) > 0 {
		oldest := s.own[s.order[0]]
		if oldest != nil && len(s.order) <= ownEntries && s.bytes <= ownBytes && (oldest.state == running || s.now().Sub(oldest.at) < Keep) {
			break
		}
		if oldest != nil {
			s.forget(oldest.nonce)
		}
		s.order = s.order[1:]
	}
}

// forget drops a change; the caller holds the lock.
func (s *Shared) forget(nonce string) {
	if o := s.own[nonce]; o != nil {
		s.bytes -= len(o.sealed)
		delete(s.own, nonce)
	}
}
