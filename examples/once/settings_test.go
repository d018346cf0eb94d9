package main

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
	"github.com/diffhook/diffhook-go/once/oncetest"
)

// TestSettings: settings of a connection that customers use change no promise. With
// clientFoundRows, MariaDB counts rows that a statement found and did not change.
func TestSettings(t *testing.T) {
	settings := map[string][]string{
		"postgres": {
			"&default_transaction_isolation=serializable", "&default_transaction_isolation=repeatable%20read",
			"&default_query_exec_mode=simple_protocol", "&default_query_exec_mode=exec",
		},
		"mariadb": {
			"&clientFoundRows=true", "&interpolateParams=false", "&sql_mode=''", "&parseTime=true&time_zone=%27%2B05:00%27",
			"&tx_isolation=%27SERIALIZABLE%27", "&tx_isolation=%27READ-COMMITTED%27",
		},
		"sqlite": {"&_pragma=synchronous(off)"},
	}
	forEach(t, func(t *testing.T, d database) {
		for _, setting := range settings[d.name] {
			t.Run(setting[1:], func(t *testing.T) {
				t.Parallel()
				r := newRig(t, d)
				r.dsn += setting
				oncetest.TestStore(t, func(t *testing.T) once.Store { return r.store(t, nil) })
				f := r.store(t, nil).InTx(r.inTx)
				for i := range 5 {
					for _, err := range together(t, 8, f, numbered(i)) {
						if err != nil { // a snapshot older than the commit of another delivery
							require.ErrorIs(t, err, once.ErrInProgress)
						}
					}
					for _, err := range together(t, 8, f, numbered(i)) {
						require.NoError(t, err, "a duplicate of a done event")
					}
					require.Equal(t, 1, r.count(t, numbered(i)))
				}
				_, err := oncesql.New(t.Context(), r.open(t, r.dsn), d.dialect, &oncesql.Options{Table: "once_that_is_missing"})
				require.ErrorIs(t, err, oncesql.ErrSetup)
			})
		}
	})
}

// TestFuncInSerializableSessions: PostgreSQL stops statements for different events, and no
// event waits for a retry or is handled without a record.
func TestFuncInSerializableSessions(t *testing.T) {
	r := newRig(t, databases[0])
	r.dsn += "&default_transaction_isolation=serializable"
	var mu sync.Mutex
	outcomes := make(map[once.Outcome]int)
	f := once.Func(r.store(t, nil), func(context.Context, *diffhook.Event) error { return nil }, &once.Options{
		Observe: func(_ context.Context, o once.Observation) {
			mu.Lock()
			defer mu.Unlock()
			outcomes[o.Outcome]++
		},
	})
	const deliveries, events = 16, 20
	var group sync.WaitGroup
	for i := range deliveries {
		group.Go(func() {
			for j := range events {
				_ = f(t.Context(), numbered(i*events+j))
			}
		})
	}
	group.Wait()
	require.Equal(t, map[once.Outcome]int{once.Handled: deliveries * events}, outcomes)
}
