package diffhookpgx_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
)

// TestBeginAndRecordInOneRoundTrip counts the round trips for a new event.
func TestBeginAndRecordInOneRoundTrip(t *testing.T) {
	r := newRig(t)
	config := r.pool.Config()
	config.MaxConns = 1
	trips := new(tracer)
	config.ConnConfig.Tracer = trips
	counted := *r
	counted.pool = openPool(t, config)
	s := counted.store(t, nil)
	f := s.InTx(func(context.Context, pgx.Tx, *diffhook.Event) error { return nil })
	require.NoError(t, f(t.Context(), numbered(1))) // prepares the statements
	trips.n = 0
	require.NoError(t, f(t.Context(), numbered(2)))
	require.Equal(t, 2, trips.n, "BEGIN with the record; COMMIT")
}
