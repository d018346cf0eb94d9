package once_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once"
)

func TestKeyOf(t *testing.T) {
	at := time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC)
	e := func(kind, monitor string, at time.Time, raw string) *diffhook.Event {
		return &diffhook.Event{Type: kind, MonitorID: monitor, TriggeredAt: at, Raw: json.RawMessage(raw)}
	}
	names := map[once.Key]string{}
	for _, tc := range []struct {
		name, consumer string
		event          *diffhook.Event
	}{
		{"an event", "", e("page.changed", "mon_1", at, "{}")},
		{"for another consumer", "mail", e("page.changed", "mon_1", at, "{}")},
		{"of another type", "", e("page.gone", "mon_1", at, "{}")},
		{"of another monitor", "", e("page.changed", "mon_2", at, "{}")},
		{"of another time", "", e("page.changed", "mon_1", at.Add(1), "{}")},
		{"the consumer's name ends later", "page.", e("changed", "mon_1", at, "{}")},
		{"the consumer's name ends earlier", "", e("page.changed", "mon_1", at, "{}x")},
		{"without a key", "", e("page.changed", "", at, `{"a":1}`)},
		{"without a key, another body", "", e("page.changed", "", at, `{"a":2}`)},
		{"without a key, another consumer", "mail", e("page.changed", "", at, `{"a":1}`)},
		{"without a body, made by hand", "", e("page.changed", "", time.Time{}, "")},
		{"without a body, in a year without JSON", "", &diffhook.Event{TriggeredAt: at.AddDate(10_000, 0, 0), URL: "https://example.com/a"}},
		{"another page in this year", "", &diffhook.Event{TriggeredAt: at.AddDate(10_000, 0, 0), URL: "https://example.com/b"}},
		{"another time in this year", "", &diffhook.Event{TriggeredAt: at.AddDate(10_000, 0, 1), URL: "https://example.com/b"}},
		{"another without a body", "", &diffhook.Event{Type: "page.changed", URL: "https://example.com"}},
	} {
		k := once.KeyOf(tc.consumer, tc.event)
		if tc.name == "the consumer's name ends earlier" {
			require.Equal(t, once.KeyOf("", e("page.changed", "mon_1", at, "{}")), k, "retries with another body are one event")
			continue
		}
		require.Empty(t, names[k], "%s shares a key", tc.name)
		names[k] = tc.name
		require.Equal(t, k, once.KeyOf(tc.consumer, tc.event))
	}
	zone := time.FixedZone("", 3600)
	require.Equal(t, once.KeyOf("", e("a", "b", at, "")), once.KeyOf("", e("a", "b", at.In(zone), "")))
	require.Len(t, once.Key{}.String(), 64)
}

// TestKeyVector compares the key to a value from other programs:
// printf '\0\0\0\0\0\0\0\4mail\0\0\0\0\0\0\0\14page.changed\0\0\0\0\0\0\0\32mon_1@2026-03-16T14:22:00Z' | sha256sum
// The keys of all versions of this package must agree.
func TestKeyVector(t *testing.T) {
	e := &diffhook.Event{Type: "page.changed", MonitorID: "mon_1", TriggeredAt: time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC)}
	require.Equal(t, "e2bb2451f092ad459ebaa07f8e0f5eeb4ac1d31e91535088ed2b599e3d1699d7", once.KeyOf("mail", e).String())
}
