package rotation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/scrub"
)

// Question is a question to the person at the app.
type Question struct {
	Text    string // sentences, without a secret
	Secret  bool   // the answer is a secret: do not echo, log or keep it
	Confirm bool   // any answer means: done
}

// Asker asks a person a question and returns the answer. It returns an error if the
// person wants to stop, or when ctx ends. The next run continues the rotation.
type Asker func(ctx context.Context, q Question) (string, error)

// ByHand returns the platform of a person who clicks in the app, as DiffHook documents.
// White space around an answer is ignored. After an answer that cannot be right, the
// same question comes with the reason, up to 10 times.
func ByHand(ask Asker) *HandPlatform { return &HandPlatform{ask: ask} }

// HandPlatform is a [SecretPlatform] and a [KeyPlatform].
type HandPlatform struct {
	// Client configures the requests that try API keys. The defaults are those of
	// [diffhook.NewClient].
	Client *diffhook.ClientOptions

	ask Asker
}

const (
	place       = "App → Settings → API Keys"
	mostAnswers = 10 // to a question
)

// Signing asks for the secret that the app shows. If old is set and the app shows a new
// secret, Signing asks for the old secret too.
func (h *HandPlatform) Signing(ctx context.Context, old diffhook.Secret) (s diffhook.Secrets, err error) {
	s.Current, err = h.askSecret(ctx, "Open "+place+" → Signing secret in DiffHook's app. Check that it is the right team. Do not click Rotate. Copy the whole secret that is shown now, and paste it here.", diffhook.Secret{})
	if err != nil || old.IsZero() || s.Current.Equal(old) {
		return s, err
	}
	text := "That is a new secret, with the fingerprint " + s.Current.Fingerprint() + ". If the app shows the whole old secret too, copy the old secret, and paste it here. Otherwise press Enter."
	err = h.askUntil(ctx, Question{Text: text, Secret: true}, func(answer string) (err error) {
		if answer == "" {
			return nil
		}
		if s.Previous, err = diffhook.NewSecret(answer); err == nil && s.Previous.Equal(s.Current) {
			err = fmt.Errorf("%w: the answer is the new secret; copy the old secret, or press Enter", diffhook.ErrInvalidSecret)
		}
		return err
	})
	return s, err
}

// Rotate asks for the click and the new secret.
func (h *HandPlatform) Rotate(ctx context.Context, old diffhook.Secret) (s diffhook.Secrets, err error) {
	s.Current, err = h.askSecret(ctx, "In "+place+", click Rotate signing secret, once. If you have clicked already, do not click again. DiffHook signs with the new secret from the click on. Copy the new secret, and paste it here. The new secret replaces the secret with the fingerprint "+old.Fingerprint()+".", old)
	return s, err
}

// Revoke asks for the click that ends the previous secret.
func (h *HandPlatform) Revoke(ctx context.Context) error {
	return h.confirm(ctx, "In "+place+" → Signing secret, revoke the old secret, if the app shows one. Do not click Rotate. Then press Enter.")
}

// askSecret asks until the answer is a secret other than old.
func (h *HandPlatform) askSecret(ctx context.Context, text string, old diffhook.Secret) (secret diffhook.Secret, err error) {
	var short diffhook.Secret // the last answer, if shorter than old
	err = h.askUntil(ctx, Question{Text: text, Secret: true}, func(answer string) error {
		secret, err = diffhook.NewSecret(answer)
		switch {
		case err != nil:
			return err
		case old.IsZero():
		case secret.Equal(old):
			return fmt.Errorf("%w: the answer is the old secret; copy the secret that the app shows after the click", diffhook.ErrInvalidSecret)
		case len(answer) < len(old.Reveal()) && !secret.Equal(short):
			short = secret
			return fmt.Errorf("%w: the answer is %d characters long, and the old secret %d; copy the whole secret, or paste the same again if it is whole", diffhook.ErrInvalidSecret, len(answer), len(old.Reveal()))
		}
		return nil
	})
	return secret, err
}

// askUntil asks until check returns nil.
func (h *HandPlatform) askUntil(ctx context.Context, q Question, check func(string) error) (err error) {
	text := q.Text
	for range mostAnswers {
		answer, askErr := h.put(ctx, q)
		if askErr != nil {
			return askErr
		}
		if err = check(strings.TrimSpace(answer)); err == nil {
			return nil
		}
		q.Text = "That cannot be right: " + strings.TrimPrefix(err.Error(), "diffhook: ") + ". " + text
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
		return "", scrub.Foreign("ask the person", err, answer)
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

// Check lists monitors with old, through the API.
func (h *HandPlatform) Check(ctx context.Context, old Pair) error {
	_, err := h.Monitors(ctx, old)
	return err
}

// Discard asks for the deletion of keys with any of the labels.
func (h *HandPlatform) Discard(ctx context.Context, _ Pair, labels []string) error {
	return h.confirm(ctx, "In "+place+", look for a key with the label "+strings.Join(labels, " or ")+". If there is such a key, delete it: an interrupted run may have left it. Delete no other key. Then press Enter.")
}

// Create asks for the click and the new key.
func (h *HandPlatform) Create(ctx context.Context, old Pair, label string) (pair Pair, err error) {
	text := "In " + place + ", click New API key, once, with the label " + label + ". The key is shown once. "
	if old.Secret != "" {
		return h.createGen2(ctx, old, text)
	}
	q := Question{Text: text + "Copy the new key, which begins with dh_live_, and paste it here.", Secret: true}
	err = h.askUntil(ctx, q, func(answer string) error {
		pair = Pair{ID: label, Key: answer}
		return checkSuccessor(pair, old)
	})
	return pair, err
}

func (h *HandPlatform) createGen2(ctx context.Context, old Pair, text string) (pair Pair, err error) {
	q := Question{Text: text + "Copy the new client id, which begins with dh_live_, and paste it here. The client secret is asked for next.", Secret: true}
	err = h.askUntil(ctx, q, func(answer string) error {
		if _, err := diffhook.NewAPIKey(answer); err != nil {
			return err
		}
		if pair.ID = answer; pair.ID == old.ID {
			return fmt.Errorf("%w: the answer is the client id of the old key; copy the client id of the new key", diffhook.ErrInvalidCredentials)
		}
		return nil
	})
	if err != nil {
		return Pair{}, err
	}
	q.Text = "Copy the client secret of the new key with the client id " + shownID(pair.ID) + ", and paste it here."
	err = h.askUntil(ctx, q, func(answer string) error {
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
		return fmt.Errorf("%w: the answer is the old key; copy the key that the app shows after the click", diffhook.ErrInvalidCredentials)
	}
	return nil
}

var errYesOrNo = errors.New("diffhook: the answer is neither yes nor no")

// Unused asks whether the app shows a use of old after since.
func (h *HandPlatform) Unused(ctx context.Context, _, old Pair, since time.Time) (unused bool, err error) {
	q := Question{Text: "In " + place + ", look when the old key " + described(old) + " was last used. Do not delete it yet. Was it used after " + since.UTC().Format("2006-01-02 15:04:05") + " UTC? Type yes or no. If the app does not show the last use, look at your applications."}
	err = h.askUntil(ctx, q, func(answer string) error {
		unused = strings.EqualFold(answer, "no")
		if !unused && !strings.EqualFold(answer, "yes") {
			return errYesOrNo
		}
		return nil
	})
	return unused, err
}

// Delete asks for the deletion of old.
func (h *HandPlatform) Delete(ctx context.Context, _, old Pair) error {
	return h.confirm(ctx, "In "+place+", delete the old key "+described(old)+". Delete no other key. If the key is gone already, go on. Then press Enter.")
}

// described names pair as the app shows it.
func described(pair Pair) string {
	if pair.Secret != "" {
		return "with the client id " + shownID(pair.ID)
	}
	key, _ := diffhook.NewAPIKey(pair.Key)
	return fmt.Sprintf("with the label %s (%v)", shownID(pair.ID), key)
}
