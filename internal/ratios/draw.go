package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// Measures of the picture, in pixels.
const (
	width     = 760
	labelEnd  = 236 // labels end here, and bars begin 8 to the right
	barsBegin = labelEnd + 8
	barsEnd   = 690
	rowHeight = 30
	barHeight = 16
	firstRow  = 84
)

// style contains the colours for both schemes, and of a background: the page around
// the picture may show another scheme than the reader's system.
const style = `
    .back { fill: #ffffff; stroke: #d1d9e0; }
    text { fill: #1f2328; font: 13px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; }
    .title { font-size: 15px; font-weight: 600; }
    .note { fill: #59636e; font-size: 12px; }
    .bar { fill: #2f7de1; }
    .hand { stroke: #1f2328; stroke-width: 1.5; }
    .grid { stroke: #d1d9e0; }
    .floor { stroke: #bc4c00; stroke-width: 3; }
    @media (prefers-color-scheme: dark) {
      .back { fill: #0d1117; stroke: #3d444d; }
      text { fill: #f0f6fc; }
      .note { fill: #9198a1; }
      .bar { fill: #4493f8; }
      .hand { stroke: #f0f6fc; }
      .grid { stroke: #3d444d; }
      .floor { stroke: #f0883e; }
    }
`

// draw returns the rows as an SVG: a bar for each ratio, and a line at 1, the time
// by hand.
func draw(m measurement, rows []row) string {
	var b strings.Builder
	end := firstRow + len(rows)*rowHeight
	height := end + 58
	most := axisEnd(rows)
	x := func(ratio float64) float64 { return barsBegin + ratio/most*(barsEnd-barsBegin) }

	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-labelledby=\"title desc\">\n", width, height, width, height)
	fmt.Fprintf(&b, "  <title id=\"title\">Time of the library, relative to code written by hand</title>\n  <desc id=\"desc\">%s</desc>\n", escape(describe(rows)))
	fmt.Fprintf(&b, "  <style>%s  </style>\n", style)
	fmt.Fprintf(&b, "  <rect class=\"back\" x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", width-1, height-1)
	text(&b, "title", 20, 30, "start", "Time of the library, relative to code written by hand")
	text(&b, "note", 20, 50, "start", "Shorter is better. Line at 1.0: by hand. Orange mark: SHA-256 of the body alone.")

	for tick := 0.0; tick <= most+1e-9; tick += 0.5 {
		line(&b, "grid", x(tick), firstRow-8, x(tick), float64(end))
		text(&b, "note", x(tick), float64(end)+16, "middle", fmt.Sprintf("%.1f", tick))
	}
	for i, r := range rows {
		y := float64(firstRow + i*rowHeight)
		text(&b, "", labelEnd, y+13, "end", r.label)
		fmt.Fprintf(&b, "  <rect class=\"bar\" x=\"%d\" y=\"%.0f\" width=\"%.1f\" height=\"%d\"/>\n", barsBegin, y, x(r.ratio)-barsBegin, barHeight)
		if r.floor > 0 {
			line(&b, "floor", x(r.floor), y-2, x(r.floor), y+barHeight+2)
		}
		text(&b, "", max(x(r.ratio), x(1))+8, y+13, "start", fmt.Sprintf("%.2f", r.ratio))
	}
	line(&b, "hand", x(1), firstRow-8, x(1), float64(end))
	text(&b, "note", 20, float64(end)+42, "start", fmt.Sprintf("Medians of %d runs on one core: %s", m.runs(), m.cpu))
	b.WriteString("</svg>\n")
	return b.String()
}

// axisEnd returns the end of the axis: a multiple of 0.5, with room for a figure.
func axisEnd(rows []row) float64 {
	most := 1.0
	for _, r := range rows {
		most = max(most, r.ratio, r.floor)
	}
	return math.Ceil(most*2) / 2
}

// describe says the figures in words, for readers who do not see the picture.
func describe(rows []row) string {
	figures := make([]string, len(rows))
	for i, r := range rows {
		figures[i] = fmt.Sprintf("%s: %.2f", r.label, r.ratio)
		if r.floor > 0 {
			figures[i] += fmt.Sprintf(" (SHA-256 alone: %.2f)", r.floor)
		}
	}
	return "A bar chart of ratios, in which 1 is the time by hand and less is faster. " + strings.Join(figures, "; ") + "."
}

func text(b *strings.Builder, class string, x, y float64, anchor, s string) {
	if class != "" {
		class = fmt.Sprintf(" class=%q", class)
	}
	fmt.Fprintf(b, "  <text%s x=\"%.1f\" y=\"%.1f\" text-anchor=%q>%s</text>\n", class, x, y, anchor, escape(s))
}

func line(b *strings.Builder, class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, "  <line class=%q x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2)
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder returns no error
	return b.String()
}
