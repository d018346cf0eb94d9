package rotation_test

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// once runs do in a process with an interruption at some time, or a crash at some point.
func (s *storm) once(at int, until time.Duration, do func(ctx context.Context, p rotation.SecretPlatform, st rotation.Store, o *rotation.SecretOptions) error) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), until)
	defer cancel()
	f := &fuse{at: at, kill: cancel}
	o := s.options()
	o.Observe = s.observe
	if s.generation == 2 {
		o.RetryHorizon, o.Poll = 0, 5*time.Minute
	}
	for i, h := range s.hosts {
		r := o.Receivers[h.label]
		if i > 0 {
			r = &rotation.Remote{URL: "https://" + h.label + ".example.com/", HTTPClient: &http.Client{Transport: diffhooktest.Transport(http.HandlerFunc(h.status))}}
		}
		if s.plain {
			r = deaf{pushless{r}}
		}
		o.Receivers[h.label] = fusedReceiver{r, f}
	}
	var p rotation.SecretPlatform = rotation.API(s.team.Client(nil))
	if s.stormCase.byHand {
		p = rotation.ByHand(s.ask)
	}
	s.runs++
	err := do(ctx, fusedSecrets{p, f}, fused{shaky{s}, f}, o)
	if err != nil {
		s.note(err.Error())
	}
	if f.dead.Load() {
		s.crashes++
	}
	return err
}

const (
	rotateRoute = "POST /api/signing-secret/rotate"
	loadRoute   = "GET /api/signing-secret"
	revokeRoute = "DELETE /api/signing-secret/previous"
)

// upsets befall DiffHook by turns.
var upsets = [][]diffhooktest.Fault{
	nil,
	{{Route: rotateRoute, Status: http.StatusServiceUnavailable}},
	{{Route: rotateRoute, Reset: diffhooktest.BeforeHandling}},
	{{Route: rotateRoute, Reset: diffhooktest.AfterHandling}},
	{{Route: rotateRoute, HTML: true, Handle: true}},
	{{Route: rotateRoute, Reset: diffhooktest.AfterHandling}, {Route: loadRoute, Skip: 1, Times: 4, Status: http.StatusServiceUnavailable}},
	{{Route: revokeRoute, Reset: diffhooktest.AfterHandling}, {Route: revokeRoute, Times: 4, Status: http.StatusServiceUnavailable}},
}

// rotate replaces the secret, with another run after each error.
func (s *storm) rotate(n int) {
	s.settle(n)
	before := len(s.signed)
	old := s.signed[before-1]
	for try := 0; ; try++ {
		require.Less(s.t, try, 100, "the rotation does not end")
		at, until := s.fate(n, try)
		err := s.once(at, until, func(ctx context.Context, p rotation.SecretPlatform, st rotation.Store, o *rotation.SecretOptions) error {
			return rotation.Secret(ctx, old.Fingerprint(), p, st, o)
		})
		if err == nil {
			break
		}
		if errors.Is(err, rotation.ErrMismatch) {
			s.takeOver()
			if len(s.signed) > before && s.state().Phase == "idle" {
				break
			}
		}
		if at > 0 { // the lease of the gone process, and the time until somebody notices
			time.Sleep([]time.Duration{time.Second, 70 * time.Second, 15 * time.Minute}[s.below(3)])
		}
		time.Sleep(s.upTo(5 * time.Second))
	}
	s.platf.ClearFaults()
	s.waits.Wait()
	require.Len(s.t, s.signed, before+1, "a single successor")
	require.Empty(s.t, s.early, "revoked too early")
	s.requireReplaced(old, s.signed[before])
}

// fate returns the point of a crash and the time of an interruption.
func (s *storm) fate(n, try int) (at int, until time.Duration) {
	const never = 100 * time.Hour
	switch {
	case n%4 == 1 && try < 3:
		return 1 + s.below(30), never
	case n%4 == 2 && try < 3:
		s.interrupts++
		return 0, s.upTo(4 * time.Minute)
	}
	return 0, never
}

// requireReplaced requires the new secret, and not the old, in force at every server.
func (s *storm) requireReplaced(old, next diffhook.Secret) {
	body := diffhooktest.PageChanged()
	for _, h := range s.hosts {
		v, _ := h.now()
		require.Error(s.t, v.Verify(s.t.Context(), body, old.Sign(body)), "the revoked secret")
		require.NoError(s.t, v.Verify(s.t.Context(), body, next.Sign(body)), "the new secret")
	}
}

// settle waits until all sources show the end of the last rotation, and chooses the
// faults of the next.
func (s *storm) settle(n int) {
	s.mu.Lock()
	s.clicked, s.drain, s.restart, s.risky = false, false, "", true
	s.mu.Unlock()
	time.Sleep(100 * time.Second)
	s.store.mu.Lock()
	for _, h := range s.hosts {
		h.seen = s.store.history[len(s.store.history)-1]
		h.lag = s.upTo(100 * time.Second)
	}
	s.store.lag = time.Duration(s.below(3)) * time.Second
	s.store.mu.Unlock()
	steps := []rotation.StepName{rotation.StepCheck, rotation.StepRotate, rotation.StepLearn, rotation.StepDrain, rotation.StepConfirm, rotation.StepRevoke, rotation.StepDone}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.risky = n%4 == 0 || n%4 == 3
	switch {
	case s.stormCase.byHand && s.generation == 1 && n%10 == 8:
		s.errs = true
	case s.risky:
		s.restart = steps[n/2%len(steps)]
	default:
		s.restart = rotation.StepDrain // the sources have the new secret
	}
	for _, fault := range upsets[n%len(upsets)] {
		s.platf.Fail(fault)
	}
}

func (s *storm) state() rotation.DocumentState {
	state, err := rotation.State(s.t.Context(), s.store)
	require.NoError(s.t, err)
	return state
}

// takeOver follows the advice of the error if the document has a wrong paste.
func (s *storm) takeOver() {
	wrong := s.state()
	if wrong.Phase != "rotated" || wrong.Current == s.team.Secrets().Current.Fingerprint() {
		return
	}
	time.Sleep(time.Minute) // for the retries with the old signature
	s.takeovers++
	s.careful = true
	for try, err := 0, errStorm; err != nil; try++ {
		require.Less(s.t, try, 100, "%v", err)
		err = s.once(0, 100*time.Hour, func(ctx context.Context, p rotation.SecretPlatform, st rotation.Store, o *rotation.SecretOptions) error {
			return rotation.RevokeSecret(ctx, wrong.Current, p, st, &rotation.RevokeOptions{Receivers: o.Receivers, Observe: o.Observe})
		})
		time.Sleep(3*time.Second + s.upTo(5*time.Second)) // the store lags
	}
	s.careful, s.early = false, "" // an emergency revokes at once
}
