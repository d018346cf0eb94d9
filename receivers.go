package diffhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// teach waits until every receiver has the new secret.
func (r *secretRotation) teach(ctx context.Context) error {
	var refreshed time.Time
	err := r.poll(ctx, "learning", r.opts.PollInterval, func() (string, error) {
		behind := r.behind(r.statuses(ctx))
		if len(behind) > 0 && time.Since(refreshed) >= refreshEvery {
			refreshed = time.Now()
			r.each(ctx, behind.names(), func(ctx context.Context, _ string, receiver Receiver) error { return receiver.Refresh(ctx) })
			behind = r.behind(r.statuses(ctx))
		}
		if len(behind) == 0 || r.toldNow(ctx) {
			return "", nil
		}
		return behind.String(), nil
	})
	if err == nil && !r.told && len(r.names) > 0 {
		r.report(ctx, "learned", "every receiver has %s as current", r.platform.Current.Fingerprint())
	}
	return err
}

// drain waits until nothing needs the old secret.
func (r *secretRotation) drain(ctx context.Context) error {
	if r.stage == stageRevoked {
		return nil
	}
	horizon := r.horizon()
	var looked time.Time // at the platform, where somebody may have revoked it
	var statuses map[string]RotationStatus
	err := r.poll(ctx, "draining", r.opts.PollInterval, func() (string, error) {
		if r.toldNow(ctx) {
			return "", nil
		}
		if time.Since(looked) >= max(platformPoll, r.opts.RetryHorizon/60) {
			looked = time.Now()
			if now, err := r.service.load(ctx); err == nil && now.NoPrevious && now.Current.Equal(r.platform.Current) {
				r.stage = stageRevoked
				return "", nil
			}
		}
		var errs map[string]error
		statuses, errs = r.statuses(ctx)
		left := r.using(statuses, errs)
		if wait := time.Until(horizon); wait > 0 && len(left) == 0 {
			return "deliveries signed with it may be retried until " + horizon.UTC().Format(time.RFC3339), nil
		}
		if len(r.names) == 0 {
			return "no receiver is named, so RevokeNow decides", nil
		}
		return left.String(), nil
	})
	if err == nil && r.stage == stageRevoked {
		r.report(ctx, "drained", "not waited for: %s has been revoked at the platform by somebody else", r.old)
	} else if err == nil && !r.told {
		merged := mergeSecret(r.old, statuses)
		r.report(ctx, "drained", "%s has not been used for %v; it verified %d deliveries", r.old, merged.Unused.Truncate(time.Millisecond), merged.Uses)
	}
	return err
}

// horizon returns when the last delivery signed before the rotation has been
// retried for the last time. Where an earlier run rotated, the platform's time
// of it is believed; for the short horizon of generation 1, which a clock that
// is wrong can hide, this run waits for all of it again.
func (r *secretRotation) horizon() time.Time {
	if !r.rotated.IsZero() {
		return r.rotated.Add(r.opts.RetryHorizon)
	}
	if r.platform.rotatedAt.IsZero() {
		return r.began.Add(r.opts.RetryHorizon)
	}
	horizon := r.platform.rotatedAt.Add(r.opts.RetryHorizon)
	if again := r.began.Add(min(r.opts.RetryHorizon, horizonGen1)); again.After(horizon) {
		return again
	}
	return horizon
}

// toldNow asks RevokeNow, until it has said true.
func (r *secretRotation) toldNow(ctx context.Context) bool {
	if !r.told && r.opts.RevokeNow != nil && r.opts.RevokeNow() {
		r.told = true
		r.report(ctx, "drained", "not waited for: RevokeNow says so")
	}
	return r.told
}

// refuse has every receiver refuse the old secret, and sees that it does.
func (r *secretRotation) refuse(ctx context.Context) error {
	if len(r.names) == 0 {
		return nil
	}
	deadline := time.Now().Add(refuseTimeout)
	names, left := r.names, leftReceivers(nil)
	err := r.poll(ctx, "refusing", min(r.opts.PollInterval, defaultReceiverPoll), func() (string, error) {
		errs := r.each(ctx, names, func(ctx context.Context, _ string, receiver Receiver) error { return receiver.Revoke(ctx, r.old) })
		left = r.accepting(r.statusesOf(ctx, names))
		for name, err := range errs {
			if left[name] == "" {
				left[name] = "does not obey (" + r.show(err) + ")"
			}
		}
		for name := range left {
			if !slices.Contains(names, name) {
				delete(left, name) // it has obeyed already
			}
		}
		names = left.names()
		if time.Now().After(deadline) {
			return "", nil
		}
		return left.String(), nil
	})
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("diffhook: receivers that may still accept %s: %s; run it again when they answer", r.old, left)
	}
	if err == nil {
		r.report(ctx, "refused", "every receiver refuses %s", r.old)
	}
	return err
}

// statuses asks all receivers.
func (r *secretRotation) statuses(ctx context.Context) (map[string]RotationStatus, map[string]error) {
	return r.statusesOf(ctx, r.names)
}

func (r *secretRotation) statusesOf(ctx context.Context, names []string) (map[string]RotationStatus, map[string]error) {
	type answer struct {
		name   string
		status RotationStatus
	}
	answers := make(chan answer, len(names))
	errs := r.each(ctx, names, func(ctx context.Context, name string, receiver Receiver) error {
		status, err := receiver.Status(ctx)
		if err == nil {
			answers <- answer{name, status}
		}
		return err
	})
	statuses := make(map[string]RotationStatus)
	for range len(answers) {
		a := <-answers
		statuses[a.name] = a.status
	}
	return statuses, errs
}

// each calls all receivers of the given names at once, and returns the errors of
// those that failed or did not answer in time.
func (r *secretRotation) each(ctx context.Context, names []string, do func(context.Context, string, Receiver) error) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, receiverTimeout)
	defer cancel()
	type result struct {
		name string
		err  error
	}
	results := make(chan result, len(names))
	errs := make(map[string]error)
	for _, name := range names {
		errs[name] = context.DeadlineExceeded // until it has answered
		go func() {
			results <- result{name, guarded(func() error { return do(ctx, name, r.opts.Receivers[name]) })}
		}()
	}
	for range names {
		select {
		case done := <-results:
			delete(errs, done.name)
			if done.err != nil {
				errs[done.name] = done.err
			}
		case <-ctx.Done(): // a receiver may not listen to it
			return errs
		}
	}
	return errs
}

// guarded calls a customer's function, on a goroutine of ours: it must not end
// the process.
func guarded(do func() error) (err error) {
	err = errors.New("the receiver ended its goroutine")
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the receiver panicked: %v", p)
		}
	}()
	return do()
}

// leftReceivers are those that are waited for, by name, and why.
type leftReceivers map[string]string

func (l leftReceivers) names() []string {
	names := make([]string, 0, len(l))
	for name := range l {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// String lists them, the first few if they are many.
func (l leftReceivers) String() string {
	const most = 5
	var texts []string
	for _, name := range l.names() {
		if len(texts) == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(l)-most))
			break
		}
		texts = append(texts, name+" "+l[name])
	}
	return strings.Join(texts, "; ")
}

// left returns the receivers that why says something of, and those that do not
// answer.
func (r *secretRotation) left(statuses map[string]RotationStatus, errs map[string]error, why func(RotationStatus) string) leftReceivers {
	left := make(leftReceivers)
	for _, name := range r.names {
		if status, ok := statuses[name]; ok && errs[name] == nil {
			if text := why(status); text != "" {
				left[name] = text
			}
			continue
		}
		left[name] = "does not answer"
		if err := errs[name]; err != nil {
			left[name] += " (" + r.show(err) + ")"
		}
	}
	return left
}

// show returns the text of a receiver's error, without the secrets.
func (r *secretRotation) show(err error) string {
	var texts []string
	for _, s := range r.known() {
		texts = append(texts, s.Reveal())
	}
	return scrub(err.Error(), 200, texts...)
}

// behind returns the receivers that do not have the new secret as current.
func (r *secretRotation) behind(statuses map[string]RotationStatus, errs map[string]error) leftReceivers {
	return r.left(statuses, errs, func(s RotationStatus) string {
		if s.accepts(r.platform.Current.Fingerprint(), s.Current) {
			return ""
		}
		return fmt.Sprintf("has %q as current", bounded(s.Current.Fingerprint, 20))
	})
}

// using returns the receivers that are behind, or have not gone without the old
// secret for long enough.
func (r *secretRotation) using(statuses map[string]RotationStatus, errs map[string]error) leftReceivers {
	left := r.behind(statuses, errs)
	for name, status := range statuses {
		merged := mergeSecret(r.old, map[string]RotationStatus{name: status})
		if left[name] != "" || merged.Unused >= r.opts.Quiet {
			continue
		}
		left[name] = "began to count at " + status.Since.Format(time.RFC3339)
		if merged.LastUsed.After(status.Since) {
			left[name] = "used it at " + merged.LastUsed.Format(time.RFC3339)
		}
		left[name] += fmt.Sprintf(", which must be %v ago", r.opts.Quiet)
	}
	return left
}

// accepting returns the receivers that accept the old secret, in either role.
func (r *secretRotation) accepting(statuses map[string]RotationStatus, errs map[string]error) leftReceivers {
	return r.left(statuses, errs, func(s RotationStatus) string {
		if s.accepts(r.old, s.Current) || s.accepts(r.old, s.Previous) {
			return "accepts it"
		}
		return ""
	})
}
