package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/internal/testservers"
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
	for name, dsn := range map[string]string{"sqlite": "", "postgres": testservers.Address(t, "POSTGRES")} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DATABASE_URL", dsn)
			t.Setenv(sqliteVariable, "")
			var out strings.Builder
			require.NoError(t, demonstrate(t.Context(), &out), out.String())
			require.Contains(t, out.String(), "Each event was handled once.")
		})
	}
}

// TestReport: the demonstration fails unless each event was handled once and a process was
// killed.
func TestReport(t *testing.T) {
	for name, c := range map[string]struct {
		change func(counts map[string]int, first string)
		alive  bool
		fails  bool
	}{
		"each once":         {change: func(map[string]int, string) {}},
		"an event twice":    {change: func(counts map[string]int, first string) { counts[first] = 2 }, fails: true},
		"an event never":    {change: func(counts map[string]int, first string) { counts[first] = 0 }, fails: true},
		"an unknown event":  {change: func(counts map[string]int, _ string) { counts["unknown"] = 1 }, fails: true},
		"no process killed": {change: func(map[string]int, string) {}, alive: true, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			platform := diffhooktest.NewServer(t)
			platform.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusNoContent)
			}))})
			monitor := platform.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: "https://server.example/hook"})
			counts, first := map[string]int{}, ""
			for range events {
				d, err := platform.Change(monitor.ID, nil)
				require.NoError(t, err)
				e, err := diffhook.ParseEvent(d.Body)
				require.NoError(t, err)
				counts[e.DedupKey()], first = 1, e.DedupKey()
			}
			c.change(counts, first)
			b := &balancer{processes: []*process{{hasDied: !c.alive}}}
			err := report(io.Discard, platform, b, counts)
			require.Equal(t, c.fails, err != nil, "%v", err)
		})
	}
}
