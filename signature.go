package diffhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/diffhook/diffhook-go/internal/scrub"
)

// The headers with the signature of a delivery, from DiffHook's page "Verifying
// Signatures". The value is "sha256=" and 64 lower-case hex digits: the HMAC-SHA256 of
// the body, with the text of the secret as the key. Both generations sign in the same
// way.
const (
	SignatureHeader     = "X-DiffHook-Signature" // generation 1
	SignatureHeaderGen2 = "X-Signature"          // generation 2
)

// signaturePrefix names the algorithm. The algorithm is fixed: nothing in a request
// chooses another.
const signaturePrefix = "sha256="

// tag is the 32 bytes of an HMAC-SHA256, decoded.
type tag [sha256.Size]byte

// parse decodes a signature: "sha256=" and 64 digits of [0-9a-f]. Upper-case digits
// are rejected, so that a tag has a single spelling. Spaces and tabs around a
// signature are not part of the header's value (RFC 9110, section 5.5): net/http
// removes them over HTTP/1.1 and keeps them over HTTP/2. The sender knows the text,
// so parsing need not take constant time.
func (t *tag) parse(s string) error {
	if s = trimBlanks(s); s == "" {
		return ErrNoSignature
	}
	if len(s) != len(signaturePrefix)+2*len(t) || s[:len(signaturePrefix)] != signaturePrefix {
		return ErrMalformedSignature
	}
	digits := s[len(signaturePrefix):]
	var seen byte
	for i := range t {
		high, low := hexValue[digits[2*i]], hexValue[digits[2*i+1]]
		seen |= high | low
		t[i] = high<<4 | low
	}
	if seen > 0x0f {
		return ErrMalformedSignature
	}
	return nil
}

// hexValue maps each lower-case hex digit to its value, and every other byte to 0xff.
var hexValue = func() (values [256]byte) {
	for i := range values {
		values[i] = 0xff
	}
	for value, digit := range []byte("0123456789abcdef") {
		values[digit] = byte(value)
	}
	return values
}()

// trimBlanks returns a header's value without spaces and tabs at the ends.
func trimBlanks(s string) string { return strings.Trim(s, " \t") }

// signatureFrom returns the signature in a request's header, and whether it is in the
// header of generation 1, which comes first. Blank values count as absent. Names match
// in any case: the map of a Lambda event, say, need not have canonical keys. Several
// values under one name are malformed: a proxy in front may have read any of them.
func signatureFrom(h http.Header) (signature string, isGen1 bool, err error) {
	var gen1, gen2 string
	var n1, n2 int
	for name, values := range h {
		switch {
		case len(name) == len(SignatureHeader) && strings.EqualFold(name, SignatureHeader):
			gen1, n1 = addValues(gen1, n1, values)
		case len(name) == len(SignatureHeaderGen2) && strings.EqualFold(name, SignatureHeaderGen2):
			gen2, n2 = addValues(gen2, n2, values)
		}
	}
	if n1 > 1 || n1 == 0 && n2 > 1 {
		return "", false, ErrMalformedSignature
	}
	if n1 == 0 {
		return gen2, false, nil // empty without a signature: tag.parse returns ErrNoSignature
	}
	return gen1, true, nil
}

// addValues counts the values that are not blank, and returns the last value and the
// new count. n values were counted before.
func addValues(last string, n int, values []string) (string, int) {
	for _, value := range values {
		if trimBlanks(value) != "" {
			last, n = value, n+1
		}
	}
	return last, n
}

// hintBytes bounds the bytes to hash and transform for a hint: all forms of an ordinary
// body, and the first few of the longest body.
const hintBytes = 4 * DefaultMaxBodyBytes

// hint returns a likely reason for a signature mismatch, or "". The hint is for the log
// alone: no sender sees it, and it accepts no delivery.
func (a *attempt) hint() string {
	if a.err != ErrSignatureMismatch {
		return ""
	}
	set := a.v.set.Load()
	if len(a.body) == 0 {
		return "the body is empty: did other code read it before the verifier?"
	}
	if hasHeader(a.header, "Content-Encoding") {
		return "Content-Encoding is set: the signature is over the body before any decoding or encoding"
	}
	if !set.previous.IsZero() && !set.acceptsPrevious() && set.previous.key().signed(a.body, &a.tag) {
		return "it is signed with the previous secret, whose rotation window is over"
	}
	h := &hinter{set: set, body: a.body, tag: a.tag, left: hintBytes}
	if hint := h.bodyForm(); hint != "" {
		return hint
	}
	return h.secretForm()
}

// hinter looks for another form of the body, or of a secret in force, to match the
// signature.
type hinter struct {
	set  *secretSet
	body []byte
	tag  tag
	left int // bytes that may still be hashed or transformed
}

// spend reports whether n more bytes may be hashed or transformed.
func (h *hinter) spend(n int) bool {
	h.left -= n
	return h.left >= 0
}

// bodyForms are the usual changes of a body between DiffHook and the verifier. Each
// function undoes a change. It returns nil if the body shows no such change.
var bodyForms = []struct {
	hint   string
	signed func(body []byte) []byte
}{
	{"without the newline at the end of the body: something adds a newline", func(b []byte) []byte { return cutSuffix(b, "\n") }},
	{"without the newline at the end of the body: something adds CR LF", func(b []byte) []byte { return cutSuffix(b, "\r\n") }},
	{"with a newline at the end of the body: something trims the body", func(b []byte) []byte { return append(bytes.Clone(b), '\n') }},
	{"without the byte order mark at the beginning of the body: something adds the mark", withoutByteOrderMark},
	{"if the body is base64-decoded: decode it before it is verified, as for a Lambda event with isBase64Encoded", decodedBody},
	{"with the text in the quotes of the body: something encodes the body as a string of JSON", unquotedBody},
	{"with LF for each CR LF in the body: something changes line ends", func(b []byte) []byte { return replaced(b, "\r\n", "\n") }},
	{"without the white space in the JSON of the body: something parses and rewrites the body", compacted},
	{`with &, < and > for \u0026, \u003c and \u003e in the body: something parses and rewrites the body`, unescaped},
}

func (h *hinter) matches(signed []byte) bool {
	match, _ := h.set.match(signed, &h.tag)
	return match != 0
}

func (h *hinter) bodyForm() string {
	for _, form := range bodyForms {
		if !h.spend(len(h.body)) {
			return ""
		}
		signed := form.signed(h.body)
		if signed != nil && h.spend(2*len(signed)) && h.matches(signed) {
			return "it would match " + form.hint
		}
	}
	return ""
}

func cutSuffix(body []byte, end string) []byte {
	if rest, ok := bytes.CutSuffix(body, []byte(end)); ok {
		return rest
	}
	return nil
}

func withoutByteOrderMark(body []byte) []byte {
	if rest, ok := bytes.CutPrefix(body, []byte("\uFEFF")); ok {
		return rest
	}
	return nil
}

func decodedBody(body []byte) []byte {
	if body[0] == '{' {
		return nil
	}
	return []byte(decodeBase64(string(body)))
}

func unquotedBody(body []byte) []byte {
	var text string
	if body[0] != '"' || json.Unmarshal(body, &text) != nil {
		return nil
	}
	return []byte(text)
}

func replaced(body []byte, old, with string) []byte {
	if !bytes.Contains(body, []byte(old)) {
		return nil
	}
	return bytes.ReplaceAll(body, []byte(old), []byte(with))
}

func compacted(body []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, body) != nil || out.Len() == len(body) {
		return nil
	}
	return out.Bytes()
}

func unescaped(body []byte) []byte {
	if !bytes.Contains(body, []byte(`\u00`)) {
		return nil
	}
	return []byte(strings.NewReplacer(`\u0026`, "&", `\u003c`, "<", `\u003e`, ">").Replace(string(body)))
}

// configuredForms are the usual changes of a secret between the app and the source.
// Each function undoes a change. It returns "" if the text shows no such change. A
// result shorter than a secret is not tried.
var configuredForms = []struct {
	form, remedy string
	secret       func(text string) string
}{
	{"without the quotes", "remove the quotes", func(s string) string { inner, _ := unquote(s); return inner }},
	{"without the punctuation around", "remove it", withoutPunctuation},
	{`without the escapes at the end`, `remove \n and the like`, withoutEscapes},
	{"without the prefix", "remove it", withoutPrefix},
	{"base64-decoded", "configure the decoded text", decodeBase64},
	{"base64-decoded and trimmed", "configure the decoded text without its newline", func(s string) string { return strings.TrimSpace(decodeBase64(s)) }},
	{"without the prefix and base64-decoded", "configure the decoded text", func(s string) string { return decodeBase64(withoutPrefix(s)) }},
	{"hex-decoded", "configure the decoded text", decodeHex},
	{"base64-encoded", "configure it as the app shows it", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
	{"hex-encoded", "configure it as the app shows it", func(s string) string { return hex.EncodeToString([]byte(s)) }},
	{"URL-decoded", "configure the decoded text", urlDecoded},
	{"in lower case", "configure it as the app shows it", strings.ToLower},
	{"in upper case", "configure it as the app shows it", strings.ToUpper},
}

func (h *hinter) secretForm() string {
	type named struct{ name, text string }
	var secrets []named
	if h.set.rejected == 0 {
		secrets = append(secrets, named{"current", h.set.current.Reveal()})
	}
	if h.set.acceptsPrevious() {
		secrets = append(secrets, named{"previous", h.set.previous.Reveal()})
	}
	for _, form := range configuredForms {
		for _, secret := range secrets {
			key := form.secret(secret.text)
			if len(key) < minSecretBytes || key == secret.text {
				continue
			}
			if !h.spend(len(h.body)) {
				return ""
			}
			if h.signedWith(key) {
				return "it would match with the " + secret.name + " secret " + form.form + ": " + form.remedy
			}
		}
	}
	return ""
}

func (h *hinter) signedWith(key string) bool {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(h.body)
	return hmac.Equal(mac.Sum(nil), h.tag[:])
}

// withoutPunctuation returns s without a quote, a comma, the % of a shell and the like at
// the ends: without all characters but ASCII letters and digits, and those of base64.
func withoutPunctuation(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return !scrub.IsKeyRune(r) && !strings.ContainsRune("+/=", r) })
}

// withoutEscapes returns s without \n, \r and \t, written as two characters, at the
// end.
func withoutEscapes(s string) string {
	for {
		rest := strings.TrimSpace(s)
		for _, escape := range [...]string{`\n`, `\r`, `\t`} {
			rest = strings.TrimSuffix(rest, escape)
		}
		if rest == s {
			return s
		}
		s = rest
	}
}

func withoutPrefix(s string) string {
	for _, prefix := range [...]string{"whsec_", "base64:", "hex:"} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			return rest
		}
	}
	return ""
}

// decodeBase64 decodes every usual alphabet, with and without padding.
func decodeBase64(s string) string {
	s = strings.NewReplacer("-", "+", "_", "/", "\r", "", "\n", "").Replace(s)
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return ""
	}
	return string(decoded)
}

func decodeHex(s string) string {
	decoded, err := hex.DecodeString(s)
	if err != nil {
		return ""
	}
	return string(decoded)
}

func urlDecoded(s string) string {
	decoded, err := url.PathUnescape(s)
	if err != nil {
		return ""
	}
	return decoded
}

// hasHeader finds a header in any case, as signatureFrom does.
func hasHeader(h http.Header, name string) bool {
	for key := range h {
		if strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}
