package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/once"
)

func TestSweep(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		r := newRig(t, d)
		s := r.store(t, nil)
		const ended = 1_100 // more than a statement deletes
		tx, err := r.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		for i := range ended {
			first, err := s.First(t.Context(), tx, numbered(i))
			require.NoError(t, err)
			require.True(t, first)
		}
		require.NoError(t, tx.Commit())
		at := map[string]string{"postgres": "now()", "mariadb": "UTC_TIMESTAMP(6)", "sqlite": "1"}[d.name]
		execute(t, r.db, "UPDATE "+r.opts.Table+" SET expires_at = "+at)
		require.NoError(t, s.InTx(r.inTx)(t.Context(), numbered(ended)))
		require.NoError(t, s.Claim(t.Context(), once.KeyOf("", numbered(ended+1)), "token", time.Minute))

		deleted, err := s.Sweep(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, ended, deleted)
		var n int
		require.NoError(t, r.db.QueryRow("SELECT COUNT(*) FROM "+r.opts.Table).Scan(&n))
		require.Equal(t, 2, n)
	})
}
