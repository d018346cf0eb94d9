package secrets_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// awsEmulator is an http.Handler for the three actions of the store, after the API reference
// of Secrets Manager. Every secret exists, and begins without a value.
type awsEmulator struct {
	// firstIsCurrent labels the first version of a secret AWSCURRENT, in spite of the
	// labels in the request. The API reference says so, but emulators differ.
	firstIsCurrent bool

	mu      sync.Mutex
	secrets map[string]*awsSecret
}

// awsSecret contains the value and the time of each version, and the version of each label.
type awsSecret struct {
	values  map[string]string
	created map[string]time.Time
	labels  map[string]string
}

// awsQuota is the quota of versions of a secret. Secrets Manager removes a version without
// a label after 24 hours.
const awsQuota = 100

type awsRequest struct {
	SecretId, ClientRequestToken, SecretString         string
	VersionStages                                      []string
	VersionStage, MoveToVersionId, RemoveFromVersionId string
}

type awsResponse struct {
	Name         string
	VersionId    string `json:",omitempty"`
	SecretString string `json:",omitempty"`
}

// awsError is an error of the API: a type and a text.
type awsError struct{ kind, text string }

func (e *awsError) Error() string { return e.kind + ": " + e.text }

func (a *awsEmulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in awsRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out, err := a.serve(strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager."), in)
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": err.kind, "Message": err.text})
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (a *awsEmulator) serve(action string, in awsRequest) (awsResponse, *awsError) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.secret(in.SecretId)
	switch action {
	case "GetSecretValue":
		return s.get(in)
	case "PutSecretValue":
		return s.put(in, a.firstIsCurrent)
	case "UpdateSecretVersionStage":
		return s.move(in)
	}
	return awsResponse{}, &awsError{"InvalidAction", action}
}

func (a *awsEmulator) secret(id string) *awsSecret {
	if a.secrets == nil {
		a.secrets = map[string]*awsSecret{}
	}
	if a.secrets[id] == nil && !strings.HasPrefix(id, "no-such-") {
		a.secrets[id] = &awsSecret{values: map[string]string{}, created: map[string]time.Time{}, labels: map[string]string{}}
	}
	return a.secrets[id]
}

func (s *awsSecret) get(in awsRequest) (awsResponse, *awsError) {
	if s == nil || s.labels[cmp.Or(in.VersionStage, "AWSCURRENT")] == "" {
		return awsResponse{}, &awsError{"ResourceNotFoundException", "Secrets Manager can't find the specified secret value."}
	}
	v := s.labels[cmp.Or(in.VersionStage, "AWSCURRENT")]
	return awsResponse{Name: in.SecretId, VersionId: v, SecretString: s.values[v]}, nil
}

func (s *awsSecret) put(in awsRequest, firstIsCurrent bool) (awsResponse, *awsError) {
	if s == nil {
		return awsResponse{}, &awsError{"ResourceNotFoundException", "Secrets Manager can't find the specified secret."}
	}
	v := in.ClientRequestToken
	if old, ok := s.values[v]; ok && old != in.SecretString {
		return awsResponse{}, &awsError{"ResourceExistsException", "a version cannot be modified"}
	} else if ok {
		return awsResponse{Name: in.SecretId, VersionId: v}, nil
	}
	if s.prune(); len(s.values) >= awsQuota {
		return awsResponse{}, &awsError{"LimitExceededException", "the secret has too many versions"}
	}
	if len(in.VersionStages) == 0 || firstIsCurrent && len(s.values) == 0 {
		in.VersionStages = append(in.VersionStages, "AWSCURRENT")
	}
	s.values[v], s.created[v] = in.SecretString, time.Now()
	for _, label := range in.VersionStages {
		s.attach(label, v)
	}
	return awsResponse{Name: in.SecretId, VersionId: v}, nil
}

func (s *awsSecret) prune() {
	labelled := slices.Collect(maps.Values(s.labels))
	maps.DeleteFunc(s.values, func(v, _ string) bool {
		return time.Since(s.created[v]) > 24*time.Hour && !slices.Contains(labelled, v)
	})
}

func (s *awsSecret) move(in awsRequest) (awsResponse, *awsError) {
	holder := s.labels[in.VersionStage]
	switch _, exists := s.values[in.MoveToVersionId]; {
	case !exists:
		return awsResponse{}, &awsError{"ResourceNotFoundException", "no such version"}
	case holder != "" && in.RemoveFromVersionId == "":
		return awsResponse{}, &awsError{"InvalidParameterException",
			fmt.Sprintf("RemoveFromVersionId can't be empty: %s is attached to %s", in.VersionStage, holder)}
	case holder != in.RemoveFromVersionId:
		return awsResponse{}, &awsError{"InvalidParameterException", "RemoveFromVersionId must be the version that has the label"}
	}
	s.attach(in.VersionStage, in.MoveToVersionId)
	return awsResponse{Name: in.SecretId}, nil
}

func (s *awsSecret) attach(label, version string) {
	if old := s.labels[label]; label == "AWSCURRENT" && old != "" && old != version {
		s.labels["AWSPREVIOUS"] = old
	}
	s.labels[label] = version
}
