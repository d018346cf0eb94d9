package diffhook_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// write is one call of the file system by somebody who changes a directory in
// place.
type write struct{ file, operation, text string }

func (w write) String() string { return w.operation + " " + w.file }

// The ways in which tools write one file.
func inPlace(file, text string) []write { // cp, a shell's >, os.WriteFile
	return []write{{file, "truncate", ""}, {file, "write", text}}
}

func anew(file, text string) []write { // tar, rsync --inplace after a removal
	return []write{{file, "remove", ""}, {file, "create", ""}, {file, "write", text}}
}

func created(file, text string) []write {
	return []write{{file, "create", ""}, {file, "write", text}}
}

func removed(file string) []write { return []write{{file, "remove", ""}} }

func emptied(file string) []write { return []write{{file, "truncate", ""}, {file, "remove", ""}} }

// orders yields every order of writes that keeps the order within each file.
func orders(files [][]write, yield func([]write)) {
	var rec func(done []write, rest [][]write)
	rec = func(done []write, rest [][]write) {
		last := true
		for i, file := range rest {
			if len(file) > 0 {
				last = false
				next := slices.Clone(rest)
				next[i] = file[1:]
				rec(append(slices.Clip(done), file[0]), next)
			}
		}
		if last {
			yield(done)
		}
	}
	rec(nil, files)
}

// writtenDir is a directory that FileSecrets reads, and its files as they are.
type writtenDir struct {
	t     *testing.T
	path  string
	files map[string]string
}

func (d *writtenDir) reset(files map[string]string) {
	d.files = maps.Clone(files)
	for _, name := range []string{"current", "previous", "previous_expires"} {
		_ = os.Remove(filepath.Join(d.path, name))
	}
	writeFiles(d.t, d.path, files)
}

func (d *writtenDir) do(w write) {
	path := filepath.Join(d.path, w.file)
	var err error
	switch w.operation {
	case "remove":
		err = os.Remove(path)
		delete(d.files, w.file)
	case "truncate":
		err = os.Truncate(path, 0)
		d.files[w.file] = ""
	default:
		err = os.WriteFile(path, []byte(w.text), 0o600)
		d.files[w.file] = w.text
	}
	require.NoError(d.t, err)
}

// midWrite reports whether a file is empty that will not be, or is not there yet.
func (d *writtenDir) midWrite() bool {
	if d.files["current"] == "" {
		return true
	}
	return slices.Contains(slices.Collect(maps.Values(d.files)), "")
}

// reader is a process that reads the directory: its verifier, and what its
// source answered last.
type reader struct {
	*diffhook.Verifier
	answer     diffhook.Secrets
	signatures []string // of A, B and C
}

func (d *writtenDir) start() (*reader, error) {
	r := new(reader)
	source := diffhook.SecretSourceFunc(func(ctx context.Context) (s diffhook.Secrets, err error) {
		r.answer, err = diffhook.FileSecrets(d.path).Load(ctx)
		return r.answer, err
	})
	var err error
	r.Verifier, err = diffhook.NewVerifier(d.t.Context(), source, &diffhook.VerifierOptions{MinRefreshInterval: -1})
	return r, err
}

// accepts returns which of A, B and C sign for the reader.
func (r *reader) accepts(t *testing.T) string {
	if r.signatures == nil {
		for _, name := range []string{"A", "B", "C"} {
			r.signatures = append(r.signatures, letter(t, name).Sign([]byte(signedBody)))
		}
	}
	var names strings.Builder
	for i, signature := range r.signatures {
		if r.Verify(t.Context(), []byte(signedBody), signature) == nil {
			names.WriteByte("ABC"[i])
		}
	}
	return names.String()
}

// rewrite is a change of a directory in place.
type rewrite struct {
	name   string
	before map[string]string
	files  [][]write
	want   string // accepted at the end
	always string // accepted in every state
	gone   string // once refused, refused for good
}

const (
	expires1 = "2099-01-01T00:00:00Z\n"
	expires2 = "2099-01-02T00:00:00Z\n"
)

func rewrites(t *testing.T) []rewrite {
	a, b, c := letter(t, "A").Reveal(), letter(t, "B").Reveal(), letter(t, "C").Reveal()
	only := map[string]string{"current": a}
	open := map[string]string{"current": b, "previous": a, "previous_expires": expires1}
	none := map[string]string{"current": a, "previous": "none\n"}
	all := []rewrite{
		{"the first rotation", only, [][]write{created("previous", a), created("previous_expires", expires1), inPlace("current", b)}, "AB", "", ""},
		{"a rotation after none", none, [][]write{inPlace("previous", a), created("previous_expires", expires1), inPlace("current", b)}, "AB", "", ""},
		{"the end of a window, none", open, [][]write{inPlace("previous", "none"), removed("previous_expires")}, "B", "B", "A"},
		{"the end of a window, none anew", open, [][]write{anew("previous", "none"), emptied("previous_expires")}, "B", "B", "A"},
		{"the end of a window, removed", open, [][]write{removed("previous"), removed("previous_expires")}, "B", "B", "A"},
		{"the end of a window, emptied", open, [][]write{emptied("previous"), emptied("previous_expires")}, "B", "B", "A"},
		{"a leak", only, [][]write{created("previous", "none"), inPlace("current", b)}, "B", "", "A"},
		{"the same in place", open, [][]write{inPlace("previous", a), inPlace("previous_expires", expires1), inPlace("current", b)}, "AB", "AB", ""},
	}
	way := map[bool]func(file, text string) []write{false: inPlace, true: anew}
	for _, files := range [][3]bool{{}, {true, false, false}, {false, true, false}, {false, false, true}} {
		all = append(all, rewrite{fmt.Sprint("a second rotation, anew: ", files), open,
			[][]write{way[files[0]]("previous", b), way[files[1]]("previous_expires", expires2), way[files[2]]("current", c)}, "BC", "", "A"})
	}
	return all
}

// TestFileSecretsAnyWriteOrder: a process that reads after every single write of
// a directory, in every order, takes no empty file for a statement, brings no
// dropped secret back, and ends with the right ones.
func TestFileSecretsAnyWriteOrder(t *testing.T) {
	for _, tc := range rewrites(t) {
		t.Run(tc.name, func(t *testing.T) {
			dir := &writtenDir{t: t, path: t.TempDir()}
			orders(tc.files, func(writes []write) {
				dir.reset(tc.before)
				r, err := dir.start()
				require.NoError(t, err)
				accepted := r.accepts(t)
				for i, w := range writes {
					dir.do(w)
					at := fmt.Sprint(writes[:i+1])
					err := r.Refresh(t.Context())
					now := r.accepts(t)
					if dir.midWrite() {
						require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable, at)
						require.Equal(t, accepted, now, at)
					} else {
						require.NoError(t, err, at)
					}
					require.Equal(t, strings.HasPrefix(dir.files["previous"], "none") && err == nil, r.answer.NoPrevious, at)
					for _, name := range tc.always {
						require.Contains(t, now, string(name), at)
					}
					if !strings.Contains(accepted, tc.gone) {
						require.NotContains(t, now, tc.gone, at)
					}
					accepted = now
				}
				require.Equal(t, tc.want, accepted, writes)
			})
		})
	}
}

// TestFileSecretsDocumentedWriteOrder: in the order that FileSecrets documents,
// no state loses a delivery, for a process that runs and for one that starts, and
// none brings back a secret whose window is over.
func TestFileSecretsDocumentedWriteOrder(t *testing.T) {
	a, b, c := letter(t, "A").Reveal(), letter(t, "B").Reveal(), letter(t, "C").Reveal()
	const over = "2019-12-31T00:00:00Z"
	only := map[string]string{"current": b}
	none := map[string]string{"current": b, "previous": "none"}
	open := map[string]string{"current": b, "previous": a, "previous_expires": over}
	for name, tc := range map[string]struct {
		before map[string]string
		writes [][]write
		want   string
	}{
		"the first rotation":             {only, [][]write{created("previous", b), created("previous_expires", expires1), inPlace("current", c)}, "BC"},
		"a rotation after none":          {none, [][]write{inPlace("previous", b), created("previous_expires", expires1), inPlace("current", c)}, "BC"},
		"a rotation after a window":      {open, [][]write{inPlace("previous", b), inPlace("previous_expires", expires1), inPlace("current", c)}, "BC"},
		"a rotation after a window anew": {open, [][]write{anew("previous", b), anew("previous_expires", expires1), anew("current", c)}, "BC"},
		"the end of a window, none":      {open, [][]write{inPlace("previous", "none"), removed("previous_expires")}, "B"},
		"the end of a window, removed":   {open, [][]write{removed("previous"), removed("previous_expires")}, "B"},
		"the end of a window, emptied":   {open, [][]write{emptied("previous"), emptied("previous_expires")}, "B"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := &writtenDir{t: t, path: t.TempDir()}
			dir.reset(tc.before)
			running, err := dir.start()
			require.NoError(t, err)
			var learned string
			for _, w := range slices.Concat(tc.writes...) {
				dir.do(w)
				_ = running.Refresh(t.Context())
				now := running.accepts(t)
				assert.Contains(t, now, "B", w)
				assert.NotContains(t, now, "A", w)
				assert.Contains(t, now, learned, w)
				if dir.files["current"] == c {
					learned = "C"
					assert.Contains(t, now, "C", w)
				}
				starting, err := dir.start()
				if dir.midWrite() {
					require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable, w)
					continue
				}
				require.NoError(t, err)
				assert.Equal(t, now, starting.accepts(t), w)
			}
			assert.Equal(t, tc.want, running.accepts(t))
		})
	}
}

// TestFileSecretsAnyWriteOrderExpired: a secret whose window is over stays out of
// a process, in whatever order the directory is written.
func TestFileSecretsAnyWriteOrderExpired(t *testing.T) {
	a, b, c := letter(t, "A").Reveal(), letter(t, "B").Reveal(), letter(t, "C").Reveal()
	for name, tc := range map[string]struct {
		files [][]write
		want  string
	}{
		"a rotation":                   {[][]write{inPlace("previous", b), inPlace("previous_expires", expires1), inPlace("current", c)}, "BC"},
		"a rotation anew":              {[][]write{inPlace("previous", b), anew("previous_expires", expires1), inPlace("current", c)}, "BC"},
		"the end of a window, none":    {[][]write{inPlace("previous", "none"), removed("previous_expires")}, "B"},
		"the end of a window, removed": {[][]write{removed("previous"), removed("previous_expires")}, "B"},
		"the end of a window, emptied": {[][]write{emptied("previous"), emptied("previous_expires")}, "B"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := &writtenDir{t: t, path: t.TempDir()}
				orders(tc.files, func(writes []write) {
					expires := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
					dir.reset(map[string]string{"current": b, "previous": a, "previous_expires": expires})
					r, err := dir.start()
					require.NoError(t, err)
					require.Equal(t, "AB", r.accepts(t))
					time.Sleep(2 * time.Hour)
					require.Equal(t, "B", r.accepts(t))
					for i, w := range writes {
						dir.do(w)
						_ = r.Refresh(t.Context())
						require.NotContains(t, r.accepts(t), "A", writes[:i+1])
					}
					require.Equal(t, tc.want, r.accepts(t), writes)
				})
			})
		})
	}
}
