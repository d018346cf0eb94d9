package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain lets this program be a process of the server of the demonstration.
func TestMain(m *testing.M) {
	if os.Getenv("EXAMPLE_WORKER") != "" {
		if err := work(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestDemonstration(t *testing.T) {
	for name, dsn := range map[string]string{"sqlite": "", "postgres": serverVariable(t, "DIFFHOOK_TEST_POSTGRES")} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DATABASE_URL", dsn)
			t.Setenv(sqliteVariable, "")
			var out strings.Builder
			require.NoError(t, demonstrate(t.Context(), &out), out.String())
			require.Contains(t, out.String(), "Each event was handled once.")
		})
	}
}
