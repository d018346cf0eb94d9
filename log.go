package diffhook

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// In each period, the first refused deliveries are logged one by one and the
// rest are counted, so that a flood writes a bounded number of lines.
const (
	refusalLogPeriod = time.Minute
	refusalLogLines  = 10
)

// refusals is what is known of the refused deliveries of a period. Its size is
// fixed.
type refusals struct {
	// due is when what has been counted is to be summarised, in nanoseconds
	// since Verifier.since; 0: nothing has been counted. It lets accepted
	// deliveries pass without the lock.
	due atomic.Int64

	mu     sync.Mutex
	end    time.Duration // of the period, since Verifier.since
	lines  int           // written in the period
	counts refusalCounts
}

type refusalCounts [len(verdicts) + 1]uint64

// log writes, or counts, the verdict on one delivery. An accepted one writes
// nothing but the summary of a flood that has ended before it.
func (r *refusals) log(ctx context.Context, logger *slog.Logger, a *attempt) {
	if a.err == nil {
		if due := r.due.Load(); due == 0 || int64(time.Since(a.v.since)) < due {
			return
		}
	}
	if !logger.Enabled(ctx, slog.LevelWarn) {
		return
	}
	write, ended := r.count(a.err, time.Since(a.v.since))
	if attrs := ended.attrs(); attrs != nil {
		logger.LogAttrs(ctx, slog.LevelWarn, "diffhook: more deliveries refused than logged one by one", attrs...)
	}
	if write {
		logger.LogAttrs(ctx, slog.LevelWarn, "diffhook: delivery refused", a.logAttrs()...)
	}
}

// count counts one delivery at now. It reports whether to write a line for it,
// and what was counted in a period that has ended.
func (r *refusals) count(err error, now time.Duration) (write bool, ended refusalCounts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now >= r.end {
		ended, r.counts = r.counts, refusalCounts{}
		r.due.Store(0)
		r.lines, r.end = 0, now+refusalLogPeriod
	}
	switch {
	case err == nil:
	case r.lines < refusalLogLines:
		r.lines++
		write = true
	default:
		row, _ := classify(err)
		r.counts[row]++
		r.due.Store(int64(r.end))
	}
	return write, ended
}

// attrs returns the counts by result, or nil where all are 0.
func (c *refusalCounts) attrs() (attrs []slog.Attr) {
	for i, n := range c {
		if n == 0 {
			continue
		}
		name := resultError
		if i < len(verdicts) {
			name = verdicts[i].result
		}
		attrs = append(attrs, slog.Uint64(name, n))
	}
	return attrs
}

// logAttrs is what an operator needs to act on a refusal.
func (a *attempt) logAttrs() []slog.Attr {
	attrs := []slog.Attr{
		slog.String("result", resultOf(a.err)),
		slog.Any("error", a.err),
		slog.Int("body_bytes", len(a.body)),
	}
	if set := a.v.set.Load(); a.err == ErrSignatureMismatch && set != nil { // to compare with those of the secrets that should be
		attrs = append(attrs, slog.String("current", set.current.Fingerprint()))
		if !set.previous.IsZero() {
			attrs = append(attrs, slog.String("previous", set.previous.Fingerprint()))
		}
	}
	if hint := a.hint(); hint != "" {
		attrs = append(attrs, slog.String("hint", hint))
	}
	if r := a.request; r != nil {
		attrs = append(attrs, slog.String("remote", bounded(r.RemoteAddr, 64)), slog.String("route", routeOf(r)))
	}
	return attrs
}

// hint says why a well-formed signature may have matched nothing. It is for
// the log alone: the sender of a forgery learns nothing from it, and nothing
// is accepted because of it.
func (a *attempt) hint() string {
	if a.err != ErrSignatureMismatch {
		return ""
	}
	set := a.v.set.Load()
	if len(a.body) == 0 {
		return "the body is empty: was it read before it was verified?"
	}
	if hasHeader(a.header, "Content-Encoding") {
		return "Content-Encoding is set: the signature is over the body before anything decodes or encodes it"
	}
	if !set.previous.IsZero() && !set.acceptsPrevious() && set.previous.key().matches(a.body, &a.tag) == 1 {
		return "it is signed with the previous secret, whose rotation window is over"
	}
	if trimmed, ok := bytes.CutSuffix(a.body, []byte("\n")); ok &&
		set.match(trimmed, &a.tag)|set.match(bytes.TrimSuffix(trimmed, []byte("\r")), &a.tag) != 0 {
		return "it would match without the newline at the end of the body: something adds one"
	}
	return ""
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

// routeOf names where a request arrived: by the pattern that matched, or by
// the beginning of the path. Not by more of it, since the paths of webhooks
// are sometimes used as tokens.
func routeOf(r *http.Request) string {
	if r.Pattern != "" {
		return r.Pattern
	}
	if r.URL == nil {
		return ""
	}
	const longest = 24
	path := strings.TrimPrefix(r.URL.Path, "/")
	first, rest, more := strings.Cut(path, "/")
	if len(first) > longest {
		return "/" + bounded(first, longest)
	}
	if more && rest != "" {
		return "/" + bounded(first, longest) + "/…"
	}
	return "/" + bounded(first, longest)
}
