package secrets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/hashicorp/vault/api"

	"github.com/diffhook/diffhook-go/rotation"
)

// Vault is a store in a KV engine of version 2. The fields of the document become the fields
// of the secret, for templates of Vault Agent and other programs.
type Vault struct {
	Client *api.Client
	Mount  string // such as secret
	Path   string // such as diffhook/signing
}

// Get returns the newest version. After a deletion, Get returns no document, and the version
// of the deletion for the next write.
func (s Vault) Get(ctx context.Context) ([]byte, string, error) {
	secret, err := s.Client.KVv2(s.Mount).Get(ctx, s.Path)
	if errors.Is(err, api.ErrSecretNotFound) {
		return nil, "0", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", s.Path, err)
	}
	version := strconv.Itoa(secret.VersionMetadata.Version)
	if secret.Data == nil {
		return nil, version, nil
	}
	doc, err := json.Marshal(secret.Data)
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", s.Path, err)
	}
	return doc, version, nil
}

// Swap writes with check-and-set. Vault answers 400 if version is not the newest, but also
// for other faults: then Swap reads the version.
func (s Vault) Swap(ctx context.Context, version string, doc []byte) error {
	cas, err := strconv.Atoi(version)
	if err != nil {
		return fmt.Errorf("write %s: the version %q is not a number", s.Path, version)
	}
	var fields map[string]any
	if err := json.Unmarshal(doc, &fields); err != nil {
		return fmt.Errorf("write %s: the document is not a JSON object", s.Path)
	}
	_, err = s.Client.KVv2(s.Mount).Put(ctx, s.Path, fields, api.WithCheckAndSet(cas))
	if r, ok := errors.AsType[*api.ResponseError](err); ok && r.StatusCode == http.StatusBadRequest {
		_, newest, getErr := s.Get(ctx)
		if getErr != nil {
			return fmt.Errorf("write %s: %w", s.Path, errors.Join(err, getErr))
		}
		if newest != version {
			return fmt.Errorf("write %s: %w", s.Path, rotation.ErrConflict)
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", s.Path, err)
	}
	return nil
}
