package secrets_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// vaultServer serves Vault's own KV engine over HTTP, mounted at secret/. It acts like the
// core of Vault, without tokens.
type vaultServer struct {
	backend logical.Backend
	storage logical.Storage
}

func newVaultServer(t *testing.T) *vaultServer {
	storage := new(logical.InmemStorage)
	ctx, cancel := context.WithCancel(context.Background())
	backend, err := kv.VersionedKVFactory(ctx, &logical.BackendConfig{
		Logger:      hclog.NewNullLogger(),
		System:      &logical.StaticSystemView{},
		StorageView: storage,
		BackendUUID: "secret",
	})
	require.NoError(t, err)
	t.Cleanup(func() { backend.Cleanup(ctx); cancel() })
	return &vaultServer{backend: backend, storage: storage}
}

var vaultOperations = map[string]logical.Operation{
	http.MethodGet:    logical.ReadOperation,
	http.MethodPut:    logical.UpdateOperation,
	http.MethodPost:   logical.UpdateOperation,
	http.MethodDelete: logical.DeleteOperation,
}

func (v *vaultServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := &logical.Request{
		Operation: vaultOperations[r.Method],
		Path:      strings.TrimPrefix(r.URL.Path, "/v1/secret/"),
		Storage:   v.storage,
	}
	body, err := io.ReadAll(r.Body)
	if len(body) > 0 && err == nil {
		err = json.Unmarshal(body, &req.Data)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	resp, err := v.backend.HandleRequest(r.Context(), req)
	w.Header().Set("Content-Type", "application/json")
	if status, err := logical.RespondErrorCommon(req, resp, err); status != 0 {
		w.WriteHeader(status)
		errs := []string{}
		if err != nil {
			errs = append(errs, err.Error())
		}
		_ = json.NewEncoder(w).Encode(map[string][]string{"errors": errs})
		return
	}
	v.respond(w, resp)
}

// respond writes a response. The engine may have encoded the response.
func (v *vaultServer) respond(w http.ResponseWriter, resp *logical.Response) {
	if resp == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if raw, ok := resp.Data[logical.HTTPRawBody].(string); ok {
		w.WriteHeader(resp.Data[logical.HTTPStatusCode].(int))
		_, _ = io.WriteString(w, raw)
		return
	}
	_ = json.NewEncoder(w).Encode(logical.LogicalResponseToHTTPResponse(resp))
}
