package redact_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/redact"
)

// TestWriterCuts: the output is the same for any cuts of the text.
func TestWriterCuts(t *testing.T) {
	for _, c := range redactions {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, referenceRedaction(c.text, c.secrets...), "the reference")
			secrets := mustSecrets(t, c.secrets)
			require.Equal(t, c.want, redacted(t, secrets, c.text), "whole")
			require.Equal(t, c.want, redacted(t, secrets, strings.Split(c.text, "")...), "by characters")
			var single []string
			for i := range len(c.text) {
				single = append(single, c.text[i:i+1])
			}
			require.Equal(t, c.want, redacted(t, secrets, single...), "by bytes")
			for i := range len(c.text) {
				require.Equal(t, c.want, redacted(t, secrets, c.text[:i], c.text[i:]), "cut at %d", i)
				for j := i; j < len(c.text); j++ {
					if got := redacted(t, secrets, c.text[:i], c.text[i:j], c.text[j:]); got != c.want {
						require.Equal(t, c.want, got, "cut at %d and %d", i, j)
					}
				}
			}
		})
	}
}

// flushed stands for a call of Flush among the parts of a text.
const flushed = "\x00flush"

// TestWriterHolds: the output of each write.
func TestWriterHolds(t *testing.T) {
	for _, c := range []struct {
		name    string
		secrets []string
		parts   []string
		want    []string // "" if nothing is written
	}{
		{"lines", []string{currentText}, []string{"one\n", "two d\n", currentText[:20] + "\n"}, []string{"one\n", "two d\n", currentText[:20] + "\n"}},
		{"nothing to hold", []string{currentText}, []string{"no newline", " nor here"}, []string{"no newline", " nor here"}},
		{"the beginning of a key", nil, []string{"key dh_li", "v", "er\n"}, []string{"key ", "", "dh_liver\n"}},
		{"all of the prefix", nil, []string{"key dh_live_", "\n"}, []string{"key ", "dh_live_\n"}},
		{"a key in two parts", nil, []string{"key dh_live_a", "bc", "d ef\n"}, []string{"key dh_live_…", "", " ef\n"}},
		{"a key at the end of a write", nil, []string{"key dh_live_a", "\n"}, []string{"key dh_live_…", "\n"}},
		{"the beginning of a secret", []string{currentText}, []string{"is tes", "t-s", "uite\n"}, []string{"is ", "", "test-suite\n"}},
		{"a beginning within a beginning", []string{currentText}, []string{"test-t", "est"}, []string{"test-", ""}},
		{"the longest beginning", []string{"0123456789abcdef!", "9abcdef-and-more"}, []string{"0123456789abcdef", "!"}, []string{"", hiddenSecret}},
		{"the end of a secret as a beginning", []string{currentText, "0001-another-one"}, []string{currentText, "-another-on", "\n"}, []string{hiddenSecret, "", "-another-on\n"}},
		{"the last byte of a secret", []string{currentText}, []string{currentText[:31], currentText[31:]}, []string{"", hiddenSecret}},
		{"writes of nothing", nil, []string{"", "dh_", "", "live"}, []string{"", "", "", ""}},

		// A Flush in mid-text must not let the rest of a secret pass.
		{"flushed: clean", nil, []string{"text", flushed}, []string{"text", ""}},
		{"flushed: the prefix of keys", nil, []string{"dh_live_", flushed, flushed, "abc."}, []string{"", "dh_live_", "", "dh_live_…."}},
		{"flushed: half the prefix, none after all", nil, []string{"dh_l", flushed, "ong\n"}, []string{"", "dh_l", "ong\n"}},
		{"flushed: within a key", nil, []string{"dh_live_abcd", flushed, "efg."}, []string{"dh_live_…", "", "."}},
		{"flushed: 7 bytes of a secret", []string{currentText}, []string{currentText[:7], flushed, currentText[7:] + "."}, []string{"", currentText[:7], hiddenSecret + "."}},
		{"flushed: 8 bytes of a secret", []string{currentText}, []string{currentText[:8], flushed, flushed, currentText[8:] + "."}, []string{"", hiddenSecret, "", "."}},
		{"flushed: 8 bytes, no secret after all", []string{currentText}, []string{currentText[:8], flushed, "else\n"}, []string{"", hiddenSecret, "else\n"}},
		{"flushed: 8 bytes, in three parts", []string{currentText}, []string{currentText[:8], flushed, currentText[8:20], flushed, currentText[20:], "."}, []string{"", hiddenSecret, "", "", "", "."}},
		{"flushed: 7 bytes of a secret whose end is a beginning", []string{"0123456789abcdef", "3456789abcdef-and-more"}, []string{"0123456", flushed, "789abcdef", "\n"}, []string{"", "0123456", hiddenSecret, "\n"}},
		{"flushed: after a secret", []string{currentText, "0001-another-one"}, []string{currentText, flushed, "-another", flushed, "."}, []string{hiddenSecret, "", "", "", "."}},
		{"flushed: a key within a secret's beginning", []string{"0123456789 dh_live_abc."}, []string{"0123456789 dh_live_a", flushed, "bcd", flushed, "e."}, []string{"", hiddenSecret, "", "", "."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			w := redact.NewWriter(&out, mustSecrets(t, c.secrets)...)
			var got []string
			for _, part := range c.parts {
				out.Reset()
				if part == flushed {
					require.NoError(t, w.Flush())
				} else {
					n, err := io.WriteString(w, part)
					require.NoError(t, err)
					require.Equal(t, len(part), n)
				}
				got = append(got, out.String())
			}
			assert.Empty(t, cmp.Diff(c.want, got))
		})
	}
}

// TestWriterHoldsLittle: after each byte of a text of beginnings, fewer bytes are held
// than the longest form of a secret.
func TestWriterHoldsLittle(t *testing.T) {
	var text strings.Builder
	for i := range len(currentText) {
		text.WriteString(currentText[:i])
		text.WriteString("dh_live_"[:i%9] + ".")
	}
	out := new(bytes.Buffer)
	w := redact.NewWriter(out, mustSecret(t, currentText))
	for i := range text.Len() {
		_, err := w.Write([]byte(text.String()[i : i+1]))
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(text.String(), out.String()))
		require.Less(t, i+1-out.Len(), len(currentText))
	}
	require.Equal(t, text.String(), out.String())
}

// TestWriterMemory: an endless text does not make a Writer grow.
func TestWriterMemory(t *testing.T) {
	repeating := strings.Repeat("ab", 16)
	for name, part := range map[string]string{
		"a key without end":             strings.Repeat("dh_live_", 512),
		"a repetitive secret":           strings.Repeat("ab", 2048),
		"beginnings of secrets":         strings.Repeat(currentText[:30], 128) + currentText[:9],
		"beginnings of keys":            strings.Repeat("dh_live", 512),
		"secrets, each begun in a part": currentText[5:] + currentText[:5],
		"backslashes":                   strings.Repeat(`\`, 4096),
		"percent signs":                 strings.Repeat("%25", 1365),
		"escapes of escapes":            strings.Repeat(`\\u005c\u0075%5cu002574`, 170),
		"a secret, escaped":             strings.Repeat(`%74\u0065\x73`, 256),
		"a key, escaped":                strings.Repeat(`dh%5flive_%61\u005c`, 200),
	} {
		t.Run(name, func(t *testing.T) {
			w := redact.NewWriter(io.Discard, mustSecret(t, currentText), mustSecret(t, repeating))
			_, err := io.WriteString(w, "dh_live_a"+currentText[:5])
			require.NoError(t, err)
			p := []byte(part)
			require.Zero(t, testing.AllocsPerRun(50, func() { _, _ = w.Write(p) }))
		})
	}

	t.Run("large writes", func(t *testing.T) {
		w := redact.NewWriter(io.Discard, mustSecret(t, repeating))
		large := []byte(strings.Repeat("ab", 1<<18) + testKeyText + "dh_")
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range 3 {
			_, err := w.Write(large)
			require.NoError(t, err)
		}
		_, err := io.WriteString(w, "short\n")
		require.NoError(t, err)
		runtime.GC()
		runtime.ReadMemStats(&after)
		require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(1<<18), "a large buffer is kept")
		runtime.KeepAlive(w)
		runtime.KeepAlive(large)
	})
}

// TestWriterPassesOn: a line without a credential is not copied.
func TestWriterPassesOn(t *testing.T) {
	same := new(sameArray)
	w := redact.NewWriter(same, mustSecret(t, currentText))
	same.want = []byte("a line that is not copied\n")
	n, err := w.Write(same.want)
	require.NoError(t, err)
	require.Equal(t, len(same.want), n)
	require.True(t, same.got)
	require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = w.Write(same.want) }))
}

type sameArray struct {
	want []byte
	got  bool
}

func (s *sameArray) Write(p []byte) (int, error) {
	s.got = &p[0] == &s.want[0]
	return len(p), nil
}

func TestWriterAdd(t *testing.T) {
	var out bytes.Buffer
	w := redact.NewWriter(&out, diffhook.Secret{}, mustSecret(t, currentText), diffhook.Secret{})
	line := currentText + " " + previousText + "\n"
	_, err := io.WriteString(w, line)
	require.NoError(t, err)
	w.Add()
	w.Add(diffhook.Secret{}, mustSecret(t, previousText), mustSecret(t, currentText))
	_, err = io.WriteString(w, line)
	require.NoError(t, err)
	assert.Equal(t, hiddenSecret+" "+previousText+"\n"+hiddenSecret+" "+hiddenSecret+"\n", out.String())

	// Within a key, and while text is held.
	for _, c := range []struct{ before, added, after, want string }{
		{"dh_live_a", "a third signing secret", "bc a third signing secret\n", hiddenKey + " " + hiddenSecret + "\n"},
		{"dh_", "dh_another-secret", "another-secret\n", hiddenSecret + "\n"},
	} {
		out.Reset()
		_, err = io.WriteString(w, c.before)
		require.NoError(t, err)
		w.Add(mustSecret(t, c.added))
		_, err = io.WriteString(w, c.after)
		require.NoError(t, err)
		assert.Equal(t, c.want, out.String())
	}
}

// TestWriterDiscards: without an underlying writer, no write fails.
func TestWriterDiscards(t *testing.T) {
	for name, w := range map[string]*redact.Writer{
		"zero value": {},
		"nil writer": redact.NewWriter(nil),
	} {
		t.Run(name, func(t *testing.T) {
			w.Add(mustSecret(t, currentText))
			for _, part := range []string{"", "line\n", "dh_live", testKeyText, currentText[:20]} {
				n, err := io.WriteString(w, part)
				require.NoError(t, err)
				require.Equal(t, len(part), n)
				require.NoError(t, w.Flush())
			}
		})
	}
}

// failing fails according to the fields, and records the bytes taken.
type failing struct {
	writes
	takes int // bytes taken of the next write; negative: all
	err   error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.takes < 0 {
		return f.writes.Write(p)
	}
	_, _ = f.writes.Write(p[:f.takes])
	return f.takes, f.err
}

// TestWriterErrors: after an error, no part of a secret is written, neither if the
// program goes on nor if it writes the rest by io.Writer's rules.
func TestWriterErrors(t *testing.T) {
	broken := errors.New("the disk is full")
	head, tail := currentText[:20], currentText[20:]
	for _, c := range []struct {
		name   string
		before string // written completely
		part   string
		takes  int
		err    error
		want   error
		wantN  int
		after  string
		shown  string
	}{
		{"clean", "one\n", "two\n", 0, broken, broken, 0, "three\n", "one\n||three\n"},
		{"clean, in part", "one\n", "two\n", 2, broken, broken, 2, "three\n", "one\n|tw|three\n"},
		{"clean, in part, without an error", "one\n", "two\n", 2, nil, io.ErrShortWrite, 2, "three\n", "one\n|tw|three\n"},
		{"with a key", "one\n", testKeyText + "\n", 0, broken, broken, len(testKeyText) + 1, "three\n", "one\n||three\n"},
		{"with a key, in part, without an error", "one\n", testKeyText + "\n", 3, nil, io.ErrShortWrite, len(testKeyText) + 1, "three\n", "one\n|dh_|three\n"},
		{"with half a key", "", "two " + testKeyText, 0, broken, broken, len(testKeyText) + 4, "kkk.\n", "|.\n"},
		{"with half a secret", "", "two " + head, 0, broken, broken, 24, tail + ".\n", "|" + hiddenSecret + ".\n"},
		{"with the other half", "one " + head, tail + ".\n", 0, broken, broken, len(tail) + 2, "three\n", "one ||three\n"},
		{"all held", "", head, 0, broken, nil, 20, tail + ".\n", hiddenSecret + ".\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := &failing{takes: -1}
			w := redact.NewWriter(out, mustSecret(t, currentText))
			_, err := io.WriteString(w, c.before)
			require.NoError(t, err)

			out.takes, out.err = c.takes, c.err
			n, err := io.WriteString(w, c.part)
			require.ErrorIs(t, err, c.want)
			assert.Equal(t, c.wantN, n)

			out.takes = -1
			_, err = io.WriteString(w, c.after)
			require.NoError(t, err)
			assert.Equal(t, c.shown, strings.Join(out.writes, "|"))
		})
	}

	for name, c := range map[string]struct {
		takes int
		err   error
		want  error
	}{
		"error":       {0, broken, broken},
		"short write": {2, nil, io.ErrShortWrite},
	} {
		t.Run("flush: "+name, func(t *testing.T) {
			out := &failing{takes: c.takes, err: c.err}
			w := redact.NewWriter(out, mustSecret(t, currentText))
			_, err := io.WriteString(w, head)
			require.NoError(t, err)
			require.ErrorIs(t, w.Flush(), c.want)
			out.takes, out.writes = -1, nil
			_, err = io.WriteString(w, tail+".\n")
			require.NoError(t, err)
			assert.Equal(t, writes{".\n"}, out.writes)
		})
	}
}

// TestWriterLoggers: under the loggers of the standard library, line by line, with
// values that programs log by mistake.
func TestWriterLoggers(t *testing.T) {
	text := `<a "quoted" & long secret>/+ö`
	values := []any{
		testKeyText, text, []string{testKeyText, text}, map[string]string{text: testKeyText},
		fmt.Errorf("sign with %q: %w", text, errors.ErrUnsupported),
		struct{ Key, Secret string }{testKeyText, text},
		&url.URL{Scheme: "https", Host: "example.com", Path: "/" + text, RawQuery: url.Values{"s": {text}, "k": {testKeyText}}.Encode()},
		json.RawMessage(`{"key":"` + testKeyText + `"}`),
	}
	for name, to := range map[string]func(io.Writer) func(any){
		"slog JSON": func(w io.Writer) func(any) {
			l := slog.New(slog.NewJSONHandler(w, nil))
			return func(v any) { l.With("with", v).Info(fmt.Sprint(v), "value", v) }
		},
		"slog text": func(w io.Writer) func(any) {
			l := slog.New(slog.NewTextHandler(w, nil))
			return func(v any) { l.With("with", v).Info(fmt.Sprint(v), "value", v) }
		},
		"log": func(w io.Writer) func(any) {
			l := log.New(w, "log: ", log.LstdFlags)
			return func(v any) { l.Printf("%v %+v %#v %q", v, v, v, v) }
		},
		"encoding/json": func(w io.Writer) func(any) {
			e := json.NewEncoder(w)
			return func(v any) { _ = e.Encode(map[string]any{"value": v}) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			var plain, lines writes
			show := to(io.MultiWriter(&plain, redact.NewWriter(&lines, mustSecret(t, text))))
			for _, v := range values {
				show(v)
			}
			require.Len(t, lines, len(plain), "a line stays a line")
			for i, line := range lines {
				require.True(t, strings.HasSuffix(line, "\n"))
				assert.Equal(t, referenceRedaction(plain[i], text), line)
				for _, secret := range []string{testKeyText, "quoted", "secret>", "secret%3E", `secret\u003e`} {
					assert.NotContains(t, line, secret, "%s", plain[i])
				}
				if name == "slog JSON" || name == "encoding/json" {
					assert.True(t, json.Valid([]byte(line)), line)
				}
			}
		})
	}
}

// TestWriterConcurrency: lines of many goroutines stay complete and show no secret,
// while secrets are added and held text is flushed.
func TestWriterConcurrency(t *testing.T) {
	const workers, each = 8, 200
	var lines writes // without a lock: a Writer writes sequentially
	w := redact.NewWriter(&lines, mustSecret(t, currentText))
	var work sync.WaitGroup
	for id := range workers {
		work.Go(func() {
			for i := range each {
				line := fmt.Sprintf("%d.%d %s %s\n", id, i, testKeyText, currentText)
				n, err := io.WriteString(w, line)
				assert.NoError(t, err)
				assert.Equal(t, len(line), n)
				if i%10 == 0 {
					w.Add(mustSecret(t, fmt.Sprintf("another secret %d.%d", id, i)))
					assert.NoError(t, w.Flush())
				}
				_ = fmt.Sprintf("%v %+v %#v", w, w, w)
			}
		})
	}
	work.Wait()
	want := make(map[string]int)
	for id := range workers {
		for i := range each {
			want[fmt.Sprintf("%d.%d %s %s\n", id, i, hiddenKey, hiddenSecret)]++
		}
	}
	got := make(map[string]int)
	for _, line := range lines {
		got[line]++
	}
	require.Empty(t, cmp.Diff(want, got))
}

// The line of a request in slog, 200 bytes long, and the same line with a key in place
// of the id.
var (
	benchLine = []byte(`{"time":"2026-03-16T14:22:00.123456789Z","level":"INFO","msg":"diffhook: delivery accepted","result":"accepted","bytes":2048,"duration":41250,"id":"` + strings.Repeat("0123456789", 4) + `","done":1}` + "\n")
	benchLeak = bytes.Replace(benchLine, []byte(strings.Repeat("0123456789", 3)), []byte("dh_live_"+strings.Repeat("k", 22)), 1)
)

// redactingByHand is the writer as commonly written by hand. It misses a key cut in
// two.
type redactingByHand struct {
	w       io.Writer
	secrets [][]byte
}

func (r *redactingByHand) Write(p []byte) (int, error) {
	out := anyKey.ReplaceAll(p, []byte(hiddenKey))
	for _, secret := range r.secrets {
		out = bytes.ReplaceAll(out, secret, []byte(hiddenSecret))
	}
	if _, err := r.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// BenchmarkWriter compares the writer with no writer, and with redactingByHand. Part is
// a line without a newline, whose end may begin a secret.
func BenchmarkWriter(b *testing.B) {
	for _, w := range []struct {
		name string
		w    io.Writer
	}{
		{"plain", struct{ io.Writer }{io.Discard}},
		{"byhand", &redactingByHand{io.Discard, [][]byte{[]byte(currentText), []byte(previousText)}}},
		{"redacting", redact.NewWriter(io.Discard, mustSecret(b, currentText), mustSecret(b, previousText))},
	} {
		for _, text := range []struct {
			name string
			p    []byte
		}{
			{"clean", benchLine},
			{"part", benchLine[:bytes.Index(benchLine, []byte("livery"))]},
			{"key", benchLeak},
		} {
			b.Run(w.name+"/"+text.name, func(b *testing.B) {
				b.SetBytes(int64(len(text.p)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := w.w.Write(text.p); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
