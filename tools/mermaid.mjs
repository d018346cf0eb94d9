// Checks that Mermaid parses every diagram of the pages that it is given:
//
//	node tools/mermaid.mjs mermaid.min.js docs/*.md
//
// Parsing needs no browser, only the few names that Mermaid looks for while it loads.
import { readFileSync } from 'node:fs'
import { runInThisContext } from 'node:vm'

const [script, ...pages] = process.argv.slice(2)
globalThis.window = globalThis
globalThis.addEventListener = () => {}
globalThis.Element = class {}
globalThis.document = {
  nodeType: 9,
  currentScript: null,
  implementation: { createHTMLDocument() {} },
  createElement: () => ({}),
  querySelectorAll: () => [],
  addEventListener() {},
}
runInThisContext(readFileSync(script, 'utf8'))

let diagrams = 0
for (const page of pages) {
  for (const [, diagram] of readFileSync(page, 'utf8').matchAll(/^```mermaid\n(.*?)^```/gms)) {
    diagrams++
    try {
      await globalThis.mermaid.parse(diagram)
    } catch (err) {
      console.log(`${page}: ${err.message}`)
      process.exitCode = 1
    }
  }
}
console.log(`${diagrams} diagrams in ${pages.length} pages`)
if (diagrams === 0) process.exitCode = 1
