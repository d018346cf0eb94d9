package oncetable

import (
	"errors"
	"reflect"
	"slices"
	"strings"
)

// Numbers of MySQL and MariaDB.
const (
	mysqlDuplicateKey = 1062
	mysqlLockTimeout  = 1205
	mysqlDeadlock     = 1213
)

// busyStates are the SQLSTATEs of PostgreSQL for a statement stopped by another
// transaction: serialization failure, deadlock, lock timeout, and a canceled
// statement.
var busyStates = []string{serializationFailure, "40P01", "55P03", "57014"}

const serializationFailure = "40001"

// IsBusy reports whether a statement of a claim failed on a lock of another delivery.
func IsBusy(err error) bool {
	var postgres interface{ SQLState() string } // of pgx and lib/pq
	if errors.As(err, &postgres) {
		return slices.Contains(busyStates, postgres.SQLState())
	}
	if n := mysqlNumber(err); n == mysqlLockTimeout || n == mysqlDeadlock {
		return true
	}
	// The drivers of SQLite share the text of SQLite, and no type.
	return strings.Contains(err.Error(), "database is locked") || strings.Contains(err.Error(), "database table is locked")
}

// IsSerializationFailure reports whether PostgreSQL stopped a statement, also for the sake
// of other rows. The same statement in a new transaction can succeed.
func IsSerializationFailure(err error) bool {
	var postgres interface{ SQLState() string }
	return errors.As(err, &postgres) && postgres.SQLState() == serializationFailure
}

// IsDuplicateKey reports whether an INSERT of MySQL or MariaDB failed on a key in use.
func IsDuplicateKey(err error) bool { return mysqlNumber(err) == mysqlDuplicateKey }

// mysqlNumber returns the field Number of an error of github.com/go-sql-driver/mysql, or
// 0. This package imports no driver.
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
