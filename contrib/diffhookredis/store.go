package diffhookredis

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/diffhook/diffhook-go/once"
)

// DefaultPrefix begins the keys of a [Store] by default.
const DefaultPrefix = "diffhook:once:"

// callTimeout bounds a call of the store, with the retries of the client. Two thirds of
// the 10 s of a delivery remain for the work.
const callTimeout = 3 * time.Second

// Options are the options of [New].
type Options struct {
	// Prefix begins every key, before the hash tag {…}. Two stores with the same
	// prefix share their records. By default, [DefaultPrefix].
	Prefix string

	// Replicas is the number of replicas, by WAIT, that must acknowledge a claim or a
	// commit within 0.5 s. Else the call fails, and DiffHook retries a claim. Replicas
	// make the loss of records less likely if a replica takes over, and do not exclude
	// the loss. By default, 0: if the primary dies, the records of the last moments are
	// lost.
	Replicas int
}

// Store is a [once.Store] in Redis. It is safe for concurrent use.
//
// A record is a key, which expires by the clock of the server. Each method takes a single
// round trip, and at most 3 s.
type Store struct {
	client      redis.UniversalClient
	prefix      string
	replicas    int
	callTimeout time.Duration
}

var _ once.Store = (*Store)(nil)

//go:embed claim.lua
var claimSource string

//go:embed commit.lua
var commitSource string

//go:embed release.lua
var releaseSource string

var (
	claimScript   = redis.NewScript(claimSource)
	commitScript  = redis.NewScript(commitSource)
	releaseScript = redis.NewScript(releaseSource)
)

// New returns a store of records in the Redis of client. Nil opts are all defaults. New
// sends nothing: for a check at the start, call [CheckEviction].
//
// Set ReadTimeout of client to 1 s: then go-redis repeats a command in time if the answer
// is lost. The error wraps [ErrClient] if client ignores deadlines or is a Ring.
func New(client redis.UniversalClient, opts *Options) (*Store, error) {
	if err := checkClient(client); err != nil {
		return nil, err
	}
	s := &Store{client: client, prefix: DefaultPrefix, callTimeout: callTimeout}
	if opts != nil {
		if opts.Replicas < 0 {
			return nil, fmt.Errorf("diffhookredis: Replicas is %d; set 0 or more", opts.Replicas)
		}
		s.replicas = opts.Replicas
		if opts.Prefix != "" {
			s.prefix = opts.Prefix
		}
	}
	return s, nil
}

// Claim implements [once.Store].
func (s *Store) Claim(ctx context.Context, k once.Key, token string, lease time.Duration) error {
	return s.run(ctx, "claim", claimScript, k, token, lease.Milliseconds())
}

// Commit implements [once.Store].
func (s *Store) Commit(ctx context.Context, k once.Key, token string, keep time.Duration) error {
	return s.run(ctx, "commit", commitScript, k, token, keep.Milliseconds())
}

// Release implements [once.Store]. It does not wait for replicas: a claim on a replica
// ends with the lease.
func (s *Store) Release(ctx context.Context, k once.Key, token string) error {
	return s.run(ctx, "release", releaseScript, k, token)
}

// run runs a script on the record of k and translates the answer.
func (s *Store) run(ctx context.Context, operation string, script *redis.Script, k once.Key, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, s.callTimeout)
	defer cancel()
	answer, err := s.eval(ctx, script, s.key(k), args)
	if err != nil {
		return fmt.Errorf("diffhookredis: %s: %w", operation, err)
	}
	switch answer {
	case "ok":
		return nil
	case "done":
		return once.ErrDone
	default:
		return once.ErrInProgress
	}
}

func (s *Store) eval(ctx context.Context, script *redis.Script, key string, args []any) (string, error) {
	if s.replicas > 0 && script != releaseScript {
		return s.evalReplicated(ctx, script, key, args)
	}
	return script.Run(ctx, s.client, []string{key}, args...).Text()
}

// key returns the name of the record of k. The hash tag gives each record a slot of
// the cluster.
func (s *Store) key(k once.Key) string { return s.prefix + "{" + k.String() + "}" }
