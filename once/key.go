package once

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
)

// Key names an event of a consumer in a [Store]. A key shows nothing of the event.
type Key [sha256.Size]byte

// String returns k in hex.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// KeyOf returns the key of e for consumer: the SHA-256 of the consumer's name, the
// type of the event and the DedupKey, each with the length in front. Without a DedupKey,
// the body names the event: two such events share a key only if their bodies are equal.
// Assumed: a retry repeats the body of the first attempt.
func KeyOf(consumer string, e *diffhook.Event) Key {
	dedup := e.DedupKey()
	buf := make([]byte, 0, 256)
	buf = appendPart(buf, consumer)
	buf = appendPart(buf, e.Type)
	buf = appendPart(buf, dedup)
	if dedup != "" {
		return sha256.Sum256(buf)
	}
	body := []byte(e.Raw)
	if len(body) == 0 { // not from ParseEvent
		timeless := *e
		timeless.TriggeredAt = time.Time{} // JSON has no year 10000
		body, _ = json.Marshal(&timeless)  // cannot fail
		body = e.TriggeredAt.UTC().AppendFormat(body, time.RFC3339Nano)
	}
	return sha256.Sum256(append(buf, body...))
}

// appendPart appends s with the length in front, so that no two lists of parts have the
// same bytes.
func appendPart(buf []byte, s string) []byte {
	buf = binary.BigEndian.AppendUint64(buf, uint64(len(s)))
	return append(buf, s...)
}
