package main

import (
	"context"
	"errors"
	"syscall"

	"github.com/diffhook/diffhook-go/rotation"
)

// signalError is the cause of a context after a signal.
type signalError struct{ signal syscall.Signal }

func (e signalError) Error() string { return "interrupted" }

// interruptedError is the error of a command after a signal.
type interruptedError struct {
	signalError
	during string
}

func (e *interruptedError) Error() string { return "interrupted " + e.during }
func (e *interruptedError) Unwrap() error { return e.signalError }

// duringStep maps the step of a signal to a text.
var duringStep = map[rotation.StepName]string{
	"":                   "at the beginning",
	rotation.StepCheck:   "while the tool compared the document with DiffHook and the servers",
	rotation.StepRotate:  "while the tool asked for the new secret",
	rotation.StepLearn:   "while the tool waited for the servers to get the new secret",
	rotation.StepConfirm: "while the tool compared the new secret with DiffHook",
	rotation.StepDrain:   "while the tool waited until the old credential was out of use",
	rotation.StepReject:  "while the tool waited for the servers to reject the old secret",
	rotation.StepRevoke:  "while the tool asked to revoke the old secret",
	rotation.StepCreate:  "while the tool asked for the new key",
	rotation.StepTry:     "while the tool tried the new key",
	rotation.StepDelete:  "while the tool asked to delete a key",
	rotation.StepDone:    "after the end of the rotation",
}

// interrupted returns an interruptedError if a signal caused err. Otherwise, it returns
// err.
func interrupted(ctx context.Context, err error, during string) error {
	var cause signalError
	if err == nil || !errors.As(context.Cause(ctx), &cause) {
		return err
	}
	if !errors.Is(err, context.Canceled) && !errors.Is(err, errNoAnswer) {
		return err
	}
	return &interruptedError{cause, during}
}
