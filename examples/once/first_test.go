package main

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

func TestFirst(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		r := newRig(t, d)
		s := r.store(t, nil)
		begin := func(opts *sql.TxOptions) *sql.Tx {
			tx, err := r.db.BeginTx(t.Context(), opts)
			require.NoError(t, err)
			t.Cleanup(func() { _ = tx.Rollback() })
			return tx
		}
		t.Run("first, then not", func(t *testing.T) {
			e := numbered(1)
			for _, want := range []bool{true, false} {
				tx := begin(nil)
				first, err := s.First(t.Context(), tx, e)
				require.NoError(t, err)
				require.Equal(t, want, first)
				if first {
					require.NoError(t, r.handle(t.Context(), tx, e))
				}
				require.NoError(t, tx.Commit())
			}
			require.Equal(t, 1, r.count(t, e))
		})
		t.Run("rolled back", func(t *testing.T) {
			e := numbered(2)
			for range 2 {
				tx := begin(nil)
				first, err := s.First(t.Context(), tx, e)
				require.NoError(t, err)
				require.True(t, first)
				require.NoError(t, tx.Rollback())
			}
		})
		if d.dialect == oncesql.SQLite {
			return // SQLite runs a single writing transaction at a time
		}
		// A transaction reads before First, and another transaction commits in between.
		// PostgreSQL fails, since the snapshot is older; MariaDB sees the record.
		t.Run("repeatable read", func(t *testing.T) {
			e := numbered(3)
			tx := begin(&sql.TxOptions{Isolation: sql.LevelRepeatableRead})
			var n int
			require.NoError(t, tx.QueryRow("SELECT COUNT(*) FROM "+r.opts.Table).Scan(&n))
			require.NoError(t, s.InTx(r.inTx)(t.Context(), e))
			first, err := s.First(t.Context(), tx, e)
			require.False(t, first)
			if d.dialect == oncesql.Postgres {
				require.ErrorIs(t, err, once.ErrInProgress)
			} else {
				require.NoError(t, err)
			}
		})
	})
}
