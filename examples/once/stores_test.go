package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/diffhook/diffhook-go/internal/testservers"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// database is a real database of a dialect.
type database struct {
	name    string
	dialect oncesql.Dialect
	driver  string
	dsn     func(t testing.TB) string
}

var databases = []database{
	{"postgres", oncesql.Postgres, "pgx", func(t testing.TB) string { return testservers.Address(t, "POSTGRES") }},
	{"mariadb", oncesql.MySQL, "mysql", func(t testing.TB) string {
		return testservers.Address(t, "MARIADB") + "?innodb_lock_wait_timeout=5&interpolateParams=true"
	}},
	{"sqlite", oncesql.SQLite, "sqlite", func(t testing.TB) string {
		return sqliteDSN(filepath.Join(t.TempDir(), "events.db"))
	}},
}

// forEach runs a test on each database.
func forEach(t *testing.T, test func(t *testing.T, d database)) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) { test(t, d) })
	}
}

func (d database) open(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// table returns the name of a new table, created by Schema and dropped after the test.
func (d database) table(t testing.TB, db *sql.DB) string {
	t.Helper()
	name := "once_" + strings.ToLower(rand.Text()[:12])
	schema, err := oncesql.Schema(d.dialect, name)
	require.NoError(t, err)
	execute(t, db, schema)
	t.Cleanup(func() { _, _ = db.ExecContext(context.Background(), "DROP TABLE "+name) })
	return name
}

func execute(t testing.TB, db *sql.DB, statements string) {
	t.Helper()
	for statement := range strings.SplitSeq(statements, ";") {
		if strings.TrimSpace(statement) != "" {
			_, err := db.Exec(statement)
			require.NoError(t, err, statement)
		}
	}
}
