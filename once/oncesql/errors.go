package oncesql

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once"
)

// Numbers of MySQL and MariaDB.
const (
	mysqlDuplicateKey = 1062
	mysqlLockTimeout  = 1205
	mysqlDeadlock     = 1213
)

// busyStates are the SQLSTATEs of PostgreSQL for a statement that met another
// transaction: serialization failure, deadlock, lock timeout, and a canceled
// statement.
var busyStates = []string{"40001", "40P01", "55P03", "57014"}

// problem returns the error of an operation that failed with err, nil if err is nil.
func problem(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("oncesql: %s: %w: %w", operation, diffhook.ErrUnavailable, err)
}

// claimProblem is problem for the statements of a claim. A claim that did not get a
// lock met another one.
func claimProblem(err error) error {
	if err != nil && isBusy(err) {
		return fmt.Errorf("%w: %w", once.ErrInProgress, err)
	}
	return problem("claim", err)
}

// isBusy reports whether a statement did not get a lock.
func isBusy(err error) bool {
	var postgres interface{ SQLState() string } // of pgx and lib/pq
	if errors.As(err, &postgres) {
		return slices.Contains(busyStates, postgres.SQLState())
	}
	if n := mysqlNumber(err); n == mysqlLockTimeout || n == mysqlDeadlock {
		return true
	}
	// The drivers of SQLite share no type, but SQLite's own text.
	return strings.Contains(err.Error(), "database is locked") || strings.Contains(err.Error(), "database table is locked")
}

func isDuplicateKey(err error) bool { return mysqlNumber(err) == mysqlDuplicateKey }

// mysqlNumber returns the field Number of an error, as that of
// github.com/go-sql-driver/mysql has it; 0: there is none. This package imports no
// driver.
func mysqlNumber(err error) uint64 {
	for ; err != nil; err = errors.Unwrap(err) {
		v := reflect.Indirect(reflect.ValueOf(err))
		if v.Kind() != reflect.Struct {
			continue
		}
		if n := v.FieldByName("Number"); n.IsValid() && n.CanUint() {
			return n.Uint()
		}
	}
	return 0
}
