package diffhookpgx_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// TestQueryExecModes: InTx works in each mode of pgx: poolers such as PgBouncer ask for
// modes without prepared statements.
func TestQueryExecModes(t *testing.T) {
	r := newRig(t)
	for i, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			config := r.pool.Config()
			config.ConnConfig.DefaultQueryExecMode = mode
			rig := *r
			rig.pool = openPool(t, config)
			s := rig.store(t, nil)
			for range 3 {
				require.NoError(t, s.InTx(rig.inTx)(t.Context(), numbered(i)))
			}
			require.Equal(t, 1, r.count(t, numbered(i)))
			require.Zero(t, rig.pool.Stat().AcquiredConns())
		})
	}
}
