package secrets_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/contrib/secrets"
	"github.com/diffhook/diffhook-go/rotation"
	"github.com/diffhook/diffhook-go/rotation/rotationtest"
)

func TestStoresKeepTheRules(t *testing.T) {
	for name, place := range allPlaces {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, rotationtest.TestStore(t.Context(), place(t)))
		})
	}
}

// A missing secret is an error before a rotation begins: no server would read a
// document in a new place.
func TestSecretThatDoesNotExist(t *testing.T) {
	for _, place := range []string{"AWS Secrets Manager", "Kubernetes"} {
		t.Run(place, func(t *testing.T) {
			store, err := allPlaces[place](t)("no-such-secret")
			require.NoError(t, err)
			_, version, err := store.Get(t.Context())
			if err == nil {
				err = store.Swap(t.Context(), version, []byte(`{}`))
			}
			require.Error(t, err)
			require.NotErrorIs(t, err, rotation.ErrConflict)
			require.Contains(t, err.Error(), "create")
		})
	}
}

// After a deletion in Vault, the next document must name the deleted version.
func TestDeletedDocumentInVault(t *testing.T) {
	server := newVaultServer(t)
	store, err := openVault(inProcess{server})("document")
	require.NoError(t, err)
	ctx := t.Context()
	require.NoError(t, store.Swap(ctx, "0", []byte(`{"n":1}`)))
	client := store.(secrets.Vault).Client
	require.NoError(t, client.KVv2("secret").Delete(ctx, "document"))

	doc, version, err := store.Get(ctx)
	require.NoError(t, err)
	require.Nil(t, doc)
	require.ErrorIs(t, store.Swap(ctx, "0", []byte(`{"n":2}`)), rotation.ErrConflict)
	require.NoError(t, store.Swap(ctx, version, []byte(`{"n":2}`)))
}

// A fault of Vault with the status of a conflict is not a conflict.
func TestBadRequestThatIsNoConflict(t *testing.T) {
	server := newVaultServer(t)
	store, err := openVault(badWrites{inProcess{server}})("document")
	require.NoError(t, err)
	err = store.Swap(t.Context(), "0", []byte(`{"n":1}`))
	require.NotErrorIs(t, err, rotation.ErrConflict)
	var response *api.ResponseError
	require.ErrorAs(t, err, &response)
}

// badWrites answers 400 to every write.
type badWrites struct{ next http.RoundTripper }

func (b badWrites) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		return rejecting(http.StatusBadRequest).RoundTrip(r)
	}
	return b.next.RoundTrip(r)
}

// A silent secrets manager delays a call only until the context ends.
func TestSilentServer(t *testing.T) {
	for name, place := range httpPlaces {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, err := place(t, func(http.RoundTripper) http.RoundTripper { return silent{} })("document")
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, _, err = store.Get(ctx)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorIs(t, store.Swap(ctx, "1", []byte(`{}`)), context.DeadlineExceeded)
			})
		})
	}
}

// silent never answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// Any other status is an error. A store must not take a rejection for an absent
// document, and begin a new document.
func TestRejectedRequests(t *testing.T) {
	for name, place := range httpPlaces {
		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError} {
			t.Run(name+"/"+http.StatusText(status), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store, err := place(t, func(http.RoundTripper) http.RoundTripper { return rejecting(status) })("document")
					require.NoError(t, err)
					_, _, err = store.Get(t.Context())
					require.Error(t, err)
					err = store.Swap(t.Context(), "1", []byte(`{}`))
					require.Error(t, err)
					require.NotErrorIs(t, err, rotation.ErrConflict)
				})
			})
		}
	}
}

// rejecting answers every request with a status.
type rejecting int

func (s rejecting) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: int(s), Body: http.NoBody, Header: http.Header{}, Request: r}, nil
}

// A race can end in an error of the database, as in sessions of PostgreSQL with the
// default isolation serializable. The trigger writes first, and then fails the swap.
func TestLostRaceThatIsAnErrorOfSQL(t *testing.T) {
	opened, err := openSQL(t)("document")
	require.NoError(t, err)
	store := opened.(secrets.SQL)
	ctx := t.Context()
	require.NoError(t, store.Swap(ctx, "", []byte(`{"n":1}`)))
	_, version, err := store.Get(ctx)
	require.NoError(t, err)
	_, err = store.DB.ExecContext(ctx, `CREATE TRIGGER race BEFORE UPDATE ON diffhook_documents WHEN old.version = 1 BEGIN
		UPDATE diffhook_documents SET version = 2 WHERE name = old.name;
		SELECT RAISE(FAIL, 'could not serialize access');
	END`)
	require.NoError(t, err)
	require.ErrorIs(t, store.Swap(ctx, version, []byte(`{"n":2}`)), rotation.ErrConflict)
}
