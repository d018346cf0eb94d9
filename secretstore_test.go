package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// secretDetector finds parts of the emulator's secrets, but for the beginning
// that they all have.
func secretDetector(secrets ...diffhook.Secret) leakDetector {
	var texts []string
	for _, s := range secrets {
		texts = append(texts, strings.TrimPrefix(s.Reveal(), "test-signing-secret-"))
	}
	return newLeakDetector(texts...)
}

// leakyError is what a store says that shows what it was to hold.
type leakyError struct{ held diffhook.Secrets }

func (e *leakyError) Error() string {
	return fmt.Sprintf("cannot hold %s and %q", e.held.Current.Reveal(), e.held.Previous.Reveal())
}

// What a store does wrong once the platform has rotated. The next run, with a
// store that works, always goes on.
func TestSecretReplaceStores(t *testing.T) {
	keeps := func(keep func(diffhook.Secrets) diffhook.Secrets) func(*changeover) {
		return func(c *changeover) {
			c.store.after = func(operation string, s *diffhook.Secrets) error {
				if operation == "load" && !s.Current.Equal(c.old) {
					*s = keep(*s)
				}
				return nil
			}
		}
	}
	for _, test := range []struct {
		name string
		set  func(*changeover)
		err  error // nil: it succeeds
		text string
		took time.Duration
	}{
		{
			name: "it does not save", err: errDown, text: "diffhook: the store failed to save the signing secret: connection refused",
			set: func(c *changeover) { c.fails("save", errDown) },
		}, {
			name: "it shows the secrets in its error", err: errDown, text: `the store failed to save the signing secret: cannot hold [REDACTED] and "[REDACTED]"`,
			set: func(c *changeover) {
				c.store.after = func(operation string, s *diffhook.Secrets) error {
					if operation == "save" {
						return errors.Join(&leakyError{*s}, errDown)
					}
					return nil
				}
			},
		}, {
			name: "it shows what it loads in its error", err: errDown, text: `the store failed to load the signing secret: cannot hold [REDACTED] and "[REDACTED]"`,
			set: func(c *changeover) {
				c.store.after = func(operation string, s *diffhook.Secrets) error {
					if operation == "load" && !s.Current.Equal(c.old) {
						return errors.Join(&leakyError{*s}, errDown)
					}
					return nil
				}
			}, took: 30 * time.Second,
		}, {
			name: "it forgets the new secret", err: diffhook.ErrStoreMismatch, took: 30 * time.Second,
			text: `it gives back current "OLD" and previous "" where current "NEW" and previous "OLD" were saved; correct it and run it again`,
			set:  keeps(func(s diffhook.Secrets) diffhook.Secrets { return diffhook.Secrets{Current: s.Previous} }),
		}, {
			name: "it forgets the previous secret", err: diffhook.ErrStoreMismatch, took: 30 * time.Second,
			text: `it gives back current "NEW" and previous "" where current "NEW" and previous "OLD" were saved`,
			set:  keeps(func(s diffhook.Secrets) diffhook.Secrets { return diffhook.Secrets{Current: s.Current} }),
		}, {
			name: "it mixes them up", err: diffhook.ErrStoreMismatch, took: 30 * time.Second,
			text: `it gives back current "OLD" and previous "NEW"`,
			set: keeps(func(s diffhook.Secrets) diffhook.Secrets {
				return diffhook.Secrets{Current: s.Previous, Previous: s.Current}
			}),
		}, {
			name: "it takes its time", took: 2 * time.Minute,
			set: func(c *changeover) {
				c.store.after = func(operation string, s *diffhook.Secrets) error {
					if operation == "load" && time.Since(c.began) < 29*time.Second {
						*s = diffhook.Secrets{Current: c.old}
					}
					return nil
				}
			},
		}, {
			name: "it cannot be read for a while", took: 2 * time.Minute,
			set: func(c *changeover) {
				c.store.before = func(operation string) error {
					if at := time.Since(c.began); operation == "load" && c.server.Count("POST") > 0 && at < 29*time.Second {
						return errDown
					}
					return nil
				}
			},
		}, {
			name: "it keeps when the previous secret ends otherwise, which is its own affair", took: 2 * time.Minute,
			set: keeps(func(s diffhook.Secrets) diffhook.Secrets {
				s.PreviousExpires = time.Now().Add(time.Hour)
				return s
			}),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1")
				c.options.PollInterval = time.Second
				test.set(c)
				err := c.replace()
				require.ErrorIs(t, err, test.err)
				assert.Equal(t, test.took, time.Since(c.began))
				if err != nil {
					assert.Contains(t, c.text(err.Error()), test.text)
					assertNoLeak(t, secretDetector(c.old, c.server.Secrets().Current), err)
					assert.False(t, c.server.Secrets().NoPrevious, "revoked, and no receiver can know the new one")
					assert.Zero(t, c.web["web-1"].refreshes.Load(), "sent to read a store that is wrong")
					c.store.before, c.store.after = nil, nil
					require.NoError(t, c.replace())
				}
				c.requireReplaced()
			})
		})
	}
}

// TestSecretReplaceShowsNoSecret, in all that it reports and returns, also where
// a receiver shows one in its error.
func TestSecretReplaceShowsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1", "web-2")
		c.web["web-2"].fails = func(context.Context) error {
			if time.Since(c.began) > 30*time.Second {
				return nil
			}
			return &leakyError{c.server.Secrets()}
		}
		var shown []any
		c.options.Observe = func(_ context.Context, step diffhook.RotationStep) { shown = append(shown, step) }
		require.NoError(t, c.replace())
		assert.Greater(t, len(shown), 6)
		assert.Empty(t, secretDetector(c.old, c.server.Secrets().Current).find(fmt.Sprintf("%+v", shown)))
	})
}

// TestSecretRotationShowsNoSecret, neither in errors nor in steps, also where the
// store or the platform does, and before anything else has shown it.
func TestSecretRotationShowsNoSecret(t *testing.T) {
	for name, rotate := range wholeRotations {
		for what, set := range map[string]func(*changeover){
			"the store, at once": func(c *changeover) {
				c.store.before = func(string) error { return &leakyError{c.server.Secrets()} }
			},
			"the platform, when it is asked": func(c *changeover) {
				body := `{"error":{"code":"SERVER_ERROR","message":"cannot decode ` + c.old.Reveal() + `"}}`
				c.client = newHandlerClient(t, answeringJSON(http.StatusInternalServerError, body), &diffhook.ClientOptions{MaxAttempts: 1})
			},
			"the platform, of the old one and the new one": func(c *changeover) {
				transport := diffhooktest.Transport(c.server)
				c.client = teamClient(c.server.DefaultTeam(), 1, &diffhook.ClientOptions{MaxAttempts: 1, HTTPClient: &http.Client{
					Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
						if r.Method != http.MethodDelete {
							return transport.RoundTrip(r)
						}
						body := `{"error":{"code":"SERVER_ERROR","message":"constraint: ` + c.old.Reveal() + ` ` + c.server.Secrets().Current.Reveal() + `"}}`
						return diffhooktest.Transport(answeringJSON(http.StatusInternalServerError, body)).RoundTrip(r)
					}),
				}})
			},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newChangeover(t, 1, "web-1")
					set(c)
					err := rotate(c.client.SigningSecret, t.Context(), c.old.Fingerprint(), c.store, &c.options)
					require.Error(t, err)
					detector := secretDetector(c.old, c.server.Secrets().Current)
					assertNoLeak(t, detector, err)
					assert.Empty(t, detector.find(strings.Join(c.steps, "\n")))
				})
			})
		}
	}
}

// TestSecretReplaceInterruptedInConfirmation: that ctx ends says nothing of what
// the store holds.
func TestSecretReplaceInterruptedInConfirmation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		loads := 0
		c.store.after = func(operation string, s *diffhook.Secrets) error {
			if operation == "load" {
				loads++
				*s = diffhook.Secrets{Current: c.old} // it lags
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		err := c.client.SigningSecret.Replace(ctx, c.old.Fingerprint(), c.store, &c.options)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, diffhook.ErrStoreMismatch)
		assert.ErrorContains(t, err, "the store does not show yet what was saved in it")
		assert.ErrorContains(t, err, "DiffHook signs with the new secret already, which receivers do not know: run it again soon")
		assert.LessOrEqual(t, loads, 12)
	})
}
