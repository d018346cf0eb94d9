package diffhookredis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrReplicas is wrapped by the error of a write with too few acknowledgements.
var ErrReplicas = errors.New("too few replicas acknowledged the write")

// replicaTimeout is shorter than the ReadTimeout that New recommends: WAIT must answer
// before the client gives up.
const replicaTimeout = 500 * time.Millisecond

// evalReplicated runs a script, and waits until s.replicas replicas acknowledge the write.
// WAIT counts the writes of the same connection: both commands go to the primary of key
// in a pipeline.
func (s *Store) evalReplicated(ctx context.Context, script *redis.Script, key string, args []any) (string, error) {
	primary, err := s.primary(ctx, key)
	if err != nil {
		return "", err
	}
	pipe := primary.Pipeline()
	answer := script.Eval(ctx, pipe, []string{key}, args...)
	acknowledged := redis.NewIntCmd(ctx, "wait", s.replicas, replicaTimeout.Milliseconds())
	_ = pipe.Process(ctx, acknowledged) // queues the command
	if _, err := pipe.Exec(ctx); err != nil {
		s.learnMove(ctx, err)
		return "", err
	}
	text, err := answer.Text()
	if err == nil && text == "ok" && acknowledged.Val() < int64(s.replicas) {
		return "", fmt.Errorf("%w: %d of %d", ErrReplicas, acknowledged.Val(), s.replicas)
	}
	return text, err
}

func (s *Store) primary(ctx context.Context, key string) (redis.Cmdable, error) {
	if cluster, ok := s.client.(interface {
		MasterForKey(context.Context, string) (*redis.Client, error)
	}); ok {
		return cluster.MasterForKey(ctx, key)
	}
	return s.client, nil
}

// learnMove makes a cluster client read the slots again after a slot moved. A pipeline to
// a server does not follow: the call fails, and the retry finds the new primary.
func (s *Store) learnMove(ctx context.Context, err error) {
	cluster, ok := s.client.(interface{ ReloadState(context.Context) })
	if ok && (redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "ASK")) {
		cluster.ReloadState(ctx)
	}
}
