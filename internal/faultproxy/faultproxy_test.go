package faultproxy_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/internal/faultproxy"
)

// server starts a server that answers each line with the same line.
func server(t *testing.T) (addr string, received <-chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	lines := make(chan string, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for in := bufio.NewScanner(conn); in.Scan(); {
					lines <- in.Text()
					fmt.Fprintln(conn, in.Text())
				}
			}()
		}
	}()
	return l.Addr().String(), lines
}

func dial(t *testing.T, addr string) net.Conn {
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ask returns the answer to a line.
func ask(conn net.Conn, line string) (string, error) {
	fmt.Fprintln(conn, line)
	return bufio.NewReader(conn).ReadString('\n')
}

func TestCut(t *testing.T) {
	addr, received := server(t)
	p := faultproxy.Start(t, addr)
	for arrived := range 2 { // the request is lost, and then the answer
		p.Cut(arrived, 1)
		_, err := ask(dial(t, p.Target), "a")
		require.Error(t, err)
		require.True(t, p.Met())
		require.Len(t, received, arrived)
	}
	answer, err := ask(dial(t, p.Target), "a")
	require.NoError(t, err)
	require.Equal(t, "a\n", answer)
}

func TestCutOfAnswers(t *testing.T) {
	addr, received := server(t)
	p := faultproxy.StartForAnswers(t, addr, "eval")
	p.Cut(0, 2)
	conn := dial(t, p.Target)
	_, err := ask(conn, "HELLO")
	require.NoError(t, err)
	require.False(t, p.Met())
	_, err = ask(conn, "EVALSHA")
	require.Error(t, err)
	require.Len(t, received, 2)
}

func TestHold(t *testing.T) {
	addr, received := server(t)
	p := faultproxy.Start(t, addr)
	p.Hold(0)
	conn := dial(t, p.Target)
	fmt.Fprintln(conn, "late")
	require.Eventually(t, p.Met, 10*time.Second, time.Millisecond)
	require.NoError(t, conn.Close())
	require.Empty(t, received)
	p.Release()
	require.Equal(t, "late", <-received)
}

func TestTargets(t *testing.T) {
	addr, _ := server(t)
	for _, target := range []string{"postgres://user:123@%s/db?a=b", "user@tcp(%s)/db", "redis://%s"} {
		before, after, _ := strings.Cut(target, "%s")
		p := faultproxy.Start(t, before+addr+after)
		_, err := ask(dial(t, strings.TrimSuffix(strings.TrimPrefix(p.Target, before), after)), "a")
		require.NoError(t, err)
		require.NotContains(t, p.Target, addr)
	}
}
