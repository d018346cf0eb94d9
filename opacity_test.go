package diffhook_test

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/redact"
)

// The rig for opaque credentials. Sinks are the ways to print a value, and shapes the
// places of a credential in a value. A leakDetector reads the output.

// sink prints x. A sink that compares prints the difference to y, of the same type with
// another credential.
type sink struct {
	name string
	show func(x, y any) string
}

var sinks = []sink{
	{"fmt verbs", func(x, _ any) string { return showVerbs(x) }},
	{"fmt.Print", func(x, _ any) string { return fmt.Sprint(x, x) + fmt.Sprintln(x) }},
	{"fmt of reflect.Value", func(x, _ any) string {
		v := reflect.ValueOf(x)
		return fmt.Sprintf("%v %+v %#v %s", v, v, v, v)
	}},
	{"error text", func(x, _ any) string { return fmt.Errorf("sign with %v: %w", x, errors.ErrUnsupported).Error() }},
	{"panic", func(x, _ any) string { return showPanic(x) }},
	{"slog text", func(x, _ any) string {
		return showLog(x, func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) })
	}},
	{"slog JSON", func(x, _ any) string {
		return showLog(x, func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) })
	}},
	{"encoding/json", func(x, _ any) string { return showJSON(x) }},
	{"encoding/xml", func(x, _ any) string {
		out, err := xml.MarshalIndent(x, "", " ")
		return fmt.Sprintf("%s %v", out, err)
	}},
	{"encoding/gob", func(x, _ any) string {
		var out bytes.Buffer
		err := gob.NewEncoder(&out).Encode(x)
		return fmt.Sprintf("%s %v", out.Bytes(), err)
	}},
	{"go-cmp", func(x, y any) string {
		return cmp.Diff(x, y, cmp.Exporter(func(reflect.Type) bool { return true }))
	}},
	{"testify", showAssertions},
}

// output is the sink's text for x, or the text of a panic.
func (s sink) output(x, y any) (out string) {
	defer func() {
		if p := recover(); p != nil {
			out = fmt.Sprintf("panic: %+v", p)
		}
	}()
	return s.show(x, y)
}

// showVerbs formats x with every letter as a verb, every combination of flags, and
// widths and precisions.
func showVerbs(x any) string {
	formats := []string{"%20", "%.3", "%.12", "%#20", "%-30.30", "%+#060.30"}
	const flags = "+# -0"
	for set := range 1 << len(flags) {
		format := "%"
		for i, flag := range flags {
			if set&(1<<i) != 0 {
				format += string(flag)
			}
		}
		formats = append(formats, format)
	}
	const verbs = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	shown := make(map[string]bool)
	var out strings.Builder
	for _, format := range formats {
		for _, verb := range verbs {
			if s := fmt.Sprintf(format+string(verb), x); !shown[s] {
				shown[s] = true
				out.WriteString(s + "\n")
			}
		}
	}
	return out.String()
}

// showPanic returns the text of a panic with x: by the runtime, through Error or
// String, and by code that recovers.
func showPanic(x any) (out string) {
	defer func() {
		p := recover()
		out = fmt.Sprintf("panic: %v\n%+v\n%#v", p, p, p)
		switch p := p.(type) {
		case error:
			out += p.Error()
		case fmt.Stringer:
			out += p.String()
		}
	}()
	panic(x)
}

func showLog(x any, handler func(*bytes.Buffer) slog.Handler) string {
	var out bytes.Buffer
	logger := slog.New(handler(&out))
	logger.Info("argument", "value", x)
	logger.Info("attribute", slog.Any("value", x))
	logger.Info("group", slog.Group("group", slog.Any("value", x), "again", x))
	logger.WithGroup("group").With("value", x).Info("with")
	logger.Info(fmt.Sprint("message ", x))
	return out.String()
}

func showJSON(x any) string {
	plain, err := json.Marshal(x)
	indented, _ := json.MarshalIndent(x, "", " ")
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(map[string]any{"value": x})
	var text []byte
	if m, ok := x.(encoding.TextMarshaler); ok {
		text, _ = m.MarshalText()
	}
	return fmt.Sprintf("%s\n%s\n%s\n%s\n%v", plain, indented, &encoded, text, err)
}

// failures is an assert.TestingT for the texts of failed asserts.
type failures struct{ strings.Builder }

func (f *failures) Errorf(format string, args ...any) { fmt.Fprintf(f, format, args...) }

func showAssertions(x, y any) string {
	var out failures
	assert.Equal(&out, x, y)
	assert.EqualValues(&out, x, y)
	assert.Contains(&out, []any{x}, y)
	assert.ElementsMatch(&out, []any{x}, []any{y})
	assert.Nil(&out, x)
	assert.Fail(&out, "message", x)
	return out.String()
}

// shape is a place for a credential in a value.
type shape[C any] struct {
	name string
	hold func(c C) any
}

type (
	exportedField[C any]   struct{ Credential C }
	unexportedField[C any] struct{ credential C }
	unexportedPtr[C any]   struct{ credential *C }
	nestedFields[C any]    struct {
		Outer struct{ inner unexportedField[C] }
		Next  *exportedField[C]
		Any   any
	}
)

func shapesOf[C any]() []shape[C] {
	return []shape[C]{
		{"value", func(c C) any { return c }},
		{"pointer", func(c C) any { return &c }},
		{"pointer to pointer", func(c C) any { p := &c; return &p }},
		{"pointer to any", func(c C) any { a := any(c); return &a }},
		{"exported field", func(c C) any { return exportedField[C]{c} }},
		{"pointer to exported field", func(c C) any { return &exportedField[C]{c} }},
		{"unexported field", func(c C) any { return unexportedField[C]{c} }},
		{"pointer to unexported field", func(c C) any { return &unexportedField[C]{c} }},
		{"unexported pointer field", func(c C) any { return unexportedPtr[C]{&c} }},
		{"any in unexported field", func(c C) any { return unexportedField[any]{c} }},
		{"nested", func(c C) any {
			n := nestedFields[C]{Next: &exportedField[C]{c}, Any: unexportedPtr[C]{&c}}
			n.Outer.inner.credential = c
			return n
		}},
		{"map of values", func(c C) any { return map[string]C{"key": c} }},
		{"map of pointers", func(c C) any { return map[string]*C{"key": &c} }},
		{"slice of values", func(c C) any { return []C{c} }},
		{"slice of pointers", func(c C) any { return []*C{&c} }},
		{"slice of any", func(c C) any { return []any{c, &c} }},
		{"array", func(c C) any { return [1]C{c} }},
		{"error", func(c C) any { return fmt.Errorf("sign with %v: %w", c, errors.ErrUnsupported) }},
		{"error by %+v and %#v", func(c C) any { return fmt.Errorf("sign with %+v, %#v", c, c) }},
	}
}

// TestOpacitySinksSeePlainValues shows that the tests of opacity can fail: every sink
// prints a plain value, and every shape is printed by some sink.
func TestOpacitySinksSeePlainValues(t *testing.T) {
	detector := newLeakDetector(opaqueText)
	for _, sink := range sinks {
		t.Run(sink.name, func(t *testing.T) {
			assert.NotEmpty(t, detector.find(sink.output(exportedField[string]{opaqueText}, exportedField[string]{otherText})))
			assert.NotEmpty(t, detector.find(sink.output(exportedField[[]byte]{[]byte(opaqueText)}, exportedField[[]byte]{[]byte(otherText)})))
		})
	}
	for _, shape := range shapesOf[string]() {
		t.Run(shape.name, func(t *testing.T) {
			var found []string
			for _, sink := range sinks {
				found = append(found, detector.find(sink.output(shape.hold(opaqueText), shape.hold(otherText)))...)
			}
			assert.NotEmpty(t, found)
		})
	}
}

// assertOpaque fails if a sink prints a part of a credential of the detector.
func assertOpaque(t *testing.T, detector leakDetector, x, y any) {
	t.Helper()
	for _, sink := range sinks {
		out := sink.output(x, y)
		assert.Empty(t, detector.find(out), "%s of %T", sink.name, x)
	}
}

// TestLiveVerifierIsOpaque: programs that print by reflection, such as a failing test,
// reach no changing state: no map, counter or logger.
func TestLiveVerifierIsOpaque(t *testing.T) {
	source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
	var logged bytes.Buffer
	v := newVerifier(t, source, &diffhook.VerifierOptions{Logger: slog.New(slog.NewTextHandler(&logged, nil)), MinRefreshInterval: -1})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !stop.Load() {
				_ = verifySigned(t, t.Context(), v, "A")
			}
		})
	}
	wg.Go(func() { // secrets change, each with a line in the log
		for i := 0; !stop.Load(); i++ {
			assert.NoError(t, v.Rotate(letter(t, string(rune('A'+i%26))), time.Hour))
		}
	})
	for name, x := range map[string]any{
		"verifier":        v,
		"exported field":  exportedField[*diffhook.Verifier]{v},
		"unexported":      unexportedField[*diffhook.Verifier]{v},
		"any in a field":  unexportedField[any]{v},
		"middleware":      v.Handler(http.NotFoundHandler()),
		"status handler":  v.StatusHandler(),
		"map of verifier": map[string]*diffhook.Verifier{"team": v},
	} {
		for _, sink := range sinks {
			out := sink.output(x, exportedField[*diffhook.Verifier]{new(diffhook.Verifier)})
			for _, inside := range []string{"lastUsed", "known:", "TextHandler", "sema"} {
				assert.NotContains(t, out, inside, "%s of %s", sink.name, name)
			}
		}
	}
	stop.Store(true)
	wg.Wait()
}

// TestRedactWriterOpacity: a printed redact.Writer shows no secret and no text written
// or held.
func TestRedactWriterOpacity(t *testing.T) {
	holding := func(text string) *redact.Writer {
		w := redact.NewWriter(io.Discard, mustSecret(t, text))
		for _, part := range []string{text + ".", text[:len(text)-1]} {
			_, err := io.WriteString(w, part)
			require.NoError(t, err)
		}
		return w
	}
	detector := newLeakDetector(opaqueText)
	for _, shape := range append(shapesOf[*redact.Writer](), []shape[*redact.Writer]{
		{"struct", func(w *redact.Writer) any { return *w }},
		{"io.Writer", func(w *redact.Writer) any { return unexportedField[io.Writer]{w} }},
		{"method values", func(w *redact.Writer) any { return []any{w.Write, w.Add, w.Flush} }},
		{"under a logger", func(w *redact.Writer) any { return slog.New(slog.NewTextHandler(w, nil)) }},
		{"under an old logger", func(w *redact.Writer) any { return log.New(w, "", 0) }},
	}...) {
		t.Run(shape.name, func(t *testing.T) {
			t.Parallel()
			assertOpaque(t, detector, shape.hold(holding(opaqueText)), shape.hold(holding(otherText)))
		})
	}
}

// leakDetector finds parts of credentials in a text, by their first bytes.
type leakDetector map[string][]leak

type leak struct{ form, text string }

const leakPrefix = 4

// newLeakDetector returns a detector of any 8 consecutive bytes (9 in base64) of the
// given texts. It also detects the pads and states of an HMAC with the text as the key,
// which are as good as the key.
func newLeakDetector(texts ...string) leakDetector {
	d := make(leakDetector)
	for _, text := range texts {
		d.add("quoted text", strings.Trim(strconv.Quote(text), `"`))
		d.add("ASCII text", strings.Trim(strconv.QuoteToASCII(text), `"`))
		d.addRuns("text", []byte(text))
		for pad, name := range map[byte]string{0x36: "inner pad", 0x5c: "outer pad"} {
			block := make([]byte, sha256.BlockSize)
			copy(block, text)
			for i := range block {
				block[i] ^= pad
			}
			d.addRuns(name, block[:len(text)])
			hash := sha256.New()
			hash.Write(block)
			state, _ := hash.(encoding.BinaryAppender).AppendBinary(nil)
			d.addRuns(name+" state", state[4:4+sha256.Size])
		}
	}
	return d
}

func (d leakDetector) addRuns(name string, b []byte) {
	for i := range len(b) - 7 {
		run := b[i : i+8]
		list := fmt.Sprint(run)
		decimals := list[1 : len(list)-1]
		d.add(name, string(run))
		d.add(name+" in hex", fmt.Sprintf("%x", run))
		d.add(name+" in upper-case hex", fmt.Sprintf("%X", run))
		d.add(name+" in spaced hex", fmt.Sprintf("% x", run))
		d.add(name+" as a Go literal", strings.ReplaceAll(fmt.Sprintf("%# x", run), " ", ", "))
		d.add(name+" in decimals", decimals)
		d.add(name+" as a JSON array", strings.ReplaceAll(decimals, " ", ","))
		if i+9 <= len(b) {
			d.add(name+" in base64", base64.StdEncoding.EncodeToString(b[i:i+9]))
			d.add(name+" in base64 for URLs", base64.URLEncoding.EncodeToString(b[i:i+9]))
		}
	}
}

func (d leakDetector) add(form, text string) {
	d[text[:leakPrefix]] = append(d[text[:leakPrefix]], leak{form, text})
}

// find returns the forms of credentials in s, with their places.
func (d leakDetector) find(s string) (found []string) {
	seen := make(map[string]bool)
	for i := range max(0, len(s)-leakPrefix+1) {
		for _, l := range d[s[i:i+leakPrefix]] {
			if !seen[l.form] && strings.HasPrefix(s[i:], l.text) {
				seen[l.form] = true
				found = append(found, fmt.Sprintf("%s: %.120q", l.form, s[max(0, i-40):]))
			}
		}
	}
	return found
}

// The texts of these tests share no run of bytes with any other printed text, and
// differ when quoted.
const (
	opaqueText  = "violet\"walrus\\plays-the-quartz-\u00f6rgan"
	opaqueText2 = "amber\"pelican\\rides-a-jade-tric\u00fdcle"
	otherText   = "some other text, free to show"
)

// TestLeakDetector: no printed form of bytes escapes the detector.
func TestLeakDetector(t *testing.T) {
	detector := newLeakDetector(opaqueText, opaqueText2)
	text := []byte(opaqueText)
	inner := make([]byte, len(text))
	for i := range text {
		inner[i] = text[i] ^ 0x36
	}
	asJSON, err := json.Marshal(opaqueText)
	require.NoError(t, err)
	for name, shown := range map[string]string{
		"text":               opaqueText,
		"second text":        opaqueText2,
		"8 bytes":            opaqueText[7:15],
		"last 8 bytes":       opaqueText[len(opaqueText)-8:],
		"%q":                 fmt.Sprintf("%q", opaqueText),
		"%+q":                fmt.Sprintf("%+q", opaqueText),
		"%x":                 fmt.Sprintf("%x", opaqueText),
		"%X":                 fmt.Sprintf("%X", opaqueText),
		"% x":                fmt.Sprintf("% x", opaqueText),
		"%#v of bytes":       fmt.Sprintf("%#v", text),
		"%v of bytes":        fmt.Sprintf("%v", text),
		"%d of bytes":        fmt.Sprintf("%d", text),
		"JSON string":        string(asJSON),
		"JSON array":         strings.ReplaceAll(fmt.Sprint(text), " ", ","),
		"base64":             base64.StdEncoding.EncodeToString(text),
		"base64 for URLs":    base64.URLEncoding.EncodeToString(text),
		"raw base64":         base64.RawStdEncoding.EncodeToString(text),
		"base64 of a struct": base64.StdEncoding.EncodeToString([]byte("x" + opaqueText)),
		"inner pad":          fmt.Sprintf("%x", inner),
		"inner pad bytes":    fmt.Sprint(inner),
	} {
		assert.NotEmpty(t, detector.find("before "+shown+" after"), name)
	}
	assert.Empty(t, detector.find(otherText+"[REDACTED SIGNING SECRET] 0xc0000140 violet walrus plays quartz"))
}
