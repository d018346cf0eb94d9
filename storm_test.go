package diffhook_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// The storm: three servers behind a load balancer receive thousands of events
// while the signing secret is replaced twenty times. The balancer, connections
// and handlers fail, the servers read the secrets from replicas that lag and
// that cannot always be read, one server restarts in the midst of rotations, the
// platform's API and the store fail, and attackers try every server every second.
//
// Then the same storm with one secret at a time, as a webhook receiver usually
// has it: rotated at the platform and stored in one go, with no window.

// stormMode is how the platform of a storm retries, and how fast time goes.
type stormMode struct {
	name       string
	generation int
	signOnce   bool // at detection; else each attempt is signed anew
	attempts   int  // at an event

	events        int           // in all
	before, after time.Duration // for how long around the beginning of a rotation they come
	lag           time.Duration // of a replica, at most
	every         time.Duration // an attack on each server, and now and then a read of those that watch
	poll          time.Duration // of Replace; 0: the default

	// mishaps is how many attempts at an event may fail for other reasons than
	// a signature. Where each is signed anew, two of generation 1's three would
	// be too many: a third that is signed with a secret which the servers have
	// yet to learn is lost, whatever they do. Signatures that are kept are older
	// than a rotation, or have three attempts after it.
	mishaps int

	restarts []string // a server restarts at these steps, one in each rotation by turns; empty: none
}

const stormRotations = 20

// The bounds of what goes wrong keep the outcome from being a matter of luck.
// All have learned of a rotation within the 30 s between generation 1's last two
// attempts: it takes 6 s to be stored, the lag, and four reads of which three
// fail, 3.3 s apart at most, since each forgery is a reason to read. And one event
// does not meet two rotations that are being learned, if they are far enough apart.
const (
	stormReadFails = 3 // in a row, at most
	stormReadTime  = 300 * time.Millisecond
	stormMissReads = time.Second      // MinRefreshInterval
	stormTransit   = 5 * time.Second  // of a delivery, at most
	stormSpacing   = 80 * time.Second // from one rotation's beginning to the next one's, at least
)

var stormModes = []stormMode{{
	name:       "generation 1, each attempt signed anew",
	generation: 1, attempts: 3, mishaps: 1,
	events: 2000, before: 20 * time.Second, after: time.Minute, lag: 8 * time.Second, every: 2 * time.Second,
	restarts: []string{"", "rotated", "learned", "revoked", "removed", "refused"},
}, {
	name:       "generation 1, signatures kept from detection",
	generation: 1, signOnce: true, attempts: 3, mishaps: 2,
	events: 2000, before: 20 * time.Second, after: time.Minute, lag: 8 * time.Second, every: 2 * time.Second,
	restarts: []string{"", "rotated", "learned", "revoked", "removed", "refused"},
}, {
	name:       "generation 2, signatures kept from detection",
	generation: 2, signOnce: true, attempts: 11, mishaps: 10,
	events: 400, before: 12 * time.Hour, after: 18 * time.Hour, lag: 2 * time.Hour, every: time.Hour, poll: 20 * time.Minute,
	restarts: []string{"", "rotated", "learned", "refused"}, // at other steps, one look in 20 min could not tell
}}

// stormSeedVariable holds the seed of a storm to be repeated, as far as
// scheduling allows.
const stormSeedVariable = "DIFFHOOK_STORM_SEED"

func TestStorm(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv(stormSeedVariable); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("%s=%d", stormSeedVariable, seed)
	for _, mode := range stormModes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			two := runStorm(t, seed, mode, false)
			one := runStorm(t, seed, mode, true)
			t.Logf("with two secrets: %d of %d events lost, %d attempts refused; with one: %d of %d, %d refused",
				two.lost, two.events, two.refused(), one.lost, one.events, one.refused())
			for _, r := range []stormResult{two, one} { // that it was a storm
				assert.Len(t, r.mishaps, 5, "kinds of mishaps: %v", r.mishaps)
				assert.Greater(t, r.restarts, stormRotations/2)
				assert.Positive(t, r.readFails)
				assert.Positive(t, r.refused())
				if mode.generation == 1 { // where so many deliveries come
					assert.Positive(t, r.afterRead, "learned of a rotation by a delivery")
				}
			}
			assert.Zero(t, two.lost, "events that no server ever accepted")
			assert.Zero(t, two.undelivered, "events without an attempt that was answered with 2xx")
			if mode.signOnce {
				assert.Positive(t, two.byPrevious)
				assert.Positive(t, one.lost, "the storm is too calm to show anything")
			}
			// Where each attempt is signed anew, one secret loses no event either:
			// what is signed with the one that a server does not have, or has no
			// more, is refused, and the next attempt is signed with one that it has.
		})
	}
}

// runStorm lets the storm pass over servers with two secrets, or with one.
func runStorm(t *testing.T, seed uint64, mode stormMode, oneSecret bool) (result stormResult) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorm(t, seed, mode, oneSecret)
		defer s.close()
		began := time.Now()
		s.attack()
		for n := range stormRotations {
			s.produce(mode.events / stormRotations)
			stormPause(mode.before)
			s.awaitInFlight()
			next := time.Now().Add(stormSpacing - mode.before)
			s.rotate(n)
			// Not at once, for the next one restarts a server again, which must
			// not read the old secret back in; see step.
			stormPause(max(mode.lag, time.Until(next)))
		}
		s.calm()
		result = s.count()
		result.took = time.Since(began)
		t.Logf("with %s, %v", map[bool]string{false: "two secrets", true: "one secret"}[oneSecret], result)
	})
	return result
}

// rotate replaces the secret, and has the attackers try the old one at once.
func (s *storm) rotate(n int) {
	old := s.platform.Secrets().Current
	before := s.platform.Count(stormRotateRoute)
	upset := stormUpsets[n%len(stormUpsets)]
	upset.begin(s)
	s.mu.Lock()
	s.restartAt = s.mode.restarts[n%len(s.mode.restarts)]
	s.mu.Unlock()
	if s.oneSecret {
		s.replaceNaively(old)
	} else {
		s.replace(old, upset.want)
	}
	s.platform.ClearFaults()
	require.NotEqual(s.t, old.Fingerprint(), s.platform.Secrets().Current.Fingerprint())
	s.rotations += s.platform.Count(stormRotateRoute) - before - upset.notRotated
	s.revoke(old)
}

// replace replaces the secret as the library does, again after an error.
func (s *storm) replace(old diffhook.Secret, want error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*(s.mode.before+s.mode.after)) // rather than for ever
	defer cancel()
	for errs := 0; ; errs++ {
		learned := false
		opts := &diffhook.SecretRotationOptions{
			Receivers:    s.receivers(),
			PollInterval: s.mode.poll,
			Observe: func(_ context.Context, step diffhook.RotationStep) {
				learned = learned || step.Name == "learned"
				s.step(step.Name)
			},
		}
		if !s.mode.signOnce {
			// Nothing is signed with the old secret any more: what it may cost
			// to revoke it at once is an attempt that is under way.
			opts.RevokeNow = func() bool { return learned }
		}
		err := s.client.SigningSecret.Replace(ctx, old.Fingerprint(), s.store, opts)
		if err == nil {
			require.Equal(s.t, want != nil, errs > 0, "%v was to happen, and did not", want)
			return
		}
		require.Error(s.t, want, "%v", err)
		require.ErrorIs(s.t, err, want)
		require.Zero(s.t, errs, "it failed for the second time: %v", err)
		stormPause(time.Second)
	}
}

// replaceNaively rotates at the platform, and stores the new secret alone.
func (s *storm) replaceNaively(old diffhook.Secret) {
	for {
		_, _ = s.client.SigningSecret.Rotate(s.t.Context()) // Load tells whether it did
		now, err := s.client.SigningSecret.Load(s.t.Context())
		if err == nil && !now.Current.Equal(old) {
			for s.store.Save(s.t.Context(), diffhook.Secrets{Current: now.Current}) != nil {
				stormPause(time.Second)
			}
			break
		}
		stormPause(time.Second)
	}
	s.step("rotated")
	stormPause(s.mode.lag + 8*s.mode.every) // until all have learned it
	for _, step := range []string{"learned", "revoked", "removed", "refused"} {
		s.step(step)
	}
}

// stormResult is what became of a storm.
type stormResult struct {
	events, lost, undelivered int

	attempts, stopped int            // stopped: before they reached a verifier
	verdicts          map[string]int // of the others, by Observation.Result
	byPrevious        int            // accepted
	afterRead         int            // accepted, when the delivery had the source read
	mishaps           map[string]int

	forgeries, restarts, readFails int
	took                           time.Duration
}

func (r stormResult) refused() int {
	return r.attempts - r.stopped - r.verdicts["accepted"]
}

func (r stormResult) String() string {
	return fmt.Sprintf("in %v: %d attempts, of which %d stopped before a server, and else %v (%d by the previous secret, %d after a read); %d forgeries refused; %d restarts, %d reads failed",
		r.took.Truncate(time.Minute), r.attempts, r.stopped, r.verdicts, r.byPrevious, r.afterRead, r.forgeries, r.restarts, r.readFails)
}

// count counts in every way that there is, and compares.
func (s *storm) count() (r stormResult) {
	t := s.t
	s.mu.Lock()
	defer s.mu.Unlock()
	r = stormResult{verdicts: make(map[string]int), byPrevious: s.byPrevious, afterRead: s.afterRead, mishaps: s.mishaps, restarts: s.restarted}
	used := make(map[string]uint64)
	for _, d := range s.platform.Deliveries() {
		r.events++
		event := s.events[string(d.Body)]
		require.NotNil(t, event, "no attempt reached the balancer")
		require.Len(t, event.attempts, len(d.Attempts))
		accepted := 0
		for i, a := range event.attempts {
			r.attempts++
			assert.Equal(t, a.wantStatus(), d.Attempts[i].StatusCode, "%+v", a)
			assert.Equal(t, a.verdict == "accepted" && a.mishap == "", d.Attempts[i].Succeeded(), "%+v", a)
			if a.verdict == "" {
				r.stopped++
				continue
			}
			r.verdicts[a.verdict]++
			if a.verdict == "accepted" {
				accepted++
				used[d.Attempts[i].SignedWith]++
			}
		}
		if accepted == 0 {
			r.lost++
		}
		if !d.Delivered {
			r.undelivered++
		}
	}
	assert.Equal(t, s.mode.events, r.events)
	assert.Len(t, s.events, r.events)
	assert.Empty(t, cmp.Diff(r.verdicts, s.observed), "the balancer's attempts, and what was observed")
	assert.Empty(t, cmp.Diff(used, s.uses()), "accepted by the secret that signed, and the uses in statuses")
	s.countForgeries(&r)
	s.countSecrets(used)
	for _, server := range s.servers {
		r.readFails += server.replica.failed
	}
	return r
}

// countForgeries counts them as sent, as observed and as answered.
func (s *storm) countForgeries(r *stormResult) {
	kinds := make(map[string]int)
	for _, f := range s.forgeries {
		r.forgeries++
		kinds[f.kind]++
		want := map[string]int{"no_signature": http.StatusUnauthorized, "mismatch": http.StatusUnauthorized, "secrets_unavailable": http.StatusServiceUnavailable}
		require.Contains(s.t, want, f.verdict, "%+v", f)
		require.Equal(s.t, want[f.verdict], f.status, "%+v", f)
	}
	assert.Equal(s.t, s.forged, r.forgeries, "sent and observed")
	assert.Len(s.t, kinds, len(stormForgeries), "%v", kinds)
	assert.GreaterOrEqual(s.t, kinds[forgedRevoked], stormRotations)
}

// countSecrets sees that there was one rotation for each that was asked for.
func (s *storm) countSecrets(used map[string]uint64) {
	t := s.t
	assert.Equal(t, stormRotations, s.rotations, "at the platform")
	all := make(map[string]uint64)
	for _, saved := range s.store.saved {
		all[saved.Current.Fingerprint()] = 0
	}
	assert.Len(t, all, stormRotations+1, "that were ever current")
	maps.Copy(all, used)
	assert.Len(t, all, stormRotations+1, "and nothing was signed with another")

	last := s.platform.Secrets().Current.Fingerprint()
	for _, server := range s.servers {
		status := server.up.v.Status()
		assert.Equal(t, last, status.Current.Fingerprint, server.name)
		assert.Zero(t, status.Previous, server.name)
	}
}
