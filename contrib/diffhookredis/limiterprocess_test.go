package diffhookredis_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/internal/childprocess"
)

// limit is a process of a fleet: it starts requests until the process is killed, and prints
// the time of each request.
func (j job) limit() {
	l, err := diffhookredis.NewLimiter(j.client(), j.Name, 60, nil)
	childprocess.ExitOn(err)
	diffhookredis.SetWindow(l, j.Plan, j.Window, diffhookredis.LimiterOptions{})
	var mu sync.Mutex
	var running sync.WaitGroup
	for range j.Callers {
		running.Go(func() {
			for {
				childprocess.ExitOn(l.Wait(context.Background()))
				now := time.Now().UnixMicro()
				mu.Lock()
				fmt.Println(now)
				mu.Unlock()
			}
		})
	}
	running.Wait()
}
