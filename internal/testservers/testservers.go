// Package testservers finds the servers that contrib/servers starts for tests.
package testservers

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Address returns the address of a server: of POSTGRES, MARIADB, REDIS or VALKEY.
func Address(t testing.TB, server string) string {
	t.Helper()
	return value(t, "DIFFHOOK_TEST_"+server)
}

// PID returns the process id of a server. If the process is killed, contrib/servers starts
// the server again.
func PID(t testing.TB, server string) int {
	t.Helper()
	text, err := os.ReadFile(value(t, "DIFFHOOK_TEST_"+server+"_PID"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func value(t testing.TB, variable string) string {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		t.Fatalf("the variable %s is not set; run: contrib/servers run -- go test ./...", variable)
	}
	return text
}

// Eventually polls another program, whose clock a bubble cannot move. The test fails unless
// reached returns true within a minute.
func Eventually(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if reached() {
			return
		}
	}
	t.Fatal("after a minute, still not: " + what)
}
