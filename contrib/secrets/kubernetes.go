package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/diffhook/diffhook-go/rotation"
)

// Kubernetes is a store in a key of a Kubernetes Secret. The Secret must exist and
// may be empty. Plain HTTP replaces client-go.
type Kubernetes struct {
	Client    *http.Client // must trust the cluster's ca.crt
	Server    string       // https://kubernetes.default.svc in a pod
	TokenFile string       // /var/run/secrets/kubernetes.io/serviceaccount/token in a pod
	Namespace string
	Name      string // of the Secret
	Key       string // of the document in the Secret, such as document.json
}

// kubernetesSecret contains the fields of a Secret for Get and Swap.
type kubernetesSecret struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Data map[string][]byte `json:"data"` // base64 in JSON
}

// maxKubernetesSecret exceeds the size limit of Kubernetes for a Secret.
const maxKubernetesSecret = 4 << 20

// Get returns the document, and the resourceVersion of the whole Secret.
func (s Kubernetes) Get(ctx context.Context) ([]byte, string, error) {
	body, err := s.do(ctx, http.MethodGet, nil)
	if err != nil {
		return nil, "", fmt.Errorf("read the Secret %s: %w", s.Name, err)
	}
	var secret kubernetesSecret
	if err := json.Unmarshal(body, &secret); err != nil || secret.Metadata.ResourceVersion == "" {
		return nil, "", fmt.Errorf("read the Secret %s: the response is not a Secret", s.Name)
	}
	return secret.Data[s.Key], secret.Metadata.ResourceVersion, nil
}

// Swap patches the key. Kubernetes answers 409 unless the resourceVersion in the
// patch is the newest, even if only another key or a label changed.
func (s Kubernetes) Swap(ctx context.Context, version string, doc []byte) error {
	if version == "" {
		return fmt.Errorf("write the Secret %s: the version is empty; pass the version from Get", s.Name)
	}
	patch := kubernetesSecret{Data: map[string][]byte{s.Key: doc}}
	patch.Metadata.ResourceVersion = version
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("write the Secret %s: %w", s.Name, err)
	}
	if _, err := s.do(ctx, http.MethodPatch, body); err != nil {
		return fmt.Errorf("write the Secret %s: %w", s.Name, err)
	}
	return nil
}

// do sends a request for the Secret and returns the body of a 200. It reads the
// token each time, since Kubernetes replaces the token every hour.
func (s Kubernetes) do(ctx context.Context, method string, body []byte) ([]byte, error) {
	token, err := os.ReadFile(s.TokenFile)
	if err != nil {
		return nil, err
	}
	secret := s.Server + "/api/v1/namespaces/" + url.PathEscape(s.Namespace) + "/secrets/" + url.PathEscape(s.Name)
	req, err := http.NewRequestWithContext(ctx, method, secret, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Accept", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return io.ReadAll(io.LimitReader(resp.Body, maxKubernetesSecret))
	case http.StatusConflict:
		return nil, rotation.ErrConflict
	case http.StatusNotFound:
		return nil, fmt.Errorf("status %s; create the Secret without data", resp.Status)
	}
	return nil, fmt.Errorf("status %s", resp.Status)
}
