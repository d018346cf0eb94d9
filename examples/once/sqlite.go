package main

import "net/url"

// sqliteDSN names a database in a file. A transaction takes the one lock of the file
// at its beginning, and waits for it: else it would fail at once if it reads first.
func sqliteDSN(path string) string {
	return "file:" + path + "?" + url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(wal)"},
		"_txlock": {"immediate"},
	}.Encode()
}
