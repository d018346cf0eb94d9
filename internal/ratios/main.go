// Ratios compares the library with code written by hand. It reads the output of
// several runs of the benchmarks and writes two forms of the same ratios: a picture,
// and the table between the marks of a page.
//
//	go run ./internal/ratios bench.txt picture.svg page.md
//
// The same output always makes the same picture. docs/performance/run measures,
// and calls this program.
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: ratios BENCH SVG PAGE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "ratios:", err)
		os.Exit(1)
	}
}

func run(bench, picture, page string) error {
	output, err := os.ReadFile(bench)
	if err != nil {
		return err
	}
	m, err := parse(string(output))
	if err != nil {
		return fmt.Errorf("read %s: %w", bench, err)
	}
	rows, err := compare(m)
	if err != nil {
		return fmt.Errorf("read %s: %w", bench, err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	updated, err := replaceTable(string(text), table(m, rows))
	if err != nil {
		return fmt.Errorf("update %s: %w", page, err)
	}
	if err := os.WriteFile(picture, []byte(draw(m, rows)), 0o644); err != nil {
		return err
	}
	return os.WriteFile(page, []byte(updated), 0o644)
}

// Marks of a page around the table.
const (
	tableBegins = "<!-- The table is written by docs/performance/run. -->\n"
	tableEnds   = "<!-- end of the table -->\n"
)

// replaceTable returns page with the given table between the marks.
func replaceTable(page, table string) (string, error) {
	before, rest, found := strings.Cut(page, tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !found || !ends {
		return "", fmt.Errorf("the page has no place for the table; write %q and %q around the table", tableBegins, tableEnds)
	}
	return before + tableBegins + "\n" + table + "\n" + tableEnds + after, nil
}
