package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// storedVersion is a version of a secret in a secrets manager.
type storedVersion struct {
	text    string
	created time.Time
}

// errNoVersion is the error for a version that does not exist.
var errNoVersion = errors.New("no such version")

// fromVersions returns the secrets of a manager with versions. read(0) is the current
// version, read(1) the version before, and so on.
//
// The previous secret is the newest different text: a text may be stored twice. Its
// window ends a fixed time after the rotation, the creation of the oldest version with
// the current text.
func fromVersions(read func(int) (storedVersion, error)) (s diffhook.Secrets, err error) {
	const mostVersions = 20
	current, err := read(0)
	if err != nil {
		return s, err
	}
	if s.Current, err = diffhook.NewSecret(current.text); err != nil {
		return s, err
	}
	rotated := current.created
	for i := 1; i < mostVersions; i++ {
		if time.Since(rotated) > diffhook.DefaultRotationWindow {
			return s, nil // the window of every older version is over
		}
		older, err := read(i)
		switch {
		case errors.Is(err, errNoVersion):
			return s, nil // unknown, which differs from none
		case err != nil:
			return s, err
		case older.text == current.text:
			rotated = older.created
			continue
		}
		s.Previous, err = diffhook.NewSecret(older.text)
		s.PreviousExpires = rotated.Add(diffhook.DefaultRotationWindow)
		return s, err
	}
	return s, fmt.Errorf("the newest %d versions have the same text", mostVersions)
}

// awsVersion is a version in the lists of the AWS SDK.
type awsVersion struct {
	id      string
	stages  []string
	created time.Time
}

// secretsManager is the two calls of the AWS SDK for the source:
//
//	client.ListSecretVersionIds(ctx, &secretsmanager.ListSecretVersionIdsInput{
//		SecretId: &secret, IncludeDeprecated: aws.Bool(true), MaxResults: aws.Int32(100),
//	})
//	client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{
//		SecretId: &secret, VersionId: &version,
//	})
//
// versions returns out.Versions (VersionId, VersionStages, CreatedDate) of all pages,
// with the versions without a stage. value returns *out.SecretString.
type secretsManager interface {
	versions(ctx context.Context, secret string) ([]awsVersion, error)
	value(ctx context.Context, secret, version string) (string, error)
}

// awsSecrets reads a secret of AWS Secrets Manager and the versions before. The stage
// AWSPREVIOUS is not enough: it keeps the previous secret for ever, and names the
// current text if the text was stored twice.
func awsSecrets(manager secretsManager, secret string) diffhook.SecretSource {
	return diffhook.SecretSourceFunc(func(ctx context.Context) (s diffhook.Secrets, err error) {
		versions, err := manager.versions(ctx, secret)
		if err != nil {
			return s, err
		}
		slices.SortFunc(versions, func(a, b awsVersion) int { return b.created.Compare(a.created) })
		current := slices.IndexFunc(versions, func(v awsVersion) bool { return slices.Contains(v.stages, "AWSCURRENT") })
		if current < 0 {
			return s, errors.New("there is no secret " + secret)
		}
		versions = versions[current:] // without the newer AWSPENDING
		return fromVersions(func(i int) (v storedVersion, err error) {
			if i >= len(versions) {
				return v, errNoVersion
			}
			v.created = versions[i].created
			v.text, err = manager.value(ctx, secret, versions[i].id)
			return v, err
		})
	})
}

// fakeManager is a manager with the versions of a single secret, in no order.
type fakeManager map[string]fakeVersion

type fakeVersion struct {
	text, stage string
	created     time.Time
}

func (m fakeManager) versions(context.Context, string) (list []awsVersion, err error) {
	for id, v := range m {
		list = append(list, awsVersion{id, []string{v.stage}, v.created})
	}
	return list, nil
}

func (m fakeManager) value(_ context.Context, _, version string) (string, error) {
	return m[version].text, nil
}

// AWS Secrets Manager.
func ExampleSecretSourceFunc_awsSecretsManager() {
	now := time.Now()
	manager := fakeManager{
		"one": {"test-signing-secret-previous-0001", "AWSPREVIOUS", now.Add(-90 * 24 * time.Hour)},
		"two": {"test-signing-secret-current-0001", "AWSCURRENT", now.Add(-time.Hour)},
	}

	showSecrets(awsSecrets(manager, "prod/diffhook"))
	// Output:
	// current  e59e0ec3f3c4efaa
	// previous 39929fe00f085297
}

// vaultOf answers like HashiCorp Vault, with versions from 1 on. A version without a
// text is deleted.
func vaultOf(t *testing.T, versions ...storedVersion) diffhook.SecretSource {
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := len(versions)
		if v := r.URL.Query().Get("version"); v != "" {
			_, err := fmt.Sscan(v, &n)
			assert.NoError(t, err)
		}
		if !assert.True(t, 1 <= n && n <= len(versions)) || versions[n-1].text == "" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"data":{"data":{"signing_secret":%q},"metadata":{"version":%d,"created_time":%q}}}`,
			versions[n-1].text, n, versions[n-1].created.Format(time.RFC3339Nano))
	}))
	t.Cleanup(vault.Close)
	return vaultSecrets(vault.URL, "a token", "secret/data/diffhook")
}

// awsOf sets AWSCURRENT on the last version, and AWSPREVIOUS on the version before.
func awsOf(_ *testing.T, versions ...storedVersion) diffhook.SecretSource {
	manager := fakeManager{"pending": {"a-secret-that-is-not-yet-used", "AWSPENDING", time.Now()}}
	for i, v := range versions {
		stage := map[int]string{len(versions) - 1: "AWSCURRENT", len(versions) - 2: "AWSPREVIOUS"}[i]
		manager[fmt.Sprint("version ", i)] = fakeVersion{v.text, stage, v.created}
	}
	return awsSecrets(manager, "prod/diffhook")
}

// TestVersionsOfManagers: a window ends by itself at a fixed time, and a version that
// repeats a text hides no genuine previous secret.
func TestVersionsOfManagers(t *testing.T) {
	now := time.Now().UTC()
	ago := func(text string, hours int) storedVersion {
		return storedVersion{text, now.Add(-time.Duration(hours) * time.Hour)}
	}
	a, b := mustSecret(t, previousText), mustSecret(t, currentText)
	rotated := diffhook.Secrets{Current: b, Previous: a, PreviousExpires: now.Add(22 * time.Hour)} // 2 h ago
	for _, tc := range []struct {
		name     string
		versions []storedVersion
		want     diffhook.Secrets
	}{
		{"the first version", []storedVersion{ago(currentText, 2)}, diffhook.Secrets{Current: b}},
		{"a rotation", []storedVersion{ago(previousText, 900), ago(currentText, 2)}, rotated},
		{"a rotation whose window is over", []storedVersion{ago(previousText, 900), ago(currentText, 25)}, diffhook.Secrets{Current: b}},
		{"the same text again", []storedVersion{ago(previousText, 900), ago(currentText, 2), ago(currentText, 1)}, rotated},
		{"and again", []storedVersion{ago(previousText, 900), ago(currentText, 2), ago(currentText, 1), ago(currentText, 0)}, rotated},
		{"the same text again, after the window", []storedVersion{ago(previousText, 900), ago(currentText, 25), ago(currentText, 1)}, diffhook.Secrets{Current: b}},
		{"always the same text", []storedVersion{ago(currentText, 3), ago(currentText, 1)}, diffhook.Secrets{Current: b}},
		{"two rotations", []storedVersion{ago(otherText, 5), ago(previousText, 4), ago(currentText, 2)}, rotated},
	} {
		for name, manager := range map[string]func(*testing.T, ...storedVersion) diffhook.SecretSource{"Vault": vaultOf, "AWS": awsOf} {
			t.Run(tc.name+", "+name, func(t *testing.T) {
				source := manager(t, tc.versions...)
				for range 2 {
					got, err := source.Load(t.Context())
					require.NoError(t, err)
					assert.Empty(t, cmp.Diff(tc.want, got))
				}
			})
		}
	}
	t.Run("a deleted version", func(t *testing.T) {
		got, err := vaultOf(t, ago(previousText, 900), ago("", 3), ago(currentText, 2)).Load(t.Context())
		require.NoError(t, err)
		assert.Empty(t, cmp.Diff(diffhook.Secrets{Current: b}, got))
	})
	t.Run("too many versions", func(t *testing.T) {
		_, err := vaultOf(t, slices.Repeat([]storedVersion{ago(currentText, 1)}, 30)...).Load(t.Context())
		require.Error(t, err)
	})
}
