package diffhook

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/diffhook/diffhook-go/internal/scrub"
)

// In each period, the first rejected deliveries of each result have a line each, and
// the next are counted. So a flood writes a bounded number of lines and hides no
// rejection of another kind.
const (
	rejectionLogPeriod = time.Minute
	rejectionLogLines  = 10
)

// rejections counts the rejected deliveries of a period. The size is fixed.
type rejections struct {
	// due is the time of the next summary, in nanoseconds since Verifier.since, and 0
	// without a count. Accepted deliveries read due without the lock.
	due atomic.Int64

	mu     sync.Mutex
	end    time.Duration   // end of the period, since Verifier.since
	lines  rejectionCounts // lines written in the period
	counts rejectionCounts // rejections without a line
}

// rejectionCounts holds a number for each row of verdicts, and for unknown errors.
type rejectionCounts [len(verdicts) + 1]uint64

// log logs or counts the verdict on a delivery. An accepted delivery writes only the
// summary of an ended flood.
func (r *rejections) log(ctx context.Context, logger *slog.Logger, a *attempt) {
	err := a.err
	if errors.Is(err, ErrHeld) { // not rejected
		err = nil
	}
	if err == nil {
		if due := r.due.Load(); due == 0 || int64(time.Since(a.v.since)) < due {
			return
		}
	}
	if !logger.Enabled(ctx, slog.LevelWarn) {
		return
	}
	write, ended := r.count(err, time.Since(a.v.since))
	if attrs := ended.attrs(); attrs != nil {
		attrs = append(attrs, a.v.fingerprintAttrs()...)
		logger.LogAttrs(ctx, slog.LevelWarn, "diffhook: more deliveries rejected than logged one by one", attrs...)
	}
	if write {
		logger.LogAttrs(ctx, slog.LevelWarn, "diffhook: delivery rejected", a.logAttrs()...)
	}
}

// count counts a delivery at now. It reports whether to write a line for the delivery,
// and the counts of an ended period.
func (r *rejections) count(err error, now time.Duration) (write bool, ended rejectionCounts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now >= r.end {
		ended, r.counts, r.lines = r.counts, rejectionCounts{}, rejectionCounts{}
		r.due.Store(0)
		r.end = now + rejectionLogPeriod
	}
	if err == nil {
		return false, ended
	}
	row, _ := classify(err)
	if r.lines[row] < rejectionLogLines {
		r.lines[row]++
		return true, ended
	}
	r.counts[row]++
	r.due.Store(int64(r.end))
	return false, ended
}

// attrs returns the counts by result, or nil if all are 0.
func (c *rejectionCounts) attrs() (attrs []slog.Attr) {
	for i, n := range c {
		if n == 0 {
			continue
		}
		name := ResultError
		if i < len(verdicts) {
			name = verdicts[i].result
		}
		attrs = append(attrs, slog.Uint64(string(name), n))
	}
	return attrs
}

// fingerprintAttrs returns the fingerprints of the secrets in force: an operator
// compares them with the secrets of the app.
func (v *verifierState) fingerprintAttrs() []slog.Attr {
	set := v.set.Load()
	if set == nil {
		return nil
	}
	attrs := []slog.Attr{slog.String("current", set.current.Fingerprint())}
	if !set.previous.IsZero() {
		attrs = append(attrs, slog.String("previous", set.previous.Fingerprint()))
	}
	return attrs
}

// logAttrs returns the attributes for an operator to act on a rejection.
func (a *attempt) logAttrs() []slog.Attr {
	attrs := []slog.Attr{
		slog.String("result", string(resultOf(a.err))),
		slog.Any("error", a.err),
		slog.Int("body_bytes", len(a.body)),
	}
	if errors.Is(a.err, ErrSignatureMismatch) {
		attrs = append(attrs, a.v.fingerprintAttrs()...)
	}
	if hint := a.hint(); hint != "" {
		attrs = append(attrs, slog.String("hint", hint))
	}
	if r := a.request; r != nil {
		attrs = append(attrs, slog.String("remote", scrub.Bounded(r.RemoteAddr, 64)))
		attrs = append(attrs, routeAttrs(r)...)
	}
	return attrs
}

// routeAttrs returns the pattern of [http.ServeMux] that matched, or nil without a
// pattern: any part of a path may be a token. So may a part of a pattern, if a
// program registers a path that nobody shall guess: an element is shown if it is a
// wildcard or words.
func routeAttrs(r *http.Request) []slog.Attr {
	host, path, found := strings.Cut(r.Pattern, "/")
	if !found {
		return nil
	}
	elements := strings.Split(path, "/")
	for i, element := range elements {
		if !isRouteElement(element) {
			elements[i] = "…"
		}
	}
	return []slog.Attr{slog.String("route", host+"/"+strings.Join(elements, "/"))}
}

// isRouteElement reports whether an element of a pattern is a wildcard, a few
// characters such as v1, or words, and not a token.
func isRouteElement(s string) bool {
	const longVersion, longWord = 3, 14
	if len(s) <= longVersion || strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		return true
	}
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune("-_.", r) }) {
		if len(word) > longWord || strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsLetter(r) }) {
			return false
		}
	}
	return true
}

// logFailure writes the line of an EventFunc that failed: a warning for the status
// 503, and an error for 500.
func (v *verifierState) logFailure(ctx context.Context, r *http.Request, e *Event, err error, status int) {
	if v.opts.Logger == nil {
		return
	}
	attrs := append([]slog.Attr{slog.Any("error", err), eventAttr(e)}, routeAttrs(r)...)
	level := slog.LevelError
	if status == http.StatusServiceUnavailable {
		level = slog.LevelWarn
	}
	v.opts.Logger.LogAttrs(ctx, level, "diffhook: handling a delivery failed; DiffHook will retry it", attrs...)
}

// logLateness writes the line of an EventFunc that succeeded after ctx had ended: the
// answer comes too late, or reaches nobody.
func (v *verifierState) logLateness(ctx context.Context, r *http.Request, e *Event, took time.Duration) {
	if v.opts.Logger == nil {
		return
	}
	attrs := append([]slog.Attr{slog.Any("error", ctx.Err()), eventAttr(e), slog.Duration("took", took)}, routeAttrs(r)...)
	v.opts.Logger.LogAttrs(ctx, slog.LevelWarn,
		"diffhook: a delivery was handled too late: DiffHook has counted a failure and will retry it; drop the retry by its DedupKey, or acknowledge before the work", attrs...)
}

// eventAttr names an event by its DedupKey.
func eventAttr(e *Event) slog.Attr { return slog.String("event", scrub.Bounded(e.DedupKey(), 100)) }

// note is a log line to write after the release of v.mu.
type note struct {
	level slog.Level
	text  string
	attrs []slog.Attr
}

// note keeps a line for unlock to write. The caller holds v.mu.
func (v *verifierState) note(level slog.Level, text string, attrs ...slog.Attr) {
	v.notes = append(v.notes, note{level, text, attrs})
}

// unlock releases v.mu and then writes the notes: a log handler may be slow, and may
// call the verifier. A panic of the handler reaches the caller of the verifier's
// method.
func (v *verifierState) unlock() {
	for _, n := range v.release() {
		v.write(n)
	}
}

// unlockAlone is unlock for the verifier's own goroutines. A panic of the handler
// would end the process: unlockAlone recovers it, and the line is lost.
func (v *verifierState) unlockAlone() {
	for _, n := range v.release() {
		func() {
			defer func() { _ = recover() }()
			v.write(n)
		}()
	}
}

// release releases v.mu and returns the notes.
func (v *verifierState) release() []note {
	notes := v.notes
	v.notes = nil
	v.mu.Unlock()
	return notes
}

func (v *verifierState) write(n note) {
	v.opts.Logger.LogAttrs(context.Background(), n.level, n.text, n.attrs...)
}
