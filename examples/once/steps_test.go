package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A death, in the context of a delivery, is the step at which the process dies. Each
// statement is a step before and a step after.
type death struct {
	at   int64
	next atomic.Int64
}

type deathKey struct{}

// hookKey is the key of a func() in a context, for step to call.
type hookKey struct{}

// step ends this process at the step of ctx's death, as the kernel's killer or a power
// cut would. A hook of ctx is called.
func step(ctx context.Context) {
	if hook, ok := ctx.Value(hookKey{}).(func()); ok {
		hook()
	}
	if d, ok := ctx.Value(deathKey{}).(*death); ok && d.next.Add(1)-1 == d.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// openWithSteps opens a database whose statements are steps.
func openWithSteps(t testing.TB, name, dsn string) *sql.DB {
	t.Helper()
	plain, err := sql.Open(name, dsn)
	require.NoError(t, err)
	require.NoError(t, plain.Close())
	return sql.OpenDB(stepConnector{plain.Driver(), dsn})
}

type stepConnector struct {
	driver driver.Driver
	dsn    string
}

func (c stepConnector) Driver() driver.Driver { return c.driver }

func (c stepConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.dsn)
	return stepConn{conn}, err
}

type stepConn struct{ driver.Conn }

func (c stepConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	step(ctx)
	defer step(ctx)
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
	return stepTx{tx, ctx}, err
}

func (c stepConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	step(ctx)
	defer step(ctx)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c stepConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	step(ctx)
	defer step(ctx)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c stepConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c stepConn) ResetSession(ctx context.Context) error {
	if resetter, ok := c.Conn.(driver.SessionResetter); ok {
		return resetter.ResetSession(ctx)
	}
	return nil
}

func (c stepConn) IsValid() bool {
	validator, ok := c.Conn.(driver.Validator)
	return !ok || validator.IsValid()
}

type stepTx struct {
	driver.Tx
	ctx context.Context
}

func (t stepTx) Commit() error {
	step(t.ctx)
	defer step(t.ctx)
	return t.Tx.Commit()
}
