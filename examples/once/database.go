package main

import (
	"context"
	"database/sql"
	"net/url"
	"os"

	_ "github.com/jackc/pgx/v5/stdlib" // for DATABASE_URL
	_ "modernc.org/sqlite"

	"github.com/diffhook/diffhook-go/once/oncesql"
)

// sqliteVariable names the file of the database. The demonstration sets it for the
// processes.
const sqliteVariable = "EXAMPLE_SQLITE_FILE"

// openDatabase opens PostgreSQL by DATABASE_URL, or else a file of SQLite.
func openDatabase() (*sql.DB, oncesql.Dialect, error) {
	if dsn := os.Getenv("DATABASE_URL"); dsn != "" {
		db, err := sql.Open("pgx", dsn)
		return db, oncesql.Postgres, err
	}
	db, err := sql.Open("sqlite", sqliteDSN(os.Getenv(sqliteVariable)))
	return db, oncesql.SQLite, err
}

// sqliteDSN names a database in a file. With _txlock=immediate, BEGIN waits for the lock of
// the file: else a transaction with a read before the first write fails at once.
func sqliteDSN(path string) string {
	return "file:" + path + "?" + url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(wal)"},
		"_txlock": {"immediate"},
	}.Encode()
}

// createTables runs the migrations of the program: the table of package oncesql, and
// an empty table of handled events.
func createTables(ctx context.Context, db *sql.DB, dialect oncesql.Dialect) error {
	schema, err := oncesql.Schema(dialect, "")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, schema+`
DROP TABLE IF EXISTS diffhook_handled;
CREATE TABLE diffhook_handled (event TEXT NOT NULL);
`)
	return err
}

// countHandled returns how often each event was handled.
func countHandled(ctx context.Context, db *sql.DB) (map[string]int, error) {
	rows, err := db.QueryContext(ctx, "SELECT event, COUNT(*) FROM diffhook_handled GROUP BY event")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[string]int{}
	for rows.Next() {
		var event string
		var n int
		if err := rows.Scan(&event, &n); err != nil {
			return nil, err
		}
		counts[event] = n
	}
	return counts, rows.Err()
}
