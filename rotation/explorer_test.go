package rotation_test

import (
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// explored is a world for an explorer.
type explored interface {
	state() string
	choices() []string
	choose(choice string)
	end() error // ends all stops; nil: a good end
	abandon()
}

// explorer finds every state of a world. It runs the real code: a walk begins anew,
// follows a known path, and then takes new choices.
type explorer struct {
	t      *testing.T
	begin  func(*testing.T) explored
	random *rand.Rand
	places map[string]*place
	open   []*place // places with choices left
	walks  int
	steps  int // the number of new choices
}

// place is a state, and the first path to it.
type place struct {
	state   string
	from    *place
	choice  string
	choices string
	left    []string // the choices left; "end" comes last
}

// path returns the states on the way to p, without the first.
func (p *place) path() (path []*place) {
	for ; p != nil && p.from != nil; p = p.from {
		path = append(path, p)
	}
	slices.Reverse(path)
	return path
}

// place returns the place of the state of w, with the same choices each time.
func (e *explorer) place(w explored, from *place, choice string) *place {
	state := w.state()
	choices := w.choices()
	p := e.places[state]
	if p == nil {
		p = &place{state: state, from: from, choice: choice, choices: strings.Join(choices, " "), left: slices.Clone(choices)}
		e.random.Shuffle(len(p.left), func(i, j int) { p.left[i], p.left[j] = p.left[j], p.left[i] })
		p.left = append(p.left, "end")
		e.places[state] = p
		e.open = append(e.open, p)
	}
	if p.choices != strings.Join(choices, " ") {
		e.t.Errorf("the state is too coarse: %s: %s, and now %s", state, p.choices, choices)
	}
	return p
}

// walk takes new choices, from start on.
func (e *explorer) walk(start *place) {
	e.walks++
	synctest.Test(e.t, func(t *testing.T) {
		w := e.begin(t)
		synctest.Wait()
		var path []string
		p := e.place(w, nil, "")
		for _, next := range start.path() {
			path = append(path, next.choice)
			w.choose(next.choice)
			if p = e.place(w, p, next.choice); p != next {
				t.Errorf("a state is too coarse: the path %v leads elsewhere:\n%s\n%s\n%s", path, lines(next.from.state), lines(next.state), lines(p.state))
				w.abandon()
				return
			}
		}
		for len(p.left) > 0 {
			choice := p.left[0]
			p.left = p.left[1:]
			e.steps++
			path = append(path, choice)
			if choice == "end" {
				require.NoError(t, w.end(), "after %v", path)
				return
			}
			w.choose(choice)
			p = e.place(w, p, choice)
		}
		w.abandon()
	})
}

// next returns a place with choices left, or nil.
func (e *explorer) next() *place {
	for len(e.open) > 0 {
		i, last := e.random.IntN(len(e.open)), len(e.open)-1
		if p := e.open[i]; len(p.left) > 0 {
			return p
		}
		e.open[i], e.open = e.open[last], e.open[:last]
	}
	return nil
}

// left returns the number of choices left.
func (e *explorer) left() (n int) {
	for _, p := range e.open {
		n += len(p.left)
	}
	return n
}

func lines(state string) string { return "  " + strings.ReplaceAll(state, "|", "\n  ") + "\n" }

// explore takes every choice if DIFFHOOK_TEST_PATHS is all, else some walks in a fixed
// random order.
func explore(t *testing.T, walks int, begin func(*testing.T) explored) {
	if text := os.Getenv("DIFFHOOK_TEST_PATHS"); text != "" {
		walks, _ = strconv.Atoi(text)
	}
	if isExhaustive() {
		walks = math.MaxInt
	}
	e := &explorer{t: t, begin: begin, random: rand.New(rand.NewPCG(1, 2)), places: map[string]*place{}}
	e.walk(nil)
	for e.walks < walks && !t.Failed() {
		start := e.next()
		if start == nil {
			break
		}
		e.walk(start)
		if e.walks%5000 == 0 {
			e.log()
		}
	}
	e.log()
}

func (e *explorer) log() {
	e.t.Log(len(e.places), "states,", e.steps, "choices taken in", e.walks, "walks,", e.left(), "choices not taken")
}

// The model, in which every order is tried:
//
//   - Two runs of Secret for the same secret. Each begins at any time. A run stops before
//     each save, each request to DiffHook and each rejection, and before the response to a
//     save, click or revocation. Each stop ends at any time, in any order, or a crash ends
//     the run there.
//   - DiffHook, or a person, as slow as a stop lasts. A click may begin in the lease of a
//     run and land after the lease.
//   - A single server. It may restart at any time, any number of times, and then loses the
//     held deliveries. The source lags: a later document appears at any time or never, and
//     an older document never again.
//   - Deliveries with the newest secret of DiffHook, at any time, any number of times, of
//     which a single delivery at a time is held or refused. A refused delivery comes again
//     in the end. A refusal is allowed after a restart during a hold, or if the source
//     lacks the new secret.
//   - Time in ticks of 20 s, between two heartbeats and between two looks at the server.
//     Time goes on if no run stops, and once for longer than a lease while runs stop: a
//     machine is suspended, or a response late. If no run is alive, leases end.
//
// From each state, the surviving runs and further runs must come to a good end, see
// atlas.end. Not in the model: failures and lags of the store, different clocks, a
// rotation by other people in the app, a drain of several ticks, and RevokeSecret before
// the end.
//
// The model has 48,103 states, with 262,342 choices, taken in 148,709 walks.
func TestSecretInAllOrders(t *testing.T) {
	explore(t, 700, func(t *testing.T) explored { return newAtlas(t) })
}
