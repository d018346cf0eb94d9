package diffhookredis_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
)

// limit is a process of a fleet: it starts requests until the process is killed, and prints
// the time of each request.
func limit() {
	number := func(name string) int {
		n, err := strconv.Atoi(os.Getenv(name))
		exitOn(err)
		return n
	}
	o, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	exitOn(err)
	o.ContextTimeoutEnabled = true
	l, err := diffhookredis.NewLimiter(redis.NewClient(o), os.Getenv("NAME"), 60, nil)
	exitOn(err)
	diffhookredis.SetWindow(l, number("PLAN"), time.Duration(number("WINDOW_MS"))*time.Millisecond, diffhookredis.LimiterOptions{})
	var mu sync.Mutex
	var running sync.WaitGroup
	for range number("GOROUTINES") {
		running.Go(func() {
			for {
				exitOn(l.Wait(context.Background()))
				now := time.Now().UnixMicro()
				mu.Lock()
				fmt.Println(now)
				mu.Unlock()
			}
		})
	}
	running.Wait()
}
