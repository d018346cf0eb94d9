package diffhookredis

import (
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// ErrClient is wrapped by the error for an unsuitable client. The error names the remedy.
var ErrClient = errors.New("diffhookredis: unsuitable Redis client")

// checkClient accepts a client of a single server, of Sentinel or of a cluster, if the
// client heeds deadlines.
func checkClient(client redis.UniversalClient) error {
	heedsDeadlines := false
	switch c := client.(type) {
	case nil:
		return fmt.Errorf("%w: the client is nil; pass redis.NewClient or redis.NewClusterClient", ErrClient)
	case interface{ Options() *redis.Options }:
		heedsDeadlines = c.Options().ContextTimeoutEnabled
	case interface{ Options() *redis.ClusterOptions }:
		heedsDeadlines = c.Options().ContextTimeoutEnabled
	case interface{ Options() *redis.RingOptions }:
		return fmt.Errorf("%w: a Ring moves keys to other servers when a server fails, and forgets events; use a cluster, Sentinel or a single server", ErrClient)
	default:
		return fmt.Errorf("%w: the options of %T are unknown; pass redis.NewClient or redis.NewClusterClient", ErrClient, client)
	}
	if !heedsDeadlines {
		return fmt.Errorf("%w: the client ignores deadlines, and its retries can take longer than 10 s; set ContextTimeoutEnabled in the options of the client", ErrClient)
	}
	return nil
}
