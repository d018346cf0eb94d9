package diffhook_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// A secret whose window is over stays out as the previous one, whatever the
// source says of it. The source says only "A" at first.
func TestWindowThatIsOverStaysSo(t *testing.T) {
	const day = 24 * time.Hour
	over := map[string]func(rotationTest){
		"by the source's end": func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(time.Hour)); r.later(time.Hour) },
		"before it was named": func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(-time.Hour)) },
		"by RotationWindow":   func(r rotationTest) { r.says("B", ""); r.later(day) },
		"by Rotate":           func(r rotationTest) { r.rotate("B", time.Hour); r.later(time.Hour) },
		"by Rotate with 0":    func(r rotationTest) { r.rotate("B", 0) },
		"after an extension":  func(r rotationTest) { r.says("B", ""); r.saysUntil("B", "A", time.Now().Add(2*day)); r.later(2 * day) },
		"while nobody looked": func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(time.Hour)); r.later(1000 * day) },
		"after a shorter one": func(r rotationTest) {
			r.says("B", "")
			r.saysUntil("B", "A", time.Now().Add(time.Hour))
			r.later(time.Hour)
		},
		"dropped and named again": func(r rotationTest) {
			r.saysUntil("B", "A", time.Now().Add(time.Hour))
			r.says("B", "")
			r.later(time.Hour)
		},
	}
	for name, end := range over {
		for _, test := range []struct {
			name string
			do   func(rotationTest)
			want string
		}{
			{"named without an end", func(r rotationTest) { r.says("B", "A") }, "B"},
			{"named with a later end", func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(day)) }, "B"},
			{"named, not named, and named", func(r rotationTest) { r.says("B", "A"); r.says("B", ""); r.says("B", "A") }, "B"},
			{"named after NoPrevious", func(r rotationTest) { r.saysNoPrevious("B", ""); r.says("B", "A") }, "B"},
			{"named beside the next secret", func(r rotationTest) { r.says("C", "A") }, "B!C"},
			{"named beside the next secret, with a later end", func(r rotationTest) { r.saysUntil("C", "A", time.Now().Add(day)) }, "B!C"},
			{"and the next one's window is over too", func(r rotationTest) { r.says("C", "A"); r.later(day); r.says("C", "B") }, "C"},
			{"as current it comes back", func(r rotationTest) { r.says("A", "B") }, "AB!"},
			{"and has a window of its own again", func(r rotationTest) { r.says("A", "B"); r.says("B", "A") }, "A!B"},
			{"rotated back to by hand", func(r rotationTest) { r.rotate("A", time.Hour); r.rotate("C", time.Hour) }, "A!C"},
		} {
			t.Run(name+", "+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := rotationTest{T: t, source: &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}}
					r.v = newVerifier(t, r.source, &diffhook.VerifierOptions{MinRefreshInterval: 1<<63 - 1})
					r.accepted() // spends the refreshes on a miss
					end(r)
					require.Equal(t, "B", r.accepted())
					test.do(r)
					assert.Equal(t, test.want, r.accepted())
				})
			})
		}
	}
}

// A directory goes through two rotations and is written file by file, in every
// order, and read after each file. The secret whose window is over never comes
// back, and the secret in use before the second rotation is never lost.
func TestDirectoryWrittenInAnyOrder(t *testing.T) {
	first, second := time.Now().Add(time.Hour), time.Now().Add(100*time.Hour)
	const remove = "(removed)"
	text := func(name string) string { return letter(t, name).Reveal() }
	for name, steps := range map[string][][2]string{
		"with an end":              {{"current", text("C")}, {"previous", text("B")}, {"previous_expires", second.Format(time.RFC3339)}},
		"without an end":           {{"current", text("C")}, {"previous", text("B")}, {"previous_expires", remove}},
		"the end is removed first": {{"current", text("C")}, {"previous", text("B")}, {"previous_expires", remove}, {"previous_expires", second.Format(time.RFC3339)}},
		"the old one is removed":   {{"current", text("C")}, {"previous", remove}, {"previous", text("B")}, {"previous_expires", second.Format(time.RFC3339)}},
	} {
		for _, order := range permutations(len(steps)) {
			if !keepsOrder(steps, order) {
				continue
			}
			for _, fresh := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					dir := directory{t.TempDir()}
					now := time.Now() // of the bubble
					shift := func(text string) string { return shiftTime(text, first.Add(-time.Hour), now) }
					dir.write(t, "current", text("A"))
					v := newVerifier(t, diffhook.FileSecrets(dir.path), nil)
					dir.write(t, "previous_expires", shift(first.Format(time.RFC3339)))
					dir.write(t, "previous", text("A"))
					dir.write(t, "current", text("B"))
					require.NoError(t, v.Refresh(t.Context()))
					require.NoError(t, verifySigned(t, t.Context(), v, "A"))
					pause(2 * time.Hour)
					if fresh { // the process has not seen the window
						v = newVerifier(t, diffhook.FileSecrets(dir.path), nil)
					}
					var done []string
					for _, i := range order {
						file, content := steps[i][0], steps[i][1]
						done = append(done, file)
						if content == remove {
							dir.remove(t, file)
						} else {
							dir.write(t, file, shift(content))
						}
						require.NoError(t, v.Refresh(t.Context()))
						require.False(t, acceptsLetter(t, v, "A"), "%s: back after %v", name, done)
						require.True(t, acceptsLetter(t, v, "B"), "%s: lost after %v", name, done)
					}
				})
			}
		}
	}
}

// keepsOrder reports whether an order leaves the steps of each file in theirs.
func keepsOrder(steps [][2]string, order []int) bool {
	for i, a := range order {
		for _, b := range order[i:] {
			if steps[a][0] == steps[b][0] && a > b {
				return false
			}
		}
	}
	return true
}

// directory is a plain directory with a secret in files.
type directory struct{ path string }

func (d directory) write(t testing.TB, name, content string) {
	require.NoError(t, os.WriteFile(filepath.Join(d.path, name), []byte(content+"\n"), 0o600))
}

func (d directory) remove(t testing.TB, name string) {
	if err := os.Remove(filepath.Join(d.path, name)); !os.IsNotExist(err) {
		require.NoError(t, err)
	}
}

// shiftTime moves a time that is counted from one moment to another moment, and
// leaves any other text alone.
func shiftTime(text string, from, to time.Time) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	return to.Add(at.Sub(from)).Format(time.RFC3339)
}

// acceptsLetter reports whether v accepts the named secret, in a bubble.
func acceptsLetter(t testing.TB, v *diffhook.Verifier, name string) bool {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a miss waits for nothing,
	err := verifySigned(t, ctx, v, name)
	synctest.Wait() // but starts a read, which must not meet the next write
	return err == nil
}

func permutations(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, p := range permutations(n - 1) {
		for at := range n {
			q := append(append(append([]int(nil), p[:at]...), n-1), p[at:]...)
			all = append(all, q)
		}
	}
	return all
}

// A Reject names the secret: whatever answer came just before, the new secret is
// not refused by it.
func TestRejectNamesTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rotationTest{T: t, source: &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}}
		r.v = newVerifier(t, r.source, nil)
		r.rotate("B", time.Hour)
		r.says("A", "B") // a replica that is behind names the new secret as previous
		r.reject("A")
		r.says("B", "A")
		assert.Equal(t, "B", strings.Trim(r.accepted(), "!"))
	})
}
