package diffhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
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

// slowSource answers like settableSource after a delay, or returns the error of the
// context. If hang is set, the source ignores the context until hang is closed.
type slowSource struct {
	settableSource
	delay   time.Duration
	hang    chan struct{} // if not nil, Load waits for it to close
	running atomic.Int32
	most    atomic.Int32 // largest number of simultaneous calls
}

func (s *slowSource) Load(ctx context.Context) (diffhook.Secrets, error) {
	if n := s.running.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	defer s.running.Add(-1)
	answer, err := s.settableSource.Load(ctx)
	if s.hang != nil {
		<-s.hang
		return answer, err
	}
	select {
	case <-time.After(s.delay):
		return answer, err
	case <-ctx.Done():
		return diffhook.Secrets{}, ctx.Err()
	}
}

// verifySigned verifies a body signed by the named secret.
func verifySigned(t testing.TB, ctx context.Context, v *diffhook.Verifier, name string) error {
	body := []byte("a body")
	return v.Verify(ctx, body, letter(t, name).Sign(body))
}

// atA returns a verifier with the secret A, whose source answers answer from then on.
func atA(t *testing.T, source *slowSource, opts *diffhook.VerifierOptions, answer diffhook.Secrets) *diffhook.Verifier {
	hang := source.hang
	source.hang = nil
	source.set(diffhook.Secrets{Current: letter(t, "A")}, nil)
	v := newVerifier(t, source, opts)
	source.set(answer, nil)
	source.hang = hang
	return v
}

func TestMissLearnsNewSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: time.Second}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "B")})
		require.NoError(t, verifySigned(t, t.Context(), v, "B"))
		require.NoError(t, verifySigned(t, t.Context(), v, "A"), "the replaced secret is in its window")
		assert.Equal(t, 2, source.count())
	})
}

// A fixed set never changes: a forgery must not read it again.
func TestMissDoesNotRereadFixedSecrets(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	first := v.Status().LastRefresh
	require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSignatureMismatch)
	assert.Equal(t, first, v.Status().LastRefresh)
}

// A malformed signature must not read the source: it costs the sender nothing.
func TestMalformedSignatureDoesNotRead(t *testing.T) {
	source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
	v := newVerifier(t, source, &diffhook.VerifierOptions{MinRefreshInterval: -1})
	require.ErrorIs(t, v.Verify(t.Context(), nil, "sha256=zz"), diffhook.ErrMalformedSignature)
	require.ErrorIs(t, v.Verify(t.Context(), nil, ""), diffhook.ErrNoSignature)
	assert.Equal(t, 1, source.count())
}

func TestMissesShareOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: time.Second}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "B")})
		var wg sync.WaitGroup
		for range 60 {
			wg.Go(func() { assert.NoError(t, verifySigned(t, t.Context(), v, "B")) })
		}
		wg.Wait()
		assert.Equal(t, 2, source.count(), "a read for NewVerifier, and a read for all deliveries")
	})
}

// A sender of well-formed forgeries controls how often misses happen, not how often the
// source is read.
func TestMissesReadOncePerIntervalOnAverage(t *testing.T) {
	tests := []struct {
		name     string
		interval time.Duration
		want     int // reads in 59.9 s of forgeries, ten a second
	}{
		{"10 s by default", 0, 3 + 5},
		{"20 s", 20 * time.Second, 3 + 2},
		{"as long as there is", 1<<63 - 1, 3},
		{"negative: no limit", -1, 599},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
				v := newVerifier(t, source, &diffhook.VerifierOptions{MinRefreshInterval: test.interval})
				var forgeries sync.WaitGroup
				for range 599 {
					forgeries.Go(func() {
						assert.ErrorIs(t, verifySigned(t, t.Context(), v, "D"), diffhook.ErrSignatureMismatch)
					})
					pause(100 * time.Millisecond)
				}
				assert.Equal(t, test.want, source.count()-1)
				forgeries.Wait()
			})
		})
	}
}

// The sender of the first miss hangs up: the read is shared and goes on.
func TestReadIsDetachedFromRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: 3 * time.Second}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "B")})
		hungUp := errors.New("the sender hung up")
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			err := verifySigned(t, ctx, v, "B")
			assert.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
			assert.ErrorIs(t, err, hungUp)
		})
		synctest.Wait()
		wg.Go(func() { assert.NoError(t, verifySigned(t, t.Context(), v, "B")) })
		synctest.Wait()
		cancel(hungUp)
		wg.Wait()
		assert.Equal(t, 2, source.count())
	})
}

// A hung source delays a delivery by 5 s, once, and is not read again meanwhile. The
// late answer still counts.
func TestHungSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{hang: make(chan struct{})}
		v := atA(t, source, &diffhook.VerifierOptions{MinRefreshInterval: -1}, diffhook.Secrets{Current: letter(t, "B")})
		began := time.Now()
		require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
		assert.Equal(t, 5*time.Second, time.Since(began))

		for range 1000 {
			require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
			require.ErrorIs(t, v.Refresh(t.Context()), diffhook.ErrSecretsUnavailable)
		}
		assert.Equal(t, 5*time.Second, time.Since(began), "no further wait for the source")
		require.NoError(t, verifySigned(t, t.Context(), v, "A"), "a secret in force")
		assert.Equal(t, 2, source.count())
		assert.EqualValues(t, 1, source.most.Load())
		assert.NotEmpty(t, v.Status().RefreshError)

		close(source.hang)
		synctest.Wait()
		require.NoError(t, verifySigned(t, t.Context(), v, "B"))
		assert.Empty(t, v.Status().RefreshError)
	})
}

func TestSourceThatBreaks(t *testing.T) {
	for name, breaks := range map[string]func(){
		"panics with a text":   func() { panic("nil map in the customer's code") },
		"panics with an error": func() { panic(errors.New("index out of range")) },
		"ends its goroutine":   func() { runtime.Goexit() },
	} {
		t.Run(name, func(t *testing.T) {
			broken := false
			source := diffhook.SecretSourceFunc(func(context.Context) (diffhook.Secrets, error) {
				if broken {
					breaks()
				}
				return diffhook.Secrets{Current: letter(t, "A")}, nil
			})
			v := newVerifier(t, source, &diffhook.VerifierOptions{MinRefreshInterval: -1})
			broken = true
			require.ErrorIs(t, v.Refresh(t.Context()), diffhook.ErrSecretsUnavailable)
			require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
			require.NoError(t, verifySigned(t, t.Context(), v, "A"))
			_, err := diffhook.NewVerifier(t.Context(), source, nil)
			require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
			broken = false
			require.NoError(t, v.Refresh(t.Context()), "the source recovers")
		})
	}
}

// The answer is 503 while the source fails: the missing secret may have signed. The
// answer is 401 after an answer of the source without the secret.
func TestMissWhileSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
		v := newVerifier(t, source, nil)
		source.set(diffhook.Secrets{}, errors.New("vault is sealed"))
		require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
		require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable, "also without a further read")
		source.set(diffhook.Secrets{Current: letter(t, "A")}, nil)
		<-time.After(10 * time.Second)
		require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSignatureMismatch)
		require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSignatureMismatch)
	})
}

// A read that began before Refresh may be out of date: Refresh waits for it and reads
// again. Two calls of Refresh that wait share a read.
func TestRefreshReadsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: time.Second}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, v.Refresh(t.Context())) })
		synctest.Wait() // the source has answered A, and the answer is on its way
		source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
		for range 10 {
			wg.Go(func() {
				assert.NoError(t, v.Refresh(t.Context()))
				assert.Equal(t, letter(t, "B").Fingerprint(), v.Status().Current.Fingerprint)
			})
		}
		wg.Wait()
		assert.Equal(t, 3, source.count())
		assert.EqualValues(t, 1, source.most.Load(), "never two at a time")
	})
}

func TestRefreshEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: 4 * time.Second}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "B")})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := v.Refresh(ctx)
		require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		<-time.After(3 * time.Second)
		synctest.Wait()
		require.NoError(t, verifySigned(t, t.Context(), v, "B"), "the read went on")
	})
}

func TestFirstReadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{hang: make(chan struct{})}
		source.set(diffhook.Secrets{Current: letter(t, "A")}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		began := time.Now()
		_, err := diffhook.NewVerifier(ctx, source, nil)
		require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(began))
		cancel()
		close(source.hang)
	})
}

func TestContextOfNewVerifierCoversFirstReadOnly(t *testing.T) {
	source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
	ctx, cancel := context.WithCancel(t.Context())
	v, err := diffhook.NewVerifier(ctx, source, nil)
	require.NoError(t, err)
	cancel()
	source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
	require.NoError(t, verifySigned(t, t.Context(), v, "B"))
}

func TestWatch(t *testing.T) {
	for every, mean := range map[time.Duration]time.Duration{time.Hour: time.Hour, 0: time.Minute, -1: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
			v := newVerifier(t, source, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 1000*mean)
			defer cancel()
			source.set(diffhook.Secrets{}, errors.New("down"))
			time.AfterFunc(500*mean, func() { source.set(diffhook.Secrets{Current: letter(t, "B")}, nil) })
			v.Watch(ctx, every)
			assert.InDelta(t, 1000, source.count(), 20, "about every interval, and on after failures")
			distances := map[time.Duration]bool{}
			for i := 1; i < len(source.at); i++ {
				distance := source.at[i].Sub(source.at[i-1])
				assert.InDelta(t, mean, distance, float64(mean)/10)
				distances[distance] = true
			}
			assert.Greater(t, len(distances), 100, "servers started together must not ask together")
			assert.Equal(t, letter(t, "B").Fingerprint(), v.Status().Current.Fingerprint)
		})
	}
}

// A source's error may quote an unusable text.
func TestSourceErrorsAreMadeFitToShow(t *testing.T) {
	secret := letter(t, "A")
	source := &settableSource{answer: diffhook.Secrets{Current: secret}}
	v := newVerifier(t, source, nil)
	source.set(diffhook.Secrets{}, fmt.Errorf("bad response\n{%q: %q}%s", "secret", secret.Reveal(), strings.Repeat("é", 5000)))
	err := v.Refresh(t.Context())
	require.Error(t, err)
	encoded, jsonErr := json.Marshal(v.Status())
	require.NoError(t, jsonErr)
	for _, text := range []string{err.Error(), v.Status().RefreshError, string(encoded)} {
		assert.NotContains(t, text, secret.Reveal())
		assert.NotContains(t, text, "\n")
		assert.Less(t, len(text), 1000)
		assert.Contains(t, text, "bad response", "the cause stays readable")
	}
}

// emptyBudget uses up the burst of reads. From now on, misses read the source once in
// 10 s.
func emptyBudget(t *testing.T, v *diffhook.Verifier) {
	t.Helper()
	for range 3 {
		require.Error(t, verifySigned(t, t.Context(), v, "D"))
	}
}

// After a rotation, with a slow source and many genuine deliveries, all wait for the
// same read, and none is rejected.
func TestSlowSourceTurnsNobodyAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: 2200 * time.Millisecond}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")})
		var rejected atomic.Int32
		var wg sync.WaitGroup
		for range 221 {
			wg.Go(func() {
				if verifySigned(t, t.Context(), v, "B") != nil {
					rejected.Add(1)
				}
			})
			pause(25 * time.Millisecond)
		}
		wg.Wait()
		t.Logf("%d of 221 rejected", rejected.Load())
		assert.Zero(t, rejected.Load())
		assert.Equal(t, 2, source.count())
	})
}

// A forgery a second uses up the reads as they return. The secret is rotated 20 times,
// and 10 s of genuine deliveries follow, 5 a second. A delivery misses the first
// attempt only in the first seconds after a read.
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

// The wait of a miss for the next read, if the burst of reads is used up.
func TestMissWaitsForTheNextRead(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		name  string
		delay time.Duration // delay of the source
		after time.Duration // time since the last of three reads
		want  time.Duration // wait of the delivery
		ok    bool
	}{
		{"the read comes soon enough", 0, 3 * s, 7 * s, true},
		{"and is over soon enough", 2 * s, 6 * s, 6 * s, true},
		{"the read comes too late", 0, 2 * s, 0, false},
		{"the read ends too late", 2 * s, 4 * s, 0, false},
		{"the read comes at once", s, 10 * s, s, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &slowSource{}
				v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
				emptyBudget(t, v)
				began := time.Now()
				source.delay = test.delay
				require.NoError(t, v.Refresh(t.Context()), "Refresh also measures a read")
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

// A read that began before the delivery may miss the secret. The delivery waits for a
// second read, and for no third.
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
		assert.Equal(t, 3, source.count(), "the first read, the running read, and another for all")
	})
}

// All waiting deliveries share the next read, and a Refresh brings it forward.
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
		assert.Equal(t, reads+1, source.count(), "no scheduled read beside the Refresh")
	})
}

// No delivery waits longer than 8 s, or than the context, whatever the source does.
func TestMissWaitsEightSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
		emptyBudget(t, v)
		source.delay = 4 * time.Second // earlier reads took no time
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
		assert.Equal(t, began, time.Now(), "the next read is after the context")
	})
}

// When a source hangs, waiting deliveries return after 5 s, and later deliveries at
// once.
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

// A failed source is read again within the wait: it may have recovered.
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

// Waiting deliveries are bounded by the memory they hold, whichever method received
// them. Beyond the bound, the answer is 503 at once, and secrets in force are accepted
// throughout.
func TestWaitingIsBoundedByBytes(t *testing.T) {
	for _, test := range []struct {
		name  string
		size  int // length of a body
		n     int // deliveries at once
		least int // deliveries that wait, at least
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

// The wait of a request in Handler counts the buffer.
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

// The flood: for two minutes, 300 forgeries a second try to keep the verifier from
// learning of a rotation. Meanwhile 300 events with the new secret arrive, each with
// generation 1's three attempts in 35 s. All events are accepted, the source is read as
// rarely as promised, and no delivery waits longer than 8 s.
func TestFloodDuringRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: 500 * time.Millisecond}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
		h := v.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()

		var wg sync.WaitGroup
		var forgeries, most atomic.Int64
		forger := diffhooktest.NewSender(letter(t, "D"), &diffhooktest.SenderOptions{Retries: []time.Duration{}})
		wg.Go(func() {
			for ctx.Err() == nil {
				for range 30 {
					wg.Go(func() {
						result := forger.SendTo(ctx, h, []byte(`{"forged":true}`))
						assert.False(t, result.Delivered)
						forgeries.Add(1)
					})
				}
				<-time.After(100 * time.Millisecond)
				most.Store(max(most.Load(), int64(runtime.NumGoroutine())))
			}
		})

		<-time.After(12345 * time.Millisecond)
		source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
		sender := diffhooktest.NewSender(letter(t, "B"), nil)
		for range 300 {
			wg.Go(func() {
				result := sender.SendTo(t.Context(), h, diffhooktest.PageChanged())
				assert.True(t, result.Delivered, "%+v", result)
			})
			<-time.After(50 * time.Millisecond)
		}
		wg.Wait()
		<-time.After(time.Second) // until the last read ends
		assert.Greater(t, forgeries.Load(), int64(30_000))
		assert.LessOrEqual(t, source.count()-1, 3+12, "three, and once in 10 s up to 120 s")
		assert.EqualValues(t, 1, source.most.Load())
		assert.Less(t, most.Load(), int64(8000), "goroutines, including the test's: three for each forgery of 8 s at most")
	})
}

// 64 goroutines verify while the secret is rotated, refreshed and rejected. The test
// publishes a secret after it becomes valid, and withdraws the secret before the end. A
// valid secret must be accepted, and an ended secret rejected.
func TestRotationUnderLoad(t *testing.T) {
	rotations := int64(sampled(24, 100))
	secrets := make([]diffhook.Secret, rotations+2)
	for i := range secrets {
		secrets[i] = diffhooktest.NewSecret()
	}
	source := &settableSource{answer: diffhook.Secrets{Current: secrets[0]}}
	v := newVerifier(t, source, &diffhook.VerifierOptions{MinRefreshInterval: 1<<63 - 1})

	var oldest, newest, dead atomic.Int64 // valid: oldest…newest; rejected: below dead
	var done atomic.Bool
	var accepted, rejected atomic.Int64
	var wg sync.WaitGroup
	for worker := range 64 {
		wg.Go(func() {
			body := []byte(fmt.Sprintf(`{"worker":%d}`, worker))
			for n := 0; !done.Load(); n++ {
				first, last, ended := oldest.Load(), newest.Load(), dead.Load()
				i := max(0, last-int64(n%4)) // the current secret, and earlier secrets
				err := v.Verify(t.Context(), body, secrets[i].Sign(body))
				switch {
				case err == nil:
					accepted.Add(1)
					assert.GreaterOrEqual(t, i, ended, "accepted after the end of the secret")
				case i >= first && i >= oldest.Load():
					t.Errorf("valid throughout, and rejected: %v", err)
				default:
					rejected.Add(1)
					assert.ErrorIs(t, err, diffhook.ErrSignatureMismatch)
				}
				err = v.Verify(t.Context(), body, secrets[rotations+1].Sign(body))
				assert.ErrorIs(t, err, diffhook.ErrSignatureMismatch, "a forgery")
			}
		})
	}
	for i := int64(1); i <= rotations; i++ {
		oldest.Store(i - 1) // the secret before the replaced secret is dropped
		if i%2 == 0 {
			require.NoError(t, v.Rotate(secrets[i], time.Hour))
		} else {
			source.set(diffhook.Secrets{Current: secrets[i], Previous: secrets[i-1]}, nil)
			require.NoError(t, v.Refresh(t.Context()))
		}
		dead.Store(i - 1)
		newest.Store(i)
		runtime.Gosched()
		if i%3 == 0 {
			oldest.Store(i)
			require.NoError(t, v.Reject(secrets[i-1].Fingerprint()))
			dead.Store(i)
		}
		for before := accepted.Load(); accepted.Load() < before+50; {
			runtime.Gosched()
		}
	}
	done.Store(true)
	wg.Wait()
	assert.Positive(t, rejected.Load())
}
