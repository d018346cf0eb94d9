package diffhook_test

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

const (
	envSecret   = "DIFFHOOK_SIGNING_SECRET"
	envPrevious = "DIFFHOOK_SIGNING_SECRET_PREVIOUS"
	envExpires  = "DIFFHOOK_SIGNING_SECRET_PREVIOUS_EXPIRES"
)

var expiry = time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC)

func TestEnvSecrets(t *testing.T) {
	current, previous := mustSecret(t, currentText), mustSecret(t, previousText)
	tests := []struct {
		name    string
		env     map[string]string
		want    diffhook.Secrets
		wantErr error
		names   string // name of the variable in the error
	}{
		{name: "current only", env: map[string]string{envSecret: currentText}, want: diffhook.Secrets{Current: current}},
		{name: "all three", env: map[string]string{envSecret: currentText, envPrevious: previousText, envExpires: "2026-03-16T14:22:00Z"},
			want: diffhook.Secrets{Current: current, Previous: previous, PreviousExpires: expiry}},
		{name: "an offset", env: map[string]string{envSecret: currentText, envPrevious: previousText, envExpires: "2026-03-16T16:22:00+02:00"},
			want: diffhook.Secrets{Current: current, Previous: previous, PreviousExpires: expiry}},
		{name: "empty ones count as unset, as compose files leave them", env: map[string]string{envSecret: currentText, envPrevious: "", envExpires: ""},
			want: diffhook.Secrets{Current: current}},
		{name: "nothing", wantErr: diffhook.ErrSecretsUnavailable, names: envSecret},
		{name: "empty", env: map[string]string{envSecret: ""}, wantErr: diffhook.ErrSecretsUnavailable, names: envSecret},
		{name: "only the previous secret", env: map[string]string{envPrevious: previousText}, wantErr: diffhook.ErrSecretsUnavailable, names: envSecret},
		{name: "short", env: map[string]string{envSecret: "changeme"}, wantErr: diffhook.ErrInvalidSecret, names: envSecret},
		{name: "a newline from $(cat)", env: map[string]string{envSecret: currentText + "\n"}, wantErr: diffhook.ErrInvalidSecret, names: envSecret},
		{name: "the API key instead", env: map[string]string{envSecret: apiKeyText}, wantErr: diffhook.ErrInvalidSecret, names: envSecret},
		{name: "short previous", env: map[string]string{envSecret: currentText, envPrevious: "changeme"}, wantErr: diffhook.ErrInvalidSecret, names: envPrevious},
		{name: "a malformed expiry is not «no expiry»", env: map[string]string{envSecret: currentText, envPrevious: previousText, envExpires: "tomorrow"},
			wantErr: diffhook.ErrInvalidSecret, names: envExpires},
		{name: "a date alone", env: map[string]string{envSecret: currentText, envPrevious: previousText, envExpires: "2026-03-16"},
			wantErr: diffhook.ErrInvalidSecret, names: envExpires},
		{name: "a secret in the place of the expiry is not repeated", env: map[string]string{envSecret: currentText, envExpires: previousText},
			wantErr: diffhook.ErrInvalidSecret, names: envExpires},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, name := range []string{envSecret, envPrevious, envExpires} {
				t.Setenv(name, "") // so that the end of the test restores it
				require.NoError(t, os.Unsetenv(name))
			}
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			checkLoad(t, diffhook.EnvSecrets(), test.want, test.wantErr, test.names)
		})
	}
}

var apiKeyText = "dh_live_" + strings.Repeat("x", 24)

// checkLoad loads a source and compares the answer. An error must name the place and
// repeat no content.
func checkLoad(t *testing.T, source diffhook.SecretSource, want diffhook.Secrets, wantErr error, names string) {
	t.Helper()
	got, err := source.Load(t.Context())
	if wantErr == nil {
		require.NoError(t, err)
		assert.Empty(t, cmp.Diff(want, got))
		return
	}
	require.ErrorIs(t, err, wantErr)
	assert.Regexp(t, regexp.QuoteMeta(names)+`\b`, err.Error())
	assert.Empty(t, cmp.Diff(diffhook.Secrets{}, got))
	for _, text := range []string{currentText, previousText, apiKeyText, "changeme", "tomorrow"} {
		assert.NotContains(t, err.Error(), text)
	}
}

// An environment changed at run time, by os.Setenv, is read again.
func TestEnvSecretsRotates(t *testing.T) {
	t.Setenv(envSecret, previousText)
	v := newVerifier(t, diffhook.EnvSecrets(), nil)
	t.Setenv(envSecret, currentText)
	body := []byte("body")
	require.NoError(t, v.Verify(t.Context(), body, mustSecret(t, currentText).Sign(body)))
}

func writeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
}

func TestFileSecretsFile(t *testing.T) {
	tests := []struct {
		name    string
		content string
		wantErr error
	}{
		{"unchanged", currentText, nil},
		{"a newline at the end is not part of the secret", currentText + "\n", nil},
		{"nor is a newline of Windows", currentText + "\r\n", nil},
		{"half a newline of Windows is", currentText + "\r", diffhook.ErrInvalidSecret},
		{"a second newline is an error, not trimmed", currentText + "\n\n", diffhook.ErrInvalidSecret},
		{"a space is", " " + currentText, diffhook.ErrInvalidSecret},
		{"a byte order mark is", "\uFEFF" + currentText, diffhook.ErrInvalidSecret},
		{"empty", "", diffhook.ErrInvalidSecret},
		{"a wrong file altogether", strings.Repeat("x", 1<<20), diffhook.ErrInvalidSecret},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "signing-secret")
			require.NoError(t, os.WriteFile(path, []byte(test.content), 0o600))
			checkLoad(t, diffhook.FileSecrets(path), diffhook.Secrets{Current: mustSecret(t, currentText)}, test.wantErr, "signing-secret")
		})
	}
}

func TestFileSecretsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nowhere")
	_, err := diffhook.FileSecrets(path).Load(t.Context())
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, path)
	_, err = diffhook.NewVerifier(t.Context(), diffhook.FileSecrets(path), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
}

func TestFileSecretsDirectory(t *testing.T) {
	current, previous := mustSecret(t, currentText), mustSecret(t, previousText)
	tests := []struct {
		name    string
		files   map[string]string
		want    diffhook.Secrets
		wantErr error
		names   string
	}{
		{"current only", map[string]string{"current": currentText}, diffhook.Secrets{Current: current}, nil, ""},
		{"all three, with newlines", map[string]string{"current": currentText + "\n", "previous": previousText + "\n", "previous_expires": "2026-03-16T14:22:00Z\n"},
			diffhook.Secrets{Current: current, Previous: previous, PreviousExpires: expiry}, nil, ""},
		{"the word none states no previous secret", map[string]string{"current": currentText, "previous": "none"}, diffhook.Secrets{Current: current, NoPrevious: true}, nil, ""},
		{"none with a newline", map[string]string{"current": currentText, "previous": "none\n"}, diffhook.Secrets{Current: current, NoPrevious: true}, nil, ""},
		{"none with a newline of Windows", map[string]string{"current": currentText, "previous": "none\r\n"}, diffhook.Secrets{Current: current, NoPrevious: true}, nil, ""},
		{"half of the word none states nothing", map[string]string{"current": currentText, "previous": "non"}, diffhook.Secrets{}, diffhook.ErrInvalidSecret, "previous)"},
		{"none as the current secret", map[string]string{"current": "none"}, diffhook.Secrets{}, diffhook.ErrInvalidSecret, "current)"},
		{"an empty current is being written", map[string]string{"current": "", "previous": previousText}, diffhook.Secrets{}, diffhook.ErrInvalidSecret, "current"},
		{"an empty previous is being written", map[string]string{"current": currentText, "previous": ""}, diffhook.Secrets{}, diffhook.ErrInvalidSecret, "previous"},
		{"an empty expiry is being written", map[string]string{"current": currentText, "previous": previousText, "previous_expires": ""}, diffhook.Secrets{}, diffhook.ErrInvalidSecret, "previous_expires"},
		{"a lone newline is being written", map[string]string{"current": currentText, "previous": "\n"}, diffhook.Secrets{}, diffhook.ErrInvalidSecret, "previous"},
		{"and white space", map[string]string{"current": currentText, "previous": " \t\n\n"}, diffhook.Secrets{}, diffhook.ErrInvalidSecret, "previous"},
		{"other files beside them", map[string]string{"current": currentText, "tls.key": "x"}, diffhook.Secrets{Current: current}, nil, ""},
		{"no current", map[string]string{"previous": previousText}, diffhook.Secrets{}, fs.ErrNotExist, "current:"},
		{"bad previous", map[string]string{"current": currentText, "previous": "changeme"}, diffhook.Secrets{}, diffhook.ErrInvalidSecret, "previous)"},
		{"bad expiry", map[string]string{"current": currentText, "previous": previousText, "previous_expires": "tomorrow"},
			diffhook.Secrets{}, diffhook.ErrInvalidSecret, "previous_expires"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, test.files)
			got, err := diffhook.FileSecrets(dir).Load(t.Context())
			require.ErrorIs(t, err, test.wantErr)
			assert.Empty(t, cmp.Diff(test.want, got))
			if test.wantErr != nil {
				assert.ErrorContains(t, err, test.names)
				assert.NotContains(t, err.Error(), "changeme")
				assert.NotContains(t, err.Error(), "tomorrow")
			}
		})
	}
}

// mountedSecret is a directory in the form of the kubelet for a mounted secret. Each
// version is in a separate directory. The link ..data to the version in force is
// replaced by a rename, and the files are links through ..data. The old version is
// removed as soon as the new version is in place.
type mountedSecret struct {
	dir     string
	version int
}

func (m *mountedSecret) publish(t testing.TB, files map[string]string) {
	old, _ := os.Readlink(filepath.Join(m.dir, "..data"))
	m.version++
	name := fmt.Sprintf("..2026_11_23_00_00_00.%09d", m.version)
	writeFiles(t, filepath.Join(m.dir, name), files)
	require.NoError(t, os.Symlink(name, filepath.Join(m.dir, "..data_tmp")))
	require.NoError(t, os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data")))
	for _, file := range []string{"current", "previous", "previous_expires"} {
		link := filepath.Join(m.dir, file)
		_, wanted := files[file]
		_, err := os.Lstat(link)
		switch {
		case wanted && err != nil:
			require.NoError(t, os.Symlink(filepath.Join("..data", file), link))
		case !wanted && err == nil:
			require.NoError(t, os.Remove(link))
		}
	}
	if old != "" {
		require.NoError(t, os.RemoveAll(filepath.Join(m.dir, old)))
	}
}

// linkedSecret is a directory behind a link that deployments replace.
type linkedSecret struct {
	dir     string
	version int
}

func (l *linkedSecret) publish(t testing.TB, files map[string]string) {
	link := filepath.Join(l.dir, "secret")
	old, _ := os.Readlink(link)
	l.version++
	next := filepath.Join(l.dir, fmt.Sprintf("v%d", l.version))
	writeFiles(t, next, files)
	require.NoError(t, os.Symlink(next, link+".tmp"))
	require.NoError(t, os.Rename(link+".tmp", link))
	if old != "" {
		require.NoError(t, os.RemoveAll(old))
	}
}

// While versions are swapped, every answer is a single version. A current secret never
// comes with the previous secret of another version, and a previous secret in removal
// is never taken for an unnamed secret.
func TestFileSecretsReadsOneVersion(t *testing.T) {
	mounted := &mountedSecret{dir: t.TempDir()}
	linked := &linkedSecret{dir: t.TempDir()}
	for name, layout := range map[string]struct {
		path    string
		publish func(testing.TB, map[string]string)
	}{
		"Kubernetes":     {mounted.dir, mounted.publish},
		"symbolic link":  {filepath.Join(linked.dir, "secret"), linked.publish},
		"through a link": {linkTo(t, mounted.dir), mounted.publish},
	} {
		t.Run(name, func(t *testing.T) {
			text := func(n int) string { return fmt.Sprintf("test-signing-secret-%08d", n) }
			expires := func(n int) time.Time { return expiry.Add(time.Duration(n) * time.Second) }
			publish := func(n int) {
				layout.publish(t, map[string]string{"current": text(n), "previous": text(n - 1),
					"previous_expires": expires(n).Format(time.RFC3339)})
			}
			publish(1)
			source := diffhook.FileSecrets(layout.path)
			versions := sampled(40, 300)
			var loads atomic.Int64
			done := make(chan struct{})
			go func() {
				defer close(done)
				for n := 2; n <= versions; n++ {
					publish(n)
					for before := loads.Load(); loads.Load() == before; {
						select {
						case <-t.Context().Done():
							return
						default:
							runtime.Gosched()
						}
					}
				}
			}()
			seen := map[string]bool{}
			for running := true; running; loads.Add(1) {
				select {
				case <-done:
					running = false
				default:
				}
				got, err := source.Load(context.Background())
				require.NoError(t, err)
				current := got.Current.Reveal()
				var n int
				_, err = fmt.Sscanf(current, "test-signing-secret-%d", &n)
				require.NoError(t, err)
				assert.Equal(t, text(n-1), got.Previous.Reveal())
				assert.Equal(t, expires(n), got.PreviousExpires)
				seen[current] = true
			}
			assert.True(t, seen[text(versions)], "the last version is seen")
			assert.Greater(t, len(seen), versions/4)
		})
	}
}

func linkTo(t *testing.T, dir string) string {
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	return link
}

// From a mounted secret to an accepted delivery, without a restart.
func TestFileSecretsRotates(t *testing.T) {
	mounted := &mountedSecret{dir: t.TempDir()}
	mounted.publish(t, map[string]string{"current": previousText})
	v := newVerifier(t, diffhook.FileSecrets(mounted.dir), &diffhook.VerifierOptions{MinRefreshInterval: -1})
	body := []byte("body")
	verify := func(text string) error {
		return v.Verify(t.Context(), body, mustSecret(t, text).Sign(body))
	}
	mounted.publish(t, map[string]string{"current": currentText, "previous": previousText})
	require.NoError(t, verify(currentText))
	require.NoError(t, verify(previousText))
	mounted.publish(t, map[string]string{"current": currentText}) // revoked
	require.NoError(t, v.Refresh(t.Context()))
	require.NoError(t, verify(currentText))
	require.ErrorIs(t, verify(previousText), diffhook.ErrSignatureMismatch)
}

// A secret leaks, and a server without an order reads the store. Without the word none,
// the server would accept the replaced secret for 24 h.
func TestFileSecretsRejectsReplaced(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"current": previousText})
	v := newVerifier(t, diffhook.FileSecrets(dir), nil)
	writeFiles(t, dir, map[string]string{"previous": "none\n", "current": currentText})
	require.NoError(t, v.Refresh(t.Context()))
	body := []byte("{}")
	require.NoError(t, v.Verify(t.Context(), body, mustSecret(t, currentText).Sign(body)))
	require.ErrorIs(t, v.Verify(t.Context(), body, mustSecret(t, previousText).Sign(body)), diffhook.ErrSignatureMismatch)
}

// write is a call of the file system by a program that changes a directory in place.
type write struct{ file, operation, text string }

func (w write) String() string { return w.operation + " " + w.file }

// The ways in which tools write a file.
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

// orders yields each order of the writes that keeps the order within each file, or a
// sample of 24 orders. Each process takes the same sample.
func orders(files [][]write, yield func([]write)) {
	chance := float64(sampled(24, math.MaxInt)) / float64(countOrders(files))
	random := rand.New(rand.NewPCG(1, 2))
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
		if last && random.Float64() < chance {
			yield(done)
		}
	}
	rec(nil, files)
}

// countOrders returns the number of orders: a multinomial coefficient.
func countOrders(files [][]write) int {
	count, writes := 1, 0
	for _, file := range files {
		for i := range file {
			writes++
			count = count * writes / (i + 1)
		}
	}
	return count
}

// writtenDir is a directory for FileSecrets, and the contents of the files.
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

// midWrite reports whether a file is empty or missing until a later write.
func (d *writtenDir) midWrite() bool {
	if d.files["current"] == "" {
		return true
	}
	return slices.Contains(slices.Collect(maps.Values(d.files)), "")
}

// reader is a process that reads the directory: the verifier, and the last answer of
// the source.
type reader struct {
	*diffhook.Verifier
	answer     diffhook.Secrets
	signatures []string // signatures by A, B and C
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

// accepts returns the accepted secrets among A, B and C.
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
	gone   string // once rejected, rejected for good
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

// TestFileSecretsAnyWriteOrder: a process reads after every write of a directory, in
// every order. It takes no empty file for a statement, brings no dropped secret back,
// and ends with the right secrets.
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

// TestFileSecretsDocumentedWriteOrder: in the documented order of writes, no state
// loses a delivery, for a running process and for a starting process. No state brings
// back a secret whose window is over.
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

// TestFileSecretsAnyWriteOrderExpired: a process keeps rejecting a secret whose window
// is over, in whatever order the directory is written.
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
