package main

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// measurement is the output of several runs of the benchmarks.
type measurement struct {
	cpu    string
	nanos  map[string][]float64 // time of an operation by benchmark, in each run
	allocs map[string]float64   // allocations of an operation, in the last run
}

// parse reads the output of go test -bench -benchmem, run after run.
func parse(output string) (measurement, error) {
	m := measurement{nanos: map[string][]float64{}, allocs: map[string]float64{}}
	lines := bufio.NewScanner(strings.NewReader(output))
	for lines.Scan() {
		if cpu, ok := strings.CutPrefix(lines.Text(), "cpu: "); ok {
			m.cpu = strings.TrimSpace(cpu)
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		for i := 3; i < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i-1], 64)
			if err != nil {
				return m, fmt.Errorf("the line of %s has %q in place of a number", name, fields[i-1])
			}
			switch fields[i] {
			case "ns/op":
				m.nanos[name] = append(m.nanos[name], value)
			case "allocs/op":
				m.allocs[name] = value
			}
		}
	}
	return m, lines.Err()
}

// comparisons are the rows of picture and table: a benchmark of the library, the
// same work by hand, and the least work that there is, if a benchmark measures it.
var comparisons = []struct{ label, ours, byHand, floor string }{
	{"Verify, 512 B", "Verify/verify/size=512", "Verify/byhand/size=512", "Verify/floor/size=512"},
	{"Verify, 4 KiB", "Verify/verify/size=4096", "Verify/byhand/size=4096", "Verify/floor/size=4096"},
	{"Verify, 64 KiB", "Verify/verify/size=65536", "Verify/byhand/size=65536", "Verify/floor/size=65536"},
	{"Verify with two secrets, 512 B", "Verify/window/size=512", "Verify/byhand/size=512", "Verify/floor/size=512"},
	{"Verify with two secrets, 64 KiB", "Verify/window/size=65536", "Verify/byhand/size=65536", "Verify/floor/size=65536"},
	{"Handler, 2 KiB", "Handler/handler/size=2048", "Handler/byhand/size=2048", ""},
	{"Handler, 256 KiB", "Handler/handler/size=262144", "Handler/byhand/size=262144", ""},
	{"Monitors.Get over loopback", "GetMonitor/client", "GetMonitor/by_hand", ""},
}

// row is a comparison with figures.
type row struct {
	label        string
	ratio        float64 // time of the library / time by hand
	floor        float64 // least time / time by hand; 0: not measured
	ours, byHand float64 // nanoseconds
	allocs       [2]float64
}

// compare returns the rows. A ratio is the median of the ratios of the runs: both
// times of a run are measured close together, on the same machine.
func compare(m measurement) (rows []row, err error) {
	for _, c := range comparisons {
		ours, byHand, floor := m.nanos[c.ours], m.nanos[c.byHand], m.nanos[c.floor]
		if len(ours) == 0 || len(ours) != len(byHand) || c.floor != "" && len(floor) != len(byHand) {
			return nil, fmt.Errorf("%s and %s are not in every run; run docs/performance/run again", c.ours, c.byHand)
		}
		r := row{
			label: c.label, ratio: medianRatio(ours, byHand), ours: median(ours), byHand: median(byHand),
			allocs: [2]float64{m.allocs[c.ours], m.allocs[c.byHand]},
		}
		if c.floor != "" {
			r.floor = medianRatio(floor, byHand)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func medianRatio(a, b []float64) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return median(ratios)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// runs returns the number of runs.
func (m measurement) runs() int { return len(m.nanos[comparisons[0].ours]) }

// duration writes nanoseconds with three digits.
func duration(nanos float64) string {
	switch {
	case nanos < 1e3:
		return fmt.Sprintf("%.0f ns", nanos)
	case nanos < 1e4:
		return fmt.Sprintf("%.2f µs", nanos/1e3)
	case nanos < 1e5:
		return fmt.Sprintf("%.1f µs", nanos/1e3)
	}
	return fmt.Sprintf("%.0f µs", nanos/1e3)
}

// table returns the rows as a table of Markdown.
func table(m measurement, rows []row) string {
	var b strings.Builder
	b.WriteString("| operation | library | by hand | ratio | SHA-256 alone | allocations, by hand |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		floor := ""
		if r.floor > 0 {
			floor = fmt.Sprintf("%.2f", r.floor)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | **%.2f** | %s | %.0f, %.0f |\n",
			r.label, duration(r.ours), duration(r.byHand), r.ratio, floor, r.allocs[0], r.allocs[1])
	}
	fmt.Fprintf(&b, "\nMedians of %d runs on one core: %s.\n", m.runs(), m.cpu)
	return b.String()
}
