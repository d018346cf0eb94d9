package oncesql_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// The tests on real databases are in examples/once, with the drivers.

func TestSchema(t *testing.T) {
	for d, indexes := range map[oncesql.Dialect][2]string{
		oncesql.Postgres: {"diffhook_once_expires_at ON diffhook_once ", " events_expires_at ON app.events "},
		oncesql.MySQL:    {"INDEX (expires_at)", "INDEX (expires_at)"},
		oncesql.SQLite:   {" diffhook_once_expires_at ON diffhook_once ", " app.events_expires_at ON events "},
	} {
		for _, tc := range []struct{ name, table, index string }{
			{"", "diffhook_once", indexes[0]},
			{"app.events", "app.events", indexes[1]},
		} {
			schema, err := oncesql.Schema(d, tc.name)
			require.NoError(t, err)
			require.Contains(t, schema, "CREATE TABLE IF NOT EXISTS "+tc.table+" (")
			require.Contains(t, schema, tc.index)
			require.NotContains(t, schema, "{")
		}
	}
}

func TestBadOptions(t *testing.T) {
	for _, name := range []string{"a b", "a;b", "a.b.c", ".a", "a.", "1a", "a-b", `"a"`, "ä", string(make([]byte, 100))} {
		_, err := oncesql.Schema(oncesql.Postgres, name)
		require.ErrorIs(t, err, diffhook.ErrInvalidOptions, name)
	}
	_, err := oncesql.Schema("oracle", "")
	require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
	_, err = oncesql.New(t.Context(), nil, oncesql.Postgres, nil)
	require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
	require.Panics(t, func() { new(oncesql.Store).InTx(nil) })
}
