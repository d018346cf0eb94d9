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
	"time"

	"github.com/diffhook/diffhook-go"
)

// showSecrets prints the secrets of a source by fingerprint, as a program should.
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

// Doppler's "doppler run" and most platforms pass secrets to a program in the
// environment. If the previous secret is there too, a restart inside a rotation window
// loses nothing.
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
	_ = os.WriteFile(filepath.Join(dir, "previous"), []byte("test-signing-secret-previous-0001\n"), 0o600)
	_ = os.WriteFile(filepath.Join(dir, "current"), []byte("test-signing-secret-current-0001\n"), 0o600)

	showSecrets(diffhook.FileSecrets(dir))
	// Output:
	// current  e59e0ec3f3c4efaa
	// previous 39929fe00f085297
}

// getJSON is the HTTP of the sources below. It reports whether the resource exists.
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
// version 2), and the versions before it for the previous secret.
func vaultSecrets(addr, token, path string) diffhook.SecretSource {
	type answer struct {
		Data struct {
			Data     map[string]string
			Metadata struct {
				Version int
				Created time.Time `json:"created_time"`
			}
		}
	}
	header := http.Header{"X-Vault-Token": {token}}
	return diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
		newest := 0
		return fromVersions(func(i int) (v storedVersion, err error) {
			url := addr + "/v1/" + path
			if i > 0 {
				url += "?version=" + strconv.Itoa(newest-i)
			}
			if i > 0 && newest == i {
				return v, errNoVersion // version 0 would be the newest
			}
			var a answer
			found, err := getJSON(ctx, url, header, &a)
			switch {
			case err != nil:
				return v, err
			case !found && i > 0: // deleted
				return v, errNoVersion
			case !found:
				return v, errors.New("vault has no secret " + path)
			}
			if i == 0 {
				newest = a.Data.Metadata.Version
			}
			return storedVersion{a.Data.Data["signing_secret"], a.Data.Metadata.Created}, nil
		})
	})
}

// HashiCorp Vault keeps the versions of a secret, so a server that restarts inside a
// rotation window still learns both secrets.
func ExampleSecretSourceFunc_vault() {
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := "test-signing-secret-current-0001"
		if r.URL.Query().Get("version") == "6" {
			text = "test-signing-secret-previous-0001"
		}
		fmt.Fprintf(w, `{"data":{"data":{"signing_secret":%q},"metadata":{"version":7,"created_time":%q}}}`,
			text, time.Now().Add(-time.Hour).Format(time.RFC3339))
	}))
	defer vault.Close()

	showSecrets(vaultSecrets(vault.URL, "a token", "secret/data/diffhook"))
	// Output:
	// current  e59e0ec3f3c4efaa
	// previous 39929fe00f085297
}

// dopplerSecrets reads a Doppler config over the API, with a service token. Unlike
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

// Doppler does not address versions by name: keep the previous secret beside the
// current secret during a rotation.
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
