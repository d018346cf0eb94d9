package diffhooktest

import (
	"net/http"
	"time"

	"github.com/diffhook/diffhook-go"
)

// Secrets returns the valid signing secrets: the current secret and, after a
// rotation and until it is revoked, the previous secret.
func (t *Team) Secrets() diffhook.Secrets {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	return t.secrets()
}

func (t *Team) secrets() diffhook.Secrets {
	return diffhook.Secrets{Current: t.signing.current, Previous: t.signing.previous, NoPrevious: t.signing.previous.IsZero()}
}

// Rotate replaces the signing secret by a random secret, like POST
// /api/signing-secret/rotate but without a request, and returns the valid secrets.
// The new secret signs the webhooks of later changes. [Settings].SignOnce decides
// about the retries of webhooks in flight. A second rotation ends the older secret
// (assumed).
func (t *Team) Rotate() diffhook.Secrets {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	t.rotate(t.server.clock.now())
	return t.secrets()
}

func (t *Team) rotate(now time.Time) {
	t.signing = signingSecret{current: NewSecret(), previous: t.signing.current, created: now}
}

// RevokePrevious revokes the previous secret, like DELETE
// /api/signing-secret/previous. If SignOnce is set, deliveries in flight keep their
// old signature: wait for them first.
func (t *Team) RevokePrevious() {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	t.signing.previous = diffhook.Secret{}
}

func (c *call) getSigningSecret() (*response, *failure) {
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

func (c *call) rotateSigningSecret() (*response, *failure) {
	c.team.rotate(c.now)
	return c.getSigningSecret()
}

func (c *call) revokePreviousSecret() (*response, *failure) {
	c.team.signing.previous = diffhook.Secret{}
	return newResponse(http.StatusNoContent), nil
}
