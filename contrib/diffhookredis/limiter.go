package diffhookredis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/wait"
)

// LimiterOptions are the options of [NewLimiter].
type LimiterOptions struct {
	// Prefix begins the key in Redis, before the hash tag {name}. By default,
	// "diffhook:limit:".
	Prefix string

	// Processes is how many processes share the limit, at most. A process that cannot
	// reach Redis starts 94 % of the plan, divided by Processes. If the other processes
	// reach Redis, these requests come on top. By default, DefaultProcesses.
	Processes int

	// Logger gets a warning when Redis goes away, and a line when Redis is back. By
	// default, nothing is logged.
	Logger *slog.Logger
}

// DefaultProcesses is how many processes a [Limiter] assumes by default.
const DefaultProcesses = 20

const (
	// limiterTimeout bounds a call of Redis. Then the process goes on alone.
	limiterTimeout = time.Second

	// slowCall is a call that counts as unanswered when ctx ends.
	slowCall = limiterTimeout / 4

	// longestWait bounds the wait of a caller without a deadline.
	longestWait = time.Hour
)

// Limiter is a rate limit for all processes with the same name in the same Redis. It
// implements [diffhook.Pauser], and is safe for concurrent use.
type Limiter struct {
	client redis.UniversalClient
	key    string
	plan   plan
	first  chan struct{} // a semaphore of capacity 1: the holder waits for the turn
	turn   turn          // the next turn of this process; owned by the holder of first
	alone  alone
}

var _ diffhook.Pauser = (*Limiter)(nil)

// turn is a reserved start. Zero is none.
type turn struct {
	id string    // the time of the server's clock, in microseconds
	at time.Time // the same moment by the clock of this process
}

//go:embed reserve.lua
var reserveSource string

//go:embed confirm.lua
var confirmSource string

//go:embed pause.lua
var pauseSource string

var (
	reserveScript = redis.NewScript(reserveSource)
	confirmScript = redis.NewScript(confirmSource)
	pauseScript   = redis.NewScript(pauseSource)
)

// NewLimiter returns a limiter that lets at most requestsPerMinute start in any 60 s,
// in all processes with the same name together. A thirtieth may start in a burst, and
// 94 % start evenly. The remainder is a reserve for requests that arrive closer together
// than they were sent. Zero requestsPerMinute means [diffhook.FreePlan]. Nil opts are all
// defaults.
//
// Take a name for each API key, such as production: DiffHook limits each key. The name is
// readable in Redis, so NewLimiter rejects an API key as a name.
//
// The processes take turns in the order in which they ask. A 429 to any process pauses
// all processes. While Redis is away, each process starts a share of the plan.
//
// The error wraps [ErrClient] if client ignores deadlines or is a Ring.
func NewLimiter(client redis.UniversalClient, name string, requestsPerMinute int, opts *LimiterOptions) (*Limiter, error) {
	if err := checkClient(client); err != nil {
		return nil, err
	}
	if strings.TrimSpace(name) == "" || strings.ContainsAny(name, "{}") || strings.Contains(name, "dh_live_") {
		return nil, errors.New("diffhookredis: the name of the limiter is empty, is an API key or contains a brace; pass a name such as production")
	}
	if requestsPerMinute < 0 {
		return nil, fmt.Errorf("diffhookredis: requestsPerMinute is %d; pass diffhook.FreePlan or diffhook.PaidPlan", requestsPerMinute)
	}
	if requestsPerMinute == 0 {
		requestsPerMinute = diffhook.FreePlan
	}
	o := LimiterOptions{}
	if opts != nil {
		o = *opts
	}
	if o.Prefix == "" {
		o.Prefix = "diffhook:limit:"
	}
	if o.Processes <= 0 {
		o.Processes = DefaultProcesses
	}
	l := &Limiter{client: client, key: o.Prefix + "{" + name + "}", first: make(chan struct{}, 1)}
	l.setPlan(newPlan(requestsPerMinute, time.Minute), o)
	return l, nil
}

func (l *Limiter) setPlan(p plan, o LimiterOptions) {
	l.plan = p
	l.alone = alone{logger: o.Logger, interval: p.share(o.Processes)}
}

// Wait returns when the next request may start. It returns an error if ctx ends first, and
// at once if the turn comes after the deadline of ctx. During a pause after a 429, Wait
// returns a *[diffhook.PauseError] with the rest of the pause.
//
// If ctx ends while Wait has a turn, the next call in this process gets the turn.
func (l *Limiter) Wait(ctx context.Context) error {
	select {
	case l.first <- struct{}{}:
		defer func() { <-l.first }()
	case <-ctx.Done():
		return wait.Ended(ctx)
	}
	for {
		started, err := l.try(ctx)
		if started || err != nil {
			return err
		}
	}
}

// try waits for a turn. It reports false if another try is needed: the turn came too
// late, or Redis is away.
func (l *Limiter) try(ctx context.Context) (started bool, err error) {
	if !l.alone.mayAsk() {
		return true, l.alone.wait(ctx)
	}
	if l.turn.id == "" {
		err = l.reserve(ctx)
	}
	if err == nil {
		if err := wait.For(ctx, time.Until(l.turn.at)); err != nil {
			return false, err
		}
		started, err = l.confirm(ctx)
	}
	if away := (*awayError)(nil); errors.As(err, &away) {
		l.alone.begin(ctx, away.cause)
		return false, nil
	}
	return started, err
}

// reserve reserves a turn. It returns a PauseError during a pause.
func (l *Limiter) reserve(ctx context.Context) error {
	longest := longestWait
	if deadline, ok := ctx.Deadline(); ok {
		longest = max(0, time.Until(deadline))
	}
	noBurst := 0
	if l.alone.isActive() {
		noBurst = 1 // the requests during the outage count too
	}
	a, err := l.call(ctx, reserveScript, l.plan.interval.Microseconds(), l.plan.burst,
		longest.Microseconds(), noBurst, l.plan.outlive().Milliseconds())
	if err != nil {
		return err
	}
	l.alone.end(ctx)
	switch a.word {
	case "turn":
		l.turn = turn{id: a.turn, at: time.Now().Add(a.wait)}
		return nil
	case "paused":
		return &diffhook.PauseError{Wait: a.wait}
	default:
		return fmt.Errorf("diffhookredis: %w: the next turn comes in %v", context.DeadlineExceeded, a.wait.Round(time.Millisecond))
	}
}

// confirm uses the turn, and reports whether the turn is still good. If a pause began
// since the turn was reserved, confirm returns a PauseError.
func (l *Limiter) confirm(ctx context.Context) (bool, error) {
	id := l.turn.id
	l.turn = turn{}
	a, err := l.call(ctx, confirmScript, id, l.plan.lateness.Microseconds())
	if err == nil && a.word == "paused" {
		err = &diffhook.PauseError{Wait: a.wait}
	}
	return a.word == "start", err
}

// Pause stops the turns of all processes for d. If Redis is away, Pause changes
// nothing: only the calling client waits.
func (l *Limiter) Pause(ctx context.Context, d time.Duration) {
	if d > 0 {
		_, _ = l.call(ctx, pauseScript, d.Microseconds(), l.plan.interval.Microseconds(), l.plan.burst, l.plan.outlive().Milliseconds())
	}
}

// answer is the answer of a script of the limiter.
type answer struct {
	word string
	wait time.Duration
	turn string
}

// awayError is the error of a call without an answer.
type awayError struct{ cause error }

func (e *awayError) Error() string { return e.cause.Error() }

// call runs a script. After a failure, call returns an awayError, unless ctx ended early in
// the call. Else callers with short deadlines would never learn that Redis stalls.
func (l *Limiter) call(ctx context.Context, script *redis.Script, args ...any) (answer, error) {
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, limiterTimeout)
	defer cancel()
	values, err := script.Run(limited, l.client, []string{l.key}, args...).Slice()
	if err != nil && ctx.Err() != nil && time.Since(start) < slowCall {
		return answer{}, wait.Ended(ctx)
	}
	if err != nil {
		return answer{}, &awayError{err}
	}
	values = append(values, nil, nil, nil) // an answer can be shorter
	word, _ := values[0].(string)
	micros, _ := values[1].(int64)
	id, _ := values[2].(string)
	return answer{word, time.Duration(micros) * time.Microsecond, id}, nil
}
