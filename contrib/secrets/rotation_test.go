package secrets_test

import (
	"context"
	"errors"
	"net/http"
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
	"github.com/diffhook/diffhook-go/rotation"
)

// A person rotates a secret of generation 1 through every secrets manager, with two servers
// that get an event a second. An interrupted rotation stops at the first question, then at
// the second, and so on, and the store loses answers.
func TestRotationOfASecret(t *testing.T) {
	for _, interrupted := range []bool{false, true} {
		for name, place := range allPlaces {
			t.Run(name+map[bool]string{true: ", interrupted"}[interrupted], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testRotationOfASecret(t, place(t), interrupted) })
			})
		}
	}
}

func testRotationOfASecret(t *testing.T, open opener, interrupted bool) {
	a := newApp()
	store, err := open("document")
	require.NoError(t, err)
	ctx := t.Context()
	old := a.sender.Secret()
	require.NoError(t, rotation.NewSecret(ctx, store, old))
	servers := []*diffhook.Verifier{newServer(t, store), newServer(t, store)}
	lost, stop := a.sendEverySecond(t, servers)

	opts := &rotation.SecretOptions{
		Receivers:    map[string]rotation.Receiver{"server-1": rotation.Local(servers[0]), "server-2": rotation.Local(servers[1])},
		RetryHorizon: 2 * time.Minute,
	}
	runs := 0
	for stopAt := 1; ; stopAt++ {
		person, operators := a.person(0), store
		if interrupted {
			person, operators = a.person(stopAt), &unreliableStore{Store: store}
		}
		err := rotation.Secret(ctx, old.Fingerprint(), rotation.ByHand(person), operators, opts)
		if runs++; err == nil {
			break
		}
		require.ErrorIs(t, err, errStopped)
		require.Less(t, runs, 10, "the rotation does not end")
		time.Sleep(time.Minute)
	}
	stop()

	assert.Zero(t, lost.Load(), "deliveries lost")
	assert.Equal(t, 1, a.clicks, "clicks on Rotate")
	assert.True(t, a.revoked)
	assert.Equal(t, interrupted, runs > 1)
	sourced, err := rotation.Source(store).Load(ctx)
	require.NoError(t, err)
	assert.True(t, sourced.Current.Equal(a.sender.Secret()))
	assert.True(t, sourced.Previous.IsZero())
	for _, server := range servers {
		_, err := server.VerifyRequest(diffhooktest.NewRequest("/", old, diffhooktest.PageChanged()))
		assert.ErrorIs(t, err, diffhook.ErrSignatureMismatch)
	}
}

// A rotation for generation 2 stays within the quota of AWS: the wait of 18 h saves no
// version.
func TestQuotaOfVersionsInAWS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp()
		old := a.sender.Secret()
		store, err := openAWS(inProcess{new(awsEmulator)})("document")
		require.NoError(t, err)
		require.NoError(t, rotation.NewSecret(t.Context(), store, old))
		server := newServer(t, store)
		opts := &rotation.SecretOptions{Receivers: map[string]rotation.Receiver{"server": rotation.Local(server)}}
		began := time.Now()
		require.NoError(t, rotation.Secret(t.Context(), old.Fingerprint(), rotation.ByHand(a.person(0)), store, opts))
		require.Greater(t, time.Since(began), 18*time.Hour)
		require.True(t, a.revoked)
	})
}

func newServer(t *testing.T, store rotation.Store) *diffhook.Verifier {
	v, err := diffhook.NewVerifier(t.Context(), rotation.Source(store), nil)
	require.NoError(t, err)
	return v
}

var errStopped = errors.New("the person stops")

// app is DiffHook's app with a person at the screen. It signs deliveries.
type app struct {
	sender  *diffhooktest.Sender
	clicks  int
	revoked bool
}

func newApp() *app { return &app{sender: diffhooktest.NewSender(diffhooktest.NewSecret(), nil)} }

// person answers each question after half a minute. At question number stopAt, the person
// clicks in the app and stops; 0 means never.
func (a *app) person(stopAt int) rotation.Asker {
	asked := 0
	return func(_ context.Context, q rotation.Question) (string, error) {
		time.Sleep(30 * time.Second)
		switch {
		case strings.Contains(q.Text, "click Rotate signing secret, once") && a.clicks == 0:
			a.clicks++
			a.sender.Rotate(diffhooktest.NewSecret())
			time.Sleep(45 * time.Second) // longer than generation 1 retries
		case q.Confirm:
			a.revoked = true
		}
		if asked++; asked == stopAt {
			return "", errStopped
		}
		if strings.Contains(q.Text, "copy the old secret") {
			return "", nil // the app does not show the old secret
		}
		return a.sender.Secret().Reveal(), nil
	}
}

// sendEverySecond delivers events to the servers in turn, until stop is called.
func (a *app) sendEverySecond(t *testing.T, servers []*diffhook.Verifier) (lost *atomic.Int64, stop func()) {
	lost = new(atomic.Int64)
	ctx, cancel := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			handler := servers[i%len(servers)].EventHandler(func(context.Context, *diffhook.Event) error { return nil })
			sending.Go(func() {
				if !a.sender.SendTo(t.Context(), handler, diffhooktest.PageChanged()).Delivered {
					lost.Add(1)
				}
			})
			time.Sleep(time.Second)
		}
	})
	return lost, func() {
		cancel()
		sending.Wait()
	}
}

// unreliableStore loses the answer of every third Swap, and every fourth Get.
type unreliableStore struct {
	rotation.Store
	gets, swaps atomic.Int64
}

func (s *unreliableStore) Get(ctx context.Context) ([]byte, string, error) {
	if s.gets.Add(1)%4 == 0 {
		return nil, "", errReset
	}
	return s.Store.Get(ctx)
}

func (s *unreliableStore) Swap(ctx context.Context, version string, doc []byte) error {
	err := s.Store.Swap(ctx, version, doc)
	if s.swaps.Add(1)%3 == 0 {
		return errReset
	}
	return err
}

// A person replaces a key of generation 1. An application that watches the document always
// calls the API with a working key.
func TestRotationOfAKey(t *testing.T) {
	for name, place := range allPlaces {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testRotationOfAKey(t, place(t)) })
		})
	}
}

func testRotationOfAKey(t *testing.T, open opener) {
	platform := diffhooktest.New()
	team := platform.DefaultTeam()
	old := team.NewKey("old")
	store, err := open("document")
	require.NoError(t, err)
	ctx := t.Context()
	require.NoError(t, rotation.NewKey(ctx, store, rotation.Pair{ID: "old", Key: old.Key.Reveal()}))

	api := &diffhook.ClientOptions{BaseURL: platform.URL, HTTPClient: &http.Client{Transport: inProcess{platform}}}
	client, err := diffhook.NewClient(old.Key, api)
	require.NoError(t, err)
	watching, stop := context.WithCancel(ctx)
	var watched sync.WaitGroup
	watched.Go(func() { _ = rotation.Watch(watching, store, client, 0) })

	var created diffhooktest.Key
	hand := rotation.ByHand(func(_ context.Context, q rotation.Question) (string, error) {
		time.Sleep(30 * time.Second)
		_, after, _ := strings.Cut(q.Text, "with the label ")
		switch {
		case strings.Contains(q.Text, "click New API key"):
			label, _, _ := strings.Cut(after, ".")
			created = team.NewKey(label)
			return created.Key.Reveal(), nil
		case strings.Contains(q.Text, "delete the old key"):
			team.RevokeKey(old.ID)
		}
		return "no", nil
	})
	hand.Client = api
	require.NoError(t, rotation.Key(ctx, "old", hand, store, &rotation.KeyOptions{Quiet: 10 * time.Minute}))
	_, err = client.Monitors.List(ctx, nil)
	assert.NoError(t, err, "the application has the new key")
	stop()
	watched.Wait()

	for _, key := range team.Keys() {
		if key.ID == old.ID {
			assert.True(t, key.Revoked, "the old key is deleted")
		}
	}
	assert.NotEmpty(t, created.ID)
}
