package secrets_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/secrets"
	"github.com/diffhook/diffhook-go/rotation"
)

// These functions are compiled and not run: they need the real services. The README
// shows parts of them, letter for letter.

func awsStore(ctx context.Context) (rotation.Store, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	client := secretsmanager.NewFromConfig(cfg)
	return secrets.AWSSecretsManager{Client: client, ID: "production/diffhook-signing"}, nil
}

func vaultStore() (rotation.Store, error) {
	client, err := api.NewClient(nil) // VAULT_ADDR, VAULT_TOKEN
	if err != nil {
		return nil, err
	}
	return secrets.Vault{Client: client, Mount: "secret", Path: "diffhook/signing"}, nil
}

func sqlStore(ctx context.Context, db *sql.DB) (rotation.Store, error) {
	if _, err := db.ExecContext(ctx, secrets.SQLSchema); err != nil {
		return nil, err
	}
	return secrets.SQL{DB: db, Name: "signing"}, nil
}

func kubernetesStore() (rotation.Store, error) {
	const account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	ca, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca.crt contains no certificate")
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	return secrets.Kubernetes{
		Client: client, Server: "https://kubernetes.default.svc", TokenFile: account + "token",
		Namespace: "default", Name: "diffhook-signing", Key: "document.json",
	}, nil
}

func createDocument(ctx context.Context, store rotation.Store, text string) error {
	current, err := diffhook.NewSecret(text) // as the app shows it
	if err != nil {
		return err
	}
	return rotation.NewSecret(ctx, store, current)
}

func rotate(store rotation.Store, old string, receivers map[string]rotation.Receiver) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ask := secrets.Ask(os.Stdin, os.Stderr)
	return rotation.Secret(ctx, old, rotation.ByHand(ask), store, &rotation.SecretOptions{
		Receivers:    receivers,
		RetryHorizon: 2 * time.Minute, // generation 1
		Observe:      func(s rotation.Step) { log.Print(s.Text) },
	})
}

func serve(ctx context.Context, store rotation.Store) (*diffhook.Verifier, error) {
	verifier, err := diffhook.NewVerifier(ctx, rotation.Source(store), nil)
	return verifier, err
}

func call(ctx context.Context, store rotation.Store, client *diffhook.Client) error {
	return rotation.Watch(ctx, store, client, 0) // until ctx ends
}

func TestReadmeShowsWhatIsCompiled(t *testing.T) {
	_ = []any{awsStore, vaultStore, sqlStore, kubernetesStore, createDocument, rotate, serve, call}
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	self, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		for line := range strings.Lines(block[1]) {
			if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "// ") {
				assert.Contains(t, string(self), "\n\t"+line)
			}
		}
	}
}
