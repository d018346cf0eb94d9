package secrets_test

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/diffhook/diffhook-go/contrib/secrets"
	"github.com/diffhook/diffhook-go/rotation"
)

// opener returns a store for the document of a name.
type opener func(name string) (rotation.Store, error)

// httpPlace makes an empty secrets manager, and returns an opener of stores. The
// stores send requests through the RoundTripper from wrap.
type httpPlace func(t *testing.T, wrap func(http.RoundTripper) http.RoundTripper) opener

// httpPlaces are the secrets managers with an HTTP API.
var httpPlaces = map[string]httpPlace{
	"AWS Secrets Manager": func(_ *testing.T, wrap func(http.RoundTripper) http.RoundTripper) opener {
		return openAWS(wrap(inProcess{&awsEmulator{firstIsCurrent: true}}))
	},
	"AWS Secrets Manager, first version without a label": func(_ *testing.T, wrap func(http.RoundTripper) http.RoundTripper) opener {
		return openAWS(wrap(inProcess{new(awsEmulator)}))
	},
	"Vault": func(t *testing.T, wrap func(http.RoundTripper) http.RoundTripper) opener {
		return openVault(wrap(inProcess{newVaultServer(t)}))
	},
	"Kubernetes": func(t *testing.T, wrap func(http.RoundTripper) http.RoundTripper) opener {
		return openKubernetes(t, wrap(inProcess{new(kubernetesServer)}))
	},
}

// allPlaces are all secrets managers, each empty at first.
var allPlaces = func() map[string]func(t *testing.T) opener {
	all := map[string]func(t *testing.T) opener{"SQL": openSQL}
	for name, place := range httpPlaces {
		all[name] = func(t *testing.T) opener {
			return place(t, func(rt http.RoundTripper) http.RoundTripper { return rt })
		}
	}
	return all
}()

func openAWS(rt http.RoundTripper) opener {
	return func(name string) (rotation.Store, error) {
		client := secretsmanager.New(secretsmanager.Options{
			Region:     "eu-central-1",
			HTTPClient: &http.Client{Transport: rt},
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "AKIATEST", SecretAccessKey: "test"}, nil
			}),
		})
		return secrets.AWSSecretsManager{Client: client, ID: name}, nil
	}
}

func openVault(rt http.RoundTripper) opener {
	return func(name string) (rotation.Store, error) {
		client, err := api.NewClient(&api.Config{
			Address:    "http://vault.test:8200",
			HttpClient: &http.Client{Transport: rt},
			MaxRetries: 2,
		})
		if err != nil {
			return nil, err
		}
		return secrets.Vault{Client: client, Mount: "secret", Path: name}, nil
	}
}

func openKubernetes(t *testing.T, rt http.RoundTripper) opener {
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("token-of-the-pod\n"), 0o600))
	return func(name string) (rotation.Store, error) {
		return secrets.Kubernetes{
			Client: &http.Client{Transport: rt}, Server: "https://kubernetes.default.svc", TokenFile: token,
			Namespace: "default", Name: name, Key: "document.json",
		}, nil
	}
}

func openSQL(t *testing.T) opener {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "test.db")+"?_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.Exec(secrets.SQLSchema)
	require.NoError(t, err)
	return func(name string) (rotation.Store, error) { return secrets.SQL{DB: db, Name: name}, nil }
}

// inProcess is a RoundTripper that calls a handler, without a network.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.Body == nil {
		r = r.Clone(r.Context())
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}
