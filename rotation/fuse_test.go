package rotation_test

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// fuse is the life of a run. At point number `at`, the process is gone: later actions of
// the run have no effect.
type fuse struct {
	at     int // 0: never
	points atomic.Int64
	dead   atomic.Bool
	kill   context.CancelFunc
	label  string // the label of the last point
}

func (f *fuse) point(label string) error {
	if f.dead.Load() {
		return errCrash
	}
	if f.points.Add(1) == int64(f.at) {
		f.label = label
		f.dead.Store(true)
		f.kill()
		return errCrash
	}
	return nil
}

// fused is the store of a run with a fuse.
type fused struct {
	rotation.Store
	*fuse
}

func (s fused) Get(ctx context.Context) ([]byte, string, error) {
	if s.dead.Load() {
		return nil, "", errCrash
	}
	return s.Store.Get(ctx)
}

func (s fused) Swap(ctx context.Context, version string, doc []byte) error {
	if err := s.point("before a save"); err != nil {
		return err
	}
	err := s.Store.Swap(ctx, version, doc)
	if crash := s.point("after a save"); crash != nil {
		return crash
	}
	return err
}

// fusedSecrets is the platform of a run with a fuse.
type fusedSecrets struct {
	rotation.SecretPlatform
	*fuse
}

func (p fusedSecrets) Signing(ctx context.Context, old diffhook.Secret) (s diffhook.Secrets, err error) {
	return s, p.around("signing", func() (err error) { s, err = p.SecretPlatform.Signing(ctx, old); return err })
}

func (p fusedSecrets) Rotate(ctx context.Context, old diffhook.Secret) (s diffhook.Secrets, err error) {
	return s, p.around("rotate", func() (err error) { s, err = p.SecretPlatform.Rotate(ctx, old); return err })
}

func (p fusedSecrets) Revoke(ctx context.Context) error {
	return p.around("revoke", func() error { return p.SecretPlatform.Revoke(ctx) })
}

func (f *fuse) around(label string, do func() error) error {
	if err := f.point("before " + label); err != nil {
		return err
	}
	err := do()
	if crash := f.point("after " + label); crash != nil {
		return crash
	}
	return err
}

// fusedReceiver is a receiver of a run with a fuse.
type fusedReceiver struct {
	rotation.Receiver
	*fuse
}

func (r fusedReceiver) AcceptSuccessor(ctx context.Context, sealed string) error {
	if r.dead.Load() {
		return errCrash
	}
	return r.Receiver.AcceptSuccessor(ctx, sealed)
}

func (r fusedReceiver) Hold(ctx context.Context, d time.Duration) error {
	if r.dead.Load() {
		return errCrash
	}
	return r.Receiver.Hold(ctx, d)
}

func (r fusedReceiver) Reject(ctx context.Context, fingerprint string) error {
	if r.dead.Load() {
		return errCrash
	}
	return r.Receiver.Reject(ctx, fingerprint)
}

func (w *world) platform(f *fuse) rotation.SecretPlatform {
	var p rotation.SecretPlatform = rotation.API(w.team.Client(nil))
	if w.byHand {
		p = rotation.ByHand(w.person.ask)
	}
	return fusedSecrets{p, f}
}

// run runs Secret once, until the process is gone.
func (w *world) run(old string, at int, change func(*rotation.SecretOptions)) (*fuse, error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	f := &fuse{at: at, kill: cancel}
	o := w.options()
	for name, r := range o.Receivers {
		o.Receivers[name] = fusedReceiver{r, f}
	}
	if change != nil {
		change(o)
	}
	return f, rotation.Secret(ctx, old, w.platform(f), fused{w.store, f}, o)
}
