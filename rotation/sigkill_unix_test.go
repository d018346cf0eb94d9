//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package rotation_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// helperEnv makes this test binary the process to kill. The value is five words: the
// function, "hand" or "api", the path of the document, the URL of DiffHook, and the
// credential to replace.
const helperEnv = "ROTATION_TEST_HELPER"

func TestMain(m *testing.M) {
	if words := os.Getenv(helperEnv); words != "" {
		fmt.Println("end:", rotateInProcess(strings.Fields(words)))
		return
	}
	os.Exit(m.Run())
}

// rotateInProcess rotates with questions and answers over standard output and input.
func rotateInProcess(words []string) error {
	function, way, store, url, old := words[0], words[1], rotation.FileStore(words[2]), words[3], words[4]
	in := bufio.NewScanner(os.Stdin)
	in.Scan() // an API key of the team
	options := &diffhook.ClientOptions{BaseURL: url, Limiter: diffhook.PlanLimiter(100_000)}
	var secrets rotation.SecretPlatform
	var keys rotation.KeyPlatform
	if way == "hand" {
		hand := rotation.ByHand(func(_ context.Context, q rotation.Question) (string, error) {
			fmt.Printf("%q\n", q.Text)
			if !in.Scan() {
				return "", io.EOF
			}
			return in.Text(), nil
		})
		hand.Client = options
		secrets, keys = hand, hand
	} else {
		key, err := diffhook.NewAPIKey(in.Text())
		if err != nil {
			return err
		}
		c, err := diffhook.NewClient(key, options)
		if err != nil {
			return err
		}
		api := rotation.API(c)
		secrets, keys = api, api
	}
	ctx := context.Background()
	switch function {
	case "Key":
		return rotation.Key(ctx, old, keys, store, &rotation.KeyOptions{Label: "web", DeleteNow: true})
	case "RevokeSecret":
		return rotation.RevokeSecret(ctx, old, secrets, store, &rotation.RevokeOptions{Poll: time.Millisecond})
	}
	return rotation.Secret(ctx, old, secrets, store, &rotation.SecretOptions{RevokeNow: true, Poll: time.Millisecond})
}

// SIGKILL of a real process: after each question, or in each request before the
// response, and at random moments during a save. The next process continues: there is a
// single successor, and nothing else is alive. Over all cases, processes are killed at
// more than 150 points.
func TestContinuesAfterSIGKILL(t *testing.T) {
	for _, test := range []struct {
		function, way string
		lasts         [][]int // of each round: the last event of each process
		kills         int
	}{
		{"Secret", "hand", [][]int{{1, 2, 1, 1, 2}, {2, 2}, {1, 1, 3}, {3}, {4}}, 36},
		{"Secret", "api", [][]int{{1, 2, 1, 1, 2}, {2, 3}, {3}, {4}}, 24},
		{"RevokeSecret", "hand", [][]int{{1, 1, 2}, {2, 1}, {1, 2}, {3}}, 24},
		{"RevokeSecret", "api", [][]int{{1, 1, 2}, {2, 1}, {1, 2}, {3}}, 24},
		{"Key", "hand", [][]int{{1, 2, 2}, {2, 3, 3}, {3, 4, 2}, {4}, {5}}, 24},
		{"Key", "api", [][]int{{1, 2, 3}, {2, 4, 4}, {3, 5, 5}, {6}, {7}}, 24},
	} {
		t.Run(test.function+" by "+test.way, func(t *testing.T) {
			t.Parallel()
			kills := 0
			for round := 0; kills < test.kills; round++ {
				require.Less(t, round, 100, "no process is killed any more")
				kills += killRound(t, test.function, test.way, test.lasts[round%len(test.lasts)], time.Duration(round*97%700)*time.Microsecond)
			}
			t.Log(kills, "processes were killed")
		})
	}
}

// killRound is a rotation in which process after process dies. It returns the number of
// killed processes.
func killRound(t *testing.T, function, way string, lasts []int, after time.Duration) (kills int) {
	t.Helper()
	platf := diffhooktest.NewServer(t)
	defer platf.Close()
	team := platf.NewTeam(diffhooktest.Plan{RequestsPerMinute: 100_000})
	w := newKeyWorldAt(t, platf, team, way == "hand", 1)
	a := &killedApp{keyWorld: w, path: filepath.Join(t.TempDir(), "doc.json"), words: []string{function, way}}
	platf.Configure(diffhooktest.Settings{OnExchange: func(e diffhooktest.Exchange) {
		if e.Request.Route == rotateRoute {
			a.clicks++
		}
		if way == "api" {
			a.event(0)
		}
	}})
	first := team.Secrets().Current
	old := first.Fingerprint()
	if function == "Key" {
		old = w.first.ID
		require.NoError(t, rotation.NewKey(t.Context(), rotation.FileStore(a.path), w.first))
	} else {
		require.NoError(t, rotation.NewSecret(t.Context(), rotation.FileStore(a.path), first))
	}
	a.words = append(a.words, a.path, platf.URL, old)
	for _, last := range lasts {
		if a.run(last, after) {
			break
		}
		kills++
		a.breakLease()
	}
	require.True(t, a.run(0, 0))
	if function == "Key" {
		w.requireOneKey()
		return kills
	}
	require.Equal(t, 1, a.clicks)
	got, err := rotation.Source(rotation.FileStore(a.path)).Load(t.Context())
	require.NoError(t, err)
	require.True(t, got.Current.Equal(team.Secrets().Current) && got.NoPrevious)
	require.False(t, got.Current.Equal(first))
	require.True(t, team.Secrets().Previous.IsZero())
	return kills
}

// killedApp is DiffHook, the app and the person at the app, for killed processes.
type killedApp struct {
	*keyWorld
	path   string
	words  []string
	clicks int

	mu     sync.Mutex
	events int // questions or requests of the process
	last   int // the event after which the process dies; 0: none
	kill   func()
}

// event kills the process a while after the last event.
func (a *killedApp) event(after time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.events++; a.events != a.last {
		return
	}
	if after == 0 {
		a.kill()
		return
	}
	time.AfterFunc(after, a.kill)
}

// run reports whether the process ended without a kill.
func (a *killedApp) run(last int, after time.Duration) (done bool) {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+strings.Join(a.words, " "))
	in, err := cmd.StdinPipe()
	require.NoError(a.t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(a.t, err)
	a.mu.Lock()
	a.events, a.last, a.kill = 0, last, func() { _ = cmd.Process.Kill() }
	a.mu.Unlock()
	require.NoError(a.t, cmd.Start())
	fmt.Fprintln(in, a.team.APIKey().Reveal())
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if end, ok := strings.CutPrefix(lines.Text(), "end: "); ok {
			require.Equal(a.t, "<nil>", end)
			done = true
			break
		}
		fmt.Fprintln(in, a.answer(lines.Text()))
		a.event(after)
	}
	_ = cmd.Wait()
	return done
}

// answer clicks and answers for a question.
func (a *killedApp) answer(text string) string {
	switch {
	case a.words[0] == "Key":
		return a.act(text)
	case strings.Contains(text, "click Rotate signing secret"):
		a.clicks++
		a.team.Rotate()
	case strings.Contains(text, "revoke the old secret"):
		a.team.RevokePrevious()
	case strings.Contains(text, "copy the old secret"):
		return a.team.Secrets().Previous.Reveal()
	}
	return a.team.Secrets().Current.Reveal()
}

// breakLease is the minute before the next run.
func (a *killedApp) breakLease() {
	a.t.Helper()
	doc, err := os.ReadFile(a.path)
	require.NoError(a.t, err)
	before, after, found := strings.Cut(string(doc), `,"run_until":"`)
	if found {
		_, after, _ = strings.Cut(after, `"`)
		require.NoError(a.t, os.WriteFile(a.path, []byte(before+`,"run_until":"2001-01-01T00:00:00Z"`+after), 0o600))
	}
}
