package main

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const docs = "../../docs/"

// The committed picture and table are those of the committed output.
func TestPictureAndTableAreOfTheOutput(t *testing.T) {
	picture := filepath.Join(t.TempDir(), "ratios.svg")
	page := filepath.Join(t.TempDir(), "performance.md")
	require.NoError(t, os.WriteFile(page, read(t, docs+"performance.md"), 0o600))

	require.NoError(t, run(docs+"performance/bench.txt", picture, page))
	assert.Empty(t, cmp.Diff(string(read(t, docs+"performance/ratios.svg")), string(read(t, picture))), "run docs/performance/run")
	assert.Empty(t, cmp.Diff(string(read(t, docs+"performance.md")), string(read(t, page))), "run docs/performance/run")
}

func read(t *testing.T, name string) []byte {
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	return content
}

// output returns two rounds of every benchmark. By hand, each takes 100 ns, then 1,000.
func output() string {
	var b strings.Builder
	b.WriteString("cpu: CPU <1> & \"2\"\n")
	for _, round := range []string{"100", "1000"} {
		names := map[string]string{}
		for i, c := range comparisons {
			names[c.byHand] = round
			names[c.ours] = map[string]string{"100": "50", "1000": "250"}[round]
			if i == 4 {
				names[c.ours] = round + "0" // ten times as long
			}
			if c.floor != "" {
				names[c.floor] = map[string]string{"100": "10", "1000": "100"}[round]
			}
		}
		for name, nanos := range names {
			b.WriteString("Benchmark" + name + " \t  4000\t " + nanos + ".0 ns/op\t 512.00 MB/s\t 64 B/op\t 3 allocs/op\n")
		}
	}
	return b.String()
}

func TestRatiosAreMediansOfRounds(t *testing.T) {
	m, err := parse(output() + "PASS\nok  \tgithub.com/diffhook/diffhook-go\t1.0s\n")
	require.NoError(t, err)
	rows, err := compare(m)
	require.NoError(t, err)
	require.Len(t, rows, len(comparisons))
	want := row{label: "Verify, 512 B", ratio: 0.375, floor: 0.1, ours: 150, byHand: 550, allocs: [2]float64{3, 3}}
	assert.Empty(t, cmp.Diff(want, rows[0], cmp.AllowUnexported(row{})))
	assert.Equal(t, 2, m.runs())
	assert.Equal(t, 2.0, median([]float64{3, 1, 2}))
}

func TestPictureIsReadable(t *testing.T) {
	m, err := parse(output())
	require.NoError(t, err)
	rows, err := compare(m)
	require.NoError(t, err)
	picture := draw(m, rows)
	assert.Equal(t, picture, draw(m, rows), "the same output makes the same picture")
	assert.Contains(t, picture, "prefers-color-scheme: dark")

	var found struct {
		Role  string `xml:"role,attr"`
		Title string `xml:"title"`
		Desc  string `xml:"desc"`
	}
	require.NoError(t, xml.Unmarshal([]byte(picture), &found))
	assert.Equal(t, "img", found.Role)
	assert.NotEmpty(t, found.Title)
	for _, r := range rows {
		assert.Contains(t, found.Desc, r.label)
	}
	decoder := xml.NewDecoder(strings.NewReader(picture))
	for err == nil {
		_, err = decoder.Token()
	}
	assert.ErrorIs(t, err, io.EOF, "the picture is well-formed")
	assert.Equal(t, 10.0, axisEnd(rows), "the longest bar ends within the picture")
}

func TestOutputThatCannotBeCompared(t *testing.T) {
	m, err := parse("")
	require.NoError(t, err)
	_, err = compare(m)
	assert.Error(t, err, "no benchmark")

	m, err = parse(output() + "BenchmarkVerify/verify/size=512 \t 1\t 50.0 ns/op\n")
	require.NoError(t, err)
	_, err = compare(m)
	assert.Error(t, err, "a round without the time by hand")

	_, err = parse("BenchmarkVerify/verify/size=512 \t 1\t x ns/op\n")
	assert.Error(t, err, "no number")

	_, err = replaceTable("a page without marks", "")
	assert.Error(t, err)
	assert.ErrorIs(t, run("absent", "", ""), os.ErrNotExist)
}
