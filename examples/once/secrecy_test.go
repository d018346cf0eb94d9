package main

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/contrib/diffhookpgx"
	"github.com/diffhook/diffhook-go/internal/testservers"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// TestErrorsHideThePassword: neither a server that cannot be reached nor a server that
// refuses the password shows the password in an error.
func TestErrorsHideThePassword(t *testing.T) {
	const password = "pass-of-the-tests"
	for _, tc := range []struct {
		name, driver, dsn string
		dialect           oncesql.Dialect
	}{
		{"postgres, unreachable", "pgx", "postgres://user:" + password + "@127.0.0.1:1/db", oncesql.Postgres},
		{"mariadb, unreachable", "mysql", "user:" + password + "@tcp(127.0.0.1:1)/db", oncesql.MySQL},
		{"mariadb, refused", "mysql", "user:" + password + testservers.Address(t, "MARIADB")[len("root"):], oncesql.MySQL},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := oncesql.New(t.Context(), database{driver: tc.driver}.open(t, tc.dsn), tc.dialect, nil)
			require.Error(t, err)
			require.NotContains(t, err.Error(), password)
			if tc.driver == "pgx" {
				pool, err := pgxpool.New(t.Context(), tc.dsn)
				require.NoError(t, err)
				defer pool.Close()
				_, err = diffhookpgx.New(t.Context(), pool, nil)
				require.Error(t, err)
				require.NotContains(t, err.Error(), password)
			}
		})
	}
}
