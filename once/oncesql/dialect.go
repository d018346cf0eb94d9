package oncesql

import (
	"fmt"
	"strconv"
	"strings"

	diffhook "github.com/diffhook/diffhook-go"
)

// Dialect is the SQL of a database.
type Dialect string

const (
	Postgres Dialect = "postgres"
	MySQL    Dialect = "mysql" // MariaDB too
	SQLite   Dialect = "sqlite"
)

// A grammar is how a dialect differs from the others.
type grammar struct {
	schema  string
	version string // a query that other databases refuse
	now     string // the clock of the database, while a statement runs
	after   string // a time so many microseconds from now
	skip    string // makes an INSERT of a key that exists insert nothing
	share   string // makes a SELECT see what was committed after the transaction's first read
	sweep   string // deletes some records that have ended
	dollars bool   // arguments are $1, $2, …
}

// batch is how many records a statement of Sweep deletes.
const batch = "1000"

var dialects = map[Dialect]grammar{
	// The index takes next to no room and time: records come in the order of time.
	Postgres: {
		schema: `CREATE TABLE IF NOT EXISTS {table} (
	id         BYTEA PRIMARY KEY CHECK (octet_length(id) = 32),
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
	// INSERT IGNORE is not the way: it cuts a long key, and reports it as new.
	MySQL: {
		schema: `CREATE TABLE IF NOT EXISTS {table} (
	id         BINARY(32) NOT NULL PRIMARY KEY,
	token      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	done       BOOLEAN NOT NULL,
	expires_at DATETIME(6) NOT NULL,
	INDEX {index} (expires_at)
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
CREATE INDEX IF NOT EXISTS {index} ON {table} (expires_at);
`,
		version: "SELECT sqlite_version()",
		now:     "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
		after:   "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) + ? / 1000",
		skip:    "ON CONFLICT (id) DO NOTHING",
		sweep:   "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE expires_at <= {now} LIMIT " + batch + ")",
	},
}

func errDialect(d Dialect) error {
	return fmt.Errorf("%w: unknown dialect %q; use Postgres, MySQL or SQLite", diffhook.ErrInvalidOptions, string(d))
}

// statements are those of a store, with the arguments in their order.
type statements struct {
	version string
	insert  string // id, token, done, microseconds
	look    string // token, id: selects done, whether it has ended, whether token has it
	take    string // token, done, microseconds, id, token
	commit  string // microseconds, id, token
	release string // id, token
	sweep   string
}

func newStatements(dialect Dialect, table string) (statements, error) {
	d, ok := dialects[dialect]
	if !ok {
		return statements{}, errDialect(dialect)
	}
	fill := func(text string) string {
		text = strings.NewReplacer("{table}", table, "{now}", d.now, "{after}", d.after, "{skip}", d.skip, "{share}", d.share).Replace(text)
		if d.dollars {
			text = withDollars(text)
		}
		return text
	}
	return statements{
		version: d.version,
		insert:  fill("INSERT INTO {table} (id, token, done, expires_at) VALUES (?, ?, ?, {after}) {skip}"),
		look:    fill("SELECT done, expires_at <= {now}, token = ? FROM {table} WHERE id = ? {share}"),
		take:    fill("UPDATE {table} SET token = ?, done = ?, expires_at = {after} WHERE id = ? AND (expires_at <= {now} OR token = ? AND NOT done)"),
		commit:  fill("UPDATE {table} SET done = TRUE, expires_at = {after} WHERE id = ? AND token = ?"),
		release: fill("DELETE FROM {table} WHERE id = ? AND token = ? AND NOT done"),
		sweep:   fill(d.sweep),
	}, nil
}

// withDollars replaces each ? of a statement by $1, $2 and so on.
func withDollars(text string) string {
	parts := strings.Split(text, "?")
	for i := range parts[1:] {
		parts[i] += "$" + strconv.Itoa(i+1)
	}
	return strings.Join(parts, "")
}
