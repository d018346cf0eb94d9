package rotation_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/rotation"
)

// pushless is a receiver without the sealed secret.
type pushless struct{ rotation.Receiver }

func (pushless) AcceptSuccessor(context.Context, string) error { return nil }

// The table of losses: over 1,000 events a cell, with forgeries in between. The flag -v
// shows the figures.
func TestLosses(t *testing.T) {
	for _, row := range []struct {
		name           string
		byHand         bool
		paste, late    time.Duration
		losesPlainGen1 bool // without a hold and a push
	}{
		{"by the API, servers read at once", false, 0, 0, false},
		{"pasted after 45 s", true, 45 * time.Second, 0, true},
		{"pasted after 10 min", true, 10 * time.Minute, 0, true},
		{"by the API, servers 60 s late", false, 0, 60 * time.Second, true},
		{"by the API, servers 100 s late", false, 0, 100 * time.Second, true},
	} {
		for _, cell := range []struct {
			generation      int
			signOnce, plain bool
		}{{1, false, false}, {1, true, false}, {1, false, true}, {2, true, false}, {2, true, true}} {
			t.Run(fmt.Sprintf("%s, generation %d, signed once: %v, plain: %v", row.name, cell.generation, cell.signOnce, cell.plain), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, row.byHand, row.late, row.late)
					w.person.before = func(n int, _ rotation.Question) {
						if n == 2 {
							w.person.click()
							time.Sleep(row.paste)
							w.person.wrong = map[int]string{2: w.team.Secrets().Current.Reveal()}
						}
					}
					sent, lost := w.traffic(cell.generation, cell.signOnce, func() {
						_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) {
							o.RetryHorizon = 9 * time.Minute
							if cell.plain {
								o.Hold = -1
								for name, r := range o.Receivers {
									o.Receivers[name] = pushless{r}
								}
							}
						})
						require.NoError(t, err)
					})
					t.Logf("%d of %d lost", lost, sent)
					require.Greater(t, sent, 1000)
					assert.Equal(t, cell.plain && cell.generation == 1 && row.losesPlainGen1, lost > 0, "%d of %d lost", lost, sent)
					w.requireRotated()
				})
			})
		}
	}
}
