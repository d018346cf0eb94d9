package diffhook

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// SigningSecretService manages the team's signing secret, as
// [Client.SigningSecret].
//
// Its endpoints are assumed: DiffHook documents the signing secret and its
// rotation, but lets it be managed at App → Settings → API Keys only.
type SigningSecretService struct{ client *Client }

// Load returns the signing secrets in force: the service is a [SecretSource].
// Where the API says that there is no previous one, NoPrevious is set.
func (s *SigningSecretService) Load(ctx context.Context) (Secrets, error) {
	var answer signingSecrets
	c := &call{method: http.MethodGet, route: pathSigningSecret, out: &answer, repeatable: true}
	if err := s.client.callPath(ctx, c, pathSigningSecret); err != nil {
		return Secrets{}, err
	}
	return answer.Secrets, nil
}

// Rotate makes DiffHook sign with a new secret from now on, and returns the
// secrets in force after it.
//
// It is not safe to repeat: a second rotation replaces the new secret too. After
// an error that matches [ErrOutcomeUnknown], Load shows whether it was done.
func (s *SigningSecretService) Rotate(ctx context.Context) (Secrets, error) {
	var answer signingSecrets
	c := &call{method: http.MethodPost, route: pathSigningSecret + "/" + pathRotate, out: &answer}
	if err := s.client.callPath(ctx, c, pathSigningSecret, pathRotate); err != nil {
		return Secrets{}, err
	}
	return answer.Secrets, nil
}

// RevokePrevious makes the platform forget the previous secret. It is safe to
// repeat. Receivers go on accepting it until they learn of that, or until
// [Verifier.RevokePrevious].
func (s *SigningSecretService) RevokePrevious(ctx context.Context) error {
	c := &call{method: http.MethodDelete, route: pathSigningSecret + "/" + pathPrevious, repeatable: true}
	return s.client.callPath(ctx, c, pathSigningSecret, pathPrevious)
}

// signingSecrets decodes the answer of the endpoints, with field names of
// either generation.
type signingSecrets struct{ Secrets }

func (s *signingSecrets) UnmarshalJSON(b []byte) (err error) {
	var w struct {
		Secret   string
		Previous json.RawMessage
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	s.Secrets = Secrets{}
	if s.Current, err = NewSecret(w.Secret); err != nil {
		return errNoSecretInAnswer
	}
	if bytes.Equal(w.Previous, []byte("null")) {
		s.NoPrevious = true
		return nil
	}
	if w.Previous == nil {
		return nil
	}
	var previous struct {
		Secret   string
		Expires  time.Time `json:"expiresAt"`
		Expires2 time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal(w.Previous, &previous); err != nil {
		return err
	}
	if previous.Secret == "" {
		return nil // there is one, and the API does not show it
	}
	if s.Previous, err = NewSecret(previous.Secret); err != nil {
		return errNoSecretInAnswer
	}
	s.PreviousExpires = firstTime(previous.Expires, previous.Expires2)
	return nil
}
