package diffhooktest

import (
	"net/http"
	"time"

	"github.com/diffhook/diffhook-go"
)

// Secrets returns the signing secrets in force: the current one and, from a
// rotation until it is revoked, the one before it.
func (t *Team) Secrets() diffhook.Secrets {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	return t.secrets()
}

func (t *Team) secrets() diffhook.Secrets {
	return diffhook.Secrets{Current: t.signing.current, Previous: t.signing.previous, NoPrevious: t.signing.previous.IsZero()}
}

// Rotate replaces the signing secret by a random one, like POST
// /api/signing-secret/rotate but not as a request, and returns what is in
// force now. Webhooks detected from now on are signed with it; whether those
// in flight are is a matter of [Settings].SignOnce. A second rotation drops
// the older secret (assumed).
func (t *Team) Rotate() diffhook.Secrets {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	t.rotate(t.server.clock.now())
	return t.secrets()
}

func (t *Team) rotate(now time.Time) {
	t.signing = signingSecret{current: NewSecret(), previous: t.signing.current, created: now}
}

// RevokePrevious ends the validity of the replaced secret, like DELETE
// /api/signing-secret/previous. Where SignOnce is set, a delivery in flight
// that was signed with it keeps its signature: that is what to wait for before
// revoking.
func (t *Team) RevokePrevious() {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	t.signing.previous = diffhook.Secret{}
}

func (c *call) getSigningSecret() (*answer, *failure) {
	now := c.team.signing
	f := fields{"secret": now.current.Reveal(), "created_at": timestamp(now.created), "previous": nil}
	if !now.previous.IsZero() {
		previous := fields{"rotated_at": timestamp(now.created)}
		if !c.server.settings.Terse {
			previous["secret"] = now.previous.Reveal()
		}
		f["previous"] = previous
	}
	return data(http.StatusOK, c.generation, f), nil
}

func (c *call) rotateSigningSecret() (*answer, *failure) {
	c.team.rotate(c.now)
	return c.getSigningSecret()
}

func (c *call) revokePreviousSecret() (*answer, *failure) {
	c.team.signing.previous = diffhook.Secret{}
	return newAnswer(http.StatusNoContent), nil
}
