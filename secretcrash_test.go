package diffhook_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The replacement of a signing secret is stopped at every point at which it
// meets the world: before and after each request, each operation of the store
// and each call of a receiver, and after each step. The points are those that an
// undisturbed run passes, so that none escapes.

// crashPoints returns the points of a run in which nothing goes wrong, and sees
// that no request and nothing saved went past them.
func crashPoints(t *testing.T, config crashConfig) (points, receiver []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newCrashWorld(t, config)
		defer w.close()
		require.NoError(t, w.run(nil))
		points, receiver = w.points, w.receiver
		passed := make(map[string]int)
		for _, point := range slices.Concat(points, receiver) {
			passed[strings.TrimPrefix(point, "before ")]++
		}
		for _, request := range w.server.Requests() {
			passed[request.Method+" "+request.Path]--
		}
		if w.store {
			passed["save"] -= len(w.vault.saved) - 1
		} else {
			for _, made := range []string{"GET /api/signing-secret", "POST /api/oauth/token"} {
				if passed[made] < 0 {
					passed[made] += len(w.fleet) // when the receivers were made
				}
			}
		}
		for name, n := range passed {
			if strings.Contains(name, "/api/") && !strings.HasPrefix(name, "after ") || name == "save" {
				assert.Zero(t, n, name)
			}
		}
		w.finish(nil)
	})
	return points, receiver
}

// upsets returns what may happen at the points of a run. Each point of the
// receivers, of which there are many, has one of four turns.
func upsets(points, receiver []string, turn int) (all []upset) {
	for i, at := range points {
		whats := []string{upsetCancel}
		if !strings.Contains(at, "oauth/token") { // which has a goroutine of its own
			whats = append(whats, upsetKill)
		}
		if strings.HasSuffix(at, "load") || strings.HasSuffix(at, "save") {
			whats = append(whats, upsetFail)
		}
		for _, what := range whats {
			all = append(all, upset{point: i, at: at, what: what})
		}
		if strings.HasPrefix(at, "before ") && strings.Contains(at, "/api/") {
			for _, name := range slices.Sorted(maps.Keys(platformFaults)) {
				for _, attempts := range []int{0, 1} {
					all = append(all, upset{point: i, at: at, what: upsetPlatform + name, attempts: attempts})
				}
			}
		}
	}
	whats := []string{upsetCancel, upsetFail, upsetHang, upsetDeaf}
	for i, at := range receiver {
		all = append(all, upset{point: i, at: at, receiver: true, what: whats[(i+turn)%len(whats)]})
	}
	return all
}

// gapAfter is how long it takes until somebody runs it again.
func gapAfter(i int) time.Duration {
	return []time.Duration{0, 20 * time.Second, 10 * time.Minute, 20 * time.Hour}[i%4]
}

// crashOnce interrupts a run once, everywhere and in every way.
func crashOnce(t *testing.T, emergency bool) {
	for turn, config := range crashConfigs(emergency) {
		t.Run(config.String(), func(t *testing.T) {
			t.Parallel()
			points, receiver := crashPoints(t, config)
			for i, u := range upsets(points, receiver, turn) {
				t.Run(u.String(), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newCrashWorld(t, config)
						defer w.close()
						err := w.run(&u)
						w.assertMet()
						w.interrupted(gapAfter(i))
						w.finish(err)
					})
				})
			}
		})
	}
}

func TestSecretReplaceCrash(t *testing.T) { crashOnce(t, false) }

// TestSecretReplaceCrashTwice kills it, and kills it again when it is run again:
// in some worlds at every pair of points, in the others at a few.
func TestSecretReplaceCrashTwice(t *testing.T) {
	for n, config := range crashConfigs(false) {
		if config.untold() {
			continue
		}
		t.Run(config.String(), func(t *testing.T) {
			t.Parallel()
			points, _ := crashPoints(t, config)
			random := rand.New(rand.NewPCG(uint64(n), 4))
			for i, first := range upsets(points, nil, 0) {
				if first.what != upsetKill {
					continue
				}
				crash := func(t *testing.T, second *upset) (points []string) {
					synctest.Test(t, func(t *testing.T) {
						w := newCrashWorld(t, config)
						defer w.close()
						require.ErrorIs(t, w.run(&first), errKilled)
						w.interrupted(gapAfter(i))
						err := w.run(second)
						points = w.points
						w.assertMet()
						w.interrupted(gapAfter(i / 2))
						w.finish(err)
					})
					return points
				}
				seconds := slices.DeleteFunc(upsets(crash(t, nil), nil, 0), func(u upset) bool { return u.what != upsetKill })
				for _, second := range seconds {
					if config.generation == 1 && config.lag == 0 && !config.restart || random.IntN(len(seconds)) < 2 {
						t.Run(first.String()+", then "+second.String(), func(t *testing.T) { crash(t, &second) })
					}
				}
			}
		})
	}
}

func TestSecretRevokeCrash(t *testing.T) { crashOnce(t, true) }
