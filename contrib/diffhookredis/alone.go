package diffhookredis

import (
	"context"
	"log/slog"
	"time"

	"github.com/diffhook/diffhook-go/internal/wait"
)

// retryAway is the time between two attempts to reach Redis.
const retryAway = 2 * time.Second

// alone paces this process while Redis is away. The holder of Limiter.first owns it.
type alone struct {
	logger   *slog.Logger
	interval time.Duration // between two requests of this process
	since    time.Time     // the start of the outage; zero if there is none
	retry    time.Time     // the next attempt to reach Redis
	next     time.Time     // the next start of this process
}

func (a *alone) isActive() bool { return !a.since.IsZero() }

// mayAsk reports whether Redis is there, or is worth another attempt.
func (a *alone) mayAsk() bool { return !a.isActive() || !time.Now().Before(a.retry) }

// begin notes the start of an outage. The first request follows an interval later,
// since the turns before the outage count too.
func (a *alone) begin(ctx context.Context, err error) {
	now := time.Now()
	a.retry = now.Add(retryAway)
	if a.isActive() {
		return
	}
	a.since, a.next = now, now.Add(a.interval)
	if a.logger != nil {
		a.logger.LogAttrs(ctx, slog.LevelWarn, "diffhookredis: Redis is away; until Redis answers, this process starts a share of the plan alone",
			slog.Duration("interval", a.interval), slog.Any("error", err))
	}
}

// end notes the end of an outage.
func (a *alone) end(ctx context.Context) {
	if !a.isActive() {
		return
	}
	if a.logger != nil {
		a.logger.LogAttrs(ctx, slog.LevelInfo, "diffhookredis: Redis is back", slog.Duration("away", time.Since(a.since)))
	}
	a.since = time.Time{}
}

// wait returns when this process may start the next request.
func (a *alone) wait(ctx context.Context) error {
	if err := wait.For(ctx, time.Until(a.next)); err != nil {
		return err
	}
	a.next = time.Now().Add(a.interval)
	return nil
}
