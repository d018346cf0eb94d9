package secrets

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/diffhook/diffhook-go/rotation"
)

// SQLSchema creates the table of [SQL]. Encryption at rest does not hide secrets
// from other users of the database: restrict access to the table by roles.
const SQLSchema = `CREATE TABLE IF NOT EXISTS diffhook_documents (
	name     VARCHAR(100) PRIMARY KEY,
	version  BIGINT       NOT NULL,
	document TEXT         NOT NULL
)`

// The statements run on PostgreSQL and SQLite. For MySQL, write ? for $1, $2 and $3.
const (
	selectDocument = `SELECT version, document FROM diffhook_documents WHERE name = $1`
	insertDocument = `INSERT INTO diffhook_documents (name, version, document) VALUES ($1, 1, $2)`
	updateDocument = `UPDATE diffhook_documents SET version = version + 1, document = $1 WHERE name = $2 AND version = $3`
)

// SQL is a store in a row of a table.
type SQL struct {
	DB   *sql.DB
	Name string // of the document
}

// Get returns the document and the version of the row.
func (s SQL) Get(ctx context.Context) ([]byte, string, error) {
	var version int64
	var doc []byte
	switch err := s.DB.QueryRowContext(ctx, selectDocument, s.Name).Scan(&version, &doc); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, "", nil
	case err != nil:
		return nil, "", fmt.Errorf("read the document %s: %w", s.Name, err)
	}
	return doc, strconv.FormatInt(version, 10), nil
}

// Swap updates the row if version is current. An empty version inserts the row.
func (s SQL) Swap(ctx context.Context, version string, doc []byte) error {
	if version == "" {
		_, err := s.DB.ExecContext(ctx, insertDocument, s.Name, string(doc))
		return s.explain(ctx, version, err)
	}
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		return fmt.Errorf("write the document %s: the version %q is not a number; pass the version from Get", s.Name, version)
	}
	result, err := s.DB.ExecContext(ctx, updateDocument, string(doc), s.Name, n)
	if err != nil {
		return s.explain(ctx, version, err)
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("write the document %s: %w", s.Name, err)
	}
	if rows == 0 {
		return fmt.Errorf("write the document %s: %w", s.Name, rotation.ErrConflict)
	}
	return nil
}

// explain returns the result of a statement that ended with err. Each driver reports
// differently that the primary key exists, or that a session of PostgreSQL with the
// isolation serializable lost a race. So after an error, explain looks at the version.
func (s SQL) explain(ctx context.Context, version string, err error) error {
	if err == nil {
		return nil
	}
	_, newest, getErr := s.Get(ctx)
	switch {
	case getErr != nil:
		return fmt.Errorf("write the document %s: %w", s.Name, errors.Join(err, getErr))
	case newest != version:
		return fmt.Errorf("write the document %s: %w", s.Name, rotation.ErrConflict)
	}
	return fmt.Errorf("write the document %s: %w", s.Name, err)
}
