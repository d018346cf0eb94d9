package diffhook

import (
	"context"
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
	var statuses map[string]RotationStatus
	err := r.poll(ctx, "draining", r.opts.PollInterval, func() (string, error) {
		if r.toldNow(ctx) {
			return "", nil
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
	if err == nil && !r.told {
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
	var left leftReceivers
	err := r.poll(ctx, "refusing", r.opts.PollInterval, func() (string, error) {
		r.each(ctx, r.names, func(ctx context.Context, _ string, receiver Receiver) error { return receiver.Revoke(ctx, r.old) })
		left = r.accepting(r.statuses(ctx))
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
	type answer struct {
		name   string
		status RotationStatus
	}
	answers := make(chan answer, len(r.names))
	errs := r.each(ctx, r.names, func(ctx context.Context, name string, receiver Receiver) error {
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
		go func() { results <- result{name, do(ctx, name, r.opts.Receivers[name])} }()
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
			left[name] += " (" + scrub(err.Error(), 200, r.oldSecret.Reveal(), r.platform.Current.Reveal()) + ")"
		}
	}
	return left
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
