package rotation_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// Credentials makes the first client of an application.
func TestCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, generation := range []int{1, 2} {
			w := newKeyWorld(t, false, generation)
			creds, err := rotation.Credentials(t.Context(), w.store)
			require.NoError(t, err)
			c := w.platf.Client(nil).WithCredentials(creds)
			_, err = c.Monitors.List(t.Context(), nil)
			require.NoError(t, err)
		}
		newer := saved{doc: []byte(`{"kind":"api-key","format":9,"phase":"turning","id":"a","sealed_key":"a"}`)}
		for _, m := range []*memory{{}, {history: []saved{newer}}} {
			_, err := rotation.Credentials(t.Context(), m)
			require.ErrorIs(t, err, rotation.ErrInvalidDocument)
			require.ErrorIs(t, rotation.Watch(t.Context(), m, nil, 0), rotation.ErrInvalidDocument)
		}
	})
}

// Watch sets the credentials of a client, and keeps the last while the store fails.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, false, 1)
		c := w.platf.Client(nil)
		require.ErrorIs(t, rotation.Watch(t.Context(), &memory{}, c, 0), rotation.ErrInvalidDocument)
		require.ErrorIs(t, rotation.Watch(t.Context(), w.store, c, -1), diffhook.ErrInvalidOptions)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- rotation.Watch(ctx, w.store, c, time.Minute) }()
		_, err := w.run(0, nil)
		require.NoError(t, err)
		w.store.failGets(func() error { return errors.New("down") })
		time.Sleep(5 * time.Minute)
		w.store.failGets(nil)
		_, err = c.Monitors.List(t.Context(), nil)
		require.NoError(t, err)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}
