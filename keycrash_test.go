package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// keyRig is a key that is being replaced, with all that takes part. It is the
// rotation's store, transport, Observe and Prove, so that it sees every event
// of a run: at each it checks what must hold at any moment, and interrupts the
// run where it is to.
type keyRig struct {
	t    *testing.T
	is   rigOptions
	what string // is done to it, for failures

	server *diffhooktest.Server
	team   *diffhooktest.Team
	store  *memoryStore[diffhook.APIKeys]
	old    diffhooktest.Key
	others map[string]bool // ids of keys that are not the rotation's to delete

	// Of the run under way.
	events    []string
	interrupt func(n int, event string) error
	cancel    context.CancelFunc
	down      bool             // the store, until the run ends
	loaded    diffhook.APIKeys // since the store was last saved to
	called    string           // the key of the last request, where it succeeded
	told      bool             // by DeleteNow

	// Of all runs.
	before     diffhook.APIKeys           // what the last to be saved replaced
	behind     int                        // loads that still give that
	revoked    map[string]bool            // ids
	wasCurrent map[string]bool            // ids
	reported   map[string]map[string]bool // id of a key that may be an orphan: how
	asked      func(token string)         // in place of the server, where it is set
}

type rigOptions struct {
	terse    bool // the platform does not tell when keys were used
	silent   bool // no Observe
	attempts int  // of the client
	lag      int  // how often the store gives back what was before, first
	fromOld  bool // run again with a client of the old key, while the store has it
}

func (o rigOptions) String() string {
	s := fmt.Sprintf("MaxAttempts %d", o.attempts)
	for _, option := range []struct {
		is   bool
		text string
	}{{o.terse, "terse"}, {o.silent, "not observed"}, {o.fromOld, "from the old key"}, {o.lag > 0, "slow store"}} {
		if option.is {
			s += ", " + option.text
		}
	}
	return s
}

// inDepth says where two interruptions are tried, which takes long. What is not
// observed can be reported less often than in any other surroundings.
func (o rigOptions) inDepth() bool { return o.silent && !o.terse && o.attempts < 2 }

const (
	rigLabel = "production-server"
	rigQuiet = 3 * time.Minute

	rigPatience = 10*time.Minute + 30*time.Second // with an outage, which a rotation would wait out
)

func newKeyRig(t *testing.T, is rigOptions) *keyRig {
	s := diffhooktest.New()
	t.Cleanup(s.Close)
	s.Configure(diffhooktest.Settings{Terse: is.terse, RequestsPerMinutePerIP: 1 << 20})
	team := s.NewTeam(diffhooktest.Plan{RequestsPerMinute: 1 << 20})
	r := &keyRig{
		t: t, is: is, server: s, team: team, old: team.NewKey(rigLabel), others: map[string]bool{team.Keys()[0].ID: true},
		revoked: make(map[string]bool), wasCurrent: make(map[string]bool), reported: make(map[string]map[string]bool),
	}
	// Keys of other applications: one with the same label that is used, and
	// one that is not used.
	for label, used := range map[string]time.Time{rigLabel: s.Now(), "nightly": {}} {
		other := team.NewKey(label)
		team.SetKeyUsed(other.ID, used)
		r.others[other.ID] = true
	}
	r.store = newMemoryStore(diffhook.APIKeys{Current: r.old.Key})
	return r
}

// client returns a new client, as of a process that was started anew.
func (r *keyRig) client(key diffhook.APIKey) *diffhook.Client {
	return r.team.Client(&diffhook.ClientOptions{
		HTTPClient: &http.Client{Transport: r}, MaxAttempts: r.is.attempts,
	}).WithCredentials(key)
}

// keyRun is what became of one run.
type keyRun struct {
	killed  bool
	orphans []diffhook.Key
	err     error
	events  []string
}

type rigKilled struct{}

// run runs a rotation, which interrupt may stop.
func (r *keyRig) run(client *diffhook.Client, interrupt func(n int, event string) error) (run keyRun) {
	var ctx context.Context
	ctx, r.cancel = context.WithTimeout(r.t.Context(), rigPatience)
	defer r.cancel()
	strays, began := r.strays(), r.find(r.uses(client))
	r.events, r.interrupt, r.down, r.loaded, r.called, r.told = nil, interrupt, false, diffhook.APIKeys{}, "", false
	opts := &diffhook.KeyRotationOptions{
		Quiet: rigQuiet,
		Prove: func(ctx context.Context, client *diffhook.Client) error { return r.event("prove") },
	}
	if r.is.terse {
		asked := 0
		opts.DeleteNow = func() bool { asked++; r.told = asked == 2; return r.told }
	}
	if !r.is.silent {
		opts.Observe = r.observe
	}
	run.killed = true
	func() {
		defer func() {
			if p := recover(); p != nil && p != (rigKilled{}) {
				panic(p)
			}
		}()
		run.orphans, run.err = client.Keys.Replace(ctx, r.old.ID, r, opts)
		run.killed = false
	}()
	r.server.ClearFaults()
	r.check("the end of the run")
	run.events = r.events

	uses := r.find(r.uses(client))
	assert.Equal(r.t, began.Revoked && uses.ID == began.ID, uses.Revoked, "%s: the client uses a key that was deleted", r.what)
	r.note("returned", run.orphans)
	if run.err != nil {
		r.note("error", run.orphans)
	}
	if !run.killed && !errors.Is(run.err, diffhook.ErrOutcomeUnknown) { // which says so where even the list is lost
		for _, id := range r.strays() {
			assert.True(r.t, slices.Contains(strays, id) || r.reported[id]["error"], "%s: a key is left, and not returned: %v", r.what, run.err)
		}
	}
	return run
}

func (r *keyRig) note(how string, keys []diffhook.Key) {
	for _, k := range keys {
		if r.reported[k.ID] == nil {
			r.reported[k.ID] = make(map[string]bool)
		}
		r.reported[k.ID][how] = true
	}
}

// uses returns the key that a client uses, without a use of it.
func (r *keyRig) uses(client *diffhook.Client) (token string) {
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	r.asked = func(asked string) { token = asked; cancel() }
	defer func() { r.asked = nil }()
	require.ErrorIs(r.t, listKeys(ctx, client), context.Canceled)
	return token
}

// settle runs the rotation again until it is finished, and checks the end.
// second, which may be nil, interrupts the first of these runs, which is
// returned.
func (r *keyRig) settle(second func(n int, event string) error) (again keyRun) {
	for n := 1; ; n++ {
		require.LessOrEqual(r.t, n, 5, "%s: it is not finished", r.what)
		r.behind = 0 // it takes its time to start a process
		held := r.store.holds()
		key := held.Current
		if r.is.fromOld && (!r.find(r.old.Key.Reveal()).Revoked || held.Previous.Equal(r.old.Key)) {
			key = r.old.Key
		}
		strays := r.strays()
		run := r.run(r.client(key), second)
		if n == 1 {
			again = run
		}
		if second == nil {
			assert.Equal(r.t, strays, r.strays(), "%s: a key was left by a run that nothing interrupted", r.what)
			r.checkReturned(run, strays)
		}
		if errors.Is(run.err, diffhook.ErrNotInForce) {
			break
		}
		if second == nil {
			require.NoError(r.t, run.err, r.what)
		}
		second = nil
	}
	end := r.store.holds()
	assert.False(r.t, end.Current.Equal(r.old.Key), r.what)
	assert.True(r.t, end.Next.IsZero() && end.Previous.IsZero(), "%s: %v", r.what, end)
	assert.NoError(r.t, listKeys(r.t.Context(), r.team.Client(nil).WithCredentials(end.Current)), r.what)
	assert.True(r.t, r.find(r.old.Key.Reveal()).Revoked, r.what)
	for _, id := range r.strays() {
		assert.Contains(r.t, r.reported, id, "%s: a live key was never reported", r.what)
	}
	if !r.is.terse {
		for id := range r.others {
			assert.NotContains(r.t, r.reported, id, "%s: the key of another application", r.what)
		}
	}
	return again
}

// checkReturned checks what a run says that nothing interrupted: the keys that
// those before it left, unless one of these has said so in its error.
func (r *keyRig) checkReturned(run keyRun, strays []string) {
	if run.err != nil {
		return
	}
	var returned []string
	for _, k := range run.orphans {
		returned = append(returned, k.ID)
	}
	for _, id := range strays {
		if !r.reported[id]["error"] {
			assert.Contains(r.t, returned, id, "%s: a key was left by an earlier run", r.what)
		}
	}
	assert.Equal(r.t, len(returned) > 0 && !r.is.silent, slices.Contains(run.events, "step orphans"), "%s: what it returns, it also reports", r.what)
}

// strays returns the ids of the live keys that nobody holds, sorted.
func (r *keyRig) strays() []string {
	held := r.store.holds()
	strays := make(map[string]bool)
	for _, k := range r.team.Keys() {
		if !k.Revoked && !r.others[k.ID] && k.ID != r.old.ID &&
			!k.Key.Equal(held.Current) && !k.Key.Equal(held.Next) && !k.Key.Equal(held.Previous) {
			strays[k.ID] = true
		}
	}
	return slices.Sorted(maps.Keys(strays))
}

func (r *keyRig) find(text string) diffhooktest.Key {
	keys := r.team.Keys()
	i := slices.IndexFunc(keys, func(k diffhooktest.Key) bool { return k.Key.Reveal() == text })
	require.NotEqual(r.t, -1, i, "%s: the team has no such key", r.what)
	return keys[i]
}

// event is called whenever something is about to happen, or has happened.
func (r *keyRig) event(name string) error {
	r.check(name)
	r.events = append(r.events, name)
	if r.interrupt == nil {
		return nil
	}
	return r.interrupt(len(r.events)-1, name)
}

// check checks what must hold at any moment.
func (r *keyRig) check(event string) {
	current := r.find(r.store.holds().Current.Reveal())
	assert.False(r.t, current.Revoked, "%s: %s: what applications find in the store does not work", r.what, event)
	r.wasCurrent[current.ID] = true
	for _, k := range r.team.Keys() {
		if k.Revoked && !r.revoked[k.ID] {
			r.revoked[k.ID] = true
			r.checkDeletion(k, event)
		}
	}
}

// checkDeletion checks that the key that was just deleted was one to delete.
func (r *keyRig) checkDeletion(k diffhooktest.Key, event string) {
	assert.False(r.t, r.others[k.ID], "%s: %s: the key of another application was deleted", r.what, event)
	if k.ID != r.old.ID {
		assert.False(r.t, r.wasCurrent[k.ID], "%s: %s: a key was deleted that the store has had as current, so that applications may use it", r.what, event)
		return
	}
	current := r.store.holds().Current
	assert.True(r.t, r.loaded.Current.Equal(current), "%s: %s: the store was not asked for the new key", r.what, event)
	assert.Equal(r.t, r.called, current.Reveal(), "%s: %s: no call with the new key came just before", r.what, event)
	// The platform tells times in whole seconds.
	assert.True(r.t, r.told || r.server.Now().Sub(k.LastUsedAt) > rigQuiet-time.Second, "%s: %s: the old key was used at %v", r.what, event, k.LastUsedAt)
}

func (r *keyRig) observe(_ context.Context, step diffhook.RotationStep) {
	if step.Name == "orphans" {
		for _, k := range r.team.Keys() {
			if strings.Contains(step.Text, k.ID) {
				r.note("step", []diffhook.Key{{ID: k.ID}})
			}
		}
	}
	_ = r.event("step " + step.Name)
}

// RoundTrip sends a request to the server.
func (r *keyRig) RoundTrip(request *http.Request) (*http.Response, error) {
	token := strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
	if r.asked != nil {
		r.asked(token)
		return nil, request.Context().Err()
	}
	name := request.Method + " " + request.URL.Path
	if request.Method == http.MethodDelete {
		name = "DELETE /api/keys/{id}"
	}
	_ = r.event("request " + name)
	called := r.called
	resp, err := diffhooktest.Transport(r.server).RoundTrip(request)
	r.called = ""
	if err == nil && resp.StatusCode < 300 {
		r.called = token
	}
	if request.Method == http.MethodDelete {
		r.called = called // what came before it
	}
	_ = r.event("answer " + name)
	return resp, err
}

var errRigStore = errors.New("the store is down")

func (r *keyRig) Load(ctx context.Context) (diffhook.APIKeys, error) {
	if err := r.reach(ctx, "load"); err != nil {
		return diffhook.APIKeys{}, err
	}
	keys, err := r.store.Load(ctx)
	if r.behind > 0 {
		keys = r.before
		r.behind--
	}
	r.loaded = keys
	return keys, errors.Join(err, r.event("loaded"))
}

func (r *keyRig) Save(ctx context.Context, keys diffhook.APIKeys) error {
	if err := r.reach(ctx, "save"); err != nil {
		return err
	}
	r.before, r.behind, r.loaded = r.store.holds(), r.is.lag, diffhook.APIKeys{}
	return errors.Join(r.store.Save(ctx, keys), r.event("saved"))
}

func (r *keyRig) reach(ctx context.Context, operation string) error {
	err := r.event(operation)
	if r.down {
		err = errRigStore
	}
	return errors.Join(err, ctx.Err())
}

// keyDisruption is something that happens to a run at one event.
type keyDisruption struct {
	name string
	at   []string // first words of events; none: all
	do   func(r *keyRig) error
}

func (d keyDisruption) hits(event string) bool {
	kind, _, _ := strings.Cut(event, " ")
	return len(d.at) == 0 || slices.Contains(d.at, kind)
}

// on has the keyDisruption happen at the n-th event.
func (d keyDisruption) on(r *keyRig, n int) func(int, string) error {
	return func(i int, _ string) error {
		if i != n {
			return nil
		}
		return d.do(r)
	}
}

var rigKill = keyDisruption{name: "killed", do: func(*keyRig) error { panic(rigKilled{}) }}

func rigFault(name string, f diffhooktest.Fault) keyDisruption {
	return keyDisruption{name, []string{"request"}, func(r *keyRig) error { r.server.Fail(f); return nil }}
}

func rigRefusal(name string, at ...string) keyDisruption {
	return keyDisruption{name, at, func(*keyRig) error { return errRigStore }}
}

// disruptions are those after which the process lives on, and sees an error
// unless trying again helps.
var keyDisruptions = []keyDisruption{
	rigFault("not sent", diffhooktest.Fault{Reset: diffhooktest.BeforeHandling}),
	rigFault("answer lost", diffhooktest.Fault{Reset: diffhooktest.AfterHandling}),
	rigFault("answer cut off", diffhooktest.Fault{Truncate: true}),
	rigFault("503", diffhooktest.Fault{Status: http.StatusServiceUnavailable}),
	rigFault("502 after it was handled", diffhooktest.Fault{HTML: true, Handle: true}),
	rigFault("out of order from here", diffhooktest.Fault{Status: http.StatusServiceUnavailable, Times: -1}),
	rigFault("answers lost from here", diffhooktest.Fault{Reset: diffhooktest.AfterHandling, Times: -1}),
	rigRefusal("store refuses", "load", "save"),
	rigRefusal("store fails though it has saved", "saved"),
	{"store down from here", []string{"load", "save"}, func(r *keyRig) error { r.down = true; return nil }},
	rigRefusal("not proven", "prove"),
	{"cancelled", nil, func(r *keyRig) error { r.cancel(); return nil }},
}

// keyRigs are the surroundings that everything is tried in.
var keyRigs = []rigOptions{{}, {silent: true}, {silent: true, terse: true}, {fromOld: true}, {lag: 2}}

// inRig runs a test in a bubble, with a fresh rig.
func inRig(t *testing.T, is rigOptions, what string, test func(r *keyRig)) {
	t.Helper()
	t.Run(what, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newKeyRig(t, is)
			defer r.server.Close()
			r.what = what
			test(r)
		})
	})
}

// undisturbed returns the events of a rotation that nothing happens to: the
// places where something can.
func undisturbed(t *testing.T, is rigOptions) (events []string) {
	inRig(t, is, "undisturbed", func(r *keyRig) {
		run := r.run(r.client(r.old.Key), nil)
		require.NoError(t, run.err)
		if !is.terse { // else it cannot tell what was never used
			assert.Empty(t, run.orphans)
		}
		events = run.events
		r.settle(nil)
		assert.Empty(t, r.strays())
	})
	require.GreaterOrEqual(t, len(events), 29)
	return events
}

func rigPlace(n int, events []string) string { return fmt.Sprintf("at %d, %s", n, events[n]) }

// TestKeyRotationKilled kills the process at every event, and starts another.
func TestKeyRotationKilled(t *testing.T) {
	for _, is := range keyRigs {
		t.Run(is.String(), func(t *testing.T) {
			t.Parallel()
			events := undisturbed(t, is)
			for n := range events {
				inRig(t, is, "killed "+rigPlace(n, events), func(r *keyRig) {
					require.True(t, r.run(r.client(r.old.Key), rigKill.on(r, n)).killed)
					r.settle(nil)
				})
			}
		})
	}
}

// TestKeyRotationKilledTwice kills that other process too, at every event.
func TestKeyRotationKilledTwice(t *testing.T) {
	for _, is := range keyRigs {
		if !is.inDepth() {
			continue
		}
		t.Run(is.String(), func(t *testing.T) {
			t.Parallel()
			events := undisturbed(t, is)
			for n := range events {
				kills := 0
				for reached := true; reached; kills++ {
					reached = false
					inRig(t, is, fmt.Sprintf("killed %s, and then at %d", rigPlace(n, events), kills), func(r *keyRig) {
						require.True(t, r.run(r.client(r.old.Key), rigKill.on(r, n)).killed)
						reached = r.settle(rigKill.on(r, kills)).killed
					})
				}
				assert.Greater(t, kills, 4)
			}
		})
	}
}

// TestKeyRotationDisrupted: the process lives on. Where it gives up, another is
// started; it is also killed while it puts things back.
func TestKeyRotationDisrupted(t *testing.T) {
	for _, d := range keyDisruptions {
		for _, is := range keyRigs {
			for _, attempts := range []int{1, 4} {
				is := is
				is.attempts = attempts
				t.Run(d.name+", "+is.String(), func(t *testing.T) {
					t.Parallel()
					events, kills := undisturbed(t, is), 0
					for n := range events {
						if d.hits(events[n]) {
							kills += disrupt(t, is, d, n, d.name+" "+rigPlace(n, events))
						}
					}
					assert.Equal(t, is.inDepth(), kills > 0)
				})
			}
		}
	}
}

// disrupt returns how often it has killed the process besides.
func disrupt(t *testing.T, is rigOptions, d keyDisruption, n int, what string) (kills int) {
	var givenUp []string
	inRig(t, is, what, func(r *keyRig) {
		run := r.run(r.client(r.old.Key), d.on(r, n))
		require.False(t, run.killed)
		if run.err != nil {
			givenUp = run.events
		}
		r.settle(nil)
	})
	if !is.inDepth() {
		return 0
	}
	const most = 30 // an outage that is waited out repeats itself
	for m := n + 1; m < min(len(givenUp), n+most); m++ {
		kills++
		inRig(t, is, what+", and killed "+rigPlace(m, givenUp), func(r *keyRig) {
			first, second := d.on(r, n), rigKill.on(r, m)
			run := r.run(r.client(r.old.Key), func(i int, event string) error {
				return errors.Join(first(i, event), second(i, event))
			})
			require.True(t, run.killed)
			r.settle(nil)
		})
	}
	return kills
}
