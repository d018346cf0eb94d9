package diffhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"

	"github.com/diffhook/diffhook-go"
)

// showSecrets prints which secrets a source has, as a program should: by their
// fingerprints.
func showSecrets(source diffhook.SecretSource) {
	s, err := source.Load(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("current ", s.Current.Fingerprint())
	if !s.Previous.IsZero() {
		fmt.Println("previous", s.Previous.Fingerprint())
	}
}

// From the environment, which is also how Doppler's "doppler run" and most
// platforms hand secrets to a program. A restart inside a rotation window loses
// nothing where the previous secret is there too.
func ExampleEnvSecrets() {
	os.Setenv("DIFFHOOK_SIGNING_SECRET", "test-signing-secret-current-0001")
	os.Setenv("DIFFHOOK_SIGNING_SECRET_PREVIOUS", "test-signing-secret-previous-0001")
	defer os.Unsetenv("DIFFHOOK_SIGNING_SECRET")
	defer os.Unsetenv("DIFFHOOK_SIGNING_SECRET_PREVIOUS")

	showSecrets(diffhook.EnvSecrets())
	// Output:
	// current  e59e0ec3f3c4efaa
	// previous 39929fe00f085297
}

// From a mounted Kubernetes secret with the keys current and previous. The
// verifier sees an update of the secret without a restart.
func ExampleFileSecrets() {
	dir, err := os.MkdirTemp("", "diffhook")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	_ = os.WriteFile(filepath.Join(dir, "current"), []byte("test-signing-secret-current-0001\n"), 0o600)
	_ = os.WriteFile(filepath.Join(dir, "previous"), []byte("test-signing-secret-previous-0001\n"), 0o600)

	showSecrets(diffhook.FileSecrets(dir))
	// Output:
	// current  e59e0ec3f3c4efaa
	// previous 39929fe00f085297
}

// getJSON is the HTTP that the sources below have in common. It reports
// whether there is what was asked for.
func getJSON(ctx context.Context, url string, header http.Header, out any) (found bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err
	}
	r.Header = header
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return true, json.NewDecoder(resp.Body).Decode(out)
	case http.StatusNotFound:
		return false, nil
	}
	return false, fmt.Errorf("%s answered %s", r.URL.Host, resp.Status)
}

// vaultSecrets reads the key signing_secret of a HashiCorp Vault secret (KV
// version 2), and the version before it as the previous secret. Keep nothing
// else in that Vault secret: each change of it makes a version.
func vaultSecrets(addr, token, path string) diffhook.SecretSource {
	type answer struct {
		Data struct {
			Data     map[string]string
			Metadata struct{ Version int }
		}
	}
	header := http.Header{"X-Vault-Token": {token}}
	return diffhook.SecretSourceFunc(func(ctx context.Context) (s diffhook.Secrets, err error) {
		var current, previous answer
		url := addr + "/v1/" + path
		found, err := getJSON(ctx, url, header, &current)
		if err != nil {
			return s, err
		}
		if !found {
			return s, errors.New("vault has no secret " + path)
		}
		if s.Current, err = diffhook.NewSecret(current.Data.Data["signing_secret"]); err != nil {
			return s, err
		}
		before := current.Data.Metadata.Version - 1
		if before == 0 {
			return s, nil
		}
		found, err = getJSON(ctx, url+"?version="+strconv.Itoa(before), header, &previous)
		if err != nil {
			return s, err
		}
		if !found { // deleted, which is how to revoke it here
			s.NoPrevious = true
			return s, nil
		}
		s.Previous, err = diffhook.NewSecret(previous.Data.Data["signing_secret"])
		return s, err
	})
}

// HashiCorp Vault keeps the versions of a secret, so a server that restarts
// inside a rotation window still knows both.
func ExampleSecretSourceFunc_vault() {
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := "test-signing-secret-current-0001"
		if r.URL.Query().Get("version") == "6" {
			text = "test-signing-secret-previous-0001"
		}
		fmt.Fprintf(w, `{"data":{"data":{"signing_secret":%q},"metadata":{"version":7}}}`, text)
	}))
	defer vault.Close()

	showSecrets(vaultSecrets(vault.URL, "a token", "secret/data/diffhook"))
	// Output:
	// current  e59e0ec3f3c4efaa
	// previous 39929fe00f085297
}

// getSecretValue is the call of the AWS SDK that the source needs:
//
//	out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{
//		SecretId: &id, VersionStage: &stage,
//	})
//
// It returns *out.SecretString, and ok = false where errors.As finds a
// *types.ResourceNotFoundException: there is no version in that stage.
type getSecretValue func(ctx context.Context, id, stage string) (text string, ok bool, err error)

// awsSecrets reads a secret of AWS Secrets Manager, which keeps the version
// before the last rotation under the stage AWSPREVIOUS.
func awsSecrets(get getSecretValue, id string) diffhook.SecretSource {
	return diffhook.SecretSourceFunc(func(ctx context.Context) (s diffhook.Secrets, err error) {
		text, ok, err := get(ctx, id, "AWSCURRENT")
		if err != nil {
			return s, err
		}
		if !ok {
			return s, errors.New("there is no secret " + id)
		}
		if s.Current, err = diffhook.NewSecret(text); err != nil {
			return s, err
		}
		text, ok, err = get(ctx, id, "AWSPREVIOUS")
		if err != nil || !ok {
			return s, err
		}
		s.Previous, err = diffhook.NewSecret(text)
		return s, err
	})
}

// AWS Secrets Manager.
func ExampleSecretSourceFunc_awsSecretsManager() {
	stages := map[string]string{
		"AWSCURRENT":  "test-signing-secret-current-0001",
		"AWSPREVIOUS": "test-signing-secret-previous-0001",
	}
	get := func(_ context.Context, _, stage string) (string, bool, error) {
		text, ok := stages[stage]
		return text, ok, nil
	}

	showSecrets(awsSecrets(get, "prod/diffhook"))
	// Output:
	// current  e59e0ec3f3c4efaa
	// previous 39929fe00f085297
}

// dopplerSecrets reads a Doppler config by its API, with a service token. Unlike
// "doppler run", it sees changes without a restart.
func dopplerSecrets(api, token string) diffhook.SecretSource {
	header := http.Header{"Authorization": {"Bearer " + token}}
	return diffhook.SecretSourceFunc(func(ctx context.Context) (s diffhook.Secrets, err error) {
		var values map[string]string
		if _, err = getJSON(ctx, api+"/v3/configs/config/secrets/download?format=json", header, &values); err != nil {
			return s, err
		}
		if s.Current, err = diffhook.NewSecret(values["DIFFHOOK_SIGNING_SECRET"]); err != nil {
			return s, err
		}
		if text := values["DIFFHOOK_SIGNING_SECRET_PREVIOUS"]; text != "" {
			s.Previous, err = diffhook.NewSecret(text)
		}
		return s, err
	})
}

// Doppler has no versions by name: keep the previous secret beside the current
// one while a rotation is under way.
func ExampleSecretSourceFunc_doppler() {
	doppler := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"DIFFHOOK_SIGNING_SECRET":"test-signing-secret-current-0001",`+
			`"DIFFHOOK_SIGNING_SECRET_PREVIOUS":"test-signing-secret-previous-0001"}`)
	}))
	defer doppler.Close()

	showSecrets(dopplerSecrets(doppler.URL, "a token"))
	// Output:
	// current  e59e0ec3f3c4efaa
	// previous 39929fe00f085297
}
