package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
	"github.com/diffhook/diffhook-go/once/oncetest"
)

func TestStoreConforms(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		dsn := d.dsn(t)
		table := d.table(t, d.open(t, dsn))
		oncetest.TestStore(t, func(t *testing.T) once.Store {
			s, err := oncesql.New(t.Context(), d.open(t, dsn), d.dialect, &oncesql.Options{Table: table})
			require.NoError(t, err)
			return s
		})
	})
}

// TestReleasedDuringClaim: another token releases the event between the statements of a
// claim. A claim that succeeds has a record.
func TestReleasedDuringClaim(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		r, k := newRig(t, d), once.KeyOf("", numbered(1))
		other := r.store(t, nil)
		stepping := openWithSteps(t, d.driver, r.dsn)
		t.Cleanup(func() { _ = stepping.Close() })
		s := r.storeOf(t, stepping, nil)
		for releaseAt := range 4 { // before and after each statement
			require.NoError(t, other.Claim(t.Context(), k, "other", time.Minute))
			steps := 0
			ctx := context.WithValue(t.Context(), hookKey{}, func() {
				if steps == releaseAt {
					require.NoError(t, other.Release(t.Context(), k, "other"))
				}
				steps++
			})
			if err := s.Claim(ctx, k, "token", time.Minute); err != nil {
				require.ErrorIs(t, err, once.ErrInProgress)
			} else {
				require.ErrorIs(t, other.Claim(t.Context(), k, "third", time.Minute), once.ErrInProgress)
			}
			require.NoError(t, s.Release(t.Context(), k, "token"))
			require.Greater(t, steps, releaseAt, "the claim has this step")
			require.NoError(t, other.Release(t.Context(), k, "other"))
		}
	})
}

// TestLongToken: a token that the column would cut is refused.
func TestLongToken(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		s, k := newRig(t, d).store(t, nil), once.KeyOf("", numbered(1))
		require.NoError(t, s.Claim(t.Context(), k, strings.Repeat("x", 64), time.Minute))
		require.ErrorIs(t, s.Claim(t.Context(), k, strings.Repeat("x", 65), time.Minute), diffhook.ErrInvalidOptions)
	})
}
