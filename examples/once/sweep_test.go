package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
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

// TestKeep: a record lives for Keep, for at least 18 h.
func TestKeep(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		r := newRig(t, d)
		seconds := map[string]string{
			"postgres": "SELECT CAST(EXTRACT(EPOCH FROM expires_at - now()) AS BIGINT)",
			"mariadb":  "SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(6), expires_at)",
			"sqlite":   "SELECT expires_at / 1000 - CAST(strftime('%s', 'now') AS INTEGER)",
		}[d.name]
		for i, tc := range []struct{ keep, want time.Duration }{
			{0, 7 * 24 * time.Hour}, {time.Hour, 18 * time.Hour}, {30 * 24 * time.Hour, 30 * 24 * time.Hour},
		} {
			s := r.store(t, func(o *oncesql.Options) { o.Keep = tc.keep })
			execute(t, r.db, "DELETE FROM "+r.opts.Table)
			require.NoError(t, s.InTx(r.inTx)(t.Context(), numbered(i)))
			var n int64
			require.NoError(t, r.db.QueryRow(seconds+" FROM "+r.opts.Table).Scan(&n))
			require.InDelta(t, tc.want.Seconds(), n, 60)
		}
	})
}
