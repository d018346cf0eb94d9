package diffhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
)

// slowSource answers as settableSource does, after a delay in which it heeds
// its context, or hangs until it is released, heeding nothing.
type slowSource struct {
	settableSource
	delay   time.Duration
	hang    chan struct{} // if not nil, Load waits for it to close
	running atomic.Int32
	most    atomic.Int32 // calls that ran at once
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

// verifySigned has v check a body that the named secret signed.
func verifySigned(t testing.TB, ctx context.Context, v *diffhook.Verifier, name string) error {
	body := []byte("a body")
	return v.Verify(ctx, body, letter(t, name).Sign(body))
}

// atA returns a verifier that knows A, at a source that then says answer.
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
		require.NoError(t, verifySigned(t, t.Context(), v, "A"), "the replaced one is in its window")
		assert.Equal(t, 2, source.count())
	})
}

// A fixed set has nothing more to say: a forgery must cost no read of it.
func TestMissDoesNotRereadFixedSecrets(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	first := v.Status().LastRefresh
	require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSignatureMismatch)
	assert.Equal(t, first, v.Status().LastRefresh)
}

// Malformed input must not make the verifier ask: it costs a sender nothing.
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
		assert.Equal(t, 2, source.count(), "one for NewVerifier, one for all")
	})
}

// An attacker who sends well-formed forgeries decides how often misses happen,
// not how often the source is asked.
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

// The first to miss hangs up: the read is everybody's and goes on.
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

// A source that hangs holds up a delivery for 5 s, once, and is not asked
// again while it hangs. What it says in the end still counts.
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
		assert.Equal(t, 5*time.Second, time.Since(began), "no more waiting for it")
		require.NoError(t, verifySigned(t, t.Context(), v, "A"), "what is known goes on")
		assert.Equal(t, 2, source.count())
		assert.EqualValues(t, 1, source.most.Load())
		assert.Contains(t, v.Status().RefreshError, "has not answered within 5s")

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
			require.NoError(t, v.Refresh(t.Context()), "and it can recover")
		})
	}
}

// 503 while the source fails, since the missing secret may be the one that
// signed; 401 as soon as it is known not to be.
func TestMissWhileSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
		v := newVerifier(t, source, nil)
		source.set(diffhook.Secrets{}, errors.New("vault is sealed"))
		require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
		require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable, "also where it is not asked again yet")
		source.set(diffhook.Secrets{Current: letter(t, "A")}, nil)
		<-time.After(10 * time.Second)
		require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSignatureMismatch)
		require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSignatureMismatch)
	})
}

// A read that began before Refresh was called may have seen what was there
// before: Refresh waits for it and reads again. Two that wait share a read.
func TestRefreshReadsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: time.Second}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, v.Refresh(t.Context())) })
		synctest.Wait() // it has read A and is on its way back
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

// A source's error may quote what it could not use.
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
