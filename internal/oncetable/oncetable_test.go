package oncetable_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/internal/oncetable"
)

// stateError is like an error of pgx or lib/pq, and numberError is like an error of
// github.com/go-sql-driver/mysql.
type (
	stateError  string
	numberError struct{ Number uint16 }
)

func (e stateError) SQLState() string { return string(e) }
func (e stateError) Error() string    { return "state " + string(e) }
func (e *numberError) Error() string  { return fmt.Sprint("number ", e.Number) }

func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		name            string
		err             error
		busy, duplicate bool
	}{
		{"serialization failure", stateError("40001"), true, false},
		{"deadlock", stateError("40P01"), true, false},
		{"lock timeout", stateError("55P03"), true, false},
		{"canceled", stateError("57014"), true, false},
		{"no table", stateError("42P01"), false, false},
		{"MariaDB, lock timeout", &numberError{1205}, true, false},
		{"MariaDB, deadlock", &numberError{1213}, true, false},
		{"MariaDB, duplicate key", &numberError{1062}, false, true},
		{"MariaDB, no table", &numberError{1146}, false, false},
		{"SQLite, busy", errors.New("database is locked (5) (SQLITE_BUSY)"), true, false},
		{"SQLite, locked", errors.New("database table is locked"), true, false},
		{"another", errors.New("connection reset"), false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, err := range []error{tc.err, fmt.Errorf("wrapped: %w", tc.err)} {
				require.Equal(t, tc.busy, oncetable.IsBusy(err))
				require.Equal(t, tc.duplicate, oncetable.IsDuplicateKey(err))
				require.Equal(t, tc.name == "serialization failure", oncetable.IsSerializationFailure(err))
			}
		})
	}
}

func TestStatementsAreWhole(t *testing.T) {
	for _, dialect := range []string{oncetable.Postgres, oncetable.MySQL, oncetable.SQLite} {
		s, err := oncetable.NewStatements(dialect, "events")
		require.NoError(t, err)
		for text, arguments := range map[string]int{s.Insert: 4, s.Look: 1, s.Take: 5, s.Commit: 3, s.Release: 2, s.Sweep: 0} {
			require.NotContains(t, text, "{")
			sign := "?"
			if dialect == oncetable.Postgres {
				sign = "$"
			}
			require.Equal(t, arguments, strings.Count(text, sign), text)
		}
	}
}
