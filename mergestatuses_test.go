package diffhook_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// at returns a status taken at the given minute of a clock, by a verifier that
// has counted from minute 0.
func at(minute int, current, previous diffhook.SecretStatus) diffhook.RotationStatus {
	return diffhook.RotationStatus{At: minuteOf(minute), Since: minuteOf(0), Current: current, Previous: previous}
}

func minuteOf(n int) time.Time {
	return time.Date(2026, 3, 16, 14, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Minute)
}

// used returns the status of a secret, last used at the given minute.
func used(fingerprint string, uses uint64, minute int) diffhook.SecretStatus {
	return diffhook.SecretStatus{Fingerprint: fingerprint, Uses: uses, LastUsed: minuteOf(minute)}
}

func unused(fingerprint string) diffhook.SecretStatus {
	return diffhook.SecretStatus{Fingerprint: fingerprint}
}

func TestMergeStatuses(t *testing.T) {
	type statuses = map[string]diffhook.RotationStatus
	type secret = diffhook.MergedStatus
	none := diffhook.SecretStatus{}
	expired := used("aa", 7, 50)
	expired.Expires = minuteOf(60)
	expires := expired
	expires.Expires = minuteOf(60).Add(1)
	revoked := used("bb", 3, 59)
	revoked.Revoked = true
	since := func(minute int, s diffhook.RotationStatus) diffhook.RotationStatus {
		s.Since = minuteOf(minute)
		return s
	}
	ahead := func(hours int, s diffhook.RotationStatus) diffhook.RotationStatus {
		by := time.Duration(hours) * time.Hour
		s.At, s.Since, s.Current.LastUsed, s.Previous.LastUsed = s.At.Add(by), s.Since.Add(by), s.Current.LastUsed.Add(by), s.Previous.LastUsed.Add(by)
		return s
	}
	timeless := at(60, used("aa", 1, 30), none)
	timeless.At, timeless.Since = time.Time{}, time.Time{}
	unknownSince := at(60, used("bb", 1, 55), unused("aa"))
	unknownSince.Since = time.Time{}

	for _, test := range []struct {
		name string
		from statuses
		want []secret
	}{
		{"none", nil, nil},
		{"empty", statuses{}, nil},
		{"a zero Verifier has no secret", statuses{"w1": {At: minuteOf(60), Since: minuteOf(0)}}, nil},
		{"one server in a window", statuses{"w1": at(60, used("bb", 5, 59), used("aa", 2, 40))}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1"}, Uses: 5, LastUsed: minuteOf(59), Unused: time.Minute},
			{Fingerprint: "aa", PreviousAt: []string{"w1"}, Uses: 2, LastUsed: minuteOf(40), Unused: 20 * time.Minute},
		}},
		{"never used: since it is counted", statuses{"w1": at(60, unused("aa"), none), "w2": at(45, unused("aa"), none)}, []secret{
			{Fingerprint: "aa", CurrentAt: []string{"w1", "w2"}, Unused: 45 * time.Minute},
		}},
		// By roles, aa would pass for unused for 30 minutes.
		{"a server lags: the old secret is its current one", statuses{
			"w1": at(60, used("bb", 10, 60), used("aa", 4, 30)),
			"w2": at(60, used("bb", 20, 58), used("aa", 5, 20)),
			"w3": at(60, used("aa", 100, 57), none),
		}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1", "w2"}, Uses: 30, LastUsed: minuteOf(60)},
			{Fingerprint: "aa", CurrentAt: []string{"w3"}, PreviousAt: []string{"w1", "w2"}, Uses: 109, LastUsed: minuteOf(57), Unused: 3 * time.Minute},
		}},
		{"a server lags by two rotations", statuses{
			"w1": at(60, used("cc", 1, 60), used("bb", 1, 10)),
			"w2": at(60, used("bb", 1, 20), used("aa", 1, 30)),
		}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w2"}, PreviousAt: []string{"w1"}, Uses: 2, LastUsed: minuteOf(20), Unused: 40 * time.Minute},
			{Fingerprint: "cc", CurrentAt: []string{"w1"}, Uses: 1, LastUsed: minuteOf(60)},
			{Fingerprint: "aa", PreviousAt: []string{"w2"}, Uses: 1, LastUsed: minuteOf(30), Unused: 30 * time.Minute},
		}},
		// What it used before it restarted is forgotten, and may be a moment ago.
		{"a server restarted", statuses{
			"w1": at(60, used("bb", 10, 60), used("aa", 4, 10)),
			"w2": since(59, at(60, unused("bb"), unused("aa"))),
		}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1", "w2"}, Uses: 10, LastUsed: minuteOf(60)},
			{Fingerprint: "aa", PreviousAt: []string{"w1", "w2"}, Uses: 4, LastUsed: minuteOf(10), Unused: time.Minute},
		}},
		{"a server restarted with a source that names one secret", statuses{
			"w1": at(60, used("bb", 10, 60), used("aa", 4, 10)),
			"w2": since(58, at(60, unused("bb"), none)),
		}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1", "w2"}, Uses: 10, LastUsed: minuteOf(60)},
			{Fingerprint: "aa", PreviousAt: []string{"w1"}, Uses: 4, LastUsed: minuteOf(10), Unused: 2 * time.Minute},
		}},
		// By one clock, aa would be unused for 3 hours, or used in the future.
		{"clocks that are hours apart", statuses{
			"w1": ahead(3, at(60, used("bb", 1, 60), used("aa", 1, 20))),
			"w2": at(60, used("bb", 1, 60), used("aa", 1, 55)),
			"w3": ahead(-3, at(60, used("bb", 1, 60), used("aa", 1, 30))),
		}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1", "w2", "w3"}, Uses: 3, LastUsed: minuteOf(240)},
			{Fingerprint: "aa", PreviousAt: []string{"w1", "w2", "w3"}, Uses: 3, LastUsed: minuteOf(200), Unused: 5 * time.Minute},
		}},
		{"a use recorded while the status was taken", statuses{"w1": at(60, used("aa", 1, 61), none)}, []secret{
			{Fingerprint: "aa", CurrentAt: []string{"w1"}, Uses: 1, LastUsed: minuteOf(61)},
		}},
		{"previous to the instant of its end", statuses{"w1": at(60, unused("bb"), expired), "w2": at(60, unused("bb"), expires)}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1", "w2"}, Unused: time.Hour},
			{Fingerprint: "aa", PreviousAt: []string{"w2"}, Uses: 14, LastUsed: minuteOf(50), Unused: 10 * time.Minute},
		}},
		{"revoked, and the source knows no other", statuses{"w1": at(60, revoked, none), "w2": at(60, used("bb", 1, 40), none)}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w2"}, Uses: 4, LastUsed: minuteOf(59), Unused: time.Minute},
		}},
		{"says nothing of when: nothing is certain", statuses{"w1": timeless, "w2": at(60, used("aa", 1, 10), none)}, []secret{
			{Fingerprint: "aa", CurrentAt: []string{"w1", "w2"}, Uses: 2, LastUsed: minuteOf(30)},
		}},
		{"says nothing of since when: not used as far as it is known", statuses{"w1": unknownSince}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1"}, Uses: 1, LastUsed: minuteOf(55), Unused: 5 * time.Minute},
			{Fingerprint: "aa", PreviousAt: []string{"w1"}},
		}},
		{"no status at all, for one that does not answer", statuses{"w1": at(60, used("aa", 1, 10), none), "w2": {}}, []secret{
			{Fingerprint: "aa", CurrentAt: []string{"w1"}, Uses: 1, LastUsed: minuteOf(10)},
		}},
		{"ordered by servers that have it as current, then by fingerprint", statuses{
			"w3": at(60, unused("dd"), none), "w2": at(60, unused("dd"), none), "w1": at(60, unused("cc"), unused("aa")), "w4": at(60, unused("bb"), none),
		}, []secret{
			{Fingerprint: "dd", CurrentAt: []string{"w2", "w3"}, Unused: time.Hour},
			{Fingerprint: "bb", CurrentAt: []string{"w4"}, Unused: time.Hour},
			{Fingerprint: "cc", CurrentAt: []string{"w1"}, Unused: time.Hour},
			{Fingerprint: "aa", PreviousAt: []string{"w1"}, Unused: time.Hour},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 20 { // maps have many orders
				require.Empty(t, cmp.Diff(test.want, diffhook.MergeStatuses(test.from), cmpopts.EquateEmpty()))
			}
			encoded, err := json.Marshal(test.want)
			require.NoError(t, err)
			var decoded []secret
			require.NoError(t, json.Unmarshal(encoded, &decoded))
			assert.Empty(t, cmp.Diff(test.want, decoded, cmpopts.EquateEmpty()))
		})
	}
}

func TestMergedStatusJSON(t *testing.T) {
	encoded, err := json.Marshal(diffhook.MergeStatuses(map[string]diffhook.RotationStatus{
		"w1": at(60, used("bb", 5, 59), unused("aa")),
	}))
	require.NoError(t, err)
	assert.JSONEq(t, `[
		{"fingerprint": "bb", "currentAt": ["w1"], "uses": 5, "lastUsed": "2026-03-16T14:59:00Z", "unused": 60000000000},
		{"fingerprint": "aa", "previousAt": ["w1"], "uses": 0, "unused": 3600000000000}
	]`, string(encoded))

	encoded, err = json.Marshal(diffhook.MergeStatuses(nil))
	require.NoError(t, err)
	assert.JSONEq(t, `[]`, string(encoded), "a list, also where it is empty: programs of other languages iterate over it")
}

// A server that used a secret and has it no more, such as after Revoke or
// a second rotation, has used it all the same.
func TestMergeStatusesRemembersDroppedSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		both := diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")}
		w1, w2 := newStatusServer(t, both), newStatusServer(t, both)
		pause(time.Hour)
		require.NoError(t, verifySigned(t, t.Context(), w1.v, "A"))
		pause(time.Minute)
		require.NoError(t, w1.v.Revoke(letter(t, "A").Fingerprint()))
		merged := diffhook.MergeStatuses(map[string]diffhook.RotationStatus{"w1": w1.v.Status(), "w2": w2.v.Status()})
		require.Len(t, merged, 2)
		assert.Equal(t, letter(t, "A").Fingerprint(), merged[1].Fingerprint)
		assert.LessOrEqual(t, merged[1].Unused, time.Minute, "w1 used it a minute ago")
	})
}

// Whatever happens to the servers, what is merged never says that a
// secret was unused for longer than it was, and that is all that a revocation
// goes by.
func TestMergeStatusesIsNeverTooSure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		both := diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")}
		var sure, restarts int
		for range 60 {
			servers := make([]statusServer, 3)
			for i := range servers {
				servers[i] = newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
			}
			lastUsed := map[string]time.Time{}
			began := time.Now()
			for range 30 {
				s := &servers[random.IntN(len(servers))]
				switch random.IntN(6) {
				case 0, 1:
					name := []string{"A", "B"}[random.IntN(2)]
					if verifySigned(t, t.Context(), s.v, name) == nil {
						lastUsed[letter(t, name).Fingerprint()] = time.Now()
					}
				case 2: // its source has learned, and the server may or may not
					s.source.set(both, nil)
				case 3:
					require.NoError(t, s.v.Refresh(t.Context()))
				case 4:
					restarts++
					*s = newStatusServer(t, s.source.answer)
				default:
					pause(time.Duration(random.IntN(60)) * time.Second)
				}
				statuses := map[string]diffhook.RotationStatus{}
				for i, s := range servers {
					status, err := s.remote().Status(t.Context())
					require.NoError(t, err)
					statuses[fmt.Sprint("w", i)] = status
				}
				for _, merged := range diffhook.MergeStatuses(statuses) {
					last, ok := lastUsed[merged.Fingerprint]
					if !ok {
						last = began
					}
					require.LessOrEqual(t, merged.Unused, time.Since(last))
					if merged.Unused > 0 && merged.Unused == time.Since(last) {
						sure++
					}
				}
			}
		}
		assert.Greater(t, sure, 300, "and it is as sure as it can be where nothing was forgotten")
		assert.Greater(t, restarts, 50)
	})
}
