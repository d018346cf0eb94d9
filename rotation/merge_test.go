package rotation_test

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// at returns a status at the given minute of a clock, by a verifier that counts from
// minute 0.
func at(minute int, current, previous diffhook.SecretStatus) diffhook.VerifierStatus {
	return diffhook.VerifierStatus{At: minuteOf(minute), Since: minuteOf(0), Current: current, Previous: previous}
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

func TestMerge(t *testing.T) {
	type statuses = map[string]diffhook.VerifierStatus
	type secret = rotation.MergedSecret
	none := diffhook.SecretStatus{}
	expired := used("aa", 7, 50)
	expired.Expires = minuteOf(60)
	expires := expired
	expires.Expires = minuteOf(60).Add(1)
	revoked := used("bb", 3, 59)
	revoked.Rejected = true
	since := func(minute int, s diffhook.VerifierStatus) diffhook.VerifierStatus {
		s.Since = minuteOf(minute)
		return s
	}
	ahead := func(hours int, s diffhook.VerifierStatus) diffhook.VerifierStatus {
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
		{"a zero Verifier without a secret", statuses{"w1": {At: minuteOf(60), Since: minuteOf(0)}}, nil},
		{"a server in a window", statuses{"w1": at(60, used("bb", 5, 59), used("aa", 2, 40))}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1"}, Uses: 5, Unused: time.Minute},
			{Fingerprint: "aa", PreviousAt: []string{"w1"}, Uses: 2, Unused: 20 * time.Minute},
		}},
		{"never used: since the count began", statuses{"w1": at(60, unused("aa"), none), "w2": at(45, unused("aa"), none)}, []secret{
			{Fingerprint: "aa", CurrentAt: []string{"w1", "w2"}, Unused: 45 * time.Minute},
		}},
		// By roles, aa would count as unused for 30 minutes.
		{"a server lags: the old secret is still current", statuses{
			"w1": at(60, used("bb", 10, 60), used("aa", 4, 30)),
			"w2": at(60, used("bb", 20, 58), used("aa", 5, 20)),
			"w3": at(60, used("aa", 100, 57), none),
		}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1", "w2"}, Uses: 30},
			{Fingerprint: "aa", CurrentAt: []string{"w3"}, PreviousAt: []string{"w1", "w2"}, Uses: 109, Unused: 3 * time.Minute},
		}},
		{"a server lags by two rotations", statuses{
			"w1": at(60, used("cc", 1, 60), used("bb", 1, 10)),
			"w2": at(60, used("bb", 1, 20), used("aa", 1, 30)),
		}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w2"}, PreviousAt: []string{"w1"}, Uses: 2, Unused: 40 * time.Minute},
			{Fingerprint: "cc", CurrentAt: []string{"w1"}, Uses: 1},
			{Fingerprint: "aa", PreviousAt: []string{"w2"}, Uses: 1, Unused: 30 * time.Minute},
		}},
		// The uses before a restart are forgotten: the last may be a moment ago.
		{"a server restarted", statuses{
			"w1": at(60, used("bb", 10, 60), used("aa", 4, 10)),
			"w2": since(59, at(60, unused("bb"), unused("aa"))),
		}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1", "w2"}, Uses: 10},
			{Fingerprint: "aa", PreviousAt: []string{"w1", "w2"}, Uses: 4, Unused: time.Minute},
		}},
		{"a server restarted with a source of a single secret", statuses{
			"w1": at(60, used("bb", 10, 60), used("aa", 4, 10)),
			"w2": since(58, at(60, unused("bb"), none)),
		}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1", "w2"}, Uses: 10},
			{Fingerprint: "aa", PreviousAt: []string{"w1"}, Uses: 4, Unused: 2 * time.Minute},
		}},
		// By one clock, aa would be unused for 3 hours, or used in the future.
		{"clocks hours apart", statuses{
			"w1": ahead(3, at(60, used("bb", 1, 60), used("aa", 1, 20))),
			"w2": at(60, used("bb", 1, 60), used("aa", 1, 55)),
			"w3": ahead(-3, at(60, used("bb", 1, 60), used("aa", 1, 30))),
		}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1", "w2", "w3"}, Uses: 3},
			{Fingerprint: "aa", PreviousAt: []string{"w1", "w2", "w3"}, Uses: 3, Unused: 5 * time.Minute},
		}},
		{"a use recorded while the status was taken", statuses{"w1": at(60, used("aa", 1, 61), none)}, []secret{
			{Fingerprint: "aa", CurrentAt: []string{"w1"}, Uses: 1},
		}},
		{"previous until the instant of the expiry", statuses{"w1": at(60, unused("bb"), expired), "w2": at(60, unused("bb"), expires)}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1", "w2"}, Unused: time.Hour},
			{Fingerprint: "aa", PreviousAt: []string{"w2"}, Uses: 14, Unused: 10 * time.Minute},
		}},
		{"revoked, and the source knows no other", statuses{"w1": at(60, revoked, none), "w2": at(60, used("bb", 1, 40), none)}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w2"}, Uses: 4, Unused: time.Minute},
		}},
		{"says nothing of when: nothing is certain", statuses{"w1": timeless, "w2": at(60, used("aa", 1, 10), none)}, []secret{
			{Fingerprint: "aa", CurrentAt: []string{"w1", "w2"}, Uses: 2},
		}},
		{"without Since: counted from a use alone", statuses{"w1": unknownSince}, []secret{
			{Fingerprint: "bb", CurrentAt: []string{"w1"}, Uses: 1, Unused: 5 * time.Minute},
			{Fingerprint: "aa", PreviousAt: []string{"w1"}},
		}},
		{"an empty status, of a server without a response", statuses{"w1": at(60, used("aa", 1, 10), none), "w2": {}}, []secret{
			{Fingerprint: "aa", CurrentAt: []string{"w1"}, Uses: 1},
		}},
		{"ordered by the number of servers with the secret as current, then by fingerprint", statuses{
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
				require.Empty(t, cmp.Diff(test.want, rotation.Merge(test.from), cmpopts.EquateEmpty()))
			}
			encoded, err := json.Marshal(test.want)
			require.NoError(t, err)
			var decoded []secret
			require.NoError(t, json.Unmarshal(encoded, &decoded))
			assert.Empty(t, cmp.Diff(test.want, decoded, cmpopts.EquateEmpty()))
		})
	}
}

func TestMergeJSON(t *testing.T) {
	encoded, err := json.Marshal(rotation.Merge(map[string]diffhook.VerifierStatus{
		"w1": at(60, used("bb", 5, 59), unused("aa")),
	}))
	require.NoError(t, err)
	assert.JSONEq(t, `[
		{"fingerprint": "bb", "currentAt": ["w1"], "uses": 5, "unused": 60000000000},
		{"fingerprint": "aa", "previousAt": ["w1"], "uses": 0, "unused": 3600000000000}
	]`, string(encoded))

	encoded, err = json.Marshal(rotation.Merge(nil))
	require.NoError(t, err)
	assert.JSONEq(t, `[]`, string(encoded), "an empty list too: programs in other languages iterate over the list")
}

// A use counts, even if the server no longer accepts the secret.
func TestMergeRemembersDroppedSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, next := diffhooktest.NewSecret(), diffhooktest.NewSecret()
		both := diffhook.Secrets{Current: next, Previous: first}
		v1, err1 := diffhook.NewVerifier(t.Context(), both, nil)
		v2, err2 := diffhook.NewVerifier(t.Context(), both, nil)
		require.NoError(t, errors.Join(err1, err2))
		time.Sleep(time.Hour)
		body := diffhooktest.PageChanged()
		require.NoError(t, v1.Verify(t.Context(), body, first.Sign(body)))
		time.Sleep(time.Minute)
		require.NoError(t, v1.Reject(first.Fingerprint()))
		merged := rotation.Merge(map[string]diffhook.VerifierStatus{"w1": v1.Status(), "w2": v2.Status()})
		require.Len(t, merged, 2)
		assert.Equal(t, first.Fingerprint(), merged[1].Fingerprint)
		assert.LessOrEqual(t, merged[1].Unused, time.Minute, "w1 used the secret a minute ago")
	})
}

// Whatever happens to the servers, a merged status never shows too long a time without
// use. A revocation depends on this time alone.
func TestMergeIsNeverTooSure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		first, next := diffhooktest.NewSecret(), diffhooktest.NewSecret()
		var sure, restarts int
		for range 60 {
			sources := make([]diffhook.Secrets, 3)
			servers := make([]*diffhook.Verifier, len(sources))
			start := func(i int) {
				v, err := diffhook.NewVerifier(t.Context(), diffhook.SecretSourceFunc(func(context.Context) (diffhook.Secrets, error) { return sources[i], nil }), nil)
				require.NoError(t, err)
				servers[i] = v
			}
			for i := range servers {
				sources[i] = diffhook.Secrets{Current: first}
				start(i)
			}
			lastUsed := map[string]time.Time{}
			began := time.Now()
			for range 30 {
				i := random.IntN(len(servers))
				switch random.IntN(6) {
				case 0, 1:
					secret := []diffhook.Secret{first, next}[random.IntN(2)]
					body := diffhooktest.PageChanged()
					if servers[i].Verify(t.Context(), body, secret.Sign(body)) == nil {
						lastUsed[secret.Fingerprint()] = time.Now()
					}
				case 2: // the source is up to date, and the server perhaps
					sources[i] = diffhook.Secrets{Current: next, Previous: first}
				case 3:
					require.NoError(t, servers[i].Refresh(t.Context()))
				case 4:
					restarts++
					start(i)
				default:
					time.Sleep(time.Duration(random.IntN(60)) * time.Second)
				}
				statuses := map[string]diffhook.VerifierStatus{}
				for i, v := range servers {
					statuses[fmt.Sprint("w", i)] = v.Status()
				}
				for _, merged := range rotation.Merge(statuses) {
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
		assert.Greater(t, sure, 300, "and certain if nothing was forgotten")
		assert.Greater(t, restarts, 50)
	})
}
