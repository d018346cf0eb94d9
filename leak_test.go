package diffhook_test

import (
	"crypto/sha256"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// leakDetector finds parts of credentials in a text, by their first bytes.
type leakDetector map[string][]leak

type leak struct{ form, text string }

const leakPrefix = 4

// newLeakDetector returns a detector of any 8 bytes in a row (9 in base64) of
// the given texts, and of the pads and states of an HMAC with them as its key,
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

// find returns the forms in which a credential shows in s, with the place.
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

// The texts of these tests share no run of bytes with anything else that is
// printed, and look different when quoted.
const (
	opaqueText  = "violet\"walrus\\plays-the-quartz-\u00f6rgan"
	opaqueText2 = "amber\"pelican\\rides-a-jade-tric\u00fdcle"
	otherText   = "some other text that may well be shown"
)

// TestLeakDetector shows that no form in which bytes are printed escapes.
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
