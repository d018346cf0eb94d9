package main

import (
	"database/sql"
	"testing"
	"time"

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
		t.Run("another consumer", func(t *testing.T) {
			mail := r.store(t, func(o *oncesql.Options) { o.Consumer = "mail" })
			tx := begin(nil)
			for _, s := range []*oncesql.Store{s, mail} {
				first, err := s.First(t.Context(), tx, numbered(4))
				require.NoError(t, err)
				require.True(t, first)
			}
			require.NoError(t, tx.Rollback())
		})
		if d.dialect == oncesql.SQLite {
			return // SQLite runs a single writing transaction at a time
		}
		t.Run("waits for as long as its context says", func(t *testing.T) {
			impatient := r.store(t, func(o *oncesql.Options) { o.MaxTx = 50 * time.Millisecond })
			e, other, tx := numbered(5), begin(nil), begin(nil)
			first, err := s.First(t.Context(), other, e)
			require.NoError(t, err)
			require.True(t, first)
			time.AfterFunc(300*time.Millisecond, func() { _ = other.Rollback() }) // of the database's own clock
			first, err = impatient.First(t.Context(), tx, e)
			require.NoError(t, err)
			require.True(t, first)
			require.NoError(t, tx.Rollback())
		})
		// The snapshot of a transaction that reads before First is older than the
		// commit of the other. PostgreSQL refuses; MariaDB sees the record.
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

// TestFirstByTheClockOfTheStatement: a lease that ends while a transaction is open is over
// for the transaction. In PostgreSQL, now() is the time of BEGIN.
func TestFirstByTheClockOfTheStatement(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		if d.dialect == oncesql.SQLite {
			return // the open transaction keeps claims out
		}
		r, e := newRig(t, d), numbered(1)
		s := r.store(t, nil)
		tx, err := r.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		require.NoError(t, err)
		defer func() { _ = tx.Rollback() }()
		_, err = tx.Exec("SELECT 1")
		require.NoError(t, err)
		require.NoError(t, s.Claim(t.Context(), once.KeyOf("", e), "token", 20*time.Millisecond))
		time.Sleep(100 * time.Millisecond) // by the clock of the database
		first, err := s.First(t.Context(), tx, e)
		require.NoError(t, err)
		require.True(t, first)
	})
}
