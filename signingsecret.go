package diffhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// SigningSecretService manages the team's signing secret, as [Client.SigningSecret].
//
// The endpoints are assumed: DiffHook documents the signing secret and the rotation as
// a page of the app only, at App → Settings → API Keys.
type SigningSecretService struct{ client *Client }

// Load returns the signing secrets in force: the service is a [SecretSource].
// NoPrevious is set if the API says that there is no previous secret.
//
// Load does not queue behind the client's other calls: it starts within two turns of
// the limiter, 2.2 s on the free plan. A pause after a 429 applies to Load too. If the
// pause is longer than ctx allows, the error comes at once.
//
// All receivers share the limit of the plan. Under a flood of forgeries, each
// receiver reads once per [VerifierOptions].MinRefreshInterval. The default, 10 s,
// serves 6 receivers on the free plan and 20 on a paid plan; 30 s, the longest
// interval for generation 1, serves 10 and 33. For more receivers, use another
// source, such as a secrets manager.
func (s *SigningSecretService) Load(ctx context.Context) (Secrets, error) {
	return s.ask(ctx, &call{method: http.MethodGet, repeatable: true}, pathSigningSecret)
}

// ask makes a call whose response is the secrets in force.
func (s *SigningSecretService) ask(ctx context.Context, c *call, path ...string) (Secrets, error) {
	var answer signingSecrets
	c.out = &answer
	err := s.call(ctx, c, path...)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w; the endpoint is assumed and may not exist: use the app", err)
	}
	if err != nil {
		return Secrets{}, err
	}
	return answer.Secrets, nil
}

// call makes an urgent call: a delivery may wait for it, or a secret leaked. At the
// limiter, another call may come first, and a call of each client with the same
// limiter. In the first minute a receiver takes up to 60 s / MinRefreshInterval + 4
// requests: three reads may follow each other at once, and Verifier.Watch adds a read
// or two. The last attempt of generation 1 comes 35 s after the first; generation 2
// retries for 17 h.
func (s *SigningSecretService) call(ctx context.Context, c *call, path ...string) error {
	c.route, c.urgent = strings.Join(path, "/"), true
	return s.client.callPath(ctx, c, path...)
}

// Rotate makes DiffHook sign with a new secret from now on, and returns the secrets
// in force. It is a single step of a rotation: package
// [github.com/diffhook/diffhook-go/rotation] does all steps.
//
// Rotate is not safe to repeat: a second rotation replaces the new secret too. After
// an error that matches [ErrOutcomeUnknown], Load shows whether the rotation was
// done.
func (s *SigningSecretService) Rotate(ctx context.Context) (Secrets, error) {
	return s.ask(ctx, &call{method: http.MethodPost}, pathSigningSecret, pathRotate)
}

// RevokePrevious makes the platform forget the previous secret. It is safe to repeat.
// Receivers accept the previous secret until their source no longer names it, or
// until [Verifier.Reject].
func (s *SigningSecretService) RevokePrevious(ctx context.Context) error {
	return s.call(ctx, &call{method: http.MethodDelete, repeatable: true}, pathSigningSecret, pathPrevious)
}

// signingSecrets decodes the response of the endpoints, with field names of either
// generation.
type signingSecrets struct{ Secrets }

func (s *signingSecrets) readData(data value) (err error) {
	if err := data.checkObject(); err != nil {
		return err
	}
	var current exactText
	var previous value
	data.fill(field{"secret", &current}, field{"previous", &previous})
	var read signingSecrets
	if read.Current, err = NewSecret(string(current)); err != nil {
		return errNoSecretInResponse
	}
	read.readPrevious(previous)
	*s = read
	return nil
}

// readPrevious reads the previous secret. If any part is unreadable, the previous
// secret counts as unknown, and the current secret is kept: a verifier then keeps the
// replaced secret for [VerifierOptions].RotationWindow. Without an end, a previous
// secret would be accepted for ever.
func (s *signingSecrets) readPrevious(previous value) {
	var text, end value
	previous.fill(field{"secret", &text}, field{"expires_at", &end})
	secret, err := NewSecret(string(text.exactText()))
	expires := end.time()
	switch {
	case previous.isNull():
		s.NoPrevious = true
	case err != nil, expires.IsZero() && len(end) > 0 && !end.isNull(): // unknown
	default:
		s.Previous, s.PreviousExpires = secret, expires
	}
}
