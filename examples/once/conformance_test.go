package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
	"github.com/diffhook/diffhook-go/once/oncetest"
)

func TestStoreConforms(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		dsn := d.dsn(t)
		table := d.table(t, d.open(t, dsn))
		oncetest.TestStore(t, func(t *testing.T) once.Store {
			s, err := oncesql.New(t.Context(), d.open(t, dsn), d.dialect, &oncesql.Options{Table: table})
			require.NoError(t, err)
			return s
		})
	})
}
