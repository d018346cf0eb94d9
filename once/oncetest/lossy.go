package oncetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once"
)

var errLost = errors.New("the answer is lost")

// lossy carries out every call, and loses the answers to calls with a bit in lost. The
// lowest bit belongs to the first call.
type lossy struct {
	once.Store
	lost  uint
	calls atomic.Uint64
}

func (l *lossy) lose(err error) error {
	if l.lost>>(l.calls.Add(1)-1)&1 == 1 {
		return errLost
	}
	return err
}

func (l *lossy) Claim(ctx context.Context, k once.Key, token string, lease time.Duration) error {
	return l.lose(l.Store.Claim(ctx, k, token, lease))
}

func (l *lossy) Commit(ctx context.Context, k once.Key, token string, keep time.Duration) error {
	return l.lose(l.Store.Commit(ctx, k, token, keep))
}

func (l *lossy) Release(ctx context.Context, k once.Key, token string) error {
	return l.lose(l.Store.Release(ctx, k, token))
}

// checkFunc delivers events through [once.Func] until a delivery succeeds. For each event,
// it loses the answers to another selection of the first four calls. The function fails at
// first, so that Func releases the claim, and must succeed once.
func checkFunc(ctx context.Context, s subject) error {
	failed := errors.New("the function failed")
	for lost := range uint(1 << 4) {
		e := &diffhook.Event{Type: "page.changed", MonitorID: s.key.String(), TriggeredAt: time.Unix(int64(lost), 0)}
		calls := 0
		f := once.Func(&lossy{Store: s.a, lost: lost}, func(context.Context, *diffhook.Event) error {
			if calls++; calls == 1 {
				return failed
			}
			return nil
		}, nil)
		err := errLost
		for attempt := 0; attempt < 4 && err != nil; attempt++ {
			err = f(ctx, e)
		}
		duplicate := once.Func(s.b, func(context.Context, *diffhook.Event) error {
			calls++
			return nil
		}, nil)
		if err := all(
			want(fmt.Sprintf("delivery with answers lost (%04b)", lost), err, nil),
			want("duplicate", duplicate(ctx, e), nil),
		); err != nil {
			return err
		}
		if calls != 2 {
			return fmt.Errorf("answers lost (%04b): want one failing and one succeeding call of the function, got %d", lost, calls)
		}
	}
	return nil
}
