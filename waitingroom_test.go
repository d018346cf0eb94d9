package diffhook_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// emptyBudget uses up the reads that may follow each other at once. The source is
// read once in 10 s from now on.
func emptyBudget(t *testing.T, v *diffhook.Verifier) {
	t.Helper()
	for range 3 {
		require.Error(t, verifySigned(t, t.Context(), v, "D"))
	}
}

// Genuine deliveries are many, the source is slow, and the secret is rotated: all
// wait for one read, and none is turned away.
func TestSlowSourceTurnsNobodyAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: 2200 * time.Millisecond}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")})
		var refused atomic.Int32
		var wg sync.WaitGroup
		for range 221 {
			wg.Go(func() {
				if verifySigned(t, t.Context(), v, "B") != nil {
					refused.Add(1)
				}
			})
			pause(25 * time.Millisecond)
		}
		wg.Wait()
		t.Logf("%d of 221 refused", refused.Load())
		assert.Zero(t, refused.Load())
		assert.Equal(t, 2, source.count())
	})
}

// One forgery a second uses up the reads as they come back. The secret is rotated
// 20 times, each followed by 10 s of genuine deliveries, 5 a second. A delivery
// misses its first attempt only if it comes in the first seconds after a read.
func TestForgeriesDoNotUseUpReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: 200 * time.Millisecond}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				wg.Go(func() { assert.Error(t, verifySigned(t, ctx, v, "Z")) })
				pause(time.Second)
			}
		})
		random := rand.New(rand.NewPCG(1, 2))
		var missed, most atomic.Int64
		const rotations = 20
		for i := range rotations {
			pause(30*time.Second + time.Duration(random.Int64N(int64(10*time.Second))))
			names := []string{string(rune('A' + i)), string(rune('B' + i))}
			source.set(diffhook.Secrets{Current: letter(t, names[1]), Previous: letter(t, names[0])}, nil)
			for range 50 {
				wg.Go(func() {
					began := time.Now()
					if verifySigned(t, t.Context(), v, names[1]) != nil {
						missed.Add(1)
					}
					most.Store(max(most.Load(), int64(time.Since(began))))
				})
				pause(200 * time.Millisecond)
			}
		}
		cancel()
		wg.Wait()
		t.Logf("%d of %d missed their first attempt", missed.Load(), rotations*50)
		assert.Less(t, missed.Load(), int64(rotations*50/10), "a tenth")
		assert.LessOrEqual(t, time.Duration(most.Load()), 8*time.Second)
	})
}

// What a miss waits for when the reads are used up, and for how long.
func TestMissWaitsForTheNextRead(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		name  string
		delay time.Duration // of the source
		after time.Duration // the last of three reads has begun
		want  time.Duration // that the delivery waits
		ok    bool
	}{
		{"it comes soon enough", 0, 3 * s, 7 * s, true},
		{"and is over soon enough", 2 * s, 6 * s, 6 * s, true},
		{"it comes too late", 0, 2 * s, 0, false},
		{"it will not be over in time", 2 * s, 4 * s, 0, false},
		{"it comes at once", s, 10 * s, s, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &slowSource{}
				v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
				emptyBudget(t, v)
				began := time.Now()
				source.delay = test.delay
				require.NoError(t, v.Refresh(t.Context()), "which also tells how long a read takes")
				source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
				pause(test.after - time.Since(began))
				asked, reads := time.Now(), source.count()
				err := verifySigned(t, t.Context(), v, "B")
				assert.Equal(t, test.want, time.Since(asked))
				if test.ok {
					require.NoError(t, err)
					assert.Equal(t, reads+1, source.count())
				} else {
					require.ErrorIs(t, err, diffhook.ErrSignatureMismatch)
					assert.Equal(t, reads, source.count())
				}
			})
		})
	}
}

// A read that began before the delivery came may have missed the secret. The
// delivery waits for one more, and for no third.
func TestMissWaitsForTwoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: time.Second}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, v.Refresh(t.Context())) })
		synctest.Wait() // the source has answered A, and the answer is on its way
		source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
		pause(time.Second / 2)
		for range 100 {
			wg.Go(func() {
				began := time.Now()
				assert.NoError(t, verifySigned(t, t.Context(), v, "B"))
				assert.Equal(t, 1500*time.Millisecond, time.Since(began))
			})
			wg.Go(func() {
				began := time.Now()
				assert.ErrorIs(t, verifySigned(t, t.Context(), v, "D"), diffhook.ErrSignatureMismatch)
				assert.Equal(t, 1500*time.Millisecond, time.Since(began))
			})
		}
		wg.Wait()
		assert.Equal(t, 3, source.count(), "the first, the one under way, and one more for all")
	})
}

// All that wait share the next read, and a Refresh brings it forward.
func TestRefreshServesThoseThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
		emptyBudget(t, v)
		pause(5 * time.Second)
		source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				began := time.Now()
				assert.NoError(t, verifySigned(t, t.Context(), v, "B"))
				assert.Equal(t, time.Second, time.Since(began))
			})
		}
		pause(time.Second)
		reads := source.count()
		require.NoError(t, v.Refresh(t.Context()))
		wg.Wait()
		pause(time.Minute)
		assert.Equal(t, reads+1, source.count(), "and the scheduled one is not made beside it")
	})
}

// Nobody waits for longer than 8 s, or than the context, whatever the source does.
func TestMissWaitsEightSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
		emptyBudget(t, v)
		source.delay = 4 * time.Second // the reads before it took no time
		pause(3 * time.Second)
		began := time.Now()
		err := verifySigned(t, t.Context(), v, "B")
		require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
		assert.Equal(t, http.StatusServiceUnavailable, diffhook.HTTPStatus(err))
		assert.Equal(t, 8*time.Second, time.Since(began))
		pause(time.Minute)

		source.delay = 0
		require.NoError(t, v.Refresh(t.Context()))
		emptyBudget(t, v)
		pause(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		began = time.Now()
		require.ErrorIs(t, verifySigned(t, ctx, v, "B"), diffhook.ErrSignatureMismatch)
		assert.Equal(t, began, time.Now(), "the next read is later than its context")
	})
}

// A source that hangs while deliveries wait for it lets them go after 5 s, and
// those that come after that at once.
func TestNobodyWaitsForHungSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
		emptyBudget(t, v)
		source.hang = make(chan struct{})
		pause(7500 * time.Millisecond)
		var wg sync.WaitGroup
		waits := func(want time.Duration) {
			wg.Go(func() {
				began := time.Now()
				assert.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
				assert.Equal(t, want, time.Since(began))
			})
		}
		waits(7500 * time.Millisecond) // 2.5 s until the read, and 5 s
		pause(6500 * time.Millisecond)
		waits(time.Second)
		pause(2 * time.Second)
		for range 100 {
			waits(0)
			pause(time.Second)
		}
		wg.Wait()
		close(source.hang)
	})
}

// A source that fails is asked again within the wait: it may have recovered.
func TestMissWaitsForSourceThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
		source.set(diffhook.Secrets{}, errors.New("vault is sealed"))
		emptyBudget(t, v)
		pause(2 * time.Second)
		require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
		pause(2 * time.Second)
		source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
		require.NoError(t, verifySigned(t, t.Context(), v, "B"))
	})
}

// The deliveries that wait are bounded by the memory that they hold, however they
// come. A delivery too many is answered 503 at once, and known secrets are
// accepted all the while.
func TestWaitingIsBoundedByBytes(t *testing.T) {
	for _, test := range []struct {
		name  string
		size  int // of a body
		n     int // that come at once
		least int // that wait
		most  int
	}{
		{"ordinary ones by the thousand", 2 << 10, 5000, 5000, 5000},
		{"long ones", 1 << 20, 100, 60, 64},
		{"longer than the bound, alone", 65 << 20, 1, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &slowSource{delay: 2 * time.Second}
				v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")})
				body := make([]byte, test.size)
				signature := letter(t, "B").Sign(body)
				var accepted atomic.Int32
				var wg sync.WaitGroup
				began := time.Now()
				for range test.n {
					wg.Go(func() {
						err := v.Verify(t.Context(), body, signature)
						if err == nil {
							accepted.Add(1)
							return
						}
						assert.Equal(t, http.StatusServiceUnavailable, diffhook.HTTPStatus(err))
						assert.ErrorContains(t, err, "64 MiB")
						assert.Equal(t, began, time.Now(), "at once")
					})
				}
				synctest.Wait()
				assert.NoError(t, verifySigned(t, t.Context(), v, "A"))
				wg.Wait()
				assert.GreaterOrEqual(t, int(accepted.Load()), test.least)
				assert.LessOrEqual(t, int(accepted.Load()), test.most)
			})
		})
	}
}

// The wait of a request that Handler reads counts its buffer.
func TestWaitOfRequestsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: 2 * time.Second}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
		h := v.Handler(http.NotFoundHandler())
		body := make([]byte, 4<<20)
		signature := letter(t, "D").Sign(body)
		var answers sync.Map
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, signedRequest(body, signature))
				answers.Store(i, w.Code)
			})
		}
		wg.Wait()
		codes := map[int]int{}
		answers.Range(func(_, code any) bool { codes[code.(int)]++; return true })
		assert.Equal(t, map[int]int{http.StatusUnauthorized: 15, http.StatusServiceUnavailable: 5}, codes)
	})
}
