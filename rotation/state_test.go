package rotation_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/redact"
	"github.com/diffhook/diffhook-go/rotation"
)

func (w *world) continues(function rotation.Function, id string) {
	w.t.Helper()
	state, err := rotation.State(w.t.Context(), w.store)
	require.NoError(w.t, err)
	require.Empty(w.t, cmp.Diff(rotation.Call{Function: function, ID: id}, state.Continue))
}

// The state names RevokeSecret after a mismatch, and Secret again after the right answer
// to the same question.
func TestStateNamesTheCallAfterAMismatch(t *testing.T) {
	for name, mistake := range map[string]int{"the new secret is a wrong paste": 2, "the last answer is": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0)
				w.continues(rotation.FunctionSecret, w.first.Fingerprint())
				wrong := diffhooktest.NewSecret()
				w.person.wrong = map[int]string{mistake: wrong.Reveal()}
				_, err := w.run(w.first.Fingerprint(), 0, nil)
				require.ErrorIs(t, err, rotation.ErrMismatch)
				next := w.team.Secrets().Current.Fingerprint()
				if mistake == 2 {
					next = wrong.Fingerprint()
				}
				w.continues(rotation.FunctionRevokeSecret, next)
				require.ErrorContains(t, err, next)
				if mistake == 2 {
					require.NoError(t, w.revoke(next))
				} else {
					_, err = w.run(w.first.Fingerprint(), 0, nil)
					require.NoError(t, err)
				}
				w.continues(rotation.FunctionSecret, w.team.Secrets().Current.Fingerprint())
			})
		})
	}
}

// The state names RevokeSecret until the error is nil, at each question, also if the
// leaked secret is the older secret of a rotation.
func TestStateNamesRevokeSecretUntilTheEnd(t *testing.T) {
	for name, test := range map[string]struct {
		rotating bool
		leaves   int
	}{
		"asked for the secret in force": {false, 1},
		"asked for the new secret":      {false, 2},
		"asked once more":               {false, 3},
		"asked to revoke":               {false, 4},
		"in the middle of a rotation":   {true, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0)
				if test.rotating {
					w.person.leaves = 3 // at the comparison before the old secret is revoked
					_, err := w.run(w.first.Fingerprint(), 0, nil)
					require.ErrorIs(t, err, errAbsent)
					w.continues(rotation.FunctionSecret, w.first.Fingerprint())
				}
				w.person.leaves = test.leaves
				require.ErrorIs(t, w.revoke(w.first.Fingerprint()), errAbsent)
				w.continues(rotation.FunctionRevokeSecret, w.first.Fingerprint())
				require.NoError(t, w.revoke(w.first.Fingerprint()))
				w.continues(rotation.FunctionSecret, w.team.Secrets().Current.Fingerprint())
			})
		})
	}
}

// Until the run ends, the state shows the end of the wait for the old key.
func TestStateHasTheEndOfTheWaitForTheOldKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, true, 1)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Hour, cancel)
		hand := rotation.ByHand(w.ask)
		hand.Client = w.clientOptions()
		ended := make(chan error)
		go func() { ended <- rotation.Key(ctx, w.first.ID, hand, w.store, nil) }()
		time.Sleep(time.Hour)
		state, err := rotation.State(t.Context(), w.store)
		require.NoError(t, err)
		require.InDelta(t, float64(25*time.Hour), float64(time.Until(state.WaitUntil)), float64(time.Minute))
		require.Equal(t, rotation.Call{Function: rotation.FunctionKey, ID: w.first.ID}, state.Continue)
		require.ErrorIs(t, <-ended, context.Canceled)
		state, err = rotation.State(t.Context(), w.store)
		require.NoError(t, err)
		require.Zero(t, state.WaitUntil, "the next run waits anew")
	})
}

// A client id is of the form of an API key: no field of the state has the whole id.
func TestStateShortensTheReplacedClientID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, true, 2)
		require.NoError(t, w.finish())
		state, err := rotation.State(t.Context(), w.store)
		require.NoError(t, err)
		require.NotEmpty(t, state.Replaced)
		shown, err := json.Marshal(state)
		require.NoError(t, err)
		require.NotContains(t, string(shown), w.first.ID)
		for _, key := range redact.Find(shown) {
			require.Fail(t, "the state has a key", key)
		}
	})
}

// In a document of a newer format, the phase may be unknown. The state then names no step.
func TestStateOfANewerDocument(t *testing.T) {
	for kind, fields := range map[string]string{
		"signing-secret": `"current":"` + diffhooktest.NewSecret().Reveal() + `"`,
		"api-key":        `"id":"production-server","key":"dh_live_` + strings.Repeat("k", 20) + `"`,
	} {
		m := &memory{history: []saved{{doc: []byte(`{"kind":"` + kind + `","format":9,"phase":"turning",` + fields + `}`)}}}
		state, err := rotation.State(t.Context(), m)
		require.NoError(t, err)
		require.Equal(t, "turning", state.Phase)
		require.Contains(t, state.Then, "unknown", kind)
	}
}
