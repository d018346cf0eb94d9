package rotation_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// checkRevoked requires, of a complete rotation, no server with a revoked secret.
func (w *atlas) checkRevoked() {
	if w.server == nil || w.parse(w.store.newest().doc).Phase != "idle" {
		return
	}
	body := diffhooktest.PageChanged()
	v, _ := w.server.now()
	for _, old := range w.all()[:len(w.all())-1] {
		if v.Verify(w.t.Context(), body, old.Sign(body)) == nil {
			w.fail("the server accepts a revoked secret")
		}
	}
}

// abandon ends all runs.
func (w *atlas) abandon() {
	for _, a := range w.runs {
		a.kill()
	}
	w.join()
}

// join waits until all runs have ended.
func (w *atlas) join() {
	for _, a := range w.runs {
		for a.calls != nil && !a.hasEnded() {
			time.Sleep(time.Second)
		}
	}
}

// letAllGo ends all stops, and waits until the runs have ended.
func (w *atlas) letAllGo() {
	w.free.Store(true)
	for _, a := range w.runs {
		a.letGo()
	}
	w.join()
}

// another is a further run, without stops.
func (w *atlas) another() *actor {
	a := &actor{atlas: w}
	w.runs = append(w.runs, a)
	a.start()
	w.join()
	return a
}

// end ends all stops, runs Secret until the error is nil, and requires a good end.
func (w *atlas) end() error {
	w.letAllGo()
	var last error
	for range 20 {
		if last = w.another().err; last == nil || errors.Is(last, rotation.ErrMismatch) {
			break
		}
		time.Sleep(10 * time.Second)
	}
	if errors.Is(last, rotation.ErrMismatch) && len(w.all()) > 2 { // a mismatch, after which RevokeSecret takes over
		state, err := rotation.State(w.t.Context(), w.store)
		require.NoError(w.t, err)
		a := &actor{atlas: w}
		last = rotation.RevokeSecret(w.t.Context(), state.Current, a, w.store, &rotation.RevokeOptions{Receivers: map[string]rotation.Receiver{"web": current{w.server}}})
	}
	if last != nil {
		return fmt.Errorf("the runs did not end well: %w", last)
	}
	return w.check()
}

// check requires the same secret at DiffHook, in the document and at the server, and
// every delivery handled.
func (w *atlas) check() error {
	w.checkRevoked()
	v, _ := w.server.now()
	require.NoError(w.t, v.Refresh(w.t.Context())) // as Watch does
	for _, d := range w.sent {
		if d.refused && w.send(d) >= 300 {
			return errors.New("a delivery was refused twice")
		}
	}
	require.NoError(w.t, v.Drain(w.t.Context()))
	got, err := rotation.Source(w.store).Load(w.t.Context())
	w.mu.Lock()
	fault := w.fault
	w.mu.Unlock()
	switch {
	case err != nil:
		return err
	case fault != "":
		return errors.New(fault)
	case !got.Current.Equal(w.newest()) || !got.Previous.IsZero():
		return errors.New("the document does not have the secret of DiffHook alone")
	case v.Status().Current.Fingerprint != w.newest().Fingerprint():
		return errors.New("the server does not have the secret of DiffHook")
	}
	for _, d := range w.sent {
		if w.server.count(d.id) == 0 && !d.excused {
			return fmt.Errorf("the delivery %s, signed with %s, was never handled", d.id, w.name(d.signer))
		}
	}
	return nil
}
