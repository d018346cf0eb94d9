package rotation

import "errors"

// Errors of rotations. Test for them with [errors.Is].
var (
	// ErrConflict is returned by [Store].Swap if the version is not the newest,
	// and by [NewSecret] and [NewKey] if there is a document.
	ErrConflict = errors.New("diffhook: the document has changed")

	// ErrBusy is returned if another run, or an unfinished rotation of another
	// credential, holds the document. The returning run changed nothing, unless the
	// other run took over from it.
	ErrBusy = errors.New("diffhook: another rotation is running")

	// ErrNotInForce is returned for a credential that the document does not name.
	ErrNotInForce = errors.New("diffhook: not in force")

	// ErrMismatch is returned if the document, DiffHook and the receivers do not
	// fit together. The rotation stops.
	ErrMismatch = errors.New("diffhook: mismatch")

	// ErrInvalidDocument is returned if the content of a [Store] is no document,
	// is of the other kind, or is of a newer format.
	ErrInvalidDocument = errors.New("diffhook: invalid document")
)
