package diffhook_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// lossRig is two servers behind a balancer, of which each has a source of its own,
// and the events that reached either.
type lossRig struct {
	*testing.T
	sources   []*settableSource
	verifiers []*diffhook.Verifier
	handlers  []http.Handler
	next      atomic.Uint64

	mu      sync.Mutex
	handled map[string]int // by Event.MonitorID
}

func newLossRig(t *testing.T) *lossRig {
	g := &lossRig{T: t, handled: map[string]int{}}
	for range 2 {
		source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
		v := newVerifier(t, source, nil)
		g.sources, g.verifiers = append(g.sources, source), append(g.verifiers, v)
		g.handlers = append(g.handlers, v.EventHandler(func(_ context.Context, e *diffhook.Event) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.handled[e.MonitorID]++
			return nil
		}))
	}
	return g
}

func (g *lossRig) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.handlers[g.next.Add(1)%2].ServeHTTP(w, r)
}

func (g *lossRig) each(do func(*diffhook.Verifier) error) {
	for _, v := range g.verifiers {
		require.NoError(g, do(v))
	}
}

// rotation is what a rotation does to the servers. Somebody clicks at the time 0.
type rotation struct {
	late   time.Duration // until the sources have the new secret
	hold   bool
	pushed bool // 5 s after the click
	once   bool // a retry keeps the signature of the first attempt
}

const lossEvents = 1000

// run sends lossEvents events evenly, from 30 s before the click to 30 s after the
// sources have the new secret, and a forgery for each. It returns how many events
// were never handled.
func (g *lossRig) run(r rotation) (lost int) {
	sender := diffhooktest.NewSender(letter(g, "A"), &diffhooktest.SenderOptions{SignOnce: r.once})
	forger := diffhooktest.NewSender(letter(g, "Z"), &diffhooktest.SenderOptions{Retries: []time.Duration{}})
	var wg sync.WaitGroup
	wg.Go(func() {
		pause(30 * time.Second)
		if r.hold {
			g.each(func(v *diffhook.Verifier) error { return v.Hold(time.Hour) })
		}
		sender.Rotate(letter(g, "B"))
		if r.pushed {
			pause(5 * time.Second)
			g.each(func(v *diffhook.Verifier) error { return v.AcceptSuccessor(seal(g, "A", "B")) })
		}
	})
	wg.Go(func() {
		pause(30*time.Second + r.late)
		for _, s := range g.sources {
			s.set(diffhook.Secrets{Current: letter(g, "B")}, nil)
		}
		g.each(func(v *diffhook.Verifier) error { return v.Refresh(g.Context()) })
		pause(30 * time.Second)
		g.each(func(v *diffhook.Verifier) error { return v.Hold(0) })
		g.each(func(v *diffhook.Verifier) error { return v.Drain(g.Context()) })
	})
	for i := range lossEvents {
		wg.Go(func() {
			sender.SendTo(g.Context(), g, fmt.Appendf(nil, `{"monitor_id":"mon_%d"}`, i))
		})
		wg.Go(func() {
			forger.SendTo(g.Context(), g, fmt.Appendf(nil, `{"monitor_id":"forged_%d"}`, i))
		})
		pause((r.late + time.Minute) / lossEvents)
	}
	wg.Wait()
	for i := range lossEvents {
		if g.handled[fmt.Sprintf("mon_%d", i)] == 0 {
			lost++
		}
	}
	assert.Len(g, g.handled, lossEvents-lost, "no forgery was handled")
	return lost
}

// Generation 1 gives up 35 s after the first attempt. A new secret that takes longer
// to reach the servers loses the deliveries before that, unless a hold keeps them or
// the servers are told the secret at once.
func TestHoldAndSuccessorLoseNothing(t *testing.T) {
	for _, late := range []time.Duration{45 * time.Second, time.Minute, 10 * time.Minute} {
		for _, once := range []bool{false, true} {
			for _, r := range []rotation{{}, {hold: true}, {pushed: true}, {hold: true, pushed: true}} {
				r.late, r.once = late, once
				t.Run(fmt.Sprintf("%+v", r), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						g := newLossRig(t)
						lost := g.run(r)
						t.Logf("%d of %d lost", lost, lossEvents)
						if !r.hold && !r.pushed {
							// After 45 s, few are lost: each attempt waits for a read.
							require.True(t, lost > lossEvents/20 || late < time.Minute, "or this shows nothing")
							return
						}
						require.Zero(t, lost)
						for id, times := range g.handled {
							require.Equal(t, 1, times, id)
						}
					})
				})
			}
		}
	}
}
