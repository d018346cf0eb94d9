package diffhookpgx

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errEnds is returned to a function that ends the transaction of InTx.
var errEnds = errors.New("diffhookpgx: InTx commits and rolls back; return an error to roll back")

// outerTx is the transaction of InTx. pgx makes none that has begun already.
type outerTx struct {
	conn       *pgx.Conn
	ended      bool
	savepoints int
}

var _ pgx.Tx = (*outerTx)(nil)

func newTx(conn *pgx.Conn) *outerTx { return &outerTx{conn: conn} }

// commit commits. A transaction in which a statement failed is an error: PostgreSQL
// rolls it back.
func (tx *outerTx) commit(ctx context.Context) error {
	if tx.ended {
		return pgx.ErrTxClosed
	}
	tag, err := tx.conn.Exec(ctx, "COMMIT")
	if err != nil {
		return err // rollback follows
	}
	tx.ended = true
	if tag.String() == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	return nil
}

func (tx *outerTx) Commit(context.Context) error   { return errEnds }
func (tx *outerTx) Rollback(context.Context) error { return errEnds }

// Begin begins a nested transaction, by a savepoint.
func (tx *outerTx) Begin(ctx context.Context) (pgx.Tx, error) {
	tx.savepoints++
	name := fmt.Sprintf("diffhook_%d", tx.savepoints)
	if _, err := tx.Exec(ctx, "SAVEPOINT "+name); err != nil {
		return nil, err
	}
	return &innerTx{outerTx: tx, name: name}, nil
}

func (tx *outerTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if tx.ended {
		return pgconn.CommandTag{}, pgx.ErrTxClosed
	}
	return tx.conn.Exec(ctx, sql, args...)
}

func (tx *outerTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if tx.ended {
		return nil, pgx.ErrTxClosed
	}
	return tx.conn.Query(ctx, sql, args...)
}

func (tx *outerTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if tx.ended {
		return closedRow{}
	}
	return tx.conn.QueryRow(ctx, sql, args...)
}

func (tx *outerTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return tx.conn.SendBatch(ctx, b)
}

func (tx *outerTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	if tx.ended {
		return 0, pgx.ErrTxClosed
	}
	return tx.conn.CopyFrom(ctx, table, columns, rows)
}

func (tx *outerTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if tx.ended {
		return nil, pgx.ErrTxClosed
	}
	return tx.conn.Prepare(ctx, name, sql)
}

func (tx *outerTx) LargeObjects() pgx.LargeObjects {
	panic("diffhookpgx: InTx does not support LargeObjects; use First with a transaction of pgx")
}

func (tx *outerTx) Conn() *pgx.Conn { return tx.conn }

// closedRow is a row of a transaction that has ended.
type closedRow struct{}

func (closedRow) Scan(...any) error { return pgx.ErrTxClosed }

// innerTx is a nested transaction.
type innerTx struct {
	*outerTx
	name string
	done bool
}

func (tx *innerTx) Commit(ctx context.Context) error { return tx.end(ctx, "RELEASE SAVEPOINT ") }

func (tx *innerTx) Rollback(ctx context.Context) error {
	return tx.end(ctx, "ROLLBACK TO SAVEPOINT ")
}

func (tx *innerTx) end(ctx context.Context, statement string) error {
	if tx.done {
		return pgx.ErrTxClosed
	}
	tx.done = true
	_, err := tx.Exec(ctx, statement+tx.name)
	return err
}
