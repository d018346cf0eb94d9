package diffhookredis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrEviction is wrapped by the error of [CheckEviction] for a server that can evict keys.
var ErrEviction = errors.New("diffhookredis: Redis evicts keys")

// CheckEviction returns an error that wraps [ErrEviction] unless the maxmemory-policy of
// every server is noeviction. With any other policy, also a volatile policy, a server
// short of memory deletes records without an error, and events are handled again. With
// noeviction, claims fail and DiffHook retries.
//
// In a cluster, CheckEviction asks each primary, and each replica, since a replica can
// take over. Behind Sentinel, CheckEviction asks the primary only: call it also with a
// client of each replica. It reads INFO memory: hosted servers refuse CONFIG.
func CheckEviction(ctx context.Context, client redis.UniversalClient) error {
	if cluster, ok := client.(interface {
		ForEachShard(context.Context, func(context.Context, *redis.Client) error) error
	}); ok {
		return cluster.ForEachShard(ctx, func(ctx context.Context, server *redis.Client) error {
			return checkPolicy(ctx, server)
		})
	}
	return checkPolicy(ctx, client)
}

func checkPolicy(ctx context.Context, server redis.Cmdable) error {
	info, err := server.Info(ctx, "memory").Result()
	if err != nil {
		return fmt.Errorf("diffhookredis: read maxmemory_policy with INFO memory: %w", err)
	}
	policy := infoField(info, "maxmemory_policy")
	switch policy {
	case "noeviction":
		return nil
	case "":
		return errors.New("diffhookredis: read maxmemory_policy with INFO memory: the field is missing; check the policy by hand")
	}
	return fmt.Errorf("%w: maxmemory-policy is %s; set maxmemory-policy noeviction, or use a server apart from the cache", ErrEviction, policy)
}

// infoField returns the value of a field in the response to INFO, or "".
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if field, value, _ := strings.Cut(strings.TrimSpace(line), ":"); field == name {
			return value
		}
	}
	return ""
}
