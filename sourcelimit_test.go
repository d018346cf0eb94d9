package diffhook_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// The signing secret as a source, against the limit of the plan: within a
// client that is busy with other calls, and over many receivers.

// signingSecretRoute is what SigningSecret.Load asks for.
const signingSecretRoute = "GET /api/signing-secret"

// turnTime is how far apart the free plan's limiter lets requests start. An
// urgent call waits for two turns at most, 2.2 s, and what a limiter of another
// kind takes to notice.
const (
	turnTime = time.Minute / (diffhook.FreePlan * 9 / 10)
	twoTurns = 2*turnTime + 10*time.Millisecond
)

// crowd has 500 goroutines call the API again and again, until leave is called.
func crowd(t *testing.T, client *diffhook.Client) (leave func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for range 500 {
		callers.Go(func() {
			for ctx.Err() == nil {
				if err := listKeys(ctx, client); ctx.Err() == nil {
					assert.NoError(t, err)
				}
			}
		})
	}
	synctest.Wait()
	return func() {
		cancel()
		callers.Wait()
	}
}

// unfair is a Limiter that gives the next turn to whoever asks at the right
// moment, however long others have waited.
type unfair struct {
	mu   sync.Mutex
	next time.Time
}

func (l *unfair) Wait(ctx context.Context) error {
	for {
		l.mu.Lock()
		wait := time.Until(l.next)
		if wait <= 0 {
			l.next = time.Now().Add(turnTime)
			l.mu.Unlock()
			return nil
		}
		l.mu.Unlock()
		select {
		case <-time.After(wait + rand.N(time.Millisecond)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// limiters are of the free plan, and of every kind.
var limiters = map[string]func() diffhook.Limiter{
	"plan limiter": func() diffhook.Limiter { return diffhook.PlanLimiter(diffhook.FreePlan) },
	"rate limiter": func() diffhook.Limiter { return rate.NewLimiter(rate.Every(turnTime), 3) },
	"another kind": func() diffhook.Limiter { return &unfair{} },
}

// eachCrowded runs test in a bubble for each kind of limiter and generation,
// with a client that is busy.
func eachCrowded(t *testing.T, test func(*testing.T, *diffhooktest.Server, *diffhook.Client)) {
	for name, limiter := range limiters {
		for generation := 1; generation <= 2; generation++ {
			t.Run(fmt.Sprintf("%s, generation %d", name, generation), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := diffhooktest.New()
					t.Cleanup(s.Close)
					connect := s.Client
					if generation == 2 {
						connect = s.ClientGen2
					}
					client := connect(&diffhook.ClientOptions{Limiter: limiter()})
					leave := crowd(t, client)
					defer leave()
					test(t, s, client)
					assert.Empty(t, refusals(s))
				})
			})
		}
	}
}

// TestSigningSecretPassesTheLine: behind 500 calls a read takes two turns, as
// long as a verifier waits for it, and none beside the limiter.
func TestSigningSecretPassesTheLine(t *testing.T) {
	eachCrowded(t, func(t *testing.T, s *diffhooktest.Server, client *diffhook.Client) {
		const loads = 20
		began := time.Now()
		for range loads {
			pause(rand.N(7 * time.Second))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			asked := time.Now()
			_, err := client.SigningSecret.Load(ctx)
			cancel()
			require.NoError(t, err)
			assert.LessOrEqual(t, time.Since(asked), twoTurns)
		}
		assert.Equal(t, loads, s.Count(signingSecretRoute))
		var starts startLog
		for _, r := range s.Requests() {
			if r.Route != tokenRoute {
				starts.at = append(starts.at, r.Time)
			}
		}
		starts.requireAtMost(t, diffhook.FreePlan)
		// The others go on as before, with the turns that are left.
		assert.InDelta(t, float64(time.Since(began)/turnTime), float64(len(starts.at)), 4)
	})
}

// TestVerifierLearnsBehindACrowd: a verifier fed by a busy client learns of a
// rotation by its first miss, and by Watch where nothing misses.
func TestVerifierLearnsBehindACrowd(t *testing.T) {
	body := diffhooktest.PageChanged()
	t.Run("by the first miss", func(t *testing.T) {
		eachCrowded(t, func(t *testing.T, s *diffhooktest.Server, client *diffhook.Client) {
			v := newVerifier(t, client.SigningSecret, nil)
			pause(10*time.Second + rand.N(turnTime))
			next := s.Rotate().Current
			rotated := time.Now()
			require.NoError(t, v.Verify(t.Context(), body, next.Sign(body)))
			assert.LessOrEqual(t, time.Since(rotated), twoTurns)
			assert.Equal(t, 2, s.Count(signingSecretRoute))
		})
	})
	t.Run("by Watch", func(t *testing.T) {
		eachCrowded(t, func(t *testing.T, s *diffhooktest.Server, client *diffhook.Client) {
			v := newVerifier(t, client.SigningSecret, nil)
			ctx, cancel := context.WithCancel(t.Context())
			var watch sync.WaitGroup
			watch.Go(func() { v.Watch(ctx, time.Minute) })
			s.Rotate()
			pause(66*time.Second + 3*time.Second) // an interval, its spread, and the read
			cancel()
			watch.Wait()
			assert.Equal(t, s.Secrets().Current.Fingerprint(), v.Status().Current.Fingerprint)
			assert.Equal(t, s.Secrets().Previous.Fingerprint(), v.Status().Previous.Fingerprint)
			assert.Empty(t, v.Status().RefreshError)
		})
	})
}

// TestSigningSecretInAPause: a pause is for urgent calls too, which would draw
// the next 429 otherwise. One that has no time for it fails at once, and says
// why.
func TestSigningSecretInAPause(t *testing.T) {
	const asked = "a 429 pauses all requests until "
	refuse := func(s *diffhooktest.Server) {
		s.Fail(diffhooktest.Fault{Status: http.StatusTooManyRequests, RetryAfter: 30 * time.Second})
	}
	load := func(t *testing.T, c *diffhook.Client) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := c.SigningSecret.Load(ctx)
		return err
	}
	for name, limiter := range limiters {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := diffhooktest.New()
				t.Cleanup(s.Close)
				client := s.Client(&diffhook.ClientOptions{Limiter: limiter()})
				v := newVerifier(t, client.SigningSecret, nil)
				defer crowd(t, client)()
				refuse(s)
				pause(2 * turnTime)
				refused := refusals(s)
				require.Len(t, refused, 1)
				end := refused[0].Add(30 * time.Second)

				began := time.Now()
				err := load(t, client)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
				require.ErrorContains(t, err, asked+end.Format(time.RFC3339))
				require.ErrorContains(t, v.Refresh(t.Context()), asked)
				assert.Contains(t, v.Status().RefreshError, asked)
				assert.Zero(t, time.Since(began))

				pause(time.Until(end) - 2*time.Second)
				require.NoError(t, load(t, client), "there is time for the last 2 s, and two turns")
				assert.LessOrEqual(t, time.Since(end), twoTurns)
				assert.Len(t, refusals(s), 1)
				for _, r := range s.Requests() {
					assert.False(t, r.Time.After(refused[0]) && r.Time.Before(end), "one started in the pause")
				}
			})
		})
		t.Run(name+", begun while it waits", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := diffhooktest.New()
				t.Cleanup(s.Close)
				client := s.Client(&diffhook.ClientOptions{Limiter: limiter()})
				defer crowd(t, client)()
				pause(10*time.Second + turnTime/2)
				refuse(s) // meets the call that is before it
				began := time.Now()
				err := load(t, client)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, asked)
				assert.LessOrEqual(t, time.Since(began), twoTurns)
				assert.Zero(t, s.Count(signingSecretRoute))
			})
		})
	}
}

// TestReceiversUnderForgeries: receivers that read the secret from the API, each in
// a process of its own, with one key and from one address. All start at once,
// into a flood of forgeries that goes on for ten minutes, and halfway through
// the secret is rotated, right after all have read it: the worst moment. The
// documentation of SigningSecretService.Load recommends what follows from it.
func TestReceiversUnderForgeries(t *testing.T) {
	for _, c := range []struct {
		name      string
		plan      int
		receivers int
		interval  time.Duration
		watch     time.Duration
		refused   bool // 429s are drawn
		lost      bool // deliveries are lost
	}{
		{name: "default", plan: diffhook.FreePlan, receivers: 6, watch: time.Minute},
		{name: "default, paid plan", plan: diffhook.PaidPlan, receivers: 20, watch: time.Minute},
		{name: "default, too many", plan: diffhook.FreePlan, receivers: 20, refused: true},
		{name: "30 s", plan: diffhook.FreePlan, receivers: 10, interval: 30 * time.Second, watch: time.Minute},
		{name: "30 s, without Watch", plan: diffhook.FreePlan, receivers: 12, interval: 30 * time.Second},
		{name: "30 s, paid plan", plan: diffhook.PaidPlan, receivers: 33, interval: 30 * time.Second, watch: time.Minute},
		{name: "30 s, too many", plan: diffhook.FreePlan, receivers: 25, interval: 30 * time.Second, refused: true},
		{name: "1 min, too seldom", plan: diffhook.FreePlan, receivers: 10, interval: time.Minute, lost: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := diffhooktest.New()
				t.Cleanup(s.Close)
				s.DefaultTeam().SetPlan(diffhooktest.Plan{RequestsPerMinute: c.plan})
				f := &floodedReceivers{server: s, plan: c.plan, opts: diffhook.VerifierOptions{MinRefreshInterval: c.interval}, watch: c.watch}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				f.start(t, ctx, c.receivers)

				pause(5 * time.Minute)
				reads := s.Count(signingSecretRoute)
				for s.Count(signingSecretRoute) < reads+c.receivers && !c.refused {
					pause(100 * time.Millisecond)
				}
				s.Rotate()
				var changes sync.WaitGroup
				for range 60 {
					f.change(t, &changes)
					pause(time.Second)
				}
				changes.Wait()
				<-ctx.Done()
				f.running.Wait()
				pause(10 * time.Second) // reads that nobody waits for end

				lost, attempts := 0, make(map[int]int)
				for _, d := range s.Deliveries() {
					attempts[len(d.Attempts)]++
					if !d.Delivered {
						lost++
					}
				}
				assert.Equal(t, c.refused, len(refusals(s)) > 0, "%d were refused", len(refusals(s)))
				assert.Equal(t, c.lost, lost > 0, "%d were lost", lost)
				if c.interval >= 30*time.Second && !c.refused {
					assert.Positive(t, attempts[3], "some took the last attempt")
				}
			})
		})
	}
}

// floodedReceivers is receivers under a flood of forgeries.
type floodedReceivers struct {
	server *diffhooktest.Server
	plan   int
	opts   diffhook.VerifierOptions
	watch  time.Duration // 0: no Watch

	running   sync.WaitGroup
	receivers sync.Map // by host, their http.Handler
	monitors  []diffhooktest.Monitor
}

// start starts n receivers and the floods to them, which end with ctx.
func (f *floodedReceivers) start(t *testing.T, ctx context.Context, n int) {
	f.server.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(f)})
	for i := range n {
		host := fmt.Sprintf("receiver-%d.example.org", i)
		f.monitors = append(f.monitors, f.server.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: "https://" + host + "/"}))
		f.running.Go(func() { f.receive(t, ctx, host) })
	}
}

// receive is one receiver, behind a network that takes its time.
func (f *floodedReceivers) receive(t *testing.T, ctx context.Context, host string) {
	network := delayed{diffhooktest.Transport(f.server), func() time.Duration { return rand.N(300 * time.Millisecond) }}
	client := f.server.Client(&diffhook.ClientOptions{Limiter: diffhook.PlanLimiter(f.plan), HTTPClient: &http.Client{Transport: network}})
	v, err := diffhook.NewVerifier(ctx, client.SigningSecret, &f.opts)
	if !assert.NoError(t, err) {
		return
	}
	f.receivers.Store(host, v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	if f.watch > 0 {
		f.running.Go(func() { v.Watch(ctx, f.watch) })
	}
	body := []byte("{}")
	forged := letter(t, "Z").Sign(body)
	for ctx.Err() == nil {
		assert.Error(t, v.Verify(ctx, body, forged))
		pause(200 * time.Millisecond)
	}
}

// ServeHTTP hands a delivery to the receiver that it is for.
func (f *floodedReceivers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h, ok := f.receivers.Load(r.Host); ok {
		h.(http.Handler).ServeHTTP(w, r)
		return
	}
	w.WriteHeader(http.StatusBadGateway)
}

// change has every receiver told of a change.
func (f *floodedReceivers) change(t *testing.T, changes *sync.WaitGroup) {
	for _, m := range f.monitors {
		changes.Go(func() {
			_, err := f.server.Change(m.ID, nil)
			assert.NoError(t, err)
		})
	}
}

// TestSigningSecretAfterFailedExchange: where the token has ended, and the first
// exchange for another fails, the next one does not stand in line either.
func TestSigningSecretAfterFailedExchange(t *testing.T) {
	for _, fails := range []int{0, 1, 2} {
		t.Run(fmt.Sprint(fails, " fail"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := diffhooktest.New()
				t.Cleanup(s.Close)
				client := s.ClientGen2(&diffhook.ClientOptions{Limiter: diffhook.PlanLimiter(diffhook.FreePlan)})
				leave := crowd(t, client)
				defer leave()
				<-time.After(10 * time.Minute)
				s.DefaultTeam().ExpireTokens()
				s.Fail(diffhooktest.Fault{Route: "POST /api/oauth/token", Status: http.StatusServiceUnavailable, Times: max(1, fails), Skip: map[bool]int{true: 1 << 20}[fails == 0]})
				began := time.Now()
				_, err := client.SigningSecret.Load(t.Context())
				require.NoError(t, err)
				assert.Less(t, time.Since(began), 10*time.Second)
			})
		})
	}
}
