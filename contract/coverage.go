package contract

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// Coverage counts the exchanges of each operation.
type Coverage struct {
	// Wrong lists the exchanges that break the contract.
	Wrong []error

	operations map[string]*tally
}

// tally counts the exchanges of an operation.
type tally struct {
	statuses [2]map[int]int // valid exchanges, by generation
	rejected int            // invalid requests with a valid 4xx
	faults   int            // valid requests with an injected response
}

// Replay checks exchanges.
//
// An invalid request must get a valid 4xx: tests send such requests to see the
// error. Only a valid request with a valid response counts for the coverage.
func (c *Contract) Replay(exchanges []Exchange) *Coverage {
	coverage := &Coverage{operations: map[string]*tally{}}
	for _, id := range c.Operations() {
		coverage.operations[id] = &tally{statuses: [2]map[int]int{{}, {}}}
	}
	for _, e := range exchanges {
		if err := coverage.add(c, e); err != nil {
			coverage.Wrong = append(coverage.Wrong, fmt.Errorf("%s\n%w", e, err))
		}
	}
	return coverage
}

func (v *Coverage) add(c *Contract, e Exchange) error {
	operation, err := c.Operation(e)
	if err != nil {
		return err
	}
	seen := v.operations[operation.OperationId]
	requestErr := c.CheckRequest(e)
	if e.faulty() {
		seen.faults++
		return requestErr
	}
	if err := c.CheckResponse(e); err != nil {
		return err
	}
	if requestErr == nil {
		seen.statuses[e.generation()-1][e.Status]++
		return nil
	}
	if e.Status/100 != 4 {
		return fmt.Errorf("the request is invalid and was accepted:\n%w", requestErr)
	}
	seen.rejected++
	return nil
}

// Operations returns the ids of the operations, in the order of the contract.
func (c *Contract) Operations() []string {
	var ids []string
	for _, path := range c.generations[0].model.Paths.PathItems.FromOldest() {
		for _, operation := range path.GetOperations().FromOldest() {
			ids = append(ids, operation.OperationId)
		}
	}
	return ids
}

// Uncovered returns the operations without a successful exchange.
func (v *Coverage) Uncovered() []string {
	var ids []string
	for id, seen := range v.operations {
		if !succeeded(seen.statuses[0]) && !succeeded(seen.statuses[1]) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func succeeded(statuses map[int]int) bool {
	for status := range statuses {
		if status/100 == 2 {
			return true
		}
	}
	return false
}

// Print writes a table of the operations, with the number of responses of each
// status and generation.
func (v *Coverage) Print(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "operation\tgeneration 1\tgeneration 2\trejected\tfaults")
	valid := 0
	for _, id := range slices.Sorted(maps.Keys(v.operations)) {
		seen := v.operations[id]
		var columns [2]string
		for i, statuses := range seen.statuses {
			for _, status := range slices.Sorted(maps.Keys(statuses)) {
				valid += statuses[status]
				columns[i] += fmt.Sprintf("%d×%d ", statuses[status], status)
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\n", id, columns[0], columns[1], seen.rejected, seen.faults)
	}
	table.Flush()
	fmt.Fprintf(w, "valid exchanges: %d, wrong: %d, operations covered: %d of %d\n",
		valid, len(v.Wrong), len(v.operations)-len(v.Uncovered()), len(v.operations))
}
