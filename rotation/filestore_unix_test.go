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
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// An existing file keeps its mode, and a symbolic link stays one.
func TestFileStoreKeepsModeAndLink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "doc.json"), filepath.Join(dir, "link.json")
	require.NoError(t, os.WriteFile(file, []byte("1"), 0o600))
	require.NoError(t, os.Chmod(file, 0o640))
	require.NoError(t, os.Symlink("doc.json", link))
	s := rotation.FileStore(link)
	_, version, err := s.Get(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Swap(t.Context(), version, []byte("2")))
	info, err := os.Lstat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
	info, err = os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, info.Mode().Type())

	fresh := rotation.FileStore(filepath.Join(dir, "new.json"))
	require.NoError(t, rotation.NewSecret(t.Context(), fresh, diffhooktest.NewSecret()))
	info, err = os.Stat(filepath.Join(dir, "new.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

// helperEnv makes this test binary the process that is killed.
const helperEnv = "ROTATION_TEST_HELPER"

func TestMain(m *testing.M) {
	if path := os.Getenv(helperEnv); path != "" {
		rotateInProcess(path)
		return
	}
	os.Exit(m.Run())
}

// rotateInProcess rotates by hand over standard input and output, on which the parent
// is DiffHook and the person.
func rotateInProcess(path string) {
	in := bufio.NewScanner(os.Stdin)
	ask := func(_ context.Context, q rotation.Question) (string, error) {
		fmt.Printf("%q\n", q.Text)
		if !in.Scan() {
			return "", io.EOF
		}
		return in.Text(), nil
	}
	in.Scan()
	err := rotation.Secret(context.Background(), in.Text(), rotation.ByHand(ask), rotation.FileStore(path), &rotation.SecretOptions{RevokeNow: true, Poll: time.Millisecond})
	fmt.Println("end:", err)
}

// SIGKILL of a real process, at 100 points of rotations: after each question, and at
// odd moments while it writes. One successor, and a document that the
// next process continues.
func TestSecretContinuesAfterSIGKILL(t *testing.T) {
	kills := 0
	for round := 0; kills < 100; round++ {
		path := filepath.Join(t.TempDir(), "doc.json")
		app := &killedApp{current: diffhooktest.NewSecret()}
		first := app.current
		require.NoError(t, rotation.NewSecret(t.Context(), rotation.FileStore(path), first))
		for _, last := range []int{1, 2, 1, 1, 2} { // the questions after which processes die
			if done := app.run(t, path, first.Fingerprint(), last, time.Duration(round*97%700)*time.Microsecond); done {
				break
			}
			kills++
			breakLease(t, path)
		}
		require.True(t, app.run(t, path, first.Fingerprint(), 0, 0))
		require.Equal(t, 1, app.clicks)
		got, err := rotation.Source(rotation.FileStore(path)).Load(t.Context())
		require.NoError(t, err)
		require.True(t, got.Current.Equal(app.current) && got.NoPrevious)
	}
}

// breakLease is the minute that passes before the next run.
func breakLease(t *testing.T, path string) {
	t.Helper()
	doc, err := os.ReadFile(path)
	require.NoError(t, err)
	before, after, found := strings.Cut(string(doc), `,"run_until":"`)
	if found {
		_, after, _ = strings.Cut(after, `"`)
		require.NoError(t, os.WriteFile(path, []byte(before+`,"run_until":"2001-01-01T00:00:00Z"`+after), 0o600))
	}
}

// killedApp is DiffHook's app and the person at it.
type killedApp struct {
	current diffhook.Secret
	clicks  int
}

// run answers the questions of a process. It kills the process a while after the
// answer to question number last; 0 means never. It reports whether the process ended
// by itself.
func (a *killedApp) run(t *testing.T, path, old string, last int, after time.Duration) (done bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+path)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	fmt.Fprintln(in, old)
	lines := bufio.NewScanner(out)
	for n := 1; lines.Scan(); n++ {
		if end, ok := strings.CutPrefix(lines.Text(), "end: "); ok {
			require.Equal(t, "<nil>", end)
			done = true
			break
		}
		if strings.Contains(lines.Text(), "click Rotate signing secret") {
			a.clicks++
			a.current = diffhooktest.NewSecret()
		}
		fmt.Fprintln(in, a.current.Reveal())
		if n == last {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait()
	return done
}
