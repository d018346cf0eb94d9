package secrets_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// kubernetesServer is an http.Handler for GET and for the merge patch of Secrets. It checks
// the resourceVersion like the API server. Every Secret exists, and begins without data.
type kubernetesServer struct {
	mu      sync.Mutex
	secrets map[string]map[string]any
	version int
}

func (k *kubernetesServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	name, ok := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/default/secrets/")
	switch {
	case r.Header.Get("Authorization") != "Bearer token-of-the-pod":
		writeJSON(w, http.StatusUnauthorized, kubernetesStatus("Unauthorized"))
		return
	case !ok || strings.HasPrefix(name, "no-such-"):
		writeJSON(w, http.StatusNotFound, kubernetesStatus("NotFound"))
		return
	}
	secret := k.secret(name)
	if r.Method == http.MethodPatch {
		if status, reason := k.patch(secret, r); status != http.StatusOK {
			writeJSON(w, status, kubernetesStatus(reason))
			return
		}
	}
	writeJSON(w, http.StatusOK, secret)
}

func (k *kubernetesServer) secret(name string) map[string]any {
	if k.secrets == nil {
		k.secrets = map[string]map[string]any{}
	}
	if k.secrets[name] == nil {
		metadata := map[string]any{"name": name, "labels": map[string]any{"app": "receiver"}}
		k.secrets[name] = map[string]any{"kind": "Secret", "apiVersion": "v1", "metadata": metadata}
		k.touch(k.secrets[name])
	}
	return k.secrets[name]
}

func (k *kubernetesServer) touch(secret map[string]any) {
	k.version++
	secret["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(k.version)
}

func (k *kubernetesServer) patch(secret map[string]any, r *http.Request) (status int, reason string) {
	if r.Header.Get("Content-Type") != "application/merge-patch+json" {
		return http.StatusUnsupportedMediaType, "UnsupportedMediaType"
	}
	var patch map[string]any
	if err := json.NewDecoder(r.Body).Decode(&patch); err != nil {
		return http.StatusBadRequest, "BadRequest"
	}
	wanted, _ := patch["metadata"].(map[string]any)["resourceVersion"].(string)
	if wanted != "" && wanted != secret["metadata"].(map[string]any)["resourceVersion"] {
		return http.StatusConflict, "Conflict"
	}
	merge(secret, patch)
	k.touch(secret)
	return http.StatusOK, ""
}

// merge is the JSON merge patch of RFC 7386.
func merge(target, patch map[string]any) {
	for name, value := range patch {
		object, isObject := value.(map[string]any)
		old, wasObject := target[name].(map[string]any)
		switch {
		case value == nil:
			delete(target, name)
		case isObject && wasObject:
			merge(old, object)
		default:
			target[name] = value
		}
	}
}

func kubernetesStatus(reason string) map[string]any {
	return map[string]any{"kind": "Status", "status": "Failure", "reason": reason, "message": fmt.Sprintf("the object: %s", reason)}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
