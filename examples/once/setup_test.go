package main

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/testservers"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// New refuses a database that is not set up, and names the remedy.
func TestNewRefuses(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		dsn := d.dsn(t)
		db := d.open(t, dsn)
		other := map[oncesql.Dialect]oncesql.Dialect{
			oncesql.Postgres: oncesql.SQLite, oncesql.MySQL: oncesql.Postgres, oncesql.SQLite: oncesql.MySQL,
		}[d.dialect]
		create := func(columns string) func(t *testing.T) string {
			return func(t *testing.T) string {
				name := d.table(t, db)
				execute(t, db, "DROP TABLE "+name+"; CREATE TABLE "+name+" "+columns)
				return name
			}
		}
		id := map[oncesql.Dialect]string{oncesql.Postgres: "BYTEA", oncesql.MySQL: "BINARY(32)", oncesql.SQLite: "BLOB"}[d.dialect]
		at := map[oncesql.Dialect]string{oncesql.Postgres: "TIMESTAMPTZ", oncesql.MySQL: "DATETIME(6)", oncesql.SQLite: "INTEGER"}[d.dialect]
		for _, tc := range []struct {
			name    string
			dialect oncesql.Dialect
			table   func(t *testing.T) string
			err     error
			remedy  string
		}{
			{"no table", d.dialect, func(*testing.T) string { return "once_that_is_missing" }, oncesql.ErrSetup, "oncesql.Schema"},
			{"wrong dialect", other, func(t *testing.T) string { return d.table(t, db) }, oncesql.ErrSetup, "dialect"},
			{"unknown dialect", "oracle", func(t *testing.T) string { return d.table(t, db) }, diffhook.ErrInvalidOptions, "oracle"},
			{"a schema of another version", d.dialect, create("(id " + id + " PRIMARY KEY, seen_at " + at + ")"), oncesql.ErrSetup, "oncesql.Schema"},
			{"no primary key", d.dialect, create("(id " + id + ", token VARCHAR(64), done BOOLEAN, expires_at " + at + ")"), oncesql.ErrSetup, "oncesql.Schema"},
			{"a name with a statement", d.dialect, func(*testing.T) string { return "once; DROP TABLE users" }, diffhook.ErrInvalidOptions, "Table"},
		} {
			t.Run(tc.name, func(t *testing.T) {
				_, err := oncesql.New(t.Context(), db, tc.dialect, &oncesql.Options{Table: tc.table(t)})
				require.ErrorIs(t, err, tc.err)
				require.NotErrorIs(t, err, diffhook.ErrUnavailable) // a retry changes nothing
				require.ErrorContains(t, err, tc.remedy)
			})
		}
		t.Run("MaxTx", func(t *testing.T) {
			_, err := oncesql.New(t.Context(), db, d.dialect, &oncesql.Options{Table: d.table(t, db), MaxTx: -1})
			require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
		})
		t.Run("unreachable", func(t *testing.T) {
			closed := d.open(t, dsn)
			require.NoError(t, closed.Close())
			_, err := oncesql.New(t.Context(), closed, d.dialect, &oncesql.Options{Table: d.table(t, db)})
			require.ErrorIs(t, err, diffhook.ErrUnavailable)
		})
	})
}

// TestNewRefusesMariaDB: a lock that is waited for longer than DiffHook waits for the
// answer, statements that are not committed, a table that forgets no rollback, and a column that cuts keys.
func TestNewRefusesMariaDB(t *testing.T) {
	d := databases[1]
	db := d.open(t, d.dsn(t))
	table := d.table(t, db)
	long := d.open(t, testservers.Address(t, "MARIADB"))
	_, err := oncesql.New(t.Context(), long, d.dialect, &oncesql.Options{Table: table})
	require.ErrorIs(t, err, oncesql.ErrSetup)
	require.ErrorContains(t, err, "innodb_lock_wait_timeout=5")

	manual := d.open(t, d.dsn(t)+"&autocommit=0") // claims would never be committed
	_, err = oncesql.New(t.Context(), manual, d.dialect, &oncesql.Options{Table: table})
	require.ErrorIs(t, err, oncesql.ErrSetup)
	require.ErrorContains(t, err, "autocommit")

	execute(t, db, "ALTER TABLE "+table+" ENGINE = MyISAM")
	_, err = oncesql.New(t.Context(), db, d.dialect, &oncesql.Options{Table: table})
	require.ErrorIs(t, err, oncesql.ErrSetup)

	lax := d.open(t, d.dsn(t)+"&sql_mode=''")
	execute(t, db, "DELETE FROM "+table+"; ALTER TABLE "+table+" ENGINE = InnoDB, MODIFY id BINARY(16) NOT NULL")
	_, err = oncesql.New(t.Context(), lax, d.dialect, &oncesql.Options{Table: table})
	require.ErrorIs(t, err, oncesql.ErrSetup)
}

// TestNewRefusesMissingRights: without UPDATE, no event would be recorded as done by once.Func, and without
// DELETE no claim would be released.
func TestNewRefusesMissingRights(t *testing.T) {
	d := databases[0]
	db := d.open(t, d.dsn(t))
	table := d.table(t, db)
	role := "r" + strings.ToLower(rand.Text())
	execute(t, db, "CREATE ROLE "+role+"; GRANT SELECT, INSERT, UPDATE, DELETE ON "+table+" TO "+role)
	t.Cleanup(func() { _, _ = db.ExecContext(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role) })
	address, err := url.Parse(d.dsn(t))
	require.NoError(t, err)
	query := address.Query()
	query.Set("role", role)
	address.RawQuery = query.Encode()
	limited := d.open(t, address.String())
	_, err = oncesql.New(t.Context(), limited, d.dialect, &oncesql.Options{Table: table})
	require.NoError(t, err)
	for _, right := range []string{"SELECT", "INSERT", "UPDATE", "DELETE"} {
		execute(t, db, "REVOKE "+right+" ON "+table+" FROM "+role)
		_, err = oncesql.New(t.Context(), limited, d.dialect, &oncesql.Options{Table: table})
		require.ErrorIs(t, err, oncesql.ErrSetup, right)
		require.ErrorContains(t, err, "grant SELECT")
		execute(t, db, "GRANT "+right+" ON "+table+" TO "+role)
	}
}

func TestNewRefusesSQLiteWithoutWaiting(t *testing.T) {
	d := databases[2]
	db := d.open(t, "file:"+t.TempDir()+"/events.db")
	_, err := oncesql.New(t.Context(), db, d.dialect, &oncesql.Options{Table: d.table(t, db)})
	require.ErrorIs(t, err, oncesql.ErrSetup)
	require.ErrorContains(t, err, "busy_timeout")
}

// TestQualifiedTables: tables in a named schema work, and each has an index, also if long names differ
// in the last letter only.
func TestQualifiedTables(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		db := d.open(t, d.dsn(t))
		schema := map[string]string{"postgres": "public", "mariadb": "diffhook", "sqlite": "main"}[d.name]
		common := "t" + strings.ToLower(rand.Text() + rand.Text())[:46]
		for _, end := range []string{"a", "b"} {
			table := schema + "." + common + end
			statements, err := oncesql.Schema(d.dialect, table)
			require.NoError(t, err)
			execute(t, db, statements)
			t.Cleanup(func() { _, _ = db.ExecContext(context.Background(), "DROP TABLE "+table) })
			_, err = oncesql.New(t.Context(), db, d.dialect, &oncesql.Options{Table: table})
			require.NoError(t, err)
			var indexes int
			require.NoError(t, db.QueryRow(map[string]string{
				"postgres": "SELECT COUNT(*) FROM pg_indexes WHERE indexdef LIKE '%(expires_at)%' AND tablename = '",
				"mariadb":  "SELECT COUNT(*) FROM information_schema.statistics WHERE column_name = 'expires_at' AND table_name = '",
				"sqlite":   "SELECT COUNT(*) FROM sqlite_master WHERE sql LIKE '%(expires_at)%' AND tbl_name = '",
			}[d.name]+common+end+"'").Scan(&indexes))
			require.Equal(t, 1, indexes)
		}
	})
}

// TestSchemaTwice: a migration can run again.
func TestSchemaTwice(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		db := d.open(t, d.dsn(t))
		schema, err := oncesql.Schema(d.dialect, d.table(t, db))
		require.NoError(t, err)
		_, err = db.Exec(schema) // as one text
		require.NoError(t, err)
	})
}
