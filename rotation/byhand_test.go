package rotation_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// A tired person: after each wrong answer, the question comes again. No question shows a
// secret.
func TestByHandAsksAgainAfterAWrongAnswer(t *testing.T) {
	const asksForCurrent, asksForNew = 1, 2
	for name, test := range map[string]struct {
		question int
		answer   func(w *world) string
		says     string
	}{
		"nothing":            {asksForCurrent, func(*world) string { return "" }, "empty"},
		"an API key":         {asksForCurrent, func(w *world) string { return w.platf.APIKey().Reveal() }, "API key"},
		"in quotes":          {asksForNew, func(w *world) string { return `"` + w.first.Reveal() + `"` }, "quotes"},
		"a masked text":      {asksForNew, func(*world) string { return "••••••••••••••••abcd" }, "masked"},
		"the old secret":     {asksForNew, func(w *world) string { return w.first.Reveal() }, "old secret"},
		"the end is cut off": {asksForNew, func(w *world) string { return diffhooktest.NewSecret().Reveal()[:20] }, "whole"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0)
				w.person.wrong = map[int]string{test.question: test.answer(w)}
				w.person.before = func(n int, _ rotation.Question) {
					if n == test.question && n == asksForNew {
						w.person.click()
					}
				}
				_, err := w.run(w.first.Fingerprint(), 0, nil)
				require.NoError(t, err)
				w.requireRotated()
				require.Contains(t, w.person.questions[test.question].Text, test.says)
				require.True(t, w.person.questions[test.question].Secret)
				for _, q := range w.person.questions {
					require.NotContains(t, q.Text, w.first.Reveal())
					require.NotContains(t, q.Text, w.team.Secrets().Current.Reveal())
					require.NotContains(t, q.Text, w.platf.APIKey().Reveal())
				}
			})
		})
	}
}

// Enter, or a letter, in answer to the question for the last use of the old key: the question
// comes again, and no wait of another Quiet begins.
func TestByHandAsksAgainForYesOrNo(t *testing.T) {
	for name, want := range map[string]bool{"no": true, "NO ": true, "yes": false} {
		answers := []string{"", "n", "not used", name}
		hand := rotation.ByHand(func(_ context.Context, q rotation.Question) (answer string, err error) {
			require.False(t, q.Secret)
			answer, answers = answers[0], answers[1:]
			return answer, nil
		})
		unused, err := hand.Unused(t.Context(), rotation.Pair{}, rotation.Pair{ID: "web"}, time.Now())
		require.NoError(t, err)
		require.Equal(t, want, unused, name)
		require.Empty(t, answers)
	}
}

// A person deletes the old key too early: the error says so, and the new key, which DiffHook
// shows once, stays in the document.
func TestKeyKeepsTheNewKeyIfTheOldKeyIsDeadEarly(t *testing.T) {
	for _, gen := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			w := newKeyWorld(t, true, gen)
			hand := rotation.ByHand(func(ctx context.Context, q rotation.Question) (string, error) {
				answer, err := w.ask(ctx, q)
				if strings.Contains(q.Text, "click New API key") && gen == 1 {
					w.remove("label production")
				} else if gen == 2 {
					w.team.RevokeClientCredentials(w.first.ID)
				}
				return answer, err
			})
			hand.Client = w.clientOptions()
			for range 2 {
				err := rotation.Key(t.Context(), w.first.ID, hand, w.store, nil)
				require.ErrorIs(t, err, rotation.ErrMismatch)
				require.ErrorContains(t, err, "old key was deleted")
				require.Contains(t, string(w.store.doc), `"next"`)
			}
			require.Len(t, w.keyAsks, gen, "the second run asks for no other key")
		})
	}
}

// Somebody deletes the new key during the wait: nobody is asked to delete the old key.
func TestKeyStaysIfTheNewKeyIsDeadLater(t *testing.T) {
	for _, gen := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			w := newKeyWorld(t, true, gen)
			hand := rotation.ByHand(func(ctx context.Context, q rotation.Question) (string, error) {
				if strings.Contains(q.Text, "last used") && gen == 1 {
					w.team.RevokeKey(w.team.Keys()[len(w.team.Keys())-1].ID)
				} else if strings.Contains(q.Text, "last used") {
					for id := range w.clients {
						if id != w.first.ID {
							w.team.RevokeClientCredentials(id)
						}
					}
				}
				return w.ask(ctx, q)
			})
			hand.Client = w.clientOptions()
			require.ErrorIs(t, rotation.Key(t.Context(), w.first.ID, hand, w.store, &rotation.KeyOptions{Quiet: time.Hour}), rotation.ErrMismatch)
			c, err := diffhook.NewClient(mustCredentials(t, w.first), w.clientOptions())
			require.NoError(t, err)
			_, err = c.Monitors.List(t.Context(), nil)
			require.NoError(t, err, "the old key works")
		})
	}
}

// Questions to a person without a right answer end.
func TestByHandGivesUp(t *testing.T) {
	n := 0
	_, err := rotation.ByHand(func(context.Context, rotation.Question) (string, error) { n++; return "x", nil }).Signing(t.Context(), diffhook.Secret{})
	require.ErrorIs(t, err, diffhook.ErrInvalidSecret)
	require.Less(t, n, 20)
}

// A person leaves at each question and comes back.
func TestSecretContinuesAfterAPersonLeft(t *testing.T) {
	for leaves := 1; leaves <= 4; leaves++ {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, true, 0, 90*time.Second)
			w.person.leaves = leaves
			sent, lost := w.traffic(1, true, func() {
				_, err := w.run(w.first.Fingerprint(), 0, nil)
				require.ErrorIs(t, err, errAbsent)
				time.Sleep(40 * time.Minute)
				require.NoError(t, w.finish(w.first.Fingerprint()))
			})
			w.requireRotated()
			require.Zero(t, lost, "of %d, left at question %d", sent, leaves)
		})
	}
}

// A person takes ten minutes for each answer. For comparison: the loss without a hold.
func TestSecretLosesNothingWhileThePersonIsSlow(t *testing.T) {
	for hold, wantLost := range map[time.Duration]bool{0: false, -1: true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, true, 0, 60*time.Second)
			w.person.think = 10 * time.Minute
			clicked := false
			w.person.before = func(n int, q rotation.Question) { // after the click
				if n == 2 {
					w.person.click()
					clicked = true
					time.Sleep(10 * time.Minute)
					w.person.wrong = map[int]string{2: w.team.Secrets().Current.Reveal()}
				}
			}
			sent, lost := w.traffic(1, false, func() {
				_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) { o.Hold = hold })
				require.NoError(t, err)
			})
			require.True(t, clicked)
			w.requireRotated()
			t.Logf("hold %v: %d of %d lost", hold == 0, lost, sent)
			assert.Equal(t, wantLost, lost > 100, "%d of %d lost", lost, sent)
			if !wantLost {
				require.Zero(t, lost)
			}
		})
	}
}
