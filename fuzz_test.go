package diffhook_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// Seeds are the cases of testdata/vectors, added here, and the files of testdata/fuzz,
// loaded by go test.

// fuzzVectors are the vectors without the body of 1 MiB, whose mutations would be slow.
func fuzzVectors(tb testing.TB) (small []vector) {
	tb.Helper()
	for _, v := range loadVectors(tb) {
		if len(v.body) < 64<<10 {
			small = append(small, v)
		}
	}
	require.Len(tb, small, 24)
	return small
}

// wellFormed matches a signature. Unlike $, \z does not match before a newline at the
// end.
var wellFormed = regexp.MustCompile(`\Asha256=[0-9a-f]{64}\z`)

// FuzzParseSignature: exactly the well-formed signatures can be read.
func FuzzParseSignature(f *testing.F) {
	for _, v := range fuzzVectors(f) {
		f.Add(v.signatures["node"])
	}
	body := []byte(signedBody)
	right := referenceSignature(currentText, body)
	f.Add(right)
	v := newVerifier(f, diffhook.Secrets{Current: mustSecret(f, currentText)}, nil)

	f.Fuzz(func(t *testing.T, signature string) {
		err := v.Verify(t.Context(), body, signature)
		switch signature = strings.Trim(signature, " \t"); {
		case signature == "":
			requireRejected(t, err, diffhook.ErrNoSignature)
		case !wellFormed.MatchString(signature):
			requireRejected(t, err, diffhook.ErrMalformedSignature)
		case signature != right:
			requireRejected(t, err, diffhook.ErrSignatureMismatch)
		default:
			require.NoError(t, err)
		}
	})
}

// illegalSecret and plainSecret repeat NewSecret in other words: certainly illegal, and
// certainly legal texts.
func illegalSecret(text string) bool {
	first, _ := utf8.DecodeRuneInString(text)
	last, _ := utf8.DecodeLastRuneInString(text)
	edge := func(r rune) bool { return unicode.IsSpace(r) || unicode.In(r, unicode.Cf) }
	return len(text) < 16 || edge(first) || edge(last) || strings.HasPrefix(text, "dh_live_") || strings.Contains(text, hiddenSecret) ||
		strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 })
}

var plainSecret = regexp.MustCompile(`^(whsec_|test-)?[0-9A-Za-z+/]*[0-9][0-9A-Za-z+/]*[2-9]=*$`)

// FuzzVerify: the verifier accepts exactly the signatures of crypto/hmac.
func FuzzVerify(f *testing.F) {
	for _, v := range fuzzVectors(f) {
		f.Add(v.body, v.secret, v.signatures["python"])
	}
	f.Fuzz(func(t *testing.T, body []byte, text, signature string) {
		secret, err := diffhook.NewSecret(text)
		if err != nil {
			require.ErrorIs(t, err, diffhook.ErrInvalidSecret)
			require.True(t, secret.IsZero())
			require.False(t, !illegalSecret(text) && plainSecret.MatchString(text))
			return
		}
		require.False(t, illegalSecret(text))

		right := referenceSignature(text, body)
		require.Equal(t, right, secret.Sign(body))
		v := newVerifier(t, diffhook.Secrets{Current: secret}, nil)
		require.NoError(t, v.Verify(t.Context(), body, right))
		err = v.Verify(t.Context(), body, signature)
		if strings.Trim(signature, " \t") == right {
			require.NoError(t, err)
			return
		}
		require.Error(t, err)
		require.Equal(t, 401, diffhook.HTTPStatus(err))
		requireRejected(t, v.Verify(t.Context(), append(bytes.Clone(body), 0), right), diffhook.ErrSignatureMismatch)
	})
}

// FuzzParseEvent: exactly a JSON object is an event, an error shows nothing of the
// body, and an event survives a round trip through JSON. An unreadable field is a known
// name with a zero value.
func FuzzParseEvent(f *testing.F) {
	for _, v := range fuzzVectors(f) {
		f.Add(v.body)
	}
	for _, drift := range drifts {
		f.Add([]byte(drift.body))
	}
	errorTexts := regexp.MustCompile(eventErrorTexts)

	f.Fuzz(func(t *testing.T, body []byte) {
		event, err := diffhook.ParseEvent(body)
		object := bytes.TrimPrefix(body, []byte(byteOrderMark))
		isObject := json.Valid(object) && bytes.HasPrefix(bytes.TrimLeft(object, " \t\r\n"), []byte("{"))
		require.Equal(t, isObject, err == nil)
		if err != nil {
			require.ErrorIs(t, err, diffhook.ErrInvalidEvent)
			require.Nil(t, event)
			require.Regexp(t, errorTexts, err.Error())
			return
		}
		require.Equal(t, object, []byte(event.Raw))
		for _, name := range event.Unreadable {
			require.True(t, isZeroField(t, event, name), name)
		}
		require.NotPanics(t, func() { _ = event.DedupKey() })

		// With a repeated field of another type, the event is read field by field.
		if event.Label != "" {
			slowly, err := diffhook.ParseEvent(bytes.Replace(object, []byte("{"), []byte(`{"label":1,`), 1))
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(event, slowly, cmpopts.IgnoreFields(diffhook.Event{}, "Raw")))
		}

		written, err := json.Marshal(event)
		require.NoError(t, err)
		again, err := diffhook.ParseEvent(written)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(event, again, ignoreRaw))
		require.Empty(t, again.Unreadable)
		require.Equal(t, event.DedupKey(), again.DedupKey())
		require.Equal(t, event.MonitorID == "" || event.TriggeredAt.IsZero(), event.DedupKey() == "")
	})
}

// TestFuzzSeedsAreLoaded runs the targets over the seeds as go test does, and counts
// the runs. A malformed file fails the target.
func TestFuzzSeedsAreLoaded(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	for target, added := range map[string]int{"FuzzParseSignature": 25, "FuzzVerify": 24, "FuzzParseEvent": 24 + len(drifts)} {
		t.Run(target, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(files), 5)
			for _, file := range files {
				content, err := os.ReadFile(file)
				require.NoError(t, err)
				require.True(t, strings.HasPrefix(string(content), "go test fuzz v1"), file)
			}

			out, err := exec.CommandContext(t.Context(), self, "-test.run=^"+target+"$", "-test.v").CombinedOutput()
			require.NoError(t, err, "%s", out)
			ran := strings.Count(string(out), "--- PASS: "+target+"/")
			require.Equal(t, added+len(files), ran, "%s", out)
		})
	}
}
