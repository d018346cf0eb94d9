package rotation

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/redact"
)

// Question is put to the person at the app.
type Question struct {
	Text    string // one or more sentences, without a secret
	Secret  bool   // the answer is a secret: do not echo, log or keep it
	Confirm bool   // any answer means that the person has done it
}

// Asker puts a question to a person and returns the answer. It returns an error if
// the person wants to stop, or when ctx ends. The same rotation then continues with
// the next run.
type Asker func(ctx context.Context, q Question) (string, error)

// ByHand returns the platform at which a person clicks in the app, as DiffHook
// documents it. Spaces and line breaks around an answer do not count. An answer that
// cannot be right is asked for again, with the reason.
func ByHand(ask Asker) *HandPlatform { return &HandPlatform{ask: ask} }

// HandPlatform is a [SecretPlatform] and a [KeyPlatform].
type HandPlatform struct {
	// Client has the options of the requests that try API keys. By default, those of
	// [diffhook.NewClient].
	Client *diffhook.ClientOptions

	ask  Asker
	seen diffhook.Secret // that the person pasted last, for Rotate to recognise
}

const (
	place       = "App → Settings → API Keys"
	mostAnswers = 10 // to one question
)

// Signing asks for the secret that the app shows.
func (h *HandPlatform) Signing(ctx context.Context) (diffhook.Secrets, error) {
	secret, err := h.askSecret(ctx, "Open "+place+" → Signing secret in DiffHook's app. Check that it is the right team. Do not click Rotate. Copy the whole secret that is shown now, and paste it here.", diffhook.Secret{})
	if err != nil {
		return diffhook.Secrets{}, err
	}
	h.seen = secret
	return diffhook.Secrets{Current: secret}, nil
}

// Rotate asks for the click and the new secret.
func (h *HandPlatform) Rotate(ctx context.Context) (diffhook.Secret, error) {
	text := "In " + place + ", click Rotate signing secret, once. If you have clicked already, do not click again. DiffHook signs with the new secret from the click on. Copy the new secret, and paste it here."
	if !h.seen.IsZero() {
		text += " The new secret replaces the secret with the fingerprint " + h.seen.Fingerprint() + "."
	}
	return h.askSecret(ctx, text, h.seen)
}

// Revoke asks for the click that ends the previous secret.
func (h *HandPlatform) Revoke(ctx context.Context) error {
	return h.confirm(ctx, "In "+place+" → Signing secret, revoke the old secret, if the app shows one. Do not click Rotate. Then press Enter.")
}

// askSecret asks until the answer may be a secret and is not old.
func (h *HandPlatform) askSecret(ctx context.Context, text string, old diffhook.Secret) (secret diffhook.Secret, err error) {
	var short diffhook.Secret // an answer that is shorter than old
	err = h.askUntil(ctx, text, func(answer string) error {
		secret, err = diffhook.NewSecret(answer)
		switch {
		case err != nil:
			return err
		case old.IsZero():
		case secret.Equal(old):
			return fmt.Errorf("%w: it is the old secret; copy the secret that the app shows after the click", diffhook.ErrInvalidSecret)
		case len(answer) < len(old.Reveal()) && !secret.Equal(short):
			short = secret
			return fmt.Errorf("%w: it has %d characters, and the old secret %d; copy it whole, or paste it again if this is all", diffhook.ErrInvalidSecret, len(answer), len(old.Reveal()))
		}
		return nil
	})
	return secret, err
}

// askUntil asks for a secret text until check accepts it.
func (h *HandPlatform) askUntil(ctx context.Context, text string, check func(string) error) (err error) {
	problem := ""
	for range mostAnswers {
		answer, askErr := h.put(ctx, Question{Text: problem + text, Secret: true})
		if askErr != nil {
			return askErr
		}
		if err = check(strings.TrimSpace(answer)); err == nil {
			return nil
		}
		problem = "That cannot be right: " + strings.TrimPrefix(err.Error(), "diffhook: ") + ". "
	}
	return err
}

func (h *HandPlatform) confirm(ctx context.Context, text string) error {
	_, err := h.put(ctx, Question{Text: text, Confirm: true})
	return err
}

func (h *HandPlatform) put(ctx context.Context, q Question) (string, error) {
	if h.ask == nil {
		return "", fmt.Errorf("%w: ByHand: the Asker is nil; pass a function", diffhook.ErrInvalidOptions)
	}
	answer, err := h.ask(ctx, q)
	if err != nil {
		return "", redact.Foreign("ask the person", err, answer)
	}
	return answer, nil
}

// Monitors lists monitors with pair, through the API.
func (h *HandPlatform) Monitors(ctx context.Context, pair Pair) ([]string, error) {
	c, err := diffhook.NewClient(pair.credentials(), h.Client)
	if err != nil {
		return nil, err
	}
	return monitorsOf(ctx, c)
}

// Discard asks for the deletion of keys with the label.
func (h *HandPlatform) Discard(ctx context.Context, _ Pair, label string) error {
	return h.confirm(ctx, "In "+place+", look for a key with the label "+label+". If there is one, delete it: an interrupted run may have left it. Delete no other key. Then press Enter.")
}

// Create asks for the click and the new key.
func (h *HandPlatform) Create(ctx context.Context, old Pair, label string) (pair Pair, err error) {
	text := "In " + place + ", click New API key, once, with the label " + label + ". The key is shown once. "
	if old.Secret != "" {
		return h.createGen2(ctx, old, text)
	}
	err = h.askUntil(ctx, text+"Copy the new key, which begins with dh_live_, and paste it here.", func(answer string) error {
		pair = Pair{ID: label, Key: answer}
		return checkSuccessor(pair, old)
	})
	return pair, err
}

func (h *HandPlatform) createGen2(ctx context.Context, old Pair, text string) (pair Pair, err error) {
	err = h.askUntil(ctx, text+"Copy the new client id, which begins with dh_live_, and paste it here. The client secret is asked for next.", func(answer string) error {
		if _, err := diffhook.NewAPIKey(answer); err != nil {
			return err
		}
		if pair.ID = answer; pair.ID == old.ID {
			return fmt.Errorf("%w: it is the client id of the old key; copy the new one", diffhook.ErrInvalidCredentials)
		}
		return nil
	})
	if err != nil {
		return Pair{}, err
	}
	err = h.askUntil(ctx, "Copy the client secret of the new key with the client id "+shownID(pair.ID)+", and paste it here.", func(answer string) error {
		pair.Secret = answer
		return checkSuccessor(pair, old)
	})
	return pair, err
}

func checkSuccessor(pair, old Pair) error {
	if err := pair.check(); err != nil {
		return err
	}
	if pair.same(old) {
		return fmt.Errorf("%w: it is the old key; copy the key that the app shows after the click", diffhook.ErrInvalidCredentials)
	}
	return nil
}

// Unused asks when the app shows old to have been used last.
func (h *HandPlatform) Unused(ctx context.Context, _, old Pair, since time.Time) (bool, error) {
	answer, err := h.put(ctx, Question{Text: "In " + place + ", look when the old key " + described(old) + " was last used. Do not delete it yet. Was it used after " + since.UTC().Format("2006-01-02 15:04:05") + " UTC? Type yes or no. If the app does not show the last use, look at your applications."})
	return strings.EqualFold(strings.TrimSpace(answer), "no"), err
}

// Delete asks for the deletion of old.
func (h *HandPlatform) Delete(ctx context.Context, _, old Pair) error {
	return h.confirm(ctx, "In "+place+", delete the old key "+described(old)+". Delete no other key. If it is gone already, go on. Then press Enter.")
}

// described names pair as the app shows it.
func described(pair Pair) string {
	if pair.Secret != "" {
		return "with the client id " + shownID(pair.ID)
	}
	key, _ := diffhook.NewAPIKey(pair.Key)
	return fmt.Sprintf("with the label %s (%v)", shownID(pair.ID), key)
}
