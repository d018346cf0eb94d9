// Package oncetable is the table of package oncesql and of the module diffhookpgx.
package oncetable

import (
	"fmt"
	"strconv"
	"strings"
)

// The dialects, as package oncesql names them.
const (
	Postgres = "postgres"
	MySQL    = "mysql" // MariaDB too
	SQLite   = "sqlite"
)

// A grammar is how a dialect differs from the others.
type grammar struct {
	schema  string
	version string // a query of this database only
	now     string // the clock of the database, while a statement runs
	after   string // the time in so many microseconds, from an argument
	skip    string // makes an INSERT of an existing key insert nothing
	share   string // makes a SELECT see commits since the first read of the transaction
	sweep   string // deletes some records whose time is over
	dollars bool   // arguments are $1, $2, …
}

// batch is how many records the statement Sweep deletes.
const batch = "1000"

var dialects = map[string]grammar{
	// A BRIN index takes next to no room and time: records come in the order of time.
	// BYTEA never cuts a key, and a CHECK of the length takes 4 % of a small InTx.
	Postgres: {
		schema: `CREATE TABLE IF NOT EXISTS {table} (
	id         BYTEA PRIMARY KEY,
	token      TEXT NOT NULL,
	done       BOOLEAN NOT NULL,
	expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX IF NOT EXISTS {index} ON {table} USING brin (expires_at);
`,
		version: "SELECT current_setting('server_version_num')",
		now:     "clock_timestamp()",
		after:   "clock_timestamp() + ?::bigint * interval '1 microsecond'",
		skip:    "ON CONFLICT (id) DO NOTHING",
		sweep:   "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE expires_at <= {now} LIMIT " + batch + " FOR UPDATE SKIP LOCKED)",
		dollars: true,
	},
	// INSERT IGNORE would cut a long key, and report the key as new.
	MySQL: {
		schema: `CREATE TABLE IF NOT EXISTS {table} (
	id         BINARY(32) NOT NULL PRIMARY KEY,
	token      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	done       BOOLEAN NOT NULL,
	expires_at DATETIME(6) NOT NULL,
	INDEX (expires_at)
) ENGINE = InnoDB;
`,
		version: "SELECT @@innodb_lock_wait_timeout",
		now:     "UTC_TIMESTAMP(6)",
		after:   "UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND",
		share:   "LOCK IN SHARE MODE",
		sweep:   "DELETE FROM {table} WHERE expires_at <= {now} LIMIT " + batch,
	},
	// Times are milliseconds since 1970.
	SQLite: {
		schema: `CREATE TABLE IF NOT EXISTS {table} (
	id         BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 32),
	token      TEXT NOT NULL,
	done       BOOLEAN NOT NULL,
	expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS {schema}{index} ON {bare} (expires_at);
`,
		version: "SELECT sqlite_version()",
		now:     "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
		after:   "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) + ? / 1000",
		skip:    "ON CONFLICT (id) DO NOTHING",
		sweep:   "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE expires_at <= {now} LIMIT " + batch + ")",
	},
}

// Schema returns the statements that create the table if missing.
func Schema(dialect, table string) (string, error) {
	d, ok := dialects[dialect]
	if !ok {
		return "", errDialect(dialect)
	}
	dot := strings.IndexByte(table, '.') + 1 // 0 without a schema in front
	bare := table[dot:]
	return strings.NewReplacer(
		"{table}", table, "{schema}", table[:dot], "{bare}", bare,
		"{index}", bare+"_expires_at", // in the schema of the table
	).Replace(d.schema), nil
}

func errDialect(dialect string) error {
	return fmt.Errorf("unknown dialect %q; use Postgres, MySQL or SQLite", dialect)
}

// Statements are the statements for a table. The comments list the arguments in order.
type Statements struct {
	Version string // a query of this database only
	Insert  string // id, token, done, microseconds
	Look    string // id: selects done, and whether the time is over
	Take    string // token, done, microseconds, id, token: takes an ended record, or a claim of token
	Commit  string // microseconds, id, token
	Release string // id, token
	Sweep   string
}

// NewStatements returns the statements for a table of a dialect. The name of the table
// becomes part of each statement.
func NewStatements(dialect, table string) (Statements, error) {
	d, ok := dialects[dialect]
	if !ok {
		return Statements{}, errDialect(dialect)
	}
	fill := func(text string) string {
		text = strings.NewReplacer("{table}", table, "{now}", d.now, "{after}", d.after, "{skip}", d.skip, "{share}", d.share).Replace(text)
		if d.dollars {
			text = withDollars(text)
		}
		return strings.TrimSpace(text)
	}
	return Statements{
		Version: d.version,
		Insert:  fill("INSERT INTO {table} (id, token, done, expires_at) VALUES (?, ?, ?, {after}) {skip}"),
		Look:    fill("SELECT done, expires_at <= {now} FROM {table} WHERE id = ? {share}"),
		Take:    fill("UPDATE {table} SET token = ?, done = ?, expires_at = {after} WHERE id = ? AND (expires_at <= {now} OR token = ? AND NOT done)"),
		Commit:  fill("UPDATE {table} SET done = TRUE, expires_at = {after} WHERE id = ? AND token = ?"),
		Release: fill("DELETE FROM {table} WHERE id = ? AND token = ? AND NOT done"),
		Sweep:   fill(d.sweep),
	}, nil
}

// withDollars replaces the marks ? of a statement by $1, $2 and so on.
func withDollars(text string) string {
	parts := strings.Split(text, "?")
	for i := range parts[1:] {
		parts[i] += "$" + strconv.Itoa(i+1)
	}
	return strings.Join(parts, "")
}
