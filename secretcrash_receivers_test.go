package diffhook_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// crashReceiver is a receiver with points of its own.
type crashReceiver struct {
	name  string
	world *crashWorld

	mu      sync.Mutex
	v       *diffhook.Verifier
	lastOld time.Time // that it accepted the old secret, or was made
}

func (r *crashReceiver) restart() {
	var source diffhook.SecretSource = r.world.vault
	if !r.world.store {
		source = teamClient(r.world.server.DefaultTeam(), r.world.generation, &diffhook.ClientOptions{
			HTTPClient: &http.Client{Transport: roundTripper(r.roundTrip)},
		}).SigningSecret
	}
	v := newVerifier(r.world, source, nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.v, r.lastOld = v, time.Now()
}

func (r *crashReceiver) state() (v *diffhook.Verifier, unused time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.v, time.Since(r.lastOld)
}

// deliver has the receiver judge a delivery that s signed.
func (r *crashReceiver) deliver(ctx context.Context, s diffhook.Secret) error {
	v, _ := r.state()
	body := diffhooktest.PageChanged()
	err := v.Verify(ctx, body, s.Sign(body))
	if err == nil && s.Equal(r.world.old) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lastOld = time.Now()
	}
	return err
}

// roundTrip is the receiver's way to the platform, where there is no store.
func (r *crashReceiver) roundTrip(req *http.Request) (resp *http.Response, err error) {
	err = r.answer(req.Context(), req.Method+" "+req.URL.Path, func(*diffhook.Verifier) (err error) {
		resp, err = diffhooktest.Transport(r.world.server).RoundTrip(req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// answer passes the points before and after do.
func (r *crashReceiver) answer(ctx context.Context, name string, do func(*diffhook.Verifier) error) error {
	reach := func(when string) error {
		err := r.world.reach(true, when+" "+name)
		switch {
		case err == nil:
		case err.Error() == upsetHang, err.Error() == upsetDeaf && strings.Contains(name, "/api/"):
			<-ctx.Done() // which transports listen to
		case err.Error() == upsetDeaf:
			<-r.world.release
		}
		return err
	}
	if err := reach("before"); err != nil {
		return err
	}
	v, _ := r.state()
	err := do(v)
	return errors.Join(err, reach("after"))
}

func (r *crashReceiver) Status(ctx context.Context) (status diffhook.RotationStatus, err error) {
	err = r.answer(ctx, "status", func(v *diffhook.Verifier) error {
		status = v.Status()
		return nil
	})
	return status, err
}

func (r *crashReceiver) Refresh(ctx context.Context) error {
	return r.answer(ctx, "refresh", func(v *diffhook.Verifier) error { return v.Refresh(ctx) })
}

func (r *crashReceiver) Revoke(ctx context.Context, fingerprint string) error {
	if !r.world.emergency {
		assert.True(r.world, r.world.server.Secrets().NoPrevious, "%s is told to refuse what the platform has not revoked", r.name)
	}
	return r.answer(ctx, "revoke", func(v *diffhook.Verifier) error { return v.Revoke(fingerprint) })
}

// lateStore shows what was saved in it only after a while.
type lateStore struct {
	world *crashWorld

	mu    sync.Mutex
	saved []savedSecrets
}

type savedSecrets struct {
	diffhook.Secrets
	at time.Time
}

func (s *lateStore) put(secrets diffhook.Secrets, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = append(s.saved, savedSecrets{secrets, at})
}

func (s *lateStore) newest() diffhook.Secrets {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved[len(s.saved)-1].Secrets
}

// shows reports that the store has current and would say so.
func (s *lateStore) shows(current diffhook.Secret) bool {
	shown, err := s.Load(s.world.Context())
	require.NoError(s.world, err)
	return shown.Current.Equal(current) && s.newest().Current.Equal(current)
}

func (s *lateStore) Load(context.Context) (diffhook.Secrets, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, saved := range slices.Backward(s.saved) {
		if time.Since(saved.at) >= s.world.lag {
			return saved.Secrets, nil
		}
	}
	return diffhook.Secrets{}, errors.New("test: nothing was saved")
}

// save is where the store must not lose the old secret while it is needed.
func (s *lateStore) save(secrets diffhook.Secrets) {
	now := s.world.server.Secrets()
	assert.True(s.world, secrets.Current.Equal(now.Current), "saved what the platform does not sign with")
	if !s.world.emergency && !secrets.Previous.Equal(s.world.old) {
		assert.True(s.world, now.NoPrevious, "taken out of the store before it is revoked")
	}
	s.put(secrets, time.Now())
}

// operatorsStore is the store as the run under test sees it. The receivers read
// it past these points, on goroutines where a panic would end the tests.
type operatorsStore struct{ world *crashWorld }

func (s operatorsStore) Load(ctx context.Context) (diffhook.Secrets, error) {
	if err := s.world.reach(false, "before load"); err != nil {
		return diffhook.Secrets{}, err
	}
	secrets, err := s.world.vault.Load(ctx)
	return secrets, errors.Join(err, s.world.reach(false, "after load"))
}

func (s operatorsStore) Save(_ context.Context, secrets diffhook.Secrets) error {
	if err := s.world.reach(false, "before save"); err != nil {
		return err
	}
	s.world.vault.save(secrets)
	return s.world.reach(false, "after save")
}
