package rotation_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// A revocation was finished without a server. When the server is up again, another run
// does not return nil while a source names the leaked secret.
func TestRevokeSecretLooksAtServersAfterTheEnd(t *testing.T) {
	for name, stale := range map[string]func(w *world) diffhook.Secrets{
		"current": func(w *world) diffhook.Secrets { return diffhook.Secrets{Current: w.first} },
		"previous": func(w *world) diffhook.Secrets {
			return diffhook.Secrets{Current: w.team.Secrets().Current, Previous: w.first}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0, 0)
				_, err := w.revokeOnce(w.first.Fingerprint(), 0, func(o *rotation.RevokeOptions) { delete(o.Receivers, "web-2") })
				require.NoError(t, err)
				s := w.servers["web-2"]
				document := s.source
				s.source = stale(w)
				require.NoError(t, s.restart())
				asked := len(w.person.questions)
				_, err = w.revokeOnce(w.first.Fingerprint(), 0, nil)
				require.ErrorContains(t, err, "web-2")
				s.source = document
				require.NoError(t, s.restart())
				require.NoError(t, w.revoke(w.first.Fingerprint()))
				require.Equal(t, asked, len(w.person.questions), "nobody is asked again")
				w.requireRejected(w.first)
			})
		})
	}
}
